package tail

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oatmill/oatmill/events"
)

// looker looks every second, and counts how often it was called and looked.
type looker struct {
	tail          *Tail
	calls, looked atomic.Int32
}

func newLooker(linger time.Duration) *looker {
	l := new(looker)
	l.tail = New(linger, func() {
		for l.calls.Add(1); l.tail.Needed(); time.Sleep(time.Second) {
			l.looked.Add(1)
		}
	})
	return l
}

// wait waits in a goroutine for a record beyond after.
func (l *looker) wait(ctx context.Context, after events.Position) <-chan error {
	done := make(chan error, 1)
	go func() { done <- l.tail.Wait(ctx, after) }()
	synctest.Wait()
	return done
}

// ended is how a wait ended, errWaiting while it has not.
func ended(done <-chan error) error {
	synctest.Wait()
	select {
	case err := <-done:
		return err
	default:
		return errWaiting
	}
}

var errWaiting = errors.New("still waiting")

// Waiting ends with the record that is waited for, whoever tells of it, and with no other.
//
// A Reached or an Answered that wakes nobody makes this fail.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLooker(0)
		defer l.tail.Close()
		five, seven := l.wait(t.Context(), 5), l.wait(t.Context(), 7)
		l.tail.Reached(5)
		if err := ended(five); err != errWaiting {
			t.Errorf("a wait for what comes after 5 ended at 5: %v", err)
		}
		l.tail.Reached(6)
		if err := ended(five); err != nil {
			t.Errorf("a wait for what comes after 5 at 6: %v", err)
		}
		l.tail.Answered(8, l.tail.Asking())
		if err := ended(seven); err != nil {
			t.Errorf("a wait for what comes after 7 at 8: %v", err)
		}
		if err := ended(l.wait(t.Context(), 7)); err != nil {
			t.Errorf("a wait for what is there: %v", err)
		}
	})
}

// A context and Close end waiting, also before it began.
func TestWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLooker(0)
		ctx, cancel := context.WithCancel(t.Context())
		given, left := l.wait(ctx, 5), l.wait(t.Context(), 5)
		cancel()
		if err := ended(given); !errors.Is(err, context.Canceled) {
			t.Errorf("a wait that was given up: %v", err)
		}
		l.tail.Reached(9)
		if err := ended(l.wait(ctx, 5)); !errors.Is(err, context.Canceled) {
			t.Errorf("a wait whose context has ended: %v", err)
		}
		if err := ended(left); err != nil {
			t.Errorf("the wait of somebody else: %v", err)
		}
		left = l.wait(t.Context(), 9)
		l.tail.Close()
		for _, done := range []<-chan error{left, l.wait(t.Context(), 9), l.wait(t.Context(), 5)} {
			if err := ended(done); !errors.Is(err, events.ErrClosed) {
				t.Errorf("a wait on a closed log: %v", err)
			}
		}
	})
}

// There is one who looks while somebody waits, and for the linger afterwards.
//
// Leaving the linger out of Needed makes this fail, and so does starting a second look.
func TestLooking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLooker(5 * time.Second)
		defer l.tail.Close()
		first, second := l.wait(t.Context(), 1), l.wait(t.Context(), 1)
		time.Sleep(10*time.Second + time.Millisecond)
		if l.calls.Load() != 1 || l.looked.Load() != 11 {
			t.Errorf("two who waited for ten seconds had %d who looked, %d times", l.calls.Load(), l.looked.Load())
		}
		l.tail.Reached(2)
		if err := errors.Join(ended(first), ended(second)); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if l.calls.Load() != 1 || l.looked.Load() != 16 {
			t.Errorf("after five seconds more there were %d looks", l.looked.Load())
		}
		// Who need not wait has the log looked at nevertheless.
		if err := ended(l.wait(t.Context(), 1)); err != nil || l.calls.Load() != 2 {
			t.Errorf("a wait for what is there: %v, %d calls", err, l.calls.Load())
		}
	})
	synctest.Test(t, func(t *testing.T) {
		l := newLooker(0)
		defer l.tail.Close()
		l.tail.Reached(2)
		if err := ended(l.wait(t.Context(), 1)); err != nil || l.calls.Load() != 0 {
			t.Errorf("without a linger a wait for what is there: %v, %d calls", err, l.calls.Load())
		}
	})
}

// A log that says it ends sooner has become shorter, but not when it was asked before it
// grew.
//
// An Answered without a look at what was told since makes this fail.
func TestLateAnswerDoesNotMoveTheEndBack(t *testing.T) {
	tail := New(0, func() {})
	tail.Reached(6)
	told := tail.Asking()
	tail.Reached(7)
	if tail.Answered(6, told); tail.End() != 7 {
		t.Errorf("the end went back to %d", tail.End())
	}
	if tail.Answered(5, tail.Asking()); tail.End() != 5 {
		t.Errorf("a shorter log ends at %d", tail.End())
	}
}

// Fail ends the waiting that is under way with its error, and no other.
//
// Fails if Wait ignores the error, or if Fail keeps it for those that wait later.
func TestFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLooker(0)
		defer l.tail.Close()
		gone := errors.New("gone")
		one, two := l.wait(t.Context(), 5), l.wait(t.Context(), 9)
		l.tail.Fail(gone)
		if one, two := ended(one), ended(two); !errors.Is(one, gone) || !errors.Is(two, gone) {
			t.Errorf("waits on a log that failed: %v, %v", one, two)
		}
		l.tail.Fail(gone) // nobody waits
		later := l.wait(t.Context(), 5)
		if err := ended(later); err != errWaiting {
			t.Errorf("a later wait: %v", err)
		}
		l.tail.Reached(6)
		if err := ended(later); err != nil {
			t.Errorf("a later wait, at the end of it: %v", err)
		}
	})
}
