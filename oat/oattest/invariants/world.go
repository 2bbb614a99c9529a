package invariants

import (
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/oattest"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/quota"
)

// world is one log, the processes that work on it, and what the oracle knows of it.
type world struct {
	tb        testing.TB // lives as long as the harness needs it
	h         Harness
	log       events.Log // by which the test itself reads
	handles   []events.Log
	rules     rules
	recording bool // whether uses are recorded
	ears      *ears
	processes []*process
	random    uint64 // how many sources of randomness were given out

	// What the oracle knows.
	seen    events.Position // up to which the log was judged
	orgs    map[string]*history
	records []events.Recorded // all of them
	calls   map[string]*call  // by correlation
	ids     []uuid.UUID       // of all tokens there ever were, oldest first
	digests map[string]bool
	held    []held
	uses    *usage

	mu     sync.Mutex                // for calls, random and latest, while processes run side by side
	latest map[string]events.Version // that organizations' streams have reached at least
}

// history is an organization as it was at every version of its stream.
type history struct {
	states []state // that of version v is at v; version 0 is before its registration
}

func (h *history) version() events.Version { return events.Version(len(h.states) - 1) }
func (h *history) last() state             { return h.states[h.version()] }

// held is a secret that somebody was given.
type held struct {
	org, token string
	id         uuid.UUID
	secret     oat.Secret
}

// process is what a process of a host has: a clock, a way to the log, and an engine.
type process struct {
	w      *world
	clock  *clock
	line   *line
	engine atomic.Pointer[engine] // replaced by a restart
}

// engine is everything of a process that a restart begins anew.
type engine struct {
	service  *oat.Service
	verifier *oat.Verifier
	recorder *oat.Recorder
	*views

	// What the verifier must know by now, as the oracle has it.
	known     map[string]events.Version
	required  map[string]events.Version
	confirmed time.Time
	unsettled map[uuid.UUID]bool // tokens with uses that may not be recorded yet
}

// views are the read models and how far they were led.
type views struct {
	tokens   *projection.Tokens
	counts   *projection.Counts
	lastUsed *projection.LastUsed
	history  *projection.History
}

func newViews() *views {
	return &views{projection.NewTokens(), projection.NewCounts(plans()), projection.NewLastUsed(), projection.NewHistory()}
}

func (v *views) all() []projection.Projection {
	return []projection.Projection{v.tokens, v.counts, v.lastUsed, v.history}
}

// The verifier is fed like a read model.
var _ projection.Projection = (*oat.Verifier)(nil)

func plans() quota.Plans {
	return quota.Plans{planNone: {}, planTwo: {Tokens: 2}, planFour: {Tokens: 4}}
}

// clock shows what it is set to, and remembers what it showed.
type clock struct {
	mu    sync.Mutex
	shown []time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shown[len(c.shown)-1]
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shown = append(c.shown, t)
}

func (c *clock) move(d time.Duration) { c.set(c.now().Add(d)) }

// since is everything the clock showed since it had shown n times.
func (c *clock) since(n int) []time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.shown[n-1:])
}

func (c *clock) times() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.shown)
}

// newWorld is a new log with some processes that are yet to begin. It ends with t.
func newWorld(tb testing.TB, t *rapid.T, h Harness, processes int) *world {
	w := &world{
		tb: tb, h: h, log: h.Open(tb), ears: new(ears),
		rules: rules{limits: map[string]int{planNone: 0, planTwo: 2, planFour: 4}},
		orgs:  make(map[string]*history), calls: make(map[string]*call), latest: make(map[string]events.Version), digests: make(map[string]bool), uses: newUsage(),
	}
	t.Cleanup(func() { w.end(t) })
	for range processes {
		w.processes = append(w.processes, &process{w: w, clock: &clock{shown: []time.Time{oattest.Start()}}})
	}
	return w
}

// begin connects all processes and registers two organizations.
func (w *world) begin(t *rapid.T) {
	w.connect(t)
	for _, org := range []string{acme, beta} {
		cmd := oat.Register{Organization: org, Plan: pick(t, "plan", []string{planTwo, planFour}, nil), Owners: []string{"alice", "bob"}}
		if w.rules.hostOwners != nil {
			cmd.Owners = nil
		}
		w.give(t, w.processes[0], command{org: org, by: oat.Actor{Host: "sign-up"}, what: cmd}, new(trouble))
	}
}

