package hubapi_test

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/oattest"
)

// createWith is a create with a key.
func (d *desk) createWith(key, user string, changes ...any) answer {
	d.t.Helper()
	return d.ask(http.MethodPost, tokensOfAcme, user, body(changes...), "Idempotency-Key", key)
}

// restarted is the API of a new process on the same log.
func (d *desk) restarted() *desk {
	d.t.Helper()
	env := oattest.New(d.t, func(cfg *oat.Config) { cfg.Log, cfg.Now, cfg.Rand = d.Log, d.Clock.Now, oattest.NewRand(3) })
	env.Clock = d.Clock
	return newDeskOn(d.t, env)
}

// A create that comes again makes no second token, in this process and in others, for as
// long as the log lives. Breaks when create does not ask for Once.
func TestRepeatedCreate(t *testing.T) {
	d := newDesk(t)
	changes := []any{"label", " ci ", "expires_at", "2030-01-01T00:00:00+00:00"}
	var first, again token
	d.createWith("key 1", "alice", changes...).names(400, "Idempotency-Key") // has a blank
	d.createWith("key-1", "alice", changes...).as(201, &first)
	before := d.records()
	for _, process := range []*desk{d, d.restarted()} {
		got := process.createWith("key-1", "alice", changes...).as(200, &again)
		if again.Message == "" || strings.Contains(string(got.body), first.Token) || got.header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("the request again: %s", got.body)
		}
		again.Message, again.Token = "", first.Token
		if diff := cmp.Diff(first, again); diff != "" {
			t.Errorf("the request again: %s", diff)
		}
		// The token as it is now, and not as it was.
		if got.header.Get("ETag") != process.ask(http.MethodGet, tokensOfAcme+"/"+first.ID, "alice", nil).header.Get("ETag") {
			t.Error("the entity tag is another")
		}
	}
	if after := d.records(); after != before {
		t.Errorf("repeated requests left %d records", after-before)
	}
	d.ask(http.MethodPatch, tokensOfAcme+"/"+first.ID, "bob", map[string]any{"label": "cd", "is_active": false}).is(200)
	d.createWith("key-1", "alice", changes...).as(200, &again)
	if again.Label != "cd" || again.IsActive {
		t.Errorf("the request again, after an edit: %+v", again)
	}
	d.ask(http.MethodDelete, tokensOfAcme+"/"+first.ID, "bob", nil).is(204)
	for _, process := range []*desk{d, d.restarted()} {
		if got := process.createWith("key-1", "alice", changes...).is(409); !strings.Contains(string(got.body), first.ID) {
			t.Errorf("the request again, after the deletion: %s", got.body)
		}
	}
}

// What is said twice of a field is said once, so that a small request gets no large answer.
// Breaks when problems.add keeps everything.
func TestProblemsAreBounded(t *testing.T) {
	d := newDesk(t)
	body := `{` + strings.TrimSuffix(strings.Repeat(`"a":1,`, 9000), ",") + `}`
	got := d.ask(http.MethodPost, tokensOfAcme, "alice", body)
	if got.is(400); len(got.body) > 2000 {
		t.Errorf("%d bytes in answer to %d", len(got.body), len(body))
	}
}

// A key is one owner's and one organization's, and is for one request.
func TestKeysOfOthers(t *testing.T) {
	d := newDesk(t)
	var first, other token
	d.createWith("k", "alice").as(201, &first)
	d.createWith("k", "bob").as(201, &other)
	d.createWith("K", "alice").is(201)
	d.ask(http.MethodPost, "/v2/orgs/zebra/access-tokens", "zoe", body("resources", []oat.Resource{oat.Public()}), "Idempotency-Key", "k").is(201)
	if first.ID == other.ID {
		t.Error("two owners share a key")
	}
	before := d.records()
	for want, changes := range map[string][]any{
		"was used for another request, with another label":             {"label", "cd"},
		"was used for another request, with another description":       {"description", "x"},
		"was used for another request, with another expires_at":        {"expires_at", "2030-01-01T00:00:00Z"},
		"was used for another request, with another resources":         {"resources", []oat.Resource{oat.All("acme", oat.ReadWrite)}},
		"was used for another request, with another label, expires_at": {"label", "cd", "expires_at", "2030-01-01T00:00:00Z"},
		"was used for another request, with another label, resources":  {"label", "x", "resources", []oat.Resource{oat.Public()}},
	} {
		var refused struct{ Text string }
		if d.createWith("k", "alice", changes...).names(422, "Idempotency-Key").as(422, &refused); refused.Text != want {
			t.Errorf("%q, want %q", refused.Text, want)
		}
	}
	for _, bad := range []string{"", " ", "ü", "a b", strings.Repeat("k", 256), "a\x7f"} {
		d.createWith(bad, "alice").names(400, "Idempotency-Key")
	}
	d.ask(http.MethodPost, tokensOfAcme, "alice", body(), "Idempotency-Key", "a", "Idempotency-Key", "a").names(400, "Idempotency-Key")
	d.createWith("k", "alice", "label", "").names(422, "Idempotency-Key")
	d.createWith("new", "alice", "label", "").names(400, "label")
	d.createWith("k", "mallory").is(403)
	if after := d.records(); after != before {
		t.Errorf("refused requests left %d records", after-before)
	}
	d.createWith(strings.Repeat("k", 255), "alice").is(201)
}

