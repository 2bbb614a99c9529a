package pglog

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/oatmill/oatmill/events"
)

// Errors that callers branch on, beside those of package events.
var (
	// ErrUnavailable means that the server did not answer in time. Nothing was appended,
	// unless it comes with an [events.ErrUnknownOutcome].
	ErrUnavailable = errors.New("the database does not answer")

	// ErrFull means that the server's disk is full. Nothing was appended. The log goes
	// on by itself when there is space again.
	ErrFull = errors.New("disk of the database server is full")

	// ErrDenied means that the database user lacks a right. The text names it.
	ErrDenied = errors.New("not permitted")

	// ErrReadOnly means that the server takes no writes, mostly because it is a standby.
	ErrReadOnly = errors.New("database takes no writes")

	// ErrNewer means that a newer version of this library laid the schema out. It is
	// also an [events.ErrDamaged], so that whoever does not know it stops as well.
	ErrNewer = fmt.Errorf("%w: laid out by a newer version of this library", events.ErrDamaged)
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
	codeStarting    = "57P03"
	codeCrowded     = "53300"

	classConnection = "08" // how the codes begin that are about connections
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
	case "": // ours, or about a connection, which it names
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w: %v", ErrUnavailable, err) // the deadline is none of the caller's
		}
		return err
	case codeNoTable, codeNoSchema, codeNoColumn:
		return fmt.Errorf("%w: %s lacks a part of the log: %w", events.ErrDamaged, where, err)
	case codeDenied:
		return fmt.Errorf("%w: %s: %w", ErrDenied, where, err)
	case codeFull:
		return fmt.Errorf("%w: %s: %w", ErrFull, where, err)
	case codeReadOnly:
		return fmt.Errorf("%w: %s: a standby, or set to read only: %w", ErrReadOnly, where, err)
	case codeNoDatabase, codeBadPassword, codeBadUser, codeStarting, codeCrowded:
		return err // names the database or the user by itself
	case codeSerialize, codeDeadlock:
		return fmt.Errorf("%s: the transaction has to be done again: %w", where, err)
	}
	return fmt.Errorf("%s: %w", where, err)
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
