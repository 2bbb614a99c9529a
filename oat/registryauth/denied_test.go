package registryauth_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/registryauth"
)

// denial is what the guard answers, as a client reads it.
type denial struct {
	Details string
	Errors  []struct{ Code, Message string }
}

func (d *door) denial(w *httptest.ResponseRecorder) denial {
	d.t.Helper()
	var body denial
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || len(body.Errors) != 1 {
		d.t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return body
}

// A token that lacks access is refused with words, whatever its JWT was requested for, and the words
// are the same whether or not the repository exists: the guard does not ask the registry. RFC 6750,
// 3.1: "insufficient_scope … The resource server SHOULD respond with the HTTP 403".
//
// Fails if serveGranted hands on what the grant lacks, or explain asks for another action.
func TestGuardSaysWhatTheTokenMayNot(t *testing.T) {
	d := open(t)
	_, reads := d.Generate("acme", oat.All("acme", oat.Read))
	_, writes := d.Generate("acme", oat.All("acme", oat.ReadWrite))
	_, public := d.Generate("acme", oat.Public())
	_, other := d.Generate("globex", oat.All("globex", oat.ReadWrite))
	const api, upload = "/v2/acme/api/manifests/v1", "/v2/acme/api/blobs/uploads/"
	for _, test := range []struct {
		secret       oat.Secret
		organization string
		method, path string
		scope, text  string
	}{
		{reads, "acme", "PUT", api, "repository:acme/api:pull,push", "this token may pull acme/api, not push"},
		{reads, "acme", "POST", upload, "repository:acme/api:pull,push", "this token may pull acme/api, not push"},
		{reads, "acme", "POST", upload + "?mount=sha256:0&from=acme/web", "repository:acme/api:pull,push repository:acme/web:pull", "this token may pull acme/api, not push"},
		{reads, "acme", "PATCH", upload + "1", "repository:acme/api:pull,push", "this token may pull acme/api, not push"},
		{reads, "acme", "DELETE", upload + "1", "repository:acme/api:pull,push", "this token may pull acme/api, not push"},
		{reads, "acme", "PUT", "/v2/globex/api/manifests/v1", "repository:globex/api:pull,push", "this token may neither pull nor push globex/api"},
		{public, "acme", "GET", api, "repository:acme/api:pull", "this token may not pull acme/api"},
		{public, "acme", "HEAD", api, "repository:acme/api:pull", "this token may not pull acme/api"},
		{public, "acme", "PUT", "/v2/library/alpine/manifests/v1", "repository:library/alpine:pull,push", "this token may pull library/alpine, not push"},
		{public, "acme", "DELETE", api, "repository:acme/api:delete", "this token may not pull acme/api"},
		{other, "globex", "GET", api, "repository:acme/api:pull", "this token may not pull acme/api"},
		{other, "globex", "GET", "/v2/acme/no-such/tags/list", "repository:acme/no-such:pull", "this token may not pull acme/no-such"},
		{other, "globex", "DELETE", upload + "1", "repository:acme/api:pull,push", "this token may neither pull nor push acme/api"},
		{writes, "acme", "GET", "/v2/_catalog", "registry:catalog:*", "access tokens do not list the repositories of a registry"},
	} {
		for _, scopes := range []string{"", test.scope} {
			w := d.guarded(test.method, test.path, d.bearer(test.organization, test.secret, scopes))
			challenge := fmt.Sprintf(`Bearer realm="%s",service="%s",scope="%s",error="insufficient_scope",error_description="%s"`, realm, service, test.scope, test.text)
			got := d.denial(w)
			if w.Code != http.StatusForbidden || got.Errors[0].Code != "DENIED" || got.Errors[0].Message != test.text || got.Details != "" {
				t.Errorf("%s %s with a JWT for %q: %d %s, want 403 and %q", test.method, test.path, scopes, w.Code, w.Body, test.text)
			}
			if w.Header().Get("WWW-Authenticate") != challenge || w.Header().Get("Docker-Distribution-Api-Version") != "registry/2.0" || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s: headers %v, want the challenge %s", test.method, test.path, w.Header(), challenge)
			}
		}
	}
	// What only another JWT is needed for, and what an anonymous client may not do, is the registry's
	// to refuse.
	for name, authorization := range map[string]string{"login": d.bearer("acme", writes), "anonymous": d.anonymous("repository:acme/api:pull")} {
		for _, method := range []string{"GET", "PUT"} {
			if w := d.guarded(method, api, authorization); w.Code != passed {
				t.Errorf("%s %s: %d %s", name, method, w.Code, w.Body)
			}
		}
	}
}

