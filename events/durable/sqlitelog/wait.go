package sqlitelog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/oatmill/oatmill/events"
)

// tail is the end of the log as far as this process knows it, and those who wait for
// it to move. Commits of this process move it at once. Those of others are found by
// looking at the file every few milliseconds, for as long as somebody waits.
type tail struct {
	file string
	cfg  Config

	mu      sync.Mutex
	end     events.Position
	moved   chan struct{} // closed when end moves; nil while nobody waits
	waiting int
	polling bool
	closed  bool
	closing chan struct{} // closed with the tail
	polled  sync.WaitGroup

	watch *watch // of the goroutine that polls
}

func newTail(file string, cfg Config) *tail {
	return &tail{file: file, cfg: cfg, closing: make(chan struct{})}
}

// Wait is [events.Notifier.Wait]. It returns nil only with cause. It is late by at most
// Config.PollInterval and the time it takes to look, for records of other processes,
// and not at all for those of this one.
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

// enter is what to wait for; nil with an error, and without one when the end is
// beyond after already. Who gets a channel must leave.
func (t *tail) enter(after events.Position) (<-chan struct{}, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return nil, fmt.Errorf("wait for position %d: %w", after+1, events.ErrClosed)
	case t.end > after:
		return nil, nil
	}
	if t.moved == nil {
		t.moved = make(chan struct{})
	}
	t.waiting++
	if !t.polling {
		t.polling = true
		t.polled.Add(1)
		go t.poll()
	}
	return t.moved, nil
}

func (t *tail) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting--
}

// reached notes that there is a record at p.
func (t *tail) reached(p events.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p > t.end {
		t.end = p
		t.wake()
	}
}

func (t *tail) wake() {
	if t.moved != nil {
		close(t.moved)
		t.moved = nil
	}
}

// close ends all waiting, and the poll.
func (t *tail) close() {
	t.mu.Lock()
	t.closed = true
	t.wake()
	t.mu.Unlock()
	close(t.closing)
	t.polled.Wait()
	if t.watch != nil {
		if err := t.watch.conn.close(); err != nil {
			t.cfg.Logger.Warn("closing the connection that looks for appends of other processes", "file", t.file, "error", err)
		}
	}
}

// needed tells the poll whether to go on. It ends a moment after the last waiter has
// left, so that one who only reads what came and waits again finds it running.
func (t *tail) needed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.polling = t.waiting > 0 && !t.closed
	return t.polling
}

// poll is the goroutine that looks for commits of other processes. Trouble with that
// is logged when it begins and when it changes; those who wait are to look by
// themselves from time to time anyway.
func (t *tail) poll() {
	defer t.polled.Done()
	ticker := time.NewTicker(t.cfg.PollInterval)
	defer ticker.Stop()
	for trouble := ""; ; {
		end, err := t.look()
		if err == nil {
			t.reached(end)
			trouble = ""
		} else if trouble != err.Error() {
			trouble = err.Error()
			t.cfg.Logger.Warn("looking for appends of other processes", "file", t.file, "error", err)
		}
		select {
		case <-ticker.C:
		case <-t.closing:
		}
		if !t.needed() {
			return
		}
	}
}

// watch is the connection that looks. Asking for the data version reads a few bytes
// of memory that all processes share, so it costs microseconds.
type watch struct {
	conn         *conn
	version, end *stmt

	seen int64 // the data version last time
	last int64 // the end at that version
}

// look is the end of the log now.
func (t *tail) look() (events.Position, error) {
	ctx := context.Background()
	if t.watch == nil {
		w, err := openWatch(t.file)
		if err != nil {
			return 0, err
		}
		t.watch = w
	}
	w := t.watch
	version, err := w.version.number(ctx)
	if err != nil || version == w.seen {
		return events.Position(w.last), err
	}
	last, err := w.end.number(ctx)
	if err != nil {
		return 0, err
	}
	w.seen, w.last = version, last
	return events.Position(last), nil
}

func openWatch(file string) (*watch, error) {
	c, err := dial(file, 0)
	if err != nil {
		return nil, err
	}
	w := &watch{conn: c, seen: -1}
	if err := c.prepareAll(map[**stmt]string{
		&w.version: "PRAGMA data_version",
		&w.end:     "SELECT max(position) FROM records",
	}); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return w, nil
}
