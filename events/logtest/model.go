package logtest

import (
	"errors"
	"flag"
	"math"
	"slices"
	"testing"

	"github.com/oatmill/oatmill/events"
	"pgregory.net/rapid"
)

func modelCases() []Case {
	return []Case{{
		"any sequence of calls does what a plain model does",
		"Two features are right by themselves and wrong together: a repetition after a restart on the second handle, say. Nobody writes that " +
			"test by hand.",
		matchesModel,
	}}
}

// matchesModel draws sequences of calls and compares the log with a slice.
func matchesModel(s *subject) {
	rounds, outer := s.rounds(), s.TB
	rapid.Check(outer, func(t *rapid.T) {
		if rounds--; rounds < 0 {
			return
		}
		first := newSubject(outer, s.h)
		first.TB = drawnTB{outer, t}
		m := &model{handles: []*subject{first}}
		defer func() {
			for _, handle := range m.handles {
				handle.end()
			}
		}()
		actions := map[string]func(*rapid.T){
			"":           m.check,
			"append":     m.append,
			"repeat":     m.repeat,
			"duplicate":  m.duplicate,
			"readStream": m.readStream,
			"readAll":    m.readAll,
		}
		if s.h.Reopen != nil {
			actions["restart"] = m.restart
		}
		if s.h.Second != nil {
			actions["second"] = m.second
		}
		t.Repeat(actions)
	})
}

// rounds is how many of rapid's checks are really made. A log that must be opened and
// closed on a disk for each of them takes fewer, unless a number was asked for.
func (s *subject) rounds() int {
	const usual = "100" // what rapid does when nothing else is said
	switch checks := flag.Lookup("rapid.checks"); {
	case checks.Value.String() != usual, s.h.Reopen == nil:
		return math.MaxInt
	case s.h.Slow:
		return 10
	}
	return 40
}

// drawnTB is a test inside a rapid check: failures are rapid's, so that it can look
// for a shorter sequence that fails, and temporary folders are the test's.
type drawnTB struct {
	testing.TB
	t *rapid.T
}

func (d drawnTB) Helper()                   { d.t.Helper() }
func (d drawnTB) Log(args ...any)           { d.t.Log(args...) }
func (d drawnTB) Logf(f string, a ...any)   { d.t.Logf(f, a...) }
func (d drawnTB) Error(args ...any)         { d.t.Error(args...) }
func (d drawnTB) Errorf(f string, a ...any) { d.t.Errorf(f, a...) }
func (d drawnTB) Fatal(args ...any)         { d.t.Fatal(args...) }
func (d drawnTB) Fatalf(f string, a ...any) { d.t.Fatalf(f, a...) }
func (d drawnTB) Fail()                     { d.t.Fail() }
func (d drawnTB) FailNow()                  { d.t.FailNow() }
func (d drawnTB) Failed() bool              { return d.t.Failed() }

// model is what a log should be: a list of records.
type model struct {
	handles []*subject // all open on the same data
	records []events.Recorded
}

// handle is one of the open handles.
func (m *model) handle(t *rapid.T) *subject { return rapid.SampledFrom(m.handles).Draw(t, "handle") }

func (m *model) drawStream(t *rapid.T) events.StreamID {
	return rapid.SampledFrom([]events.StreamID{acme, "usage/acme", "organization/beta"}).Draw(t, "stream")
}

// of is what the model holds of a stream.
func (m *model) of(stream events.StreamID) (records []events.Recorded) {
	for _, r := range m.records {
		if r.Stream == stream {
			records = append(records, r)
		}
	}
	return records
}

func (m *model) check(t *rapid.T) {
	s := m.handle(t)
	s.holds(m.records)
	if !s.h.NoHeads {
		stream := m.drawStream(t)
		s.headIs(stream, m.of(stream))
		s.endIs(m.records)
	}
}

// expected is a version that a writer could have in mind: the right one, mostly.
func (m *model) expected(t *rapid.T, stream events.StreamID) events.Version {
	right := events.Version(len(m.of(stream)))
	return rapid.OneOf(
		rapid.Just(right),
		rapid.Just(events.Any),
		rapid.Map(rapid.Int64Range(0, int64(right)+2), func(v int64) events.Version { return events.Version(v) }),
	).Draw(t, "expected")
}

// append appends events that are new.
func (m *model) append(t *rapid.T) {
	s, stream := m.handle(t), m.drawStream(t)
	expected, actual := m.expected(t, stream), events.Version(len(m.of(stream)))
	batch := s.batch(rapid.IntRange(1, 3).Draw(t, "size"))
	if expected != events.Any && expected != actual {
		_, err := s.log.Append(s.ctx, stream, expected, batch...)
		var conflict *events.ConflictError
		if !errors.As(err, &conflict) || *conflict != (events.ConflictError{Stream: stream, Expected: expected, Actual: actual}) {
			s.Fatalf("Append to %s at %d, which is at %d: %v", stream, expected, actual, err)
		}
		return
	}
	m.added(s, s.append(stream, expected, batch...), stream, batch)
}

