package projtest

import (
	"context"
	"errors"
	"iter"
	"slices"
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/projection"
)

// rebuilderCases returns the cases for a projection that is a [projection.Rebuilder].
func (s *suite[P]) rebuilderCases() []testCase {
	var p P
	if _, ok := any(p).(projection.Rebuilder); !ok {
		return nil
	}
	return []testCase{
		{"last", "a runner compares the last record with the log, to find that the log was forked", s.last},
		{"closes", "a record that does not continue its stream may hide a revocation; it must not be folded, and must not stop other organizations", s.closes},
		{"refold opens", "an organization whose log is right again must be served again, as if nothing had happened", s.refoldOpens},
		{"refold fails", "an organization whose log is still wrong must stay closed", s.refoldFails},
		{"refold of nothing", "a log that lost all records of an organization does not have it any more", s.refoldOfNothing},
		{"reset", "after Reset a replay gives what a fresh projection has", s.reset},
	}
}

func rebuilder(p any) projection.Rebuilder { return p.(projection.Rebuilder) }

// mark returns the mark of the last record that p has applied, zero before the first.
func mark(p any) (mark events.Mark) {
	for _, last := range rebuilder(p).Last() {
		mark = last
	}
	return mark
}

// stopsAt fails unless r is the last record that p has applied.
func (s *suite[P]) stopsAt(t testing.TB, p P, r events.Recorded) {
	t.Helper()
	if got := mark(p); got != r.Mark() || p.Position() != r.Position {
		t.Fatalf("last record at position %d with hash %s, Position is %d, want %d and %s", got.Position, got.Hash, p.Position(), r.Position, r.Hash())
	}
}

// closed fails unless exactly these organizations are closed.
func (s *suite[P]) closed(t testing.TB, p P, organizations ...string) {
	t.Helper()
	want := make([]events.StreamID, len(organizations))
	for i, name := range organizations {
		want[i] = events.OrganizationStream(name)
	}
	if got := rebuilder(p).Suspects(); !slices.Equal(got, want) {
		t.Fatalf("closed: %q, want %q", got, want)
	}
}

// reopened returns p, or what goes on from what p had stored.
func (s *suite[P]) reopened(t testing.TB, p P) P {
	t.Helper()
	if s.Reopen == nil {
		return p
	}
	return s.Reopen(t, p)
}

func (s *suite[P]) last(t testing.TB) {
	p := s.New(t)
	if got := rebuilder(p).Last(); len(got) > 0 {
		t.Fatalf("begins behind %v", got)
	}
	for rest := s.world.Records; len(rest) > 0; {
		n := 1 + s.rand.IntN(min(len(rest), 60))
		s.inBatches(t, p, rest[:n])
		s.stopsAt(t, p, rest[n-1])
		p = s.reopened(t, p)
		s.stopsAt(t, p, rest[n-1])
		rest = rest[n:]
	}
	s.closed(t, p)
}

// wrong is a log with a record that does not continue its organization's stream.
type wrong struct {
	name string
	// make returns what stands at the position of a record, the i-th decision of its
	// organization, and up to the next record. next is the decision after it.
	make func(r, next events.Recorded) []events.Recorded
	// folds is how many of these records are folded, before the organization is closed.
	folds int
	// late says that none of these records shows that something is wrong, but the next decision.
	late bool
}

// wrongs lists the ways in which a log can be wrong. The records after the wrong ones are
// those of the world.
func wrongs() []wrong {
	return []wrong{
		{"a record whose content is not the stored one", func(r, _ events.Recorded) []events.Recorded {
			changed := other(r)
			changed.SetStored(r.Hash())
			return []events.Recorded{changed}
		}, 0, false},
		{"a record of another history", func(r, _ events.Recorded) []events.Recorded { return []events.Recorded{other(r)} }, 1, true},
		{"a second record of a version", func(r, _ events.Recorded) []events.Recorded {
			second := other(r)
			second.Position++
			return []events.Recorded{r, second}
		}, 1, false},
		{"a record that was slipped in", func(r, next events.Recorded) []events.Recorded {
			slipped := other(next) // fits r, and has the version of the next one
			slipped.Position = r.Position + 1
			return []events.Recorded{r, slipped}
		}, 2, true},
		{"a record that is missing", func(events.Recorded, events.Recorded) []events.Recorded { return nil }, 0, true},
		{"a payload that is none", func(r, _ events.Recorded) []events.Recorded {
			return []events.Recorded{resealed(r, func(e *events.Envelope) { e.Type, e.Data = events.TypeTokenDeleted, []byte(`{"token":7}`) })}
		}, 0, false},
	}
}

