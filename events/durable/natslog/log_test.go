package natslog_test

import (
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/logtest"
)

func TestLogOnOneNode(t *testing.T) {
	logtest.Run(t, harness(one(t)))
}

// TestLogOnThreeNodes is parallel to tests that wait. TestLogOnOneNode is not: both set flags
// of rapid, and count waiting goroutines.
func TestLogOnThreeNodes(t *testing.T) {
	t.Parallel()
	logtest.Run(t, harness(three(t)))
}

// harness is a log of its own in the server for every test.
func harness(s *servers) logtest.Harness {
	return logtest.Harness{
		Open:   func(t testing.TB) events.Log { return s.open(t, s.config(t)) },
		Reopen: func(t testing.TB, _ events.Log) events.Log { return s.open(t, s.newest) },
		Second: func(t testing.TB, _ events.Log) events.Log { return s.open(t, s.newest) },
		Slow:   true,

		IDsPerStream: true, // there is no index over the streams; the package comment says what is seen
	}
}
