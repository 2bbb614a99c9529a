package hubapi_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/hubapi"
	"github.com/oatmill/oatmill/oat/oattest"
)

// secretKey is what the desk's JWTs are signed with.
const secretKey = "0123456789abcdef0123456789abcdef"

// decoded is the claims of a JWT, which nobody verified.
func decoded(t testing.TB, jwt string) (claims map[string]any) {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(jwt, ".")[1])
	must(t, err)
	must(t, json.Unmarshal(payload, &claims))
	return claims
}

// signed is a JWS of claims.
func signed(t testing.TB, algorithm jose.SignatureAlgorithm, key any, claims any, options *jose.SignerOptions) *jose.JSONWebSignature {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	must(t, err)
	payload, err := json.Marshal(claims)
	must(t, err)
	object, err := signer.Sign(payload)
	must(t, err)
	return object
}

func compact(t testing.TB, object *jose.JSONWebSignature) string {
	t.Helper()
	text, err := object.CompactSerialize()
	must(t, err)
	return text
}

// admits tells whether the JWT is a session.
func (d *desk) admits(authorization string) bool {
	d.t.Helper()
	switch got := d.ask(http.MethodGet, tokensOfAcme, "", nil, "Authorization", authorization); got.status {
	case http.StatusOK:
		return true
	case http.StatusUnauthorized:
		return false
	default:
		d.t.Fatalf("status %d: %s", got.status, got.body)
		return false
	}
}

func keys(t testing.TB) (ed ed25519.PrivateKey, ec *ecdsa.PrivateKey) {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(oattest.NewRand(9))
	must(t, err)
	ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return ed, ec
}

func TestEveryKindOfKey(t *testing.T) {
	ed, ec := keys(t)
	for name, key := range map[string]hubapi.Key{"HS256": hubapi.HMAC([]byte(secretKey)), "EdDSA": hubapi.Ed25519(ed), "ES256": hubapi.ECDSA(ec)} {
		d := newDesk(t, func(cfg *hubapi.Config) { cfg.Keys = []hubapi.Key{key} })
		jwt := d.jwt("alice")
		if !d.admits("Bearer "+jwt) || !d.admits("bearer "+jwt) {
			t.Errorf("%s: refused", name)
		}
		header, err := base64.RawURLEncoding.DecodeString(strings.Split(jwt, ".")[0])
		must(t, err)
		if want := fmt.Sprintf(`{"alg":"%s","typ":"JWT"}`, name); string(header) != want {
			t.Errorf("header %s, want %s", header, want)
		}
	}
}

// A session is good for ten minutes, to the second.
func TestSessionEnds(t *testing.T) {
	d := newDesk(t)
	jwt := d.jwt("alice")
	claims := decoded(t, jwt)
	if life := claims["exp"].(float64) - claims["iat"].(float64); life != 600 {
		t.Errorf("good for %v seconds", life)
	}
	d.Clock.Advance(hubapi.SessionTTL - time.Microsecond)
	if !d.admits("Bearer " + jwt) {
		t.Error("refused before its time")
	}
	d.Clock.Advance(time.Microsecond)
	if d.admits("Bearer " + jwt) {
		t.Error("admitted after its time")
	}
}

