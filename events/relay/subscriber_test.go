package relay_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/events/relay"
)

// The tests below run in bubbles of synctest: their clock stands still while
// anything can happen, and jumps when nothing can. Durations in them are exact.

const (
	millisecond = time.Millisecond
	groupAll    = "group/g/*"
)

// expectNothing checks that nothing is delivered however long one waits.
func expectNothing(t *testing.T, messages <-chan *message.Message) {
	t.Helper()
	select {
	case m, ok := <-messages:
		t.Errorf("got %v (open: %t), want nothing", m, ok)
	case <-time.After(time.Hour):
	}
}

func expectSaved(t *testing.T, log events.Checkpoints, name string, want events.Position) {
	t.Helper()
	synctest.Wait()
	if got := checkpoint(t, log, name); got != want {
		t.Errorf("saved position %d, want %d", got, want)
	}
}

func expectElapsed(t *testing.T, since time.Time, want time.Duration) {
	t.Helper()
	if got := time.Since(since); got != want {
		t.Errorf("took %v, want %v", got, want)
	}
}

func TestTopicsSelect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		addOwners(t, log, 1)                                                                                // 1
		addUse(t, log, 1)                                                                                   // 2
		add(t, log, events.OrganizationStream("acme"), &events.TokenDeleted{Token: "t"})                    // 3
		add(t, log, events.OrganizationStream("umbrella"), &events.OrganizationOwnerAdded{Owner: "albert"}) // 4
		add(t, log, "build/1", &events.TokenDeactivated{Token: "t"})                                        // 5
		s := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "g"})
		defer closeNow(t, s)
		for topic, want := range map[string][]events.Position{
			relay.Everything:              {1, 2, 3, 4, 5},
			events.KindOrganization:       {1, 3, 4},
			events.KindUsage:              {2},
			"build":                       {5},
			"organization.owner_added.v1": {1, 4},
			"nothing.yet.v1":              nil,
		} {
			messages := subscribe(t, s, topic)
			for _, p := range want {
				m := receive(t, messages)
				if got := positionOf(t, m); got != p {
					t.Errorf("topic %s: got position %d, want %d", topic, got, p)
				}
				m.Ack()
			}
			expectNothing(t, messages)
		}
	})
}

// One message at a time. It fails when offer does not wait for the ack.
func TestNextMessageWaitsForTheAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		addOwners(t, log, 2)
		s := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "g"})
		defer closeNow(t, s)
		messages := subscribe(t, s, relay.Everything)
		m := receive(t, messages)
		expectNothing(t, messages)
		m.Ack()
		ackUpTo(t, messages, 2, 2)
	})
}

func TestNackedMessageComesAgainAfterTheDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		addOwners(t, log, 2)
		for delay, want := range map[time.Duration]time.Duration{0: 100 * millisecond, 7 * millisecond: 7 * millisecond, -1: 0} {
			s := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "g" + delay.String(), NackDelay: delay})
			messages := subscribe(t, s, relay.Everything)
			first := receive(t, messages)
			start := time.Now()
			first.Nack()
			second := receive(t, messages)
			expectElapsed(t, start, want)
			if !first.Equals(second) {
				t.Errorf("got %v, want %v again", second.Metadata, first.Metadata)
			}
			second.Ack()
			ackUpTo(t, messages, 2, 2)
			closeNow(t, s)
		}
	})
}

type contextKey struct{}

// It fails when a message is given the subscription's own context.
func TestContextOfAMessageEndsWithItsAckOrNack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		addOwners(t, log, 3)
		s := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "g"})
		messages, err := s.Subscribe(context.WithValue(t.Context(), contextKey{}, "mine"), relay.Everything)
		if err != nil {
			t.Fatal(err)
		}
		for _, settle := range []func(*message.Message){
			func(m *message.Message) { m.Nack() },
			func(m *message.Message) { m.Ack() },
			func(*message.Message) { go s.Close() },
		} {
			m := receive(t, messages)
			ctx := m.Context()
			synctest.Wait()
			if ctx.Err() != nil || ctx.Value(contextKey{}) != "mine" {
				t.Errorf("context of a message in flight: %v, value %v", ctx.Err(), ctx.Value(contextKey{}))
			}
			settle(m)
			synctest.Wait()
			if ctx.Err() == nil {
				t.Error("the context goes on")
			}
			m.Nack()
		}
	})
}

// A record is delivered when it is there: at once when the log can wake its readers
// and at the next poll when it cannot. It fails when wait ignores the Notifier, or
// never returns without one.
func TestNewRecordsAreFollowed(t *testing.T) {
	notifying := memlog.New()
	for name, c := range map[string]struct {
		log  events.Log
		want time.Duration
	}{
		"woken":  {notifying, 0},
		"polled": {newSilent(), 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSubscriber(t, relay.SubscriberConfig{Log: c.log, Group: "g", PollInterval: 5 * time.Second})
				defer closeNow(t, s)
				messages := subscribe(t, s, relay.Everything)
				for i := range events.Position(3) {
					synctest.Wait()
					start := time.Now()
					addOwners(t, c.log, 1)
					ackUpTo(t, messages, i+1, i+1)
					expectElapsed(t, start, c.want)
				}
			})
		})
	}
}

