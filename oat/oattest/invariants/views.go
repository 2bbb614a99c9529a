package invariants

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
)

// instants are moments at which states are asked for: around now, and around every
// expiry there is.
func (w *world) instants() []time.Time {
	at := []time.Time{w.processes[0].clock.now()}
	for _, h := range w.orgs {
		for _, k := range h.last().tokens {
			if e, err := time.Parse(time.RFC3339Nano, k.expires); err == nil {
				at = append(at, e.Add(-1), e)
			}
		}
	}
	slices.SortFunc(at, time.Time.Compare)
	return slices.CompactFunc(at, time.Time.Equal)
}

// sameTokens demands that the list of tokens and their counts are what the rules
// make of the log, at every instant that matters.
func (w *world) sameTokens(t rapid.TB, v *views) {
	for _, at := range w.instants() {
		for name, h := range w.orgs {
			w.sameTokensOf(t, v, name, h.last(), at)
		}
	}
}

func (w *world) sameTokensOf(t rapid.TB, v *views, org string, s state, at time.Time) {
	want := projection.Count{Organization: org, Plan: s.plan, Total: len(s.tokens), Limit: w.rules.limits[s.plan]}
	want.Remaining = max(0, want.Limit-want.Total)
	counted := map[projection.State]*int{projection.Active: &want.Active, projection.Inactive: &want.Inactive, projection.Expired: &want.Expired}
	list := v.tokens.List(org, projection.Query{At: at}).Tokens
	for _, k := range s.tokens {
		is := k.stateAt(at)
		*counted[is]++
		i := slices.IndexFunc(list, func(l projection.Token) bool { return l.ID == uuidOf(k) })
		if i < 0 || !sameToken(k, org, list[i], is) {
			t.Fatalf("token %+v of %s at %s: the list has %+v", k, org, at, list)
		}
	}
	got, exists := v.counts.Of(org, at)
	if exists != s.registered || exists && got != want || len(list) != want.Total {
		t.Fatalf("%s at %s: counted are %+v, to be expected was %+v; listed are %d", org, at, got, want, len(list))
	}
	facts, exists := v.tokens.Organization(org)
	if exists != s.registered || exists && (facts.Plan != s.plan || !slices.Equal(facts.Owners, s.owners)) {
		t.Fatalf("%s is %+v, to be expected was %+v", org, facts, s)
	}
}

func (k token) stateAt(at time.Time) projection.State {
	switch {
	case k.inactive:
		return projection.Inactive
	case k.expired(at):
		return projection.Expired
	}
	return projection.Active
}

func sameToken(k token, org string, l projection.Token, is projection.State) bool {
	got := token{
		id: l.ID.String(), label: l.Label, description: l.Description, createdBy: l.CreatedBy, digest: k.digest, inactive: k.inactive,
		createdAt: l.CreatedAt.Format(time.RFC3339Nano), expires: l.ExpiresAt, resources: l.Resources, version: l.Version,
	}
	return l.State == is && l.Organization == org && reflect.DeepEqual(got, k)
}

// portrait is everything the read models and the verifier of an engine answer, as
// text.
func (w *world) portrait(t rapid.TB, e *engine) string {
	var b strings.Builder
	say := func(what string, value any) {
		data, err := json.Marshal(value)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		fmt.Fprintf(&b, "%s: %s\n", what, data)
	}
	say("organizations", e.tokens.Organizations())
	for _, org := range slices.Sorted(maps.Keys(w.orgs)) {
		say("story of "+org, e.history.Organization(org, projection.Span{}))
		for _, id := range w.ids {
			use, _ := e.lastUsed.Of(org, id)
			say("use in "+org, use)
		}
		for _, at := range w.instants() {
			count, _ := e.counts.Of(org, at)
			say("count of "+org, count)
			say("list of "+org, e.tokens.List(org, projection.Query{At: at, Sort: projection.ByModified, Descending: true}))
			say("past of "+org, e.history.TokensAt(org, at))
		}
	}
	for _, id := range w.ids {
		w.portraitOf(&b, e, id)
	}
	return b.String()
}

// portraitOf is what the verifier grants to a token.
func (w *world) portraitOf(b *strings.Builder, e *engine, id uuid.UUID) {
	for _, org := range []string{acme, beta, gamma} {
		grant, err := e.verifier.Recheck(context.Background(), oat.Recheck{Organization: org, Token: id})
		fmt.Fprintf(b, "grant of %s to %s: %v %s", id, org, err, grant.Plan())
		for _, name := range []string{"api", "web", "r7", "deep/er"} {
			for v := oat.VisibilityUnknown; v <= oat.VisibilityPublic; v++ {
				fmt.Fprintf(b, " %t", grant.Allows(oat.Pull, org+"/"+name, v))
				fmt.Fprintf(b, " %t", grant.Allows(oat.Push, org+"/"+name, v))
			}
		}
		fmt.Fprintln(b)
	}
}
