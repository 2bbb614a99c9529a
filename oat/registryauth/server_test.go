package registryauth_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/oattest"
	"github.com/oatmill/oatmill/oat/registryauth"
)

func TestGetAnswersAsTheProtocolSays(t *testing.T) {
	d := open(t)
	token, secret := d.Generate("acme", oat.All("acme", oat.ReadWrite))
	values := query("repository:acme/api:pull,push")
	values.Set("account", "acme")
	values.Set("client_id", "docker")
	values.Set("offline_token", "true")
	r := getRequest(values)
	r.SetBasicAuth("acme", secret.Reveal())
	w := d.ask(r)
	got, c := d.granted(w)

	if got.Token == "" || got.Token != got.AccessToken || got.ExpiresIn != 60 || got.IssuedAt != "2026-01-01T00:00:00Z" {
		t.Errorf("reply: %+v", got)
	}
	if got.RefreshToken != nil || got.Scope != nil {
		t.Errorf("a GET is answered with a refresh token or a scope: %s", w.Body)
	}
	if w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("headers: %v", w.Header())
	}
	acme, issued := "acme", oattest.Start().Unix()
	want := claims{
		Issuer: issuer, Subject: &acme, Audience: service, Expires: issued + 60, NotBefore: issued - 10, IssuedAt: issued,
		ID: c.ID, Access: []access{{"repository", "acme/api", []string{"pull", "push"}}}, Token: token.ID.String(),
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("claims: %s", diff)
	}
	_, again := d.granted(d.ask(basicRequest("acme", secret.Reveal())))
	if len(c.ID) != 32 || c.ID == again.ID {
		t.Errorf("jti: %q, and then %q", c.ID, again.ID)
	}
}

