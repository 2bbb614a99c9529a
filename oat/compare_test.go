package oat

import (
	"slices"
	"sync"
	"testing"
	"time"
)

// compare runs what is measured and its baseline in rounds that take turns, so that
// both meet the same noise, and reports the median of the rounds' ratios.
func compare(b *testing.B, goroutines int, baseline, measured func(i int) bool) {
	b.Helper()
	const rounds = 21
	each := max(1, b.N/rounds)
	var ratios, base, took []float64
	b.ReportAllocs()
	b.ResetTimer()
	for round := range rounds {
		b.StopTimer()
		slow := timed(b, goroutines, round*each, each, baseline)
		b.StartTimer()
		fast := timed(b, goroutines, round*each, each, measured)
		base = append(base, slow)
		took = append(took, fast)
		ratios = append(ratios, fast/slow)
	}
	b.ReportMetric(median(ratios), "x-baseline")
	b.ReportMetric(median(base), "baseline-nanoseconds")
	b.ReportMetric(median(took), "median-nanoseconds")
}

// timed is the time of one call in nanoseconds, over each calls by every goroutine.
func timed(b *testing.B, goroutines, from, each int, call func(i int) bool) float64 {
	var wg sync.WaitGroup
	begin := time.Now()
	for g := range goroutines {
		wg.Go(func() {
			for i := range each {
				if !call(from + i + g*7919) {
					b.Error("did not open")
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(time.Since(begin)) / float64(each)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
