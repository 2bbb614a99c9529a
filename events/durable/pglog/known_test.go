package pglog_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/pglog"
)

// The tests of this file are each about a way in which event stores on PostgreSQL have gone
// wrong. Clocks as order and errors that differ from log to log are among those ways too;
// package logtest has them, because they are not PostgreSQL's.

// TestLateCommitterIsNotLost has a transaction take a position and commit late. With a
// sequence, an append that comes after it would commit before it, a follower would read on,
// and never see what then appears behind it.
//
// What breaks it: positions from a sequence in place of the counter.
func TestLateCommitterIsNotLost(t *testing.T) {
	address := newDatabase(t)
	log, conn, g := openFor(t, address, pglog.Config{}), connect(t, address), testkit.NewGenerator()
	var seen []events.Recorded
	follow := func() {
		t.Helper()
		after := events.Position(0)
		if len(seen) > 0 {
			after = seen[len(seen)-1].Position
		}
		for r, err := range log.ReadAll(t.Context(), after) {
			if err != nil {
				t.Fatal(err)
			}
			seen = append(seen, r)
		}
	}
	tx := begin(t, conn, pgx.ReadCommitted)
	late, err := log.AppendTx(t.Context(), tx, acme, 0, g.TokenGenerated())
	if err != nil {
		t.Fatal(err)
	}
	early := make(chan error, 1)
	go func() {
		_, err := log.Append(t.Context(), "organization/beta", 0, g.TokenGenerated())
		early <- err
	}()
	blocked(t, address)
	follow()
	mustCommit(t, tx)
	if err := <-early; err != nil {
		t.Fatal(err)
	}
	follow()
	if len(seen) != 2 || !seen[0].Equal(late[0]) {
		t.Errorf("the follower saw %+v", seen)
	}
}

// TestOpenTransactionStallsNoReader keeps a transaction open that has written elsewhere in
// the same database. Stores that read up to the oldest transaction under way see nothing
// until it ends.
func TestOpenTransactionStallsNoReader(t *testing.T) {
	address := newDatabase(t)
	log, other := openFor(t, address, pglog.Config{}), openFor(t, address, pglog.Config{})
	mustExec(t, address, `CREATE TABLE elsewhere (n int)`)
	tx := begin(t, connect(t, address), pgx.ReadCommitted)
	if _, err := tx.Exec(t.Context(), `INSERT INTO elsewhere VALUES (1)`); err != nil {
		t.Fatal(err)
	}
	testkit.Append(t, log, acme, testkit.NewGenerator().Batch(2)...)
	if err := other.Wait(t.Context(), 1); err != nil {
		t.Error(err)
	}
	if got := sound(t, other); len(got) != 2 {
		t.Errorf("a reader sees %d records of 2", len(got))
	}
	mustRollBack(t, tx)
}

// TestFailedAppendsLeaveNoGap has positions taken and given back in every way there is. A
// reader that has to tell such a gap from a late commit either skips records or stalls.
func TestFailedAppendsLeaveNoGap(t *testing.T) {
	address := newDatabase(t)
	log, conn, g := openFor(t, address, pglog.Config{}), connect(t, address), testkit.NewGenerator()
	for range 3 {
		e := g.TokenGenerated()
		testkit.Append(t, log, acme, e)
		if _, err := log.Append(t.Context(), acme, 1000, g.TokenGenerated()); !errors.Is(err, events.ErrConflict) {
			t.Error(err)
		}
		if _, err := log.Append(t.Context(), "usage/acme", events.Any, e); !errors.Is(err, events.ErrDuplicate) {
			t.Error(err)
		}
		tx := begin(t, conn, pgx.ReadCommitted)
		if _, err := log.AppendTx(t.Context(), tx, acme, events.Any, g.Batch(3)...); err != nil {
			t.Error(err)
		}
		mustRollBack(t, tx)
	}
	if end, err := log.End(t.Context()); end != 3 || err != nil {
		t.Errorf("the log ends at %d, %v", end, err)
	}
	sound(t, log)
}

