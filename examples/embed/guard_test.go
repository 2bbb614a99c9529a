package main

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
)

// newProcess is the forge of the tour, with a process that serves it. The test runs beside
// others.
func newProcess(t *testing.T) *process {
	t.Helper()
	t.Parallel()
	tour := &tour{address: address(t), schema: "embed_" + strings.ToLower(rand.Text())}
	t.Cleanup(func() { noError(t, tour.dropSchemas()) })
	_, err := tour.createSchema(t.Context())
	noError(t, err)
	p, err := startProcess(t.Context(), tour.address, tour.schema)
	noError(t, err)
	t.Cleanup(func() { noError(t, p.close()) })
	return p
}

// generate makes a token of an organization and returns its secret.
func (p *process) generate(t *testing.T, organization string, resources ...oat.Resource) (oat.Token, oat.Secret) {
	t.Helper()
	token, secret, err := p.service.Generate(t.Context(), oat.Actor{Host: "test"}, oat.Generate{
		Organization: organization, Label: t.Name(), Expires: oat.Never(), Resources: resources,
	})
	noError(t, err)
	return token, secret
}

// answers sends a request to the handler, without a network between.
func answers(h http.Handler, method, path, authorization string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader("new"))
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// basic is the Authorization of a user and a password.
func basic(user, password string) string {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header.Get("Authorization")
}

func wantAnswer(t *testing.T, w *httptest.ResponseRecorder, want int) {
	t.Helper()
	if w.Code != want {
		t.Errorf("answered %d, want %d", w.Code, want)
	}
}

// Whoever has a token must name its organization, exactly. What is wrong with credentials
// cannot be told from the answer. Breaks when grant takes the organization from the path.
func TestGuardWrongOrganization(t *testing.T) {
	p := newProcess(t)
	_, secret := p.generate(t, "acme", oat.All("acme", oat.ReadWrite))
	wantAnswer(t, answers(p.handler(), "GET", "/acme/wiki", basic("acme", secret.Reveal())), http.StatusOK)
	garbage := answers(p.handler(), "GET", "/acme/wiki", basic("acme", "no secret"))
	for _, authorization := range []string{
		basic("globex", secret.Reveal()), basic("", secret.Reveal()), basic("ACME", secret.Reveal()), basic("acme ", secret.Reveal()), basic("nobody", secret.Reveal()),
		basic(secret.Reveal(), "acme"), basic("acme", ""), "Basic", "Basic !", "Bearer " + secret.Reveal(), " ", "Basic " + secret.Reveal(),
	} {
		for _, path := range []string{"/acme/wiki", "/globex/core", "/acme/site", "/acme/none"} {
			w := answers(p.handler(), "GET", path, authorization)
			wantAnswer(t, w, http.StatusUnauthorized)
			if w.Body.String() != garbage.Body.String() || w.Header().Get("WWW-Authenticate") == "" {
				t.Errorf("%s with %q tells more: %v %s", path, authorization, w.Header(), w.Body)
			}
		}
	}
}

// What is not known to be public is private, to everyone without credentials and to
// tokens for public repositories: a word that nobody thought of, and a repository that
// is not there. Breaks when visibility compares with "private".
func TestGuardUnknownVisibility(t *testing.T) {
	p := newProcess(t)
	_, secret := p.generate(t, "globex", oat.Public())
	token := basic("globex", secret.Reveal())
	_, err := p.pool.Exec(t.Context(), "ALTER TABLE repositories DROP CONSTRAINT repositories_visibility_check")
	noError(t, err)
	for word, open := range map[string]bool{"public": true, "private": false, "internal": false, "": false, "Public": false, "partners": false} {
		_, err := p.pool.Exec(t.Context(), "UPDATE repositories SET visibility = $1 WHERE name = 'acme/site'", word)
		noError(t, err)
		anonymous, known := http.StatusUnauthorized, http.StatusNotFound
		if open {
			anonymous, known = http.StatusOK, http.StatusOK
		}
		wantAnswer(t, answers(p.handler(), "GET", "/acme/site", ""), anonymous)
		wantAnswer(t, answers(p.handler(), "GET", "/acme/site", token), known)
	}
	wantAnswer(t, answers(p.handler(), "GET", "/acme/none", ""), http.StatusUnauthorized)
	wantAnswer(t, answers(p.handler(), "GET", "/acme/none", token), http.StatusNotFound)
}

