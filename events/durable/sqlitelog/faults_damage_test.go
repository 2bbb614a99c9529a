package sqlitelog_test

import (
	"errors"
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

// TestGuards has raw SQL try what the triggers forbid. Leaving any of the guards out of
// schema breaks it.
func TestGuards(t *testing.T) {
	path := newAcme(t, 40)
	for statement, answer := range map[string]string{
		"UPDATE records SET actor = 'mallory' WHERE version = 3": "a record is never changed",
		"DELETE FROM records WHERE version = 3":                  "a record is never deleted",
		"UPDATE blocks SET positions = '[1]'":                    "a block is never changed",
		"DELETE FROM blocks":                                     "a block is never deleted",
		"UPDATE streams SET name = 'organization/other'":         "a stream is never renamed",
		"UPDATE streams SET stream = 7":                          "a stream is never renamed",
		"DELETE FROM streams":                                    "a stream is never deleted",
	} {
		if err := raw(t, path, statement); err == nil || !strings.Contains(err.Error(), answer) {
			t.Errorf("%s: %v, want %q", statement, err, answer)
		}
	}
	if n := len(testkit.Sound(t, openFor(t, path, sqlitelog.Config{}))); n != 40 {
		t.Errorf("%d records, want 40", n)
	}
}

// TestTampering changes a log as somebody can who has the file: the guard is dropped
// first. The chain tells at which version the stream ceases to be what was appended.
//
// What breaks it: a place that stores no r.Previous, or an inspect that only warns of
// guards that are gone.
func TestTampering(t *testing.T) {
	for name, c := range map[string]struct {
		sql     string
		version events.Version
	}{
		"actor":           {"UPDATE records SET actor = 'mallory' WHERE version = 20", 21},
		"data":            {"UPDATE records SET data = replace(data, 'build server', 'other server') WHERE version = 20", 21},
		"time":            {"UPDATE records SET time = time + 1 WHERE version = 20", 21},
		"reason":          {"UPDATE records SET reason = 'because' WHERE version = 20", 21},
		"first record":    {"UPDATE records SET actor = 'mallory' WHERE version = 1", 2},
		"last record":     {"UPDATE records SET actor = 'mallory' WHERE version = 40", 40},
		"link":            {"UPDATE records SET previous = zeroblob(32) WHERE version = 20", 20},
		"version":         {"UPDATE records SET version = 41 WHERE version = 20", 20},
		"deleted record":  {"DELETE FROM records WHERE version = 20", 20},
		"deleted last":    {"DELETE FROM records WHERE version = 40", 40},
		"hash of stream":  {"UPDATE streams SET hash = zeroblob(32)", 40},
		"stream too long": {"UPDATE streams SET version = 39", 39},
	} {
		t.Run(name, func(t *testing.T) {
			path := newAcme(t, 40)
			if err := raw(t, path, "DROP TRIGGER records_no_update", "DROP TRIGGER records_no_delete", c.sql); err != nil {
				t.Fatal(err)
			}
			log := openFor(t, path, sqlitelog.Config{})
			_, err := events.VerifyChain(t.Context(), log, acme)
			var broken *events.ChainError
			if !errors.As(err, &broken) || broken.Stream != acme || broken.Version != c.version {
				t.Errorf("%v, want a *ChainError at version %d", err, c.version)
			}
			if err := raw(t, path, "DELETE FROM records"); err == nil {
				t.Error("Open has not put the guard back")
			}
		})
	}
}

// TestRecordTakenOut reads a log from which somebody took a record. A reader of the
// whole log must not go on as if nothing were missing. Giving collect -1 in allAfter,
// as reads of a stream do, breaks it.
func TestRecordTakenOut(t *testing.T) {
	path := newAcme(t, 40)
	if err := raw(t, path, "DROP TRIGGER records_no_delete", "DELETE FROM records WHERE version = 20"); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, err := range openFor(t, path, sqlitelog.Config{}).ReadAll(t.Context(), 0) {
		if err == nil {
			seen++
			continue
		}
		if !errors.Is(err, events.ErrDamaged) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "position 20") {
			t.Errorf("a record that is missing is %v", err)
		}
	}
	if seen != 19 {
		t.Errorf("%d records before the one that is missing, want 19", seen)
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
		"newer layout":        {changed("PRAGMA user_version = 3"), true, "newer"},
		"missing table":       {changed("PRAGMA foreign_keys = OFF", "DROP TABLE snapshots"), true, "snapshots is missing"},
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
	copied := newPath(t)
	withBytes(files["events.db"])(t, copied)
	wal := files["events.db-wal"]
	withBytes(wal[:len(wal)*2/3+100])(t, copied+"-wal")

	cut := openFor(t, copied, sqlitelog.Config{})
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
