package pglog_test

import (
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/pglog"
)

const acme = events.StreamID("organization/acme")

// sound is the whole log by ID, if it is what every log must be and passes its own check.
func sound(t testing.TB, log *pglog.Log) map[string]events.Recorded {
	t.Helper()
	byID := testkit.Sound(t, log)
	if err := log.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	return byID
}
