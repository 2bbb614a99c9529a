package events_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oklog/ulid/v2"
)

// shelf is what VerifyChain needs of a log, with records that a test can tamper with.
type shelf []events.Recorded

func (s shelf) Append(context.Context, events.StreamID, events.Version, ...events.Envelope) ([]events.Recorded, error) {
	return nil, errors.ErrUnsupported
}

func (s shelf) ReadAll(ctx context.Context, _ events.Position) iter.Seq2[events.Recorded, error] {
	return s.ReadStream(ctx, "", 0)
}

func (s shelf) ReadStream(ctx context.Context, _ events.StreamID, after events.Version) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		for _, r := range s {
			if ctx.Err() != nil {
				yield(events.Recorded{}, ctx.Err())
				return
			}
			if r.Version > after && !yield(r, nil) {
				return
			}
		}
	}
}

// headed is a shelf that also noted the head when it was filled.
type headed struct {
	shelf
	head events.Head
}

func (h headed) Head(context.Context, events.StreamID) (events.Head, error) { return h.head, nil }
func (h headed) End(context.Context) (events.Position, error)               { return 0, nil }

const acme = events.StreamID("organization/acme")

// proposals are n events that differ by seed.
func proposals(n int, seed byte) []events.Envelope {
	batch := make([]events.Envelope, n)
	for i := range batch {
		batch[i] = events.Envelope{
			ID: ulid.ULID{0: seed, 15: byte(i + 1)}, Type: "token.deleted.v1", Actor: "alice", Correlation: "c", Reason: "r",
			Time: time.Date(2026, 1, 2, 3, 4, i, 0, time.UTC), Data: []byte(`{"token":"t"}`),
		}
	}
	return batch
}

func sealed(n int, seed byte) (shelf, events.Head) {
	return events.Seal(acme, events.Head{}, proposals(n, seed))
}

func TestVerifyChainOfHonestStreams(t *testing.T) {
	for _, n := range []int{0, 1, 5} {
		records, want := sealed(n, 1)
		var noted []events.Head
		for i := range records {
			noted = append(noted, events.Head{Version: records[i].Version, Hash: records[i].Hash()})
		}
		noted = append(noted, events.Head{}) // that of the empty stream
		for _, log := range []events.Log{records, headed{records, want}} {
			got, err := events.VerifyChain(t.Context(), log, acme, noted...)
			if err != nil || got != want {
				t.Errorf("%d records: VerifyChain is %+v, %v, want %+v", n, got, err, want)
			}
		}
	}
}

// A log may grow between its answer about the head and the read.
func TestVerifyChainWhileAppending(t *testing.T) {
	records, want := sealed(5, 1)
	got, err := events.VerifyChain(t.Context(), headed{records, events.Head{Version: 3, Hash: records[2].Hash()}}, acme)
	if err != nil || got != want {
		t.Errorf("VerifyChain is %+v, %v, want %+v", got, err, want)
	}
}

// broken demands a ChainError about the version want.
func broken(t *testing.T, name string, log events.Log, want events.Version, noted ...events.Head) {
	t.Helper()
	head, err := events.VerifyChain(t.Context(), log, acme, noted...)
	var chain *events.ChainError
	if !errors.As(err, &chain) || !errors.Is(err, events.ErrBrokenChain) {
		t.Errorf("%s: VerifyChain is %+v, %v, want a ChainError", name, head, err)
		return
	}
	if chain.Stream != acme || chain.Version != want || chain.Problem == "" || head != (events.Head{}) {
		t.Errorf("%s: VerifyChain is %+v, %+v, want a problem at version %d", name, head, *chain, want)
	}
}

