// Package oattest is what the tests of a host need: organization access tokens that
// work as in production, in memory, with a clock that stands still and randomness that
// repeats.
//
//	env := oattest.New(t)
//	token, secret := env.Generate("acme", oat.All("acme", oat.Read))
//	grant, err := env.Verifier.Verify(ctx, oat.Attempt{Organization: "acme", Secret: secret})
//	env.Clock.Advance(24 * time.Hour)
package oattest

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

// Owner owns every organization that [Env.Generate] registers.
const Owner = "owner"

// Start is the time at which the clock of every [Env] begins.
func Start() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// Env is a service and a verifier on a log in memory.
type Env struct {
	Log      events.Log
	Service  *oat.Service
	Verifier *oat.Verifier
	Clock    *Clock

	t   testing.TB
	mu  sync.Mutex
	org map[string]bool
}

// New is an environment for one test, closed at its end. Options change the service's
// config before it is used.
func New(t testing.TB, options ...func(*oat.Config)) *Env {
	t.Helper()
	log := memlog.New()
	t.Cleanup(func() { _ = log.Close() })
	clock := &Clock{now: Start()}
	cfg := oat.Config{Log: log, Now: clock.Now, Rand: NewRand(1)}
	for _, option := range options {
		option(&cfg)
	}
	if cfg.Verifier == nil {
		cfg.Verifier = oat.NewVerifier(oat.VerifierConfig{Plans: cfg.Plans, Now: clock.Now})
	}
	service, err := oat.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	// The only process there is knows the log to its end at all times.
	clock.moved = cfg.Verifier.Confirm
	cfg.Verifier.Confirm(clock.Now())
	return &Env{Log: cfg.Log, Service: service, Verifier: cfg.Verifier, Clock: clock, t: t, org: make(map[string]bool)}
}

// Generate makes a token that never expires, and before it the organization, on plan
// business, if it is not there. It ends the test when it cannot.
func (e *Env) Generate(organization string, resources ...oat.Resource) (oat.Token, oat.Secret) {
	e.t.Helper()
	ctx := context.Background()
	by := oat.Actor{User: Owner}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.org[organization] {
		if err := e.Service.Register(ctx, by, oat.Register{Organization: organization, Plan: quota.Business, Owners: []string{Owner}}); err != nil {
			e.t.Fatal(err)
		}
		e.org[organization] = true
	}
	token, secret, err := e.Service.Generate(ctx, by, oat.Generate{
		Organization: organization, Label: "test", Expires: oat.Never(), Resources: resources,
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return token, secret
}

// Clock is a clock that moves only when it is told to. It is safe for concurrent use.
type Clock struct {
	mu    sync.Mutex
	now   time.Time
	moved func(time.Time)
}

// NewClock is a clock at now.
func NewClock(now time.Time) *Clock { return &Clock{now: now} }

// Now is the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock by d, also back.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	now, moved := c.now, c.moved
	c.mu.Unlock()
	if moved != nil {
		moved(now)
	}
}

// Rand is randomness that is the same for the same seed. It is for tests only, and
// safe for concurrent use.
type Rand struct {
	mu     sync.Mutex
	source *rand.ChaCha8
}

// NewRand is randomness from seed.
func NewRand(seed byte) *Rand { return &Rand{source: rand.NewChaCha8([32]byte{seed})} }

// Read fills p.
func (r *Rand) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.source.Read(p)
}
