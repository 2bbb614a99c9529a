package events

import (
	"errors"
	"fmt"

	"github.com/oklog/ulid/v2"
)

// Errors that callers branch on. All are matched with [errors.Is].
var (
	// ErrConflict means that a stream was not at the expected version. Nothing
	// was appended. It comes as a [*ConflictError].
	ErrConflict = errors.New("version conflict")

	// ErrDuplicate means that an event ID is taken by another event. Nothing was
	// appended. It comes as a [*DuplicateError].
	ErrDuplicate = errors.New("duplicate event ID")

	// ErrInvalid means that a name, an envelope or a batch is malformed.
	ErrInvalid = errors.New("invalid")

	// ErrUnknownOutcome means that a batch may or may not have been appended.
	// Appending the very same envelopes again tells, and appends them if they are
	// not there.
	ErrUnknownOutcome = errors.New("outcome unknown")

	// ErrClosed means that the log was closed before the call, or before it could
	// be carried out.
	ErrClosed = errors.New("log closed")

	// ErrDamaged means that what the log holds is not what was appended to it, or
	// that it is no log of this library at all. It comes with words that name the
	// file or the record.
	ErrDamaged = errors.New("damaged log")

	// ErrFull means that the storage of the log, or the part of it that the log may
	// use, has no space left. Nothing was appended. The log continues by itself when
	// there is space again.
	ErrFull = errors.New("no space left")

	// ErrBusy means that another process held a lock for longer than the log waits
	// for one. Nothing was appended.
	ErrBusy = errors.New("locked by another process")

	// ErrReadOnly means that the storage accepts no writes: the file, its folder or
	// its file system is read-only, or the server is a standby. Nothing was appended.
	ErrReadOnly = errors.New("read-only")

	// ErrDenied means that the storage refused access: the credentials are wrong, or
	// the user of the log lacks a right. Nothing was appended.
	ErrDenied = errors.New("access denied")

	// ErrUnavailable means that the storage cannot be reached, did not answer in
	// time or failed to read. Nothing was appended, unless the error is an
	// ErrUnknownOutcome as well.
	ErrUnavailable = errors.New("log unavailable")

	// ErrNewer means that a newer version of this library wrote the log or its
	// layout. It matches ErrDamaged as well, so that a caller that only tests for
	// ErrDamaged stops.
	ErrNewer = fmt.Errorf("%w: written by a newer version of this library", ErrDamaged)

	// ErrUnknownType means that this library does not know the type of an event.
	// It comes as an [*UnknownTypeError].
	ErrUnknownType = errors.New("unknown event type")

	// ErrBrokenChain means that the records of a stream are not the ones that were
	// appended. It comes as a [*ChainError].
	ErrBrokenChain = errors.New("broken hash chain")
)

// ConflictError says at which version a stream was instead of the expected one. It is the
// expected one where the stream has another record there, see [Envelope.Follows].
type ConflictError struct {
	Stream   StreamID
	Expected Version
	Actual   Version // at the moment the append was decided
}

func (e *ConflictError) Error() string {
	if e.Expected == e.Actual || e.Expected == Any {
		return fmt.Sprintf("append to %s: version conflict: version %d is another record than the one decided on", e.Stream, e.Actual)
	}
	return fmt.Sprintf("append to %s: version conflict: expected %d, is %d", e.Stream, e.Expected, e.Actual)
}

// Is matches [ErrConflict].
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// DuplicateError names an event ID that another event has.
type DuplicateError struct {
	Stream StreamID // that was appended to
	ID     ulid.ULID
}

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("append to %s: duplicate event ID %s", e.Stream, e.ID)
}

// Is matches [ErrDuplicate].
func (e *DuplicateError) Is(target error) bool { return target == ErrDuplicate }

// UnknownTypeError names an event that this library cannot read. Stream and
// Position are zero where the event was not read from a log.
type UnknownTypeError struct {
	Type     string
	Stream   StreamID
	Position Position
}

func (e *UnknownTypeError) Error() string {
	if e.Stream == "" {
		return fmt.Sprintf("unknown event type %q", clip(e.Type))
	}
	return fmt.Sprintf("unknown event type %q at position %d in %s: written by a newer version?", clip(e.Type), e.Position, e.Stream)
}

// Is matches [ErrUnknownType].
func (e *UnknownTypeError) Is(target error) bool { return target == ErrUnknownType }

// ChainError says where and how a stream's hash chain is broken.
type ChainError struct {
	Stream  StreamID
	Version Version // the first record that does not fit
	Problem string
}

func (e *ChainError) Error() string {
	return fmt.Sprintf("verify %s: version %d: %s", e.Stream, e.Version, e.Problem)
}

// Is matches [ErrBrokenChain].
func (e *ChainError) Is(target error) bool { return target == ErrBrokenChain }

// MissingError means that records which the log once held are not in it any more, at the
// positions First to Last. The records behind them can still be read.
type MissingError struct{ First, Last Position }

func (e *MissingError) Error() string {
	if e.First == e.Last {
		return fmt.Sprintf("damaged log: the record at position %d is missing", e.First)
	}
	return fmt.Sprintf("damaged log: the records at positions %d to %d are missing", e.First, e.Last)
}

// Is matches [ErrDamaged].
func (e *MissingError) Is(target error) bool { return target == ErrDamaged }
