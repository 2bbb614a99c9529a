package console_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/console"
	"github.com/oatmill/oatmill/oat/oattest"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/quota"
)

// desk is a console over a log in memory, with a clock that stands still, and a person
// at it.
type desk struct {
	*oattest.Env
	t        *testing.T
	Console  *console.Console
	Recorder *oat.Recorder
	catchUp  func()
	user     string // who is signed in, "" for nobody
}

const prefix = "/admin"

// newDesk has the organization acme on plan team, owned by alice and bob, and globex,
// owned by carol. Alice is signed in.
func newDesk(t *testing.T, options ...func(*console.Config)) *desk {
	t.Helper()
	return newDeskIn(t, oattest.New(t), options...)
}

func newDeskIn(t *testing.T, env *oattest.Env, options ...func(*console.Config)) *desk {
	t.Helper()
	d := &desk{Env: env, t: t, user: "alice"}
	cfg := console.Config{
		Service: d.Service, Log: d.Log, Tokens: projection.NewTokens(), Counts: projection.NewCounts(nil), LastUsed: projection.NewLastUsed(),
		History: projection.NewHistory(), Daily: projection.NewDaily(0), Prefix: prefix, Registry: "registry.example.com", Now: d.Clock.Now,
		User: func(*http.Request) (string, bool) { return d.user, d.user != "" },
	}
	runner, err := projection.NewRunner(projection.RunnerConfig{
		Log: d.Log, Now: d.Clock.Now,
		Projections: []projection.Projection{cfg.Tokens, cfg.Counts, cfg.LastUsed, cfg.History, cfg.Daily},
	})
	must(t, err)
	d.follow(runner)
	cfg.Runner = runner
	for _, option := range options {
		option(&cfg)
	}
	d.Console, err = console.New(cfg)
	must(t, err)
	d.Recorder, err = oat.NewRecorder(oat.RecorderConfig{Log: d.Log, Now: d.Clock.Now, Interval: time.Hour})
	must(t, err)
	t.Cleanup(func() { must(t, d.Recorder.Close(context.Background())) })
	host := oat.Actor{Host: "set-up"}
	must(t, d.Service.Register(t.Context(), host, oat.Register{Organization: "acme", Plan: quota.Team, Owners: []string{"alice", "bob"}}))
	must(t, d.Service.Register(t.Context(), host, oat.Register{Organization: "globex", Plan: quota.Team, Owners: []string{"carol"}}))
	d.catchUp()
	return d
}

// follow runs the read models until the test ends.
func (d *desk) follow(runner *projection.Runner) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- runner.Run(ctx) }()
	d.t.Cleanup(func() {
		stop()
		must(d.t, <-done)
	})
	d.catchUp = func() {
		d.t.Helper()
		end, err := d.Log.(events.Heads).End(d.t.Context())
		must(d.t, err)
		must(d.t, runner.WaitFor(d.t.Context(), end))
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// generate makes a token of acme, as alice.
func (d *desk) generate(label string, expires oat.Expiry, resources ...oat.Resource) (oat.Token, oat.Secret) {
	d.t.Helper()
	if len(resources) == 0 {
		resources = []oat.Resource{oat.All("acme", oat.Read)}
	}
	token, secret, err := d.Service.Generate(d.t.Context(), oat.Actor{User: "alice"}, oat.Generate{Organization: "acme", Label: label, Expires: expires, Resources: resources})
	must(d.t, err)
	d.catchUp()
	return token, secret
}

// answer is what came back.
type answer struct {
	*httptest.ResponseRecorder
	t *testing.T
}

func (d *desk) get(path string) answer {
	d.t.Helper()
	return d.send(httptest.NewRequest(http.MethodGet, prefix+path, nil))
}

func (d *desk) post(path string, form url.Values) answer {
	d.t.Helper()
	return d.send(posted(path, form))
}

func posted(path string, form url.Values) *http.Request {
	r := httptest.NewRequest(http.MethodPost, prefix+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return r
}

func (d *desk) send(r *http.Request) answer {
	d.t.Helper()
	w := httptest.NewRecorder()
	d.Console.ServeHTTP(w, r)
	return answer{w, d.t}
}

// is demands a status.
func (a answer) is(status int) answer {
	a.t.Helper()
	if a.Code != status {
		a.t.Fatalf("status %d, want %d\n%s", a.Code, status, a.Body)
	}
	return a
}

// says demands that every text is in the answer.
func (a answer) says(texts ...string) answer {
	a.t.Helper()
	for _, text := range texts {
		if !strings.Contains(a.Body.String(), text) {
			a.t.Errorf("does not say %q:\n%s", text, a.Body)
		}
	}
	return a
}

// hides demands that no text is in the answer.
func (a answer) hides(texts ...string) answer {
	a.t.Helper()
	for _, text := range texts {
		if strings.Contains(a.Body.String(), text) {
			a.t.Errorf("says %q:\n%s", text, a.Body)
		}
	}
	return a
}

// leads demands a redirect.
func (a answer) leads(path string) answer {
	a.t.Helper()
	if got := a.is(http.StatusSeeOther).Header().Get("Location"); got != prefix+path {
		a.t.Errorf("leads to %s, want %s", got, prefix+path)
	}
	return a
}

func tokenPath(token oat.Token, rest string) string {
	return fmt.Sprintf("/orgs/acme/tokens/%s%s", token.ID, rest)
}

// use records one use of a token of acme, refused if there is a cause.
func (d *desk) use(token oat.Token, cause string) {
	d.t.Helper()
	d.Recorder.Record(oat.Use{Organization: "acme", Token: token.ID, At: d.Clock.Now(), Cause: cause, Address: "203.0.113.7", UserAgent: "docker/28.2.2"})
	must(d.t, d.Recorder.Flush(d.t.Context()))
	d.catchUp()
}
