// Package tail is what waiting stands on in a log that others append to as well: the end of
// the log as far as this process knows it, and those who wait for it to move.
//
// Appends of this process move it at once, see [Tail.Reached]. Those of others are found by
// whoever looks: a function of the log's, which runs in a goroutine of its own for as long
// as somebody waits, and asks the log itself where it ends.
package tail

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/oatmill/oatmill/events"
)

// Tail is the end of a log. Make one with [New]. It is safe for concurrent use.
type Tail struct {
	linger time.Duration
	look   func()

	mu      sync.Mutex
	end     events.Position
	told    int   // how often somebody said that there is a record
	moved   *wait // ended when end moves; nil while nobody waits
	waiting int
	left    time.Time // when the last one who waited, or had no need to, left
	looking bool
	closed  bool
	looked  sync.WaitGroup
}

// wait is what callers of Wait wait for.
type wait struct {
	over chan struct{}
	err  error // is set before over is closed, see Fail
}

// New is the tail of a log of whose end nothing is known. look is called when somebody
// begins to wait, and is to return when [Tail.Needed] says no. It is needed for as long as
// somebody waits, and for linger after that: one who reads what came and waits again then
// finds it at work. With a linger of 0 those who find what they wait for do not have it
// called at all.
func New(linger time.Duration, look func()) *Tail { return &Tail{linger: linger, look: look} }

// Wait is [events.Notifier.Wait]. It returns nil only with cause.
func (t *Tail) Wait(ctx context.Context, after events.Position) error {
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("wait for position %d: %w", after+1, err)
		}
		moved, err := t.enter(after)
		if moved == nil {
			return err
		}
		select {
		case <-moved.over:
			err = moved.err
		case <-ctx.Done():
		}
		if t.leave(); err != nil {
			return fmt.Errorf("wait for position %d: %w", after+1, err)
		}
	}
}

// enter is what to wait for; nil with an error, and without one when the end is beyond
// after already. Who gets a channel must leave. Where looking lingers it goes on in both
// cases: who need not wait because of a record that was lost would otherwise never need to.
func (t *Tail) enter(after events.Position) (*wait, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return nil, fmt.Errorf("wait for position %d: %w", after+1, events.ErrClosed)
	case t.end > after && t.linger == 0:
		return nil, nil
	case t.end > after:
		t.left = time.Now()
		t.watch()
		return nil, nil
	}
	if t.moved == nil {
		t.moved = &wait{over: make(chan struct{})}
	}
	t.waiting++
	t.watch()
	return t.moved, nil
}

// watch has somebody look. The caller holds the lock.
func (t *Tail) watch() {
	if !t.looking {
		t.looking = true
		t.looked.Go(t.look)
	}
}

func (t *Tail) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting--
	t.left = time.Now()
}

// Reached notes that there is a record at p.
func (t *Tail) Reached(p events.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.told++
	if p > t.end {
		t.end = p
		t.wake()
	}
}

// Asking is to be called before the log is asked where it ends, and what it returns is to
// be given to [Tail.Answered].
func (t *Tail) Asking() (told int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.told
}

// Answered notes where the log ends by its own account. A log that ends before the end
// that is known has become shorter, unless somebody said since the question that there is
// a record: the answer may be from before that.
func (t *Tail) Answered(end events.Position, told int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if end > t.end {
		t.wake()
	}
	if end > t.end || told == t.told {
		t.end = end
	}
}

// End is the end that is known.
func (t *Tail) End() events.Position {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.end
}

func (t *Tail) wake() {
	if t.moved != nil {
		close(t.moved.over)
		t.moved = nil
	}
}

// Needed tells whoever looks whether to go on. After a no it must not look again.
func (t *Tail) Needed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.looking = !t.closed && (t.waiting > 0 || time.Since(t.left) < t.linger)
	return t.looking
}

// Fail ends the waiting that is under way with an error.
func (t *Tail) Fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.moved != nil {
		t.moved.err = err
		t.wake()
	}
}

// Close ends all waiting with [events.ErrClosed], and returns when nobody looks any more.
// The caller sees to it that a look which is under way ends.
func (t *Tail) Close() {
	t.mu.Lock()
	t.closed = true
	t.wake()
	t.mu.Unlock()
	t.looked.Wait()
}
