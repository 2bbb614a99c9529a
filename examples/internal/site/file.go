package site

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// WriteFile writes a file that its owner alone may read, all of it or nothing: a crash, or a
// full disk, leaves the old file or the new one. A file that holds the data already is left
// as it is.
func WriteFile(path string, data []byte) error {
	if held, err := os.ReadFile(path); err == nil && bytes.Equal(held, data) {
		return nil
	}
	return placeFile(path, data, os.Rename)
}

// CreateFile writes a file as [WriteFile] does, where there is none. Otherwise it returns
// [fs.ErrExist].
func CreateFile(path string, data []byte) error { return placeFile(path, data, os.Link) }

// placeFile writes data under a temporary name in the file's folder, makes it durable, and
// has place put it where it belongs.
func placeFile(path string, data []byte, place func(from, to string) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // with mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = place(f.Name(), path)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// syncFolder makes the names in a folder durable, where the system knows how.
func syncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// ReadKey reads a key of size bytes from a file, which it fills with what generate returns
// where there is none. Several processes may do this at once and get the same key. The error
// for a file that holds no key, or that other users may read, says what to do.
func ReadKey(path string, size int, generate func() []byte) ([]byte, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := CreateFile(path, generate()); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		info, err = os.Stat(path)
	}
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file: remove it, and a new key is made", path)
	case info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows":
		return nil, fmt.Errorf("users other than its owner may use %s: chmod 600 it, or remove it if they may have read it, and a new key is made", path)
	}
	key, err := os.ReadFile(path)
	if err == nil && len(key) != size {
		err = fmt.Errorf("%s does not hold a whole key (%d bytes, want %d): remove it, and a new one is made", path, len(key), size)
	}
	return key, err
}
