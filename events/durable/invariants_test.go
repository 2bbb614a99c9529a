package durable_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/natslog"
	"github.com/oatmill/oatmill/events/durable/pglog"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
	"github.com/oatmill/oatmill/oat/oattest/invariants"
)

// TestInvariants holds package oat to its invariants on every durable log, one after the
// other, because each sets flags of rapid.
func TestInvariants(t *testing.T) {
	t.Parallel()
	t.Run("SQLite", testInvariantsSQLite)
	t.Run("PostgreSQL", testInvariantsPostgres)
	t.Run("JetStream", testInvariantsJetStream)
}

// testInvariantsSQLite gives every service a handle of its own, as processes have.
func testInvariantsSQLite(t *testing.T) {
	var path string // of the newest log; there is never more than one
	open := func(t testing.TB) events.Log {
		log, err := sqlitelog.Open(t.Context(), path, sqlitelog.Config{})
		if err != nil {
			t.Fatal(err)
		}
		return log
	}
	again := func(t testing.TB, _ events.Log) events.Log { return open(t) }
	invariants.Run(t, invariants.Harness{
		Open: func(t testing.TB) events.Log {
			path = filepath.Join(t.TempDir(), "events.db")
			return open(t)
		},
		Reopen: again,
		Second: again,
		Slow:   true,
	})
}

// testInvariantsPostgres uses one server. [TestSiegePostgres] kills it.
func testInvariantsPostgres(t *testing.T) {
	url := startPostgres(t)
	holdInvariants(t, func(ctx context.Context, name string) (closingLog, error) {
		return pglog.Open(ctx, url, pglog.Config{Schema: name})
	}, func(name string) error { return dropSchema(url, name) })
}

// testInvariantsJetStream uses three nodes. [TestSiegeJetStream] kills them and cuts them off.
func testInvariantsJetStream(t *testing.T) {
	url := startJetStream(t)
	holdInvariants(t, func(ctx context.Context, name string) (closingLog, error) {
		return natslog.Open(ctx, url, natslog.Config{Stream: name})
	}, func(string) error { return nil }) // the servers are the test's own
}

// dropSchema leaves nothing behind on a server that may be somebody else's.
func dropSchema(url, schema string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "DROP SCHEMA IF EXISTS "+schema+" CASCADE")
	return errors.Join(err, conn.Close(ctx))
}

// holdInvariants gives every log of the suite a name of its own on one server.
func holdInvariants(t *testing.T, openAt func(ctx context.Context, name string) (closingLog, error), drop func(name string) error) {
	logs := 0
	name := func() string { return fmt.Sprintf("oatmill_invariants_%d_%d", os.Getpid(), logs) }
	open := func(t testing.TB, _ events.Log) events.Log {
		log, err := openAt(t.Context(), name())
		if err != nil {
			t.Fatal(err)
		}
		return log
	}
	invariants.Run(t, invariants.Harness{
		Open: func(t testing.TB) events.Log {
			if err := drop(name()); err != nil { // the one before, which is closed
				t.Fatal(err)
			}
			logs++
			return open(t, nil)
		},
		Reopen: open,
		Second: open,
		Slow:   true,
	})
	if err := drop(name()); err != nil {
		t.Error(err)
	}
}
