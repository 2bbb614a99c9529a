package pglog_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/pglog"
)

// proxy stands between the log and the server, and cuts one connection when told to, or
// drops what comes over all there are.
type proxy struct {
	listener net.Listener
	server   string
	cut      atomic.Int32 // which half of the next append's conversation is lost
	done     sync.WaitGroup
	mu       sync.Mutex
	open     []*pair
}

// pair is a connection from the log and the one to the server that belongs to it.
type pair struct {
	client, server net.Conn
	losing         atomic.Bool // the reply to the append
	silent         atomic.Bool // nothing comes through
}

func (c *pair) close() {
	_ = c.client.Close()
	_ = c.server.Close()
}

const (
	cutNothing int32 = iota
	cutRequest       // the append never reaches the server
	cutReply         // it does, and is committed, and nobody learns of it
)

// appended is in whatever is sent to append the events that these tests use.
const appended = "token.generated.v1"

// proxied is the address of the same database through a new proxy.
func proxied(t *testing.T, address string) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, server: u.Host}
	p.done.Go(p.serve)
	t.Cleanup(func() {
		_ = l.Close()
		p.closeAll()
		p.done.Wait()
	})
	u.Host = l.Addr().String()
	return p, u.String()
}

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		c := &pair{client: client, server: server}
		p.mu.Lock()
		p.open = append(p.open, c)
		p.mu.Unlock()
		p.done.Go(func() {
			defer c.close()
			p.forward(c)
		})
		p.done.Go(func() {
			defer c.close()
			c.back()
		})
	}
}

func (p *proxy) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		c.close()
	}
}

// silence drops what comes over the connections that there are now, as a network does
// whose other end is gone. Those that are made later work.
func (p *proxy) silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		c.silent.Store(true)
	}
}

// bury closes the connections that are silent. The driver waits for that, for a quarter of
// a minute, before it counts them as closed.
func (p *proxy) bury() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		if c.silent.Load() {
			c.close()
		}
	}
}

// forward passes on what the client says, until it is to be cut off.
func (p *proxy) forward(c *pair) {
	b := make([]byte, 1<<16)
	for {
		n, err := c.client.Read(b)
		if err == nil && c.silent.Load() {
			continue
		}
		if bytes.Contains(b[:n], []byte(appended)) {
			if p.cut.CompareAndSwap(cutRequest, cutNothing) {
				return
			}
			if p.cut.CompareAndSwap(cutReply, cutNothing) {
				c.losing.Store(true)
			}
		}
		if _, failed := c.server.Write(b[:n]); err != nil || failed != nil {
			return
		}
	}
}

// back passes on what the server says. It hears the reply that is lost, so that what it
// answers is done.
func (c *pair) back() {
	b := make([]byte, 1<<16)
	for {
		n, err := c.server.Read(b)
		if err == nil && c.silent.Load() {
			continue
		}
		if c.losing.Load() {
			return
		}
		if _, failed := c.client.Write(b[:n]); err != nil || failed != nil {
			return
		}
	}
}

// TestReplyLost cuts the connection once before the append reaches the server and once
// after it was committed. The caller is told the same in both cases, and the repetition
// settles it: there is one record.
//
// What breaks it: calling an error of a broken connection certain, in undone.
func TestReplyLost(t *testing.T) {
	for name, cut := range map[string]int32{"before the commit": cutRequest, "after the commit": cutReply} {
		t.Run(name, func(t *testing.T) {
			direct := newDatabase(t)
			p, address := proxied(t, direct)
			log, observer := openFor(t, address, pglog.Config{}), openFor(t, direct, pglog.Config{})
			g := testkit.NewGenerator()
			testkit.Append(t, log, acme, g.TokenGenerated())
			e := g.Batch(2)
			p.cut.Store(cut)
			records, err := log.Append(t.Context(), acme, 1, e...)
			if !errors.Is(err, events.ErrUnknownOutcome) || records != nil {
				t.Fatalf("%d records, error %v, want %q", len(records), err, events.ErrUnknownOutcome)
			}
			there := sound(t, observer)
			if kept := len(there) == 3; kept != (cut == cutReply) {
				t.Fatalf("%d records are there", len(there))
			}
			for range 2 {
				again, err := log.Append(t.Context(), acme, 1, e...)
				if err != nil || len(again) != 2 || again[1].Version != 3 {
					t.Fatalf("the repetition: %v, %v", again, err)
				}
				if r, kept := there[again[0].ID.String()]; kept && !r.Equal(again[0]) {
					t.Errorf("the repetition is answered with %+v, the first outcome was %+v", again[0], r)
				}
			}
			if got := sound(t, observer); len(got) != 3 {
				t.Errorf("%d records in the end", len(got))
			}
		})
	}
}

