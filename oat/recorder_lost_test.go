package oat_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/logtest"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/oat"
)

// While the log is down uses are kept, and recorded once it is back, none lost and
// none twice. Break it by dropping the call of putBack in Recorder.appendEvent.
func TestNoUseIsLostWhileTheLogIsDown(t *testing.T) {
	down := errors.New("disk is full")
	var isDown atomic.Bool
	isDown.Store(true)
	logger, written := logged()
	inBubble(t, func(t *testing.T, b *book) {
		b.log.onAppend = func(context.Context, events.StreamID, []events.Envelope) error {
			if isDown.Load() {
				return down
			}
			return nil
		}
		for minute := range 5 {
			for i := range 10 {
				b.use(token(i))
				b.use(token(i), func(u *oat.Use) { u.Cause = "expired" })
			}
			b.interval()
			b.events(0)
			if err := b.Flush(t.Context()); !errors.Is(err, down) || !strings.Contains(err.Error(), "acme") {
				t.Errorf("flush in minute %d: %v, want %v for acme", minute, err, down)
			}
		}
		isDown.Store(false)
		b.interval()
		b.events(1)
		accepted, refused := b.counts()
		for i := range 10 {
			if id := token(i).String(); accepted[id] != 5 || refused[id] != 5 {
				t.Errorf("token %d: %d accepted, %d refused, want 5 and 5", i, accepted[id], refused[id])
			}
		}
		use := b.recorded()[0].Uses[0]
		if first, last := bubbleStart(), bubbleStart().Add(4*time.Minute); !use.Accepted.First.Equal(first) || !use.Refused.Last.Equal(last) {
			t.Errorf("from %s to %s, want %s to %s", use.Accepted.First, use.Refused.Last, first, last)
		}
	}, func(cfg *oat.RecorderConfig) { cfg.Logger = logger })
	if !strings.Contains(written.String(), "disk is full") {
		t.Errorf("logged %q", written)
	}
}

// One organization that cannot be recorded does not hold up the others.
func TestOneOrganizationDoesNotHoldUpOthers(t *testing.T) {
	var isBad atomic.Bool
	isBad.Store(true)
	inBubble(t, func(t *testing.T, b *book) {
		b.log.onAppend = func(_ context.Context, stream events.StreamID, _ []events.Envelope) error {
			if stream == "usage/bad" && isBad.Load() {
				return errors.New("no space for this one")
			}
			return nil
		}
		for i := range 20 {
			b.use(token(2*i), func(u *oat.Use) { u.Organization = "bad" })
			b.use(token(2*i + 1))
		}
		if err := b.Flush(t.Context()); err == nil || strings.Contains(err.Error(), "acme") {
			t.Errorf("error %v, want one about bad alone", err)
		}
		accepted, _ := b.counts()
		if len(accepted) != 20 {
			t.Errorf("%d tokens recorded, want 20", len(accepted))
		}
		isBad.Store(false)
	})
}

// A lost reply counts nothing twice and loses nothing, whether the event was kept or
// not, and also when the log stays silent for a while. Break it by putting the uses
// back after events.ErrUnknownOutcome in Recorder.appendEvent, or by forgetting them.
func TestLostRepliesCountOnce(t *testing.T) {
	const kept, dropped, delivered = logtest.LostKept, logtest.LostDropped, logtest.Delivered
	for name, fates := range map[string][]logtest.Loss{
		"kept":                  {kept},
		"dropped":               {dropped},
		"kept again and again":  {kept, kept, kept},
		"dropped and dropped":   {dropped, dropped, dropped},
		"dropped, then kept":    {dropped, kept},
		"kept, then dropped":    {kept, dropped},
		"every second":          {kept, delivered, dropped, delivered, kept, delivered},
		"lost at the very last": {delivered, delivered, delivered, delivered, kept},
	} {
		t.Run(name, func(t *testing.T) {
			fate := slices.Clone(fates)
			inBubble(t, func(t *testing.T, b *book) {
				const minutes = 6
				for range minutes {
					b.use(token(1))
					b.use(token(2), func(u *oat.Use) { u.Cause = "expired" })
					b.interval()
				}
				for range len(fates) + 1 {
					_ = b.Flush(t.Context())
				}
				accepted, refused := b.counts()
				if a, r := accepted[token(1).String()], refused[token(2).String()]; a != minutes || r != minutes {
					t.Errorf("%d accepted and %d refused, want %d each", a, r, minutes)
				}
				if len(fate) > 0 {
					t.Errorf("%d appends fewer than expected", len(fate))
				}
			}, losing(&fate))
		})
	}
}

