package console_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/console"
)

// crawl follows every link of the pages of acme, and every asset they use, and returns
// the answers by address.
func (d *desk) crawl() map[string]answer {
	d.t.Helper()
	found := make(map[string]answer)
	for next := []string{"/orgs/acme/tokens"}; len(next) > 0; next = next[1:] {
		if _, known := found[next[0]]; known {
			continue
		}
		a := d.get(next[0]).is(http.StatusOK)
		found[next[0]] = a
		if !strings.HasPrefix(a.Header().Get("Content-Type"), "text/html") {
			continue
		}
		base, err := url.Parse(prefix + next[0])
		must(d.t, err)
		for _, n := range a.page().all(func(n *node) bool { return n.has("href") || n.has("src") }) {
			to, err := base.Parse(n.attrs["href"] + n.attrs["src"])
			must(d.t, err)
			to.Fragment = ""
			if path, ours := strings.CutPrefix(to.String(), prefix); ours && path != "/" {
				next = append(next, path)
			}
		}
	}
	return found
}

// furnish gives acme something to show in every state.
func (d *desk) furnish() {
	d.t.Helper()
	d.generate(`<b>&"'`, oat.ExpiresAt(d.Clock.Now().Add(time.Hour)), oat.Repository("acme/api", oat.ReadWrite), oat.Repository("acme/web", oat.Read))
	off, _ := d.generate("off", oat.Never())
	gone, _ := d.generate("gone", oat.Never())
	used, _ := d.generate("used", oat.ExpiresAt(d.Clock.Now().Add(50*time.Hour)), oat.Public())
	label, description := "renamed", `"quoted" <script>`
	bob := oat.Actor{User: "bob", Reason: "<i>why</i>"}
	_, err := d.Service.Edit(d.t.Context(), bob, oat.Edit{Organization: "acme", Token: used.ID, Label: &label, Description: &description, Resources: []oat.Resource{oat.All("acme", oat.Read)}})
	must(d.t, err)
	must(d.t, d.Service.Deactivate(d.t.Context(), bob, oat.Deactivate{Organization: "acme", Token: off.ID}))
	must(d.t, d.Service.Delete(d.t.Context(), bob, oat.Delete{Organization: "acme", Token: gone.ID}))
	d.use(used, "")
	d.use(used, "<em>expired</em>")
	d.Clock.Advance(2 * time.Hour)
	d.catchUp()
}

// answers are pages of every kind, those that only a post is answered with included.
func (d *desk) answers() map[string]answer {
	d.t.Helper()
	d.furnish()
	all := d.crawl()
	token := d.stored("renamed")
	edit := tokenPath(oat.Token{ID: token.ID}, "/edit")
	stale := d.get(edit).filled("label", "mine")
	all["problems"] = d.post(newPath, d.get(newPath).filled("access", "selected", "repository", "X", "level", "read"))
	all["rows"] = d.post(newPath, d.get(newPath).filled("add", "1"))
	form := d.get(newPath).filled("label", "<u>new</u>", "access", "all")
	all["secret"] = d.post(newPath, form)
	all["again"] = d.post(newPath, form)
	label := "theirs"
	_, err := d.Service.Edit(d.t.Context(), oat.Actor{User: "bob"}, oat.Edit{Organization: "acme", Token: token.ID, Label: &label})
	must(d.t, err)
	all["stale"] = d.post(edit, stale)
	d.user = ""
	all["signed out"] = d.post(edit, stale)
	all["signed out, no form"] = d.post(edit, url.Values{"a": {"b"}})
	all["signed out, looking"] = d.get("/orgs/acme/tokens")
	d.user = "alice"
	must(d.t, d.Service.Deactivate(d.t.Context(), oat.Actor{User: "bob"}, oat.Deactivate{Organization: "acme", Token: token.ID}))
	all["blocked"] = d.post(edit, stale)
	must(d.t, d.Service.Delete(d.t.Context(), oat.Actor{User: "bob"}, oat.Delete{Organization: "acme", Token: token.ID}))
	all["lost"] = d.post(edit, stale)
	all["not found"] = d.get("/nowhere")
	all["no token"] = d.get("/orgs/acme/tokens/x")
	all["nothing found"] = d.get("/orgs/acme/tokens?q=x%22%3E%3Cscript%3E&notice=deleted")
	all["method"] = d.send(httptest.NewRequest(http.MethodPut, prefix+"/orgs/acme/tokens", nil))
	return all
}

