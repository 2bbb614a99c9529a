package sqlitelog

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oatmill/oatmill/events"
)

// request is something to be done in a transaction of the writer.
type request struct {
	// do does it. An error of do ends the whole transaction; a refusal, like a
	// version conflict, is no such error and is for do to keep.
	do    func(*writer) error
	size  int  // roughly what it writes, in bytes
	alone bool // in a transaction of its own

	since time.Time
	state atomic.Int32
	done  chan error // receives the outcome, once
}

// What has become of a request. The writer takes it or its caller withdraws it;
// whoever is first decides whether it is carried out.
const (
	waiting int32 = iota
	taken
	withdrawn
)

func (r *request) take() bool     { return r.state.CompareAndSwap(waiting, taken) }
func (r *request) withdraw() bool { return r.state.CompareAndSwap(waiting, withdrawn) }

// queue holds the requests that no transaction has taken yet. It is as long as there
// are callers waiting, and so needs no bound of its own.
type queue struct {
	mu      sync.Mutex
	waiting []*request
	closed  bool
}

// add puts r at the end, unless the queue is closed.
func (q *queue) add(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.waiting = append(q.waiting, r)
	}
	return !q.closed
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// gather lets callers who were just answered, or are about to append, come in before
// the next commit begins. Without it the first of them would start a commit for
// itself, and all the others wait for that and the next. It costs nothing when
// nobody else wants to run.
func (q *queue) gather() {
	before := 0
	for n := q.length(); n > before; n = q.length() {
		before = n
		runtime.Gosched()
	}
}

// Bounds of one transaction, so that those at its beginning do not wait long for
// those at its end.
const (
	maxGroup     = 1024
	maxGroupSize = 4 << 20
)

// take is what goes into one transaction: the requests at the front, in order.
func (q *queue) take() (group []*request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	size, n := 0, 0
	for _, r := range q.waiting {
		full := len(group) == maxGroup || size+r.size > maxGroupSize || r.alone || len(group) > 0 && group[0].alone
		if len(group) > 0 && full {
			break
		}
		if n++; r.take() {
			group, size = append(group, r), size+r.size
		}
	}
	q.drop(n)
	return group
}

// drop removes the first n requests.
func (q *queue) drop(n int) {
	rest := copy(q.waiting, q.waiting[n:])
	clear(q.waiting[rest:])
	q.waiting = q.waiting[:rest]
}

// expire removes the requests that have waited since before a moment, and those that
// were withdrawn, and returns the former. The oldest are in front.
func (q *queue) expire(before time.Time) (expired []*request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for _, r := range q.waiting {
		if r.state.Load() == waiting && r.since.After(before) {
			break
		}
		if n++; r.take() {
			expired = append(expired, r)
		}
	}
	q.drop(n)
	return expired
}

// submit has the request carried out, together with others, and returns when that is
// durable. Its errors are the ones that [events.Log.Append] describes.
//
// There is one writer, and it is lent from caller to caller: whoever gets it carries
// out what all of them wait for, and passes it on when its own request is done. A
// goroutine for the writer would read easier, and cost two switches of goroutines for
// each append; when nobody else appends that was a seventh of the time the append takes.
//
// A request in a transaction is not given up when its caller's context ends. The
// outcome is there as soon as the disk answers, and is better than none.
func (l *Log) submit(ctx context.Context, r *request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.done, r.since = make(chan error, 1), time.Now()
	if !l.queue.add(r) {
		return events.ErrClosed
	}
	select {
	case err := <-r.done:
		return err
	case w := <-l.writer:
		defer func() { l.writer <- w }()
		return l.lead(ctx, w, r)
	case <-ctx.Done():
		if r.withdraw() {
			return ctx.Err()
		}
		return <-r.done
	}
}

// lead writes with w until the caller's own request is done.
func (l *Log) lead(ctx context.Context, w *writer, own *request) error {
	for {
		select {
		case err := <-own.done:
			return err
		default:
		}
		if ctx.Err() != nil && own.withdraw() {
			return ctx.Err()
		}
		l.commitGroup(ctx, w)
	}
}
