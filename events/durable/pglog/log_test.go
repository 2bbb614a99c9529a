package pglog_test

import (
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/linear"
	"github.com/oatmill/oatmill/events/durable/pglog"
	"github.com/oatmill/oatmill/events/logtest"
)

// conformance runs the suite. Each of its logs has a schema of its own in one database.
func conformance(t *testing.T, address string, cfg pglog.Config) {
	reopen := func(t testing.TB, _ events.Log) events.Log { return open(t, address, cfg) }
	n := 0
	logtest.Run(t, logtest.Harness{
		Open: func(t testing.TB) events.Log {
			n++
			cfg.Schema = "log " + string(rune('a'+n/26)) + string(rune('a'+n%26)) // has to be quoted
			return open(t, address, cfg)
		},
		Reopen: reopen,
		Second: reopen,
	})
}

func TestLog(t *testing.T) { conformance(t, newDatabase(t), pglog.Config{}) }

// TestLinearizable takes a history of 16 clients on two handles of one log.
//
// What breaks it: statements.lock without FOR UPDATE. What is decided by old heads is
// stopped by the counter, and where that is not compared by the keys of the table.
func TestLinearizable(t *testing.T) {
	address := newDatabase(t)
	linear.Check(t, linear.Config{}, openFor(t, address, pglog.Config{}), openFor(t, address, pglog.Config{}))
}
