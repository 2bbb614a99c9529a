package sqlitelog

import (
	"errors"
	"fmt"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/oatmill/oatmill/events"
)

// Errors that callers branch on, beside those of package events.
var (
	// ErrBusy means that another process or log wrote to the file, or held it, for longer
	// than Config.BusyTimeout. Nothing was done.
	ErrBusy = errors.New("file is locked by another writer")

	// ErrFull means that the disk, or the space the file may take, is full. Nothing
	// was appended. The log goes on by itself when there is space again.
	ErrFull = errors.New("disk is full")

	// ErrNewer means that a newer version of this library laid the file out. It is
	// also an [events.ErrDamaged], so that whoever does not know it stops as well.
	ErrNewer = fmt.Errorf("%w: laid out by a newer version of this library", events.ErrDamaged)
)

// explain gives an error of SQLite the meaning it has for a caller, and the name of the
// file it is about. What it has explained already, and what is no error of SQLite, it
// leaves as it is.
func explain(file string, err error) error {
	if err == nil {
		return nil
	}
	failed, ok := err.(*failure)
	if !ok {
		return err
	}
	switch failed.code & 0xff {
	case sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%w: %s is no SQLite database, or its first page is overwritten: %w", events.ErrDamaged, file, err)
	case sqlite3.SQLITE_CORRUPT:
		return fmt.Errorf("%w: %s has damaged pages: %w", events.ErrDamaged, file, err)
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w: %s: %w", ErrFull, file, err)
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL:
		return fmt.Errorf("%w: %s: %w", ErrBusy, file, err)
	case sqlite3.SQLITE_CANTOPEN:
		return fmt.Errorf("%s cannot be opened, or the files -wal and -shm beside it cannot be made: is the folder or its file system read-only? %w", file, err)
	case sqlite3.SQLITE_READONLY:
		return fmt.Errorf("%s cannot be written: %w", file, err)
	}
	return fmt.Errorf("%s: %w", file, err)
}

// undone tells of an error of COMMIT whether the transaction is certainly not in the
// file. Without space the last page of the transaction, which makes it valid, was not
// written. After any other failure, of fsync above all, it may be there, and come
// to light when the next process recovers the file.
func undone(err error) bool {
	return errors.Is(err, ErrFull) || errors.Is(err, ErrBusy)
}

// nothingOpen tells of an error of ROLLBACK whether there was no transaction, because
// SQLite had ended it by itself.
func nothingOpen(err error) bool {
	return codeOf(err) == sqlite3.SQLITE_ERROR
}

// interrupted tells whether a statement was ended from outside.
func interrupted(err error) bool { return codeOf(err) == sqlite3.SQLITE_INTERRUPT }

// codeOf is the primary code of an error of SQLite, 0 when there is none.
func codeOf(err error) int32 {
	var failed *failure
	if !errors.As(err, &failed) {
		return sqlite3.SQLITE_OK
	}
	return failed.code & 0xff
}

// damaged is an error about something in the file that this library did not put
// there like that.
func damaged(file, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", events.ErrDamaged, file, fmt.Sprintf(format, args...))
}
