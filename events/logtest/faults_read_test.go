package logtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oatmill/oatmill/events"
)

// changing plants a fault in every envelope on its way into the log.
func changing(change func(*events.Envelope)) func(*handle) events.Log {
	return appending(func(p proposed) ([]events.Recorded, error) {
		p.batch = slices.Clone(p.batch)
		for i := range p.batch {
			change(&p.batch[i])
		}
		return p.append()
	})
}

// refusing plants a limit.
func refusing(when func(proposed) bool) func(*handle) events.Log {
	return appending(func(p proposed) ([]events.Recorded, error) {
		if when(p) {
			return nil, errors.New("too large")
		}
		return p.append()
	})
}

func refusingFaults() []fault {
	return []fault{{
		name:     "a text may have 1023 bytes",
		caughtBy: []string{"what just keeps the limits is recorded"},
		plant:    refusing(func(p proposed) bool { return len(p.batch[0].Reason) == events.MaxText }),
	}, {
		name:     "a batch may have 999 events",
		caughtBy: []string{"the largest batch and the longest one are recorded"},
		plant:    refusing(func(p proposed) bool { return len(p.batch) == events.MaxBatch }),
	}}
}

func changingFaults() []fault {
	return []fault{{
		name:     "a time is cut to microseconds instead of refused",
		caughtBy: []string{"what is malformed is refused"},
		plant:    changing(func(e *events.Envelope) { e.Time = e.Time.Truncate(time.Microsecond) }),
	}, {
		name:     "data is written anew",
		caughtBy: []string{"data is kept byte for byte"},
		plant: changing(func(e *events.Envelope) {
			var b bytes.Buffer
			if json.Compact(&b, e.Data) == nil {
				e.Data = b.Bytes()
			}
		}),
	}, {
		name:     "text is trimmed",
		caughtBy: []string{"text is kept as it was written"},
		plant:    changing(func(e *events.Envelope) { e.Actor = strings.TrimSpace(e.Actor) }),
	}, {
		name:     "all events of a batch have the first one's reason",
		caughtBy: []string{"each event of a batch keeps what is its own"},
		plant: appending(func(p proposed) ([]events.Recorded, error) {
			p.batch = slices.Clone(p.batch)
			for i := range p.batch {
				p.batch[i].Reason = p.batch[0].Reason
			}
			return p.append()
		}),
	}, {
		name:     "times never go back",
		caughtBy: []string{"a clock that jumps back changes neither times nor order"},
		plant: func(h *handle) events.Log {
			var latest time.Time
			return changing(func(e *events.Envelope) {
				if e.Time.Before(latest) {
					e.Time = latest
				}
				latest = e.Time
			})(h)
		},
	}, {
		name:     "the writer's slice is kept",
		caughtBy: []string{"records do not change with the slices they came from"},
		plant: func(h *handle) events.Log {
			f := &sliceFault{}
			f.showFault = showFault{h, func(r *events.Recorded) {
				if data, ok := f.kept.Load(r.ID); ok {
					r.Data = data.([]byte)
				}
			}}
			return f
		},
	}, {
		name:     "names ignore case",
		caughtBy: []string{"streams with similar names stay apart"},
		plant: appending(func(p proposed) ([]events.Recorded, error) {
			p.stream = events.StreamID(strings.ToLower(string(p.stream)))
			return p.append()
		}),
	}, {
		name:     "a record names no hash before it",
		caughtBy: []string{"every record is chained to the one before it", "the chain holds after racing appends"},
		plant:    showing(func(r *events.Recorded) { r.Previous = events.Hash{} }),
	}}
}

// yielding plants a fault in what a read yields: change is called for each record,
// with its number in the read, and tells whether to go on; skip leaves it out.
func yielding(as func(n int, r events.Recorded) (skip, stop bool)) func(*handle) events.Log {
	return reading(func(ctx context.Context, read func(context.Context) records) records {
		return func(yield func(events.Recorded, error) bool) {
			n := 0
			for r, err := range read(ctx) {
				n++
				skip, stop := as(n, r)
				if stop || !skip && !yield(r, err) {
					return
				}
			}
		}
	})
}

func readFaults() []fault {
	return []fault{{
		name:     "an empty read is an error",
		caughtBy: []string{"an empty log and an unknown stream are empty"},
		plant: reading(func(ctx context.Context, read func(context.Context) records) records {
			return func(yield func(events.Recorded, error) bool) {
				empty := true
				for r, err := range read(ctx) {
					if empty = false; !yield(r, err) {
						return
					}
				}
				if empty {
					yield(events.Recorded{}, errors.New("no rows"))
				}
			}
		}),
	}, {
		name:     "a read begins one too early",
		caughtBy: []string{"a read resumes after any point", "any sequence of calls does what a plain model does"},
		plant:    func(h *handle) events.Log { return &inclusive{h} },
	}, {
		name:     "a sequence can be used once",
		caughtBy: []string{"a sequence can be ranged over again"},
		plant: reading(func(ctx context.Context, read func(context.Context) records) records {
			used := false
			return func(yield func(events.Recorded, error) bool) {
				if !used {
					used = true
					read(ctx)(yield)
				}
			}
		}),
	}}
}

