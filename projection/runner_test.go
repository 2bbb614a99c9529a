package projection_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/projection/projtest"
)

// trace is a projection that notes what it is given.
type trace struct {
	mu        sync.Mutex
	position  events.Position
	records   []events.Recorded
	longest   int // batch
	confirmed []time.Time
	at        []events.Position // where it stood when it was confirmed
	reject    func(r *events.Recorded) error
}

func (p *trace) Position() events.Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.position
}

func (p *trace) Apply(_ context.Context, batch []events.Recorded) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.longest = max(p.longest, len(batch))
	for i := range batch {
		if batch[i].Position <= p.position {
			continue
		}
		if p.reject != nil {
			if err := p.reject(&batch[i]); err != nil {
				return err
			}
		}
		p.records = append(p.records, batch[i])
		p.position = batch[i].Position
	}
	return nil
}

func (p *trace) Confirm(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.confirmed = append(p.confirmed, at)
	p.at = append(p.at, p.position)
}

func (p *trace) confirmations() []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.confirmed)
}

// saw checks that the projection was given each record once, in order.
func (p *trace) saw(t *testing.T, want []events.Recorded) {
	t.Helper()
	if !slices.EqualFunc(p.records, want, events.Recorded.Equal) {
		t.Errorf("applied %d records, want the log's %d in order", len(p.records), len(want))
	}
}

// plain is a log without any optional ability.
type plain struct{ events.Log }

// faulty is a log whose reads can be made to fail.
type faulty struct {
	*memlog.Log
	mu    sync.Mutex
	fails func(read, record int) error // may be nil
	reads int
	from  []events.Position
}

func (l *faulty) set(fails func(read, record int) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fails = fails
}

