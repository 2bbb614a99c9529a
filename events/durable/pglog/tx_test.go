package pglog_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/pglog"
)

// begin starts a transaction of the host's on a connection of its own.
func begin(t *testing.T, conn *pgx.Conn, level pgx.TxIsoLevel) pgx.Tx {
	t.Helper()
	tx, err := conn.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: level})
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

func mustCommit(t *testing.T, tx pgx.Tx) {
	t.Helper()
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func mustRollBack(t *testing.T, tx pgx.Tx) {
	t.Helper()
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestAppendTx is there with the host's rows when the transaction commits, and without a
// trace, a gap in the positions included, when it is rolled back.
func TestAppendTx(t *testing.T) {
	address := newDatabase(t)
	log, conn, g := openFor(t, address, pglog.Config{}), connect(t, address), testkit.NewGenerator()
	mustExec(t, address, `CREATE TABLE repositories (name text)`)
	testkit.Append(t, log, acme, g.TokenGenerated())
	for i, commit := range []bool{false, true, false, true} {
		tx := begin(t, conn, pgx.ReadCommitted)
		if _, err := tx.Exec(t.Context(), `INSERT INTO repositories VALUES ('api')`); err != nil {
			t.Fatal(err)
		}
		records, err := log.AppendTx(t.Context(), tx, acme, events.Version(1+i/2*2), g.Batch(2)...)
		if err != nil || len(records) != 2 {
			t.Fatalf("%d records, %v", len(records), err)
		}
		if end, err := log.End(t.Context()); err != nil || end != events.Position(1+i/2*2) {
			t.Errorf("the log ends at %d before the commit: %v", end, err)
		}
		if commit {
			mustCommit(t, tx)
		} else {
			mustRollBack(t, tx)
		}
		there := sound(t, log)
		if r, ok := there[records[0].ID.String()]; ok != commit || commit && !r.Equal(records[0]) {
			t.Errorf("committed: %v, there: %v, as it was returned: %v", commit, ok, r.Equal(records[0]))
		}
	}
	testkit.Append(t, log, acme, g.TokenGenerated())
	var rows int
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM repositories`).Scan(&rows); err != nil || rows != 2 || len(sound(t, log)) != 6 {
		t.Errorf("%d rows and %d records, %v", rows, len(sound(t, log)), err)
	}
}

// TestConflictLeavesTransactionUsable decides again in the same transaction. Under READ
// COMMITTED the second decision cannot fail, because the counter is locked by then.
//
// What breaks it: an insertion that is tried before the version is compared.
func TestConflictLeavesTransactionUsable(t *testing.T) {
	address := newDatabase(t)
	log, conn, g := openFor(t, address, pglog.Config{}), connect(t, address), testkit.NewGenerator()
	taken := testkit.Append(t, log, acme, g.Batch(2)...)
	tx := begin(t, conn, pgx.ReadCommitted)
	view := log.Tx(tx)
	var conflict *events.ConflictError
	if _, err := view.Append(t.Context(), acme, 1, g.TokenGenerated()); !errors.As(err, &conflict) || conflict.Actual != 2 {
		t.Fatalf("a wrong version: %v", err)
	}
	var duplicate *events.DuplicateError
	if _, err := view.Append(t.Context(), "usage/acme", 0, taken[1].Envelope); !errors.As(err, &duplicate) || duplicate.ID != taken[1].ID {
		t.Fatalf("a taken ID: %v", err)
	}
	if _, err := view.Append(t.Context(), "nonsense", 0, g.TokenGenerated()); !errors.Is(err, events.ErrInvalid) {
		t.Fatalf("no stream: %v", err)
	}
	first, err := view.Append(t.Context(), acme, 2, g.TokenGenerated())
	if err != nil {
		t.Fatal(err)
	}
	second, err := view.Append(t.Context(), acme, 3, g.TokenGenerated())
	if err != nil {
		t.Fatal(err)
	}
	again, err := view.Append(t.Context(), acme, 0, first[0].Envelope)
	if err != nil || !again[0].Equal(first[0]) {
		t.Errorf("a repetition in the transaction: %v, %v", again, err)
	}
	if head, err := events.VerifyChain(t.Context(), view, acme); err != nil || head.Version != 4 {
		t.Errorf("as the transaction sees it: %+v, %v", head, err)
	}
	n := 0
	for r, err := range view.ReadAll(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		// The transaction can be used between two records.
		if _, err := view.(events.Heads).Head(t.Context(), r.Stream); err != nil {
			t.Fatal(err)
		}
		n++
	}
	if end, err := view.(events.Heads).End(t.Context()); n != 4 || end != second[0].Position || err != nil {
		t.Errorf("%d records up to %d, %v", n, end, err)
	}
	mustCommit(t, tx)
	if got := sound(t, log); len(got) != 4 {
		t.Errorf("%d records, want 4", len(got))
	}
}

// TestAppendTxIsolated appends in transactions that see the log as it was when they began.
// What somebody else appended meanwhile is then PostgreSQL's error, and no wrong version.
func TestAppendTxIsolated(t *testing.T) {
	address := newDatabase(t)
	log, conn, g := openFor(t, address, pglog.Config{}), connect(t, address), testkit.NewGenerator()
	for i, level := range []pgx.TxIsoLevel{pgx.RepeatableRead, pgx.Serializable} {
		tx := begin(t, conn, level)
		if _, err := tx.Exec(t.Context(), `SELECT count(*) FROM oatmill.records`); err != nil {
			t.Fatal(err)
		}
		testkit.Append(t, log, acme, g.TokenGenerated())
		_, err := log.AppendTx(t.Context(), tx, acme, events.Any, g.TokenGenerated())
		if err == nil || errors.Is(err, events.ErrConflict) || errors.Is(err, events.ErrUnknownOutcome) {
			t.Errorf("%s: %v", level, err)
		}
		mustRollBack(t, tx)
		tx = begin(t, conn, level)
		if _, err := log.AppendTx(t.Context(), tx, acme, events.Any, g.TokenGenerated()); err != nil {
			t.Errorf("%s, undisturbed: %v", level, err)
		}
		mustCommit(t, tx)
		if got := sound(t, log); len(got) != 2*(i+1) {
			t.Errorf("%s: %d records", level, len(got))
		}
	}
}

// blocked waits until a session of the database waits for another one's lock.
func blocked(t *testing.T, address string) {
	t.Helper()
	conn := connect(t, address)
	for n := 0; n == 0; {
		err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestAppendTxHeldForLong keeps a transaction with an AppendTx open. Readers go on, other
// appends wait. One whose context ends while its group waits does not know its outcome,
// and learns it by a repetition; one whose group was not formed yet was withdrawn and never
// comes.
//
// What breaks it: an Append that does not watch its context while its group is sent, or
// that answers with the context's error alone then.
func TestAppendTxHeldForLong(t *testing.T) {
	address := newDatabase(t)
	log, conn, g := openFor(t, address, pglog.Config{}), connect(t, address), testkit.NewGenerator()
	testkit.Append(t, log, acme, g.TokenGenerated())
	tx := begin(t, conn, pgx.ReadCommitted)
	held, err := log.AppendTx(t.Context(), tx, acme, 1, g.TokenGenerated())
	if err != nil {
		t.Fatal(err)
	}
	sent, later, patient := g.TokenGenerated(), g.TokenGenerated(), g.TokenGenerated()
	impatient, giveUp := context.WithCancel(t.Context())
	outcomes := make(chan error, 3)
	go func() {
		_, err := log.Append(impatient, acme, events.Any, sent)
		outcomes <- err
	}()
	blocked(t, address)
	queued, withdraw := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer withdraw()
	if _, err := log.Append(queued, acme, events.Any, later); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, events.ErrUnknownOutcome) {
		t.Errorf("an append that was not sent: %v", err)
	}
	giveUp()
	if err := <-outcomes; !errors.Is(err, events.ErrUnknownOutcome) || !errors.Is(err, context.Canceled) {
		t.Errorf("an append that was sent: %v", err)
	}
	if got := sound(t, log); len(got) != 1 {
		t.Errorf("a reader sees %d records", len(got))
	}
	go func() {
		_, err := log.Append(t.Context(), acme, events.Any, patient)
		outcomes <- err
	}()
	mustCommit(t, tx)
	if err := <-outcomes; err != nil {
		t.Errorf("an append that waited: %v", err)
	}
	settled, err := log.Append(t.Context(), acme, events.Any, sent)
	if err != nil || settled[0].Version != 3 {
		t.Errorf("the repetition: %+v, %v", settled, err)
	}
	got := sound(t, log)
	if _, ok := got[later.ID.String()]; ok || len(got) != 4 || got[held[0].ID.String()].Version != 2 {
		t.Errorf("%d records in the end, the withdrawn one among them: %v", len(got), ok)
	}
}

// TestTimeout ends an append that waits for a transaction for too long. What is tried
// afterwards has a log that waits for longer: how soon a server on a busy machine answers is
// not known.
func TestTimeout(t *testing.T) {
	address := newDatabase(t)
	impatient, log := openFor(t, address, pglog.Config{Timeout: 100 * time.Millisecond}), openFor(t, address, pglog.Config{})
	conn, g := connect(t, address), testkit.NewGenerator()
	tx := begin(t, conn, pgx.ReadCommitted)
	if _, err := log.AppendTx(t.Context(), tx, acme, 0, g.TokenGenerated()); err != nil {
		t.Fatal(err)
	}
	e := g.TokenGenerated()
	if _, err := impatient.Append(t.Context(), acme, events.Any, e); err == nil || errors.Is(err, events.ErrConflict) {
		t.Errorf("error %v", err)
	}
	mustRollBack(t, tx)
	if records, err := log.Append(t.Context(), acme, events.Any, e); err != nil || records[0].Version != 1 {
		t.Errorf("afterwards: %v, %v", records, err)
	}
	sound(t, log)
}

// TestCloseBesideHeldTransaction closes a log whose append waits for a transaction that
// does not end. Close does not wait for ever.
func TestCloseBesideHeldTransaction(t *testing.T) {
	t.Parallel() // waits for as long as Close does
	address := newDatabase(t)
	log, conn, g := open(t, address, pglog.Config{}), connect(t, address), testkit.NewGenerator()
	tx := begin(t, conn, pgx.ReadCommitted)
	if _, err := log.AppendTx(t.Context(), tx, acme, 0, g.TokenGenerated()); err != nil {
		t.Fatal(err)
	}
	outcome := make(chan error, 1)
	go func() {
		_, err := log.Append(t.Context(), acme, events.Any, g.TokenGenerated())
		outcome <- err
	}()
	blocked(t, address)
	mustClose(t, log)
	if err := <-outcome; !errors.Is(err, events.ErrUnknownOutcome) && !errors.Is(err, events.ErrClosed) {
		t.Errorf("error %v", err)
	}
	mustRollBack(t, tx)
}

// TestSaveCheckpointTx deals with a record twice at the same time. One of the two learns,
// when the other has committed, that there is nothing left to do.
func TestSaveCheckpointTx(t *testing.T) {
	address := newDatabase(t)
	log := openFor(t, address, pglog.Config{})
	first, second := begin(t, connect(t, address), pgx.ReadCommitted), begin(t, connect(t, address), pgx.ReadCommitted)
	save := func(tx pgx.Tx, p events.Position) bool {
		t.Helper()
		advanced, err := log.SaveCheckpointTx(t.Context(), tx, "mailer", p)
		if err != nil {
			t.Error(err)
		}
		return advanced
	}
	if !save(first, 5) {
		t.Error("the first one was not first")
	}
	outcome := make(chan bool, 1)
	go func() { outcome <- save(second, 5) }()
	blocked(t, address)
	mustCommit(t, first)
	if <-outcome {
		t.Error("the same record was dealt with twice")
	}
	if save(second, 3) || !save(second, 6) {
		t.Error("3 came after 5, or 6 did not")
	}
	mustRollBack(t, second)
	if p, err := log.LoadCheckpoint(t.Context(), "mailer"); p != 5 || err != nil {
		t.Errorf("checkpoint %d, %v", p, err)
	}
}

// TestNotify wakes the readers of another handle after an AppendTx. They poll so rarely
// that it cannot have been the poll.
func TestNotify(t *testing.T) {
	address := newDatabase(t)
	log, other := openFor(t, address, pglog.Config{}), openFor(t, address, pglog.Config{PollInterval: time.Hour})
	conn, g := connect(t, address), testkit.NewGenerator()
	for i := range 3 {
		woken := make(chan error, 1)
		go func() { woken <- other.Wait(t.Context(), events.Position(i)) }()
		listening(t, address, 1)
		tx := begin(t, conn, pgx.ReadCommitted)
		if _, err := log.AppendTx(t.Context(), tx, acme, events.Any, g.TokenGenerated()); err != nil {
			t.Fatal(err)
		}
		mustCommit(t, tx)
		if err := log.Notify(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-woken; err != nil {
			t.Error(err)
		}
	}
}

// listening waits until so many sessions have asked for the end and wait for a
// notification.
func listening(t *testing.T, address string, n int) {
	t.Helper()
	conn := connect(t, address)
	for found := -1; found != n; {
		err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
			AND state = 'idle' AND query LIKE 'SELECT position FROM %.counter' AND pid <> pg_backend_pid()`).Scan(&found)
		if err != nil {
			t.Fatal(err)
		}
		if found > n {
			return
		}
	}
}

