package sqlitelog_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
)

const acme = events.StreamID("organization/acme")

// newAcme is the path of a closed log with one stream of so many records.
func newAcme(t *testing.T, records int) string {
	t.Helper()
	path := newPath(t)
	log := open(t, path, sqlitelog.Config{})
	testkit.Append(t, log, acme, testkit.NewGenerator().Batch(records)...)
	mustClose(t, log)
	return path
}

// TestGuards has raw SQL try what the triggers forbid. Fails if any of the guards is left
// out of schema.
func TestGuards(t *testing.T) {
	path := newAcme(t, 40)
	for statement, answer := range map[string]string{
		"UPDATE records SET actor = 'mallory' WHERE version = 3": "a record is never changed",
		"DELETE FROM records WHERE version = 3":                  "a record is never deleted",
		"UPDATE counter SET position = 39":                       "the counter is never lowered",
		"DELETE FROM counter":                                    "the counter is never deleted",
		"INSERT OR REPLACE INTO counter VALUES (1, 39)":          "there is one counter",
		"INSERT INTO counter VALUES (2, 50)":                     "there is one counter",
	} {
		if err := raw(t, path, statement); err == nil || !strings.Contains(err.Error(), answer) {
			t.Errorf("%s: %v, want %q", statement, err, answer)
		}
	}
	if n := len(testkit.Sound(t, openFor(t, path, sqlitelog.Config{}))); n != 40 {
		t.Errorf("%d records, want 40", n)
	}
}

// unguarded are statements that drop the guards.
var unguarded = []string{
	"DROP TRIGGER records_no_update", "DROP TRIGGER records_no_delete",
	"DROP TRIGGER counter_no_update", "DROP TRIGGER counter_no_delete",
}

// TestTamperedRecord changes every column of a record behind the library's back, in the
// middle of a stream and at its end, where no later record shows the change. The chain names
// stream and version, the other stream can be read, Check names the record, and the guards
// are back after Open.
//
// Fails if recordOf does not call SetStored, if it returns an error for a value that it
// cannot read, or if the row of a column is left out of the hash.
func TestTamperedRecord(t *testing.T) {
	for name, c := range map[string]struct {
		set  string
		gone bool // the record is not in its stream any more
	}{
		"position":    {"position = 1000", true},
		"stream":      {"stream = 'organization/other'", true},
		"no stream":   {"stream = ''", true},
		"version":     {"version = 1000", false},
		"version 0":   {"version = 0", true},
		"id":          {"id = '00000000000000000000000000'", false},
		"no id":       {"id = 'mallory'", false},
		"type":        {"type = 'token.deleted'", false},
		"time":        {"time = time + 1", false},
		"actor":       {"actor = 'mallory'", false},
		"correlation": {"correlation = 'mallory'", false},
		"causation":   {"causation = '00000000000000000000000001'", false},
		"no cause":    {"causation = 'mallory'", false},
		"reason":      {"reason = 'mallory'", false},
		"previous":    {"previous = zeroblob(32)", false},
		"no previous": {"previous = x'00'", false},
		"hash":        {"hash = randomblob(32)", false},
		"no hash":     {"hash = x''", false},
		"zero hash":   {"hash = zeroblob(32), actor = 'mallory'", false},
		"data":        {"data = '{}'", false},
	} {
		for _, version := range []events.Version{20, 40} {
			t.Run(fmt.Sprintf("%s of version %d", name, version), func(t *testing.T) {
				path, g := newPath(t), testkit.NewGenerator()
				log := open(t, path, sqlitelog.Config{})
				testkit.Append(t, log, acme, g.Batch(40)...)
				testkit.Append(t, log, beta, g.Batch(3)...)
				mustClose(t, log)
				change := fmt.Sprintf("UPDATE records SET %s WHERE stream = '%s' AND version = %d", c.set, acme, version)
				if err := raw(t, path, append(unguarded, change)...); err != nil {
					t.Fatal(err)
				}
				log = openFor(t, path, sqlitelog.Config{})
				head, err := events.VerifyChain(t.Context(), log, acme)
				var broken *events.ChainError
				switch {
				case c.gone && version == 40: // which only the position that is missing, or the other stream, shows
					if head.Version != 39 || err != nil {
						t.Errorf("acme ends with %v, %v, want version 39", head, err)
					}
				case !errors.As(err, &broken) || broken.Stream != acme || broken.Version != version:
					t.Errorf("%v, want a *ChainError at version %d", err, version)
				}
				if _, err := events.VerifyChain(t.Context(), log, beta); err != nil {
					t.Errorf("the other stream: %v", err)
				}
				err = log.Check(t.Context())
				if !errors.Is(err, events.ErrDamaged) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), fmt.Sprintf("position %d", version)) {
					t.Errorf("Check: %v", err)
				}
				if err := raw(t, path, "DELETE FROM records"); err == nil {
					t.Error("Open has not put the guard back")
				}
			})
		}
	}
}

