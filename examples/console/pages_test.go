package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// TestLimit: with 10 of 10 tokens nothing can be generated, and the page says why.
func TestLimit(t *testing.T) {
	s := serve(t)
	b := s.tab(t)
	script := s.script(t, "alice", s.password(t))
	for i := range 9 {
		script.generate(fmt.Sprintf("build %d", i+1), time.Time{})
	}
	b.signIn("alice", s.password(t))
	b.says("9 of 10")
	b.click("#generate") // open while somebody else takes the last place
	script.generate("build 10", time.Time{})
	b.fill("#label", "one too many")
	b.press("#access-public")
	if status := b.click("#submit"); status != http.StatusConflict {
		t.Errorf("the 11th token was answered with %d", status)
	}
	b.says("All 10 tokens of the plan team are in use")
	if b.value("#label") != "one too many" {
		t.Errorf("what was typed is lost: %q", b.value("#label"))
	}
	b.shot("form")
	b.open("/orgs/acme/tokens")
	b.says("10 of 10", "All 10 tokens of the plan team are in use. Delete one to generate another.")
	if !eval[bool](b, "document.querySelector('#generate').disabled") {
		t.Error("Generate is not disabled")
	}
	if why := eval[string](b, "document.querySelector('#generate').getAttribute('aria-describedby')"); why == "" || !strings.Contains(b.text("#"+why), "Delete one") {
		t.Errorf("the disabled button is described by %q", why)
	}
	b.shot("list")
}

// TestFiftyRepositories: a token names up to 50 repositories, and what was typed stays
// when the 51st is refused.
func TestFiftyRepositories(t *testing.T) {
	s := serve(t)
	b := s.tab(t)
	b.signIn("alice", s.password(t))
	b.open("/orgs/acme/tokens/new")
	b.fill("#label", "many")
	b.press("#access-selected")
	for i := range 50 {
		if i > 0 {
			b.press("#add")
		}
		b.fill(fmt.Sprintf("#repository-%d", i), fmt.Sprintf("acme/repository-%d", i+1))
	}
	if n := len(b.all(".repository")); n != 50 {
		t.Fatalf("there are %d rows, want 50", n)
	}
	if !eval[bool](b, "document.querySelector('#add').disabled") {
		t.Error("a 51st repository can be added")
	}
	b.says("50 is the most one token can name")
	b.shot("full")

	// Somebody, or something, adds one more all the same.
	eval[chromedp.Void](b, `{
		const row = document.querySelector('.repository').cloneNode(true);
		row.querySelector('input').value = 'acme/repository-51';
		document.querySelector('#rows').append(row);
	}`)
	if status := b.click("#submit"); status != http.StatusUnprocessableEntity {
		t.Errorf("51 repositories were answered with %d", status)
	}
	b.says("More than 50 repositories are selected")
	typed := eval[[]string](b, "[...document.querySelectorAll('.repository input')].map(field => field.value)")
	if len(typed) != 51 || typed[49] != "acme/repository-50" || typed[50] != "acme/repository-51" || b.value("#label") != "many" {
		t.Errorf("what was typed came back as %q with the label %q", typed, b.value("#label"))
	}
	b.shot("refused")
	b.press(".repository:last-child .remove")
	b.click("#submit")
	b.click("#done")
	b.says("acme/repository-1, read", "acme/repository-50, read")
	b.shot("token")
}

// TestTwoOwners: the second of two who edit at once is told what the first one did, and
// loses nothing.
func TestTwoOwners(t *testing.T) {
	s := serve(t)
	token := s.script(t, "alice", s.password(t)).generate("deploy", time.Time{})
	edit := "/orgs/acme/tokens/" + token.ID + "/edit"
	alice, bob := s.tab(t), s.tab(t)
	alice.signIn("alice", s.password(t))
	bob.signIn("bob", s.add(t, "bob", "--owns", "acme"))
	alice.open(edit)
	bob.open(edit)
	alice.fill("#label", "deploy to production")
	alice.click("#submit")
	bob.fill("#description", "ask Bob")
	if status := bob.click("#submit"); status != http.StatusConflict {
		t.Errorf("the second was answered with %d", status)
	}
	bob.says("Somebody else changed this token", "alice", "deploy to production", "Nothing was saved yet")
	if bob.value("#description") != "ask Bob" || bob.value("#label") != "deploy to production" {
		t.Errorf("the form holds %q and %q", bob.value("#label"), bob.value("#description"))
	}
	bob.shot("told")
	bob.click("#submit")
	bob.says("The changes were saved", "deploy to production", "ask Bob")
	alice.open("/orgs/acme/tokens/" + token.ID)
	alice.says("deploy to production", "ask Bob", "bob")
	alice.shot("history")
}

