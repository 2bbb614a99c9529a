package sqlitelog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/oatmill/oatmill/events"
)

// writer is the one connection that writes, and what it knows of the file. It belongs
// to whoever received it from Log.writer, or was passed it on.
type writer struct {
	conn    *conn
	busy    time.Duration
	open    bool          // a transaction may be open
	company bool          // the last transaction was shared, or others waited at its end
	pace    time.Duration // how long the last commit took

	begin, commit, rollback *stmt
	counter, moveCounter    *stmt
	findHead                *stmt
	addRecords              [5]*stmt // of 1, 2, 4, 8 and 16 records
	findRecord              *stmt
	strayPosition           *stmt
	strayVersion            *stmt
	saveSnapshot            *stmt
	saveCheckpoint          *stmt

	// What is known without asking the file. It is true for as long as nobody else
	// has committed, which version tells: it is the number of commits the connection
	// has come to know of, its own included, as it was after the last of its own.
	version uint64
	known   bool            // whether version means anything
	end     events.Position // the counter in the file
	heads   map[events.StreamID]events.Head

	// What the transaction adds, and is yet to write, see flush and move.
	last  events.Position // of its records
	added []addedRecord

	// wary is set to carry out a transaction again of which an ID, a version or a position
	// is taken. Each append is then checked before it is written.
	wary bool
}

// maxHeads bounds how many heads of streams are remembered.
const maxHeads = 1 << 16

// retryAfter is how long to wait before trying again to get a lock that another process
// has.
const retryAfter = 500 * time.Microsecond

// openWriter opens the file for writing and makes sure that it is a log.
func openWriter(ctx context.Context, file string, cfg Config) (*writer, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open log %s: %w", file, err)
	}
	err := createFile(file)
	c, dialErr := dial(file, cfg.BusyTimeout)
	if dialErr != nil {
		return nil, fmt.Errorf("open log: %w", errors.Join(dialErr, err))
	}
	w := &writer{conn: c, busy: cfg.BusyTimeout, heads: make(map[events.StreamID]events.Head)}
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
	// Checkpoints come after 8 MB of WAL, where SQLite has them after 4: each syncs two
	// files, whatever it moves. A WAL of more grows for longer, and the sync of a file that
	// grows takes longer than that of one that is written over.
	w.conn.patience = 0
	// Only the writer, which a log closes last, and not before the file is known to be a log:
	// one that is refused stays as it was.
	if err := w.conn.db.keepFiles(); err != nil {
		return explain(w.conn.file, err)
	}
	if err := w.conn.run("PRAGMA wal_autocheckpoint = 2000"); err != nil {
		return err
	}
	statements := map[**stmt]string{
		&w.begin:         "BEGIN IMMEDIATE",
		&w.commit:        "COMMIT",
		&w.rollback:      "ROLLBACK",
		&w.counter:       "SELECT position FROM counter WHERE one = 1",
		&w.moveCounter:   "UPDATE counter SET position = ? WHERE one = 1",
		&w.findHead:      "SELECT version, hash FROM records WHERE stream = ?1 AND +position BETWEEN 1 AND ?2 ORDER BY version DESC LIMIT 1",
		&w.findRecord:    "SELECT " + recordColumns + " FROM records WHERE id = ?",
		&w.strayPosition: "SELECT position, stream, version FROM records WHERE position > ?1 AND position <= ?2 ORDER BY position LIMIT 1",
		&w.strayVersion:  "SELECT position, stream, version FROM records WHERE stream = ?1 AND version > ?2 AND version <= ?3 ORDER BY version LIMIT 1",
		&w.saveSnapshot: "INSERT INTO snapshots (name, version, hash, format, data) VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET " +
			"version = excluded.version, hash = excluded.hash, format = excluded.format, data = excluded.data",
		&w.saveCheckpoint: "INSERT INTO checkpoints (name, position) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET " +
			"position = excluded.position WHERE excluded.position > checkpoints.position",
	}
	for n := range w.addRecords {
		const one = ", (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
		statements[&w.addRecords[n]] = "INSERT INTO records (" + recordColumns + ") VALUES " + strings.Repeat(one, 1<<n)[2:] + " ON CONFLICT (id) DO NOTHING"
	}
	return w.conn.prepareAll(statements)
}

// commitGroup carries out, in one transaction with one fsync, what came in while the
// transaction before it was committed, and what comes in while it does. ctx is that of
// the caller who does it for all, and ends only the wait for another process.
func (l *Log) commitGroup(ctx context.Context, w *writer) {
	// The lock first, the requests after: until there is a lock to write under,
	// callers can still withdraw.
	err := w.lock(ctx, &l.queue)
	if errors.Is(err, events.ErrBusy) || err != nil && err == ctx.Err() {
		return // who waited for too long has been told
	}
	var g group
	defer func() {
		if panicked := recover(); panicked != nil {
			g.answer(fmt.Errorf("%w: the writer panicked: %v", events.ErrUnknownOutcome, panicked))
			panic(panicked)
		}
	}()
	if err != nil {
		l.queue.take(&g)
	} else if err = w.carryOut(l.queue.gather(&g, w.patience())); errors.Is(err, errTaken) {
		err = w.carryOutWarily(g.requests)
	}
	if err != nil && len(g.requests) == 0 { // it failed before it took the first one
		l.queue.take(&g)
	}
	if moved := l.files.check(); moved != nil && err == nil {
		err = fmt.Errorf("%w: %w", events.ErrUnknownOutcome, moved)
	} else if moved != nil && !errors.Is(err, errMoved) {
		err = errors.Join(moved, err)
	}
	if err == nil {
		l.tail.Reached(w.last)
	}
	w.company = len(g.requests) > 1 || l.queue.length() > 0
	g.answer(err)
}

