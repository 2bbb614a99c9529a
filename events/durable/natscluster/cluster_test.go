package natscluster_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oatmill/oatmill/events/durable/natscluster"
)

func start(t *testing.T, cfg natscluster.Config) *natscluster.Cluster {
	t.Helper()
	cfg.Dir = t.TempDir()
	c, err := natscluster.Start(within(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// within is a context for what must happen soon, also on a busy machine.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func connect(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.RetryOnFailedConnect(true))
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

func add(t *testing.T, js jetstream.JetStream, replicas int) {
	t.Helper()
	if _, err := js.CreateStream(within(t), jetstream.StreamConfig{Name: "s", Subjects: []string{"s.*"}, Replicas: replicas}); err != nil {
		t.Fatal(err)
	}
}

// publish tries until a message is acknowledged.
func publish(t *testing.T, js jetstream.JetStream) uint64 {
	t.Helper()
	for ctx := within(t); ; {
		try, cancel := context.WithTimeout(ctx, time.Second)
		ack, err := js.Publish(try, "s.a", []byte("x"))
		cancel()
		if err == nil {
			return ack.Sequence
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

func TestOneNodeKeepsWhatItHas(t *testing.T) {
	c := start(t, natscluster.Config{SyncAlways: true})
	js := connect(t, c.URL())
	add(t, js, 1)
	publish(t, js)
	url := c.URL()
	c.Kill(0)
	if c.Leader("s") != -1 {
		t.Error("a node that is down leads a stream")
	}
	if err := c.Restart(0); err != nil {
		t.Fatal(err)
	}
	if c.URL() != url {
		t.Errorf("the address was %s and is %s", url, c.URL())
	}
	if got := publish(t, js); got != 2 {
		t.Errorf("the message after the restart has sequence %d, want 2", got)
	}
}

func TestKilledLeaderIsReplacedAndReturns(t *testing.T) {
	t.Parallel()
	c := start(t, natscluster.Config{Nodes: 3})
	js := connect(t, c.URL())
	add(t, js, 3)
	publish(t, js)
	old, err := c.WaitLeader(within(t), "s")
	if err != nil {
		t.Fatal(err)
	}
	c.Kill(old)
	publish(t, js)
	if now := c.Leader("s"); now == old {
		t.Errorf("node %d leads and is down", now)
	}
	if err := c.Restart(old); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.WaitReady(within(t)), c.WaitCurrent(within(t), "s")); err != nil {
		t.Fatal(err)
	}
}

// A node that is cut off can be reached and must not acknowledge anything. It would if
// routes found a way around the proxies: try Advertise without an address.
func TestNodeThatIsCutOffAcknowledgesNothing(t *testing.T) {
	t.Parallel()
	c := start(t, natscluster.Config{Nodes: 3})
	add(t, connect(t, c.URL()), 3)
	leader, err := c.WaitLeader(within(t), "s")
	if err == nil {
		// A node that has not begun with the stream cannot elect a leader of it.
		err = c.WaitCurrent(within(t), "s")
	}
	if err != nil {
		t.Fatal(err)
	}
	rest := slices.DeleteFunc([]int{0, 1, 2}, func(i int) bool { return i == leader })
	lonely, others := connect(t, c.NodeURL(leader)), connect(t, c.NodeURL(rest[0]))
	c.CutOff(leader)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if ack, err := lonely.Publish(ctx, "s.a", []byte("lost")); err == nil {
		t.Errorf("a leader without followers acknowledged sequence %d", ack.Sequence)
	}
	publish(t, others)
	c.Heal(leader)
	publish(t, lonely)
}

func TestWhatCannotBeStartedIsNamed(t *testing.T) {
	for name, cfg := range map[string]natscluster.Config{
		"no folder":       {},
		"two nodes":       {Dir: t.TempDir(), Nodes: 2},
		"a wrong setting": {Dir: t.TempDir(), Conf: "max_payload: nonsense"},
	} {
		if c, err := natscluster.Start(within(t), cfg); err == nil {
			t.Errorf("%s: started %v", name, c.URL())
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
}
