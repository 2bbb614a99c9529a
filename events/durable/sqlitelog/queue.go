package sqlitelog

import (
	"context"
	"iter"
	"runtime"
	"slices"
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
	apart bool // never in one transaction with those that are not

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

// Bounds of one transaction, so that those at its beginning do not wait long for
// those at its end.
const (
	maxGroup     = 1024
	maxGroupSize = 4 << 20
)

// group is what goes into one transaction.
type group struct {
	requests []*request
	size     int
}

// answer tells those in the group what became of their requests.
func (g *group) answer(err error) {
	for _, r := range g.requests {
		r.done <- err
	}
}

// admits tells whether r may join. The first always may.
func (g *group) admits(r *request) bool {
	return len(g.requests) == 0 || len(g.requests) < maxGroup && g.size+r.size <= maxGroupSize && r.apart == g.requests[0].apart
}

// take moves those who are waiting to the group, in order, as far as it admits them, and
// returns them. The first in the queue is among them, unless the group is of another kind
// or full.
func (q *queue) take(g *group) []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	before, rest := len(g.requests), q.waiting[:0]
	for _, r := range q.waiting {
		if !g.admits(r) {
			rest = append(rest, r)
		} else if r.take() {
			g.requests, g.size = append(g.requests, r), g.size+r.size
		}
	}
	clear(q.waiting[len(rest):])
	q.waiting = rest
	return g.requests[before:]
}

// gather takes requests for as long as there are any, each when those before it are carried
// out: callers who were just answered append again meanwhile. Until patience is over it
// also lets them run where none is waiting. Without that the first of a few would start a
// commit for itself, and all the others wait for it and the next.
//
// Whoever stops early has in g what was taken, too.
func (q *queue) gather(g *group, patience time.Duration) iter.Seq[*request] {
	return func(yield func(*request) bool) {
		began := time.Now()
		for {
			taken := q.take(g)
			if len(taken) == 0 && time.Since(began) < patience {
				runtime.Gosched()
				taken = q.take(g)
			}
			if len(taken) == 0 {
				return
			}
			for _, r := range taken {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// expire removes the requests that have waited since before a moment, and those that
// were withdrawn, and returns the former.
func (q *queue) expire(before time.Time) (expired []*request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = slices.DeleteFunc(q.waiting, func(r *request) bool {
		if r.state.Load() == waiting && r.since.After(before) {
			return false
		}
		if r.take() {
			expired = append(expired, r)
		}
		return true
	})
	return expired
}

// submit has the request carried out, together with others, and returns when that is
// durable. Its errors are the ones that [events.Log.Append] describes.
//
// There is one writer, and callers carry it themselves: whoever finds it free carries out
// what all of them wait for, and passes it on when its own request is done. A goroutine
// that has the writer for good would read easier, and cost two switches of goroutines for
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
		defer l.passOn(w)
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

// passOn gives the writer back when all who wait have been served. With others waiting, a
// goroutine does that: to lend the writer to one of them would have it wait for a processor
// behind all those who were just answered, and the disk with it.
func (l *Log) passOn(w *writer) {
	if l.queue.length() == 0 {
		l.writer <- w
		return
	}
	go func() {
		for l.queue.length() > 0 {
			l.commitGroup(context.Background(), w)
		}
		l.writer <- w
	}()
}
