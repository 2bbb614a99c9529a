package natslog_test

import (
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/natslog"
)

// stay is the configuration of a log that keeps its connection to one node, and whose
// calls end soon while the node cannot serve them.
func stay(cfg natslog.Config) natslog.Config {
	cfg.RequestTimeout, cfg.Timeout = 500*time.Millisecond, time.Second
	cfg.Options = []nats.Option{nats.IgnoreDiscoveredServers()}
	return cfg
}

// others are the nodes but one.
func others(but int) []int {
	return []int{(but + 1) % 3, (but + 2) % 3}
}

// readers are the calls that say where a stream or the log ends. Each returns the version or
// position up to which it read.
func readers(log *natslog.Log) map[string]func(t *testing.T) (int64, error) {
	read := func(seq func(func(events.Recorded, error) bool), at func(events.Recorded) int64) (last int64, err error) {
		for r, err := range seq {
			if err != nil {
				return 0, err
			}
			last = at(r)
		}
		return last, nil
	}
	version := func(r events.Recorded) int64 { return int64(r.Version) }
	return map[string]func(t *testing.T) (int64, error){
		"ReadStream": func(t *testing.T) (int64, error) { return read(log.ReadStream(t.Context(), acme, 0), version) },
		"ReadStream from the end": func(t *testing.T) (int64, error) {
			n, err := read(log.ReadStream(t.Context(), acme, 1), version)
			return max(n, 1), err
		},
		"Head": func(t *testing.T) (int64, error) {
			h, err := log.Head(t.Context(), acme)
			return int64(h.Version), err
		},
		"ReadAll": func(t *testing.T) (int64, error) { return read(log.ReadAll(t.Context(), 0), version) },
		"End": func(t *testing.T) (int64, error) {
			p, err := log.End(t.Context())
			return int64(p) / 1024, err
		},
		"Append": func(t *testing.T) (int64, error) {
			_, err := log.Append(t.Context(), acme, 99, envelope())
			var conflict *events.ConflictError
			if errors.As(err, &conflict) {
				return int64(conflict.Actual), nil
			}
			return 0, err
		},
	}
}

// answersNothingOld makes all calls that say where the log ends, at the same time. Each must
// say what was acknowledged before it began, or that it cannot tell.
func answersNothingOld(t *testing.T, log *natslog.Log, acknowledged int64) {
	t.Helper()
	var calls sync.WaitGroup
	for name, read := range readers(log) {
		calls.Go(func() {
			got, err := read(t)
			if err == nil && got != acknowledged {
				t.Errorf("%s: %d, and %d was acknowledged before", name, got, acknowledged)
			}
			if err != nil && !errors.Is(err, events.ErrUnavailable) {
				t.Errorf("%s: %v, want %v", name, err, events.ErrUnavailable)
			}
		})
	}
	calls.Wait()
}

// TestReadsAreNotAnsweredByALeaderThatWasReplaced cuts off the leader of the stream, which
// takes itself for the leader for 10 seconds and more, while the others have elected
// another and have acknowledged a record. A process that decides on what that node shows
// refuses commands for what is no longer so.
//
// Source: a process of TestSiegeJetStream refused for reasons that the record before had
// removed.
//
// Fails if Log.lastOf does not confirm the leader, or Log.refresh does not before a conflict.
func TestReadsAreNotAnsweredByALeaderThatWasReplaced(t *testing.T) {
	t.Parallel()
	s := three(t)
	cfg := s.config(t)
	whole := s.open(t, cfg)
	testkit.Append(t, whole, acme, envelope())
	leader, err := s.WaitLeader(within(t, time.Minute), cfg.Stream)
	if err != nil {
		t.Fatal(err)
	}
	lonely := openAt(t, s.NodeURL(leader), stay(cfg))
	answersNothingOld(t, lonely, 1)
	cfg.Timeout = time.Minute
	rest := openAt(t, s.NodeURL(others(leader)[0]), cfg)
	s.CutOff(leader)
	testkit.Append(t, rest, acme, envelope())
	answersNothingOld(t, lonely, 2)
	s.Heal(leader)
	if err := s.WaitCurrent(within(t, time.Minute), cfg.Stream); err != nil {
		t.Fatal(err)
	}
	answersNothingOld(t, lonely, 2)
}

// TestNodesWithoutALeaderConfirmNothing cuts off a node that follows. When it misses its
// leader it answers STREAM.INFO itself, with what it has, and says that it heard of the
// other nodes just now, of which it has not heard at all.
//
// Source: JetStream API, STREAM.INFO is answered by a node of a group without a leader.
//
// Fails if leadership.check trusts an answer that names no leader.
func TestNodesWithoutALeaderConfirmNothing(t *testing.T) {
	t.Parallel()
	s := three(t)
	cfg := s.config(t)
	whole := s.open(t, cfg)
	testkit.Append(t, whole, acme, envelope())
	leader, err := s.WaitLeader(within(t, time.Minute), cfg.Stream)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.WaitCurrent(within(t, time.Minute), cfg.Stream); err != nil {
		t.Fatal(err)
	}
	cut := others(leader)[0]
	lonely := openAt(t, s.NodeURL(cut), stay(cfg))
	answersNothingOld(t, lonely, 1)
	nc, err := nats.Connect(s.NodeURL(cut), nats.IgnoreDiscoveredServers())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	cfg.Timeout = time.Minute
	rest := openAt(t, s.NodeURL(leader), cfg)
	s.CutOff(cut)
	testkit.Append(t, rest, acme, envelope())
	for ctx := within(t, time.Minute); ; {
		var info struct{ jetstream.StreamInfo }
		m, err := nc.Request("$JS.API.STREAM.INFO."+cfg.Stream, nil, 500*time.Millisecond)
		if err == nil && json.Unmarshal(m.Data, &info) == nil && info.Cluster != nil && info.Cluster.Leader == "" {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("the node does not miss its leader")
		}
	}
	answersNothingOld(t, lonely, 2)
	s.Heal(cut)
}

// TestOpensWhileOthersCreateTheStream has processes open a log that is not there, at the same
// time and at different nodes. A node that leads JetStream's metadata may answer that a
// stream is not there which another process has just created.
//
// Fails if Log.tryPrepare does not try again when the stream is not found.
func TestOpensWhileOthersCreateTheStream(t *testing.T) {
	t.Parallel()
	s := three(t)
	for range 4 {
		cfg := s.config(t)
		var opening sync.WaitGroup
		for i := range 6 {
			opening.Go(func() {
				log, err := natslog.Open(within(t, time.Minute), s.NodeURL(i%3), cfg)
				if err != nil {
					t.Error(err)
					return
				}
				defer log.Close()
				if head, err := log.Head(t.Context(), acme); err != nil || head != (events.Head{}) {
					t.Errorf("%+v, %v", head, err)
				}
			})
		}
		opening.Wait()
	}
}
