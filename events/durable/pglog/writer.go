package pglog

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/oklog/ulid/v2"

	"github.com/oatmill/oatmill/events"
)

// writer commits groups of additions, and is what it knows of the log. It belongs to
// whoever leads the queue.
//
// A group mostly takes one round trip: a statement that adds everything, on the condition
// that the log still ends with the record with which the writer left it. While it does,
// nobody else has appended, and the heads that the writer remembers are right. When it
// does not, the statement has done nothing, and the group is decided again under the
// counter's lock. The writer stays with the lock for as long as it finds that others
// append too.
type writer struct {
	log     *Log
	company bool // the last group had more than one addition
	want    int  // how many callers are likely to append again at once
	took    time.Duration

	known  bool // whether end and heads were right when they were last looked at
	others bool // somebody else appends too
	strays bool // a row that is not part of the log is in the way of the next group
	end    ending
	heads  map[events.StreamID]events.Head
}

// maxHeads bounds how many heads are remembered.
const maxHeads = 1 << 16

func (w *writer) forget() { w.known, w.heads = false, nil }

// commit carries out a group. It takes more than one round when additions depend on each
// other, or on what others have appended.
func (w *writer) commit(group []*addition) {
	began := time.Now()
	defer func() { w.took = time.Since(began) }()
	w.want = 0
	for len(group) > 0 {
		ctx, cancel := context.WithTimeout(w.log.ctx, w.log.cfg.Timeout)
		var err error
		if w.others || w.strays {
			group, err = w.locked(ctx, group)
		} else {
			group, err = w.free(ctx, group)
		}
		cancel()
		if err != nil {
			w.forget()
			for _, a := range group {
				a.answer(nil, err)
			}
			break
		}
	}
}

// failed is the error for those whose append may have been in a statement that ended
// with err.
func (w *writer) failed(err error) error {
	known := undone(err)
	err = w.log.explain(err)
	if !known {
		err = fmt.Errorf("%w: %w", events.ErrUnknownOutcome, err)
	}
	return err
}

// free decides a group by what the writer knows, and sends it without having a lock. It
// returns those that are left, and why they cannot be carried out if they cannot.
func (w *writer) free(ctx context.Context, group []*addition) ([]*addition, error) {
	if w.log.ctx.Err() != nil {
		return group, events.ErrClosed
	}
	conn, err := w.log.pool.Acquire(ctx)
	if err != nil {
		return group, w.unsent(err)
	}
	defer conn.Release()
	taken, err := w.look(ctx, conn, group)
	if err != nil {
		return group, w.unsent(err)
	}
	p := w.log.decide(&view{end: w.end, heads: w.heads, taken: taken}, group)
	if len(p.members) == 0 {
		return p.left, nil
	}
	added, err := w.log.insert(ctx, conn, p)
	switch {
	case err == nil && added:
		w.committed(p)
		return p.left, nil
	case err == nil || collided(err):
		// Nothing was done. Under the lock it is decided by what is there, and shown
		// whether somebody else has appended.
		w.others = true
		return append(p.members, p.left...), nil
	}
	err = w.failed(err)
	for _, a := range p.members {
		a.answer(nil, err)
	}
	return p.left, w.later(err)
}

// later returns the error for the members of the group that were not in the statement that
// failed: nothing was sent for them, so that their outcome is known.
func (w *writer) later(err error) error {
	return fmt.Errorf("%w: an earlier append in the group failed: %v", cause(err), err)
}

// unsent is the error when nothing was sent that appends.
func (w *writer) unsent(err error) error {
	if w.log.ctx.Err() != nil {
		return events.ErrClosed
	}
	return w.log.explain(err)
}

// committed answers those whose records are there now.
func (w *writer) committed(p *plan) {
	w.end = ending{p.end.position + events.Position(len(p.records)), p.hashes[len(p.hashes)-1]}
	for stream, head := range p.heads {
		w.heads[stream] = head
	}
	w.want = len(p.members) + w.log.queue.length()
	for i, a := range p.members {
		a.answer(p.parts[i], nil)
	}
	w.log.tail.Reached(w.end.position)
	w.log.bell.ring(w.end.position)
}

// look asks the database about the additions that cannot be decided by what the writer
// knows, and about all of them where it knows nothing.
func (w *writer) look(ctx context.Context, q batcher, group []*addition) (map[ulid.ULID]events.Recorded, error) {
	if len(w.heads) > maxHeads {
		w.heads = nil
	}
	for try := 0; ; try++ {
		asked := w.questions(group)
		if len(asked) == 0 {
			return nil, nil
		}
		v, err := w.log.view(ctx, q, asked, unlocked)
		if err != nil {
			return nil, err
		}
		if w.known && v.end != w.end {
			w.others = true
			if w.forget(); try == 0 { // what is remembered of the other streams is old
				continue
			}
		}
		w.remember(v)
		return v.taken, nil
	}
}

// questions are the additions to look for.
func (w *writer) questions(group []*addition) (asked []*addition) {
	for _, a := range group {
		head, ok := w.heads[a.stream]
		if ok && !a.fits(head) {
			a.look = true
		}
		if !w.known || !ok || a.look || unreadable(head) {
			asked = append(asked, a)
		}
	}
	return asked
}

func (w *writer) remember(v *view) {
	if w.heads == nil {
		w.heads = make(map[events.StreamID]events.Head)
	}
	w.known, w.end = true, v.end
	for stream, head := range v.heads {
		w.heads[stream] = head
	}
}

// locked decides a group under the counter's lock, in a transaction.
func (w *writer) locked(ctx context.Context, group []*addition) (left []*addition, err error) {
	if w.log.ctx.Err() != nil {
		return group, events.ErrClosed
	}
	tx, err := w.log.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
	if err != nil {
		return group, w.unsent(err)
	}
	defer w.rollBack(tx)
	for _, a := range group {
		a.look = true
	}
	how := locked
	if w.strays {
		how, w.strays = lockedStrays, false
	}
	v, err := w.log.view(ctx, tx, group, how)
	if err != nil {
		return group, w.unsent(err)
	}
	if w.others = w.known && v.end != w.end; w.others {
		w.heads = nil
	}
	w.remember(v)
	p := w.log.decide(&view{end: w.end, heads: w.heads, taken: v.taken, strays: v.strays}, group)
	if len(p.members) == 0 {
		return p.left, nil
	}
	added, err := w.log.insert(ctx, tx, p)
	if err == nil && !added {
		err = w.log.damaged("the counter moves while it is locked")
	}
	if code(err) == codeUnique && how == locked {
		w.strays = true
		return append(p.members, p.left...), nil
	}
	if err != nil {
		return append(p.members, p.left...), w.unsent(err)
	}
	if err = tx.Commit(ctx); err != nil {
		err = w.failed(err)
		for _, a := range p.members {
			a.answer(nil, err)
		}
		return p.left, w.later(err)
	}
	w.committed(p)
	return p.left, nil
}

// rollBack ends a transaction that was not committed. One whose connection does not
// answer ends with the connection.
func (w *writer) rollBack(tx pgx.Tx) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = tx.Rollback(ctx)
}
