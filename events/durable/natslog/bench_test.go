package natslog_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
)

// BenchmarkAppend32 compares appends by 32 writers on 32 streams, replicated on three
// nodes, with publishing the same data with the same expectation, in turn, round by round.
// b.N counts rounds of 32 times 16 appends. All three servers run in this process and take
// most of its time.
func BenchmarkAppend32(b *testing.B) {
	const writers, each = 32, 16
	s := three(b)
	log := s.open(b, s.config(b))
	js := s.connect(b)
	raw := jetstream.StreamConfig{Name: "raw", Subjects: []string{"raw.*"}, Replicas: 3}
	if _, err := js.CreateStream(b.Context(), raw); err != nil {
		b.Fatal(err)
	}
	together := func(write func(w int, e events.Envelope)) {
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				for range each {
					write(w, envelope())
				}
			})
		}
		all.Wait()
	}
	last := make([]uint64, writers)
	publish := func(w int, e events.Envelope) {
		for {
			ack, err := js.Publish(b.Context(), fmt.Sprintf("raw.w%d", w), e.Data, jetstream.WithExpectLastSequencePerSubject(last[w]))
			var refused *jetstream.APIError
			if errors.As(err, &refused) && refused.ErrorCode == 10164 {
				continue // the message before is acknowledged and not quite done with
			}
			if err != nil {
				b.Error(err)
				return
			}
			last[w] = ack.Sequence
			return
		}
	}
	add := func(w int, e events.Envelope) {
		testkit.Append(b, log, events.StreamID(fmt.Sprintf("organization/w%d", w)), e)
	}
	together(publish)
	together(add)
	var ours, theirs testkit.Samples
	for b.Loop() {
		theirs.Time(func() { together(publish) })
		ours.Time(func() { together(add) })
	}
	const appends = writers * each * float64(time.Second)
	b.ReportMetric(appends/ours.Median(), "appends/s")
	b.ReportMetric(appends/theirs.Median(), "raw/s")
	b.ReportMetric(theirs.Median()/ours.Median(), "x-raw")
	b.ReportMetric(0, "ns/op")
}
