package logtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
)

// beside plants faults in the optional abilities: a function that is set stands in
// for the handle's method.
type beside struct {
	*handle
	wait           func(ctx context.Context, after events.Position) error
	head           func(ctx context.Context, stream events.StreamID) (events.Head, error)
	end            func(ctx context.Context) (events.Position, error)
	saveSnapshot   func(ctx context.Context, stream events.StreamID, s events.Snapshot) error
	loadSnapshot   func(ctx context.Context, stream events.StreamID) (events.Snapshot, error)
	saveCheckpoint func(ctx context.Context, name string, p events.Position) error
	loadCheckpoint func(ctx context.Context, name string) (events.Position, error)
	closing        func() error
}

// with is h as it is, but for what change sets.
func with(change func(h *handle, f *beside)) func(*handle) events.Log {
	return func(h *handle) events.Log {
		f := &beside{
			handle: h, wait: h.Wait, head: h.Head, end: h.End, saveSnapshot: h.SaveSnapshot, loadSnapshot: h.LoadSnapshot,
			saveCheckpoint: h.SaveCheckpoint, loadCheckpoint: h.LoadCheckpoint, closing: h.Close,
		}
		change(h, f)
		return f
	}
}

func (f *beside) Wait(ctx context.Context, after events.Position) error { return f.wait(ctx, after) }
func (f *beside) Head(ctx context.Context, stream events.StreamID) (events.Head, error) {
	return f.head(ctx, stream)
}
func (f *beside) End(ctx context.Context) (events.Position, error) { return f.end(ctx) }
func (f *beside) SaveSnapshot(ctx context.Context, stream events.StreamID, s events.Snapshot) error {
	return f.saveSnapshot(ctx, stream, s)
}
func (f *beside) LoadSnapshot(ctx context.Context, stream events.StreamID) (events.Snapshot, error) {
	return f.loadSnapshot(ctx, stream)
}
func (f *beside) SaveCheckpoint(ctx context.Context, name string, p events.Position) error {
	return f.saveCheckpoint(ctx, name, p)
}
func (f *beside) LoadCheckpoint(ctx context.Context, name string) (events.Position, error) {
	return f.loadCheckpoint(ctx, name)
}
func (f *beside) Close() error { return f.closing() }

func headAndCheckpointFaults() []fault {
	return []fault{{
		name: "the head lags behind",
		caughtBy: []string{
			"the head is the last record", "one order explains all calls on one stream", "one order explains all calls on many streams",
			"one order explains all calls through two handles",
		},
		plant: with(func(h *handle, f *beside) {
			f.head = func(ctx context.Context, stream events.StreamID) (before events.Head, err error) {
				for r := range h.ReadStream(ctx, stream, 0) {
					before = events.Head{Version: r.Version - 1, Hash: r.Previous}
				}
				return before, nil
			}
		}),
	}, {
		name:     "the end lags behind",
		caughtBy: []string{"the end is the position of the last record", "one order explains all calls on many streams"},
		plant: with(func(h *handle, f *beside) {
			f.end = func(ctx context.Context) (events.Position, error) {
				end, err := h.End(ctx)
				return max(end-1, 0), err
			}
		}),
	}, {
		name:     "checkpoints ignore case",
		caughtBy: []string{"a checkpoint is kept for its name"},
		plant: with(func(h *handle, f *beside) {
			f.saveCheckpoint = func(ctx context.Context, name string, p events.Position) error {
				return h.SaveCheckpoint(ctx, strings.ToLower(name), p)
			}
			f.loadCheckpoint = func(ctx context.Context, name string) (events.Position, error) {
				return h.LoadCheckpoint(ctx, strings.ToLower(name))
			}
		}),
	}, {
		name:     "a checkpoint moves back",
		caughtBy: []string{"a checkpoint never moves back", "checkpoints are durable"},
		plant:    with(func(_ *handle, f *beside) { ownCheckpoints(f) }),
	}, {
		name:     "a checkpoint needs no name",
		caughtBy: []string{"a checkpoint has a name of 1 to MaxText bytes"},
		plant: with(func(h *handle, f *beside) {
			f.saveCheckpoint = func(ctx context.Context, name string, p events.Position) error {
				return h.SaveCheckpoint(ctx, "x"+name[:min(len(name), 100)], p)
			}
		}),
	}}
}

// ownCheckpoints keeps checkpoints in the handle alone, and the newest one whatever
// it says.
func ownCheckpoints(f *beside) {
	var own sync.Map
	f.saveCheckpoint = func(_ context.Context, name string, p events.Position) error {
		own.Store(name, p)
		return nil
	}
	f.loadCheckpoint = func(_ context.Context, name string) (events.Position, error) {
		p, _ := own.LoadOrStore(name, events.Position(0))
		return p.(events.Position), nil
	}
}

