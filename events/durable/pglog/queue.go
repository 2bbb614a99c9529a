package pglog

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/oatmill/oatmill/events"
)

// addition is what a caller of Append wants to add.
type addition struct {
	stream   events.StreamID
	expected events.Version
	batch    []events.Envelope

	look  bool // decide it only after a look for its IDs
	state atomic.Int32
	done  chan outcome // receives the outcome, once
}

// outcome is what the caller learns.
type outcome struct {
	records []events.Recorded
	err     error
}

// What has become of an addition. The writer takes it or its caller withdraws it; whoever
// is first decides whether it is carried out.
const (
	waiting int32 = iota
	taken
	withdrawn
)

func (a *addition) take() bool     { return a.state.CompareAndSwap(waiting, taken) }
func (a *addition) withdraw() bool { return a.state.CompareAndSwap(waiting, withdrawn) }

func (a *addition) answer(records []events.Recorded, err error) {
	a.done <- outcome{records, err}
}

// fits tells whether the addition is right for a stream with that head.
func (a *addition) fits(head events.Head) bool {
	return head.Admits(a.expected, a.batch)
}

func (a *addition) conflict(head events.Head) error {
	return &events.ConflictError{Stream: a.stream, Expected: a.expected, Actual: head.Version}
}

// earlier is the outcome of an earlier append of the same batch, given the records of
// those IDs that are taken; nothing when none is.
func (a *addition) earlier(taken map[ulid.ULID]events.Recorded) (records []events.Recorded, err error) {
	for i := range a.batch {
		r, ok := taken[a.batch[i].ID]
		switch {
		case !ok && len(records) == 0:
			continue
		case !ok:
			return nil, a.duplicate(0)
		case r.Stream != a.stream || len(records) != i || i > 0 && r.Version != records[i-1].Version+1:
			return nil, a.duplicate(i)
		}
		records = append(records, r)
	}
	return records, nil
}

func (a *addition) duplicate(i int) error {
	return &events.DuplicateError{Stream: a.stream, ID: a.batch[i].ID}
}

// queue holds the additions that no group has taken yet. It is as long as there are
// callers waiting, and so needs no bound of its own.
type queue struct {
	mu      sync.Mutex
	waiting []*addition
	writing bool // somebody takes from the queue until it is empty
	closed  bool
	idle    sync.Cond
}

// add puts a at the end, unless the queue is closed. Who is told to lead must take until
// there is nothing left.
func (q *queue) add(a *addition) (lead bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false, events.ErrClosed
	}
	q.waiting = append(q.waiting, a)
	lead = !q.writing
	q.writing = true
	return lead, nil
}

// close refuses what comes later, and waits until there is nothing left.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.idle.L = &q.mu
	for q.writing {
		q.idle.Wait()
	}
}

func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// gather lets callers who were just answered, or are about to append, come in before the
// next group is sent. Without it the first of them would get a group for itself, and all
// the others wait for that and the next. It goes on until nobody else comes, and where
// fewer than want have come, a little longer: on a busy machine they take their time, and
// a caller who misses a group waits for all of it. It tells whether as many came: those
// who did not come in that time are not to be waited for again.
func (q *queue) gather(want int, patience time.Duration) (came bool) {
	patience = min(patience, maxPatience)
	began, before, n := time.Now(), 0, q.length()
	for ; n > before || n < want && time.Since(began) < patience; n = q.length() {
		before = n
		runtime.Gosched()
	}
	return n >= want
}

// maxPatience bounds how long gather waits. A group that was slow, because it waited for a
// host's transaction perhaps, says nothing about how long callers need to come back.
const maxPatience = 2 * time.Millisecond

// Bounds of a group, so that those at its beginning do not wait long for those at its end.
const (
	maxGroup     = 2048    // records
	maxGroupSize = 4 << 20 // bytes of data
)

// take is what goes into one group, in order. When the queue is empty it is over, and the
// caller leads no longer.
func (q *queue) take() (group []*addition, over bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	records, size, n := 0, 0, 0
	for _, a := range q.waiting {
		records += len(a.batch)
		for i := range a.batch {
			size += len(a.batch[i].Data)
		}
		if len(group) > 0 && (records > maxGroup || size > maxGroupSize) {
			break
		}
		if n++; a.take() {
			group = append(group, a)
		}
	}
	rest := copy(q.waiting, q.waiting[n:])
	clear(q.waiting[rest:])
	q.waiting = q.waiting[:rest]
	if over = group == nil && rest == 0; over {
		q.writing = false
		q.idle.Broadcast()
	}
	return group, over
}

// Append is [events.Log.Append]. It shares its statement and its commit with all other
// appends that wait at the same time; what one of them is refused for touches no other.
//
// A context that ends while the append waits for its group withdraws it. One that ends
// later gives [events.ErrUnknownOutcome], and so does a connection that breaks, a server
// that is shut down, and Config.Timeout. [events.ErrFull], [events.ErrDenied] and [events.ErrReadOnly] have
// left nothing behind.
func (l *Log) Append(ctx context.Context, stream events.StreamID, expected events.Version, batch ...events.Envelope) ([]events.Recorded, error) {
	if err := events.Validate(stream, expected, batch); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("append to %s: %w", stream, err)
	}
	a := &addition{stream: stream, expected: expected, batch: batch, done: make(chan outcome, 1)}
	lead, err := l.queue.add(a)
	if err != nil {
		return nil, fmt.Errorf("append to %s: %w", stream, err)
	}
	if lead {
		go l.lead()
	}
	select {
	case out := <-a.done:
		return out.records, told(stream, out.err)
	case <-ctx.Done():
	}
	if a.withdraw() {
		return nil, fmt.Errorf("append to %s: %w", stream, ctx.Err())
	}
	select {
	case out := <-a.done: // it came at the same moment, and is better than none
		return out.records, told(stream, out.err)
	default:
		return nil, fmt.Errorf("append to %s: %w: %w", stream, events.ErrUnknownOutcome, ctx.Err())
	}
}

// told is an error as the caller gets it. Refusals name the stream by themselves.
func told(stream events.StreamID, err error) error {
	if err == nil || errors.Is(err, events.ErrConflict) || errors.Is(err, events.ErrDuplicate) {
		return err
	}
	return fmt.Errorf("append to %s: %w", stream, err)
}

// lead commits group after group until nobody waits.
func (l *Log) lead() {
	for {
		if l.write.company || l.queue.length() > 1 {
			if !l.queue.gather(l.write.want, l.write.took/8) {
				l.write.want = 0
			}
		}
		group, over := l.queue.take()
		if over {
			return
		}
		l.write.company = len(group) > 1
		l.write.commit(group)
	}
}