// What somebody without the key can send. Each breaks another check: the algorithm is
// taken from the JWT (none, HS256 with the public key), keys are (jwk, jku), claims are
// not looked at, forms other than the compact one are read.
func TestForgedSessions(t *testing.T) {
	ed, ec := keys(t)
	d := newDesk(t, func(cfg *hubapi.Config) { cfg.Keys = []hubapi.Key{hubapi.ECDSA(ec)} })
	now := d.Clock.Now().Unix()
	claims := decoded(t, d.jwt("alice"))
	with := func(changes ...any) map[string]any {
		c := make(map[string]any)
		for name, value := range claims {
			c[name] = value
		}
		for i := 0; i < len(changes); i += 2 {
			if c[changes[i].(string)] = changes[i+1]; changes[i+1] == nil {
				delete(c, changes[i].(string))
			}
		}
		return c
	}
	if good := compact(t, signed(t, jose.ES256, ec, claims, nil)); !d.admits("Bearer " + good) {
		t.Fatal("the real key is refused")
	}
	_, foreign := keys(t)
	embed := func(key any, algorithm jose.SignatureAlgorithm) string {
		return compact(t, signed(t, algorithm, key, claims, &jose.SignerOptions{EmbedJWK: true}))
	}
	pkix, err := x509.MarshalPKIXPublicKey(&ec.PublicKey)
	must(t, err)
	point, err := ec.PublicKey.Bytes()
	must(t, err)
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	payload, err := json.Marshal(claims)
	must(t, err)
	full := signed(t, jose.ES256, ec, claims, nil).FullSerialize()
	good := strings.Split(compact(t, signed(t, jose.ES256, ec, claims, nil)), ".")
	encrypter, err := jose.NewEncrypter(jose.A128GCM, jose.Recipient{Algorithm: jose.ECDH_ES, Key: &ec.PublicKey}, new(jose.EncrypterOptions).WithContentType("JWT"))
	must(t, err)
	encrypted, err := encrypter.Encrypt([]byte(strings.Join(good, ".")))
	must(t, err)
	nested, err := encrypted.CompactSerialize()
	must(t, err)
	for name, jwt := range map[string]string{
		"none":                       part(`{"alg":"none","typ":"JWT"}`) + "." + part(string(payload)) + ".",
		"none, with a signature":     part(`{"alg":"none"}`) + "." + good[1] + "." + good[2],
		"no algorithm":               part(`{}`) + "." + good[1] + "." + good[2],
		"HS256 with the public key":  compact(t, signed(t, jose.HS256, pkix, claims, nil)),
		"HS256 with its point":       compact(t, signed(t, jose.HS256, point, claims, nil)),
		"another key":                compact(t, signed(t, jose.ES256, foreign, claims, nil)),
		"another algorithm":          compact(t, signed(t, jose.EdDSA, ed, claims, nil)),
		"a key that it carries":      embed(foreign, jose.ES256),
		"a key that it points to":    compact(t, signed(t, jose.ES256, foreign, claims, new(jose.SignerOptions).WithHeader("jku", "https://example.com/jwks.json"))),
		"another payload":            good[0] + "." + part(string(payload)+" ") + "." + good[2],
		"no signature":               good[0] + "." + good[1] + ".",
		"two parts":                  good[0] + "." + good[1],
		"a nested JWE":               nested,
		"nested":                     compact(t, signed(t, jose.ES256, ec, strings.Join(good, "."), nil)),
		"in JSON":                    full,
		"no expiry":                  compact(t, signed(t, jose.ES256, ec, with("exp", nil), nil)),
		"expiry null":                compact(t, signed(t, jose.ES256, ec, with("exp", json.RawMessage("null")), nil)),
		"expiry zero":                compact(t, signed(t, jose.ES256, ec, with("exp", 0), nil)),
		"expired":                    compact(t, signed(t, jose.ES256, ec, with("exp", now), nil)),
		"expiry of a text":           compact(t, signed(t, jose.ES256, ec, with("exp", "9999999999"), nil)),
		"no subject":                 compact(t, signed(t, jose.ES256, ec, with("sub", nil), nil)),
		"empty subject":              compact(t, signed(t, jose.ES256, ec, with("sub", ""), nil)),
		"another issuer":             compact(t, signed(t, jose.ES256, ec, with("iss", "example"), nil)),
		"another audience":           compact(t, signed(t, jose.ES256, ec, with("aud", "registry.example.com"), nil)),
		"a list of audiences":        compact(t, signed(t, jose.ES256, ec, with("aud", []string{"oatmill/hubapi"}), nil)),
		"claims of a list":           compact(t, signed(t, jose.ES256, ec, []int{1}, nil)),
		"a critical extension":       compact(t, signed(t, jose.ES256, ec, claims, new(jose.SignerOptions).WithCritical("x").WithHeader("x", 1))),
		"longer than anybody's":      strings.Repeat("a", 1<<20),
		"an organization's token":    "oat_" + strings.Repeat("0", 32),
		"nothing":                    "",
		"two tokens, blanks between": good[0] + " " + good[1],
	} {
		if d.admits("Bearer " + jwt) {
			t.Errorf("%s: admitted", name)
		}
	}
	for _, authorization := range []string{"", "Bearer", "Basic YWxpY2U6eA==", strings.Join(good, "."), "JWT " + strings.Join(good, ".")} {
		if d.admits(authorization) {
			t.Errorf("%q: admitted", authorization)
		}
	}
	r := d.request(http.MethodGet, tokensOfAcme, "alice", nil, "Authorization", "Bearer "+strings.Join(good, "."))
	d.serve(r).is(401) // twice is once too often
}

