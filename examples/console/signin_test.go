package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestSignInLink: looking at a link does not use it up, using it does, and the session it
// begins is a new one.
func TestSignInLink(t *testing.T) {
	s := serve(t)
	link := s.await(t, s.stdout, linkLine)
	browser := s.client(t)
	browser.Jar.SetCookies(mustParse(t, s.url), []*http.Cookie{{Name: "oatmill", Value: "planted"}})
	for range 2 {
		if page := s.get(t, browser, link).is(t, http.StatusOK); !strings.Contains(page.text, "Sign in as alice") {
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
	for _, path := range []string{"/sign-in", "/sign-out", s.await(t, s.stdout, linkLine)} {
		request, err := http.NewRequest(http.MethodPost, s.url+path, strings.NewReader("name=alice"))
		must(t, err)
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("Sec-Fetch-Site", "cross-site")
		send(t, s.client(t), request).is(t, http.StatusForbidden)
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