func holdingFaults() []fault {
	return []fault{{
		name:     "a read that is broken off keeps its connection",
		caughtBy: []string{"a read can be broken off"},
		plant: func(h *handle) events.Log {
			free := 50
			return reading(func(ctx context.Context, read func(context.Context) records) records {
				return func(yield func(events.Recorded, error) bool) {
					if free--; free < 0 {
						yield(events.Recorded{}, errors.New("no connection is free"))
						return
					}
					for r, err := range read(ctx) {
						if !yield(r, err) {
							return
						}
					}
					free++
				}
			})(h)
		},
	}, {
		name:     "a panic keeps the lock",
		caughtBy: []string{"a panic in the reader's loop leaves the log usable"},
		hangs:    true,
		plant:    func(h *handle) events.Log { return &locked{handle: h} },
	}, {
		name:     "the caller works under the log's lock",
		caughtBy: []string{"appends go on while a read is open", "closing while a read is open does not hang"},
		hangs:    true,
		plant:    func(h *handle) events.Log { return &locked{handle: h, careful: true} },
	}}
}

func pageFaults() []fault {
	return []fault{{
		name:     "pages are counted by offset",
		caughtBy: []string{"a read yields all that was there when it began, while others append"},
		plant: func(h *handle) events.Log {
			return reading(func(ctx context.Context, read func(context.Context) records) records {
				return func(yield func(events.Recorded, error) bool) {
					begin, _ := h.Log.End(ctx)
					n := 0
					for r, err := range read(ctx) {
						end, _ := h.Log.End(ctx)
						if n++; n%100 == 0 && end > begin { // the log has moved under the read
							continue
						}
						if !yield(r, err) {
							return
						}
					}
				}
			})(h)
		},
	}, {
		name:     "a page ends one record early",
		caughtBy: []string{"a long log is read without holes"},
		plant:    yielding(func(n int, _ events.Recorded) (skip, stop bool) { return n%1000 == 0, false }),
	}, {
		name:     "a read loads all of the log first",
		caughtBy: []string{"a read costs what it yields, not what the log holds"},
		plant: reading(func(ctx context.Context, read func(context.Context) records) records {
			return func(yield func(events.Recorded, error) bool) {
				loaded, err := collect(read(ctx))
				for i := range loaded { // as rows of a database are
					loaded[i] = withOwnData(loaded[i])
				}
				for _, r := range loaded {
					if !yield(r, nil) {
						return
					}
				}
				if err != nil {
					yield(events.Recorded{}, err)
				}
			}
		}),
	}}
}

func endingFaults() []fault {
	return []fault{{
		name:     "a read goes on after its context",
		caughtBy: []string{"an ended context ends a read", "a read that ends early says so"},
		plant: reading(func(ctx context.Context, read func(context.Context) records) records {
			return read(context.WithoutCancel(ctx))
		}),
	}, {
		name:     "a read ends with its context and says nothing",
		caughtBy: []string{"an ended context ends a read", "a read that ends early says so"},
		plant: reading(func(ctx context.Context, read func(context.Context) records) records {
			return func(yield func(events.Recorded, error) bool) {
				for r, err := range read(ctx) {
					if err != nil || !yield(r, nil) {
						return
					}
				}
			}
		}),
	}, {
		name: "a record becomes visible after a later one",
		caughtBy: []string{
			"a follower misses nothing, however late a writer commits", "a follower on one handle misses nothing of writers on two",
		},
		plant: func(h *handle) events.Log {
			var seen sync.Map
			return yielding(func(_ int, r events.Recorded) (skip, stop bool) {
				_, late := seen.LoadOrStore(r.Position, true)
				return !late && r.Position%10 == 0, false
			})(h)
		},
	}, {
		name:     "the last record of a batch becomes visible later",
		caughtBy: []string{"a reader never sees a part of a batch"},
		plant: func(h *handle) events.Log {
			return yielding(func(_ int, r events.Recorded) (skip, stop bool) {
				end, _ := h.Log.End(context.Background())
				return false, r.Position == end
			})(h)
		},
	}}
}

// inclusive reads from a point on instead of after it.
type inclusive struct{ *handle }

func (f *inclusive) ReadAll(ctx context.Context, after events.Position) records {
	return f.handle.ReadAll(ctx, after-1)
}

func (f *inclusive) ReadStream(ctx context.Context, stream events.StreamID, after events.Version) records {
	return f.handle.ReadStream(ctx, stream, after-1)
}

// locked holds a lock while its caller works, and when it is careful lets go of it
// even when the caller panics.
type locked struct {
	*handle
	careful bool
	mu      sync.RWMutex
}

func (f *locked) Append(ctx context.Context, stream events.StreamID, expected events.Version, batch ...events.Envelope) ([]events.Recorded, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.handle.Append(ctx, stream, expected, batch...)
}

func (f *locked) locked(read records) records {
	return func(yield func(events.Recorded, error) bool) {
		f.mu.RLock()
		if f.careful {
			defer f.mu.RUnlock()
		}
		read(yield)
		if !f.careful {
			f.mu.RUnlock()
		}
	}
}

func (f *locked) ReadAll(ctx context.Context, after events.Position) records {
	return f.locked(f.handle.ReadAll(ctx, after))
}

func (f *locked) ReadStream(ctx context.Context, stream events.StreamID, after events.Version) records {
	return f.locked(f.handle.ReadStream(ctx, stream, after))
}

func (f *locked) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.handle.Close()
}

// sliceFault shows the slices that writers handed in.
type sliceFault struct {
	showFault
	kept sync.Map // by event ID
}

func (f *sliceFault) Append(ctx context.Context, stream events.StreamID, expected events.Version, batch ...events.Envelope) ([]events.Recorded, error) {
	for i := range batch {
		f.kept.Store(batch[i].ID, batch[i].Data)
	}
	return f.showFault.Append(ctx, stream, expected, batch...)
}
