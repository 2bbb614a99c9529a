package pglog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/pglog"
)

const beta = events.StreamID("organization/beta")

// insertBehind puts a record behind the last one of a stream, as someone does who can write
// the table and knows the layout: the version, the link and the hash fit. No trigger is
// dropped. The record stands so many positions behind the end of the log.
func insertBehind(t *testing.T, address string, log *pglog.Log, stream events.StreamID, e events.Envelope, distance events.Position) events.Recorded {
	t.Helper()
	head, err := log.Head(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	end, err := log.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	records, next := events.Seal(stream, head, []events.Envelope{e})
	r := records[0]
	r.Position = end + distance
	_, err = connect(t, address).Exec(t.Context(), `INSERT INTO oatmill.records VALUES ($1, $2, $3, $4, $5, $6, $7, '', NULL, '', $8, $9, $10)`,
		int64(r.Position), string(stream), int64(r.Version), [16]byte(r.ID), r.Type, r.Time, r.Actor, r.Previous[:], next.Hash[:], string(r.Data))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestInsertedRow inserts one row behind the library's back, with a version, a link and a
// hash that fit, and drops no trigger. The row is not part of the log: no read returns it,
// also after the log was opened again. The next append that the row is in the way of is
// ErrDamaged and names it, in a transaction of the host's, too, which stays usable; others go
// on; and Check names the row.
//
// Fails if a statement that reads is not bounded by the counter, or if a unique violation
// under the lock is returned as the driver's error.
func TestInsertedRow(t *testing.T) {
	for name, distance := range map[string]events.Position{"at the next position": 1, "further behind": 1000} {
		t.Run(name, func(t *testing.T) {
			address, g := newDatabase(t), testkit.NewGenerator()
			log := openFor(t, address, pglog.Config{})
			testkit.Append(t, log, acme, g.Batch(3)...)
			testkit.Append(t, log, beta, g.Batch(3)...)
			stray := insertBehind(t, address, log, acme, g.TokenGenerated(), distance)
			names := func(what string, err error) {
				t.Helper()
				if !errors.Is(err, events.ErrDamaged) || errors.Is(err, events.ErrConflict) ||
					!strings.Contains(err.Error(), fmt.Sprintf("position %d", stray.Position)) || !strings.Contains(err.Error(), `schema "oatmill"`) ||
					!strings.Contains(err.Error(), string(acme)) || !strings.Contains(err.Error(), "version 4") {
					t.Errorf("%s: %v", what, err)
				}
			}
			for _, log := range []*pglog.Log{log, openFor(t, address, pglog.Config{})} {
				if n := len(testkit.Sound(t, log)); n != 6 {
					t.Errorf("%d records, want 6", n)
				}
				if head, err := log.Head(t.Context(), acme); head.Version != 3 || err != nil {
					t.Errorf("acme ends with %v, %v", head, err)
				}
				if end, err := log.End(t.Context()); end != 6 || err != nil {
					t.Errorf("the log ends at %d, %v", end, err)
				}
				names("Check", log.Check(t.Context()))
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				for _, expected := range []events.Version{events.Any, 3} {
					_, err := log.Append(ctx, acme, expected, g.TokenGenerated())
					names("Append", err)
				}
				_, err := log.Append(ctx, acme, 3, stray.Envelope)
				names("Append of the row's own ID", err)
				if _, err := log.Append(ctx, acme, 4, g.TokenGenerated()); !errors.Is(err, events.ErrConflict) {
					t.Errorf("an append behind the row: %v", err)
				}
				tx := begin(t, connect(t, address), pgx.ReadCommitted)
				_, err = log.AppendTx(ctx, tx, acme, events.Any, g.TokenGenerated())
				names("AppendTx", err)
				if head, err := log.Tx(tx).(events.Heads).Head(ctx, acme); head.Version != 3 || err != nil {
					t.Errorf("in the transaction, acme ends with %v, %v", head, err)
				}
				mustRollBack(t, tx)
			}
			_, err := log.Append(t.Context(), beta, 3, g.TokenGenerated())
			if distance > 1 && err != nil || distance == 1 && !errors.Is(err, events.ErrDamaged) {
				t.Errorf("the other stream: %v", err)
			}
			_, err = log.Append(t.Context(), beta, events.Any, stray.Envelope)
			names("Append of the row's ID to another stream", err)
			// Without the row, the log goes on.
			mustExec(t, address, `ALTER TABLE oatmill.records DISABLE TRIGGER ALL`, fmt.Sprintf(`DELETE FROM oatmill.records WHERE position = %d`, stray.Position))
			if r := testkit.Append(t, log, acme, stray.Envelope); r[0].Version != 4 {
				t.Errorf("acme goes on with %v", r)
			}
			if err := log.Check(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestInsertedRowInGroup has appends to several streams wait for the counter, so that they
// share transactions, and a row in the way of one of them. Only that one is refused.
//
// Fails if decide does not look for strays per addition.
func TestInsertedRowInGroup(t *testing.T) {
	address, g := newDatabase(t), testkit.NewGenerator()
	log := openFor(t, address, pglog.Config{})
	testkit.Append(t, log, acme, g.Batch(3)...)
	insertBehind(t, address, log, acme, g.TokenGenerated(), 1000)
	tx := begin(t, connect(t, address), pgx.ReadCommitted)
	if _, err := log.AppendTx(t.Context(), tx, beta, 0, g.TokenGenerated()); err != nil {
		t.Fatal(err)
	}
	type answer struct {
		stream events.StreamID
		err    error
	}
	answers := make(chan answer)
	streams := []events.StreamID{beta, acme, "organization/gamma", beta, acme}
	for _, stream := range streams {
		e := g.TokenGenerated()
		go func() {
			_, err := log.Append(t.Context(), stream, events.Any, e)
			answers <- answer{stream, err}
		}()
	}
	blocked(t, address)
	mustCommit(t, tx)
	for range streams {
		a := <-answers
		if a.stream == acme && !errors.Is(a.err, events.ErrDamaged) || a.stream != acme && a.err != nil {
			t.Errorf("%s: %v", a.stream, a.err)
		}
	}
	if n := len(testkit.Sound(t, log)); n != 7 {
		t.Errorf("%d records, want 7", n)
	}
}

// TestTamperedRecord changes every column of a record behind the library's back, in the
// middle of a stream and at its end, where no later record shows the change. The chain names
// stream and version, the other stream can be read, and Check names the record. Both forms in
// which the server can send a row are read.
//
// Fails if scan does not call SetStored, or if link returns an error for a value that is no
// hash.
func TestTamperedRecord(t *testing.T) {
	address := newDatabase(t)
	for name, c := range map[string]struct {
		set  string
		gone bool // the record is not in its stream any more
	}{
		"position":    {"position = 1000", true},
		"stream":      {"stream = 'organization/other'", true},
		"version":     {"version = 1000", false},
		"id":          {"id = '00000000-0000-0000-0000-000000000000'", false},
		"type":        {"type = 'token.deleted'", false},
		"time":        {"time = time + interval '1 microsecond'", false},
		"no time":     {"time = 'infinity'", false},
		"actor":       {"actor = 'mallory'", false},
		"correlation": {"correlation = 'mallory'", false},
		"causation":   {"causation = '00000000-0000-0000-0000-000000000001'", false},
		"reason":      {"reason = 'mallory'", false},
		"previous":    {`previous = decode(repeat('00', 32), 'hex')`, false},
		"no previous": {`previous = '\x00'`, false},
		"hash":        {`hash = sha256('')`, false},
		"no hash":     {`hash = ''`, false},
		"zero hash":   {`hash = decode(repeat('00', 32), 'hex'), actor = 'mallory'`, false},
		"data":        {"data = '{}'", false},
	} {
		for _, version := range []events.Version{3, 5} {
			t.Run(fmt.Sprintf("%s of version %d", name, version), func(t *testing.T) {
				defer mustExec(t, address, `DROP SCHEMA oatmill CASCADE`)
				g := testkit.NewGenerator()
				log := openFor(t, address, pglog.Config{})
				testkit.Append(t, log, acme, g.Batch(5)...)
				testkit.Append(t, log, beta, g.Batch(3)...)
				mustExec(t, address, `SET search_path = oatmill`, `ALTER TABLE records DISABLE TRIGGER ALL`,
					fmt.Sprintf("UPDATE records SET %s WHERE stream = '%s' AND version = %d", c.set, acme, version))
				for form, log := range map[string]*pglog.Log{"binary": log, "text": openFor(t, address+"&default_query_exec_mode=simple_protocol", pglog.Config{})} {
					head, err := events.VerifyChain(t.Context(), log, acme)
					var broken *events.ChainError
					switch {
					case c.gone && version == 5: // which only the position that is missing, or the other stream, shows
						if head.Version != 4 || err != nil {
							t.Errorf("%s: acme ends with %v, %v, want version 4", form, head, err)
						}
					case !errors.As(err, &broken) || broken.Stream != acme || broken.Version != version:
						t.Errorf("%s: %v, want a *ChainError at version %d", form, err, version)
					}
					if _, err := events.VerifyChain(t.Context(), log, beta); err != nil {
						t.Errorf("%s: the other stream: %v", form, err)
					}
					err = log.Check(t.Context())
					if !errors.Is(err, events.ErrDamaged) || !strings.Contains(err.Error(), fmt.Sprintf("position %d", version)) {
						t.Errorf("%s: Check: %v", form, err)
					}
				}
			})
		}
	}
}

// TestMissingRecords takes records out of the log, in the middle and at its end. ReadAll
// says which are missing, in turn, and goes on behind them.
//
// Fails if allAfter does not compare positions, or its last page not with the counter.
func TestMissingRecords(t *testing.T) {
	address := newDatabase(t)
	log := openFor(t, address, pglog.Config{})
	testkit.Append(t, log, acme, testkit.NewGenerator().Batch(40)...)
	mustExec(t, address, `ALTER TABLE oatmill.records DISABLE TRIGGER ALL`,
		`DELETE FROM oatmill.records WHERE version = 20 OR version BETWEEN 30 AND 32 OR version > 38`)
	var seen, after events.Position
	var gaps []string
	for again := true; again; {
		again = false
		for r, err := range log.ReadAll(t.Context(), after) {
			var missing *events.MissingError
			if err == nil {
				seen, after = seen+1, r.Position
				continue
			}
			if !errors.As(err, &missing) || !errors.Is(err, events.ErrDamaged) {
				t.Fatalf("records that are missing: %v", err)
			}
			gaps, after, again = append(gaps, fmt.Sprint(missing.First, "-", missing.Last)), missing.Last, true
		}
	}
	if got := strings.Join(gaps, " "); got != "20-20 30-32 39-40" || seen != 34 {
		t.Errorf("%d records and the gaps %s", seen, got)
	}
}
