package console_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/console"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/quota"
)

// secretIn is the secret on a page, "" when there is none.
func secretIn(text string) string {
	return regexp.MustCompile(`oat_[0-9A-Za-z]{32}`).FindString(text)
}

// The answer to the form shows a secret that opens, how to use it, and a warning, and
// must not be stored. Break it by showing another organization's name in the command.
func TestSecretIsShown(t *testing.T) {
	d := newDesk(t)
	form := d.get(newPath).filled("label", "ci", "access", "all")
	answer := d.post(newPath, form).is(http.StatusOK).says("Copy the token now. It is shown only this once.", "docker login --username acme registry.example.com", "Not for Docker Desktop")
	page := answer.page()
	secret := page.id("secret").words()
	grant, err := d.Verifier.Verify(t.Context(), oat.Attempt{Organization: "acme", Secret: oat.NewSecret(secret)})
	if err != nil || !grant.Allows(oat.Pull, "acme/api", oat.VisibilityPrivate) {
		t.Errorf("the secret on the page opens nothing: %v", err)
	}
	if answer.Header().Get("Cache-Control") != "no-store" {
		t.Error("the answer may be stored")
	}
	if n := strings.Count(answer.Body.String(), secret); n != 1 {
		t.Errorf("the secret is on the page %d times", n)
	}
	if copy := page.id("copy"); copy.attrs["data-copy"] != "secret" || !copy.has("hidden") {
		t.Error("the copy button needs the script and shows without it")
	}
}

func TestSecretForDockersOwnRegistry(t *testing.T) {
	d := newDesk(t, func(cfg *console.Config) { cfg.Registry = "" })
	page := d.post(newPath, d.get(newPath).filled("label", "ci", "access", "public")).page()
	if got := page.id("login").words(); got != "docker login --username acme" {
		t.Error(got)
	}
}

// The form sent again, as reloading and going back do, makes no second token and shows
// no secret: by the same process, by another one on the same log, and after the token was
// deleted. What was typed is ready for another token. Break it by leaving Once out.
func TestFormSentAgain(t *testing.T) {
	d := newDesk(t)
	form := d.get(newPath).filled("label", "ci", "access", "all", "description", "typed")
	first := d.post(newPath, form).is(http.StatusOK)
	token := d.stored("ci")
	again := func(which string, answer answer) {
		t.Helper()
		answer.is(http.StatusConflict).says("This form was sent already", token.ID.String())
		if secret := secretIn(answer.Body.String()); secret != "" {
			t.Errorf("%s shows a secret", which)
		}
		if n := d.count(); n > 1 {
			t.Errorf("%s made a second token", which)
		}
	}
	if secretIn(first.Body.String()) == "" {
		t.Fatal("the first answer shows no secret")
	}
	again("reloading", d.post(newPath, form))
	again("another process", d.another().post(newPath, form))
	must(t, d.Service.Delete(t.Context(), oat.Actor{User: "bob"}, oat.Delete{Organization: "acme", Token: token.ID}))
	again("reloading when it is deleted", d.post(newPath, form))
	if d.count() != 0 {
		t.Error("the deleted token came back")
	}

	next := d.post(newPath, form).filled()
	if next.Get("description") != "typed" || next.Get("request") == form.Get("request") {
		t.Errorf("the form for another token: %v", next)
	}
	d.post(newPath, next).is(http.StatusOK)
	if d.count() != 1 {
		t.Error("the form for another token made none")
	}
}

// another is a console of a second process: it shares nothing with the first but the log.
func (d *desk) another() *desk {
	d.t.Helper()
	other := *d
	service, err := oat.New(oat.Config{Log: d.Log, Now: d.Clock.Now})
	must(d.t, err)
	tokens, counts, history, used := projection.NewTokens(), projection.NewCounts(nil), projection.NewHistory(), projection.NewLastUsed()
	runner, err := projection.NewRunner(projection.RunnerConfig{Log: d.Log, Projections: []projection.Projection{tokens, counts, history, used}, Now: d.Clock.Now})
	must(d.t, err)
	other.follow(runner)
	other.Console, err = console.New(console.Config{
		Service: service, Log: d.Log, Runner: runner, Tokens: tokens, Counts: counts, History: history, LastUsed: used, Prefix: prefix, Now: d.Clock.Now,
		User: func(*http.Request) (string, bool) { return d.user, d.user != "" },
	})
	must(d.t, err)
	other.catchUp()
	return &other
}

