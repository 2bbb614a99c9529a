//go:build unix

package sqlitelog_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
)

// TestFileMode opens logs under several umasks. Only the owner may read or write a file that
// Open creates, and the two files next to it. A file that was there keeps its mode, which the
// other two take over. SQLite alone would create it with 0644 less the umask
// (SQLITE_DEFAULT_FILE_PERMISSIONS, sqlite.org/compile.html).
//
// Fails if createFile leaves the template out, its Chmod, or alignModes.
func TestFileMode(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	for _, umask := range []int{0, 0o022, 0o027, 0o077, 0o777} {
		folder := filepath.Join(t.TempDir(), "a folder?&b=%41#;+")
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(folder, "events & more?mode=ro.db")
		g := testkit.NewGenerator()
		for _, want := range []os.FileMode{0o600, 0o640, 0o666} {
			if want != 0o600 {
				if err := os.Chmod(path, want); err != nil {
					t.Fatal(err)
				}
			}
			syscall.Umask(umask)
			log := open(t, path, sqlitelog.Config{})
			syscall.Umask(0)
			testkit.Append(t, log, acme, g.Batch(1)...)
			for _, suffix := range []string{"", "-wal", "-shm"} {
				info, err := os.Stat(path + suffix)
				if err != nil {
					t.Fatal(err)
				}
				if info.Mode() != want {
					t.Errorf("under umask %#o %s has mode %#o, want %#o", umask, info.Name(), info.Mode(), want)
				}
			}
			mustClose(t, log)
		}
		if entries, err := os.ReadDir(folder); err != nil || len(entries) != 3 {
			t.Errorf("the folder has %v, %v, want the log and its two other files alone", entries, err)
		}
	}
}
