package sqlitelog_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
)

// TestFileMayNotGrow lets the file have no more pages than it has, which SQLite treats
// as a full disk, on every system and for every user.
//
// What breaks it: leaving out of abort the line that forgets what the writer knew
// (versions then go on from an append that never was).
func TestFileMayNotGrow(t *testing.T) {
	path := newPath(t)
	log := openFor(t, path, sqlitelog.Config{})
	full(t, log, path, func() { sqlitelog.SetMaxPages(t, log, 1) }, func() { sqlitelog.SetMaxPages(t, log, 1<<30) })
}

// full runs a log into a full disk and out of it. fill leaves no space, or next to
// none, and free gives it back.
func full(t *testing.T, log *sqlitelog.Log, path string, fill, free func()) {
	t.Helper()
	g := testkit.NewGenerator()
	acknowledged := testkit.Append(t, log, "organization/acme", g.Batch(3)...)
	fill()
	more, refused := untilFull(t, log, g, path)
	acknowledged = append(acknowledged, more...)
	// Full stays full, reading goes on, and the version is the one before the failure.
	if _, err := log.Append(t.Context(), "organization/acme", events.Any, refused...); !errors.Is(err, events.ErrFull) {
		t.Fatalf("the second append to a full disk: %v", err)
	}
	mustHold(t, log, acknowledged, refused)

	free()
	records := testkit.Append(t, log, "organization/acme", refused...)
	if got, want := records[0].Version, events.Version(len(acknowledged)+1); got != want {
		t.Errorf("the first append after the disk was full has version %d, want %d", got, want)
	}
	acknowledged = append(acknowledged, records...)
	mustHold(t, log, acknowledged, nil)
	again := openFor(t, path, sqlitelog.Config{})
	mustHold(t, again, acknowledged, nil)
}

// untilFull appends large batches until there is no space, and returns what was
// acknowledged and the batch that was not.
func untilFull(t *testing.T, log *sqlitelog.Log, g *testkit.Generator, path string) (acknowledged []events.Recorded, refused []events.Envelope) {
	t.Helper()
	for range 1000 {
		batch := g.Batch(200)
		records, err := log.Append(t.Context(), "organization/acme", events.Any, batch...)
		if err == nil {
			acknowledged = append(acknowledged, records...)
			continue
		}
		if !errors.Is(err, events.ErrFull) || errors.Is(err, events.ErrUnknownOutcome) || !strings.Contains(err.Error(), path) {
			t.Fatalf("a full disk is %v", err)
		}
		return acknowledged, batch
	}
	t.Fatal("the disk does not get full")
	return nil, nil
}

// mustHold holds a log against what was acknowledged and what was refused: it has the
// former and nothing else.
func mustHold(t *testing.T, log *sqlitelog.Log, acknowledged []events.Recorded, refused []events.Envelope) {
	t.Helper()
	found := testkit.Sound(t, log)
	for _, r := range acknowledged {
		if at := found[r.ID.String()]; at.Position != r.Position || at.Version != r.Version {
			t.Errorf("%s was acknowledged at position %d and is at %d", r.ID, r.Position, at.Position)
		}
	}
	for _, e := range refused {
		if _, ok := found[e.ID.String()]; ok {
			t.Errorf("%s was refused and is there", e.ID)
		}
	}
	if len(found) != len(acknowledged) {
		t.Errorf("%d records, %d were acknowledged", len(found), len(acknowledged))
	}
}
