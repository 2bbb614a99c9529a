package projection

import (
	"maps"
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
	model[*orgTokens]
}

// orgTokens is one organization in [Tokens].
type orgTokens struct {
	facts  Organization
	tokens map[uuid.UUID]*listed
}

// listed is a token with its label in lower case, which searching and sorting would
// otherwise compute for each comparison. It is replaced and never changed, so that a query
// can sort tokens after it released the lock.
type listed struct {
	Token
	lower string
}

func newListed(t Token) *listed { return &listed{t, strings.ToLower(t.Label)} }

// NewTokens returns a list at position 0.
func NewTokens() *Tokens {
	t := new(Tokens)
	t.init(t)
	return t
}

func (t *Tokens) begin(name string) *orgTokens {
	return &orgTokens{facts: Organization{Name: name}, tokens: make(map[uuid.UUID]*listed)}
}

func (t *Tokens) fold(o *orgTokens, d *reading) error {
	switch p := d.payload.(type) {
	case *events.TokenGenerated:
		if d.expiresErr != nil {
			return d.expiresErr
		}
		if o.tokens[d.token] != nil {
			return secondToken(d)
		}
		o.tokens[d.token] = newListed(newToken(o.facts.Name, d.token, d.expires, stampOf(d.Recorded), p))
	case *events.TokenEdited:
		return o.change(d, func(t *Token) { t.edit(stampOf(d.Recorded), p) })
	case *events.TokenDeactivated:
		return o.change(d, func(t *Token) { t.deactivate(stampOf(d.Recorded)) })
	case *events.TokenDeleted:
		if o.tokens[d.token] == nil {
			return noSuchToken(d)
		}
		delete(o.tokens, d.token)
	default:
		o.facts.learn(stampOf(d.Recorded), d.payload)
	}
	return nil
}

// change replaces the token that d is about with a changed copy.
func (o *orgTokens) change(d *reading, change func(*Token)) error {
	old := o.tokens[d.token]
	if old == nil {
		return noSuchToken(d)
	}
	changed := old.Token
	change(&changed)
	o.tokens[d.token] = newListed(changed)
	return nil
}

// Get returns a token as of an instant. A deleted token is not found, and neither is
// one of another organization.
func (t *Tokens) Get(organization string, id uuid.UUID, at time.Time) (Token, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	o, ok := t.state(organization)
	if !ok || o.tokens[id] == nil {
		return Token{}, false
	}
	return o.tokens[id].asOf(at), true
}

// Organization returns what is known about an organization besides its tokens.
func (t *Tokens) Organization(name string) (Organization, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	o, ok := t.state(name)
	if !ok {
		return Organization{}, false
	}
	return o.view(), true
}

// Organizations returns every organization, by name.
func (t *Tokens) Organizations() []Organization {
	t.mu.RLock()
	all := make([]Organization, 0, len(t.organizations))
	for _, o := range t.organizations {
		all = append(all, o.state.view())
	}
	t.mu.RUnlock()
	slices.SortFunc(all, func(a, b Organization) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// view returns the organization's facts in a copy that the caller may change.
func (o *orgTokens) view() Organization {
	facts := o.facts
	facts.Owners = slices.Clone(facts.Owners)
	return facts
}

// all returns every token of an organization, in no order.
func (t *Tokens) all(organization string) []*listed {
	t.mu.RLock()
	defer t.mu.RUnlock()
	o, ok := t.state(organization)
	if !ok {
		return nil
	}
	return slices.Collect(maps.Values(o.tokens))
}
