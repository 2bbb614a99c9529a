package invariants

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/oatmill/oatmill/oat"
)

// answer is what a verifier should say.
type answer struct {
	open      bool
	err, or   error // either of them when not open
	noticed   bool  // whether it is a use of a token, accepted or not
	org, plan string
	token     token
}

// expect is what the oracle says to an attempt, for what the engine must know by now.
func (w *world) expect(e *engine, a oat.Attempt, now time.Time) answer {
	text := a.Secret.Reveal()
	switch strings.ToLower(a.Service) {
	case "docker-desktop", "docker-build-cloud", "docker-scout", "docker-rest-api":
		return answer{err: oat.ErrUnsupportedService}
	}
	switch {
	case !e.fresh(now) && !isSecret(text):
		return answer{err: oat.ErrRefused, or: oat.ErrStale} // whichever is found first
	case !e.fresh(now):
		return answer{err: oat.ErrStale}
	case !isSecret(text):
		return answer{err: oat.ErrRefused}
	}
	sum := sha256.Sum256([]byte(text))
	return w.find(e, a.Organization, now, func(k token) bool { return k.digest == hex.EncodeToString(sum[:]) })
}

// fresh tells whether the end of the log was seen in the last ten seconds. A clock
// that went back makes nobody sure.
func (e *engine) fresh(now time.Time) bool {
	age := now.Sub(e.confirmed)
	return !e.confirmed.IsZero() && age >= 0 && age <= 10*time.Second
}

// find is the answer for the one token that is, if there is one.
func (w *world) find(e *engine, claimed string, now time.Time, is func(token) bool) answer {
	for org, version := range e.known {
		s := w.orgs[org].states[version]
		for _, k := range s.tokens {
			if !is(k) {
				continue
			}
			open := org == claimed && k.changeable(now) && w.rules.limits[s.plan] > 0 && version >= e.required[org]
			return answer{open: open, err: oat.ErrRefused, noticed: true, org: org, plan: s.plan, token: k}
		}
	}
	return answer{err: oat.ErrRefused}
}

// attempt lets a process's verifier answer, and judges the answer. Asks are what is
// then asked of the grant.
func (p *process) attempt(t rapid.TB, a oat.Attempt, asks []ask) {
	e, now := p.engine.Load(), p.clock.now()
	want := p.w.expect(e, a, now)
	grant, err := e.verifier.Verify(context.Background(), a)
	p.w.ears.hear(grant, err)
	want.judge(t, "Verify", grant, err, asks)
	if want.noticed && e.recorder != nil {
		p.w.uses.note(want, now, a)
		e.unsettled[uuidOf(want.token)] = true
	}
}

// recheck does the same with Recheck.
func (p *process) recheck(t rapid.TB, org string, h held, asks []ask) {
	e, now := p.engine.Load(), p.clock.now()
	want := answer{err: oat.ErrStale}
	if e.fresh(now) {
		want = p.w.find(e, org, now, func(k token) bool { return k.id == h.token })
	}
	a := oat.Attempt{Organization: org, Address: "192.0.2.9"}
	grant, err := e.verifier.Recheck(context.Background(), oat.Recheck{Organization: org, Token: h.id, Address: a.Address})
	p.w.ears.hear(grant, err)
	want.judge(t, "Recheck", grant, err, asks)
	if want.noticed && !want.open && e.recorder != nil {
		p.w.uses.note(want, now, a)
		e.unsettled[uuidOf(want.token)] = true
	}
}

func (want *answer) judge(t rapid.TB, what string, grant oat.Grant, err error, asks []ask) {
	if want.open != (err == nil) {
		t.Fatalf("%s: error %v, to be expected was open %t, %v; %+v", what, err, want.open, want.err, want.token)
	}
	if err != nil && (err != want.err && err != want.or || !errors.Is(err, oat.ErrRefused)) {
		t.Fatalf("%s: error %v, to be expected was %v", what, err, want.err)
	}
	if err == nil && (grant.Organization() != want.org || grant.Token().String() != want.token.id || grant.Plan() != want.plan) {
		t.Fatalf("%s: grant for %s of %s on %s, to be expected was %+v", what, grant.Token(), grant.Organization(), grant.Plan(), want)
	}
	for _, q := range asks {
		if got, should := grant.Allows(q.action, q.repository, q.visibility), want.allows(q); got != should {
			t.Fatalf("%s: Allows %+v is %t, to be expected was %t for %+v", what, q, got, should, want.token.resources)
		}
	}
}

