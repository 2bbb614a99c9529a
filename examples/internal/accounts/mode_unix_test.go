//go:build unix

package accounts_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/oatmill/oatmill/examples/internal/accounts"
)

// TestFileMode opens new files under several umasks. Their owner alone may read and write
// them. There are no files next to them: the accounts use no write-ahead log.
//
// Fails if create leaves Chmod out (umask 0777), or the mode.
func TestFileMode(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	for _, umask := range []int{0, 0o022, 0o777} {
		file := filepath.Join(t.TempDir(), "accounts.db")
		syscall.Umask(umask)
		a, err := accounts.Open(t.Context(), file, time.Now)
		syscall.Umask(0)
		must(t, err)
		info, err := os.Stat(file)
		must(t, err)
		if info.Mode() != 0o600 {
			t.Errorf("under umask %#o the file is %v", umask, info.Mode())
		}
		must(t, a.Close())
	}
}
