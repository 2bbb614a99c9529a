package console_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/console"
	"github.com/oatmill/oatmill/oat/oattest"
	"github.com/oatmill/oatmill/projection"
)

// broken is a log that fails as it is told to: before the write, or after it, so that the
// reply is lost.
type broken struct {
	*memlog.Log
	before, after atomic.Pointer[error]
}

func (b *broken) Append(ctx context.Context, stream events.StreamID, expected events.Version, batch ...events.Envelope) ([]events.Recorded, error) {
	if err := b.before.Load(); err != nil {
		return nil, *err
	}
	records, err := b.Log.Append(ctx, stream, expected, batch...)
	if lost := b.after.Load(); lost != nil {
		return nil, *lost
	}
	return records, err
}

func (b *broken) fail(when *atomic.Pointer[error], err error) {
	when.Store(&err)
}

// newBrokenDesk is a desk whose log can fail.
func newBrokenDesk(t *testing.T, options ...func(*console.Config)) (*desk, *broken) {
	t.Helper()
	log := &broken{}
	env := oattest.New(t, func(cfg *oat.Config) {
		log.Log = cfg.Log.(*memlog.Log)
		cfg.Log = log
	})
	return newDeskIn(t, env, options...), log
}

// While the log cannot be written to, every form comes back with what was typed, nothing
// is changed, and the host hears of it. The answer is 503 with Retry-After (RFC 9110 15.6.4).
// Sent again later, it does what it should. Fails if the form has a new name in the answer, or
// trouble sets no Retry-After.
func TestLogCannotBeWritten(t *testing.T) {
	var logged bytes.Buffer
	d, log := newBrokenDesk(t, func(cfg *console.Config) { cfg.Logger = slog.New(slog.NewTextHandler(&logged, nil)) })
	token, _ := d.generate("ci", oat.Never())
	forms := map[string]answer{
		newPath: d.get(newPath), tokenPath(token, "/edit"): d.get(tokenPath(token, "/edit")),
		tokenPath(token, "/deactivate"): d.get(tokenPath(token, "/deactivate")), tokenPath(token, "/delete"): d.get(tokenPath(token, "/delete")),
	}
	for _, cause := range []error{events.ErrFull, events.ErrBusy, events.ErrReadOnly, events.ErrDenied, events.ErrUnavailable, errors.New("a bug")} {
		log.fail(&log.before, fmt.Errorf("append to organization/acme: %w", cause))
		for path, page := range forms {
			form := page.filled()
			if form.Has("label") {
				form.Set("label", "typed")
				form.Set("access", "public")
			}
			if a := d.post(path, form).is(http.StatusServiceUnavailable).says("Nothing was changed"); a.Header().Get("Retry-After") == "" {
				t.Errorf("%s, %v: does not say when to come back", path, cause)
			}
		}
	}
	log.fail(&log.before, errors.New("disk is full"))
	for path, page := range forms {
		logged.Reset()
		form := page.filled()
		if form.Has("label") {
			form.Set("label", "typed")
			form.Set("access", "public")
		}
		answer := d.post(path, form).is(http.StatusServiceUnavailable).says("Nothing was changed")
		if got := answer.filled(); got.Encode() != form.Encode() {
			t.Errorf("%s: the form has\n%s, want\n%s", path, got.Encode(), form.Encode())
		}
		if !strings.Contains(logged.String(), "disk is full") || strings.Contains(logged.String(), "typed") {
			t.Errorf("%s: the host hears %q", path, logged.String())
		}
	}
	if d.count() != 1 || d.stored("ci").Version != token.Version {
		t.Error("something was changed")
	}
	log.before.Store(nil)
	form := forms[newPath].filled("label", "typed", "access", "all")
	d.post(newPath, form).is(http.StatusOK)
}

// The token was generated and the reply of the log lost: the person is told that it is
// not known, and learns by sending the form again. There is one token.
func TestLostReply(t *testing.T) {
	d, log := newBrokenDesk(t)
	form := d.get(newPath).filled("label", "ci", "access", "all")
	log.fail(&log.after, fmt.Errorf("connection: %w", events.ErrUnknownOutcome))
	lost := d.post(newPath, form).is(http.StatusServiceUnavailable).says("it is not known whether")
	if lost.Header().Get("Retry-After") == "" {
		t.Error("does not say when to come back")
	}
	again := lost.filled()
	log.after.Store(nil)
	d.post(newPath, again).is(http.StatusConflict).says("This form was sent already")
	if d.count() != 1 {
		t.Errorf("%d tokens", d.count())
	}
}

// Others who keep changing the organization are no fault of the person's.
func TestBusy(t *testing.T) {
	d, log := newBrokenDesk(t)
	token, _ := d.generate("ci", oat.Never())
	form := d.get(tokenPath(token, "/edit")).filled("label", "typed")
	log.fail(&log.before, &events.ConflictError{Stream: "organization/acme"})
	answer := d.post(tokenPath(token, "/edit"), form).is(http.StatusServiceUnavailable).says("others are changing the organization")
	if answer.filled().Get("label") != "typed" {
		t.Error("what was typed is lost")
	}
}

