package pglog

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/wholelog"
)

// executor is a pool or a transaction.
type executor interface {
	batcher
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Head implements [events.Heads.Head]. When the hash that is stored with the last record is
// none, Head returns the zero Hash, which no record has.
func (l *Log) Head(ctx context.Context, stream events.StreamID) (events.Head, error) {
	return l.headIn(ctx, l.pool, stream)
}

func (l *Log) headIn(ctx context.Context, q executor, stream events.StreamID) (head events.Head, err error) {
	if _, err := events.ParseStreamID(string(stream)); err != nil {
		return events.Head{}, err
	}
	err = l.ask(ctx, q, func(ctx context.Context) error {
		var version *int64
		var hash []byte
		s := l.on(q)
		err := q.QueryRow(ctx, s.head, string(stream)).Scan(&version, &hash)
		if errors.Is(err, pgx.ErrNoRows) {
			return l.noCounter()
		}
		if err == nil && version != nil {
			head = events.Head{Version: events.Version(*version), Hash: toHash(s.octets(hash))}
		}
		return err
	})
	if err != nil {
		return events.Head{}, fmt.Errorf("head of %s: %w", stream, err)
	}
	return head, nil
}

// End is [events.Heads.End].
func (l *Log) End(ctx context.Context) (events.Position, error) { return l.endIn(ctx, l.pool) }

func (l *Log) endIn(ctx context.Context, q executor) (end events.Position, err error) {
	err = l.ask(ctx, q, func(ctx context.Context) error {
		end, err = l.counter(ctx, q)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("end of log: %w", err)
	}
	return end, nil
}

// counter returns the position of the last record.
func (l *Log) counter(ctx context.Context, q executor) (p events.Position, err error) {
	err = q.QueryRow(ctx, l.sql.counter).Scan((*int64)(&p))
	if errors.Is(err, pgx.ErrNoRows) {
		err = l.noCounter()
	}
	return p, err
}

// SaveSnapshot is [events.Snapshots.SaveSnapshot].
func (l *Log) SaveSnapshot(ctx context.Context, stream events.StreamID, s events.Snapshot) error {
	return l.saveSnapshotIn(ctx, l.pool, stream, s)
}

func (l *Log) saveSnapshotIn(ctx context.Context, q executor, stream events.StreamID, s events.Snapshot) error {
	if _, err := events.ParseStreamID(string(stream)); err != nil {
		return err
	}
	if len(s.Data) > events.MaxSnapshotSize {
		return fmt.Errorf("%w: snapshot of %s: %d bytes, at most %d are kept", events.ErrInvalid, stream, len(s.Data), events.MaxSnapshotSize)
	}
	data := s.Data
	if data == nil {
		data = []byte{}
	}
	err := l.ask(ctx, q, func(ctx context.Context) error {
		_, err := q.Exec(ctx, l.sql.saveSnapshot, string(stream), int64(s.Head.Version), s.Head.Hash[:], toText(s.Format), data)
		return err
	})
	if err != nil {
		return fmt.Errorf("save snapshot of %s: %w", stream, err)
	}
	return nil
}

// LoadSnapshot is [events.Snapshots.LoadSnapshot].
func (l *Log) LoadSnapshot(ctx context.Context, stream events.StreamID) (events.Snapshot, error) {
	return l.loadSnapshotIn(ctx, l.pool, stream)
}

func (l *Log) loadSnapshotIn(ctx context.Context, q executor, stream events.StreamID) (s events.Snapshot, err error) {
	if _, err := events.ParseStreamID(string(stream)); err != nil {
		return events.Snapshot{}, err
	}
	var format string
	err = l.ask(ctx, q, func(ctx context.Context) error {
		var hash []byte
		sql := l.on(q)
		err := q.QueryRow(ctx, sql.loadSnapshot, string(stream)).Scan((*int64)(&s.Head.Version), &hash, &format, &s.Data)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return nil
		case err == nil && copy(s.Head.Hash[:], sql.octets(hash)) != len(s.Head.Hash):
			return l.damaged("the snapshot of %s cannot be read", stream)
		}
		s.Format, s.Data = fromText(format), sql.octets(s.Data)
		return err
	})
	if err != nil {
		return events.Snapshot{}, fmt.Errorf("load snapshot of %s: %w", stream, err)
	}
	if len(s.Data) == 0 {
		s.Data = nil
	}
	return s, nil
}

// SaveCheckpoint is [events.Checkpoints.SaveCheckpoint].
func (l *Log) SaveCheckpoint(ctx context.Context, name string, p events.Position) error {
	_, err := l.saveCheckpointIn(ctx, l.pool, name, p)
	return err
}

func (l *Log) saveCheckpointIn(ctx context.Context, q executor, name string, p events.Position) (advanced bool, err error) {
	if len(name) == 0 || len(name) > events.MaxText {
		return false, fmt.Errorf("%w: checkpoint name of %d bytes: want 1 to %d", events.ErrInvalid, len(name), events.MaxText)
	}
	err = l.ask(ctx, q, func(ctx context.Context) error {
		tag, err := q.Exec(ctx, l.sql.saveCheckpoint, toText(name), int64(max(p, 0)))
		advanced = tag.RowsAffected() > 0
		return err
	})
	if err != nil {
		return false, fmt.Errorf("save checkpoint %q: %w", name, err)
	}
	return advanced, nil
}

// LoadCheckpoint is [events.Checkpoints.LoadCheckpoint].
func (l *Log) LoadCheckpoint(ctx context.Context, name string) (p events.Position, err error) {
	err = l.ask(ctx, l.pool, func(ctx context.Context) error {
		err := l.pool.QueryRow(ctx, l.sql.loadCheckpoint, toText(name)).Scan((*int64)(&p))
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("load checkpoint %q: %w", name, err)
	}
	return p, nil
}

// hexed begins a text that stands for other bytes, in hexadecimal.
const hexed = `\x`

// toText is a name as the server can keep it, which takes neither NUL nor what is no
// UTF-8. Names that it can keep stay as they are, except those that look like one in
// hexadecimal.
func toText(name string) string {
	if utf8.ValidString(name) && !strings.Contains(name, "\x00") && !strings.HasPrefix(name, hexed) {
		return name
	}
	return hexed + hex.EncodeToString([]byte(name))
}

// fromText is the name that toText made a text of.
func fromText(text string) string {
	digits, ok := strings.CutPrefix(text, hexed)
	if !ok {
		return text
	}
	name, err := hex.DecodeString(digits)
	if err != nil {
		return text // not of toText
	}
	return string(name)
}

// Check reads the whole log and compares positions with the counter, and each record with
// the hash that is stored with it and with the record before it in its stream. What does
// not fit is [events.ErrDamaged]; the message has a line for each problem, with position,
// stream and version.
//
// A stream whose records and hashes were all written again is not found; for that,
// [events.VerifyChain] takes heads that were noted elsewhere. A check takes about as long as
// reading the log, and sees it as it was when the check began.
func (l *Log) Check(ctx context.Context) error {
	if err := l.use(ctx, l.check); err != nil {
		return fmt.Errorf("check log: %w", err)
	}
	return nil
}

func (l *Log) check(ctx context.Context) error {
	return pgx.BeginTxFunc(ctx, l.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		counter, err := l.counter(ctx, tx)
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, l.sql.whole)
		if err != nil {
			return err
		}
		whole := wholelog.New(counter)
		if err := l.scan(l.sql, rows, func(r events.Recorded, stored events.Hash) bool {
			whole.Row(&r, stored)
			return true
		}); err != nil {
			return err
		}
		var problems []error
		for _, problem := range whole.Problems() {
			problems = append(problems, l.damaged("%s", problem))
		}
		return errors.Join(problems...)
	})
}
