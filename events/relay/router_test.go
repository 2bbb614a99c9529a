package relay_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/events/relay"
)

// running is a Router at work.
type running struct {
	*message.Router
	ended chan error
}

// start runs a Router with what setup adds to it, until the test ends.
func start(t *testing.T, setup func(*message.Router)) *running {
	t.Helper()
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: patience}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	setup(router)
	r := &running{router, make(chan error, 1)}
	go func() { r.ended <- router.Run(context.Background()) }()
	<-router.Running()
	t.Cleanup(func() { r.stop(t) })
	return r
}

// stop closes the Router and waits until it has ended.
func (r *running) stop(t *testing.T) {
	t.Helper()
	if r.IsClosed() {
		return
	}
	closeNow(t, r)
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
}

// journal is what a handler saw.
type journal struct {
	mu   sync.Mutex
	seen []events.Position
	more chan struct{}
}

func newJournal() *journal { return &journal{more: make(chan struct{}, 1)} }

func (j *journal) note(p events.Position) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seen = append(j.seen, p)
	select {
	case j.more <- struct{}{}:
	default:
	}
}

func (j *journal) all() []events.Position {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.seen)
}

// waitFor returns when position p was seen.
func (j *journal) waitFor(t *testing.T, p events.Position) {
	t.Helper()
	timeout := time.After(patience)
	for !slices.Contains(j.all(), p) {
		select {
		case <-j.more:
		case <-timeout:
			t.Fatalf("saw %v, want %d too", j.all(), p)
		}
	}
}

// handle is a handler that notes a message once work has dealt with it.
func (j *journal) handle(work func(events.Recorded) error) message.NoPublishHandlerFunc {
	return func(m *message.Message) error {
		r, err := relay.FromMessage(m)
		if err == nil {
			err = work(r)
		}
		if err == nil {
			j.note(r.Position)
		}
		return err
	}
}

func always(events.Recorded) error { return nil }

func upTo(n events.Position) []events.Position {
	var all []events.Position
	for p := events.Position(1); p <= n; p++ {
		all = append(all, p)
	}
	return all
}

func (j *journal) expect(t *testing.T, want []events.Position) {
	t.Helper()
	if got := j.all(); !slices.Equal(got, want) {
		t.Errorf("saw %v, want %v", got, want)
	}
}

// Watermill's own middleware around a handler: Retry mends what fails twice, and the
// poison queue takes what always fails, so that the rest passes. The poisoned
// message is still the record.
func TestRouterWithRetryAndPoisonQueue(t *testing.T) {
	log := memlog.New()
	addOwners(t, log, 8)
	poison := gochannel.NewGoChannel(gochannel.Config{OutputChannelBuffer: 8}, quiet())
	defer closeNow(t, poison)
	poisoned := subscribe(t, poison, "poison")
	seen, failures := newJournal(), map[events.Position]int{3: 2, 5: 1000}
	router := start(t, func(r *message.Router) {
		queue, err := middleware.PoisonQueue(poison, "poison")
		if err != nil {
			t.Fatal(err)
		}
		r.AddMiddleware(queue, middleware.Retry{MaxRetries: 2, InitialInterval: time.Millisecond}.Middleware)
		s := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "g"})
		r.AddConsumerHandler("h", events.KindOrganization, s, seen.handle(func(r events.Recorded) error {
			if failures[r.Position] > 0 {
				failures[r.Position]--
				return errBroken
			}
			return nil
		}))
	})
	seen.waitFor(t, 8)
	router.stop(t)
	seen.expect(t, []events.Position{1, 2, 3, 4, 6, 7, 8})
	if left := failures[5]; left != 997 {
		t.Errorf("position 5 was tried %d times, want 3", 1000-left)
	}
	m := receive(t, poisoned)
	r, err := relay.FromMessage(m)
	if err != nil || !r.Equal(allRecords(t, log)[4]) || m.Metadata[middleware.ReasonForPoisonedKey] != errBroken.Error() {
		t.Errorf("poisoned: %+v, %v, %v", r, err, m.Metadata)
	}
	m.Ack()
	if got := checkpoint(t, log, "group/g/organization"); got != 8 {
		t.Errorf("saved position %d, want 8", got)
	}
}

// A handler that fails blocks its own group, at that record, and no other.
func TestRouterWhereOneGroupFails(t *testing.T) {
	log := memlog.New()
	addOwners(t, log, 20)
	good, bad := newJournal(), newJournal()
	tries := make(chan events.Position, 1)
	broken := make(chan struct{})
	router := start(t, func(r *message.Router) {
		r.AddConsumerHandler("good", relay.Everything, newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "good"}), good.handle(always))
		failing := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "bad", NackDelay: time.Millisecond})
		r.AddConsumerHandler("bad", relay.Everything, failing, bad.handle(func(r events.Recorded) error {
			select {
			case <-broken:
				return nil
			default:
			}
			if r.Position == 4 {
				tries <- r.Position
				return errBroken
			}
			return nil
		}))
	})
	good.waitFor(t, 20)
	for range 3 {
		<-tries
	}
	bad.expect(t, upTo(3))
	close(broken)
	go func() {
		for range tries { // a try may be under way
		}
	}()
	bad.waitFor(t, 20)
	router.stop(t)
	close(tries)
	good.expect(t, upTo(20))
	bad.expect(t, upTo(20))
}

