package registryauth_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/registryauth"
)

// RFC 9110, 5.6.4: a quoted string has spaces and commas, and quotes and backslashes behind a
// backslash. "Docker registry" is what registries of the first version call themselves.
//
// Fails if a challenge quotes with %s, or check refuses what no token of a header may have.
func TestServiceAndRealmAreQuoted(t *testing.T) {
	for _, test := range []struct{ service, realm, quotedService string }{
		{"Docker registry", "https://auth.example.com/token", `"Docker registry"`},
		{"Example, Inc.", "https://auth.example.com/token?a=b,c&d='e'", `"Example, Inc."`},
		{`The "Registry"`, "https://auth.example.com/~auth/(token);v=1", `"The \"Registry\""`},
		{`a\b`, "https://[2001:db8::1]:5001/token", `"a\\b"`},
		{"tab\there", "http://auth/token", "\"tab\there\""},
		{" (<@>;:/[?]={}) ", "http://auth/token", `" (<@>;:/[?]={}) "`},
	} {
		d := open(t, func(cfg *registryauth.Config) { cfg.Services, cfg.Realm = []string{test.service}, test.realm })
		_, secret := d.Generate("acme", oat.All("acme", oat.Read))
		want := `Bearer realm="` + test.realm + `",service=` + test.quotedService + `,error="invalid_token"`
		if got := d.guarded(http.MethodGet, "/v2/", "Bearer x").Header().Get("WWW-Authenticate"); got != want {
			t.Errorf("the challenge is %s, want %s", got, want)
		}
		values := query()
		values.Set("service", test.service)
		r := getRequest(values)
		r.SetBasicAuth("acme", secret.Reveal())
		if _, c := d.granted(d.ask(r)); c.Audience != test.service {
			t.Errorf("the audience is %q, want %q", c.Audience, test.service)
		}
		r.SetBasicAuth("acme", "x")
		if got := d.ask(r).Header().Get("WWW-Authenticate"); got != "Basic realm="+test.quotedService {
			t.Errorf("the challenge is %s", got)
		}
	}
}

// Scripts of the named origins may use everything, and those of others nothing (Fetch Standard,
// 3.2 "CORS protocol").
//
// Fails if shared compares anything but the whole origin, or hands on a preflight request, which has
// no credentials and would be refused.
func TestScriptsOfNamedOrigins(t *testing.T) {
	const ui = "https://ui.example.com"
	d := open(t, func(cfg *registryauth.Config) { cfg.Origins = []string{"http://localhost:3000", ui} })
	_, secret := d.Generate("acme", oat.All("acme", oat.Read))
	bearer := d.bearer("acme", secret, "repository:acme/api:pull")
	registry := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(passed) })
	for name, test := range map[string]struct {
		handler http.Handler
		request *http.Request
		status  int
	}{
		"token":           {d.Server, basicRequest("acme", secret.Reveal()), 200},
		"refused":         {d.Server, basicRequest("acme", "x"), 401},
		"jwks":            {d.Server.JWKS(), getRequest(nil), 200},
		"registry":        {d.Server.Guard(registry), httptest.NewRequest("GET", "/v2/", nil), passed},
		"registry bearer": {d.Server.Guard(registry), withBearer("GET", "/v2/acme/api/tags/list", bearer), passed},
		"registry 401":    {d.Server.Guard(registry), withBearer("GET", "/v2/acme/api/tags/list", "Bearer x"), 401},
		"registry 403":    {d.Server.Guard(registry), withBearer("PUT", "/v2/acme/api/manifests/v1", bearer), 403},
	} {
		for _, origin := range []string{"", ui, "http://localhost:3000", "https://ui.example.com.evil.example", "https://evil.example", "null", "http://ui.example.com", "https://UI.example.com"} {
			r := test.request.Clone(t.Context())
			r.Header.Set("Origin", origin)
			w := serve(test.handler, r)
			allowed := ""
			if origin == ui || origin == "http://localhost:3000" {
				allowed = origin
			}
			header := w.Header()
			if w.Code != test.status || header.Get("Access-Control-Allow-Origin") != allowed || header.Get("Vary") != "Origin" {
				t.Errorf("%s from %q: %d %v", name, origin, w.Code, header)
			}
			if exposed := header.Get("Access-Control-Expose-Headers"); (exposed != "") != (allowed != "") || allowed != "" && !strings.Contains(exposed, "Docker-Content-Digest") {
				t.Errorf("%s from %q: %v", name, origin, header)
			}

			r.Method = http.MethodOptions
			r.Header.Del("Authorization")
			r.Header.Set("Access-Control-Request-Method", test.request.Method)
			r.Header.Set("Access-Control-Request-Headers", "authorization")
			header = serve(test.handler, r).Header()
			if header.Get("Access-Control-Allow-Origin") != allowed || (header.Get("Access-Control-Allow-Methods") != "") != (allowed != "") {
				t.Errorf("%s from %q, before: %v", name, origin, header)
			}
			if allowed != "" && (!strings.Contains(header.Get("Access-Control-Allow-Headers"), "Authorization") || !strings.Contains(header.Get("Access-Control-Allow-Methods"), "GET")) {
				t.Errorf("%s from %q, before: %v", name, origin, header)
			}
		}
	}
	off := open(t)
	r := basicRequest("acme", "x")
	r.Header.Set("Origin", ui)
	for name := range off.ask(r).Header() {
		if strings.HasPrefix(name, "Access-Control") || name == "Vary" {
			t.Errorf("%s is set although no origin is named", name)
		}
	}
}

