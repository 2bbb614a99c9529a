package logtest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/oatmill/oatmill/events"
)

// fault is one way to get a log wrong.
type fault struct {
	name     string // "a log in which …"
	caughtBy []string
	plant    func(*handle) events.Log
	hangs    bool // the case has to lose its patience
}

func faults() []fault {
	return slices.Concat(
		appendFaults(), conflictFaults(), batchFaults(), outcomeFaults(), repeatFaults(), uniquenessFaults(),
		changingFaults(), refusingFaults(), readFaults(), holdingFaults(), pageFaults(), endingFaults(),
		headAndCheckpointFaults(), snapshotFaults(), waitFaults(), waitEndFaults(), restartFaults(), closeFaults(),
	)
}

// proposed is an append on its way to the handle.
type proposed struct {
	ctx      context.Context
	stream   events.StreamID
	expected events.Version
	batch    []events.Envelope
	to       *handle
}

func (p proposed) append() ([]events.Recorded, error) {
	return p.to.Append(p.ctx, p.stream, p.expected, p.batch...)
}

// appending plants a fault in Append.
func appending(as func(proposed) ([]events.Recorded, error)) func(*handle) events.Log {
	return func(h *handle) events.Log { return &appendFault{h, as} }
}

type appendFault struct {
	*handle
	as func(proposed) ([]events.Recorded, error)
}

func (f *appendFault) Append(ctx context.Context, stream events.StreamID, expected events.Version, batch ...events.Envelope) ([]events.Recorded, error) {
	return f.as(proposed{ctx, stream, expected, batch, f.handle})
}

// reading plants a fault in both reads.
func reading(as func(ctx context.Context, read func(context.Context) records) records) func(*handle) events.Log {
	return func(h *handle) events.Log { return &readFault{h, as} }
}

type readFault struct {
	*handle
	as func(context.Context, func(context.Context) records) records
}

func (f *readFault) ReadAll(ctx context.Context, after events.Position) records {
	return f.as(ctx, func(ctx context.Context) records { return f.handle.ReadAll(ctx, after) })
}

func (f *readFault) ReadStream(ctx context.Context, stream events.StreamID, after events.Version) records {
	return f.as(ctx, func(ctx context.Context) records { return f.handle.ReadStream(ctx, stream, after) })
}

// showing plants a fault in every record that leaves the log.
func showing(change func(*events.Recorded)) func(*handle) events.Log {
	return func(h *handle) events.Log { return &showFault{h, change} }
}

type showFault struct {
	*handle
	change func(*events.Recorded)
}

func (f *showFault) Append(ctx context.Context, stream events.StreamID, expected events.Version, batch ...events.Envelope) ([]events.Recorded, error) {
	recorded, err := f.handle.Append(ctx, stream, expected, batch...)
	for i := range recorded {
		f.change(&recorded[i])
	}
	return recorded, err
}

