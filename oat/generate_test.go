package oat_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

// sameToken compares tokens with everything in them.
func sameToken() cmp.Option {
	return cmp.Comparer(func(a, b oat.Expiry) bool { return a.String() == b.String() })
}

// parsed is the expiry at an instant in RFC 3339.
func parsed(t *testing.T, text string) oat.Expiry {
	t.Helper()
	e, err := oat.ParseExpiry(text)
	must(t, err)
	return e
}

// What was asked for is recorded to the letter, the label's blanks aside. Break it by
// recording ExpiresAt(c.Expires.at) in Generate.decide, or by sorting the resources.
func TestGenerateRecordsWhatWasAsked(t *testing.T) {
	d := newDesk(t)
	d.Clock.Advance(time.Second + 1234567*time.Nanosecond)
	cmd := oat.Generate{
		Organization: "acme",
		Label:        " \t CI für das Büro\u00a0 ",
		Description:  "two lines:  \n\ttabs and\r\nblanks within stay",
		Expires:      parsed(t, "2027-02-03T04:05:06.70+05:30"),
		Resources: []oat.Resource{
			{Type: oat.TypeRepository, Path: "acme/web", Scopes: []string{oat.ScopePush}},
			{Type: oat.TypeRepository, Path: "acme/api", Scopes: []string{oat.ScopePush, oat.ScopePull}},
			{Type: oat.TypeRepository, Path: "acme/a/b/c", Scopes: []string{oat.ScopePull, oat.ScopePush}},
			oat.Repository("acme/zed", oat.Read),
		},
	}
	given := cmd
	given.Resources = slices.Clone(cmd.Resources)
	token, secret, err := d.Service.Generate(t.Context(), alice, given)
	must(t, err)
	recorded := &events.TokenGenerated{
		Token: token.ID.String(), Label: "CI für das Büro", Description: cmd.Description,
		Digest: digestOf(secret), ExpiresAt: "2027-02-03T04:05:06.70+05:30", Resources: cmd.Resources,
	}
	if diff := cmp.Diff(events.Payload(recorded), d.last()); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
	returned := oat.Token{
		ID: token.ID, Organization: "acme", Label: "CI für das Büro", Description: cmd.Description,
		CreatedBy: "alice", CreatedAt: events.Instant(d.Clock.Now()), Expires: cmd.Expires, Resources: cmd.Resources, Active: true, Version: 2,
	}
	if diff := cmp.Diff(returned, token, sameToken()); diff != "" {
		t.Errorf("returned (-want +got):\n%s", diff)
	}
	if token.ID.Version() != 4 || token.ID.Variant() != uuid.RFC4122 {
		t.Errorf("id %s is no random UUID", token.ID)
	}
}

// Neither what the caller keeps of the command nor what was returned to it leads into
// the service. Break it by returning *t in Token.clone.
func TestReturnedTokenBelongsToTheCaller(t *testing.T) {
	d := newDesk(t)
	resources := []oat.Resource{oat.Repository("acme/api", oat.Read)}
	token, secret := d.generate(func(cmd *oat.Generate) { cmd.Resources = resources })
	for _, r := range [][]oat.Resource{resources, token.Resources} {
		r[0].Scopes[0] = oat.ScopePush
		r[0].Path = "acme/other"
	}
	unchanged := []oat.Resource{oat.Repository("acme/api", oat.Read)}
	edited, err := d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: token.ID, Label: pointer("b")})
	must(t, err)
	if diff := cmp.Diff(unchanged, edited.Resources); diff != "" {
		t.Errorf("resources (-want +got):\n%s", diff)
	}
	if g := d.opens(secret, true); g.Allows(oat.Pull, "acme/other", oat.VisibilityPrivate) || g.Allows(oat.Push, "acme/api", oat.VisibilityPrivate) {
		t.Error("the verifier took over what the caller changed")
	}
}