// Every change to any field of a record that is not the last, but for its stream, is seen without notes,
// at the record that follows.
func TestVerifyChainSeesChangedFields(t *testing.T) {
	for name, change := range map[string]func(*events.Recorded){
		"ID":          func(r *events.Recorded) { r.ID[3]++ },
		"type":        func(r *events.Recorded) { r.Type = "token.edited.v1" },
		"time":        func(r *events.Recorded) { r.Time = r.Time.Add(-time.Hour) },
		"actor":       func(r *events.Recorded) { r.Actor = "bob" },
		"correlation": func(r *events.Recorded) { r.Correlation = "" },
		"causation":   func(r *events.Recorded) { r.Causation[0] = 1 },
		"reason":      func(r *events.Recorded) { r.Reason = "" },
		"data":        func(r *events.Recorded) { r.Data = []byte(`{"token":"u"}`) },
	} {
		for i := range 4 {
			records, _ := sealed(5, 1)
			change(&records[i])
			broken(t, name, records, events.Version(i+2))
		}
		// The last record is covered by no link, but by the head that the log noted
		// when it was appended, or by one that the caller kept.
		records, head := sealed(5, 1)
		change(&records[4])
		broken(t, name+" of the last record", headed{records, head}, 5)
		broken(t, name+" of the last record", records, 5, head)
	}
}

func TestVerifyChainSeesTampering(t *testing.T) {
	for name, tamper := range map[string]func(shelf) shelf{
		"removed":            func(s shelf) shelf { return slices.Delete(s, 2, 3) },
		"removed the first":  func(s shelf) shelf { return s[1:] },
		"swapped":            func(s shelf) shelf { s[2], s[3] = s[3], s[2]; return s },
		"doubled":            func(s shelf) shelf { return slices.Insert(s, 3, s[2]) },
		"previous changed":   func(s shelf) shelf { s[2].Previous[0]++; return s },
		"previous cleared":   func(s shelf) shelf { s[2].Previous = events.Hash{}; return s },
		"a first with links": func(s shelf) shelf { s[0].Previous = events.Hash{1}; return s },
		"version changed":    func(s shelf) shelf { s[2].Version = 7; return s },
		"version zero":       func(s shelf) shelf { s[0].Version = 0; return s },
		"inserted": func(s shelf) shelf {
			forged, _ := events.Seal(acme, events.Head{Version: s[1].Version, Hash: s[1].Hash()}, proposals(1, 9))
			s = slices.Insert(s, 2, forged[0])
			for i := 3; i < len(s); i++ {
				s[i].Version++ // and made room for
			}
			return s
		},
	} {
		records, _ := sealed(5, 1)
		want := map[string]events.Version{
			"removed": 3, "removed the first": 1, "swapped": 3, "doubled": 4, "previous changed": 3, "previous cleared": 3,
			"a first with links": 1, "version changed": 3, "version zero": 1, "inserted": 4,
		}[name]
		broken(t, name, tamper(records), want)
	}
}

// What a forger can do who writes a chain that is right in itself, and what shows it.
func TestVerifyChainWithNotedHeads(t *testing.T) {
	honest, head := sealed(5, 1)
	note := func(i int) events.Head { return events.Head{Version: honest[i].Version, Hash: honest[i].Hash()} }

	short := honest[:3]
	if _, err := events.VerifyChain(t.Context(), short, acme); err != nil {
		t.Errorf("a stream cut short is right in itself: %v", err)
	}
	broken(t, "cut short, head noted by the log", headed{short, head}, 4)
	broken(t, "cut short, head noted by the caller", short, 4, head)
	broken(t, "cut to nothing", shelf{}, 1, note(0))

	rewritten, own := sealed(5, 2)
	if _, err := events.VerifyChain(t.Context(), headed{rewritten, own}, acme); err != nil {
		t.Errorf("a stream rewritten as a whole is right in itself: %v", err)
	}
	broken(t, "rewritten, last noted", headed{rewritten, own}, 5, head)
	broken(t, "rewritten, middle noted", headed{rewritten, own}, 3, note(2))
	broken(t, "rewritten, several noted", headed{rewritten, own}, 1, note(4), note(0), note(2))

	longer, own := events.Seal(acme, note(1), proposals(6, 3))
	forked := slices.Concat(honest[:2], shelf(longer))
	if _, err := events.VerifyChain(t.Context(), headed{forked, own}, acme, note(0), note(1)); err != nil {
		t.Errorf("heads from before the fork are still there: %v", err)
	}
	broken(t, "rewritten from version 3 on", headed{forked, own}, 5, note(1), head)
	broken(t, "two heads of one version", honest, 2, note(1), events.Head{Version: 2, Hash: events.Hash{1}})
}