// No page has anything that the content security policy would have to allow: no script
// or style in the page, no handler in an attribute, nothing from elsewhere. Break it by
// putting a style attribute into a template.
func TestPagesHaveNoInlineCode(t *testing.T) {
	for name, a := range newDesk(t).answers() {
		if !strings.HasPrefix(a.Header().Get("Content-Type"), "text/html") {
			continue
		}
		for _, n := range a.page().all(func(n *node) bool { return n.name != "" }) {
			for attr, value := range n.attrs {
				if strings.HasPrefix(attr, "on") || attr == "style" || attr == "srcdoc" || strings.HasPrefix(strings.ToLower(value), "javascript:") {
					t.Errorf("%s: <%s> has %s=%q", name, n.name, attr, value)
				}
			}
			if slices.Contains([]string{"style", "iframe", "object", "embed", "base", "b", "i", "em", "u"}, n.name) || n.name == "script" && (n.attrs["src"] == "" || n.content() != "") {
				t.Errorf("%s: has <%s>", name, n.name)
			}
			if src := n.attrs["src"]; src != "" && !strings.HasPrefix(src, prefix+"/assets/") {
				t.Errorf("%s: loads %s", name, src)
			}
		}
	}
}

// Every answer, whatever it is, is guarded by its headers. Break it by setting them in
// the pages only.
func TestHeaders(t *testing.T) {
	d := newDesk(t)
	for name, a := range d.answers() {
		h := a.Header()
		for header, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
			"X-Content-Type-Options":  "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if h.Get(header) != want {
				t.Errorf("%s: %s: %q", name, header, h.Get(header))
			}
		}
		asset := strings.HasPrefix(name, "/assets/")
		if asset != (h.Get("Cache-Control") != "no-store") || len(h["Set-Cookie"]) > 0 || h.Get("Content-Type") == "" {
			t.Errorf("%s: %v", name, h)
		}
	}
	if a := d.get("/assets/console.css?v=old").is(http.StatusOK); a.Header().Get("Cache-Control") != "no-store" {
		t.Error("an asset is kept under the address of another one")
	}
}

// request is one request of every route that there is.
type request struct{ method, path string }

func every(token uuid.UUID) (all []request) {
	const org = "/orgs/acme"
	at := org + "/tokens/" + token.String()
	for _, path := range []string{org, org + "/tokens", newPath, at, at + "/edit", at + "/deactivate", at + "/delete", org + "/activity", org + "/activity.csv", org + "/organization", org + "/repositories"} {
		all = append(all, request{http.MethodGet, path})
	}
	for _, path := range []string{newPath, at + "/edit", at + "/deactivate", at + "/delete"} {
		all = append(all, request{http.MethodPost, path})
	}
	return all
}

// Who is not an owner gets the same answer everywhere, word for word, whether or not
// there is such an organization, and changes nothing. This goes through the table of
// routes, so that a new one is among them. Break it by making one of them open.
func TestEveryRouteIsForOwners(t *testing.T) {
	d := newDesk(t)
	token, _ := d.generate("theirs", oat.Never())
	requests := every(token.ID)
	var tested []string
	for _, r := range requests {
		tested = append(tested, r.method+" "+strings.NewReplacer("/acme", "/{org}", token.ID.String(), "{token}").Replace(r.path))
	}
	slices.Sort(tested)
	if want := console.Routes(d.Console); !slices.Equal(tested, want) {
		t.Fatalf("tested are\n%v\nand there are\n%v", tested, want)
	}
	before := d.version()
	for _, user := range []string{"carol", "nobody", "Alice", "al ice", "ali\u200bce", "\x00", strings.Repeat("x", 300)} {
		d.user = user
		want := d.get("/orgs/no-such-thing/tokens").is(http.StatusNotFound).Body.String()
		for _, r := range requests {
			a := d.get(r.path)
			if r.method == http.MethodPost {
				a = d.post(r.path, url.Values{"label": {"mine"}, "version": {"3"}, "access": {"public"}, "request": {strings.Repeat("0", 32)}})
			}
			if a.is(http.StatusNotFound).Body.String() != want {
				t.Errorf("%q, %s %s: tells more than an organization that does not exist", user, r.method, r.path)
			}
		}
	}
	if d.version() != before {
		t.Error("something was changed")
	}
}

