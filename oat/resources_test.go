package oat_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

func line(path string, scopes ...string) oat.Resource {
	return oat.Resource{Type: oat.TypeRepository, Path: path, Scopes: scopes}
}

// The constructors say what Docker Hub's API says.
func TestResourceConstructors(t *testing.T) {
	for _, test := range []struct{ got, want oat.Resource }{
		{oat.Public(), line("*/*/public", "scope-image-pull")},
		{oat.All("acme", oat.Read), line("acme/*", "scope-image-pull")},
		{oat.All("acme", oat.ReadWrite), line("acme/*", "scope-image-pull", "scope-image-push")},
		{oat.Repository("acme/api", oat.Read), line("acme/api", "scope-image-pull")},
		{oat.Repository("acme/api", oat.ReadWrite), line("acme/api", "scope-image-pull", "scope-image-push")},
		{oat.Repository("acme/api", 0), line("acme/api")},
		{oat.Repository("acme/api", 3), line("acme/api")},
	} {
		if diff := cmp.Diff(test.want, test.got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// many is n repositories of acme.
func many(n int) (all []oat.Resource) {
	for i := range n {
		all = append(all, oat.Repository(fmt.Sprintf("acme/repo-%d", i), oat.Read))
	}
	return all
}

func reversed(resources []oat.Resource) []oat.Resource {
	slices.Reverse(resources)
	return resources
}

func TestResourcesThatCanBeGranted(t *testing.T) {
	d := newDesk(t, func(cfg *oat.Config) { cfg.Plans = quota.Plans{quota.Team: {Tokens: 1000}} })
	kept, _ := d.generate()
	for name, resources := range map[string][]oat.Resource{
		"public":             {oat.Public()},
		"all, read":          {oat.All("acme", oat.Read)},
		"all, write":         {oat.All("acme", oat.ReadWrite)},
		"push alone":         {line("acme/*", oat.ScopePush)},
		"one repository":     {oat.Repository("acme/api", oat.ReadWrite)},
		"nested":             {oat.Repository("acme/team/api", oat.Read)},
		"separators":         {oat.Repository("acme/a.b_c__d---e", oat.Read)},
		"a repository acme":  {oat.Repository("acme/acme", oat.Read)},
		"the longest name":   {oat.Repository("acme/"+strings.Repeat("x", 250), oat.Read)},
		"fifty":              many(50),
		"fifty in any order": reversed(many(50)),
	} {
		t.Run(name, func(t *testing.T) {
			token, _ := d.generate(func(cmd *oat.Generate) { cmd.Resources = resources })
			if diff := cmp.Diff(resources, token.Resources); diff != "" {
				t.Errorf("granted (-want +got):\n%s", diff)
			}
			edited, err := d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: kept.ID, Resources: resources})
			must(t, err)
			if diff := cmp.Diff(resources, edited.Resources); diff != "" {
				t.Errorf("edited (-want +got):\n%s", diff)
			}
		})
	}
}

// Anything else is refused by name, and never narrowed or widened to something that
// is meant instead.
func TestResourcesThatCannotBeGranted(t *testing.T) {
	tests := map[string]struct {
		resources []oat.Resource
		fields    []string
	}{
		"nothing":             {[]oat.Resource{}, []string{"resources"}},
		"fifty-one":           {many(51), []string{"resources"}},
		"thousands":           {make([]oat.Resource, 5000), []string{"resources"}},
		"no type":             {[]oat.Resource{{Path: "acme/api", Scopes: []string{oat.ScopePull}}}, []string{"resources[0].type"}},
		"a type's case":       {[]oat.Resource{{Type: "type_repo", Path: "acme/api", Scopes: []string{oat.ScopePull}}}, []string{"resources[0].type"}},
		"no scope":            {[]oat.Resource{line("acme/api")}, []string{"resources[0].scopes"}},
		"a scope unknown":     {[]oat.Resource{line("acme/api", oat.ScopePull, "scope-image-delete")}, []string{"resources[0].scopes"}},
		"a scope's case":      {[]oat.Resource{line("acme/api", "Scope-Image-Pull")}, []string{"resources[0].scopes"}},
		"a scope twice":       {[]oat.Resource{line("acme/api", oat.ScopePull, oat.ScopePull)}, []string{"resources[0].scopes"}},
		"any scope":           {[]oat.Resource{line("acme/api", "*")}, []string{"resources[0].scopes"}},
		"write to the public": {[]oat.Resource{line(oat.PathPublic, oat.ScopePull, oat.ScopePush)}, []string{"resources[0].scopes"}},
		"a repository twice": {
			[]oat.Resource{oat.Repository("acme/api", oat.Read), oat.Repository("acme/api", oat.ReadWrite)}, []string{"resources[1].path"},
		},
		"public and more": {
			[]oat.Resource{oat.Repository("acme/api", oat.Read), oat.Public()}, []string{"resources[1].path"},
		},
		"all and public": {
			[]oat.Resource{oat.All("acme", oat.Read), oat.Public()}, []string{"resources[0].path", "resources[1].path"},
		},
		"all twice": {
			[]oat.Resource{oat.All("acme", oat.Read), oat.All("acme", oat.ReadWrite)}, []string{"resources[0].path", "resources[1].path"},
		},
	}
	for _, path := range []string{
		"", "*", "*/*", "*/*/private", "*/*/public/", "acme", "acme/", "/acme/api", "acme//api", "acme/api/", "acme/../other",
		"acme/./api", "acme/API", "ACME/api", "acme/a*", "acme/**", "acme2/api", "other/*", "acm/e/api", " acme/api", "acme/api ",
		"acme/api:latest", "acme/api@sha256:0", "acme/-api", "acme/api-", "acme/a..b", "acme/a___b", "acme/ä", "acme/a\x00b",
		"docker.io/acme/api", "acme/" + strings.Repeat("x", 251), "acme\\api", "acme%2fapi", "library/alpine",
	} {
		tests["path "+path] = struct {
			resources []oat.Resource
			fields    []string
		}{[]oat.Resource{oat.Repository(path, oat.Read)}, []string{"resources[0].path"}}
	}
	d := newDesk(t)
	kept, _ := d.generate()
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d := &desk{d.Env, t}
			d.wantInvalid(wellFormed(func(cmd *oat.Generate) { cmd.Resources = test.resources }), test.fields...)
			err := d.refuses(oat.ErrInvalid, func() error {
				_, err := d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: kept.ID, Resources: test.resources})
				return err
			})
			wantProblems(t, err, test.fields...)
			if len(err.Error()) > 1000 {
				t.Errorf("message of %d bytes", len(err.Error()))
			}
		})
	}
}
