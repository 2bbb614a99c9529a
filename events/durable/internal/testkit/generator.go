package testkit

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/oatmill/oatmill/events"
)

// Generator makes events as a program does: IDs begin with the time in milliseconds,
// and payloads are of the common size. It is for one goroutine.
type Generator struct {
	random *rand.Rand
	n      uint64
}

// NewGenerator is a generator whose IDs no other one makes.
func NewGenerator() *Generator {
	return &Generator{random: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))}
}

// ID is one that was never used, as events have them.
func (g *Generator) ID() (id [16]byte) {
	binary.BigEndian.PutUint64(id[:], uint64(time.Now().UnixMilli())<<16|g.random.Uint64()&0xffff)
	binary.BigEndian.PutUint64(id[8:], g.random.Uint64())
	return id
}

// TokenGenerated is an event of a token that was not there before.
func (g *Generator) TokenGenerated() events.Envelope {
	g.n++
	payload := &events.TokenGenerated{
		Token: fmt.Sprintf("0192f0c1-2345-7abc-8def-%012x", g.n), Label: "deploy key of the build server",
		Digest: events.Hash{1, 2, 3}, ExpiresAt: "2027-01-31T00:00:00Z",
		Resources: []events.Resource{{Type: "TYPE_REPO", Path: "acme/api", Scopes: []string{"scope-image-pull"}}},
	}
	e, err := events.NewEnvelope(g.ID(), time.Now(), "alice", payload)
	if err != nil {
		panic(err)
	}
	return e
}

// Batch is n events that differ only in their IDs and tokens.
func (g *Generator) Batch(n int) []events.Envelope {
	batch := make([]events.Envelope, n)
	for i := range batch {
		batch[i] = g.TokenGenerated()
	}
	return batch
}
