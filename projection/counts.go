package projection

import (
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/quota"
)

// Counts is how many tokens every organization has, in which states, and how many
// more its plan lets it have.
type Counts struct {
	feed[*tally, countedToken]
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

// tally is one organization in [Counts]. When its tokens expire is kept sorted, but
// for those that never do or were deactivated, so that a count as of any instant
// does not look at the tokens.
type tally struct {
	stream
	plan     string
	total    int
	inactive int
	expiries instants
}

type countedToken struct {
	expiry   instant // where expires
	expires  bool
	inactive bool
}

// NewCounts counts from position 0, against the limits of plans. nil means
// [quota.Docker].
func NewCounts(plans quota.Plans) *Counts {
	if plans == nil {
		plans = quota.Docker()
	}
	c := &Counts{plans: plans}
	c.serve(c)
	return c
}

func (c *Counts) begin(string) *tally { return new(tally) }

func (c *Counts) fold(o *tally, d *sight[*tally]) error {
	switch p := d.payload.(type) {
	case *events.OrganizationRegistered:
		o.plan = p.Plan
	case *events.OrganizationPlanChanged:
		o.plan = p.Plan
	case *events.TokenGenerated:
		return c.generate(o, d, p)
	case *events.TokenDeactivated:
		return c.deactivate(o, d)
	case *events.TokenDeleted:
		return c.delete(o, d)
	}
	return nil
}

func (c *Counts) generate(o *tally, d *sight[*tally], p *events.TokenGenerated) error {
	if d.expiresErr != nil {
		return d.expiresErr
	}
	token, err := c.add(d)
	if err != nil {
		return err
	}
	token.expires = p.ExpiresAt != ""
	if token.expires {
		token.expiry = instantOf(d.expires)
		o.expiries.add(token.expiry)
	}
	o.total++
	return nil
}

func (c *Counts) deactivate(o *tally, d *sight[*tally]) error {
	token, err := c.find(d)
	if err != nil || token.inactive {
		return err
	}
	o.unschedule(token)
	token.inactive = true
	o.inactive++
	return nil
}

func (c *Counts) delete(o *tally, d *sight[*tally]) error {
	token, err := c.find(d)
	if err != nil {
		return err
	}
	if token.inactive {
		o.inactive--
	} else {
		o.unschedule(token)
	}
	c.remove(d)
	o.total--
	return nil
}

// unschedule forgets when a token that is not inactive would have expired.
func (o *tally) unschedule(t *countedToken) {
	if t.expires {
		o.expiries.remove(t.expiry)
	}
}

// Of is the count of an organization's tokens as of an instant. It costs the same
// whatever the states of the tokens, and for 100,000 of them about a microsecond.
func (c *Counts) Of(organization string, at time.Time) (Count, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	o, ok := c.organizations[organization]
	if !ok {
		return Count{}, false
	}
	plan := c.plans[o.plan]
	expired := o.expiries.until(instantOf(at))
	return Count{
		Organization: organization,
		Plan:         o.plan,
		Total:        o.total,
		Active:       o.total - o.inactive - expired,
		Inactive:     o.inactive,
		Expired:      expired,
		Limit:        plan.Tokens,
		Remaining:    plan.Remaining(o.total),
	}, true
}
