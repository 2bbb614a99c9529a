package memlog

import (
	"context"
	"fmt"
	"iter"

	"github.com/oatmill/oatmill/events"
)

// pageSize is how many records a read collects under the lock at a time: enough to
// make the lock cheap, few enough to keep writers from waiting for it.
const pageSize = 128

// ReadStream is [events.Log.ReadStream].
func (l *Log) ReadStream(ctx context.Context, id events.StreamID, after events.Version) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		next := max(after, 0)
		l.read(ctx, string(id), yield, func(page []*events.Recorded) (n int) {
			s := l.streams[id]
			for ; s != nil && n < len(page) && int(next) < len(s.positions); n++ {
				page[n] = l.at(s.positions[next])
				next++
			}
			return n
		})
	}
}

// ReadAll is [events.Log.ReadAll].
func (l *Log) ReadAll(ctx context.Context, after events.Position) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		last := max(after, 0)
		l.read(ctx, "all", yield, func(page []*events.Recorded) (n int) {
			for ; n < len(page) && last < l.end; n++ {
				last++
				page[n] = l.at(last)
			}
			return n
		})
	}
}

// read yields page after page of what fill puts into it, until fill has no more.
// fill runs under the lock, yield does not.
func (l *Log) read(ctx context.Context, what string, yield func(events.Recorded, error) bool, fill func([]*events.Recorded) int) {
	var page [pageSize]*events.Recorded
	for {
		n, err := l.page(ctx, page[:], fill)
		if err != nil {
			yield(events.Recorded{}, fmt.Errorf("read %s: %w", what, err))
			return
		}
		if n == 0 {
			return
		}
		for i, r := range page[:n] {
			// The first record of a page has the page's own check behind it.
			if i > 0 && ctx.Err() != nil {
				yield(events.Recorded{}, fmt.Errorf("read %s: %w", what, ctx.Err()))
				return
			}
			if !yield(*r, nil) {
				return
			}
		}
	}
}

func (l *Log) page(ctx context.Context, page []*events.Recorded, fill func([]*events.Recorded) int) (int, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if err := l.ready(ctx); err != nil {
		return 0, err
	}
	return fill(page), nil
}
