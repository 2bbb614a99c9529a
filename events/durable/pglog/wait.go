package pglog

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/oatmill/oatmill/events"
)

// tail is the end of the log as far as this process knows it, and those who wait for it
// to move. Appends of this process move it at once. Those of others are found by asking
// the database, which notifications make sooner, for as long as somebody waits and a
// little longer. The same way it finds that the log became shorter.
type tail struct {
	log *Log

	mu      sync.Mutex
	end     events.Position
	told    int           // how often somebody said that there is a record
	moved   chan struct{} // closed when end moves; nil while nobody waits
	waiting int
	left    time.Time // when the last one who waited, or had no need to, left
	looking bool
	closed  bool
	looked  sync.WaitGroup
}

// linger is how long the database goes on being asked after the last one who waited has
// left. One who reads what came and waits again finds the connection in place.
const linger = 2 * time.Second

func newTail(l *Log) *tail { return &tail{log: l} }

// Wait is [events.Notifier.Wait]. It returns nil only with cause. It is not late at all
// for appends of this log. For those of others it is late by the time that a notification
// takes, and where that gets lost by Config.PollInterval.
func (l *Log) Wait(ctx context.Context, after events.Position) error {
	t := l.tail
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("wait for position %d: %w", after+1, err)
		}
		moved, err := t.enter(after)
		if moved == nil {
			return err
		}
		select {
		case <-moved:
		case <-ctx.Done():
		}
		t.leave()
	}
}

// enter is what to wait for; nil with an error, and without one when the end is beyond
// after already. Who gets a channel must leave. The looking goes on in both cases: who need
// not wait because of a record that was lost would otherwise never need to.
func (t *tail) enter(after events.Position) (<-chan struct{}, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return nil, fmt.Errorf("wait for position %d: %w", after+1, events.ErrClosed)
	case t.end > after:
		t.left = time.Now()
		t.watch()
		return nil, nil
	}
	if t.moved == nil {
		t.moved = make(chan struct{})
	}
	t.waiting++
	t.watch()
	return t.moved, nil
}

// watch has somebody look. The caller holds the lock.
func (t *tail) watch() {
	if !t.looking {
		t.looking = true
		t.looked.Add(1)
		go t.look()
	}
}

func (t *tail) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting--
	t.left = time.Now()
}

// reached notes that there is a record at p.
func (t *tail) reached(p events.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.told++
	if p > t.end {
		t.end = p
		t.wake()
	}
}

// asking is to be called before the database is asked for the end.
func (t *tail) asking() (told int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.told
}

// answered notes what the database said. A log that ends before the end that is known has
// become shorter, unless somebody said since the question that there is a record: the
// answer may be from before that.
func (t *tail) answered(end events.Position, told int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if end > t.end {
		t.wake()
	}
	if end > t.end || told == t.told {
		t.end = end
	}
}

func (t *tail) wake() {
	if t.moved != nil {
		close(t.moved)
		t.moved = nil
	}
}

// close ends all waiting, and the looking. The log's context has ended before.
func (t *tail) close() {
	t.mu.Lock()
	t.closed = true
	t.wake()
	t.mu.Unlock()
	t.looked.Wait()
}

// needed tells whether to go on looking.
func (t *tail) needed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.looking = !t.closed && (t.waiting > 0 || time.Since(t.left) < linger)
	return t.looking
}

// look is the goroutine that asks for appends of others. Trouble with that is logged when
// it begins and when it changes; those who wait are to look by themselves from time to
// time anyway.
func (t *tail) look() {
	defer t.looked.Done()
	e := &ear{log: t.log}
	defer e.close()
	for trouble := ""; t.needed(); {
		end, told, err := e.hear(t.log.ctx)
		if err == nil {
			t.answered(end, told)
			trouble = ""
		} else if t.log.ctx.Err() == nil && trouble != err.Error() {
			trouble = err.Error()
			t.log.cfg.Logger.Warn("looking for appends of others", "schema", t.log.cfg.Schema, "error", err)
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
		told = e.log.tail.asking()
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
	told = e.log.tail.asking()
	err = e.conn.QueryRow(asking, e.log.sql.end).Scan((*int64)(&end))
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
