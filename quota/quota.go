// Package quota says how much an organization may have and use: how many tokens,
// how many repositories one token may name, how many pulls in a while.
//
// # Plans
//
// An organization is on a [Plan], and a plan is a value. [Docker] gives the plans
// of Docker Hub; a host that sells others makes its own [Plans]:
//
//	plans := quota.Plans{
//		"starter": {Tokens: 3, Pulls: quota.Rate{Count: 200, Window: 6 * time.Hour}},
//		"scale":   {Tokens: 1000},
//	}
//
// A plan that no [Plans] knows has nothing: no tokens can be generated on it, and
// those that exist do not authenticate.
//
// # What counts
//
// Every token that is not deleted counts against [Plan.Tokens]: active, inactive
// and expired ones alike. An organization that moved to a smaller plan keeps what
// it has, and can generate again once its count is below the new limit.
//
// Pulls count against the organization whose token made them, never against a
// person. [Meter] counts them.
package quota

import (
	"errors"
	"fmt"
)

// MaxRepositories is how many repositories one token may name.
const MaxRepositories = 50

// ErrExceeded means that there is no room for one more. It comes as an
// [*ExceededError].
var ErrExceeded = errors.New("quota exceeded")

// ExceededError says how many there may be and how many there are.
type ExceededError struct {
	Limit int
	Count int
}

func (e *ExceededError) Error() string {
	return fmt.Sprintf("quota exceeded: %d of %d tokens in use, expired ones included", e.Count, e.Limit)
}

// Is matches [ErrExceeded].
func (e *ExceededError) Is(target error) bool { return target == ErrExceeded }

// Plan is what an organization may have. The zero Plan allows nothing.
type Plan struct {
	// Tokens is how many undeleted tokens there may be. 0 means that the plan has
	// no tokens: those left from another plan do not authenticate.
	Tokens int
	// Pulls is how often tokens of the organization may pull. The zero Rate means
	// without limit.
	Pulls Rate
}

// HasTokens tells whether tokens of an organization on this plan authenticate.
func (p Plan) HasTokens() bool { return p.Tokens > 0 }

// Check tells whether there is room for one token more beside count of them. The
// error is an [*ExceededError].
func (p Plan) Check(count int) error {
	if count >= p.Tokens {
		return &ExceededError{Limit: p.Tokens, Count: count}
	}
	return nil
}

// Remaining is how many tokens can still be generated beside count of them, never
// below 0.
func (p Plan) Remaining(count int) int { return max(0, p.Tokens-count) }

// Plans are the plans a host knows, by name. A Plans must not be changed once it
// was handed to anything.
type Plans map[string]Plan

// The names of Docker's plans.
const (
	Personal = "personal"
	Pro      = "pro"
	Team     = "team"
	Business = "business"
)

// Docker is the plans of Docker Hub: 10 tokens on team, 100 on business, none on
// the plans for one person. Pulls are unlimited on the plans that have tokens.
func Docker() Plans {
	return Plans{
		Personal: {},
		Pro:      {},
		Team:     {Tokens: 10},
		Business: {Tokens: 100},
	}
}
