package natslog_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/natscluster"
	"github.com/oatmill/oatmill/events/durable/natslog"
)

// servers are JetStream for one test, and where the newest log on them is.
type servers struct {
	*natscluster.Cluster
	logs   atomic.Int64
	newest natslog.Config
}

func one(t testing.TB) *servers { return start(t, natscluster.Config{}) }

func three(t testing.TB) *servers { return start(t, natscluster.Config{Nodes: 3}) }

func start(t testing.TB, cfg natscluster.Config) *servers {
	t.Helper()
	cfg.Dir = t.TempDir()
	c, err := natscluster.Start(within(t, time.Minute), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return &servers{Cluster: c}
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// config is that of a log which is not there yet.
func (s *servers) config(testing.TB) natslog.Config {
	s.newest = natslog.Config{Stream: fmt.Sprintf("log%d", s.logs.Add(1))}
	return s.newest
}

func (s *servers) open(t testing.TB, cfg natslog.Config) *natslog.Log {
	t.Helper()
	return openAt(t, s.URL(), cfg)
}

// connect is a connection of the test's own.
func (s *servers) connect(t testing.TB) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(s.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// envelope is an event as a program makes it, of the common size.
func envelope() events.Envelope {
	payload := &events.TokenGenerated{
		Token: "0192f0c1-2345-7abc-8def-0123456789ab", Label: "deploy key of the build server",
		Digest: events.Hash{1, 2, 3}, ExpiresAt: "2027-01-31T00:00:00Z",
		Resources: []events.Resource{{Type: "TYPE_REPO", Path: "acme/api", Scopes: []string{"scope-image-pull"}}},
	}
	e, err := events.NewEnvelope(ulid.Make(), time.Now(), "alice", payload)
	if err != nil {
		panic(err)
	}
	return e
}

func envelopes(n int) []events.Envelope {
	batch := make([]events.Envelope, n)
	for i := range batch {
		batch[i] = envelope()
	}
	return batch
}

func collect(t testing.TB, read iter.Seq2[events.Recorded, error]) (all []events.Recorded) {
	t.Helper()
	for r, err := range read {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// openAt opens a log, again where cfg gives the servers less time than they need just now.
func openAt(t testing.TB, url string, cfg natslog.Config) *natslog.Log {
	t.Helper()
	ctx := within(t, time.Minute)
	log, err := natslog.Open(ctx, url, cfg)
	for errors.Is(err, events.ErrUnavailable) && ctx.Err() == nil {
		log, err = natslog.Open(ctx, url, cfg)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	return log
}

func same(t testing.TB, got, want []events.Recorded) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range got {
		if !got[i].Equal(want[i]) {
			t.Fatalf("record %d is %+v, want %+v", i, got[i], want[i])
		}
	}
}
