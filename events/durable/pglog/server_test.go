package pglog_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/linear"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/pglog"
)

// TestServerKilledUnderLoad kills the server with SIGKILL in the middle of the load of two
// handles, and starts it again, several times and until a kill met an append. Appends whose outcome is unknown are made
// again with the same events until they are settled.
//
// What breaks it: calling an error of a broken connection certain, in undone; a look that
// does not ask for IDs.
func TestServerKilledUnderLoad(t *testing.T) {
	const writers, kills, maxKills = 8, 4, 50
	server := mortalServer(t)
	address := newDatabaseOn(t, server)
	handles := []*pglog.Log{openFor(t, address, pglog.Config{}), openFor(t, address, pglog.Config{})}
	l := newLedger()
	for kill := 0; kill < kills || l.resolved == 0 && kill < maxKills; kill++ {
		var over atomic.Bool
		var loading sync.WaitGroup
		for w := range writers {
			loading.Go(func() {
				l.write(t, handles[w%2], events.StreamID(fmt.Sprintf("organization/w%d", w/2)), over.Load)
			})
		}
		l.await(t, l.acknowledged()+40) // before the kill
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.await(t, l.acknowledged()+40) // and after it
		over.Store(true)
		loading.Wait()
		l.compare(t, handles[kill%2], fmt.Sprintf("kill %d", kill))
	}
	t.Logf("%d events appended, %d refused, %d unknown outcomes settled", len(l.appended), len(l.refused), l.resolved)
	if l.resolved == 0 || len(l.refused) == 0 {
		t.Error("no kill left an outcome unknown, which proves nothing")
	}
}

func (l *ledger) acknowledged() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.appended)
}

// await waits until at least n events were acknowledged.
func (l *ledger) await(t *testing.T, n int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		got := l.acknowledged()
		if got >= n {
			return
		}
		if time.Since(began) > 60*time.Second {
			t.Fatalf("%d of %d events were appended in a minute", got, n)
		}
	}
}

// TestLinearizableWhileServerIsKilled takes the history of two handles while the server is
// killed and started again.
func TestLinearizableWhileServerIsKilled(t *testing.T) {
	server := mortalServer(t)
	address := newDatabaseOn(t, server)
	handles := []events.Log{openFor(t, address, pglog.Config{}), openFor(t, address, pglog.Config{})}
	var failures atomic.Int64
	var over atomic.Bool
	killed := make(chan error, 1)
	go func() {
		var err error
		for err == nil && !over.Load() && failures.Load() < 100 {
			err = errors.Join(server.Kill(), server.Restart(context.Background()))
		}
		killed <- err
	}()
	linear.Check(t, linear.Config{Clients: 8, Calls: 60, Retry: func(error) bool {
		failures.Add(1)
		return true
	}}, handles...)
	over.Store(true)
	if err := <-killed; err != nil {
		t.Fatal(err)
	}
	if failures.Load() == 0 {
		t.Error("no call failed, which proves nothing")
	}
}

// TestServerComesBack has readers and waiters live through a restart of the server.
func TestServerComesBack(t *testing.T) {
	server := mortalServer(t)
	address := newDatabaseOn(t, server)
	log, other := openFor(t, address, pglog.Config{}), openFor(t, address, pglog.Config{})
	g := testkit.NewGenerator()
	first := testkit.Append(t, log, acme, g.Batch(2)...)
	woken := make(chan error, 1)
	go func() { woken <- other.Wait(t.Context(), first[1].Position) }()
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	e := g.TokenGenerated()
	if _, err := log.Append(t.Context(), acme, events.Any, e); err == nil || errors.Is(err, events.ErrConflict) {
		t.Errorf("append without a server: %v", err)
	}
	for _, err := range log.ReadAll(t.Context(), 0) {
		if err == nil {
			t.Error("a record was read without a server")
		}
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := log.Append(t.Context(), acme, events.Any, e); err == nil {
			break
		} else if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
	if err := <-woken; err != nil {
		t.Errorf("the wait ended with %v", err)
	}
	if got := sound(t, log); len(got) != 3 {
		t.Errorf("%d records, want 3", len(got))
	}
}
