package hubapi_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// The API takes the addresses of Docker Hub's API, also those that it does not offer, and leaves
// the registry's to a registry in the same process, whatever its organizations are called. (The
// addresses: docs.docker.com/reference/api/hub/latest and distribution-spec 1.1, "Endpoints".)
//
// Fails if Mount registers the addresses that it offers alone, or passes nothing on.
func TestMount(t *testing.T) {
	d := newDesk(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/v2/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	d.Handler.Mount(mux)
	server := httptest.NewServer(mux)
	defer server.Close()
	for path, status := range map[string]int{
		"/v2/orgs/acme/members": 404, "/v2/orgs/acme/members/export": 404, "/v2/orgs/acme/settings": 404, "/v2/orgs/acme/groups/dev/members": 404,
		"/v2/orgs/acme/invites": 404, "/v2/invites/bulk": 404, "/v2/invites/1": 404, "/v2/auditlogs/acme/actions": 404,
		"/v2/namespaces/acme/repositories": 404, "/v2/namespaces/acme/repositories/api/tags": 404, "/v2/namespaces/acme/repositories/api/tags/latest": 404,
		"/v2/repositories/acme/api": 404, "/v2/repositories/acme/api/groups": 404, "/v2/access-tokens": 404, "/v2/access-tokens/x": 404,
		"/v2/user": 404, "/v2/user/orgs": 404, "/v2/users/alice": 404, "/v2/users/2fa-login": 404, "/v2/auth": 404, "/v2/auth/device": 404, "/v2/scim/2.0/Users": 404,
		tokensOfAcme + "/x/y": 404, tokensOfAcme + "/x/manifests": 404, "/v2/orgs/acme/%2e%2e/members": 404,
		"/v2/namespaces/api/tags/list": 418, "/v2/users/api/referrers/sha256:0": 418, "/v2/user/manifests/latest": 418, "/v2/auth/api/blobs/uploads/1": 418,
		"/v2/_catalog": 418, "/v2/orgsx/api/manifests/latest": 418, "/v2/openapi.json/x": 418,
		"/v2/": 418, "/v2/acme/api/manifests/latest": 418, "/v2/orgs": 404, "/v2/orgs/acme": 404, tokensOfAcme + "/": 404, tokensOfAcme + "/x/": 404, "/v2/auditlogs/": 404, "/v2/auditlogs/acme/": 404, tokensOfAcme: 200, tokensOfAcme + "/x": 404,
		"/v2/orgs/acme/access-tokens/manifests/latest": 418, "/v2/orgs/api/manifests/latest": 418, "/v2/auditlogs/api/blobs/uploads/": 418,
		"/v2/auditlogs": 404, "/v2/auditlogs/acme": 200, "/v2/auth/token": 405, "/v2/users/login": 405, "/v2/users/login/": 405, "/v2/openapi.json": 200,
	} {
		r, err := http.NewRequest(http.MethodGet, server.URL+path, nil)
		must(t, err)
		r.Header.Set("Authorization", "Bearer "+d.jwt("alice"))
		response, err := http.DefaultClient.Do(r)
		must(t, err)
		body, err := io.ReadAll(response.Body)
		must(t, err)
		must(t, response.Body.Close())
		if response.StatusCode != status {
			t.Errorf("%s: %d, want %d", path, response.StatusCode, status)
		}
		if status == http.StatusTeapot {
			continue
		}
		x := exchange{http.MethodGet, response.Request.URL.Path, nil, response.StatusCode, response.Header, body}
		if err := d.contract.check(x); err != nil {
			t.Error(err)
		}
	}
}

// Without a registry the API answers a registry's addresses beneath its own as it answers all
// that it does not know, and leaves the rest of a site alone.
//
// Fails if Mount passes a registry's addresses on to the handler of the whole site.
func TestMountWithoutRegistry(t *testing.T) {
	d := newDesk(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	d.Handler.Mount(mux)
	for path, status := range map[string]int{"/v2/orgs/api/manifests/latest": 404, "/v2/acme/api/manifests/latest": 418, "/v2/": 418, "/": 418} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete} {
			w := httptest.NewRecorder()
			if mux.ServeHTTP(w, httptest.NewRequest(method, path, nil)); w.Code != status {
				t.Errorf("%s %s: %d, want %d", method, path, w.Code, status)
			}
		}
	}
}
