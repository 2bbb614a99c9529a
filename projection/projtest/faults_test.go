package projtest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/oatmill/oatmill/events"
)

// ledger is the smallest projection the suite has something to ask: it counts the
// records of each of our streams, and notes the last type. A fault can be planted
// in it.
type ledger struct {
	mu       sync.Mutex
	position events.Position
	lines    map[events.StreamID]line
	fault    fault
	kept     []events.Recorded
}

type line struct {
	Count int
	Type  string
}

// fault is one thing that projections get wrong.
type fault struct {
	name     string
	caughtBy []string // cases that must fail, among others perhaps
	// plant changes what Apply does; it may call l.apply for what is right.
	plant func(l *ledger, ctx context.Context, batch []events.Recorded) error
}

func (l *ledger) Position() events.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.position
}

func (l *ledger) Apply(ctx context.Context, batch []events.Recorded) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fault.plant != nil {
		return l.fault.plant(l, ctx, batch)
	}
	return l.apply(ctx, batch)
}

func (l *ledger) apply(ctx context.Context, batch []events.Recorded) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for i := range batch {
		if batch[i].Position <= l.position {
			continue
		}
		if err := l.note(&batch[i]); err != nil {
			return err
		}
		l.position = batch[i].Position
	}
	return nil
}

func (l *ledger) note(r *events.Recorded) error {
	if !isOurs(r.Stream) {
		return nil
	}
	if _, err := r.Payload(); err != nil {
		return err
	}
	l.lines[r.Stream] = line{l.lines[r.Stream].Count + 1, r.Type}
	return nil
}

func (l *ledger) dump(World) any {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := make(map[events.StreamID]line)
	for stream, line := range l.lines {
		lines[stream] = line
	}
	for _, r := range l.kept {
		lines[r.Stream] = line{-1, r.Type}
	}
	return lines
}

// several are the cases that give more than one record at once, and so find what
// does not show in a projection that follows live.
var several = []string{"batching", "at once", "resume", "redelivery"}

