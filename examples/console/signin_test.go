package main

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// TestSignInLink: looking at a link does not use it up, using it does, and the session it
// begins is a new one.
func TestSignInLink(t *testing.T) {
	s := serve(t)
	link := s.Await(t, s.Stdout, linkLine)
	browser := s.client(t)
	browser.Jar.SetCookies(mustParse(t, s.url), []*http.Cookie{{Name: "oatmill", Value: "planted"}})
	for range 2 {
		if page := s.get(t, browser, link).is(t, http.StatusOK); !strings.Contains(page.text, "Sign in as <bdi>alice</bdi>") {
			t.Errorf("the link shows %s", page.text)
		}
	}
	cookie := s.post(t, browser, link, nil).is(t, http.StatusSeeOther).Header.Get("Set-Cookie")
	if strings.Contains(cookie, "planted") || !strings.Contains(cookie, "HttpOnly; SameSite=Lax") {
		t.Errorf("the cookie is %q", cookie)
	}
	s.get(t, browser, "/orgs/acme/tokens").is(t, http.StatusOK)
	stranger := s.client(t)
	s.post(t, stranger, link, nil).is(t, http.StatusGone)
	if page := s.get(t, stranger, link).is(t, http.StatusGone); strings.Contains(page.text, "alice") {
		t.Errorf("a link that was used says whose it was: %s", page.text)
	}
	s.get(t, stranger, "/orgs/acme/tokens").is(t, http.StatusSeeOther)
}

// TestSignIn: wrong names and wrong passwords are answered alike, and after signing in
// nobody is led to another site, as they are when local returns what it is given.
func TestSignIn(t *testing.T) {
	s := serve(t)
	wrong := s.post(t, s.client(t), "/sign-in", url.Values{"name": {"alice"}, "password": {"x"}}).is(t, http.StatusUnauthorized)
	nobody := s.post(t, s.client(t), "/sign-in", url.Values{"name": {"malor"}, "password": {"x"}}).is(t, http.StatusUnauthorized)
	if strings.ReplaceAll(wrong.text, "alice", "malor") != nobody.text {
		t.Errorf("a wrong password is answered with\n%s\nand a wrong name with\n%s", wrong.text, nobody.text)
	}
	for back, want := range map[string]string{
		"/orgs/acme/activity?page=2": "/orgs/acme/activity?page=2", "": "/", "https://evil.example": "/", "//evil.example": "/",
		`/\evil.example`: "/", "/\t/evil.example": "/", "javascript:alert(1)": "/", "evil": "/",
	} {
		answer := s.post(t, s.client(t), "/sign-in", url.Values{"name": {"alice"}, "password": {s.password(t)}, "back": {back}}).is(t, http.StatusSeeOther)
		if got := answer.Header.Get("Location"); got != want {
			t.Errorf("back to %q leads to %q, want %q", back, got, want)
		}
	}
}

// TestSignOut: the session is over on the server, not only in the browser.
func TestSignOut(t *testing.T) {
	s := serve(t)
	browser := s.client(t)
	s.post(t, browser, "/sign-in", url.Values{"name": {"alice"}, "password": {s.password(t)}}).is(t, http.StatusSeeOther)
	cookies := browser.Jar.Cookies(mustParse(t, s.url))
	s.post(t, browser, "/sign-out", nil).is(t, http.StatusSeeOther)
	thief := s.client(t)
	thief.Jar.SetCookies(mustParse(t, s.url), cookies)
	s.get(t, thief, "/orgs/acme/tokens").is(t, http.StatusSeeOther)
}

// TestOtherSites cannot sign anybody in or out.
func TestOtherSites(t *testing.T) {
	s := serve(t)
	for _, path := range []string{"/sign-in", "/sign-out", s.Await(t, s.Stdout, linkLine)} {
		request, err := http.NewRequest(http.MethodPost, s.url+path, strings.NewReader("name=alice"))
		must(t, err)
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("Sec-Fetch-Site", "cross-site")
		if page := send(t, s.client(t), request).is(t, http.StatusForbidden); !strings.Contains(page.text, "from another site") {
			t.Errorf("%s from another site shows %s", path, page.text)
		}
	}
}

