package natslog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/linear"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/natslog"
)

// TestLinearizable takes a history of clients on two connections to three nodes.
//
// What breaks it: answering a conflict with the version in memory, without asking the
// leader (in attempt.try, leave out the condition on fresh).
func TestLinearizable(t *testing.T) {
	t.Parallel()
	s := three(t)
	cfg := s.config(t)
	linear.Check(t, linear.Config{}, s.open(t, cfg), s.open(t, cfg))
}

// TestLinearizableWhileLeadersAreKilled takes a history while the leader of the stream is
// killed and comes back, twice. Calls that find no leader wait for one.
func TestLinearizableWhileLeadersAreKilled(t *testing.T) {
	t.Parallel()
	s := three(t)
	cfg := s.config(t)
	cfg.Timeout = 2 * time.Minute
	first, second := s.open(t, cfg), s.open(t, cfg)
	var whole sync.Mutex // held while a node is away, and while all are needed
	var killing sync.WaitGroup
	killing.Go(func() {
		for range 2 {
			whole.Lock()
			s.replaceLeader(t, cfg.Stream)
			whole.Unlock()
		}
	})
	for killed := done(&killing); ; {
		linear.Check(t, linear.Config{Clients: 6, Calls: 60, Streams: 2, Retry: func(err error) bool {
			return errors.Is(err, events.ErrUnavailable)
		}}, first, second)
		select {
		case <-killed:
			return
		default:
			if t.Failed() {
				return
			}
			first, second = s.openWhole(t, &whole)
		}
	}
}

// openWhole opens a new log twice, when there are nodes for all of its replicas.
func (s *servers) openWhole(t *testing.T, whole *sync.Mutex) (first, second *natslog.Log) {
	whole.Lock()
	defer whole.Unlock()
	return s.open(t, s.config(t)), s.open(t, s.newest)
}

func done(g *sync.WaitGroup) <-chan struct{} {
	c := make(chan struct{})
	go func() { g.Wait(); close(c) }()
	return c
}

// replaceLeader kills the leader of a stream, waits for another one, and has the first
// one return.
func (s *servers) replaceLeader(t *testing.T, stream string) {
	ctx := within(t, 2*time.Minute)
	old, err := s.WaitLeader(ctx, stream)
	if err != nil {
		t.Error(err)
		return
	}
	s.Kill(old)
	if _, err := s.WaitLeader(ctx, stream); err != nil {
		t.Error(err)
	}
	if err := errors.Join(s.Restart(old), s.WaitReady(ctx), s.WaitCurrent(ctx, stream)); err != nil {
		t.Error(err)
	}
}

// load appends to some streams until it is told to stop, and knows what was acknowledged.
type load struct {
	stop         context.CancelFunc
	writers      sync.WaitGroup
	mu           sync.Mutex
	acknowledged []events.Recorded
	errs         []error
}

func startLoad(t *testing.T, log *natslog.Log, writers int) *load {
	ctx, stop := context.WithCancel(t.Context())
	w := &load{stop: stop}
	for i := range writers {
		w.writers.Go(func() {
			for ctx.Err() == nil {
				w.write(log, events.StreamID(fmt.Sprintf("organization/w%d", i%3)))
			}
		})
	}
	return w
}

// write appends one batch, again and again when its outcome is unknown.
func (w *load) write(log *natslog.Log, stream events.StreamID) {
	batch := envelopes(2)
	for {
		records, err := log.Append(context.Background(), stream, events.Any, batch...)
		w.mu.Lock()
		w.acknowledged = append(w.acknowledged, records...)
		if err != nil && !errors.Is(err, events.ErrUnknownOutcome) {
			w.errs = append(w.errs, err)
		}
		w.mu.Unlock()
		if !errors.Is(err, events.ErrUnknownOutcome) {
			return
		}
	}
}

