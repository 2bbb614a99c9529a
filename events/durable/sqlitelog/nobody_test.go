//go:build !linux

package sqlitelog_test

import (
	"os"
	"testing"

	"github.com/oatmill/oatmill/events/durable/internal/testkit"
)

// asNobody is for tests of what is forbidden to users.
func asNobody(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		testkit.Missing(t, "root may read and write every file: run as somebody else")
	}
}
