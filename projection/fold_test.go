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

// A read model keeps nothing of a batch but what it was folded into. To see it fail, let
// take not have the window forget.
func TestNothingOfABatchIsKept(t *testing.T) {
	l := NewLastUsed()
	if err := l.Apply(context.Background(), acme(t, 3*maxWindow/2).records); err != nil {
		t.Fatal(err)
	}
	for i, s := range l.window.sights[:cap(l.window.sights)] {
		if s.reading != nil || s.uses != nil || s.kept != nil {
			t.Errorf("record %d of the window is kept: %+v", i, s)
		}
	}
	for i, u := range l.window.uses[:cap(l.window.uses)] {
		if u.Token != nil || u.Accepted.Address != nil {
			t.Errorf("use %d of the window is kept: %s", i, u.Token)
		}
	}
}

// However many addresses tokens are used from, those that are kept are bounded by the tokens.
// To see it fail, let use not forget texts, or let forgetTexts not number anew.
func TestTextsAreForgotten(t *testing.T) {
	l := NewLastUsed()
	n := 3 * minTexts
	if err := l.Apply(context.Background(), acme(t, n).records); err != nil {
		t.Fatal(err)
	}
	if kept := len(l.texts.list); kept > minTexts+4 || len(l.texts.numbers) > kept {
		t.Errorf("%d texts are kept after %d addresses", kept, n)
	}
	if usage, ok := l.Of("acme", uuid.MustParse(other)); !ok || usage.Accepted.Address != "elsewhere" || usage.Accepted.UserAgent != "docker" || usage.Accepted.Cause != "" {
		t.Errorf("the other token was last used %+v", usage.Accepted)
	}
	usage, ok := l.Of("acme", uuid.MustParse(known))
	if want := fmt.Sprintf("address %d", n-1); !ok || usage.Accepted.Count != int64(n) || usage.Accepted.Address != want || usage.Accepted.UserAgent != "docker" {
		t.Errorf("the token was last used %+v, want %s", usage.Accepted, want)
	}
}

// Of two attempts at the same moment every reader keeps the same one, whichever it reads
// first. To see it fail, let merge not ask tells, or let tells leave out one of the texts.
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

// Tokens that somebody looks at stay as they are. To see it fail, let change not look at
// shown, or let all not set it.
func TestShownTokensStay(t *testing.T) {
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
	if old := shown[0]; old.Label != "ci" || old.lower != "ci" || old.State != Active {
		t.Errorf("a token that was shown became %+v", old)
	}
	now, _ := tokens.Get("acme", uuid.MustParse(known), time.Time{})
	if list := tokens.all("acme"); now.Label != "Deploy" || now.State != Inactive || len(list) != 2 || list[0].Token.Label != "Deploy" || list[0].lower != "deploy" {
		t.Errorf("the token is %+v, in the list %+v", now, list)
	}
}

// Entries stay where they are while more are added behind them. To see it fail, let the first
// block be as large as the second.
func TestEntries(t *testing.T) {
	var e entries
	var at []*entry
	for i := range 1000 {
		x := e.add()
		x.time = int64(i)
		at = append(at, x)
		if i%97 > 0 && i < 990 {
			continue
		}
		for j := range at {
			if e.at(j) != at[j] || e.at(j).time != int64(j) {
				t.Fatalf("after %d entries, entry %d is another one", i+1, j)
			}
		}
	}
	if e.n != len(at) {
		t.Errorf("%d entries, want %d", e.n, len(at))
	}
}
