package oat_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/oattest"
	"github.com/oatmill/oatmill/quota"
)

// Who gives commands: alice owns acme, mallory owns nothing, and billing is the host.
var (
	alice   = oat.Actor{User: "alice"}
	mallory = oat.Actor{User: "mallory"}
	billing = oat.Actor{Host: "billing"}
)

// desk is where commands are given: a service on a log in memory, with a verifier
// beside it, and organization acme on plan team.
type desk struct {
	*oattest.Env
	t *testing.T
}

func newDesk(t *testing.T, options ...func(*oat.Config)) *desk {
	t.Helper()
	d := &desk{oattest.New(t, options...), t}
	d.register("acme", quota.Team)
	return d
}

func (d *desk) register(organization, plan string) {
	d.t.Helper()
	must(d.t, d.Service.Register(d.t.Context(), alice, oat.Register{
		Organization: organization, Plan: plan, Owners: []string{"alice"},
	}))
}

// generate makes a token of acme that reads all repositories and never expires, unless
// a change says otherwise.
func (d *desk) generate(changes ...func(*oat.Generate)) (oat.Token, oat.Secret) {
	d.t.Helper()
	token, secret, err := d.Service.Generate(d.t.Context(), alice, wellFormed(changes...))
	must(d.t, err)
	return token, secret
}

// wellFormed is a Generate that nothing is wrong with, before the changes.
func wellFormed(changes ...func(*oat.Generate)) oat.Generate {
	cmd := oat.Generate{
		Organization: "acme", Label: "ci", Expires: oat.Never(), Resources: []oat.Resource{oat.All("acme", oat.Read)},
	}
	for _, change := range changes {
		change(&cmd)
	}
	return cmd
}

// lasting makes the token expire after d of the desk's clock.
func (d *desk) lasting(life time.Duration) func(*oat.Generate) {
	return func(cmd *oat.Generate) { cmd.Expires = oat.ExpiresAt(d.Clock.Now().Add(life)) }
}

func (d *desk) deactivate(token uuid.UUID) {
	d.t.Helper()
	must(d.t, d.Service.Deactivate(d.t.Context(), alice, oat.Deactivate{Organization: "acme", Token: token}))
}

func (d *desk) delete(token uuid.UUID) {
	d.t.Helper()
	must(d.t, d.Service.Delete(d.t.Context(), alice, oat.Delete{Organization: "acme", Token: token}))
}

func (d *desk) changePlan(plan string) {
	d.t.Helper()
	must(d.t, d.Service.ChangePlan(d.t.Context(), billing, oat.ChangePlan{Organization: "acme", Plan: plan}))
}

// opens demands that the secret opens acme, or that it does not.
func (d *desk) opens(secret oat.Secret, want bool) oat.Grant {
	d.t.Helper()
	return opens(d.t, d.Verifier, secret, want)
}

func opens(t *testing.T, v *oat.Verifier, secret oat.Secret, want bool) oat.Grant {
	t.Helper()
	grant, err := v.Verify(t.Context(), oat.Attempt{Organization: "acme", Secret: secret})
	if (err == nil) != want || err != nil && err != oat.ErrRefused {
		t.Fatalf("verify: %v, want it to open: %t", err, want)
	}
	return grant
}

// records is everything in the log, or what stands in the named streams.
func (d *desk) records(streams ...events.StreamID) []events.Recorded {
	d.t.Helper()
	return records(d.t, d.Log, streams...)
}

func records(t *testing.T, log events.Log, streams ...events.StreamID) (all []events.Recorded) {
	t.Helper()
	for r, err := range log.ReadAll(t.Context(), 0) {
		must(t, err)
		if len(streams) == 0 || slices.Contains(streams, r.Stream) {
			all = append(all, r)
		}
	}
	return all
}

// last is what the last record of the log says.
func (d *desk) last() events.Payload {
	d.t.Helper()
	all := d.records()
	payload, err := all[len(all)-1].Payload()
	must(d.t, err)
	return payload
}

