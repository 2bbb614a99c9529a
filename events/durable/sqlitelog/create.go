package sqlitelog

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	sqlite3 "modernc.org/sqlite/lib"
)

// createFile creates the file of a log if there is none. Only its owner may read or write it,
// whatever the umask is. SQLite gives the write-ahead log and the shared memory the mode of
// the file. It creates files with 0644 minus the umask, or with the mode of another file, so
// createFile lends it one. To create the file without SQLite would not do: closing it would
// drop the locks of another log in this process that has opened it meanwhile.
func createFile(file string) (err error) {
	if info, err := os.Stat(file); err == nil {
		return alignModes(file, info.Mode())
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	template, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+"-mode-*")
	if err != nil {
		return fmt.Errorf("create %s: %w", file, err)
	}
	defer func() { err = errors.Join(err, os.Remove(template.Name())) }()
	if err := errors.Join(template.Chmod(0o600), template.Close()); err != nil {
		return fmt.Errorf("create %s: %w", file, err)
	}
	uri := "file://" + escape(file) + "?modeof=" + escape(template.Name())
	db, err := openDatabase(uri, sqlite3.SQLITE_OPEN_CREATE|sqlite3.SQLITE_OPEN_URI)
	if err == nil {
		err = db.close()
	}
	return explain(file, err)
}

// alignModes gives the write-ahead log and the shared memory, which stay when a log is
// closed, the mode that the file has by now. A process that may not do so leaves them.
func alignModes(file string, mode fs.FileMode) error {
	target, err := filepath.EvalSymlinks(file)
	if err != nil {
		return err
	}
	for _, name := range []string{target + "-wal", target + "-shm"} {
		info, err := os.Stat(name)
		if err != nil || info.Mode() == mode {
			continue
		}
		if err := os.Chmod(name, mode); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}

// escape returns an absolute path as it is written in a URI of SQLite, path or parameter.
func escape(path string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") { // a drive of Windows
		path = "/" + path
	}
	return strings.ReplaceAll((&url.URL{Path: path}).EscapedPath(), "&", "%26")
}
