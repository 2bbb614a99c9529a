package natslog

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// group is what a node says of its group of three nodes, which it heard of so long ago.
func group(leader string, active ...time.Duration) *jetstream.ClusterInfo {
	c := &jetstream.ClusterInfo{Leader: leader}
	for _, a := range active {
		c.Replicas = append(c.Replicas, &jetstream.PeerInfo{Active: a})
	}
	return c
}

// TestLeaderIsTrustedWhileItHearsOfAMajority has nodes describe their group.
//
// Source: JetStream API, STREAM.INFO; of a node that was never heard of "active" is 0.
//
// Fails if leadership.check trusts a node without a leader, or hears counts a follower that
// is offline or was never heard of.
func TestLeaderIsTrustedWhileItHearsOfAMajority(t *testing.T) {
	const soon, late = time.Second, 3 * time.Second
	offline := group("a", soon, soon)
	offline.Replicas[0].Offline, offline.Replicas[1].Offline = true, true
	for name, c := range map[string]struct {
		says *jetstream.ClusterInfo
		want bool
	}{
		"no cluster":                  {nil, true},
		"one replica":                 {group("a"), true},
		"both followers":              {group("a", soon, soon), true},
		"one follower":                {group("a", soon, late), true},
		"one follower, one never":     {group("a", soon, 0), true},
		"no follower":                 {group("a", late, late), false},
		"no follower, one never":      {group("a", late, 0), false},
		"followers offline":           {offline, false},
		"no leader":                   {group("", 0, 0, 0), false},
		"no leader, heard of another": {group("", soon, soon, 0), false},
		"two of five":                 {group("a", soon, late, late, late), false},
		"three of five":               {group("a", soon, soon, late, late), true},
	} {
		var v leadership
		if err := v.check(c.says); (err == nil) != c.want || err != nil && !errors.Is(err, errAgain) {
			t.Errorf("%s: %v, want it trusted: %t", name, err, c.want)
		}
	}
}

// TestLeaderThatWasAloneIsNotTrustedAtOnce has a leader hear of its followers again, as it does
// for a moment when a network heals and answers come late that were given long ago.
//
// Fails if leadership.check does not compare with lost.
func TestLeaderThatWasAloneIsNotTrustedAtOnce(t *testing.T) {
	var v leadership
	must := func(trusted bool, c *jetstream.ClusterInfo) {
		t.Helper()
		if err := v.check(c); (err == nil) != trusted {
			t.Errorf("%v, want it trusted: %t", err, trusted)
		}
	}
	must(true, group("a", time.Second, time.Second))
	must(false, group("a", 3*time.Second, 3*time.Second)) // nobody was elected yet
	must(true, group("a", time.Second, time.Second))
	must(false, group("a", 5*time.Second, 5*time.Second))
	must(false, group("a", time.Millisecond, time.Millisecond))
	must(true, group("b", time.Second, time.Second))
	must(false, group("a", time.Millisecond, time.Millisecond))
	if v.changed() != 2 {
		t.Errorf("%d changes, want those to a and to b", v.changed())
	}
	v.since = v.since.Add(-leaseTime)
	must(true, group("a", time.Second, time.Second))
	if v.changed() != 3 {
		t.Errorf("%d changes, want that back to a as well", v.changed())
	}
}