func (l *faulty) ReadAll(ctx context.Context, after events.Position) iter.Seq2[events.Recorded, error] {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	l.from = append(l.from, after)
	read, fails := l.reads, l.fails
	return func(yield func(events.Recorded, error) bool) {
		n := 0
		for r, err := range l.Log.ReadAll(ctx, after) {
			if err == nil && fails != nil {
				err = fails(read, n)
			}
			if n++; err != nil {
				yield(events.Recorded{}, err)
				return
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}

var errHiccup = errors.New("disk hiccup")

func newRunner(t *testing.T, cfg projection.RunnerConfig) *projection.Runner {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	r, err := projection.NewRunner(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func records(t testing.TB, l events.Log) (all []events.Recorded) {
	t.Helper()
	for r, err := range l.ReadAll(context.Background(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// start runs r until the test calls the returned function, which gives what Run
// returned.
func start(t *testing.T, r *projection.Runner) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	return func() error {
		cancel()
		return <-done
	}
}

func TestNewRunnerRefuses(t *testing.T) {
	log, some := memlog.New(), []projection.Projection{&trace{}}
	for name, cfg := range map[string]projection.RunnerConfig{
		"no log":          {Projections: some},
		"no projections":  {Log: log},
		"a nil one":       {Log: log, Projections: []projection.Projection{nil}},
		"negative batch":  {Log: log, Projections: some, BatchSize: -1},
		"negative period": {Log: log, Projections: some, PollInterval: -1},
	} {
		if r, err := projection.NewRunner(cfg); err == nil || r != nil {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
}

// Projections at different positions are brought to the end in one pass, which
// starts where the last of them stands. To see it fail, start it where the first
// of them stands.
func TestCatchUpInOnePass(t *testing.T) {
	w := projtest.NewWorld(1, 3, 1000)
	log := &faulty{Log: fill(t, w.Records)}
	all := records(t, log.Log)
	behind, ahead, fresh := &trace{}, &trace{}, &trace{}
	apply(t, all[:300], behind)
	apply(t, all[:700], ahead)
	apply(t, all[:300], fresh)
	r := newRunner(t, projection.RunnerConfig{Log: log, Projections: []projection.Projection{ahead, behind, fresh}, BatchSize: 37})
	for range 2 { // the second time there is nothing to read
		if err := r.CatchUp(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []*trace{behind, ahead, fresh} {
		p.saw(t, all)
	}
	if behind.longest > 64 || log.reads != 1 || log.from[0] != all[299].Position {
		t.Errorf("batches up to %d, %d reads from %v", behind.longest, log.reads, log.from)
	}
	if len(behind.confirmed) != 2 {
		t.Errorf("confirmed %d times, want 2", len(behind.confirmed))
	}
}

// Live, rebuilt, rebuilt in small batches, and through a log without abilities: the
// read models answer the same (I3 with a real log and the runner between).
func TestRebuildEqualsLive(t *testing.T) {
	w := randomWorld(t, 3, 500)
	log, live := memlog.New(), newEverything()
	r := newRunner(t, projection.RunnerConfig{Log: log, Projections: live.list()})
	stop := start(t, r)
	for i := range w.Records {
		if _, err := log.Append(t.Context(), w.Records[i].Stream, events.Any, w.Records[i].Envelope); err != nil {
			t.Fatal(err)
		}
	}
	end, err := log.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.WaitFor(t.Context(), end); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	want := live.dump(w)
	for _, cfg := range []projection.RunnerConfig{{Log: log}, {Log: log, BatchSize: 3}, {Log: plain{log}}} {
		rebuilt := newEverything()
		cfg.Projections = rebuilt.list()
		if err := newRunner(t, cfg).CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(rebuilt.dump(w), want) {
			t.Errorf("rebuilt in batches of %d the read models answer otherwise than live", cfg.BatchSize)
		}
	}
}

func (e everything) dump(w projtest.World) any {
	return []any{dumpTokens(e.tokens, w), dumpCounts(e.counts, w), dumpLastUsed(e.lastUsed, w), dumpHistory(e.history, w)}
}

// CatchUp ends where the log ended when it was called, however much is appended
// meanwhile. To see it fail, let pass ignore where the log ends.
func TestCatchUpEnds(t *testing.T) {
	w := projtest.NewWorld(1, 1, 400)
	log := fill(t, w.Records[:200])
	p, next := &trace{}, 200
	p.reject = func(*events.Recorded) error { // each record that is applied brings another one
		_, err := log.Append(context.Background(), w.Records[next].Stream, events.Any, w.Records[next].Envelope)
		next++
		return err
	}
	r := newRunner(t, projection.RunnerConfig{Log: log, Projections: []projection.Projection{p}, BatchSize: 10})
	if err := r.CatchUp(context.Background()); err != nil {
		t.Fatal(err)
	}
	p.saw(t, records(t, log)[:200])
}

// All projections get the payload that was decoded once, before any of them. To see
// it fail, let decode do nothing, and call.apply read a copy of the batch.
func TestPayloadIsDecodedOnce(t *testing.T) {
	log := life()
	var first, second []events.Payload
	note := func(list *[]events.Payload) func(r *events.Recorded) error {
		return func(r *events.Recorded) error {
			own := *r // which would keep what it decodes to itself
			p, err := own.Payload()
			*list = append(*list, p)
			return err
		}
	}
	catchUp(t, log, &trace{reject: note(&first)}, &trace{reject: note(&second)})
	if len(first) == 0 || !slices.Equal(first, second) {
		t.Errorf("%d payloads, and %d others", len(first), len(second))
	}
}

// around is a read model within another projection.
type around struct {
	*projection.Tokens
	given int
}

func (a *around) Apply(ctx context.Context, batch []events.Recorded) error {
	a.given += len(batch)
	return a.Tokens.Apply(ctx, batch)
}

// What is around a read model is given the records, and not the read model. To see it fail,
// let call.apply not ask whom the feed serves.
func TestAroundAReadModel(t *testing.T) {
	log := life()
	a := &around{Tokens: projection.NewTokens()}
	catchUp(t, log, a)
	if want := len(records(t, log)); a.given != want {
		t.Errorf("given %d records of %d", a.given, want)
	}
}

func TestProgress(t *testing.T) {
	log := fill(t, projtest.NewWorld(1, 2, 500).Records)
	end, err := log.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var told []projection.Progress
	clock := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	cfg := projection.RunnerConfig{
		Log: log, Projections: newEverything().list(), BatchSize: 100,
		Progress: func(p projection.Progress) { told = append(told, p) },
		Now:      func() time.Time { clock = clock.Add(time.Second); return clock },
	}
	if err := newRunner(t, cfg).CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(told) != 5 {
		t.Fatalf("told %d times, want 5", len(told))
	}
	for i, p := range told {
		if p.Records != int64(100*(i+1)) || p.End != end || i > 0 && (p.Position <= told[i-1].Position || p.Elapsed <= told[i-1].Elapsed) {
			t.Errorf("progress %d: %+v", i, p)
		}
	}
	if told[4].Position != end {
		t.Errorf("last told of position %d, want %d", told[4].Position, end)
	}
}

// An error of Apply that lies in the log stops Run and CatchUp, names the record, and has WaitFor
// return; the record is tried again by the next call, and nothing is lost.
func TestApplyErrorStops(t *testing.T) {
	log := fill(t, projtest.NewWorld(1, 2, 300).Records)
	all := records(t, log)
	bad, broken := all[123], true
	p, other := &trace{}, &trace{}
	p.reject = func(r *events.Recorded) error {
		if broken && r.Position == bad.Position {
			return events.ErrDamaged
		}
		return nil
	}
	r := newRunner(t, projection.RunnerConfig{Log: log, Projections: []projection.Projection{p, other}, BatchSize: 50})
	check := func(err error) {
		t.Helper()
		var applying *projection.ApplyError
		if !errors.As(err, &applying) || !errors.Is(err, events.ErrDamaged) {
			t.Fatalf("%v, want an ApplyError of %v", err, events.ErrDamaged)
		}
		want := projection.ApplyError{Projection: "*projection_test.trace", Position: bad.Position, Stream: bad.Stream, Version: bad.Version, Type: bad.Type, Err: events.ErrDamaged}
		if *applying != want {
			t.Errorf("%+v, want %+v", *applying, want)
		}
	}
	check(r.CatchUp(t.Context()))
	check(r.WaitFor(t.Context(), bad.Position))
	check(r.Run(t.Context()))
	if err := r.WaitFor(t.Context(), all[99].Position); err != nil {
		t.Errorf("wait for what was applied: %v", err)
	}
	if len(p.confirmed) > 0 {
		t.Error("confirmed in spite of the error")
	}
	broken = false
	if err := r.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.saw(t, all)
	other.saw(t, all)
}

// An error of Apply that may pass does not end Run: the record is tried again, and nothing
// is lost. It fails when Run returns every ApplyError.
func TestRunTriesAgain(t *testing.T) {
	log := fill(t, projtest.NewWorld(1, 2, 300).Records)
	all := records(t, log)
	p, failures := &trace{}, 0
	p.reject = func(r *events.Recorded) error {
		if r.Position == all[123].Position && failures < 2 {
			failures++
			return errHiccup
		}
		return nil
	}
	r := newRunner(t, projection.RunnerConfig{Log: log, Projections: []projection.Projection{p}, BatchSize: 50})
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- r.Run(ctx) }()
	if err := r.WaitFor(t.Context(), all[len(all)-1].Position); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-ran; err != nil || failures != 2 {
		t.Errorf("Run ended with %v after %d failures", err, failures)
	}
	p.saw(t, all)
}

// An event of a newer library stops the runner with an error that names it.
func TestUnknownTypeStops(t *testing.T) {
	log, live := life(), newEverything()
	e := events.Envelope{ID: [16]byte{1}, Type: "token.transferred.v9", Time: time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC), Data: []byte(`{}`)}
	if _, err := log.Append(t.Context(), "organization/acme", events.Any, e); err != nil {
		t.Fatal(err)
	}
	r := newRunner(t, projection.RunnerConfig{Log: log, Projections: live.list()})
	err := r.Run(t.Context())
	if !errors.Is(err, events.ErrUnknownType) || !strings.Contains(err.Error(), "*projection.Tokens: apply token.transferred.v9 at position 7 (organization/acme, version 7)") {
		t.Errorf("%v", err)
	}
	if live.tokens.Position() != 6 {
		t.Errorf("stopped at position %d, want 6", live.tokens.Position())
	}
}

// Only one of CatchUp and Run works at a time.
func TestOneAtATime(t *testing.T) {
	p, entered, leave := &trace{}, make(chan struct{}), make(chan struct{})
	p.reject = func(*events.Recorded) error {
		entered <- struct{}{}
		<-leave
		return nil
	}
	log := fill(t, projtest.NewWorld(1, 1, 1).Records)
	r := newRunner(t, projection.RunnerConfig{Log: log, Projections: []projection.Projection{p}})
	stop := start(t, r)
	<-entered
	if err := r.CatchUp(t.Context()); err != projection.ErrRunning {
		t.Errorf("catch up: %v", err)
	}
	if err := r.Run(t.Context()); err != projection.ErrRunning {
		t.Errorf("run: %v", err)
	}
	close(leave)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := r.CatchUp(t.Context()); err != nil {
		t.Errorf("after that: %v", err)
	}
}

// A log that was cut short, or is another one, is noticed: the projection has
// more than the log, or the log says it has more than it yields. To see it fail
// (by its timeout), let pass leave out one of the two comparisons.
func TestCutLogIsDamaged(t *testing.T) {
	w := projtest.NewWorld(1, 2, 100)
	long, short := fill(t, w.Records), fill(t, w.Records[:60])
	p := &trace{}
	catchUp(t, long, p)
	r := newRunner(t, projection.RunnerConfig{Log: short, Projections: []projection.Projection{p, &trace{}}})
	if err := r.Run(t.Context()); !errors.Is(err, events.ErrDamaged) {
		t.Errorf("projection ahead of its log: %v", err)
	}
	liar := struct {
		events.Log
		events.Heads
	}{short, long}
	q := &trace{}
	r = newRunner(t, projection.RunnerConfig{Log: liar, Projections: []projection.Projection{q}})
	if err := r.Run(t.Context()); !errors.Is(err, events.ErrDamaged) {
		t.Errorf("log that ends before its end: %v", err)
	}
	if len(q.confirmed) > 0 {
		t.Error("confirmed in spite of it")
	}
}

// CatchUp ends with its context, and goes on from there.
func TestCatchUpEndsWithContext(t *testing.T) {
	log := fill(t, projtest.NewWorld(1, 2, 500).Records)
	ctx, cancel := context.WithCancel(t.Context())
	p := &trace{}
	p.reject = func(r *events.Recorded) error {
		if len(p.records) == 99 {
			cancel()
		}
		return ctx.Err()
	}
	r := newRunner(t, projection.RunnerConfig{Log: log, Projections: []projection.Projection{p}, BatchSize: 7})
	var applying *projection.ApplyError
	if err := r.CatchUp(ctx); !errors.Is(err, context.Canceled) || errors.As(err, &applying) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	p.reject = nil
	if err := r.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.saw(t, records(t, log))
}

// Whoever waits for a position that is not there yet waits until its context ends.
func TestWaitForEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRunner(t, projection.RunnerConfig{Log: memlog.New(), Projections: []projection.Projection{&trace{}}})
		stop := start(t, r)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := r.WaitFor(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want %v", err, context.DeadlineExceeded)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
