package sqlitelog_test

import (
	"path/filepath"
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
	"github.com/oatmill/oatmill/events/logtest"
)

func TestLog(t *testing.T) {
	var path string
	reopen := func(t testing.TB, _ events.Log) events.Log { return open(t, path, sqlitelog.Config{}) }
	logtest.Run(t, logtest.Harness{
		Open: func(t testing.TB) events.Log {
			path = filepath.Join(t.TempDir(), "events.db")
			return open(t, path, sqlitelog.Config{})
		},
		Reopen: reopen,
		Second: reopen,
	})
}

func open(t testing.TB, path string, cfg sqlitelog.Config) *sqlitelog.Log {
	t.Helper()
	log, err := sqlitelog.Open(t.Context(), path, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return log
}
