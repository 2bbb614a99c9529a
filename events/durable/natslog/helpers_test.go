package natslog_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

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
	log, err := natslog.Open(within(t, time.Minute), s.URL(), cfg)
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
