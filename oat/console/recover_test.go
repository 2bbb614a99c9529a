package console_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/oatmill/oatmill/oat/console"
)

// A function of the host that panics is answered with a page, and the host's log hears
// where it was and nothing of what was sent or panicked with. Break it by logging what
// was recovered.
func TestHostPanics(t *testing.T) {
	form := url.Values{"label": {"typed"}, "access": {"public"}, "add": {"1"}}
	for name, test := range map[string]struct {
		fail func(*console.Config)
		user string
		send *http.Request
	}{
		"User":         {func(c *console.Config) { c.User = func(*http.Request) (string, bool) { panic("hunter2") } }, "alice", posted(newPath, form)},
		"SignIn":       {func(c *console.Config) { c.SignIn = func(string) string { panic(errors.New("hunter2")) } }, "", posted(newPath, form)},
		"Repositories": {func(c *console.Config) { c.Repositories = panicking }, "alice", posted(newPath, form)},
		"Organizations": {func(c *console.Config) {
			c.Organizations = func(ctx context.Context, u string) ([]string, error) { return panicking(ctx, u, "") }
		}, "alice", looked("/")},
	} {
		t.Run(name, func(t *testing.T) {
			var logged bytes.Buffer
			d := newDesk(t, test.fail, func(c *console.Config) { c.Logger = slog.New(slog.NewJSONHandler(&logged, nil)) })
			d.user = test.user
			a := d.send(test.send).is(http.StatusInternalServerError).says("Something went wrong").hides("hunter2", "typed")
			checkAccessible(t, name, a.page())
			if a.Header().Get("Content-Security-Policy") == "" || a.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("the page is not guarded: %v", a.Header())
			}
			log := logged.String()
			if !strings.Contains(log, `"level":"ERROR"`) || !strings.Contains(log, "recover_test.go") {
				t.Errorf("the host hears %s", log)
			}
			if strings.Contains(log, "hunter2") || strings.Contains(log, "typed") {
				t.Errorf("the log has what was sent or panicked with: %s", log)
			}
		})
	}
}

func panicking(context.Context, string, string) ([]string, error) { panic("hunter2") }

func looked(path string) *http.Request {
	return httptest.NewRequest(http.MethodGet, prefix+path, nil)
}

// torn is a connection that a part of an answer goes through.
type torn struct{ *httptest.ResponseRecorder }

func (torn) Write([]byte) (int, error) { panic("hunter2") }

// The host may abort a request, and an answer that has begun is never completed with
// another page. Break it by answering always.
func TestAbort(t *testing.T) {
	d := newDesk(t, func(c *console.Config) {
		c.Repositories = func(context.Context, string, string) ([]string, error) { panic(http.ErrAbortHandler) }
	})
	if got := d.aborted(httptest.NewRecorder(), looked(newPath)); got != http.ErrAbortHandler {
		t.Errorf("the host aborts: %v", got)
	}
	if got := d.aborted(torn{httptest.NewRecorder()}, looked("/orgs/acme/tokens")); got != http.ErrAbortHandler {
		t.Errorf("in the middle of an answer: %v", got)
	}
}

// aborted is what serving a request panics with.
func (d *desk) aborted(w http.ResponseWriter, r *http.Request) (p any) {
	defer func() { p = recover() }()
	d.Console.ServeHTTP(w, r)
	return nil
}
