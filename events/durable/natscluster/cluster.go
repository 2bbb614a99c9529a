package natscluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Config is how a cluster is started. Dir is required, everything else may be zero.
type Config struct {
	// Dir is the folder that the nodes keep their streams in, each in a folder of its
	// own. What is there already is taken up again.
	Dir string

	// Nodes is the number of servers. 0 means 1, which is a server without a cluster;
	// a cluster has 3 or more.
	Nodes int

	// SyncAlways makes the servers fsync before they acknowledge anything.
	SyncAlways bool

	// SyncInterval is how often the servers fsync otherwise. 0 means the server's own
	// default, 2 minutes.
	SyncInterval time.Duration

	// MaxStore is how many bytes of files each node may use. 0 means as much as the
	// disk has.
	MaxStore int64

	// MaxPayload is the size in bytes of the largest message. 0 means the server's own
	// default, 1 MiB.
	MaxPayload int32

	// Conf is more configuration of every node, in the server's own language: accounts
	// and users, say.
	Conf string

	// Logger gets what the servers have to say. Nil discards it.
	Logger *slog.Logger
}

// account is where streams of clients live who do not say who they are.
const account = server.DEFAULT_GLOBAL_ACCOUNT

// Cluster is servers inside this process. Make one with [Start] and end it with
// [Cluster.Close]. Its methods may be called from several goroutines, but those that
// kill, restart, cut off or heal not at the same time.
type Cluster struct {
	cfg   Config
	nodes []*node
	trap  net.Listener // the address that nodes tell others, where nobody answers
}

// Start starts the nodes and waits until JetStream can be used: until all nodes know
// each other and have elected a leader. ctx bounds the start only.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	if cfg.Nodes == 0 {
		cfg.Nodes = 1
	}
	switch {
	case cfg.Dir == "":
		return nil, errors.New("start nats: no folder is given")
	case cfg.Nodes < 0 || cfg.Nodes == 2:
		return nil, fmt.Errorf("start nats: a cluster of %d nodes; there are 1, or 3 and more", cfg.Nodes)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Cluster{cfg: cfg}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start nats: %w", err), c.Close())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) (err error) {
	if c.trap, err = trap(); err != nil {
		return err
	}
	for i := range c.cfg.Nodes {
		name := fmt.Sprintf("n%d", i+1)
		c.nodes = append(c.nodes, &node{name: name, dir: filepath.Join(c.cfg.Dir, name), proxies: make([]*proxy, c.cfg.Nodes)})
	}
	for _, n := range c.nodes {
		for j, to := range c.nodes {
			if n == to {
				continue
			}
			if n.proxies[j], err = newProxy(to.routes); err != nil {
				return err
			}
		}
	}
	for _, n := range c.nodes {
		if err := n.start(c.cfg, c.trap.Addr().String()); err != nil {
			return err
		}
	}
	return c.ready(ctx)
}

// ready waits until every node that runs takes part in JetStream.
func (c *Cluster) ready(ctx context.Context) error {
	return until(ctx, "JetStream is ready", func() bool {
		leaders := 0
		for _, n := range c.nodes {
			s := n.running()
			if s == nil {
				continue
			}
			if !s.ReadyForConnections(time.Millisecond) || !s.JetStreamIsCurrent() {
				return false
			}
			if len(c.nodes) == 1 || s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == len(c.nodes) {
				leaders++
			}
		}
		return leaders == 1
	})
}

// until asks every few milliseconds whether something has come true.
func until(ctx context.Context, what string, is func() bool) error {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !is() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, ctx.Err())
		}
	}
	return nil
}

// URL is the addresses of all nodes, as clients take them.
func (c *Cluster) URL() string {
	urls := make([]string, len(c.nodes))
	for i := range c.nodes {
		urls[i] = c.NodeURL(i)
	}
	return strings.Join(urls, ",")
}

// NodeURL is the address of one node.
func (c *Cluster) NodeURL(i int) string { return "nats://" + c.nodes[i].address() }

// Leader is the number of the node that leads a stream of the default account, -1 when
// none does or the nodes do not agree.
func (c *Cluster) Leader(stream string) int {
	leader := -1
	for i, n := range c.nodes {
		s := n.running()
		switch {
		case s == nil || len(c.nodes) > 1 && !s.JetStreamIsStreamLeader(account, stream):
		case leader >= 0:
			return -1
		default:
			leader = i
		}
	}
	return leader
}

// WaitLeader waits until a node leads a stream of the default account, and is its
// number.
func (c *Cluster) WaitLeader(ctx context.Context, stream string) (leader int, err error) {
	err = until(ctx, "stream "+stream+" has a leader", func() bool {
		leader = c.Leader(stream)
		return leader >= 0
	})
	return leader, err
}

// WaitCurrent waits until every node that runs has all that the others have of a
// stream of the default account.
func (c *Cluster) WaitCurrent(ctx context.Context, stream string) error {
	return until(ctx, "stream "+stream+" is the same on all nodes", func() bool {
		for _, n := range c.nodes {
			if s := n.running(); s != nil && !s.JetStreamIsStreamCurrent(account, stream) {
				return false
			}
		}
		return c.Leader(stream) >= 0
	})
}

// Kill ends a node at once. Its connections to other nodes are broken before it can
// tell them. A node that is down stays so.
func (c *Cluster) Kill(i int) {
	c.gates(i, broken)
	c.nodes[i].stop()
}

// Restart starts a node that was killed, or kills one that runs and starts it. It does
// not wait until the node has caught up; [Cluster.WaitReady] does.
func (c *Cluster) Restart(i int) error {
	c.Kill(i)
	c.gates(i, open)
	if err := c.nodes[i].start(c.cfg, c.trap.Addr().String()); err != nil {
		return fmt.Errorf("restart node %d: %w", i, err)
	}
	return nil
}

// WaitReady waits until all nodes that run take part again.
func (c *Cluster) WaitReady(ctx context.Context) error { return c.ready(ctx) }

// CutOff stops all traffic between a node and the others, in both directions. Clients
// still reach it.
func (c *Cluster) CutOff(i int) { c.gates(i, stalled) }

// Heal undoes [Cluster.CutOff]. What was under way is delivered late.
func (c *Cluster) Heal(i int) { c.gates(i, open) }

// gates sets what becomes of the traffic of a node. Between two nodes, the worse of the
// two counts.
func (c *Cluster) gates(i int, to gate) {
	c.nodes[i].gate = to
	for j, n := range c.nodes {
		if i != j {
			n.proxies[i].set(max(to, n.gate))
			c.nodes[i].proxies[j].set(max(to, n.gate))
		}
	}
}

// Close ends all nodes and leaves their folders as they are.
func (c *Cluster) Close() error {
	for i := range c.nodes {
		for _, p := range c.nodes[i].proxies {
			if p != nil {
				p.close()
			}
		}
	}
	for _, n := range c.nodes {
		n.stop()
	}
	if c.trap != nil {
		return c.trap.Close()
	}
	return nil
}