var faults = []fault{{
	name: "batches are counted",
	plant: func(l *ledger, ctx context.Context, batch []events.Recorded) error {
		l.lines["batch/es"] = line{Count: l.lines["batch/es"].Count + 1}
		return l.apply(ctx, batch)
	},
	caughtBy: several,
}, {
	name: "only the last record of a stream in a batch is noted",
	plant: func(l *ledger, ctx context.Context, batch []events.Recorded) error {
		last := make(map[events.StreamID]events.Recorded)
		for _, r := range batch {
			last[r.Stream] = r
		}
		kept := slices.DeleteFunc(slices.Clone(batch), func(r events.Recorded) bool { return last[r.Stream].Position != r.Position })
		return l.apply(ctx, kept)
	},
	caughtBy: several,
}, {
	name: "a record that comes again is noted again",
	plant: func(l *ledger, ctx context.Context, batch []events.Recorded) error {
		position := l.position
		l.position = 0
		err := l.apply(ctx, batch)
		l.position = max(l.position, position)
		return err
	},
	caughtBy: []string{"redelivery"},
}, {
	name: "a batch is skipped when some of it was seen",
	plant: func(l *ledger, ctx context.Context, batch []events.Recorded) error {
		if len(batch) > 0 && batch[0].Position <= l.position {
			l.position = max(l.position, batch[len(batch)-1].Position)
			return nil
		}
		return l.apply(ctx, batch)
	},
	caughtBy: []string{"redelivery"},
}, {
	name: "an empty batch is an error",
	plant: func(l *ledger, ctx context.Context, batch []events.Recorded) error {
		if len(batch) == 0 {
			return errors.New("nothing to do")
		}
		return l.apply(ctx, batch)
	},
	caughtBy: []string{"empty batch"},
}, {
	name: "every stream is ours",
	plant: func(l *ledger, ctx context.Context, batch []events.Recorded) error {
		for _, r := range batch {
			if r.Position > l.position && !isOurs(r.Stream) {
				l.lines[r.Stream] = line{Count: l.lines[r.Stream].Count + 1}
			}
		}
		return l.apply(ctx, batch)
	},
	caughtBy: []string{"foreign streams"},
}, {
	name: "a foreign record does not move the position",
	plant: func(l *ledger, ctx context.Context, batch []events.Recorded) error {
		return l.apply(ctx, slices.DeleteFunc(slices.Clone(batch), func(r events.Recorded) bool { return !isOurs(r.Stream) }))
	},
	caughtBy: []string{"following live"},
}, {
	name: "an unknown type is skipped",
	plant: func(l *ledger, ctx context.Context, batch []events.Recorded) error {
		known := slices.DeleteFunc(slices.Clone(batch), func(r events.Recorded) bool {
			_, err := r.Payload()
			return isOurs(r.Stream) && errors.Is(err, events.ErrUnknownType)
		})
		return l.apply(ctx, known)
	},
	caughtBy: []string{"unknown type"},
}, {
	name: "the error of an unknown type is another one",
	plant: func(l *ledger, ctx context.Context, batch []events.Recorded) error {
		err := l.apply(ctx, batch)
		if errors.Is(err, events.ErrUnknownType) {
			return errors.New("cannot go on")
		}
		return err
	},
	caughtBy: []string{"unknown type"},
}, {
	name: "the position moves before the record is applied",
	plant: func(l *ledger, ctx context.Context, batch []events.Recorded) error {
		err := l.apply(ctx, batch)
		for _, r := range batch {
			if err != nil && r.Position > l.position {
				l.position = r.Position
				return err
			}
		}
		return err
	},
	caughtBy: []string{"unknown type", "damaged record"},
}, {
	name: "a damaged record is counted before it is decoded",
	plant: func(l *ledger, ctx context.Context, batch []events.Recorded) error {
		err := l.apply(ctx, batch)
		if errors.Is(err, events.ErrDamaged) {
			l.lines["organization/org-0"] = line{}
		}
		return err
	},
	caughtBy: []string{"damaged record"},
}, {
	name: "an ended context is ignored",
	plant: func(l *ledger, _ context.Context, batch []events.Recorded) error {
		return l.apply(context.Background(), batch)
	},
	caughtBy: []string{"ended context"},
}, {
	name: "an ended context still lets one record through",
	plant: func(l *ledger, ctx context.Context, batch []events.Recorded) error {
		if ctx.Err() != nil && len(batch) > 0 {
			if err := l.apply(context.Background(), batch[:1]); err != nil {
				return err
			}
		}
		return l.apply(ctx, batch)
	},
	caughtBy: []string{"ended context"},
}, {
	name: "an old batch moves the position back",
	plant: func(l *ledger, ctx context.Context, batch []events.Recorded) error {
		if err := l.apply(ctx, batch); err != nil || len(batch) == 0 {
			return err
		}
		l.position = batch[len(batch)-1].Position
		return nil
	},
	caughtBy: []string{"redelivery", "position"},
}, {
	name: "the batch is kept",
	plant: func(l *ledger, ctx context.Context, batch []events.Recorded) error {
		l.kept = batch
		return l.apply(ctx, batch)
	},
	caughtBy: several,
}}

// Every fault is caught by the cases that are there for it, and a projection
// without one passes them all.
func TestSuiteCatchesPlantedFaults(t *testing.T) {
	for _, f := range append(faults, fault{name: "none"}) {
		t.Run(f.name, func(t *testing.T) {
			failed := failing(t, f)
			for _, name := range f.caughtBy {
				if !slices.Contains(failed, name) {
					t.Errorf("not caught by %q, but by %q", name, failed)
				}
			}
			if len(f.caughtBy) == 0 && len(failed) > 0 {
				t.Errorf("caught by %q", failed)
			}
		})
	}
}

// failing is the names of the cases that fail a projection with a fault.
func failing(t *testing.T, f fault) (names []string) {
	h := Harness[*ledger]{
		New:  func(testing.TB) *ledger { return &ledger{lines: make(map[events.StreamID]line), fault: f} },
		Dump: (*ledger).dump,
	}
	var s *suite[*ledger]
	if fails(t, func(t testing.TB) { s = newSuite(t, h, Seed(t)) }) {
		return []string{"following live"} // already to have something to compare with
	}
	for _, c := range s.cases() {
		// What the readers find is found by the race detector, and would fail this
		// test as well.
		if c.name != "readers" && fails(t, c.test) {
			names = append(names, c.name)
		}
	}
	return names
}

// fails tells whether a test fails.
func fails(t *testing.T, test func(testing.TB)) bool {
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() { // Fatalf ends the goroutine
		defer close(done)
		test(r)
	}()
	<-done
	return len(r.said) > 0
}

// recorder is a test that notes its failures and does not fail.
type recorder struct {
	testing.TB
	mu   sync.Mutex
	said []string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}