// deaf is a log whose wake-ups get lost.
type deaf struct{ *memlog.Log }

func (deaf) Wait(ctx context.Context, _ events.Position) error {
	<-ctx.Done()
	return ctx.Err()
}

// It fails when wait leaves out the time limit on Notifier.Wait.
func TestALostWakeUpIsMadeUpForByPolling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := deaf{memlog.New()}
		s := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "g"})
		defer closeNow(t, s)
		messages := subscribe(t, s, relay.Everything)
		synctest.Wait()
		start := time.Now()
		addOwners(t, log, 1)
		ackUpTo(t, messages, 1, 1)
		expectElapsed(t, start, time.Second)
	})
}

// The bounds on what a crash repeats. It fails when ack does not count, when idle
// does not save, or when the timer is not armed.
func TestWhenPositionsAreSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		addOwners(t, log, 9)
		s := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "g", SaveEvery: 3, SaveInterval: time.Second})
		defer closeNow(t, s)
		messages := subscribe(t, s, relay.Everything)
		ackUpTo(t, messages, 1, 2)
		expectSaved(t, log, groupAll, 0)
		ackUpTo(t, messages, 3, 3)
		expectSaved(t, log, groupAll, 3)
		ackUpTo(t, messages, 4, 4)
		time.Sleep(time.Second - 1)
		expectSaved(t, log, groupAll, 3)
		time.Sleep(time.Nanosecond) // 4 is saved while the handler of 5 is at work
		expectSaved(t, log, groupAll, 4)
		ackUpTo(t, messages, 5, 8)
		expectSaved(t, log, groupAll, 7)
		ackUpTo(t, messages, 9, 9) // the last of the log
		expectSaved(t, log, groupAll, 9)
	})
}

func TestSaveEveryOneSavesEachAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		addOwners(t, log, 3)
		s := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "g", SaveEvery: 1})
		defer closeNow(t, s)
		messages := subscribe(t, s, relay.Everything)
		for p := events.Position(1); p <= 3; p++ {
			ackUpTo(t, messages, p, p)
			expectSaved(t, log, groupAll, p)
		}
	})
}

// A group that selects nothing of what is written keeps up, saves at most once an
// interval, and does not read from the start again. It fails when skip does not
// arm the timer, or when idle saves what was only skipped.
func TestSkippedRecordsMoveThePosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFaulty()
		addUse(t, log, 500)
		s := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "g"})
		messages := subscribe(t, s, events.KindOrganization)
		time.Sleep(time.Second)
		expectSaved(t, log, "group/g/organization", 500)
		before := log.triedSaves()
		for range 200 { // two seconds of somebody else's traffic
			addUse(t, log, 1)
			time.Sleep(10 * millisecond)
		}
		synctest.Wait()
		if got := log.triedSaves() - before; got > 2 {
			t.Errorf("%d saves in two seconds, want at most 2", got)
		}
		expectNothing(t, messages)
		expectSaved(t, log, "group/g/organization", 700)
		closeNow(t, s)

		log.failReads(func(p events.Position) error {
			if p <= 700 {
				t.Errorf("position %d is read again", p)
			}
			return nil
		})
		next := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "g"})
		defer closeNow(t, next)
		messages = subscribe(t, next, events.KindOrganization)
		addOwners(t, log, 1)
		ackUpTo(t, messages, 701, 701)
	})
}

// It fails when a failed save is given up.
func TestALostSaveIsTriedAgainAndHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, logger := newFaulty(), watermill.NewCaptureLogger()
		addOwners(t, log, 5)
		log.failSaves(func(events.Position) error { return errBroken })
		s := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "g", SaveEvery: 2, Logger: logger})
		messages := subscribe(t, s, relay.Everything)
		start := time.Now()
		ackUpTo(t, messages, 1, 5)
		expectElapsed(t, start, 0)
		expectSaved(t, log, groupAll, 0)
		synctest.Wait()
		if got := logger.Captured()[watermill.ErrorLogLevel]; len(got) == 0 || !errors.Is(got[0].Err, errBroken) || got[0].Fields["group"] != "g" || got[0].Fields["topic"] != "*" {
			t.Errorf("logged %v, want the error of the save with group and topic", got)
		}
		log.failSaves(nil)
		time.Sleep(time.Second)
		expectSaved(t, log, groupAll, 5)
		closeNow(t, s)
	})
}

func TestCloseTellsWhatIsNotSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFaulty()
		addOwners(t, log, 2)
		log.failSaves(func(events.Position) error { return errBroken })
		s := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "g"})
		ackUpTo(t, subscribe(t, s, relay.Everything), 1, 1)
		if err := s.Close(); !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "group/g/* at 1") {
			t.Errorf("close: %v, want the error of the save with its name and position", err)
		}
		log.failSaves(nil)
		next := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "g"})
		defer closeNow(t, next)
		ackUpTo(t, subscribe(t, next, relay.Everything), 1, 2)
	})
}

// Errors of the log delay and lose nothing: 100 ms, doubled each time up to 10 s,
// and from the start after success. It fails when follow goes on after the record
// that was not read, or does not double or bound its delay.
func TestReadErrorsAreRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, logger := newFaulty(), watermill.NewCaptureLogger()
		addOwners(t, log, 6)
		failures := map[events.Position]int{3: 10, 5: 1}
		log.failReads(func(p events.Position) error {
			if failures[p] == 0 {
				return nil
			}
			failures[p]--
			return errBroken
		})
		s := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "g", Logger: logger})
		defer closeNow(t, s)
		messages := subscribe(t, s, relay.Everything)
		ackUpTo(t, messages, 1, 2)
		start := time.Now()
		ackUpTo(t, messages, 3, 3)
		expectElapsed(t, start, (100+200+400+800+1600+3200+6400)*millisecond+3*10*time.Second)
		ackUpTo(t, messages, 4, 4)
		start = time.Now()
		ackUpTo(t, messages, 5, 6)
		expectElapsed(t, start, 100*millisecond)
		if got := logger.Captured()[watermill.ErrorLogLevel]; len(got) != 11 || !errors.Is(got[0].Err, errBroken) {
			t.Errorf("%d errors logged, want 11", len(got))
		}
	})
}

// mute is a log whose Wait is broken.
type mute struct{ *memlog.Log }

func (mute) Wait(context.Context, events.Position) error { return errBroken }

// It fails when an error of Wait makes follow look again at once: then the clock of
// the bubble never moves, and the test does not end.
func TestABrokenNotifierIsNoBusyLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := mute{memlog.New()}
		s := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "g"})
		defer closeNow(t, s)
		messages := subscribe(t, s, relay.Everything)
		time.Sleep(time.Minute)
		addOwners(t, log, 1)
		ackUpTo(t, messages, 1, 1)
	})
}

func TestSubscribeRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		addOwners(t, log, 1)
		s := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "g"})
		first := subscribe(t, s, "organization")
		for _, topic := range []string{"", "organization/acme", "Organization", "**", "organization", strings.Repeat("x", events.MaxText)} {
			if _, err := s.Subscribe(t.Context(), topic); !errors.Is(err, events.ErrInvalid) {
				t.Errorf("topic %q: got %v, want events.ErrInvalid", topic, err)
			}
		}
		ackUpTo(t, first, 1, 1)
		closeNow(t, s)
		if _, err := s.Subscribe(t.Context(), "organization"); !errors.Is(err, relay.ErrSubscriberClosed) {
			t.Errorf("after Close: got %v", err)
		}
	})
}

// A refused Subscribe must not keep the topic, or hang Close.
func TestSubscribeCanBeTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		addOwners(t, log, 1)
		s := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "g"})
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Subscribe(ended, relay.Everything); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the error of loading the position", err)
		}
		ackUpTo(t, subscribe(t, s, relay.Everything), 1, 1)
		closeNow(t, s)
	})
}

// Checkpoints in a database and a log in memory: after a restart the position means
// nothing, and a subscriber that took it would wait without a word.
func TestCheckpointsOfAnotherLogAreRefused(t *testing.T) {
	old, fresh := memlog.New(), memlog.New()
	addOwners(t, fresh, 3)
	if err := old.SaveCheckpoint(t.Context(), groupAll, 4); err != nil {
		t.Fatal(err)
	}
	s := newSubscriber(t, relay.SubscriberConfig{Log: fresh, Checkpoints: old, Group: "g"})
	defer closeNow(t, s)
	if _, err := s.Subscribe(t.Context(), relay.Everything); !errors.Is(err, events.ErrInvalid) || !strings.Contains(err.Error(), "another log") {
		t.Errorf("got %v, want events.ErrInvalid", err)
	}
	addOwners(t, fresh, 2)
	ackUpTo(t, subscribe(t, s, relay.Everything), 5, 5)
}

func TestSubscriberConfigIsChecked(t *testing.T) {
	log := memlog.New()
	for name, config := range map[string]relay.SubscriberConfig{
		"no log":         {Group: "g", Checkpoints: log},
		"no group":       {Log: log},
		"no checkpoints": {Log: struct{ events.Log }{log}, Group: "g"},
	} {
		if _, err := relay.NewSubscriber(config); !errors.Is(err, events.ErrInvalid) {
			t.Errorf("%s: got %v, want events.ErrInvalid", name, err)
		}
	}
}
