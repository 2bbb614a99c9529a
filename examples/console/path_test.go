package main

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/google/go-containerregistry/pkg/crane"
)

var secretForm = regexp.MustCompile(`^oat_[0-9A-Za-z]{32}$`)

// TestWholePath is the way of an owner from the first start to a deleted token, in a
// browser, with the docker command line and a registry client beside it.
func TestWholePath(t *testing.T) {
	d := newDocker(t)
	s := serve(t)
	b := s.tab(t)
	b.mayCopy()

	// The link that the first start printed.
	b.open(s.Await(t, s.Stdout, linkLine))
	b.shot("1-link")
	b.click("#submit")
	b.says("There are no tokens yet", "0 of 10")
	b.shot("2-empty")

	// Generate.
	b.click("#generate")
	b.fill("#label", "laptop")
	b.fill("#description", "Alice's notebook")
	b.choose("#expires", "90")
	b.press("#access-all")
	b.choose("#all-level", "write")
	b.shot("3-generate")
	b.click("#submit")
	b.shot("4-secret")

	// Copy.
	b.press("[data-copy=secret]")
	secret := b.copied()
	if !secretForm.MatchString(secret) || secret != b.text("#secret") {
		t.Fatalf("the clipboard holds %q, and the page shows %q", secret, b.text("#secret"))
	}
	b.press("#copy-login")
	within(t, patience, "copying the command", func() bool { return b.copied() != secret })
	login := b.copied()
	if login != "docker login --username acme "+s.host {
		t.Fatalf("the command is %q", login)
	}

	// What was copied opens.
	if out, ok := d.paste(login, secret); !ok || !strings.Contains(out, "Login Succeeded") {
		t.Fatalf("docker login: %s", out)
	}
	b.click("#done")
	token := b.path()
	must(t, s.push("acme/api:v1", secret))
	within(t, time.Second, "last used", func() bool {
		b.lead(chromedp.Reload())
		return strings.Contains(b.page(), "go-containerregistry") // docker's login came before
	})
	b.shot("5-used")
	const suggestions = "fetch('/orgs/acme/repositories?q=ap').then(a => a.json()).then(a => a.repositories.join())"
	if names := eval[string](b, suggestions); names != "acme/api" {
		t.Errorf("suggested are %q, want what was pushed", names)
	}

	// Edit: read only, from now on.
	b.press("#actions summary")
	b.shot("6-menu")
	b.click("#edit")
	b.fill("#label", "laptop, read only")
	b.choose("#all-level", "read")
	b.shot("7-edit")
	b.click("#submit")
	b.says("The changes were saved", "laptop, read only")
	if err := s.push("acme/api:v2", secret); err == nil {
		t.Error("a token that may only read pushed")
	}
	if _, err := crane.Digest(s.host+"/acme/api:v1", as(secret)); err != nil {
		t.Errorf("a token that may read: %v", err)
	}

	// Deactivate: refused at once.
	b.press("#actions summary")
	b.click("#deactivate")
	b.shot("8-deactivate")
	b.click("#submit")
	if out, ok := d.paste(login, secret); ok || !strings.Contains(out, "incorrect username or password") {
		t.Errorf("docker login with a deactivated token: %s", out)
	}
	b.says("The token was deactivated")
	within(t, patience, "the refused login", func() bool {
		b.lead(chromedp.Reload())
		return strings.Contains(b.page(), "with the right secret")
	})
	b.shot("9-inactive")

	// Only Delete is left.
	b.press("#actions summary")
	if offered := b.all("#actions li"); len(offered) != 1 || offered[0] != "Delete" {
		t.Errorf("of an inactive token the menu offers %q", offered)
	}
	b.open("/orgs/acme/tokens")
	if offered := b.all("#tokens .menu li"); len(offered) != 1 || offered[0] != "Delete" {
		t.Errorf("of an inactive token the list offers %q", offered)
	}
	if b.open(token + "/edit"); b.has("#form") {
		t.Errorf("an inactive token can be edited:\n%s", b.page())
	}
	b.press("#actions summary")
	b.click("#delete")
	b.shot("a-delete")
	b.click("#submit")
	b.says("The token was deleted", "There are no tokens yet")
	b.open("/orgs/acme/activity")
	b.says("laptop, read only", "from", "alice")
	b.shot("b-activity")
	b.click("#sign-out")
	b.at("/sign-in")
	b.shot("c-sign-in")
	if b.open("/orgs/acme/tokens"); b.has("#tokens") {
		t.Error("who signed out sees tokens")
	}
}
