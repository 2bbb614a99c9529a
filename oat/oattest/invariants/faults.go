package invariants

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/oatmill/oatmill/events"
	"pgregory.net/rapid"
)

// errFault is what a log that fails says.
var errFault = errors.New("the disk is full")

// mishap is what becomes of one try to append.
type mishap int

const (
	fine         mishap = iota
	lostKept            // it is appended, the reply is lost
	lostDropped         // it never arrives, and neither does a reply
	failed              // the log says no
	cancelBefore        // the caller's context ends before it arrives
	cancelAfter         // the caller's context ends before the reply arrives
	cancelLost          // the same, and the reply is lost
)

// trouble is what happens while one command is carried out. It travels with the
// command's context.
type trouble struct {
	tries []mishap // what becomes of the tries to append; none is left: fine
	rival func()   // what another process does just before try number rivalTry
	// rivalTry counts from 0.
	rivalTry int
	// read is how many records a read of the stream yields before it fails, when
	// failRead says so; and only after something was appended, if blind says so.
	read            int
	failRead, blind bool
	cancelRead      bool // it does not fail by itself, the caller's context ends
	late            bool // the caller's context ended before the call

	cancel context.CancelFunc
	try    int
	// What has happened, for the judgement.
	unknown, refused, appended bool
}

type troubleKey struct{}

// troubleOf is the trouble a context brings, which mostly is none.
func troubleOf(ctx context.Context) *trouble {
	if d, ok := ctx.Value(troubleKey{}).(*trouble); ok {
		return d
	}
	return new(trouble)
}

// line is a process's way to the log, on which things get lost.
type line struct {
	events.Log

	cut   atomic.Bool // nothing gets through any more
	mu    sync.Mutex
	uses  []mishap // what becomes of the next appends of uses
	rival func()   // what happens just before the next of them
}

// Append passes the batch on, or does what the trouble of the context says.
func (l *line) Append(ctx context.Context, stream events.StreamID, expected events.Version, batch ...events.Envelope) ([]events.Recorded, error) {
	if l.cut.Load() {
		return nil, fmt.Errorf("append to %s: %w", stream, errFault)
	}
	d := troubleOf(ctx)
	if stream.Kind() == events.KindUsage {
		d = l.useTrouble()
	}
	if d.rival != nil && d.try == d.rivalTry {
		rival := d.rival
		d.rival = nil
		rival()
	}
	next := fine
	if d.try < len(d.tries) {
		next = d.tries[d.try]
	}
	d.try++
	return l.append(ctx, d, next, stream, expected, batch)
}

func (l *line) append(ctx context.Context, d *trouble, next mishap, stream events.StreamID, expected events.Version, batch []events.Envelope) ([]events.Recorded, error) {
	lost := fmt.Errorf("append to %s: reply lost: %w", stream, events.ErrUnknownOutcome)
	switch next {
	case failed:
		d.refused = true
		return nil, fmt.Errorf("append to %s: %w", stream, errFault)
	case lostDropped:
		d.unknown = true
		return nil, lost
	case cancelBefore:
		d.refused = true
		d.cancel()
	}
	records, err := l.Log.Append(ctx, stream, expected, batch...)
	d.appended = d.appended || err == nil
	if next == cancelAfter || next == cancelLost {
		d.refused = true // what follows a conflict may be
		d.cancel()
	}
	if next == lostKept || next == cancelLost {
		d.unknown = true
		return nil, lost
	}
	return records, err
}

// useTrouble is the trouble of the next append of uses.
func (l *line) useTrouble() *trouble {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := &trouble{rival: l.rival}
	l.rival = nil
	if len(l.uses) > 0 {
		d.tries, l.uses = l.uses[:1], l.uses[1:]
	}
	return d
}

// setUses says what becomes of the next appends of uses, and what happens just before
// the first of them.
func (l *line) setUses(rival func(), uses ...mishap) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rival, l.uses = rival, uses
}

// ReadStream reads, and fails where the trouble of the context says so.
func (l *line) ReadStream(ctx context.Context, stream events.StreamID, after events.Version) iter.Seq2[events.Recorded, error] {
	d := troubleOf(ctx)
	if !d.failRead || d.blind && !d.appended {
		return l.Log.ReadStream(ctx, stream, after)
	}
	return func(yield func(events.Recorded, error) bool) {
		n := 0
		for r, err := range l.Log.ReadStream(ctx, stream, after) {
			if n == d.read {
				d.refused = true
			}
			if n == d.read && d.cancelRead {
				d.cancel()
			} else if n == d.read {
				yield(events.Recorded{}, fmt.Errorf("read %s: %w", stream, errFault))
				return
			}
			n++
			if !yield(r, err) {
				return
			}
		}
	}
}

// drawTrouble draws trouble for one command, in one of n commands.
func drawTrouble(t *rapid.T, n int) *trouble {
	if !once(t, "trouble", n) {
		return new(trouble)
	}
	forever := func(m mishap) []mishap { return []mishap{m, m, m, m, m, m} }
	tries := [][]mishap{
		{lostKept}, {lostDropped}, {failed}, {lostKept, lostDropped, lostKept}, {lostDropped, lostKept}, {lostDropped, failed}, {lostKept, failed},
		forever(lostKept), forever(lostDropped), {lostDropped, cancelBefore}, {cancelBefore}, {cancelAfter}, {cancelLost}, {lostKept, cancelAfter}, nil,
	}
	d := &trouble{tries: rapid.SampledFrom(tries).Draw(t, "tries")}
	if d.tries == nil {
		d.failRead, d.blind, d.cancelRead = true, rapid.Bool().Draw(t, "blind"), rapid.Bool().Draw(t, "cancel")
		d.read = rapid.IntRange(0, 2).Draw(t, "read")
		d.late = once(t, "late", 4)
	}
	return d
}