func (f *showFault) shown(read records) records {
	return func(yield func(events.Recorded, error) bool) {
		for r, err := range read {
			if err == nil {
				f.change(&r)
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

func (f *showFault) ReadAll(ctx context.Context, after events.Position) records {
	return f.shown(f.handle.ReadAll(ctx, after))
}

func (f *showFault) ReadStream(ctx context.Context, stream events.StreamID, after events.Version) records {
	return f.shown(f.handle.ReadStream(ctx, stream, after))
}

func appendFaults() []fault {
	return []fault{{
		name:     "abilities are lost behind a wrapper",
		caughtBy: []string{"the log has the abilities that its harness declares"},
		plant: func(h *handle) events.Log {
			return struct {
				events.Log
				io.Closer
			}{h, h}
		},
	}, {
		name:     "the tail of a batch is lost",
		caughtBy: []string{"an append returns the records that reads then yield", "any sequence of calls does what a plain model does"},
		plant: appending(func(p proposed) ([]events.Recorded, error) {
			if len(p.batch) < 2 {
				return p.append()
			}
			last := len(p.batch) - 1
			tail := p.batch[last]
			p.batch = p.batch[:last]
			recorded, err := p.append()
			if err != nil {
				return nil, err
			}
			end := recorded[last-1]
			sealed, _ := events.Seal(p.stream, events.Head{Version: end.Version, Hash: end.Hash()}, []events.Envelope{tail})
			sealed[0].Position = end.Position + 1
			return append(recorded, sealed...), nil
		}),
	}, {
		name:     "versions have a gap",
		caughtBy: []string{"versions have no holes", "any sequence of calls does what a plain model does"},
		plant: showing(func(r *events.Recorded) {
			if r.Version > 2 {
				r.Version++
			}
		}),
	}, {
		name:     "a position is used again",
		caughtBy: []string{"positions increase in the order of commits", "any sequence of calls does what a plain model does"},
		plant:    showing(func(r *events.Recorded) { r.Position = (r.Position + 1) / 2 }),
	}}
}

func conflictFaults() []fault {
	return []fault{{
		name: "a conflict is swallowed",
		caughtBy: []string{
			"a wrong expected version is a conflict that leaves no trace", "8 writers race on one stream", "8 writers race on many streams",
			"64 writers race on one stream", "64 writers race on many streams", "writers on two handles race on one stream",
		},
		plant: appending(func(p proposed) ([]events.Recorded, error) {
			p.expected = events.Any
			return p.append()
		}),
	}, {
		name:     "only versions are compared",
		caughtBy: []string{"a batch that follows another record than the last one is a conflict"},
		plant: appending(func(p proposed) ([]events.Recorded, error) {
			p.batch = slices.Clone(p.batch)
			for i := range p.batch {
				p.batch[i].Follows = events.Hash{}
			}
			return p.append()
		}),
	}, {
		name:     "a conflict is an error of the driver",
		caughtBy: []string{"a wrong expected version is a conflict that leaves no trace"},
		plant: appending(func(p proposed) ([]events.Recorded, error) {
			recorded, err := p.append()
			if errors.Is(err, events.ErrConflict) {
				return nil, errors.New("UNIQUE constraint failed")
			}
			return recorded, err
		}),
	}, {
		name: "a conflict names a version that never was",
		caughtBy: []string{
			"a wrong expected version is a conflict that leaves no trace", "one order explains all calls on one stream",
			"one order explains all calls on many streams", "one order explains all calls through two handles",
		},
		plant: appending(func(p proposed) ([]events.Recorded, error) {
			recorded, err := p.append()
			var conflict *events.ConflictError
			if errors.As(err, &conflict) {
				conflict.Actual += 1000
			}
			return recorded, err
		}),
	}, {
		name: "an append is kept after a conflict",
		caughtBy: []string{
			"a wrong expected version is a conflict that leaves no trace", "losers of a race leave no trace",
			"any sequence of calls does what a plain model does",
		},
		plant: appending(func(p proposed) ([]events.Recorded, error) {
			recorded, err := p.append()
			if errors.Is(err, events.ErrConflict) {
				p.expected = events.Any
				p.append()
			}
			return recorded, err
		}),
	}}
}

func batchFaults() []fault {
	return []fault{{
		name:     "0 expects nothing",
		caughtBy: []string{"expected 0 creates a stream once"},
		plant: appending(func(p proposed) ([]events.Recorded, error) {
			if p.expected == 0 {
				p.expected = events.Any
			}
			return p.append()
		}),
	}, {
		name:     "Any expects a new stream",
		caughtBy: []string{"Any appends to a stream at any version"},
		plant: appending(func(p proposed) ([]events.Recorded, error) {
			if p.expected == events.Any {
				p.expected = 0
			}
			return p.append()
		}),
	}, {
		name:     "a batch is appended one event at a time",
		caughtBy: []string{"a batch is recorded as a whole or not at all"},
		plant: appending(func(p proposed) (all []events.Recorded, err error) {
			for i := range p.batch {
				one := p
				one.batch = p.batch[i : i+1]
				if i > 0 {
					one.expected = events.Any
				}
				recorded, err := one.append()
				if err != nil {
					return nil, err
				}
				all = append(all, recorded...)
			}
			return all, nil
		}),
	}, {
		name:     "an event of the log's own slips between those of a batch",
		caughtBy: []string{"the events of a batch follow each other in their stream"},
		plant: appending(func(p proposed) ([]events.Recorded, error) {
			head, tail := p, p
			head.batch, tail.batch = p.batch[:1], p.batch[1:]
			recorded, err := head.append()
			if err != nil || len(tail.batch) == 0 {
				return recorded, err
			}
			own := head
			own.expected, own.batch = events.Any, slices.Clone(head.batch)
			own.batch[0].ID[0] ^= 1
			own.append()
			tail.expected = events.Any
			rest, err := tail.append()
			return append(recorded, rest...), err
		}),
	}}
}

func outcomeFaults() []fault {
	return []fault{{
		name: "what is appended is told apart from what came of it",
		caughtBy: []string{
			"an ended context appends nothing", "a context that ends during an append leaves a clear outcome",
		},
		plant: appending(func(p proposed) ([]events.Recorded, error) {
			ctx := p.ctx
			p.ctx = context.WithoutCancel(ctx)
			recorded, err := p.append()
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return recorded, err
		}),
	}}
}

// recentOnly plants a log that knows an ID again only where known says so, given how many
// records came since, and cannot have it twice but under another name.
func recentOnly(known func(id [16]byte, since int) bool) func(*handle) events.Log {
	return appending(func(p proposed) ([]events.Recorded, error) {
		since := 0
		for r, err := range p.to.ReadStream(p.ctx, p.stream, 0) {
			if err != nil {
				break
			}
			if since++; r.ID == p.batch[0].ID {
				since = 0
			}
		}
		if !known(p.batch[0].ID, since) {
			p.batch = slices.Clone(p.batch)
			p.batch[0].ID[9] ^= byte(since) | 1
		}
		return p.append()
	})
}

func repeatFaults() []fault {
	const old = "an ID is known however long ago it came, and whatever it looks like"
	return []fault{{
		name:     "the last thousand IDs are remembered",
		caughtBy: []string{old},
		plant:    recentOnly(func(_ [16]byte, since int) bool { return since < 1000 }),
	}, {
		name:     "an ID whose time is long past is looked for no more",
		caughtBy: []string{old},
		plant:    recentOnly(func(id [16]byte, _ int) bool { return id[0] != 0 || id[5] != 0 || id[6] != 0 || id[15] != 1 }),
	}, {
		name: "the version is looked at before the IDs",
		caughtBy: []string{
			"a batch that is there already is answered with the first outcome", "a lost reply is settled by appending again",
			"any sequence of calls does what a plain model does",
		},
		plant: appending(func(p proposed) ([]events.Recorded, error) {
			head, _ := p.to.Head(p.ctx, p.stream)
			if p.expected >= 0 && p.expected != head.Version {
				return nil, &events.ConflictError{Stream: p.stream, Expected: p.expected, Actual: head.Version}
			}
			return p.append()
		}),
	}, {
		name:     "a repetition is answered with what it proposed",
		caughtBy: []string{"a repeated batch is known by its IDs alone"},
		plant: appending(func(p proposed) ([]events.Recorded, error) {
			recorded, err := p.append()
			for i := range recorded {
				recorded[i].Envelope = p.batch[i]
			}
			return recorded, err
		}),
	}, {
		name:     "events that are known are left out of a batch",
		caughtBy: []string{"a batch of which a part is there is a duplicate"},
		plant: appending(func(p proposed) ([]events.Recorded, error) {
			recorded, err := p.append()
			var duplicate *events.DuplicateError
			for errors.As(err, &duplicate) && len(p.batch) > 1 {
				p.batch = slices.DeleteFunc(slices.Clone(p.batch), func(e events.Envelope) bool { return e.ID == duplicate.ID })
				recorded, err = p.append()
			}
			return recorded, err
		}),
	}, {
		name:     "known events are answered in whatever order they are asked for",
		caughtBy: []string{"known IDs in another order or apart are a duplicate"},
		plant: appending(func(p proposed) ([]events.Recorded, error) {
			recorded, err := p.append()
			if !errors.Is(err, events.ErrDuplicate) {
				return recorded, err
			}
			for _, e := range p.batch {
				for r := range p.to.ReadStream(p.ctx, p.stream, 0) {
					if r.ID == e.ID {
						recorded = append(recorded, r)
					}
				}
			}
			if len(recorded) < len(p.batch) {
				return nil, err
			}
			return recorded, nil
		}),
	}}
}

func uniquenessFaults() []fault {
	return []fault{{
		name:     "an ID is unique within its stream only",
		caughtBy: []string{"an ID of another stream is a duplicate"},
		plant: func(h *handle) events.Log {
			return renaming(h, func(stream events.StreamID, id [16]byte) [16]byte {
				sum := sha256.Sum256(append(id[:], stream...))
				return [16]byte(sum[:16])
			})
		},
	}, {
		name: "an ID is accepted twice",
		caughtBy: []string{
			"the same batch from many writers at once is there once", "a batch that is there already is answered with the first outcome",
		},
		plant: acceptingTwice,
	}}
}

func acceptingTwice(h *handle) events.Log {
	var n atomic.Uint64
	return renaming(h, func(events.StreamID, [16]byte) [16]byte {
		return [16]byte(fmt.Appendf(nil, "%016d", n.Add(1)))
	})
}

// renaming gives events other IDs in the data below, and shows them with those they
// came with: what looks at IDs there is misled.
func renaming(h *handle, name func(events.StreamID, [16]byte) [16]byte) events.Log {
	var shown sync.Map
	show := &showFault{h, func(r *events.Recorded) {
		if id, ok := shown.Load([16]byte(r.ID)); ok {
			r.ID = id.([16]byte)
		}
	}}
	return &renamingLog{show, func(p proposed) ([]events.Recorded, error) {
		p.batch = slices.Clone(p.batch)
		for i := range p.batch {
			inner := name(p.stream, p.batch[i].ID)
			shown.Store(inner, [16]byte(p.batch[i].ID))
			p.batch[i].ID = inner
		}
		return show.Append(p.ctx, p.stream, p.expected, p.batch...)
	}}
}

type renamingLog struct {
	*showFault
	as func(proposed) ([]events.Recorded, error)
}

func (f *renamingLog) Append(ctx context.Context, stream events.StreamID, expected events.Version, batch ...events.Envelope) ([]events.Recorded, error) {
	return f.as(proposed{ctx, stream, expected, batch, f.handle})
}
