package pglog

import (
	"context"
	"fmt"
	"iter"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/oatmill/oatmill/events"
)

// Bounds of a page. A page that has pageBytes of data is full, whatever its number of
// records. The server does not know that bound; it is asked for fewer records when it sent
// more than were wanted, and for more again as long as they fit.
const (
	firstPage = 64
	maxPage   = 1024
	pageBytes = 1 << 20
)

// prefetchAt is the record of a page at which the next page begins to be fetched. A
// reader that takes only a few records of a page probably wants no other.
const prefetchAt = 16

// page is what one fetch brought.
type page struct {
	records []events.Recorded
	more    bool // there may be records behind these
	err     error
}

// fetcher brings the page after the last one it brought.
type fetcher func(ctx context.Context, q batcher) page

// ReadAll implements [events.Log.ReadAll]. Positions are consecutive in this log and end at
// its counter. Where some are missing, the sequence ends with a [*events.MissingError].
func (l *Log) ReadAll(ctx context.Context, after events.Position) iter.Seq2[events.Recorded, error] {
	return l.pages(ctx, "read log", func() fetcher { return l.allAfter(after) })
}

// ReadStream implements [events.Log.ReadStream]. A record that is missing is left out:
// [events.Head.Advance] finds that the next one does not follow. A name that is no stream's
// ID is [events.ErrInvalid].
func (l *Log) ReadStream(ctx context.Context, stream events.StreamID, after events.Version) iter.Seq2[events.Recorded, error] {
	return l.pages(ctx, "read "+string(stream), func() fetcher { return l.streamAfter(stream, after) })
}

// pages yields page after page. While the caller works on one, the next is fetched. A
// connection is taken for no longer than that takes.
func (l *Log) pages(ctx context.Context, what string, begin func() fetcher) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		fetching, cancel := context.WithCancel(ctx)
		fetch := begin()
		a := &ahead{fetch: func() page { return l.fetch(fetching, l.pool, fetch) }}
		defer a.end() // also when the caller's loop panics
		defer cancel()
		yieldPages(ctx, what, a.next, a.begin, yield)
	}
}

// yieldPages yields the records of one page after the other. begin is called when it
// looks as if the next page will be wanted.
func yieldPages(ctx context.Context, what string, next func() page, begin func(), yield func(events.Recorded, error) bool) {
	for {
		p := next()
		for i := range p.records {
			if i == prefetchAt && p.more {
				begin()
			}
			if ctx.Err() != nil { // also when it cut short the page that was fetched ahead
				p.err = ctx.Err()
				break
			}
			if !yield(p.records[i], nil) {
				return
			}
		}
		if p.err != nil {
			yield(events.Recorded{}, fmt.Errorf("%s: %w", what, p.err))
		}
		if p.err != nil || !p.more {
			return
		}
	}
}

// ahead fetches pages, the next one perhaps before it is asked for.
type ahead struct {
	fetch  func() page
	coming chan page // nil while nothing is fetched ahead
}

func (a *ahead) begin() {
	if a.coming == nil {
		coming := make(chan page, 1)
		go func() { coming <- a.fetch() }()
		a.coming = coming
	}
}

func (a *ahead) next() page {
	if a.coming == nil {
		return a.fetch()
	}
	p := <-a.coming
	a.coming = nil
	return p
}

// end waits for what is fetched ahead.
func (a *ahead) end() {
	if a.coming != nil {
		<-a.coming
	}
}

func (l *Log) fetch(ctx context.Context, q batcher, fetch fetcher) (p page) {
	p.err = l.ask(ctx, q, func(ctx context.Context) error {
		p = fetch(ctx, q)
		return p.err
	})
	return p
}

// allAfter fetches the whole log behind a position.
func (l *Log) allAfter(after events.Position) fetcher {
	after, size := max(after, 0), pageSize(firstPage)
	return func(ctx context.Context, q batcher) page {
		s := l.on(q)
		p, end := l.page(ctx, q, &size, s, s.allAfter, int64(after))
		for i := range p.records {
			at := p.records[i].Position
			if at != after+1 {
				return page{records: p.records[:i], err: l.missing(after+1, at-1)}
			}
			after = at
		}
		if p.err == nil && !p.more && after < end {
			p.err = l.missing(after+1, end)
		}
		return p
	}
}

func (l *Log) missing(first, last events.Position) error {
	return fmt.Errorf("schema %q: %w", l.cfg.Schema, &events.MissingError{First: first, Last: last})
}

// streamAfter fetches a stream behind a version.
func (l *Log) streamAfter(stream events.StreamID, after events.Version) fetcher {
	after, size := max(after, 0), pageSize(firstPage)
	return func(ctx context.Context, q batcher) page {
		if _, err := events.ParseStreamID(string(stream)); err != nil {
			return page{err: err}
		}
		s := l.on(q)
		p, _ := l.page(ctx, q, &size, s, s.streamAfter, string(stream), int64(after))
		if n := len(p.records); n > 0 {
			after = p.records[n-1].Version
		}
		return p
	}
}

// pageSize is how many records the server is asked for, a power of two.
type pageSize int

// page fetches one page, and returns the counter with it. The limit stands in the statement
// itself, so that the server plans for it; there are few different ones.
func (l *Log) page(ctx context.Context, q batcher, size *pageSize, s *statements, sql string, args ...any) (page, events.Position) {
	limit := int(*size)
	rows, err := q.Query(ctx, sql+strconv.Itoa(limit)+pageEnd, args...)
	if err != nil {
		return page{err: err}, -1
	}
	p, bytes := page{records: make([]events.Recorded, 0, limit)}, 0
	end, err := l.scanPage(s, rows, func(r events.Recorded, _ events.Hash) bool {
		p.records = append(p.records, r)
		bytes += len(r.Data)
		return bytes < pageBytes
	})
	if err == nil && end < 0 {
		err = l.noCounter()
	}
	n := len(p.records)
	p.err, p.more = err, n == limit || bytes >= pageBytes
	switch {
	case bytes >= pageBytes:
		for *size > 1 && int(*size) > n {
			*size /= 2
		}
	case n == limit && bytes < pageBytes/2:
		*size = min(2**size, maxPage)
	}
	return p, end
}

// txPages yields page after page from a transaction, without reading ahead: the caller
// may use the transaction in between.
func (l *Log) txPages(ctx context.Context, tx pgx.Tx, what string, begin func() fetcher) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		fetch := begin()
		yieldPages(ctx, what, func() page { return l.fetch(ctx, tx, fetch) }, func() {}, yield)
	}
}