// added takes up what an append returned, if it is what a log would make of it.
func (m *model) added(s *subject, got []events.Recorded, stream events.StreamID, batch []events.Envelope) {
	var head events.Head
	if before := m.of(stream); len(before) > 0 {
		last := before[len(before)-1]
		head = events.Head{Version: last.Version, Hash: last.Hash()}
	}
	want, _ := events.Seal(stream, head, batch)
	for i := range want {
		want[i].Position = got[i].Position
		if len(m.records) > 0 && got[i].Position <= m.records[len(m.records)-1].Position {
			s.Fatalf("position %d was given after %d", got[i].Position, m.records[len(m.records)-1].Position)
		}
		m.records = append(m.records, want[i])
	}
	s.same("what Append returned", got, want)
}

// repeat appends again what is there already.
func (m *model) repeat(t *rapid.T) {
	s, stream := m.handle(t), m.drawStream(t)
	known := m.of(stream)
	if len(known) == 0 {
		t.Skip("nothing to repeat")
	}
	from := rapid.IntRange(0, len(known)-1).Draw(t, "from")
	to := rapid.IntRange(from+1, min(len(known), from+5)).Draw(t, "to")
	s.same("the outcome of the repetition", s.append(stream, m.expected(t, stream), envelopes(known[from:to])...), known[from:to])
}

func envelopes(records []events.Recorded) []events.Envelope {
	batch := make([]events.Envelope, len(records))
	for i, r := range records {
		batch[i] = r.Envelope
	}
	return batch
}

// duplicate appends a batch in which IDs are taken, and which is no repetition.
func (m *model) duplicate(t *rapid.T) {
	s, stream := m.handle(t), m.drawStream(t)
	if len(m.records) == 0 {
		t.Skip("no ID is taken")
	}
	batch := append(envelopes(m.records), s.batch(2)...)
	batch = rapid.Permutation(batch).Draw(t, "order")[:rapid.IntRange(1, min(4, len(batch))).Draw(t, "size")]
	if !m.clashes(stream, batch) {
		t.Skip("the batch is new, a repetition, or nothing that this log has to see")
	}
	expected := m.expected(t, stream)
	_, err := s.log.Append(s.ctx, stream, expected, batch...)
	// Which of two errors comes first is the log's to choose.
	stale := expected != events.Any && expected != events.Version(len(m.of(stream)))
	if !errors.Is(err, events.ErrDuplicate) && !(stale && errors.Is(err, events.ErrConflict)) {
		s.Fatalf("Append with taken IDs to %s at %d: %v", stream, expected, err)
	}
}

// clashes tells whether some ID of batch is taken where the log sees it, and the batch
// is no run of the stream's records.
func (m *model) clashes(stream events.StreamID, batch []events.Envelope) bool {
	known := m.of(stream)
	seen := m.records
	if m.handles[0].h.IDsPerStream {
		seen = known
	}
	taken := func(e events.Envelope) bool {
		return slices.ContainsFunc(seen, func(r events.Recorded) bool { return r.ID == e.ID })
	}
	first := slices.IndexFunc(known, func(r events.Recorded) bool { return r.ID == batch[0].ID })
	if first >= 0 && first+len(batch) <= len(known) &&
		slices.EqualFunc(known[first:first+len(batch)], batch, func(r events.Recorded, e events.Envelope) bool { return r.ID == e.ID }) {
		return false
	}
	return slices.ContainsFunc(batch, taken)
}

func (m *model) readStream(t *rapid.T) {
	s, stream := m.handle(t), m.drawStream(t)
	want := m.of(stream)
	after := rapid.IntRange(0, len(want)+1).Draw(t, "after")
	s.same("ReadStream", s.stream(stream, events.Version(after)), want[min(after, len(want)):])
}

func (m *model) readAll(t *rapid.T) {
	s := m.handle(t)
	i := rapid.IntRange(0, len(m.records)).Draw(t, "after")
	var after events.Position
	if i > 0 {
		after = m.records[i-1].Position
	}
	n := rapid.IntRange(1, len(m.records)+1).Draw(t, "at most")
	want := m.records[i:]
	s.same("ReadAll", s.collect("ReadAll", atMost(n, s.log.ReadAll(s.ctx, after))), want[:min(n, len(want))])
}

func (m *model) restart(*rapid.T) {
	for _, other := range m.handles[1:] {
		other.end()
	}
	m.handles = m.handles[:1]
	m.handles[0].restart()
}

func (m *model) second(t *rapid.T) {
	if len(m.handles) > 2 {
		t.Skip("enough handles")
	}
	m.handles = append(m.handles, m.handles[0].second())
}