// TestMissingRecords takes records out of the log, in the middle and at its end. ReadAll
// says which are missing, in turn, and goes on behind them; the chain and Check see the
// hole in the middle, and Check the one at the end.
//
// Fails if allAfter does not compare positions, or its last page not with the counter.
func TestMissingRecords(t *testing.T) {
	path := newAcme(t, 40)
	if err := raw(t, path, append(unguarded, "DELETE FROM records WHERE version = 20 OR version BETWEEN 30 AND 32 OR version > 38")...); err != nil {
		t.Fatal(err)
	}
	log := openFor(t, path, sqlitelog.Config{})
	var seen, after events.Position
	var gaps []events.MissingError
	for again := true; again; {
		again = false
		for r, err := range log.ReadAll(t.Context(), after) {
			var missing *events.MissingError
			if err == nil {
				seen, after = seen+1, r.Position
				continue
			}
			if !errors.As(err, &missing) || !errors.Is(err, events.ErrDamaged) || !strings.Contains(err.Error(), path) {
				t.Fatalf("records that are missing: %v", err)
			}
			gaps, after, again = append(gaps, *missing), missing.Last, true
		}
	}
	if want := []events.MissingError{{First: 20, Last: 20}, {First: 30, Last: 32}, {First: 39, Last: 40}}; !slices.Equal(gaps, want) || seen != 34 {
		t.Errorf("%d records and the gaps %v, want 34 and %v", seen, gaps, want)
	}
	if end, err := log.End(t.Context()); end != 40 || err != nil {
		t.Errorf("the log ends at %d, %v, want 40", end, err)
	}
	var broken *events.ChainError
	if _, err := events.VerifyChain(t.Context(), log, acme); !errors.As(err, &broken) || broken.Version != 20 {
		t.Errorf("the chain: %v", err)
	}
	err := log.Check(t.Context())
	for _, words := range []string{"the record at position 20 is", "positions 30 to 32", "positions 39 to 40", "position 21, organization/acme version 20"} {
		if !errors.Is(err, events.ErrDamaged) || !strings.Contains(err.Error(), words) {
			t.Errorf("Check does not say %q: %v", words, err)
		}
	}
	// What is appended now stands behind the counter, and follows what is left.
	if r := testkit.Append(t, log, acme, testkit.NewGenerator().Batch(41)[40]); r[0].Position != 41 || r[0].Version != 39 {
		t.Errorf("appended at %d as version %d", r[0].Position, r[0].Version)
	}
}

