package projection

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
)

// writer makes records, one behind the other.
type writer struct {
	t       testing.TB
	heads   map[events.StreamID]events.Head
	records []events.Recorded
}

func (w *writer) add(stream events.StreamID, payload events.Payload) {
	w.t.Helper()
	var id [16]byte
	binary.BigEndian.PutUint64(id[8:], uint64(len(w.records)+1))
	e, err := events.NewEnvelope(id, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), "alice", payload)
	if err != nil {
		w.t.Fatal(err)
	}
	sealed, head := events.Seal(stream, w.heads[stream], []events.Envelope{e})
	w.heads[stream] = head
	sealed[0].Position = events.Position(len(w.records) + 1)
	w.records = append(w.records, sealed[0])
}

const (
	known = "0190b1c2-7d3e-4f5a-8b9c-0d1e2f3a4b5c"
	other = "0190b1c2-7d3e-4f5a-8b9c-0d1e2f3a4b5d"
)

// acme is an organization with two tokens: one was used once, and then the other from n
// addresses.
func acme(t testing.TB, n int) *writer {
	p := &writer{t: t, heads: make(map[events.StreamID]events.Head)}
	p.add("organization/acme", &events.OrganizationRegistered{Plan: "team", Owners: []string{"alice"}})
	p.add("organization/acme", &events.TokenGenerated{Token: known, Label: "ci"})
	p.add("organization/acme", &events.TokenGenerated{Token: other, Label: "other"})
	use := func(token, address string, i int) {
		at := time.Date(2026, 1, 2, 3, 4, i, 0, time.UTC)
		p.add("usage/acme", &events.UsageRecorded{Uses: []events.Use{{Token: token, Accepted: &events.UseSpan{
			First: at, Last: at, Count: 1, Address: address, UserAgent: "docker",
		}}}})
	}
	use(other, "elsewhere", 0)
	for i := range n {
		use(known, fmt.Sprintf("address %d", i), i)
	}
	return p
}

// Of two attempts at the same moment every reader keeps the same one, whichever it reads
// first. Fails if merge does not call precedes, or precedes leaves out one of the texts.
func TestAttemptsAtTheSameMoment(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	span := events.UseSpan{First: at, Last: at, Count: 1, Cause: "plan", Address: "10.0.0.1", UserAgent: "docker"}
	cause, address, agent := span, span, span
	cause.Cause, address.Address, agent.UserAgent = "expired", "10.0.0.2", "crane"
	for _, other := range []events.UseSpan{cause, address, agent} {
		var kept []Usage
		for _, spans := range [][]events.UseSpan{{span, other}, {other, span}} {
			p := acme(t, 0)
			for i := range spans {
				p.add("usage/acme", &events.UsageRecorded{Uses: []events.Use{{Token: known, Refused: &spans[i]}}})
			}
			l := NewLastUsed()
			if err := l.Apply(context.Background(), p.records); err != nil {
				t.Fatal(err)
			}
			usage, _ := l.Of("acme", uuid.MustParse(known))
			kept = append(kept, usage)
		}
		if kept[0] != kept[1] || kept[0].Refused.Count != 2 {
			t.Errorf("one order keeps %+v, the other %+v", kept[0].Refused, kept[1].Refused)
		}
	}
}

// A token that a query has taken stays as it is. Fails if change changes the token in place.
func TestListedTokensAreReplaced(t *testing.T) {
	p := acme(t, 0)
	tokens := NewTokens()
	apply := func() {
		t.Helper()
		if err := tokens.Apply(context.Background(), p.records); err != nil {
			t.Fatal(err)
		}
	}
	apply()
	shown := tokens.all("acme")
	label := "Deploy"
	p.add("organization/acme", &events.TokenEdited{Token: known, Label: &label})
	p.add("organization/acme", &events.TokenDeactivated{Token: known})
	apply()
	for _, old := range shown {
		if old.State != Active || old.ID.String() == known && (old.Label != "ci" || old.lower != "ci") {
			t.Errorf("a token that was shown became %+v", old)
		}
	}
	now, _ := tokens.Get("acme", uuid.MustParse(known), time.Time{})
	page := tokens.List("acme", Query{Label: "DEPLOY"})
	if now.Label != "Deploy" || now.State != Inactive || page.Total != 1 || page.Tokens[0].Label != "Deploy" {
		t.Errorf("the token is %+v, in the list %+v", now, page)
	}
}