// anyWrong returns one of the wrongs at random.
func (s *suite[P]) anyWrong() wrong {
	list := wrongs()
	return list[s.rand.IntN(len(list))]
}

// other returns another record in the place of r.
func other(r events.Recorded) events.Recorded {
	return resealed(r, func(e *events.Envelope) { e.ID[0], e.Actor = e.ID[0]^1, "mallory" })
}

// resealed returns a changed record behind the one that r follows.
func resealed(r events.Recorded, change func(*events.Envelope)) events.Recorded {
	e := r.Envelope
	change(&e)
	sealed, _ := events.Seal(r.Stream, events.Head{Version: r.Version - 1, Hash: r.Previous}, []events.Envelope{e})
	sealed[0].Position = r.Position
	return sealed[0]
}

// spoilt is the world's log with something wrong in it.
type spoilt struct {
	organization string
	records      []events.Recorded // of the wrong log
	folded       []events.Recorded // of these, what leads to the state of the closed organization and of the others
	at           int               // from this one of the world's records on the logs differ
	closes       int               // the record of the wrong log that shows it
	last         int               // the organization's last decision in the wrong log
}

// spoil makes the world's log wrong at a random decision of a random organization that has
// more decisions afterwards.
func (s *suite[P]) spoil(t testing.TB, w wrong) spoilt {
	t.Helper()
	l := spoilt{organization: s.world.Organizations[s.rand.IntN(len(s.world.Organizations))]}
	stream := events.OrganizationStream(l.organization)
	var decisions []int
	for i, r := range s.world.Records {
		if r.Stream == stream {
			decisions = append(decisions, i)
		}
	}
	if len(decisions) < 4 {
		t.Fatalf("%s has %d decisions", stream, len(decisions))
	}
	n := len(decisions)/3 + s.rand.IntN(len(decisions)-2-len(decisions)/3) // so that it was used before
	l.at = decisions[n]
	behind := 0
	for i, r := range s.world.Records {
		if i != l.at {
			l.records = append(l.records, r)
			if i < l.at || r.Stream != stream {
				l.folded = append(l.folded, r)
			}
			continue
		}
		made := w.make(r, s.world.Records[decisions[n+1]])
		l.records = append(l.records, made...)
		l.folded = append(l.folded, made[:w.folds]...)
		behind = len(l.records)
	}
	l.closes = behind - 1
	if w.late {
		l.closes = behind + decisions[n+1] - l.at - 1
	}
	l.last = len(l.records) - (len(s.world.Records) - decisions[len(decisions)-1])
	return l
}

// others returns what there is to ask about the other organizations.
func (s *suite[P]) others(organization string) World {
	w := s.world
	w.Organizations = slices.DeleteFunc(slices.Clone(w.Organizations), func(name string) bool { return name == organization })
	return w
}

// fresh returns what a projection answers that got the records in batches.
func (s *suite[P]) fresh(t testing.TB, records []events.Recorded) any {
	t.Helper()
	p := s.New(t)
	s.inBatches(t, p, records)
	return s.Dump(p, s.world)
}

// expected returns what a projection answers about the other organizations that got the
// records which are folded, and no wrong one.
func (s *suite[P]) expected(t testing.TB, l spoilt) any {
	t.Helper()
	p := s.New(t)
	s.inBatches(t, p, l.folded)
	s.closed(t, p)
	return s.Dump(p, s.others(l.organization))
}

// history yields what a runner gives to Refold: the stream of an organization, and then its
// uses.
func history(records []events.Recorded, organization string) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		for _, stream := range []events.StreamID{events.OrganizationStream(organization), events.UsageStream(organization)} {
			for _, r := range records {
				if r.Stream == stream && !yield(r, nil) {
					return
				}
			}
		}
	}
}

func (s *suite[P]) closes(t testing.TB) {
	for _, w := range wrongs() {
		l := s.spoil(t, w)
		s.closesAtOnce(t, l)
		p, want := s.New(t), s.expected(t, l)
		s.inBatches(t, p, l.records)
		s.stopsAt(t, p, l.records[len(l.records)-1])
		s.closed(t, p, l.organization)
		s.sameAs(t, s.Dump(p, s.others(l.organization)), want)
		p = s.reopened(t, p)
		s.closed(t, p, l.organization)
		s.apply(t, p, l.records)
		s.sameAs(t, s.Dump(p, s.others(l.organization)), want)
	}
}

// closesAtOnce checks that the organization is closed by the first record that shows that
// something is wrong, and that its later decisions change nothing.
func (s *suite[P]) closesAtOnce(t testing.TB, l spoilt) {
	t.Helper()
	p := s.New(t)
	s.inBatches(t, p, l.records[:l.closes])
	s.closed(t, p)
	s.apply(t, p, l.records[l.closes:l.closes+1])
	s.closed(t, p, l.organization)
	before := s.Dump(p, s.world)
	for _, r := range l.records[l.closes+1:] {
		if r.Stream == events.OrganizationStream(l.organization) {
			s.apply(t, p, []events.Recorded{r})
		}
	}
	s.same(t, p, before)
}

