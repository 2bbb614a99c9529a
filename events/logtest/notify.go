package logtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/oatmill/oatmill/events"
)

func notifierCases() []Case {
	return []Case{{
		"a waiting reader is woken by an append",
		"A revocation takes effect in another process at its next poll instead of at once, or never where nobody polls.",
		appendsWake,
	}, {
		"a wait for what is there already returns at once",
		"An append between the end of a read and the beginning of the wait is seen only when the next one follows.",
		waitsMissNothing,
	}, {
		"every waiting reader is woken",
		"One of two projections takes the other's signal, and the second shows yesterday's tokens.",
		everyoneIsWoken,
	}, {
		"a wait ends with its context",
		"A program cannot stop, because a follower waits for an append that will not come.",
		waitsEndWithContexts,
	}}
}

// notifier is the log's ability. The test is skipped where the harness denies it.
func (s *subject) notifier() events.Notifier {
	s.Helper()
	if s.h.NoNotifier {
		s.Skip("the harness declares that the log wakes nobody")
	}
	return s.log.(events.Notifier)
}

// last is the position of the log's last record.
func (s *subject) last() events.Position {
	s.Helper()
	all := s.all(0)
	if len(all) == 0 {
		return 0
	}
	return all[len(all)-1].Position
}

// woken starts to wait for a record above after, and sends what came of it. A wake
// without cause is allowed, and waited out.
func (s *subject) woken(after events.Position) <-chan error {
	done := make(chan error, 1)
	go func() {
		for {
			if err := s.await(s.ctx, after); err != nil {
				done <- fmt.Errorf("wait for more than %d: %w", after, err)
				return
			}
			records, err := collect(s.log.ReadAll(s.ctx, after))
			if err != nil || len(records) > 0 {
				done <- err
				return
			}
		}
	}()
	return done
}

// await is Wait, under a name that asleep finds.
func (s *subject) await(ctx context.Context, after events.Position) error {
	return s.notifier().Wait(ctx, after)
}

// asleep waits until n goroutines are blocked in await. Without that, an append or a
// Close could come before the waits it is to end, and would prove nothing. Where a log wakes
// its readers without cause, there may never be n at a time, and the test goes on.
func (s *subject) asleep(n int) {
	deadline := time.Now().Add(min(s.h.patience, time.Second))
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for blockedIn("logtest.(*subject).await(") < n && time.Now().Before(deadline) {
		<-look.C
	}
}

// blockedIn counts the goroutines in the function that are waiting for something.
func blockedIn(function string) (n int) {
	stacks := make([]byte, 1<<20)
	size := runtime.Stack(stacks, true)
	for ; size == len(stacks); size = runtime.Stack(stacks, true) { // a server in the process has many goroutines
		stacks = make([]byte, 2*len(stacks))
	}
	for _, stack := range bytes.Split(stacks[:size], []byte("\n\n")) {
		state, _, _ := bytes.Cut(stack, []byte("\n"))
		busy := bytes.Contains(state, []byte("[runn")) // running or runnable
		if !busy && bytes.Contains(stack, []byte(function)) {
			n++
		}
	}
	return n
}

func appendsWake(s *subject) {
	s.notifier()
	for i := range 10 {
		stream := []events.StreamID{acme, "usage/acme"}[i%2]
		done := s.woken(s.last())
		s.asleep(1)
		s.add(stream, 1)
		s.receive("waking a reader", done)
	}
}

func waitsMissNothing(s *subject) {
	notifier := s.notifier()
	records := s.add(acme, 3)
	for _, after := range []events.Position{-1, 0, records[0].Position, records[2].Position - 1} {
		s.promptly(fmt.Sprintf("waiting for more than %d", after), func() error { return notifier.Wait(s.ctx, after) })
	}
}

func everyoneIsWoken(s *subject) {
	s.notifier()
	for range 5 {
		var waiting []<-chan error
		for range 10 {
			waiting = append(waiting, s.woken(s.last()))
		}
		s.asleep(len(waiting))
		s.add(acme, 1)
		for _, done := range waiting {
			s.receive("waking one of ten readers", done)
		}
	}
}

func waitsEndWithContexts(s *subject) {
	s.notifier()
	end := s.add(acme, 1)[0].Position
	for is, ctx := range ended(s) {
		s.promptly("waiting with an ended context", func() error { return s.waitFails(ctx, end, is) })
	}
	ctx, cancel := context.WithTimeout(s.ctx, 20*time.Millisecond)
	defer cancel()
	s.promptly("waiting until the context ends", func() error {
		return s.waitFails(ctx, end, context.DeadlineExceeded)
	})
}

// waitFails waits, through wakes without cause, for the error that must end it.
func (s *subject) waitFails(ctx context.Context, after events.Position, want error) error {
	for {
		switch err := s.await(ctx, after); {
		case errors.Is(err, want):
			return nil
		case err != nil:
			return fmt.Errorf("the wait ended with %w, want %w", err, want)
		case s.ctx.Err() != nil:
			return fmt.Errorf("the wait goes on after its context: %w", s.ctx.Err())
		}
	}
}
