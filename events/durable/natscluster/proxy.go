package natscluster

import (
	"net"
	"sync"
)

// gate is what a proxy does with what comes through it.
type gate int

const (
	open    gate = iota
	stalled      // connections stay, nothing comes through; new ones are refused
	broken       // connections are closed, new ones are refused
)

// proxy is the only way from one node to another.
type proxy struct {
	listener net.Listener
	target   func() string

	mu      sync.Mutex
	gate    gate
	closed  bool
	changed *sync.Cond
	conns   map[net.Conn]struct{}
	done    sync.WaitGroup
}

func newProxy(target func() string) (*proxy, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, target: target, conns: make(map[net.Conn]struct{})}
	p.changed = sync.NewCond(&p.mu)
	p.done.Go(p.accept)
	return p, nil
}

func (p *proxy) accept() {
	for {
		from, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.done.Go(func() { p.connect(from) })
	}
}

// connect joins a connection to a new one to the target.
func (p *proxy) connect(from net.Conn) {
	defer from.Close()
	if !p.keep(from) {
		return
	}
	defer p.forget(from)
	to, err := net.Dial("tcp", p.target())
	if err != nil {
		return
	}
	defer to.Close()
	if !p.keep(to) {
		return
	}
	defer p.forget(to)
	var back sync.WaitGroup
	back.Go(func() { p.copy(from, to) })
	p.copy(to, from)
	back.Wait()
}

// copy passes on what comes, as long as the gate is open. When one direction ends, so
// does the other.
func (p *proxy) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil || !p.pass() {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// pass waits until the gate is not stalled, and tells whether it is open.
func (p *proxy) pass() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.gate == stalled {
		p.changed.Wait()
	}
	return p.gate == open
}

// keep notes a connection, so that it can be broken. It is false when the gate is not
// open.
func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gate != open {
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *proxy) forget(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *proxy) set(to gate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.gate = to
	if to == broken {
		for c := range p.conns {
			c.Close()
		}
	}
	p.changed.Broadcast()
}

// close ends the proxy and waits for its goroutines.
func (p *proxy) close() {
	p.set(broken)
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.listener.Close()
	p.done.Wait()
}

// trap is an address where every connection is refused.
func trap() (net.Listener, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	return l, nil
}
