package memlog_test

import (
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/logtest"
	"github.com/oatmill/oatmill/events/memlog"
)

func TestLog(t *testing.T) {
	logtest.Run(t, logtest.Harness{Open: func(testing.TB) events.Log { return memlog.New() }})
}
