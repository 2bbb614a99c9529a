package invariants

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
)

// Plans of the tests: small, so that limits are met within few commands.
const (
	planNone = "none" // known, and without tokens
	planTwo  = "two"
	planFour = "four"
)

const acme, beta, gamma = "acme", "beta.corp", "gam__ma-7"

// pick draws one of good, or now and then one of bad.
func pick[T any](t *rapid.T, label string, good, bad []T) T {
	if len(bad) > 0 && once(t, "bad "+label, 20) {
		return rapid.SampledFrom(bad).Draw(t, label)
	}
	return rapid.SampledFrom(good).Draw(t, label)
}

// once draws true one time in n, and shrinks to false.
func once(t *rapid.T, label string, n int) bool {
	return rapid.IntRange(1, n).Draw(t, label) == n
}

func drawOrg(t *rapid.T) string {
	return pick(t, "organization", []string{acme, acme, acme, beta}, []string{gamma, "ghost", "Acme", "acme/beta", "", "-"})
}

func drawActor(t *rapid.T) oat.Actor {
	a := pick(t, "actor",
		[]oat.Actor{{User: "alice"}, {User: "alice"}, {User: "bob"}, {Host: "billing"}, {User: "jose\u0301"}},
		[]oat.Actor{{User: " alice\n"}, {Host: "billing "}, {User: "ali\u200bce"}, {User: "\u3164"}, {User: joined}, {User: "carol"}, {User: "mallory"}, {User: "billing"}, {}, {User: "alice", Host: "billing"}, {User: "host:billing"},
			{User: "al\x00ice"}, {Host: strings.Repeat("h", 255)}, {User: strings.Repeat("𝔲", 254)}, {Host: strings.Repeat("𝔥", 254)}})
	a.Reason = pick(t, "reason", []string{"", "", "leaked"}, []string{" leake\u0301d ", joined, "a\u2066b", strings.Repeat("𝔯", 256), strings.Repeat("r", 257), "a\nb"})
	return a
}

func drawOwner(t *rapid.T) string {
	return pick(t, "owner", []string{"alice", "bob", "carol", "josé", " jose\u0301"}, []string{"", "bo\u202eb", "\u2800", " host:billing", "host:billing", "b\tob", strings.Repeat("o", 255), "mallory"})
}

func drawPlan(t *rapid.T) string {
	return pick(t, "plan", []string{planTwo, planFour, planTwo, planNone, ""}, []string{"team", "TWO"})
}

func drawLabel(t *rapid.T) string {
	return pick(t, "label", []string{"ci", "deploy", " ci\t", "buro\u0308", joined, strings.Repeat("ß", 100), `<b>"&\u2028`},
		[]string{"", " \n ", "\u200b", "a\u202eb", "a\ufe0f", "\u3164\u2800", "a\ufffdb", strings.Repeat("l", 101), "a\nb", "a\xffb", "a\u0085b", "a\x00b"})
}

func drawDescription(t *rapid.T) string {
	return pick(t, "description", []string{"", "for the pipeline", "two\n\tlines", " two\n\tlines\n", "cafe\u0301", joined, strings.Repeat("語", 200)},
		[]string{"\u200b", "a\u2066b", strings.Repeat("d", 201), "a\x07b", "\xc3("})
}

// drawExpiry draws an expiry around now, with what should be recorded of it.
func drawExpiry(t *rapid.T, now time.Time) (oat.Expiry, expiry) {
	in := func(d time.Duration) func() (oat.Expiry, expiry) {
		at := now.Add(d)
		text := at.UTC().Truncate(time.Microsecond).Format(time.RFC3339Nano)
		return func() (oat.Expiry, expiry) { return oat.ExpiresAt(at), expiry{true, text} }
	}
	as := func(text string) func() (oat.Expiry, expiry) {
		return func() (oat.Expiry, expiry) {
			e, err := oat.ParseExpiry(text)
			if err != nil {
				t.Fatalf("ParseExpiry(%q): %v", text, err)
			}
			return e, expiry{true, text}
		}
	}
	east := now.Add(90*time.Second + 123*time.Nanosecond).In(time.FixedZone("", 2*3600))
	return pick(t, "expiry", []func() (oat.Expiry, expiry){
		func() (oat.Expiry, expiry) { return oat.Never(), expiry{chosen: true} },
		in(time.Minute), in(5 * time.Second), in(time.Hour),
		as(east.Format("2006-01-02T15:04:05.000000000Z07:00")), as("9999-12-31T23:59:59Z"), in(time.Microsecond),
	}, []func() (oat.Expiry, expiry){
		func() (oat.Expiry, expiry) { return oat.Expiry{}, expiry{} },
		in(0), in(-time.Nanosecond), in(-time.Hour), as("0001-01-01T00:00:00Z"),
	})()
}

func repo(path string, scopes ...string) events.Resource {
	return events.Resource{Type: "TYPE_REPO", Path: path, Scopes: scopes}
}

