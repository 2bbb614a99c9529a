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

// fold takes in one record of an organization's stream, unless it is known already:
// a record may come from this process's own commands before it comes from the log,
// and an older one never overwrites a newer. The caller holds v.mu.
func (v *Verifier) fold(r *events.Recorded) error {
	t := v.tenant(r.Stream.Name())
	switch {
	case r.Version <= t.version:
		return nil
	case r.Version != t.version+1:
		return fmt.Errorf("%w: version %d follows %d", events.ErrDamaged, r.Version, t.version)
	}
	payload, err := r.Payload()
	if err != nil {
		return err
	}
	if err := v.foldPayload(t, payload); err != nil {
		return fmt.Errorf("%w: %v", events.ErrDamaged, err)
	}
	t.version = r.Version
	v.reopen(t)
	return nil
}

// reopen decides anew whether the organization's tokens may open.
func (v *Verifier) reopen(t *tenant) {
	t.open.Store(t.version >= t.required && v.cfg.Plans[*t.plan.Load()].HasTokens())
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
