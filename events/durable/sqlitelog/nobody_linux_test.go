package sqlitelog_test

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"

	"github.com/oatmill/oatmill/events/durable/internal/testkit"
)

// asNobody has the rest of a test use files with no more rights than a user has. Root may
// otherwise read and write every file. Linux keeps for each thread as whom it uses files;
// this one ends with the test's goroutine, which never unlocks it.
func asNobody(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	const nobody = 65534
	runtime.LockOSThread()
	if err := syscall.Setfsuid(nobody); err != nil {
		t.Fatal(err)
	}
	folder, err := os.MkdirTemp("", "oatmill")
	if err != nil {
		_ = syscall.Setfsuid(0)
		testkit.Missing(t, fmt.Sprintf("nobody but root may use the folder for temporary files: set TMPDIR to one that all may use (%v)", err))
	}
	if err := os.Remove(folder); err != nil {
		t.Error(err)
	}
}
