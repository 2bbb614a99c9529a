package invariants

import (
	"context"
	"encoding/json"
	"maps"
	"sync"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
)

func uuidOf(k token) uuid.UUID { return uuid.MustParse(k.id) }

// usage is what the oracle knows of uses: those that were made, and those that are
// recorded.
type usage struct {
	made, recorded map[uuid.UUID]*tally
	// lost are tokens some uses of which a crash may have taken.
	lost map[uuid.UUID]bool
}

// tally is how a token was used.
type tally struct{ accepted, refused span }

type span struct {
	count       int64
	first, last time.Time
	address     map[string]bool // of all uses at the last time
}

func newUsage() *usage {
	return &usage{made: make(map[uuid.UUID]*tally), recorded: make(map[uuid.UUID]*tally), lost: make(map[uuid.UUID]bool)}
}

func of(tallies map[uuid.UUID]*tally, id uuid.UUID) *tally {
	if tallies[id] == nil {
		tallies[id] = new(tally)
	}
	return tallies[id]
}

// add adds so many uses, the first and the last of them at these times.
func (s *span) add(count int64, first, last time.Time, address string) {
	if s.count == 0 || first.Before(s.first) {
		s.first = first
	}
	if s.count == 0 || last.After(s.last) {
		s.last, s.address = last, make(map[string]bool)
	}
	if last.Equal(s.last) {
		s.address[address] = true
	}
	s.count += count
}

// note notes a use that a verifier must have noticed.
func (u *usage) note(by answer, now time.Time, a oat.Attempt) {
	t, at := of(u.made, uuidOf(by.token)), now.UTC().Truncate(time.Microsecond)
	if by.open {
		t.accepted.add(1, at, at, a.Address)
	} else {
		t.refused.add(1, at, at, a.Address)
	}
}

// lose notes which tokens a crash may have taken uses of.
func (u *usage) lose(unsettled map[uuid.UUID]bool) { maps.Copy(u.lost, unsettled) }

// fold adds what a record says.
func (u *usage) fold(t rapid.TB, r events.Recorded) {
	type part struct {
		First, Last time.Time
		Count       int64
		Address     string
	}
	var data struct {
		Uses []struct {
			Token             uuid.UUID
			Accepted, Refused part
		}
	}
	if err := json.Unmarshal(r.Data, &data); err != nil || r.Type != "usage.recorded.v1" {
		t.Fatalf("%s at %d: %s: %v", r.Stream, r.Version, r.Type, err)
	}
	for _, use := range data.Uses {
		k := of(u.recorded, use.Token)
		for s, p := range map[*span]part{&k.accepted: use.Accepted, &k.refused: use.Refused} {
			if p.Count > 0 {
				s.add(p.Count, p.First, p.Last, p.Address)
			}
		}
	}
}

// useAtOnce has several goroutines use tokens, while recorders record what they have
// and meet with trouble.
func (s *sequential) useAtOnce(t *rapid.T) {
	for _, p := range s.processes {
		p.catchUp(t)
		p.line.setUses(nil, rapid.SliceOfN(rapid.SampledFrom([]mishap{fine, lostKept, failed, lostDropped}), 0, 8).Draw(t, "uses")...)
	}
	if len(s.held) == 0 {
		return
	}
	var wg sync.WaitGroup
	for i := range goroutines {
		p := s.processes[i%len(s.processes)]
		e, used := p.engine.Load(), rapid.SliceOfN(rapid.SampledFrom(s.held), 1, 10).Draw(t, "used")
		wg.Go(func() {
			for _, h := range used {
				_, _ = e.verifier.Verify(context.Background(), oat.Attempt{Organization: acme, Secret: h.secret})
			}
			_ = e.recorder.Flush(context.Background())
		})
		for _, h := range used {
			a := oat.Attempt{Organization: acme, Secret: h.secret}
			if want := s.expect(e, a, p.clock.now()); want.noticed {
				s.uses.note(want, p.clock.now(), a)
				e.unsettled[h.id] = true
			}
		}
	}
	wg.Wait()
}

// settle has every process record its uses, which must come to an end once nothing
// gets lost any more.
func (w *world) settle(t rapid.TB) {
	for _, p := range w.processes {
		e := p.engine.Load()
		for range 4 {
			_ = e.recorder.Flush(context.Background()) // meets with what is to happen to it
		}
		p.line.setUses(nil)
		if err := e.recorder.Flush(context.Background()); err != nil {
			t.Fatalf("Flush: %v", err)
		}
		clear(e.unsettled)
	}
	w.absorb(t)
}

// sameUses demands that what is recorded is what was made, and that the read model
// says the same. Uses that a crash took may be missing, and no others may be there.
func (w *world) sameUses(t rapid.TB, view *projection.LastUsed) {
	for org, h := range w.orgs {
		for id := range h.last().tokens {
			id := uuid.MustParse(id)
			made, recorded := of(w.uses.made, id), of(w.uses.recorded, id)
			lost := w.uses.lost[id]
			if !recorded.accepted.within(&made.accepted, lost) || !recorded.refused.within(&made.refused, lost) {
				t.Fatalf("token %s: recorded was %+v, used was %+v, lost some %t", id, recorded, made, lost)
			}
			got, used := view.Of(org, id)
			if used != (recorded.accepted.count+recorded.refused.count > 0) || !recorded.accepted.is(got.Accepted) || !recorded.refused.is(got.Refused) {
				t.Fatalf("token %s: the read model says %t %+v, recorded was %+v", id, used, got, recorded)
			}
		}
	}
}

func (s *span) within(made *span, lost bool) bool {
	if lost {
		return s.count <= made.count && (s.count == 0 || !s.first.Before(made.first) && !s.last.After(made.last))
	}
	return s.count == made.count && s.first.Equal(made.first) && s.last.Equal(made.last)
}

// is tells whether the read model says the same of the span.
func (s *span) is(v events.UseSpan) bool {
	return s.count == v.Count && s.first.Equal(v.First) && s.last.Equal(v.Last) && (s.count == 0 || s.address[v.Address])
}
