package projection

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/oatmill/oatmill/events"
)

// ErrRunning means that the runner is at work already. Nothing was done.
var ErrRunning = errors.New("runner is running already")

// ApplyError says which projection could not apply which record. It wraps what the
// projection said.
type ApplyError struct {
	Projection string          // its Go type, like "*projection.Tokens"
	Position   events.Position // of the record
	Stream     events.StreamID
	Version    events.Version
	Type       string
	Err        error
}

func (e *ApplyError) Error() string {
	return fmt.Sprintf("%s: apply %s at position %d (%s, version %d): %v", e.Projection, e.Type, e.Position, e.Stream, e.Version, e.Err)
}

// Unwrap is what the projection said.
func (e *ApplyError) Unwrap() error { return e.Err }

// Progress is how far a runner came. It is told after each batch.
type Progress struct {
	Position events.Position `json:"position"` // up to which every projection has come
	// End is where the log ended when this pass over it began, 0 for a log that is
	// no [events.Heads].
	End     events.Position `json:"end"`
	Records int64           `json:"records"` // read since CatchUp or Run was called
	Elapsed time.Duration   `json:"elapsed"` // since then, by the runner's clock
}

// RunnerConfig is what a [Runner] is made of. Log and at least one projection are
// required; for everything else zero works.
type RunnerConfig struct {
	Log         events.Log
	Projections []Projection

	// BatchSize is how many records a projection is given at once, at most.
	// 0 means 256.
	BatchSize int

	// PollInterval is how long Run sleeps at most before it looks at the log again,
	// and confirms. It must be well below the time after which a [Confirmer] thinks
	// itself stale. 0 means one second for a log that is an [events.Notifier],
	// which wakes Run at once, and 50 milliseconds for one that is not.
	PollInterval time.Duration

	// Now is the clock whose readings are confirmed. nil means [time.Now].
	Now func() time.Time

	// Progress is told after each batch, between two batches. nil means nobody.
	Progress func(Progress)

	// Logger is told when Run could not go on, and when it could again.
	// nil means [slog.Default].
	Logger *slog.Logger
}

const (
	defaultBatchSize  = 256
	pollWithNotifier  = time.Second
	pollWithout       = 50 * time.Millisecond
	firstRetry        = 50 * time.Millisecond
	lastRetry         = 2 * time.Second
	unknownEnd        = events.Position(1<<63 - 1) // of a log that is no events.Heads
	batchesInPipeline = 3                          // being read, waiting, being applied
)

// Runner leads projections along a log, all of them in one pass: it starts where
// the one that is furthest behind stands, and each skips what it has.
//
// Projections of one runner stop together. What must go on when another projection
// meets a record it cannot apply, a verifier for example, gets a runner of its
// own.
//
// All methods are safe for concurrent use, but only one of CatchUp and Run works
// at a time; the other call returns [ErrRunning] at once. Between two calls the
// projections are the caller's.
type Runner struct {
	cfg      RunnerConfig
	heads    events.Heads    // nil when the log is none
	notifier events.Notifier // nil when the log is none
	spare    chan []events.Recorded
	nudge    chan struct{} // wakes Run where the log does not

	mu      sync.Mutex
	running bool
	failed  error         // what ended the last call
	moved   chan struct{} // closed when a projection may have moved, or failed

	// Of the call that is running:
	refolded map[suspect]time.Time      // when an organization was last folded again
	reported map[events.StreamID]string // the organizations that are closed, and why
}

// NewRunner is a runner that does nothing yet. It returns an error when the
// configuration lacks something or makes no sense.
func NewRunner(cfg RunnerConfig) (*Runner, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("new runner: %w", err)
	}
	r := &Runner{
		spare: make(chan []events.Recorded, batchesInPipeline),
		nudge: make(chan struct{}, 1),
		moved: make(chan struct{}),

		refolded: make(map[suspect]time.Time),
		reported: make(map[events.StreamID]string),
	}
	r.heads, _ = cfg.Log.(events.Heads)
	r.notifier, _ = cfg.Log.(events.Notifier)
	r.cfg = cfg.withDefaults(r.notifier != nil)
	return r, nil
}

