package sqlitelog_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
)

// counted is how many events each of two processes appends.
const counted = 150

// playCount appends to one stream under the version it knows, and tries again after
// every conflict, and in between to a stream of its own.
func playCount(log *sqlitelog.Log) error {
	return count(context.Background(), log, "usage/child")
}

func count(ctx context.Context, log *sqlitelog.Log, own events.StreamID) error {
	g := testkit.NewGenerator()
	var version events.Version
	for n := 0; n < counted; {
		_, err := log.Append(ctx, "organization/shared", version, g.TokenGenerated())
		var conflict *events.ConflictError
		if errors.As(err, &conflict) {
			version = conflict.Actual
			continue
		}
		if err == nil {
			_, err = log.Append(ctx, own, events.Any, g.TokenGenerated())
		}
		if err != nil {
			return err
		}
		n, version = n+1, version+1
	}
	return nil
}

// TestTwoProcesses lets two processes append to one stream, each under the version it
// knows, while this one follows the log. Both win as often as they must, and the
// follower sees every record, once and in order.
//
// Trusting what is known in refresh without asking for the data version makes it fail:
// the two never agree on a version again.
func TestTwoProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.db")
	log := open(t, path, sqlitelog.Config{})
	defer log.Close()
	c := startChild(t, "count", path)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- count(ctx, log, "usage/parent") }()
	seen := make(map[events.StreamID]events.Version)
	for last := events.Position(0); last < 4*counted; {
		if err := log.Wait(ctx, last); err != nil {
			t.Fatal(err)
		}
		for r, err := range log.ReadAll(t.Context(), last) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Position != last+1 || r.Version != seen[r.Stream]+1 {
				t.Fatalf("after position %d, and %s at %d, comes %d with version %d", last, r.Stream, seen[r.Stream], r.Position, r.Version)
			}
			last, seen[r.Stream] = r.Position, r.Version
		}
	}
	if err := errors.Join(<-done, c.Wait()); err != nil {
		t.Fatal(err)
	}
	for stream, want := range map[events.StreamID]events.Version{
		"organization/shared": 2 * counted, "usage/parent": counted, "usage/child": counted,
	} {
		head, err := events.VerifyChain(t.Context(), log, stream)
		if err != nil || head.Version != want {
			t.Errorf("%s ends at %d, want %d, error %v", stream, head.Version, want, err)
		}
	}
	if err := log.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// playAnswer appends an event for each line it reads.
func playAnswer(log *sqlitelog.Log) error {
	g := testkit.NewGenerator()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if _, err := log.Append(context.Background(), "organization/acme", events.Any, g.TokenGenerated()); err != nil {
			return err
		}
		fmt.Println(time.Now().UnixNano())
	}
	return nil
}

// TestOtherProcessIsSeenSoon measures how long after an append was acknowledged in
// another process a wait in this one ends. The measure is printed: how long is too long
// depends on the machine.
//
// Fails if look looks only when this process appends.
func TestOtherProcessIsSeenSoon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.db")
	log := open(t, path, sqlitelog.Config{})
	defer log.Close()
	c := startChild(t, "answer", path)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var delays []time.Duration
	for n := range 100 {
		woken := make(chan time.Time, 1)
		go func() {
			if err := log.Wait(ctx, events.Position(n)); err != nil {
				t.Error(err)
			}
			woken <- time.Now()
		}()
		if _, err := fmt.Fprintln(c.In); err != nil {
			t.Fatal(err)
		}
		var acknowledged int64
		if _, err := fmt.Sscan(c.Line(t), &acknowledged); err != nil {
			t.Fatal(err)
		}
		delays = append(delays, max(0, (<-woken).Sub(time.Unix(0, acknowledged))))
	}
	c.In.Close()
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
	slices.Sort(delays)
	t.Logf("delay until another process sees an append: p50 %v, p99 %v", delays[len(delays)/2], delays[len(delays)*99/100])
}

// TestBusyLogsTakeTurns has eight callers append to one log without a pause, and one
// to another log on the same file, until both have got somewhere. Neither may keep the
// other out. Trying for the lock every w.busy in lock, instead of after retryAfter,
// makes it fail.
func TestBusyLogsTakeTurns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.db")
	cfg := sqlitelog.Config{BusyTimeout: time.Minute} // on a busy machine a turn takes its time
	busy, other := open(t, path, cfg), open(t, path, cfg)
	defer other.Close()
	defer busy.Close()
	var appended atomic.Int64
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			g := testkit.NewGenerator()
			for range 100 {
				_, err := busy.Append(t.Context(), events.StreamID(fmt.Sprintf("usage/w%d", w)), events.Any, g.TokenGenerated())
				if err != nil {
					t.Error(err)
					return
				}
				appended.Add(1)
			}
		})
	}
	g := testkit.NewGenerator()
	var longest time.Duration
	turns := 0
	for ; turns < 20 || appended.Load() < 800 && !t.Failed(); turns++ {
		start := time.Now()
		testkit.Append(t, other, "organization/acme", g.TokenGenerated())
		longest = max(longest, time.Since(start))
	}
	writers.Wait()
	t.Logf("%d appends beside a busy log, the longest took %v", turns, longest)
}