// sentinels are all refusals of commands.
func sentinels() []error {
	return []error{
		oat.ErrInvalid, oat.ErrNotOwner, oat.ErrNotFound, oat.ErrOrganizationNotFound, oat.ErrTokenNotFound,
		oat.ErrOwnerNotFound, oat.ErrExists, oat.ErrLastOwner, oat.ErrHostOwners, oat.ErrUnknownPlan, oat.ErrNoTokens,
		oat.ErrInactive, oat.ErrExpired, oat.ErrActive, oat.ErrChanged, oat.ErrRepeated, oat.ErrBusy, quota.ErrExceeded, events.ErrUnknownOutcome,
	}
}

// refuses demands that the command is refused with want and its parents, that it is
// refused with nothing else, and that it leaves no trace. It returns the error.
func (d *desk) refuses(want error, command func() error) error {
	d.t.Helper()
	before := len(d.records())
	err := command()
	for _, sentinel := range sentinels() {
		if is, should := errors.Is(err, sentinel), errors.Is(want, sentinel); is != should {
			d.t.Errorf("refused with %v: is %q = %t, want %t", err, sentinel, is, should)
		}
	}
	if after := len(d.records()); after != before {
		d.t.Errorf("a refused command left %d records", after-before)
	}
	return err
}

// changesNothing demands that the command is carried out and records nothing.
func (d *desk) changesNothing(command func() error) {
	d.t.Helper()
	before := len(d.records())
	must(d.t, command())
	if after := len(d.records()); after != before {
		d.t.Errorf("a command that changes nothing left %d records", after-before)
	}
}

// wantProblems demands that err names exactly these fields, in this order.
func wantProblems(t *testing.T, err error, fields ...string) {
	t.Helper()
	var problems oat.ValidationErrors
	if !errors.As(err, &problems) {
		t.Fatalf("error is %T %v, want ValidationErrors", err, err)
	}
	var got []string
	for _, p := range problems {
		got = append(got, p.Field)
		if !strings.Contains(err.Error(), p.Error()) {
			t.Errorf("message %q leaves out %q", err, p)
		}
	}
	if !slices.Equal(got, fields) {
		t.Errorf("problems with %q, want %q\n%v", got, fields, err)
	}
	var first *oat.ValidationError
	if !errors.As(err, &first) || first != problems[0] || !errors.Is(first, oat.ErrInvalid) || !errors.Is(err, oat.ErrInvalid) {
		t.Errorf("%v: first problem %v, want it to be ErrInvalid", err, first)
	}
}

// logged collects what a logger writes.
func logged() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})), &b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func pointer[T any](v T) *T { return &v }

// command is a command ready to be given.
type command struct {
	name string
	give func() error
}

// management is every command that manages an organization, well-formed, about the
// token where it is about one.
func (d *desk) management(by oat.Actor, organization string, token uuid.UUID) []command {
	ctx, s := d.t.Context(), d.Service
	return []command{
		{"ChangePlan", func() error {
			return s.ChangePlan(ctx, by, oat.ChangePlan{Organization: organization, Plan: quota.Business})
		}},
		{"AddOwner", func() error { return s.AddOwner(ctx, by, oat.AddOwner{Organization: organization, Owner: "bob"}) }},
		{"RemoveOwner", func() error {
			return s.RemoveOwner(ctx, by, oat.RemoveOwner{Organization: organization, Owner: "alice"})
		}},
		{"Generate", func() error {
			_, _, err := s.Generate(ctx, by, wellFormed(func(cmd *oat.Generate) { cmd.Organization = organization }))
			return err
		}},
		{"Edit", func() error {
			_, err := s.Edit(ctx, by, oat.Edit{Organization: organization, Token: token, Label: pointer("other")})
			return err
		}},
		{"Deactivate", func() error { return s.Deactivate(ctx, by, oat.Deactivate{Organization: organization, Token: token}) }},
		{"Delete", func() error { return s.Delete(ctx, by, oat.Delete{Organization: organization, Token: token}) }},
	}
}

// digestOf is what the log knows of a secret.
func digestOf(s oat.Secret) events.Hash { return sha256.Sum256([]byte(s.Reveal())) }
