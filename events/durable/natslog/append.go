package natslog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oatmill/oatmill/events"
)

// Append is [events.Log.Append]. The batch is one message, and the usual append one
// request. The first append to a stream in the life of a log, or after it was pushed
// out of memory, reads the IDs of the whole stream first.
//
// A context that ends after the message was sent makes the outcome unknown, unless the
// answer is there already. [events.ErrUnavailable], [events.ErrFull] and [events.ErrDenied] have left
// nothing behind.
func (l *Log) Append(ctx context.Context, stream events.StreamID, expected events.Version, batch ...events.Envelope) ([]events.Recorded, error) {
	if err := events.Validate(stream, expected, batch); err != nil {
		return nil, err
	}
	records, err := l.append(ctx, stream, expected, batch)
	var conflict *events.ConflictError
	var duplicate *events.DuplicateError
	if err != nil && !errors.As(err, &conflict) && !errors.As(err, &duplicate) {
		err = fmt.Errorf("append to %s: %w", stream, err)
	}
	return records, err
}

func (l *Log) append(ctx context.Context, stream events.StreamID, expected events.Version, batch []events.Envelope) ([]events.Recorded, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := l.enter(); err != nil {
		return nil, err
	}
	defer l.leave()
	a := &attempt{log: l, caller: ctx, line: l.lines.of(stream), expected: expected, batch: batch}
	defer a.end()
	if !a.line.free() {
		if err := a.line.take(a.bounded()); err != nil {
			return nil, l.ending(a.bounded(), errAgain)
		}
	}
	a.has = true
	return a.run()
}

// attempt is an append that has its turn.
type attempt struct {
	log      *Log
	caller   context.Context // which Close does not end
	line     *line
	expected events.Version
	batch    []events.Envelope

	ctx    context.Context // see bounded
	cancel context.CancelFunc

	has   bool   // the line's turn
	doubt bool   // the version does not fit, and only a confirmed line tells a conflict
	fresh bool   // the line was refreshed and confirmed since the last message was sent
	sent  bool   // a message is on its way, or was, and may still come to be
	after uint64 // the sequence that message must follow
	last  error  // what was wrong with the last try
}

// bounded is the context of everything but the usual single request, made when it is first
// needed.
func (a *attempt) bounded() context.Context {
	if a.ctx == nil {
		a.ctx, a.cancel = a.log.until(a.caller)
	}
	return a.ctx
}

// end gives everything back.
func (a *attempt) end() {
	if a.cancel != nil {
		a.cancel()
	}
	size := 0
	if a.has {
		size = len(a.line.ids)
		a.line.release()
	}
	a.log.lines.put(a.line, size, a.has)
}

// run tries until the outcome is certain. Every message of one attempt that may
// still be on its way names the same preceding sequence, so that at most one of them can
// be taken, and none once another batch has come after that sequence.
func (a *attempt) run() ([]events.Recorded, error) {
	for wait := time.Duration(0); ; {
		if records, done, err := a.try(); done {
			return records, err
		}
		ctx := a.bounded()
		if ctx.Err() != nil || pause(ctx, wait) != nil {
			return nil, a.ended(ctx)
		}
		wait = min(2*wait+time.Millisecond, 200*time.Millisecond)
	}
}

// ended is the outcome when time is over.
func (a *attempt) ended(ctx context.Context) error {
	err := a.log.ending(ctx, a.last)
	if !a.sent {
		return err
	}
	a.line.current = false
	return fmt.Errorf("%w: %w", events.ErrUnknownOutcome, err)
}

// try goes one step towards an outcome.
func (a *attempt) try() (records []events.Recorded, done bool, err error) {
	n := a.line
	if !n.current || !a.log.inTerm(n.term) {
		if done, err := a.refresh(a.bounded()); done {
			return nil, true, err
		}
	}
	records, err = a.earlier()
	if records != nil || err != nil {
		return a.settled(records, err)
	}
	if !n.head.Admits(a.expected, a.batch) {
		if !a.fresh {
			n.current, a.doubt = false, true
			return nil, false, nil
		}
		return nil, true, &events.ConflictError{Stream: n.stream, Expected: a.expected, Actual: n.head.Version}
	}
	return a.send()
}

