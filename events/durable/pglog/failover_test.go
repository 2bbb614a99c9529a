package pglog_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/pglog"
)

// loseAfter takes away what comes behind a position, as a failover to a standby does that
// had not received it.
func loseAfter(t testing.TB, address string, p events.Position) {
	t.Helper()
	mustExec(t, address, `SET search_path = oatmill`, `ALTER TABLE records DISABLE TRIGGER ALL`,
		fmt.Sprintf(`DELETE FROM records WHERE position > %d`, p), fmt.Sprintf(`UPDATE counter SET position = %d`, p),
		`ALTER TABLE records ENABLE TRIGGER ALL`)
}

// TestAppendAfterLossDoesNotTrustMemory loses a record that a handle remembers. Another one
// then brings the log to the same length. Wherever the first handle appends next, it learns
// that the stream of the lost record is a shorter one.
//
// What breaks it: the counter alone as the condition of insertion; a look, or a locked, that
// compares positions only before it keeps the heads of other streams.
func TestAppendAfterLossDoesNotTrustMemory(t *testing.T) {
	for name, next := range map[string]events.StreamID{
		"in the stream":                   acme,
		"in another that it remembers":    "organization/remembered",
		"in another that it has not seen": "organization/new",
	} {
		t.Run(name, func(t *testing.T) {
			address, g := newDatabase(t), testkit.NewGenerator()
			log, other := openFor(t, address, pglog.Config{}), openFor(t, address, pglog.Config{})
			testkit.Append(t, log, "organization/remembered", g.TokenGenerated())
			testkit.Append(t, log, acme, g.Batch(2)...)
			testkit.Append(t, log, acme, g.TokenGenerated())
			loseAfter(t, address, 3)
			testkit.Append(t, other, "organization/other", g.TokenGenerated())
			if next != acme {
				testkit.Append(t, log, next, g.TokenGenerated())
			}
			if _, err := log.Append(t.Context(), acme, 3, g.TokenGenerated()); !errors.Is(err, events.ErrConflict) {
				t.Errorf("an append to version 3 of 2: %v", err)
			}
			if r := testkit.Append(t, log, acme, g.TokenGenerated()); r[0].Version != 3 {
				t.Errorf("appended as version %d to a stream of 2", r[0].Version)
			}
			sound(t, other)
		})
	}
}

// TestAppendAfterLossOfEverything begins a log again that a handle remembers.
//
// What breaks it: a condition of insertion that no empty log meets.
func TestAppendAfterLossOfEverything(t *testing.T) {
	address, g := newDatabase(t), testkit.NewGenerator()
	log := openFor(t, address, pglog.Config{})
	testkit.Append(t, log, acme, g.Batch(2)...)
	loseAfter(t, address, 0)
	for want := range events.Version(3) {
		if r := testkit.Append(t, log, acme, g.TokenGenerated()); r[0].Version != want+1 {
			t.Errorf("appended as version %d, want %d", r[0].Version, want+1)
		}
	}
	sound(t, log)
}

// TestWaitAfterLossWaits loses a record that a handle knows of. A reader of what is left
// soon sleeps again, and wakes when there is another record in its place.
//
// What breaks it: a tail whose end only moves forward, or one that does not look while
// nobody has to wait.
func TestWaitAfterLossWaits(t *testing.T) {
	for name, cfg := range map[string]pglog.Config{"notified": {}, "polling": {NoNotify: true}} {
		t.Run(name, func(t *testing.T) {
			address, g := newDatabase(t), testkit.NewGenerator()
			log := openFor(t, address, cfg)
			testkit.Append(t, log, acme, g.Batch(3)...)
			loseAfter(t, address, 2)
			asleep := func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				return errors.Is(log.Wait(ctx, 2), context.DeadlineExceeded)
			}
			for began := time.Now(); !asleep(); {
				if time.Since(began) > time.Minute {
					t.Fatal("a wait for position 3 of 2 still returns at once")
				}
			}
			woken := make(chan error, 1)
			go func() { woken <- log.Wait(t.Context(), 2) }()
			testkit.Append(t, openFor(t, address, pglog.Config{}), acme, g.TokenGenerated())
			if err := <-woken; err != nil {
				t.Error(err)
			}
		})
	}
}
