package oat_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
)

// may is what a grant allows on a repository, for each visibility: "-" nothing, "r"
// pull, "w" pull and push.
func may(g oat.Grant, repository string) string {
	var b strings.Builder
	for _, v := range []oat.Visibility{oat.VisibilityUnknown, oat.VisibilityPrivate, oat.VisibilityPublic} {
		switch {
		case g.Allows(oat.Push, repository, v) && !g.Allows(oat.Pull, repository, v):
			b.WriteByte('?')
		case g.Allows(oat.Push, repository, v):
			b.WriteByte('w')
		case g.Allows(oat.Pull, repository, v):
			b.WriteByte('r')
		default:
			b.WriteByte('-')
		}
	}
	return b.String()
}

// What a grant opens where the repository is of unknown visibility, private, public.
// Break it by treating VisibilityUnknown as VisibilityPublic in credential.level.
func TestAllows(t *testing.T) {
	api := func(level oat.Level) []oat.Resource { return []oat.Resource{oat.Repository("acme/api", level)} }
	tests := map[string]struct {
		resources []oat.Resource
		want      map[string]string
	}{
		"public": {[]oat.Resource{oat.Public()}, map[string]string{
			"acme/api": "--r", "acme/team/api": "--r", "library/alpine": "--r", "acme2/api": "--r",
		}},
		"all, read": {[]oat.Resource{oat.All("acme", oat.Read)}, map[string]string{
			"acme/api": "rrr", "acme/team/api": "rrr", "acme/acme": "rrr", "acme2/api": "---", "library/alpine": "---", "acm/e": "---",
		}},
		"all, write": {[]oat.Resource{oat.All("acme", oat.ReadWrite)}, map[string]string{
			"acme/api": "www", "acme/team/api": "www", "acme2/api": "---", "other/acme": "---",
		}},
		"push alone": {[]oat.Resource{line("acme/*", oat.ScopePush)}, map[string]string{"acme/api": "www"}},
		"one, read": {api(oat.Read), map[string]string{
			"acme/api": "rrr", "acme/web": "---", "acme/api2": "---", "acme/ap": "---", "acme/api/x": "---", "acme2/api": "---", "x/acme/api": "---",
		}},
		"one, write": {api(oat.ReadWrite), map[string]string{"acme/api": "www", "acme/web": "---"}},
		"several": {append(api(oat.ReadWrite), oat.Repository("acme/web", oat.Read), oat.Repository("acme/a/b", oat.Read)), map[string]string{
			"acme/api": "www", "acme/web": "rrr", "acme/a/b": "rrr", "acme/a": "---", "acme/b": "---",
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			_, secret := d.generate(func(cmd *oat.Generate) { cmd.Resources = test.resources })
			grant := d.opens(secret, true)
			for repository, want := range test.want {
				if got := may(grant, repository); got != want {
					t.Errorf("%s: %s, want %s", repository, got, want)
				}
			}
		})
	}
}

// A name that registries would not write is not a repository, whoever asks: nothing
// that reads "acme/../x" as "x" later on is let in here. Break it by dropping the test
// of isRepository in Grant.Allows.
func TestOddNamesAreDenied(t *testing.T) {
	d := newDesk(t)
	_, all := d.generate(func(cmd *oat.Generate) { cmd.Resources = []oat.Resource{oat.All("acme", oat.ReadWrite)} })
	_, public := d.generate(func(cmd *oat.Generate) { cmd.Resources = []oat.Resource{oat.Public()} })
	grants := []oat.Grant{d.opens(all, true), d.opens(public, true), oat.Anonymous(), {}}
	for _, name := range []string{
		"", "/", "acme", "acme/", "/acme/api", "acme//api", "acme/api/", "acme/..", "acme/../x", "acme/./api", "acme/.api",
		"ACME/api", "acme/API", "Acme/api", "acme/*", "*/*/public", "acme/api*", "acme /api", "acme/api ", " acme/api", "acme/api\n",
		"acme/api\x00", "acme/api:latest", "acme/api@sha256:00", "acme%2fapi", "acme/%2e%2e/x", `acme\api`, "acme/ápi", "acme/-", "acme/api-",
		"acme/a..b", "acme/a___b", "acme/a.-b", "acme/" + strings.Repeat("x", 251), strings.Repeat("acme/", 100) + "api", "docker.io:443/acme/api",
	} {
		for i, g := range grants {
			if got := may(g, name); got != "---" {
				t.Errorf("grant %d on %q: %s, want nothing", i, name, got)
			}
		}
	}
}

