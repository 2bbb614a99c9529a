package oat_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

// life gives every command once, all of them accepted.
func life(ctx context.Context, s *oat.Service, organization string, by oat.Actor) error {
	var token oat.Token
	steps := []func() error{
		func() error {
			return s.Register(ctx, by, oat.Register{Organization: organization, Plan: quota.Team, Owners: []string{"alice"}})
		},
		func() error {
			return s.ChangePlan(ctx, by, oat.ChangePlan{Organization: organization, Plan: quota.Business})
		},
		func() error { return s.AddOwner(ctx, by, oat.AddOwner{Organization: organization, Owner: "bob"}) },
		func() (err error) {
			token, _, err = s.Generate(ctx, by, wellFormed(func(cmd *oat.Generate) {
				cmd.Organization, cmd.Resources = organization, []oat.Resource{oat.Public()}
			}))
			return err
		},
		func() error {
			_, err := s.Edit(ctx, by, oat.Edit{Organization: organization, Token: token.ID, Label: pointer("other")})
			return err
		},
		func() error {
			return s.Deactivate(ctx, by, oat.Deactivate{Organization: organization, Token: token.ID})
		},
		func() error { return s.Delete(ctx, by, oat.Delete{Organization: organization, Token: token.ID}) },
		func() error { return s.RemoveOwner(ctx, by, oat.RemoveOwner{Organization: organization, Owner: "bob"}) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// Break it by leaving Reason out in Service.envelopes.
func TestEveryEventSaysWhoWhenAndWhy(t *testing.T) {
	actors := map[string]oat.Actor{
		"alice":        {User: "alice", Correlation: "request 7", Reason: "rotation\u2009– as agreed"},
		"host:billing": {Host: "billing"},
	}
	for recorded, by := range actors {
		d := newDesk(t)
		must(t, life(t.Context(), d.Service, "example", by))
		var types []string
		for _, r := range d.records(events.OrganizationStream("example")) {
			types = append(types, r.Type)
			if r.Actor != recorded || r.Actor != by.String() || r.Correlation != by.Correlation || r.Reason != by.Reason {
				t.Errorf("%s by %q, correlation %q, reason %q; want %+v", r.Type, r.Actor, r.Correlation, r.Reason, by)
			}
			if !r.Time.Equal(d.Clock.Now()) || !r.Causation.IsZero() {
				t.Errorf("%s at %s because of %s, want %s", r.Type, r.Time, r.Causation, d.Clock.Now())
			}
		}
		want := []string{
			events.TypeOrganizationRegistered, events.TypeOrganizationPlanChanged, events.TypeOrganizationOwnerAdded,
			events.TypeTokenGenerated, events.TypeTokenEdited, events.TypeTokenDeactivated, events.TypeTokenDeleted,
			events.TypeOrganizationOwnerRemoved,
		}
		if diff := cmp.Diff(want, types); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		if _, err := events.VerifyChain(t.Context(), d.Log, events.OrganizationStream("example")); err != nil {
			t.Error(err)
		}
	}
}

// Break it by allowing reasons of 257 characters.
func TestWhoMayNotAct(t *testing.T) {
	tests := map[string]struct {
		by     oat.Actor
		fields []string
	}{
		"nobody":                  {oat.Actor{}, []string{"actor"}},
		"a user and the host":     {oat.Actor{User: "alice", Host: "billing"}, []string{"actor"}},
		"a user named like hosts": {oat.Actor{User: "host:billing"}, []string{"actor"}},
		"a user named host:":      {oat.Actor{User: "host:"}, []string{"actor"}},
		"a line break in a name":  {oat.Actor{User: "alice\nbob"}, []string{"actor"}},
		"a name that is no text":  {oat.Actor{User: "alice\xff"}, []string{"actor"}},
		"a user too long":         {oat.Actor{User: strings.Repeat("ä", 255)}, []string{"actor"}},
		"a host too long":         {oat.Actor{Host: strings.Repeat("ä", 255)}, []string{"actor"}},
		"a NUL in the host":       {oat.Actor{Host: "bill\x00ing"}, []string{"actor"}},
		"a correlation too long":  {oat.Actor{User: "alice", Correlation: strings.Repeat("c", 255)}, []string{"correlation"}},
		"a reason too long":       {oat.Actor{User: "alice", Reason: strings.Repeat("r", 257)}, []string{"reason"}},
		"all of it":               {oat.Actor{Correlation: "\x1b", Reason: "\x1b"}, []string{"actor", "correlation", "reason"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			token, _ := d.generate()
			for _, command := range d.management(test.by, "acme", token.ID) {
				wantProblems(t, d.refuses(oat.ErrInvalid, command.give), test.fields...)
			}
			wantProblems(t, d.refuses(oat.ErrInvalid, func() error {
				return d.Service.Register(t.Context(), test.by, oat.Register{Organization: "new", Owners: []string{"alice"}})
			}), test.fields...)
		})
	}
}

// The log has limits of its own, in bytes; what passes here must pass there.
func TestWhoMayAct(t *testing.T) {
	for name, by := range map[string]oat.Actor{
		"a long user":        {User: strings.Repeat("\U0001F36A", 254)},
		"a long host":        {Host: strings.Repeat("\U0001F36A", 254)},
		"a long correlation": {User: "alice", Correlation: strings.Repeat("\U0001F36A", 254)},
		"a long reason":      {User: "alice", Reason: strings.Repeat("\U0001F36A", 256)},
		"host inside a name": {User: "localhost:alice"},
		"an odd name":        {User: `CN=O'Neill, "Al" <al@example.com>`},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			register := oat.Register{Organization: "new", Plan: quota.Team, Owners: []string{"someone"}}
			if by.User != "" {
				register.Owners = []string{by.User}
			}
			must(t, d.Service.Register(t.Context(), by, register))
			must(t, d.Service.ChangePlan(t.Context(), by, oat.ChangePlan{Organization: "new", Plan: quota.Business}))
			records := d.records(events.OrganizationStream("new"))
			if r := records[len(records)-1]; len(records) != 2 || r.Actor != by.String() || r.Reason != by.Reason || r.Correlation != by.Correlation {
				t.Errorf("recorded %+v", r)
			}
		})
	}
}
