package oat_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

// second is another process's service on the desk's log. It has no verifier here.
func (d *desk) second() *oat.Service {
	d.t.Helper()
	s, err := oat.New(oat.Config{Log: d.Log, Now: d.Clock.Now})
	must(d.t, err)
	return s
}

// Each of two services works on a state that the other has moved on. Break it by
// returning conflicts from Service.run.
func TestDecidedAgainWhenAnotherProcessWasQuicker(t *testing.T) {
	d := newDesk(t)
	other := d.second()
	for i := range 5 {
		_, secret := d.generate()
		token, _, err := other.Generate(t.Context(), alice, wellFormed())
		must(t, err)
		// This service has not seen the token yet.
		_, err = d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: token.ID, Label: pointer(fmt.Sprint(i))})
		must(t, err)
		must(t, other.Deactivate(t.Context(), alice, oat.Deactivate{Organization: "acme", Token: token.ID}))
		d.refuses(oat.ErrInactive, func() error {
			_, err := d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: token.ID, Label: pointer("late")})
			return err
		})
		must(t, other.Delete(t.Context(), alice, oat.Delete{Organization: "acme", Token: token.ID}))
		d.opens(secret, true)
	}
}

// A refusal is the log's, never that of a state in memory that is behind. Break it by
// returning err in Service.run whether or not the state is the newest.
func TestNobodyIsRefusedForWhatIsNoLongerSo(t *testing.T) {
	d := newDesk(t)
	other := d.second()
	tokens := make([]oat.Token, 10)
	for i := range tokens {
		tokens[i], _ = d.generate()
	}
	generate := func() error { _, _, err := d.Service.Generate(t.Context(), alice, wellFormed()); return err }

	d.refuses(quota.ErrExceeded, generate)
	must(t, other.Delete(t.Context(), alice, oat.Delete{Organization: "acme", Token: tokens[0].ID}))
	must(t, generate())

	d.refuses(oat.ErrNotOwner, d.management(mallory, "acme", uuid.Nil)[0].give)
	must(t, other.AddOwner(t.Context(), alice, oat.AddOwner{Organization: "acme", Owner: "mallory"}))
	must(t, d.management(mallory, "acme", uuid.Nil)[0].give())

	d.changePlan(quota.Pro)
	d.refuses(oat.ErrNoTokens, generate)
	must(t, other.ChangePlan(t.Context(), alice, oat.ChangePlan{Organization: "acme", Plan: quota.Business}))
	must(t, generate())

	d.refuses(oat.ErrOrganizationNotFound, d.management(alice, "new", uuid.Nil)[3].give)
	must(t, other.Register(t.Context(), alice, oat.Register{Organization: "new", Plan: quota.Team, Owners: []string{"alice"}}))
	_, _, err := d.Service.Generate(t.Context(), alice, wellFormed(func(cmd *oat.Generate) {
		cmd.Organization, cmd.Resources = "new", []oat.Resource{oat.Public()}
	}))
	must(t, err)
}

// That nothing was to be changed is confirmed by the log as well.
func TestNothingToChangeIsToldByTheLog(t *testing.T) {
	d := newDesk(t)
	other := d.second()
	token, _ := d.generate()
	_, err := other.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: token.ID, Label: pointer("theirs")})
	must(t, err)
	edited, err := d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: token.ID, Label: pointer("ci")})
	must(t, err)
	if label := d.last().(*events.TokenEdited).Label; edited.Label != "ci" || label == nil || *label != "ci" {
		t.Errorf("label %q, want it changed back to ci", edited.Label)
	}
}

