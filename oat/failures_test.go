package oat_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/oattest"
	"github.com/oatmill/oatmill/quota"
)

// TestPrevents tells, one story each, what went wrong in products like this one, and
// does not go wrong here. The stories are named after what they prevent.
func TestPrevents(t *testing.T) {
	t.Run("deactivated, still works", deactivatedStillWorks)
	t.Run("scope enforced route by route", scopeEnforcedRouteByRoute)
	t.Run("public read loosely", publicReadLoosely)
	t.Run("stale caches", staleCaches)
	t.Run("privilege growth", privilegeGrowth)
	t.Run("two-step consume", twoStepConsume)
	t.Run("zero means never", zeroMeansNever)
	t.Run("secrets in logs", secretsInLogs)
	t.Run("name decides privilege", nameDecidesPrivilege)
	t.Run("enumeration", enumeration)
	t.Run("tenant crossing", tenantCrossing)
	t.Run("fail open", failOpen)
	t.Run("bookkeeping on the hot path", bookkeepingOnTheHotPath)
	t.Run("audit with holes", auditWithHoles)
	t.Run("uncommitted events dropped on failure", uncommittedEvents)
}

// Every door is Verify or Recheck, and both know of every way to lose access before the
// command that took it returns. Break it by leaving a case out of credential.refuses.
func deactivatedStillWorks(t *testing.T) {
	for name, end := range map[string]func(*desk, oat.Token){
		"deactivated":                  func(d *desk, token oat.Token) { d.deactivate(token.ID) },
		"deleted":                      func(d *desk, token oat.Token) { d.delete(token.ID) },
		"expired":                      func(d *desk, _ oat.Token) { d.Clock.Advance(time.Hour) },
		"plan without tokens":          func(d *desk, _ oat.Token) { d.changePlan(quota.Personal) },
		"deactivated, then plan again": func(d *desk, token oat.Token) { d.deactivate(token.ID); d.changePlan(quota.Business) },
	} {
		d := newDesk(t)
		token, secret := d.generate(d.lasting(time.Hour))
		d.opens(secret, true)
		end(d, token)
		d.opens(secret, false)
		if _, err := d.Verifier.Recheck(t.Context(), oat.Recheck{Organization: "acme", Token: token.ID}); err != oat.ErrRefused {
			t.Errorf("%s: recheck: %v, want ErrRefused", name, err)
		}
		// Nor does it work in a process that is started now.
		restarted := d.follower()
		must(t, restarted.Apply(t.Context(), d.records()))
		opens(t, restarted, secret, false)
	}
}

// What a token may do is decided in one place, which denies what was not granted. A
// grant got by the secret and one got by the id are the same.
func scopeEnforcedRouteByRoute(t *testing.T) {
	d := newDesk(t)
	token, secret := d.generate(func(cmd *oat.Generate) {
		cmd.Resources = []oat.Resource{oat.Repository("acme/api", oat.Read), oat.Repository("acme/web", oat.ReadWrite)}
	})
	bySecret := d.opens(secret, true)
	byID, err := d.Verifier.Recheck(t.Context(), oat.Recheck{Organization: "acme", Token: token.ID})
	must(t, err)
	for repository, want := range map[string]string{
		"acme/api": "rrr", "acme/web": "www", "acme/other": "---", "other/api": "---", "acme": "---", "": "---",
	} {
		if one, two := may(bySecret, repository), may(byID, repository); one != want || two != want {
			t.Errorf("%q: %s by secret and %s by id, want %s", repository, one, two, want)
		}
	}
}

