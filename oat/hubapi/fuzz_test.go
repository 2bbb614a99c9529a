package hubapi_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/oatmill/oatmill/oat"
)

// raw is a request with anything in it, also what no client of net/http would send.
func (d *desk) raw(method, path, query string, header http.Header, body string) *http.Request {
	return &http.Request{
		Method: method, URL: &url.URL{Path: path, RawQuery: query}, Host: "hub.example.com", Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RemoteAddr: "192.0.2.1:1", Body: io.NopCloser(strings.NewReader(body)),
	}
}

func (d *desk) header(user string, more ...string) http.Header {
	header := http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + d.jwt(user)}}
	for i := 0; i < len(more); i += 2 {
		header[http.CanonicalHeaderKey(more[i])] = []string{more[i+1]}
	}
	return header
}

// sound demands that the answer is as described, which it is without a panic and with an
// error of the documented shape, and that nothing failed on this side.
func (d *desk) sound(t *testing.T, r *http.Request) answer {
	t.Helper()
	got := d.serve(r)
	if got.status >= 500 {
		t.Fatalf("%s %s: status %d: %s\n%s", r.Method, r.URL, got.status, got.body, d.Logged)
	}
	return got
}

// Whatever a create has for a body, it is refused with the documented shape or comes
// back as it was sent.
func FuzzCreate(f *testing.F) {
	good, err := json.Marshal(body("description", "x", "expires_at", "2030-01-01T00:00:00Z"))
	must(f, err)
	for _, seed := range []string{
		string(good), "", "{}", "[]", "null", "0", `"`, `{"label":"\ud800","resources":[]}`, `{"label":"a","label":"b"}`, `{"":1}`,
		`{"label":"a","resources":[{"type":"TYPE_REPO","path":"acme/a","scopes":["scope-image-push","scope-image-pull"]}]}`,
		`{"label":"a","resources":[[]]}`, `{"label":"a","resources":{"0":{}}}`, `{"expires_at":"0001-01-01T00:00:00Z"}`, "\xef\xbb\xbf{}",
		`{"label":"a","resources":[{"type":"TYPE_REPO","path":"*/*/public","scopes":["scope-image-pull"]}],"expires_at":"2030-01-01T24:00:00Z"}`,
		strings.Repeat(`{"label":`, 200) + "1" + strings.Repeat("}", 200), `{"resources":[` + strings.Repeat("1,", 500) + "1]}", " {} ", "{}\n{}", "{}//", `{"a":1e999}`,
	} {
		f.Add(seed)
	}
	d := newDesk(f)
	f.Fuzz(func(t *testing.T, sent string) {
		d := d.on(t)
		got := d.sound(t, d.raw(http.MethodPost, tokensOfAcme, "", d.header("alice"), sent))
		switch got.status {
		case http.StatusCreated:
			var request struct {
				Label     string
				ExpiresAt *string `json:"expires_at"`
				Resources []oat.Resource
			}
			must(t, json.Unmarshal([]byte(sent), &request))
			var created token
			got.as(201, &created)
			if created.Label != oat.CleanText(request.Label) || text(created.ExpiresAt) != text(request.ExpiresAt) || !same(created.Resources, request.Resources) {
				t.Fatalf("%s became %s", sent, got.body)
			}
			d.ask(http.MethodDelete, tokensOfAcme+"/"+created.ID, "alice", nil).is(204)
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		default:
			t.Fatalf("%s: status %d", sent, got.status)
		}
	})
}

func same(a, b []oat.Resource) bool {
	first, err := json.Marshal(a)
	second, other := json.Marshal(b)
	return err == nil && other == nil && bytes.Equal(first, second)
}

// Whatever an update, and an attempt to sign in, have for a body.
func FuzzBodies(f *testing.F) {
	for _, seed := range []string{
		"", "{}", `{"is_active":false}`, `{"is_active":true,"label":""}`, `{"resources":null}`, `{"label":"\u0000"}`, `{"identifier":"alice","secret":"x"}`,
		`{"username":"","password":""}`, `{"identifier":{},"secret":[]}`, "\x00", `{"description":"` + strings.Repeat("a", 70000) + `"}`,
	} {
		f.Add(seed)
	}
	d := newDesk(f)
	f.Fuzz(func(t *testing.T, sent string) {
		d := d.on(t)
		created, _ := d.create()
		address := tokensOfAcme + "/" + created.ID
		for _, path := range []string{address, "/v2/auth/token", "/v2/users/login"} {
			method := http.MethodPost
			if path == address {
				method = http.MethodPatch
			}
			if got := d.sound(t, d.raw(method, path, "", d.header("alice"), sent)); got.status != 200 && got.status != 400 && got.status != 401 && got.status != 413 {
				t.Fatalf("%s %s: status %d", path, sent, got.status)
			}
		}
		d.ask(http.MethodDelete, address, "alice", nil).is(204)
	})
}