// However many are at it, the eleventh token is refused. Break it by appending with
// events.Any in Service.append.
func TestQuotaHoldsUnderContention(t *testing.T) {
	d := newDesk(t)
	services := []*oat.Service{d.Service, d.second(), d.second()}
	var wg sync.WaitGroup
	var generated, exceeded atomic.Int64
	for i := range 30 {
		wg.Go(func() {
			_, _, err := services[i%len(services)].Generate(t.Context(), alice, wellFormed())
			switch {
			case err == nil:
				generated.Add(1)
			case errors.Is(err, quota.ErrExceeded):
				exceeded.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if generated.Load() != 10 || exceeded.Load() != 20 {
		t.Errorf("%d generated and %d refused, want 10 and 20", generated.Load(), exceeded.Load())
	}
	if n := len(d.records(events.OrganizationStream("acme"))); n != 11 {
		t.Errorf("%d records, want 11", n)
	}
}

// A command that is overtaken for ever ends, as busy and with no trace.
func TestBusyAfterTooManyConflicts(t *testing.T) {
	var log *tapped
	d := newDesk(t, tap(&log))
	token, _ := d.generate()
	other, err := oat.New(oat.Config{Log: log.Complete, Now: d.Clock.Now})
	must(t, err)
	tries := 0
	log.onAppend = func(context.Context, events.StreamID, []events.Envelope) error {
		tries++
		_, err := other.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: token.ID, Label: pointer(fmt.Sprint(tries))})
		return err
	}
	err = d.Service.Deactivate(t.Context(), alice, oat.Deactivate{Organization: "acme", Token: token.ID})
	var conflict *events.ConflictError
	if !errors.Is(err, oat.ErrBusy) || !errors.As(err, &conflict) || conflict.Stream != "organization/acme" {
		t.Errorf("error %v, want busy because of a conflict", err)
	}
	if tries < 10 || tries > 100 {
		t.Errorf("tried %d times", tries)
	}
	for _, r := range d.records() {
		if r.Type == events.TypeTokenDeactivated {
			t.Error("a command that was refused left a trace")
		}
	}
	log.onAppend = nil
	d.deactivate(token.ID)
}

// Who waits for an organization can stop waiting, and others do not wait at all. Break
// it by taking the entry's lock without looking at the context.
func TestWaitingForAnOrganizationEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log *tapped
		d := newDesk(t, tap(&log))
		d.register("other", quota.Team)
		token, _ := d.generate()
		release := make(chan struct{})
		log.onAppend = func(_ context.Context, stream events.StreamID, _ []events.Envelope) error {
			if stream == acme {
				<-release
			}
			return nil
		}
		first, second := make(chan error, 1), make(chan error, 1)
		go func() {
			first <- d.Service.Deactivate(t.Context(), alice, oat.Deactivate{Organization: "acme", Token: token.ID})
		}()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			second <- d.Service.Delete(ctx, alice, oat.Delete{Organization: "acme", Token: token.ID})
		}()
		synctest.Wait()
		must(t, d.Service.ChangePlan(t.Context(), alice, oat.ChangePlan{Organization: "other", Plan: quota.Business}))

		cancel()
		synctest.Wait()
		select {
		case err := <-second:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("waiting ended with %v, want context.Canceled", err)
			}
		default:
			t.Error("the command goes on waiting")
		}
		close(release)
		must(t, <-first)
		d.delete(token.ID) // the place was given back, and the deletion is still to be done
	})
}

func TestContextThatHasEnded(t *testing.T) {
	d := newDesk(t)
	token, _ := d.generate()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.refuses(context.Canceled, func() error { return life(ctx, d.Service, "new", alice) }); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	d.deactivate(token.ID)
}

// A context that ends in the middle of an append: the log says that nothing was
// appended, and the next command is none the worse.
func TestContextThatEndsInAppend(t *testing.T) {
	var log *tapped
	d := newDesk(t, tap(&log))
	token, secret := d.generate()
	ctx, cancel := context.WithCancel(t.Context())
	log.onAppend = func(ctx context.Context, _ events.StreamID, _ []events.Envelope) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	}
	err := d.refuses(context.Canceled, func() error {
		return d.Service.Deactivate(ctx, alice, oat.Deactivate{Organization: "acme", Token: token.ID})
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	d.opens(secret, true)
	log.onAppend = nil
	d.deactivate(token.ID)
	d.opens(secret, false)
}
