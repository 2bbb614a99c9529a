package pglog

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/oatmill/oatmill/events"
)

// linger is how long the database goes on being asked after the last one who waited has
// left. One who reads what came and waits again finds the connection in place.
const linger = 2 * time.Second

// Wait is [events.Notifier.Wait]. It returns nil only with cause. It is not late at all
// for appends of this log. For those of others it is late by the time that a notification
// takes, and where that gets lost by Config.PollInterval.
func (l *Log) Wait(ctx context.Context, after events.Position) error { return l.tail.Wait(ctx, after) }

// look asks for appends of others, which notifications make sooner. The same way it finds
// that the log became shorter. Trouble with that is logged when it begins and when it
// changes; those who wait are to look by themselves from time to time anyway.
func (l *Log) look() {
	e := &ear{log: l}
	defer e.close()
	for trouble := ""; l.tail.Needed(); {
		end, told, err := e.hear(l.ctx)
		if err == nil {
			l.tail.Answered(end, told)
			trouble = ""
		} else if l.ctx.Err() == nil && trouble != err.Error() {
			trouble = err.Error()
			l.cfg.Logger.Warn("looking for appends of others", "schema", l.cfg.Schema, "error", err)
		}
	}
}

// ear is the connection that listens; none where there are no notifications.
type ear struct {
	log   *Log
	conn  *pgx.Conn
	asked bool // since the connection began to listen
}

// hear is the end of the log, after a notification or after a while, and what the tail
// had been told when it was asked for.
func (e *ear) hear(ctx context.Context) (end events.Position, told int, err error) {
	if e.log.cfg.NoNotify {
		told = e.log.tail.Asking()
		end, err = e.log.End(ctx)
		_ = pause(ctx, e.log.cfg.PollInterval)
		return end, told, err
	}
	end, told, err = e.listen(ctx)
	if err != nil {
		e.close()
		_ = pause(ctx, e.log.cfg.PollInterval)
	}
	return end, told, err
}

// listen asks for the end after every notification. The position that a notification
// names is not trusted: anybody who can connect may send one.
func (e *ear) listen(ctx context.Context) (end events.Position, told int, err error) {
	if e.conn == nil {
		err = e.open(ctx)
	}
	if err == nil && e.asked {
		err = e.wait(ctx)
	}
	if err != nil {
		return 0, 0, err
	}
	asking, cancel := context.WithTimeout(ctx, e.log.cfg.Timeout)
	defer cancel()
	told = e.log.tail.Asking()
	err = e.conn.QueryRow(asking, e.log.sql.counter).Scan((*int64)(&end))
	e.asked = err == nil
	return end, told, err
}

// open takes a connection out of the pool for good, so that the pool can make another.
func (e *ear) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, e.log.cfg.Timeout)
	defer cancel()
	conn, err := e.log.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	e.conn, e.asked = conn.Hijack(), false
	_, err = e.conn.Exec(ctx, e.log.sql.listen)
	return err
}

// wait returns when there was a notification, or when it is time to ask anyway.
func (e *ear) wait(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, e.log.cfg.PollInterval)
	defer cancel()
	_, err := e.conn.WaitForNotification(waiting)
	if waiting.Err() != nil && ctx.Err() == nil && !e.conn.IsClosed() {
		err = nil
	}
	return err
}

func (e *ear) close() {
	if e.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = e.conn.Close(ctx)
	e.conn = nil
}

// pause waits, or returns the error of a context that ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// bell tells other processes of appends. It never rings in an append's transaction:
// transactions with a NOTIFY commit one after the other in the whole cluster. A goroutine
// sends the newest position, and one that came meanwhile after a moment, so that a busy
// log is not busy with its notifications.
type bell struct {
	log *Log

	mu      sync.Mutex
	newest  events.Position
	sending bool
	closed  bool
	sent    sync.WaitGroup
}

// rest is the least time between two notifications.
const rest = 5 * time.Millisecond

// ring has others told that there is a record at p.
func (b *bell) ring(p events.Position) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.newest = max(b.newest, p)
	if b.sending || b.closed || b.log.cfg.NoNotify {
		return
	}
	b.sending = true
	b.sent.Add(1)
	go b.run()
}

func (b *bell) run() {
	defer b.sent.Done()
	last := events.Position(0)
	for p, more := b.next(last); more; p, more = b.next(last) {
		if err := b.send(b.log.ctx, p); err != nil && b.log.ctx.Err() == nil {
			b.log.cfg.Logger.Warn("notifying others of an append", "schema", b.log.cfg.Schema, "error", err)
		}
		last = p
		_ = pause(b.log.ctx, rest)
	}
}

// next is what to send after last, if there is something.
func (b *bell) next(last events.Position) (events.Position, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sending = b.newest > last
	return b.newest, b.sending
}

func (b *bell) send(ctx context.Context, p events.Position) error {
	ctx, cancel := context.WithTimeout(ctx, b.log.cfg.Timeout)
	defer cancel()
	_, err := b.log.pool.Exec(ctx, b.log.sql.notify, b.log.cfg.Schema, strconv.FormatInt(int64(p), 10))
	return err
}

// close lets what is being sent go out.
func (b *bell) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.sent.Wait()
}
