package hubapi

import (
	"hash/maphash"
	"net/http"
	"strconv"
	"time"

	"github.com/oatmill/oatmill/quota"
)

// slots is how many counts a limiter keeps at most.
const slots = 1 << 16

// limiter counts the requests of callers in fixed windows. Callers are spread over a
// fixed number of counts, by a hash that nobody outside can foresee, so that a flood
// from ever new addresses takes a few megabytes and no more. The price is that two callers
// may share a count, which happens to one in 65,536 pairs. To forget the oldest callers
// instead would let a flood wash its own counts away.
type limiter struct {
	rate  quota.Rate
	seed  maphash.Seed
	meter quota.Meter
}

func newLimiter(rate quota.Rate) *limiter {
	return &limiter{rate: rate, seed: maphash.MakeSeed()}
}

func (l *limiter) take(caller string, now time.Time) (quota.Status, bool) {
	slot := maphash.String(l.seed, caller) % slots
	return l.meter.Take(strconv.FormatUint(slot, 36), l.rate, now)
}

// limit counts the request against its caller: the user, wherever they are, or the address
// where nobody is signed in.
func (c *call) limit() (quota.Status, bool) {
	if c.user != "" {
		return c.users.take(c.user, c.now)
	}
	return c.addresses.take(quota.Network(c.cfg.ClientAddress(c.r)), c.now)
}

// tooMany refuses a request over the limit.
func (c *call) tooMany(status quota.Status) *refusal {
	limited := refuse(http.StatusTooManyRequests, "too many requests")
	limited.header = map[string]string{"Retry-After": retryAfter(status.Reset, c.now)}
	return limited
}

// setRate tells the caller how they stand.
func setRate(header http.Header, status quota.Status) {
	header.Set("X-RateLimit-Limit", strconv.Itoa(status.Rate.Count))
	header.Set("X-RateLimit-Remaining", strconv.Itoa(status.Remaining))
	header.Set("X-RateLimit-Reset", strconv.FormatInt(wholeSeconds(status.Reset), 10))
}

// wholeSeconds is the first second since 1970 that is not before t.
func wholeSeconds(t time.Time) int64 {
	if t.Nanosecond() > 0 {
		return t.Unix() + 1
	}
	return t.Unix()
}

// retryAfter is how many seconds there are from now to t, at least one.
func retryAfter(t, now time.Time) string {
	left := (t.Sub(now) + time.Second - 1) / time.Second
	return strconv.FormatInt(max(1, int64(left)), 10)
}
