package projtest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/oatmill/oatmill/events"
)

// testCase is one thing a projection must do, with the reason it must.
type testCase struct {
	name string
	why  string
	test func(t testing.TB)
}

func (s *suite[P]) cases() []testCase {
	return []testCase{
		{"batching", "how the log is cut into batches is an accident of paging and load; it must not show in any answer", s.batching},
		{"at once", "a rebuild may hand over everything in one batch", s.atOnce},
		{"resume", "a process stops anywhere; what it goes on from must be what it had, and the end the same", s.resume},
		{"redelivery", "after a crash or a lost reply a runner gives records again; they must not count twice", s.redelivery},
		{"empty batch", "a batch may be empty, also the first", s.empty},
		{"foreign streams", "a host keeps streams of its own in the log; they move the position and change nothing else", s.foreign},
		{"unknown type", "the event of a newer library must not be skipped: it may be the one that closes something", s.unknown},
		{"damaged record", "a payload that is not what its type says stops the projection before it, and loses nothing", s.damaged},
		{"ended context", "a host that shuts down ends the context; the projection goes on later where it stopped", s.ended},
		{"position", "the position is that of the last record dealt with, and never moves back", s.position},
		{"readers", "queries run beside Apply (the race detector watches)", s.readers},
	}
}

func (s *suite[P]) batching(t testing.TB) {
	for range 5 {
		p := s.New(t)
		s.inBatches(t, p, s.world.Records)
		s.same(t, p, s.reference)
	}
}

func (s *suite[P]) atOnce(t testing.TB) {
	p := s.New(t)
	s.apply(t, p, s.world.Records)
	s.same(t, p, s.reference)
}

func (s *suite[P]) resume(t testing.TB) {
	p := s.New(t)
	for rest := s.world.Records; len(rest) > 0; {
		n := 1 + s.rand.IntN(len(rest))
		s.inBatches(t, p, rest[:n])
		rest = rest[n:]
		if s.Reopen != nil {
			before := p.Position()
			if p = s.Reopen(t, p); p.Position() != before {
				t.Fatalf("reopened at position %d, want %d", p.Position(), before)
			}
		}
		s.same(t, p, s.live(t, s.world.Records[:len(s.world.Records)-len(rest)]))
	}
}

func (s *suite[P]) redelivery(t testing.TB) {
	p, records := s.New(t), s.world.Records
	for at := 0; at < len(records); {
		end := at + 1 + s.rand.IntN(min(100, len(records)-at))
		// Some of what it has, and on from there; the same again; something old.
		from := s.rand.IntN(at + 1)
		s.apply(t, p, records[from:end])
		s.apply(t, p, records[from:end])
		s.apply(t, p, records[:s.rand.IntN(end)])
		at = end
	}
	s.same(t, p, s.reference)
}

func (s *suite[P]) empty(t testing.TB) {
	p := s.New(t)
	if p.Position() != 0 {
		t.Fatalf("begins at position %d", p.Position())
	}
	s.apply(t, p, nil)
	s.apply(t, p, []events.Recorded{})
	s.apply(t, p, s.world.Records[:1])
	s.apply(t, p, nil)
	s.apply(t, p, s.world.Records[1:])
	s.same(t, p, s.reference)
}

func (s *suite[P]) foreign(t testing.TB) {
	var own, foreign []events.Recorded
	for _, r := range s.world.Records {
		if isOurs(r.Stream) {
			own = append(own, r)
		} else {
			foreign = append(foreign, r)
		}
	}
	p := s.New(t)
	s.apply(t, p, foreign)
	s.same(t, p, s.Dump(s.New(t), s.world))

	p = s.New(t)
	s.inBatches(t, p, own)
	s.same(t, p, s.reference)
}

func isOurs(id events.StreamID) bool {
	return id.Kind() == events.KindOrganization || id.Kind() == events.KindUsage
}

