package sqlitelog_test

import (
	"context"
	"fmt"
	_ "modernc.org/sqlite" // the driver that tests reach the file with past the log
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
)

// childEnv names what a process that a test has started is to do, instead of running
// tests. The path of the log stands behind it, in childPath.
const (
	childEnv  = "OATMILL_SQLITELOG_CHILD"
	childPath = "OATMILL_SQLITELOG_PATH"
)

func TestMain(m *testing.M) {
	role := os.Getenv(childEnv)
	if role == "" {
		goleak.VerifyTestMain(m)
		return
	}
	if err := play(role, os.Getenv(childPath)); err != nil {
		fmt.Fprintln(os.Stderr, role+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// play is what a second process does.
func play(role, path string) error {
	if role == "open" { // and nothing else
		log, err := sqlitelog.Open(context.Background(), path, sqlitelog.Config{})
		if err == nil {
			err = log.Close()
		}
		return err
	}
	log, err := sqlitelog.Open(context.Background(), path, sqlitelog.Config{})
	if err != nil {
		return err
	}
	switch role {
	case "load":
		return playLoad(log)
	case "count":
		err = playCount(log)
	case "answer":
		err = playAnswer(log)
	default:
		err = fmt.Errorf("unknown role")
	}
	if closed := log.Close(); err == nil {
		err = closed
	}
	return err
}

// startChild starts another process with the same log.
func startChild(t *testing.T, role, path string) *testkit.Child {
	t.Helper()
	return testkit.StartChild(t, childEnv+"="+role, childPath+"="+path)
}
