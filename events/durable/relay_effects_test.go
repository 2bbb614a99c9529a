package durable_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/pglog"
	"github.com/oatmill/oatmill/events/relay"
)

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
	for _, p := range positions(m.delivered.all()) {
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
