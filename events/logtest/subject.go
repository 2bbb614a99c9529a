package logtest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
)

// acme is the stream that cases use when they need no other.
const acme = events.StreamID("organization/acme")

// subject is one log under test, with what the cases need to talk to it. Its
// methods fail the test where the log breaks a promise they rely on.
type subject struct {
	testing.TB
	h    Harness
	ctx  context.Context
	log  events.Log
	ids  *atomic.Uint64 // how many event IDs were given out; shared by all handles on the data
	done func()
}

func newSubject(t testing.TB, h Harness) *subject {
	t.Helper()
	if h.patience == 0 {
		h.patience = time.Minute
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*h.patience)
	return &subject{TB: t, h: h, ctx: ctx, log: h.Open(t), ids: new(atomic.Uint64), done: cancel}
}

func (s *subject) end() {
	s.done()
	s.close()
}

func (s *subject) close() {
	if closer, ok := s.log.(io.Closer); ok {
		if err := s.patiently(start(closer.Close)); err != nil {
			s.Errorf("Close: %v", err)
		}
	}
}

// restart is the subject after its log was closed and opened again. The test is
// skipped where that is not possible.
func (s *subject) restart() *subject {
	s.Helper()
	if s.h.Reopen == nil {
		s.Skip("the harness declares that the data ends with the log")
	}
	s.close()
	s.log = s.h.Reopen(s, s.log)
	return s
}

// second is another handle on the data. The test is skipped where there can be none.
func (s *subject) second() *subject {
	s.Helper()
	if s.h.Second == nil {
		s.Skip("the harness declares that only one process can have the log open")
	}
	other := *s
	other.log, other.done = s.h.Second(s, s.log), func() {}
	return &other
}

// size is n, or less where appends are slow or tests are to be short.
func (s *subject) size(n int) int {
	if s.h.Slow || testing.Short() {
		return max(2, n/8)
	}
	return n
}

// id is an event ID that was not used before. IDs come in no order at all, because
// no log may count on one.
func (s *subject) id() [16]byte {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, s.ids.Add(1)))
	return [16]byte(sum[:16])
}

// envelope is a new event.
func (s *subject) envelope() events.Envelope {
	id := s.id()
	return events.Envelope{
		ID: id, Type: "token.generated.v1", Time: time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC),
		Actor: "alice", Data: fmt.Appendf(nil, `{"n":%q}`, fmt.Sprintf("%x", id)),
	}
}

// batch is n new events.
func (s *subject) batch(n int) []events.Envelope {
	b := make([]events.Envelope, n)
	for i := range b {
		b[i] = s.envelope()
	}
	return b
}

// append must succeed.
func (s *subject) append(stream events.StreamID, expected events.Version, batch ...events.Envelope) []events.Recorded {
	s.Helper()
	recorded, err := s.log.Append(s.ctx, stream, expected, batch...)
	if err != nil {
		s.Fatalf("Append to %s at %d: %v", stream, expected, err)
	}
	if len(recorded) != len(batch) {
		s.Fatalf("Append to %s returned %d records for %d events", stream, len(recorded), len(batch))
	}
	return recorded
}

// add appends n new events to stream.
func (s *subject) add(stream events.StreamID, n int) []events.Recorded {
	s.Helper()
	return s.append(stream, events.Any, s.batch(n)...)
}

// refuses demands that an append ends with an error like target, and that it
// leaves no trace.
func (s *subject) refuses(target error, stream events.StreamID, expected events.Version, batch ...events.Envelope) error {
	s.Helper()
	before := s.all(0)
	recorded, err := s.log.Append(s.ctx, stream, expected, batch...)
	if !errors.Is(err, target) {
		s.Fatalf("Append to %s at %d: error %v, want %q", stream, expected, err, target)
	}
	if recorded != nil {
		s.Errorf("Append to %s returned %d records beside the error %v", stream, len(recorded), err)
	}
	s.holds(before)
	return err
}

// all is what ReadAll yields, stream what ReadStream yields.
func (s *subject) all(after events.Position) []events.Recorded {
	s.Helper()
	return s.collect("ReadAll", s.log.ReadAll(s.ctx, after))
}

func (s *subject) stream(id events.StreamID, after events.Version) []events.Recorded {
	s.Helper()
	return s.collect("ReadStream "+string(id), s.log.ReadStream(s.ctx, id, after))
}

func (s *subject) collect(what string, read iter.Seq2[events.Recorded, error]) []events.Recorded {
	s.Helper()
	records, err := collect(read)
	if err != nil {
		s.Fatalf("%s: %v", what, err)
	}
	return records
}

// collect reads to the end. That the sequence goes on after an error, or yields a
// record beside one, is an error that collect adds.
func collect(read iter.Seq2[events.Recorded, error]) (records []events.Recorded, failed error) {
	for r, err := range read {
		switch {
		case failed != nil:
			return records, fmt.Errorf("the sequence went on after the error %q", failed)
		case err != nil && !r.Equal(events.Recorded{}):
			return records, fmt.Errorf("a record stands beside the error %q: %s", err, describe(r))
		case err != nil:
			failed = err
		default:
			records = append(records, r)
		}
	}
	return records, failed
}

// holds demands that the log is exactly want, in that order.
func (s *subject) holds(want []events.Recorded) {
	s.Helper()
	s.same("the log", s.all(0), want)
}

// same demands that two lists of records are equal in every field.
func (s *subject) same(what string, got, want []events.Recorded) {
	s.Helper()
	if difference := compare(got, want); difference != "" {
		s.Fatalf("%s: %s", what, difference)
	}
}

// compare tells where got first differs from want, "" when nowhere.
func compare(got, want []events.Recorded) string {
	for i := range min(len(got), len(want)) {
		if !got[i].Equal(want[i]) {
			return fmt.Sprintf("record %d is\n%s, want\n%s", i, describe(got[i]), describe(want[i]))
		}
	}
	if len(got) != len(want) {
		return fmt.Sprintf("%d records, want %d", len(got), len(want))
	}
	return ""
}

// describe is a record in words, cut to a length that can be read.
func describe(r events.Recorded) string {
	return fmt.Sprintf("%s@%d at %d, after %.8s: %s %s %s by %.40q for %.40q because of %s (%.40q): %.80q", r.Stream, r.Version,
		r.Position, r.Previous, r.ID, r.Type, r.Time.Format(time.RFC3339Nano), r.Actor, r.Correlation, r.Causation, r.Reason, r.Data)
}

// promptly demands that f, which may hang whatever its context says, returns soon.
func (s *subject) promptly(what string, f func() error) {
	s.Helper()
	s.receive(what, start(f))
}

// start runs f and sends what came of it.
func start(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

// receive waits for the end of something that was started before.
func (s *subject) receive(what string, done <-chan error) {
	s.Helper()
	if err := s.patiently(done); err != nil {
		s.Fatalf("%s: %v", what, err)
	}
}

// patiently is what done sends, or the error that it took too long.
func (s *subject) patiently(done <-chan error) error {
	timeout := time.NewTimer(s.h.patience)
	defer timeout.Stop()
	select {
	case err := <-done:
		return err
	case <-timeout.C:
		return fmt.Errorf("not done after %v", s.h.patience)
	}
}

// concurrently runs f with every number below n, all at once, and fails the test
// with the first error.
func (s *subject) concurrently(n int, f func(i int) error) {
	s.Helper()
	done := make(chan error, n)
	for i := range n {
		go func() { done <- f(i) }()
	}
	var first error
	for range n {
		if err := <-done; first == nil {
			first = err
		}
	}
	if first != nil {
		s.Fatal(first)
	}
}
