package projection

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
)

// Tokens is the list of tokens of every organization: what they are called, what
// they reach, in which state they are. Deleted tokens are gone from it; [History]
// still has them.
type Tokens struct {
	feed[*roster, *listed]
}

// roster is one organization in [Tokens].
type roster struct {
	stream
	facts  Organization
	tokens []*listed   // in no order
	shown  atomic.Bool // somebody may be looking at tokens without the lock
}

// listed is a token with its label in lower case, which searching and sorting would
// otherwise make again and again. Once it was shown it is replaced and never changed,
// its place aside, so that a query can sort and cut tokens after it let go of the lock.
type listed struct {
	Token
	lower string
	place int // in the roster
}

// NewTokens is a list at position 0.
func NewTokens() *Tokens {
	t := new(Tokens)
	t.serve(t)
	return t
}

func (t *Tokens) begin(name string) *roster { return &roster{facts: Organization{Name: name}} }

func (t *Tokens) fold(o *roster, d *sight[*roster]) error {
	switch p := d.payload.(type) {
	case *events.TokenGenerated:
		return t.generate(o, d, p)
	case *events.TokenEdited:
		return t.edit(o, d, p)
	case *events.TokenDeactivated:
		return t.deactivate(o, d)
	case *events.TokenDeleted:
		return t.delete(o, d)
	}
	o.facts.learn(stampOf(d.Recorded), d.payload)
	return nil
}

func (t *Tokens) generate(o *roster, d *sight[*roster], p *events.TokenGenerated) error {
	if d.expiresErr != nil {
		return d.expiresErr
	}
	kept, err := t.add(d)
	if err != nil {
		return err
	}
	*kept = &listed{newToken(o.facts.Name, d.token, d.expires, stampOf(d.Recorded), p), strings.ToLower(p.Label), len(o.tokens)}
	o.tokens = append(o.tokens, *kept)
	return nil
}

// change is the token that d is about, to be changed.
func (t *Tokens) change(o *roster, d *sight[*roster]) (*listed, error) {
	kept, err := t.find(d)
	if err != nil {
		return nil, err
	}
	if o.shown.Load() {
		replaced := **kept
		*kept = &replaced
		o.tokens[replaced.place] = &replaced
	}
	return *kept, nil
}

func (t *Tokens) edit(o *roster, d *sight[*roster], p *events.TokenEdited) error {
	token, err := t.change(o, d)
	if err != nil {
		return err
	}
	token.edit(stampOf(d.Recorded), p)
	token.lower = strings.ToLower(token.Label)
	return nil
}

func (t *Tokens) deactivate(o *roster, d *sight[*roster]) error {
	token, err := t.change(o, d)
	if err == nil {
		token.deactivate(stampOf(d.Recorded))
	}
	return err
}

// delete puts the last token of the roster in the place of the one that goes.
func (t *Tokens) delete(o *roster, d *sight[*roster]) error {
	kept, err := t.find(d)
	if err != nil {
		return err
	}
	place, end := (*kept).place, len(o.tokens)-1
	o.tokens[place] = o.tokens[end]
	o.tokens[place].place = place
	o.tokens[end] = nil
	o.tokens = o.tokens[:end]
	t.remove(d)
	return nil
}

// Get is a token as of an instant. A deleted token is not found, and neither is
// one of another organization.
func (t *Tokens) Get(organization string, id uuid.UUID, at time.Time) (Token, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	kept := t.of(organization, id)
	if kept == nil {
		return Token{}, false
	}
	return (*kept).asOf(at), true
}

// Organization is what is known about an organization beside its tokens.
func (t *Tokens) Organization(name string) (Organization, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	o, ok := t.organizations[name]
	if !ok {
		return Organization{}, false
	}
	return o.view(), true
}

// Organizations is every organization, by name.
func (t *Tokens) Organizations() []Organization {
	t.mu.RLock()
	all := make([]Organization, 0, len(t.organizations))
	for _, o := range t.organizations {
		all = append(all, o.view())
	}
	t.mu.RUnlock()
	slices.SortFunc(all, func(a, b Organization) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// view is the organization's facts in a copy that the caller may change.
func (o *roster) view() Organization {
	facts := o.facts
	facts.Owners = slices.Clone(facts.Owners)
	return facts
}

// all is every token of an organization, in no order.
func (t *Tokens) all(organization string) []*listed {
	t.mu.RLock()
	defer t.mu.RUnlock()
	o, ok := t.organizations[organization]
	if !ok {
		return nil
	}
	o.shown.Store(true)
	return slices.Clone(o.tokens)
}
