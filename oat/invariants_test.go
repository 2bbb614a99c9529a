package oat_test

import (
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/oat/oattest/invariants"
)

func TestInvariants(t *testing.T) {
	invariants.Run(t, invariants.Harness{Open: func(testing.TB) events.Log { return memlog.New() }})
}