// Public means readable by everyone in the world; what is not known is private.
func publicReadLoosely(t *testing.T) {
	d := newDesk(t)
	_, secret := d.generate(func(cmd *oat.Generate) { cmd.Resources = []oat.Resource{oat.Public()} })
	grant := d.opens(secret, true)
	for _, repository := range []string{"acme/internal", "other/internal"} {
		for _, v := range []oat.Visibility{oat.VisibilityUnknown, oat.VisibilityPrivate, oat.VisibilityPublic + 1} {
			if grant.Allows(oat.Pull, repository, v) || oat.Anonymous().Allows(oat.Pull, repository, v) {
				t.Errorf("%s of visibility %d counts as public", repository, v)
			}
		}
	}
}

// There is no answer that is kept: whatever a command takes away is gone when it
// returns. Break it by dropping the call of observe in Service.append.
func staleCaches(t *testing.T) {
	d := newDesk(t, func(cfg *oat.Config) {
		cfg.Plans = quota.Plans{quota.Team: {Tokens: 1000}}
		cfg.Verifier = oat.NewVerifier(oat.VerifierConfig{Plans: cfg.Plans, Now: cfg.Now})
	})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 25 {
				token, secret := d.generate(func(cmd *oat.Generate) { cmd.Resources = []oat.Resource{oat.All("acme", oat.ReadWrite)} })
				attempt := oat.Attempt{Organization: "acme", Secret: secret}
				grant, err := d.Verifier.Verify(t.Context(), attempt)
				if err != nil || !grant.Allows(oat.Push, "acme/api", oat.VisibilityPrivate) {
					t.Errorf("after Generate: %v", err)
				}
				_, err = d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: token.ID, Resources: []oat.Resource{oat.Public()}})
				if grant, again := d.Verifier.Verify(t.Context(), attempt); err != nil || again != nil || grant.Allows(oat.Pull, "acme/api", oat.VisibilityPrivate) {
					t.Errorf("after Edit: %v, %v", err, again)
				}
				err = d.Service.Deactivate(t.Context(), alice, oat.Deactivate{Organization: "acme", Token: token.ID})
				if _, again := d.Verifier.Verify(t.Context(), attempt); err != nil || again != oat.ErrRefused {
					t.Errorf("after Deactivate: %v, %v", err, again)
				}
			}
		})
	}
	wg.Wait()
}

// A token makes no tokens: nothing that is known of one is somebody who may act. A
// record of access is read as it was issued, or narrower.
func privilegeGrowth(t *testing.T) {
	d := newDesk(t)
	token, secret := d.generate(func(cmd *oat.Generate) { cmd.Resources = []oat.Resource{oat.All("acme", oat.ReadWrite)} })
	for user, refusal := range map[string]error{
		"acme": oat.ErrNotOwner, token.ID.String(): oat.ErrNotOwner, token.Label: oat.ErrNotOwner,
		"organization/acme": oat.ErrNotOwner, secret.Reveal(): oat.ErrInvalid,
	} {
		for _, command := range d.management(oat.Actor{User: user}, "acme", token.ID) {
			d.refuses(refusal, command.give)
		}
	}
	id := uuid.NewString()
	stronger := oat.NewSecret("oat_0123456789ABCDEFGHIJKLMNOP" + checksum("0123456789ABCDEFGHIJKLMNOP"))
	d.write(acme, &events.TokenGenerated{Token: id, Digest: digestOf(stronger), Resources: []oat.Resource{line("acme/*", "scope-image-admin")}})
	must(t, d.Verifier.Apply(t.Context(), d.records()))
	if got := may(d.opens(stronger, true), "acme/api"); got != "---" {
		t.Errorf("a scope nobody understands opens %s", got)
	}
}

