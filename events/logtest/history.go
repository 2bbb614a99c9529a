package logtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/oatmill/oatmill/events"
)

// op is one call in a history: when it began and ended, and what it learnt of a
// sequence that only grows, which is a stream counted in versions or the whole log
// counted in positions.
type op struct {
	call, ret int64 // on a clock that all callers share
	// from and to are the first and last number that an append was given. An
	// observation has 0 as from, and in to the last number it says there was.
	from, to int64
}

// appended tells appends from observations: conflicts, heads and reads, each of
// which claims that the sequence ended at a number while the call was under way.
func (o op) appended() bool { return o.from > 0 }

// explain looks for one order of all calls that explains every answer and in which no
// call stands before one that had ended when it began. It returns an error when there
// is none, which is to say that the history is not linearizable.
//
// Searching such an order is hard in general. Here the numbers give it: appends
// stand as they are numbered, and an observation stands after the append it saw
// last and before the next. Observations between the same two appends may stand in
// the order in which they began. An order is then possible if and only if no call in
// it began after one that stands behind it had ended; and since any other order
// contradicts a number or, by an exchange of neighbours, is no better, this one
// decides.
//
// holes tells whether appends may leave numbers out, as positions do.
func explain(history []op, holes bool) error {
	order := slices.Clone(history)
	slices.SortFunc(order, func(a, b op) int {
		return cmp.Or(cmp.Compare(a.to, b.to), compareBool(b.appended(), a.appended()), cmp.Compare(a.call, b.call))
	})
	var end int64 // of the sequence, at this place in the order
	var latest op // of all calls so far, the one that began last
	for _, o := range order {
		switch {
		case o.appended() && (o.from <= end || !holes && o.from != end+1):
			return fmt.Errorf("an append got %d to %d, where the one before it ended at %d", o.from, o.to, end)
		case !o.appended() && o.to != end:
			return fmt.Errorf("a call saw an end at %d, where no append ended; the one before ended at %d", o.to, end)
		}
		end = o.to
		if o.call > latest.call {
			latest = o
		}
		if o.ret < latest.call {
			return fmt.Errorf("%v must stand before %v, which began after it had ended", latest, o)
		}
	}
	return nil
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func (o op) String() string {
	if o.appended() {
		return fmt.Sprintf("append of %d to %d (from %d until %d)", o.from, o.to, o.call, o.ret)
	}
	return fmt.Sprintf("observation of %d (from %d until %d)", o.to, o.call, o.ret)
}

// recorder notes the calls of many goroutines, for every stream and for the log.
type recorder struct {
	clock   atomic.Int64
	mu      sync.Mutex
	streams map[events.StreamID][]op
	log     []op
}

func newRecorder() *recorder { return &recorder{streams: make(map[events.StreamID][]op)} }

// now is a time on the clock of the history. Two calls never get the same.
func (r *recorder) now() int64 { return r.clock.Add(1) }

// append makes an append and notes its outcome. A conflict is no error here: it has
// no records, and the version is the one that the stream was at.
func (r *recorder) append(ctx context.Context, log events.Log, stream events.StreamID, expected events.Version, batch []events.Envelope) ([]events.Recorded, events.Version, error) {
	call := r.now()
	recorded, err := log.Append(ctx, stream, expected, batch...)
	o := op{call: call, ret: r.now()}
	var conflict *events.ConflictError
	switch {
	case errors.As(err, &conflict):
		o.to = int64(conflict.Actual)
		r.note(stream, o)
		return nil, conflict.Actual, nil
	case err != nil:
		return nil, 0, err
	}
	if len(recorded) != len(batch) {
		return nil, 0, fmt.Errorf("append to %s returned %d records for %d events", stream, len(recorded), len(batch))
	}
	first, last := recorded[0], recorded[len(recorded)-1]
	if expected != events.Any && first.Version != expected+1 {
		return nil, 0, fmt.Errorf("append to %s at %d made version %d", stream, expected, first.Version)
	}
	o.from, o.to = int64(first.Version), int64(last.Version)
	r.note(stream, o)
	o.from, o.to = int64(first.Position), int64(last.Position)
	r.note("", o)
	return recorded, last.Version, nil
}

// observe notes what a call says of the end of a stream, or of the log where stream
// is "".
func (r *recorder) observe(stream events.StreamID, look func() (int64, error)) error {
	call := r.now()
	end, err := look()
	if err == nil {
		r.note(stream, op{call: call, ret: r.now(), to: end})
	}
	return err
}

func (r *recorder) note(stream events.StreamID, o op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if stream == "" {
		r.log = append(r.log, o)
	} else {
		r.streams[stream] = append(r.streams[stream], o)
	}
}

// explain demands an order for every stream and for the log as a whole.
func (r *recorder) explain() error {
	for stream, history := range r.streams {
		if err := explain(history, false); err != nil {
			return fmt.Errorf("%s: no order explains %d calls: %w", stream, len(history), err)
		}
	}
	if err := explain(r.log, true); err != nil {
		return fmt.Errorf("the log: no order explains %d calls: %w", len(r.log), err)
	}
	return nil
}

func historyCases() []Case {
	return []Case{{
		"one order explains all calls on one stream",
		"A conflict names a version that the stream never had, or a reader sees a decision and the next reader does not.",
		func(s *subject) { s.linearizable([]*subject{s}, acme) },
	}, {
		"one order explains all calls on many streams",
		"A position is given out after a higher one was seen; streams that are right by themselves contradict each other in the log.",
		func(s *subject) { s.linearizable([]*subject{s}, acme, "usage/acme", "organization/beta") },
	}, {
		"one order explains all calls through two handles",
		"Each process keeps the versions it knows in memory, and decides on what the other has long overtaken.",
		func(s *subject) {
			second := s.second()
			defer second.end()
			s.linearizable([]*subject{s, second}, acme, "usage/acme")
		},
	}}
}

// linearizable lets eight callers mix appends, conflicts, reads and heads, and
// demands an order that explains all of it.
func (s *subject) linearizable(handles []*subject, streams ...events.StreamID) {
	r := newRecorder()
	s.concurrently(8, func(i int) error {
		log := handles[i%len(handles)].log
		known := make(map[events.StreamID]events.Version)
		for step := range s.size(48) {
			stream := streams[(i+step)%len(streams)]
			if err := s.step(r, log, stream, known, (i*7+step)%6); err != nil {
				return err
			}
		}
		return nil
	})
	if err := r.explain(); err != nil {
		s.Fatal(err)
	}
}

// step makes one of six kinds of calls. known is what this caller last learnt of the
// versions, which others may have overtaken.
func (s *subject) step(r *recorder, log events.Log, stream events.StreamID, known map[events.StreamID]events.Version, kind int) (err error) {
	switch kind {
	case 0, 1, 2:
		_, known[stream], err = r.append(s.ctx, log, stream, known[stream], s.batch(1+kind%2))
	case 3:
		_, known[stream], err = r.append(s.ctx, log, stream, events.Any, s.batch(2))
	case 4:
		err = r.observe(stream, func() (end int64, err error) {
			for record, err := range log.ReadStream(s.ctx, stream, 0) {
				if err != nil {
					return 0, err
				}
				end = int64(record.Version)
			}
			return end, nil
		})
	case 5:
		err = s.observeHeads(r, log, stream)
	}
	return err
}

func (s *subject) observeHeads(r *recorder, log events.Log, stream events.StreamID) error {
	heads, ok := log.(events.Heads)
	if !ok {
		return nil
	}
	if err := r.observe(stream, func() (int64, error) {
		head, err := heads.Head(s.ctx, stream)
		return int64(head.Version), err
	}); err != nil {
		return err
	}
	return r.observe("", func() (int64, error) {
		end, err := heads.End(s.ctx)
		return int64(end), err
	})
}