// TestTooManyTries: an address that guesses has to wait, even with the right password.
func TestTooManyTries(t *testing.T) {
	s := serve(t, "--sign-in-limit", "3/1m")
	for range 3 {
		s.post(t, s.client(t), "/sign-in", url.Values{"name": {"alice"}, "password": {"guess"}}).is(t, http.StatusUnauthorized)
	}
	last := s.post(t, s.client(t), "/sign-in", url.Values{"name": {"alice"}, "password": {s.password(t)}}).is(t, http.StatusTooManyRequests)
	if last.Header.Get("Retry-After") == "" || !strings.Contains(last.text, "too many tries") || !strings.Contains(last.text, `value="alice"`) {
		t.Errorf("too many tries are answered with %s", last.text)
	}
}

// TestBehindProxy: people behind a proxy are told apart by what it says of them, and
// nobody else's word is taken for it: with the peer's address alone, bob waits for alice.
func TestBehindProxy(t *testing.T) {
	try := func(s *serving, forwarded string) answer {
		form := url.Values{"name": {"alice"}, "password": {"guess"}}
		request, err := http.NewRequest(http.MethodPost, s.url+"/sign-in", strings.NewReader(form.Encode()))
		must(t, err)
		request.Header.Set("X-Forwarded-For", forwarded)
		return send(t, s.client(t), request)
	}
	s := serve(t, "--sign-in-limit", "1/1m", "--trusted-proxy", "127.0.0.0/8")
	try(s, "192.0.2.1").is(t, http.StatusUnauthorized)
	try(s, "192.0.2.2, 192.0.2.1, 127.0.0.9").is(t, http.StatusTooManyRequests)
	try(s, "192.0.2.2").is(t, http.StatusUnauthorized)
	script := scripted{serving: s, t: t, client: http.DefaultClient}
	script.signIn("alice", s.password(t))

	direct := serve(t, "--sign-in-limit", "1/1m")
	try(direct, "192.0.2.1").is(t, http.StatusUnauthorized)
	try(direct, "192.0.2.2").is(t, http.StatusTooManyRequests)
}

// TestDeskHeaders: every answer of the desk, refusals too, is kept from caches and
// frames. With the guard around the headers, those to other sites are not.
func TestDeskHeaders(t *testing.T) {
	s := serve(t)
	for _, path := range []string{"/sign-in", "/sign-in/once/NONE", "/sign-out", "/sign-in/style.css"} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodOptions} {
			for _, site := range []string{"same-origin", "cross-site"} {
				request, err := http.NewRequest(method, s.url+path, nil)
				must(t, err)
				request.Header.Set("Sec-Fetch-Site", site)
				got := send(t, s.client(t), request)
				policy := got.Header.Get("Content-Security-Policy")
				if !strings.Contains(policy, "default-src 'none'") || got.Header.Get("Cache-Control") != "no-store" || got.Header.Get("X-Content-Type-Options") != "nosniff" {
					t.Errorf("%s %s from %s is answered with %s and %v", method, path, site, got.Status, got.Header)
				}
			}
		}
	}
}

// TestOtherMethods are refused with those that there are.
func TestOtherMethods(t *testing.T) {
	s := serve(t)
	for path, want := range map[string]string{"/sign-in": "GET, HEAD, POST", "/sign-out": "POST", "/sign-in/once/NONE": "GET, HEAD, POST", "/sign-in/style.css": "GET, HEAD"} {
		request, err := http.NewRequest(http.MethodDelete, s.url+path, nil)
		must(t, err)
		if got := send(t, s.client(t), request).is(t, http.StatusMethodNotAllowed).Header.Get("Allow"); got != want {
			t.Errorf("%s takes %q, want %q", path, got, want)
		}
	}
}

