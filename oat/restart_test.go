package oat_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
)

const acme = events.StreamID("organization/acme")

// long is a desk whose organization has several dozen events behind it, and tokens in
// every state.
type long struct {
	*desk
	log    *tapped
	tokens []oat.Token // as they stand, the deleted one left out
}

func newLong(t *testing.T) *long {
	t.Helper()
	l := new(long)
	l.desk = newDesk(t, tap(&l.log))
	must(t, l.Service.AddOwner(t.Context(), alice, oat.AddOwner{Organization: "acme", Owner: "bob"}))
	plain, _ := l.generate()
	full, _ := l.generate(l.lasting(time.Hour), func(cmd *oat.Generate) {
		cmd.Label, cmd.Description, cmd.Resources = "müsli", "one\ntwo", many(3)
	})
	expiring, _ := l.generate(func(cmd *oat.Generate) { cmd.Expires = parsed(t, "2026-01-01T01:00:00.5+00:30") })
	deleted, _ := l.generate()
	l.delete(deleted.ID)
	for i := range 40 {
		plain = l.edit(plain, fmt.Sprint(i))
	}
	l.tokens = []oat.Token{plain, full, expiring}
	return l
}

func (l *long) edit(token oat.Token, label string) oat.Token {
	l.t.Helper()
	edited, err := l.Service.Edit(l.t.Context(), alice, oat.Edit{Organization: "acme", Token: token.ID, Label: &label})
	must(l.t, err)
	return edited
}

// A new process decides as one that was there all the time, and reads the stream once.
// Fails if apply leaves out a field of a token, or if refresh reads the stream again.
func TestNewProcessDecidesTheSame(t *testing.T) {
	l := newLong(t)
	want := len(l.records(acme))
	read := reads(l.log)
	s, err := oat.New(oat.Config{Log: l.log, Now: l.Clock.Now})
	must(t, err)
	for _, token := range l.tokens {
		same, err := s.Edit(t.Context(), oat.Actor{User: "bob"}, oat.Edit{Organization: "acme", Token: token.ID, Label: &token.Label})
		must(t, err)
		if diff := cmp.Diff(token, same, sameToken()); diff != "" {
			t.Errorf("token after a restart (-want +got):\n%s", diff)
		}
	}
	if *read > want+len(l.tokens) { // the last record again for each command that changes nothing
		t.Errorf("read %d records of %d", *read, want)
	}
	for range 10 - len(l.tokens) {
		_, _, err := s.Generate(t.Context(), alice, wellFormed())
		must(t, err)
	}
	if _, _, err := s.Generate(t.Context(), alice, wellFormed()); err == nil {
		t.Error("an eleventh token after a restart")
	}
}
