package registryauth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/oattest"
	"github.com/oatmill/oatmill/oat/registryauth"
)

// passed is what the registry behind the guard answers.
const passed = http.StatusNoContent

// guarded sends a request with an Authorization header through the guard.
func (d *door) guarded(method, path string, authorization ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	for _, value := range authorization {
		r.Header.Add("Authorization", value)
	}
	registry := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(passed) })
	return serve(d.Server.Guard(registry), r)
}

// bearer is an Authorization header with a JWT for scopes.
func (d *door) bearer(organization string, secret oat.Secret, scopes ...string) string {
	d.t.Helper()
	got, _ := d.granted(d.ask(basicRequest(organization, secret.Reveal(), scopes...)))
	return "Bearer " + got.Token
}

func (d *door) anonymous(scopes ...string) string {
	d.t.Helper()
	got, _ := d.granted(d.ask(getRequest(query(scopes...))))
	return "Bearer " + got.Token
}

func TestGuardLetsThroughWhatIsGrantedStill(t *testing.T) {
	d := open(t)
	_, secret := d.Generate("acme", oat.All("acme", oat.ReadWrite))
	token := d.bearer("acme", secret, "repository:acme/api:pull,push")
	for name, authorization := range map[string][]string{
		"nothing":     nil,
		"basic":       {"Basic YWNtZTpzZWNyZXQ="},
		"bearer":      {token},
		"lower case":  {"bearer" + strings.TrimPrefix(token, "Bearer")},
		"login":       {d.bearer("acme", secret)},
		"anonymous":   {d.anonymous("repository:library/alpine:pull")},
		"anon, empty": {d.anonymous()},
	} {
		if w := d.guarded(http.MethodPut, "/v2/acme/api/manifests/latest", authorization...); w.Code != passed {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

// A registry alone would honour each of these JWTs for a minute more, and for the
// leeway it gives.
func TestRegistryTokenOutlivesTheToken(t *testing.T) {
	ctx := context.Background()
	edit := func(d *door, token oat.Token, resources ...oat.Resource) error {
		_, err := d.Service.Edit(ctx, owner(), oat.Edit{Organization: "acme", Token: token.ID, Resources: resources})
		return err
	}
	for name, revoke := range map[string]func(*door, oat.Token) error{
		"deactivated": func(d *door, token oat.Token) error {
			return d.Service.Deactivate(ctx, owner(), oat.Deactivate{Organization: "acme", Token: token.ID})
		},
		"deleted": func(d *door, token oat.Token) error {
			return d.Service.Delete(ctx, owner(), oat.Delete{Organization: "acme", Token: token.ID})
		},
		"plan without tokens": func(d *door, _ oat.Token) error {
			return d.Service.ChangePlan(ctx, owner(), oat.ChangePlan{Organization: "acme", Plan: "personal"})
		},
		"expired": func(d *door, _ oat.Token) error {
			d.Clock.Advance(20 * time.Second)
			return nil
		},
		"read only": func(d *door, token oat.Token) error { return edit(d, token, oat.All("acme", oat.Read)) },
		"another repository": func(d *door, token oat.Token) error {
			return edit(d, token, oat.Repository("acme/web", oat.ReadWrite))
		},
		"public only": func(d *door, token oat.Token) error { return edit(d, token, oat.Public()) },
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t)
			d.Generate("acme", oat.Public())
			token, secret, err := d.Service.Generate(ctx, owner(), oat.Generate{
				Organization: "acme", Label: "x", Expires: oat.ExpiresAt(d.Clock.Now().Add(20 * time.Second)),
				Resources: []oat.Resource{oat.All("acme", oat.ReadWrite)},
			})
			if err != nil {
				t.Fatal(err)
			}
			authorization := d.bearer("acme", secret, "repository:acme/api:pull,push")
			if w := d.guarded(http.MethodGet, "/v2/acme/api/manifests/latest", authorization); w.Code != passed {
				t.Fatalf("before: %d", w.Code)
			}
			if err := revoke(d, token); err != nil {
				t.Fatal(err)
			}
			w := d.guarded(http.MethodGet, "/v2/acme/api/manifests/latest", authorization)
			const want = `Bearer realm="https://auth.example.com/token",service="registry.example.com",scope="repository:acme/api:pull",error="invalid_token"`
			if w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") != want {
				t.Errorf("after: %d %v", w.Code, w.Header())
			}
			if !strings.Contains(w.Body.String(), `"errors":[{"code":"UNAUTHORIZED"`) || w.Header().Get("Docker-Distribution-Api-Version") != "registry/2.0" || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("after: %v %s", w.Header(), w.Body)
			}
		})
	}
}

