//go:build unix

package site_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oatmill/oatmill/examples/internal/site"
)

// TestFolderIsPrivate: a folder that others may read is refused, and not left to whoever
// made it.
func TestFolderIsPrivate(t *testing.T) {
	data := site.Folder(filepath.Join(t.TempDir(), "data"))
	for range 2 {
		if err := data.Create(); err != nil {
			t.Fatal(err)
		}
	}
	for _, mode := range []os.FileMode{0o755, 0o710, 0o704} {
		if err := os.Chmod(string(data), mode); err != nil {
			t.Fatal(err)
		}
		if err := data.Create(); err == nil || !strings.Contains(err.Error(), "chmod 700") {
			t.Errorf("a folder with mode %o: %v", mode, err)
		}
	}
}
