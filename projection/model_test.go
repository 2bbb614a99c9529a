package projection_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/projection/projtest"
	"github.com/oatmill/oatmill/quota"
)

// model is the plainest fold of the records that gives the answers the read models
// are held to: slices, loops, encoding/json, and nothing kept for speed.
type model struct {
	organizations map[string]*modelOrganization
}

type modelOrganization struct {
	facts  projection.Organization
	tokens []*modelToken // in the order in which they were generated; deleted ones too
}

type modelToken struct {
	view              projection.Token
	deleted           bool
	accepted, refused []events.UseSpan // all that were recorded while it was there
}

func fold(records []events.Recorded) *model {
	m := &model{organizations: make(map[string]*modelOrganization)}
	for _, r := range records {
		switch r.Stream.Kind() {
		case events.KindOrganization:
			m.decided(r)
		case events.KindUsage:
			m.used(r)
		}
	}
	return m
}

func (m *model) decided(r events.Recorded) {
	name := r.Stream.Name()
	if m.organizations[name] == nil {
		m.organizations[name] = &modelOrganization{facts: projection.Organization{Name: name}}
	}
	o := m.organizations[name]
	var p struct {
		Plan, Owner string
		Owners      []string
		events.TokenGenerated
		Edited struct{ Label, Description *string } `json:"-"`
	}
	unmarshal(r.Data, &p)
	unmarshal(r.Data, &p.Edited)
	facts := &o.facts
	switch r.Type {
	case events.TypeOrganizationRegistered:
		facts.Plan, facts.Owners, facts.RegisteredAt = p.Plan, p.Owners, r.Time
	case events.TypeOrganizationPlanChanged:
		facts.Plan = p.Plan
	case events.TypeOrganizationOwnerAdded:
		facts.Owners = append(facts.Owners, p.Owner)
	case events.TypeOrganizationOwnerRemoved:
		i := slices.Index(facts.Owners, p.Owner)
		facts.Owners = append(facts.Owners[:i:i], facts.Owners[i+1:]...)
	case events.TypeTokenGenerated:
		o.generated(r, p.TokenGenerated)
	default:
		o.changed(r, p.Token, p.Edited.Label, p.Edited.Description, p.Resources)
	}
	if strings.HasPrefix(r.Type, "organization.") {
		facts.ModifiedAt, facts.ModifiedBy, facts.Version = r.Time, r.Actor, r.Version
	}
}

func (o *modelOrganization) generated(r events.Recorded, p events.TokenGenerated) {
	t := &modelToken{view: projection.Token{
		ID: uuid.MustParse(p.Token), Organization: o.facts.Name, Label: p.Label, Description: p.Description,
		State: projection.Active, Resources: p.Resources, CreatedAt: r.Time, CreatedBy: r.Actor, ExpiresAt: p.ExpiresAt,
		ModifiedAt: r.Time, ModifiedBy: r.Actor, Version: r.Version,
	}}
	if p.ExpiresAt != "" {
		at, err := time.Parse(time.RFC3339Nano, p.ExpiresAt)
		if err != nil {
			panic(err)
		}
		t.view.Expires = at.UTC()
	}
	o.tokens = append(o.tokens, t)
}

func (o *modelOrganization) changed(r events.Recorded, id string, label, description *string, resources []events.Resource) {
	t := o.find(id)
	v := &t.view
	switch r.Type {
	case events.TypeTokenEdited:
		if label != nil {
			v.Label = *label
		}
		if description != nil {
			v.Description = *description
		}
		if resources != nil {
			v.Resources = resources
		}
	case events.TypeTokenDeactivated:
		v.State = projection.Inactive
	case events.TypeTokenDeleted:
		t.deleted = true
	}
	v.ModifiedAt, v.ModifiedBy, v.Version = r.Time, r.Actor, r.Version
}

func (o *modelOrganization) find(id string) *modelToken {
	for _, t := range o.tokens {
		if t.view.ID.String() == id && !t.deleted {
			return t
		}
	}
	return nil
}

func (m *model) used(r events.Recorded) {
	var p events.UsageRecorded
	unmarshal(r.Data, &p)
	o := m.organizations[r.Stream.Name()]
	for _, use := range p.Uses {
		t := o.find(use.Token)
		if t == nil {
			continue
		}
		if use.Accepted != nil {
			t.accepted = append(t.accepted, *use.Accepted)
		}
		if use.Refused != nil {
			t.refused = append(t.refused, *use.Refused)
		}
	}
}

