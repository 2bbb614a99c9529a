package pglog_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/pglog"
)

const acme = events.StreamID("organization/acme")

// generator makes events as a program does: IDs begin with the time in milliseconds,
// and payloads are of the common size. It is for one goroutine.
type generator struct {
	random *rand.Rand
	n      uint64
}

func newGenerator() *generator {
	return &generator{random: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))}
}

func (g *generator) id() (id [16]byte) {
	binary.BigEndian.PutUint64(id[:], uint64(time.Now().UnixMilli())<<16|g.random.Uint64()&0xffff)
	binary.BigEndian.PutUint64(id[8:], g.random.Uint64())
	return id
}

func (g *generator) tokenGenerated() events.Envelope {
	g.n++
	payload := &events.TokenGenerated{
		Token: fmt.Sprintf("0192f0c1-2345-7abc-8def-%012x", g.n), Label: "deploy key of the build server",
		Digest: events.Hash{1, 2, 3}, ExpiresAt: "2027-01-31T00:00:00Z",
		Resources: []events.Resource{{Type: "TYPE_REPO", Path: "acme/api", Scopes: []string{"scope-image-pull"}}},
	}
	e, err := events.NewEnvelope(g.id(), time.Now(), "alice", payload)
	if err != nil {
		panic(err)
	}
	return e
}

// batch makes n events that differ only in their IDs.
func (g *generator) batch(n int) []events.Envelope {
	batch := make([]events.Envelope, n)
	for i := range batch {
		batch[i] = g.tokenGenerated()
	}
	return batch
}

func mustAppend(t testing.TB, log events.Log, stream events.StreamID, batch ...events.Envelope) []events.Recorded {
	t.Helper()
	records, err := log.Append(t.Context(), stream, events.Any, batch...)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// fill appends records to streams in turn.
func fill(t testing.TB, log *pglog.Log, records, streams int) {
	t.Helper()
	g := newGenerator()
	for n := 0; n < records; {
		batch := g.batch(min(100, records-n))
		mustAppend(t, log, events.StreamID(fmt.Sprintf("organization/o%d", n/100%streams)), batch...)
		n += len(batch)
	}
}

// sound reads the whole log and holds it to what every log must be: positions and
// versions without gaps, no ID twice, every chain whole. It returns the records by ID.
func sound(t testing.TB, log *pglog.Log) map[string]events.Recorded {
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
	if err := log.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	return byID
}
