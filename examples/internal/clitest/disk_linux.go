package clitest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// SmallDisk returns an empty folder that is a disk of its own, of 4 MB.
func SmallDisk(t testing.TB) string {
	t.Helper()
	folder := t.TempDir()
	if err := syscall.Mount("oatmill", folder, "tmpfs", 0, "size=4m,mode=700"); err != nil {
		Missing(t, fmt.Sprintf("needs the right to mount a tmpfs: run as root (%v)", err))
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(folder, 0); err != nil {
			t.Errorf("unmount %s: %v", folder, err)
		}
	})
	return folder
}

// Fill fills the disk of a folder to its last byte, and returns what frees the space.
func Fill(t testing.TB, folder string) (free func()) {
	t.Helper()
	file, err := os.Create(filepath.Join(folder, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for err == nil {
		_, err = file.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(file.Name()); err != nil {
			t.Fatal(err)
		}
	}
}