// TestCounterMissing takes the counter out. A log of which nobody knows where it ends must
// not look like an empty one. Fails if counterOf, collect or Head take no row for 0.
func TestCounterMissing(t *testing.T) {
	path := newAcme(t, 3)
	if err := raw(t, path, append(unguarded, "DELETE FROM counter")...); err != nil {
		t.Fatal(err)
	}
	log := openFor(t, path, sqlitelog.Config{})
	_, appended := log.Append(t.Context(), acme, events.Any, testkit.NewGenerator().Batch(4)[3])
	_, end := log.End(t.Context())
	_, head := log.Head(t.Context(), acme)
	var all, stream error
	for _, all = range log.ReadAll(t.Context(), 0) {
		continue
	}
	for _, stream = range log.ReadStream(t.Context(), acme, 0) {
		continue
	}
	for what, err := range map[string]error{
		"Append": appended, "End": end, "Head": head, "ReadAll": all, "ReadStream": stream, "Check": log.Check(t.Context()),
	} {
		if !errors.Is(err, events.ErrDamaged) || !strings.Contains(err.Error(), "counter") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// refused opens what must not be opened, and holds the folder before against after. It
// returns the log's error.
func refused(t *testing.T, path string) (damaged bool, err error) {
	t.Helper()
	folder := filepath.Dir(path)
	before := content(t, folder)
	log, err := sqlitelog.Open(t.Context(), path, sqlitelog.Config{})
	if err == nil {
		mustClose(t, log)
		t.Fatal("it was opened")
	}
	if after := content(t, folder); !maps.Equal(before, after) {
		t.Errorf("the refusal changed the folder: %q before, %q after (or their bytes)",
			slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
	}
	if !strings.Contains(err.Error(), filepath.Base(path)) {
		t.Errorf("the error does not name the file: %v", err)
	}
	return errors.Is(err, events.ErrDamaged), err
}

// TestRefusals opens what is no log that this library can work with. Each is refused by
// a name of its own and left as it was. Doing useWAL before identify breaks it: that
// alone changes somebody else's file.
func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(t *testing.T, path string)
		damaged bool
		says    string
	}{
		"another application": {statements("PRAGMA application_id = 7; CREATE TABLE t (a)"), true, "another application"},
		"only other tables":   {statements("CREATE TABLE t (a); INSERT INTO t VALUES (1)"), true, "another application"},
		"empty, but claimed":  {statements("PRAGMA application_id = 7"), true, "another application"},
		"old layout":          {statements("PRAGMA application_id = 0x6f61746d; CREATE TABLE t (a)"), true, "layout 0"},
		"not in UTF-8":        {statements("PRAGMA encoding = 'UTF-16'; CREATE TABLE t (a); DROP TABLE t"), true, "UTF-8"},
		"no SQLite file":      {withBytes(strings.Repeat("not a database. ", 512)), true, "no SQLite database"},
		"short file":          {withBytes("hello"), true, "no SQLite database"},
		"newer layout":        {changed("PRAGMA user_version = 4"), true, "newer"},
		"layout 1":            {copied("testdata/layout1.db"), true, "layout 1, which no release wrote"},
		"layout 2":            {copied("testdata/layout2.db"), true, "layout 2, which no release wrote"},
		"missing table":       {changed("DROP TABLE snapshots"), true, "snapshots is missing"},
		"changed table":       {changed("ALTER TABLE records ADD COLUMN extra TEXT"), true, "records is not as"},
		"folder":              {folder, false, "is a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			c.prepare(t, path)
			damaged, err := refused(t, path)
			if damaged != c.damaged || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v; damaged is %v, want %v and the words %q", err, damaged, c.damaged, c.says)
			}
			if newer := c.says == "newer"; errors.Is(err, events.ErrNewer) != newer {
				t.Errorf("events.ErrNewer is %v: %v", !newer, err)
			}
		})
	}
}

func statements(sql string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		if err := raw(t, path, sql); err != nil {
			t.Fatal(err)
		}
	}
}

func withBytes(content string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// copied puts a copy of a file in place.
func copied(from string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		withBytes(string(b))(t, path)
	}
}

// changed makes a log and has statements change it.
func changed(sql ...string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		log := open(t, path, sqlitelog.Config{})
		testkit.Append(t, log, acme, testkit.NewGenerator().Batch(3)...)
		mustClose(t, log)
		if err := raw(t, path, sql...); err != nil {
			t.Fatal(err)
		}
	}
}

func folder(t *testing.T, path string) {
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

func TestMissingFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "events.db")
	_, err := sqlitelog.Open(t.Context(), path, sqlitelog.Config{})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), filepath.Dir(path)) {
		t.Errorf("a missing folder is %v", err)
	}
	if _, err := os.Stat(filepath.Dir(path)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the refusal the folder is %v", err)
	}
}

