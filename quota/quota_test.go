package quota_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/oatmill/oatmill/quota"
)

// The numbers are those of Docker's page. A plan nobody knows has nothing.
func TestDockerPlans(t *testing.T) {
	plans := quota.Docker()
	for name, tokens := range map[string]int{
		quota.Personal: 0, quota.Pro: 0, quota.Team: 10, quota.Business: 100, "": 0, "unknown": 0,
	} {
		plan := plans[name]
		if plan.Tokens != tokens || plan.HasTokens() != (tokens > 0) || !plan.Pulls.Unlimited() {
			t.Errorf("%q: %+v, want %d tokens and any number of pulls", name, plan, tokens)
		}
	}
	plans[quota.Team] = quota.Plan{}
	if quota.Docker()[quota.Team].Tokens != 10 {
		t.Error("a change of one host's plans reaches another's")
	}
}

// There is room below the limit and not at it, nor above it after a downgrade.
func TestCheck(t *testing.T) {
	for _, test := range []struct{ limit, count, remaining int }{
		{10, 0, 10}, {10, 9, 1}, {10, 10, 0}, {10, 100, 0}, {0, 0, 0}, {-1, 0, 0},
	} {
		plan := quota.Plan{Tokens: test.limit}
		if got := plan.Remaining(test.count); got != test.remaining {
			t.Errorf("%d beside %d: %d remaining, want %d", test.limit, test.count, got, test.remaining)
		}
		err := plan.Check(test.count)
		var exceeded *quota.ExceededError
		if full := test.remaining == 0; full != errors.Is(err, quota.ErrExceeded) || full != errors.As(err, &exceeded) || !full && err != nil {
			t.Errorf("%d beside %d: %v", test.limit, test.count, err)
		}
		if exceeded != nil && *exceeded != (quota.ExceededError{Limit: test.limit, Count: test.count}) {
			t.Errorf("%d beside %d: %+v", test.limit, test.count, exceeded)
		}
	}
}

func ExamplePlan_Check() {
	team := quota.Docker()[quota.Team]
	fmt.Println(team.Check(9))
	fmt.Println(team.Check(10))
	// Output:
	// <nil>
	// quota exceeded: 10 of 10 tokens in use, expired ones included
}