// A key is replaced without anybody being signed out.
func TestKeyRotation(t *testing.T) {
	_, ec := keys(t)
	before, after := hubapi.HMAC([]byte(secretKey)), hubapi.ECDSA(ec)
	old := newDesk(t)
	both := newDeskOn(t, old.Env, func(cfg *hubapi.Config) { cfg.Keys = []hubapi.Key{after, before} })
	new := newDeskOn(t, old.Env, func(cfg *hubapi.Config) { cfg.Keys = []hubapi.Key{after} })
	for _, c := range []struct {
		from, to *desk
		admitted bool
	}{{old, both, true}, {both, both, true}, {both, new, true}, {old, new, false}, {new, old, false}} {
		if c.to.admits("Bearer "+c.from.jwt("alice")) != c.admitted {
			t.Errorf("admitted: %t", !c.admitted)
		}
	}
}

func TestSignIn(t *testing.T) {
	d := newDesk(t)
	_, secret := d.Generate("acme", oat.All("acme", oat.Read))
	ways := []struct{ path, name, password, noToken string }{
		{"/v2/auth/token", "identifier", "secret", "organization access tokens cannot be used to sign in; use a password or a personal access token"},
		{"/v2/users/login", "username", "password", "Cannot log into an organization account"},
		{"/v2/users/login/", "username", "password", "Cannot log into an organization account"},
		{"/v2/users/login?refresh_token=true", "username", "password", "Cannot log into an organization account"},
		{"/v2/users/login/?refresh_token=true", "username", "password", "Cannot log into an organization account"},
	}
	for _, way := range ways {
		var refused struct{ Detail, Message string }
		sign := func(name, password string) answer {
			return d.ask(http.MethodPost, way.path, "", map[string]string{way.name: name, way.password: password})
		}
		var granted map[string]string
		sign("alice", password).as(200, &granted)
		if len(granted) != 1 || !d.admits("Bearer "+granted["access_token"]+granted["token"]) {
			t.Errorf("%s: %v", way.path, granted)
		}
		sign("alice", "wrong").as(401, &refused)
		if refused.Detail != "incorrect username or password" || refused.Message != refused.Detail {
			t.Errorf("%s: refused with %+v", way.path, refused)
		}
		for _, name := range []string{"acme", "alice", "nobody"} {
			sign(name, secret.Reveal()).as(401, &refused)
			if refused.Detail != way.noToken {
				t.Errorf("%s: a token is refused with %q", way.path, refused.Detail)
			}
		}
		sign("", password).names(400, way.name)
		sign("", "").names(400, way.name, way.password)
		d.ask(http.MethodPost, way.path, "", map[string]any{way.name: 1, "user": 2}).names(400, "user")
		d.ask(http.MethodPost, way.path, "", map[string]any{way.name: 1}).names(400, way.name, way.password)
		d.ask(http.MethodPost, way.path, "", "x").names(400)
		d.ask(http.MethodPost, way.path, "", strings.Repeat(" ", hubapi.MaxBody+1)).is(413)
		d.ask(http.MethodPost, way.path, "", nil).is(415)
	}
	if strings.Contains(d.Logged.String(), secret.Reveal()) || strings.Contains(d.Logged.String(), password) {
		t.Error("a secret is in the log")
	}
}

