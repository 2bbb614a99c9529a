package logtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime/pprof"
	"slices"
	"time"

	"github.com/oatmill/oatmill/events"
)

func closeCases() []Case {
	return []Case{{
		"a closed log refuses every call",
		"A call after Close hangs, panics, or seems to succeed and is lost.",
		closedLogsRefuse,
	}, {
		"closing twice is allowed",
		"A deferred Close beside an explicit one ends the program with a panic, or reports an error where there is none.",
		closingTwiceIsAllowed,
	}, {
		"closing ends those who wait",
		"A program does not stop, because a follower waits on a log that is closed.",
		closingEndsWaits,
	}, {
		"closing while a read is open does not hang",
		"Close waits for a read, the reader waits for Close, and the program is killed with appends in flight.",
		closingPassesOpenReads,
	}, {
		"closing in the middle of appends loses nothing acknowledged",
		"What was acknowledged stood in a buffer that Close threw away.",
		closingKeepsAcknowledged,
	}, {
		"closing leaves no goroutine behind",
		"Each log that a test or a tenant opens costs memory for ever.",
		closingEndsGoroutines,
	}}
}

func closedLogsRefuse(s *subject) {
	s.add(acme, 1)
	s.close()
	refused := func(what string, err error) {
		s.Helper()
		if !errors.Is(err, events.ErrClosed) {
			s.Errorf("%s after Close: error %v, want %q", what, err, events.ErrClosed)
		}
	}
	s.promptly("calls after Close", func() error {
		for _, expected := range []events.Version{1, 0, events.Any} {
			_, err := s.log.Append(s.ctx, acme, expected, s.envelope())
			refused("Append", err)
		}
		for name, read := range s.reads(s.ctx) {
			records, err := collect(read)
			refused(fmt.Sprintf("%s of %d records", name, len(records)), err)
		}
		for what, err := range s.optionalCalls() {
			refused(what, err)
		}
		return nil
	})
}

// optionalCalls makes a call of each method beside those of events.Log.
func (s *subject) optionalCalls() map[string]error {
	errs := make(map[string]error)
	if log, ok := s.log.(events.Notifier); ok {
		errs["Wait"] = log.Wait(s.ctx, 1000)
	}
	if log, ok := s.log.(events.Heads); ok {
		_, errs["Head"] = log.Head(s.ctx, acme)
		_, errs["End"] = log.End(s.ctx)
	}
	if log, ok := s.log.(events.Snapshots); ok {
		errs["SaveSnapshot"] = log.SaveSnapshot(s.ctx, acme, events.Snapshot{Head: events.Head{Version: 1}})
		_, errs["LoadSnapshot"] = log.LoadSnapshot(s.ctx, acme)
	}
	if log, ok := s.log.(events.Checkpoints); ok {
		errs["SaveCheckpoint"] = log.SaveCheckpoint(s.ctx, "mailer", 1)
		_, errs["LoadCheckpoint"] = log.LoadCheckpoint(s.ctx, "mailer")
	}
	return errs
}

func closingTwiceIsAllowed(s *subject) {
	closer := s.log.(io.Closer)
	for i := range 3 {
		s.promptly(fmt.Sprintf("Close number %d", i+1), closer.Close)
	}
}

func closingEndsWaits(s *subject) {
	s.notifier()
	end := s.add(acme, 1)[0].Position
	done := make(chan error, 3)
	for range cap(done) {
		go func() { done <- s.waitFails(s.ctx, end, events.ErrClosed) }()
	}
	s.asleep(cap(done))
	s.promptly("Close", s.log.(io.Closer).Close)
	for range cap(done) {
		s.receive("a wait that was under way at Close", done)
	}
}

func closingPassesOpenReads(s *subject) {
	s.append(acme, 0, s.batch(events.MaxBatch)...)
	var open []func() (events.Recorded, error, bool)
	for range 5 {
		for name, read := range s.reads(s.ctx) {
			next, stop := iter.Pull2(read)
			defer stop()
			if _, err, ok := next(); err != nil || !ok {
				s.Fatalf("%s: %v, %v", name, err, ok)
			}
			open = append(open, next)
		}
	}
	s.promptly("Close beside open reads", s.log.(io.Closer).Close)
	s.promptly("the rest of the open reads", func() error {
		for _, next := range open {
			count := 1
			for _, err, ok := next(); ok; _, err, ok = next() {
				if err == nil {
					count++
				} else if !errors.Is(err, events.ErrClosed) {
					return err
				} else {
					count = events.MaxBatch // the rest was refused, and the reader was told so
				}
			}
			if count < events.MaxBatch {
				return fmt.Errorf("a read that Close met ended after %d of %d records without an error", count, events.MaxBatch)
			}
		}
		return nil
	})
}

func closingKeepsAcknowledged(s *subject) {
	const writers = 8
	if s.h.Reopen == nil {
		s.Skip("the harness declares that the data ends with the log")
	}
	outcomes := make([][]attempt, writers)
	closing, begun := context.WithCancel(s.ctx)
	s.concurrently(writers+1, func(w int) error {
		if w == writers {
			<-closing.Done()
			return s.log.(io.Closer).Close()
		}
		for {
			a := attempt{stream: events.StreamID(fmt.Sprintf("usage/w%d", w)), batch: s.batch(2)}
			a.recorded, a.err = s.log.Append(s.ctx, a.stream, events.Any, a.batch...)
			outcomes[w] = append(outcomes[w], a)
			if a.err != nil {
				return nil
			}
			if len(outcomes[w]) == s.size(32) {
				begun() // the fastest writer; Close comes in the middle of the others
			}
		}
	})
	s.restart()
	s.settled(slices.Concat(outcomes...))
}

// closingEndsGoroutines marks whatever the log starts, by a label that goroutines
// inherit, and looks for the mark after Close. Servers that a harness starts inside
// Open are not the log's, which is why a log that can be reopened is marked then.
func closingEndsGoroutines(s *subject) {
	mark := fmt.Sprintf("%p", s)
	if s.h.Reopen != nil {
		s.close()
	}
	pprof.Do(s.ctx, pprof.Labels("logtest", mark), func(context.Context) {
		if s.h.Reopen != nil {
			s.log = s.h.Reopen(s, s.log)
		} else {
			s.close()
			s.log = s.h.Open(s)
		}
		s.add(acme, 3)
		s.stream(acme, 0)
		if !s.h.NoNotifier {
			done := s.woken(s.last())
			s.asleep(1)
			s.add(acme, 1)
			s.receive("waking a reader", done)
		}
		s.close()
	})
	deadline := time.NewTimer(s.h.patience)
	defer deadline.Stop()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for left := marked(mark); left != ""; left = marked(mark) {
		select {
		case <-look.C:
		case <-deadline.C:
			s.Fatalf("goroutines are left after Close:\n%s", left)
		}
	}
}

// marked is the stacks of the goroutines with the label.
func marked(mark string) string {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return err.Error()
	}
	var found []byte
	for _, stack := range bytes.SplitAfter(profile.Bytes(), []byte("\n\n")) {
		if bytes.Contains(stack, fmt.Appendf(nil, `"logtest":%q`, mark)) {
			found = append(found, stack...)
		}
	}
	return string(found)
}