const pull, push = "scope-image-pull", "scope-image-push"

func repos(org string, n int) (all []events.Resource) {
	for i := range n {
		all = append(all, repo(fmt.Sprintf("%s/r%d", org, i), pull))
	}
	return all
}

func drawResources(t *rapid.T, org string) []events.Resource {
	many := func(rs ...events.Resource) []events.Resource { return rs }
	good := [][]events.Resource{
		many(repo(org+"/api", pull, push)),
		many(repo(org+"/*", pull)), many(repo(org+"/*", push)), many(repo("*/*/public", pull)),
		many(repo(org+"/api", pull), repo(org+"/web", push, pull), repo(org+"/deep/er", push)),
		many(oat.Repository(org+"/web", oat.ReadWrite)), many(oat.All(org, oat.ReadWrite)), many(oat.Public()), repos(org, 50),
	}
	bad := [][]events.Resource{
		{}, repos(org, 51), many(repo(org + "/api")), many(repo(org+"/api", "scope-image-delete")), many(repo(org+"/api", pull, pull)),
		many(repo("*/*/public", pull, push)), many(repo(org+"/*", pull), repo(org+"/api", push)), many(repo("*/*/public", pull), repo(org+"/api", pull)),
		many(repo(org+"/api", pull), repo(org+"/api", push)), many(repo("other/api", pull)), many(repo(org+"x/api", pull)), many(repo("*/*", pull)),
		many(repo(org, pull)), many(repo(org+"/", pull)), many(repo(org+"/Api", pull)), many(repo("other/*", push)),
		many(repo(org+"/../other/api", pull)), many(repo(org+"/"+strings.Repeat("a", 256), pull)),
		many(events.Resource{Type: "TYPE_USER", Path: "other//", Scopes: []string{"admin", pull}}, repo(org+"/ok", pull)),
	}
	return pick(t, "resources", good, bad)
}

// drawToken draws a token that there was ever, or now and then one that there never
// was.
func drawToken(t *rapid.T, tokens []uuid.UUID) uuid.UUID {
	unknown := []uuid.UUID{{}, {15: 1}}
	if len(tokens) == 0 {
		return unknown[1]
	}
	return pick(t, "token", tokens, unknown)
}

// drawCommand draws a command of a kind, as a process whose clock shows now would get
// it, while the log knows these tokens of the organization, and those of others.
func drawCommand(t *rapid.T, kind string, now time.Time, tokens func(org string) []uuid.UUID) command {
	c := command{org: drawOrg(t), by: drawActor(t)}
	switch kind {
	case "register":
		c.org = pick(t, "organization", []string{gamma, beta}, []string{acme, "", "Acme", "a..b", strings.Repeat("o", 65), "a/b"})
		owners := pick(t, "owners", [][]string{{"alice"}, {"alice", "bob"}}, [][]string{nil, {"bob", "bob"}, {"josé", "jose\u0301 "}, {"alice", "", "host:x"}})
		c.what = oat.Register{Organization: c.org, Plan: drawPlan(t), Owners: owners}
	case "change plan":
		c.what = oat.ChangePlan{Organization: c.org, Plan: drawPlan(t)}
	case "add owner":
		c.what = oat.AddOwner{Organization: c.org, Owner: drawOwner(t)}
	case "remove owner":
		c.what = oat.RemoveOwner{Organization: c.org, Owner: drawOwner(t)}
	case "generate":
		cmd := oat.Generate{Organization: c.org, Label: drawLabel(t), Description: drawDescription(t), Resources: drawResources(t, c.org)}
		cmd.Expires, c.expiry = drawExpiry(t, now)
		c.what = cmd
	case "edit":
		c.what = drawEdit(t, c.org, tokens(c.org))
	case "deactivate":
		c.what = oat.Deactivate{Organization: c.org, Token: drawToken(t, tokens(c.org)), Version: drawVersion(t)}
	case "delete":
		c.what = oat.Delete{Organization: c.org, Token: drawToken(t, tokens(c.org)), Version: drawVersion(t)}
	}
	return c
}

// drawVersion draws the version that a command is given for: mostly none, and otherwise
// one of the first, which is the token's or is not.
func drawVersion(t *rapid.T) events.Version {
	return pick(t, "version", []events.Version{0, 0, 0, 0, 0, 0, 0, 2, 3, 4, 5}, []events.Version{-1, 1 << 40})
}

func drawEdit(t *rapid.T, org string, tokens []uuid.UUID) oat.Edit {
	cmd := oat.Edit{Organization: org, Token: drawToken(t, tokens), Version: drawVersion(t)}
	what := rapid.IntRange(1, 15).Draw(t, "fields")
	if what&1 != 0 {
		label := drawLabel(t)
		cmd.Label = &label
	}
	if what&2 != 0 {
		description := drawDescription(t)
		cmd.Description = &description
	}
	if what&4 != 0 {
		cmd.Resources = drawResources(t, org)
	}
	return cmd
}