func snapshotFaults() []fault {
	saving := func(as func(h *handle, ctx context.Context, stream events.StreamID, s events.Snapshot) error) func(*handle) events.Log {
		return with(func(h *handle, f *beside) {
			f.saveSnapshot = func(ctx context.Context, stream events.StreamID, s events.Snapshot) error {
				return as(h, ctx, stream, s)
			}
		})
	}
	return []fault{{
		name:     "a snapshot loses its format",
		caughtBy: []string{"a snapshot comes back as it was saved"},
		plant: saving(func(h *handle, ctx context.Context, stream events.StreamID, s events.Snapshot) error {
			s.Format = ""
			return h.SaveSnapshot(ctx, stream, s)
		}),
	}, {
		name:     "the first snapshot stays",
		caughtBy: []string{"a newer snapshot replaces the older one"},
		plant: saving(func(h *handle, ctx context.Context, stream events.StreamID, s events.Snapshot) error {
			if first, err := h.LoadSnapshot(ctx, stream); err != nil || first.Head.Version > 0 {
				return err
			}
			return h.SaveSnapshot(ctx, stream, s)
		}),
	}, {
		name:     "a snapshot is kept by the name of its stream in small letters",
		caughtBy: []string{"a snapshot belongs to its stream"},
		plant: saving(func(h *handle, ctx context.Context, stream events.StreamID, s events.Snapshot) error {
			return h.SaveSnapshot(ctx, events.StreamID(strings.ToLower(string(stream))), s)
		}),
	}, {
		name:     "a snapshot is cut off at 4 MiB",
		caughtBy: []string{"a snapshot of the greatest size is kept"},
		plant: saving(func(h *handle, ctx context.Context, stream events.StreamID, s events.Snapshot) error {
			s.Data = s.Data[:min(len(s.Data), 4<<20)]
			return h.SaveSnapshot(ctx, stream, s)
		}),
	}, {
		name:     "a snapshot is a record",
		caughtBy: []string{"snapshots leave the log alone"},
		plant: saving(func(h *handle, ctx context.Context, stream events.StreamID, s events.Snapshot) error {
			id := [16]byte(fmt.Appendf(nil, "%16.16s", stream))
			_, err := h.Append(ctx, stream, events.Any, events.Envelope{ID: id, Type: "snapshot", Data: []byte(`{}`)})
			return err
		}),
	}}
}

// waiting plants a fault in Wait.
func waiting(as func(h *handle, ctx context.Context, after events.Position) error) func(*handle) events.Log {
	return with(func(h *handle, f *beside) {
		f.wait = func(ctx context.Context, after events.Position) error { return as(h, ctx, after) }
	})
}

