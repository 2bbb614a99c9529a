package hubapi_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// Beside a registry in the same process the API takes its own addresses and no others.
func TestMount(t *testing.T) {
	d := newDesk(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/v2/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	d.Handler.Mount(mux)
	server := httptest.NewServer(mux)
	defer server.Close()
	for path, status := range map[string]int{
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
		x := exchange{http.MethodGet, path, nil, response.StatusCode, response.Header, body}
		if err := d.contract.check(x); err != nil {
			t.Error(err)
		}
	}
}
