package console_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/console"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/quota"
)

const newPath = "/orgs/acme/tokens/new"

// filled is the form of a page as a browser sends it, with some fields filled in
// differently.
func (a answer) filled(fields ...string) url.Values {
	a.t.Helper()
	values := url.Values(a.page().form())
	for i := 0; i < len(fields); i += 2 {
		values[fields[i]] = nil
	}
	for i := 0; i < len(fields); i += 2 {
		values[fields[i]] = append(values[fields[i]], fields[i+1])
	}
	return values
}

// stored is the one token of acme with a label.
func (d *desk) stored(label string) projection.Token {
	d.t.Helper()
	tokens := projection.NewTokens()
	for r, err := range d.Log.ReadAll(d.t.Context(), 0) {
		must(d.t, err)
		must(d.t, tokens.Apply(d.t.Context(), []events.Recorded{r}))
	}
	found := tokens.List("acme", projection.Query{At: d.Clock.Now(), Label: label})
	if found.Total != 1 {
		d.t.Fatalf("%d tokens are called %q", found.Total, label)
	}
	return found.Tokens[0]
}

// What the form says is what the token becomes, for every choice it offers. Break it by
// swapping two of them.
func TestGenerate(t *testing.T) {
	day := 24 * time.Hour
	for name, test := range map[string]struct {
		fields    []string
		life      time.Duration // 0 for ever
		resources []events.Resource
	}{
		"public, never":    {[]string{"access", "public", "expires", "never"}, 0, []events.Resource{oat.Public()}},
		"all, a week":      {[]string{"access", "all", "all-level", "read", "expires", "7"}, 7 * day, []events.Resource{oat.All("acme", oat.Read)}},
		"write, by itself": {[]string{"access", "all", "all-level", "write"}, 30 * day, []events.Resource{oat.All("acme", oat.ReadWrite)}},
		"60 days":          {[]string{"access", "public", "expires", "60"}, 60 * day, []events.Resource{oat.Public()}},
		"90 days":          {[]string{"access", "public", "expires", "90"}, 90 * day, []events.Resource{oat.Public()}},
		"365 days":         {[]string{"access", "public", "expires", "365"}, 365 * day, []events.Resource{oat.Public()}},
		"today":            {[]string{"access", "public", "expires", "date", "date", "2026-01-01"}, day - time.Second, []events.Resource{oat.Public()}},
		"selected": {
			[]string{"access", "selected", "repository", "api", "repository", "  acme/team/web ", "repository", "", "level", "write", "level", "read", "level", "write"}, 30 * day,
			[]events.Resource{oat.Repository("acme/api", oat.ReadWrite), oat.Repository("acme/team/web", oat.Read)},
		},
		"selected by mistake before": {[]string{"access", "public", "repository", "///", "level", "read"}, 30 * day, []events.Resource{oat.Public()}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			form := d.get(newPath).is(http.StatusOK).filled(append(test.fields, "label", " ci ", "description", "two\r\nlines")...)
			d.post(newPath, form).is(http.StatusOK).says("Token generated")
			got := d.stored("ci")
			want := projection.Token{
				ID: got.ID, Organization: "acme", Label: "ci", Description: "two\nlines", State: projection.Active, Resources: test.resources,
				CreatedAt: d.Clock.Now(), CreatedBy: "alice", ModifiedAt: d.Clock.Now(), ModifiedBy: "alice", Version: got.Version,
			}
			if test.life > 0 {
				want.Expires = d.Clock.Now().Add(test.life)
				want.ExpiresAt = want.Expires.Format(time.RFC3339)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Every problem is told at once, at its field and in a summary that links to the field,
// and the form still has what was typed. Break it by leaving out the problems of the
// domain when the form has its own.
func TestGenerateTellsProblems(t *testing.T) {
	d := newDesk(t)
	form := d.get(newPath).filled("label", strings.Repeat("é", 101), "description", "next\u0085line", "expires", "date", "date", "2025-12-31", "access", "selected",
		"repository", "api", "repository", "other/X", "repository", "acme/*", "repository", "acme/api", "repository", "web",
		"level", "read", "level", "write", "level", "write", "level", "write", "level", "admin")
	answer := d.post(newPath, form).is(http.StatusUnprocessableEntity).says("There are 7 problems")
	page := answer.page()
	want := []string{
		"#label The label has 101 characters, at most 100 are allowed.",
		"#description The description must not contain control characters.",
		"#date Choose a day that has not passed.",
		"#repository-1 This is not the name of a repository of acme. Write it like acme/api, in lower case.",
		"#repository-2 An asterisk stands for no repository here. Name one, or choose all repositories above.",
		"#repository-3 acme/api is selected twice.",
		"#repository-4 Choose read, or read and write.",
	}
	var got []string
	for _, link := range page.id("summary").named("a") {
		field := page.id(link.attrs["href"][1:])
		told := page.id(field.attrs["id"] + "-problem")
		if told == nil || told.words() != link.words() || field.attrs["aria-invalid"] != "true" || !slices.Contains(strings.Fields(field.attrs["aria-describedby"]), told.attrs["id"]) {
			t.Errorf("%s is not told at its field", link.words())
		}
		got = append(got, link.attrs["href"]+" "+link.words())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	again := answer.filled()
	form["level"][4] = "read" // "admin" is no choice
	if diff := cmp.Diff(form, again); diff != "" {
		t.Errorf("what was typed is not kept: %s", diff)
	}
}

func TestGenerateTellsProblemsOfOneField(t *testing.T) {
	for name, test := range map[string]struct {
		fields []string
		want   string
	}{
		"no label":           {[]string{"label", "  "}, "#label The label is required."},
		"no access":          {[]string{"access", "everything"}, "#access Choose what the token can access."},
		"no level":           {[]string{"access", "all", "all-level", ""}, "#all-level Choose read, or read and write."},
		"no repository":      {[]string{"access", "selected"}, "#repositories Name at least one repository."},
		"a wildcard alone":   {[]string{"access", "selected", "repository", "*", "level", "read"}, "#repository-0 An asterisk stands for no repository here. Name one, or choose all repositories above."},
		"public, in a row":   {[]string{"access", "selected", "repository", "*/*/public", "level", "read"}, "#repository-0 An asterisk stands for no repository here. Name one, or choose all repositories above."},
		"no expiry":          {[]string{"expires", ""}, "#expires Choose when the token expires."},
		"a year":             {[]string{"expires", "366"}, "#expires Choose when the token expires."},
		"no date":            {[]string{"expires", "date", "date", "tomorrow"}, "#date Choose the day on which the token expires, written like 2027-01-31."},
		"another's":          {[]string{"access", "selected", "repository", "globex/api", "level", "read"}, "#repository-0 This is not the name of a repository of acme. Write it like acme/api, in lower case."},
		"the last row alone": {[]string{"access", "selected", "repository", "", "repository", "API", "level", "read", "level", "read"}, "#repository-1 This is not the name of a repository of acme. Write it like acme/api, in lower case."},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			form := d.get(newPath).filled(append([]string{"label", "ci", "access", "public"}, test.fields...)...)
			if access := form["access"]; len(access) > 1 {
				form["access"] = access[1:]
			}
			if label := form["label"]; len(label) > 1 {
				form["label"] = label[1:]
			}
			links := d.post(newPath, form).is(http.StatusUnprocessableEntity).page().id("summary").named("a")
			if len(links) != 1 || links[0].attrs["href"]+" "+links[0].words() != test.want {
				t.Errorf("the summary has %d links, the first of which is %s %s", len(links), links[0].attrs["href"], links[0].words())
			}
		})
	}
}

// Without a script, buttons of the form add and remove repositories, up to as many as a
// token may name, and forget nothing.
func TestGenerateRearrangesRepositories(t *testing.T) {
	d := newDesk(t)
	form := d.get(newPath).filled("label", "half-typed", "access", "selected", "add", "1")
	form["repository"], form["level"] = slices.Repeat([]string{"a"}, quota.MaxRepositories-2), slices.Repeat([]string{"write"}, quota.MaxRepositories-2)
	for range 5 {
		answer := d.post(newPath, form).is(http.StatusOK)
		form = answer.filled("add", "1")
	}
	if n := len(form["repository"]); n != quota.MaxRepositories {
		t.Errorf("%d rows", n)
	}
	page := d.post(newPath, form).page()
	if !page.id("add").has("disabled") || page.id("rows-full").has("hidden") {
		t.Error("one more can be added")
	}
	form.Del("add")
	form["repository"][1], form["level"][1] = "b", "read"
	form.Set("remove", "0")
	left := d.post(newPath, form).is(http.StatusOK).filled()
	if left.Get("repository") != "b" || left.Get("level") != "read" || left.Get("label") != "half-typed" || len(left["repository"]) != quota.MaxRepositories-1 {
		t.Errorf("after removing the first row: %v", left)
	}
	for _, row := range []string{"", "-1", "50", "x", "99999999999999999999"} {
		form.Set("remove", row)
		if n := len(d.post(newPath, form).is(http.StatusOK).filled()["repository"]); n != quota.MaxRepositories {
			t.Errorf("after removing row %q there are %d", row, n)
		}
	}
	if n := d.count(); n != 0 {
		t.Errorf("%d tokens were generated on the way", n)
	}
}

// count is how many tokens acme has.
func (d *desk) count() (n int) {
	d.t.Helper()
	for r, err := range d.Log.ReadStream(d.t.Context(), events.OrganizationStream("acme"), 0) {
		must(d.t, err)
		switch r.Type {
		case events.TypeTokenGenerated:
			n++
		case events.TypeTokenDeleted:
			n--
		}
	}
	return n
}

// Fifty repositories can be selected and fifty-one cannot, whoever made the form.
func TestGenerateWithManyRepositories(t *testing.T) {
	d := newDesk(t)
	form := d.get(newPath).filled("label", "many", "access", "selected")
	form["repository"], form["level"] = nil, nil
	for i := range quota.MaxRepositories {
		form["repository"] = append(form["repository"], fmt.Sprint("repository-", i))
		form["level"] = append(form["level"], "read")
	}
	tooMany := url.Values{}
	for name, values := range form {
		tooMany[name] = values
	}
	tooMany["repository"] = append(slices.Clone(form["repository"]), "one-more")
	d.post(newPath, tooMany).is(http.StatusUnprocessableEntity).says("More than 50 repositories are selected.")
	d.post(newPath, form).is(http.StatusOK)
	if n := len(d.stored("many").Resources); n != quota.MaxRepositories {
		t.Errorf("the token has %d repositories", n)
	}
}

// The host's suggestions are in the form, and are given to the script; what goes wrong
// with them keeps nobody from typing.
func TestGenerateSuggestsRepositories(t *testing.T) {
	var fail error
	var asked []string
	d := newDesk(t, func(cfg *console.Config) {
		cfg.Repositories = func(_ context.Context, organization, query string) ([]string, error) {
			asked = append(asked, organization+"?"+query)
			return []string{organization + "/api", organization + "/web"}, fail
		}
	})
	var got []string
	for _, option := range d.get(newPath).page().id("suggestions").named("option") {
		got = append(got, option.attrs["value"])
	}
	if !slices.Equal(got, []string{"acme/api", "acme/web"}) {
		t.Errorf("suggested: %v", got)
	}
	answer := d.get("/orgs/acme/repositories?q=ap").is(http.StatusOK)
	if answer.Body.String() != `{"repositories":["acme/api","acme/web"]}`+"\n" || answer.Header().Get("Content-Type") != "application/json" {
		t.Errorf("for the script: %s", answer.Body)
	}
	if !slices.Equal(asked, []string{"acme?", "acme?ap"}) {
		t.Errorf("the host was asked for %v", asked)
	}
	fail = errors.New("away")
	d.get(newPath).is(http.StatusOK)
	if got := d.get("/orgs/acme/repositories").is(http.StatusOK).Body.String(); got != `{"repositories":[]}`+"\n" {
		t.Errorf("without the host: %s", got)
	}
}