// A blob whose repository the token may not read is not mounted. Clients answer to 401, and not all
// of them to 403, by uploading the blob (containerd, core/remotes/docker/pusher.go: "for the private
// repo, we should remove mount-from query and send the request again").
//
// Fails if the refusal of the source is answered 403.
func TestMountFromAnUnreadableRepository(t *testing.T) {
	d := open(t)
	_, secret := d.Generate("acme", oat.Repository("acme/b", oat.ReadWrite), oat.Repository("acme/a", oat.Read))
	bearer := d.bearer("acme", secret, "repository:acme/b:pull,push repository:acme/a:pull repository:acme/c:pull")
	if w := d.guarded("POST", "/v2/acme/b/blobs/uploads/?mount=sha256:0&from=acme/a", bearer); w.Code != passed {
		t.Errorf("from a readable one: %d %s", w.Code, w.Body)
	}
	w := d.guarded("POST", "/v2/acme/b/blobs/uploads/?mount=sha256:0&from=acme/c", bearer)
	if got := d.denial(w); w.Code != http.StatusUnauthorized || got.Errors[0].Code != "UNAUTHORIZED" || got.Errors[0].Message != "this token may not pull acme/c" {
		t.Errorf("from another: %d %s", w.Code, w.Body)
	}
	if challenge := w.Header().Get("WWW-Authenticate"); !strings.Contains(challenge, `scope="repository:acme/b:pull,push repository:acme/c:pull"`) {
		t.Errorf("from another: %s", challenge)
	}
}

// OCI distribution specification 1.1, "Deleting tags" and "Deleting blobs": "If tag deletion is
// disabled, the registry MUST respond with either a 400 Bad Request or a 405 Method Not Allowed".
// RFC 9110, 15.5.6: a 405 has an Allow header.
//
// Fails if serveGranted asks for anything but the right to pull, or lets a stranger see the 405.
func TestNothingIsDeleted(t *testing.T) {
	d := open(t)
	_, reads := d.Generate("acme", oat.All("acme", oat.Read))
	_, writes := d.Generate("acme", oat.All("acme", oat.ReadWrite))
	_, public := d.Generate("acme", oat.Public())
	for path, allow := range map[string]string{
		"/v2/acme/api/manifests/v1":                         "GET, HEAD, PUT",
		"/v2/acme/api/manifests/sha256:0":                   "GET, HEAD, PUT",
		"/v2/acme/api/blobs/sha256:0":                       "GET, HEAD",
		"/v2/acme/api/tags/v1":                              "GET, HEAD",
		"/v2/acme/api/referrers/sha256:0":                   "GET, HEAD",
		"/v2/acme/api/blobs/uploads/":                       "GET, HEAD",
		"/v2/acme/api/blobs/uploads/../sha256:0":            "GET, HEAD", // a blob to a proxy that resolves it
		"/v2/acme/api/blobs/uploads%2f..%2fsha256:0":        "GET, HEAD",
		"/v2/acme/api/blobs/uploads/..":                     "GET, HEAD",
		"/v2/acme/api/blobs/uploads/.":                      "GET, HEAD",
		"/v2/acme/api/blobs/uploads/1/../../sha256:0":       "GET, HEAD",
		"/v2/acme/api/blobs/uploads/1;/../sha256:0":         "GET, HEAD",
		"/v2/acme/api/blobs/uploads/..%2f..%2fmanifests/v1": "GET, HEAD, PUT",
	} {
		for _, secret := range []oat.Secret{reads, writes} {
			for _, scope := range []string{"", "repository:acme/api:delete", "repository:acme/api:*"} {
				w := d.guarded(http.MethodDelete, path, d.bearer("acme", secret, scope))
				if strings.HasSuffix(path, "manifests/v1") && strings.Contains(path, "..") {
					if w.Code != http.StatusForbidden { // of a repository with another name
						t.Errorf("DELETE %s: %d %s", path, w.Code, w.Body)
					}
					continue
				}
				if got := d.denial(w); w.Code != http.StatusMethodNotAllowed || got.Errors[0].Code != "UNSUPPORTED" || w.Header().Get("Allow") != allow {
					t.Errorf("DELETE %s for %q: %d %v %s", path, scope, w.Code, w.Header(), w.Body)
				}
			}
		}
		if w := d.guarded(http.MethodDelete, path, d.bearer("acme", public)); w.Code != http.StatusForbidden {
			t.Errorf("DELETE %s by who may not see it: %d", path, w.Code)
		}
		for name, authorization := range map[string][]string{"anonymous": {d.anonymous()}, "nothing": nil} {
			if w := d.guarded(http.MethodDelete, path, authorization...); w.Code != passed {
				t.Errorf("DELETE %s with %s: %d, want the registry's challenge", path, name, w.Code)
			}
		}
		if w := d.guarded(http.MethodDelete, path, "Bearer x"); w.Code != http.StatusUnauthorized {
			t.Errorf("DELETE %s with a bad JWT: %d", path, w.Code)
		}
	}
	for name, authorization := range map[string]string{"anonymous": d.anonymous(), "public": d.bearer("acme", public)} {
		if w := d.guarded(http.MethodDelete, "/v2/library/alpine/manifests/v1", authorization); w.Code != http.StatusMethodNotAllowed {
			t.Errorf("DELETE in a public repository, %s: %d", name, w.Code)
		}
	}
}

