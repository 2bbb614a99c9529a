package natslog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/natslog"
)

const acme = events.StreamID("organization/acme")

// TestLostReplyIsSettledByReadingBack breaks the connection once before an append
// reached the server and once after. The caller gets the right answer both times, the
// batch is there once, and nobody calls it a conflict.
//
// What breaks it: comparing versions in attempt.try before looking for the batch itself.
func TestLostReplyIsSettledByReadingBack(t *testing.T) {
	s := one(t)
	p := newProxy(t, s.URL())
	cfg := s.config(t)
	cfg.RequestTimeout = 300 * time.Millisecond
	cfg.Options = []nats.Option{nats.IgnoreDiscoveredServers()}
	log := openAt(t, p.url(), cfg)
	want := testkit.Append(t, log, acme, envelope())
	for i, loss := range []int32{loseReply, loseAppend, loseReply, loseAppend} {
		p.next.Store(loss)
		records, err := log.Append(t.Context(), acme, events.Version(len(want)), envelopes(2)...)
		if err != nil {
			t.Fatalf("loss %d: %v", loss, err)
		}
		if got := p.lost.Load(); got != int32(i+1) {
			t.Fatalf("the proxy lost %d appends, want %d", got, i+1)
		}
		want = append(want, records...)
	}
	same(t, collect(t, s.open(t, cfg).ReadAll(t.Context(), 0)), want)
}

// TestUnknownOutcomeIsSettledByAppendingAgain ends the context between an append and its
// reply. The outcome is unknown, never an error that says nothing was appended.
//
// What breaks it: returning the context's error alone from attempt.ended, or counting
// nats.ErrConnectionClosed among the errors in unsent.
func TestUnknownOutcomeIsSettledByAppendingAgain(t *testing.T) {
	s := one(t)
	p := newProxy(t, s.URL())
	for name, option := range map[string]nats.Option{"the connection is lost": nats.MaxReconnects(-1), "the connection is closed": nats.NoReconnect()} {
		for _, loss := range []int32{loseReply, loseAppend} {
			t.Run(fmt.Sprintf("%s, loss %d", name, loss), func(t *testing.T) {
				cfg := s.config(t)
				cfg.Options = []nats.Option{nats.IgnoreDiscoveredServers(), option}
				settles(t, p, loss, openAt(t, p.url(), cfg), s.open(t, cfg))
			})
		}
	}
}

// settles loses an append of a log or its reply, and settles it through another.
func settles(t *testing.T, p *proxy, loss int32, log, other *natslog.Log) {
	t.Helper()
	batch := envelopes(2)
	p.next.Store(loss)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := log.Append(ctx, acme, 0, batch...); !errors.Is(err, events.ErrUnknownOutcome) {
		t.Fatalf("%v, want %v", err, events.ErrUnknownOutcome)
	}
	kept := collect(t, other.ReadStream(t.Context(), acme, 0))
	if len(kept) != map[int32]int{loseReply: 2, loseAppend: 0}[loss] {
		t.Fatalf("%d records are there", len(kept))
	}
	again, err := other.Append(t.Context(), acme, 0, batch...)
	if err != nil {
		t.Fatal(err)
	}
	if loss == loseReply {
		same(t, again, kept)
	}
	same(t, collect(t, other.ReadStream(t.Context(), acme, 0)), again)
}

// TestClosingKeepsWhatIsInFlight closes logs under load. What was acknowledged is there,
// what was refused is not.
func TestClosingKeepsWhatIsInFlight(t *testing.T) {
	s := one(t)
	cfg := s.config(t)
	log := s.open(t, cfg)
	var mu sync.Mutex
	var acknowledged []events.Recorded
	var refused []events.Envelope
	var writers sync.WaitGroup
	started := make(chan struct{}, 8)
	for range 8 {
		writers.Go(func() {
			for {
				e := envelope()
				records, err := log.Append(t.Context(), acme, events.Any, e)
				mu.Lock()
				acknowledged = append(acknowledged, records...)
				if errors.Is(err, events.ErrClosed) && !errors.Is(err, events.ErrUnknownOutcome) {
					refused = append(refused, e)
				}
				mu.Unlock()
				if err != nil {
					return
				}
				select {
				case started <- struct{}{}:
				default:
				}
			}
		})
	}
	for range 8 {
		<-started
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	writers.Wait()
	slices.SortFunc(acknowledged, func(a, b events.Recorded) int { return int(a.Position - b.Position) })
	same(t, collect(t, s.open(t, cfg).ReadAll(t.Context(), 0)), acknowledged)
	if len(refused) != 8 {
		t.Errorf("%d of 8 writers were refused because the log was closed", len(refused))
	}
}

// TestDuplicateOfAnotherStreamIsReadBack uses the first event of another stream's batch
// again. The server calls it a duplicate and gives that stream's sequence, which must
// not pass for an acknowledgement.
//
// What breaks it: taking the sequence of a duplicate's acknowledgement for the batch's
// own in attempt.send.
func TestDuplicateOfAnotherStreamIsReadBack(t *testing.T) {
	s := one(t)
	log := s.open(t, s.config(t))
	taken := envelope()
	testkit.Append(t, log, acme, taken)
	if _, err := log.Append(t.Context(), "organization/beta", 0, taken); !errors.Is(err, events.ErrDuplicate) {
		t.Errorf("an event of another stream: %v, want %v", err, events.ErrDuplicate)
	}
	if records := collect(t, log.ReadStream(t.Context(), "organization/beta", 0)); len(records) > 0 {
		t.Errorf("%d records were appended", len(records))
	}
}

// TestRepetitionIsKnownBeyondTheWindow opens a log whose server remembers IDs for 100
// milliseconds only, and repeats a batch when they are forgotten.
//
// What breaks it: relying on the server's memory instead of reading the stream, so
// attempt.earlier that returns nothing.
func TestRepetitionIsKnownBeyondTheWindow(t *testing.T) {
	s := one(t)
	cfg := s.config(t)
	cfg.Duplicates = 100 * time.Millisecond
	log := s.open(t, cfg)
	batch := envelopes(3)
	first := testkit.Append(t, log, acme, batch...)
	forgotten(t, s, cfg, batch[0])
	log = s.open(t, cfg)
	same(t, testkit.Append(t, log, acme, batch...), first)
	same(t, testkit.Append(t, log, acme, batch[1:]...), first[1:])
}

// forgotten waits until the server has forgotten an ID, which shows when another stream
// can have it.
func forgotten(t *testing.T, s *servers, cfg natslog.Config, e events.Envelope) {
	t.Helper()
	log := s.open(t, cfg)
	for ctx := within(t, 30*time.Second); ; {
		_, err := log.Append(ctx, "usage/other", 0, e)
		if err == nil {
			return
		}
		if !errors.Is(err, events.ErrDuplicate) {
			t.Fatal(err)
		}
	}
}
