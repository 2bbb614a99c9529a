package console_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/oatmill/oatmill/oat"
)

// Whatever is sent to whatever address, the answer is one of those the package comment
// names, with the guarding headers, and a page that is well-formed. Nothing panics, and
// no answer but that to a good form has a secret. Break it by indexing levels without
// looking how many there are.
func FuzzRequest(f *testing.F) {
	const token = "/orgs/acme/tokens/00000000-0000-4000-8000-000000000000"
	for _, path := range []string{"/", "/orgs/acme/tokens?page=-1&sort=-&q=%ff", newPath, "{token}", "{token}/edit", "{token}/delete", "{token}/deactivate", token, "/orgs/acme/activity?since=x", "/orgs/acme/activity.csv?token=\x00", "//", "/orgs//tokens", "/../..", "/orgs/%2e%2e/tokens", "/assets/..%2fconsole.go", "", "/orgs/acme/repositories?q=" + strings.Repeat("é", 300)} {
		for _, body := range []string{"", "label=x&access=selected&repository=a&level=write&version=3", "request=" + strings.Repeat("0", 32) + "&add=&remove=9&repository=%00&access=selected", "%", "label=%ff&access=all&expires=date&date=9999-12-31"} {
			f.Add("POST", path, body, "alice")
		}
		f.Add("GET", path, "", "alice")
		f.Add("GET", path, "", "")
		f.Add("DELETE", path, "", "carol")
	}
	f.Fuzz(func(t *testing.T, method, path, body, user string) {
		d := newDesk(t)
		d.user = user
		if user != "alice" && user != "" {
			d.user = "carol"
		}
		ci, _ := d.generate("ci", oat.Never())
		path = strings.ReplaceAll(path, "{token}", tokenPath(ci, ""))
		r, err := wired(method, path, body)
		if err != nil {
			t.Skip("no client could send it")
		}
		a := d.send(r)
		switch a.Code {
		case 200, 301, 303, 307, 400, 401, 403, 404, 405, 409, 413, 415, 422:
		default:
			t.Fatalf("%s %q: status %d", method, path, a.Code)
		}
		if a.Header().Get("Content-Security-Policy") == "" {
			t.Errorf("%s %q: no policy", method, path)
		}
		if a.Code != 200 && secretIn(a.Body.String()) != "" {
			t.Errorf("%s %q: a secret with status %d", method, path, a.Code)
		}
		if d.user == "carol" && strings.Contains(a.Body.String(), ci.ID.String()+"/edit") {
			t.Errorf("%s %q: who is no owner sees the token", method, path)
		}
		printable := strings.IndexFunc(a.Body.String(), func(r rune) bool {
			return r < ' ' && r != '\n' && r != '\t' && r != '\r' || r == '\uFFFE' || r == '\uFFFF'
		}) < 0
		if strings.HasPrefix(a.Header().Get("Content-Type"), "text/html; charset=utf-8") && a.Code/100 != 3 && printable {
			a.page()
		}
	})
}

// wired is a request as a server gets it from the wire.
func wired(method, path, body string) (r *http.Request, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	r = httptest.NewRequest(method, prefix+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return r, nil
}
