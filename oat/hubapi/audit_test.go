package hubapi_test

import (
	"context"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

type auditLogs struct {
	Logs []auditLog `json:"logs"`
}

type auditLog struct {
	Account     string            `json:"account"`
	Action      string            `json:"action"`
	Name        string            `json:"name"`
	Actor       string            `json:"actor"`
	Data        map[string]string `json:"data"`
	Timestamp   string            `json:"timestamp"`
	Description string            `json:"action_description"`
}

// The audit log tells everything that was decided, the newest first. A day in from or to is
// included, as in the console. Fails if a day in to ends the span at its beginning.
func TestAudit(t *testing.T) {
	d := newDesk(t)
	ctx, host := context.Background(), oat.Actor{Host: "billing", Reason: "invoice 7"}
	created, _ := d.create("description", "x")
	d.Clock.Advance(time.Second)
	address := tokensOfAcme + "/" + created.ID
	d.ask(http.MethodPatch, address, "bob", map[string]any{"label": "cd", "is_active": false}).is(200)
	d.ask(http.MethodDelete, address, "bob", nil).is(204)
	must(t, d.Service.ChangePlan(ctx, host, oat.ChangePlan{Organization: "acme", Plan: quota.Team}))
	must(t, d.Service.AddOwner(ctx, host, oat.AddOwner{Organization: "acme", Owner: "carol"}))
	must(t, d.Service.RemoveOwner(ctx, host, oat.RemoveOwner{Organization: "acme", Owner: "bob"}))
	const first, second = "2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:01.000000Z"
	want := []auditLog{
		{"acme", "org.owner.remove", "acme", "host:billing", map[string]string{"previous_owner": "bob", "reason": "invoice 7"}, second, `removed an owner of the organization "acme"`},
		{"acme", "org.owner.add", "acme", "host:billing", map[string]string{"owner": "carol", "reason": "invoice 7"}, second, `added an owner to the organization "acme"`},
		{"acme", "org.plan.update", "acme", "host:billing", map[string]string{"plan": "team", "previous_plan": "business", "reason": "invoice 7"}, second, `changed the plan of the organization "acme"`},
		{"acme", "org.access_token.delete", "cd", "bob", map[string]string{"access_token_id": created.ID, "state": "deleted", "previous_state": "inactive"}, second, `deleted the organization access token "cd"`},
		{"acme", "org.access_token.update", "cd", "bob", map[string]string{"access_token_id": created.ID, "state": "inactive", "previous_state": "active"}, second, `deactivated the organization access token "cd"`},
		{"acme", "org.access_token.update", "cd", "bob", map[string]string{"access_token_id": created.ID, "label": "cd", "previous_label": "ci"}, second, `updated the organization access token "cd"`},
		{"acme", "org.access_token.create", "ci", "alice", map[string]string{"access_token_id": created.ID, "label": "ci", "description": "x", "resources": "acme/*: scope-image-pull", "state": "active"}, first, `created the organization access token "ci"`},
		{"acme", "org.create", "acme", "host:test", map[string]string{"plan": "business", "owner": "alice, bob"}, first, `registered the organization "acme"`},
	}
	for query, part := range map[string][]auditLog{
		"":                               want,
		"page_size=3":                    want[:3],
		"page_size=3&page=3":             want[6:],
		"page_size=3&page=4":             {},
		"action=org.access_token.update": want[4:6],
		"action=org.access_token.update&page_size=1&page=2":    want[5:6],
		"action=org.access_token.update&page_size=1&page=3":    {},
		"action=repo.tag.push":                                 {},
		"name=ci":                                              want[6:7],
		"actor=bob":                                            want[3:6],
		"actor=bob&name=cd&action=org.access_token.delete":     want[3:4],
		"from=2026-01-01T00:00:00.5Z":                          want[:6],
		"from=" + url.QueryEscape("2026-01-01T01:00:01+01:00"): want[:6],
		"to=2026-01-01T00:00:01Z":                              want[6:],
		"from=2026-01-01&to=2026-01-02":                        want,
		"from=2026-01-01&to=2026-01-01":                        want,
		"to=2026-01-01":                                        want,
		"to=2026-01-01&actor=bob&page_size=2":                  want[3:5],
		"to=2025-12-31":                                        {},
		"to=9999-12-31":                                        want,
		"to=2026-01-01T00:00:00Z":                              {},
		"from=2026-01-02":                                      {},
		"from=2026-01-02&to=2026-01-01":                        {},
		"from=&to=&actor=&name=&action=":                       want,
	} {
		var got auditLogs
		d.ask(http.MethodGet, "/v2/auditlogs/acme?"+query, "alice", nil).as(200, &got)
		if diff := cmp.Diff(part, got.Logs); diff != "" {
			t.Errorf("%q: %s", query, diff)
		}
	}
	d.ask(http.MethodGet, "/v2/auditlogs/acme?from=yesterday&to=1", "alice", nil).names(400, "from", "to")
	d.ask(http.MethodGet, "/v2/auditlogs/acme?actor=a&actor=b", "alice", nil).names(400, "actor")
}
