package projection_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

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

// TestDamage feeds the read models, after an organization with one token, records
// that no log of this library holds. Those that would have to make something of
// the record stop before it and name it; the others go on. To see it fail, let decide
// not compare versions, let find or add return no error, let isToken take any length, or
// let window.read pass over a bad id.
func TestDamage(t *testing.T) {
	generated := func(rest string) string {
		return `{"token":"` + other + `","label":"x","digest":"` + strings.Repeat("0", 64) + `","resources":[]` + rest + `}`
	}
	about := func(token string) string { return `{"token":"` + token + `"}` }
	for name, test := range map[string]struct {
		stream  events.StreamID
		version events.Version // 0: the next one
		kind    string
		data    string
		stops   string // of Tokens, Counts, LastUsed, History
		says    string
	}{
		"a hole in the versions":  {organization, 5, events.TypeTokenDeactivated, about(known), "TCLH", "version 5 follows version 2"},
		"a version twice":         {organization, 2, events.TypeTokenDeactivated, about(known), "TCLH", "version 2 follows version 2"},
		"edit of no token":        {organization, 0, events.TypeTokenEdited, about(other), "T", "there is no token " + other},
		"deactivation of none":    {organization, 0, events.TypeTokenDeactivated, about(other), "TC", "there is no token " + other},
		"deletion of none":        {organization, 0, events.TypeTokenDeleted, about(other), "TCL", "there is no token " + other},
		"a token twice":           {organization, 0, events.TypeTokenGenerated, strings.Replace(generated(""), other, known, 1), "TCL", "exists already"},
		"an id in other form":     {organization, 0, events.TypeTokenGenerated, strings.Replace(generated(""), other, "{"+known+"}", 1), "TCLH", "not a UUID"},
		"an id that is none":      {organization, 0, events.TypeTokenGenerated, strings.Replace(generated(""), other, strings.Repeat("g", 36), 1), "TCLH", "not a UUID"},
		"the nil id":              {organization, 0, events.TypeTokenGenerated, strings.Replace(generated(""), other, uuid.Nil.String(), 1), "TCLH", "not a UUID"},
		"an expiry that is none":  {organization, 0, events.TypeTokenGenerated, generated(`,"expires_at":"next year"`), "TCH", `expires_at "next year"`},
		"a day for an expiry":     {organization, 0, events.TypeTokenGenerated, generated(`,"expires_at":"2027-01-31"`), "TCH", `expires_at "2027-01-31"`},
		"use in the wrong stream": {organization, 0, events.TypeUsageRecorded, `{"uses":[]}`, "TCLH", "does not belong"},
		"a decision among uses":   {usage, 1, events.TypeTokenDeleted, about(known), "TCLH", "does not belong"},
		"a use of no id":          {usage, 1, events.TypeUsageRecorded, usesOf(known, "nobody"), "L", "not a UUID"},
		"data that is no payload": {organization, 0, events.TypeTokenDeleted, `{"token":{}}`, "TCLH", "decode"},
	} {
		t.Run(name, func(t *testing.T) {
			if test.version == 0 {
				test.version = 3
			}
			r := events.Recorded{Stream: test.stream, Version: test.version, Position: 30, Envelope: events.Envelope{Type: test.kind, Data: []byte(test.data)}}
			all := newEverything()
			for i, p := range all.list() {
				checkDamage(t, p, r, strings.Contains(test.stops, "TCLH"[i:i+1]), test.says)
			}
			if _, found := all.lastUsed.Of("acme", uuid.MustParse(known)); found {
				t.Error("a part of the record was applied")
			}
		})
	}
}

func checkDamage(t *testing.T, p projection.Projection, r events.Recorded, stops bool, says string) {
	t.Helper()
	err := p.Apply(context.Background(), append(twoRecords(), r))
	if !stops {
		if err != nil || p.Position() != 30 {
			t.Errorf("%T: position %d, %v", p, p.Position(), err)
		}
		return
	}
	if !errors.Is(err, events.ErrDamaged) || p.Position() != 20 {
		t.Fatalf("%T: position %d, %v", p, p.Position(), err)
	}
	for _, part := range []string{says, fmt.Sprintf("position 30 in %s", r.Stream)} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%T: %v: does not say %q", p, err, part)
		}
	}
}

// twoRecords are an organization and its token.
func twoRecords() []events.Recorded {
	return []events.Recorded{
		{Stream: organization, Version: 1, Position: 10, Envelope: events.Envelope{Type: events.TypeOrganizationRegistered, Data: []byte(`{"plan":"team","owners":["alice"]}`)}},
		{Stream: organization, Version: 2, Position: 20, Envelope: events.Envelope{Type: events.TypeTokenGenerated, Data: []byte(`{"token":"` + known + `","label":"ci","digest":"` + strings.Repeat("0", 64) + `","resources":[]}`)}},
	}
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
	r := twoRecords()[1]
	r.Version = 1
	r.Data = []byte(`{"token":"?"}`)
	if err := tokens.Apply(context.Background(), []events.Recorded{r}); !errors.Is(err, events.ErrDamaged) {
		t.Fatal(err)
	}
	if o, found := tokens.Organization("acme"); found || len(tokens.Organizations()) > 0 {
		t.Errorf("found %+v", o)
	}
}