// TestUnreadableForm: whoever sends what is no form gets the form again, with what they
// typed as their name.
func TestUnreadableForm(t *testing.T) {
	s := serve(t)
	for body, c := range map[string]struct {
		status int
		word   string
	}{
		"name=alice&password=%zz":                               {http.StatusBadRequest, "cannot be read"},
		"name=alice&password=" + strings.Repeat("x", maxSignIn): {http.StatusRequestEntityTooLarge, "too long"},
	} {
		request, err := http.NewRequest(http.MethodPost, s.url+"/sign-in", strings.NewReader(body))
		must(t, err)
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		page := send(t, s.client(t), request).is(t, c.status)
		if !strings.Contains(page.text, c.word) || !strings.Contains(page.text, `value="alice"`) || !strings.Contains(page.text, `id="password"`) {
			t.Errorf("%.40s shows %s", body, page.text)
		}
	}
}

// TestLongWayBack: wherever somebody was sent to sign in from, they can. With a limit of
// 4 KiB for the form and none for the path they cannot.
func TestLongWayBack(t *testing.T) {
	s := serve(t)
	for query, want := range map[string]string{
		strings.Repeat("x", 5000): "/", strings.Repeat("%2F", 600): "/orgs/acme/tokens?q=" + strings.Repeat("%2F", 600),
	} {
		browser := s.client(t)
		to := s.get(t, browser, "/orgs/acme/tokens?q="+query).is(t, http.StatusSeeOther).Header.Get("Location")
		page := s.get(t, browser, to).is(t, http.StatusOK)
		hidden := regexp.MustCompile(`name="back" value="([^"]*)"`).FindStringSubmatch(page.text)
		if hidden == nil {
			t.Fatalf("the form is %s", page.text)
		}
		form := url.Values{"name": {"alice"}, "password": {s.password(t)}, "back": {html.UnescapeString(hidden[1])}}
		if got := s.post(t, browser, "/sign-in", form).is(t, http.StatusSeeOther).Header.Get("Location"); got != want {
			t.Errorf("after signing in somebody is led to %.60q, want %.60q", got, want)
		}
	}
}

// TestReset ends what a person had.
func TestReset(t *testing.T) {
	s := serve(t)
	browser := s.client(t)
	s.post(t, browser, "/sign-in", url.Values{"name": {"alice"}, "password": {s.password(t)}}).is(t, http.StatusSeeOther)
	renewed := s.command(t, "user", "reset", "alice")
	if !strings.Contains(renewed, "    "+s.url+"/sign-in/once/") {
		t.Errorf("a reset prints %q, want a link that can be pasted", renewed)
	}
	s.get(t, browser, "/orgs/acme/tokens").is(t, http.StatusSeeOther)
	s.post(t, browser, linkLine.FindString(renewed), nil).is(t, http.StatusSeeOther)
	s.get(t, browser, "/orgs/acme/tokens").is(t, http.StatusOK)
}

// TestDoorsShareOneCount: the form and both addresses of the API count the failed attempts of an
// address together, and attempts that succeed at none of them.
//
// Fails if the desk or the API has a limit of its own, or counts before the password is checked.
func TestDoorsShareOneCount(t *testing.T) {
	s := serve(t, "--sign-in-limit", "3/1m")
	form := func(password string) int {
		return s.post(t, s.client(t), "/sign-in", url.Values{"name": {"alice"}, "password": {password}}).StatusCode
	}
	api := func(path, name, secret string) func(password string) int {
		return func(password string) int {
			body := fmt.Sprintf(`{%q: "alice", %q: %q}`, name, secret, password)
			request, err := http.NewRequest(http.MethodPost, s.url+path, strings.NewReader(body))
			must(t, err)
			request.Header.Set("Content-Type", "application/json")
			return send(t, s.client(t), request).StatusCode
		}
	}
	doors := []func(string) int{form, api("/v2/auth/token", "identifier", "secret"), api("/v2/users/login", "username", "password")}
	good := []int{http.StatusSeeOther, http.StatusOK, http.StatusOK}
	for range 2 {
		for i, door := range doors {
			if got := door(s.password(t)); got != good[i] {
				t.Fatalf("door %d: %d with the right password, want %d", i, got, good[i])
			}
		}
	}
	for i, door := range doors {
		if got := door("guess"); got != http.StatusUnauthorized {
			t.Errorf("door %d: %d, want 401", i, got)
		}
	}
	for i, door := range doors {
		if got := door(s.password(t)); got != http.StatusTooManyRequests {
			t.Errorf("door %d: %d after three guesses at three doors, want 429", i, got)
		}
	}
}
