package relay_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/events/relay"
)

func expectClosed(t *testing.T, messages <-chan *message.Message) {
	t.Helper()
	select {
	case m, ok := <-messages:
		if ok {
			t.Errorf("got %v, want a closed channel", m)
		}
	default:
		t.Error("the channel is still open")
	}
}

// A bubble ends only when every goroutine in it has, so every test in this file
// also shows that none is left behind.

func TestCloseInEveryState(t *testing.T) {
	for name, prepare := range map[string]func(*testing.T, *memlog.Log, <-chan *message.Message){
		"idle":              func(t *testing.T, log *memlog.Log, m <-chan *message.Message) { ackUpTo(t, m, 1, 2) },
		"nobody receives":   func(*testing.T, *memlog.Log, <-chan *message.Message) {},
		"message in flight": func(t *testing.T, _ *memlog.Log, m <-chan *message.Message) { receive(t, m) },
		"after a nack":      func(t *testing.T, _ *memlog.Log, m <-chan *message.Message) { receive(t, m).Nack() },
		"after an ack":      func(t *testing.T, _ *memlog.Log, m <-chan *message.Message) { receive(t, m).Ack() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memlog.New()
				addOwners(t, log, 2)
				s := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "g"})
				messages, other := subscribe(t, s, relay.Everything), subscribe(t, s, events.KindUsage)
				prepare(t, log, messages)
				synctest.Wait()
				start := time.Now()
				closeNow(t, s)
				if took := time.Since(start); took > time.Second {
					t.Errorf("took %v, want at most the CloseTimeout", took)
				}
				expectClosed(t, messages)
				expectClosed(t, other)
				closeNow(t, s)
			})
		})
	}
}

// It fails when Close does not save, or saves the message in flight.
func TestCloseSavesAcksAndTheNextSubscriberGetsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		addOwners(t, log, 9)
		for first := events.Position(1); first < 9; first += 2 {
			s := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "g"})
			messages := subscribe(t, s, relay.Everything)
			ackUpTo(t, messages, first, first+1)
			receive(t, messages) // not acked
			closeNow(t, s)
			expectSaved(t, log, groupAll, first+1)
		}
	})
}

// It fails when lastChance gives up at once.
func TestAHandlerAtWorkMayFinishWhileTheSubscriptionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		addOwners(t, log, 4)
		for _, c := range []struct {
			timeout, work time.Duration
			saved         events.Position
		}{
			{-1, time.Millisecond, 0},
			{time.Second, time.Minute, 0},
			{0, time.Second / 2, 1},
			{time.Minute, time.Minute / 2, 2},
		} {
			s := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "g", CloseTimeout: c.timeout})
			m := receive(t, subscribe(t, s, relay.Everything))
			time.AfterFunc(c.work, func() { m.Ack() })
			closeNow(t, s)
			expectSaved(t, log, groupAll, c.saved)
		}
		time.Sleep(time.Minute) // for the last AfterFunc
	})
}

// The end of its context ends one subscription and leaves the others alone.
func TestEndOfTheContextEndsTheSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		addOwners(t, log, 3)
		s := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "g"})
		ctx, cancel := context.WithCancel(t.Context())
		messages, err := s.Subscribe(ctx, relay.Everything)
		if err != nil {
			t.Fatal(err)
		}
		other := subscribe(t, s, events.KindOrganization)
		ackUpTo(t, messages, 1, 1)
		cancel()
		if _, ok := <-messages; ok {
			t.Fatal("got a message, want a closed channel")
		}
		ackUpTo(t, subscribe(t, s, relay.Everything), 2, 3)
		ackUpTo(t, other, 1, 3)
		closeNow(t, s)
	})
}

func TestAClosedLogEndsTheSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, logger := memlog.New(), watermill.NewCaptureLogger()
		addOwners(t, log, 1)
		s := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "g", Logger: logger})
		messages := subscribe(t, s, relay.Everything)
		ackUpTo(t, messages, 1, 1)
		synctest.Wait()
		closeNow(t, log)
		synctest.Wait()
		expectClosed(t, messages)
		if got := logger.Captured()[watermill.ErrorLogLevel]; len(got) != 1 || !errors.Is(got[0].Err, events.ErrClosed) {
			t.Errorf("logged %v, want that the log is closed", got)
		}
		closeNow(t, s)
	})
}

// Close while handlers ack, nack and dawdle on many topics, and others subscribe.
func TestCloseUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		addOwners(t, log, 300)
		addUse(t, log, 300)
		s := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "g", NackDelay: time.Millisecond, SaveEvery: 7})
		var consumers sync.WaitGroup
		for _, topic := range []string{relay.Everything, "organization", "usage", "usage.recorded.v1", "nothing"} {
			consumers.Go(func() {
				for {
					messages, err := s.Subscribe(t.Context(), topic)
					if err != nil {
						if !errors.Is(err, relay.ErrSubscriberClosed) && !errors.Is(err, context.Canceled) {
							t.Error(err)
						}
						return
					}
					consumeAtRandom(messages, rand.New(rand.NewPCG(1, 2)))
				}
			})
		}
		time.Sleep(50 * time.Millisecond)
		var closers sync.WaitGroup
		for range 3 {
			closers.Go(func() { closeNow(t, s) })
		}
		closers.Wait()
		consumers.Wait()
	})
}