// To cancel an upload is a part of pushing (distribution, spec/api.md, "Canceling an Upload": clients
// SHOULD do it "if they encounter a fatal error"). Distribution demands the action "delete" for it,
// which no client's JWT has.
//
// Fails if cancel hands on the client's own JWT, or serveGranted looks at the grant alone.
func TestUploadIsCancelledWithPushAccess(t *testing.T) {
	d := open(t)
	_, writes := d.Generate("acme", oat.All("acme", oat.ReadWrite))
	const path = "/v2/acme/api/blobs/uploads/0b4c8d1e-6f0a-4a51-9d8e-3a3f0f2b9c11"
	var inside string
	handler := d.Server.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inside = r.Header.Get("Authorization")
		w.WriteHeader(passed)
	}))
	ask := func(authorization string) *httptest.ResponseRecorder {
		inside = ""
		r := httptest.NewRequest(http.MethodDelete, path, nil)
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		return serve(handler, r)
	}

	pushes := d.bearer("acme", writes, "repository:acme/api:pull,push")
	if w := ask(pushes); w.Code != passed || inside == pushes {
		t.Fatalf("with push access: %d", w.Code)
	}
	c := d.read(strings.TrimPrefix(inside, "Bearer "))
	if c.scopes() != "repository:acme/api:pull,push,delete" || *c.Subject != "acme" || c.Audience != service || c.Expires-c.IssuedAt != 60 {
		t.Errorf("the registry gets %+v", c)
	}
	// It is of no use to a client.
	if w := d.guarded(http.MethodGet, "/v2/", inside); w.Code != http.StatusUnauthorized {
		t.Errorf("the registry's own JWT at the guard: %d", w.Code)
	}
	for name, authorization := range map[string]string{
		"nothing":           "",
		"anonymous":         d.anonymous(),
		"for login":         d.bearer("acme", writes),
		"for pulling":       d.bearer("acme", writes, "repository:acme/api:pull"),
		"for deleting":      d.bearer("acme", writes, "repository:acme/api:delete"),
		"for another":       d.bearer("acme", writes, "repository:acme/web:pull,push"),
		"for pushing alone": d.bearer("acme", writes, "repository:acme/api:push"),
	} {
		w := ask(authorization)
		if challenge := w.Header().Get("WWW-Authenticate"); w.Code != http.StatusUnauthorized || !strings.Contains(challenge, `scope="repository:acme/api:pull,push"`) || inside != "" {
			t.Errorf("%s: %d %s", name, w.Code, challenge)
		}
	}
}

