package console_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/console"
)

func withSignIn(cfg *console.Config) {
	cfg.SignIn = func(back string) string { return "/sign-in?back=" + url.QueryEscape(back) }
	cfg.SignOut = "/sign-out"
}

// Who is not signed in and looks at a page is led to sign in and back to it.
func TestSignIn(t *testing.T) {
	d := newDesk(t, withSignIn)
	d.user = ""
	a := d.get("/orgs/acme/tokens?q=x&page=2").is(http.StatusSeeOther)
	if got := a.Header().Get("Location"); got != "/sign-in?back=%2Fadmin%2Forgs%2Facme%2Ftokens%3Fq%3Dx%26page%3D2" {
		t.Error(got)
	}
	plain := newDesk(t)
	plain.user = ""
	plain.get("/orgs/acme/tokens").is(http.StatusUnauthorized).says("You are not signed in")
}

// A form that is sent when the session has ended is not lost, and does nothing: the page
// holds every field, and sends them to the same place when somebody is signed in again.
// Break it by leading every request to sign in, or by keeping one value of each name.
func TestSessionEndsInTheMiddleOfAForm(t *testing.T) {
	d := newDesk(t, withSignIn)
	form := d.get(newPath).filled("label", "typed <b>", "description", "\nwith\nlines", "access", "selected", "repository", "a", "repository", "b", "level", "write", "level", "read")
	d.user = ""
	answer := d.post(newPath, form).is(http.StatusUnauthorized).says("what you typed is not lost")
	page := answer.page()
	if link := page.id("sign-in"); link.attrs["href"] != "/sign-in?back=%2Fadmin%2F" || link.attrs["target"] != "_blank" {
		t.Errorf("the link to sign in: %v", link.attrs)
	}
	if got := page.id("form").attrs["action"]; got != prefix+newPath {
		t.Errorf("the form goes to %s", got)
	}
	kept := answer.filled()
	if diff := cmp.Diff(form, kept); diff != "" {
		t.Errorf("what was typed is not kept: %s", diff)
	}
	if d.count() != 0 {
		t.Fatal("a token was generated for nobody")
	}
	d.post(newPath, kept).is(http.StatusUnauthorized) // too early, and once more
	d.user = "alice"
	d.post(newPath, kept).is(http.StatusOK).says("Token generated")
	if got := d.stored("typed <b>"); len(got.Resources) != 2 {
		t.Errorf("generated: %+v", got)
	}
}

// What no form of the console sends is not given back to somebody who is not signed in,
// and is not made larger on the way. Break it by leaving one of the bounds out.
func TestSessionEndedBeforeWhatIsNoForm(t *testing.T) {
	d := newDesk(t, withSignIn)
	d.user = ""
	for name, form := range map[string]url.Values{
		"another field":      {"label": {"x"}, "evil": {"typed"}},
		"no name":            {"": {""}},
		"two labels":         {"label": {"typed", "typed"}},
		"a long label":       {"label": {strings.Repeat("typed", 201)}},
		"a long level":       {"level": {strings.Repeat("typed", 4)}},
		"a long repository":  {"repository": {strings.Repeat("typed", 52)}},
		"too many":           {"repository": slices.Repeat([]string{"typed"}, 52)},
		"a long description": {"description": {strings.Repeat("typed", 401)}},
	} {
		a := d.post(newPath, form)
		if a.Code != http.StatusBadRequest || strings.Contains(a.Body.String(), "typed") {
			t.Errorf("%s: status %d\n%s", name, a.Code, a.Body)
		}
		a.says("The form cannot be kept")
	}
	d.post("/orgs/"+strings.Repeat("'", 400)+"/tokens/new", url.Values{}).is(http.StatusBadRequest).hides("''", "&#39;&#39;", "%27%27")
}

// In the other tab somebody may have signed in who is no owner.
func TestSomebodyElseSignsIn(t *testing.T) {
	d := newDesk(t, withSignIn)
	token, _ := d.generate("ci", oat.Never())
	d.user = ""
	kept := d.post(tokenPath(token, "/delete"), url.Values{}).is(http.StatusUnauthorized).filled()
	d.user = "carol"
	d.post(tokenPath(token, "/delete"), kept).is(http.StatusNotFound)
	d.user = "bob"
	d.post(tokenPath(token, "/delete"), kept).leads("/orgs/acme/tokens?notice=deleted")
}

func TestSignOut(t *testing.T) {
	d := newDesk(t, withSignIn)
	button := d.get("/orgs/acme/tokens").says("Signed in as").page().id("sign-out")
	if form := button.parent; form.attrs["method"] != "post" || form.attrs["action"] != "/sign-out" {
		t.Errorf("signing out: %v", form.attrs)
	}
	if strings.Contains(newDesk(t).get("/orgs/acme/tokens").Body.String(), "sign-out") {
		t.Error("the page offers to sign out where the host does not")
	}
}

// A notice is one of those the console knows. A link cannot make a page say anything.
func TestNotices(t *testing.T) {
	d := newDesk(t)
	d.get("/orgs/acme/tokens?notice=Your+account+is+locked").is(http.StatusOK).hides("locked", `id="notice"`)
}
