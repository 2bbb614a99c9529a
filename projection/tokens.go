package projection

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
)

// Tokens is the list of tokens of every organization: what they are called, what
// they reach, in which state they are. Deleted tokens are gone from it; [History]
// still has them.
type Tokens struct {
	feed
	unused
	organizations map[string]*roster
	places        table[uint32] // in the roster
}

// roster is one organization in [Tokens]. Its tokens are replaced and never
// changed, so that a query can sort and cut them after it let go of the lock.
type roster struct {
	stream
	facts  Organization
	tokens []*listed // in no order
}

// listed is a token with its label in lower case, which searching and sorting would
// otherwise make again and again.
type listed struct {
	Token
	lower string
}

func newListed(t Token) *listed { return &listed{t, strings.ToLower(t.Label)} }

// NewTokens is a list at position 0.
func NewTokens() *Tokens {
	return &Tokens{organizations: make(map[string]*roster), places: newTable[uint32]()}
}

// Apply implements [Projection].
func (t *Tokens) Apply(ctx context.Context, batch []events.Recorded) error {
	return t.apply(ctx, batch, t)
}

func (t *Tokens) decided(organization string, r *events.Recorded, p events.Payload) error {
	return advance(t, t.organizations, organization, r, p)
}

func (t *Tokens) begin(name string) *roster { return &roster{facts: Organization{Name: name}} }

func (t *Tokens) fold(o *roster, r *events.Recorded, p events.Payload) error {
	switch p := p.(type) {
	case *events.TokenGenerated:
		return t.generate(o, r, p)
	case *events.TokenEdited:
		return t.replace(o, r, p.Token, func(t *Token) { t.edit(stampOf(r), p) })
	case *events.TokenDeactivated:
		return t.replace(o, r, p.Token, func(t *Token) { t.deactivate(stampOf(r)) })
	case *events.TokenDeleted:
		return t.delete(o, r, p)
	}
	o.facts.learn(stampOf(r), p)
	return nil
}

func (t *Tokens) generate(o *roster, r *events.Recorded, p *events.TokenGenerated) error {
	key, err := vacant(&t.places, &o.stream, r, p.Token)
	if err != nil {
		return err
	}
	expires, err := expiryOf(r, p)
	if err != nil {
		return err
	}
	token := newToken(o.facts.Name, key.id, expires, stampOf(r), p)
	t.places.put(key, uint32(len(o.tokens)))
	o.tokens = append(o.tokens, newListed(token))
	return nil
}

func (t *Tokens) replace(o *roster, r *events.Recorded, token string, change func(*Token)) error {
	_, place, err := find(&t.places, &o.stream, r, token)
	if err != nil {
		return err
	}
	after := o.tokens[*place].Token
	change(&after)
	o.tokens[*place] = newListed(after)
	return nil
}

// delete puts the last token of the roster in the place of the one that goes.
func (t *Tokens) delete(o *roster, r *events.Recorded, p *events.TokenDeleted) error {
	key, place, err := find(&t.places, &o.stream, r, p.Token)
	if err != nil {
		return err
	}
	end := len(o.tokens) - 1
	last := o.tokens[end]
	o.tokens[*place], o.tokens[end] = last, nil
	o.tokens = o.tokens[:end]
	*t.places.get(tokenKey{o.number, last.ID}) = *place
	t.places.remove(key)
	return nil
}

// Get is a token as of an instant. A deleted token is not found, and neither is
// one of another organization.
func (t *Tokens) Get(organization string, id uuid.UUID, at time.Time) (Token, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	o, ok := t.organizations[organization]
	if !ok {
		return Token{}, false
	}
	place := t.places.get(tokenKey{o.number, id})
	if place == nil {
		return Token{}, false
	}
	return o.tokens[*place].asOf(at), true
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
	return slices.Clone(o.tokens)
}
