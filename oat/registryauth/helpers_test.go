package registryauth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/oattest"
	"github.com/oatmill/oatmill/oat/registryauth"
)

const (
	issuer  = "auth.example.com"
	service = "registry.example.com"
	realm   = "https://auth.example.com/token"
)

// door is a token endpoint before an environment of tokens.
type door struct {
	*oattest.Env
	t        testing.TB
	Keys     *registryauth.Keys
	Server   *registryauth.Server
	Logged   *bytes.Buffer // what the server and the verifier log, at every level
	keyFile  string
	recorder *oat.Recorder
	public   map[string]bool
}

// open is a door. Options change its config before it is used.
func open(t testing.TB, options ...func(*registryauth.Config)) *door {
	t.Helper()
	d := &door{t: t, Logged: new(bytes.Buffer), public: map[string]bool{"library/alpine": true}}
	logger := slog.New(slog.NewTextHandler(d.Logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	d.Env = oattest.New(t, func(cfg *oat.Config) {
		var err error
		if d.recorder, err = oat.NewRecorder(oat.RecorderConfig{Log: cfg.Log, Now: cfg.Now}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.recorder.Close(context.Background()) })
		cfg.Verifier = oat.NewVerifier(oat.VerifierConfig{Now: cfg.Now, Logger: logger, Recorder: d.recorder})
	})
	var err error
	d.keyFile = keyPath(t)
	if d.Keys, err = registryauth.OpenKeys(d.keyFile, registryauth.KeysConfig{Now: d.Clock.Now}); err != nil {
		t.Fatal(err)
	}
	cfg := registryauth.Config{
		Verifier: d.Verifier, Keys: d.Keys, Issuer: issuer, Services: []string{service}, Realm: realm,
		Visibility: d.visibility, Now: d.Clock.Now, Rand: oattest.NewRand(2), Logger: logger,
	}
	for _, option := range options {
		option(&cfg)
	}
	if d.Server, err = registryauth.New(cfg); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *door) visibility(_ context.Context, repository string) (oat.Visibility, error) {
	if d.public[repository] {
		return oat.VisibilityPublic, nil
	}
	return oat.VisibilityPrivate, nil
}

// uses is what was recorded of the use of tokens, as JSON.
func (d *door) uses() (all []string) {
	d.t.Helper()
	if err := d.recorder.Flush(context.Background()); err != nil {
		d.t.Fatal(err)
	}
	for r, err := range d.Log.ReadAll(context.Background(), 0) {
		if err != nil {
			d.t.Fatal(err)
		}
		if r.Stream.Kind() == "usage" {
			all = append(all, string(r.Data))
		}
	}
	return all
}

// owner is who may do everything with the tokens of d.
func owner() oat.Actor { return oat.Actor{User: oattest.Owner} }

// on is the same door in another test.
func (d *door) on(t testing.TB) *door {
	other := *d
	other.t = t
	return &other
}

// query is the parameters of a GET for scopes.
func query(scopes ...string) url.Values {
	return url.Values{"service": {service}, "scope": scopes}
}

// form is the fields of a POST for scopes.
func form(organization, secret string, scopes ...string) url.Values {
	return url.Values{
		"grant_type": {"password"}, "username": {organization}, "password": {secret},
		"service": {service}, "client_id": {"containerd-client"}, "scope": {strings.Join(scopes, " ")},
	}
}

func getRequest(values url.Values) *http.Request {
	return httptest.NewRequest(http.MethodGet, "/token?"+values.Encode(), nil)
}

func postRequest(values url.Values) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(values.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

func basicRequest(organization, secret string, scopes ...string) *http.Request {
	r := getRequest(query(scopes...))
	r.SetBasicAuth(organization, secret)
	return r
}

// ask sends a request to the token endpoint.
func (d *door) ask(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	d.Server.ServeHTTP(w, r)
	return w
}

// reply is an answer with a token, as a client reads it.
type reply struct {
	Token        string  `json:"token"`
	AccessToken  string  `json:"access_token"`
	RefreshToken *string `json:"refresh_token"`
	ExpiresIn    int     `json:"expires_in"`
	IssuedAt     string  `json:"issued_at"`
	Scope        *string `json:"scope"`
}

// claims is what a JWT says, as a registry reads it.
type claims struct {
	Issuer    string   `json:"iss"`
	Subject   *string  `json:"sub"`
	Audience  string   `json:"aud"`
	Expires   int64    `json:"exp"`
	NotBefore int64    `json:"nbf"`
	IssuedAt  int64    `json:"iat"`
	ID        string   `json:"jti"`
	Access    []access `json:"access"`
	Token     string   `json:"oat"`
}

type access struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// granted reads an answer that must be a token.
func (d *door) granted(w *httptest.ResponseRecorder) (reply, claims) {
	d.t.Helper()
	if w.Code != http.StatusOK {
		d.t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	var got reply
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		d.t.Fatal(err)
	}
	return got, d.read(got.Token)
}

// read verifies a JWT with the published keys, as a registry does.
func (d *door) read(token string) (c claims) {
	d.t.Helper()
	if err := readJWT(d.Keys.JWKS(), token, &c); err != nil {
		d.t.Fatal(err)
	}
	return c
}

func readJWT(jwks []byte, token string, c *claims) error {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(jwks, &set); err != nil {
		return err
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA})
	if err != nil {
		return err
	}
	return parsed.Claims(set, c)
}

// scopes is what a JWT grants, as one scope parameter.
func (c claims) scopes() string {
	var all []string
	for _, a := range c.Access {
		all = append(all, a.Type+":"+a.Name+":"+strings.Join(a.Actions, ","))
	}
	return strings.Join(all, " ")
}

func bodyOf(text string) io.ReadCloser { return io.NopCloser(strings.NewReader(text)) }

func serve(handler http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}
