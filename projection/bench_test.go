package projection_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/projection/projtest"
)

// everything is one of each read model.
type everything struct {
	tokens   *projection.Tokens
	counts   *projection.Counts
	lastUsed *projection.LastUsed
	history  *projection.History
}

func newEverything() everything {
	return everything{projection.NewTokens(), projection.NewCounts(nil), projection.NewLastUsed(), projection.NewHistory()}
}

func (e everything) list() []projection.Projection {
	return []projection.Projection{e.tokens, e.counts, e.lastUsed, e.history}
}

// fill appends records to a new log in memory, in their order.
func fill(tb testing.TB, records []events.Recorded) *memlog.Log {
	tb.Helper()
	log := memlog.New()
	tb.Cleanup(func() { _ = log.Close() })
	for i := range records {
		if _, err := log.Append(context.Background(), records[i].Stream, events.Any, records[i].Envelope); err != nil {
			tb.Fatal(err)
		}
	}
	return log
}

// BenchmarkRebuild measures promise P10: all read models rebuilt from memory on one core,
// and, in turns, the payloads of the same records decoded without doing anything with them.
//
//	go test -run '^$' -bench Rebuild ./projection
func BenchmarkRebuild(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const records = 500_000
	log := fill(b, projtest.NewWorld(1, 1000, records).Records)
	decoded, passes := time.Duration(0), 0
	for b.Loop() {
		b.StopTimer()
		decoded += decode(b, log)
		passes++
		runner, err := projection.NewRunner(projection.RunnerConfig{Log: log, Projections: newEverything().list()})
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := runner.CatchUp(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	rebuild, baseline := b.Elapsed().Seconds(), decoded.Seconds()
	b.ReportMetric(float64(records*passes)/rebuild, "events/s")
	b.ReportMetric(float64(records*passes)/baseline, "decoded/s")
	b.ReportMetric(baseline/rebuild, "x-decode")
}

// decode returns how long it takes to decode the payloads of a log.
func decode(tb testing.TB, log events.Log) time.Duration {
	began := time.Now()
	for r, err := range log.ReadAll(context.Background(), 0) {
		if err != nil {
			tb.Fatal(err)
		}
		if kind := r.Stream.Kind(); kind != events.KindOrganization && kind != events.KindUsage {
			continue
		}
		if _, err := r.Payload(); err != nil {
			tb.Fatal(err)
		}
	}
	return time.Since(began)
}
