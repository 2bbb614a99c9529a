package testkit

import (
	"slices"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
)

// Samples are durations of what was measured.
type Samples []time.Duration

// Time calls f and adds how long it took.
func (s *Samples) Time(f func()) {
	start := time.Now()
	f()
	*s = append(*s, time.Since(start))
}

// Median is in nanoseconds, for [testing.B.ReportMetric]. It sorts the samples.
func (s Samples) Median() float64 {
	slices.Sort(s)
	return float64(s[len(s)/2])
}

// BenchmarkScan compares ReadAll of a log that holds so many records with raw, which reads
// the same rows without decoding anything. They take turns; b.N counts reads of the whole
// log.
func BenchmarkScan(b *testing.B, log events.Log, records int, raw func()) {
	b.Helper()
	var ours, theirs Samples
	for b.Loop() {
		theirs.Time(raw)
		ours.Time(func() {
			n := 0
			for _, err := range log.ReadAll(b.Context(), 0) {
				if n++; err != nil {
					b.Fatal(err)
				}
			}
			if n != records {
				b.Fatalf("ReadAll yielded %d records", n)
			}
		})
	}
	b.ReportMetric(ours.Median()/float64(records), "ns/record")
	b.ReportMetric(theirs.Median()/float64(records), "ns/raw")
	b.ReportMetric(theirs.Median()/ours.Median(), "x-raw-speed")
	b.ReportMetric(0, "ns/op")
}

// Waiter is a log that wakes its readers and knows its end.
type Waiter interface {
	events.Notifier
	events.Heads
}

// BenchmarkWake measures how long after an append to log the Wait of other returns, which
// is another handle on the same log.
func BenchmarkWake(b *testing.B, log events.Log, other Waiter) {
	b.Helper()
	g := NewGenerator()
	var late Samples
	for b.Loop() {
		after, err := other.End(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		woken := make(chan time.Time, 1)
		go func() {
			if err := other.Wait(b.Context(), after); err != nil {
				b.Error(err)
			}
			woken <- time.Now()
		}()
		Append(b, log, "organization/acme", g.TokenGenerated())
		appended := time.Now()
		late = append(late, max(0, (<-woken).Sub(appended)))
	}
	slices.Sort(late)
	b.ReportMetric(float64(late[len(late)*99/100].Microseconds())/1000, "p99-ms")
}
