package site_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/oatmill/oatmill/examples/internal/site"
)

func key() []byte { return bytes.Repeat([]byte("k"), 32) }

// names are those of what a folder holds.
func names(t *testing.T, folder string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		all = append(all, entry.Name())
	}
	return all
}

// TestWriteFileReplacesWhole has a reader look at a file all the time while it is replaced:
// it is the old one or the new one. What is there and unchanged is not written again.
//
// Fails if WriteFile writes into the file that is there (os.WriteFile), or does not compare.
func TestWriteFileReplacesWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "url")
	contents := []string{strings.Repeat("a", 1<<16), strings.Repeat("b", 1<<15)}
	if err := site.WriteFile(path, []byte(contents[0])); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path)
	if err != nil || before.Mode().Perm() != 0o600 {
		t.Fatalf("the file is %v (%v)", before, err)
	}
	if err := site.WriteFile(path, []byte(contents[0])); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("an unchanged file was written again (%v)", err)
	}
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := range 200 {
			if err := site.WriteFile(path, []byte(contents[i%2])); err != nil {
				t.Error(err)
			}
		}
	})
	for range 500 {
		if got, err := os.ReadFile(path); err != nil || string(got) != contents[0] && string(got) != contents[1] {
			t.Errorf("a part of the file was seen: %d bytes (%v)", len(got), err)
		}
	}
	writer.Wait()
	if left := names(t, filepath.Dir(path)); len(left) != 1 {
		t.Errorf("left are %q", left)
	}
}

// TestReadKeyIsMadeOnce has many processes start at once: all of them get one whole key.
//
// Fails if ReadKey creates the file before it is filled, or replaces one that is there.
func TestReadKeyIsMadeOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "api.key")
	var processes sync.WaitGroup
	keys := make([][]byte, 16)
	for i := range keys {
		processes.Go(func() {
			var err error
			if keys[i], err = site.ReadKey(path, 32, func() []byte { return bytes.Repeat([]byte{byte(i)}, 32) }); err != nil {
				t.Error(err)
			}
		})
	}
	processes.Wait()
	for _, key := range keys {
		if !bytes.Equal(key, keys[0]) {
			t.Errorf("one key is %x, another %x", keys[0], key)
		}
	}
	if err := site.CreateFile(path, key()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file that is there was created: %v", err)
	}
	if left := names(t, filepath.Dir(path)); len(left) != 1 {
		t.Errorf("left are %q", left)
	}
}

// TestReadKeyUnusable names a file that holds no key, with what to do, and leaves it as it
// is. An empty one is what a program leaves that is killed between creating and writing.
//
// Fails if ReadKey leaves out one of its checks, or generates over an unusable file.
func TestReadKeyUnusable(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "api.key")
	for _, content := range []string{"", "k", strings.Repeat("k", 31), strings.Repeat("k", 33)} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := site.ReadKey(path, 32, key)
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("a key of %d bytes: %v", len(content), err)
		}
		if kept, err := os.ReadFile(path); err != nil || string(kept) != content {
			t.Errorf("the unusable file was changed to %q (%v)", kept, err)
		}
	}
	if _, err := site.ReadKey(folder, 32, key); err == nil || !strings.Contains(err.Error(), folder) {
		t.Errorf("a folder is a key: %v", err)
	}
	if _, err := site.ReadKey(filepath.Join(folder, "none", "api.key"), 32, key); err == nil {
		t.Error("a key without a folder")
	}
}
