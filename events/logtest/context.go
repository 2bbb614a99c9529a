package logtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/oatmill/oatmill/events"
)

func contextCases() []Case {
	return []Case{{
		"an ended context appends nothing",
		"A request that was given up still changes the log after its caller has reported failure.",
		endedContextsAppendNothing,
	}, {
		"an ended context ends a read",
		"A program that shuts down waits for a read over a million records, or takes the half it got for the whole.",
		endedContextsEndReads,
	}, {
		"a read that ends early says so",
		"A read that stops without an error is taken for complete: the projection saves its position and goes on with a hole.",
		earlyEndsAreErrors,
	}, {
		"a context that ends during an append leaves a clear outcome",
		"The caller is told that nothing was appended, and a moment later it was.",
		cancelledAppendsAreClear,
	}}
}

// ended are contexts that are over, with the error that says so.
func ended(s *subject) map[error]context.Context {
	cancelled, cancel := context.WithCancel(s.ctx)
	cancel()
	late, cancel := context.WithDeadline(s.ctx, time.Unix(0, 0))
	cancel()
	return map[error]context.Context{context.Canceled: cancelled, context.DeadlineExceeded: late}
}

func endedContextsAppendNothing(s *subject) {
	want := s.add(acme, 1)
	for is, ctx := range ended(s) {
		batch := s.batch(2)
		for _, expected := range []events.Version{1, events.Any} {
			recorded, err := s.log.Append(ctx, acme, expected, batch...)
			if !errors.Is(err, is) || errors.Is(err, events.ErrUnknownOutcome) || recorded != nil {
				s.Errorf("Append with an ended context: %d records, error %v, want %v", len(recorded), err, is)
			}
		}
		s.holds(want)
		want = append(want, s.append(acme, events.Version(len(want)), batch...)...)
	}
	s.holds(want)
}

func endedContextsEndReads(s *subject) {
	for _, n := range []int{0, 3} { // an empty log is no exception
		if n > 0 {
			s.add(acme, n)
		}
		for is, ctx := range ended(s) {
			for name, read := range s.reads(ctx) {
				records, err := collect(read)
				if len(records) > 0 || !errors.Is(err, is) {
					s.Errorf("%s with an ended context: %d records, error %v, want %v", name, len(records), err, is)
				}
			}
		}
	}
}

func earlyEndsAreErrors(s *subject) {
	total := len(s.append(acme, 0, s.batch(events.MaxBatch)...))
	for _, after := range []int{1, 2, 100, 128, 256, 500, 512, 999} {
		for _, name := range []string{"ReadAll", "ReadStream"} {
			ctx, cancel := context.WithCancel(s.ctx)
			count := 0
			var failed error
			for _, err := range s.reads(ctx)[name] {
				if failed = err; err != nil {
					continue // a sequence that goes on is seen by count
				}
				if count++; count == after {
					cancel()
				}
			}
			cancel()
			if count != after || !errors.Is(failed, context.Canceled) {
				s.Errorf("%s, cancelled after record %d of %d: %d records, error %v", name, after, total, count, failed)
			}
		}
	}
}

// cancelledAppendsAreClear lets contexts end at moments spread over the time that an
// append takes. What was called appended is there, what failed with the context's error is
// not and never will be, and what is unknown can be settled.
func cancelledAppendsAreClear(s *subject) {
	const writers = 8
	outcomes := make([][]attempt, writers)
	s.concurrently(writers, func(w int) (err error) {
		stream := events.StreamID(fmt.Sprintf("organization/w%d", w))
		for i := range s.size(64) {
			ctx, cancel := context.WithTimeout(s.ctx, time.Duration(i*i)*time.Microsecond)
			a := attempt{batch: s.batch(2), stream: stream}
			a.recorded, a.err = s.log.Append(ctx, stream, events.Any, a.batch...)
			cancel()
			outcomes[w] = append(outcomes[w], a)
		}
		return nil
	})
	s.add("organization/later", 1) // what was on its way is behind this one, or never comes
	s.settled(slices.Concat(outcomes...))
}

// attempt is an append and its outcome.
type attempt struct {
	stream   events.StreamID
	batch    []events.Envelope
	recorded []events.Recorded
	err      error
}

// settled demands that the log agrees with what the callers of attempts were told.
func (s *subject) settled(attempts []attempt) {
	s.Helper()
	there := make(map[[16]byte]events.Recorded)
	for _, r := range s.all(0) {
		there[r.ID] = r
	}
	for _, a := range attempts {
		var found []events.Recorded
		for i := range a.batch {
			if r, ok := there[a.batch[i].ID]; ok {
				found = append(found, r)
			}
		}
		s.settles(a, found)
	}
}

// settles demands that found, which is what the log holds of the attempt's events, is
// what the caller was told.
func (s *subject) settles(a attempt, found []events.Recorded) {
	s.Helper()
	switch {
	case a.err == nil:
		s.same("an acknowledged batch", found, a.recorded)
	case errors.Is(a.err, events.ErrUnknownOutcome):
		again := s.append(a.stream, events.Any, a.batch...)
		if len(found) > 0 {
			s.same("the outcome of the repetition", again, found)
		}
	case !errors.Is(a.err, context.DeadlineExceeded) && !errors.Is(a.err, events.ErrClosed):
		s.Errorf("an append that was cut off: %v", a.err)
	case len(found) > 0:
		s.Errorf("%d of %d events are in the log after the error %q", len(found), len(a.batch), a.err)
	}
}