// patience is for how long a transaction waits for others to join it: none where nobody
// has been about, and else a sixth of what a commit of their own would cost them. With a
// quick disk and many callers that is less than the statements take, and one half of the
// callers prepares appends while those of the other half are committed. With a slow disk
// all of them meet in each commit.
func (w *writer) patience() time.Duration {
	if !w.company {
		return 0
	}
	return w.pace / 6
}

// lock begins a transaction. While another process has the lock, it answers requests
// that have waited for too long, and gives up when none is left or ctx ends.
func (w *writer) lock(ctx context.Context, q *queue) error {
	for {
		err := w.tryLock()
		if !errors.Is(err, events.ErrBusy) {
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

// tryLock begins a transaction, or is [events.ErrBusy].
func (w *writer) tryLock() error {
	if err := w.conn.files.check(); err != nil {
		return err
	}
	if w.open { // an earlier ROLLBACK did not go through
		if err := w.abort(); err != nil {
			return err
		}
	}
	err := w.begin.exec()
	w.open = err == nil
	return err
}

// carryOutWarily carries requests out that were undone because an ID, a version or a
// position of theirs is taken. It checks each of them first, and so learns whose it is. Should another process have taken
// the lock in between, they wait for it until the first of them has waited for too long.
func (w *writer) carryOutWarily(requests []*request) error {
	w.wary = true
	defer func() { w.wary = false }()
	if err := patiently(context.Background(), requests[0].since.Add(w.busy), w.tryLock); err != nil {
		return err
	}
	return w.carryOut(slices.Values(requests))
}

// carryOut does what the requests ask for and commits, or undoes all of it.
func (w *writer) carryOut(requests iter.Seq[*request]) error {
	if err := w.write(requests); err != nil {
		return errors.Join(err, w.abort())
	}
	began := time.Now()
	err := w.commit.exec()
	if err == nil {
		w.open, w.pace = false, time.Since(began)
		version, err := w.conn.dataVersion()
		w.version, w.known = version, err == nil
		return nil
	}
	if !undone(err) {
		err = fmt.Errorf("%w: %w", events.ErrUnknownOutcome, err)
	}
	return errors.Join(err, w.abort())
}

// write does in the open transaction what the requests ask for.
func (w *writer) write(requests iter.Seq[*request]) error {
	if err := w.refresh(); err != nil {
		return err
	}
	for r := range requests {
		if err := r.do(w); err != nil {
			return err
		}
		if len(w.added) >= maxRows {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	return w.move()
}

// abort rolls the transaction back and forgets what it has changed. SQLite may have
// rolled it back by itself before.
func (w *writer) abort() error {
	w.forget()
	w.known = false
	err := w.rollback.exec()
	if nothingOpen(err) {
		err = nil
	}
	w.open = err != nil
	return err
}

// refresh forgets what is not true any more because another connection committed.
func (w *writer) refresh() error {
	if len(w.heads) >= maxHeads {
		clear(w.heads)
	}
	version, err := w.conn.dataVersion()
	if err != nil || w.known && version == w.version {
		return err
	}
	end, err := counterOf(context.Background(), w.counter)
	if err != nil {
		return err
	}
	clear(w.heads)
	w.end, w.last = end, end
	return nil
}

// head returns the head of a stream as it is in this transaction. ok is false when the last
// record's hash cannot be read, so that nothing can be appended to the stream.
func (w *writer) head(stream events.StreamID) (head events.Head, ok bool, err error) {
	if head, ok := w.heads[stream]; ok {
		return head, true, nil
	}
	ok = true
	err = w.findHead.query(context.Background(), func(row *stmt) error {
		head.Version = events.Version(row.integer(0))
		head.Hash, ok = hashOf(row, 1)
		return nil
	}, string(stream), int64(w.end))
	if ok && err == nil {
		w.heads[stream] = head
	}
	return head, ok, err
}

func (w *writer) close() error {
	// Closing the last connection of all processes does this too, but tells nobody
	// when it goes wrong. With other processes around it does what is possible
	// without waiting for them.
	if err := w.conn.files.check(); err != nil {
		return errors.Join(fmt.Errorf("close log: %w", err), w.conn.close())
	}
	err := w.conn.ask(context.Background(), "PRAGMA wal_checkpoint(PASSIVE)", func(*stmt) error { return nil })
	// The file -wal stays, see keepFiles. The last connection of all empties it: frames left
	// in it would be applied to a backup of the log that is restored in its place.
	err = errors.Join(err, w.conn.run("PRAGMA journal_size_limit = 0"))
	return errors.Join(err, w.conn.close())
}
