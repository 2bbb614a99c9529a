package pglog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/oatmill/oatmill/events"
)

// TestErrorsHaveTheCommonValues maps PostgreSQL's error codes (manual, appendix A) and lost
// connections to the values of package events that every log shares.
//
// Fails if explain leaves out a code or a class.
func TestErrorsHaveTheCommonValues(t *testing.T) {
	l := &Log{cfg: Config{Schema: "oatmill"}}
	pg := func(code string) error {
		return &pgconn.PgError{Severity: "ERROR", Code: code, Message: "as PostgreSQL says it"}
	}
	for _, c := range []struct {
		err, want error
	}{
		{pg("53100"), events.ErrFull},
		{pg("53200"), events.ErrUnavailable}, // out of memory
		{pg("53300"), events.ErrUnavailable}, // too many connections
		{pg("57014"), events.ErrUnavailable}, // statement_timeout
		{pg("57P01"), events.ErrUnavailable}, // admin shutdown
		{pg("57P03"), events.ErrUnavailable}, // cannot connect now
		{pg("58030"), events.ErrUnavailable}, // I/O error
		{pg("08006"), events.ErrUnavailable}, // a pooler lost the server
		{pg("3D000"), events.ErrUnavailable},
		{pg("55P03"), events.ErrBusy}, // lock_timeout
		{pg("40P01"), events.ErrBusy},
		{pg("25006"), events.ErrReadOnly},
		{pg("42501"), events.ErrDenied},
		{pg("28P01"), events.ErrDenied},
		{pg("28000"), events.ErrDenied},
		{pg("42P01"), events.ErrDamaged},
		{pg("XX001"), events.ErrDamaged},
		{context.DeadlineExceeded, events.ErrUnavailable},
		{io.ErrUnexpectedEOF, events.ErrUnavailable},
		{&net.OpError{Op: "dial", Err: errors.New("connection refused")}, events.ErrUnavailable},
		{closedConn{}, events.ErrUnavailable},
	} {
		if err := l.explain(fmt.Errorf("append: %w", c.err)); !errors.Is(err, c.want) {
			t.Errorf("%v: %v, want %q", c.err, err, c.want)
		}
	}
}

// TestRestOfGroupHasTheCause gives the members of a group that were not in the statement that
// failed a certain outcome with its cause.
//
// Fails if later wraps the error of the others, whose outcome is unknown, or drops the cause.
func TestRestOfGroupHasTheCause(t *testing.T) {
	l := &Log{}
	w := &writer{log: l}
	lost := w.failed(io.ErrUnexpectedEOF)
	if err := w.later(lost); !errors.Is(err, events.ErrUnavailable) || errors.Is(err, events.ErrUnknownOutcome) {
		t.Errorf("after %v: %v", lost, err)
	}
	full := w.failed(&pgconn.PgError{SeverityUnlocalized: "ERROR", Code: codeFull})
	if err := w.later(full); !errors.Is(err, events.ErrFull) || errors.Is(err, events.ErrUnknownOutcome) {
		t.Errorf("after %v: %v", full, err)
	}
}
