package durable_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/pglog"
	"github.com/oatmill/oatmill/events/relay"
)

var errOnPurpose = errors.New("broken on purpose")

// TestWatermill runs package relay between a PostgreSQL log, NATS JetStream and Watermill's
// Router, while all of them are stopped, killed and started again.
func TestWatermill(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	p := startPost(t)
	for _, c := range []struct {
		name string
		test func(t *testing.T, p *post)
	}{
		{"a log goes out through JetStream", testRelayThroughJetStream},
		{"groups on a Router", testGroupsOnARouter},
		{"effects happen once", testEffectsHappenOnce},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, p) })
	}
}

// testRelayThroughJetStream relays a log to a Router in three lives. The first is stopped in
// the middle of a batch; in the second the broker dies in the middle of a batch and comes
// back, and then the database dies in another; the third meets what nobody remembers to have
// published. The Router is stopped too, with a message at work.
//
// What breaks it: Relay.Apply that saves the end of its batch before it publishes; ToMessage
// that does not escape the actor; the consumer without MaxAckPending; the subscriber without
// ManualAck.
func testRelayThroughJetStream(t *testing.T, p *post) {
	log := p.open(t, "relay")
	defer func() { shut(t, log) }()
	written := write(t, log, 72)
	p.provide(t, "receiver", events.KindOrganization, events.KindUsage)
	p.provide(t, "reader", "undeliverable")
	in := &receiver{inbox: newInbox(), atWork: make(chan struct{})}
	router := in.route(t, p)

	firstLife(t, p)
	if got := checkpoint(t, log, "relay/out"); got != 20 {
		t.Errorf("the first life got to position %d, want 20", got)
	}
	<-in.atWork
	router.stop(t)
	router = in.route(t, p)

	secondLife(t, p, log)
	shut(t, log)
	log = p.open(t, "relay") // as one that was opened after the crash
	if got := checkpoint(t, log, "relay/out"); got < 40 || got >= 60 {
		t.Errorf("the second life got to position %d, want one from before the crash", got)
	}

	written = append(written, thirdLife(t, p, log)...)
	deliverable := slices.DeleteFunc(slices.Clone(written), func(r events.Recorded) bool { return r.Position == poisonous })
	in.wait(t, 0, positions(deliverable)...)
	router.stop(t)
	checkArrived(t, in.all(), deliverable)
	checkPoisoned(t, p, "undeliverable", written[poisonous-1])
}

// firstLife is stopped when the broker has position 20.
func firstLife(t *testing.T, p *post) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	r := p.relayer(t, "relay", func(_ *relaying, at events.Position, publish func() error) error {
		if at == 20 {
			stop()
		}
		return publish()
	})
	noError(t, r.runner.Run(ctx))
	r.close(t)
}

// secondLife goes on where the first was stopped. The broker is killed before position 40 and
// comes back when the Relay has failed twice; after position 60 the database is killed, and
// after 65 the process stops, when it cannot save how far it got.
func secondLife(t *testing.T, p *post, log *pglog.Log) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	failures := 0
	r := p.relayer(t, "relay", func(r *relaying, at events.Position, publish func() error) error {
		if at == 40 && failures == 0 {
			killBroker(t, p, r.conn)
		}
		err := publish()
		switch {
		case err != nil:
			if failures++; failures == 2 { // so the first is over, and what it got to is saved
				if got, err := log.LoadCheckpoint(ctx, "relay/out"); got != 39 || err != nil {
					t.Errorf("after position 40 was refused, position %d is saved, %v", got, err)
				}
				err = errors.Join(err, p.cluster.Restart(0), p.cluster.WaitReady(ctx))
			}
		case at == 60:
			err = p.server.Kill()
		case at == 65:
			stop()
		}
		return err
	})
	noError(t, r.runner.Run(ctx))
	noError(t, p.server.Restart(t.Context()))
	r.close(t)
	if failures < 2 || r.published[0] != 21 || r.published[len(r.published)-1] != 65 {
		t.Errorf("failed %d times, published %d", failures, r.published)
	}
}