// Whatever the address, the parameters and the method are.
func FuzzRequest(f *testing.F) {
	for _, seed := range [][3]string{
		{"GET", tokensOfAcme, "page=2&page_size=1"}, {"GET", tokensOfAcme + "/0f8fad5b-d9cb-469f-a165-70867728950e", ""}, {"DELETE", tokensOfAcme + "/x", ""},
		{"GET", "/v2/auditlogs/acme", "action=a&name=b&actor=c&from=2026-01-01&to=2026-01-02T00:00:00Z"}, {"get", "/", "%"}, {"", "", ""}, {"GET", "*", ""},
		{"GET", "/v2/orgs/a/b/access-tokens", ";"}, {"HEAD", "/v2/orgs/acme/access-tokens/{id}", "page=-1"}, {"OPTIONS", "/v2/orgs/{org}/access-tokens", ""},
		{"PUT", "/v2/openapi.json", ""}, {"TRACE", "//v2//orgs//acme//access-tokens", ""}, {"GET", "/v2/orgs/../orgs/acme/access-tokens", ""},
		{"POST", "/v2/users/login/", "refresh_token=true"}, {"GET", "/v2/orgs/ACME\x00/access-tokens", "page=1&page=2"}, {"GET", "/v2/orgs/" + strings.Repeat("a", 300) + "/access-tokens", ""},
		{"GET", tokensOfAcme, "page=9223372036854775808"}, {"GET", tokensOfAcme, "page_size=0x10"}, {"GET", "/v2/auditlogs/acme", "from=0000-01-01T00:00:00Z&to=9999-12-31T23:59:59Z"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	d := newDesk(f)
	d.create()
	f.Fuzz(func(t *testing.T, method, path, query string) {
		d := d.on(t)
		for _, user := range []string{"alice", "mallory"} {
			d.sound(t, d.raw(method, path, query, d.header(user), "{}"))
		}
		d.sound(t, d.raw(method, path, query, http.Header{}, ""))
	})
}

// Whatever the headers hold that the handler looks at.
func FuzzHeaders(f *testing.F) {
	d := newDesk(f)
	_, etag := d.create()
	for _, seed := range [][5]string{
		{"Bearer x", "application/json", etag, "k", "hub.example.com"}, {"", "", "", "", ""}, {"Bearer a.b.c", "application/json; charset=\xff", `W/"`, "\x7f", "a b"},
		{"Bearer " + strings.Repeat(".", 9000), "text/plain;;", "*,*", strings.Repeat("k", 300), "[::1"}, {"bearer  ", "application/json;charset=\"utf-8\"", `"","`, "ключ", "\xff"},
		{"Bearer eyJhbGciOiJub25lIn0.e30.", "APPLICATION/JSON", `,"1.0"`, "\"k\"", "user@host"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3], seed[4])
	}
	f.Fuzz(func(t *testing.T, authorization, contentType, tag, key, host string) {
		d := d.on(t)
		created, _ := d.create()
		address := tokensOfAcme + "/" + created.ID
		if got := d.sound(t, d.raw(http.MethodGet, address, "", d.header("alice", "Authorization", authorization), "")); got.status != 401 {
			t.Fatalf("%q is admitted: %d", authorization, got.status)
		}
		header := d.header("alice", "Content-Type", contentType, "If-Match", tag, "If-None-Match", tag, "Idempotency-Key", key)
		send := func(method, path, body string) answer {
			r := d.raw(method, path, "", header, body)
			r.Host, r.RemoteAddr = host, host
			return d.sound(t, r)
		}
		for _, method := range []string{http.MethodGet, http.MethodPatch, http.MethodDelete} {
			send(method, address, `{"label":"x"}`)
		}
		d.exchange(d.request(http.MethodDelete, address, "alice", nil))
		public := `{"label":"x","resources":[{"type":"TYPE_REPO","path":"*/*/public","scopes":["scope-image-pull"]}]}`
		if got := send(http.MethodPost, tokensOfAcme, public); got.status == http.StatusCreated {
			got.as(201, &created)
			d.ask(http.MethodDelete, tokensOfAcme+"/"+created.ID, "alice", nil).is(204)
		}
	})
}
