package oat_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/oattest"
	"github.com/oatmill/oatmill/quota"
)

func once(cmd *oat.Generate) { cmd.Once = true }

// A request that comes again makes no second token, in this process and in another one.
// Breaks when decide does not ask whether the id was made, or when the id is random.
func TestGenerateOnce(t *testing.T) {
	l := newLong(t)
	request := oat.Actor{User: "alice", Correlation: "request 7"}
	token, _, err := l.Service.Generate(t.Context(), request, wellFormed(once))
	must(t, err)
	for _, s := range []*oat.Service{l.Service, l.another()} {
		_, _, err := s.Generate(t.Context(), request, wellFormed(once))
		if repeated := (*oat.RepeatedError)(nil); !errors.As(err, &repeated) || repeated.Token != token.ID || !errors.Is(err, oat.ErrRepeated) {
			t.Errorf("the request again: %v, want that it made %s", err, token.ID)
		}
		_, _, err = s.Generate(t.Context(), oat.Actor{User: "alice", Correlation: "another"}, wellFormed(once))
		if s == l.Service {
			must(t, err)
		} else if !errors.Is(err, oat.ErrRepeated) {
			t.Errorf("the request to the other process again: %v", err)
		}
	}
	if _, _, err := l.Service.Generate(t.Context(), request, wellFormed()); err != nil {
		t.Errorf("without Once: %v", err)
	}
}

// another is a second process at the same log.
func (l *long) another() *oat.Service {
	l.t.Helper()
	s, err := oat.New(oat.Config{Log: l.log, Now: l.Clock.Now})
	must(l.t, err)
	return s
}

func TestGenerateOnceNeedsACorrelation(t *testing.T) {
	d := newDesk(t)
	_, _, err := d.Service.Generate(t.Context(), alice, wellFormed(once))
	if problem := (*oat.ValidationError)(nil); !errors.As(err, &problem) || problem.Field != "correlation" {
		t.Errorf("without a correlation: %v", err)
	}
}

// Any number of repeats at the same time, through two services, make one token.
func TestGenerateOnceAtTheSameTime(t *testing.T) {
	env := oattest.New(t)
	must(t, env.Service.Register(t.Context(), alice, oat.Register{Organization: "acme", Plan: quota.Business, Owners: []string{"alice"}}))
	other, err := oat.New(oat.Config{Log: env.Log, Now: env.Clock.Now})
	must(t, err)
	var made atomic.Int32
	var group sync.WaitGroup
	for i := range 32 {
		group.Go(func() {
			s := []*oat.Service{env.Service, other}[i%2]
			_, _, err := s.Generate(t.Context(), oat.Actor{User: "alice", Correlation: "one"}, wellFormed(once))
			switch {
			case err == nil:
				made.Add(1)
			case !errors.Is(err, oat.ErrRepeated):
				t.Error(err)
			}
		})
	}
	group.Wait()
	if made.Load() != 1 {
		t.Errorf("%d tokens were made of one request", made.Load())
	}
}

// Of two owners who edit what both have seen, the second is told. Breaks when decide
// does not compare the versions, or when a change does not move the token's version.
func TestEditOfAChangedToken(t *testing.T) {
	d := newDesk(t)
	seen, _ := d.generate()
	unrelated, _ := d.generate()
	edit := func(label string) oat.Edit {
		return oat.Edit{Organization: "acme", Token: seen.ID, Label: &label, Version: seen.Version}
	}
	first, err := d.Service.Edit(t.Context(), alice, edit("first"))
	must(t, err)
	if _, err := d.Service.Edit(t.Context(), alice, edit("second")); !errors.Is(err, oat.ErrChanged) {
		t.Errorf("an edit of what is no longer so: %v", err)
	}
	if first.Version <= unrelated.Version {
		t.Errorf("the edited token is at version %d, the one generated before it at %d", first.Version, unrelated.Version)
	}
	d.deactivate(unrelated.ID)
	seen = first
	_, err = d.Service.Edit(t.Context(), alice, edit("third"))
	must(t, err)
}

func TestAuthorize(t *testing.T) {
	d := newDesk(t)
	for _, c := range []struct {
		by           oat.Actor
		organization string
		want         error
	}{
		{alice, "acme", nil},
		{billing, "acme", nil},
		{mallory, "acme", oat.ErrNotOwner},
		{alice, "nowhere", oat.ErrOrganizationNotFound},
		{alice, "not a name", oat.ErrOrganizationNotFound},
		{oat.Actor{}, "acme", oat.ErrInvalid},
	} {
		if err := d.Service.Authorize(t.Context(), c.by, c.organization); !errors.Is(err, c.want) {
			t.Errorf("authorize %v for %q: %v, want %v", c.by, c.organization, err, c.want)
		}
	}
}

// Who may see what is asked of the log, not of what this process remembers. Breaks when
// Authorize asks the state in memory only.
func TestAuthorizeAfterAnotherProcess(t *testing.T) {
	d := newDesk(t)
	must(t, d.Service.Authorize(t.Context(), alice, "acme"))
	other, err := oat.New(oat.Config{Log: d.Log, Now: d.Clock.Now})
	must(t, err)
	must(t, other.AddOwner(t.Context(), alice, oat.AddOwner{Organization: "acme", Owner: "bob"}))
	must(t, other.RemoveOwner(t.Context(), alice, oat.RemoveOwner{Organization: "acme", Owner: "alice"}))
	if err := d.Service.Authorize(t.Context(), alice, "acme"); !errors.Is(err, oat.ErrNotOwner) {
		t.Errorf("authorize who owned it: %v", err)
	}
	must(t, d.Service.Authorize(t.Context(), oat.Actor{User: "bob"}, "acme"))
}

