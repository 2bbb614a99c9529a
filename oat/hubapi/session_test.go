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
	"maps"
	"math"
	"net/http"
	"net/url"
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

// forger makes JWTs before an API whose sessions are signed with a key for ES256.
type forger struct {
	*desk
	key    *ecdsa.PrivateKey
	claims map[string]any // good ones
}

func newForger(t *testing.T) *forger {
	_, key := keys(t)
	d := newDesk(t, func(cfg *hubapi.Config) { cfg.Keys = []hubapi.Key{hubapi.ECDSA(key)} })
	f := &forger{d, key, decoded(t, d.jwt("alice"))}
	if !d.admits("Bearer " + f.sign(f.claims)) {
		t.Fatal("the real key is refused")
	}
	return f
}

// sign is a JWT of claims, with the real key.
func (f *forger) sign(claims any) string {
	f.t.Helper()
	return compact(f.t, signed(f.t, jose.ES256, f.key, claims, nil))
}

// with is the good claims with one changed, or left out for nil.
func (f *forger) with(name string, value any) string {
	f.t.Helper()
	c := maps.Clone(f.claims)
	if c[name] = value; value == nil {
		delete(c, name)
	}
	return f.sign(c)
}

// refuses demands that none of these is a session.
func (f *forger) refuses(jwts map[string]string) {
	f.t.Helper()
	for name, jwt := range jwts {
		if f.admits("Bearer " + jwt) {
			f.t.Errorf("%s: admitted", name)
		}
	}
}

// encoded is a part of a JWS.
func encoded(text []byte) string { return base64.RawURLEncoding.EncodeToString(text) }

