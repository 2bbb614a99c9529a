package sqlitelog

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/oatmill/oatmill/events"
)

// writer is the one connection that writes, and what it knows of the file. It belongs
// to whoever received it from Log.writer.
type writer struct {
	conn    *conn
	busy    time.Duration
	open    bool // a transaction may be open
	company bool // the last transaction had more than one request

	begin, commit, rollback *stmt
	lastRecord              *stmt
	findStream, addStream   *stmt
	moveStream, addBlock    *stmt
	addRecord, findRecord   *stmt
	saveSnapshot            *stmt
	saveCheckpoint          *stmt

	// What is known without asking the file. It is true for as long as nobody else
	// has committed, which version tells: it is the number of commits the connection
	// has come to know of, its own included, as it was after the last of its own.
	version uint32
	known   bool // whether version means anything
	last    events.Position
	streams map[events.StreamID]*stream
}

// stream is the row of a stream.
type stream struct {
	key  int64 // 0 when there is no such row yet
	head events.Head
	tail []byte // JSON array of the positions behind the last full block
}

// maxStreams bounds how many rows of streams are remembered.
const maxStreams = 1 << 16

// retryAfter is how long the writer waits before it tries again to get the lock that
// another process has. SQLite's own waiting backs off to a tenth of a second, and does
// not heed a context.
const retryAfter = 500 * time.Microsecond

// openWriter opens the file for writing and makes sure that it is a log.
func openWriter(ctx context.Context, file string, cfg Config) (*writer, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open log %s: %w", file, err)
	}
	c, err := dial(file, cfg.BusyTimeout)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	w := &writer{conn: c, busy: cfg.BusyTimeout, streams: make(map[events.StreamID]*stream)}
	if err = c.prepareFile(ctx, cfg); err == nil {
		err = w.prepare()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open log: %w", err), c.close())
	}
	return w, nil
}

func (w *writer) prepare() error {
	// From here on the writer waits for locks by itself, see lock.
	// References need no checking: a record's stream was looked up a moment before.
	// Checkpoints stay where SQLite has them, after 4 MB of WAL. A larger one grows for
	// longer, and the sync of a file that grows takes longer than that of one that is
	// written over.
	if err := w.conn.run("PRAGMA busy_timeout = 0; PRAGMA foreign_keys = OFF"); err != nil {
		return err
	}
	return w.conn.prepareAll(map[**stmt]string{
		&w.begin:      "BEGIN IMMEDIATE",
		&w.commit:     "COMMIT",
		&w.rollback:   "ROLLBACK",
		&w.lastRecord: "SELECT max(position) FROM records",
		&w.findStream: "SELECT stream, version, hash, tail FROM streams WHERE name = ?",
		&w.addStream:  "INSERT INTO streams (name, version, hash, tail) VALUES (?, 0, zeroblob(32), '[]')",
		&w.moveStream: "UPDATE streams SET version = ?, hash = ?, tail = ? WHERE stream = ?",
		&w.addBlock:   "INSERT INTO blocks (stream, block, positions) VALUES (?, ?, ?)",
		&w.addRecord:  "INSERT INTO records (" + recordColumns + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
		&w.findRecord: "SELECT " + recordFields + ", (SELECT name FROM streams WHERE streams.stream = records.stream) FROM records WHERE id = ?",
		&w.saveSnapshot: "INSERT INTO snapshots (name, version, hash, format, data) VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET " +
			"version = excluded.version, hash = excluded.hash, format = excluded.format, data = excluded.data",
		&w.saveCheckpoint: "INSERT INTO checkpoints (name, position) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET " +
			"position = excluded.position WHERE excluded.position > checkpoints.position",
	})
}

// commitGroup carries out, in one transaction with one fsync, what came in while the
// transaction before it was committed. ctx is that of the caller who does it for all,
// and ends only the wait for another process.
func (l *Log) commitGroup(ctx context.Context, w *writer) {
	if w.company || l.queue.length() > 1 {
		l.queue.gather()
	}
	// The lock first, the requests after: until there is a lock to write under,
	// callers can still withdraw.
	err := w.lock(ctx, &l.queue)
	if errors.Is(err, ErrBusy) || err != nil && err == ctx.Err() {
		return // who waited for too long has been told
	}
	group := l.queue.take()
	w.company = len(group) > 1
	if err == nil {
		err = w.carryOut(group)
	}
	if err == nil {
		l.tail.Reached(w.last)
	}
	for _, r := range group {
		r.done <- err
	}
}

// lock begins a transaction. While another process has the lock, it answers requests
// that have waited for too long, and gives up when none is left or ctx ends.
func (w *writer) lock(ctx context.Context, q *queue) error {
	if w.open { // an earlier ROLLBACK did not go through
		if err := w.abort(); err != nil {
			return err
		}
	}
	for {
		_, err := w.begin.exec(context.Background())
		if err == nil {
			w.open = true
			return nil
		}
		if !errors.Is(err, ErrBusy) {
			return err
		}
		for _, r := range q.expire(time.Now().Add(-w.busy)) {
			r.done <- fmt.Errorf("after %v: %w", w.busy, err)
		}
		if q.length() == 0 {
			return err
		}
		if err := pause(ctx, retryAfter); err != nil {
			return err
		}
	}
}

// carryOut does what the requests ask for and commits, or undoes all of it.
func (w *writer) carryOut(group []*request) error {
	err := w.refresh()
	for _, r := range group {
		if err == nil {
			err = r.do(w)
		}
	}
	if err != nil {
		return errors.Join(err, w.abort())
	}
	if _, err = w.commit.exec(context.Background()); err == nil {
		w.open = false
		version, err := w.conn.dataVersion()
		w.version, w.known = version, err == nil
		return nil
	}
	if !undone(err) {
		err = fmt.Errorf("%w: %w", events.ErrUnknownOutcome, err)
	}
	return errors.Join(err, w.abort())
}

// abort rolls the transaction back and forgets what it has changed. SQLite may have
// rolled it back by itself before.
func (w *writer) abort() error {
	w.known = false
	ctx := context.Background()
	_, err := w.rollback.exec(ctx)
	if nothingOpen(err) {
		err = nil
	}
	w.open = err != nil
	return err
}

// refresh forgets what is not true any more because another connection committed.
func (w *writer) refresh() error {
	version, err := w.conn.dataVersion()
	if err != nil || w.known && version == w.version {
		return err
	}
	last, err := w.lastRecord.number(context.Background())
	if err != nil {
		return err
	}
	clear(w.streams)
	w.last = events.Position(last)
	return nil
}

// stream is the row of the named stream, as it is in this transaction.
func (w *writer) stream(name events.StreamID) (*stream, error) {
	if s, ok := w.streams[name]; ok {
		return s, nil
	}
	s := new(stream)
	err := w.findStream.query(context.Background(), func(row []driver.Value) (err error) {
		s.key, s.head, err = headOf(w.conn.file, name, row)
		tail, _ := row[3].(string)
		s.tail = []byte(tail)
		return err
	}, string(name))
	if err == nil && s.key != 0 {
		w.remember(name, s)
	}
	return s, err
}

func (w *writer) remember(name events.StreamID, s *stream) {
	if len(w.streams) >= maxStreams {
		clear(w.streams)
	}
	w.streams[name] = s
}

func (w *writer) close() error {
	// Closing the last connection of all processes does this too, but tells nobody
	// when it goes wrong. With other processes around it does what is possible
	// without waiting for them.
	_, err := w.conn.ask(context.Background(), "PRAGMA wal_checkpoint(PASSIVE)")
	return errors.Join(err, w.conn.close())
}
