package sqlitelog_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	"github.com/oatmill/oatmill/events/durable/sqlitelog"
)

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "events.db") }

// openFor opens a log that ends with the test, if the test does not end it before.
func openFor(t testing.TB, path string, cfg sqlitelog.Config) *sqlitelog.Log {
	t.Helper()
	log := open(t, path, cfg)
	t.Cleanup(func() { mustClose(t, log) })
	return log
}

func mustClose(t testing.TB, log *sqlitelog.Log) {
	t.Helper()
	if err := log.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// raw runs SQL on the file behind the library's back.
func raw(t testing.TB, path string, statements ...string) error {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			return err
		}
	}
	return nil
}

// content is every file of a folder with its bytes.
func content(t testing.TB, folder string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for _, e := range entries {
		files[e.Name()] = "(a folder)"
		if e.IsDir() {
			continue
		}
		b, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(b)
	}
	return files
}
