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
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
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
	in.wait(t, len(written)-1, events.Position(len(written)))
	undeliverable := slices.IndexFunc(written, func(r events.Recorded) bool { return r.Position == poisonous })
	checkArrived(t, in.all(), slices.Delete(slices.Clone(written), undeliverable, undeliverable+1))
	router.stop(t)
	checkPoisoned(t, p, "undeliverable", written[undeliverable])
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
		if got := i.positions(); !slices.Equal(got, want) {
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

// testEffectsHappenOnce has a handler whose effect is a row in a table of the host's. The row
// and the position are written in one transaction, and the handler is interrupted wherever it
// hurts. At the end two processes deal with the same group.
//
// What breaks it: SaveCheckpoint instead of SaveCheckpointTx, before the row or after; a
// handler that does not ask whether the position has advanced.
func testEffectsHappenOnce(t *testing.T, p *post) {
	log := p.open(t, "effects")
	write(t, log, 40)
	m := newMailer(t, p)
	router := m.route(t, log)
	for _, at := range []events.Position{stopsAfterCommit, stopsBeforeCommit} {
		m.delivered.wait(t, 0, at)
		<-m.atWork
		router.stop(t)
		shut(t, log)
		log = p.open(t, "effects")
		router = m.route(t, log)
	}
	m.dealt.wait(t, 0, 39)
	m.check(t, 39)

	once := len(m.dealt.all())
	second := p.open(t, "effects")
	beside := m.route(t, second)
	write(t, log, 80)
	m.dealt.wait(t, once+2*(len(ofOrganizations(80))-len(ofOrganizations(40)))) // both have seen everything
	beside.stop(t)
	router.stop(t)
	shut(t, second)
	shut(t, log)
	m.check(t, 79)
}

// Where the mailer is interrupted; all of them are positions of organizations.
const (
	failsBeforeCommit   events.Position = 2
	failsAfterCommit    events.Position = 5
	crashesBeforeCommit events.Position = 7  // of the server
	crashesAfterCommit  events.Position = 10 // of the server
	losesReply          events.Position = 13 // to the commit
	stopsAfterCommit    events.Position = 18
	stopsBeforeCommit   events.Position = 21
)

// mailerCheckpoint is where the Subscriber keeps the group's position, so that there is one
// position only, and a restart begins behind the last effect.
const mailerCheckpoint = "group/mailer/organization"

// mailer is a handler with an effect in the database.
type mailer struct {
	*post
	pool             *pgxpool.Pool // through wire
	wire             *wire
	delivered, dealt *inbox
	atWork           chan struct{} // gets a value when the handler waits to be stopped
}

func newMailer(t *testing.T, p *post) *mailer {
	t.Helper()
	address, wires := attachWires(t, p.server.URL())
	pool := must(pgxpool.New(t.Context(), address))
	t.Cleanup(pool.Close)
	// Nothing here keeps the same letter from being in the table twice.
	must(pool.Exec(t.Context(), `CREATE TABLE mail (number bigserial, position bigint, text text)`))
	return &mailer{post: p, pool: pool, wire: wires[0], delivered: newInbox(), dealt: newInbox(), atWork: make(chan struct{})}
}

// route runs the handler as a process of its own does.
func (m *mailer) route(t *testing.T, log *pglog.Log) *routing {
	t.Helper()
	return route(t, func(r *message.Router) {
		s := must(relay.NewSubscriber(relay.SubscriberConfig{Log: log, Group: "mailer", NackDelay: time.Millisecond}))
		r.AddConsumerHandler("mailer", events.KindOrganization, s, m.dealt.handle(func(ctx context.Context, r events.Recorded) error {
			m.delivered.note(r)
			return m.send(ctx, log, r)
		}))
	})
}

// send is the handler as a host would write it, apart from the interruptions.
func (m *mailer) send(ctx context.Context, log *pglog.Log, r events.Recorded) error {
	interrupted := m.times(r.Position) > 1
	err := pgx.BeginFunc(ctx, m.pool, func(tx pgx.Tx) error {
		advanced, err := log.SaveCheckpointTx(ctx, tx, mailerCheckpoint, r.Position)
		if err != nil || !advanced {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO mail (position, text) VALUES ($1, $2)`, int64(r.Position), r.Actor); err != nil {
			return err
		}
		if interrupted {
			return nil
		}
		return m.beforeCommit(ctx, tx, r.Position)
	})
	if err != nil || interrupted {
		return err
	}
	return m.afterCommit(ctx, r.Position)
}

// times is how often a record was delivered.
func (m *mailer) times(at events.Position) (n int) {
	for _, p := range m.delivered.positions() {
		if p == at {
			n++
		}
	}
	return n
}

func (m *mailer) beforeCommit(ctx context.Context, tx pgx.Tx, at events.Position) error {
	switch at {
	case failsBeforeCommit:
		return errOnPurpose
	case crashesBeforeCommit:
		return m.crash(context.WithoutCancel(ctx))
	case losesReply:
		return m.loseReply(ctx, tx)
	case stopsBeforeCommit:
		return m.stop(ctx)
	}
	return nil
}

func (m *mailer) afterCommit(ctx context.Context, at events.Position) error {
	switch at {
	case failsAfterCommit:
		return errOnPurpose
	case crashesAfterCommit:
		return errors.Join(errOnPurpose, m.crash(context.WithoutCancel(ctx)))
	case stopsAfterCommit:
		return m.stop(ctx)
	}
	return nil
}

// stop waits until the Router stops.
func (m *mailer) stop(ctx context.Context) error {
	m.atWork <- struct{}{}
	<-ctx.Done()
	return ctx.Err()
}

// loseReply makes the commit come through, and the answer to it get lost: when the server
// tells that it has committed, the connection is torn.
func (m *mailer) loseReply(ctx context.Context, tx pgx.Tx) error {
	observer, err := pgx.Connect(ctx, m.server.URL())
	if err != nil {
		return err
	}
	if _, err := observer.Exec(ctx, `LISTEN mail`); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `SELECT pg_notify('mail', '')`); err != nil {
		return err
	}
	m.wire.set(deaf)
	go func() {
		_, _ = observer.WaitForNotification(ctx)
		m.wire.set(torn)
		m.wire.set(through)
		_ = observer.Close(context.WithoutCancel(ctx))
	}()
	return nil
}

// check reads the table: a row for each record, in order. And all that was to be delivered
// again was.
func (m *mailer) check(t *testing.T, last events.Position) {
	t.Helper()
	rows, err := m.pool.Query(t.Context(), `SELECT position FROM mail ORDER BY number`)
	noError(t, err)
	sent := must(pgx.CollectRows(rows, pgx.RowTo[events.Position]))
	if want := ofOrganizations(last); !slices.Equal(sent, want) {
		t.Errorf("sent %d, want %d", sent, want)
	}
	for _, at := range []events.Position{failsBeforeCommit, failsAfterCommit, crashesBeforeCommit, crashesAfterCommit, losesReply, stopsBeforeCommit} {
		if m.times(at) < 2 {
			t.Errorf("position %d was not delivered again", at)
		}
	}
	if n := m.times(stopsAfterCommit); n != 1 {
		t.Errorf("position %d was delivered %d times, and its effect was committed at the first", stopsAfterCommit, n)
	}
}