// The grammar is the distribution specification's, written a second time as the
// regular expression that stands there.
func TestRepositoryNamesFollowTheSpecification(t *testing.T) {
	name := regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	d := newDesk(t)
	_, secret := d.generate(func(cmd *oat.Generate) { cmd.Resources = []oat.Resource{oat.All("acme", oat.Read)} })
	grant := d.opens(secret, true)
	rapid.Check(t, func(t *rapid.T) {
		repository := "acme/" + rapid.StringOfN(rapid.RuneFrom([]rune("ab0._-/Aä ")), 0, 12, -1).Draw(t, "repository")
		if got, want := grant.Allows(oat.Pull, repository, oat.VisibilityPrivate), name.MatchString(repository); got != want {
			t.Fatalf("%q allowed: %t, specified: %t", repository, got, want)
		}
	})
}

// Neither no grant at all nor an action that is none opens anything.
func TestWhatNobodyMayDo(t *testing.T) {
	d := newDesk(t)
	_, secret := d.generate(func(cmd *oat.Generate) { cmd.Resources = []oat.Resource{oat.All("acme", oat.ReadWrite)} })
	full := d.opens(secret, true)
	for _, v := range []oat.Visibility{oat.VisibilityUnknown, oat.VisibilityPrivate, oat.VisibilityPublic, oat.VisibilityPublic + 1, 255} {
		for _, action := range []oat.Action{0, oat.Push + 1, 255} { // 3 is where a deletion would be
			if full.Allows(action, "acme/api", v) {
				t.Errorf("action %d is allowed", action)
			}
		}
		for _, action := range []oat.Action{0, oat.Pull, oat.Push, 3} {
			if (oat.Grant{}).Allows(action, "acme/api", v) {
				t.Errorf("the zero grant allows action %d on visibility %d", action, v)
			}
			if want := action == oat.Pull && v == oat.VisibilityPublic; oat.Anonymous().Allows(action, "acme/api", v) != want {
				t.Errorf("anonymous: action %d on visibility %d allowed: %t", action, v, !want)
			}
		}
	}
	for _, g := range []oat.Grant{{}, oat.Anonymous()} {
		if g.Organization() != "" || g.Token() != uuid.Nil || g.Plan() != "" {
			t.Errorf("%v names somebody", g)
		}
	}
}