// texts are labels and descriptions at their limits.
func texts(limit int) (good, bad map[string]string) {
	good, bad = make(map[string]string), make(map[string]string)
	for _, character := range []string{"a", "é", "語", "\U0001F36A"} {
		good["as long as can be, of "+character] = strings.Repeat(character, limit)
		bad["one too long, of "+character] = strings.Repeat(character, limit+1)
	}
	bad["no text"] = "a\xff\xfe"
	bad["half a character"] = "語"[:2]
	for _, control := range []string{"\x00", "\x07", "\x1b[31m", "\x7f", "\u0085", "\u009b"} {
		bad[fmt.Sprintf("control character %q", control)] = "a" + control + "b"
	}
	return good, bad
}

func TestLabel(t *testing.T) {
	d := newDesk(t, func(cfg *oat.Config) { cfg.Plans = quota.Plans{quota.Team: {Tokens: 1000}} })
	good, bad := texts(oat.MaxLabel)
	good["blanks around do not count"] = strings.Repeat(" ", 100) + strings.Repeat("a", 100) + "\n"
	bad["empty"], bad["blanks"], bad["a line break"], bad["a tab"] = "", " \t\n\u2003", "a\nb", "a\tb"
	kept, _ := d.generate()
	for name, label := range good {
		token, _ := d.generate(func(cmd *oat.Generate) { cmd.Label = label })
		edited, err := d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: kept.ID, Label: &label})
		must(t, err)
		if want := strings.TrimSpace(label); token.Label != want || edited.Label != want {
			t.Errorf("%s: labels %q and %q, want %q", name, token.Label, edited.Label, want)
		}
	}
	for _, label := range bad {
		d.wantInvalid(wellFormed(func(cmd *oat.Generate) { cmd.Label = label }), "label")
		wantProblems(t, d.refuses(oat.ErrInvalid, func() error {
			_, err := d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: kept.ID, Label: &label})
			return err
		}), "label")
	}
}

func TestDescription(t *testing.T) {
	d := newDesk(t, func(cfg *oat.Config) { cfg.Plans = quota.Plans{quota.Team: {Tokens: 1000}} })
	good, bad := texts(oat.MaxDescription)
	good["empty"], good["blanks around do not count"], good["lines"] = "", " \n ", "one\r\n\ttwo"
	kept, _ := d.generate()
	for name, description := range good {
		token, _ := d.generate(func(cmd *oat.Generate) { cmd.Description = description })
		edited, err := d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: kept.ID, Description: &description})
		must(t, err)
		if want := strings.TrimSpace(description); token.Description != want || edited.Description != want {
			t.Errorf("%s: descriptions %q and %q, want %q", name, token.Description, edited.Description, want)
		}
	}
	for _, description := range bad {
		d.wantInvalid(wellFormed(func(cmd *oat.Generate) { cmd.Description = description }), "description")
		wantProblems(t, d.refuses(oat.ErrInvalid, func() error {
			_, err := d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: kept.ID, Description: &description})
			return err
		}), "description")
	}
}

// wantInvalid demands that the command is refused with problems of exactly these
// fields.
func (d *desk) wantInvalid(cmd oat.Generate, fields ...string) {
	d.t.Helper()
	err := d.refuses(oat.ErrInvalid, func() error {
		token, secret, err := d.Service.Generate(d.t.Context(), alice, cmd)
		if token.ID != uuid.Nil || secret.Reveal() != "" {
			d.t.Error("a refused Generate returned a token")
		}
		return err
	})
	wantProblems(d.t, err, fields...)
}

// Expiry lies in the future, were it by a microsecond, or is chosen to be never.
func TestExpiryMustLieInTheFuture(t *testing.T) {
	d := newDesk(t)
	now := d.Clock.Now()
	for name, expires := range map[string]oat.Expiry{
		"not chosen":          {},
		"now":                 oat.ExpiresAt(now),
		"now, cut down":       oat.ExpiresAt(now.Add(time.Microsecond - 1)),
		"the past":            oat.ExpiresAt(now.Add(-time.Hour)),
		"the zero time":       oat.ExpiresAt(time.Time{}),
		"now, somewhere else": parsed(t, now.In(time.FixedZone("", 3600)).Format(time.RFC3339)),
		"long ago":            parsed(t, "0001-01-01T00:00:00Z"),
	} {
		t.Run(name, func(t *testing.T) {
			d := &desk{d.Env, t}
			d.wantInvalid(wellFormed(func(cmd *oat.Generate) { cmd.Expires = expires }), "expires_at")
		})
	}
	for _, expires := range []oat.Expiry{oat.Never(), oat.ExpiresAt(now.Add(time.Microsecond)), parsed(t, "9999-12-31T23:59:59.999999999Z")} {
		token, secret := d.generate(func(cmd *oat.Generate) { cmd.Expires = expires })
		if token.Expires.String() != expires.String() {
			t.Errorf("expires %q, want %q", token.Expires, expires)
		}
		d.opens(secret, true)
	}
}