// connect gives every process its way to the log, and starts it.
func (w *world) connect(t rapid.TB) {
	for i, p := range w.processes {
		log := w.log
		if i > 0 && w.h.Second != nil {
			log = w.h.Second(w.tb, w.log)
			w.handles = append(w.handles, log)
		}
		p.line = &line{Log: log}
		p.start(t)
	}
}

// start is a process that begins, knowing nothing.
func (p *process) start(t rapid.TB) {
	if err := p.boot(); err != nil {
		t.Fatalf("start a process: %v", err)
	}
}

func (p *process) boot() (err error) {
	e := &engine{
		views: newViews(), known: make(map[string]events.Version), required: make(map[string]events.Version), unsettled: make(map[uuid.UUID]bool),
	}
	w := p.w
	logger := w.ears.logger()
	if w.recording {
		e.recorder, err = oat.NewRecorder(oat.RecorderConfig{Log: p.line, Interval: time.Hour, Now: p.clock.now, Rand: w.source(), Logger: logger})
		if err != nil {
			return err
		}
	}
	e.verifier = oat.NewVerifier(oat.VerifierConfig{Plans: plans(), Now: p.clock.now, Recorder: e.recorder, Logger: logger})
	cfg := oat.Config{
		Log: p.line, Plans: plans(), Verifier: e.verifier, Now: p.clock.now, Rand: w.source(), Logger: logger,
		RequireInactiveToDelete: w.rules.requireInactive, CacheSize: 2,
	}
	if w.rules.hostOwners != nil {
		cfg.Owners = hostOwners{w}
	}
	if e.service, err = oat.New(cfg); err != nil {
		return err
	}
	p.engine.Store(e)
	return nil
}

// source is randomness that is like no other in this world, and the same in another.
func (w *world) source() io.Reader {
	w.random++
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], w.random)
	return rand.NewChaCha8(seed)
}

type hostOwners struct{ w *world }

func (h hostOwners) IsOwner(_ context.Context, org, user string) (bool, error) {
	return h.w.rules.hostOwners[org+"/"+user], nil
}

// stop ends a process: in order, so that all uses are recorded, or as a crash does.
func (p *process) stop(t rapid.TB, crash bool) {
	e := p.engine.Load()
	e.verifier.FlushLog()
	if e.recorder == nil {
		return
	}
	p.line.setUses(nil)
	p.line.cut.Store(crash)
	err := e.recorder.Close(context.Background())
	p.line.cut.Store(false)
	switch {
	case crash:
		p.w.uses.lose(e.unsettled)
	case err != nil:
		t.Fatalf("Close of the recorder: %v", err)
	}
}

// restart is a process that stops and begins again.
func (p *process) restart(t rapid.TB, crash bool) {
	p.stop(t, crash)
	p.start(t)
}

// reopen restarts everything, the log included where it can be.
func (w *world) reopen(t rapid.TB, crash bool) {
	for _, p := range w.processes {
		p.stop(t, crash)
	}
	if w.h.Reopen != nil {
		closed := w.log
		w.close(t)
		w.log = w.h.Reopen(w.tb, closed)
	}
	w.connect(t)
}

func (w *world) close(t rapid.TB) {
	for _, log := range append(w.handles, w.log) {
		if c, ok := log.(io.Closer); ok {
			if err := c.Close(); err != nil {
				t.Errorf("Close of the log: %v", err)
			}
		}
	}
	w.handles = nil
}

func (w *world) end(t rapid.TB) {
	for _, p := range w.processes {
		if e := p.engine.Load(); e != nil && e.recorder != nil {
			p.line.cut.Store(true) // what is not recorded by now need not be
			_ = e.recorder.Close(context.Background())
		}
	}
	w.close(t)
}

// org is the oracle's history of an organization.
func (w *world) org(name string) *history {
	h, ok := w.orgs[name]
	if !ok {
		h = &history{states: []state{{}}}
		w.orgs[name] = h
	}
	return h
}

// tokens are the ids of the tokens there ever were. A command meets tokens of its
// own organization more often than others.
func (w *world) tokens(org string) (ids []uuid.UUID) {
	for _, id := range w.ids {
		s := w.org(org).last()
		if _, own := s.tokens[id.String()]; own {
			ids = append(ids, id, id, id)
		}
	}
	return append(ids, w.ids...)
}