// A request is known also when its token is gone, to every process. Breaks when a deletion
// leaves nothing in spent, or a clone leaves spent out.
func TestGenerateOnceAfterDeletion(t *testing.T) {
	l := newLong(t)
	request := oat.Actor{User: "alice", Correlation: "request 7"}
	token, _, err := l.Service.Generate(t.Context(), request, wellFormed(once))
	must(t, err)
	behind := l.another()
	must(t, behind.Authorize(t.Context(), alice, "acme"))
	l.delete(token.ID)
	for name, s := range map[string]*oat.Service{
		"this process": l.Service, "one that is behind": behind, "a new one": l.another(), "a transaction": l.Service.Within(onlyLog{l.log}, nil),
	} {
		before := len(l.records())
		_, secret, err := s.Generate(t.Context(), request, wellFormed(once))
		if repeated := (*oat.RepeatedError)(nil); !errors.As(err, &repeated) || repeated.Token != token.ID || secret.Reveal() != "" {
			t.Errorf("%s: %v, want that the request made %s", name, err, token.ID)
		}
		if len(l.records()) != before {
			t.Errorf("%s: the repeated request left a trace", name)
		}
		must(t, s.Authorize(t.Context(), alice, "acme"))
	}
}

// A repeated request of a process that has not heard of the first one is the first one's.
func TestGenerateOnceWhileBehind(t *testing.T) {
	d := newDesk(t)
	request := oat.Actor{User: "alice", Correlation: "request 7"}
	behind, err := oat.New(oat.Config{Log: d.Log, Now: d.Clock.Now})
	must(t, err)
	must(t, behind.Authorize(t.Context(), alice, "acme"))
	token, first, err := d.Service.Generate(t.Context(), request, wellFormed(once))
	must(t, err)
	_, _, err = behind.Generate(t.Context(), request, wellFormed(once))
	if repeated := (*oat.RepeatedError)(nil); !errors.As(err, &repeated) || repeated.Token != token.ID {
		t.Errorf("%v, want that the request made %s", err, token.ID)
	}
	d.opens(first, true)
}

// A request that comes again is answered with its token, whatever would be said to a new
// one by now. Breaks when decide looks at plan, fields or limit first.
func TestGenerateOnceWhateverHasChanged(t *testing.T) {
	d := newDesk(t)
	request := oat.Actor{User: "alice", Correlation: "request 7"}
	cmd := wellFormed(once, d.lasting(time.Hour))
	token, _, err := d.Service.Generate(t.Context(), request, cmd)
	must(t, err)
	again := func(when string) {
		t.Helper()
		_, _, err := d.Service.Generate(t.Context(), request, cmd)
		if repeated := (*oat.RepeatedError)(nil); !errors.As(err, &repeated) || repeated.Token != token.ID {
			t.Errorf("%s: %v, want that the request made %s", when, err, token.ID)
		}
	}
	for range 9 {
		d.generate()
	}
	again("at the limit")
	d.Clock.Advance(2 * time.Hour)
	again("when the expiry has passed")
	d.delete(token.ID)
	d.generate()
	again("when it is deleted, and the limit reached by others")
	d.changePlan(quota.Personal)
	again("on a plan without tokens")
}

// Deactivate and Delete of what is no longer as it was seen are refused as an edit is.
// Breaks when either decide leaves the version out.
func TestDeactivateAndDeleteOfAChangedToken(t *testing.T) {
	d := newDesk(t)
	seen, _ := d.generate()
	changed, err := d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: seen.ID, Label: pointer("other")})
	must(t, err)
	d.refuses(oat.ErrChanged, func() error {
		return d.Service.Deactivate(t.Context(), alice, oat.Deactivate{Organization: "acme", Token: seen.ID, Version: seen.Version})
	})
	d.refuses(oat.ErrChanged, func() error {
		return d.Service.Delete(t.Context(), alice, oat.Delete{Organization: "acme", Token: seen.ID, Version: seen.Version})
	})
	must(t, d.Service.Deactivate(t.Context(), alice, oat.Deactivate{Organization: "acme", Token: seen.ID, Version: changed.Version}))
	must(t, d.Service.Delete(t.Context(), alice, oat.Delete{Organization: "acme", Token: seen.ID, Version: changed.Version + 1}))
}

// An edit that also deactivates is one batch: both or neither. Breaks when decide leaves
// out one of the two events.
func TestEditAndDeactivate(t *testing.T) {
	d := newDesk(t)
	token, secret := d.generate()
	d.refuses(oat.ErrInvalid, func() error {
		_, err := d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: token.ID, Label: pointer(""), Deactivate: true})
		return err
	})
	d.opens(secret, true)
	edited, err := d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: token.ID, Label: pointer("last"), Deactivate: true})
	must(t, err)
	if edited.Label != "last" || edited.Active || edited.Version != token.Version+2 {
		t.Errorf("%+v, want it renamed, inactive, and two versions on", edited)
	}
	d.opens(secret, false)
	unchanged, _ := d.generate()
	edited, err = d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: unchanged.ID, Label: &unchanged.Label, Deactivate: true})
	must(t, err)
	if edited.Active || edited.Version != unchanged.Version+1 {
		t.Errorf("%+v, want it inactive, one version on", edited)
	}
}
