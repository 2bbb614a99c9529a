package main

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events/durable/sqlitelog"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

// TestLockedLog: while another process holds the log's file, the API and the console read on, and
// answer what would be written with 503 and Retry-After (RFC 9110 15.6.4, 10.2.3). Afterwards the
// same request is carried out.
//
// Fails if the log has an error value of its own for a locked file, or the API answers 500.
func TestLockedLog(t *testing.T) {
	p := &program{stdout: io.Discard, stderr: io.Discard, now: time.Now, data: filepath.Join(t.TempDir(), "data")}
	s := p.opened(t, "--api-limit", "1000/1m", "--sign-in-limit", "20/1m")
	log, err := sqlitelog.Open(t.Context(), p.folder().Log(), sqlitelog.Config{BusyTimeout: 20 * time.Millisecond})
	must(t, err)
	must(t, s.log.Close())
	s.log.Log = log // gives up sooner
	must(t, s.service.Register(t.Context(), oat.Actor{Host: "test"}, oat.Register{Organization: "acme", Plan: quota.Business, Owners: []string{"alice"}}))
	must(t, s.runner.CatchUp(t.Context()))
	alice, err := s.accounts.Add(t.Context(), "alice")
	must(t, err)
	session, err := s.accounts.SignIn(t.Context(), "alice", alice.Password, "")
	must(t, err)
	bearer := ""
	send := func(method, path, kind, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Content-Type", kind)
		r.Header.Set("Authorization", "Bearer "+bearer)
		r.AddCookie(&http.Cookie{Name: "oatmill", Value: session})
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, r)
		return w
	}
	const forms, object = "application/x-www-form-urlencoded", "application/json"
	var signedIn struct{ Token string }
	must(t, json.Unmarshal(send(http.MethodPost, "/v2/users/login", object, fmt.Sprintf(`{"username":"alice","password":%q}`, alice.Password)).Body.Bytes(), &signedIn))
	bearer = signedIn.Token
	page := send(http.MethodGet, "/orgs/acme/tokens/new", forms, "").Body.String()
	request := regexp.MustCompile(`name="request" value="([^"]*)"`).FindStringSubmatch(page)
	if request == nil {
		t.Fatal(page)
	}
	form := url.Values{"request": {request[1]}, "label": {"ci"}, "access": {"all"}, "all-level": {"read"}, "expires": {"30"}}.Encode()
	create := func() map[string]*httptest.ResponseRecorder {
		return map[string]*httptest.ResponseRecorder{
			"API":     send(http.MethodPost, "/v2/orgs/acme/access-tokens", object, `{"label":"ci","resources":[{"type":"TYPE_REPO","path":"acme/*","scopes":["scope-image-pull"]}]}`),
			"console": send(http.MethodPost, "/orgs/acme/tokens/new", forms, form),
		}
	}
	other, err := sql.Open("sqlite", "file:"+p.folder().Log()+"?_txlock=immediate")
	must(t, err)
	defer other.Close()
	lock, err := other.BeginTx(t.Context(), nil)
	must(t, err)
	for door, got := range create() {
		if got.Code != http.StatusServiceUnavailable || got.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %d, Retry-After %q: %s", door, got.Code, got.Header().Get("Retry-After"), got.Body)
		}
	}
	for _, path := range []string{"/v2/orgs/acme/access-tokens", "/orgs/acme/tokens"} {
		if got := send(http.MethodGet, path, object, ""); got.Code != http.StatusOK {
			t.Errorf("%s: %d while the file is locked: %s", path, got.Code, got.Body)
		}
	}
	must(t, lock.Rollback())
	for door, got := range create() {
		if got.Code != http.StatusCreated && got.Code != http.StatusOK {
			t.Errorf("%s: %d once the file is free: %s", door, got.Code, got.Body)
		}
	}
}
