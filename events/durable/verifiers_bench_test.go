package durable_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
)

// BenchmarkRevocation measures promise P14: for how long another process accepts a token
// after the command that revoked it has returned, beside how long after that same moment
// the log wakes a third process, which does nothing but wait. One that was quicker than the
// reply to the writer counts as 0. Runners and logs are configured as by default. A p99
// wants some hundred revocations: -benchtime 500x.
func BenchmarkRevocation(b *testing.B) {
	for _, s := range sharedStores() {
		b.Run(s.name, func(b *testing.B) {
			c := newCrew(b, s, 1, memberConfig{})
			w := c.waiter(s)
			var revoked, woken testkit.Samples
			for b.Loop() {
				revoked = append(revoked, c.delays(1)...)
				r := c.revoked[len(c.revoked)-1]
				woken = append(woken, time.Duration(max(0, w.wakes(r.position)-r.at)))
			}
			for name, d := range map[string]time.Duration{
				"p50-ns/wake": percentile(woken, 0.5), "p99-ns/wake": percentile(woken, 0.99),
				"p50-ns/revoked": percentile(revoked, 0.5), "p99-ns/revoked": percentile(revoked, 0.99), "max-ns/revoked": percentile(revoked, 1),
			} {
				b.ReportMetric(float64(d), name)
			}
			b.ReportMetric(float64(percentile(revoked, 0.99))/float64(max(time.Microsecond, percentile(woken, 0.99))), "x-wake-p99")
		})
	}
}

// waiter is a further process, which only waits for the log to wake it.
func (c *crew) waiter(s sharedStore) *process {
	c.tb.Helper()
	own, _ := s.attach(c.tb, c.address)
	p := startProcess(c.tb, "waiting", memberConfig{Store: s.name, Address: own, Waits: true})
	p.await("ready", uuid.Nil)
	p.wakes(c.kept.Position + 1)
	return p
}

// wakes is when the process was woken for the record at a position.
func (p *process) wakes(position events.Position) int64 {
	p.tb.Helper()
	for {
		if n := p.await("woken", uuid.Nil); n.Position >= position {
			return n.At
		}
	}
}
