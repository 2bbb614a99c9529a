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
// answer is there already. [ErrUnavailable], [ErrFull] and [ErrForbidden] have left
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
	caller := ctx
	ctx, cancel := l.until(ctx)
	defer cancel()
	n := l.lines.of(stream)
	size := 0
	defer func() { l.lines.put(n, size) }()
	if err := n.take(ctx); err != nil {
		return nil, l.ending(ctx, errAgain)
	}
	defer n.release()
	defer func() { size = len(n.ids) }()
	a := &attempt{log: l, caller: caller, line: n, expected: expected, batch: batch}
	return a.run(ctx)
}

// attempt is an append that has its turn.
type attempt struct {
	log      *Log
	caller   context.Context // which Close does not end
	line     *line
	expected events.Version
	batch    []events.Envelope

	fresh bool   // the line was refreshed since the last message was sent
	sent  bool   // a message is on its way, or was, and may still come to be
	after uint64 // the sequence that message must follow
	last  error  // what was wrong with the last try
}

// run tries until the outcome is certain. Every message of one attempt that may
// still be on its way names the same preceding sequence, so that at most one of them can
// be taken, and none once another batch has come after that sequence.
func (a *attempt) run(ctx context.Context) ([]events.Recorded, error) {
	for wait := time.Duration(0); ; {
		if records, done, err := a.try(ctx); done {
			return records, err
		}
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
func (a *attempt) try(ctx context.Context) (records []events.Recorded, done bool, err error) {
	n := a.line
	if !n.current {
		if done, err := a.refresh(ctx); done {
			return nil, true, err
		}
	}
	records, err = a.earlier(ctx)
	if records != nil || err != nil {
		return a.settled(records, err)
	}
	if a.expected != events.Any && a.expected != n.head.Version {
		if !a.fresh {
			n.current = false
			return nil, false, nil
		}
		return nil, true, &events.ConflictError{Stream: n.stream, Expected: a.expected, Actual: n.head.Version}
	}
	return a.send(ctx)
}

// refresh brings the line up to date. When another batch has come after the sequence
// that the message on its way must follow, that message is too late.
func (a *attempt) refresh(ctx context.Context) (done bool, err error) {
	err = a.log.refresh(ctx, a.line)
	switch {
	case ctx.Err() != nil:
		a.last = err
		return true, a.ended(ctx)
	case err != nil && a.sent:
		return true, fmt.Errorf("%w: %w", events.ErrUnknownOutcome, err)
	case err != nil:
		return true, err
	}
	a.fresh = true
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
func (a *attempt) earlier(ctx context.Context) ([]events.Recorded, error) {
	first, ok := a.line.ids[a.batch[0].ID]
	for i := range a.batch {
		if _, known := a.line.ids[a.batch[i].ID]; known && !ok {
			return nil, &events.DuplicateError{Stream: a.line.stream, ID: a.batch[i].ID}
		}
	}
	if !ok {
		return nil, nil
	}
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
func (a *attempt) send(ctx context.Context) ([]events.Recorded, bool, error) {
	if ctx.Err() != nil {
		return nil, false, nil
	}
	n := a.line
	records, head := events.Seal(n.stream, n.head, a.batch)
	m, err := a.log.encode(records, head)
	if err == nil {
		err = a.log.split(ctx, m)
	}
	if err != nil {
		return a.failed(err)
	}
	seq, known, err := a.log.publish(a.caller, m, n.seq)
	switch {
	case err != nil:
		return a.failed(err)
	case known:
		return a.duplicate(ctx, seq)
	}
	n.follow(&entry{seq: seq, ids: idsOf(records), head: head})
	for i := range records {
		records[i].Position = position(seq, i)
		records[i].Data = append([]byte(nil), records[i].Data...)
	}
	a.log.tail.reached(records[len(records)-1].Position)
	return records, true, nil
}

// failed notes what a try that failed means for the next one.
func (a *attempt) failed(err error) ([]events.Recorded, bool, error) {
	a.last, a.fresh = err, false
	switch {
	case errors.Is(err, errUnsure):
		a.sent, a.after, a.line.current = true, a.line.seq, false
	case errors.Is(err, errOutdated):
		a.line.current = false
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
