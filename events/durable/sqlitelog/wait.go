package sqlitelog

import (
	"context"
	"errors"
	"time"

	"github.com/oatmill/oatmill/events"
)

// Wait is [events.Notifier.Wait]. It returns nil only with cause. It is late by at most
// Config.PollInterval and the time it takes to look, for records of other processes,
// and not at all for those of this one. If the files have moved, it returns an error.
func (l *Log) Wait(ctx context.Context, after events.Position) error { return l.tail.Wait(ctx, after) }

// look looks for commits of other processes every few milliseconds. Trouble with that is
// logged when it begins and when it changes; those who wait are to look by themselves
// from time to time anyway. It ends a moment after the last waiter has left, so that one
// who only reads what came and waits again finds it running.
func (l *Log) look() {
	ticker := time.NewTicker(l.cfg.PollInterval)
	defer ticker.Stop()
	for trouble := ""; ; {
		end, err := l.newest()
		if err == nil {
			l.tail.Reached(end)
			trouble = ""
		} else if errors.Is(err, errMoved) {
			l.tail.Fail(err)
		} else if trouble != err.Error() {
			trouble = err.Error()
			l.cfg.Logger.Warn("looking for appends of other processes", "file", l.file, "error", err)
		}
		select {
		case <-ticker.C:
		case <-l.closing:
		}
		if !l.tail.Needed() {
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

// newest is the end of the log now. Only look calls it.
func (l *Log) newest() (events.Position, error) {
	ctx := context.Background()
	if err := l.files.check(); err != nil {
		return 0, err
	}
	if l.watch == nil {
		w, err := openWatch(l.files)
		if err != nil {
			return 0, err
		}
		l.watch = w
	}
	w := l.watch
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

func openWatch(files *files) (*watch, error) {
	c, err := files.dial(0)
	if err != nil {
		return nil, err
	}
	w := &watch{conn: c, seen: -1}
	if err := c.prepareAll(map[**stmt]string{
		&w.version: "PRAGMA data_version",
		&w.end:     "SELECT position FROM counter WHERE one = 1",
	}); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return w, nil
}
