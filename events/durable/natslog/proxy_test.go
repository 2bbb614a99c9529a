package natslog_test

import (
	"bytes"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// What a proxy does with the next append that comes through it.
const (
	deliver    int32 = iota
	loseAppend       // breaks the connection before the server has it
	loseReply        // breaks the connection when the server has answered
)

// proxy stands between a log and its server, and loses an append or its reply.
type proxy struct {
	listener net.Listener
	target   string
	next     atomic.Int32
	lost     atomic.Int32 // how many connections it broke
	mu       sync.Mutex
	conns    map[net.Conn]bool
	done     sync.WaitGroup
}

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: strings.TrimPrefix(target, "nats://"), conns: make(map[net.Conn]bool)}
	p.done.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		for c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		p.done.Wait()
	})
	return p
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		from, err := p.listener.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", p.target)
		if err != nil {
			from.Close()
			continue
		}
		p.mu.Lock()
		p.conns[from], p.conns[to] = true, true
		p.mu.Unlock()
		var awaiting atomic.Bool // the reply that is to be lost
		p.done.Go(func() {
			p.copy(to, from, func(b []byte) bool {
				if !bytes.Contains(b, []byte("HPUB ")) || !bytes.Contains(b, []byte(".log.organization.")) {
					return true
				}
				switch what := p.next.Swap(deliver); what {
				case loseAppend:
					p.lost.Add(1)
					return false
				case loseReply:
					awaiting.Store(true)
				}
				return true
			})
		})
		p.done.Go(func() {
			p.copy(from, to, func(b []byte) bool {
				if awaiting.Load() && bytes.Contains(b, []byte(`"seq":`)) {
					p.lost.Add(1)
					return false
				}
				return true
			})
		})
	}
}

// copy passes on what pass allows, and breaks the connection otherwise.
func (p *proxy) copy(to, from net.Conn, pass func([]byte) bool) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 1<<20)
	for {
		n, err := from.Read(buffer)
		if err != nil || !pass(buffer[:n]) {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}
