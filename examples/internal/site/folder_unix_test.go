//go:build unix

package site_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oatmill/oatmill/examples/internal/cli"
	"github.com/oatmill/oatmill/examples/internal/site"
)

func nothing() error { return nil }

var errRefused = errors.New("refused")

// TestFolderIsPrivate: a folder that others may read is refused, and not left to whoever
// made it.
func TestFolderIsPrivate(t *testing.T) {
	data := site.Folder(filepath.Join(t.TempDir(), "data"))
	for range 2 {
		if err := data.Create(t.Context(), []string{"file"}, nothing); err != nil {
			t.Fatal(err)
		}
	}
	for _, mode := range []os.FileMode{0o755, 0o710, 0o704} {
		if err := os.Chmod(string(data), mode); err != nil {
			t.Fatal(err)
		}
		if err := data.Create(t.Context(), nil, nothing); err == nil || !strings.Contains(err.Error(), "chmod 700") {
			t.Errorf("a folder with mode %o: %v", mode, err)
		}
	}
}

// TestFolderUnusable names what is no folder, and fills nothing.
//
// Fails if tryOpen never returns for a link that leads nowhere, or does not ask whether
// the path is a folder.
func TestFolderUnusable(t *testing.T) {
	root := t.TempDir()
	file, link := filepath.Join(root, "file"), filepath.Join(root, "link")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Symlink(filepath.Join(root, "none"), link)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "data"), link} {
		err := site.Folder(path).Create(t.Context(), nil, func() error { return errors.New("filled") })
		if err == nil || strings.Contains(err.Error(), "filled") || !strings.Contains(err.Error(), "data folder") || !strings.Contains(err.Error(), file[:len(root)]) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := site.Folder("").Create(t.Context(), nil, nothing); !cli.IsUsage(err) {
		t.Errorf("no name of a folder: %v", err)
	}
	if left := names(t, root); len(left) != 2 {
		t.Errorf("left are %q", left)
	}
}

// TestFailedCreateLeavesNothing has a fill that fails remove what was not there before: the
// folders above, the folder, and files in it; and nothing else.
//
// Fails if Create does not remove, removes what was there, or removes the files that SQLite
// keeps next to a database that was there (the newest records are in the file -wal).
func TestFailedCreateLeavesNothing(t *testing.T) {
	root := t.TempDir()
	data := site.Folder(filepath.Join(root, "a", "b", "data"))
	expected := []string{"log.db", "key"}
	write := func(end error, files ...string) func() error {
		return func() error {
			for _, name := range files {
				end = errors.Join(end, os.WriteFile(data.File(name), []byte(name), 0o600))
			}
			return end
		}
	}
	if err := data.Create(t.Context(), expected, write(errRefused, "log.db", "log.db-wal", "log.db-shm", "key")); !errors.Is(err, errRefused) {
		t.Fatal(err)
	}
	if left := names(t, root); len(left) != 0 {
		t.Errorf("left are %q", left)
	}
	// A file of another program stays, and so does the folder then.
	if err := data.Create(t.Context(), expected, write(errRefused, "log.db", "note")); !errors.Is(err, errRefused) || !strings.Contains(err.Error(), "not removed") {
		t.Errorf("a folder that holds a file of others: %v", err)
	}
	if left := names(t, string(data)); len(left) != 1 || left[0] != "note" {
		t.Errorf("left are %q", left)
	}
	if err := data.Create(t.Context(), expected, write(nil, "log.db")); err != nil {
		t.Fatal(err)
	}
	if err := data.Create(t.Context(), expected, write(errRefused, "log.db-wal", "key")); !errors.Is(err, errRefused) {
		t.Fatal(err)
	}
	if left := strings.Join(names(t, string(data)), " "); left != "log.db log.db-wal note" {
		t.Errorf("left are %q", left)
	}
}

// TestCreateOneAtATime has a second process wait while a first one fills the folder. The
// first one fails and removes the folder; the second one fills another, which stays.
//
// Fails if Create does not lock, or does not see that the folder it locked is not the one
// at the path any more.
func TestCreateOneAtATime(t *testing.T) {
	data := site.Folder(filepath.Join(t.TempDir(), "data"))
	filling, second := make(chan struct{}), make(chan error, 1)
	err := data.Create(t.Context(), []string{"file"}, func() error {
		go func() {
			second <- data.Create(t.Context(), []string{"file"}, func() error {
				close(filling)
				return os.WriteFile(data.File("file"), []byte("second"), 0o600)
			})
		}()
		over, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer stop()
		if err := data.Create(over, []string{"file"}, nothing); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a third process did not wait: %v", err)
		}
		select {
		case <-filling:
			t.Error("two fill the folder at once")
		default:
		}
		return errors.Join(errRefused, os.WriteFile(data.File("file"), []byte("first"), 0o600))
	})
	if !errors.Is(err, errRefused) {
		t.Fatal(err)
	}
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(data.File("file")); err != nil || string(got) != "second" {
		t.Errorf("the file holds %q (%v)", got, err)
	}
	// A folder that is filled is used by many at once.
	var users sync.WaitGroup
	var meet sync.WaitGroup
	meet.Add(2)
	for range 2 {
		users.Go(func() {
			if err := data.Create(t.Context(), []string{"file"}, func() error {
				meet.Done()
				meet.Wait()
				return errRefused
			}); !errors.Is(err, errRefused) {
				t.Error(err)
			}
		})
	}
	users.Wait()
	if left := names(t, string(data)); len(left) != 1 {
		t.Errorf("left are %q", left)
	}
}
