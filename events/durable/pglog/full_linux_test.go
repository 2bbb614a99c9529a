package pglog_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/pglog"
	"github.com/oatmill/oatmill/events/durable/pgserver"
)

// smallDisk is a disk that holds a tablespace and little else, owned by the server's user.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Getenv(pgserver.Env) != "" {
		testkit.Missing(t, "the server at $"+pgserver.Env+" has a disk of its own: unset it")
	}
	dir, err := os.MkdirTemp("", "oatmill-pglog-disk-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	if err := syscall.Mount("oatmill", dir, "tmpfs", 0, "size=3m,mode=0777"); err != nil {
		testkit.Missing(t, fmt.Sprintf("needs the right to mount a tmpfs: run as root (%v)", err))
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestDiskFull has the tables on a disk that gets full. Appends are refused with events.ErrFull and
// leave no trace, reads go on, and so do appends when there is space again.
//
// What breaks it: calling PostgreSQL's 53100 an unknown outcome.
func TestDiskFull(t *testing.T) {
	dir := smallDisk(t)
	server := ownServer(t, map[string]string{"fsync": "off"})
	inside := filepath.Join(dir, "space")
	if err := os.Mkdir(inside, 0o700); err != nil {
		t.Fatal(err)
	}
	owner, err := os.Stat(server.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(inside, int(owner.Sys().(*syscall.Stat_t).Uid), -1); err != nil {
		t.Fatal(err)
	}
	mustExec(t, server.URL(), `CREATE TABLESPACE small LOCATION '`+inside+`'`, `ALTER DATABASE postgres SET default_tablespace = small`)
	log, g := openFor(t, server.URL(), pglog.Config{}), testkit.NewGenerator()
	var acknowledged []events.Recorded
	appendOne := func() error {
		records, err := log.Append(t.Context(), acme, events.Any, g.Batch(20)...)
		acknowledged = append(acknowledged, records...)
		return err
	}
	ballast := filepath.Join(dir, "ballast")
	fillDisk(t, ballast)
	for err = nil; err == nil; {
		err = appendOne()
	}
	if !errors.Is(err, events.ErrFull) || errors.Is(err, events.ErrUnknownOutcome) || len(acknowledged) == 0 {
		t.Fatalf("after %d records: %v", len(acknowledged), err)
	}
	if err := appendOne(); !errors.Is(err, events.ErrFull) {
		t.Errorf("still full: %v", err)
	}
	mustHold(t, log, acknowledged)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := appendOne(); err != nil {
		t.Errorf("with space again: %v", err)
	}
	mustHold(t, log, acknowledged)
}

// mustHold demands that the log holds these records and no others.
func mustHold(t *testing.T, log *pglog.Log, want []events.Recorded) {
	t.Helper()
	got := sound(t, log)
	if len(got) != len(want) {
		t.Errorf("%d records, %d were acknowledged", len(got), len(want))
	}
	for _, r := range want {
		if there, ok := got[r.ID.String()]; !ok || !there.Equal(r) {
			t.Errorf("%s is not there as it was acknowledged", r.ID)
		}
	}
}

// fillDisk leaves a little space beside a file.
func fillDisk(t *testing.T, name string) {
	t.Helper()
	var disk syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(name), &disk); err != nil {
		t.Fatal(err)
	}
	free := int64(disk.Bavail) * disk.Bsize
	if err := os.WriteFile(name, make([]byte, free-200<<10), 0o600); err != nil {
		t.Fatal(err)
	}
}