// TestPermissions opens files that the user may not read, or may read only.
//
// What breaks it: leaving out the question whether the file IsReadOnly.
func TestPermissions(t *testing.T) {
	for name, c := range map[string]struct {
		mode os.FileMode
		want error
	}{"unreadable": {0, events.ErrDenied}, "read-only": {0o400, events.ErrReadOnly}} {
		t.Run(name, func(t *testing.T) {
			asNobody(t)
			path := newAcme(t, 3)
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			log, err := sqlitelog.Open(t.Context(), path, sqlitelog.Config{})
			if err == nil {
				mustClose(t, log)
			}
			if !errors.Is(err, c.want) || errors.Is(err, events.ErrDamaged) || !strings.Contains(err.Error(), path) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestDamagedPages overwrites the middle of a file, and cuts one off. Whatever the
// library says of it must be ErrDamaged, with the name of the file: at Open, at a read,
// or in the check of the whole file, which must find it in any case.
//
// What breaks it: leaving SQLITE_CORRUPT out of explain.
func TestDamagedPages(t *testing.T) {
	for name, harm := range map[string]func(file []byte) []byte{
		"overwritten": func(b []byte) []byte {
			for i := len(b) / 3; i < 2*len(b)/3; i++ {
				b[i] = 0xa5
			}
			return b
		},
		"zeroed page": func(b []byte) []byte { clear(b[len(b)/2&^4095:][:4096]); return b },
		"cut off":     func(b []byte) []byte { return b[:len(b)/2] },
		"cut in page": func(b []byte) []byte { return b[:len(b)/2+100] },
		"first page":  func(b []byte) []byte { clear(b[:4096]); return b },
	} {
		t.Run(name, func(t *testing.T) {
			path := newAcme(t, 900)
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			harmed := string(harm(file))
			withBytes(harmed)(t, path)
			err = examine(t, path)
			if !errors.Is(err, events.ErrDamaged) || !strings.Contains(err.Error(), path) {
				t.Errorf("damage is %v", err)
			}
			if now := content(t, filepath.Dir(path))[filepath.Base(path)]; now != harmed {
				t.Error("the damaged file was changed")
			}
		})
	}
}

// TestWriteAheadLogCutOff opens a copy of a log whose write-ahead log was cut off.
// SQLite takes that for the end of what was committed, and says nothing. What is left
// must be a whole log; that it is not all of it, a head that was noted elsewhere shows.
func TestWriteAheadLogCutOff(t *testing.T) {
	path := newPath(t)
	log := openFor(t, path, sqlitelog.Config{})
	g := testkit.NewGenerator()
	for range 20 {
		testkit.Append(t, log, acme, g.Batch(3)...)
	}
	noted, err := log.Head(t.Context(), acme)
	if err != nil {
		t.Fatal(err)
	}
	files := content(t, filepath.Dir(path))
	second := newPath(t)
	withBytes(files["events.db"])(t, second)
	wal := files["events.db-wal"]
	withBytes(wal[:len(wal)*2/3+100])(t, second+"-wal")

	cut := openFor(t, second, sqlitelog.Config{})
	if n := len(testkit.Sound(t, cut)); n == 0 || n >= 60 || n%3 != 0 {
		t.Errorf("%d records are left of 20 batches of 3", n)
	}
	if err := cut.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := events.VerifyChain(t.Context(), cut, acme, noted); !errors.Is(err, events.ErrBrokenChain) {
		t.Errorf("the chain up to the noted head is %v", err)
	}
}

// examine opens and reads a log, checks it as a whole, and returns the first error.
func examine(t *testing.T, path string) error {
	t.Helper()
	log, err := sqlitelog.Open(t.Context(), path, sqlitelog.Config{})
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	for _, err := range log.ReadAll(t.Context(), 0) {
		if err != nil {
			return err
		}
	}
	for _, err := range log.ReadStream(t.Context(), acme, 0) {
		if err != nil {
			return err
		}
	}
	return log.Check(t.Context())
}
