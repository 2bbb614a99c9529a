package pglog

import (
	"context"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5"

	"github.com/oatmill/oatmill/events"
)

// AppendTx is Append in a transaction of the host's, on the log's database: the records
// are there when, and only when, the transaction commits. What it returns is true from
// then on.
//
// It locks the log's counter until the transaction ends. Every other append, of this and
// of all processes, waits for that; readers do not. So AppendTx belongs at the end of a
// transaction that does nothing slow afterwards. Transactions that lock other rows and the
// counter in different orders can meet in a deadlock, of which PostgreSQL ends one. Whoever
// calls Append in the middle of such a transaction, in the same goroutine, waits for
// himself.
//
// A *[events.ConflictError] and a *[events.DuplicateError] leave the transaction usable: in
// READ COMMITTED, PostgreSQL's default, the decision can be made again in it, and cannot
// meet another conflict. In REPEATABLE READ and SERIALIZABLE an append that somebody else
// made meanwhile is an error of PostgreSQL's (40001) that aborts the transaction, as are
// all other errors.
//
// Nobody is woken. Readers find the records with their next poll; [Log.Notify] after the
// commit wakes them at once.
func (l *Log) AppendTx(ctx context.Context, tx pgx.Tx, stream events.StreamID, expected events.Version, batch ...events.Envelope) ([]events.Recorded, error) {
	if err := events.Validate(stream, expected, batch); err != nil {
		return nil, err
	}
	var records []events.Recorded
	err := l.use(ctx, func(ctx context.Context) (err error) {
		records, err = l.appendTo(ctx, tx, &addition{stream: stream, expected: expected, batch: batch})
		return err
	})
	return records, told(stream, err)
}

// Notify wakes everybody who waits for records that are there, in all processes. It is for
// the moment after the commit of a transaction with [Log.AppendTx]; Append does it by
// itself. With Config.NoNotify it wakes only this log's own readers.
func (l *Log) Notify(ctx context.Context) error {
	end, err := l.End(ctx)
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	l.tail.Reached(end)
	if l.cfg.NoNotify {
		return nil
	}
	err = l.use(ctx, func(ctx context.Context) error { return l.bell.send(ctx, end) })
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	return nil
}

// SaveCheckpointTx is SaveCheckpoint in the transaction in which a reader's effect is, so
// that there is one when, and only when, there is the other. It returns false when the
// checkpoint is at p or beyond already: somebody has dealt with the record, and the
// transaction is to be rolled back. Two who deal with the same record wait for each other
// here, until the first one's transaction ends.
func (l *Log) SaveCheckpointTx(ctx context.Context, tx pgx.Tx, name string, p events.Position) (advanced bool, err error) {
	return l.saveCheckpointIn(ctx, tx, name, p)
}

// Tx is the log as it is in a transaction of the host's. Its Append is [Log.AppendTx], and
// its reads see what the transaction sees, its own appends included. It also is
// [events.Heads] and [events.Snapshots].
//
// It is for one goroutine, as the transaction is, and ends with it. What a program folds
// from it must not be kept when the transaction is rolled back.
func (l *Log) Tx(tx pgx.Tx) events.Log { return &txLog{l, tx} }

type txLog struct {
	log *Log
	tx  pgx.Tx
}

var (
	_ events.Log       = (*txLog)(nil)
	_ events.Heads     = (*txLog)(nil)
	_ events.Snapshots = (*txLog)(nil)
)

func (t *txLog) Append(ctx context.Context, stream events.StreamID, expected events.Version, batch ...events.Envelope) ([]events.Recorded, error) {
	return t.log.AppendTx(ctx, t.tx, stream, expected, batch...)
}

func (t *txLog) ReadStream(ctx context.Context, stream events.StreamID, after events.Version) iter.Seq2[events.Recorded, error] {
	return t.log.txPages(ctx, t.tx, "read "+string(stream), func() fetcher { return t.log.streamAfter(stream, after) })
}

func (t *txLog) ReadAll(ctx context.Context, after events.Position) iter.Seq2[events.Recorded, error] {
	return t.log.txPages(ctx, t.tx, "read log", func() fetcher { return t.log.allAfter(after) })
}

func (t *txLog) Head(ctx context.Context, stream events.StreamID) (events.Head, error) {
	return t.log.headIn(ctx, t.tx, stream)
}

func (t *txLog) End(ctx context.Context) (events.Position, error) { return t.log.endIn(ctx, t.tx) }

// SaveSnapshot works under a savepoint: a snapshot is not worth a transaction.
func (t *txLog) SaveSnapshot(ctx context.Context, stream events.StreamID, s events.Snapshot) error {
	return pgx.BeginFunc(ctx, t.tx, func(tx pgx.Tx) error { return t.log.saveSnapshotIn(ctx, tx, stream, s) })
}

func (t *txLog) LoadSnapshot(ctx context.Context, stream events.StreamID) (events.Snapshot, error) {
	return t.log.loadSnapshotIn(ctx, t.tx, stream)
}