// killBroker returns when the client has noticed.
func killBroker(t *testing.T, p *post, conn *nats.Conn) {
	t.Helper()
	gone := conn.StatusChanged(nats.RECONNECTING)
	defer conn.RemoveStatusListener(gone)
	p.cluster.Kill(0)
	<-gone
}

// thirdLife repeats what was not saved, and follows while more is written.
func thirdLife(t *testing.T, p *post, log *pglog.Log) (written []events.Recorded) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	r := p.relayer(t, "relay", func(_ *relaying, _ events.Position, publish func() error) error { return publish() })
	done := make(chan error, 1)
	go func() { done <- r.runner.Run(ctx) }()
	noError(t, r.runner.WaitFor(t.Context(), 72))
	written = write(t, log, 84)
	noError(t, r.runner.WaitFor(t.Context(), 84))
	stop()
	noError(t, <-done)
	r.close(t)
	if first := r.published[0]; first > 60 {
		t.Errorf("began at position %d, and nothing was published twice", first)
	}
	if got := checkpoint(t, log, "relay/out"); got != 84 {
		t.Errorf("saved position %d, want 84", got)
	}
	return written
}

// What the handlers of the tests do at some positions, all of them of organizations.
const (
	interrupting events.Position = 10 // is at work when the Router stops
	poisonous    events.Position = 13 // can never be dealt with
	unlucky      events.Position = 17 // can be dealt with at the third try
)

// receiver is the other end of the broker.
type receiver struct {
	*inbox
	interrupted, tried atomic.Int32
	atWork             chan struct{} // closed when the handler is at work on interrupting
}

// route runs handlers of both topics, wrapped in Watermill's own middleware.
func (in *receiver) route(t *testing.T, p *post) *routing {
	t.Helper()
	return route(t, func(r *message.Router) {
		r.AddMiddleware(poisonQueue(t, p.publisher(t, p.connect(t)), "undeliverable"), retry())
		s := p.subscriber(t, "receiver")
		for _, topic := range []string{events.KindOrganization, events.KindUsage} {
			r.AddConsumerHandler(topic, topic, s, in.handle(in.work))
		}
	})
}

func (in *receiver) work(ctx context.Context, r events.Recorded) error {
	switch {
	case r.Position == interrupting && in.interrupted.Add(1) == 1:
		close(in.atWork)
		<-ctx.Done()
		return ctx.Err()
	case r.Position == poisonous:
		return errOnPurpose
	case r.Position == unlucky && in.tried.Add(1) < 3:
		return errOnPurpose
	}
	return nil
}

// checkPoisoned reads what a poison queue has taken: want alone, and still the same record.
func checkPoisoned(t *testing.T, p *post, topic string, want events.Recorded) {
	t.Helper()
	s := p.subscriber(t, "reader")
	defer func() { shut(t, s) }()
	messages, err := s.Subscribe(t.Context(), topic)
	noError(t, err)
	select {
	case m := <-messages:
		got, err := relay.FromMessage(m)
		if err != nil || !got.Equal(want) || m.Metadata[middleware.ReasonForPoisonedKey] != errOnPurpose.Error() {
			t.Errorf("poisoned %+v, %v, %v, want %+v", got, err, m.Metadata, want)
		}
		m.Ack()
	case <-time.After(patience):
		t.Fatal("nothing was poisoned")
	}
}

