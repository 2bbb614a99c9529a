package projection_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/projection"
)

const (
	organization = "organization/acme"
	usage        = "usage/acme"
	known        = "6f1c1c0e-5f1e-4c55-9d35-0f4c4a2f9a10"
	other        = "7a2d2d1f-5f1e-4c55-9d35-0f4c4a2f9a10"
)

// TestDamageClosesTheOrganization feeds the read models, after an organization with one
// token, records that no log of this library holds. A read model that would have to make
// something of the record closes the organization, keeps what came before, and goes on with
// the others. Fails if decide ignores an error of fold, if fold does not call Advance, if
// noSuchToken or secondToken is left out, or if isToken takes any length.
func TestDamageClosesTheOrganization(t *testing.T) {
	generated := func(rest string) string {
		return `{"token":"` + other + `","label":"x","digest":"` + strings.Repeat("0", 64) + `","resources":[]` + rest + `}`
	}
	about := func(token string) string { return `{"token":"` + token + `"}` }
	for name, test := range map[string]struct {
		change func(*events.Recorded)
		kind   string
		data   string
		closes string // of Tokens, Counts, LastUsed, History
	}{
		"a hole in the versions":  {func(r *events.Recorded) { r.Version = 5 }, events.TypeTokenDeactivated, about(known), "TCLH"},
		"a version twice":         {func(r *events.Recorded) { r.Version = 2 }, events.TypeTokenDeactivated, about(known), "TCLH"},
		"another history":         {func(r *events.Recorded) { r.Previous = events.Hash{1} }, events.TypeTokenDeactivated, about(known), "TCLH"},
		"a changed content":       {func(r *events.Recorded) { r.SetStored(events.Hash{1}) }, events.TypeTokenDeactivated, about(known), "TCLH"},
		"edit of no token":        {nil, events.TypeTokenEdited, about(other), "T"},
		"deactivation of none":    {nil, events.TypeTokenDeactivated, about(other), "TC"},
		"deletion of none":        {nil, events.TypeTokenDeleted, about(other), "TCL"},
		"a token twice":           {nil, events.TypeTokenGenerated, strings.Replace(generated(""), other, known, 1), "TCL"},
		"an id in other form":     {nil, events.TypeTokenGenerated, strings.Replace(generated(""), other, "{"+known+"}", 1), "TCLH"},
		"an id that is none":      {nil, events.TypeTokenGenerated, strings.Replace(generated(""), other, strings.Repeat("g", 36), 1), "TCLH"},
		"the nil id":              {nil, events.TypeTokenGenerated, strings.Replace(generated(""), other, uuid.Nil.String(), 1), "TCLH"},
		"an expiry that is none":  {nil, events.TypeTokenGenerated, generated(`,"expires_at":"next year"`), "TCH"},
		"a day for an expiry":     {nil, events.TypeTokenGenerated, generated(`,"expires_at":"2027-01-31"`), "TCH"},
		"use in the wrong stream": {nil, events.TypeUsageRecorded, `{"uses":[]}`, "TCLH"},
		"data that is no payload": {nil, events.TypeTokenDeleted, `{"token":{}}`, "TCLH"},
	} {
		t.Run(name, func(t *testing.T) {
			damaged := next(twoRecords(), organization, test.kind, test.data)
			if test.change != nil {
				test.change(&damaged)
			}
			batch := append(twoRecords(), damaged)
			batch = append(batch, next(batch, "organization/globex", events.TypeOrganizationRegistered, `{"plan":"team","owners":["bob"]}`))
			for i, p := range newEverything().list() {
				closes := strings.Contains(test.closes, "TCLH"[i:i+1])
				if err := p.Apply(t.Context(), batch); err != nil || p.Position() != 40 {
					t.Fatalf("%T: position %d, %v", p, p.Position(), err)
				}
				suspects := p.(projection.Rebuilder).Suspects()
				if want := []events.StreamID{organization}; closes && !slices.Equal(suspects, want) || !closes && len(suspects) > 0 {
					t.Errorf("%T: closed %v, want closed: %v", p, suspects, closes)
				}
			}
		})
	}
}

// A use that cannot be read is ignored, with everything else in its record. Fails if
// readUses keeps the uses before a bad one.
func TestUnreadableUsesAreIgnored(t *testing.T) {
	for name, r := range map[string]events.Recorded{
		"a decision among uses": next(twoRecords(), usage, events.TypeTokenDeleted, `{"token":"`+known+`"}`),
		"a use of no id":        next(twoRecords(), usage, events.TypeUsageRecorded, usesOf(known, "nobody")),
	} {
		all := newEverything()
		for _, p := range all.list() {
			if err := p.Apply(t.Context(), append(twoRecords(), r)); err != nil || p.Position() != 30 {
				t.Errorf("%s: %T: position %d, %v", name, p, p.Position(), err)
			}
		}
		if _, found := all.lastUsed.Of("acme", uuid.MustParse(known)); found {
			t.Errorf("%s: a part of the record was applied", name)
		}
		if _, found := all.tokens.Get("acme", uuid.MustParse(known), time.Time{}); !found {
			t.Errorf("%s: the token is gone", name)
		}
	}
}

// twoRecords are an organization and its token.
func twoRecords() []events.Recorded {
	first := next(nil, organization, events.TypeOrganizationRegistered, `{"plan":"team","owners":["alice"]}`)
	batch := []events.Recorded{first}
	return append(batch, next(batch, organization, events.TypeTokenGenerated, `{"token":"`+known+`","label":"ci","digest":"`+strings.Repeat("0", 64)+`","resources":[]}`))
}

// next is a record that follows the batch, in the log and in its stream.
func next(batch []events.Recorded, stream events.StreamID, kind, data string) events.Recorded {
	var head events.Head
	for i := range batch {
		if batch[i].Stream == stream {
			head = events.Head{Version: batch[i].Version, Hash: batch[i].Hash()}
		}
	}
	sealed, _ := events.Seal(stream, head, []events.Envelope{{Type: kind, Data: []byte(data)}})
	sealed[0].Position = events.Position(10 * (len(batch) + 1))
	return sealed[0]
}

func usesOf(tokens ...string) string {
	var uses []string
	for _, token := range tokens {
		uses = append(uses, `{"token":"`+token+`","accepted":{"first":"2026-01-01T00:00:00Z","last":"2026-01-01T00:00:00Z","count":1}}`)
	}
	return `{"uses":[` + strings.Join(uses, ",") + `]}`
}

// A first record that cannot be applied leaves no organization behind.
func TestDamageLeavesNoOrganization(t *testing.T) {
	tokens := projection.NewTokens()
	r := next(nil, organization, events.TypeTokenGenerated, `{"token":"?"}`)
	if err := tokens.Apply(context.Background(), []events.Recorded{r}); err != nil {
		t.Fatal(err)
	}
	if o, found := tokens.Organization("acme"); found || len(tokens.Organizations()) > 0 || len(tokens.Suspects()) != 1 {
		t.Errorf("found %+v", o)
	}
}