// What SignIn fails with is for the log; what it is asked about is not.
func TestSignInFails(t *testing.T) {
	for name, c := range map[string]struct {
		signIn func(context.Context, string, oat.Secret) (string, error)
		logged string
	}{
		"an error":        {func(context.Context, string, oat.Secret) (string, error) { return "", errors.New("no database") }, "no database"},
		"nobody":          {func(context.Context, string, oat.Secret) (string, error) { return "", nil }, "neither a user nor an error"},
		"a panic":         {func(_ context.Context, _ string, s oat.Secret) (string, error) { panic(s.Reveal()) }, "panic"},
		"an unlucky user": {func(context.Context, string, oat.Secret) (string, error) { return "", io.ErrUnexpectedEOF }, "unexpected EOF"},
	} {
		d := newDesk(t, func(cfg *hubapi.Config) { cfg.SignIn = c.signIn })
		got := d.ask(http.MethodPost, "/v2/auth/token", "", map[string]string{"identifier": "alice", "secret": "hunter2hunter2"}).is(500)
		if strings.Contains(string(got.body), "database") || !strings.Contains(d.Logged.String(), c.logged) || strings.Contains(d.Logged.String(), "hunter2") {
			t.Errorf("%s: answered %s, logged %s", name, got.body, d.Logged)
		}
	}
	// A name that cannot be an actor's is the host's mistake, and nobody's session.
	d := newDesk(t, func(cfg *hubapi.Config) {
		cfg.SignIn = func(context.Context, string, oat.Secret) (string, error) { return "host:billing", nil }
	})
	d.ask(http.MethodGet, tokensOfAcme, "alice", nil).is(500)
}

func TestKeysAreChecked(t *testing.T) {
	weak, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	must(t, err)
	d := newDesk(t)
	for name, keys := range map[string][]hubapi.Key{
		"none":             {},
		"zero":             {{}},
		"empty":            {hubapi.HMAC(nil)},
		"short":            {hubapi.HMAC([]byte(secretKey)[1:])},
		"zeros":            {hubapi.HMAC(make([]byte, 64))},
		"empty Ed25519":    {hubapi.Ed25519(nil)},
		"empty ECDSA":      {hubapi.ECDSA(nil)},
		"zero ECDSA":       {hubapi.ECDSA(new(ecdsa.PrivateKey))},
		"another curve":    {hubapi.ECDSA(weak)},
		"the second empty": {hubapi.HMAC([]byte(secretKey)), hubapi.HMAC(nil)},
	} {
		cfg := d.cfg
		cfg.Keys = keys
		if _, err := hubapi.New(cfg); err == nil || !strings.Contains(err.Error(), "key") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		printed := fmt.Sprintf(verb, hubapi.HMAC([]byte(secretKey))) + fmt.Sprintf(verb, d.cfg.Keys)
		if strings.Contains(printed, secretKey) || strings.Contains(printed, fmt.Sprintf("%x", secretKey)) || !strings.Contains(printed, "redacted") {
			t.Errorf("%s prints %s", verb, printed)
		}
	}
}

// A caller's slice of keys is the caller's again.
func TestKeysAreCopied(t *testing.T) {
	secret := []byte(secretKey)
	given := []hubapi.Key{hubapi.HMAC(secret)}
	d := newDesk(t, func(cfg *hubapi.Config) { cfg.Keys = given })
	jwt := d.jwt("alice")
	clear(secret)
	clear(given)
	if !d.admits("Bearer "+jwt) || !slices.Equal(secret, make([]byte, len(secret))) {
		t.Error("the handler uses the caller's key")
	}
}
