package sqlitelog

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/oatmill/oatmill/events"
)

// pool holds the connections that read. They are opened when they are first needed.
type pool struct {
	file  string
	busy  time.Duration
	slots chan struct{} // one taken for each reader that is lent out

	mu     sync.Mutex
	idle   []*reader // the one used last is used next
	closed bool
	end    chan struct{} // closed with the pool
}

// reader is a connection that reads.
type reader struct {
	conn *conn

	page, streamPage *stmt
	names            *stmt
	stream, blocks   *stmt
	end              *stmt
	snapshot         *stmt
	checkpoint       *stmt
}

func newPool(file string, cfg Config) *pool {
	return &pool{file: file, busy: cfg.BusyTimeout, slots: make(chan struct{}, cfg.Readers), end: make(chan struct{})}
}

// lend calls use with a reader that nobody else has meanwhile.
func (p *pool) lend(ctx context.Context, use func(*reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-p.end:
		return events.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	r, err := p.reader()
	if err != nil {
		return err
	}
	defer p.putBack(r)
	return use(r)
}

func (p *pool) reader() (*reader, error) {
	if r, closed := p.pick(); closed {
		return nil, events.ErrClosed
	} else if r != nil {
		return r, nil
	}
	return openReader(p.file, p.busy)
}

// pick is an open reader, nil when there is none.
func (p *pool) pick() (r *reader, closed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 && !p.closed {
		r, p.idle = p.idle[n-1], p.idle[:n-1]
	}
	return r, p.closed
}

func (p *pool) putBack(r *reader) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, r)
}

// close waits for those who read, and closes all connections.
func (p *pool) close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	close(p.end)
	for range cap(p.slots) {
		p.slots <- struct{}{}
	}
	var errs []error
	for _, r := range p.idle {
		errs = append(errs, r.conn.close())
	}
	return errors.Join(errs...)
}

func openReader(file string, busy time.Duration) (*reader, error) {
	c, err := dial(file, busy)
	if err != nil {
		return nil, err
	}
	r := &reader{conn: c}
	err = c.prepareAll(map[**stmt]string{
		&r.page: "SELECT " + recordFields + " FROM records WHERE position > ?1 ORDER BY position LIMIT ?2",
		// CROSS JOIN has SQLite take the positions in the order of the list.
		&r.streamPage: "SELECT " + recordFields + " FROM json_each(?1) AS place CROSS JOIN records ON records.position = place.value WHERE place.key >= ?2",
		&r.names:      "SELECT stream, name FROM streams WHERE stream >= ?1 ORDER BY stream LIMIT ?2",
		&r.stream:     "SELECT " + streamFields + " FROM streams WHERE name = ?",
		&r.blocks:     "SELECT positions FROM blocks WHERE stream = ? AND block >= ? ORDER BY block LIMIT ?",
		&r.end:        "SELECT max(position) FROM records",
		&r.snapshot:   "SELECT version, hash, format, data FROM snapshots WHERE name = ?",
		&r.checkpoint: "SELECT position FROM checkpoints WHERE name = ?",
	})
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return r, nil
}

// find is the row of a stream. The tail is part of it, so that head and tail fit.
func (r *reader) find(ctx context.Context, name events.StreamID) (key int64, head events.Head, tail string, err error) {
	err = r.stream.query(ctx, func(row *stmt) (err error) {
		key, head, tail, err = streamOf(row, name)
		return err
	}, string(name))
	return key, head, tail, err
}
