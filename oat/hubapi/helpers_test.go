package hubapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/hubapi"
	"github.com/oatmill/oatmill/oat/oattest"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/quota"
)

// password opens for everybody who is called like an owner.
const password = "correct horse battery staple"

// desk is the API before an environment of tokens. alice and bob own acme, zoe owns
// zebra, and mallory owns nothing.
type desk struct {
	*oattest.Env
	t        testing.TB
	cfg      hubapi.Config
	Handler  *hubapi.Handler
	Logged   *journal
	contract *contract
	jwts     map[string]string
}

// journal is what was logged at every level.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

func newDesk(t testing.TB, options ...func(*hubapi.Config)) *desk {
	t.Helper()
	return newDeskOn(t, oattest.New(t), options...)
}

// newDeskOn is the API of a process that starts on what the log of env holds.
func newDeskOn(t testing.TB, env *oattest.Env, options ...func(*hubapi.Config)) *desk {
	t.Helper()
	d := &desk{Env: env, t: t, Logged: new(journal), contract: newContract(t), jwts: make(map[string]string)}
	logger := slog.New(slog.NewTextHandler(d.Logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	d.cfg = hubapi.Config{
		Service: env.Service, Log: env.Log,
		Tokens: projection.NewTokens(), History: projection.NewHistory(), LastUsed: projection.NewLastUsed(),
		SignIn: signIn, Keys: []hubapi.Key{hubapi.HMAC([]byte("0123456789abcdef0123456789abcdef"))},
		BaseURL: "https://hub.example.com", Rate: quota.Rate{Count: 1 << 30, Window: time.Hour}, SignIns: quota.NewAttempts(quota.Rate{Count: 1 << 30, Window: time.Hour}),
		Now: env.Clock.Now, Rand: oattest.NewRand(7), Logger: logger,
	}
	d.cfg.Runner = d.follow()
	for _, option := range options {
		option(&d.cfg)
	}
	var err error
	if d.Handler, err = hubapi.New(d.cfg); err != nil {
		t.Fatal(err)
	}
	for organization, owners := range map[string][]string{"acme": {"alice", "bob"}, "zebra": {"zoe"}} {
		cmd := oat.Register{Organization: organization, Plan: quota.Business, Owners: owners}
		if err := env.Service.Register(context.Background(), oat.Actor{Host: "test"}, cmd); err != nil && !errors.Is(err, oat.ErrExists) && !errors.Is(err, oat.ErrInvalid) {
			// The host may keep the owners, and the organizations be there already.

			t.Fatal(err)
		}
	}
	return d
}

// follow is a runner at work on the read models.
func (d *desk) follow() *projection.Runner {
	d.t.Helper()
	runner, err := projection.NewRunner(projection.RunnerConfig{
		Log: d.Log, Projections: []projection.Projection{d.cfg.Tokens, d.cfg.History, d.cfg.LastUsed},
		Now: d.Clock.Now, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		d.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- runner.Run(ctx) }()
	d.t.Cleanup(func() {
		stop()
		if err := <-stopped; err != nil {
			d.t.Error(err)
		}
	})
	return runner
}

func signIn(_ context.Context, identifier string, secret oat.Secret) (string, error) {
	if secret.Reveal() != password {
		return "", oat.ErrRefused
	}
	return identifier, nil
}

// request is one by a user, who signs in for it, with a body if there is one: a text as
// it is, anything else as JSON.
func (d *desk) request(method, target, user string, body any, headers ...string) *http.Request {
	d.t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			d.t.Fatal(err)
		}
		reader = bytes.NewReader(text)
	}
	r := httptest.NewRequest(method, target, reader)
	if reader != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if user != "" {
		r.Header.Set("Authorization", "Bearer "+d.jwt(user))
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

// jwt is a session of the user, who signs in if need be.
func (d *desk) jwt(user string) string {
	d.t.Helper()
	if d.jwts[user] == "" {
		var answer struct {
			AccessToken string `json:"access_token"`
		}
		d.ask(http.MethodPost, "/v2/auth/token", "", map[string]string{"identifier": user, "secret": password}).as(200, &answer)
		d.jwts[user] = answer.AccessToken
	}
	return d.jwts[user]
}

// exchange has the handler answer.
func (d *desk) exchange(r *http.Request) exchange {
	var sent []byte
	if r.Body != nil {
		sent, _ = io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(sent))
	}
	w := httptest.NewRecorder()
	d.Handler.ServeHTTP(w, r)
	return exchange{r.Method, r.URL.Path, sent, w.Code, w.Header(), w.Body.Bytes()}
}

// serve has the handler answer, and holds the answer against the description.
func (d *desk) serve(r *http.Request) answer {
	d.t.Helper()
	x := d.exchange(r)
	if err := d.contract.check(x); err != nil {
		d.t.Fatalf("not as described: %v", err)
	}
	return answer{x, d.t}
}

// ask is a request and its answer.
func (d *desk) ask(method, target, user string, body any, headers ...string) answer {
	d.t.Helper()
	return d.serve(d.request(method, target, user, body, headers...))
}

// answer is a response that is as described.
type answer struct {
	exchange
	t testing.TB
}

// is demands a status.
func (a answer) is(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s %s %s: status %d, want %d: %s", a.method, a.path, a.sent, a.status, status, a.body)
	}
	return a
}

// as demands a status and reads the body.
func (a answer) as(status int, to any) answer {
	a.t.Helper()
	a.is(status)
	if err := json.Unmarshal(a.body, to); err != nil {
		a.t.Fatal(err)
	}
	return a
}

// names demands a status, and problems with exactly these fields.
func (a answer) names(status int, fields ...string) answer {
	a.t.Helper()
	var invalid struct {
		Fields map[string][]string `json:"fields"`
		Text   string              `json:"text"`
	}
	a.as(status, &invalid)
	for _, field := range fields {
		if len(invalid.Fields[field]) == 0 {
			a.t.Errorf("%s: %s is not named: %s", a.sent, field, a.body)
		}
	}
	if len(invalid.Fields) != len(fields) || invalid.Text == "" {
		a.t.Errorf("%s: want problems with %q: %s", a.sent, fields, a.body)
	}
	return a
}

// token is a token as a client reads it.
type token struct {
	ID          string         `json:"id"`
	Label       string         `json:"label"`
	Description string         `json:"description"`
	CreatedBy   string         `json:"created_by"`
	IsActive    bool           `json:"is_active"`
	CreatedAt   string         `json:"created_at"`
	ExpiresAt   *string        `json:"expires_at"`
	LastUsedAt  *string        `json:"last_used_at"`
	Resources   []oat.Resource `json:"resources"`
	Token       string         `json:"token"`
	Message     string         `json:"message"`
}

// tokenPage is a page of a list as a client reads it.
type tokenPage struct {
	Total    int     `json:"total"`
	Next     *string `json:"next"`
	Previous *string `json:"previous"`
	Results  []token `json:"results"`
}

const tokensOfAcme = "/v2/orgs/acme/access-tokens"

// body is a create request that nothing is wrong with, before the changes. A change to
// nil leaves the field out.
func body(changes ...any) map[string]any {
	b := map[string]any{"label": "ci", "resources": []oat.Resource{oat.All("acme", oat.Read)}}
	for i := 0; i < len(changes); i += 2 {
		if b[changes[i].(string)] = changes[i+1]; changes[i+1] == nil {
			delete(b, changes[i].(string))
		}
	}
	return b
}

// create makes a token of acme.
func (d *desk) create(changes ...any) (t token, etag string) {
	d.t.Helper()
	etag = d.ask(http.MethodPost, tokensOfAcme, "alice", body(changes...)).as(http.StatusCreated, &t).header.Get("ETag")
	return t, etag
}

func (d *desk) get(id string) (t token) {
	d.t.Helper()
	d.ask(http.MethodGet, tokensOfAcme+"/"+id, "alice", nil).as(http.StatusOK, &t)
	return t
}

// records is how many records the log holds.
func (d *desk) records() (n int) {
	d.t.Helper()
	for _, err := range d.Log.ReadAll(context.Background(), 0) {
		if err != nil {
			d.t.Fatal(err)
		}
		n++
	}
	return n
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func requireInactive(t testing.TB) *oattest.Env {
	return oattest.New(t, func(cfg *oat.Config) { cfg.RequireInactiveToDelete = true })
}