func TestRouterWhereOneGroupIsSlow(t *testing.T) {
	log := memlog.New()
	addOwners(t, log, 50)
	fast, slow := newJournal(), newJournal()
	release := make(chan struct{})
	router := start(t, func(r *message.Router) {
		r.AddConsumerHandler("fast", relay.Everything, newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "fast"}), fast.handle(always))
		r.AddConsumerHandler("slow", relay.Everything, newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "slow"}), slow.handle(func(events.Recorded) error {
			<-release
			return nil
		}))
	})
	fast.waitFor(t, 50) // while slow still has its first message
	slow.expect(t, nil)
	close(release)
	slow.waitFor(t, 50)
	router.stop(t)
	slow.expect(t, upTo(50))
}

// A Router that panicking handlers run on delivers the message again.
func TestRouterWhereAHandlerPanics(t *testing.T) {
	log, seen := memlog.New(), newJournal()
	addOwners(t, log, 3)
	panicked := false
	router := start(t, func(r *message.Router) {
		s := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "g", NackDelay: -1})
		r.AddConsumerHandler("h", relay.Everything, s, seen.handle(func(r events.Recorded) error {
			if r.Position == 2 && !panicked {
				panicked = true
				panic("on purpose")
			}
			return nil
		}))
	})
	seen.waitFor(t, 3)
	router.stop(t)
	seen.expect(t, upTo(3))
}

// Routers that are stopped and started again in the middle of the work, while the
// log grows, handle every record in order. A clean stop repeats nothing here, because
// the handlers finish what they have begun.
func TestRouterRestarts(t *testing.T) {
	log, seen := memlog.New(), newJournal()
	for i := range events.Position(8) {
		addOwners(t, log, 25)
		router := start(t, func(r *message.Router) {
			s := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "g"})
			r.AddConsumerHandler("h", events.KindOrganization, s, seen.handle(always))
		})
		seen.waitFor(t, i*25+1+(i*7)%25)
		router.stop(t)
	}
	router := start(t, func(r *message.Router) {
		s := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "g"})
		r.AddConsumerHandler("h", events.KindOrganization, s, seen.handle(always))
	})
	seen.waitFor(t, 200)
	router.stop(t)
	seen.expect(t, upTo(200))
}

// One Subscriber serves handlers of several topics.
func TestRouterWithSharedSubscriber(t *testing.T) {
	log, organizations, use := memlog.New(), newJournal(), newJournal()
	addOwners(t, log, 2)
	addUse(t, log, 2)
	s := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: "g"})
	router := start(t, func(r *message.Router) {
		r.AddConsumerHandler("organizations", events.KindOrganization, s, organizations.handle(always))
		r.AddConsumerHandler("use", events.KindUsage, s, use.handle(always))
	})
	organizations.waitFor(t, 2)
	use.waitFor(t, 4)
	router.stop(t)
	organizations.expect(t, upTo(2))
	use.expect(t, []events.Position{3, 4})
}

// Two handlers behind one position would each miss what only the other dealt with,
// so a Router with such handlers does not start.
func TestRouterRefusesTwoHandlersBehindOnePosition(t *testing.T) {
	s := newSubscriber(t, relay.SubscriberConfig{Log: memlog.New(), Group: "g"})
	defer closeNow(t, s)
	router, err := message.NewRouter(message.RouterConfig{}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one", "two"} {
		router.AddConsumerHandler(name, events.KindUsage, s, newJournal().handle(always))
	}
	if err := router.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "a group of its own") {
		t.Errorf("got %v, want a refusal that says what to do", err)
	}
}

// Out through a Relay, over a gochannel, into another log's Router: the way events
// take between services.
func TestRelayFeedsARouter(t *testing.T) {
	log, seen := memlog.New(), newJournal()
	pubsub := gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, quiet())
	start(t, func(r *message.Router) {
		r.AddConsumerHandler("h", events.KindOrganization, pubsub, seen.handle(always))
	})
	r := newRelay(t, relay.RelayConfig{Checkpoints: log, Publisher: pubsub})
	for range 3 {
		addOwners(t, log, 10)
		apply(t, r, allRecords(t, log))
	}
	seen.expect(t, upTo(30))
}

// Routers and Subscribers that are closed in the middle of everything leave no
// goroutine behind.
func TestNoGoroutineIsLeft(t *testing.T) {
	log := memlog.New()
	addOwners(t, log, 200)
	before := runtime.NumGoroutine()
	for i := range 10 {
		seen := newJournal()
		router := start(t, func(r *message.Router) {
			for topic := range 4 {
				s := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: fmt.Sprint(i, topic), NackDelay: time.Millisecond})
				r.AddConsumerHandler(fmt.Sprint(topic), relay.Everything, s, seen.handle(func(r events.Recorded) error {
					if int(r.Position)%7 == topic {
						return errBroken
					}
					return nil
				}))
			}
		})
		seen.waitFor(t, 1)
		router.stop(t)
	}
	deadline := time.Now().Add(patience)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, were %d\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
		runtime.Gosched()
	}
}