// Of 32 requests with one key at once, to two processes, one makes the token. Breaks when
// the check and the append are not one decision.
func TestRepeatedAtOnce(t *testing.T) {
	d := newDesk(t)
	other := d.restarted()
	for _, process := range []*desk{d, other} {
		process.jwt("alice")
	}
	var made, repeated atomic.Int32
	var secrets sync.Map
	var group sync.WaitGroup
	for i := range 32 {
		process := []*desk{d, other}[i%2]
		r := process.request(http.MethodPost, tokensOfAcme, "alice", body(), "Idempotency-Key", "k")
		group.Go(func() {
			x := process.exchange(r)
			if err := process.contract.check(x); err != nil {
				t.Error(err)
			}
			switch x.status {
			case 201:
				made.Add(1)
				secrets.Store(string(x.body), true)
			case 200:
				repeated.Add(1)
			default:
				t.Errorf("status %d: %s", x.status, x.body)
			}
		})
	}
	group.Wait()
	if made.Load() != 1 || repeated.Load() != 31 {
		t.Errorf("%d made a token, %d were told of it", made.Load(), repeated.Load())
	}
	var page tokenPage
	d.ask(http.MethodGet, tokensOfAcme, "alice", nil).as(200, &page)
	if page.Total != 1 {
		t.Errorf("%d tokens", page.Total)
	}
}

// Two owners edit what both have seen: the second is told, and can see what the first one
// made. Breaks when the version does not reach the service.
func TestTwoEditors(t *testing.T) {
	d := newDesk(t)
	created, etag := d.create()
	address := tokensOfAcme + "/" + created.ID
	seen := d.ask(http.MethodGet, address, "bob", nil).header.Get("ETag")
	if seen != etag {
		t.Errorf("created as %s, seen as %s", etag, seen)
	}
	edit := map[string]any{"label": "alice's"}
	now := d.ask(http.MethodPatch, address, "alice", edit, "If-Match", etag).is(200).header.Get("ETag")
	for _, method := range []string{http.MethodPatch, http.MethodDelete} {
		got := d.ask(method, address, "bob", map[string]any{"label": "bob's", "is_active": false}, "If-Match", seen).is(412)
		if got.header.Get("ETag") != now {
			t.Errorf("%s: told of %s, want %s", method, got.header.Get("ETag"), now)
		}
	}
	if got := d.get(created.ID); got.Label != "alice's" || !got.IsActive {
		t.Errorf("%+v", got)
	}
	d.ask(http.MethodPatch, address, "bob", map[string]any{"label": "bob's"}, "If-Match", `"1.0", W/"2.0",`+now+` , "x"`).is(200)
	d.ask(http.MethodPatch, address, "bob", map[string]any{"label": "anybody's"}, "If-Match", "*").is(200)
	d.ask(http.MethodPatch, address, "bob", map[string]any{"label": "somebody's"}).is(200)
	for _, bad := range []string{"", "x", `"1.0`, `1.0`, `"1.0" "2.0"`, `"1.0",x`, `W/`, `*, "1.0"`} {
		d.ask(http.MethodDelete, address, "bob", nil, "If-Match", bad).names(400, "If-Match")
	}
	for _, stale := range []string{`"1.0"`, `W/` + now, `"999.0"`, `"x"`, `""`} {
		d.ask(http.MethodDelete, address, "bob", nil, "If-Match", stale).is(412)
	}
	now = d.ask(http.MethodHead, address, "bob", nil).header.Get("ETag")
	d.ask(http.MethodDelete, address, "bob", nil, "If-Match", now).is(204)
	d.ask(http.MethodDelete, address, "bob", nil, "If-Match", now).is(404)
	d.ask(http.MethodDelete, address, "bob", nil, "If-Match", "*").is(404)
}

// Of 16 who edit the same version at once one is first.
func TestEditorsAtOnce(t *testing.T) {
	d := newDesk(t)
	created, etag := d.create()
	var edited atomic.Int32
	var group sync.WaitGroup
	for i := range 16 {
		r := d.request(http.MethodPatch, tokensOfAcme+"/"+created.ID, []string{"alice", "bob"}[i%2], map[string]any{"label": strings.Repeat("x", i+1)}, "If-Match", etag)
		group.Go(func() {
			switch x := d.exchange(r); x.status {
			case 200:
				edited.Add(1)
			case 412:
			default:
				t.Errorf("status %d: %s", x.status, x.body)
			}
		})
	}
	group.Wait()
	if edited.Load() != 1 {
		t.Errorf("%d edited one version", edited.Load())
	}
}

func TestIfNoneMatch(t *testing.T) {
	d := newDesk(t)
	created, etag := d.create()
	address := tokensOfAcme + "/" + created.ID
	for given, status := range map[string]int{etag: 304, "W/" + etag: 304, `"x", ` + etag: 304, "*": 304, `"1.0"`: 200, "x": 200} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			if got := d.ask(method, address, "alice", nil, "If-None-Match", given).is(status); got.header.Get("ETag") != etag {
				t.Errorf("%s: tag %s", given, got.header.Get("ETag"))
			}
		}
	}
	d.ask(http.MethodPatch, address, "alice", map[string]any{"label": "x"}).is(200)
	d.ask(http.MethodGet, address, "alice", nil, "If-None-Match", etag).is(200)
}
