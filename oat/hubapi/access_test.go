package hubapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/oattest"
	"github.com/oatmill/oatmill/quota"
)

// operation is one of an organization, about a token where it is about one.
type operation struct {
	method, path string
	body         any
	good         int // to an owner
}

func operations(organization, id string) []operation {
	tokens := "/v2/orgs/" + organization + "/access-tokens"
	public := []oat.Resource{oat.Public()}
	return []operation{
		{http.MethodGet, tokens, nil, 200},
		{http.MethodHead, tokens, nil, 200},
		{http.MethodPost, tokens, body("resources", public), 201},
		{http.MethodGet, tokens + "/" + id, nil, 200},
		{http.MethodPatch, tokens + "/" + id, map[string]any{"label": "x"}, 200},
		{http.MethodGet, "/v2/auditlogs/" + organization, nil, 200},
		{http.MethodDelete, tokens + "/" + id, nil, 204},
	}
}

// reply is what somebody can tell two answers apart by, the count of requests aside.
func reply(x exchange) string {
	header := x.header.Clone()
	header.Del("X-RateLimit-Remaining")
	return fmt.Sprint(x.status, header, string(x.body))
}

// Everybody who is not an owner gets the same answer about organizations that are there
// and ones that are not, about tokens that are there and ones that are not, to requests
// that are well-formed and ones that are not. Break it by authorizing after the body, the
// id or the parameters were read, or by answering 404 for an organization.
func TestStrangersLearnNothing(t *testing.T) {
	d := newDesk(t)
	existing, _ := d.create()
	missing := "0f8fad5b-d9cb-469f-a165-70867728950e"
	for user, status := range map[string]int{"mallory": 403, "zoe": 403, "": 401} {
		var want [2]string // to HEAD and to others
		for _, organization := range []string{"acme", "nowhere", "Not-A-Name", "%20", "..."} {
			for _, id := range []string{existing.ID, missing, "x"} {
				for _, o := range operations(organization, id) {
					for _, query := range []string{"", "?page=x&page=y&from=z", "?%zz"} {
						r := d.request(o.method, o.path, user, o.body, "If-Match", `"1.0"`, "Idempotency-Key", "k")
						r.URL.RawQuery = query
						d.same(&want, user, status, r)
						r = d.request(o.method, o.path, user, "no JSON", "If-Match", "none", "Idempotency-Key", "", "Content-Type", "x")
						d.same(&want, user, status, r)
					}
				}
			}
		}
	}
	if got := d.get(existing.ID); got.Label != "ci" || !got.IsActive {
		t.Errorf("the token is %+v after all", got)
	}
}

func (d *desk) same(want *[2]string, user string, status int, r *http.Request) {
	d.t.Helper()
	got := d.serve(r).is(status)
	kind := 0
	if r.Method == http.MethodHead {
		kind = 1
	}
	if want[kind] == "" {
		want[kind] = reply(got.exchange)
	}
	if told := reply(got.exchange); told != want[kind] {
		d.t.Errorf("%s %s by %q is answered\n%s, and others\n%s", r.Method, r.URL, user, told, want[kind])
	}
}

// Who may do what: every operation by every kind of person.
func TestMatrix(t *testing.T) {
	for user, good := range map[string]bool{"alice": true, "bob": true, "zoe": false, "mallory": false, "former": false} {
		d := newDesk(t)
		d.jwt("former")
		host := oat.Actor{Host: "test"}
		must(t, d.Service.AddOwner(context.Background(), host, oat.AddOwner{Organization: "acme", Owner: "former"}))
		d.ask(http.MethodGet, tokensOfAcme, "former", nil).is(200)
		must(t, d.Service.RemoveOwner(context.Background(), host, oat.RemoveOwner{Organization: "acme", Owner: "former"}))
		existing, _ := d.create()
		for _, o := range operations("acme", existing.ID) {
			want := o.good
			if !good {
				want = 403
			}
			if got := d.ask(o.method, o.path, user, o.body); got.status != want {
				t.Errorf("%s: %s %s: %d, want %d", user, o.method, o.path, got.status, want)
			}
			if got := d.ask(o.method, o.path, "", o.body); got.status != 401 {
				t.Errorf("nobody: %s %s: %d, want 401", o.method, o.path, got.status)
			}
		}
	}
}

// A token of another organization is "not found", to somebody who owns both, too, and
// in every state of an If-Match.
func TestTenantCrossing(t *testing.T) {
	d := newDesk(t)
	must(t, d.Service.AddOwner(context.Background(), oat.Actor{Host: "test"}, oat.AddOwner{Organization: "zebra", Owner: "alice"}))
	existing, etag := d.create()
	missing := "0f8fad5b-d9cb-469f-a165-70867728950e"
	for _, ifMatch := range []string{"", "*", etag, `"1.0"`} {
		for _, user := range []string{"alice", "zoe"} {
			for i, o := range operations("zebra", existing.ID) {
				if !bytes.HasSuffix([]byte(o.path), []byte(existing.ID)) {
					continue
				}
				var headers []string
				if ifMatch != "" {
					headers = []string{"If-Match", ifMatch}
				}
				got := d.ask(o.method, o.path, user, o.body, headers...).is(404)
				other := operations("zebra", missing)[i]
				if want := d.ask(other.method, other.path, user, other.body, headers...).is(404); reply(got.exchange) != reply(want.exchange) {
					t.Errorf("%s: another's token is answered %s, and none %s", o.method, reply(got.exchange), reply(want.exchange))
				}
			}
		}
	}
	var logs auditLogs
	d.ask(http.MethodGet, "/v2/auditlogs/zebra?name=ci", "zoe", nil).as(200, &logs)
	var page tokenPage
	d.ask(http.MethodGet, "/v2/orgs/zebra/access-tokens", "zoe", nil).as(200, &page)
	if len(logs.Logs) != 0 || page.Total != 0 {
		t.Errorf("zebra sees %+v and %+v", logs, page)
	}
	if got := d.get(existing.ID); got.Label != "ci" {
		t.Errorf("the token is %+v after all", got)
	}
}

// hostOwners is a host that keeps the owners itself.
type hostOwners map[string][]string

func (o hostOwners) IsOwner(_ context.Context, organization, user string) (bool, error) {
	if organization == "broken" {
		return false, errors.New("no database")
	}
	return slices.Contains(o[organization], user), nil
}

// Where the host keeps the owners, it is the host that is asked, for reads as well.
func TestHostKeepsOwners(t *testing.T) {
	owners := hostOwners{"acme": {"alice"}, "unregistered": {"alice"}}
	env := oattest.New(t, func(cfg *oat.Config) { cfg.Owners = owners })
	must(t, env.Service.Register(context.Background(), oat.Actor{Host: "test"}, oat.Register{Organization: "acme", Plan: quota.Team}))
	d := newDeskOn(t, env)
	created, _ := d.create()
	d.ask(http.MethodGet, tokensOfAcme+"/"+created.ID, "bob", nil).is(403)
	owners["acme"] = []string{"bob"}
	d.ask(http.MethodGet, tokensOfAcme+"/"+created.ID, "bob", nil).is(200)
	for _, o := range operations("acme", created.ID) {
		d.ask(o.method, o.path, "alice", o.body).is(403)
	}
	d.ask(http.MethodGet, "/v2/orgs/unregistered/access-tokens", "alice", nil).is(403)
	d.ask(http.MethodGet, "/v2/orgs/broken/access-tokens", "alice", nil).is(500)
}
