//go:build !linux

package sqlitelog_test

import (
	"os"
	"testing"
)

// asNobody is for tests of what is forbidden to users.
func asNobody(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		t.Skip("root may read and write every file; run as somebody else")
	}
}