func TestAllProblemsOfGenerateAtOnce(t *testing.T) {
	d := newDesk(t)
	d.wantInvalid(oat.Generate{Organization: "acme"}, "label", "expires_at", "resources")
	d.wantInvalid(oat.Generate{
		Organization: "acme", Label: strings.Repeat("a", 101), Description: strings.Repeat("b", 201),
		Expires: oat.ExpiresAt(d.Clock.Now()),
		Resources: []oat.Resource{
			{},
			oat.Repository("acme/api", oat.Read),
			{Type: "TYPE_ORG", Path: "acme/web", Scopes: []string{"scope-admin"}},
			oat.Repository("other/api", 0),
		},
	},
		"label", "description", "expires_at",
		"resources[0].type", "resources[0].path", "resources[0].scopes",
		"resources[2].type", "resources[2].scopes",
		"resources[3].path", "resources[3].scopes")
}

// Every token that was not deleted counts. Break it by counting only active tokens,
// or only those that have not expired, in Generate.decide.
func TestQuotaCountsInactiveAndExpiredTokens(t *testing.T) {
	for plan, limit := range map[string]int{quota.Team: 10, quota.Business: 100} {
		d := newDesk(t)
		d.register("example", plan)
		generate := func(cmd oat.Generate) (oat.Token, error) {
			cmd.Organization, cmd.Resources = "example", []oat.Resource{oat.Public()}
			token, _, err := d.Service.Generate(t.Context(), alice, cmd)
			return token, err
		}
		inactive, err := generate(wellFormed())
		must(t, err)
		must(t, d.Service.Deactivate(t.Context(), alice, oat.Deactivate{Organization: "example", Token: inactive.ID}))
		expired, err := generate(wellFormed(d.lasting(time.Second)))
		must(t, err)
		d.Clock.Advance(time.Hour)
		for range limit - 2 {
			_, err := generate(wellFormed())
			must(t, err)
		}
		for _, token := range []oat.Token{inactive, expired} {
			err := d.refuses(quota.ErrExceeded, func() error { _, err := generate(wellFormed()); return err })
			var exceeded *quota.ExceededError
			if !errors.As(err, &exceeded) || *exceeded != (quota.ExceededError{Limit: limit, Count: limit}) {
				t.Errorf("on plan %s: %v, want limit and count %d", plan, err, limit)
			}
			// A place is free as soon as a token is deleted, and for one token only.
			must(t, d.Service.Delete(t.Context(), alice, oat.Delete{Organization: "example", Token: token.ID}))
			_, err = generate(wellFormed())
			must(t, err)
		}
		d.refuses(quota.ErrExceeded, func() error { _, err := generate(wellFormed()); return err })
	}
}

// A plan that the host does not sell any more has nothing.
func TestPlanWithoutTokens(t *testing.T) {
	plans := quota.Docker()
	plans["sold once"] = quota.Plan{Tokens: 5}
	d := newDesk(t, func(cfg *oat.Config) { cfg.Plans = plans })
	d.changePlan("sold once")
	_, secret := d.generate()

	later, err := oat.New(oat.Config{Log: d.Log, Now: d.Clock.Now})
	must(t, err)
	d.refuses(oat.ErrNoTokens, func() error { _, _, err := later.Generate(t.Context(), alice, wellFormed()); return err })
	v := oat.NewVerifier(oat.VerifierConfig{Now: d.Clock.Now})
	must(t, v.Apply(t.Context(), d.records()))
	v.Confirm(d.Clock.Now())
	opens(t, v, secret, false)
	d.opens(secret, true)
}