// consumeAtRandom settles messages in all ways there are, until the channel is
// closed.
func consumeAtRandom(messages <-chan *message.Message, rng *rand.Rand) {
	for m := range messages {
		switch rng.IntN(10) {
		case 0:
			m.Nack()
		case 1:
			time.AfterFunc(time.Millisecond, func() { m.Nack() })
		case 2:
			time.AfterFunc(time.Millisecond, func() { m.Ack() })
		default:
			m.Ack()
		}
	}
}

// One group is subscribed, crashed or closed, and subscribed again at random, with
// nacks, read errors and lost saves, while others write. What it is delivered after
// each start begins no later than after the last ack, and has no holes; and less than
// SaveEvery of what was acked comes again, unless a save was lost.
//
// It fails when a nacked message is passed over, when catchUp notes a position before
// its ack, or when ack saves only after every + 1.
func TestNothingIsMissedWhateverHappens(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newStory(t, seed).run(80) })
		})
	}
}

// story is one run of TestNothingIsMissedWhateverHappens.
type story struct {
	t     *testing.T
	rng   *rand.Rand
	log   *faulty
	group relay.SubscriberConfig
	acked events.Position // the last
	lost  bool            // whether a save was lost since the last one that was not
	dead  bool            // whether the process is to be seen as crashed: nothing more is saved
}

func newStory(t *testing.T, seed uint64) *story {
	s := &story{t: t, rng: rand.New(rand.NewPCG(seed, 6)), log: newFaulty()}
	s.group = relay.SubscriberConfig{Log: s.log, Group: "g", SaveEvery: 1 + s.rng.IntN(5), CloseTimeout: -1}
	faults := rand.New(rand.NewPCG(seed, 7)) // used under the lock of log
	s.log.failReads(func(events.Position) error {
		if faults.IntN(20) == 0 {
			return errBroken
		}
		return nil
	})
	s.log.failSaves(func(events.Position) error {
		switch {
		case s.dead:
			return errBroken
		case faults.IntN(20) == 0:
			s.lost = true
			return errBroken
		}
		s.lost = false
		return nil
	})
	return s
}

func (s *story) run(records int) {
	var writer sync.WaitGroup
	writer.Go(func() {
		for range records {
			addOwners(s.t, s.log.Log, 1)
			time.Sleep(20 * time.Millisecond)
		}
	})
	for s.acked < events.Position(records) && !s.t.Failed() {
		s.life()
	}
	writer.Wait()
}

// life is one process of the group, from its start to its close or crash.
func (s *story) life() {
	subscriber := newSubscriber(s.t, s.group)
	messages := subscribe(s.t, subscriber, relay.Everything)
	want := events.Position(0) // unknown until the first message is there
	for range s.rng.IntN(30) {
		m := s.next(messages)
		if m == nil {
			break
		}
		p := positionOf(s.t, m)
		if want == 0 {
			s.checkFirst(p)
		} else if p != want {
			s.t.Errorf("got position %d, want %d", p, want)
		}
		if want = p; s.rng.IntN(4) == 0 {
			m.Nack()
			continue
		}
		m.Ack()
		want++
		s.acked = max(s.acked, p)
	}
	synctest.Wait()
	s.end(subscriber)
}

// checkFirst checks what the first message after a start is.
func (s *story) checkFirst(p events.Position) {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	if p > s.acked+1 {
		s.t.Errorf("begins at %d, and the last ack was for %d", p, s.acked)
	}
	if repeated := int(s.acked - p + 1); !s.lost && repeated >= s.group.SaveEvery {
		s.t.Errorf("%d acked messages come again, and every %d acks are saved", repeated, s.group.SaveEvery)
	}
}

// next is the next message, nil when there is none for a while.
func (s *story) next(messages <-chan *message.Message) *message.Message {
	select {
	case m := <-messages:
		return m
	case <-time.After(time.Second):
		return nil
	}
}

// end closes the subscriber, or lets it die without another save.
func (s *story) end(subscriber *relay.Subscriber) {
	s.log.mu.Lock()
	s.dead = s.rng.IntN(2) == 0
	s.log.mu.Unlock()
	err := subscriber.Close()
	if err != nil && !errors.Is(err, errBroken) {
		s.t.Error(err)
	}
	s.log.mu.Lock()
	s.dead = false
	s.log.mu.Unlock()
}