// version is that of the stream of acme.
func (d *desk) version() (v int64) {
	d.t.Helper()
	for _, err := range d.Log.ReadStream(d.t.Context(), "organization/acme", 0) {
		must(d.t, err)
		v++
	}
	return v
}

// An owner who was removed is one no more from the next request on, also where the read
// models have not heard of it.
func TestRemovedOwner(t *testing.T) {
	d := newDesk(t)
	form := d.get(newPath).filled("label", "typed", "access", "all")
	must(t, d.Service.RemoveOwner(t.Context(), oat.Actor{User: "bob"}, oat.RemoveOwner{Organization: "acme", Owner: "alice"}))
	d.get("/orgs/acme/tokens").is(http.StatusNotFound)
	d.post(newPath, form).is(http.StatusNotFound)
	if d.count() != 0 {
		t.Error("a token was generated")
	}
}

// A token of another organization is not there.
func TestTokensOfOthers(t *testing.T) {
	d := newDesk(t)
	d.generate("mine", oat.Never())
	theirs, _, err := d.Service.Generate(t.Context(), oat.Actor{User: "carol"}, oat.Generate{Organization: "globex", Label: "theirs", Expires: oat.Never(), Resources: []oat.Resource{oat.Public()}})
	must(t, err)
	d.catchUp()
	for _, id := range []string{theirs.ID.String(), uuid.NewString(), uuid.Nil.String(), "x", "..%2f..", strings.ToUpper(theirs.ID.String()), "%00", "%ff"} {
		for _, action := range []string{"", "/edit", "/deactivate", "/delete"} {
			path := "/orgs/acme/tokens/" + id + action
			d.get(path).is(http.StatusNotFound).hides("theirs")
			if action != "" {
				d.post(path, url.Values{"label": {"mine now"}, "version": {"1"}, "access": {"public"}}).is(http.StatusNotFound).hides("theirs")
			}
		}
	}
	if _, ok := d.open(theirs); !ok {
		t.Error("carol's token is not as it was")
	}
}

// open tells whether the token is there and active.
func (d *desk) open(token oat.Token) (state string, ok bool) {
	d.t.Helper()
	grant, err := d.Verifier.Recheck(d.t.Context(), oat.Recheck{Organization: token.Organization, Token: token.ID})
	return grant.Organization(), err == nil
}

// A post that another site sent is refused before anything is looked at. Break it by
// serving the mux without the guard.
func TestPostsOfOtherSites(t *testing.T) {
	d := newDesk(t)
	token, _ := d.generate("ci", oat.Never())
	for _, header := range [][2]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"}} {
		r := posted(tokenPath(token, "/delete"), nil)
		r.Header.Del("Sec-Fetch-Site")
		r.Header.Set(header[0], header[1])
		d.send(r).is(http.StatusForbidden).says("This came from another site").hides("ci")
	}
	if _, ok := d.open(token); !ok {
		t.Error("the token was deleted")
	}
	r := posted(tokenPath(token, "/delete"), nil)
	r.Header.Del("Sec-Fetch-Site")
	r.Header.Set("Origin", "http://"+r.Host)
	d.send(r).leads("/orgs/acme/tokens?notice=deleted")
}

// TestTrustedOrigin takes a post from the trusted origin in the form in which browsers send
// it, however the host wrote it. Sources: RFC 3986, 6.2.2.1 and 6.2.3; RFC 6454, 6.2.
//
// Fails if New passes on the address as it is, or if parseOrigin leaves out one of its steps.
func TestTrustedOrigin(t *testing.T) {
	for trusted, origin := range map[string]string{
		"https://admin.example.com":      "https://admin.example.com",
		"HTTPS://Admin.Example.com":      "https://admin.example.com",
		"https://admin.example.com:443/": "https://admin.example.com",
		"https://admin.example.com:":     "https://admin.example.com",
		"http://ADMIN:80":                "http://admin",
		"http://admin:443":               "http://admin:443",
		"https://[2001:DB8::1]:443":      "https://[2001:db8::1]",
	} {
		d := newDesk(t, func(cfg *console.Config) { cfg.TrustedOrigins = []string{trusted} })
		token, _ := d.generate("ci", oat.Never())
		post := func(from string) answer {
			r := posted(tokenPath(token, "/delete"), nil)
			r.Header.Del("Sec-Fetch-Site")
			r.Header.Set("Origin", from)
			return d.send(r)
		}
		post(origin + ":8443").is(http.StatusForbidden)
		post(strings.Replace(origin, "://", "://x", 1)).is(http.StatusForbidden)
		post(origin).leads("/orgs/acme/tokens?notice=deleted")
	}
}

