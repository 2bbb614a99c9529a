package sqlitelog_test

import (
	"database/sql"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/oatmill/oatmill/events"
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

// sound reads the whole log and holds it to what every log must be: positions and
// versions without gaps, no ID twice, every chain whole. It returns the records by ID.
func sound(t testing.TB, log *sqlitelog.Log) map[string]events.Recorded {
	t.Helper()
	byID := make(map[string]events.Recorded)
	heads := make(map[events.StreamID]events.Version)
	var last events.Position
	for r, err := range log.ReadAll(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Position != last+1 {
			t.Fatalf("position %d comes after %d", r.Position, last)
		}
		if r.Version != heads[r.Stream]+1 {
			t.Fatalf("version %d of %s comes after %d", r.Version, r.Stream, heads[r.Stream])
		}
		if earlier, ok := byID[r.ID.String()]; ok {
			t.Fatalf("%s is at position %d and at %d", r.ID, earlier.Position, r.Position)
		}
		last, heads[r.Stream], byID[r.ID.String()] = r.Position, r.Version, r
	}
	for _, stream := range slices.Sorted(maps.Keys(heads)) {
		head, err := events.VerifyChain(t.Context(), log, stream)
		if err != nil || head.Version != heads[stream] {
			t.Fatalf("%s: chain to %d of %d: %v", stream, head.Version, heads[stream], err)
		}
	}
	return byID
}

// envelopes makes n events that differ only in their IDs.
func (g *generator) envelopes(n int) []events.Envelope {
	batch := make([]events.Envelope, n)
	for i := range batch {
		batch[i] = g.tokenGenerated()
	}
	return batch
}
