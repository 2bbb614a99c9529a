package sqlitelog

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/oatmill/oatmill/events"
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
		return fmt.Errorf("%w: %s: %w", events.ErrFull, file, err)
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL:
		return fmt.Errorf("%w: %s: %w", events.ErrBusy, file, err)
	case sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH:
		return fmt.Errorf("%w: %s: %w", events.ErrDenied, file, err)
	case sqlite3.SQLITE_READONLY:
		if failed.code == sqlite3.SQLITE_READONLY_DBMOVED {
			return fmt.Errorf("%w: %s was moved or deleted while it was open: %w", events.ErrUnavailable, file, err)
		}
		return fmt.Errorf("%w: %s cannot be written: %w", events.ErrReadOnly, file, err)
	case sqlite3.SQLITE_CANTOPEN:
		return fmt.Errorf("%w: %s cannot be opened, or the files -wal and -shm next to it cannot be created: %w", failed.storage(file), file, err)
	case sqlite3.SQLITE_IOERR:
		return fmt.Errorf("%w: %s: %w", failed.storage(file), file, err)
	}
	return fmt.Errorf("%s: %w", file, err)
}

// storage returns the error value for what the operating system reported about the file.
// SQLite itself knows a full disk only when it writes pages: a full disk or quota at fsync,
// or when the files -wal and -shm are extended, is a plain I/O error to it. Where SQLite
// could not create a file, it reports only that the file is missing; then the folder tells.
func (f *failure) storage(file string) error {
	errno := f.errno
	if errno == syscall.ENOENT {
		errno = unwritable(filepath.Dir(file))
	}
	switch errno {
	case syscall.ENOSPC, syscall.EDQUOT:
		return events.ErrFull
	case syscall.EACCES, syscall.EPERM:
		return events.ErrDenied
	case syscall.EROFS:
		return events.ErrReadOnly
	}
	return events.ErrUnavailable
}

// undone tells of an error of COMMIT whether the transaction is certainly not in the
// file. Without space the last page of the transaction, which makes it valid, was not
// written. After any other failure, of fsync above all, it may be there, and come
// to light when the next process recovers the file.
func undone(err error) bool {
	switch codeOf(err) {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL:
		return true
	}
	return false
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
