package main

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/oatmill/oatmill/examples/internal/site"
	"github.com/oatmill/oatmill/oat/registryauth"
	"github.com/oatmill/oatmill/quota"
)

// pulls limits how often an organization's tokens may pull, as its plan says. A pull
// is a GET of a manifest; a HEAD is free, and tells how many are left.
type pulls struct {
	plans quota.Plans
	now   func() time.Time
	meter quota.Meter
}

// plansWith is Docker's plans, with a limit of pulls on those that have tokens.
func plansWith(limit string) (quota.Plans, error) {
	plans := quota.Docker()
	if limit == "" {
		return plans, nil
	}
	rate, err := site.ParseRate("--pull-limit", limit)
	if err != nil {
		return nil, err
	}
	for name, plan := range plans {
		if plan.HasTokens() {
			plan.Pulls = rate
			plans[name] = plan
		}
	}
	return plans, nil
}

// limit stands between the guard and the registry.
func (p *pulls) limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		organization, rate := p.puller(r)
		if rate.Unlimited() {
			next.ServeHTTP(w, r)
			return
		}
		status, ok := p.meter.Look(organization, rate, p.now()), true
		if r.Method == http.MethodGet {
			status, ok = p.meter.Take(organization, rate, p.now())
		}
		window := int(rate.Window / time.Second)
		w.Header().Set("ratelimit-limit", fmt.Sprintf("%d;w=%d", rate.Count, window))
		w.Header().Set("ratelimit-remaining", fmt.Sprintf("%d;w=%d", status.Remaining, window))
		w.Header().Set("docker-ratelimit-source", organization)
		if !ok {
			tooMany(w, status.Reset.Sub(p.now()))
			return
		}
		next.ServeHTTP(w, r)
	})
}

var manifestPath = regexp.MustCompile(`^/v2/.+/manifests/[^/]+$`)

// puller returns whose limit a request falls under. The zero rate is for everything that is no pull.
// The guard has refused what the token may not pull.
func (p *pulls) puller(r *http.Request) (organization string, rate quota.Rate) {
	if !manifestPath.MatchString(r.URL.Path) || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return "", quota.Rate{}
	}
	grant, ok := registryauth.GrantFrom(r.Context())
	if !ok {
		return "", quota.Rate{}
	}
	return grant.Organization(), p.plans[grant.Plan()].Pulls
}

func tooMany(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Retry-After", strconv.Itoa(1+int(wait/time.Second)))
	w.WriteHeader(http.StatusTooManyRequests)
	fmt.Fprintln(w, `{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit. Your organization's plan says how often it may pull."}]}`)
}
