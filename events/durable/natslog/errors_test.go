package natslog

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/oatmill/oatmill/events"
)

// TestRefusalsHaveTheCommonValues maps JetStream's error codes (nats-server,
// server/errors.json) to the values of package events that every log shares.
//
// Fails if a case of refusal returns the server's error as it is.
func TestRefusalsHaveTheCommonValues(t *testing.T) {
	for code, want := range map[jetstream.ErrorCode]error{
		10002: events.ErrFull,        // resource limits exceeded for account
		10023: events.ErrFull,        // insufficient resources
		10028: events.ErrFull,        // insufficient memory resources available
		10047: events.ErrFull,        // insufficient storage resources available
		10109: events.ErrReadOnly,    // invalid operation on sealed stream
		10039: events.ErrUnavailable, // JetStream not enabled for account
		10076: events.ErrUnavailable, // JetStream not enabled
	} {
		err := refusal(&jetstream.APIError{ErrorCode: code})
		if !errors.Is(err, want) {
			t.Errorf("code %d: %v, want %q", code, err, want)
		}
		var refused *jetstream.APIError
		if !errors.As(err, &refused) {
			t.Errorf("code %d: the server's own error is lost in %v", code, err)
		}
	}
	full := &jetstream.APIError{ErrorCode: codeStoreFailed, Description: "maximum bytes exceeded"}
	if err := refusal(full); !errors.Is(err, events.ErrFull) {
		t.Errorf("a stream at max_bytes: %v", err)
	}
}
