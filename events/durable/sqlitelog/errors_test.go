package sqlitelog

import (
	"errors"
	"syscall"
	"testing"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/oatmill/oatmill/events"
)

// TestErrorsHaveTheCommonValues maps SQLite's result codes (sqlite.org/rescode.html) to the
// values of package events that every log shares.
//
// Fails if explain ignores the operating system's error, or leaves out a code.
func TestErrorsHaveTheCommonValues(t *testing.T) {
	for _, c := range []struct {
		code  int32
		errno syscall.Errno
		want  error
	}{
		{sqlite3.SQLITE_FULL, 0, events.ErrFull},
		{sqlite3.SQLITE_IOERR_FSYNC, syscall.ENOSPC, events.ErrFull},
		{sqlite3.SQLITE_IOERR_WRITE, syscall.EDQUOT, events.ErrFull},
		{sqlite3.SQLITE_IOERR_SHMSIZE, syscall.ENOSPC, events.ErrFull},
		{sqlite3.SQLITE_IOERR_READ, syscall.EIO, events.ErrUnavailable},
		{sqlite3.SQLITE_BUSY, 0, events.ErrBusy},
		{sqlite3.SQLITE_BUSY_SNAPSHOT, 0, events.ErrBusy},
		{sqlite3.SQLITE_LOCKED, 0, events.ErrBusy},
		{sqlite3.SQLITE_READONLY, 0, events.ErrReadOnly},
		{sqlite3.SQLITE_READONLY_DIRECTORY, 0, events.ErrReadOnly},
		{sqlite3.SQLITE_READONLY_DBMOVED, 0, events.ErrUnavailable},
		{sqlite3.SQLITE_CANTOPEN, syscall.EROFS, events.ErrReadOnly},
		{sqlite3.SQLITE_CANTOPEN, syscall.EACCES, events.ErrDenied},
		{sqlite3.SQLITE_CANTOPEN, syscall.ENOENT, events.ErrUnavailable},
		{sqlite3.SQLITE_CANTOPEN, syscall.EMFILE, events.ErrUnavailable},
		{sqlite3.SQLITE_PERM, 0, events.ErrDenied},
		{sqlite3.SQLITE_CORRUPT, 0, events.ErrDamaged},
		{sqlite3.SQLITE_NOTADB, 0, events.ErrDamaged},
	} {
		err := explain("oats.db", &failure{code: c.code, text: "as SQLite says it", errno: c.errno})
		if !errors.Is(err, c.want) {
			t.Errorf("code %d, %v: %v, want %q", c.code, c.errno, err, c.want)
		}
	}
}

// TestFullDiskAtSyncIsUnknown fails if undone goes by ErrFull: when fsync reports the full
// disk, the transaction may be in the file already.
func TestFullDiskAtSyncIsUnknown(t *testing.T) {
	err := explain("oats.db", &failure{code: sqlite3.SQLITE_IOERR_FSYNC, errno: syscall.ENOSPC})
	if undone(err) {
		t.Errorf("%v counts as rolled back", err)
	}
	if err := explain("oats.db", &failure{code: sqlite3.SQLITE_FULL}); !undone(err) {
		t.Errorf("%v does not count as rolled back", err)
	}
}