func TestRepositoryThatBecamePrivateIsStillPulled(t *testing.T) {
	d := open(t)
	_, secret := d.Generate("acme", oat.Public())
	all := []string{d.anonymous("repository:library/alpine:pull"), d.bearer("acme", secret, "repository:library/alpine:pull")}
	for _, public := range []bool{true, false} {
		d.public["library/alpine"] = public
		for _, authorization := range all {
			if w := d.guarded(http.MethodGet, "/v2/library/alpine/tags/list", authorization); (w.Code == passed) != public {
				t.Errorf("public %v: %d", public, w.Code)
			}
		}
	}
}

func TestNarrowedTokenFetchesWhatHolds(t *testing.T) {
	d := open(t)
	token, secret := d.Generate("acme", oat.All("acme", oat.ReadWrite))
	before := d.bearer("acme", secret, "repository:acme/api:pull,push")
	if _, err := d.Service.Edit(context.Background(), owner(), oat.Edit{Organization: "acme", Token: token.ID, Resources: []oat.Resource{oat.All("acme", oat.Read)}}); err != nil {
		t.Fatal(err)
	}
	after := d.bearer("acme", secret, "repository:acme/api:pull,push")
	if w := d.guarded(http.MethodGet, "/v2/acme/api/manifests/latest", before); w.Code != http.StatusUnauthorized {
		t.Errorf("with what was granted before: %d", w.Code)
	}
	if w := d.guarded(http.MethodGet, "/v2/acme/api/manifests/latest", after); w.Code != passed {
		t.Errorf("with what holds now: %d", w.Code)
	}
}