// TestStranger: who is no owner learns nothing, not even whether there is such an
// organization.
func TestStranger(t *testing.T) {
	s := serve(t)
	token := s.script(t, "alice", s.password(t)).generate("deploy", time.Time{})
	b := s.tab(t)
	b.signIn("mallory", s.add(t, "mallory"))
	b.says("You do not own an organization")
	b.shot("start")
	var pages []string
	for _, path := range []string{"/orgs/acme/tokens", "/orgs/acme/tokens/" + token.ID, "/orgs/acme/tokens/new", "/orgs/acme/activity", "/orgs/nobody/tokens"} {
		if status := b.open(path); status != http.StatusNotFound {
			t.Errorf("%s is answered with %d", path, status)
		}
		pages = append(pages, b.page())
	}
	for i, page := range pages {
		if page != pages[len(pages)-1] || strings.Contains(page, "deploy") {
			t.Errorf("page %d tells a stranger: %s", i, page)
		}
	}
	b.shot("nothing")
}

// TestExpiry: a token expires while its form is open. What was typed is still there.
func TestExpiry(t *testing.T) {
	s := serve(t)
	b := s.tab(t)
	b.signIn("alice", s.password(t))
	expires := time.Now().Add(4 * time.Second)
	token := s.script(t, "alice", s.password(t)).generate("short", expires)
	page := "/orgs/acme/tokens/" + token.ID
	b.open(page + "/edit")
	b.fill("#description", "a long text that somebody typed")
	other := b.second()
	within(t, patience, "the expiry", func() bool {
		other.open(page)
		return other.has(".badge.expired")
	})
	other.shot("expired")
	if status := b.click("#submit"); status != http.StatusConflict {
		t.Errorf("an edit of an expired token is answered with %d", status)
	}
	b.says("the token has expired meanwhile")
	if b.value("#description") != "a long text that somebody typed" {
		t.Errorf("what was typed is lost: %q", b.value("#description"))
	}
	b.shot("too-late")
	b.open("/orgs/acme/tokens")
	if offered := b.all("#tokens .menu li"); len(offered) != 1 || offered[0] != "Delete" {
		t.Errorf("of an expired token the list offers %q", offered)
	}
}

// TestSessionEnds: a form that is sent after the session has ended is not lost.
func TestSessionEnds(t *testing.T) {
	s := serve(t)
	b := s.tab(t)
	b.signIn("alice", s.password(t))
	b.open("/orgs/acme/tokens/new")
	b.fill("#label", "typed before")
	b.press("#access-public")
	other := b.second()
	other.open("/orgs/acme/tokens")
	other.click("#sign-out")
	if status := b.click("#submit"); status != http.StatusUnauthorized {
		t.Errorf("without a session the form is answered with %d", status)
	}
	b.says("You are not signed in any more")
	b.shot("kept")
	other.signIn("alice", s.password(t))
	b.click("#submit")
	b.says("Copy the token now", "typed before")
}

