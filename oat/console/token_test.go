package console_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/console"
)

// story is a timeline in words, one line for each entry.
func story(page *node) (lines []string) {
	for _, entry := range page.id("timeline").nodes {
		if entry.name == "li" {
			lines = append(lines, entry.words())
		}
	}
	return lines
}

// A token's page has its details, its access, its use, and its history: who, when, and
// what changed from what to what, newest first.
func TestTokenPage(t *testing.T) {
	d := newDesk(t)
	token, _ := d.generate("ci", oat.ExpiresAt(d.Clock.Now().Add(50*24*time.Hour)), oat.Repository("acme/api", oat.ReadWrite), oat.Repository("acme/web", oat.Read))
	d.Clock.Advance(time.Hour)
	label := "deploy"
	d.edit(token, "bob", oat.Edit{Label: &label, Resources: []oat.Resource{oat.Repository("acme/api", oat.Read), oat.Repository("acme/web", oat.Read)}})
	d.Clock.Advance(time.Hour)
	must(t, d.Service.Deactivate(t.Context(), oat.Actor{Host: "secret-scanning", Reason: "found in a gist"}, oat.Deactivate{Organization: "acme", Token: token.ID}))
	d.use(token, "token is inactive")
	answer := d.get(tokenPath(token, "")).is(http.StatusOK).says("1 time<", "<bdi>token is inactive</bdi>, from <bdi>203.0.113.7</bdi>", "This token is inactive", token.ID.String())
	want := []string{
		"secret-scanning (automatic) deactivated the token just now found in a gist Status from active → to inactive",
		"bob edited the token 1 hour ago Label from ci → to deploy Access from acme/api, read and write → to acme/api, read",
		"alice generated the token 2 hours ago Label ci Expires 20 Feb 2026, 00:00:00 UTC Access acme/api, read and write; acme/web, read",
	}
	if got := story(answer.page()); !slices.Equal(got, want) {
		t.Errorf("the history is\n%s", strings.Join(got, "\n"))
	}
}

// A deleted token keeps its page, without anything to do.
func TestPageOfADeletedToken(t *testing.T) {
	d := newDesk(t)
	token, _ := d.generate("ci", oat.Never(), oat.Public())
	must(t, d.Service.Delete(t.Context(), oat.Actor{User: "bob"}, oat.Delete{Organization: "acme", Token: token.ID}))
	d.catchUp()
	page := d.get(tokenPath(token, "")).is(http.StatusOK).says("This token was deleted.", "Public repositories, read only").page()
	if got := story(page); len(got) != 2 || !strings.HasPrefix(got[0], "bob deleted the token") {
		t.Errorf("the history is %q", got)
	}
	if page.id("actions") != nil {
		t.Error("there is something to do")
	}
}

// A long history is cut, and leads on to the rest.
func TestLongHistory(t *testing.T) {
	d := newDesk(t)
	token, _ := d.generate("ci", oat.Never())
	for i := range 20 {
		label := fmt.Sprint("label ", i)
		d.edit(token, "alice", oat.Edit{Label: &label})
	}
	page := d.get(tokenPath(token, "")).says("6 earlier entries").page()
	if got := story(page); len(got) != 15 || !strings.Contains(got[0], "label 19") {
		t.Errorf("%d entries, the first of which is %s", len(got), got[0])
	}
	if got := story(d.get("/orgs/acme/activity?page=2&token=" + token.ID.String()).page()); len(got) != 6 {
		t.Errorf("the activity has %d more", len(got))
	}
	must(t, d.Service.Delete(t.Context(), oat.Actor{User: "bob"}, oat.Delete{Organization: "acme", Token: token.ID}))
	d.catchUp()
	d.get(tokenPath(token, "")).says("All repositories, read", "label 19")
}

// The picture has a bar for every day of use, as high as its share of the highest one,
// and says in words what there is to see. Break it by scaling by the sum.
func TestPictureOfUse(t *testing.T) {
	d := newDesk(t)
	token, _ := d.generate("ci", oat.Never())
	for _, uses := range []int{4, 0, 2, 1} {
		for range uses {
			d.use(token, "")
		}
		d.Clock.Advance(24 * time.Hour)
	}
	d.use(token, "token is inactive")
	page := d.get(tokenPath(token, "")).is(http.StatusOK).page()
	var heights []int
	var words []string
	for _, bar := range page.named("g") {
		height, err := strconv.Atoi(bar.named("rect")[0].attrs["height"])
		must(t, err)
		heights, words = append(heights, height), append(words, bar.named("title")[0].words())
	}
	if !slices.Equal(heights, []int{92, 46, 23, 23}) {
		t.Errorf("heights: %v", heights)
	}
	if want := []string{"1 Jan 2026: 4 uses", "3 Jan 2026: 2 uses", "4 Jan 2026: 1 use", "5 Jan 2026: 0 uses, 1 refused"}; !slices.Equal(words, want) {
		t.Errorf("words: %q", words)
	}
	if got := page.id("picture-words").words(); got != "In the last 30 days: 7 uses, 1 refused." {
		t.Error(got)
	}
}

func TestNoPictureWithoutDaily(t *testing.T) {
	d := newDesk(t, func(cfg *console.Config) { cfg.Daily = nil })
	token, _ := d.generate("ci", oat.Never())
	d.get(tokenPath(token, "")).is(http.StatusOK).hides("<svg")
}

// Of long access only the difference is told.
func TestHistoryOfLongAccess(t *testing.T) {
	d := newDesk(t)
	var many []events.Resource
	for i := range 50 {
		many = append(many, oat.Repository(fmt.Sprint("acme/repository-", i), oat.Read))
	}
	token, _ := d.generate("ci", oat.Never(), many...)
	d.edit(token, "bob", oat.Edit{Resources: append(slices.Clone(many[1:]), oat.Repository("acme/new", oat.ReadWrite))})
	got := story(d.get(tokenPath(token, "")).page())
	if !strings.HasSuffix(got[0], "Access from acme/repository-0, read → to acme/new, read and write") || !strings.HasSuffix(got[1], "acme/repository-3, read; and 46 more") {
		t.Errorf("the history is %q", got)
	}
}
