package sqlitelog_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
)

// TestLayout1 goes on with a log in layout 1: testdata/layout1.db, as the last version that
// knew no other layout left it, with 40 records of acme and 20 of umbrella in turn.
//
// What breaks it: an inspect or a prepareFile that leaves the layout at 1, a positions that
// takes a number above zero for a distance, a stream that does not know where its tail ends.
func TestLayout1(t *testing.T) {
	const umbrella = events.StreamID("organization/umbrella")
	path, old := newPath(t), "28601448"
	b, err := os.ReadFile("testdata/layout1.db")
	if err != nil {
		t.Fatal(err)
	}
	withBytes(string(b))(t, path)
	log := open(t, path, sqlitelog.Config{})
	records := testkit.Sound(t, log)
	if len(records) != 60 {
		t.Errorf("%d records, want 60", len(records))
	}
	head, err := events.VerifyChain(t.Context(), log, acme)
	if err != nil || head.Version != 40 || head.Hash.String()[:8] != old {
		t.Errorf("acme ends with %v, %v, want version 40 and %s…", head, err, old)
	}
	g := testkit.NewGenerator()
	g.Batch(60) // whose IDs the file has
	for range 60 {
		testkit.Append(t, log, acme, g.Batch(1)...)
		testkit.Append(t, log, umbrella, g.Batch(2)...)
	}
	mustClose(t, log)

	log = openFor(t, path, sqlitelog.Config{})
	if err := log.Check(t.Context()); err != nil {
		t.Error(err)
	}
	for id, r := range testkit.Sound(t, log) {
		if before, ok := records[id]; ok && !before.Equal(r) {
			t.Errorf("%v has become %v", before, r)
		}
	}
	for stream, want := range map[events.StreamID]events.Version{acme: 100, umbrella: 140} {
		if head, err := events.VerifyChain(t.Context(), log, stream); err != nil || head.Version != want {
			t.Errorf("%s ends with %v, %v, want version %d", stream, head, err, want)
		}
	}
	if err := raw(t, path, "CREATE TABLE seen (n CHECK (n = 2)); INSERT INTO seen SELECT user_version FROM pragma_user_version"); err != nil {
		t.Errorf("the layout: %v", err)
	}
}

// TestDamagedPlaces has lists of places that are none, or too short. What needs them is
// refused and names the file; nothing is appended behind a tail that cannot be read.
//
// What breaks it: taking what positions yields, anywhere, without asking whether it is ok;
// a writer that does not count the places of a tail.
func TestDamagedPlaces(t *testing.T) {
	for name, c := range map[string]struct {
		sql           string
		appends, read bool // what is still done
	}{
		"tail":       {"UPDATE streams SET tail = '[33,35,34]'", false, false},
		"short tail": {"UPDATE streams SET tail = '[33]'", false, true}, // without what is missing
		"block":      {"UPDATE blocks SET positions = 'none'", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			path := newAcme(t, 40)
			if err := raw(t, path, "DROP TRIGGER blocks_no_update", c.sql); err != nil {
				t.Fatal(err)
			}
			log := openFor(t, path, sqlitelog.Config{})
			damaged := func(what string, err error, want bool) {
				t.Helper()
				if want != (err != nil) || want && (!errors.Is(err, events.ErrDamaged) || !strings.Contains(err.Error(), path)) {
					t.Errorf("%s ends with %v", what, err)
				}
			}
			damaged("the check", log.Check(t.Context()), true)
			_, err := log.Append(t.Context(), acme, events.Any, testkit.NewGenerator().Batch(41)[40])
			damaged("the append", err, !c.appends)
			for _, err = range log.ReadStream(t.Context(), acme, 0) {
				continue
			}
			damaged("the read", err, !c.read)
		})
	}
}
