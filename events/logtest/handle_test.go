package logtest

import (
	"context"
	"iter"
	"sync/atomic"
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
)

// handle is one opening of a log whose records outlive it, as a durable log's do. It
// lets the cases of restarts and of second handles run on memlog, and is what the
// faults of this package's tests are planted in.
type handle struct {
	*memlog.Log // the data, which stays open
	closed      atomic.Bool
	closing     context.Context
	close       context.CancelFunc
	reopened    bool // there was another one before
}

func newHandle(data *memlog.Log, reopened bool) *handle {
	h := &handle{Log: data, reopened: reopened}
	h.closing, h.close = context.WithCancel(context.Background())
	return h
}

// base is the handle below whatever was planted in it.
func (h *handle) base() *handle { return h }

func (h *handle) Append(ctx context.Context, stream events.StreamID, expected events.Version, batch ...events.Envelope) ([]events.Recorded, error) {
	if h.closed.Load() {
		return nil, events.ErrClosed
	}
	return h.Log.Append(ctx, stream, expected, batch...)
}

func (h *handle) ReadAll(ctx context.Context, after events.Position) records {
	return h.whileOpen(h.Log.ReadAll(ctx, after))
}

func (h *handle) ReadStream(ctx context.Context, stream events.StreamID, after events.Version) records {
	return h.whileOpen(h.Log.ReadStream(ctx, stream, after))
}

// records is what a read yields.
type records = iter.Seq2[events.Recorded, error]

func (h *handle) whileOpen(read records) records {
	return func(yield func(events.Recorded, error) bool) {
		if h.closed.Load() {
			yield(events.Recorded{}, events.ErrClosed)
			return
		}
		for r, err := range read {
			if h.closed.Load() {
				yield(events.Recorded{}, events.ErrClosed)
				return
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

func (h *handle) Wait(ctx context.Context, after events.Position) error {
	waiting, end := context.WithCancel(ctx)
	defer end()
	defer context.AfterFunc(h.closing, end)()
	err := h.Log.Wait(waiting, after)
	if h.closed.Load() {
		return events.ErrClosed
	}
	return err
}

func (h *handle) Head(ctx context.Context, stream events.StreamID) (events.Head, error) {
	if h.closed.Load() {
		return events.Head{}, events.ErrClosed
	}
	return h.Log.Head(ctx, stream)
}

func (h *handle) End(ctx context.Context) (events.Position, error) {
	if h.closed.Load() {
		return 0, events.ErrClosed
	}
	return h.Log.End(ctx)
}

func (h *handle) SaveSnapshot(ctx context.Context, stream events.StreamID, s events.Snapshot) error {
	if h.closed.Load() {
		return events.ErrClosed
	}
	return h.Log.SaveSnapshot(ctx, stream, s)
}

func (h *handle) LoadSnapshot(ctx context.Context, stream events.StreamID) (events.Snapshot, error) {
	if h.closed.Load() {
		return events.Snapshot{}, events.ErrClosed
	}
	return h.Log.LoadSnapshot(ctx, stream)
}

func (h *handle) SaveCheckpoint(ctx context.Context, name string, p events.Position) error {
	if h.closed.Load() {
		return events.ErrClosed
	}
	return h.Log.SaveCheckpoint(ctx, name, p)
}

func (h *handle) LoadCheckpoint(ctx context.Context, name string) (events.Position, error) {
	if h.closed.Load() {
		return 0, events.ErrClosed
	}
	return h.Log.LoadCheckpoint(ctx, name)
}

func (h *handle) Close() error {
	h.closed.Store(true)
	h.close()
	return nil
}

// harness opens handles and plants a fault in each of them.
func harness(plant func(*handle) events.Log) Harness {
	again := func(_ testing.TB, log events.Log) events.Log {
		return plant(newHandle(log.(interface{ base() *handle }).base().Log, true))
	}
	return Harness{
		Open:   func(testing.TB) events.Log { return plant(newHandle(memlog.New(), false)) },
		Reopen: again,
		Second: again,
	}
}

func healthy(h *handle) events.Log { return h }

// The suite itself, on data that outlives its handles: memlog's own test cannot run
// the cases of restarts and second handles.
func TestHandles(t *testing.T) {
	Run(t, harness(healthy))
}
