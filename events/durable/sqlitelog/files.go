package sqlitelog

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/oatmill/oatmill/events"
)

// errMoved is in every error about a file that is not where the log was opened.
var errMoved = fmt.Errorf("%w: file was moved, replaced or deleted while the log was open", events.ErrUnavailable)

// files identifies the files of an open log: the database, the write-ahead log and the
// shared memory. SQLite keeps working on files that have been renamed or deleted, and
// closes by deleting what has the names of the last two by then: the write-ahead log of
// another database, if one was put in the place of this one. A record that it would
// acknowledge then is lost to everyone who opens the log by its name.
type files struct {
	names [3]string
	infos [3]os.FileInfo
	other atomic.Pointer[error] // see check
}

// noteFiles returns the files of a log that has just been opened.
func noteFiles(file string) (*files, error) {
	// SQLite follows links, and creates the other two next to the database itself.
	target, err := filepath.EvalSymlinks(file)
	f := &files{names: [3]string{file, target + "-wal", target + "-shm"}}
	for i := range f.names {
		if err == nil {
			f.infos[i], err = os.Stat(f.names[i])
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMoved, err)
	}
	return f, nil
}

// check returns an error if a name does not stand for the file that was opened. Files that are
// missing may come back, as those on another disk do. Once there was another file in the place
// of one, check always returns the error: a process that opened that file may have used the
// write-ahead log, whose content does not say which file it belongs to.
func (f *files) check() error {
	if f == nil { // the log is being opened
		return nil
	}
	if other := f.other.Load(); other != nil {
		return *other
	}
	for i, name := range f.names {
		info, err := os.Stat(name)
		switch {
		case err == nil && os.SameFile(info, f.infos[i]):
			continue
		case err == nil:
			err = fmt.Errorf("%w: %s is another file now", errMoved, name)
			f.other.CompareAndSwap(nil, &err)
			return *f.other.Load()
		case err != nil:
			return fmt.Errorf("%w: %w", errMoved, err)
		}
	}
	return nil
}

// dial opens another connection to the files, see [dial].
func (f *files) dial(patience time.Duration) (*conn, error) {
	c, err := dial(f.names[0], patience)
	if err != nil {
		return nil, err
	}
	c.files = f
	return c, nil
}