// What somebody without the key can send. Breaks when the algorithm is taken from the JWT
// (none, HS256 with the public key), or keys are (jwk, jku).
func TestForgedSignatures(t *testing.T) {
	f := newForger(t)
	ed, foreign := keys(t)
	good := strings.Split(f.sign(f.claims), ".")
	payload, err := json.Marshal(f.claims)
	must(t, err)
	pkix, err := x509.MarshalPKIXPublicKey(&f.key.PublicKey)
	must(t, err)
	point, err := f.key.PublicKey.Bytes()
	must(t, err)
	forge := func(algorithm jose.SignatureAlgorithm, key any, options *jose.SignerOptions) string {
		return compact(t, signed(t, algorithm, key, f.claims, options))
	}
	f.refuses(map[string]string{
		"none":                      encoded([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + encoded(payload) + ".",
		"none, with a signature":    encoded([]byte(`{"alg":"none"}`)) + "." + good[1] + "." + good[2],
		"no algorithm":              encoded([]byte(`{}`)) + "." + good[1] + "." + good[2],
		"HS256 with the public key": forge(jose.HS256, pkix, nil),
		"HS256 with its point":      forge(jose.HS256, point, nil),
		"another key":               forge(jose.ES256, foreign, nil),
		"another algorithm":         forge(jose.EdDSA, ed, nil),
		"a key that it carries":     forge(jose.ES256, foreign, &jose.SignerOptions{EmbedJWK: true}),
		"a key that it points to":   forge(jose.ES256, foreign, new(jose.SignerOptions).WithHeader("jku", "https://example.com/jwks.json")),
		"a critical extension":      forge(jose.ES256, f.key, new(jose.SignerOptions).WithCritical("x").WithHeader("x", 1)),
		"another payload":           good[0] + "." + encoded(append(payload, ' ')) + "." + good[2],
		"no signature":              good[0] + "." + good[1] + ".",
		"two parts":                 good[0] + "." + good[1],
	})
}

// What is no compact JWS with the claims of a session, although the real key signed it.
func TestForgedClaims(t *testing.T) {
	f := newForger(t)
	now := f.Clock.Now().Unix()
	good := f.sign(f.claims)
	encrypter, err := jose.NewEncrypter(jose.A128GCM, jose.Recipient{Algorithm: jose.ECDH_ES, Key: &f.key.PublicKey}, new(jose.EncrypterOptions).WithContentType("JWT"))
	must(t, err)
	encrypted, err := encrypter.Encrypt([]byte(good))
	must(t, err)
	nested, err := encrypted.CompactSerialize()
	must(t, err)
	f.refuses(map[string]string{
		"a nested JWE":            nested,
		"nested":                  f.sign(good),
		"in JSON":                 signed(t, jose.ES256, f.key, f.claims, nil).FullSerialize(),
		"no expiry":               f.with("exp", nil),
		"expiry null":             f.with("exp", json.RawMessage("null")),
		"expiry zero":             f.with("exp", 0),
		"expired":                 f.with("exp", now),
		"expiry of a text":        f.with("exp", "9999999999"),
		"no subject":              f.with("sub", nil),
		"empty subject":           f.with("sub", ""),
		"another issuer":          f.with("iss", "example"),
		"another audience":        f.with("aud", "registry.example.com"),
		"a list of audiences":     f.with("aud", []string{"oatmill/hubapi"}),
		"claims of a list":        f.sign([]int{1}),
		"longer than anybody's":   strings.Repeat("a", 1<<20),
		"an organization's token": "oat_" + strings.Repeat("0", 32),
		"nothing":                 "",
		"a blank in it":           good[:20] + " " + good[20:],
	})
	for _, authorization := range []string{"", "Bearer", "Basic YWxpY2U6eA==", good, "JWT", "JWT  " + good, "Token " + good, "JWT Bearer " + good} {
		if f.admits(authorization) {
			t.Errorf("%q: admitted", authorization)
		}
	}
	r := f.request(http.MethodGet, tokensOfAcme, "alice", nil, "Authorization", "Bearer "+good)
	f.serve(r).is(401) // twice is once too often
}

// TestOlderScheme takes a session with the scheme JWT ("Authorization: JWT TOKEN"), which Docker
// Hub's API took before Bearer and which scripts still send.
//
// Fails if session compares the scheme to Bearer alone, or the scheme by letter case.
func TestOlderScheme(t *testing.T) {
	d := newDesk(t)
	for _, scheme := range []string{"JWT", "jwt", "Jwt", "Bearer", "BEARER"} {
		if !d.admits(scheme + " " + d.jwt("alice")) {
			t.Errorf("%s: refused", scheme)
		}
	}
}

// TestSessionOfClockAhead refuses sessions that were signed while a clock was ahead, once the
// clock is right again (RFC 7519, 4.1.6; RFC 8725, 3.10).
//
// Fails if iat is not compared with the clock, or the lifetime not with SessionTTL.
func TestSessionOfClockAhead(t *testing.T) {
	f := newForger(t)
	now := f.Clock.Now().Unix()
	const ttl = int64(hubapi.SessionTTL / time.Second)
	session := func(iat, exp any) string {
		claims := maps.Clone(f.claims)
		if claims["iat"], claims["exp"] = iat, exp; iat == nil {
			delete(claims, "iat")
		}
		return f.sign(claims)
	}
	f.refuses(map[string]string{
		"a year ahead":            session(now+365*86400, now+365*86400+ttl),
		"two minutes ahead":       session(now+120, now+120+ttl),
		"just above the leeway":   session(now+61, now+61+ttl),
		"longer than SessionTTL":  session(now, now+ttl+61),
		"long, from the past":     session(now-86400, now+60),
		"without iat":             session(nil, now+60),
		"iat null":                session(json.RawMessage("null"), now+60),
		"the largest iat":         session(int64(math.MaxInt64), now+60),
		"the least iat":           session(int64(math.MinInt64), now+60),
		"the largest exp":         session(now, int64(math.MaxInt64)),
		"iat of a text":           session("0", now+60),
		"exp beyond what fits":    session(now, json.RawMessage("9223372036854775808")),
		"iat with a long decimal": session(json.RawMessage("1e300"), now+60),
	})
	for name, jwt := range map[string]string{
		"at the leeway":           session(now+60, now+60+ttl),
		"a clock that is behind":  session(now-60, now-60+ttl),
		"a minute over the TTL":   session(now, now+ttl+60),
		"about to end":            session(now-ttl+1, now+1),
		"shorter than SessionTTL": session(now, now+60),
	} {
		if !f.admits("Bearer " + jwt) {
			t.Errorf("%s: refused", name)
		}
	}
	// The same with a clock that was set back: the host signs, and a correction follows.
	ahead := newDesk(t)
	ahead.Clock.Advance(24 * time.Hour)
	jwt := ahead.jwt("alice")
	ahead.Clock.Advance(-24 * time.Hour)
	if ahead.admits("Bearer " + jwt) {
		t.Error("a session of tomorrow is good today")
	}
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
	// A name that cannot be a user's is the host's mistake, and nobody's session.
	for _, name := range []string{"host:billing", " host:billing", "al\u202eice"} {
		d := newDesk(t, func(cfg *hubapi.Config) {
			cfg.SignIn = func(context.Context, string, oat.Secret) (string, error) { return name, nil }
		})
		d.ask(http.MethodPost, "/v2/auth/token", "", map[string]string{"identifier": "alice", "secret": "x"}).is(500)
		if !strings.Contains(d.Logged.String(), "Config.SignIn") {
			t.Errorf("%q: logged %s", name, d.Logged)
		}
	}
}

// A user is known by one spelling, whichever of them they sign in with, are named by in an
// audit query, or an organization has in an address (Unicode Standard Annex #15). Fails if
// signedIn, Handler.answer or query.matches uses what it was given.
func TestOneNameHasOneSpelling(t *testing.T) {
	const composed, decomposed = "Jos\u00e9", "Jose\u0301"
	d := newDesk(t)
	must(t, d.Service.AddOwner(t.Context(), oat.Actor{User: "alice"}, oat.AddOwner{Organization: "acme", Owner: decomposed}))
	var asked []string
	signIn := d.cfg.SignIn
	d.cfg.SignIn = func(ctx context.Context, identifier string, secret oat.Secret) (string, error) {
		asked = append(asked, identifier)
		return signIn(ctx, identifier, secret)
	}
	var err error
	d.Handler, err = hubapi.New(d.cfg)
	must(t, err)
	for _, user := range []string{composed, decomposed, " " + composed + "\n"} {
		var created token
		d.ask(http.MethodPost, "/v2/orgs/%20acme/access-tokens", user, body("label", " "+decomposed)).as(201, &created)
		if created.CreatedBy != composed || created.Label != composed {
			t.Errorf("%+q created %+v", user, created)
		}
	}
	if want := []string{composed, composed, composed}; !slices.Equal(asked, want) {
		t.Errorf("SignIn was asked for %+q", asked)
	}
	var page tokenPage
	d.ask(http.MethodGet, "/v2/orgs/%20acme/access-tokens", "alice", nil).as(200, &page)
	if page.Total != 3 {
		t.Errorf("%d tokens are listed", page.Total)
	}
	var audit struct{ Logs []any }
	query := url.Values{"actor": {decomposed}, "name": {decomposed + " "}}.Encode()
	d.ask(http.MethodGet, "/v2/auditlogs/acme?"+query, "alice", nil).as(200, &audit)
	if len(audit.Logs) != 3 {
		t.Errorf("%d entries", len(audit.Logs))
	}
}

// A text that is no Unicode is refused, wherever it stands, and never replaced by another:
// RFC 8259, 8.2, has "\uDEAD" as its example. Fails if body does not ask hasLoneSurrogate,
// or that takes an escaped backslash, or a whole pair, for half of one.
func TestLoneSurrogatesAreRefused(t *testing.T) {
	d := newDesk(t)
	created, _ := d.create()
	for _, text := range []string{`\uDEAD`, `a\ud800`, `\ud83d\ud83d\ude00`, `\ude00\ud83d`, `\ud83d\\ude00`, `\ud83dx`, `\\\ud800`, `\u0041\ud83d`} {
		for _, sent := range []string{
			`{"label":"` + text + `"}`, `{"description":"` + text + `"}`, `{"` + text + `":"a"}`,
			`{"resources":[{"type":"TYPE_REPO","path":"` + text + `","scopes":["scope-image-pull"]}]}`,
		} {
			d.ask(http.MethodPatch, tokensOfAcme+"/"+created.ID, "alice", sent).is(400)
		}
		d.ask(http.MethodPost, "/v2/auth/token", "", `{"identifier":"alice","secret":"`+text+`"}`).is(400)
	}
	for text, want := range map[string]string{`\ud83d\ude00`: "😀", `\\ud800`: `\ud800`, `\\\\ud800\u0041`: `\\ud800A`, `\n\ud83d\ude00`: "\n😀"} {
		var edited token
		d.ask(http.MethodPatch, tokensOfAcme+"/"+created.ID, "alice", `{"description":"x`+text+`"}`).as(200, &edited)
		if edited.Description != "x"+want {
			t.Errorf("%s became %q", text, edited.Description)
		}
	}
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