// TestOriginOfHost compares the Origin, which browsers write in one form, with the Host,
// which a proxy may write in capitals or with the scheme's own port. Sources: RFC 9110, 4.2.3
// and 7.2; RFC 6454, 6.2.
//
// Fails if guard compares the Host as it is, or leaves out any port.
func TestOriginOfHost(t *testing.T) {
	d := newDesk(t)
	for _, c := range []struct {
		origin, host string
		same         bool
	}{
		{"https://hub.example.com", "hub.example.com", true},
		{"https://hub.example.com", "HUB.Example.com", true},
		{"https://hub.example.com", "hub.example.com:443", true},
		{"http://hub.example.com", "hub.example.com:80", true},
		{"https://hub.example.com:8443", "Hub.example.com:8443", true},
		{"https://hub.example.com", "hub.example.com:80", false},
		{"http://hub.example.com", "hub.example.com:443", false},
		{"https://hub.example.com", "hub.example.com:8443", false},
		{"https://evil.example", "hub.example.com", false},
	} {
		token, _ := d.generate("ci", oat.Never())
		r := posted(tokenPath(token, "/delete"), nil)
		r.Header.Del("Sec-Fetch-Site")
		r.Header.Set("Origin", c.origin)
		r.Host = c.host
		answer := d.send(r)
		if c.same {
			answer.leads("/orgs/acme/tokens?notice=deleted")
		} else {
			answer.is(http.StatusForbidden)
			d.send(posted(tokenPath(token, "/delete"), nil)).leads("/orgs/acme/tokens?notice=deleted")
		}
	}
}

// Of methods, each address takes those it is for.
func TestMethods(t *testing.T) {
	d := newDesk(t)
	token, _ := d.generate("ci", oat.Never())
	posts := make(map[string]bool)
	for _, r := range every(token.ID) {
		posts[r.path] = posts[r.path] || r.method == http.MethodPost
	}
	for path, post := range posts {
		for _, method := range []string{"PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "POST"} {
			if method == "POST" && post {
				continue
			}
			r := posted(path, nil)
			r.Method = method
			a := d.send(r).is(http.StatusMethodNotAllowed)
			want := "GET, HEAD"
			if post {
				want = "GET, HEAD, POST"
			}
			if a.Header().Get("Allow") != want {
				t.Errorf("%s %s allows %q", method, path, a.Header().Get("Allow"))
			}
		}
		r := httptest.NewRequest(http.MethodHead, prefix+path, nil)
		if a := d.send(r); a.Code >= 400 {
			t.Errorf("HEAD %s: %d", path, a.Code)
		}
	}
}

// What is no form of the console is refused with a page that says so.
func TestBodies(t *testing.T) {
	d := newDesk(t)
	for name, test := range map[string]struct {
		kind, body string
		want       int
	}{
		"none":      {"", "", http.StatusUnsupportedMediaType},
		"JSON":      {"application/json", `{"label":"x"}`, http.StatusUnsupportedMediaType},
		"multipart": {"multipart/form-data; boundary=x", "--x--", http.StatusUnsupportedMediaType},
		"damaged":   {"application/x-www-form-urlencoded", "label=%zz", http.StatusBadRequest},
		"huge":      {"application/x-www-form-urlencoded", "label=" + strings.Repeat("x", 200<<10), http.StatusRequestEntityTooLarge},
		"with more": {"application/x-www-form-urlencoded; charset=utf-8", "label=x", http.StatusConflict},
	} {
		r := httptest.NewRequest(http.MethodPost, prefix+newPath, strings.NewReader(test.body))
		r.Header.Set("Content-Type", test.kind)
		if a := d.send(r); a.Code != test.want || !strings.HasPrefix(a.Header().Get("Content-Type"), "text/html") {
			t.Errorf("%s: %d %s", name, a.Code, a.Header())
		}
	}
}
