package oat_test

import (
	"context"
	"errors"
	"iter"
	"maps"
	"strings"
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/oattest"
	"github.com/oatmill/oatmill/quota"
)

// watched is a log that notes which streams are read, and whose appends can be held up.
type watched struct {
	events.Log
	reads   map[string]int // by "exists" and "missing"
	entered chan struct{}  // nil means that appends are not held up
	leave   chan struct{}
}

func (w *watched) ReadStream(ctx context.Context, id events.StreamID, after events.Version) iter.Seq2[events.Recorded, error] {
	kind := "missing"
	for range w.Log.ReadStream(ctx, id, 0) {
		kind = "exists"
		break
	}
	w.reads[kind]++
	return w.Log.ReadStream(ctx, id, after)
}

func (w *watched) Append(ctx context.Context, id events.StreamID, expected events.Version, batch ...events.Envelope) ([]events.Recorded, error) {
	if w.entered != nil {
		w.entered <- struct{}{}
		<-w.leave
	}
	return w.Log.Append(ctx, id, expected, batch...)
}

func newWatched(t *testing.T) (*oattest.Env, *watched) {
	t.Helper()
	log := &watched{reads: make(map[string]int)}
	env := oattest.New(t, func(cfg *oat.Config) { log.Log, cfg.Log = cfg.Log, log })
	for _, name := range []string{"acme", "zebra"} {
		err := env.Service.Register(t.Context(), oat.Actor{Host: "test"}, oat.Register{Organization: name, Plan: quota.Business, Owners: []string{"alice"}})
		if err != nil {
			t.Fatal(err)
		}
	}
	return env, log
}

// TestRefusalsDoTheSameWork counts what the log is asked when someone who owns nothing asks for
// an organization that exists and for one that does not. (failures.md, "timing and enumeration";
// OWASP ASVS 2.2.1. BenchmarkStrangers of the console example measures the times.)
//
// Fails if Authorize returns a refusal without looking up an organization of the other kind.
func TestRefusalsDoTheSameWork(t *testing.T) {
	env, log := newWatched(t)
	mallory := oat.Actor{User: "mallory"}
	asked := func(name string, want error) map[string]int {
		clear(log.reads)
		if err := env.Service.Authorize(t.Context(), mallory, name); !errors.Is(err, want) {
			t.Fatalf("%s: %v, want %v", name, err, want)
		}
		return maps.Clone(log.reads)
	}
	exists, missing := asked("acme", oat.ErrNotOwner), asked("nowhere", oat.ErrOrganizationNotFound)
	if !maps.Equal(exists, missing) || exists["exists"] == 0 || exists["missing"] == 0 {
		t.Errorf("one that exists costs %v, one that does not %v", exists, missing)
	}
	clear(log.reads)
	if err := env.Service.Authorize(t.Context(), oat.Actor{User: "alice"}, "acme"); err != nil || log.reads["missing"] != 0 {
		t.Errorf("an owner: %v, %v", err, log.reads)
	}
}

// TestRefusalWaitsForNoOther refuses while commands of all organizations that exist are held up.
//
// Fails if the organization that is looked up besides is waited for.
func TestRefusalWaitsForNoOther(t *testing.T) {
	env, log := newWatched(t)
	log.entered, log.leave = make(chan struct{}), make(chan struct{})
	done := make(chan error)
	for _, name := range []string{"acme", "zebra"} {
		go func() {
			done <- env.Service.ChangePlan(t.Context(), oat.Actor{Host: "test"}, oat.ChangePlan{Organization: name, Plan: quota.Team})
		}()
		<-log.entered
	}
	if err := env.Service.Authorize(t.Context(), oat.Actor{User: "mallory"}, "nowhere"); !errors.Is(err, oat.ErrOrganizationNotFound) {
		t.Errorf("%v, want %v", err, oat.ErrOrganizationNotFound)
	}
	if err := env.Service.Authorize(t.Context(), oat.Actor{User: "mallory"}, strings.Repeat("-", 3)); !errors.Is(err, oat.ErrOrganizationNotFound) {
		t.Errorf("a name that cannot be: %v", err)
	}
	close(log.leave)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