func (cfg *RunnerConfig) check() error {
	switch {
	case cfg.Log == nil:
		return errors.New("no log")
	case len(cfg.Projections) == 0:
		return errors.New("no projections")
	case cfg.BatchSize < 0:
		return fmt.Errorf("batch size %d", cfg.BatchSize)
	case cfg.PollInterval < 0:
		return fmt.Errorf("poll interval %v", cfg.PollInterval)
	}
	for i, p := range cfg.Projections {
		if p == nil {
			return fmt.Errorf("projection %d is nil", i)
		}
	}
	return nil
}

func (cfg RunnerConfig) withDefaults(notified bool) RunnerConfig {
	if cfg.BatchSize == 0 {
		cfg.BatchSize = defaultBatchSize
	}
	if cfg.PollInterval == 0 && notified {
		cfg.PollInterval = pollWithNotifier
	}
	if cfg.PollInterval == 0 {
		cfg.PollInterval = pollWithout
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Progress == nil {
		cfg.Progress = func(Progress) {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return cfg
}

// CatchUp applies every record that is in the log when it is called, and confirms.
// What is appended meanwhile may be applied too, where the log is no
// [events.Heads]; such a log must pause for CatchUp to return.
//
// When a projection cannot apply a record the error is an [*ApplyError]. After an
// error of the log, or an ended context, CatchUp can be called again and goes on
// where it stopped.
//
// A log that ends before a projection's position, or has another record there, was cut
// short or is not the one that the projection was folded from. A [Rebuilder] is then reset
// and folded from the beginning; for any other projection the error is
// [events.ErrDamaged]. So it is when the log lacks records and no organization's stream
// shows which: nothing can be trusted then.
func (r *Runner) CatchUp(ctx context.Context) error {
	return r.exclusively(func(c *call) error {
		_, err := c.pass(ctx)
		return err
	})
}

// Run applies what is in the log and then follows it until ctx ends, which is no
// error. It confirms after each pass that reached the end of the log, and at least
// every PollInterval when nothing happens.
//
// An error of the log, or of a projection that depends on something else, like a
// broker or a database, is logged and tried again, soon and then every two seconds;
// projections that must not answer from an old state notice by themselves that nobody
// confirms. Run returns when trying again cannot help, because of what the log holds:
// [events.ErrUnknownType] and [events.ErrDamaged], which come as an [*ApplyError] when a
// projection found them; or because it is closed, [events.ErrClosed].
func (r *Runner) Run(ctx context.Context) error {
	return r.exclusively(func(c *call) error { return c.follow(ctx) })
}

// WaitFor returns nil once every projection has come to position p. Somebody else
// must CatchUp or Run; until then it waits. When the last CatchUp or Run ended with
// an error, its context's aside, WaitFor returns that error and does not wait for
// what may never come.
//
// With the position that an append returned it makes the read models show one's
// own write.
func (r *Runner) WaitFor(ctx context.Context, p events.Position) error {
	select {
	case r.nudge <- struct{}{}:
	default:
	}
	for {
		moved, failed := r.watch()
		if from, _ := r.extent(); from >= p {
			return nil
		}
		if failed != nil {
			return failed
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("wait for position %d: %w", p, ctx.Err())
		}
	}
}

// watch must be called before one looks at positions, so that no move between the
// two is missed.
func (r *Runner) watch() (moved <-chan struct{}, failed error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.moved, r.failed
}

// wake makes everyone in WaitFor look again.
func (r *Runner) wake() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.moved)
	r.moved = make(chan struct{})
}

// extent is the positions of the projections furthest behind and furthest ahead.
func (r *Runner) extent() (from, to events.Position) {
	from = unknownEnd
	for _, p := range r.cfg.Projections {
		at := p.Position()
		from, to = min(from, at), max(to, at)
	}
	return from, to
}

// exclusively does work unless other work is going on.
func (r *Runner) exclusively(work func(*call) error) (err error) {
	r.mu.Lock()
	if r.running {
		r.mu.Unlock()
		return ErrRunning
	}
	r.running, r.failed = true, nil
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.running = false
		if !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
			r.failed = err
		}
		r.mu.Unlock()
		r.wake()
	}()
	return work(&call{Runner: r, began: r.cfg.Now()})
}
