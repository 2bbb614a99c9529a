package sqlitelog_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
)

const beta = events.StreamID("organization/beta")

// insertBehind puts a record behind the last one of a stream, as someone does who can write
// the file and knows the layout: the version, the link and the hash fit. No trigger is
// dropped. The record stands so many positions behind the end of the log.
func insertBehind(t *testing.T, path string, log *sqlitelog.Log, stream events.StreamID, e events.Envelope, distance events.Position) events.Recorded {
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
	err = raw(t, path, fmt.Sprintf("INSERT INTO records VALUES (%d, '%s', %d, '%s', '%s', %d, '%s', NULL, NULL, NULL, x'%s', x'%s', '%s')",
		r.Position, stream, r.Version, r.ID, r.Type, r.Time.UnixMicro(), r.Actor, r.Previous, next.Hash, r.Data))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// twoStreams opens a log with 3 records of acme and 3 of beta.
func twoStreams(t *testing.T) (string, *sqlitelog.Log, *testkit.Generator) {
	path, g := newPath(t), testkit.NewGenerator()
	log := openFor(t, path, sqlitelog.Config{})
	testkit.Append(t, log, acme, g.Batch(3)...)
	testkit.Append(t, log, beta, g.Batch(3)...)
	return path, log, g
}

// TestInsertedRow inserts one row behind the library's back, with a version, a link and a
// hash that fit, and drops no trigger. The row is not part of the log: no read returns it,
// also after the log was opened again. The next append that the row is in the way of is
// ErrDamaged and names it, others go on, and Check names it.
//
// Fails if a statement that reads is not bounded by the counter, or if a constraint that is
// not about an ID is returned as the driver's error.
func TestInsertedRow(t *testing.T) {
	for name, distance := range map[string]events.Position{"at the next position": 1, "further behind": 1000} {
		t.Run(name, func(t *testing.T) {
			path, log, g := twoStreams(t)
			stray := insertBehind(t, path, log, acme, g.TokenGenerated(), distance)
			for _, log := range []*sqlitelog.Log{log, openFor(t, path, sqlitelog.Config{})} {
				if n := len(testkit.Sound(t, log)); n != 6 {
					t.Errorf("%d records, want 6", n)
				}
				if head, err := log.Head(t.Context(), acme); head.Version != 3 || err != nil {
					t.Errorf("acme ends with %v, %v", head, err)
				}
				if end, err := log.End(t.Context()); end != 6 || err != nil {
					t.Errorf("the log ends at %d, %v", end, err)
				}
				names := func(what string, err error) {
					t.Helper()
					if !errors.Is(err, events.ErrDamaged) || errors.Is(err, events.ErrConflict) || !strings.Contains(err.Error(), path) ||
						!strings.Contains(err.Error(), fmt.Sprintf("position %d", stray.Position)) || !strings.Contains(err.Error(), string(acme)) || !strings.Contains(err.Error(), "version 4") {
						t.Errorf("%s: %v", what, err)
					}
				}
				names("Check", log.Check(t.Context()))
				for _, expected := range []events.Version{events.Any, 3} {
					_, err := log.Append(t.Context(), acme, expected, g.TokenGenerated())
					names("Append", err)
				}
				_, err := log.Append(t.Context(), acme, 4, stray.Envelope)
				names("Append of the row's own ID", err)
				if _, err := log.Append(t.Context(), acme, 4, g.TokenGenerated()); !errors.Is(err, events.ErrConflict) {
					t.Errorf("an append behind the row: %v", err)
				}
			}
			_, err := log.Append(t.Context(), beta, 3, g.TokenGenerated())
			if distance > 1 && err != nil || distance == 1 && !errors.Is(err, events.ErrDamaged) {
				t.Errorf("the other stream: %v", err)
			}
			// Without the row, the log goes on.
			if err := raw(t, path, "DROP TRIGGER records_no_delete", fmt.Sprintf("DELETE FROM records WHERE position = %d", stray.Position)); err != nil {
				t.Fatal(err)
			}
			if r := testkit.Append(t, log, acme, stray.Envelope); r[0].Version != 4 {
				t.Errorf("acme goes on with %v", r)
			}
			if err := log.Check(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestInsertedRowInGroup has appends to several streams share a transaction, and a row in
// the way of one of them. Only that one is refused, and checkpoints are saved.
//
// Fails if the refusal of stray is an error of the transaction.
func TestInsertedRowInGroup(t *testing.T) {
	path, log, g := twoStreams(t)
	insertBehind(t, path, log, acme, g.TokenGenerated(), 1000)
	release := sqlitelog.Hold(log)
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
	saved := make(chan error)
	go func() { saved <- log.SaveCheckpoint(t.Context(), "relay", 5) }()
	for sqlitelog.Waiting(log) < len(streams)+1 {
		runtime.Gosched()
	}
	release()
	for range streams {
		a := <-answers
		if a.stream == acme && !errors.Is(a.err, events.ErrDamaged) || a.stream != acme && a.err != nil {
			t.Errorf("%s: %v", a.stream, a.err)
		}
	}
	if err := <-saved; err != nil {
		t.Error(err)
	}
	if n := len(testkit.Sound(t, log)); n != 9 {
		t.Errorf("%d records, want 9", n)
	}
}

// TestTakenID inserts a row with an ID that a caller is about to append elsewhere.
//
// Fails if find does not return rows beyond the counter.
func TestTakenID(t *testing.T) {
	path, log, g := twoStreams(t)
	e := g.TokenGenerated()
	insertBehind(t, path, log, acme, e, 1000)
	_, err := log.Append(t.Context(), beta, 3, e)
	if !errors.Is(err, events.ErrDamaged) || !strings.Contains(err.Error(), "position 1006, version 4 of organization/acme") {
		t.Errorf("an ID that a row beyond the log has: %v", err)
	}
}

// TestOneRecordPerVersion has raw SQL insert a second record of a version, and one below the
// first position. Fails if a constraint is left out of schema.
func TestOneRecordPerVersion(t *testing.T) {
	path, _, _ := twoStreams(t)
	for change, answer := range map[string]string{
		"7, stream, version, 'other'": "UNIQUE",
		"0, stream, 4, 'other'":       "CHECK",
		"7, stream, 4, id":            "UNIQUE",
	} {
		err := raw(t, path, "INSERT INTO records SELECT "+change+", type, time, actor, NULL, NULL, NULL, previous, hash, data FROM records WHERE position = 3")
		if err == nil || !strings.Contains(err.Error(), answer) {
			t.Errorf("%s: %v", change, err)
		}
	}
}
