package sqlitelog_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
)

// moves has the ways in which the names of an open log's files come to stand for something
// else. Most are in "How To Corrupt An SQLite Database File", sqlite.org/howtocorrupt.html,
// 1.4, 2.2, 2.4 and 2.5. beside returns the path of a closed log in the same file system.
var moves = map[string]func(path string, beside func() string) error{
	"renamed":                 func(path string, _ func() string) error { return os.Rename(path, path+".old") },
	"replaced":                func(path string, beside func() string) error { return os.Rename(beside(), path) },
	"deleted":                 func(path string, _ func() string) error { return os.Remove(path) },
	"write-ahead log deleted": func(path string, _ func() string) error { return os.Remove(path + "-wal") },
	"shared memory deleted":   func(path string, _ func() string) error { return os.Remove(path + "-shm") },
	"write-ahead log replaced": func(path string, beside func() string) error {
		return os.Rename(beside(), path+"-wal")
	},
	"all deleted": func(path string, _ func() string) error {
		return errors.Join(os.Remove(path), os.Remove(path+"-wal"), os.Remove(path+"-shm"))
	},
	"all renamed": func(path string, _ func() string) error {
		return errors.Join(os.Rename(path, path+".old"), os.Rename(path+"-wal", path+".old-wal"), os.Rename(path+"-shm", path+".old-shm"))
	},
	"folder moved": func(path string, _ func() string) error {
		return os.Rename(filepath.Dir(path), filepath.Dir(path)+".old")
	},
	"folder moved, an empty one there": func(path string, _ func() string) error {
		return errors.Join(os.Rename(filepath.Dir(path), filepath.Dir(path)+".old"), os.Mkdir(filepath.Dir(path), 0o700))
	},
	"folder moved, a file there": func(path string, _ func() string) error {
		return errors.Join(os.Rename(filepath.Dir(path), filepath.Dir(path)+".old"), os.WriteFile(filepath.Dir(path), nil, 0o600))
	},
	"link points elsewhere": func(path string, beside func() string) error {
		return errors.Join(os.Remove(path), os.Symlink(beside(), path))
	},
}

// calls has what a caller may do with a log. The function that a call returns yields its
// error; most begin only then, after the file was moved.
var calls = map[string]func(t *testing.T, log *sqlitelog.Log) func() error{
	"Append": func(t *testing.T, log *sqlitelog.Log) func() error {
		return func() error {
			_, err := log.Append(context.Background(), acme, events.Any, testkit.NewGenerator().Batch(4)[3])
			if errors.Is(err, events.ErrUnknownOutcome) {
				t.Errorf("the outcome of an append after the move is unknown: %v", err)
			}
			return err
		}
	},
	"ReadAll": func(t *testing.T, log *sqlitelog.Log) func() error {
		return func() (err error) {
			for _, err = range log.ReadAll(t.Context(), 0) {
				continue
			}
			return err
		}
	},
	"ReadStream": func(t *testing.T, log *sqlitelog.Log) func() error {
		return func() (err error) {
			for _, err = range log.ReadStream(t.Context(), acme, 0) {
				continue
			}
			return err
		}
	},
	"Head": func(t *testing.T, log *sqlitelog.Log) func() error {
		return func() error { _, err := log.Head(t.Context(), acme); return err }
	},
	"End": func(t *testing.T, log *sqlitelog.Log) func() error {
		return func() error { _, err := log.End(t.Context()); return err }
	},
	"Wait": func(t *testing.T, log *sqlitelog.Log) func() error {
		return func() error { return log.Wait(t.Context(), 3) }
	},
	"Wait that was under way": func(t *testing.T, log *sqlitelog.Log) func() error {
		waited := make(chan error, 1)
		go func() { waited <- log.Wait(t.Context(), 3) }()
		return func() error { return <-waited }
	},
	"Check": func(t *testing.T, log *sqlitelog.Log) func() error {
		return func() error { return log.Check(t.Context()) }
	},
	"SaveCheckpoint": func(t *testing.T, log *sqlitelog.Log) func() error {
		return func() error { return log.SaveCheckpoint(context.Background(), "reader", 3) }
	},
	"LoadCheckpoint": func(t *testing.T, log *sqlitelog.Log) func() error {
		return func() error { _, err := log.LoadCheckpoint(t.Context(), "reader"); return err }
	},
	"Close": func(t *testing.T, log *sqlitelog.Log) func() error { return log.Close },
}

// TestMovedFiles moves the files of an open log in every way, before its first read and
// after, and calls everything. Each call must return an error with the path. A log that was
// opened at the path meanwhile keeps its files as they are.
//
// Fails if tryLock, lend or newest leave the check out, or if close lets SQLite delete by
// name.
func TestMovedFiles(t *testing.T) {
	for name, move := range moves {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for call := range calls {
				moved(t, call, false, false, move)
				moved(t, call, true, false, move)
			}
		})
	}
}

// TestMovedFilesWithAnotherLog opens another log at the path, and keeps it open or closes it,
// where that does not take over the write-ahead log of the one that was moved.
//
// Fails if commitGroup answers nobody when a transaction fails before it took the first
// request: Append then never returns.
func TestMovedFilesWithAnotherLog(t *testing.T) {
	for _, name := range []string{"renamed", "all renamed", "deleted", "all deleted", "folder moved, an empty one there"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for call := range calls {
				moved(t, call, false, true, moves[name])
				moved(t, call, true, true, moves[name])
			}
		})
	}
}

