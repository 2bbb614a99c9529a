package console_test

import (
	"fmt"
	"math"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

// Every page has a language, a title, one heading of the first level and a place to skip
// to; every control has a name; what is referred to by id is there, once. Break it by
// taking a label away.
func TestPagesAreAccessible(t *testing.T) {
	for name, a := range newDesk(t).answers() {
		if strings.HasPrefix(a.Header().Get("Content-Type"), "text/html") {
			checkAccessible(t, name, a.page())
		}
	}
}

func checkAccessible(t *testing.T, name string, page *node) {
	t.Helper()
	if html := page.named("html"); len(html) != 1 || html[0].attrs["lang"] != "en" || page.named("title")[0].words() == "" {
		t.Errorf("%s: no language or no title", name)
	}
	if h1 := page.named("h1"); len(h1) != 1 || h1[0].words() == "" || len(page.named("main")) != 1 {
		t.Errorf("%s: %d headings of the first level", name, len(h1))
	}
	ids, labelled := make(map[string]int), make(map[string]bool)
	for _, n := range page.all(func(n *node) bool { return n.has("id") || n.name == "label" }) {
		if id := n.attrs["id"]; id != "" {
			ids[id]++
		}
		if n.name == "label" && n.words() != "" {
			labelled[n.attrs["for"]] = true
		}
	}
	for _, n := range page.all(func(n *node) bool { return n.name != "" }) {
		if id := n.attrs["id"]; id != "" && ids[id] != 1 {
			t.Errorf("%s: %d elements have the id %s", name, ids[id], id)
		}
		for _, attr := range []string{"aria-describedby", "aria-labelledby", "for", "list"} {
			for _, id := range strings.Fields(n.attrs[attr]) {
				if ids[id] == 0 {
					t.Errorf("%s: %s of <%s> refers to %s, which is not there", name, attr, n.name, id)
				}
			}
		}
		if target, ok := strings.CutPrefix(n.attrs["href"], "#"); ok && ids[target] == 0 {
			t.Errorf("%s: a link leads to #%s, which is not there", name, target)
		}
		checkControl(t, name, n, labelled)
	}
}

func checkControl(t *testing.T, name string, n *node, labelled map[string]bool) {
	t.Helper()
	named := n.attrs["aria-label"] != "" || n.attrs["aria-labelledby"] != ""
	switch n.name {
	case "input", "select", "textarea":
		if n.attrs["type"] != "hidden" && !named && !labelled[n.attrs["id"]] {
			t.Errorf("%s: <%s name=%q> has no label", name, n.name, n.attrs["name"])
		}
		if n.attrs["name"] == "" {
			t.Errorf("%s: <%s id=%q> has no name", name, n.name, n.attrs["id"])
		}
	case "a", "button", "summary", "th", "nav", "svg":
		if !named && n.words() == "" {
			t.Errorf("%s: <%s %v> says nothing", name, n.name, n.attrs)
		}
	case "img":
		if !n.has("alt") {
			t.Errorf("%s: a picture without a text", name)
		}
	}
	if tab, err := strconv.Atoi(n.attrs["tabindex"]); err == nil && tab > 0 {
		t.Errorf("%s: <%s> changes the order of focus", name, n.name)
	}
}

// Text has a contrast of 4.5 to the ground it stands on, and the edge of a control one
// of 3, in light and in dark. Break it by making --soft a little lighter.
func TestContrast(t *testing.T) {
	sheet, err := os.ReadFile("assets/console.css")
	must(t, err)
	roots := regexp.MustCompile(`(?s):root \{(.*?)\}`).FindAllStringSubmatch(string(sheet), -1)
	if len(roots) != 2 {
		t.Fatalf("%d schemes", len(roots))
	}
	grounds := []string{"ground", "surface", "sunken"}
	pairs := map[string][]string{
		"text": append(grounds, "grey-soft", "accent-soft", "danger-soft"), "soft": append(grounds, "grey-soft"), "accent": append(grounds, "accent-soft"),
		"danger": append(grounds, "danger-soft"), "good": {"good-soft"}, "warn": {"warn-soft"}, "grey": {"grey-soft"},
		"on-accent": {"accent-ground", "accent-hover", "danger-ground", "danger-hover"},
	}
	for i, scheme := range []string{"light", "dark"} {
		colours := make(map[string]string)
		for _, m := range regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]{6});`).FindAllStringSubmatch(roots[i][1], -1) {
			colours[m[1]] = m[2]
		}
		check := func(front, back string, least float64) {
			if got := contrast(t, colours[front], colours[back]); got < least {
				t.Errorf("%s: --%s on --%s has a contrast of %.2f", scheme, front, back, got)
			}
		}
		for front, backs := range pairs {
			for _, back := range backs {
				check(front, back, 4.5)
			}
		}
		for _, ground := range grounds {
			check("edge", ground, 3)
			check("accent-ground", ground, 3)
		}
	}
}

// contrast is the ratio that WCAG 2 defines.
func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	la, lb := luminance(t, a), luminance(t, b)
	return (max(la, lb) + 0.05) / (min(la, lb) + 0.05)
}

func luminance(t *testing.T, colour string) float64 {
	t.Helper()
	if len(colour) != 7 {
		t.Fatalf("%q is no colour", colour)
	}
	var sum float64
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n, err := strconv.ParseUint(colour[1+2*i:3+2*i], 16, 8)
		must(t, err)
		c := float64(n) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}

// No page is larger than 100 KB, with as much on it as there can be: a full list with the
// longest texts, fifty of the longest names in the form, each with a problem, and long
// histories, also beside a form. Break it by showing fifty tokens on a page.
func TestPagesAreSmall(t *testing.T) {
	d := newDesk(t)
	must(t, d.Service.ChangePlan(t.Context(), oat.Actor{Host: "billing"}, oat.ChangePlan{Organization: "acme", Plan: quota.Business}))
	var resources []oat.Resource
	for i := range quota.MaxRepositories {
		resources = append(resources, oat.Repository(fmt.Sprintf("acme/%02d%s", i, strings.Repeat("x", oat.MaxRepository-7)), oat.ReadWrite))
	}
	label, description := strings.Repeat(`"`, oat.MaxLabel), strings.Repeat(`"`, oat.MaxDescription)
	var last oat.Token
	for range 40 {
		last, _ = d.generate(label, oat.ExpiresAt(d.Clock.Now().Add(1000000000)), resources...)
	}
	for i := range 40 {
		access := slices.Clone(resources)
		for j := range access {
			access[j].Scopes = access[j].Scopes[:1+(i+j)%2]
		}
		label, description = label[1:]+string("'&"[i%2]), description[1:]+string("'&"[i%2])
		d.edit(last, "alice", oat.Edit{Label: &label, Description: &description, Resources: access})
	}
	d.use(last, strings.Repeat(`"`, 64))
	pages := map[string]answer{}
	for _, path := range []string{"/orgs/acme/tokens", newPath, "/orgs/acme/activity", "/orgs/acme/organization", tokenPath(last, ""), tokenPath(last, "/edit"), tokenPath(last, "/delete")} {
		pages[path] = d.get(path)
	}
	form := d.get(tokenPath(last, "/edit")).filled("label", "")
	for i := range form["repository"] {
		form["repository"][i] = strings.ToUpper(form["repository"][i])
	}
	pages["problems"] = d.post(tokenPath(last, "/edit"), form).is(422)
	form.Set("label", label)
	form.Set("version", "1")
	pages["stale"] = d.post(tokenPath(last, "/edit"), form).is(409)
	must(t, d.Service.Deactivate(t.Context(), oat.Actor{User: "bob"}, oat.Deactivate{Organization: "acme", Token: last.ID}))
	pages["blocked"] = d.post(tokenPath(last, "/edit"), form).is(409)
	d.user = ""
	pages["no form"] = d.post(newPath, url.Values{"a": slices.Repeat([]string{""}, 10_000)}).is(400)
	pages["signed out"] = d.post(newPath, url.Values{
		"label": {strings.Repeat(`"`, 1000)}, "description": {strings.Repeat(`"`, 2000)},
		"repository": slices.Repeat([]string{strings.Repeat(`"`, oat.MaxRepository)}, quota.MaxRepositories+1),
		"level":      slices.Repeat([]string{strings.Repeat(`"`, 16)}, quota.MaxRepositories+1),
	}).is(401)
	for name, a := range pages {
		if n := a.Body.Len(); n > 100_000 {
			t.Errorf("%s has %d bytes", name, n)
		}
	}
}
