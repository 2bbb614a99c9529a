package projection

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
)

// State is what a token is at an instant.
type State string

// The states of a token that is not deleted. An inactive token stays inactive when
// it expires: someone ended its use, which says more than that its time would have
// run out anyway.
const (
	Active   State = "active"
	Inactive State = "inactive" // deactivated
	Expired  State = "expired"  // not deactivated, and at or past its expiry
)

// Token is a token as its owners see it. Its secret is nowhere, and its digest is
// the verifier's alone.
type Token struct {
	ID           uuid.UUID `json:"id"`
	Organization string    `json:"organization"`
	Label        string    `json:"label"`
	Description  string    `json:"description,omitempty"`
	// State is as of the instant that was asked about.
	State State `json:"state"`
	// Resources is exactly what was granted, in order. It is shared with other
	// readers and must not be changed.
	Resources []events.Resource `json:"resources"`
	CreatedAt time.Time         `json:"created_at"`
	CreatedBy string            `json:"created_by"`
	// ExpiresAt is the expiry exactly as it was asked for, empty when the token
	// never expires.
	ExpiresAt string `json:"expires_at,omitempty"`
	// Expires is ExpiresAt as an instant in UTC. It means nothing when ExpiresAt is
	// empty.
	Expires time.Time `json:"-"`
	// ModifiedAt, ModifiedBy and Version are of the last record about the token:
	// that it was generated, edited or deactivated. Version counts in the stream
	// of the organization.
	ModifiedAt time.Time      `json:"modified_at"`
	ModifiedBy string         `json:"modified_by"`
	Version    events.Version `json:"version"`
}

// StateAt is the state the token has at an instant, if nothing else is decided
// about it until then. At the very instant of its expiry a token is expired.
func (t *Token) StateAt(at time.Time) State {
	switch {
	case t.State == Inactive:
		return Inactive
	case t.ExpiresAt != "" && !at.Before(t.Expires):
		return Expired
	}
	return Active
}

// asOf is t with its state at an instant.
func (t Token) asOf(at time.Time) Token {
	t.State = t.StateAt(at)
	return t
}

// stamp is what a record says beside its payload, as far as views show it.
type stamp struct {
	version events.Version
	time    time.Time
	actor   string
}

func stampOf(r *events.Recorded) stamp { return stamp{r.Version, r.Time, r.Actor} }

// newToken is the token that p generates. Its expiry is given parsed, because
// whoever calls has checked it.
func newToken(organization string, id uuid.UUID, expires time.Time, s stamp, p *events.TokenGenerated) Token {
	t := Token{
		ID:           id,
		Organization: organization,
		Label:        p.Label,
		Description:  p.Description,
		State:        Active,
		Resources:    p.Resources,
		CreatedAt:    s.time,
		CreatedBy:    s.actor,
		ExpiresAt:    p.ExpiresAt,
		Expires:      expires,
	}
	t.modified(s)
	return t
}

func (t *Token) edit(s stamp, p *events.TokenEdited) {
	if p.Label != nil {
		t.Label = *p.Label
	}
	if p.Description != nil {
		t.Description = *p.Description
	}
	if p.Resources != nil {
		t.Resources = p.Resources
	}
	t.modified(s)
}

func (t *Token) deactivate(s stamp) {
	t.State = Inactive
	t.modified(s)
}

func (t *Token) modified(s stamp) {
	t.ModifiedAt, t.ModifiedBy, t.Version = s.time, s.actor, s.version
}

// parseExpiry reads an expiry: RFC 3339 with any offset and up to nanoseconds. An
// absent one is the zero time.
func parseExpiry(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	return t.UTC(), err
}

// expiryOf is the expiry of the token that r generates.
func expiryOf(r *events.Recorded, p *events.TokenGenerated) (time.Time, error) {
	t, err := parseExpiry(p.ExpiresAt)
	if err != nil {
		return t, damaged(r, "expires_at %q: %v", p.ExpiresAt, err)
	}
	return t, nil
}

// Organization is what a console shows about an organization beside its tokens.
type Organization struct {
	Name         string    `json:"name"`
	Plan         string    `json:"plan"`
	Owners       []string  `json:"owners"` // in the order in which they became owners
	RegisteredAt time.Time `json:"registered_at"`
	ModifiedAt   time.Time `json:"modified_at"` // of the last change of plan or owners
	ModifiedBy   string    `json:"modified_by"`
	// Version is that of the last record about the organization itself.
	Version events.Version `json:"version"`
}

// learn takes over what p says about the organization itself. It never writes to
// the elements of Owners: the first of them belong to a shared payload.
func (o *Organization) learn(s stamp, p events.Payload) {
	switch p := p.(type) {
	case *events.OrganizationRegistered:
		o.Plan, o.Owners, o.RegisteredAt = p.Plan, slices.Clip(p.Owners), s.time
	case *events.OrganizationPlanChanged:
		o.Plan = p.Plan
	case *events.OrganizationOwnerAdded:
		o.Owners = append(slices.Clip(o.Owners), p.Owner)
	case *events.OrganizationOwnerRemoved:
		owners := slices.Clone(o.Owners)
		o.Owners = slices.DeleteFunc(owners, func(owner string) bool { return owner == p.Owner })
	}
	o.ModifiedAt, o.ModifiedBy, o.Version = s.time, s.actor, s.version
}
