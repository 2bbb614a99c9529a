package console_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
)

func (d *desk) edit(token oat.Token, by string, cmd oat.Edit) {
	d.t.Helper()
	cmd.Organization, cmd.Token = "acme", token.ID
	_, err := d.Service.Edit(d.t.Context(), oat.Actor{User: by}, cmd)
	must(d.t, err)
	d.catchUp()
}

// The form shows the token as it is, and saves what it says. Break it by leaving one of
// the fields out of the command.
func TestEdit(t *testing.T) {
	d := newDesk(t)
	token, _ := d.generate("ci", oat.Never(), oat.Repository("acme/api", oat.ReadWrite), oat.Repository("acme/web", oat.Read))
	path := tokenPath(token, "/edit")
	form := d.get(path).is(http.StatusOK).filled()
	if got := form["repository"]; !slices.Equal(got, []string{"acme/api", "acme/web"}) || !slices.Equal(form["level"], []string{"write", "read"}) || form.Get("label") != "ci" {
		t.Errorf("the form shows %v", form)
	}
	form.Set("label", "deploy")
	form.Set("description", "by bob")
	form["level"][1] = "write"
	d.post(path, form).leads(tokenPath(token, "") + "?notice=saved")
	d.get(tokenPath(token, "")+"?notice=saved").says("The changes were saved.", "deploy")
	got := d.stored("deploy")
	want := []events.Resource{oat.Repository("acme/api", oat.ReadWrite), oat.Repository("acme/web", oat.ReadWrite)}
	if got.Description != "by bob" || !cmp.Equal(got.Resources, want) || got.ModifiedBy != "alice" {
		t.Errorf("saved: %+v", got)
	}
}

// A form that is sent as it was opened changes nothing, also where the token was written
// down in other ways than the pages do. Break it by sending the access always.
func TestEditOfNothing(t *testing.T) {
	d := newDesk(t)
	odd := oat.Repository("acme/api", oat.ReadWrite)
	odd.Scopes = []string{oat.ScopePush}
	token, _ := d.generate("ci", oat.Never(), odd)
	description := "two\r\nlines"
	d.edit(token, "bob", oat.Edit{Description: &description})
	before := d.version()
	d.post(tokenPath(token, "/edit"), d.get(tokenPath(token, "/edit")).filled()).leads(tokenPath(token, "") + "?notice=unchanged")
	if d.version() != before {
		t.Error("something was recorded")
	}
	d.get(tokenPath(token, "") + "?notice=unchanged").says("Nothing was changed")
}

// Of two owners who edit at once, the second is told what the first one did, keeps what
// they typed, sees the other fields as they are now, and saves by sending the form again.
// Break it by leaving the version out of the command, or by not rebasing.
func TestEditByTwo(t *testing.T) {
	d := newDesk(t)
	token, _ := d.generate("ci", oat.Never(), oat.All("acme", oat.Read))
	path := tokenPath(token, "/edit")
	form := d.get(path).filled("label", "mine", "description", "typed")
	label, description := "theirs", "also theirs"
	d.edit(token, "bob", oat.Edit{Label: &label})
	d.edit(token, "bob", oat.Edit{Description: &description, Resources: []oat.Resource{oat.Repository("acme/api", oat.ReadWrite)}})
	before := d.version()
	answer := d.post(path, form).is(http.StatusConflict).says("Somebody else changed this token", "What you typed is kept")
	if d.version() != before {
		t.Fatal("the first edit was lost")
	}
	summary := answer.page().id("summary").words()
	for _, told := range []string{"bob edited the token", "from ci → to theirs", "also theirs", "from All repositories, read → to acme/api, read and write"} {
		if !strings.Contains(summary, told) {
			t.Errorf("does not tell %q: %s", told, summary)
		}
	}
	again := answer.filled()
	if again.Get("label") != "mine" || again.Get("description") != "typed" || again.Get("access") != "selected" || again.Get("repository") != "acme/api" || again.Get("level") != "write" {
		t.Errorf("the form has %v", again)
	}
	d.post(path, again).leads(tokenPath(token, "") + "?notice=saved")
	got := d.stored("mine")
	if got.Description != "typed" || !cmp.Equal(got.Resources, []events.Resource{oat.Repository("acme/api", oat.ReadWrite)}) {
		t.Errorf("saved: %+v", got)
	}
}

// Of many changes the last ones are told, and a link leads to the others. Break it by
// telling all of them.
func TestEditAfterManyChanges(t *testing.T) {
	d := newDesk(t)
	token, _ := d.generate("ci", oat.Never())
	path := tokenPath(token, "/edit")
	form := d.get(path).filled("description", "typed")
	for i := range 8 {
		label := fmt.Sprint("label ", i)
		d.edit(token, "bob", oat.Edit{Label: &label})
	}
	check := func(left string) {
		t.Helper()
		page := d.post(path, form).is(http.StatusConflict).says("typed").page()
		told := page.id("summary").named("li")
		if len(told) != 6 {
			t.Errorf("%d changes are told", len(told))
		}
		link := page.id("earlier")
		if link == nil || link.words() != left || link.attrs["href"] != prefix+"/orgs/acme/activity?token="+token.ID.String() {
			t.Errorf("the link to the others is %+v", link)
		}
	}
	check("And 2 earlier in the activity")
	must(t, d.Service.Deactivate(t.Context(), oat.Actor{User: "bob"}, oat.Deactivate{Organization: "acme", Token: token.ID}))
	check("And 3 earlier in the activity")
}

