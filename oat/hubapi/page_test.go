package hubapi_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/oatmill/oatmill/oat/hubapi"
	"github.com/oatmill/oatmill/quota"
)

// Following next from the first page, and previous from the last, shows every token once
// and in the order in which they were created, for every size of a page.
func TestWalk(t *testing.T) {
	d := newDesk(t)
	var ids []string
	for i := range 23 {
		created, _ := d.create("label", fmt.Sprint(i))
		ids = append(ids, created.ID)
		d.Clock.Advance(1000)
	}
	for _, size := range []int{1, 7, 10, 22, 23, 24, 100} {
		var forth, back []string
		at := fmt.Sprintf("https://hub.example.com%s?page_size=%d", tokensOfAcme, size)
		for last := ""; at != ""; {
			p := d.page(at)
			for _, token := range p.Results {
				forth = append(forth, token.ID)
			}
			if p.Total != 23 || len(p.Results) > size || p.Previous == nil != (last == "") {
				t.Errorf("%s: %d of %d, previous %v", at, len(p.Results), p.Total, p.Previous)
			}
			if last, at = at, ""; p.Next != nil {
				at = *p.Next
			} else {
				at, back = "", d.back(last)
			}
		}
		if got, want := strings.Join(forth, " "), strings.Join(ids, " "); got != want {
			t.Errorf("size %d: walked %s, want %s", size, got, want)
		}
		if got, want := strings.Join(back, " "), strings.Join(ids, " "); got != want {
			t.Errorf("size %d: walked back %s, want %s", size, got, want)
		}
	}
}

func (d *desk) page(address string) (p tokenPage) {
	d.t.Helper()
	at, err := url.Parse(address)
	must(d.t, err)
	d.ask(http.MethodGet, at.RequestURI(), "alice", nil).as(200, &p)
	return p
}

// back is the ids from the page at an address back to the first.
func (d *desk) back(address string) (ids []string) {
	d.t.Helper()
	for address != "" {
		p := d.page(address)
		var some []string
		for _, token := range p.Results {
			some = append(some, token.ID)
		}
		ids = append(some, ids...)
		if address = ""; p.Previous != nil {
			address = *p.Previous
		}
	}
	return ids
}

func TestPages(t *testing.T) {
	d := newDesk(t)
	for range 11 {
		d.create()
	}
	const base = "https://hub.example.com" + tokensOfAcme
	for query, want := range map[string]struct {
		results        int
		next, previous string
	}{
		"":                                  {10, base + "?page=2&page_size=10", ""},
		"?page=2":                           {1, "", base + "?page=1&page_size=10"},
		"?page=3":                           {0, "", base + "?page=2&page_size=10"},
		"?page=1000000&page_size=100":       {0, "", base + "?page=1&page_size=100"},
		"?page=1000000&page_size=1":         {0, "", base + "?page=11&page_size=1"},
		"?page_size=5&page=2&utm_source=x":  {5, base + "?page=3&page_size=5", base + "?page=1&page_size=5"},
		"?page=02&page_size=5":              {5, base + "?page=3&page_size=5", base + "?page=1&page_size=5"},
		"?page_size=100&ordering=-label":    {11, "", ""},
		"?page_size=11&page=1&ordering=one": {11, "", ""},
	} {
		p := d.page("https://hub.example.com" + tokensOfAcme + query)
		if len(p.Results) != want.results || p.Total != 11 || text(p.Next) != want.next || text(p.Previous) != want.previous {
			t.Errorf("%q: %d of %d, next %q, previous %q; want %+v", query, len(p.Results), p.Total, text(p.Next), text(p.Previous), want)
		}
	}
	for _, bad := range []string{"0", "-1", "+1", "1.0", "1e1", "x", "", " 1", "1000001", "99999999999999999999", "0x1", "١"} {
		for _, address := range []string{tokensOfAcme, "/v2/auditlogs/acme"} {
			d.ask(http.MethodGet, address+"?page="+url.QueryEscape(bad), "alice", nil).names(400, "page")
			if strings.Trim(bad, "0123456789") != "" || strings.Trim(bad, "0") == "" {
				d.ask(http.MethodGet, address+"?page=0&page_size="+url.QueryEscape(bad), "alice", nil).names(400, "page", "page_size")
			}
			d.ask(http.MethodGet, address+"?page=1&page=1", "alice", nil).names(400, "page")
		}
	}
}

