package projtest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/oatmill/oatmill/events"
)

// World is a made-up past: what a log holds after some organizations lived for a
// while, and what a test needs to ask about it.
type World struct {
	Seed uint64
	// Records is the log in order. It obeys every rule of the domain but limits of
	// plans: tokens are generated, edited, deactivated and deleted as they may be, by
	// owners; uses come late, for deleted and unknown tokens too; clocks jump back;
	// streams of foreign kinds lie between. Positions have gaps of at least one.
	Records []events.Recorded
	// Organizations are the names of all organizations.
	Organizations []string
	// Tokens are the ids of all tokens each of them ever had, deleted ones
	// included, in the order in which they were generated.
	Tokens map[string][]string
	// Instants are moments worth asking about, in order: before everything, in the
	// midst, at expiries and a nanosecond before them, and after everything.
	Instants []time.Time
}

// NewWorld makes a World of that many organizations and records. The same
// arguments make the same world. Of the records about 60 % are uses of one to
// three tokens, 15 % generate a token, 15 % edit one, 5 % deactivate and 5 %
// delete one; a few change the organization, and one in fifty, but at least the one
// after the registrations, is of a foreign kind.
func NewWorld(seed uint64, organizations, records int) World {
	g := &generator{
		Rand:  rand.New(rand.NewPCG(seed, 0)),
		clock: epoch,
		heads: make(map[events.StreamID]events.Head),
		world: World{Seed: seed, Tokens: make(map[string][]string)},
	}
	for i := range organizations {
		g.register(fmt.Sprintf("org-%d", i))
	}
	g.foreign(g.organizations[0]) // so that there is one in each world
	for len(g.world.Records) < records {
		g.step()
	}
	g.world.Records = g.world.Records[:records]
	g.instants()
	return g.world
}

var epoch = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// generator lives through a World. It keeps just enough of the domain's state to
// do nothing that the domain would refuse.
type generator struct {
	*rand.Rand
	world         World
	clock         time.Time
	position      events.Position
	heads         map[events.StreamID]events.Head
	organizations []*organization
	expiries      []time.Time
}

type organization struct {
	name   string
	plan   string
	owners []string
	tokens []*token // not deleted
	gone   []string // deleted
}

type token struct {
	id       string
	label    string
	inactive bool
	expires  time.Time // zero: never
}

// usable tells whether the token may still be edited and deactivated.
func (t *token) usable(at time.Time) bool {
	return !t.inactive && (t.expires.IsZero() || at.Before(t.expires))
}

// step adds a record, mostly.
func (g *generator) step() {
	g.tick()
	o := g.organizations[g.IntN(len(g.organizations))]
	switch dice := g.IntN(106); {
	case dice < 2:
		g.foreign(o)
	case dice < 6:
		g.reorganize(o)
	case dice < 21:
		g.generate(o)
	case dice < 36:
		g.edit(o)
	case dice < 41:
		g.deactivate(o)
	case dice < 46:
		g.delete(o)
	default:
		g.use(o)
	}
}

// tick lets some time pass. One clock in thirty jumps back.
func (g *generator) tick() {
	passed := time.Duration(g.Int64N(int64(10 * time.Minute)))
	if g.IntN(30) == 0 {
		passed = -time.Duration(g.Int64N(int64(3 * time.Hour)))
	}
	g.clock = events.Instant(g.clock.Add(passed))
}

func (g *generator) register(name string) {
	o := &organization{name: name, plan: "team", owners: []string{"alice"}}
	g.organizations = append(g.organizations, o)
	g.world.Organizations = append(g.world.Organizations, name)
	g.decide(o, &events.OrganizationRegistered{Plan: o.plan, Owners: slices.Clone(o.owners)})
}

func (g *generator) reorganize(o *organization) {
	switch owner := fmt.Sprintf("owner-%d", len(g.world.Records)); {
	case g.IntN(2) == 0:
		o.plan = g.other(o.plan, "team", "business", "personal", "a plan nobody knows")
		g.decide(o, &events.OrganizationPlanChanged{Plan: o.plan})
	case len(o.owners) < 2 || g.IntN(2) == 0:
		g.decide(o, &events.OrganizationOwnerAdded{Owner: owner})
		o.owners = append(o.owners, owner)
	default:
		i := g.IntN(len(o.owners))
		g.decide(o, &events.OrganizationOwnerRemoved{Owner: o.owners[i]})
		o.owners = slices.Delete(o.owners, i, i+1)
	}
}

func (g *generator) generate(o *organization) {
	t := &token{id: g.uuid(), label: g.label("")}
	p := &events.TokenGenerated{Token: t.id, Label: t.label, Description: g.description(), Digest: g.digest(), Resources: g.resources(o)}
	p.ExpiresAt, t.expires = g.expiry()
	g.decide(o, p)
	o.tokens = append(o.tokens, t)
	g.world.Tokens[o.name] = append(g.world.Tokens[o.name], t.id)
}