// moved opens a log, moves its files and does one call and Close. used says whether it was
// read before, another whether a second log is opened at the path: one that is closed
// before the call, and one that is open until the end.
func moved(t *testing.T, call string, used, another bool, move func(string, func() string) error) {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "events.db")
	log := open(t, path, sqlitelog.Config{})
	batch := testkit.NewGenerator().Batch(3)
	testkit.Append(t, log, acme, batch[:2]...)
	if used {
		appendByAnother(t, log, path, batch[2])
	} else {
		testkit.Append(t, log, acme, batch[2])
	}
	run := calls[call](t, log)
	if err := move(path, func() string { return newAcme(t, 2) }); err != nil {
		t.Fatal(err)
	}
	var other *sqlitelog.Log
	if another {
		g := testkit.NewGenerator()
		other = open(t, path, sqlitelog.Config{})
		testkit.Append(t, other, acme, g.Batch(1)...)
		mustClose(t, other)
		other = open(t, path, sqlitelog.Config{})
		testkit.Append(t, other, acme, g.Batch(1)...)
	}
	before := filesAt(path)
	mustRefuse(t, call, path, run)
	mustRefuse(t, "Close after "+call, path, log.Close)
	if after := filesAt(path); !maps.Equal(before, after) {
		t.Errorf("%s changed the files that are at the path now", call)
	}
	if another {
		if n := len(testkit.Sound(t, other)); n != 2 {
			t.Errorf("the other log has %d records, want 2", n)
		}
		mustClose(t, other)
	}
}

// appendByAnother appends the third record through another handle, and returns when the log
// has seen it and was read: its connections that look and read are open then. One that is
// being opened while the files move creates a write-ahead log where there is none.
func appendByAnother(t *testing.T, log *sqlitelog.Log, path string, third events.Envelope) {
	t.Helper()
	second := open(t, path, sqlitelog.Config{})
	woken := make(chan error, 1)
	go func() { woken <- log.Wait(t.Context(), 2) }()
	testkit.Append(t, second, acme, third)
	if err := <-woken; err != nil {
		t.Fatal(err)
	}
	mustClose(t, second)
	testkit.Sound(t, log)
}

// mustRefuse fails the test unless run returns an error with the path, and does so at all.
func mustRefuse(t *testing.T, call, path string, run func() error) {
	t.Helper()
	returned := make(chan error, 1)
	go func() { returned <- run() }()
	select {
	case err := <-returned:
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s returns %v, want an error about %s", call, err, path)
		}
	case <-time.After(time.Minute):
		t.Fatalf("%s does not return", call)
	}
}

// filesAt returns the content of the files of the log at a path.
func filesAt(path string) map[string]string {
	files := make(map[string]string)
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		if b, err := os.ReadFile(name); err == nil {
			files[name] = string(b)
		}
	}
	return files
}

// TestMovedFolderWithLink moves the folder of an open log and leaves a link to it at its old
// place, as an administrator does when a disk is full. The names stand for the same files,
// so the log goes on.
//
// Fails if check takes a path that leads through other links for another file.
func TestMovedFolderWithLink(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	log := openFor(t, filepath.Join(folder, "events.db"), sqlitelog.Config{})
	g := testkit.NewGenerator()
	testkit.Append(t, log, acme, g.Batch(3)...)
	if err := errors.Join(os.Rename(folder, folder+".new"), os.Symlink(folder+".new", folder)); err != nil {
		t.Fatal(err)
	}
	testkit.Append(t, log, acme, g.Batch(3)...)
	if n := len(testkit.Sound(t, log)); n != 6 {
		t.Errorf("%d records, want 6", n)
	}
}

// TestMovedBack takes the files away and puts them back, as happens with a disk. The log goes
// on, unless there was another file in the place of the log meanwhile.
//
// Fails if check forgets that there was another file, or remembers that there was none.
func TestMovedBack(t *testing.T) {
	for name, goesOn := range map[string]bool{"nothing there meanwhile": true, "another file there meanwhile": false} {
		t.Run(name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "logs")
			if err := os.Mkdir(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(folder, "events.db")
			log := open(t, path, sqlitelog.Config{})
			g := testkit.NewGenerator()
			testkit.Append(t, log, acme, g.Batch(3)...)
			away := folder + ".away"
			if err := os.Rename(folder, away); err != nil {
				t.Fatal(err)
			}
			if !goesOn {
				if err := errors.Join(os.Mkdir(folder, 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			mustRefuse(t, "Append", path, calls["Append"](t, log))
			if err := errors.Join(os.RemoveAll(folder), os.Rename(away, folder)); err != nil {
				t.Fatal(err)
			}
			want := 3
			if goesOn {
				testkit.Append(t, log, acme, g.Batch(1)...)
				mustClose(t, log)
				want = 4
			} else {
				mustRefuse(t, "Append", path, calls["Append"](t, log))
				mustRefuse(t, "Close", path, log.Close)
			}
			if n := len(testkit.Sound(t, openFor(t, path, sqlitelog.Config{}))); n != want {
				t.Errorf("after the restart there are %d records, want %d", n, want)
			}
		})
	}
}

// TestUnreadableEnd has another program drop the table of records under an open log. Append
// must return the error with which its transaction began.
//
// Fails if commitGroup answers nobody when a transaction fails before it took a request:
// Append then never returns.
func TestUnreadableEnd(t *testing.T) {
	path := newAcme(t, 3)
	log := openFor(t, path, sqlitelog.Config{})
	if err := raw(t, path, "DROP VIEW log", "DROP TABLE records"); err != nil {
		t.Fatal(err)
	}
	mustRefuse(t, "Append", path, calls["Append"](t, log))
}