func TestTheHeaderOfATokenNamesItsKey(t *testing.T) {
	d := open(t)
	got, _ := d.granted(d.ask(getRequest(query())))
	parsed, err := jwt.ParseSigned(got.Token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(d.Keys.JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	header := parsed.Headers[0]
	if header.Algorithm != "ES256" || header.ExtraHeaders["typ"] != "JWT" || header.KeyID != set.Keys[0].KeyID || header.JSONWebKey != nil {
		t.Errorf("header: %+v", header)
	}
}

func TestPostAnswersWithTheScopeAsGranted(t *testing.T) {
	d := open(t)
	_, secret := d.Generate("acme", oat.All("acme", oat.Read))
	got, c := d.granted(d.ask(postRequest(form("acme", secret.Reveal(), "repository:acme/api:push,pull", "repository:acme/web:pull", "repository:evil/x:pull"))))
	const want = "repository:acme/api:pull repository:acme/web:pull"
	if got.Scope == nil || *got.Scope != want || c.scopes() != want || got.RefreshToken != nil || *c.Subject != "acme" {
		t.Errorf("reply %+v, claims %+v", got, c)
	}
	got, c = d.granted(d.ask(postRequest(form("acme", secret.Reveal()))))
	if got.Scope == nil || *got.Scope != "" || c.Access == nil {
		t.Errorf("without scope: %+v, %+v", got, c)
	}
}

func TestGrantedIsWhatIsAskedForAndAllowed(t *testing.T) {
	d := open(t)
	_, chosen := d.Generate("acme", oat.Repository("acme/api", oat.ReadWrite), oat.Repository("acme/web", oat.Read))
	_, public := d.Generate("acme", oat.Public())
	d.public["acme/site"] = true
	for name, test := range map[string]struct {
		secret oat.Secret
		scopes []string
		want   string
	}{
		"login":            {chosen, nil, ""},
		"empty":            {chosen, []string{""}, ""},
		"one":              {chosen, []string{"repository:acme/api:pull"}, "repository:acme/api:pull"},
		"any order":        {chosen, []string{"repository:acme/api:push,pull"}, "repository:acme/api:pull,push"},
		"push alone":       {chosen, []string{"repository:acme/api:push"}, "repository:acme/api:push"},
		"less":             {chosen, []string{"repository:acme/web:pull,push"}, "repository:acme/web:pull"},
		"nothing":          {chosen, []string{"repository:acme/other:pull"}, ""},
		"several":          {chosen, []string{"repository:acme/web:pull", "repository:acme/api:pull"}, "repository:acme/web:pull repository:acme/api:pull"},
		"space-joined":     {chosen, []string{"repository:acme/web:pull  repository:acme/api:pull "}, "repository:acme/web:pull repository:acme/api:pull"},
		"duplicated":       {chosen, []string{"repository:acme/api:pull repository:acme/api:pull,pull", "repository:acme/api:pull"}, "repository:acme/api:pull"},
		"in pieces":        {chosen, []string{"repository:acme/api:push", "repository:acme/web:pull", "repository:acme/api:pull"}, "repository:acme/api:pull,push repository:acme/web:pull"},
		"everything":       {chosen, []string{"repository:acme/api:*"}, "repository:acme/api:pull,push"},
		"everything less":  {chosen, []string{"repository:acme/web:*"}, "repository:acme/web:pull"},
		"delete":           {chosen, []string{"repository:acme/api:delete"}, ""},
		"delete beside":    {chosen, []string{"repository:acme/api:delete,pull"}, "repository:acme/api:pull"},
		"catalog":          {chosen, []string{"registry:catalog:*"}, ""},
		"another type":     {chosen, []string{"registry:acme/api:pull"}, ""},
		"with a class":     {chosen, []string{"repository(plugin):acme/api:pull"}, "repository:acme/api:pull"},
		"no action":        {chosen, []string{"repository:acme/web:", "repository:acme/api:pull"}, "repository:acme/api:pull"},
		"empty action":     {chosen, []string{"repository:acme/api:pull,"}, "repository:acme/api:pull"},
		"odd action":       {chosen, []string{"repository:acme/api:metadata_read,pull"}, "repository:acme/api:pull"},
		"odd name":         {chosen, []string{"repository:acme/\näpi\"\\,:pull", "repository:acme/api:pull"}, "repository:acme/api:pull"},
		"with a host":      {chosen, []string{"repository:registry.example.com:5000/acme/api:pull"}, ""},
		"upper case":       {chosen, []string{"repository:Acme/api:pull"}, ""},
		"dots":             {chosen, []string{"repository:acme/web/../api:pull"}, ""},
		"public":           {public, []string{"repository:acme/site:pull,push"}, "repository:acme/site:pull"},
		"public elsewhere": {public, []string{"repository:library/alpine:pull"}, "repository:library/alpine:pull"},
		"public, chosen":   {chosen, []string{"repository:library/alpine:pull"}, ""},
		"public, private":  {public, []string{"repository:acme/api:pull"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, c := d.granted(d.ask(basicRequest("acme", test.secret.Reveal(), test.scopes...)))
			if c.scopes() != test.want || c.Access == nil {
				t.Errorf("granted %q (%v), want %q", c.scopes(), c.Access, test.want)
			}
		})
	}
}

func TestAnonymousCanPullPublicRepositories(t *testing.T) {
	d := open(t)
	d.Generate("acme", oat.All("acme", oat.ReadWrite))
	got, c := d.granted(d.ask(getRequest(query("repository:library/alpine:pull,push,delete repository:acme/api:pull"))))
	if c.Subject == nil || *c.Subject != "" || c.Token != "" || c.scopes() != "repository:library/alpine:pull" || got.ExpiresIn != 60 {
		t.Errorf("anonymous: %+v", c)
	}
}

func TestTheTimeToLiveIsKept(t *testing.T) {
	d := open(t, func(cfg *registryauth.Config) { cfg.TokenTTL = 2 * time.Minute })
	d.Clock.Advance(900 * time.Millisecond)
	got, c := d.granted(d.ask(getRequest(query())))
	if got.ExpiresIn != 120 || c.Expires-c.IssuedAt != 120 || got.IssuedAt != time.Unix(c.IssuedAt, 0).UTC().Format(time.RFC3339) {
		t.Errorf("reply %+v, claims %+v", got, c)
	}
}

// A JWT never outlives the token behind it. expires_in stays at least 60 seconds, which clients take
// a shorter time for (distribution, token.md: "a token should never be returned with less than 60
// seconds to live").
//
// Fails if sign does not look at the grant's end, or rounds it up.
func TestRegistryTokenEndsWithTheToken(t *testing.T) {
	d := open(t, func(cfg *registryauth.Config) { cfg.TokenTTL = 5 * time.Minute })
	d.Generate("acme", oat.Public())
	for _, test := range []struct {
		lasts     time.Duration // 0 for ever
		exp       int64         // seconds after iat
		expiresIn int
	}{
		{0, 300, 300},
		{time.Hour, 300, 300},
		{5 * time.Minute, 300, 300},
		{5*time.Minute - time.Nanosecond, 299, 299},
		{100 * time.Second, 100, 100},
		{20*time.Second + 999*time.Millisecond, 20, 60},
		{time.Millisecond, 0, 60},
	} {
		cmd := oat.Generate{Organization: "acme", Label: "x", Expires: oat.Never(), Resources: []oat.Resource{oat.Public()}}
		if test.lasts > 0 {
			cmd.Expires = oat.ExpiresAt(d.Clock.Now().Add(test.lasts))
		}
		token, secret, err := d.Service.Generate(t.Context(), owner(), cmd)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []*http.Request{basicRequest("acme", secret.Reveal()), postRequest(form("acme", secret.Reveal()))} {
			got, c := d.granted(d.ask(r))
			if c.Expires-c.IssuedAt != test.exp || got.ExpiresIn != test.expiresIn || c.IssuedAt != d.Clock.Now().Unix() || c.IssuedAt-c.NotBefore != 10 {
				t.Errorf("a token for %v: exp %d, nbf %d, iat %d, expires_in %d", test.lasts, c.Expires, c.NotBefore, c.IssuedAt, got.ExpiresIn)
			}
		}
		if err := d.Service.Delete(t.Context(), owner(), oat.Delete{Organization: "acme", Token: token.ID}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRequestsOutsideTheProtocolAreAnswered4xx(t *testing.T) {
	d := open(t)
	_, opens := d.Generate("acme", oat.All("acme", oat.ReadWrite))
	secret := opens.Reveal()
	get := func(values url.Values, change ...func(*http.Request)) *http.Request {
		r := getRequest(values)
		r.SetBasicAuth("acme", secret)
		for _, c := range change {
			c(r)
		}
		return r
	}
	post := func(set ...string) *http.Request {
		values := form("acme", secret)
		for i := 0; i < len(set); i += 2 {
			values[set[i]] = append([]string(nil), strings.Split(set[i+1], "&")...)
		}
		return postRequest(values)
	}
	raw := func(method, rawQuery, body, contentType string) *http.Request {
		r := get(query())
		r.Method, r.URL.RawQuery = method, rawQuery
		if method == http.MethodPost {
			r = postRequest(nil)
			r.URL.RawQuery, r.Body = rawQuery, bodyOf(body)
			r.Header.Set("Content-Type", contentType)
		}
		return r
	}
	const urlencoded = "application/x-www-form-urlencoded"
	many := strings.Repeat("repository:acme/api:pull ", registryauth.MaxScopes+1)
	for name, test := range map[string]struct {
		request *http.Request
		status  int
	}{
		"no service":             {get(url.Values{"scope": {"repository:acme/api:pull"}}), 400},
		"unknown service":        {get(url.Values{"service": {"other"}}), 400},
		"two services":           {get(url.Values{"service": {service, service}}), 400},
		"service, upper case":    {get(url.Values{"service": {strings.ToUpper(service)}}), 400},
		"scope of one word":      {get(query("repository")), 400},
		"scope of two":           {get(query("repository:acme/api")), 400},
		"scope without type":     {get(query(":acme/api:pull")), 400},
		"scope without name":     {get(query("repository::pull")), 400},
		"scope, long":            {get(query("repository:" + strings.Repeat("a", registryauth.MaxScope) + ":pull")), 400},
		"second scope malformed": {get(query("repository:acme/api:pull", "x")), 400},
		"too many scopes":        {get(query(many)), 400},
		"giant query":            {get(url.Values{"x": {strings.Repeat("a", registryauth.MaxQuery)}}), 414},
		"giant header":           {get(query(), func(r *http.Request) { r.Header.Set("X", strings.Repeat("a", registryauth.MaxHeader)) }), 431},
		"giant password":         {get(query(), func(r *http.Request) { r.SetBasicAuth("acme", strings.Repeat("a", registryauth.MaxHeader)) }), 431},
		"many headers":           {get(query(), func(r *http.Request) { r.Header["X"] = slices.Repeat([]string{"abc"}, 5000) }), 431},
		"two authorizations":     {get(query(), func(r *http.Request) { r.Header.Add("Authorization", "Basic YTpi") }), 400},
		"bad escape":             {raw("GET", "service=%zz", "", ""), 400},
		"semicolon":              {raw("GET", "service="+service+";scope=x", "", ""), 400},
		"delete":                 {raw("DELETE", query().Encode(), "", ""), 405},
		"head":                   {raw("HEAD", query().Encode(), "", ""), 405},
		"options":                {raw("OPTIONS", query().Encode(), "", ""), 405},
		"form, empty":            {raw("POST", "", "", urlencoded), 400},
		"form, refresh token":    {post("grant_type", "refresh_token", "refresh_token", secret), 400},
		"form, other grant":      {post("grant_type", "client_credentials"), 400},
		"form, two grants":       {post("grant_type", "password&password"), 400},
		"form, two users":        {post("username", "acme&acme"), 400},
		"form, two passwords":    {post("password", secret+"&"+secret), 400},
		"form, unknown service":  {post("service", "other"), 400},
		"form, malformed scope":  {post("scope", "x"), 400},
		"form beside basic":      {withBasic(postRequest(form("acme", secret)), secret), 400},
		"form, json":             {raw("POST", "", `{"grant_type":"password"}`, "application/json"), 415},
		"form, multipart":        {raw("POST", "", "--x--", "multipart/form-data; boundary=x"), 415},
		"form, no type":          {raw("POST", "", form("acme", secret).Encode(), ""), 415},
		"form, bad escape":       {raw("POST", "", "grant_type=%", urlencoded), 400},
		"form in the address":    {raw("POST", form("acme", secret).Encode(), "", urlencoded), 400},
		"form bomb":              {raw("POST", "", form("acme", secret).Encode()+strings.Repeat("&a=b", registryauth.MaxQuery/4), urlencoded), 413},
	} {
		t.Run(name, func(t *testing.T) {
			w := d.ask(test.request)
			var body struct {
				Details string
				Errors  []struct{ Code, Message string }
			}
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != test.status {
				t.Fatalf("status %d, want %d: %s", w.Code, test.status, w.Body)
			}
			if len(body.Errors) != 1 || body.Errors[0].Code == "" || body.Errors[0].Message != body.Details || body.Details == "" {
				t.Errorf("body: %s", w.Body)
			}
			if w.Header().Get("Cache-Control") != "no-store" || strings.Contains(w.Body.String(), secret) {
				t.Errorf("headers %v, body %s", w.Header(), w.Body)
			}
			if (w.Header().Get("Allow") != "") != (test.status == 405) {
				t.Errorf("Allow: %q", w.Header().Get("Allow"))
			}
		})
	}
	// Every verification of a known secret is recorded.
	if uses := d.uses(); uses != nil {
		t.Errorf("credentials were looked at: %s", uses)
	}
}

func withBasic(r *http.Request, secret string) *http.Request {
	r.SetBasicAuth("acme", secret)
	return r
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	d := open(t)
	for name, change := range map[string]func(*registryauth.Config){
		"verifier":              func(cfg *registryauth.Config) { cfg.Verifier = nil },
		"keys":                  func(cfg *registryauth.Config) { cfg.Keys = nil },
		"issuer":                func(cfg *registryauth.Config) { cfg.Issuer = "" },
		"service is required":   func(cfg *registryauth.Config) { cfg.Services = nil },
		`service ""`:            func(cfg *registryauth.Config) { cfg.Services = []string{""} },
		"repeated":              func(cfg *registryauth.Config) { cfg.Services = []string{"a", "a"} },
		"characters":            func(cfg *registryauth.Config) { cfg.Services = []string{"a\nb"} },
		`service "a\x00b"`:      func(cfg *registryauth.Config) { cfg.Services = []string{"a\x00b"} },
		`service "a\x7fb"`:      func(cfg *registryauth.Config) { cfg.Services = []string{"a\x7fb"} },
		`service "ä"`:           func(cfg *registryauth.Config) { cfg.Services = []string{"ä"} },
		`realm is "https://b`:   func(cfg *registryauth.Config) { cfg.Realm = `https://b/x y` },
		`realm is "https://c`:   func(cfg *registryauth.Config) { cfg.Realm = `https://c/\` },
		`origin is "*"`:         func(cfg *registryauth.Config) { cfg.Origins = []string{"*"} },
		`origin is "null"`:      func(cfg *registryauth.Config) { cfg.Origins = []string{"null"} },
		`origin is "https://Ui`: func(cfg *registryauth.Config) { cfg.Origins = []string{"https://a", "https://Ui"} },
		`origin is "https://b/`: func(cfg *registryauth.Config) { cfg.Origins = []string{"https://b/"} },
		`origin is "https://c:`: func(cfg *registryauth.Config) { cfg.Origins = []string{"https://c:443"} },
		"tokens are not for":    func(cfg *registryauth.Config) { cfg.Services = []string{"docker-scout"} },
		"realm":                 func(cfg *registryauth.Config) { cfg.Realm = "/token" },
		`realm is "ftp:`:        func(cfg *registryauth.Config) { cfg.Realm = "ftp://auth/token" },
		`realm is "https://a/`:  func(cfg *registryauth.Config) { cfg.Realm = `https://a/"x` },
		"ttl is 59s":            func(cfg *registryauth.Config) { cfg.TokenTTL = 59 * time.Second },
		"ttl is 5m1s":           func(cfg *registryauth.Config) { cfg.TokenTTL = 5*time.Minute + time.Second },
		"ttl is 1m0.5s":         func(cfg *registryauth.Config) { cfg.TokenTTL = time.Minute + 500*time.Millisecond },
		"ttl is -1m0s":          func(cfg *registryauth.Config) { cfg.TokenTTL = -time.Minute },
	} {
		cfg := registryauth.Config{Verifier: d.Verifier, Keys: d.Keys, Issuer: issuer, Services: []string{service}, Realm: realm}
		if _, err := registryauth.New(cfg); err != nil {
			t.Fatal(err)
		}
		change(&cfg)
		_, err := registryauth.New(cfg)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestJWKSIsPublicKeysOnly(t *testing.T) {
	d := open(t)
	for method, status := range map[string]int{http.MethodGet: 200, http.MethodPost: 405} {
		r := getRequest(nil)
		r.Method = method
		w := serve(d.Server.JWKS(), r)
		if w.Code != status {
			t.Fatalf("%s: %d", method, w.Code)
		}
		if status != 200 {
			continue
		}
		var set struct{ Keys []map[string]string }
		if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil || len(set.Keys) != 2 {
			t.Fatal(err, w.Body)
		}
		for _, key := range set.Keys {
			if key["d"] != "" || key["kty"] != "EC" || key["crv"] != "P-256" || key["alg"] != "ES256" || key["use"] != "sig" || key["kid"] == "" {
				t.Errorf("key: %v", key)
			}
		}
	}
}