// Checked and consumed under one version: between the two nothing can happen. Another
// process gets in between, at the worst moment, with what should have prevented the
// command. Break it by appending with events.Any in Service.append.
func twoStepConsume(t *testing.T) {
	for name, story := range map[string]struct {
		between int // of management, by the other process
		late    int // of management, by this one
		want    error
	}{
		"edit of what was deactivated":     {5, 4, oat.ErrInactive},
		"edit of what was deleted":         {6, 4, oat.ErrTokenNotFound},
		"deactivation of what was deleted": {6, 5, oat.ErrTokenNotFound},
		"second deletion":                  {6, 6, oat.ErrTokenNotFound},
		"the eleventh token":               {3, 3, quota.ErrExceeded},
		"a token by one who left":          {2, 3, oat.ErrNotOwner},
	} {
		t.Run(name, func(t *testing.T) {
			var log *tapped
			d := newDesk(t, tap(&log))
			token, _ := d.generate()
			for range 8 {
				d.generate()
			}
			must(t, d.Service.AddOwner(t.Context(), alice, oat.AddOwner{Organization: "acme", Owner: "bob"}))
			other, err := oat.New(oat.Config{Log: log.Complete, Now: d.Clock.Now})
			must(t, err)
			theirs := &desk{&oattest.Env{Service: other}, t}
			before := len(d.records())
			log.onAppend = func(context.Context, events.StreamID, []events.Envelope) error {
				log.onAppend = nil
				return theirs.management(alice, "acme", token.ID)[story.between].give()
			}
			if err := d.management(alice, "acme", token.ID)[story.late].give(); !errors.Is(err, story.want) {
				t.Errorf("error %v, want %v", err, story.want)
			}
			if n := len(d.records()) - before; n != 1 {
				t.Errorf("%d events, want that of the other process alone", n)
			}
		})
	}
}

// A time that nobody set is no choice, and never the choice to live for ever. Break it
// by taking Expiry{} for Never() in Generate.decide.
func zeroMeansNever(t *testing.T) {
	d := newDesk(t)
	var forgotten time.Time
	for name, expires := range map[string]oat.Expiry{
		"nothing chosen": {}, "a time forgotten": oat.ExpiresAt(forgotten), "the epoch": oat.ExpiresAt(time.Unix(0, 0)),
	} {
		t.Run(name, func(t *testing.T) {
			d := &desk{d.Env, t}
			d.wantInvalid(wellFormed(func(cmd *oat.Generate) { cmd.Expires = expires }), "expires_at")
		})
	}
	if _, err := oat.ParseExpiry(""); err == nil {
		t.Error("an empty text is taken for an instant")
	}
	// Close to the end nothing makes a token live on.
	token, secret := d.generate(d.lasting(time.Hour))
	d.Clock.Advance(time.Hour - time.Microsecond)
	edited, err := d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: token.ID, Label: pointer("new")})
	must(t, err)
	if edited.Expires != token.Expires {
		t.Errorf("an edit moved the expiry from %s to %s", token.Expires, edited.Expires)
	}
	d.Clock.Advance(time.Microsecond)
	d.opens(secret, false)
}

// Neither the log of events nor that of the program gets to see a secret, whatever is
// done with it.
func secretsInLogs(t *testing.T) {
	logger, written := logged()
	d := newDesk(t, func(cfg *oat.Config) {
		cfg.Logger = logger
		cfg.Verifier = oat.NewVerifier(oat.VerifierConfig{Now: cfg.Now, Logger: logger})
	})
	token, secret := d.generate()
	parts := partsOf(secret)
	for _, a := range []oat.Attempt{
		{Organization: "acme", Secret: secret}, {Organization: "other", Secret: secret}, {Organization: secret.Reveal(), Secret: secret},
		{Organization: "acme", Secret: oat.NewSecret(secret.Reveal()[:20])}, {Organization: "acme", Secret: secret, Service: "docker-scout"},
		{Organization: "acme", Secret: oat.NewSecret("x"), Service: secret.Reveal(), Address: secret.Reveal(), UserAgent: strings.Repeat("x", 40) + " " + secret.Reveal()},
		{Organization: "x" + secret.Reveal(), Secret: secret, Address: secret.Reveal()[:20] + "\xff\n" + secret.Reveal()[20:], UserAgent: strings.Repeat(" ", 1000) + secret.Reveal()},
	} {
		_, err := d.Verifier.Verify(t.Context(), a)
		logger.Info("attempt", "secret", a.Secret, "error", err)
	}
	d.deactivate(token.ID)
	d.opens(secret, false)
	d.Verifier.FlushLog()
	if parts.in(written.String()) {
		t.Errorf("logged %s", written)
	}
	for _, r := range d.records() {
		if parts.in(fmt.Sprintf("%+v %s", r, r.Data)) {
			t.Errorf("recorded %+v", r)
		}
	}
}

