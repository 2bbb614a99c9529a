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
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

// Owner owns every organization that [Env.Generate] registers, unless an option has the
// host keep the owners.
const Owner = "owner"

// Start is the time at which the clock of every [Env] begins.
func Start() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// Env is a service and a verifier on a log in memory.
type Env struct {
	Log      events.Log
	Service  *oat.Service
	Verifier *oat.Verifier
	Clock    *Clock

	t          testing.TB
	hostOwners bool
}

// New is an environment for one test, closed at its end. Options change the service's
// config before it is used. The verifier knows from the start what an option's log holds
// already, and its clock is [Env.Clock] whatever clock an option gives the service.
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
	for r, err := range cfg.Log.ReadAll(context.Background(), 0) {
		if err == nil {
			err = cfg.Verifier.Apply(context.Background(), []events.Recorded{r})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	clock.moved = cfg.Verifier.Confirm
	cfg.Verifier.Confirm(clock.Now())
	return &Env{Log: cfg.Log, Service: service, Verifier: cfg.Verifier, Clock: clock, t: t, hostOwners: cfg.Owners != nil}
}

// Generate makes a token that never expires, and before it the organization, on plan
// business, if nobody registered it. The host gives the commands, so that a test may
// register the organization itself, on any plan and with any owners. It ends the test
// when it cannot.
func (e *Env) Generate(organization string, resources ...oat.Resource) (oat.Token, oat.Secret) {
	e.t.Helper()
	by, cmd := oat.Actor{Host: "oattest"}, oat.Generate{
		Organization: organization, Label: "test", Expires: oat.Never(), Resources: resources,
	}
	token, secret, err := e.Service.Generate(context.Background(), by, cmd)
	if errors.Is(err, oat.ErrOrganizationNotFound) {
		e.register(by, organization)
		token, secret, err = e.Service.Generate(context.Background(), by, cmd)
	}
	if err != nil {
		e.t.Fatal(err)
	}
	return token, secret
}

func (e *Env) register(by oat.Actor, organization string) {
	e.t.Helper()
	cmd := oat.Register{Organization: organization, Plan: quota.Business}
	if !e.hostOwners {
		cmd.Owners = []string{Owner}
	}
	if err := e.Service.Register(context.Background(), by, cmd); err != nil {
		e.t.Fatal(err)
	}
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
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	if c.moved != nil {
		c.moved(c.now) // under the lock, so that the last confirmation is the latest
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
