package quota

import (
	"context"
	"hash/maphash"
	"net/netip"
	"strings"
	"sync"
	"time"
)

const (
	// attemptSlots bounds how many counts an Attempts keeps.
	attemptSlots = 1 << 16
	// personFactor is how many times as many attempts may fail for one person as from one
	// address. An address that guesses must not lock out the people it guesses for.
	personFactor = 10
)

// Attempts limits attempts that fail, such as sign-ins with a wrong password, by the
// address they come from and by the person they are for. A server that has several doors
// gives the same value to all of them. Attempts that succeed are not counted. It is safe
// for concurrent use.
//
// Counts are kept in fixed windows. Keys are spread over a fixed number of counts by a hash
// that outsiders cannot predict, so that a flood from ever new addresses takes a few
// megabytes; two keys share a count in one of 65,536 pairs.
type Attempts struct {
	rate Rate
	seed maphash.Seed

	mu     sync.Mutex
	counts map[uint64]*attemptCount
	ended  chan struct{} // closed and replaced when an attempt ends
}

// attemptCount is the count of one key.
type attemptCount struct {
	failed  int // in the window
	pending int // begun and not ended
	ends    time.Time
}

// NewAttempts returns a limit of rate.Count failed attempts from one address in each
// window, and ten times as many for one person. The zero Rate is without limit.
func NewAttempts(rate Rate) *Attempts {
	return &Attempts{rate: rate, seed: maphash.MakeSeed(), counts: make(map[uint64]*attemptCount), ended: make(chan struct{})}
}

// Rate returns the rate of one address.
func (a *Attempts) Rate() Rate { return a.rate }

// Attempt is an attempt that has begun. It must be ended once, with [Attempt.End].
type Attempt struct {
	of     *Attempts
	counts []*attemptCount // of its address and, where that is known, of its person
}

// Begin starts an attempt, and reports whether it may be carried out. person may be empty.
// IPv6 addresses are counted by their /64. When only attempts that have not ended yet stand
// in the way, Begin waits for them, at most until ctx ends. The status is that of the
// address.
func (a *Attempts) Begin(ctx context.Context, address, person string, now time.Time) (*Attempt, Status, bool) {
	if a.rate.Unlimited() {
		return &Attempt{}, Status{}, true
	}
	person = strings.ToLower(strings.TrimSpace(person))
	for {
		attempt, status, wait := a.begin(Network(address), person, now)
		if wait == nil {
			return attempt, status, attempt != nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, status, false
		}
	}
}

// begin returns an attempt, nil when it is refused, or the channel to wait for before the
// next call.
func (a *Attempts) begin(address, person string, now time.Time) (attempt *Attempt, status Status, wait <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	byAddress := a.count("address "+address, now)
	attempt, status = &Attempt{of: a, counts: []*attemptCount{byAddress}}, a.status(byAddress)
	limits := []int{a.rate.Count}
	if person != "" {
		if byPerson := a.count("person "+person, now); byPerson != byAddress {
			attempt.counts, limits = append(attempt.counts, byPerson), append(limits, personFactor*a.rate.Count)
		}
	}
	for i, c := range attempt.counts {
		switch {
		case a.rate.Window <= 0 || c.failed >= limits[i]:
			status.Remaining, status.Reset = 0, c.ends
			return nil, status, nil
		case c.failed+c.pending >= limits[i]:
			wait = a.ended
		}
	}
	if wait != nil {
		return nil, status, wait
	}
	for _, c := range attempt.counts {
		c.pending++
	}
	return attempt, status, nil
}

// End ends the attempt, counts it if it failed, and returns the status of its address.
func (t *Attempt) End(failed bool, now time.Time) Status {
	a := t.of
	if a == nil {
		return Status{}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range t.counts {
		a.renew(c, now)
		if c.pending--; failed {
			c.failed++
		}
	}
	close(a.ended)
	a.ended = make(chan struct{})
	return a.status(t.counts[0])
}

func (a *Attempts) status(c *attemptCount) Status {
	return Status{Rate: a.rate, Remaining: max(0, a.rate.Count-c.failed), Reset: c.ends}
}

// count returns the count of a key at now.
func (a *Attempts) count(key string, now time.Time) *attemptCount {
	slot := maphash.String(a.seed, key) % attemptSlots
	c := a.counts[slot]
	if c == nil {
		c = new(attemptCount)
		a.counts[slot] = c
	}
	a.renew(c, now)
	return c
}

// renew begins a new window when the last one is over. A window that ends later than it
// could have begun was opened by a clock that was set back since.
func (a *Attempts) renew(c *attemptCount, now time.Time) {
	if !now.Before(c.ends) || c.ends.Sub(now) > a.rate.Window {
		c.failed, c.ends = 0, now.Add(a.rate.Window)
	}
}

// Network returns what requests of one address are counted by: the address, or its /64
// network where it is of IPv6, because one customer has all of that.
func Network(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	network, err := ip.Prefix(64)
	if err != nil {
		return address
	}
	return network.String()
}
