package sqlitelog

import (
	"context"
	"fmt"
	"iter"
	"strings"

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

// ReadAll is [events.Log.ReadAll]. Positions are consecutive in this log. Where one is
// missing, the sequence ends with [events.ErrDamaged]: a reader of the whole log has
// no other way to notice that a record was taken out.
func (l *Log) ReadAll(ctx context.Context, after events.Position) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		names := newNames()
		after := max(after, 0)
		l.read(ctx, yield, "read log", func(ctx context.Context, r *reader, into []events.Recorded) page {
			p := r.allAfter(ctx, after, names, into)
			if n := len(p.records); n > 0 {
				after = p.records[n-1].Position
			}
			return p
		})
	}
}

// ReadStream is [events.Log.ReadStream]. A record that is missing is left out:
// the versions of the others tell, and [events.VerifyChain] does.
func (l *Log) ReadStream(ctx context.Context, stream events.StreamID, after events.Version) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		after := max(after, 0)
		l.read(ctx, yield, "read "+string(stream), func(ctx context.Context, r *reader, into []events.Recorded) (p page) {
			p, after = r.streamAfter(ctx, stream, after, into)
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

// allAfter is the page of the whole log behind a position.
func (r *reader) allAfter(ctx context.Context, after events.Position, names *names, into []events.Recorded) page {
	return r.collect(ctx, r.page, names, into, after, int64(after), int64(pageSize))
}

// collect runs a statement that yields recordFields and makes a page of it. When
// after is not negative, positions must run on from there without a gap.
func (r *reader) collect(ctx context.Context, s *stmt, names *names, into []events.Recorded, after events.Position, args ...any) page {
	p, size := page{records: into[:0]}, 0
	p.err = s.query(ctx, func(row *stmt) error {
		name, err := names.of(ctx, r, row.integer(1))
		if err != nil {
			return err
		}
		record, err := recordOf(row, name)
		if err != nil {
			return err
		}
		if after >= 0 {
			if after++; record.Position != after {
				return damaged(r.conn.file, "the record at position %d is missing", after)
			}
		}
		p.records = append(p.records, record)
		if size += len(record.Data); size >= pageBytes || len(p.records) == pageSize {
			p.more = true
			return errEnough
		}
		return ctx.Err()
	}, args...)
	return p
}

// streamAfter is the page of a stream behind a version, and the version up to which
// the page reaches.
func (r *reader) streamAfter(ctx context.Context, name events.StreamID, after events.Version, into []events.Recorded) (page, events.Version) {
	key, head, tail, err := r.find(ctx, name)
	if err != nil || head.Version <= after {
		return page{err: err}, after
	}
	first := blockOf(after + 1)
	list, upTo := tail, head.Version
	if full := int64(head.Version) / blockSize; first < full {
		list, upTo, err = r.places(ctx, name, key, first, full)
	}
	if err != nil {
		return page{err: err}, after
	}
	places, ok := positions(list)
	if !ok {
		return page{err: damaged(r.conn.file, "the places of %s behind version %d cannot be read", name, after)}, after
	}
	p := r.collect(ctx, r.streamPage, only(key, name), into, -1, asJSON(places), int64(after)-first*blockSize)
	if p.more && p.records[len(p.records)-1].Version < upTo { // cut off by its size
		upTo = p.records[len(p.records)-1].Version
	}
	if p.err == nil && upTo <= after {
		p.err = damaged(r.conn.file, "versions of %s do not increase after %d", name, after)
	}
	p.more = upTo < head.Version
	return p, upTo
}

// places is the list of places in a page of blocks from first on, and the version of the
// last one.
func (r *reader) places(ctx context.Context, name events.StreamID, key, first, full int64) (string, events.Version, error) {
	n := min(full-first, pageSize/blockSize)
	var lists []string
	if err := r.blocks.query(ctx, func(row *stmt) error {
		lists = append(lists, strings.Trim(row.text(0), "[]"))
		return nil
	}, key, first, n); err != nil {
		return "", 0, err
	}
	if int64(len(lists)) != n {
		return "", 0, damaged(r.conn.file, "blocks of %s from %d on are missing", name, first)
	}
	return "[" + strings.Join(lists, ",") + "]", events.Version((first + n) * blockSize), nil
}

// names are the streams that one read has met, by their keys.
type names struct {
	known map[int64]events.StreamID
	last  int64 // the key fetched last
	step  int64 // how many were fetched then
}

func newNames() *names { return &names{known: make(map[int64]events.StreamID)} }

func only(key int64, name events.StreamID) *names {
	return &names{known: map[int64]events.StreamID{key: name}}
}

// Bounds of names: how many one read remembers, and how many it fetches at once.
const (
	maxNames = 1 << 20
	maxStep  = 256
)

// of is the name of a stream. Keys are given out as streams begin, so that a read from
// the beginning of the log meets new ones in order. It is soon given many at a time.
func (n *names) of(ctx context.Context, r *reader, key int64) (events.StreamID, error) {
	if name, ok := n.known[key]; ok {
		return name, nil
	}
	if len(n.known) >= maxNames {
		clear(n.known)
	}
	if n.step = min(2*n.step, maxStep); key != n.last+1 || n.step == 0 {
		n.step = 1
	}
	err := r.names.query(ctx, func(row *stmt) error {
		n.last = row.integer(0)
		n.known[n.last] = events.StreamID(row.text(1))
		return nil
	}, key, n.step)
	name, ok := n.known[key]
	if err == nil && !ok {
		err = damaged(r.conn.file, "records of a stream with the key %d, which has no name", key)
	}
	return name, err
}
