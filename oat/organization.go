package oat

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
)

// organization is the state of one organization, folded from its stream. It is all
// that a command is decided against.
type organization struct {
	name    string
	version events.Version // 0 when the organization is not registered
	plan    string
	owners  []string
	tokens  map[uuid.UUID]*Token // those that are not deleted

	last events.Recorded // the record at version, for snapshots
}

// Token is an organization access token as its organization's stream tells it. A
// Token that the service returned belongs to the caller.
type Token struct {
	ID           uuid.UUID
	Organization string
	Label        string
	Description  string
	CreatedBy    string // the recorded actor
	CreatedAt    time.Time
	Expires      Expiry
	Resources    []Resource // as granted, in order
	Active       bool       // false once it was deactivated; expiry is told by Expires
}

func newOrganization(name string) *organization {
	return &organization{name: name, tokens: make(map[uuid.UUID]*Token)}
}

// apply folds the next record into the state. After an error the state is of no
// more use.
func (o *organization) apply(r *events.Recorded) error {
	if r.Version != o.version+1 {
		return fmt.Errorf("%w: %s: version %d follows %d", events.ErrDamaged, r.Stream, r.Version, o.version)
	}
	payload, err := r.Payload()
	if err != nil {
		return err
	}
	if err := o.fold(r, payload); err != nil {
		return fmt.Errorf("%w: %s version %d: %v", events.ErrDamaged, r.Stream, r.Version, err)
	}
	o.version, o.last = r.Version, *r
	return nil
}

func (o *organization) fold(r *events.Recorded, payload events.Payload) error {
	switch p := payload.(type) {
	case *events.OrganizationRegistered:
		o.plan, o.owners = p.Plan, slices.Clone(p.Owners)
	case *events.OrganizationPlanChanged:
		o.plan = p.Plan
	case *events.OrganizationOwnerAdded:
		o.owners = append(o.owners, p.Owner)
	case *events.OrganizationOwnerRemoved:
		o.owners = slices.DeleteFunc(o.owners, func(owner string) bool { return owner == p.Owner })
	case *events.TokenGenerated:
		return o.foldGenerated(r, p)
	case *events.TokenEdited:
		return o.change(p.Token, func(t *Token) { t.edit(p) })
	case *events.TokenDeactivated:
		return o.change(p.Token, func(t *Token) { t.Active = false })
	case *events.TokenDeleted:
		return o.change(p.Token, func(t *Token) { delete(o.tokens, t.ID) })
	default:
		return fmt.Errorf("a %s does not belong here", r.Type)
	}
	return nil
}

func (o *organization) foldGenerated(r *events.Recorded, p *events.TokenGenerated) error {
	id, err := ParseTokenID(p.Token)
	if err != nil {
		return err
	}
	expires, err := recordedExpiry(p.ExpiresAt)
	if err != nil {
		return err
	}
	o.tokens[id] = &Token{
		ID: id, Organization: o.name, Label: p.Label, Description: p.Description,
		CreatedBy: r.Actor, CreatedAt: r.Time, Expires: expires, Resources: p.Resources, Active: true,
	}
	return nil
}

func (o *organization) change(token string, change func(*Token)) error {
	id, err := ParseTokenID(token)
	if err != nil {
		return err
	}
	t, ok := o.tokens[id]
	if !ok {
		return fmt.Errorf("token %s does not exist", id)
	}
	change(t)
	return nil
}

func (t *Token) edit(p *events.TokenEdited) {
	if p.Label != nil {
		t.Label = *p.Label
	}
	if p.Description != nil {
		t.Description = *p.Description
	}
	if p.Resources != nil {
		t.Resources = p.Resources
	}
}

// clone is a copy that shares nothing a caller could change.
func (t *Token) clone() Token {
	c := *t
	c.Resources = slices.Clone(t.Resources)
	for i := range c.Resources {
		c.Resources[i].Scopes = slices.Clone(c.Resources[i].Scopes)
	}
	return c
}

// ParseTokenID reads a token's id in the one form ids are recorded in: 36
// characters, lower case. The error is [ErrInvalid] and does not repeat the text, which
// may be anything somebody pasted.
func ParseTokenID(s string) (uuid.UUID, error) {
	id, err := uuid.Parse(s)
	if err != nil || len(s) != 36 || id.String() != s {
		return uuid.Nil, fmt.Errorf("%w: token id: want a UUID like 0f8fad5b-d9cb-469f-a165-70867728950e", ErrInvalid)
	}
	return id, nil
}
