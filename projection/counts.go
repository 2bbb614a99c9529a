package projection

import (
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/quota"
)

// Counts is how many tokens every organization has, in which states, and how many
// more its plan lets it have.
type Counts struct {
	model[*orgCounts]
	plans quota.Plans
}

// Count is an organization's tokens in numbers, as of an instant.
type Count struct {
	Organization string `json:"organization"`
	Plan         string `json:"plan"`
	Total        int    `json:"total"` // every token that is not deleted
	Active       int    `json:"active"`
	Inactive     int    `json:"inactive"`
	Expired      int    `json:"expired"` // and not inactive
	Limit        int    `json:"limit"`   // 0 on a plan without tokens, and on one nobody knows
	Remaining    int    `json:"remaining"`
}

// orgCounts is one organization in [Counts].
type orgCounts struct {
	plan   string
	tokens map[uuid.UUID]countedToken
}

type countedToken struct {
	inactive bool
	expires  bool
	at       time.Time // when it expires
}

// NewCounts returns counts at position 0, against the limits of plans. nil means
// [quota.Docker].
func NewCounts(plans quota.Plans) *Counts {
	if plans == nil {
		plans = quota.Docker()
	}
	c := &Counts{plans: plans}
	c.init(c)
	return c
}

func (c *Counts) begin(string) *orgCounts {
	return &orgCounts{tokens: make(map[uuid.UUID]countedToken)}
}

func (c *Counts) fold(o *orgCounts, d *reading) error {
	token, found := o.tokens[d.token]
	switch p := d.payload.(type) {
	case *events.OrganizationRegistered:
		o.plan = p.Plan
	case *events.OrganizationPlanChanged:
		o.plan = p.Plan
	case *events.TokenGenerated:
		if d.expiresErr != nil {
			return d.expiresErr
		}
		if found {
			return secondToken(d)
		}
		o.tokens[d.token] = countedToken{expires: p.ExpiresAt != "", at: d.expires}
	case *events.TokenDeactivated:
		if !found {
			return noSuchToken(d)
		}
		token.inactive = true
		o.tokens[d.token] = token
	case *events.TokenDeleted:
		if !found {
			return noSuchToken(d)
		}
		delete(o.tokens, d.token)
	}
	return nil
}

// Of returns the count of an organization's tokens as of an instant.
func (c *Counts) Of(organization string, at time.Time) (Count, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	o, ok := c.state(organization)
	if !ok {
		return Count{}, false
	}
	plan := c.plans[o.plan]
	count := Count{
		Organization: organization, Plan: o.plan, Total: len(o.tokens),
		Limit: plan.Tokens, Remaining: plan.Remaining(len(o.tokens)),
	}
	for _, t := range o.tokens {
		switch {
		case t.inactive:
			count.Inactive++
		case t.expires && !at.Before(t.at):
			count.Expired++
		default:
			count.Active++
		}
	}
	return count, true
}