// TestShownOnce: neither reloading nor going back shows a secret again, or makes a second
// token.
func TestShownOnce(t *testing.T) {
	s := serve(t)
	b := s.tab(t)
	b.signIn("alice", s.password(t))
	b.open("/orgs/acme/tokens/new")
	b.fill("#label", "once")
	b.press("#access-public")
	b.click("#submit")
	secret := b.text("#secret")
	if !secretForm.MatchString(secret) {
		t.Fatalf("the page shows %q", secret)
	}
	if strings.Contains(b.path(), secret) {
		t.Errorf("the secret is in the address %s", b.path())
	}
	hidden := func(when string) {
		t.Helper()
		if html := eval[string](b, "document.documentElement.outerHTML"); strings.Contains(html, secret) {
			t.Errorf("%s shows the secret again", when)
		}
	}
	b.lead(chromedp.Reload())
	hidden("reloading")
	b.says("This form was sent already")
	b.shot("reloaded")
	b.click("#first-token")
	hidden("the token's page")
	// The browser has not kept the answer to the form, and asks before it sends it again.
	if err := b.try(chromedp.NavigateBack()); err == nil || !strings.Contains(err.Error(), "ERR_CACHE_MISS") {
		t.Errorf("going back: %v, want that nothing was kept", err)
	}
	hidden("going back")
	b.open("/orgs/acme/tokens")
	hidden("the list")
	b.says("1 of 10")
	if kept := eval[string](b, "JSON.stringify([localStorage, sessionStorage, document.cookie])"); strings.Contains(kept, secret) || strings.Contains(kept, "oatmill") {
		t.Errorf("scripts can read %s", kept)
	}
}

// TestKeyboard goes the way from signing in to a deleted token without a mouse.
func TestKeyboard(t *testing.T) {
	s := serve(t)
	b := s.tab(t)
	b.open("/")
	b.do(chromedp.WaitVisible(chromedp.CSS("#name:focus"))) // by itself, and a moment after the page is there
	b.do(chromedp.KeyEvent("alice" + kb.Tab + s.password(t)))
	b.lead(chromedp.KeyEvent(kb.Enter))
	b.do(chromedp.KeyEvent(kb.Tab))
	if b.focused() != "skip" {
		t.Errorf("the first stop is %q, want the link that skips to the content", b.focused())
	}
	b.do(chromedp.KeyEvent(kb.Enter))
	b.tabTo("generate")
	b.lead(chromedp.KeyEvent(kb.Enter))
	b.tabTo("label")
	b.do(chromedp.KeyEvent("keys only"))
	b.tabTo("access-public")
	b.do(chromedp.KeyEvent(kb.ArrowDown)) // to all repositories
	b.tabTo("submit")
	b.lead(chromedp.KeyEvent(kb.Enter))
	b.says("Copy the token now", "All repositories, read")
	b.tabTo("copy")
	b.tabTo("done")
	b.lead(chromedp.KeyEvent(kb.Enter))
	b.tabTo("actions")
	b.do(chromedp.KeyEvent(kb.Enter))
	b.tabTo("deactivate")
	b.do(chromedp.KeyEvent(kb.Escape)) // closes the menu and goes back to it
	if b.focused() != "actions" || b.has("#actions[open]") {
		t.Errorf("after Escape the focus is on %q", b.focused())
	}
	b.do(chromedp.KeyEvent(kb.Enter))
	b.tabTo("delete")
	b.lead(chromedp.KeyEvent(kb.Enter))
	b.tabTo("submit")
	b.shot("focus")
	b.lead(chromedp.KeyEvent(kb.Enter))
	b.says("The token was deleted")
}

// focused names the element that has the focus: its id, its class, or that of the menu it
// opens.
func (b *tab) focused() string {
	b.t.Helper()
	return eval[string](b, "(e => e.id || (e.parentElement.tagName == 'DETAILS' ? e.parentElement.id : '') || e.className)(document.activeElement)")
}

// tabTo presses the tabulator until an element has the focus, and demands that the focus
// can be seen all the way.
func (b *tab) tabTo(id string) {
	b.t.Helper()
	const stops = 40 // no page has more before anything that matters
	var passed []string
	for range stops {
		b.do(chromedp.KeyEvent(kb.Tab))
		at := b.focused()
		passed = append(passed, at)
		if !eval[bool](b, "(e => { const s = getComputedStyle(e); return s.outlineStyle != 'none' && parseFloat(s.outlineWidth) > 0 && e.getBoundingClientRect().height > 1 })(document.activeElement)") {
			b.t.Errorf("the focus on %q cannot be seen at %s", at, b.path())
		}
		if at == id {
			return
		}
	}
	b.t.Fatalf("the tabulator does not lead to %q at %s, but to %q", id, b.path(), passed)
}
