package sqlitelog_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
)

// mount gives the test a small disk of its own.
func mount(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if err := syscall.Mount("oatmill", folder, "tmpfs", 0, "size=4m"); err != nil {
		testkit.Missing(t, fmt.Sprintf("needs the right to mount a tmpfs: run as root (%v)", err))
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(folder, 0); err != nil {
			t.Errorf("unmount %s: %v", folder, err)
		}
	})
	return folder
}

// TestDiskFull fills a disk, and makes space again. What breaks it is what breaks
// TestFileMayNotGrow. Here it is the write-ahead log that finds no space, in the middle
// of a COMMIT.
func TestDiskFull(t *testing.T) {
	folder := mount(t)
	path, ballast := filepath.Join(folder, "events.db"), filepath.Join(folder, "ballast")
	log := openFor(t, path, sqlitelog.Config{})
	fill := func() {
		if err := os.WriteFile(ballast, make([]byte, 3<<20), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	free := func() {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	}
	full(t, log, path, fill, free)
}

// TestClosedOnFullDisk closes a log while its disk is full, and opens it there again:
// what was acknowledged can be read, also where nothing can be written. Close may say
// that the disk is full, because it could not move the write-ahead log into the file.
func TestClosedOnFullDisk(t *testing.T) {
	path := filepath.Join(mount(t), "events.db")
	log := open(t, path, sqlitelog.Config{})
	acknowledged, refused := untilFull(t, log, testkit.NewGenerator(), path)
	for range 2 {
		closeFull(t, log)
		log = open(t, path, sqlitelog.Config{})
		mustHold(t, log, acknowledged, refused)
	}
	closeFull(t, log)
}

// TestOpensOnFullDisk closes a log in good order, fills its disk to the last byte, and opens
// the log again: it can be read, appends are refused as [sqlitelog.ErrFull], and after there
// is space again they are carried out. Source: SQLite, "Write-Ahead Logging", section 5
// (read-only databases need the files -wal and -shm, or the right and the space to make them).
//
// Fails if the writer's prepare leaves out keepFiles (opening ends with a disk I/O error), or if the
// writer's close leaves out journal_size_limit (frames stay in the file -wal).
func TestOpensOnFullDisk(t *testing.T) {
	folder := mount(t)
	path, ballast := filepath.Join(folder, "events.db"), filepath.Join(folder, "ballast")
	g := testkit.NewGenerator()
	log := open(t, path, sqlitelog.Config{})
	acknowledged := testkit.Append(t, log, "organization/acme", g.Batch(10)...)
	mustClose(t, log)
	if info, err := os.Stat(path + "-wal"); err != nil || info.Size() != 0 {
		t.Errorf("after Close the file -wal is %v (%v), want it empty", info, err)
	}
	fillDisk(t, ballast)

	log = openFor(t, path, sqlitelog.Config{})
	mustHold(t, log, acknowledged, nil)
	_, refused := untilFull(t, log, g, path)
	mustHold(t, log, acknowledged, refused)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	acknowledged = append(acknowledged, testkit.Append(t, log, "organization/acme", refused...)...)
	mustHold(t, log, acknowledged, nil)
}

// fillDisk writes a file that takes all the space that is left.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for err == nil {
		_, err = file.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

func closeFull(t *testing.T, log *sqlitelog.Log) {
	t.Helper()
	if err := log.Close(); err != nil && !errors.Is(err, events.ErrFull) {
		t.Errorf("closing with a full disk: %v", err)
	}
}

// TestReadOnlyFileSystem opens a log where nobody may write, root neither.
func TestReadOnlyFileSystem(t *testing.T) {
	folder := mount(t)
	path := filepath.Join(folder, "events.db")
	log := open(t, path, sqlitelog.Config{})
	testkit.Fill(t, log, 10, 1)
	mustClose(t, log)
	if err := syscall.Mount("oatmill", folder, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		testkit.Missing(t, fmt.Sprintf("needs the right to remount a tmpfs: run as root (%v)", err))
	}
	_, err := refused(t, path)
	if !errors.Is(err, events.ErrReadOnly) || errors.Is(err, events.ErrDamaged) {
		t.Errorf("a read-only file system is %v", err)
	}
}

const limitVariable = "OATMILL_TEST_FILE_LIMIT"

// TestFileLimit gives a process a limit for the size of its files (ulimit -f). For
// SQLite that is some error of the operating system and not a full disk, so that the
// outcome counts as unknown. Whoever is told that finds that nothing of the
// append is there, and the log goes on when the limit is lifted. What breaks it is what
// breaks TestFileMayNotGrow.
func TestFileLimit(t *testing.T) {
	if path := os.Getenv(limitVariable); path != "" {
		underLimit(t, path)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := newPath(t)
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestFileLimit$", "-test.v")
	cmd.Env = append(os.Environ(), limitVariable+"="+path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	log := openFor(t, path, sqlitelog.Config{})
	if n := len(testkit.Sound(t, log)); n == 0 {
		t.Error("nothing was appended")
	}
}

func underLimit(t *testing.T, path string) {
	signal.Ignore(syscall.SIGXFSZ)
	log := openFor(t, path, sqlitelog.Config{})
	g := testkit.NewGenerator()
	acknowledged := testkit.Append(t, log, "organization/acme", g.Batch(3)...)
	lift := limitFiles(t, 512<<10)
	var refused []events.Envelope
	for refused == nil {
		batch := g.Batch(200)
		records, err := log.Append(context.Background(), "organization/acme", events.Any, batch...)
		if acknowledged = append(acknowledged, records...); err == nil {
			continue
		}
		refused = batch
		if !strings.Contains(err.Error(), path) || !errors.Is(err, events.ErrUnknownOutcome) && !errors.Is(err, events.ErrFull) {
			t.Errorf("a limit of the file size is %v", err)
		}
	}
	mustHold(t, log, acknowledged, refused)
	lift()
	acknowledged = append(acknowledged, testkit.Append(t, log, "organization/acme", refused...)...)
	mustHold(t, log, acknowledged, nil)
}

// limitFiles sets the limit, and returns what lifts it.
func limitFiles(t *testing.T, size uint64) func() {
	t.Helper()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	set := func(l syscall.Rlimit) {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &l); err != nil {
			t.Fatal(err)
		}
	}
	set(syscall.Rlimit{Cur: size, Max: before.Max})
	return func() { set(before) }
}