// What somebody else recorded is read narrowly: what is not understood, or reaches
// outside the organization, opens nothing. Break it by dropping the test of the type in
// levelOf, or by granting level to the public in credential.setAccess.
func TestForeignRecordsOpenNothing(t *testing.T) {
	repositories := []string{"acme/api", "acme2/api", "other/api", "library/alpine", "acme/team/api"}
	for name, test := range map[string]struct {
		resource oat.Resource
		want     string // for acme/api; the others must be closed unless public says otherwise
	}{
		"another's repository":      {line("other/api", oat.ScopePull, oat.ScopePush), "---"},
		"a longer name":             {line("acme2/api", oat.ScopePull), "---"},
		"everything of another":     {line("other/*", oat.ScopePush), "---"},
		"everything":                {line("*", oat.ScopePush), "---"},
		"everything, twice":         {line("*/*", oat.ScopePush), "---"},
		"everything private":        {line("*/*/private", oat.ScopePush), "---"},
		"a pattern":                 {line("acme/a*", oat.ScopePush), "---"},
		"a way up":                  {line("acme/../other/api", oat.ScopePush), "---"},
		"only the organization":     {line("acme", oat.ScopePush), "---"},
		"nothing":                   {line("", oat.ScopePush), "---"},
		"another type":              {oat.Resource{Type: "TYPE_ORG", Path: "acme/*", Scopes: []string{oat.ScopePush}}, "---"},
		"no type":                   {oat.Resource{Path: "acme/*", Scopes: []string{oat.ScopePush}}, "---"},
		"no scope":                  {line("acme/*"), "---"},
		"a scope unknown":           {line("acme/*", "scope-image-delete", "*", "SCOPE-IMAGE-PUSH"), "---"},
		"a scope unknown and read":  {line("acme/*", "scope-image-delete", oat.ScopePull), "rrr"},
		"the public and writing it": {line(oat.PathPublic, oat.ScopePush), "--r"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, edited := range []bool{false, true} {
				d := newDesk(t)
				secret := oat.NewSecret("oat_0123456789ABCDEFGHIJKLMNOP" + checksum("0123456789ABCDEFGHIJKLMNOP"))
				id := uuid.NewString()
				generated := &events.TokenGenerated{
					Token: id, Label: "foreign", Digest: digestOf(secret), Resources: []oat.Resource{test.resource},
				}
				if edited {
					generated.Resources = []oat.Resource{oat.All("acme", oat.ReadWrite)}
				}
				d.write(acme, generated)
				if edited {
					d.write(acme, &events.TokenEdited{Token: id, Resources: []oat.Resource{test.resource}})
				}
				must(t, d.Verifier.Apply(t.Context(), d.records()))
				grant := d.opens(secret, true)
				for _, repository := range repositories {
					want := "---"
					if strings.HasPrefix(repository, "acme/") || test.want == "--r" {
						want = test.want
					}
					if got := may(grant, repository); got != want {
						t.Errorf("%s: %s, want %s", repository, got, want)
					}
				}
			}
		})
	}
}

// A record of two lines that overlap opens the wider one, in whichever order.
func TestOverlappingRecordsOpenTheWider(t *testing.T) {
	secret := oat.NewSecret("oat_0123456789ABCDEFGHIJKLMNOP" + checksum("0123456789ABCDEFGHIJKLMNOP"))
	narrow, wide, all := oat.Repository("acme/api", oat.Read), oat.Repository("acme/api", oat.ReadWrite), oat.All("acme", oat.Read)
	for _, resources := range [][]oat.Resource{{narrow, wide, all}, {all, wide, narrow}, {wide, all, narrow}} {
		d := newDesk(t)
		d.write(acme, &events.TokenGenerated{
			Token: uuid.NewString(), Label: "foreign", Digest: digestOf(secret), Resources: resources,
		})
		must(t, d.Verifier.Apply(t.Context(), d.records()))
		grant := d.opens(secret, true)
		if api, web := may(grant, "acme/api"), may(grant, "acme/web"); api != "www" || web != "rrr" {
			t.Errorf("acme/api: %s, acme/web: %s", api, web)
		}
	}
}

// Fails if Expires returns a time for a token that never expires.
func TestGrantKnowsWhenItsTokenExpires(t *testing.T) {
	d := newDesk(t)
	end := d.Clock.Now().Add(time.Hour + time.Microsecond)
	_, ending := d.generate(func(cmd *oat.Generate) { cmd.Expires = oat.ExpiresAt(end) })
	_, never := d.generate()
	_, late := d.generate(func(cmd *oat.Generate) { cmd.Expires = parsed(t, "9999-12-31T23:59:59Z") })
	if at, ok := d.opens(ending, true).Expires(); !ok || !at.Equal(end) {
		t.Errorf("expires %v, %v, want %v", at, ok, end)
	}
	for _, grant := range []oat.Grant{d.opens(never, true), d.opens(late, true), oat.Anonymous(), {}} {
		if at, ok := grant.Expires(); ok || !at.IsZero() {
			t.Errorf("a grant without an end expires %v", at)
		}
	}
}
