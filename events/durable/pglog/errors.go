package pglog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/oatmill/oatmill/events"
)

// Codes of PostgreSQL's errors that mean something here.
const (
	codeUnique      = "23505"
	codeReadOnly    = "25006"
	codeNoSchema    = "3F000"
	codeNoColumn    = "42703"
	codeSerialize   = "40001"
	codeDeadlock    = "40P01"
	codeUnknown     = "40003"
	codeDenied      = "42501"
	codeNoTable     = "42P01"
	codeFull        = "53100"
	codeNoDatabase  = "3D000"
	codeBadPassword = "28P01"
	codeBadUser     = "28000"
	codeLocked      = "55P03"

	codeCorrupted      = "XX001"
	codeIndexCorrupted = "XX002"

	// How the codes of whole classes begin.
	classConnection = "08"
	classResources  = "53" // too many connections, out of memory
	classOperator   = "57" // shutting down, starting, statement_timeout
	classSystem     = "58" // I/O errors
)

// code is PostgreSQL's code of an error, "" where it is none of PostgreSQL's.
func code(err error) string {
	var failure *pgconn.PgError
	if errors.As(err, &failure) {
		return failure.Code
	}
	return ""
}

// explain gives an error of the driver the meaning it has for a caller, and the name of
// what it is about. Together with undone it is the only place that knows PostgreSQL's
// codes.
func (l *Log) explain(err error) error {
	where := fmt.Sprintf("schema %q", l.cfg.Schema)
	switch code(err) {
	case "":
		switch {
		case errors.Is(err, context.DeadlineExceeded): // the deadline is not the caller's
			return fmt.Errorf("%w: %v", events.ErrUnavailable, err)
		case disconnected(err):
			return fmt.Errorf("%w: %w", events.ErrUnavailable, err)
		}
		return err
	case codeNoTable, codeNoSchema, codeNoColumn:
		return fmt.Errorf("%w: %s lacks a part of the log: %w", events.ErrDamaged, where, err)
	case codeUnique:
		var failure *pgconn.PgError
		if errors.As(err, &failure) && failure.TableName == "records" {
			return fmt.Errorf("%w: %s: a row that is not part of the log is in the way: %s: %w", events.ErrDamaged, where, failure.Detail, err)
		}
	case codeDenied:
		return fmt.Errorf("%w: %s: %w", events.ErrDenied, where, err)
	case codeFull:
		return fmt.Errorf("%w: %s: %w", events.ErrFull, where, err)
	case codeReadOnly:
		return fmt.Errorf("%w: %s: a standby, or set to read only: %w", events.ErrReadOnly, where, err)
	case codeBadPassword, codeBadUser:
		return fmt.Errorf("%w: %w", events.ErrDenied, err) // names the user
	case codeNoDatabase:
		return fmt.Errorf("%w: %w", events.ErrUnavailable, err) // names the database
	case codeLocked:
		return fmt.Errorf("%w: %s: %w", events.ErrBusy, where, err)
	case codeCorrupted, codeIndexCorrupted:
		return fmt.Errorf("%w: %s: %w", events.ErrDamaged, where, err)
	case codeSerialize, codeDeadlock:
		return fmt.Errorf("%w: %s: the transaction has to be repeated: %w", events.ErrBusy, where, err)
	}
	for _, class := range []string{classConnection, classResources, classOperator, classSystem} {
		if strings.HasPrefix(code(err), class) {
			return fmt.Errorf("%w: %s: %w", events.ErrUnavailable, where, err)
		}
	}
	return fmt.Errorf("%s: %w", where, err)
}

// cause returns the value in events that says why err happened, for an append that was not
// part of what failed.
func cause(err error) error {
	for _, known := range []error{events.ErrFull, events.ErrBusy, events.ErrReadOnly, events.ErrDenied, events.ErrDamaged, events.ErrClosed} {
		if errors.Is(err, known) {
			return known
		}
	}
	return events.ErrUnavailable
}

// disconnected reports whether the server could not be reached or the connection to it
// was lost.
func disconnected(err error) bool {
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || pgconn.SafeToRetry(err) ||
		errors.Is(err, pgconn.ErrConnClosed) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// undone tells of an error of a statement that appends, or of COMMIT, whether
// nothing of it was or will be done. An error that the server reports as such undoes the
// transaction. When the server says farewell instead, or nothing, the transaction may
// have been committed before. So it may when a pooler in between reports, as an ordinary
// error, that it lost the server.
func undone(err error) bool {
	if errors.Is(err, pgconn.ErrConnClosed) {
		// pgx takes it for an error from before anything was sent, and returns it as well
		// when the connection was lost while it read the answer.
		return false
	}
	if errors.Is(err, pgx.ErrTxCommitRollback) || pgconn.SafeToRetry(err) {
		return true
	}
	var unreachable *pgconn.ConnectError
	if errors.As(err, &unreachable) {
		return true
	}
	var failure *pgconn.PgError
	return errors.As(err, &failure) && failure.SeverityUnlocalized == "ERROR" && failure.Code != codeUnknown &&
		!strings.HasPrefix(failure.Code, classConnection)
}

// collided tells of an error that the same append, decided with a look at the database,
// goes on from: an ID that is there already, or an isolation level that does not wait.
func collided(err error) bool {
	switch code(err) {
	case codeUnique, codeSerialize, codeDeadlock:
		return true
	}
	return false
}

// damaged is an error about something in the schema that this library did not put there
// like that.
func (l *Log) damaged(format string, args ...any) error {
	return fmt.Errorf("%w: schema %q: %s", events.ErrDamaged, l.cfg.Schema, fmt.Sprintf(format, args...))
}

func (l *Log) noCounter() error { return l.damaged("the counter is missing") }
