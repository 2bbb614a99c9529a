package oat_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/logtest"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/oat"
)

// book is a recorder on a log, in a bubble of synctest: its time passes only while
// everyone waits, and the test fails if it leaves a goroutine behind.
type book struct {
	*oat.Recorder
	t   *testing.T
	log *tapped
}

// inBubble runs a test on a recorder that is closed at the end.
func inBubble(t *testing.T, test func(*testing.T, *book), options ...func(*oat.RecorderConfig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &book{t: t, log: &tapped{Complete: memlog.New()}}
		cfg := oat.RecorderConfig{Log: b.log}
		for _, option := range options {
			option(&cfg)
		}
		var err error
		b.Recorder, err = oat.NewRecorder(cfg)
		must(t, err)
		defer func() { must(t, b.Close(context.Background())) }()
		test(t, b)
	})
}

// token is the nth token there is.
func token(n int) uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, n))
}

// use notes uses of a token of acme, now.
func (b *book) use(token uuid.UUID, changes ...func(*oat.Use)) {
	u := oat.Use{Organization: "acme", Token: token, At: time.Now(), Address: "192.0.2.1", UserAgent: "docker/29"}
	for _, change := range changes {
		change(&u)
	}
	b.Record(u)
}

// recorded is what stands in the log about use, in order.
func (b *book) recorded() (all []*events.UsageRecorded) {
	b.t.Helper()
	for _, r := range records(b.t, b.log) {
		payload, err := r.Payload()
		must(b.t, err)
		if r.Actor != "host:recorder" || r.Stream.Kind() != events.KindUsage {
			b.t.Errorf("recorded in %s by %s", r.Stream, r.Actor)
		}
		all = append(all, payload.(*events.UsageRecorded))
	}
	return all
}

// counts is how often each token was used, as the log has it, and refused.
func (b *book) counts() (accepted, refused map[string]int64) {
	b.t.Helper()
	accepted, refused = make(map[string]int64), make(map[string]int64)
	for _, event := range b.recorded() {
		for _, u := range event.Uses {
			if u.Accepted != nil {
				accepted[u.Token] += u.Accepted.Count
			}
			if u.Refused != nil {
				refused[u.Token] += u.Refused.Count
			}
		}
	}
	return accepted, refused
}

// interval lets an interval pass, and waits until what comes of it is done.
func (b *book) interval() {
	b.t.Helper()
	time.Sleep(time.Minute)
	synctest.Wait()
}

// events demands that the log has n events by now, when everyone waits.
func (b *book) events(n int) {
	b.t.Helper()
	synctest.Wait()
	if got := len(b.recorded()); got != n {
		b.t.Fatalf("%d events after %s, want %d", got, time.Since(bubbleStart()), n)
	}
}

// bubbleStart is when time begins in every bubble.
func bubbleStart() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

// losing is a log that treats appends as fate says, as in lossy.
func losing(fate *[]logtest.Loss) func(*oat.RecorderConfig) {
	return func(cfg *oat.RecorderConfig) {
		cfg.Log = &logtest.Flaky{Complete: cfg.Log.(logtest.Complete), Lose: func(events.StreamID, []events.Envelope) logtest.Loss {
			if len(*fate) == 0 {
				return logtest.Delivered
			}
			next := (*fate)[0]
			*fate = slices.Delete(*fate, 0, 1)
			return next
		}}
	}
}
