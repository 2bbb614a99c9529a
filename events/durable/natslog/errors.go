package natslog

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oatmill/oatmill/events"
)

// ErrSettings means that a stream of this name exists and is not set up as a log needs
// it. The error names the settings that are wrong.
var ErrSettings = errors.New("stream has other settings than a log needs")

// What can come of a request, for the code that repeats requests.
var (
	errLate     = errors.New("no answer in time")
	errAgain    = errors.New("not now")                    // certainly not done, worth another try
	errUnsure   = errors.New("no answer")                  // perhaps done
	errOutdated = errors.New("another batch came between") // certainly not done
)

// Codes of JetStream's errors.
const (
	codeAccountFull   = 10002
	codeNoCluster     = 10008
	codeNotLeader     = 10009
	codeNoResources   = 10023
	codeMemoryFull    = 10028
	codeNoMessage     = 10037
	codeNoAccount     = 10039
	codeStorageFull   = 10047
	codeTooLarge      = 10054
	codeExists        = 10058
	codeNoStream      = 10059
	codeOtherStream   = 10060
	codeWrongSequence = 10071
	codeNotEnabled    = 10076
	codeStoreFailed   = 10077
	codeHeaderLarge   = 10097
	codeSealed        = 10109
	codeInProcess     = 10158
	codeOvertaken     = 10164 // a message of this subject is on its way through the cluster
)

// refusal gives an error that the server sent the meaning it has for an append. It is
// the only place that knows what JetStream's codes say about a message that was
// published.
func refusal(err *jetstream.APIError) error {
	if noSpace(err) {
		return fmt.Errorf("%w: %w", events.ErrFull, err)
	}
	switch err.ErrorCode {
	case codeWrongSequence:
		return errOutdated
	case codeOvertaken, codeInProcess, codeNoCluster, codeNotLeader:
		return fmt.Errorf("%w: %w", errAgain, err)
	case codeSealed:
		return fmt.Errorf("%w: %w", events.ErrReadOnly, err)
	case codeNoAccount, codeNotEnabled:
		return fmt.Errorf("%w: %w", events.ErrUnavailable, err)
	case codeTooLarge, codeOtherStream, codeNoStream, codeHeaderLarge:
		return err
	}
	return fmt.Errorf("%w: %w", errUnsure, err)
}

// noSpace reports whether the server, the account or the stream has no space left.
func noSpace(err *jetstream.APIError) bool {
	switch err.ErrorCode {
	case codeAccountFull, codeNoResources, codeMemoryFull, codeStorageFull:
		return true
	case codeStoreFailed:
		// Without this text, the leader could not store what its followers may have stored.
		return strings.Contains(err.Description, "maximum")
	}
	return false
}

// refusedConnection returns the error of a connection that could not be made with its
// meaning for the caller.
func refusedConnection(err error) error {
	if err == nil {
		return nil
	}
	for _, denied := range []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired} {
		if errors.Is(err, denied) {
			return fmt.Errorf("%w: %w", events.ErrDenied, err)
		}
	}
	var network net.Error
	if errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrTimeout) || errors.As(err, &network) {
		return fmt.Errorf("%w: %w", events.ErrUnavailable, err)
	}
	return err // a bad address or option
}

// unsent tells of an error of the client whether the message certainly never reached
// a stream. That the connection is closed does not tell: it may have been when the
// message was sent, or since.
func unsent(err error) bool {
	for _, certain := range []error{
		nats.ErrNoResponders, nats.ErrReconnectBufExceeded, nats.ErrConnectionDraining, nats.ErrInvalidConnection,
	} {
		if errors.Is(err, certain) {
			return true
		}
	}
	return false
}

// forbidden is the error of a request that the server refused to its user, nil when it
// did not. The server does not answer such a request; it reports to the connection, which
// keeps the report for good: only one that was not there before the request is about it.
func (l *Log) forbidden(subject string, before error) error {
	err := l.nc.LastError()
	if err == nil || err == before || !errors.Is(err, nats.ErrPermissionViolation) && !strings.Contains(strings.ToLower(err.Error()), "permissions violation") {
		return nil
	}
	if !strings.Contains(err.Error(), `"`+subject+`"`) {
		return nil
	}
	return fmt.Errorf("%w: %w", events.ErrDenied, err)
}

// retry makes do until it succeeds or fails with an error that waiting does not mend.
// ctx must end some time.
func (l *Log) retry(ctx context.Context, do func() error) error {
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		err := do()
		l.moves.note(err)
		if !errors.Is(err, errAgain) && !errors.Is(err, errUnsure) {
			return err
		}
		if ended := pause(ctx, wait); ended != nil {
			return l.ending(ctx, err)
		}
	}
}

// pause waits, shorter when the context ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ending is why ctx, which is one of [Log.until], ended, with what was wrong last.
func (l *Log) ending(ctx context.Context, last error) error {
	switch cause := context.Cause(ctx); {
	case errors.Is(last, events.ErrUnavailable): // says it all already
		return last
	case errors.Is(cause, errLate):
		return fmt.Errorf("%w: %w after %v: %w", events.ErrUnavailable, errLate, l.cfg.Timeout, last)
	case errors.Is(cause, events.ErrClosed):
		return events.ErrClosed
	default:
		return ctx.Err()
	}
}

// damaged is an [events.ErrDamaged] that names the message it is about.
func (l *Log) damaged(seq uint64, format string, args ...any) error {
	return fmt.Errorf("%w: stream %s, sequence %d: %s", events.ErrDamaged, l.cfg.Stream, seq, fmt.Sprintf(format, args...))
}