// What something is called gives it nothing.
func nameDecidesPrivilege(t *testing.T) {
	d := newDesk(t)
	for _, owner := range []string{"host:billing", "host:", " host:billing"} {
		d.refuses(oat.ErrInvalid, func() error {
			return d.Service.AddOwner(t.Context(), alice, oat.AddOwner{Organization: "acme", Owner: owner})
		})
	}
	for _, user := range []string{"host", "Host:billing", "admin", "root", "ALICE", "al ice", "acme"} {
		d.refuses(oat.ErrNotOwner, d.management(oat.Actor{User: user}, "acme", uuid.Nil)[0].give)
	}
	_, secret := d.generate(func(cmd *oat.Generate) {
		cmd.Label, cmd.Resources = "admin", []oat.Resource{oat.Repository("acme/public", oat.Read)}
	})
	grant := d.opens(secret, true)
	if may(grant, "acme/public") != "rrr" || may(grant, "acme/api") != "---" || may(grant, "public/api") != "---" {
		t.Error("a name opened something")
	}
}

// Whoever does not hold a secret that opens cannot tell what exists: the answers are
// one value. That the work is one lookup by digest in every case, before anything is
// compared, is what makes it so in time as well.
func enumeration(t *testing.T) {
	d := newDesk(t)
	_, secret := d.generate()
	_, unknown := newDesk(t, func(cfg *oat.Config) { cfg.Rand = oattest.NewRand(9) }).generate()
	for _, organization := range []string{"acme", "nobody", "", strings.Repeat("x", 10_000)} {
		for _, s := range []oat.Secret{unknown, oat.NewSecret("x"), {}} {
			if _, err := d.Verifier.Verify(t.Context(), oat.Attempt{Organization: organization, Secret: s}); err != oat.ErrRefused {
				t.Errorf("%.20q: %v, want exactly ErrRefused", organization, err)
			}
		}
		if organization != "acme" {
			if _, err := d.Verifier.Verify(t.Context(), oat.Attempt{Organization: organization, Secret: secret}); err != oat.ErrRefused {
				t.Errorf("%.20q with acme's secret: %v, want exactly ErrRefused", organization, err)
			}
		}
	}
}

// A token is its organization's alone: by command, by secret, by id and by repository.
func tenantCrossing(t *testing.T) {
	d := newDesk(t)
	d.register("acme2", quota.Business)
	token, secret := d.generate(func(cmd *oat.Generate) { cmd.Resources = []oat.Resource{oat.All("acme", oat.ReadWrite)} })
	for _, command := range d.management(alice, "acme2", token.ID)[4:] {
		d.refuses(oat.ErrTokenNotFound, command.give)
	}
	if _, err := d.Verifier.Verify(t.Context(), oat.Attempt{Organization: "acme2", Secret: secret}); err != oat.ErrRefused {
		t.Errorf("verify: %v", err)
	}
	if _, err := d.Verifier.Recheck(t.Context(), oat.Recheck{Organization: "acme2", Token: token.ID}); err != oat.ErrRefused {
		t.Errorf("recheck: %v", err)
	}
	if got := may(d.opens(secret, true), "acme2/api"); got != "---" {
		t.Errorf("acme2/api: %s", got)
	}
	d.wantInvalid(wellFormed(func(cmd *oat.Generate) { cmd.Resources = []oat.Resource{oat.All("acme2", oat.Read)} }), "resources[0].path")
}