// refresh brings the line up to date. When another batch has come after the sequence
// that the message on its way must follow, that message is too late.
func (a *attempt) refresh(ctx context.Context) (done bool, err error) {
	err = a.log.refresh(ctx, a.line, a.doubt)
	switch {
	case ctx.Err() != nil:
		a.last = err
		return true, a.ended(ctx)
	case err != nil && a.sent:
		return true, fmt.Errorf("%w: %w", events.ErrUnknownOutcome, err)
	case err != nil:
		return true, err
	}
	a.fresh = a.doubt
	if a.line.seq > a.after {
		a.sent = a.sent && a.known()
	}
	return false, nil
}

// known tells whether the line knows the first event of the batch.
func (a *attempt) known() bool {
	_, ok := a.line.ids[a.batch[0].ID]
	return ok
}

// settled is the outcome when events of the batch were found, or looking for them
// failed. A message on its way makes a failure no more certain.
func (a *attempt) settled(records []events.Recorded, err error) ([]events.Recorded, bool, error) {
	if err != nil && a.sent && !errors.Is(err, events.ErrDuplicate) {
		err = fmt.Errorf("%w: %w", events.ErrUnknownOutcome, err)
	}
	return records, true, err
}

// earlier is the outcome of an earlier append of the same batch, nothing when none of
// its IDs is in the stream.
func (a *attempt) earlier() ([]events.Recorded, error) {
	first, ok := a.line.ids[a.batch[0].ID]
	for i := range a.batch {
		if _, known := a.line.ids[a.batch[i].ID]; known && !ok {
			return nil, &events.DuplicateError{Stream: a.line.stream, ID: a.batch[i].ID}
		}
	}
	if !ok {
		return nil, nil
	}
	ctx := a.bounded()
	found, err := a.log.run(ctx, a.line, first, len(a.batch))
	if err != nil {
		if ctx.Err() != nil {
			err = a.log.ending(ctx, err)
		}
		return nil, err
	}
	for i := range a.batch {
		if i >= len(found) || found[i].ID != a.batch[i].ID {
			return nil, &events.DuplicateError{Stream: a.line.stream, ID: a.batch[0].ID}
		}
	}
	return found, nil
}

// send publishes the batch once.
func (a *attempt) send() ([]events.Recorded, bool, error) {
	if a.ctx != nil && a.ctx.Err() != nil {
		return nil, false, nil
	}
	n := a.line
	records, head := events.Seal(n.stream, n.head, a.batch)
	m := a.log.encode(records, head)
	if room := a.log.room(); len(m.Data) > room {
		if err := a.log.split(a.bounded(), m, room); err != nil {
			return a.failed(err)
		}
	}
	seq, known, err := a.log.publish(a.caller, m, n.seq)
	switch {
	case err != nil:
		return a.failed(err)
	case known: // it may be this batch that stands there
		a.sent, a.after = true, n.seq
		return a.duplicate(a.bounded(), seq)
	}
	a.log.moves.note(nil)
	n.follow(&entry{seq: seq, ids: idsOf(records), head: head})
	for i := range records {
		records[i].Position = position(seq, i)
		records[i].Data = append([]byte(nil), records[i].Data...)
	}
	a.log.ends.appended(records[len(records)-1].Position)
	return records, true, nil
}

// failed notes what a try that failed means for the next one.
func (a *attempt) failed(err error) ([]events.Recorded, bool, error) {
	a.last, a.fresh = err, false
	a.log.moves.note(err)
	switch {
	case errors.Is(err, errUnsure):
		a.sent, a.after, a.line.current = true, a.line.seq, false
	case errors.Is(err, errOutdated):
		a.line.current, a.doubt = false, a.expected != events.Any
	case errors.Is(err, errAgain):
	case a.sent:
		return nil, true, fmt.Errorf("%w: %w", events.ErrUnknownOutcome, err)
	default:
		return nil, true, err
	}
	return nil, false, nil
}

// duplicate is the outcome when the server says that it had the first event of the
// batch before, at seq. It only says so; what stands there is read.
func (a *attempt) duplicate(ctx context.Context, seq uint64) ([]events.Recorded, bool, error) {
	m, err := a.log.fromLeader(ctx, a.log.cfg.Stream, get{Seq: seq})
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, false, nil
	case err != nil:
		return a.failed(err)
	case m == nil || m.subject == a.log.subject(a.line.stream):
		a.line.current, a.last = false, errOutdated // it is in this stream, or about to be
		return nil, false, nil
	}
	return nil, true, &events.DuplicateError{Stream: a.line.stream, ID: a.batch[0].ID}
}
