package sqlitelog_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
)

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

func mustAppend(t testing.TB, log *sqlitelog.Log, stream events.StreamID, batch ...events.Envelope) []events.Recorded {
	t.Helper()
	records, err := log.Append(t.Context(), stream, events.Any, batch...)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// fill appends records to streams in turn.
func fill(t testing.TB, log *sqlitelog.Log, records, streams int) {
	t.Helper()
	g := newGenerator()
	for n := 0; n < records; {
		batch := make([]events.Envelope, min(100, records-n))
		for i := range batch {
			batch[i] = g.tokenGenerated()
		}
		mustAppend(t, log, events.StreamID(fmt.Sprintf("organization/o%d", n/100%streams)), batch...)
		n += len(batch)
	}
}
