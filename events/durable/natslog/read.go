package natslog

import (
	"context"
	"fmt"
	"iter"

	"github.com/oklog/ulid/v2"

	"github.com/oatmill/oatmill/events"
)

// ReadAll is [events.Log.ReadAll]. Where a message is missing from the stream, the
// sequence ends with [events.ErrDamaged].
func (l *Log) ReadAll(ctx context.Context, after events.Position) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		r := &reading{log: l, caller: ctx, yield: yield, what: "read log"}
		r.do(func(ctx context.Context) error { return r.all(ctx, max(after, 0)) })
	}
}

// ReadStream is [events.Log.ReadStream]. Where a version is missing, the sequence ends
// with [events.ErrDamaged].
func (l *Log) ReadStream(ctx context.Context, stream events.StreamID, after events.Version) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		r := &reading{log: l, caller: ctx, yield: yield, what: "read " + string(stream)}
		r.do(func(ctx context.Context) error {
			if _, err := events.ParseStreamID(string(stream)); err != nil {
				return err
			}
			return r.stream(ctx, stream, max(after, 0))
		})
	}
}

// reading is one read.
type reading struct {
	log    *Log
	caller context.Context
	yield  func(events.Recorded, error) bool
	what   string
	over   bool // the caller wants no more
}

// do makes a read and tells the caller how it failed.
func (r *reading) do(read func(context.Context) error) {
	if err := r.try(read); err != nil && !r.over {
		r.yield(events.Recorded{}, fmt.Errorf("%s: %w", r.what, err))
	}
}

func (r *reading) try(read func(context.Context) error) error {
	if err := r.caller.Err(); err != nil {
		return err
	}
	if r.log.closing.Err() != nil {
		return events.ErrClosed
	}
	return read(r.caller)
}

// fetch gets something from the server. Close does not wait for the caller's work
// between two fetches.
func fetch[T any](r *reading, get func(ctx context.Context) (T, error)) (T, error) {
	var none T
	if err := r.log.enter(); err != nil {
		return none, err
	}
	defer r.log.leave()
	ctx, cancel := r.log.until(r.caller)
	defer cancel()
	got, err := get(ctx)
	if err != nil && ctx.Err() != nil {
		err = r.log.ending(ctx, err)
	}
	return got, err
}

// all yields what stands behind a position.
func (r *reading) all(_ context.Context, after events.Position) error {
	end, err := fetch(r, r.log.findEnd)
	if err != nil || end.last <= after {
		return err
	}
	from := max(uint64(after)/perMessage, 1)
	p := r.log.pager("", from, end.seq)
	defer p.end()
	for next := from; !p.done() && !r.over; {
		page, err := fetch(r, p.page)
		if err != nil {
			return err
		}
		for i := range page {
			p.ahead(i)
			m := &page[i]
			if m.seq != next {
				return r.log.damaged(next, "the message is missing")
			}
			next++
			if r.log.isPart(m) {
				continue
			}
			e, err := r.log.parse(m)
			if err != nil {
				return err
			}
			if err := r.give(e, func(v *events.Recorded) bool { return v.Position > after }); err != nil || r.over {
				return err
			}
		}
	}
	return nil
}

// give yields the records of a batch that are wanted.
func (r *reading) give(e *entry, wanted func(*events.Recorded) bool) error {
	if len(e.parts) > 0 {
		if _, err := fetch(r, func(ctx context.Context) (struct{}, error) { return struct{}{}, r.log.join(ctx, e) }); err != nil {
			return err
		}
	}
	records, err := r.log.records(e)
	if err != nil {
		return err
	}
	for i := range records {
		if !wanted(&records[i]) {
			continue
		}
		if err := r.caller.Err(); err != nil {
			return err
		}
		if r.log.closing.Err() != nil {
			return events.ErrClosed
		}
		if !r.yield(records[i], nil) {
			r.over = true
			return nil
		}
	}
	return nil
}

// stream yields what stands behind a version of a stream.
func (r *reading) stream(_ context.Context, stream events.StreamID, after events.Version) error {
	last, err := fetch(r, func(ctx context.Context) (*entry, error) { return r.log.lastOf(ctx, stream) })
	if err != nil || last == nil || last.head.Version <= after {
		return err
	}
	wanted := func(v *events.Recorded) bool { return v.Version > after }
	if last.first <= after+1 {
		return r.give(last, wanted)
	}
	from, err := fetch(r, func(ctx context.Context) (uint64, error) { return r.log.seek(ctx, last, after+1) })
	if err != nil {
		return err
	}
	p := r.log.pager(r.log.subject(stream), from, last.seq)
	defer p.end()
	for at := events.Version(0); !p.done() && !r.over; {
		page, err := fetch(r, p.page)
		if err != nil {
			return err
		}
		for i := range page {
			p.ahead(i)
			e, err := r.log.parse(&page[i])
			if err != nil {
				return err
			}
			if e.first != at+1 && (at > 0 || e.first > after+1) {
				return r.log.damaged(e.seq, "version %d of %s follows version %d", e.first, stream, max(at, after))
			}
			if at = e.head.Version; at <= after {
				continue
			}
			if err := r.give(e, wanted); err != nil || r.over {
				return err
			}
		}
	}
	return nil
}

// near is how many versions a read may begin too early.
const near = 64

// seek is a sequence at or shortly before the batch that holds a version of the stream
// that ends with last. It halves the distance as often as needed, so that reading the
// end of a long stream costs about as much as reading a short one.
func (l *Log) seek(ctx context.Context, last *entry, version events.Version) (uint64, error) {
	low, lowVersion := uint64(1), events.Version(1)
	high, highVersion := last.seq, last.first
	for step := 0; version-lowVersion > near && high-low > 1; step++ {
		guess := low + (high-low)/2
		if step%3 != 2 { // most streams grow evenly, and the rest is halved now and then
			guess = low + uint64(float64(high-low)*float64(version-lowVersion)/float64(highVersion-lowVersion))
			guess = min(max(guess, low+1), high-1)
		}
		m, err := l.fromLeader(ctx, l.cfg.Stream, get{Seq: guess, Next: l.subject(last.stream)})
		if err != nil {
			return 0, err
		}
		if m == nil || m.seq >= high { // nothing stands from the guess on
			high = guess
			continue
		}
		e, err := l.parse(m)
		if err != nil {
			return 0, err
		}
		if e.first > version {
			high, highVersion = guess, e.first
		} else {
			low, lowVersion = e.seq, e.first
		}
	}
	return low, nil
}

// run is the records of a line from a position on, at most count of them.
func (l *Log) run(ctx context.Context, n *line, from events.Position, count int) (found []events.Recorded, err error) {
	p := l.pager(l.subject(n.stream), uint64(from)/perMessage, n.seq)
	defer p.end()
	for !p.done() {
		page, err := p.page(ctx)
		if err != nil {
			return nil, err
		}
		for i := range page {
			e, err := l.parse(&page[i])
			if err == nil {
				err = l.join(ctx, e)
			}
			if err != nil {
				return nil, err
			}
			records, err := l.records(e)
			if err != nil {
				return nil, err
			}
			for _, r := range records {
				if r.Position >= from {
					found = append(found, r)
				}
			}
			if len(found) >= count {
				return found[:count], nil
			}
		}
	}
	return found, nil
}

func idsOf(records []events.Recorded) []ulid.ULID {
	ids := make([]ulid.ULID, len(records))
	for i := range records {
		ids[i] = records[i].ID
	}
	return ids
}
