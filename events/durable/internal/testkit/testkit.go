// Package testkit is what the tests of the durable logs have in common and what no log
// needs to know of: events as programs make them, a look at a whole log, processes beside
// the test's own, and benchmarks in which a log and its baseline take turns.
//
// What every log must do is not here but in package logtest.
package testkit

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/oatmill/oatmill/events"
)

// Missing skips a test where somebody tries it out who lacks what it needs, and fails it
// where all checks must have been made: where CI is set in the environment. how says in one
// line what is missing and how to get it.
func Missing(t testing.TB, how string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(how)
	}
	t.Skip(how)
}

// Append appends what must be taken, under any version.
func Append(t testing.TB, log events.Log, stream events.StreamID, batch ...events.Envelope) []events.Recorded {
	t.Helper()
	records, err := log.Append(t.Context(), stream, events.Any, batch...)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// Fill appends so many records to so many streams in turn, 100 at a time.
func Fill(t testing.TB, log events.Log, records, streams int) {
	t.Helper()
	g := NewGenerator()
	for n := 0; n < records; {
		batch := g.Batch(min(100, records-n))
		Append(t, log, events.StreamID(fmt.Sprintf("organization/o%d", n/100%streams)), batch...)
		n += len(batch)
	}
}

// Sound reads the whole log and holds it to what every log must be: positions and
// versions without gaps, no ID twice, every chain whole. It returns the records by ID.
func Sound(t testing.TB, log events.Log) map[string]events.Recorded {
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