func unmarshal(data []byte, into any) {
	if err := json.Unmarshal(data, into); err != nil {
		panic(err)
	}
}

// state is the rule, said once more: inactive stays inactive, and at its expiry a
// token is expired.
func (t *modelToken) state(at time.Time) projection.State {
	if t.view.State == projection.Active && t.view.ExpiresAt != "" && at.UnixNano() >= t.view.Expires.UnixNano() {
		return projection.Expired
	}
	return t.view.State
}

// tokens are those that are not deleted, as of an instant.
func (o *modelOrganization) list(at time.Time) []projection.Token {
	list := []projection.Token{}
	for _, t := range o.tokens {
		if !t.deleted {
			v := t.view
			v.State = t.state(at)
			list = append(list, v)
		}
	}
	return list
}

// sum is all spans of attempts as one.
func sum(spans []events.UseSpan) events.UseSpan {
	var total events.UseSpan
	for _, s := range spans {
		first, count := total.First, total.Count+s.Count
		if total.Count == 0 || s.First.Before(first) {
			first = s.First
		}
		newer := s.Last.Sub(total.Last)
		if total.Count == 0 || newer > 0 || newer == 0 && s.Address+"\x00"+s.UserAgent+"\x00"+s.Cause > total.Address+"\x00"+total.UserAgent+"\x00"+total.Cause {
			total = s
		}
		total.First, total.Count = first, count
	}
	return total
}

// randomWorld is a world that another run will not see, or the one that
// OATMILL_PROJTEST_SEED names.
func randomWorld(t *testing.T, organizations, records int) projtest.World {
	t.Helper()
	w := projtest.NewWorld(projtest.Seed(t), organizations, records)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("repeat with OATMILL_PROJTEST_SEED=%d", w.Seed)
		}
	})
	return w
}