func (s *suite[P]) unknown(t testing.TB) {
	streams := []events.StreamID{events.OrganizationStream("org-0")}
	if !s.IgnoresUse {
		streams = append(streams, events.UsageStream("org-0"))
	}
	for _, stream := range streams {
		err := s.stumbles(t, stream, events.Envelope{Type: "token.transferred.v9", Data: []byte(`{"token":"?"}`)})
		if !errors.Is(err, events.ErrUnknownType) {
			t.Errorf("in %s: %v, want %v", stream, err, events.ErrUnknownType)
		}
		if !strings.Contains(err.Error(), "token.transferred.v9") {
			t.Errorf("in %s: the error does not name the type: %v", stream, err)
		}
	}
}

func (s *suite[P]) damaged(t testing.TB) {
	if _, ok := any(s.New(t)).(interface{ Suspects() []events.StreamID }); ok {
		return // closes the organization and goes on
	}
	stream := events.OrganizationStream("org-0")
	err := s.stumbles(t, stream, events.Envelope{Type: events.TypeTokenDeleted, Data: []byte(`{"token":7}`)})
	if !errors.Is(err, events.ErrDamaged) {
		t.Errorf("%v, want %v", err, events.ErrDamaged)
	}
}

// stumbles puts a record no projection can apply somewhere among the others, and
// checks that the projection stops right before it, each time it is tried; that
// it has kept what came before; and that nothing is missing once the record is
// gone.
func (s *suite[P]) stumbles(t testing.TB, stream events.StreamID, e events.Envelope) error {
	t.Helper()
	records := s.world.Records
	at := len(s.world.Organizations) + s.rand.IntN(len(records)-len(s.world.Organizations))
	bad := events.Recorded{Envelope: e, Stream: stream, Version: 1, Position: records[at].Position - 1}
	for _, r := range records[:at] {
		if r.Stream == stream {
			bad.Version = r.Version + 1
		}
	}
	bad.Time, bad.Actor = records[at].Time, "alice"
	batch := slices.Concat(records[:at], []events.Recorded{bad}, records[at:])

	p, before := s.New(t), records[at-1].Position
	from := s.rand.IntN(at)
	s.apply(t, p, records[:from])
	err := s.refuses(t, context.Background(), p, batch[from:], before)
	again := s.refuses(t, context.Background(), p, batch[from:], before)
	s.refuses(t, context.Background(), p, batch[at:], before)
	if err.Error() != again.Error() {
		t.Errorf("the same record gives different errors: %v, and then: %v", err, again)
	}
	s.same(t, p, s.live(t, records[:at]))
	s.apply(t, p, records[from:])
	s.same(t, p, s.reference)
	return err
}

func (s *suite[P]) ended(t testing.TB) {
	p, half := s.New(t), len(s.world.Records)/2
	s.apply(t, p, s.world.Records[:half])
	before, dump := p.Position(), s.Dump(p, s.world)

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.refuses(t, ctx, p, s.world.Records[half:], before); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	s.same(t, p, dump)
	s.apply(t, p, s.world.Records[half:])
	s.same(t, p, s.reference)
}

func (s *suite[P]) position(t testing.TB) {
	p := s.New(t)
	for i := range s.world.Records {
		s.apply(t, p, s.world.Records[i:i+1])
		if got, want := p.Position(), s.world.Records[i].Position; got != want {
			t.Fatalf("after record %d: position %d, want %d", i, got, want)
		}
		old := s.rand.IntN(i + 1)
		s.apply(t, p, s.world.Records[old:old+1])
	}
}

func (s *suite[P]) readers(t testing.TB) {
	p := s.New(t)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for last := events.Position(0); ; {
				select {
				case <-done:
					return
				default:
				}
				at := p.Position()
				if at < last {
					t.Errorf("position moved back from %d to %d", last, at)
				}
				last = at
				s.Dump(p, s.world)
			}
		})
	}
	s.inBatches(t, p, s.world.Records)
	close(done)
	readers.Wait()
	s.same(t, p, s.reference)
}