// Without randomness there is no JWT for the registry, and nothing is cancelled.
func TestUploadIsNotCancelledWithoutRandomness(t *testing.T) {
	random := strings.NewReader(strings.Repeat("x", 16))
	d := open(t, func(cfg *registryauth.Config) { cfg.Rand = random })
	_, secret := d.Generate("acme", oat.All("acme", oat.ReadWrite))
	if w := d.guarded(http.MethodDelete, "/v2/acme/api/blobs/uploads/1", d.bearer("acme", secret, "repository:acme/api:pull,push")); w.Code != http.StatusInternalServerError {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// Owners see with the token that a revoked JWT was presented, and from where.
//
// Fails if regrant leaves out the address or the user agent, or Recheck does not record.
func TestRefusedJWTIsRecorded(t *testing.T) {
	d := open(t)
	token, secret := d.Generate("acme", oat.All("acme", oat.Read))
	bearer := d.bearer("acme", secret, "repository:acme/api:pull")
	if err := d.Service.Deactivate(t.Context(), owner(), oat.Deactivate{Organization: "acme", Token: token.ID}); err != nil {
		t.Fatal(err)
	}
	d.Logged.Reset()
	r := httptest.NewRequest(http.MethodGet, "/v2/acme/api/manifests/v1", nil)
	r.RemoteAddr = "192.0.2.44:5000"
	r.Header.Set("User-Agent", "containerd/2.4.2")
	r.Header.Set("Authorization", bearer)
	if w := serve(d.Server.Guard(http.NotFoundHandler()), r); w.Code != http.StatusUnauthorized {
		t.Fatal(w.Code)
	}
	uses := d.uses()
	if !slices.ContainsFunc(uses, func(use string) bool {
		return strings.Contains(use, `"inactive"`) && strings.Contains(use, `"192.0.2.44"`) && strings.Contains(use, `"containerd/2.4.2"`)
	}) {
		t.Errorf("recorded: %s", uses)
	}
	d.Verifier.FlushLog()
	if logged := d.Logged.String(); !strings.Contains(logged, "address=192.0.2.44") || !strings.Contains(logged, "user_agent=containerd/2.4.2") {
		t.Errorf("logged: %s", logged)
	}
}

// RFC 6749, 5.2, for forms. A GET is not OAuth's and is answered as before.
//
// Fails if a refusal loses its code, or writeRefusal gives one to a GET.
func TestRefusedFormHasACodeOfOAuth(t *testing.T) {
	d := open(t)
	_, opens := d.Generate("acme", oat.All("acme", oat.Read))
	changed := func(name string, values ...string) *http.Request {
		fields := form("acme", opens.Reveal())
		fields[name] = values
		return postRequest(fields)
	}
	withType := func(kind string) *http.Request {
		r := postRequest(form("acme", opens.Reveal()))
		r.Header.Set("Content-Type", kind)
		return r
	}
	for name, test := range map[string]struct {
		request *http.Request
		status  int
		code    string
	}{
		"refresh token":       {changed("grant_type", "refresh_token"), 400, "unsupported_grant_type"},
		"client credentials":  {changed("grant_type", "client_credentials"), 400, "unsupported_grant_type"},
		"PASSWORD":            {changed("grant_type", "PASSWORD"), 400, "unsupported_grant_type"},
		"no grant type":       {changed("grant_type"), 400, "invalid_request"},
		"two grant types":     {changed("grant_type", "password", "password"), 400, "invalid_request"},
		"two users":           {changed("username", "acme", "acme"), 400, "invalid_request"},
		"no service":          {changed("service"), 400, "invalid_request"},
		"unknown service":     {changed("service", "other"), 400, "invalid_request"},
		"no resource":         {changed("scope", "repository"), 400, "invalid_scope"},
		"wrong secret":        {changed("password", "x"), 401, "invalid_client"},
		"wrong organization":  {changed("username", "globex"), 401, "invalid_client"},
		"unsupported service": {changed("service", "docker-scout"), 401, "invalid_client"},
		"beside basic":        {withBasic(postRequest(form("acme", opens.Reveal())), "x"), 400, "invalid_request"},
		"json":                {withType("application/json"), 415, "invalid_request"},
		"large":               {changed("x", strings.Repeat("x", registryauth.MaxQuery)), 413, "invalid_request"},
	} {
		w := d.ask(test.request)
		var body struct {
			denial
			Error string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != test.status || body.Error != test.code || body.Details == "" || len(body.Errors) != 1 {
			t.Errorf("%s: %d %s, want %d and %s", name, w.Code, w.Body, test.status, test.code)
		}
	}
	for _, r := range []*http.Request{basicRequest("acme", "x"), basicRequest("acme", opens.Reveal(), "x")} {
		if w := d.ask(r); w.Code == http.StatusOK || strings.Contains(w.Body.String(), `"error"`) {
			t.Errorf("a GET: %d %s", w.Code, w.Body)
		}
	}
}