// TestTriesSilentConnectionsFirst has a call find several of them in the pool, idle for
// longer than the pool trusts a connection. It must come to a new one in the time it has.
//
// What breaks it: a pool whose pings have no time of their own.
func TestTriesSilentConnectionsFirst(t *testing.T) {
	t.Parallel() // waits for answers that do not come
	p, address := proxied(t, newDatabase(t))
	log, g := openFor(t, address+"&pool_max_conns=40", pglog.Config{Timeout: 10 * time.Second}), testkit.NewGenerator()
	testkit.Append(t, log, acme, g.Batch(3)...)
	var reads sync.WaitGroup
	for range 2 {
		reads.Go(func() {
			if _, err := log.End(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	reads.Wait()
	time.Sleep(1200 * time.Millisecond) // the pool trusts connections for a second
	p.silence()
	defer p.bury()
	if end, err := log.End(t.Context()); err != nil || end != 3 {
		t.Errorf("the log ends at %d, %v", end, err)
	}
}

// TestLeavesSilentConnections drops all packets of the connections there are, which is what
// is left of them when the server's machine has lost its power. Every call tells after
// Config.Timeout, and what asks again has a connection that works.
//
// What breaks it: ask without its deadline, and a deadline that is told as the caller's.
func TestLeavesSilentConnections(t *testing.T) {
	t.Parallel() // waits for answers that do not come
	direct := newDatabase(t)
	p, address := proxied(t, direct)
	log, g := openFor(t, address+"&pool_max_conns=40", pglog.Config{Timeout: 200 * time.Millisecond}), testkit.NewGenerator()
	observer := openFor(t, direct, pglog.Config{}) // which a busy machine has time for
	testkit.Append(t, observer, acme, g.Batch(3)...)
	read := func(records iter.Seq2[events.Recorded, error]) error {
		for _, err := range records {
			if err != nil {
				return err
			}
		}
		return nil
	}
	for name, call := range map[string]func(ctx context.Context) error{
		"ReadAll":        func(ctx context.Context) error { return read(log.ReadAll(ctx, 0)) },
		"ReadStream":     func(ctx context.Context) error { return read(log.ReadStream(ctx, acme, 0)) },
		"End":            func(ctx context.Context) error { _, err := log.End(ctx); return err },
		"Head":           func(ctx context.Context) error { _, err := log.Head(ctx, acme); return err },
		"SaveSnapshot":   func(ctx context.Context) error { return log.SaveSnapshot(ctx, acme, events.Snapshot{}) },
		"LoadSnapshot":   func(ctx context.Context) error { _, err := log.LoadSnapshot(ctx, acme); return err },
		"SaveCheckpoint": func(ctx context.Context) error { return log.SaveCheckpoint(ctx, "reader", 1) },
		"LoadCheckpoint": func(ctx context.Context) error { _, err := log.LoadCheckpoint(ctx, "reader"); return err },
		"Append": func(ctx context.Context) error {
			_, err := log.Append(ctx, acme, events.Any, g.TokenGenerated())
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			works := func() (err error) { // at the latest when every broken connection was tried
				for err = call(ctx); err != nil && ctx.Err() == nil; err = call(ctx) {
				}
				return err
			}
			err := works()
			if err != nil {
				t.Fatal(err)
			}
			defer p.bury()
			for err == nil && ctx.Err() == nil { // a connection may just be made, for a notification
				p.silence()
				err = call(ctx)
			}
			if !errors.Is(err, events.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("%v, want %q", err, events.ErrUnavailable)
			}
			if err := works(); err != nil {
				t.Error(err)
			}
		})
	}
	sound(t, observer)
}