// Who does not know, refuses.
func failOpen(t *testing.T) {
	d := newDesk(t)
	token, secret := d.generate()
	fed := oat.NewVerifier(oat.VerifierConfig{Now: d.Clock.Now})
	must(t, fed.Apply(t.Context(), d.records()))
	if _, err := fed.Verify(t.Context(), oat.Attempt{Organization: "acme", Secret: secret}); err != oat.ErrStale {
		t.Errorf("a verifier that was never confirmed: %v, want ErrStale", err)
	}
	if _, err := fed.Recheck(t.Context(), oat.Recheck{Organization: "acme", Token: token.ID}); err != oat.ErrStale {
		t.Errorf("a verifier that was never confirmed: %v, want ErrStale", err)
	}
	otherPlans := oat.NewVerifier(oat.VerifierConfig{Now: d.Clock.Now, Plans: quota.Plans{}})
	must(t, otherPlans.Apply(t.Context(), d.records()))
	otherPlans.Confirm(d.Clock.Now())
	opens(t, otherPlans, secret, false)

	down := errors.New("directory is down")
	s, err := oat.New(oat.Config{Log: d.Log, Now: d.Clock.Now, Owners: hostOwners(func(_, _ string) (bool, error) { return true, down })})
	must(t, err)
	d.refuses(down, func() error {
		return s.Deactivate(t.Context(), alice, oat.Deactivate{Organization: "acme", Token: token.ID})
	})
}

// Verifying with a recorder whose log hangs takes nobody's time.
func bookkeepingOnTheHotPath(t *testing.T) {
	release := make(chan struct{})
	hanging := &tapped{Complete: memlog.New(), onAppend: func(context.Context, events.StreamID, []events.Envelope) error {
		<-release
		return nil
	}}
	recorder, err := oat.NewRecorder(oat.RecorderConfig{Log: hanging, Interval: time.Millisecond})
	must(t, err)
	d := newDesk(t, func(cfg *oat.Config) {
		cfg.Verifier = oat.NewVerifier(oat.VerifierConfig{Now: cfg.Now, Recorder: recorder})
	})
	_, secret := d.generate()
	for range 1000 {
		d.opens(secret, true) // while the first use waits to be appended
	}
	close(release)
	must(t, recorder.Close(t.Context()))
	if accepted, _ := (&book{t: t, log: hanging}).counts(); len(accepted) != 1 {
		t.Errorf("%v recorded, want one token", accepted)
	}
}

// Every command that did something is an event, and no other is.
func auditWithHoles(t *testing.T) {
	d := newDesk(t)
	before := len(d.records())
	must(t, life(t.Context(), d.Service, "example", alice))
	if n := len(d.records()) - before; n != 8 {
		t.Errorf("%d events of 8 commands", n)
	}
	if _, err := events.VerifyChain(t.Context(), d.Log, events.OrganizationStream("example")); err != nil {
		t.Error(err)
	}
}

// A decision that could not be recorded was never made: neither the service nor the
// verifier acts on it. Break it by folding before appending in Service.append.
func uncommittedEvents(t *testing.T) {
	var log *tapped
	d := newDesk(t, tap(&log))
	token, secret := d.generate()
	full := errors.New("disk is full")
	log.onAppend = func(context.Context, events.StreamID, []events.Envelope) error { return full }
	for _, command := range d.management(billing, "acme", token.ID)[3:] {
		if err := d.refuses(full, command.give); !errors.Is(err, full) {
			t.Errorf("%s: %v, want %v", command.name, err, full)
		}
	}
	log.onAppend = nil
	d.opens(secret, true)
	if n := d.Verifier.Status().Credentials; n != 1 {
		t.Errorf("the verifier knows %d tokens, want 1", n)
	}
	for range 9 {
		d.generate() // the one that failed takes no place
	}
}
