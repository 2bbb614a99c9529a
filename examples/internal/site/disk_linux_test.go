package site_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/oatmill/oatmill/examples/internal/clitest"
	"github.com/oatmill/oatmill/examples/internal/site"
)

// TestWriteFileOnFullDisk leaves nothing of a file for which there is no space, and the old
// one where it was to be replaced.
//
// Fails if placeFile does not write under another name first.
func TestWriteFileOnFullDisk(t *testing.T) {
	folder := clitest.SmallDisk(t)
	there, absent := filepath.Join(folder, "there"), filepath.Join(folder, "absent")
	if err := site.WriteFile(there, key()); err != nil {
		t.Fatal(err)
	}
	clitest.Fill(t, folder)
	for _, path := range []string{there, absent} {
		for _, write := range []func(string, []byte) error{site.WriteFile, site.CreateFile} {
			if err := write(path, make([]byte, 8192)); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("writing to a full disk: %v", err)
			}
		}
	}
	if got, err := os.ReadFile(there); err != nil || string(got) != string(key()) {
		t.Errorf("the file that was there is %q (%v)", got, err)
	}
	if left := names(t, folder); fmt.Sprint(left) != "[ballast there]" {
		t.Errorf("left are %q", left)
	}
}