// TestSnapshotTx keeps a snapshot in the host's transaction, and one that fails does not
// take the transaction with it.
func TestSnapshotTx(t *testing.T) {
	address := newDatabase(t)
	log, conn, g := openFor(t, address, pglog.Config{}), connect(t, address), testkit.NewGenerator()
	tx := begin(t, conn, pgx.ReadCommitted)
	view := log.Tx(tx)
	if _, err := view.Append(t.Context(), acme, 0, g.TokenGenerated()); err != nil {
		t.Fatal(err)
	}
	snapshots := view.(events.Snapshots)
	if err := snapshots.SaveSnapshot(t.Context(), acme, events.Snapshot{Head: events.Head{Version: 1}, Data: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, tx)
	if s, err := log.LoadSnapshot(t.Context(), acme); err != nil || s.Head.Version != 1 {
		t.Errorf("snapshot %+v, %v", s, err)
	}
	mustExec(t, address, `ALTER TABLE oatmill.snapshots RENAME TO gone`)
	tx = begin(t, conn, pgx.ReadCommitted)
	view = log.Tx(tx)
	if err := view.(events.Snapshots).SaveSnapshot(t.Context(), acme, events.Snapshot{Head: events.Head{Version: 2}}); !errors.Is(err, events.ErrDamaged) {
		t.Errorf("a snapshot without a table: %v", err)
	}
	if _, err := view.Append(t.Context(), acme, 1, g.TokenGenerated()); err != nil {
		t.Errorf("after a snapshot that failed: %v", err)
	}
	mustCommit(t, tx)
	if got := sound(t, log); len(got) != 2 {
		t.Errorf("%d records, want 2", len(got))
	}
}
