package console_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

// cells are the cells of a token's row, by what their column is called, with the label
// as "Label".
func cells(t *testing.T, page *node, token oat.Token) map[string]*node {
	t.Helper()
	row := page.id("token-" + token.ID.String())
	if row == nil {
		t.Fatalf("the list has no row of %q", token.Label)
	}
	all := map[string]*node{"Label": row.named("th")[0]}
	for _, cell := range row.named("td") {
		all[cell.attrs["data-label"]] = cell
	}
	return all
}

// labels are the labels in the list, in order.
func labels(page *node) (all []string) {
	for _, head := range page.named("th") {
		if head.attrs["scope"] == "row" {
			all = append(all, head.named("a")[0].words())
		}
	}
	return all
}

// The list shows of every token what owners decide by. Break it by leaving a cell out.
func TestListShowsTokens(t *testing.T) {
	d := newDesk(t)
	token, _ := d.generate("ci", oat.ExpiresAt(d.Clock.Now().Add(90*24*time.Hour)), oat.Repository("acme/api", oat.ReadWrite), oat.Repository("acme/web", oat.Read))
	d.Clock.Advance(49 * time.Hour)
	d.use(token, "")
	d.Clock.Advance(3 * time.Minute)
	row := cells(t, d.get("/orgs/acme/tokens").is(http.StatusOK).page(), token)
	for column, want := range map[string]string{
		"Label": "ci", "Status": "Active", "Access": "2 repositories read and write for 1, read for 1",
		"Created": "2 days ago by alice", "Last used": "3 minutes ago", "Expires": "in 88 days",
	} {
		if got := row[column].words(); got != want {
			t.Errorf("%s: %q, want %q", column, got, want)
		}
	}
	used := row["Last used"].named("time")[0]
	if used.attrs["title"] != "3 Jan 2026, 01:00:00 UTC" || used.attrs["datetime"] != "2026-01-03T01:00:00Z" {
		t.Errorf("exact time of the last use: %v", used.attrs)
	}
	leaked, _ := d.generate("leaked", oat.Never())
	d.use(leaked, "inactive")
	if got := cells(t, d.get("/orgs/acme/tokens").page(), leaked)["Last used"].words(); got != "Never 1 time refused" {
		t.Errorf("last used of a token that was only refused: %q", got)
	}
	if got := row["Access"].attrs["title"]; got != "acme/api, read and write\nacme/web, read" {
		t.Errorf("access in full: %q", got)
	}
}

// Each state has its word, and filters leave the tokens in it. An expired or inactive
// token offers nothing but to delete it. Break it by taking the boundary of soon out, or
// by offering every action on every token.
func TestListShowsStates(t *testing.T) {
	d := newDesk(t)
	day := 24 * time.Hour
	tokens := map[string]oat.Token{}
	for label, life := range map[string]time.Duration{"soon": 17 * day, "later": 17*day + time.Second, "over": 10 * day} {
		tokens[label], _ = d.generate(label, oat.ExpiresAt(d.Clock.Now().Add(life)))
	}
	tokens["off"], _ = d.generate("off", oat.Never())
	must(t, d.Service.Deactivate(t.Context(), oat.Actor{User: "bob"}, oat.Deactivate{Organization: "acme", Token: tokens["off"].ID}))
	d.catchUp()
	d.Clock.Advance(10 * day)
	page := d.get("/orgs/acme/tokens").page()
	for label, want := range map[string]struct{ status, actions string }{
		"soon": {"Expires soon", "Edit Deactivate Delete"}, "later": {"Active", "Edit Deactivate Delete"}, "over": {"Expired", "Delete"}, "off": {"Inactive", "Delete"},
	} {
		row := cells(t, page, tokens[label])
		if got := row["Status"].words(); got != want.status {
			t.Errorf("%s is %q, want %q", label, got, want.status)
		}
		if got := row[""].named("ul")[0].words(); got != want.actions {
			t.Errorf("%s offers %q, want %q", label, got, want.actions)
		}
	}
	for filter, want := range map[string][]string{
		"active": {"later", "soon"}, "expiring": {"soon"}, "expired": {"over"}, "inactive": {"off"}, "nonsense": {"later", "off", "over", "soon"},
	} {
		if got := labels(d.get("/orgs/acme/tokens?sort=label&status=" + filter).page()); !slices.Equal(got, want) {
			t.Errorf("status %s: %v, want %v", filter, got, want)
		}
	}
}