// Nobody is shown anything while it cannot be known who owns the organization.
func TestLogCannotBeRead(t *testing.T) {
	d := newDesk(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := posted("/orgs/acme/tokens", nil).WithContext(ctx)
	r.Method = http.MethodGet
	a := d.send(r).is(http.StatusServiceUnavailable).says("Nothing was changed").hides("acme")
	if a.Header().Get("Retry-After") == "" {
		t.Error("does not say when to come back")
	}
}

// A new organization may be in the log and not yet in the read models: the console waits
// for them, and says so when they do not come. Break it by not settling in owns.
func TestReadModelsAreBehind(t *testing.T) {
	var cfg console.Config
	d := newDesk(t, func(c *console.Config) { cfg = *c })
	for i := range 20 {
		name := fmt.Sprint("new-", i)
		must(t, d.Service.Register(t.Context(), oat.Actor{Host: "x"}, oat.Register{Organization: name, Plan: "team", Owners: []string{"alice"}}))
		d.get("/orgs/" + name + "/tokens").is(http.StatusOK)
	}
	cfg.Runner, cfg.Tokens = nil, projection.NewTokens()
	var err error
	d.Console, err = console.New(cfg)
	must(t, err)
	d.get("/orgs/acme/tokens").is(http.StatusServiceUnavailable).hides("acme")
}

func TestConfig(t *testing.T) {
	var good console.Config
	newDesk(t, func(cfg *console.Config) { good = *cfg })
	for want, change := range map[string]func(*console.Config){
		"Config.Service is required":  func(c *console.Config) { c.Service = nil },
		"Config.Log is required":      func(c *console.Config) { c.Log = nil },
		"Config.Tokens is required":   func(c *console.Config) { c.Tokens = nil },
		"Config.Counts is required":   func(c *console.Config) { c.Counts = nil },
		"Config.LastUsed is required": func(c *console.Config) { c.LastUsed = nil },
		"Config.History is required":  func(c *console.Config) { c.History = nil },
		"Config.User is required":     func(c *console.Config) { c.User = nil },
		"Config.SignOut":              func(c *console.Config) { c.SignOut = "//evil.example/" },
		"Config.TrustedOrigins":       func(c *console.Config) { c.TrustedOrigins = []string{"admin.example.com/x"} },
		`"https://a.example/x"`:       func(c *console.Config) { c.TrustedOrigins = []string{"https://a.example/x"} },
		"ftp://a.example":             func(c *console.Config) { c.TrustedOrigins = []string{"ftp://a.example"} },
		"https://bücher.example":      func(c *console.Config) { c.TrustedOrigins = []string{"https://bücher.example"} },
	} {
		cfg := good
		change(&cfg)
		if _, err := console.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for _, prefix := range []string{"/", "admin", "/admin/", "/a//b", "/a/../b", "/{org}", "/a b", "/a?b", "/a%2f"} {
		cfg := good
		cfg.Prefix = prefix
		if _, err := console.New(cfg); err == nil || !strings.Contains(err.Error(), "Config.Prefix") {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
	for _, prefix := range []string{"", "/a", "/a/b-c"} {
		cfg := good
		cfg.Prefix = prefix
		if _, err := console.New(cfg); err != nil {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
}

// The console works below any path, also at the root, and its links stay there.
func TestPrefix(t *testing.T) {
	for _, below := range []string{"", "/a/b"} {
		d := newDesk(t, func(cfg *console.Config) { cfg.Prefix = below })
		for _, path := range []string{"/orgs/acme/tokens", newPath} {
			r := posted("", nil)
			r.Method, r.URL.Path = http.MethodGet, below+path
			for _, n := range d.send(r).is(http.StatusOK).page().all(func(n *node) bool { return n.has("href") || n.has("src") || n.has("action") }) {
				to := n.attrs["href"] + n.attrs["src"] + n.attrs["action"]
				if strings.HasPrefix(to, "/") && !strings.HasPrefix(to, below+"/") {
					t.Errorf("below %q a link leads to %s", below, to)
				}
			}
		}
	}
}

// Owners of an organization whose records were changed behind the library's back are told
// so, nobody else is, and other organizations are served. Fails if owns takes a damaged
// organization for an unavailable one, or if damaged does not ask who owned it.
func TestDamagedOrganizationIsClosed(t *testing.T) {
	d := newDesk(t)
	d.generate("ci", oat.Never())
	envelope, err := events.NewEnvelope([16]byte{1}, d.Clock.Now(), "mallory", &events.TokenDeleted{Token: "0190b1c2-7d3e-4f5a-8b9c-0d1e2f3a4b5c"})
	must(t, err)
	_, err = d.Log.Append(t.Context(), events.OrganizationStream("acme"), events.Any, envelope)
	must(t, err)
	d.catchUp()
	for _, page := range []string{"/orgs/acme/tokens", "/orgs/acme/activity", "/orgs/acme/organization"} {
		d.get(page).is(http.StatusServiceUnavailable).says("This organization is closed").says("All of its tokens are refused").says("there is no token 0190b1c2")
	}
	d.user = "carol"
	if stranger, unknown := d.get("/orgs/acme/tokens"), d.get("/orgs/none/tokens"); stranger.Code != unknown.Code || strings.Contains(stranger.Body.String(), "closed") {
		t.Errorf("a stranger gets %d, for an organization that does not exist %d", stranger.Code, unknown.Code)
	}
	d.get("/orgs/globex/tokens").is(http.StatusOK)
}
