package pglog_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/pglog"
)

// TestRecordsAreImmutable tries, as the tables' owner, to change what was appended.
func TestRecordsAreImmutable(t *testing.T) {
	address := newDatabase(t)
	log := openFor(t, address, pglog.Config{})
	want := testkit.Append(t, log, acme, testkit.NewGenerator().Batch(3)...)
	for _, statement := range []string{
		`UPDATE oatmill.records SET data = '{}'`,
		`UPDATE oatmill.records SET reason = 'x' WHERE position = 2`,
		`DELETE FROM oatmill.records WHERE position = 3`,
		`TRUNCATE oatmill.records`,
		`DELETE FROM oatmill.counter`,
		`TRUNCATE oatmill.counter`,
	} {
		if err := raw(t, address, statement); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: %v", statement, err)
		}
	}
	if got := sound(t, log); len(got) != len(want) {
		t.Errorf("%d records are left of %d", len(got), len(want))
	}
}

// TestChangesBehindTheBackAreSeen makes changes that only somebody can make who first takes
// the guards away, and names who sees each.
func TestChangesBehindTheBackAreSeen(t *testing.T) {
	address := newDatabase(t)
	for _, c := range []struct {
		name, statement    string
		chain, scan, check bool // whether it is seen
	}{
		{"data in the middle", `UPDATE records SET data = '{"forged":true}' WHERE position = 2`, true, false, true},
		{"data of the last record", `UPDATE records SET data = '{"forged":true}' WHERE position = 4`, true, false, true},
		{"somebody else did it", `UPDATE records SET actor = 'mallory' WHERE position = 2`, true, false, true},
		{"at another time", `UPDATE records SET time = time + interval '1 microsecond' WHERE position = 4`, true, false, true},
		{"a record less", `DELETE FROM records WHERE position = 2`, true, true, true},
		{"no first record", `DELETE FROM records WHERE position = 1`, true, true, true},
		{"no last record", `DELETE FROM records WHERE position = 4`, false, true, true},
		{"in another order", `UPDATE records SET version = 5 - version WHERE version IN (2, 3) AND position IN (2, 3)`, true, false, true},
		{"the counter runs ahead", `UPDATE counter SET position = 9`, false, true, true},
		{"the counter runs behind", `UPDATE counter SET position = 3`, false, false, true},
		{"a version twice", `INSERT INTO records SELECT 5, stream, version, '00000000-0000-0000-0000-000000000000', type, time, actor, correlation, causation, reason, previous, hash, data
			FROM records WHERE position = 4`, false, false, true},
		{"a position that is none", `INSERT INTO records SELECT 0, stream, 5, '00000000-0000-0000-0000-000000000000', type, time, actor, correlation, causation, reason, previous, hash, data
			FROM records WHERE position = 4`, false, false, true},
		{"no counter", `DELETE FROM counter`, true, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer mustExec(t, address, `DROP SCHEMA oatmill CASCADE`)
			log := openFor(t, address, pglog.Config{})
			testkit.Append(t, log, acme, testkit.NewGenerator().Batch(4)...)
			mustExec(t, address, `SET search_path = oatmill`, `ALTER TABLE records DISABLE TRIGGER ALL`, `ALTER TABLE counter DISABLE TRIGGER ALL`,
				`ALTER TABLE records DROP CONSTRAINT records_stream_version_key`, c.statement)
			_, chain := events.VerifyChain(t.Context(), log, acme)
			var scan error
			for _, err := range log.ReadAll(t.Context(), 0) {
				scan = err
			}
			for _, seen := range []struct {
				who  string
				err  error
				want bool
			}{{"VerifyChain", chain, c.chain}, {"ReadAll", scan, c.scan}, {"Check", log.Check(t.Context()), c.check}} {
				if (seen.err != nil) != seen.want {
					t.Errorf("%s: %v, want it to be seen: %v", seen.who, seen.err, seen.want)
				}
				if seen.err != nil && !errors.Is(seen.err, events.ErrDamaged) && !errors.Is(seen.err, events.ErrBrokenChain) {
					t.Errorf("%s: %v is neither damage nor a broken chain", seen.who, seen.err)
				}
			}
		})
	}
}

// TestGuardsArePutBack disables one guard, drops another, and opens the log.
func TestGuardsArePutBack(t *testing.T) {
	address := newDatabase(t)
	testkit.Append(t, openFor(t, address, pglog.Config{}), acme, testkit.NewGenerator().Batch(1)...)
	mustExec(t, address, `ALTER TABLE oatmill.records DISABLE TRIGGER records_append_only`, `DROP TRIGGER counter_never_deleted ON oatmill.counter`)
	var said bytes.Buffer
	openFor(t, address, pglog.Config{Logger: slog.New(slog.NewTextHandler(&said, nil))})
	if !strings.Contains(said.String(), "guards") {
		t.Errorf("nobody was told: %s", said.String())
	}
	for _, statement := range []string{`DELETE FROM oatmill.records`, `DELETE FROM oatmill.counter`} {
		if raw(t, address, statement) == nil {
			t.Errorf("%s is possible again", statement)
		}
	}
}