func TestListSearches(t *testing.T) {
	d := newDesk(t)
	d.generate("Build", oat.Never(), oat.Repository("acme/api", oat.Read))
	d.generate("mirror", oat.Never(), oat.Public())
	for search, want := range map[string][]string{"BUI": {"Build"}, "acme/api": {"Build"}, "alice": {"mirror", "Build"}, "": {"mirror", "Build"}} {
		d.get("/orgs/acme/tokens?sort=-label&q=" + search).is(http.StatusOK)
		if got := labels(d.get("/orgs/acme/tokens?sort=-label&q=" + search).page()); !slices.Equal(got, want) {
			t.Errorf("search for %q: %v, want %v", search, got, want)
		}
	}
	d.get("/orgs/acme/tokens?q=nothing").says("No token was found")
	page := d.get("/orgs/acme/tokens?q=bui&sort=-used&status=active").page()
	for name, want := range map[string]string{"q": "bui", "status": "active", "sort": "-used"} {
		if got := page.value(t, name); got != want {
			t.Errorf("the filter forgets %s: %q", name, got)
		}
	}
}

func TestListSorts(t *testing.T) {
	d := newDesk(t)
	day := 24 * time.Hour
	b, _ := d.generate("b", oat.ExpiresAt(d.Clock.Now().Add(50*day)))
	d.Clock.Advance(time.Hour)
	d.generate("A", oat.Never())
	d.Clock.Advance(time.Hour)
	c, _ := d.generate("c", oat.ExpiresAt(d.Clock.Now().Add(3*day)))
	d.use(c, "")
	d.Clock.Advance(time.Hour)
	d.use(b, "")
	for order, want := range map[string]string{
		"": "c A b", "created": "b A c", "-created": "c A b", "label": "A b c", "-label": "c b A", "used": "A c b", "-used": "b c A",
		"expires": "c b A", "-expires": "A b c", "nonsense": "c A b", "-": "c A b", "--label": "c A b",
	} {
		page := d.get("/orgs/acme/tokens?sort=" + order).page()
		if got := strings.Join(labels(page), " "); got != want {
			t.Errorf("sorted by %q: %s, want %s", order, got, want)
		}
	}
	for order, want := range map[string]string{"label": "ascending -label", "-label": "descending label"} {
		head := d.get("/orgs/acme/tokens?sort=" + order).page().all(func(n *node) bool { return n.has("aria-sort") })
		if len(head) != 1 || head[0].attrs["aria-sort"]+" "+strings.TrimPrefix(head[0].named("a")[0].attrs["href"], "?sort=") != want {
			t.Errorf("the head of the order %s: %v", order, head)
		}
	}
}

