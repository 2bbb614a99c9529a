package invariants

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"

	"pgregory.net/rapid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
)

// wrappings are texts that have a secret in them, as clients send it in the wrong field.
func wrappings() []func(string) string {
	return []func(string) string{
		same,
		func(s string) string { return "token: " + s + ", " + s },
		func(s string) string { return strings.Repeat("x ", 100) + s },     // where long texts are cut
		func(s string) string { return strings.Repeat("\u200b", 335) + s }, // the same, once it is removed
		func(s string) string { return strings.Repeat(s+" ", 40) },         // more than is looked at
		func(s string) string { return s[:20] + "\u2060\n" + s[20:] },      // whole once something is removed
		func(s string) string { return s[:20] + "\xff\x00" + s[20:] },      // the same
		func(s string) string { return s[4:] + "@registry.example" },       // without its prefix
		func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte("acme:"+s)) },
	}
}

// misplace sends somebody's secret in a field that is not for secrets: in every one of a
// command, of an actor, and of an attempt.
func (s *sequential) misplace(t *rapid.T) {
	if len(s.held) == 0 {
		t.Skip("nobody has a secret")
	}
	h := rapid.SampledFrom(s.held).Draw(t, "secret of")
	text := rapid.SampledFrom(wrappings()).Draw(t, "wrapped")(h.secret.Reveal())
	p := s.process(t)
	service, ctx, host := p.engine.Load().service, context.Background(), oat.Actor{Host: "test"}
	for field, err := range map[string]error{
		"user":                service.ChangePlan(ctx, oat.Actor{User: text}, oat.ChangePlan{Organization: acme, Plan: planTwo}),
		"host":                service.ChangePlan(ctx, oat.Actor{Host: text}, oat.ChangePlan{Organization: acme, Plan: planTwo}),
		"reason":              service.Delete(ctx, oat.Actor{Host: "test", Reason: text}, oat.Delete{Organization: acme, Token: h.id}),
		"correlation":         service.Delete(ctx, oat.Actor{Host: "test", Correlation: text}, oat.Delete{Organization: acme, Token: h.id}),
		"organization, new":   service.Register(ctx, host, oat.Register{Organization: text, Owners: []string{"alice"}}),
		"organization":        service.AddOwner(ctx, host, oat.AddOwner{Organization: text, Owner: "alice"}),
		"owners":              service.Register(ctx, host, oat.Register{Organization: gamma, Owners: []string{"alice", text}}),
		"plan, new":           service.Register(ctx, host, oat.Register{Organization: gamma, Owners: []string{"alice"}, Plan: text}),
		"plan":                service.ChangePlan(ctx, host, oat.ChangePlan{Organization: acme, Plan: text}),
		"owner":               service.AddOwner(ctx, host, oat.AddOwner{Organization: acme, Owner: text}),
		"owner, removed":      service.RemoveOwner(ctx, host, oat.RemoveOwner{Organization: acme, Owner: text}),
		"label":               second(service.Generate(ctx, host, misplaced(func(cmd *oat.Generate) { cmd.Label = text }))),
		"description":         second(service.Generate(ctx, host, misplaced(func(cmd *oat.Generate) { cmd.Description = text }))),
		"resource's type":     second(service.Generate(ctx, host, misplaced(func(cmd *oat.Generate) { cmd.Resources[0].Type = text }))),
		"resource's path":     second(service.Generate(ctx, host, misplaced(func(cmd *oat.Generate) { cmd.Resources[0].Path = acme + "/" + text }))),
		"resource's scope":    second(service.Generate(ctx, host, misplaced(func(cmd *oat.Generate) { cmd.Resources[0].Scopes = []string{text} }))),
		"label, edited":       first(service.Edit(ctx, host, oat.Edit{Organization: acme, Token: h.id, Label: &text})),
		"description, edited": first(service.Edit(ctx, host, oat.Edit{Organization: acme, Token: h.id, Description: &text})),
		"path, edited":        first(service.Edit(ctx, host, oat.Edit{Organization: acme, Token: h.id, Resources: []events.Resource{oat.Repository(text, oat.Read)}})),
	} {
		s.ears.hear(err)
		if err == nil || errors.Is(err, events.ErrUnknownOutcome) {
			t.Fatalf("%q is taken as %s: %v", text, field, err)
		}
	}
	_, expiryErr := oat.ParseExpiry(text)
	_, idErr := oat.ParseTokenID(text)
	s.ears.hear(expiryErr, idErr)
	s.absorb(t) // in which a record that one of these left would be one that nobody asked for
	p.catchUp(t)
	for _, a := range []oat.Attempt{
		{Organization: h.org, Secret: h.secret, Address: text, UserAgent: text},
		{Organization: text, Secret: h.secret, Address: text, UserAgent: text},
		{Organization: h.org, Secret: h.secret, Service: text},
		{Organization: text, Secret: oat.NewSecret(text), Service: text, Address: text, UserAgent: text},
	} {
		p.attempt(t, a, nil)
	}
}

// misplaced is a command that would be carried out before the change.
func misplaced(change func(*oat.Generate)) oat.Generate {
	cmd := oat.Generate{Organization: acme, Label: "ci", Expires: oat.Never(), Resources: []events.Resource{oat.Repository(acme+"/api", oat.Read)}}
	change(&cmd)
	return cmd
}

func first(_ oat.Token, err error) error                { return err }
func second(_ oat.Token, _ oat.Secret, err error) error { return err }
