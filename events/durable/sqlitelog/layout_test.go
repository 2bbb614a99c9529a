package sqlitelog_test

import (
	"os"
	"strings"
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
)

// carryOver returns the SQL that the package comment gives for files of older layouts.
func carryOver(t *testing.T, old string) string {
	t.Helper()
	b, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var sql strings.Builder
	for line := range strings.Lines(string(b)) {
		if code, ok := strings.CutPrefix(line, "//\t"); ok && (sql.Len() > 0 || strings.HasPrefix(code, "ATTACH")) {
			sql.WriteString(code)
		}
	}
	if !strings.Contains(sql.String(), "'old.db'") {
		t.Fatalf("no SQL in the package comment: %s", &sql)
	}
	return strings.Replace(sql.String(), "'old.db'", "'"+old+"'", 1)
}

// TestCarryOver runs the SQL of the package comment on files in layout 1 and 2, as the
// versions that wrote them left them: 40 records of acme and 20 of umbrella in turn. The
// hashes that it stores must be those of the records.
//
// Fails if the SQL takes the hash of the wrong record, or orders by position in lead.
func TestCarryOver(t *testing.T) {
	for name, head := range map[string]string{"layout1.db": "28601448", "layout2.db": "63c28b20"} {
		t.Run(name, func(t *testing.T) {
			path, old := newPath(t), newPath(t)
			mustClose(t, open(t, path, sqlitelog.Config{}))
			copied("testdata/"+name)(t, old)
			if err := raw(t, path, carryOver(t, old)); err != nil {
				t.Fatal(err)
			}
			log := openFor(t, path, sqlitelog.Config{})
			if err := log.Check(t.Context()); err != nil {
				t.Error(err)
			}
			if n := len(testkit.Sound(t, log)); n != 60 {
				t.Errorf("%d records, want 60", n)
			}
			got, err := events.VerifyChain(t.Context(), log, acme)
			if err != nil || got.Version != 40 || got.Hash.String()[:8] != head {
				t.Errorf("acme ends with %v, %v, want version 40 and %s…", got, err, head)
			}
			if name == "layout2.db" {
				snapshot, err := log.LoadSnapshot(t.Context(), acme)
				if string(snapshot.Data) != "folded" || snapshot.Head != got || err != nil {
					t.Errorf("the snapshot is %v, %v", snapshot, err)
				}
				if p, err := log.LoadCheckpoint(t.Context(), "relay"); p != 17 || err != nil {
					t.Errorf("the checkpoint is %d, %v", p, err)
				}
			}
			g := testkit.NewGenerator()
			g.Batch(60) // whose IDs the file has
			if r := testkit.Append(t, log, acme, g.Batch(1)...); r[0].Position != 61 || r[0].Version != 41 {
				t.Errorf("the next record is version %d at position %d", r[0].Version, r[0].Position)
			}
		})
	}
}