// TestSerializableByDefault makes every transaction of the database SERIALIZABLE unless it
// says otherwise. Serialization failures are nobody's version conflict, and no writer may
// ever see one.
//
// What breaks it: taking 40001 out of collided.
func TestSerializableByDefault(t *testing.T) {
	address := newDatabase(t)
	mustExec(t, address, `DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = serializable', current_database()); END$$`)
	handles := []*pglog.Log{openFor(t, address, pglog.Config{}), openFor(t, address, pglog.Config{})}
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			g := testkit.NewGenerator()
			stream := events.StreamID(fmt.Sprintf("usage/w%d", w/4))
			for range 20 {
				if _, err := handles[w%2].Append(t.Context(), stream, events.Any, g.TokenGenerated()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if got := sound(t, handles[0]); len(got) != 160 {
		t.Errorf("%d records, want 160", len(got))
	}
}

// TestCheckpointIsNotBeforeItsEffect saves a checkpoint in the transaction of an effect that
// fails. A checkpoint that stayed would skip the record for ever.
func TestCheckpointIsNotBeforeItsEffect(t *testing.T) {
	address := newDatabase(t)
	log, conn := openFor(t, address, pglog.Config{}), connect(t, address)
	mustExec(t, address, `CREATE TABLE sent (position bigint PRIMARY KEY)`)
	effect := func(p events.Position, works bool) (advanced bool) {
		t.Helper()
		tx := begin(t, conn, pgx.ReadCommitted)
		advanced, err := log.SaveCheckpointTx(t.Context(), tx, "mailer", p)
		if err == nil {
			_, err = tx.Exec(t.Context(), `INSERT INTO sent VALUES ($1)`, int64(p))
		}
		switch {
		case err != nil:
			t.Fatal(err)
		case works:
			mustCommit(t, tx)
		default:
			mustRollBack(t, tx)
		}
		return advanced
	}
	if !effect(1, true) || !effect(2, false) || !effect(2, true) {
		t.Error("an effect was taken for done")
	}
	if p, err := log.LoadCheckpoint(t.Context(), "mailer"); p != 2 || err != nil {
		t.Errorf("checkpoint %d, %v", p, err)
	}
}

// TestReadsCostNothingOfTheBacklog counts the rows that the server fetches for a few records
// at either end of a long log. It may fetch a page, and must never scan the table.
//
// What breaks it: a page ordered by something that no index has, like time.
func TestReadsCostNothingOfTheBacklog(t *testing.T) {
	const records = 20_000
	address := newDatabase(t)
	cfg, err := pgxpool.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	cfg.MaxConns = 1 // statistics are of one session, until it passes them on
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	log, err := pglog.New(t.Context(), pool, pglog.Config{NoNotify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	testkit.Fill(t, log, records, 2)
	fetched := func() (n int64) {
		if _, err := pool.Exec(t.Context(), `SELECT pg_stat_force_next_flush()`); err != nil {
			t.Fatal(err)
		}
		row := pool.QueryRow(t.Context(), `SELECT coalesce(idx_tup_fetch, 0) + seq_tup_read FROM pg_stat_user_tables WHERE relname = 'records'`)
		if err := row.Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for name, read := range map[string]func() (events.Recorded, error){
		"the first of ReadAll": func() (first events.Recorded, err error) {
			for first, err = range log.ReadAll(t.Context(), 0) {
				break
			}
			return first, err
		},
		"the last of ReadAll": func() (last events.Recorded, err error) {
			for last, err = range log.ReadAll(t.Context(), records-1) {
			}
			return last, err
		},
		"the last of ReadStream": func() (last events.Recorded, err error) {
			for last, err = range log.ReadStream(t.Context(), "organization/o1", records/2-1) {
			}
			return last, err
		},
		"an append under a version": func() (events.Recorded, error) {
			all, err := log.Append(t.Context(), "usage/acme", 0, testkit.NewGenerator().TokenGenerated())
			return all[0], err
		},
		"a head": func() (r events.Recorded, err error) {
			head, err := log.Head(t.Context(), "organization/o1")
			r.Position = events.Position(head.Version)
			return r, err
		},
	} {
		for range 8 { // the server plans anew for the first five times
			before := fetched()
			if r, err := read(); err != nil || r.Position == 0 {
				t.Fatalf("%s: %+v, %v", name, r, err)
			}
			if n := fetched() - before; n > 200 {
				t.Errorf("%s: %d rows were fetched", name, n)
			}
			if name == "an append under a version" {
				break
			}
		}
	}
}

// TestAppendTxDoesNotNotify listens beside a transaction with an AppendTx. Transactions
// that notify take turns in the whole cluster when they commit.
func TestAppendTxDoesNotNotify(t *testing.T) {
	address := newDatabase(t)
	log, conn, ear := openFor(t, address, pglog.Config{}), connect(t, address), connect(t, address)
	if _, err := ear.Exec(t.Context(), `LISTEN oatmill`); err != nil {
		t.Fatal(err)
	}
	tx := begin(t, conn, pgx.ReadCommitted)
	if _, err := log.AppendTx(t.Context(), tx, acme, 0, testkit.NewGenerator().TokenGenerated()); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, tx)
	mustExec(t, address, `NOTIFY oatmill, 'mark'`)
	n, err := ear.WaitForNotification(t.Context())
	if err != nil || n.Payload != "mark" {
		t.Errorf("notified of %+v, %v", n, err)
	}
	testkit.Append(t, log, acme, testkit.NewGenerator().TokenGenerated())
	if n, err = ear.WaitForNotification(t.Context()); err != nil || n.Payload != "2" {
		t.Errorf("notified of %+v, %v", n, err)
	}
}

// TestWokenWithoutNotification has a reader wait while nobody notifies, and while the
// session that listens is ended.
//
// What breaks it: an ear that waits for notifications only.
func TestWokenWithoutNotification(t *testing.T) {
	address := newDatabase(t)
	silent, log := openFor(t, address, pglog.Config{NoNotify: true}), openFor(t, address, pglog.Config{})
	g := testkit.NewGenerator()
	for i := range 4 {
		woken := make(chan error, 1)
		go func() { woken <- log.Wait(t.Context(), events.Position(i)) }()
		listening(t, address, 1)
		if i%2 == 1 {
			mustExec(t, address, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'SELECT position FROM %.counter'`)
		}
		testkit.Append(t, silent, acme, g.TokenGenerated())
		if err := <-woken; err != nil {
			t.Error(err)
		}
	}
}

// TestWaitOnEndedDatabase ends its wait with its context, while the database is gone.
func TestWaitOnEndedDatabase(t *testing.T) {
	address := newDatabase(t)
	log := openFor(t, address, pglog.Config{})
	testkit.Append(t, log, acme, testkit.NewGenerator().TokenGenerated())
	server := shared.get(t)
	conn := connect(t, address)
	var name string
	if err := conn.QueryRow(t.Context(), `SELECT current_database()`).Scan(&name); err != nil {
		t.Fatal(err)
	}
	mustExec(t, server.URL(), `DROP DATABASE `+name+` WITH (FORCE)`, `CREATE DATABASE `+name)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := log.Wait(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("wait: %v", err)
	}
	e := testkit.NewGenerator().TokenGenerated()
	for try := 0; ; try++ {
		_, err := log.Append(t.Context(), acme, 1, e)
		if errors.Is(err, events.ErrDamaged) {
			break // the connections of before are used up, and there is no schema
		}
		if err == nil || try > 10 {
			t.Fatalf("append to what is gone: %v", err)
		}
	}
}

// TestForgedNotification tells readers of a record that is not there. They must not take it
// for the end, or they would never sleep again.
//
// What breaks it: an ear that trusts the position in a notification.
func TestForgedNotification(t *testing.T) {
	address := newDatabase(t)
	log := openFor(t, address, pglog.Config{})
	woken := make(chan error, 1)
	go func() { woken <- log.Wait(t.Context(), 0) }()
	listening(t, address, 1)
	mustExec(t, address, `NOTIFY oatmill, '1000000'`, `NOTIFY oatmill, 'nonsense'`)
	testkit.Append(t, openFor(t, address, pglog.Config{}), acme, testkit.NewGenerator().TokenGenerated())
	if err := <-woken; err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := log.Wait(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a wait for a second record: %v", err)
	}
}