// Pages show every token once. Whatever is asked for as a page is the nearest one there
// is. Break it by cutting at page*size.
func TestListHasPages(t *testing.T) {
	d := newDesk(t)
	must(t, d.Service.ChangePlan(t.Context(), oat.Actor{Host: "billing"}, oat.ChangePlan{Organization: "acme", Plan: quota.Business}))
	var want []string
	for i := range 45 {
		label := fmt.Sprintf("token %02d", i)
		want = append(want, label)
		d.generate(label, oat.Never())
	}
	var got []string
	next := "?sort=label"
	for next != "" {
		page := d.get("/orgs/acme/tokens" + next).page()
		got = append(got, labels(page)...)
		next = ""
		if link := page.id("next-page"); link != nil {
			next = link.attrs["href"]
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("on the pages: %v", got)
	}
	for page, first := range map[string]string{"0": want[0], "-3": want[0], "x": want[0], "3": want[40], "4": want[40], "99999999999999999999": want[40], "9223372036854775807": want[40]} {
		if got := labels(d.get("/orgs/acme/tokens?sort=label&page=" + page).is(http.StatusOK).page()); got[0] != first {
			t.Errorf("page %s begins with %s, want %s", page, got[0], first)
		}
	}
}

// The count is shown against the limit, with what counts; where nothing can be generated
// the reason stands beside the button, which is disabled. Break it by enabling it.
func TestListShowsTheLimit(t *testing.T) {
	d := newDesk(t)
	var last oat.Token
	for i := range 7 {
		last, _ = d.generate(fmt.Sprint("token ", i), oat.ExpiresAt(d.Clock.Now().Add(time.Hour)))
	}
	d.Clock.Advance(2 * time.Hour)
	page := d.get("/orgs/acme/tokens").says("Active, inactive and expired tokens count. Deleted ones do not.").page()
	if got := page.id("count").words(); got != "7 of 10 tokens · plan team" {
		t.Errorf("the count says %q", got)
	}
	if page.id("generate").attrs["href"] != prefix+"/orgs/acme/tokens/new" {
		t.Error("nothing leads to the form")
	}
	for i := range 3 {
		d.generate(fmt.Sprint("more ", i), oat.Never())
	}
	d.checkFull("10 of 10", "All 10 tokens of the plan team are in use. Delete one to generate another.")
	must(t, d.Service.ChangePlan(t.Context(), oat.Actor{Host: "billing"}, oat.ChangePlan{Organization: "acme", Plan: quota.Pro}))
	d.catchUp()
	d.checkFull("10 of 0", "The plan pro has no organization access tokens.")
	must(t, d.Service.ChangePlan(t.Context(), oat.Actor{Host: "billing"}, oat.ChangePlan{Organization: "acme"}))
	d.catchUp()
	d.checkFull("10 of 0", "The organization has no plan.")
	must(t, d.Service.ChangePlan(t.Context(), oat.Actor{Host: "billing"}, oat.ChangePlan{Organization: "acme", Plan: quota.Team}))
	must(t, d.Service.Delete(t.Context(), oat.Actor{User: "bob"}, oat.Delete{Organization: "acme", Token: last.ID}))
	d.catchUp()
	if page := d.get("/orgs/acme/tokens").page(); page.id("full") != nil || page.id("generate").name != "a" {
		t.Error("after a deletion there is room for one more, and the page does not say so")
	}
}

func (d *desk) checkFull(count, reason string) {
	d.t.Helper()
	page := d.get("/orgs/acme/tokens").says(count, reason).page()
	button := page.id("generate")
	if button.name != "button" || !button.has("disabled") || page.id(button.attrs["aria-describedby"]) == nil {
		d.t.Errorf("the button to generate: <%s> %v", button.name, button.attrs)
	}
	form := d.get("/orgs/acme/tokens/new").is(http.StatusOK).says(reason).page()
	d.checkDisabled(form)
}

// checkDisabled demands that neither a click nor the Enter key, which presses the first
// button of a form if it is not disabled, sends the form.
func (d *desk) checkDisabled(page *node) {
	d.t.Helper()
	if first := page.id("form").named("button")[0]; !first.has("disabled") {
		d.t.Error("the form can be sent with Enter")
	}
	if !page.id("submit").has("disabled") {
		d.t.Error("the form can be sent")
	}
}

func TestListOfNoTokens(t *testing.T) {
	newDesk(t).get("/orgs/acme/tokens").says("There are no tokens yet").hides("<table")
}

func TestPlanAndOwners(t *testing.T) {
	d := newDesk(t)
	page := d.get("/orgs/acme/organization").is(http.StatusOK).page()
	if got := page.id("owners").words(); got != "alice you bob" {
		t.Errorf("owners: %q", got)
	}
	if got := page.id("plan").words(); got != "team" {
		t.Errorf("plan: %q", got)
	}
}

// Who owns one organization is led to it; who owns several chooses.
func TestStart(t *testing.T) {
	d := newDesk(t)
	d.get("/").leads("/orgs/acme/tokens")
	d.get("/orgs/acme").leads("/orgs/acme/tokens")
	must(t, d.Service.AddOwner(t.Context(), oat.Actor{User: "carol"}, oat.AddOwner{Organization: "globex", Owner: "alice"}))
	d.catchUp()
	if got := d.get("/").is(http.StatusOK).page().id("organizations").words(); got != "acme globex" {
		t.Errorf("organizations: %q", got)
	}
	d.user = "dave"
	d.get("/").is(http.StatusOK).says("You do not own an organization").hides("acme", "globex")
}
