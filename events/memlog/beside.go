package memlog

import (
	"bytes"
	"context"
	"fmt"

	"github.com/oatmill/oatmill/events"
)

// Wait is [events.Notifier.Wait]. It returns nil only with cause, and is not late.
func (l *Log) Wait(ctx context.Context, after events.Position) error {
	for {
		wake, err := l.beyond(after)
		if wake == nil {
			return err
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return fmt.Errorf("wait for position %d: %w", after+1, ctx.Err())
		}
	}
}

// beyond is what to wait for, nil when there is a record above after already, or an
// error.
func (l *Log) beyond(after events.Position) (<-chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, fmt.Errorf("wait for position %d: %w", after+1, events.ErrClosed)
	}
	if l.end > after {
		return nil, nil
	}
	if l.wake == nil {
		l.wake = make(chan struct{})
	}
	return l.wake, nil
}

// announce wakes everyone who waits; those who find nothing wait anew.
func (l *Log) announce() {
	if l.wake != nil {
		close(l.wake)
		l.wake = nil
	}
}

// Head is [events.Heads.Head].
func (l *Log) Head(ctx context.Context, id events.StreamID) (events.Head, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if err := l.ready(ctx); err != nil {
		return events.Head{}, fmt.Errorf("head of %s: %w", id, err)
	}
	if s := l.streams[id]; s != nil {
		return s.head, nil
	}
	return events.Head{}, nil
}

// End is [events.Heads.End].
func (l *Log) End(ctx context.Context) (events.Position, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if err := l.ready(ctx); err != nil {
		return 0, fmt.Errorf("end of log: %w", err)
	}
	return l.end, nil
}

// SaveSnapshot is [events.Snapshots.SaveSnapshot].
func (l *Log) SaveSnapshot(ctx context.Context, id events.StreamID, s events.Snapshot) error {
	if _, err := events.ParseStreamID(string(id)); err != nil {
		return err
	}
	if len(s.Data) > events.MaxSnapshotSize {
		return fmt.Errorf("%w: snapshot of %s: %d bytes, at most %d are kept", events.ErrInvalid, id, len(s.Data), events.MaxSnapshotSize)
	}
	s.Data = bytes.Clone(s.Data)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.ready(ctx); err != nil {
		return fmt.Errorf("save snapshot of %s: %w", id, err)
	}
	l.snapshots[id] = s
	return nil
}

// LoadSnapshot is [events.Snapshots.LoadSnapshot].
func (l *Log) LoadSnapshot(ctx context.Context, id events.StreamID) (events.Snapshot, error) {
	l.mu.RLock()
	s, err := l.snapshots[id], l.ready(ctx)
	l.mu.RUnlock()
	if err != nil {
		return events.Snapshot{}, fmt.Errorf("load snapshot of %s: %w", id, err)
	}
	s.Data = bytes.Clone(s.Data)
	return s, nil
}

// SaveCheckpoint is [events.Checkpoints.SaveCheckpoint].
func (l *Log) SaveCheckpoint(ctx context.Context, name string, p events.Position) error {
	if len(name) == 0 || len(name) > events.MaxText {
		return fmt.Errorf("%w: checkpoint name of %d bytes: want 1 to %d", events.ErrInvalid, len(name), events.MaxText)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.ready(ctx); err != nil {
		return fmt.Errorf("save checkpoint %q: %w", name, err)
	}
	l.checkpoints[name] = max(l.checkpoints[name], p)
	return nil
}

// LoadCheckpoint is [events.Checkpoints.LoadCheckpoint].
func (l *Log) LoadCheckpoint(ctx context.Context, name string) (events.Position, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if err := l.ready(ctx); err != nil {
		return 0, fmt.Errorf("load checkpoint %q: %w", name, err)
	}
	return l.checkpoints[name], nil
}