// A form that is sent many times at once shows one secret, and there is one token.
func TestFormSentTwiceAtOnce(t *testing.T) {
	d := newDesk(t)
	form := d.get(newPath).filled("label", "ci", "access", "all")
	other := d.another()
	secrets := make(chan string, 8)
	var wg sync.WaitGroup
	for i := range cap(secrets) {
		wg.Go(func() {
			at := d
			if i%2 == 1 {
				at = other
			}
			secrets <- secretIn(at.post(newPath, form).Body.String())
		})
	}
	wg.Wait()
	close(secrets)
	shown := 0
	for secret := range secrets {
		if secret != "" {
			shown++
		}
	}
	if shown != 1 || d.count() != 1 {
		t.Errorf("%d secrets, %d tokens", shown, d.count())
	}
}

// A form whose name is missing or made up by hand makes nothing, and keeps what was
// typed.
func TestFormWithoutAName(t *testing.T) {
	d := newDesk(t)
	for _, name := range []string{"", "x", strings.Repeat("0", 31), strings.Repeat("g", 32), strings.Repeat("0", 3200)} {
		answer := d.post(newPath, d.get(newPath).filled("label", "typed", "access", "all", "request", name)).is(http.StatusConflict)
		form := answer.filled()
		if form.Get("label") != "typed" || len(form.Get("request")) != 32 || d.count() != 0 {
			t.Errorf("request %q: %v", name, form)
		}
	}
}

// The limit is reached while the form is open: the person is told, and nothing typed is
// lost.
func TestLimitReachedMeanwhile(t *testing.T) {
	d := newDesk(t)
	form := d.get(newPath).filled("label", "typed", "access", "all")
	for i := range 10 {
		d.generate(strings.Repeat("x", i+1), oat.Never())
	}
	answer := d.post(newPath, form).is(http.StatusConflict).says("All 10 tokens of the plan team are in use.")
	if answer.filled().Get("label") != "typed" {
		t.Error("what was typed is lost")
	}
	d.checkDisabled(answer.page())
	must(t, d.Service.ChangePlan(t.Context(), oat.Actor{Host: "billing"}, oat.ChangePlan{Organization: "acme", Plan: quota.Personal}))
	d.post(newPath, form).is(http.StatusConflict).says("The plan personal has no organization access tokens.")
}

// The secret is in no other page, no header, no log line and no record. Break it by
// logging the form, or by leading on to an address with the secret in it.
func TestSecretIsNowhereElse(t *testing.T) {
	var logged bytes.Buffer
	d := newDesk(t, func(cfg *console.Config) {
		cfg.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	form := d.get(newPath).filled("label", "ci", "access", "all")
	answer := d.post(newPath, form)
	secret := secretIn(answer.Body.String())
	if len(secret) != 36 {
		t.Fatal("no secret")
	}
	body := secret[len("oat_"):]
	for name, values := range answer.Header() {
		if strings.Contains(strings.Join(values, "\n"), body[:8]) {
			t.Errorf("the header %s has it", name)
		}
	}
	// Pasted where it does not belong, and where things go wrong.
	d.get("/orgs/acme/tokens/" + secret)
	d.get("/orgs/" + secret + "/tokens")
	for _, field := range []string{"label", "description", "repository"} {
		typed := d.get(newPath).filled("label", "a", "access", "selected", "repository", "acme/a")
		typed.Set(field, "it is "+secret)
		d.post(newPath, typed).is(http.StatusUnprocessableEntity)
	}
	d.Clock.Advance(time.Hour)
	for path, page := range d.crawl() {
		if strings.Contains(page.Body.String(), body[:8]) {
			t.Errorf("%s has it", path)
		}
	}
	for r, err := range d.Log.ReadAll(t.Context(), 0) {
		must(t, err)
		if strings.Contains(string(r.Data)+r.Correlation+r.Reason, body[:8]) {
			t.Errorf("the %s at %d has it", r.Type, r.Position)
		}
	}
	if strings.Contains(logged.String(), body[:8]) {
		t.Errorf("the log has it: %s", logged.String())
	}
}
