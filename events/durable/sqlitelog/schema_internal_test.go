package sqlitelog

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/oatmill/oatmill/events"
)

// TestOldLayoutBeforeCreate has another process lay the file out in an older layout after
// this one found it empty, and before it has the lock. The file is refused and stays as it is.
//
// Fails if layOut accepts any layout that is there.
func TestOldLayoutBeforeCreate(t *testing.T) {
	b, err := os.ReadFile("testdata/layout1.db")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "events.db")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := dialFor(t, file, 0).create(t.Context()); !errors.Is(err, events.ErrDamaged) {
		t.Errorf("create: %v", err)
	}
	if after, err := os.ReadFile(file); string(after) != string(b) || err != nil {
		t.Errorf("the file was changed, %v", err)
	}
}
