package sqlitelog

import (
	"context"
	"fmt"

	"github.com/oatmill/oatmill/events"
)

// Head implements [events.Heads.Head]. When the hash that is stored with the last record
// cannot be read, Head returns the zero Hash, which no record has.
func (l *Log) Head(ctx context.Context, stream events.StreamID) (head events.Head, err error) {
	err = l.readers.lend(ctx, func(r *reader) error {
		found := false
		err := r.head.query(ctx, func(row *stmt) error {
			if found = true; !row.isNull(0) {
				head.Version = events.Version(row.integer(0))
				head.Hash, _ = hashOf(row, 1)
			}
			return errEnough
		}, string(stream))
		if err == nil && !found {
			err = noCounter(l.file)
		}
		return err
	})
	if err != nil {
		return events.Head{}, fmt.Errorf("head of %s: %w", stream, err)
	}
	return head, nil
}

// End implements [events.Heads.End].
func (l *Log) End(ctx context.Context) (end events.Position, err error) {
	err = l.readers.lend(ctx, func(r *reader) (err error) {
		end, err = counterOf(ctx, r.end)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("end of log: %w", err)
	}
	return end, nil
}

// SaveSnapshot is [events.Snapshots.SaveSnapshot]. It shares its commit with
// other snapshots only, so that one for which there is no space takes no append with it.
func (l *Log) SaveSnapshot(ctx context.Context, stream events.StreamID, s events.Snapshot) error {
	if _, err := events.ParseStreamID(string(stream)); err != nil {
		return err
	}
	if len(s.Data) > events.MaxSnapshotSize {
		return fmt.Errorf("%w: snapshot of %s: %d bytes, at most %d are kept", events.ErrInvalid, stream, len(s.Data), events.MaxSnapshotSize)
	}
	var data any
	if len(s.Data) > 0 {
		data = s.Data
	}
	err := l.submit(ctx, &request{size: len(s.Data), apart: true, do: func(w *writer) error {
		return w.saveSnapshot.exec(string(stream), int64(s.Head.Version), s.Head.Hash[:], s.Format, data)
	}})
	if err != nil {
		return fmt.Errorf("save snapshot of %s: %w", stream, err)
	}
	return nil
}

// LoadSnapshot is [events.Snapshots.LoadSnapshot].
func (l *Log) LoadSnapshot(ctx context.Context, stream events.StreamID) (s events.Snapshot, err error) {
	err = l.readers.lend(ctx, func(r *reader) error {
		return r.snapshot.query(ctx, func(row *stmt) error {
			hash, fits := hashOf(row, 1)
			s.Head, s.Format = events.Head{Version: events.Version(row.integer(0)), Hash: hash}, row.text(2)
			if !row.isNull(3) {
				s.Data = row.blob(3)
			}
			if row.wasOdd() || !fits {
				return damaged(l.file, "the snapshot of %s cannot be read", stream)
			}
			return nil
		}, string(stream))
	})
	if err != nil {
		return events.Snapshot{}, fmt.Errorf("load snapshot of %s: %w", stream, err)
	}
	return s, nil
}

// SaveCheckpoint is [events.Checkpoints.SaveCheckpoint]. It shares the commit of
// appends that wait at the same time.
func (l *Log) SaveCheckpoint(ctx context.Context, name string, p events.Position) error {
	if len(name) == 0 || len(name) > events.MaxText {
		return fmt.Errorf("%w: checkpoint name of %d bytes: want 1 to %d", events.ErrInvalid, len(name), events.MaxText)
	}
	err := l.submit(ctx, &request{size: len(name), do: func(w *writer) error {
		return w.saveCheckpoint.exec(name, int64(max(p, 0)))
	}})
	if err != nil {
		return fmt.Errorf("save checkpoint %q: %w", name, err)
	}
	return nil
}

// LoadCheckpoint is [events.Checkpoints.LoadCheckpoint].
func (l *Log) LoadCheckpoint(ctx context.Context, name string) (events.Position, error) {
	var p int64
	err := l.readers.lend(ctx, func(r *reader) (err error) {
		p, err = r.checkpoint.number(ctx, name)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("load checkpoint %q: %w", name, err)
	}
	return events.Position(p), nil
}
