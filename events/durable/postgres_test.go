package durable_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/pgserver"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if postgres.server != nil {
		if err := postgres.server.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// postgres is the server of all tests that do not stop it: one of our own, or the one at
// OATMILL_TEST_POSTGRES. The first test that asks starts it.
var postgres struct {
	once   sync.Once
	server *pgserver.Server
	err    error
}

// unsynced has a server leave the syncing of its files out, which only the loss of power would
// show. What is killed here is processes, and what they have written outlives them.
func unsynced() pgserver.Config {
	return pgserver.Config{Settings: map[string]string{"fsync": "off", "max_connections": "200"}}
}

// sharedPostgres returns the server of all tests that do not stop it. A benchmark gets its own,
// which syncs.
func sharedPostgres(tb testing.TB) *pgserver.Server {
	tb.Helper()
	if _, measures := tb.(*testing.B); measures {
		server, err := pgserver.Find(tb.Context(), pgserver.Config{})
		started(tb, server, err)
		tb.Cleanup(func() { noError(tb, server.Close()) })
		return server
	}
	postgres.once.Do(func() {
		postgres.server, postgres.err = pgserver.Find(context.Background(), unsynced())
	})
	return started(tb, postgres.server, postgres.err)
}

// ownPostgres returns a server that the test may stop and kill.
func ownPostgres(tb testing.TB) *pgserver.Server {
	tb.Helper()
	server, err := pgserver.Start(tb.Context(), unsynced())
	started(tb, server, err)
	tb.Cleanup(func() { noError(tb, server.Close()) })
	return server
}

func started(tb testing.TB, server *pgserver.Server, err error) *pgserver.Server {
	tb.Helper()
	if errors.Is(err, pgserver.ErrNotFound) {
		testkit.Missing(tb, err.Error())
	}
	noError(tb, err)
	return server
}
