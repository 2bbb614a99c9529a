package natslog

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/oatmill/oatmill/events"
)

const (
	// leaseTime is for how long a leader is trusted after it last heard of its followers.
	// The servers send a heartbeat when there was no traffic for a second, so that it takes
	// up to 2 seconds. The difference to electionTime is for answers that were under way
	// for long, or waited in a queue of a busy machine, and look newer than they are.
	leaseTime = 2 * time.Second

	// electionTime is how long a follower waits for its leader before it calls an election,
	// at least.
	electionTime = 4 * time.Second
)

// leadership holds what this process knows of the leader of the stream.
type leadership struct {
	mu      sync.Mutex
	name    string // of the node that was trusted last
	changes uint64 // how often another node was trusted

	lost  string    // the node that was last seen without enough followers for electionTime
	since time.Time // when that was seen last
}

// check returns nil when the node that describes the stream's group leads it. One that has
// not heard of enough followers for leaseTime may have been replaced without knowing. One
// that had not for electionTime must be back with them for leaseTime: when a network
// heals, answers that followers gave long ago arrive late, and a node that was replaced
// takes itself for the leader until it hears of the next one. A node that misses its leader
// answers as well, and names none.
func (v *leadership) check(c *jetstream.ClusterInfo) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	leader := ""
	if c != nil && len(c.Replicas) > 0 {
		leader = c.Leader
		switch now := time.Now(); {
		case leader == "":
			return fmt.Errorf("%w: a node without a leader answers", errAgain)
		case !hears(c, electionTime):
			v.lost, v.since = leader, now
			return fmt.Errorf("%w: leader %s has not heard of its followers for %v", errAgain, leader, electionTime)
		case !hears(c, leaseTime):
			return fmt.Errorf("%w: leader %s has not heard of its followers for %v", errAgain, leader, leaseTime)
		case v.lost == leader && now.Sub(v.since) < leaseTime:
			return fmt.Errorf("%w: leader %s hears of its followers again for less than %v", errAgain, leader, leaseTime)
		}
	}
	if v.name != leader {
		v.name = leader
		v.changes++
	}
	return nil
}

// changed returns how often another node was trusted.
func (v *leadership) changed() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changes
}

// hears reports whether a leader has heard of enough followers within a time. Of a
// follower that it never heard of the time is 0.
func hears(c *jetstream.ClusterInfo, within time.Duration) bool {
	heard := 1
	for _, r := range c.Replicas {
		if !r.Offline && r.Active > 0 && r.Active < within {
			heard++
		}
	}
	return 2*heard > len(c.Replicas)+1
}

// term numbers the connections that the client has made and the leaders that it met.
func (l *Log) term() uint64 { return l.nc.Stats().Reconnects + l.leader.changed() }

// inTerm reports whether there has been no other connection and no other leader since the
// term, and the client is connected.
func (l *Log) inTerm(term uint64) bool { return l.nc.IsConnected() && l.term() == term }

// lastSequence returns the sequence of the last message in the stream, as its leader knows
// it.
func (l *Log) lastSequence(ctx context.Context) (last uint64, err error) {
	err = l.retry(ctx, func() error {
		last, err = l.tryLastSequence(ctx)
		return err
	})
	return last, err
}

// tryLastSequence asks once. The answer of a node that may not lead does not count, nor
// that of one that stands behind what this process knows.
func (l *Log) tryLastSequence(ctx context.Context) (uint64, error) {
	var reply struct {
		Error *jetstream.APIError `json:"error"`
		jetstream.StreamInfo
	}
	if err := l.call(ctx, "STREAM.INFO."+l.cfg.Stream, struct{}{}, &reply); err != nil {
		return 0, err
	}
	if err := known(reply.Error); err != nil {
		return 0, err
	}
	if err := l.leader.check(reply.Cluster); err != nil {
		return 0, fmt.Errorf("stream %s: %w", l.cfg.Stream, err)
	}
	if least := l.ends.least(); reply.State.LastSeq < least {
		return 0, fmt.Errorf("%w: stream %s ends at sequence %d, and was at %d", errAgain, l.cfg.Stream, reply.State.LastSeq, least)
	}
	return reply.State.LastSeq, nil
}

// lastOf returns the last batch of a stream, nil when there is none. It is not older than
// what was acknowledged to any process before the call.
func (l *Log) lastOf(ctx context.Context, stream events.StreamID) (*entry, error) {
	var last *message
	err := l.retry(ctx, func() (err error) {
		last, err = l.tryLast(ctx, stream, true)
		return err
	})
	if err != nil || last == nil {
		return nil, err
	}
	return l.parse(last)
}

// tryLast asks the leader for the last message of a stream, which is nil when there is
// none. Whether the node that answered leads does not show in its answer. With confirm it
// is asked afterwards: when it does and no other leader was met in between, it led when it
// answered.
func (l *Log) tryLast(ctx context.Context, stream events.StreamID, confirm bool) (*message, error) {
	term := l.term()
	m, err := l.tryLeader(ctx, l.cfg.Stream, get{Last: l.subject(stream)})
	if err != nil {
		return nil, err
	}
	if confirm {
		last, err := l.tryLastSequence(ctx)
		if err != nil {
			return nil, err
		}
		if m != nil && m.seq > last {
			return nil, fmt.Errorf("%w: stream %s ends at sequence %d, and has %d", errAgain, l.cfg.Stream, last, m.seq)
		}
	}
	if !l.inTerm(term) {
		return nil, fmt.Errorf("%w: the connection or the leader changed", errAgain)
	}
	return m, nil
}