func (s *suite[P]) refoldOpens(t testing.TB) {
	l, p := s.spoil(t, s.anyWrong()), s.New(t)
	s.inBatches(t, p, l.records[:l.closes+1+s.rand.IntN(l.last-l.closes)])
	s.closed(t, p, l.organization)
	rest := after(s.world.Records, p.Position())
	want := s.fresh(t, s.world.Records[:len(s.world.Records)-len(rest)])
	for range 2 {
		// Refold also gets what comes after Position, and must leave that to Apply.
		s.refold(t, p, l.organization)
		s.closed(t, p)
		s.same(t, p, want)
	}
	p = s.reopened(t, p)
	s.closed(t, p)
	s.inBatches(t, p, rest)
	s.closed(t, p)
	s.same(t, p, s.reference)
	s.stopsAt(t, p, s.world.Records[len(s.world.Records)-1])
}

func after(records []events.Recorded, p events.Position) []events.Recorded {
	i, _ := slices.BinarySearchFunc(records, p+1, func(r events.Recorded, p events.Position) int { return int(r.Position - p) })
	return records[i:]
}

// refold has p fold an organization again from the world's log.
func (s *suite[P]) refold(t testing.TB, p P, organization string) {
	t.Helper()
	before := p.Position()
	if err := rebuilder(p).Refold(context.Background(), events.OrganizationStream(organization), history(s.world.Records, organization)); err != nil {
		t.Fatalf("refold of %s: %v", organization, err)
	}
	if got := p.Position(); got != before {
		t.Fatalf("refold moved the position from %d to %d", before, got)
	}
}

func (s *suite[P]) refoldFails(t testing.TB) {
	l, p := s.spoil(t, s.anyWrong()), s.New(t)
	s.inBatches(t, p, l.records)
	stream := events.OrganizationStream(l.organization)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	unreadable, want := errors.New("unreadable"), s.expected(t, l)
	for _, c := range []struct {
		ctx     context.Context
		records iter.Seq2[events.Recorded, error]
		want    error // nil means any
	}{
		{context.Background(), history(l.records, l.organization), nil},
		{ended, history(s.world.Records, l.organization), context.Canceled},
		{context.Background(), func(yield func(events.Recorded, error) bool) {
			for r := range history(s.world.Records[:l.at], l.organization) {
				if !yield(r, nil) {
					return
				}
			}
			yield(events.Recorded{}, unreadable)
		}, unreadable},
	} {
		err := rebuilder(p).Refold(c.ctx, stream, c.records)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Fatalf("refold returns %v, want %v", err, c.want)
		}
		s.stopsAt(t, p, l.records[len(l.records)-1])
		s.closed(t, p, l.organization)
		s.sameAs(t, s.Dump(p, s.others(l.organization)), want)
	}
	s.refold(t, p, l.organization)
	s.closed(t, p)
	s.same(t, p, s.reference)
}

func (s *suite[P]) refoldOfNothing(t testing.TB) {
	l, p := s.spoil(t, wrongs()[0]), s.New(t)
	s.inBatches(t, p, l.records)
	if err := rebuilder(p).Refold(context.Background(), events.OrganizationStream(l.organization), history(nil, "")); err != nil {
		t.Fatal(err)
	}
	s.closed(t, p)
	without := slices.DeleteFunc(slices.Clone(s.world.Records), func(r events.Recorded) bool {
		return isOurs(r.Stream) && r.Stream.Name() == l.organization
	})
	want := s.fresh(t, without)
	s.same(t, p, want)
	p = s.reopened(t, p)
	s.closed(t, p)
	s.same(t, p, want)
}

func (s *suite[P]) reset(t testing.TB) {
	l, p := s.spoil(t, s.anyWrong()), s.New(t)
	s.inBatches(t, p, l.records)
	for range 2 {
		if err := rebuilder(p).Reset(context.Background()); err != nil {
			t.Fatal(err)
		}
		p = s.reopened(t, p)
		if got := mark(p); got != (events.Mark{}) || p.Position() != 0 {
			t.Fatalf("after a reset: position %d, last record at %d with hash %s", p.Position(), got.Position, got.Hash)
		}
		s.closed(t, p)
		s.same(t, p, s.Dump(s.New(t), s.world))
	}
	s.inBatches(t, p, s.world.Records)
	s.closed(t, p)
	s.same(t, p, s.reference)
}