// check ends the load. The log must be what was acknowledged, and nothing else.
func (w *load) check(t *testing.T, log *natslog.Log) {
	t.Helper()
	w.stop()
	w.writers.Wait()
	for _, err := range w.errs {
		t.Error(err)
	}
	slices.SortFunc(w.acknowledged, func(a, b events.Recorded) int { return int(a.Position - b.Position) })
	same(t, collect(t, log.ReadAll(t.Context(), 0)), w.acknowledged)
	for i := range 3 {
		if _, err := events.VerifyChain(t.Context(), log, events.StreamID(fmt.Sprintf("organization/w%d", i))); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d records", len(w.acknowledged))
}

// reached waits until the load has come some records further.
func (w *load) further(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	from := len(w.acknowledged)
	w.mu.Unlock()
	for ctx := within(t, time.Minute); ; {
		w.mu.Lock()
		now := len(w.acknowledged)
		w.mu.Unlock()
		if now > from+20 {
			return
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			t.Fatal("the load does not go on")
		}
	}
}

// TestAcknowledgedSurvivesLeaders kills the leader under load, cuts one off from the
// others and heals it, and restarts all nodes one after the other. Everything acknowledged
// is there once, and nothing else is.
//
// What breaks it: believing any leader about the end of the log (have leadership.check return nil).
func TestAcknowledgedSurvivesLeaders(t *testing.T) {
	t.Parallel()
	s := three(t)
	cfg := s.config(t)
	cfg.RequestTimeout, cfg.Timeout = time.Second, 2*time.Minute
	log := s.open(t, cfg)
	w := startLoad(t, log, 6)
	w.further(t)
	s.replaceLeader(t, cfg.Stream)
	w.further(t)
	leader, err := s.WaitLeader(within(t, time.Minute), cfg.Stream)
	if err != nil {
		t.Fatal(err)
	}
	lonely := cfg
	lonely.Timeout = 300 * time.Millisecond
	lonely.Options = []nats.Option{nats.IgnoreDiscoveredServers()} // so that it stays where it is
	cutOff := openAt(t, s.NodeURL(leader), lonely)
	s.CutOff(leader)
	w.confirmsNothing(t, cutOff)
	s.Heal(leader)
	w.further(t)
	w.check(t, s.open(t, cfg))
	s.restartAll(t, cfg.Stream)
	w.check(t, s.open(t, cfg))
}

// confirmsNothing talks to a node that was cut off when it led, until the others have
// another leader and have come further. It must not confirm an end of the log that
// is behind them, and must not take an append.
func (w *load) confirmsNothing(t *testing.T, log *natslog.Log) {
	t.Helper()
	if _, err := log.Append(t.Context(), "usage/lonely", events.Any, envelope()); !errors.Is(err, events.ErrUnknownOutcome) && !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("an append to a node that is cut off: %v", err)
	}
	ctx := within(t, time.Minute)
	for start := w.last(); ctx.Err() == nil; {
		before := w.last()
		end, err := log.End(ctx)
		if err == nil && end < before {
			t.Fatalf("a node that is cut off says that the log ends at %d, and %d was acknowledged", end, before)
		}
		if before > start+100*1024 {
			return
		}
	}
	t.Error("the others have no leader")
}

// last is the position that was acknowledged last.
func (w *load) last() (last events.Position) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.acknowledged {
		last = max(last, w.acknowledged[i].Position)
	}
	return last
}

func (s *servers) restartAll(t *testing.T, stream string) {
	t.Helper()
	for i := range 3 {
		s.Kill(i)
	}
	for i := range 3 {
		if err := s.Restart(i); err != nil {
			t.Fatal(err)
		}
	}
	ctx := within(t, 2*time.Minute)
	if err := errors.Join(s.WaitReady(ctx), s.WaitCurrent(ctx, stream)); err != nil {
		t.Fatal(err)
	}
}

// TestStoppedServerEndsCallsWithTheirContext stops the only server. Every call ends with
// its context or its time, says that nothing was done where that is certain, and the
// log goes on by itself when the server is back.
func TestStoppedServerEndsCallsWithTheirContext(t *testing.T) {
	s := one(t)
	cfg := s.config(t)
	cfg.Timeout, cfg.RequestTimeout = 500*time.Millisecond, 100*time.Millisecond
	log := s.open(t, cfg)
	want := testkit.Append(t, log, acme, envelope())
	s.Kill(0)
	refused := envelope()
	for range 3 {
		if _, err := log.Append(t.Context(), acme, 1, refused); !errors.Is(err, events.ErrUnavailable) {
			t.Errorf("Append: %v, want %v", err, events.ErrUnavailable)
		} else {
			t.Log(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for what, err := range map[string]error{
		"ReadAll":        lastError(log.ReadAll(ctx, 0)),
		"ReadStream":     lastError(log.ReadStream(ctx, acme, 0)),
		"Wait":           log.Wait(ctx, want[0].Position),
		"SaveCheckpoint": log.SaveCheckpoint(ctx, "mailer", 1),
		"SaveSnapshot":   log.SaveSnapshot(ctx, acme, events.Snapshot{}),
	} {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want the context's error", what, err)
		}
	}
	if err := s.Restart(0); err != nil {
		t.Fatal(err)
	}
	for ctx := within(t, time.Minute); ; {
		records, err := log.Append(ctx, acme, 1, envelope())
		if err == nil {
			want = append(want, records...)
			break
		}
		if !errors.Is(err, events.ErrUnavailable) && !errors.Is(err, events.ErrUnknownOutcome) {
			t.Fatal(err)
		}
	}
	same(t, collect(t, log.ReadAll(t.Context(), 0)), want)
}
