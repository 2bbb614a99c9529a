package sqlitelog

import (
	"context"
	"fmt"
	"iter"

	"github.com/oatmill/oatmill/events"
)

// Bounds of a page: so many records, and no further one when there is so much data.
const (
	pageSize  = 512
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

// fetcher brings the page after the last one it brought, into a slice whose content
// is not needed any more.
type fetcher func(ctx context.Context, r *reader, into []events.Recorded) page

// ReadAll implements [events.Log.ReadAll]. Positions are consecutive in this log and end at
// its counter. Where some are missing, the sequence ends with a [*events.MissingError].
func (l *Log) ReadAll(ctx context.Context, after events.Position) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		after := max(after, 0)
		l.read(ctx, yield, "read log", func(ctx context.Context, r *reader, into []events.Recorded) (p page) {
			p, after = r.allAfter(ctx, after, into)
			return p
		})
	}
}

// ReadStream implements [events.Log.ReadStream]. A record that is missing is left out:
// [events.Head.Advance] finds that the next one does not follow.
func (l *Log) ReadStream(ctx context.Context, stream events.StreamID, after events.Version) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		after := max(after, 0)
		l.read(ctx, yield, "read "+string(stream), func(ctx context.Context, r *reader, into []events.Recorded) page {
			p, _ := r.collect(ctx, r.streamPage, into, string(stream), int64(after), int64(pageSize))
			if n := len(p.records); n > 0 {
				after = p.records[n-1].Version
			}
			return p
		})
	}
}

// read yields page after page. While the caller works on one, the next is fetched; no
// statement, and so no transaction, is open longer than that takes.
func (l *Log) read(ctx context.Context, yield func(events.Recorded, error) bool, what string, fetch fetcher) {
	fetching, cancel := context.WithCancel(ctx)
	pages := &pages{log: l, ctx: fetching, fetch: fetch}
	defer pages.end() // also when the caller's loop panics
	defer cancel()
	for p := pages.next(); ; p = pages.next() {
		for i := range p.records {
			if i == prefetchAt {
				pages.ahead()
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

// pages brings one page after the other, each into the slice of the one before the
// last.
type pages struct {
	log    *Log
	ctx    context.Context
	fetch  fetcher
	given  page // what next has returned
	spare  []events.Recorded
	coming chan page // nil while nothing is fetched ahead
}

// ahead begins to fetch the page after the one that was given.
func (p *pages) ahead() {
	if !p.given.more || p.coming != nil {
		return
	}
	coming, into := make(chan page, 1), p.spare
	go func() { coming <- p.log.fetch(p.ctx, p.fetch, into) }()
	p.coming = coming
}

func (p *pages) next() page {
	var next page
	if p.coming != nil {
		next = <-p.coming
		p.coming = nil
	} else {
		next = p.log.fetch(p.ctx, p.fetch, p.spare)
	}
	p.spare, p.given = p.given.records, next
	return next
}

// end waits for what is fetched ahead.
func (p *pages) end() {
	if p.coming != nil {
		<-p.coming
	}
}

func (l *Log) fetch(ctx context.Context, fetch fetcher, into []events.Recorded) (p page) {
	err := l.readers.lend(ctx, func(r *reader) error {
		p = fetch(ctx, r, into)
		return nil
	})
	if err != nil {
		return page{err: err}
	}
	return p
}

// allAfter returns the page of the whole log after a position, and the position of the
// last record in it.
func (r *reader) allAfter(ctx context.Context, after events.Position, into []events.Recorded) (page, events.Position) {
	p, end := r.collect(ctx, r.page, into, int64(after), int64(pageSize))
	for i := range p.records {
		at := p.records[i].Position
		if at != after+1 {
			return page{records: p.records[:i], err: r.missing(after+1, at-1)}, after
		}
		after = at
	}
	if p.err == nil && !p.more && after < end {
		p.err = r.missing(after+1, end)
	}
	return p, after
}

func (r *reader) missing(first, last events.Position) error {
	return fmt.Errorf("%s: %w", r.conn.file, &events.MissingError{First: first, Last: last})
}

// collect runs a statement that yields recordFields and the counter. It makes a page of the
// records, and returns the counter with it.
func (r *reader) collect(ctx context.Context, s *stmt, into []events.Recorded, args ...any) (page, events.Position) {
	p, size, end := page{records: into[:0]}, 0, events.Position(-1)
	p.err = s.query(ctx, func(row *stmt) error {
		if end < 0 {
			end = events.Position(row.integer(columns))
		}
		if row.isNull(0) {
			return errEnough
		}
		record, _ := recordOf(row)
		p.records = append(p.records, record)
		if size += len(record.Data); size >= pageBytes || len(p.records) == pageSize {
			p.more = true
			return errEnough
		}
		return ctx.Err()
	}, args...)
	if p.err == nil && end < 0 {
		p.err = noCounter(r.conn.file)
	}
	return p, end
}
