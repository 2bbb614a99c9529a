package pglog_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/pglog"
)

// proxy stands between the log and the server, and cuts one connection when told to.
type proxy struct {
	listener net.Listener
	server   string
	cut      atomic.Int32 // which half of the next append's conversation is lost
	done     sync.WaitGroup
	mu       sync.Mutex
	open     []net.Conn
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
		p.mu.Lock()
		p.open = append(p.open, client, server)
		p.mu.Unlock()
		var losing atomic.Bool // the reply to the append
		p.done.Go(func() {
			defer server.Close()
			defer client.Close()
			p.forward(server, client, &losing)
		})
		p.done.Go(func() {
			defer server.Close()
			defer client.Close()
			p.back(client, server, &losing)
		})
	}
}

func (p *proxy) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		_ = c.Close()
	}
}

// forward passes on what the client says, until it is to be cut off.
func (p *proxy) forward(server io.Writer, client io.Reader, losing *atomic.Bool) {
	b := make([]byte, 1<<16)
	for {
		n, err := client.Read(b)
		if bytes.Contains(b[:n], []byte(appended)) {
			if p.cut.CompareAndSwap(cutRequest, cutNothing) {
				return
			}
			if p.cut.CompareAndSwap(cutReply, cutNothing) {
				losing.Store(true)
			}
		}
		if _, failed := server.Write(b[:n]); err != nil || failed != nil {
			return
		}
	}
}

// back passes on what the server says. It hears the reply that is lost, so that what it
// answers is done.
func (p *proxy) back(client io.Writer, server io.Reader, losing *atomic.Bool) {
	b := make([]byte, 1<<16)
	for {
		n, err := server.Read(b)
		if losing.Load() {
			return
		}
		if _, failed := client.Write(b[:n]); err != nil || failed != nil {
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