// apply gives the records to the projections, some at a time.
func apply(t *testing.T, records []events.Recorded, projections ...projection.Projection) {
	t.Helper()
	for batch := range slices.Chunk(records, 64) {
		for _, p := range projections {
			if err := p.Apply(context.Background(), batch); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Tokens shows what the plain model shows, under every query. To see it fail, let
// Tokens.delete leave the last token's place as it was, let Token.edit replace
// resources by an empty list, or drop the ids from Query.sort.
func TestTokensAgreesWithModel(t *testing.T) {
	w := randomWorld(t, 3, 1500)
	tokens := projection.NewTokens()
	apply(t, w.Records, tokens)
	m := fold(w.Records)
	random := rand.New(rand.NewPCG(w.Seed, 2))
	for _, name := range w.Organizations {
		o := m.organizations[name]
		if got, ok := tokens.Organization(name); !ok || !cmp.Equal(got, o.facts) {
			t.Errorf("%s: %s", name, cmp.Diff(o.facts, got))
		}
		for _, id := range w.Tokens[name] {
			at := w.Instants[random.IntN(len(w.Instants))]
			checkGet(t, tokens, o, id, at)
		}
		for range 200 {
			q := randomQuery(random, w)
			want := o.query(q)
			if got := tokens.List(name, q); !cmp.Equal(got, want) {
				t.Fatalf("%s, %+v:\n%s", name, q, cmp.Diff(want, got))
			}
		}
	}
}

func checkGet(t *testing.T, tokens *projection.Tokens, o *modelOrganization, id string, at time.Time) {
	t.Helper()
	got, ok := tokens.Get(o.facts.Name, uuid.MustParse(id), at)
	want := o.find(id)
	if ok != (want != nil) {
		t.Fatalf("token %s: found %v, want %v", id, ok, want != nil)
	}
	if !ok {
		return
	}
	view := want.view
	view.State = want.state(at)
	if !cmp.Equal(got, view) {
		t.Fatalf("token %s at %v:\n%s", id, at, cmp.Diff(view, got))
	}
}

func randomQuery(random *rand.Rand, w projtest.World) projection.Query {
	labels := []string{"", "", "CI", "deploy", "ÖSS", " x", "nothing has this"}
	sorts := []projection.Order{projection.ByCreated, projection.ByModified, projection.ByExpires, projection.ByLabel, ""}
	q := projection.Query{
		At:         w.Instants[random.IntN(len(w.Instants))],
		Label:      labels[random.IntN(len(labels))],
		Sort:       sorts[random.IntN(len(sorts))],
		Descending: random.IntN(2) == 0,
		Page:       random.IntN(6) - 1,
		PageSize:   random.IntN(20) - 1,
	}
	for _, state := range []projection.State{projection.Active, projection.Inactive, projection.Expired} {
		if random.IntN(2) == 0 {
			q.States = append(q.States, state)
		}
	}
	return q
}

// query answers a query with one sort key that is a string.
func (o *modelOrganization) query(q projection.Query) projection.Page {
	type row struct {
		key   string
		token projection.Token
	}
	var rows []row
	for _, t := range o.list(q.At) {
		if len(q.States) > 0 && !slices.Contains(q.States, t.State) || !strings.Contains(strings.ToLower(t.Label), strings.ToLower(q.Label)) {
			continue
		}
		const sortable = "2006-01-02T15:04:05.000000000"
		key := t.CreatedAt.Format(sortable)
		switch q.Sort {
		case projection.ByModified:
			key = t.ModifiedAt.Format(sortable)
		case projection.ByLabel:
			key = strings.ToLower(t.Label) + "\x00" + t.Label
		case projection.ByExpires:
			key = "never"
			if t.ExpiresAt != "" {
				key = t.Expires.Format(sortable)
			}
		}
		rows = append(rows, row{key + "\x00" + t.ID.String(), t})
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.key, b.key) })
	if q.Descending {
		slices.Reverse(rows)
	}
	page := projection.Page{Total: len(rows), Tokens: []projection.Token{}}
	for i, r := range rows {
		if q.PageSize < 1 && q.Page <= 1 || q.PageSize > 0 && i/q.PageSize == max(q.Page, 1)-1 {
			page.Tokens = append(page.Tokens, r.token)
		}
	}
	return page
}

// I4, first half: counts equal what is counted from the list of tokens, and from
// the model. To see it fail, let Counts.delete or Counts.deactivate not unschedule a
// token's expiry, or let instants.settle keep what was removed.
func TestCountsAgreesWithModelAndTokens(t *testing.T) {
	plans := quota.Plans{"team": {Tokens: 10}, "business": {Tokens: 100}, "personal": {}}
	w := randomWorld(t, 3, 3000)
	tokens, counts := projection.NewTokens(), projection.NewCounts(plans)
	for _, part := range [][]events.Recorded{w.Records[:500], w.Records[500:1500], w.Records[1500:]} {
		apply(t, part, tokens, counts)
		m := fold(w.Records[:slices.IndexFunc(w.Records, func(r events.Recorded) bool { return r.Position == counts.Position() })+1])
		for _, name := range w.Organizations {
			for _, at := range w.Instants {
				list, plan := m.organizations[name].list(at), m.organizations[name].facts.Plan
				want := count(name, plan, plans[plan], list)
				if got, ok := counts.Of(name, at); !ok || got != want {
					t.Errorf("%s at %v:\n%s", name, at, cmp.Diff(want, got))
				}
				if got := count(name, plan, plans[plan], tokens.List(name, projection.Query{At: at}).Tokens); got != want {
					t.Errorf("%s at %v, from the list:\n%s", name, at, cmp.Diff(want, got))
				}
			}
		}
	}
}

func count(name, planName string, plan quota.Plan, list []projection.Token) projection.Count {
	c := projection.Count{Organization: name, Plan: planName, Total: len(list), Limit: plan.Tokens, Remaining: plan.Remaining(len(list))}
	for _, t := range list {
		switch t.State {
		case projection.Active:
			c.Active++
		case projection.Inactive:
			c.Inactive++
		case projection.Expired:
			c.Expired++
		}
	}
	return c
}

// I4, second half: last used equals the maximum of all recorded uses. To see it
// fail, let LastUsed.merge take the latest span when it is not later, or leave the
// first attempt as it was, or let LastUsed.fold keep a deleted token.
func TestLastUsedAgreesWithModel(t *testing.T) {
	w := randomWorld(t, 3, 1500)
	used := projection.NewLastUsed()
	apply(t, w.Records, used)
	m := fold(w.Records)
	for _, name := range w.Organizations {
		for _, id := range w.Tokens[name] {
			var want projection.Usage
			token := m.organizations[name].find(id)
			if token != nil && len(token.accepted)+len(token.refused) > 0 {
				want = projection.Usage{Token: uuid.MustParse(id), Accepted: sum(token.accepted), Refused: sum(token.refused)}
			}
			got, found := used.Of(name, uuid.MustParse(id))
			if found != (want.Token != uuid.Nil) || !cmp.Equal(got, want) {
				t.Errorf("token %s: found %v\n%s", id, found, cmp.Diff(want, got))
			}
		}
	}
}