func TestGuardFailsOpenWhenTheVerifierIsBehind(t *testing.T) {
	d := open(t)
	_, secret := d.Generate("acme", oat.All("acme", oat.Read))
	authorization := d.bearer("acme", secret)
	d.Verifier.Confirm(d.Clock.Now().Add(-time.Minute))
	if w := d.guarded(http.MethodGet, "/v2/", authorization); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

func TestChallengeNamesWhatTheRequestNeeds(t *testing.T) {
	d := open(t)
	for _, test := range []struct{ method, path, scope string }{
		{"GET", "/v2/", ""},
		// distribution, registry/handlers/app.go: appendCatalogAccessRecord, and in authorized: "mounting
		// a blob from one repository to another requires pull (GET) access to the source repository".
		{"GET", "/v2/_catalog", "registry:catalog:*"},
		{"GET", "/v2/_catalog?n=1", "registry:catalog:*"},
		{"POST", "/v2/acme/b/blobs/uploads/?mount=sha256:0&from=acme/a", "repository:acme/b:pull,push repository:acme/a:pull"},
		{"POST", "/v2/acme/b/blobs/uploads/?mount=sha256:0&from=acme%2Fa", "repository:acme/b:pull,push repository:acme/a:pull"},
		{"POST", "/v2/acme/b/blobs/uploads/?mount=sha256:0&from=acme/b", "repository:acme/b:pull,push"},
		{"POST", "/v2/acme/b/blobs/uploads/?mount=sha256:0&from=", "repository:acme/b:pull,push"},
		{"POST", "/v2/acme/b/blobs/uploads/?mount=sha256:0&from=a%22,x=%22b", "repository:acme/b:pull,push"},
		{"DELETE", "/v2/acme/api/blobs/uploads/1-a_B.=", "repository:acme/api:pull,push"},
		{"DELETE", "/v2/acme/api/blobs/uploads/", "repository:acme/api:delete"},
		{"DELETE", "/v2/acme/api/blobs/sha256:0", "repository:acme/api:delete"},
		{"DELETE", "/v2/acme/api/tags/v1", "repository:acme/api:delete"},
		{"OPTIONS", "/v2/acme/api/manifests/latest", ""},
		{"GET", "/v2/acme/api/manifests/latest", "repository:acme/api:pull"},
		{"HEAD", "/v2/acme/api/blobs/sha256:0", "repository:acme/api:pull"},
		{"POST", "/v2/acme/api/blobs/uploads/", "repository:acme/api:pull,push"},
		{"PATCH", "/v2/acme/api/blobs/uploads/1", "repository:acme/api:pull,push"},
		{"PUT", "/v2/acme/api/manifests/latest", "repository:acme/api:pull,push"},
		{"DELETE", "/v2/acme/api/manifests/sha256:0", "repository:acme/api:delete"},
		{"GET", "/v2/acme/api/referrers/sha256:0", "repository:acme/api:pull"},
		{"GET", "/v2/acme/tags/tags/list", "repository:acme/tags:pull"},
		{"GET", "/v2/acme/blobs/manifests/latest", "repository:acme/blobs:pull"},
		{"GET", "/v2/manifests/latest", ""},
		{"GET", "/v2/a%22,x=%22b/manifests/latest", ""},
		{"GET", "/acme/api/manifests/latest", ""},
	} {
		want := `Bearer realm="https://auth.example.com/token",service="registry.example.com"`
		if test.scope != "" {
			want += `,scope="` + test.scope + `"`
		}
		w := d.guarded(test.method, test.path, "Bearer x")
		if got := w.Header().Get("WWW-Authenticate"); w.Code != http.StatusUnauthorized || got != want+`,error="invalid_token"` {
			t.Errorf("%s %s: %d %s", test.method, test.path, w.Code, got)
		}
	}
}

// signingKey is the current key, as it is kept.
func (d *door) signingKey() jose.JSONWebKey {
	d.t.Helper()
	return keyIn(d.t, d.keyFile, "current")
}

func keyIn(t testing.TB, path, name string) (key jose.JSONWebKey) {
	t.Helper()
	data, err := os.ReadFile(path)
	var file map[string]json.RawMessage
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	if err == nil {
		err = json.Unmarshal(file[name], &key)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// signed is a JWT of any claims, signed in any way.
func signed(t testing.TB, algorithm jose.SignatureAlgorithm, key any, options jose.SignerOptions, c any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, &options)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(c).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestKeyIsTakenFromTheToken(t *testing.T) {
	d := open(t)
	_, secret := d.Generate("acme", oat.All("acme", oat.ReadWrite))
	good := strings.TrimPrefix(d.bearer("acme", secret, "repository:acme/api:pull,push"), "Bearer ")
	c, ours := d.read(good), d.signingKey()
	theirs, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{}, &theirs.PublicKey, theirs)
	if err != nil {
		t.Fatal(err)
	}
	public, err := json.Marshal(ours.Public())
	if err != nil {
		t.Fatal(err)
	}
	kid := func(id string) jose.SignerOptions {
		return jose.SignerOptions{ExtraHeaders: map[jose.HeaderKey]any{"kid": id}}
	}
	withX5C := kid(ours.KeyID)
	withX5C.ExtraHeaders["x5c"] = []string{base64.StdEncoding.EncodeToString(certificate)}
	withURL := kid(ours.KeyID)
	withURL.ExtraHeaders["jku"] = "https://evil.example.com/jwks.json"
	encode := base64.RawURLEncoding.EncodeToString
	parts := strings.Split(good, ".")
	for name, token := range map[string]string{
		"nothing":             "",
		"garbage":             "x.y.z",
		"their key, our id":   signed(t, jose.ES256, theirs, kid(ours.KeyID), c),
		"their key, their id": signed(t, jose.ES256, theirs, kid("theirs"), c),
		"their key, no id":    signed(t, jose.ES256, theirs, jose.SignerOptions{}, c),
		"embedded key":        signed(t, jose.ES256, jose.JSONWebKey{Key: theirs}, jose.SignerOptions{EmbedJWK: true}, c),
		"embedded, our id":    signed(t, jose.ES256, jose.JSONWebKey{Key: theirs, KeyID: ours.KeyID}, jose.SignerOptions{EmbedJWK: true}, c),
		"certificate":         signed(t, jose.ES256, theirs, withX5C, c),
		"address of keys":     signed(t, jose.ES256, theirs, withURL, c),
		"our key, no id":      signed(t, jose.ES256, ours.Key, jose.SignerOptions{}, c),
		"public key as hmac":  signed(t, jose.HS256, public, kid(ours.KeyID), c),
		"no algorithm":        encode([]byte(`{"alg":"none","kid":"`+ours.KeyID+`"}`)) + "." + parts[1] + ".",
		"another algorithm":   encode([]byte(`{"alg":"EdDSA","kid":"`+ours.KeyID+`"}`)) + "." + parts[1] + "." + parts[2],
		"no signature":        parts[0] + "." + parts[1] + ".",
		"other claims":        parts[0] + "." + encode([]byte(`{"iss":"`+issuer+`"}`)) + "." + parts[2],
		"json":                `{"protected":"` + parts[0] + `","payload":"` + parts[1] + `","signature":"` + parts[2] + `"}`,
		"cut":                 good[:len(good)-4],
		"twice":               good + " " + good,
		"huge":                good + strings.Repeat("A", 1<<17),
	} {
		if w := d.guarded(http.MethodGet, "/v2/", "Bearer "+token); w.Code != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	for name, authorization := range map[string][]string{
		"word alone":           {"Bearer"},
		"other first":          {"Basic YTpi", "Bearer " + good},
		"other second":         {"Bearer " + good, "Basic YTpi"},
		"tab":                  {"Bearer\t" + good},
		"stuck to the word":    {"Bearer" + good},
		"space before, forged": {"  bearer x"},
	} {
		if w := d.guarded(http.MethodGet, "/v2/", authorization...); w.Code != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	if w := d.guarded(http.MethodGet, "/v2/", "Bearer "+good); w.Code != passed {
		t.Errorf("as it was issued: %d", w.Code)
	}
}

// Claims that this package never signs are refused even with a good signature: a key
// that leaked, or a later version that says more, opens nothing beyond the tokens.
func TestSignatureIsCheckedAndClaimsAreNot(t *testing.T) {
	d := open(t)
	token, _ := d.Generate("acme", oat.All("acme", oat.ReadWrite))
	other, _ := d.Generate("other", oat.All("other", oat.ReadWrite))
	ours, now := d.signingKey(), d.Clock.Now()
	sign := func(change func(*claims)) string {
		subject := "acme"
		c := claims{
			Issuer: issuer, Subject: &subject, Audience: service, Token: token.ID.String(), ID: "1",
			Expires: now.Add(time.Minute).Unix(), NotBefore: now.Unix(), IssuedAt: now.Unix(),
			Access: []access{{"repository", "acme/api", []string{"pull", "push"}}},
		}
		change(&c)
		return "Bearer " + signed(t, jose.ES256, ours, jose.SignerOptions{}, c)
	}
	if w := d.guarded(http.MethodGet, "/v2/", sign(func(*claims) {})); w.Code != passed {
		t.Fatalf("unchanged: %d", w.Code)
	}
	for name, change := range map[string]func(*claims){
		"issuer":               func(c *claims) { c.Issuer = "evil" },
		"no issuer":            func(c *claims) { c.Issuer = "" },
		"audience":             func(c *claims) { c.Audience = "other" },
		"expired":              func(c *claims) { c.Expires = now.Add(-61 * time.Second).Unix() },
		"no expiry":            func(c *claims) { c.Expires = 0 },
		"not yet":              func(c *claims) { c.NotBefore = now.Add(61 * time.Second).Unix() },
		"no token":             func(c *claims) { c.Token, c.Access = "", nil },
		"no subject":           func(c *claims) { *c.Subject, c.Access = "", nil },
		"another organization": func(c *claims) { *c.Subject = "other" },
		"another token":        func(c *claims) { c.Token = other.ID.String() },
		"malformed token":      func(c *claims) { c.Token = "1" },
		"another repository":   func(c *claims) { c.Access[0].Name = "other/api" },
		"delete":               func(c *claims) { c.Access[0].Actions = []string{"delete"} },
		"everything":           func(c *claims) { c.Access[0].Actions = []string{"*"} },
		"catalog":              func(c *claims) { c.Access = append(c.Access, access{"registry", "catalog", []string{"*"}}) },
		"another type":         func(c *claims) { c.Access[0].Type = "registry" },
		"anonymous push": func(c *claims) {
			*c.Subject, c.Token, c.Access[0] = "", "", access{"repository", "library/alpine", []string{"push"}}
		},
	} {
		if w := d.guarded(http.MethodGet, "/v2/", sign(change)); w.Code != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	for name, change := range map[string]func(*claims){
		"within the leeway":         func(c *claims) { c.Expires = now.Add(-time.Minute).Unix() },
		"soon, within the leeway":   func(c *claims) { c.NotBefore = now.Add(time.Minute).Unix() },
		"nothing granted, no space": func(c *claims) { c.Access = nil },
	} {
		if w := d.guarded(http.MethodGet, "/v2/", sign(change)); w.Code != passed {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
}

func TestTokenOfAnotherIssuerWithTheSameKeys(t *testing.T) {
	d := open(t)
	cfg := registryauth.Config{Verifier: d.Verifier, Keys: d.Keys, Issuer: "another", Services: []string{service}, Realm: realm, Now: d.Clock.Now, Rand: oattest.NewRand(3)}
	other, err := registryauth.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	authorization := d.anonymous()
	d.Server = other
	if w := d.guarded(http.MethodGet, "/v2/", authorization); w.Code != http.StatusUnauthorized {
		t.Errorf("%d", w.Code)
	}
}

// While requests stream in, a deactivation that has returned holds for every request
// that begins afterwards.
func TestRequestSlipsThroughBesideADeactivation(t *testing.T) {
	d := open(t)
	token, secret := d.Generate("acme", oat.All("acme", oat.Read))
	authorization := d.bearer("acme", secret, "repository:acme/api:pull")
	revoked := make(chan struct{})
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for after := 0; after < 5; {
				select {
				case <-revoked:
					after++
				default:
				}
				if w := d.guarded(http.MethodGet, "/v2/acme/api/tags/list", authorization); after > 0 && w.Code == passed {
					t.Error("passed after the deactivation")
				}
			}
		})
	}
	if err := d.Service.Deactivate(context.Background(), owner(), oat.Deactivate{Organization: "acme", Token: token.ID}); err != nil {
		t.Error(err)
	}
	close(revoked)
	workers.Wait()
}

// keyPath is where a test keeps its keys.
func keyPath(t testing.TB) string { return filepath.Join(t.TempDir(), "keys.json") }

func thumbprint(t testing.TB, key jose.JSONWebKey) string {
	t.Helper()
	sum, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

// TestGrantBehindTheGuard fails when Guard hands the request on as it came.
func TestGrantBehindTheGuard(t *testing.T) {
	d := open(t)
	token, secret := d.Generate("acme", oat.All("acme", oat.Read))
	var grant oat.Grant
	var known bool
	handler := d.Server.Guard(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		grant, known = registryauth.GrantFrom(r.Context())
	}))
	r := httptest.NewRequest(http.MethodGet, "/v2/", nil)
	serve(handler, r)
	if known {
		t.Error("a request without a bearer token has a grant")
	}
	r.Header.Set("Authorization", d.bearer("acme", secret, "repository:acme/api:pull"))
	serve(handler, r)
	if !known || grant.Token() != token.ID || !grant.Allows(oat.Pull, "acme/api", oat.VisibilityUnknown) || grant.Allows(oat.Push, "acme/api", oat.VisibilityUnknown) {
		t.Errorf("the grant behind the guard is of %s of %q", grant.Token(), grant.Organization())
	}
}
