package pglog

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// TestNobodyIsWaitedForTwice leads a queue after a group that took very long and whose
// callers do not come back. The leader gives up soon, and the next one waits for nobody.
//
// What breaks it: patience without maxPatience, or a lead that leaves want as it is.
func TestNobodyIsWaitedForTwice(t *testing.T) {
	l := &Log{write: &writer{company: true, want: 8, took: 24 * time.Hour}}
	led := make(chan struct{})
	go func() {
		l.lead()
		close(led)
	}()
	select {
	case <-led:
	case <-time.After(time.Minute):
		t.Fatal("callers who do not come are waited for as if they did")
	}
	if l.write.want != 0 {
		t.Errorf("the next leader waits for %d callers again", l.write.want)
	}
}

// closedConn is the error that pgx has for a connection which is closed: before it sends a
// query, and when the connection is lost while it reads the answer.
type closedConn struct{}

func (closedConn) Error() string     { return "conn closed" }
func (closedConn) SafeToRetry() bool { return true }
func (closedConn) Unwrap() error     { return pgconn.ErrConnClosed }

// TestClosedConnectionIsUnknown breaks when undone believes SafeToRetry of it. An append was
// once told to have failed that was there.
func TestClosedConnectionIsUnknown(t *testing.T) {
	if undone(fmt.Errorf("append: %w", closedConn{})) {
		t.Error("a connection that was closed leaves no doubt")
	}
}

// TestUndone names errors of an append after which nothing of it is there, and such that
// leave it open.
//
// What breaks it: taking class 08 for certain because its severity is ERROR.
func TestUndone(t *testing.T) {
	for _, c := range []struct {
		severity, code string
		want           bool
	}{
		{"ERROR", codeUnique, true},
		{"ERROR", codeFull, true},
		{"ERROR", codeReadOnly, true},
		{"ERROR", codeUnknown, false},
		{"ERROR", "08000", false},
		{"ERROR", "08003", false},
		{"ERROR", "08006", false},
		{"ERROR", "08007", false},
		{"FATAL", "57P01", false},
	} {
		err := fmt.Errorf("append: %w", &pgconn.PgError{SeverityUnlocalized: c.severity, Code: c.code})
		if got := undone(err); got != c.want {
			t.Errorf("%s %s: undone is %v, want %v", c.severity, c.code, got, c.want)
		}
	}
}
