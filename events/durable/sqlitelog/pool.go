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
	files *files
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
	head, end        *stmt
	snapshot         *stmt
	checkpoint       *stmt
}

func newPool(files *files, cfg Config) *pool {
	return &pool{files: files, busy: cfg.BusyTimeout, slots: make(chan struct{}, cfg.Readers), end: make(chan struct{})}
}

// lend calls use with a reader that nobody else has meanwhile. If the files have moved, it
// returns an error that says so: what was read last may be from another file.
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
	if err := p.files.check(); err != nil {
		return err
	}
	r, err := p.reader()
	if err != nil {
		return err
	}
	defer p.putBack(r)
	err = use(r)
	if moved := p.files.check(); moved != nil {
		return moved
	}
	return err
}

func (p *pool) reader() (*reader, error) {
	if r, closed := p.pick(); closed {
		return nil, events.ErrClosed
	} else if r != nil {
		return r, nil
	}
	return openReader(p.files, p.busy)
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

func openReader(files *files, busy time.Duration) (*reader, error) {
	c, err := files.dial(busy)
	if err != nil {
		return nil, err
	}
	r := &reader{conn: c}
	err = c.prepareAll(map[**stmt]string{
		// The counter is read in the statement that reads records, so that both are of one
		// moment. There is always a row for the counter, also where there is no record.
		&r.page: "SELECT " + recordFields + ", c.position FROM counter AS c LEFT JOIN records AS r ON r.position > ?1 AND r.position <= c.position " +
			"WHERE c.one = 1 ORDER BY r.position LIMIT ?2",
		&r.streamPage: "SELECT " + recordFields + ", c.position FROM counter AS c LEFT JOIN records AS r ON r.stream = ?1 AND r.version > ?2 " +
			"AND +r.position BETWEEN 1 AND c.position WHERE c.one = 1 ORDER BY r.version LIMIT ?3",
		&r.head: "SELECT r.version, r.hash FROM counter AS c LEFT JOIN records AS r ON r.stream = ?1 " +
			"AND +r.position BETWEEN 1 AND c.position WHERE c.one = 1 ORDER BY r.version DESC LIMIT 1",
		&r.end:        "SELECT position FROM counter WHERE one = 1",
		&r.snapshot:   "SELECT version, hash, format, data FROM snapshots WHERE name = ?",
		&r.checkpoint: "SELECT position FROM checkpoints WHERE name = ?",
	})
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return r, nil
}
