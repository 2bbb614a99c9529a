package sqlitelog

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
)

func dialFor(t *testing.T, file string, patience time.Duration) *conn {
	t.Helper()
	if err := createFile(file); err != nil {
		t.Fatal(err)
	}
	c, err := dial(file, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func statementFor(t *testing.T, c *conn, sql string) (s *stmt) {
	t.Helper()
	if err := c.prepareAll(map[**stmt]string{&s: sql}); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestStatementValues writes values of all sizes, several to a statement, and reads them.
// Each must still be what it was when the memory for those after it was taken.
//
// What breaks it: a grow that frees the memory there was, or a keep that begins at 0.
func TestStatementValues(t *testing.T) {
	c := dialFor(t, filepath.Join(t.TempDir(), "values.db"), 0)
	if err := c.run("CREATE TABLE t (key INTEGER PRIMARY KEY, a TEXT, b BLOB, c TEXT) STRICT"); err != nil {
		t.Fatal(err)
	}
	insert := statementFor(t, c, "INSERT INTO t VALUES (?, ?, ?, ?), (?, ?, ?, ?)")
	read := statementFor(t, c, "SELECT key, a, b, c FROM t ORDER BY key")
	sizes := []int{0, 1, 100, 4096, 4097, 300_000, 1, 2_000_000, 5}
	for i, size := range sizes {
		a, b := strings.Repeat("a", size), bytes.Repeat([]byte{byte(i)}, size+1)
		insert.bind(1, int64(2*i), a, b, nil)
		insert.bind(5, int64(2*i+1), text(b), []byte(a), a)
		if err := insert.exec(); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	err := read.query(t.Context(), func(row *stmt) error {
		i, size := n/2, sizes[n/2]
		a, b := strings.Repeat("a", size), bytes.Repeat([]byte{byte(i)}, size+1)
		second := n%2 == 1
		switch {
		case row.integer(0) != int64(n),
			!second && (row.text(1) != a || !bytes.Equal(row.blob(2), b) || !row.isNull(3) || row.optional(3) != ""),
			second && (row.text(1) != string(b) || string(row.blob(2)) != a || row.optional(3) != a),
			row.wasOdd():
			t.Errorf("row %d of size %d is not as it was written", n, size)
		}
		n++
		return nil
	})
	if err != nil || n != 2*len(sizes) {
		t.Errorf("%d rows, %v", n, err)
	}
}

// TestStatementTypes reads columns as what they are not.
//
// What breaks it: reading a column without asking for its type, or an odd that is not
// forgotten by wasOdd, or not by reset.
func TestStatementTypes(t *testing.T) {
	c := dialFor(t, filepath.Join(t.TempDir(), "types.db"), 0)
	s := statementFor(t, c, "SELECT 1, 'x', x'00', NULL")
	err := s.query(t.Context(), func(row *stmt) error {
		for column, read := range []func() bool{
			func() bool { return row.text(0) == "" }, func() bool { return row.integer(1) == 0 },
			func() bool { return row.text(2) == "" }, func() bool { return row.blob(3) == nil },
		} {
			if zero, odd := read(), row.wasOdd(); !zero || !odd {
				t.Errorf("column %d, read as what it is not, is nothing: %v, odd: %v", column, zero, odd)
			}
		}
		if row.integer(0) != 1 || row.text(1) != "x" || len(row.blob(2)) != 1 || !row.isNull(3) || row.wasOdd() {
			t.Error("a column read as what it is is odd")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for range 2 { // the second must not know of the first
		err := s.query(t.Context(), func(row *stmt) error {
			if row.wasOdd() {
				t.Error("a row is odd because another query's was")
			}
			_ = row.integer(1)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if err := statementFor(t, c, "SELECT ?").exec(3.5); err == nil {
		t.Error("a value of a type that is not bound is taken")
	}
	if err := statementFor(t, c, "SELECT ?").exec("a", "b"); err == nil {
		t.Error("a value too many is taken")
	}
}

// TestQueryEndsWithContext ends the context of a query that would run for ever, at any
// moment and also before it begins. The statements after it are not ended.
//
// What breaks it: an endWith that does nothing.
func TestQueryEndsWithContext(t *testing.T) {
	c := dialFor(t, filepath.Join(t.TempDir(), "context.db"), 0)
	endless := statementFor(t, c, "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 0")
	one := statementFor(t, c, "SELECT 1")
	for n := range 500 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n%50)*2*time.Microsecond)
		err := endless.query(ctx, func(*stmt) error { return nil })
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("the query ends with %v", err)
		}
		if n, err := one.number(t.Context()); n != 1 || err != nil {
			t.Fatalf("the query after it yields %d, %v", n, err)
		}
	}
}

// TestInterruptBeforeFirstStep steps a statement for the first time long after the context
// that ends it has ended.
//
// What breaks it: an endWith that interrupts once.
func TestInterruptBeforeFirstStep(t *testing.T) {
	c := dialFor(t, filepath.Join(t.TempDir(), "early.db"), 0)
	long := statementFor(t, c, "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000000) SELECT count(*) FROM n")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	stop := c.db.endWith(ctx)
	for began := time.Now(); time.Since(began) < 5*time.Millisecond; {
		runtime.Gosched()
	}
	if _, err := long.step(); !interrupted(err) {
		t.Errorf("the statement ends with %v", err)
	}
	long.reset()
	stop()
}

// TestPatience waits for a lock that another connection has: for as long as it is told to,
// or until the context ends.
//
// What breaks it: a patiently that ends at the first events.ErrBusy, or never.
func TestPatience(t *testing.T) {
	file := filepath.Join(t.TempDir(), "busy.db")
	holder := dialFor(t, file, time.Minute)
	if err := holder.run("CREATE TABLE t (a); BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	nothing := func(*stmt) error { return nil }
	began := time.Now()
	if err := dialFor(t, file, 20*time.Millisecond).ask(t.Context(), "BEGIN IMMEDIATE", nothing); !errors.Is(err, events.ErrBusy) || time.Since(began) < 20*time.Millisecond {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	waiter := dialFor(t, file, time.Minute)
	if err := waiter.ask(ctx, "BEGIN IMMEDIATE", nothing); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("when the context ends: %v", err)
	}
	// Without a WAL the end of a transaction wants the file alone, and the waiter looks at it
	// every now and then: the holder has to be patient as well.
	given := make(chan error)
	time.AfterFunc(20*time.Millisecond, func() { given <- holder.run("COMMIT") })
	if err := waiter.ask(t.Context(), "BEGIN IMMEDIATE", nothing); err != nil {
		t.Errorf("when the lock is given back: %v", err)
	}
	if err := <-given; err != nil {
		t.Errorf("when the lock is given back, its holder: %v", err)
	}
	if err := waiter.run("ROLLBACK"); err != nil {
		t.Error(err)
	}
}
