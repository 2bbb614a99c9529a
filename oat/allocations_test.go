package oat_test

import (
	"testing"
	"time"

	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/oat"
)

// What every request goes through makes no garbage: verifying with a recorder, with
// whatever result, asking the grant, and noting a use.
func TestRequestsAllocateNothing(t *testing.T) {
	g := newGate(t)
	recorder, err := oat.NewRecorder(oat.RecorderConfig{Log: memlog.New(), Interval: time.Hour})
	must(t, err)
	defer func() { must(t, recorder.Close(t.Context())) }()
	v := oat.NewVerifier(oat.VerifierConfig{Now: g.Clock.Now, Recorder: recorder})
	must(t, v.Apply(t.Context(), g.records()))
	v.Confirm(g.Clock.Now())
	ctx, garbage := t.Context(), oat.NewSecret("garbage")
	grant := opens(t, v, g.active.Secret, true)
	for name, call := range map[string]func(){
		"opens": func() {
			_, _ = v.Verify(ctx, oat.Attempt{Organization: "acme", Secret: g.active.Secret, UserAgent: "docker/29"})
		},
		"expired": func() { _, _ = v.Verify(ctx, oat.Attempt{Organization: "acme", Secret: g.expired.Secret}) },
		"unknown": func() { _, _ = v.Verify(ctx, oat.Attempt{Organization: "acme", Secret: g.deleted.Secret}) },
		"garbage": func() { _, _ = v.Verify(ctx, oat.Attempt{Organization: "acme", Secret: garbage}) },
		"recheck": func() { _, _ = v.Recheck(ctx, oat.Recheck{Organization: "acme", Token: g.active.ID}) },
		"allows":  func() { grant.Allows(oat.Push, "acme/team/api", oat.VisibilityPrivate) },
		"use":     func() { recorder.Record(oat.Use{Organization: "acme", Token: g.active.ID, At: g.Clock.Now()}) },
	} {
		call() // the first use of a token is a new one to the recorder
		must(t, recorder.Flush(ctx))
		call() // and so is the first of an interval
		if n := testing.AllocsPerRun(100, call); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
