package invariants

import (
	"context"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/projection"
)

// pace is how a follower takes the log: in batches of some size, each beginning with
// some records it was given before, and a number of batches, 0 for all there are.
type pace struct{ size, again, batches int }

func drawPace(t *rapid.T) pace {
	return pace{
		size:    rapid.SampledFrom([]int{1, 2, 3, 7, 100}).Draw(t, "batch size"),
		again:   rapid.IntRange(0, 3).Draw(t, "given again"),
		batches: rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "batches"),
	}
}

// feed gives records to followers, each from its own position on, at a pace. It tells
// whether that was all of them.
func feed(t rapid.TB, followers []projection.Projection, records []events.Recorded, p pace) bool {
	all := true
	for _, follower := range followers {
		next := beyond(records, follower.Position())
		for given := 0; next < len(records) && (p.batches == 0 || given < p.batches); given++ {
			from, to := max(0, next-p.again), min(len(records), next+p.size)
			// A copy, because a reader of the log gets records nobody else decodes.
			if err := follower.Apply(context.Background(), slices.Clone(records[from:to])); err != nil {
				t.Fatalf("%T: Apply: %v", follower, err)
			}
			if next = to; follower.Position() != records[to-1].Position {
				t.Fatalf("%T: at position %d after the record at %d", follower, follower.Position(), records[to-1].Position)
			}
		}
		all = all && next == len(records)
	}
	return all
}

// beyond is the index of the first record above a position.
func beyond(records []events.Recorded, p events.Position) int {
	i, _ := slices.BinarySearchFunc(records, p+1, func(r events.Recorded, p events.Position) int { return int(r.Position - p) })
	return i
}

// follow leads a process's verifier and read models along the log, and confirms the
// verifier when it saw the end.
func (p *process) follow(t rapid.TB, how pace) {
	at := p.clock.now()
	p.w.absorb(t)
	e := p.engine.Load()
	feed(t, e.views.all(), p.w.records, how)
	caughtUp := feed(t, []projection.Projection{e.verifier}, p.w.records, how)
	if caughtUp {
		e.verifier.Confirm(at)
	}
	p.learn(caughtUp, at)
}

// catchUp follows to the end of the log, as a runner does it.
func (p *process) catchUp(t rapid.TB) {
	at := p.clock.now()
	p.w.absorb(t)
	e := p.engine.Load()
	runner, err := projection.NewRunner(projection.RunnerConfig{
		Log: p.line, Projections: append(e.views.all(), e.verifier), BatchSize: 50, Now: p.clock.now,
	})
	if err == nil {
		err = runner.CatchUp(context.Background())
	}
	if err != nil {
		t.Fatalf("catch up: %v", err)
	}
	p.learn(true, at)
}

// learn notes what the verifier knows by its position.
func (p *process) learn(caughtUp bool, at time.Time) {
	e := p.engine.Load()
	for i := range p.w.records[:beyond(p.w.records, e.verifier.Position())] {
		r := &p.w.records[i]
		if r.Stream.Kind() == events.KindOrganization {
			e.known[r.Stream.Name()] = max(e.known[r.Stream.Name()], r.Version)
		}
	}
	if caughtUp {
		e.confirmed = at
	}
}