func waitFaults() []fault {
	return []fault{{
		name:     "an append wakes nobody",
		caughtBy: []string{"a waiting reader is woken by an append", "an append on one handle wakes readers on the other"},
		hangs:    true,
		plant: waiting(func(h *handle, ctx context.Context, after events.Position) error {
			if end, _ := h.End(ctx); end > after {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}),
	}, {
		name:     "a wait is for the next append",
		caughtBy: []string{"a wait for what is there already returns at once"},
		hangs:    true,
		plant: waiting(func(h *handle, ctx context.Context, _ events.Position) error {
			end, _ := h.End(ctx)
			return h.Wait(ctx, end)
		}),
	}, {
		name:     "one reader is woken",
		caughtBy: []string{"every waiting reader is woken"},
		hangs:    true,
		plant: with(func(h *handle, f *beside) {
			var waiters atomic.Int32
			f.wait = func(ctx context.Context, after events.Position) error {
				if waiters.Add(1) > 1 {
					<-ctx.Done()
					return ctx.Err()
				}
				return h.Wait(ctx, after)
			}
		}),
	}}
}

func waitEndFaults() []fault {
	return []fault{{
		name:     "a wait goes on after its context",
		caughtBy: []string{"a wait ends with its context"},
		hangs:    true,
		plant: waiting(func(h *handle, ctx context.Context, after events.Position) error {
			return h.Wait(context.WithoutCancel(ctx), after)
		}),
	}, {
		name:     "a wait that is under way outlives the log",
		caughtBy: []string{"closing ends those who wait"},
		hangs:    true,
		plant: waiting(func(h *handle, ctx context.Context, after events.Position) error {
			if h.closed.Load() {
				return events.ErrClosed
			}
			return h.Log.Wait(ctx, after)
		}),
	}}
}

// again plants a fault in the handles that open data which is there already.
func again(plant func(*handle) events.Log) func(*handle) events.Log {
	return func(h *handle) events.Log {
		if h.reopened {
			return plant(h)
		}
		return h
	}
}

func restartFaults() []fault {
	return []fault{{
		name:     "the last record is gone after a restart",
		caughtBy: []string{"a restart keeps everything", "any sequence of calls does what a plain model does"},
		plant: again(func(h *handle) events.Log {
			return newHandle(copyOf(h.Log, -1), true)
		}),
	}, {
		name:     "IDs are looked up in what this handle appended",
		caughtBy: []string{"a restart knows every event ID", "two handles refuse each other's conflicts and duplicates"},
		plant:    again(acceptingTwice),
	}, {
		name:     "positions begin again after a restart",
		caughtBy: []string{"versions and positions go on after a restart"},
		plant: again(func(h *handle) events.Log {
			end, _ := h.Log.End(context.Background())
			return showing(func(r *events.Recorded) {
				if r.Position > end {
					r.Position -= end
				}
			})(h)
		}),
	}, {
		name:     "half a snapshot is there after a restart",
		caughtBy: []string{"a snapshot is right after a restart, or gone"},
		plant: again(with(func(h *handle, f *beside) {
			f.loadSnapshot = func(ctx context.Context, stream events.StreamID) (events.Snapshot, error) {
				s, err := h.LoadSnapshot(ctx, stream)
				s.Data = s.Data[:len(s.Data)/2]
				return s, err
			}
		})),
	}, {
		name:     "a handle shows what there was when it was opened",
		caughtBy: []string{"two handles see each other's records"},
		plant: again(func(h *handle) events.Log {
			end, _ := h.Log.End(context.Background())
			return yielding(func(_ int, r events.Recorded) (skip, stop bool) { return r.Position > end, false })(h)
		}),
	}, {
		name:     "a handle remembers the head of a stream",
		caughtBy: []string{"a handle shows at once what another acknowledged"},
		plant: again(with(func(h *handle, f *beside) {
			var seen sync.Map
			f.head = func(ctx context.Context, stream events.StreamID) (events.Head, error) {
				head, err := h.Head(ctx, stream)
				first, _ := seen.LoadOrStore(stream, head)
				return first.(events.Head), err
			}
		})),
	}, {
		name:     "closing a handle closes the data",
		caughtBy: []string{"closing one handle leaves the other open"},
		plant:    with(func(h *handle, f *beside) { f.closing = h.Log.Close }),
	}}
}

// copyOf is new data with the records of log, all or, where n is negative, all but
// the last -n.
func copyOf(log *memlog.Log, n int) *memlog.Log {
	all, err := collect(log.ReadAll(context.Background(), 0))
	if err != nil {
		panic(err)
	}
	data := memlog.New()
	for _, r := range all[:max(0, len(all)+n)] {
		data.Append(context.Background(), r.Stream, events.Any, r.Envelope)
	}
	return data
}

func closeFaults() []fault {
	return []fault{{
		name:     "checkpoints are saved after Close",
		caughtBy: []string{"a closed log refuses every call"},
		plant:    with(func(h *handle, f *beside) { f.saveCheckpoint = h.Log.SaveCheckpoint }),
	}, {
		name:     "a second Close fails",
		caughtBy: []string{"closing twice is allowed"},
		plant: with(func(h *handle, f *beside) {
			f.closing = func() error {
				if h.closed.Load() {
					return events.ErrClosed
				}
				return h.Close()
			}
		}),
	}, {
		name:     "an append that Close overtakes is acknowledged",
		caughtBy: []string{"closing in the middle of appends loses nothing acknowledged"},
		plant: func(h *handle) events.Log {
			var once sync.Once
			return appending(func(p proposed) ([]events.Recorded, error) {
				recorded, err := p.append()
				if errors.Is(err, events.ErrClosed) {
					once.Do(func() {
						recorded, _ = events.Seal(p.stream, events.Head{}, p.batch)
						err = nil
					})
				}
				return recorded, err
			})(h)
		},
	}, {
		name:     "a goroutine outlives Close",
		caughtBy: []string{"closing leaves no goroutine behind"},
		hangs:    true,
		plant: func(h *handle) events.Log {
			appended := make(chan struct{}, 100)
			go func() {
				for range 100 {
					<-appended // more often than any case appends
				}
			}()
			return h
		},
	}}
}