func (g *generator) edit(o *organization) {
	t := g.usable(o)
	if t == nil {
		return
	}
	// Each edit has something that changes: nothing is recorded of one that does
	// not.
	p := &events.TokenEdited{Token: t.id}
	label, description := g.label(t.label), fmt.Sprintf("edit %d", len(g.world.Records))
	switch g.IntN(4) {
	case 0:
		p.Label = &label
	case 1:
		p.Description = &description
	case 2:
		p.Description, p.Resources = &description, g.resources(o)
	default:
		p.Label, p.Resources = &label, g.resources(o)
	}
	if p.Label != nil {
		t.label = label
	}
	g.decide(o, p)
}

func (g *generator) deactivate(o *organization) {
	if t := g.usable(o); t != nil {
		g.decide(o, &events.TokenDeactivated{Token: t.id})
		t.inactive = true
	}
}

func (g *generator) delete(o *organization) {
	if len(o.tokens) == 0 {
		return
	}
	i := g.IntN(len(o.tokens))
	g.decide(o, &events.TokenDeleted{Token: o.tokens[i].id})
	o.gone = append(o.gone, o.tokens[i].id)
	o.tokens = slices.Delete(o.tokens, i, i+1)
}

func (g *generator) use(o *organization) {
	p := &events.UsageRecorded{}
	for range 1 + g.IntN(3) {
		u := events.Use{Token: g.usedToken(o)}
		if g.IntN(10) > 0 {
			u.Accepted = g.span("")
		}
		if u.Accepted == nil || g.IntN(10) == 0 {
			u.Refused = g.span([]string{"inactive", "expired", "plan"}[g.IntN(3)])
		}
		p.Uses = append(p.Uses, u)
	}
	g.record(events.UsageStream(o.name), "host:registry", p)
}

// usedToken is mostly a token of the organization, sometimes one that is deleted,
// one of another organization, or one that never was.
func (g *generator) usedToken(o *organization) string {
	other := g.organizations[g.IntN(len(g.organizations))]
	switch dice := g.IntN(20); {
	case dice == 0:
		return g.uuid()
	case dice == 1 && len(other.tokens) > 0:
		return other.tokens[g.IntN(len(other.tokens))].id
	case dice < 4 && len(o.gone) > 0:
		return o.gone[g.IntN(len(o.gone))]
	case len(o.tokens) > 0:
		return o.tokens[g.IntN(len(o.tokens))].id
	}
	return g.uuid()
}

func (g *generator) span(cause string) *events.UseSpan {
	last := g.clock.Add(-time.Duration(g.IntN(3600)) * time.Second)
	return &events.UseSpan{
		First:     last.Add(-time.Duration(g.IntN(60)) * time.Second),
		Last:      last,
		Count:     1 + g.Int64N(20),
		Cause:     cause,
		Address:   fmt.Sprintf("10.0.0.%d", g.IntN(256)),
		UserAgent: fmt.Sprintf("docker/28.%d", g.IntN(10)),
	}
}

// foreign adds a record that is none of the module's business, however much it
// looks so.
func (g *generator) foreign(o *organization) {
	kinds := []string{"invoice", "organizations", "usage2", "organization2"}
	types := []string{"invoice.sent.v7", events.TypeTokenDeleted, events.TypeOrganizationPlanChanged, events.TypeUsageRecorded}
	stream := events.StreamID(kinds[g.IntN(len(kinds))] + "/" + o.name)
	g.seal(stream, events.Envelope{ID: g.id(), Type: types[g.IntN(len(types))], Time: g.clock, Actor: "someone", Data: []byte(`{"token":7,"uses":{}}`)})
}

// decide adds a record to the organization's own stream.
func (g *generator) decide(o *organization, p events.Payload) {
	actor := o.owners[g.IntN(len(o.owners))]
	if g.IntN(10) == 0 {
		actor = "host:console"
	}
	g.record(events.OrganizationStream(o.name), actor, p)
}

func (g *generator) record(stream events.StreamID, actor string, p events.Payload) {
	e, err := events.NewEnvelope(g.id(), g.clock, actor, p)
	if err != nil {
		panic(err) // payloads of package events are always JSON
	}
	if g.IntN(4) == 0 {
		e.Reason, e.Correlation = "rotation “due”", "request-"+e.ID.String()
	}
	g.seal(stream, e)
}

func (g *generator) seal(stream events.StreamID, e events.Envelope) {
	sealed, head := events.Seal(stream, g.heads[stream], []events.Envelope{e})
	g.heads[stream] = head
	g.position += 2 + events.Position(g.IntN(3))
	sealed[0].Position = g.position
	g.world.Records = append(g.world.Records, sealed[0])
}
