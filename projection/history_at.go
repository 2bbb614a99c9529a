package projection

import (
	"slices"
	"sort"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
)

// TokenAt is a token as it was at an instant. It is not found before it was
// generated and after it was deleted.
func (h *History) TokenAt(organization string, id uuid.UUID, at time.Time) (Token, bool) {
	e := h.entries(organization)
	past := newPast(organization)
	for i := range e[:e.until(at)] {
		if e[i].token == id {
			past.learn(&e[i], events.Version(i+1))
		}
	}
	if t := past.tokens[id]; t != nil {
		return t.asOf(at), true
	}
	return Token{}, false
}

// TokensAt is every token an organization had at an instant, in the order in which
// they were generated.
func (h *History) TokensAt(organization string, at time.Time) []Token {
	e := h.entries(organization)
	past := newPast(organization)
	for i := range e[:e.until(at)] {
		past.learn(&e[i], events.Version(i+1))
	}
	all := make([]Token, 0, len(past.tokens))
	for _, id := range past.generated {
		if t := past.tokens[id]; t != nil {
			all = append(all, t.asOf(at))
		}
	}
	return all
}

// OrganizationAt is what was known about an organization beside its tokens at an
// instant. It is not found before its first record.
func (h *History) OrganizationAt(name string, at time.Time) (Organization, bool) {
	e := h.entries(name)
	past := newPast(name)
	n := e.until(at)
	for i := range n {
		if e[i].token == (uuid.UUID{}) {
			past.learn(&e[i], events.Version(i+1))
		}
	}
	past.organization.Owners = slices.Clone(past.organization.Owners)
	return past.organization, n > 0
}

// past is how things stood after some entries of an organization. It need not be
// told all of them: those about other tokens than the ones in question are left
// out.
type past struct {
	organization Organization
	tokens       map[uuid.UUID]*Token // not deleted
	generated    []uuid.UUID          // in order, deleted ones too
}

func newPast(organization string) *past {
	return &past{organization: Organization{Name: organization}, tokens: make(map[uuid.UUID]*Token)}
}

// learn moves past the entry with a version. What an entry says of a token that is
// not there is passed over: the read models that keep the tokens themselves have
// refused the record.
func (p *past) learn(e *entry, v events.Version) {
	s := stamp{v, time.UnixMicro(e.time).UTC(), e.actor}
	token := p.tokens[e.token]
	switch payload := e.payload.(type) {
	case *events.TokenGenerated:
		expires, _ := parseExpiry(payload.ExpiresAt) // checked when it was applied
		t := newToken(p.organization.Name, e.token, expires, s, payload)
		p.tokens[e.token] = &t
		p.generated = append(p.generated, e.token)
	case *events.TokenEdited:
		if token != nil {
			token.edit(s, payload)
		}
	case *events.TokenDeactivated:
		if token != nil {
			token.deactivate(s)
		}
	case *events.TokenDeleted:
		delete(p.tokens, e.token)
	default:
		p.organization.learn(s, e.payload)
	}
}

// entries returns the entries of an organization, up to now. More may be added behind
// them; they do not change.
func (h *History) entries(organization string) entries {
	h.mu.RLock()
	defer h.mu.RUnlock()
	o, ok := h.state(organization)
	if !ok {
		return nil
	}
	return o.entries
}

// until returns how many entries had happened at an instant.
func (e entries) until(at time.Time) int {
	return sort.Search(len(e), func(i int) bool { return time.UnixMicro(e[i].moment).After(at) })
}

// before returns how many entries had happened before an instant.
func (e entries) before(at time.Time) int {
	return sort.Search(len(e), func(i int) bool { return !time.UnixMicro(e[i].moment).Before(at) })
}
