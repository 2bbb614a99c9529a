package quota_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oatmill/oatmill/quota"
)

// fails makes an attempt that fails, and reports whether it was let through.
func fails(t *testing.T, a *quota.Attempts, address, person string, now time.Time) bool {
	t.Helper()
	attempt, _, ok := a.Begin(t.Context(), address, person, now)
	if ok {
		attempt.End(true, now)
	}
	return ok
}

// TestAttemptsCountFailuresOfAnAddress fails if Begin counts by person alone, or if the
// window does not end.
func TestAttemptsCountFailuresOfAnAddress(t *testing.T) {
	a := quota.NewAttempts(quota.Rate{Count: 2, Window: time.Minute})
	for i, want := range []bool{true, true, false, false} {
		if got := fails(t, a, "192.0.2.1", fmt.Sprint("person ", i), start); got != want {
			t.Errorf("attempt %d: %t, want %t", i, got, want)
		}
	}
	if !fails(t, a, "192.0.2.2", "person 0", start) {
		t.Error("another address is refused")
	}
	if _, status, ok := a.Begin(t.Context(), "192.0.2.1", "", start); ok || status.Remaining != 0 || !status.Reset.Equal(start.Add(time.Minute)) {
		t.Errorf("%t, %+v", ok, status)
	}
	if !fails(t, a, "192.0.2.1", "person 0", start.Add(time.Minute)) {
		t.Error("the next window is refused")
	}
}

// TestAttemptsCountFailuresForAPerson fails if the attempts of many addresses for one person
// are not added up, or if spaces and letter case make another person.
func TestAttemptsCountFailuresForAPerson(t *testing.T) {
	a := quota.NewAttempts(quota.Rate{Count: 2, Window: time.Minute})
	through := 0
	for i := range 50 {
		if fails(t, a, fmt.Sprint("192.0.2.", i), []string{"alice", " Alice "}[i%2], start) {
			through++
		}
	}
	if through != 20 {
		t.Errorf("%d guesses for one person, want ten times the rate of an address", through)
	}
	if !fails(t, a, "198.51.100.1", "bob", start) {
		t.Error("another person is refused")
	}
}

// TestAttemptsThatSucceedDoNotCount fails if Begin counts, or refuses while the attempts in
// its way have not ended yet: a deployment signs in from many jobs at once.
func TestAttemptsThatSucceedDoNotCount(t *testing.T) {
	a := quota.NewAttempts(quota.Rate{Count: 3, Window: time.Minute})
	var all sync.WaitGroup
	var refused atomic.Int64
	for range 200 {
		all.Go(func() {
			attempt, _, ok := a.Begin(t.Context(), "192.0.2.1", "alice", start)
			if !ok {
				refused.Add(1)
				return
			}
			attempt.End(false, start)
		})
	}
	all.Wait()
	if refused.Load() != 0 {
		t.Errorf("%d of 200 were refused", refused.Load())
	}
	attempt, status, ok := a.Begin(t.Context(), "192.0.2.1", "alice", start)
	if !ok || status.Remaining != 3 {
		t.Fatalf("%t, %+v", ok, status)
	}
	attempt.End(false, start)
}

// TestAttemptsAtOnceStayWithinTheRate fails if an attempt that has not ended is not reckoned
// with: all guesses that are sent at once would get through.
func TestAttemptsAtOnceStayWithinTheRate(t *testing.T) {
	a := quota.NewAttempts(quota.Rate{Count: 3, Window: time.Minute})
	var all sync.WaitGroup
	var through atomic.Int64
	for range 200 {
		all.Go(func() {
			if fails(t, a, "192.0.2.1", "alice", start) {
				through.Add(1)
			}
		})
	}
	all.Wait()
	if through.Load() != 3 {
		t.Errorf("%d guesses got through, want 3", through.Load())
	}
}

// TestAttemptsWaitNoLongerThanTheCaller fails if Begin waits after its context ended.
func TestAttemptsWaitNoLongerThanTheCaller(t *testing.T) {
	a := quota.NewAttempts(quota.Rate{Count: 1, Window: time.Minute})
	slow, _, ok := a.Begin(t.Context(), "192.0.2.1", "", start)
	if !ok {
		t.Fatal("the first is refused")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, ok := a.Begin(ctx, "192.0.2.1", "", start); ok {
		t.Error("two at once with a rate of one")
	}
	slow.End(false, start)
}

// TestAttemptsRates fails if a rate without a window lets attempts through, or the zero Rate
// does not, and when a clock that was set back keeps an address out.
func TestAttemptsRates(t *testing.T) {
	if fails(t, quota.NewAttempts(quota.Rate{Count: 5}), "192.0.2.1", "alice", start) {
		t.Error("a rate without a window lets attempts through")
	}
	free := quota.NewAttempts(quota.Rate{})
	for range 100 {
		if !fails(t, free, "192.0.2.1", "alice", start) {
			t.Fatal("no limit refuses")
		}
	}
	a := quota.NewAttempts(quota.Rate{Count: 1, Window: time.Minute})
	fails(t, a, "192.0.2.1", "alice", start.Add(time.Hour))
	if !fails(t, a, "192.0.2.1", "alice", start) {
		t.Error("a clock that was set back by an hour keeps the address out for an hour")
	}
}

// TestNetwork counts IPv6 addresses by what one customer has (RFC 6177).
func TestNetwork(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1",
		"2001:db8::1": "2001:db8::/64", "2001:db8::ffff:1%eth0": "2001:db8::/64", "2001:db8:0:1::1": "2001:db8:0:1::/64",
		"no address": "no address", "": "",
	} {
		if got := quota.Network(address); got != want {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
}