// An error of the log is no broken chain.
func TestVerifyChainPassesErrorsOn(t *testing.T) {
	records, _ := sealed(5, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := events.VerifyChain(ctx, records, acme); !errors.Is(err, context.Canceled) || errors.Is(err, events.ErrBrokenChain) {
		t.Errorf("VerifyChain with an ended context: %v", err)
	}
	if _, err := events.VerifyChain(t.Context(), headless{records}, acme); !errors.Is(err, errHeadless) {
		t.Errorf("VerifyChain of a log that cannot tell its head: %v", err)
	}
}

type headless struct{ shelf }

var errHeadless = errors.New("the head is unreadable")

func (headless) Head(context.Context, events.StreamID) (events.Head, error) {
	return events.Head{}, errHeadless
}
func (headless) End(context.Context) (events.Position, error) { return 0, nil }

// TestVerifyChainOfAnotherStream fails when VerifyChain does not look at whose records it
// is given: a whole stream in the place of another is a chain like any.
func TestVerifyChainOfAnotherStream(t *testing.T) {
	records, _ := sealed(3, 1)
	var chain *events.ChainError
	if _, err := events.VerifyChain(t.Context(), records, "organization/globex"); !errors.As(err, &chain) || chain.Version != 1 {
		t.Errorf("acme's records in the place of globex's: %v", err)
	}
	records[2].Stream = "organization/globex"
	broken(t, "one record of another stream", records, 3)
}

// Advance accepts the next record of a stream and nothing else. Fails if one of its
// comparisons is left out.
func TestAdvanceRefusesWhatDoesNotFollow(t *testing.T) {
	records, _ := events.Seal("organization/acme", events.Head{}, proposals(3, 1))
	first := events.Head{Version: 1, Hash: records[0].Hash()}
	changed := records[1]
	changed.SetStored(changed.Hash())
	changed.Actor = "mallory"
	noHash := records[1]
	noHash.SetStored(events.Hash{})
	forked, _ := events.Seal("organization/acme", events.Head{Version: 1, Hash: events.Hash{1}}, proposals(1, 2))
	for name, r := range map[string]events.Recorded{
		"repeated": records[0], "behind a hole": records[2], "of another history": forked[0], "changed after it was stored": changed,
		"stored with the zero hash": noHash,
	} {
		head := first
		if err := head.Advance(&r); !errors.Is(err, events.ErrBrokenChain) || head != first {
			t.Errorf("a record that is %s: error %v, head %v", name, err, head)
		}
	}
	head, next := first, records[1]
	next.SetStored(next.Hash())
	if err := head.Advance(&next); err != nil || head != (events.Head{Version: 2, Hash: next.Hash()}) {
		t.Errorf("the next record: error %v, head %v", err, head)
	}
}

// Prepare changes neither the hash nor the payload.
func TestPrepareKeepsHashAndPayload(t *testing.T) {
	e, err := events.NewEnvelope([16]byte{1}, time.Unix(1, 0), "alice", &events.TokenDeleted{Token: "0190b1c2-7d3e-4f5a-8b9c-0d1e2f3a4b5c"})
	if err != nil {
		t.Fatal(err)
	}
	records, _ := events.Seal("organization/acme", events.Head{}, []events.Envelope{e})
	r := records[0]
	want := r.Hash()
	if err := r.Prepare(); err != nil || r.Hash() != want {
		t.Errorf("prepared: error %v, hash %v, want %v", err, r.Hash(), want)
	}
	if p, err := r.Payload(); err != nil || p.EventType() != events.TypeTokenDeleted {
		t.Errorf("payload %v, %v", p, err)
	}
}
