package durable_test

import (
	"path/filepath"
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
	"github.com/oatmill/oatmill/oat/oattest/invariants"
)

// TestInvariantsSQLite holds package oat to its invariants on SQLite, with every
// service on a handle of its own, as processes have.
func TestInvariantsSQLite(t *testing.T) {
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