func withBearer(method, path, authorization string) *http.Request {
	r := httptest.NewRequest(method, path, nil)
	r.Header.Set("Authorization", authorization)
	return r
}

// Fails if IsRegistryPath takes every path with "/tags/" for a registry's.
func TestAddressesOfARegistry(t *testing.T) {
	for path, want := range map[string]bool{
		// OCI distribution specification 1.1, "Endpoints".
		"/v2/":                            true,
		"/v2/_catalog":                    true,
		"/v2/acme/api/manifests/v1":       true,
		"/v2/acme/api/manifests/sha256:0": true,
		"/v2/acme/api/blobs/sha256:0":     true,
		"/v2/acme/api/blobs/uploads/":     true,
		"/v2/acme/api/blobs/uploads/1":    true,
		"/v2/acme/api/tags/list":          true,
		"/v2/acme/api/referrers/sha256:0": true,
		"/v2/alpine/manifests/v1":         true,
		"/v2/a/b/c/d/tags/list":           true,
		"/v2/orgs/acme/manifests/v1":      true, // an organization may have any name
		"/v2/namespaces/tags/tags/list":   true,
		// Docker Hub API, version 2-beta, and what is nobody's.
		"/v2/orgs":                                     false,
		"/v2/orgs/acme/members":                        false,
		"/v2/orgs/acme/groups/dev/members/alice":       false,
		"/v2/orgs/acme/access-tokens":                  false,
		"/v2/namespaces/acme/repositories/api":         false,
		"/v2/namespaces/acme/repositories/api/tags":    false,
		"/v2/namespaces/acme/repositories/api/tags/v1": false,
		"/v2/repositories/acme/api/tags/":              false,
		"/v2/users/2fa-login":                          false,
		"/v2/access-tokens":                            false,
		"/v2/scim/2.0/Users":                           false,
		"/v2/invites/bulk":                             false,
		"/v2/acme/api":                                 false,
		"/v2/acme/api/manifests/":                      false,
		"/v2/acme/api/manifests/v1/x":                  false,
		"/v2/acme/api/blobs/":                          false,
		"/v2/acme/api/blobs/uploads/1/2":               false,
		"/v2/manifests/v1":                             false,
		"/v2":                                          false,
		"/v1/acme/api/manifests/v1":                    false,
		"/acme/api/manifests/v1":                       false,
		"":                                             false,
	} {
		if got := registryauth.IsRegistryPath(path); got != want {
			t.Errorf("%s: %t", path, got)
		}
	}
}