// ask is a question to a grant.
type ask struct {
	action     oat.Action
	repository string
	visibility oat.Visibility
}

func (want *answer) allows(q ask) bool {
	return want.open && allows(want.org, want.token.resources, q.action, q.repository, q.visibility)
}

func drawAsks(t *rapid.T) (asks []ask) {
	names := []string{
		"acme/api", "acme/web", "acme/r0", "beta.corp/api", "acme/deep/er", "acme/other", "library/nginx", "acme", "", "/", "acme/", "/acme/api",
		"acme//api", "acme/api/", "Acme/api", "acme/API", "acme/api\x00", "acme/../beta.corp/api", "acme/api:latest", "acme/api@sha256:0", "acmex/api",
		"acme-x/api", "*/*/public", "acme/*", "acme/-", "acme/a..b", "acme/a__b", "acme/a___b", "acme/a--b", " acme/api", "acme/" + strings.Repeat("a", 300),
	}
	for range 4 {
		asks = append(asks, ask{
			rapid.SampledFrom([]oat.Action{oat.Pull, oat.Push, 0, 3, 255}).Draw(t, "action"),
			rapid.SampledFrom(names).Draw(t, "repository"),
			rapid.SampledFrom([]oat.Visibility{oat.VisibilityUnknown, oat.VisibilityPrivate, oat.VisibilityPublic, 7}).Draw(t, "visibility"),
		})
	}
	return asks
}

// drawAttempt draws somebody's try to get in: with a secret that somebody was given
// if there is one, or with something like it.
func (w *world) drawAttempt(t *rapid.T) oat.Attempt {
	a := oat.Attempt{
		Organization: pick(t, "claimed organization", []string{acme}, []string{beta, "", "ACME", "acme/", "nobody", "acme\x00"}),
		Service:      pick(t, "service", []string{"", "registry.example"}, []string{"docker-desktop", "Docker-Scout", "docker-build-cloud", "DOCKER-REST-API"}),
		Address:      pick(t, "address", []string{"192.0.2.1", "192.0.2.2", "2001:db8::1"}, []string{strings.Repeat("9", 300), "a\nb\xff"}),
		UserAgent:    pick(t, "user agent", []string{"docker/29", "crane/1"}, nil),
	}
	genuine := sealed("oat_" + strings.Repeat("0Az", 9)[:26])
	if len(w.held) > 0 {
		h := rapid.SampledFrom(w.held).Draw(t, "secret of")
		genuine, a.Organization = h.secret.Reveal(), pick(t, "claimed organization", []string{h.org}, []string{a.Organization})
	}
	a.Secret = oat.NewSecret(pick(t, "distortion", []func(string) string{same, same, same}, distortions())(genuine))
	if once(t, "user name and password exchanged", 20) {
		a.Organization, a.Secret = a.Secret.Reveal(), oat.NewSecret(a.Organization)
	}
	return a
}

func same(s string) string { return s }

// distortions make something else of a secret.
func distortions() []func(string) string {
	resealed := func(change func(body string) string) func(string) string {
		return func(s string) string { return sealed(change(s[:len(s)-6])) }
	}
	return []func(string) string{
		func(s string) string { return s[:len(s)-1] },
		func(s string) string { return s + "0" },
		func(s string) string { return s[:6] + flipped(s[6:7]) + s[7:] },
		func(s string) string { return s[:len(s)-2] + flipped(s[len(s)-2:len(s)-1]) + s[len(s)-1:] },
		func(s string) string { return " " + s },
		func(s string) string { return s + "\n" },
		strings.ToLower,
		func(string) string { return "" },
		func(string) string { return strings.Repeat("A", 1<<16) },
		func(string) string { return "\xff\x00\x01" },
		resealed(func(b string) string { return b[:8] + flipped(b[8:9]) + b[9:] }),
		resealed(func(b string) string { return "x" + b }),
		resealed(func(b string) string { return b[4:] }),
		resealed(func(b string) string { return "" }),
	}
}

func flipped(c string) string {
	if c == "a" {
		return "b"
	}
	return "a"
}
