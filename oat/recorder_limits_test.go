package oat_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
)

// However long the texts are that clients send, and however JSON has to write them,
// what is recorded at once fits a batch of the log. Break it by letting fitting return
// min(len(uses), maxUsesPerEvent), or by taking the texts once in span.size.
func TestLongestTextsFitTheLog(t *testing.T) {
	const tokens = 600
	inBubble(t, func(t *testing.T, b *book) {
		for _, text := range []string{strings.Repeat(`"`, 300), strings.Repeat("\u2028", 100), strings.Repeat(`\x`, 1000)} {
			for i := range tokens {
				for _, cause := range []string{"", text} {
					b.use(token(i), func(u *oat.Use) { u.Cause, u.Address, u.UserAgent = cause, text, text })
				}
			}
			must(t, b.Flush(t.Context()))
		}
		accepted, refused := b.counts()
		for i := range tokens {
			if id := token(i).String(); accepted[id] != 3 || refused[id] != 3 {
				t.Fatalf("token %d: %d accepted, %d refused, want 3 and 3", i, accepted[id], refused[id])
			}
		}
		for i := range tokens {
			b.use(token(i), func(u *oat.Use) { u.UserAgent = "docker/29" })
		}
		before := len(b.recorded())
		must(t, b.Flush(t.Context()))
		if n := len(b.recorded()) - before; n != 2 {
			t.Errorf("%d events for %d tokens with short texts, want 2", n, tokens)
		}
	})
}

// A client's megabyte is not kept until the interval ends. Break it by dropping bounded
// from cell.add.
func TestLongTextsAreNotKept(t *testing.T) {
	inBubble(t, func(t *testing.T, b *book) {
		for i := range 64 {
			b.use(token(i)) // the first use is recorded and let go at once
		}
		synctest.Wait()
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range 64 {
			b.use(token(i), func(u *oat.Use) { u.UserAgent = strings.Repeat("x", 1<<20) })
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
			t.Errorf("%d MB kept for the uses of 64 tokens", grown>>20)
		}
	})
}

// The use of an anonymous grant is nobody's. In the log it would stop every reader.
// Break it by dropping the first test in Recorder.Record.
func TestUseByNobodyIsNotRecorded(t *testing.T) {
	inBubble(t, func(t *testing.T, b *book) {
		anonymous := oat.Anonymous()
		b.Record(oat.Use{Organization: anonymous.Organization(), Token: anonymous.Token(), At: time.Now()})
		b.Record(oat.Use{Organization: "acme", Token: uuid.Nil, At: time.Now()})
		b.Record(oat.Use{Token: token(1), At: time.Now()})
		synctest.Wait()
		must(t, b.Flush(t.Context()))
		b.events(0)
	})
}

// When the log is down for very many organizations, the error says so in few words.
// Break it by appending to failures in every case in Recorder.appendAll.
func TestErrorOfAFlushIsShort(t *testing.T) {
	down := errors.New("disk is full")
	inBubble(t, func(t *testing.T, b *book) {
		b.log.onAppend = func(context.Context, events.StreamID, []events.Envelope) error { return down }
		for i := range 1000 {
			b.use(token(i), func(u *oat.Use) { u.Organization = fmt.Sprintf("org-%d", i) })
		}
		synctest.Wait()
		err := b.Flush(t.Context())
		if !errors.Is(err, down) || !strings.Contains(err.Error(), "and of 992 organizations more") || len(err.Error()) > 1000 {
			t.Errorf("%v", err)
		}
		b.log.onAppend = nil
	})
}