// testGroupsOnARouter has groups on one log: one that is well, one whose handler always
// fails at a record, one that poisons that record, and five that are stuck in their first.
// None waits for another, also with fewer connections than groups. After a restart of
// Router and log all go on, each from its own position.
//
// What breaks it: a Subscriber that goes on after a nack; a ReadAll that keeps its
// connection while the caller works; positions that are not saved at the end; one position
// for all groups.
func testGroupsOnARouter(t *testing.T, p *post) {
	log := p.open(t, "groups")
	written := write(t, log, 40)
	p.provide(t, "reader", "poison")
	g := newGroups()
	router := g.route(t, p, log)
	g.good.wait(t, 0, 39)
	g.poisoned.wait(t, 0, 39)
	g.tried.wait(t, 9) // three deliveries, each tried three times
	write(t, log, 48)
	g.good.wait(t, 0, 47)
	g.poisoned.wait(t, 0, 47)
	g.check(t, 47, ofOrganizations(poisonous-1), nil)
	router.stop(t)
	shut(t, log)

	log = p.open(t, "groups")
	defer func() { shut(t, log) }()
	for group, want := range map[string][]events.Position{"good": {47, 48}, "poisoned": {47, 48}, "stuck": {poisonous - 1}, "slow1": {0}} {
		if got := checkpoint(t, log, "group/"+group+"/organization"); !slices.Contains(want, got) {
			t.Errorf("saved position %d of %s, want one of %d", got, group, want)
		}
	}
	write(t, log, 56)
	g.cured.Store(true)
	router = g.route(t, p, log)
	for _, i := range append(g.slow, g.good, g.stuck, g.poisoned) {
		i.wait(t, 0, 55)
	}
	router.stop(t)
	g.check(t, 55, ofOrganizations(55), ofOrganizations(55))
	checkPoisoned(t, p, "poison", written[poisonous-1])
}

// groups is what each of the consumer groups has dealt with.
type groups struct {
	good, stuck, poisoned *inbox
	slow                  []*inbox
	tried                 *inbox // by stuck, in vain
	cured                 atomic.Bool
}

func newGroups() *groups {
	g := &groups{good: newInbox(), stuck: newInbox(), poisoned: newInbox(), tried: newInbox()}
	for range 5 {
		g.slow = append(g.slow, newInbox())
	}
	return g
}

func (g *groups) route(t *testing.T, p *post, log *pglog.Log) *routing {
	t.Helper()
	return route(t, func(r *message.Router) {
		add := func(group string, i *inbox, work func(context.Context, events.Recorded) error) *message.Handler {
			s := must(relay.NewSubscriber(relay.SubscriberConfig{Log: log, Group: group, NackDelay: time.Millisecond}))
			return r.AddConsumerHandler(group, events.KindOrganization, s, i.handle(work))
		}
		add("good", g.good, func(context.Context, events.Recorded) error { return nil }).AddMiddleware(retry())
		add("stuck", g.stuck, func(_ context.Context, r events.Recorded) error {
			if r.Position == poisonous && !g.cured.Load() {
				g.tried.note(r)
				return errOnPurpose
			}
			return nil
		}).AddMiddleware(retry())
		add("poisoned", g.poisoned, func(_ context.Context, r events.Recorded) error {
			if r.Position == poisonous {
				return errOnPurpose
			}
			return nil
		}).AddMiddleware(poisonQueue(t, p.publisher(t, p.connect(t)), "poison"), retry())
		for n, i := range g.slow {
			add(fmt.Sprint("slow", n), i, func(ctx context.Context, _ events.Recorded) error {
				if !g.cured.Load() {
					<-ctx.Done()
				}
				return ctx.Err()
			})
		}
	})
}

// check compares what the groups have dealt with. Nothing was repeated.
func (g *groups) check(t *testing.T, last events.Position, stuck, slow []events.Position) {
	t.Helper()
	same := func(group string, i *inbox, want []events.Position) {
		t.Helper()
		if got := positions(i.all()); !slices.Equal(got, want) {
			t.Errorf("%s saw %d, want %d", group, got, want)
		}
	}
	same("good", g.good, ofOrganizations(last))
	same("poisoned", g.poisoned, ofOrganizations(last, poisonous))
	same("stuck", g.stuck, stuck)
	for n, i := range g.slow {
		same(fmt.Sprint("slow", n), i, slow)
	}
}
