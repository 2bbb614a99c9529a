package natslog_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/natscluster"
	"github.com/oatmill/oatmill/events/durable/natslog"
)

// TestStrayWordWakesNobody says in the place of another process that the log has come
// much further than it has. Wait does not believe that, and the process goes on telling
// others where its own records are.
//
// What breaks it: calling Reached in ends.listen.
func TestStrayWordWakesNobody(t *testing.T) {
	s := one(t)
	cfg := s.config(t)
	log := s.open(t, cfg)
	position := testkit.Append(t, log, acme, envelope())[0].Position
	nc := s.connect(t).Conn()
	words, err := nc.SubscribeSync(cfg.Stream + ".appended")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(nc.Publish(cfg.Stream+".appended", []byte("9000000000000000000")), nc.Flush()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := log.Wait(ctx, position); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait: %v, want %v", err, context.DeadlineExceeded)
	}
	if _, err := words.NextMsg(time.Second); err != nil { // the stray one
		t.Fatal(err)
	}
	testkit.Append(t, log, acme, envelope())
	if m, err := words.NextMsg(time.Second); err != nil || len(m.Data) > 5 {
		t.Errorf("the others were told %v, %v", m, err)
	}
}

// TestWordOfOthersWakesAtOnce lets another process append while this one would ask
// for itself an hour later only.
//
// What breaks it: leaving the nudge out of ends.poll.
func TestWordOfOthersWakesAtOnce(t *testing.T) {
	s := one(t)
	cfg := s.config(t)
	cfg.PollInterval = time.Hour
	waiting, other := s.open(t, cfg), s.open(t, cfg)
	for range 5 {
		end, err := waiting.End(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		woken := make(chan error, 1)
		go func() { woken <- waiting.Wait(within(t, 10*time.Second), end) }()
		testkit.Append(t, other, acme, envelope())
		if err := <-woken; err != nil {
			t.Fatal(err)
		}
	}
}

// TestSnapshotOfWildcardIsNone asks for the snapshot of a stream whose name is a wildcard.
//
// What breaks it: leaving ParseStreamID out of LoadSnapshot.
func TestSnapshotOfWildcardIsNone(t *testing.T) {
	s := one(t)
	log := s.open(t, s.config(t))
	if err := log.SaveSnapshot(t.Context(), acme, events.Snapshot{Head: events.Head{Version: 1}, Format: "f", Data: []byte("of acme")}); err != nil {
		t.Fatal(err)
	}
	if got, err := log.LoadSnapshot(t.Context(), "organization/*"); err == nil || len(got.Data) > 0 {
		t.Errorf("%q, %v", got.Data, err)
	}
}

// TestChainHoldsWhereTheServerLostItsEnd gives a server back the disk it had one append
// earlier, which is what the loss of power can do. Others then append to a stream whose end
// this process remembers otherwise.
//
// What breaks it: leaving the comparison of heads out of Log.compare, or that of
// connections out of attempt.try.
func TestChainHoldsWhereTheServerLostItsEnd(t *testing.T) {
	for name, since := range map[string]int{"as far": 1, "further": 2} {
		t.Run(name, func(t *testing.T) {
			dir, kept := t.TempDir(), filepath.Join(t.TempDir(), "kept")
			c, err := natscluster.Start(within(t, time.Minute), natscluster.Config{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			log := openAt(t, c.URL(), natslog.Config{})
			testkit.Append(t, log, acme, envelope())
			restart(t, c, func() error { return os.CopyFS(kept, os.DirFS(dir)) })
			lost := testkit.Append(t, log, acme, envelope())[0]
			restart(t, c, func() error { return errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(kept))) })
			other := openAt(t, c.URL(), natslog.Config{})
			for range since {
				testkit.Append(t, other, acme, envelope())
			}
			testkit.Append(t, log, acme, lost.Envelope)
			if head, err := events.VerifyChain(t.Context(), other, acme); err != nil || head.Version != events.Version(2+since) {
				t.Errorf("head %d, %v", head.Version, err)
			}
		})
	}
}

// restart does something while the only server is down.
func restart(t *testing.T, c *natscluster.Cluster, meanwhile func() error) {
	t.Helper()
	c.Kill(0)
	if err := errors.Join(meanwhile(), c.Restart(0), c.WaitReady(within(t, time.Minute))); err != nil {
		t.Fatal(err)
	}
}
