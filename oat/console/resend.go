package console

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/oatmill/oatmill/oat"
)

// resend is the page for a form whose sender's session has ended: it carries the form on.
type resend struct {
	frame
	Action string
	SignIn string
	Fields []field
}

type field struct{ Name, Value string }

// signedOut leads to the host's sign-in page. A form that was on its way is not lost: the
// page holds what was typed, to be sent again after signing in in another tab.
func (c *Console) signedOut(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		if c.cfg.SignIn != nil {
			http.Redirect(w, r, c.cfg.SignIn(r.URL.RequestURI()), http.StatusSeeOther)
			return
		}
		c.fail(w, r, http.StatusUnauthorized, "You are not signed in", "Sign in, and come back to this page.")
		return
	}
	page := resend{frame: c.frame("You are not signed in any more"), Action: r.URL.EscapedPath()}
	if len(page.Action)-len(c.cfg.Prefix) > maxAction || !ours(r.PostForm) {
		c.fail(w, r, http.StatusBadRequest, "The form cannot be kept", "You are not signed in, and what was sent is not what a form of the console sends, or is longer than its fields hold. Nothing was changed. Go back, sign in in a new tab, and send the form again.")
		return
	}
	if c.cfg.SignIn != nil {
		page.SignIn = c.cfg.SignIn(c.cfg.Prefix + "/")
	}
	for name, values := range r.PostForm {
		for _, value := range values {
			page.Fields = append(page.Fields, field{name, value})
		}
	}
	slices.SortStableFunc(page.Fields, func(a, b field) int { return strings.Compare(a.Name, b.Name) })
	c.render(w, r, http.StatusUnauthorized, "resend", page)
}

// maxAction is how many bytes of an address below the prefix the page carries on. The
// longest path of a form has 125, each of which may be written as three.
const maxAction = 400

// ours tells whether a form could be one of the console's. Whoever sends it is nobody
// yet, and so the page gives back no more than it has room for, and nothing that no form
// has a field for.
func ours(posted url.Values) bool {
	for name, values := range posted {
		most, size := fieldRoom(name)
		tooLong := func(value string) bool { return len(value) > size }
		if len(values) > most || slices.ContainsFunc(values, tooLong) {
			return false
		}
	}
	return true
}

// fieldRoom is how often a form may have a field, and how many bytes it may hold. What is
// typed may be longer than what is accepted, so that it is not lost for that.
func fieldRoom(name string) (most, size int) {
	switch name {
	case "label":
		return 1, 1000
	case "description":
		return 1, 2000
	case "repository":
		return maxRows, oat.MaxRepository
	case "level":
		return maxRows, 16
	case "expires", "date", "access", "all-level", "request", "version", "add", "remove":
		return 1, 64
	}
	return 0, 0
}
