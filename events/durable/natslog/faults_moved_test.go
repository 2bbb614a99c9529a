package natslog_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/natslog"
)

// TestLeavesANodeThatIsCutOff cuts off the node that the log is connected to. The node
// keeps its clients and answers their pings, and nothing that they ask is done; the log goes
// on by way of another.
//
// What breaks it: a restless that never reconnects.
func TestLeavesANodeThatIsCutOff(t *testing.T) {
	t.Parallel()
	s := three(t)
	cfg := s.config(t)
	cfg.RequestTimeout, cfg.Timeout = 500*time.Millisecond, time.Minute
	cfg.Options = []nats.Option{nats.DontRandomize()}
	log := openAt(t, strings.Join([]string{s.NodeURL(0), s.NodeURL(1), s.NodeURL(2)}, ","), cfg)
	want, err := log.Append(t.Context(), acme, 0, envelope())
	if err != nil {
		t.Fatal(err)
	}
	s.CutOff(0)
	more, err := log.Append(within(t, time.Minute), acme, events.Any, envelope())
	if err != nil {
		t.Fatalf("with its node cut off the log gets nowhere: %v", err)
	}
	same(t, collect(t, log.ReadStream(t.Context(), acme, 0)), append(want, more...))
}

// TestOpensBesideANodeThatIsCutOff opens a log whose first address is that of such a node.
//
// What breaks it: a connection that may be moved only once the log is open.
func TestOpensBesideANodeThatIsCutOff(t *testing.T) {
	t.Parallel()
	s := three(t)
	cfg := s.config(t)
	want, err := s.open(t, cfg).Append(t.Context(), acme, 0, envelope())
	if err != nil {
		t.Fatal(err)
	}
	s.CutOff(0)
	cfg.RequestTimeout, cfg.Timeout = 500*time.Millisecond, time.Minute
	cfg.Options = []nats.Option{nats.DontRandomize()}
	log, err := natslog.Open(within(t, time.Minute), strings.Join([]string{s.NodeURL(0), s.NodeURL(1), s.NodeURL(2)}, ","), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	same(t, collect(t, log.ReadStream(t.Context(), acme, 0)), want)
}
