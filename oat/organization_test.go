package oat_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/oattest"
	"github.com/oatmill/oatmill/quota"
)

func TestRegister(t *testing.T) {
	d := newDesk(t)
	for name, cmd := range map[string]oat.Register{
		"shortest name": {Organization: "a", Plan: quota.Team, Owners: []string{"alice"}},
		"longest name":  {Organization: strings.Repeat("x", oat.MaxOrganization), Plan: quota.Pro, Owners: []string{"alice"}},
		"digits":        {Organization: "0", Owners: []string{"alice"}},
		"separators":    {Organization: "a.b_c__d-e---f", Plan: quota.Personal, Owners: []string{"alice"}},
		"no plan":       {Organization: "planless", Owners: []string{"alice"}},
		"many owners":   {Organization: "large", Plan: quota.Business, Owners: []string{"zoe", "alice", "bob"}},
	} {
		t.Run(name, func(t *testing.T) {
			must(t, d.Service.Register(t.Context(), mallory, cmd))
			want := &events.OrganizationRegistered{Plan: cmd.Plan, Owners: cmd.Owners}
			if diff := cmp.Diff(events.Payload(want), d.last()); diff != "" {
				t.Errorf("recorded (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRegisterRefuses(t *testing.T) {
	good := func(name string) oat.Register {
		return oat.Register{Organization: name, Plan: quota.Team, Owners: []string{"alice"}}
	}
	tests := map[string]struct {
		cmd    oat.Register
		fields []string
	}{
		"unknown plan":    {oat.Register{Organization: "new", Plan: "gold", Owners: []string{"alice"}}, []string{"plan"}},
		"plan's case":     {oat.Register{Organization: "new", Plan: "Team", Owners: []string{"alice"}}, []string{"plan"}},
		"no owner":        {oat.Register{Organization: "new"}, []string{"owners"}},
		"an empty owner":  {oat.Register{Organization: "new", Owners: []string{"alice", ""}}, []string{"owners[1]"}},
		"the host":        {oat.Register{Organization: "new", Owners: []string{"host:billing"}}, []string{"owners[0]"}},
		"an owner twice":  {oat.Register{Organization: "new", Owners: []string{"a", "b", "a"}}, []string{"owners[2]"}},
		"an owner's size": {oat.Register{Organization: "new", Owners: []string{strings.Repeat("é", 255)}}, []string{"owners[0]"}},
		"everything at once": {
			oat.Register{Plan: "gold", Owners: []string{"", "host:x", "bob", "bob", "b\x00b"}},
			[]string{"organization", "plan", "owners[0]", "owners[1]", "owners[3]", "owners[4]"},
		},
	}
	for _, name := range []string{
		"", " ", "Acme", "-acme", "acme-", ".acme", "acme.", "_acme", "acme_", "a..b", "a._b", "a___b", "a-_b", "a/b",
		"ac me", "ac\nme", "äcme", "acme\x00", "a*", strings.Repeat("x", oat.MaxOrganization+1),
	} {
		tests["organization "+name] = struct {
			cmd    oat.Register
			fields []string
		}{good(name), []string{"organization"}}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			err := d.refuses(oat.ErrInvalid, func() error { return d.Service.Register(t.Context(), alice, test.cmd) })
			wantProblems(t, err, test.fields...)
		})
	}
}

// Whoever comes second must learn it, and must not become an owner.
func TestRegisterOnce(t *testing.T) {
	d := newDesk(t)
	for range 2 {
		d.refuses(oat.ErrExists, func() error {
			return d.Service.Register(t.Context(), mallory, oat.Register{Organization: "acme", Plan: quota.Business, Owners: []string{"mallory"}})
		})
	}
	for _, command := range d.management(mallory, "acme", uuid.Nil) {
		d.refuses(oat.ErrNotOwner, command.give)
	}
}

// An organization that is not there is "not found" by whatever name, for everyone.
func TestNoSuchOrganization(t *testing.T) {
	d := newDesk(t)
	token, _ := d.generate()
	for _, organization := range []string{"", "other", "ACME", "acme/", "acme/api", "../acme", "*", strings.Repeat("x", 1000), "a\x00"} {
		for _, by := range []oat.Actor{alice, mallory, billing} {
			for _, command := range d.management(by, organization, token.ID) {
				d.refuses(oat.ErrOrganizationNotFound, command.give)
			}
		}
	}
}

func TestChangePlan(t *testing.T) {
	d := newDesk(t)
	change := func(by oat.Actor, plan string) func() error {
		return func() error {
			return d.Service.ChangePlan(t.Context(), by, oat.ChangePlan{Organization: "acme", Plan: plan})
		}
	}
	for _, by := range []oat.Actor{alice, billing} {
		for _, plan := range []string{quota.Business, quota.Personal, "", quota.Pro, quota.Team} {
			must(t, change(by, plan)())
			if diff := cmp.Diff(events.Payload(&events.OrganizationPlanChanged{Plan: plan}), d.last()); diff != "" {
				t.Errorf("recorded (-want +got):\n%s", diff)
			}
			d.changesNothing(change(by, plan))
		}
	}
	d.refuses(oat.ErrNotOwner, change(mallory, quota.Business))
	d.refuses(oat.ErrUnknownPlan, change(alice, "gold"))
	d.refuses(oat.ErrUnknownPlan, change(billing, strings.Repeat("g", 10_000)))
}

// Break the first half by comparing with plan.Tokens > count in Generate.decide as if
// expired tokens were gone, the second by dropping tokens on a plan change.
func TestDowngradeKeepsTokensAndStopsGenerate(t *testing.T) {
	d := newDesk(t, func(cfg *oat.Config) { cfg.Plans = quota.Plans{"one": {Tokens: 1}, quota.Team: {Tokens: 3}} })
	var tokens []oat.Token
	var secrets []oat.Secret
	for range 3 {
		token, secret := d.generate()
		tokens, secrets = append(tokens, token), append(secrets, secret)
	}
	d.changePlan("one")
	generate := func() error { _, _, err := d.Service.Generate(t.Context(), alice, wellFormed()); return err }
	for i := range tokens {
		d.opens(secrets[i], true)
		err := d.refuses(quota.ErrExceeded, generate)
		var exceeded *quota.ExceededError
		if want := (quota.ExceededError{Limit: 1, Count: 3 - i}); !errors.As(err, &exceeded) || *exceeded != want {
			t.Errorf("refused with %v, want %+v", err, want)
		}
		d.delete(tokens[i].ID)
	}
	must(t, generate())
}

// What the service tells its verifier and what another one is fed shut it alike. Break
// it by not calling reopen in Verifier.fold.
func TestPlanWithoutTokensClosesAndReturnOpens(t *testing.T) {
	d := newDesk(t)
	token, secret := d.generate()
	fed := d.follower()
	for _, plan := range []string{quota.Personal, quota.Pro, ""} {
		d.changePlan(plan)
		d.opens(secret, false)
		must(t, fed.Apply(t.Context(), d.records()))
		opens(t, fed, secret, false)
		d.refuses(oat.ErrNoTokens, func() error { _, _, err := d.Service.Generate(t.Context(), alice, wellFormed()); return err })
		if _, err := d.Verifier.Recheck(t.Context(), oat.Recheck{Organization: "acme", Token: token.ID}); err != oat.ErrRefused {
			t.Errorf("recheck on plan %q: %v", plan, err)
		}
		// What is there can still be tidied up.
		_, err := d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: token.ID, Label: pointer("on plan " + plan)})
		must(t, err)
		d.changePlan(quota.Team)
		d.opens(secret, true)
		must(t, fed.Apply(t.Context(), d.records()))
		opens(t, fed, secret, true)
	}
}

func TestOwners(t *testing.T) {
	d := newDesk(t)
	token, secret := d.generate()
	add := func(by oat.Actor, owner string) func() error {
		return func() error {
			return d.Service.AddOwner(t.Context(), by, oat.AddOwner{Organization: "acme", Owner: owner})
		}
	}
	remove := func(by oat.Actor, owner string) func() error {
		return func() error {
			return d.Service.RemoveOwner(t.Context(), by, oat.RemoveOwner{Organization: "acme", Owner: owner})
		}
	}
	bob := oat.Actor{User: "bob"}
	d.refuses(oat.ErrNotOwner, add(bob, "bob"))
	d.refuses(oat.ErrLastOwner, remove(alice, "alice"))
	d.refuses(oat.ErrLastOwner, remove(billing, "alice"))
	d.refuses(oat.ErrOwnerNotFound, remove(alice, "bob"))
	for _, owner := range []string{"", "host:billing", "b\nob", strings.Repeat("b", 255), "\xff"} {
		wantProblems(t, d.refuses(oat.ErrInvalid, add(alice, owner)), "owner")
		d.refuses(oat.ErrOwnerNotFound, remove(alice, owner))
	}

	must(t, add(alice, "bob")())
	if diff := cmp.Diff(events.Payload(&events.OrganizationOwnerAdded{Owner: "bob"}), d.last()); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
	d.changesNothing(add(bob, "bob"))

	// The one who generated the token leaves; the token does not care.
	must(t, remove(bob, "alice")())
	if diff := cmp.Diff(events.Payload(&events.OrganizationOwnerRemoved{Owner: "alice"}), d.last()); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
	d.opens(secret, true)
	for _, command := range d.management(alice, "acme", token.ID) {
		d.refuses(oat.ErrNotOwner, command.give)
	}
	d.refuses(oat.ErrLastOwner, remove(bob, "bob"))
	must(t, d.Service.Deactivate(t.Context(), bob, oat.Deactivate{Organization: "acme", Token: token.ID}))
}

// hostOwners is a host that knows the owners itself.
type hostOwners func(organization, user string) (bool, error)

func (f hostOwners) IsOwner(_ context.Context, organization, user string) (bool, error) {
	return f(organization, user)
}

func TestOwnersKeptByTheHost(t *testing.T) {
	owners := []string{"alice"}
	directory := errors.New("directory is down")
	var down error
	d := &desk{oattest.New(t, func(cfg *oat.Config) {
		cfg.Owners = hostOwners(func(organization, user string) (bool, error) {
			return organization == "acme" && slices.Contains(owners, user), down
		})
	}), t}
	err := d.refuses(oat.ErrInvalid, func() error {
		return d.Service.Register(t.Context(), billing, oat.Register{Organization: "acme", Plan: quota.Team, Owners: []string{"alice"}})
	})
	wantProblems(t, err, "owners")
	must(t, d.Service.Register(t.Context(), billing, oat.Register{Organization: "acme", Plan: quota.Team}))
	must(t, d.Service.Register(t.Context(), billing, oat.Register{Organization: "other", Plan: quota.Team}))

	token, _ := d.generate()
	for _, command := range d.management(mallory, "acme", token.ID) {
		d.refuses(oat.ErrNotOwner, command.give)
	}
	for _, command := range d.management(alice, "other", token.ID) {
		d.refuses(oat.ErrNotOwner, command.give)
	}
	for _, by := range []oat.Actor{alice, billing} {
		commands := d.management(by, "acme", token.ID)
		d.refuses(oat.ErrHostOwners, commands[1].give) // AddOwner
		d.refuses(oat.ErrHostOwners, commands[2].give) // RemoveOwner
	}

	// Not to know is to refuse; the host itself is not asked about.
	down = directory
	for _, command := range d.management(alice, "acme", token.ID) {
		if err := d.refuses(directory, command.give); !errors.Is(err, directory) {
			t.Errorf("%s refused with %v, want the host's own error", command.name, err)
		}
	}
	must(t, d.Service.ChangePlan(t.Context(), billing, oat.ChangePlan{Organization: "acme", Plan: quota.Business}))

	down, owners = nil, nil
	for _, command := range d.management(alice, "acme", token.ID) {
		d.refuses(oat.ErrNotOwner, command.give)
	}
}

// TestManyOwners fails when Register takes more owners than fit an event.
func TestManyOwners(t *testing.T) {
	d := newDesk(t)
	owners := make([]string, oat.MaxOwners+1)
	for i := range owners {
		owners[i] = strings.Repeat("\U0001F511", 250) + fmt.Sprintf("%04d", i)
	}
	register := func(n int) error {
		return d.Service.Register(t.Context(), alice, oat.Register{Organization: "globex", Plan: quota.Team, Owners: owners[:n]})
	}
	if err := register(len(owners)); !errors.Is(err, oat.ErrInvalid) {
		t.Errorf("%d owners: %v", len(owners), err)
	}
	must(t, register(oat.MaxOwners))
}
