package oat

import (
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
)

// tenant is the organization's entry, made if need be. The caller holds v.mu.
func (v *Verifier) tenant(name string) *tenant {
	t, ok := v.tenants[name]
	if !ok {
		t = newTenant(name)
		t.plan.Store(new(string))
		v.tenants[t.name] = t
	}
	return t
}

func (v *Verifier) foldPayload(t *tenant, payload events.Payload) error {
	switch p := payload.(type) {
	case *events.OrganizationRegistered:
		v.setPlan(t, p.Plan)
	case *events.OrganizationPlanChanged:
		v.setPlan(t, p.Plan)
	case *events.TokenGenerated:
		return v.foldGenerated(t, p)
	case *events.TokenEdited:
		if p.Resources != nil {
			return v.change(t, p.Token, func(c *credential) { c.setAccess(p.Resources) })
		}
	case *events.TokenDeactivated:
		return v.change(t, p.Token, func(c *credential) { c.active = false })
	case *events.TokenDeleted:
		return v.foldDeleted(t, p)
	}
	// Who owns the organization does not matter to its tokens.
	return nil
}

func (v *Verifier) setPlan(t *tenant, plan string) {
	plan = strings.Clone(plan)
	t.plan.Store(&plan)
}

func (v *Verifier) foldGenerated(t *tenant, p *events.TokenGenerated) error {
	id, err := ParseTokenID(p.Token)
	if err != nil {
		return err
	}
	expires, err := recordedExpiry(p.ExpiresAt)
	if err != nil {
		return err
	}
	if v.tokens.byToken(&id) != nil || v.digests.byDigest(&p.Digest) != nil {
		return fmt.Errorf("token %s exists", id)
	}
	c := &credential{digest: p.Digest, token: id, tenant: t, active: true, expires: expires.nanoseconds()}
	c.setAccess(p.Resources)
	v.digests.insert(c)
	v.tokens.insert(c)
	return nil
}

// change puts a changed copy of the token's credential in its place.
func (v *Verifier) change(t *tenant, token string, change func(*credential)) error {
	old, err := v.credential(t, token)
	if err != nil {
		return err
	}
	changed := *old
	change(&changed)
	v.digests.replace(old, &changed)
	v.tokens.replace(old, &changed)
	return nil
}

func (v *Verifier) foldDeleted(t *tenant, p *events.TokenDeleted) error {
	c, err := v.credential(t, p.Token)
	if err != nil {
		return err
	}
	v.digests.remove(c)
	v.tokens.remove(c)
	return nil
}

// credential is the tenant's credential with this id.
func (v *Verifier) credential(t *tenant, token string) (*credential, error) {
	id, err := ParseTokenID(token)
	if err != nil {
		return nil, err
	}
	c := v.tokens.byToken(&id)
	if c == nil || c.tenant != t || id == uuid.Nil {
		return nil, fmt.Errorf("token %s does not exist", id)
	}
	return c, nil
}