// A form whose version is missing or none is treated as one that was opened first of all:
// it never overwrites what its sender has not seen.
func TestEditWithoutAVersion(t *testing.T) {
	d := newDesk(t)
	token, _ := d.generate("ci", oat.Never())
	for _, version := range []string{"", "0", "-1", "x", "1", "99999999999999999999999"} {
		answer := d.post(tokenPath(token, "/edit"), d.get(tokenPath(token, "/edit")).filled("label", "mine", "version", version)).is(http.StatusConflict)
		if answer.filled().Get("label") != "mine" {
			t.Errorf("version %q: what was typed is lost", version)
		}
	}
	if d.stored("ci").Version != token.Version {
		t.Error("the token was edited")
	}
}

// What was typed is kept, to be copied, when the token can no longer be edited.
func TestEditOfWhatEnded(t *testing.T) {
	bob := oat.Actor{User: "bob"}
	for name, test := range map[string]struct {
		end  func(d *desk, token oat.Token) error
		want string
	}{
		"expired": {func(d *desk, _ oat.Token) error { d.Clock.Advance(time.Hour); return nil }, "the token has expired meanwhile"},
		"inactive": {func(d *desk, token oat.Token) error {
			return d.Service.Deactivate(d.t.Context(), bob, oat.Deactivate{Organization: "acme", Token: token.ID})
		}, "the token was deactivated meanwhile"},
		"deleted": {func(d *desk, token oat.Token) error {
			return d.Service.Delete(d.t.Context(), bob, oat.Delete{Organization: "acme", Token: token.ID})
		}, "the token was deleted meanwhile"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			token, _ := d.generate("ci", oat.ExpiresAt(d.Clock.Now().Add(time.Hour)))
			path := tokenPath(token, "/edit")
			form := d.get(path).filled("label", "mine", "description", "typed", "access", "selected", "repository", "kept", "level", "write")
			must(t, test.end(d, token))
			answer := d.post(path, form).is(http.StatusConflict).says(test.want, "typed", "kept")
			if name != "expired" && !strings.Contains(answer.page().id("summary").words(), "bob") {
				t.Error("does not say who did it")
			}
			if page := answer.page(); page.value(t, "label") != "mine" {
				t.Error("what was typed is lost")
			} else {
				d.checkDisabled(page)
			}
			if name == "deleted" {
				d.catchUp()
				d.get(path).is(http.StatusNotFound)
			} else {
				d.catchUp()
				d.get(path).leads(tokenPath(token, "") + "?notice=" + name)
			}
		})
	}
}

func TestEditTellsProblems(t *testing.T) {
	d := newDesk(t)
	token, _ := d.generate("ci", oat.Never())
	path := tokenPath(token, "/edit")
	answer := d.post(path, d.get(path).filled("label", "", "access", "selected", "repository", "x", "repository", "x", "level", "read", "level", "read")).is(http.StatusUnprocessableEntity)
	if got := answer.page().id("summary").words(); got != "There are 2 problems The label is required. acme/x is selected twice." {
		t.Error(got)
	}
	if again := answer.filled(); len(again["repository"]) != 2 || again.Get("version") == "" {
		t.Errorf("the form has %v", again)
	}
	added := d.post(path, d.get(path).filled("label", "typed", "access", "selected", "add", "1")).is(http.StatusOK)
	if form := added.filled(); len(form["repository"]) != 2 || form.Get("label") != "typed" {
		t.Errorf("after adding a row: %v", form)
	}
	if d.stored("ci").Version != token.Version {
		t.Error("the token was edited")
	}
}

// Deactivating and deleting ask, say what will happen, and do it once. Sent again, they
// say that it was done. Break it by acting on the GET.
func TestDeactivateAndDelete(t *testing.T) {
	d := newDesk(t)
	token, secret := d.generate("ci", oat.Never())
	at := func(action string) string { return tokenPath(token, action) }
	d.get(at("/deactivate")).is(http.StatusOK).says("Deactivate “<bdi>ci</bdi>”?", "stops working at once", "It can only be deleted.", "still counts against the limit")
	d.get(at("/delete")).is(http.StatusOK).says("Delete “<bdi>ci</bdi>”?", "no longer counts", "This cannot be undone.")
	if d.stored("ci").State != projection.Active {
		t.Fatal("to ask was enough")
	}
	form := d.get(at("/deactivate")).filled()
	d.post(at("/deactivate"), form).leads(at("") + "?notice=deactivated")
	if _, err := d.Verifier.Verify(t.Context(), oat.Attempt{Organization: "acme", Secret: secret}); err == nil {
		t.Error("the deactivated token opens")
	}
	page := d.get(at("") + "?notice=deactivated").says("The token was deactivated.").page()
	if got := page.id("actions").named("ul")[0].words(); got != "Delete" {
		t.Errorf("an inactive token offers %s", got)
	}
	d.post(at("/deactivate"), form).leads(at("") + "?notice=inactive")
	d.get(at("/deactivate")).leads(at("") + "?notice=inactive")
	d.post(at("/delete"), form).leads("/orgs/acme/tokens?notice=deleted")
	d.post(at("/delete"), form).leads("/orgs/acme/tokens?notice=gone")
	d.post(at("/deactivate"), form).leads("/orgs/acme/tokens?notice=gone")
	d.get("/orgs/acme/tokens?notice=gone").says("had been deleted already")
	d.get(at("/delete")).is(http.StatusNotFound)
	if d.count() != 0 {
		t.Error("the token is still there")
	}
}

func TestDeactivateOfWhatExpired(t *testing.T) {
	d := newDesk(t)
	token, _ := d.generate("ci", oat.ExpiresAt(d.Clock.Now().Add(time.Hour)))
	form := d.get(tokenPath(token, "/deactivate")).filled()
	d.Clock.Advance(time.Hour)
	d.post(tokenPath(token, "/deactivate"), form).leads(tokenPath(token, "") + "?notice=expired")
	d.get(tokenPath(token, "") + "?notice=expired").says("can only be deleted")
}
