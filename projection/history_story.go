package projection

import (
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
)

// Span says which part of a story to tell. The zero Span is all of it, in order.
type Span struct {
	// Since and Until bound the moments of the entries, Since included and Until
	// not. Zero means without bound. [History] says what an entry's moment is when
	// a clock jumped back.
	Since, Until time.Time
	// Descending tells the newest entry first.
	Descending bool
	// Page counts from 1; what is below is the first page. Entries that are
	// added meanwhile do not move the pages of a story told in order.
	Page int
	// PageSize is how many entries make a page; what is below 1 is one page with
	// everything.
	PageSize int
}

// Story is a part of what happened.
type Story struct {
	Total   int     `json:"total"` // how many entries there are on all pages
	Entries []Entry `json:"entries"`
}

// Entry is one thing that happened to an organization or to one of its tokens.
type Entry struct {
	Organization string          `json:"organization"`
	Version      events.Version  `json:"version"`
	Position     events.Position `json:"position"`
	Time         time.Time       `json:"time"` // as recorded
	Actor        string          `json:"actor"`
	Type         string          `json:"type"`             // "token.edited.v1"
	Token        uuid.UUID       `json:"token,omitzero"`   // zero when it is about the organization itself
	Label        string          `json:"label,omitempty"`  // of the token, after the change
	Reason       string          `json:"reason,omitempty"` // why, in the actor's words
	Correlation  string          `json:"correlation,omitempty"`
	Changes      []Change        `json:"changes"`
}

// Change is one thing that became another. From is empty where there was nothing,
// and To where nothing is left.
//
// Field is one of "label", "description", "expires_at", "resources" and "state" of a token,
// and "plan" and "owner" of an organization. The state of a token that is gone is
// "deleted". Resources are written "acme/api: scope-image-pull", several
// separated by "; "; [History.TokenAt] has them as they were granted.
type Change struct {
	Field string `json:"field"`
	From  string `json:"from"`
	To    string `json:"to"`
}

// Organization is the story of an organization and all its tokens, also of those
// that are deleted. An organization that does not exist has none.
func (h *History) Organization(name string, s Span) Story {
	e := h.entries(name)
	from, to := s.bounds(e)
	return s.tell(name, e, to-from, func(i int) int { return from + i })
}

// Token is the story of one token, also when it is deleted. A token that never
// was, or that belongs to another organization, has none.
func (h *History) Token(organization string, id uuid.UUID, s Span) Story {
	e := h.entries(organization)
	var about []int
	for i, to := s.bounds(e); i < to; i++ {
		if e[i].token == id && id != (uuid.UUID{}) {
			about = append(about, i)
		}
	}
	return s.tell(organization, e, len(about), func(i int) int { return about[i] })
}

// bounds is the range of entries between Since and Until.
func (s *Span) bounds(e entries) (from, to int) {
	from, to = e.before(s.Since), len(e)
	if !s.Until.IsZero() {
		to = max(from, e.before(s.Until))
	}
	return from, to
}

// tell makes the page of a story of n entries, the i-th of which is e[nth(i)].
func (s *Span) tell(organization string, e entries, n int, nth func(i int) int) Story {
	from, to := cut(n, s.Page, s.PageSize)
	if s.Descending {
		from, to = n-to, n-from
	}
	page := make([]int, 0, to-from)
	for i := from; i < to; i++ {
		page = append(page, nth(i))
	}
	story := Story{Total: n, Entries: e.tell(organization, page)}
	if s.Descending {
		slices.Reverse(story.Entries)
	}
	return story
}

// tell tells the entries at page, which is in order. What each of them changed
// shows in how things stood before it and after it, and so it goes through
// everything from the first entry on that concerns the same tokens.
func (e entries) tell(organization string, page []int) []Entry {
	told := make([]Entry, 0, len(page))
	concerned := make(map[uuid.UUID]bool)
	for _, i := range page {
		concerned[e[i].token] = true
	}
	past := newPast(organization)
	for i := 0; len(told) < len(page); i++ {
		switch {
		case i == page[len(told)]:
			told = append(told, past.tell(&e[i], events.Version(i+1)))
		case concerned[e[i].token]:
			past.learn(&e[i], events.Version(i+1))
		}
	}
	return told
}

// tell learns an entry, and tells what that changed.
func (p *past) tell(e *entry, v events.Version) Entry {
	told := Entry{
		Organization: p.organization.Name,
		Version:      v,
		Position:     e.position,
		Time:         time.UnixMicro(e.time).UTC(),
		Actor:        e.actor,
		Type:         e.payload.EventType(),
		Token:        e.token,
	}
	if e.note != nil {
		told.Reason, told.Correlation = e.note.reason, e.note.correlation
	}
	plan, before := p.organization.Plan, p.token(e.token)
	p.learn(e, v)
	after := p.token(e.token)
	if _, deleted := e.payload.(*events.TokenDeleted); deleted {
		after = before
	}
	told.Label = after.Label
	told.Changes = append(organizationChanges(e.payload, plan), tokenChanges(e.payload, told.Time, &before, &after)...)
	return told
}

// token is a copy of a token, zero when it is not there.
func (p *past) token(id uuid.UUID) Token {
	if t := p.tokens[id]; t != nil {
		return *t
	}
	return Token{}
}

// organizationChanges is what a payload changed of an organization that was on
// plan.
func organizationChanges(p events.Payload, plan string) []Change {
	c := changes{}
	switch p := p.(type) {
	case *events.OrganizationRegistered:
		c.add("plan", "", p.Plan)
		for _, owner := range p.Owners {
			c.add("owner", "", owner)
		}
	case *events.OrganizationPlanChanged:
		c.add("plan", plan, p.Plan)
	case *events.OrganizationOwnerAdded:
		c.add("owner", "", p.Owner)
	case *events.OrganizationOwnerRemoved:
		c.add("owner", p.Owner, "")
	}
	return c
}

// tokenChanges is what the payload p, recorded at an instant, changed of a token.
func tokenChanges(p events.Payload, at time.Time, before, after *Token) []Change {
	c := changes{}
	c.add("label", before.Label, after.Label)
	c.add("description", before.Description, after.Description)
	c.add("expires_at", before.ExpiresAt, after.ExpiresAt)
	c.add("resources", describe(before.Resources), describe(after.Resources))
	switch p.(type) {
	case *events.TokenGenerated:
		c.add("state", "", string(Active))
	case *events.TokenDeactivated:
		c.add("state", string(before.StateAt(at)), string(Inactive))
	case *events.TokenDeleted:
		c.add("state", string(before.StateAt(at)), "deleted")
	}
	return c
}

// changes collects what differs.
type changes []Change

func (c *changes) add(field, from, to string) {
	if from != to {
		*c = append(*c, Change{field, from, to})
	}
}

// describe writes resources on one line. Their type is left out where it is the
// one that every resource has.
func describe(resources []events.Resource) string {
	lines := make([]string, len(resources))
	for i, r := range resources {
		lines[i] = r.Path + ": " + strings.Join(r.Scopes, ", ")
		if r.Type != "TYPE_REPO" {
			lines[i] = r.Type + " " + lines[i]
		}
	}
	return strings.Join(lines, "; ")
}
