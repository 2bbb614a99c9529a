package hubapi_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/oatmill/oatmill/oat"
)

// A secret, and any part of it that would be of use, is in the answer to the create that
// made it and nowhere else: not in another answer, nor in the log of events, nor in what
// is logged.
func TestSecretIsShownOnce(t *testing.T) {
	d := newDesk(t)
	var said []string
	say := func(a answer) answer {
		said = append(said, string(a.body))
		for name, values := range a.header {
			said = append(said, name+": "+strings.Join(values, ","))
		}
		return a
	}
	var created token
	first := d.ask(http.MethodPost, tokensOfAcme, "alice", body(), "Idempotency-Key", "k").as(201, &created)
	if first.header.Get("Cache-Control") != "no-store" || strings.Count(string(first.body), created.Token) != 1 {
		t.Errorf("created: %s", first.body)
	}
	for _, values := range first.header {
		if strings.Contains(strings.Join(values, ","), created.Token) {
			t.Errorf("a header holds the secret: %v", values)
		}
	}
	address := tokensOfAcme + "/" + created.ID
	say(d.ask(http.MethodPost, tokensOfAcme, "alice", body(), "Idempotency-Key", "k"))
	say(d.ask(http.MethodPost, tokensOfAcme, "alice", body("label", "other"), "Idempotency-Key", "k"))
	say(d.ask(http.MethodGet, tokensOfAcme, "alice", nil))
	say(d.ask(http.MethodGet, address, "alice", nil))
	say(d.ask(http.MethodPatch, address, "alice", map[string]any{"label": "x"}))
	say(d.ask(http.MethodGet, "/v2/auditlogs/acme", "alice", nil))
	// Somebody uses it where it is of no use.
	for _, way := range [][3]string{{"/v2/auth/token", "identifier", "secret"}, {"/v2/users/login", "username", "password"}} {
		for _, name := range []string{"acme", created.Token} {
			say(d.ask(http.MethodPost, way[0], "", map[string]string{way[1]: name, way[2]: created.Token}).is(401))
		}
		say(d.ask(http.MethodPost, way[0], "", map[string]string{way[1]: created.Token, way[2]: "guess"}).is(401))
		say(d.ask(http.MethodPost, way[0], "", map[string]any{way[1]: []string{created.Token}, way[2]: 1}).is(400))
	}
	say(d.ask(http.MethodGet, tokensOfAcme, "", nil, "Authorization", "Bearer "+created.Token).is(401))
	say(d.ask(http.MethodGet, tokensOfAcme+"/"+created.Token, "alice", nil).is(404))
	say(d.ask(http.MethodGet, tokensOfAcme+"?page="+created.Token, "alice", nil).is(400))
	say(d.ask(http.MethodGet, "/v2/auditlogs/acme?from="+created.Token, "alice", nil).is(400))
	say(d.ask(http.MethodPost, tokensOfAcme, "alice", body("expires_at", created.Token)).is(400))
	// A client that mixes up its fields sends it as any of them.
	for _, field := range []string{"label", "description", created.Token, "x " + created.Token} {
		say(d.ask(http.MethodPost, tokensOfAcme, "alice", body(field, "the token is "+created.Token)).is(400))
		say(d.ask(http.MethodPatch, address, "alice", map[string]any{field: created.Token}).is(400))
	}
	for _, resource := range []oat.Resource{oat.Repository("acme/"+created.Token, oat.Read), {Type: created.Token, Path: "acme/api"}, {Scopes: []string{created.Token}}} {
		say(d.ask(http.MethodPost, tokensOfAcme, "alice", body("resources", []oat.Resource{resource})).is(400))
	}
	say(d.ask(http.MethodPost, tokensOfAcme, "alice", body("label", "by key"), "Idempotency-Key", created.Token).is(201))
	say(d.ask(http.MethodGet, "/v2/orgs/"+created.Token+"/access-tokens", "alice", nil).is(403))
	say(d.ask(http.MethodGet, tokensOfAcme, "", nil, "User-Agent", created.Token).is(401))
	say(d.ask(http.MethodPatch, address, "alice", map[string]any{"label": "y"}, "If-Match", created.Token).is(400))
	say(d.ask(http.MethodDelete, address, "alice", nil).is(204))
	for r, err := range d.Log.ReadAll(t.Context(), 0) {
		must(t, err)
		said = append(said, string(r.Data)+r.Actor+r.Correlation+r.Reason)
	}
	said = append(said, d.Logged.String())
	random := strings.TrimPrefix(created.Token, oat.DefaultPrefix)
	for _, part := range []string{created.Token, random, random[:16], random[len(random)-16:], password} {
		if i := slices.IndexFunc(said, func(text string) bool { return strings.Contains(text, part) }); i >= 0 {
			t.Errorf("%q is in %s", part, said[i])
		}
	}
}
