// Package site is what the servers among the examples have in common beside the library:
// a data folder, the CNCF distribution registry in the same process, and the way from a
// listener to a clean end. What makes each of them an example is in the example.
package site

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/oatmill/oatmill/events/durable/sqlitelog"
	"github.com/oatmill/oatmill/examples/internal/cli"
)

// DefaultData is beside where the program is started, so that trying it out leaves one
// folder that is easily found and removed.
const DefaultData = "./oatmill-data"

// Folder is a data folder. Everything in it belongs to the server's user alone. The
// examples keep the same things under the same names, so that one can serve, or manage,
// what another one began.
type Folder string

// The names of files in a data folder.
const (
	LogName  = "oatmill.db"
	KeysName = "keys.json"
	JWKSName = "jwks.json"
)

// Log is the event log.
func (f Folder) Log() string { return f.File(LogName) }

// Keys is what signs registry tokens.
func (f Folder) Keys() string { return f.File(KeysName) }

// JWKS is what the registry verifies them by.
func (f Folder) JWKS() string { return f.File(JWKSName) }

// Images is where the registry keeps images.
func (f Folder) Images() string { return f.File("images") }

// File is something else in the folder.
func (f Folder) File(name string) string { return filepath.Join(string(f), name) }

// DataUsage is what to say of the flag that names the folder.
const DataUsage = "the `folder` that everything is kept in, which is made if need be; others than its owner must not be able to read it (mode 0700)"

// Create calls fill, which may create the named files in the folder. The folder, and those
// above it, are made before where they do not exist. After an error of fill those of the
// files, and the folders, that did not exist before are removed again, so that nothing is
// left half made.
//
// As long as a file is missing, one process at a time fills the folder. Others wait for
// its end or that of ctx. fill must not call Create.
//
// A folder that other users may read is refused: the databases in it have no protection but
// the folder's.
func (f Folder) Create(ctx context.Context, names []string, fill func() error) error {
	folder, made, err := f.open(ctx)
	if err != nil {
		return err
	}
	missing := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		_, err := os.Lstat(f.File(name))
		return !errors.Is(err, fs.ErrNotExist)
	})
	if len(missing) == 0 {
		folder.unlock()
		return fill()
	}
	defer folder.unlock()
	if err = fill(); err != nil && folder.locked {
		err = errors.Join(err, f.remove(missing), removeFolders(made))
	}
	return err
}

// remove removes files, and what SQLite keeps next to them.
func (f Folder) remove(names []string) (err error) {
	for _, name := range names {
		for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
			if problem := os.Remove(f.File(name + suffix)); !errors.Is(problem, fs.ErrNotExist) {
				err = errors.Join(err, problem)
			}
		}
	}
	return err
}

// lockedFolder is an open folder, which the process has locked where the file system can.
type lockedFolder struct {
	*os.File
	locked bool
}

func (l *lockedFolder) unlock() { _ = l.Close() } // nothing was written

// open returns the folder, locked, and the folders that it made, outermost first.
func (f Folder) open(ctx context.Context) (folder *lockedFolder, made []string, err error) {
	if f == "" {
		return nil, nil, cli.Usagef("--data: want the name of a folder")
	}
	for {
		folder, made, err = f.tryOpen(ctx)
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("data folder: %w", err), removeFolders(made))
		}
		if folder != nil {
			return folder, made, nil
		}
	}
}

// tryOpen returns no folder where the one it opened was removed before it was locked, by a
// process that failed to fill it.
func (f Folder) tryOpen(ctx context.Context) (folder *lockedFolder, made []string, err error) {
	path := filepath.Clean(string(f))
	if made, err = makeFolders(path); err != nil {
		return nil, nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		if _, gone := os.Lstat(path); errors.Is(err, fs.ErrNotExist) && gone != nil {
			err = ctx.Err()
		}
		return nil, made, err
	}
	folder = &lockedFolder{File: file}
	opened, err := checkPrivate(file)
	if err == nil {
		folder.locked, err = lock(ctx, file)
	}
	if now, gone := os.Stat(path); err != nil || gone != nil || !os.SameFile(opened, now) {
		folder.unlock()
		return nil, made, err
	}
	return folder, made, nil
}

func checkPrivate(folder *os.File) (fs.FileInfo, error) {
	info, err := folder.Stat()
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a folder", folder.Name())
	}
	// Windows keeps no such modes.
	if others := info.Mode().Perm() & 0o077; others != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("others than its owner may read %s: chmod 700 it, or name a folder in it", folder.Name())
	}
	return info, nil
}

// makeFolders makes a folder and those above it, and returns the ones that did not exist,
// outermost first.
func makeFolders(path string) (made []string, err error) {
	err = os.Mkdir(path, 0o700)
	if parent := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && parent != path {
		if made, err = makeFolders(parent); err == nil {
			err = os.Mkdir(path, 0o700)
		}
	}
	switch {
	case err == nil:
		return append(made, path), nil
	case errors.Is(err, fs.ErrExist):
		return made, nil
	}
	return nil, errors.Join(err, removeFolders(made))
}

// removeFolders removes empty folders, innermost first. It stops at one that another process
// has put something into.
func removeFolders(made []string) error {
	for _, path := range slices.Backward(made) {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("not removed: %w", err)
		}
	}
	return nil
}

// OpenLog opens the log.
func (f Folder) OpenLog(ctx context.Context) (*sqlitelog.Log, error) {
	return sqlitelog.Open(ctx, f.Log(), sqlitelog.Config{})
}

// WithLog opens the log, which it makes where there is none, and closes it after do. What it
// made is removed again if do fails.
func (f Folder) WithLog(ctx context.Context, do func(*sqlitelog.Log) error) error {
	return f.Create(ctx, []string{LogName}, func() (err error) {
		log, err := f.OpenLog(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, log.Close()) }()
		return do(log)
	})
}