// What is uncertain is settled also when nothing more is used, and by Close.
func TestUncertainEventIsSettledWithoutFurtherUse(t *testing.T) {
	for name, end := range map[string]func(*book){
		"by the interval": func(b *book) { b.interval() },
		"by Flush":        func(b *book) { must(b.t, b.Flush(b.t.Context())) },
		"by Close":        func(b *book) { must(b.t, b.Close(b.t.Context())) },
	} {
		t.Run(name, func(t *testing.T) {
			fate := []logtest.Loss{logtest.LostDropped}
			inBubble(t, func(t *testing.T, b *book) {
				b.use(token(1))
				b.events(0)
				end(b)
				b.events(1)
				b.interval()
				b.events(1)
			}, losing(&fate))
		})
	}
}

// Whatever the log does, noting a use does not wait for it. Break it by flushing in
// Record.
func TestRecordNeverWaitsForTheLog(t *testing.T) {
	var hangs atomic.Bool
	hangs.Store(true)
	inBubble(t, func(t *testing.T, b *book) {
		b.log.onAppend = func(ctx context.Context, _ events.StreamID, _ []events.Envelope) error {
			if hangs.Load() {
				<-ctx.Done()
			}
			return ctx.Err()
		}
		b.use(token(0))
		synctest.Wait() // the recorder hangs now
		began := time.Now()
		for i := range 1000 {
			b.use(token(i))
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("noting uses took %s of waiting", took)
		}

		// A flush waits for the one that hangs no longer than its context allows.
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := b.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 5*time.Second {
			t.Errorf("flush ended after %s with %v", time.Since(began), err)
		}

		// Close ends what hangs, and records everything.
		hangs.Store(false)
		must(t, b.Close(t.Context()))
		accepted, _ := b.counts()
		if len(accepted) != 1000 || accepted[token(0).String()] != 2 || accepted[token(1).String()] != 1 {
			t.Errorf("%d tokens recorded, want 1000", len(accepted))
		}
	})
}

// Not even a log that heeds no context keeps Close from ending with its own. Break it
// by waiting for r.stopped alone.
func TestCloseEndsWithItsContext(t *testing.T) {
	inBubble(t, func(t *testing.T, b *book) {
		release := make(chan struct{})
		b.log.onAppend = func(context.Context, events.StreamID, []events.Envelope) error {
			<-release
			return nil
		}
		b.use(token(1))
		synctest.Wait()
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := b.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 5*time.Second {
			t.Errorf("close ended after %s with %v", time.Since(began), err)
		}
		close(release)
		must(t, b.Close(t.Context()))
		b.events(1)
	})
}

// Uses that are noted while a flush is under way are in this event or in a later one,
// never in both and never in none. Break it by reading the cells in Recorder.take
// without taking the maps away.
func TestRecordWhileFlushing(t *testing.T) {
	log := memlog.New()
	var fails atomic.Int64
	tap := &tapped{Complete: log, onAppend: func(context.Context, events.StreamID, []events.Envelope) error {
		if fails.Add(1)%3 == 0 {
			return errors.New("now and then")
		}
		return nil
	}}
	recorder, err := oat.NewRecorder(oat.RecorderConfig{Log: tap, Interval: time.Millisecond})
	must(t, err)
	const goroutines, uses, tokens = 4, 3000, 5
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for i := range uses {
				u := oat.Use{Organization: "acme", Token: token(i % tokens), At: time.Now()}
				if i%3 == 0 {
					u.Cause = "expired"
				}
				recorder.Record(u)
				if i%500 == 0 {
					_ = recorder.Flush(t.Context())
				}
			}
		})
	}
	wg.Wait()
	for recorder.Close(t.Context()) != nil {
	}
	b := &book{t: t, log: tap}
	accepted, refused := b.counts()
	var sum, in int64
	for _, n := range accepted {
		sum += n
	}
	for _, n := range refused {
		in += n
	}
	if len(accepted) != tokens || sum != goroutines*uses*2/3 || in != goroutines*uses/3 {
		t.Errorf("%d accepted and %d refused of %d tokens, want %d and %d of %d", sum, in, len(accepted), goroutines*uses*2/3, goroutines*uses/3, tokens)
	}
}
