package memlog_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
)

// A writer appends under the version it decided on, and whoever decided on an older
// one is told.
func Example() {
	ctx := context.Background()
	log := memlog.New()
	defer log.Close()

	acme := events.OrganizationStream("acme")
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	registered, err := events.NewEnvelope([16]byte{1}, at, "alice", &events.OrganizationRegistered{Plan: "team", Owners: []string{"alice"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := log.Append(ctx, acme, 0, registered); err != nil {
		fmt.Println(err)
		return
	}

	again := registered
	again.ID = [16]byte{2}
	_, err = log.Append(ctx, acme, 0, again)
	fmt.Println(errors.Is(err, events.ErrConflict), err)

	for r, err := range log.ReadStream(ctx, acme, 0) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(r.Version, r.Type, r.Actor, string(r.Data))
	}
	// Output:
	// true append to organization/acme: version conflict: expected 0, is 1
	// 1 organization.registered.v1 alice {"plan":"team","owners":["alice"]}
}