// A token that may read and not write is told so; one that may not even read is told
// that there is nothing, whether or not there is.
func TestGuardActions(t *testing.T) {
	p := newProcess(t)
	_, secret := p.generate(t, "acme", oat.Repository("acme/wiki", oat.Read))
	token := basic("acme", secret.Reveal())
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/acme/wiki", http.StatusOK},
		{"HEAD", "/acme/wiki", http.StatusOK},
		{"PUT", "/acme/wiki", http.StatusForbidden},
		{"GET", "/acme/site", http.StatusNotFound}, // public, and the token is not for it
		{"PUT", "/acme/site", http.StatusNotFound},
		{"GET", "/acme/none", http.StatusNotFound},
		{"GET", "/globex/core", http.StatusNotFound},
		{"GET", "/acme/%77iki", http.StatusOK}, // the same name
		{"GET", "/acme/..%2fwiki", http.StatusNotFound},
		{"GET", "/globex/..%2f..%2facme%2fwiki", http.StatusNotFound},
		{"GET", "/acme%2fwiki/", http.StatusNotFound},
		{"DELETE", "/acme/wiki", http.StatusMethodNotAllowed},
	} {
		if w := answers(p.handler(), c.method, c.path, token); w.Code != c.want {
			t.Errorf("%s %s: answered %d, want %d", c.method, c.path, w.Code, c.want)
		}
	}
}

// A verifier that has lost sight of the log refuses good tokens with 503, so that clients
// keep them and come back, and garbage with 401, which needs no log. What is open without
// a token stays open. Breaks when check asks for ErrRefused first.
func TestGuardStale(t *testing.T) {
	p := newProcess(t)
	_, secret := p.generate(t, "acme", oat.All("acme", oat.Read))
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	p.verifier = oat.NewVerifier(oat.VerifierConfig{Now: now})
	runner, err := projection.NewRunner(projection.RunnerConfig{Log: p.log, Projections: []projection.Projection{p.verifier}, Now: now})
	noError(t, err)
	noError(t, runner.CatchUp(t.Context()))
	wantAnswer(t, answers(p.handler(), "GET", "/acme/wiki", basic("acme", secret.Reveal())), http.StatusOK)

	ahead.Store(int64(oat.DefaultMaxStaleness + time.Second))
	for _, user := range []string{"acme", "globex"} {
		w := answers(p.handler(), "GET", "/acme/wiki", basic(user, secret.Reveal()))
		wantAnswer(t, w, http.StatusServiceUnavailable)
		if w.Header().Get("Retry-After") == "" || w.Header().Get("WWW-Authenticate") != "" {
			t.Errorf("as %s the client is told %v", user, w.Header())
		}
	}
	wantAnswer(t, answers(p.handler(), "GET", "/acme/wiki", basic("acme", "no secret")), http.StatusUnauthorized)
	wantAnswer(t, answers(p.handler(), "GET", "/acme/site", ""), http.StatusOK)
	wantAnswer(t, answers(p.handler(), "GET", "/acme/wiki", ""), http.StatusUnauthorized)

	noError(t, runner.CatchUp(t.Context()))
	wantAnswer(t, answers(p.handler(), "GET", "/acme/wiki", basic("acme", secret.Reveal())), http.StatusOK)
}

// When the visibility cannot be looked up nobody gets in.
func TestGuardWithoutDatabase(t *testing.T) {
	p := newProcess(t)
	_, secret := p.generate(t, "acme", oat.All("acme", oat.ReadWrite))
	cut, err := openBackend(t.Context(), address(t), p.schema)
	noError(t, err)
	cut.close()
	broken := *p.tokens
	broken.backend = cut
	handler := p.backend.routes(broken.guard(oat.Pull), broken.guard(oat.Push))
	for _, authorization := range []string{"", basic("acme", secret.Reveal())} {
		wantAnswer(t, answers(handler, "GET", "/acme/site", authorization), http.StatusInternalServerError)
		wantAnswer(t, answers(handler, "PUT", "/acme/site", authorization), http.StatusInternalServerError)
	}
	if is, err := (owners{p.pool}).IsOwner(canceled(t), "acme", "alice"); is || !errors.Is(err, context.Canceled) {
		t.Errorf("asked whether alice is an owner, when nobody can tell: %v, %v", is, err)
	}
}

func canceled(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// Owners see who used a token, and who tried when it was refused.
func TestGuardRecordsUse(t *testing.T) {
	p := newProcess(t)
	token, secret := p.generate(t, "acme", oat.All("acme", oat.Read))
	for user, want := range map[string]int{"acme": http.StatusOK, "globex": http.StatusUnauthorized} {
		got, _, err := p.ask(t.Context(), user, secret, http.MethodGet, "acme/wiki", "")
		if err != nil || got != want {
			t.Errorf("as %s: answered %d, want %d: %v", user, got, want, err)
		}
	}
	noError(t, p.show(t.Context()))
	used, _, err := p.view.Usage(t.Context(), "acme", token.ID)
	if err != nil || used.Accepted.Count != 1 || used.Refused.Count != 1 || used.Refused.Cause != "organization" ||
		used.Accepted.Address != "127.0.0.1" || used.Accepted.UserAgent != "pipeline/1.0" {
		t.Errorf("%+v, %v", used, err)
	}
}