// TestLargePages asks for more results than a page can have, as clients of Docker Hub do: they
// get the largest page, and links that say so.
//
// Fails if size refuses what is above MaxPageSize, or the links repeat what was asked for.
func TestLargePages(t *testing.T) {
	d := newDesk(t)
	for range quota.Docker()[quota.Business].Tokens {
		d.create()
	}
	for _, size := range []string{"101", "250", "1000", "0100", "2147483648", "99999999999999999999"} {
		if p := d.page("https://hub.example.com" + tokensOfAcme + "?page_size=" + size); len(p.Results) != 100 || p.Next != nil {
			t.Errorf("page_size=%s: %d results, next %q", size, len(p.Results), text(p.Next))
		}
		p := d.page("https://hub.example.com" + tokensOfAcme + "?page=2&page_size=" + size)
		if want := "https://hub.example.com" + tokensOfAcme + "?page=1&page_size=100"; len(p.Results) != 0 || text(p.Previous) != want {
			t.Errorf("page_size=%s: previous %q, want %q", size, text(p.Previous), want)
		}
		var logs auditLogs
		if d.ask(http.MethodGet, "/v2/auditlogs/acme?page_size="+size, "alice", nil).as(200, &logs); len(logs.Logs) != 100 {
			t.Errorf("page_size=%s: %d entries", size, len(logs.Logs))
		}
	}
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// Links begin with what the host configured, or else with where the request went; never
// with what a Forwarded header claims.
func TestLinks(t *testing.T) {
	env := newDesk(t)
	env.create()
	env.create()
	for name, c := range map[string]struct {
		base, host string
		tls        bool
		want       string
	}{
		"configured":             {"https://hub.example.com", "evil.example", false, "https://hub.example.com"},
		"with a slash":           {"https://hub.example.com/", "evil.example", true, "https://hub.example.com"},
		"below a path":           {"http://example.com:8080/hub/", "evil.example", true, "http://example.com:8080/hub"},
		"of the request":         {"", "hub.example.net:8080", false, "http://hub.example.net:8080"},
		"of the request, TLS":    {"", "hub.example.net", true, "https://hub.example.net"},
		"of an address":          {"", "[2001:db8::1]:80", true, "https://[2001:db8::1]:80"},
		"of a host that is none": {"", "a/b?c@d", true, "https://localhost"},
		"of nothing":             {"", "", true, "https://localhost"},
	} {
		d := newDeskOn(t, env.Env, func(cfg *hubapi.Config) { cfg.BaseURL = c.base })
		r := d.request(http.MethodGet, tokensOfAcme+"?page_size=1", "alice", nil,
			"Forwarded", "host=evil.example;proto=ftp", "X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "ftp", "X-Forwarded-Prefix", "/evil")
		if r.Host = c.host; c.tls {
			r.TLS = new(tls.ConnectionState)
		}
		var p tokenPage
		d.serve(r).as(200, &p)
		if want := c.want + tokensOfAcme + "?page=2&page_size=1"; text(p.Next) != want {
			t.Errorf("%s: %q, want %q", name, text(p.Next), want)
		}
		r = d.request(http.MethodPost, tokensOfAcme, "alice", body())
		if r.Host = c.host; c.tls {
			r.TLS = new(tls.ConnectionState)
		}
		var made token
		if got := d.serve(r).as(201, &made).header.Get("Location"); got != c.want+tokensOfAcme+"/"+made.ID {
			t.Errorf("%s: created at %q", name, got)
		}
	}
}
