package durable_test

import (
	"net"
	"sync"
	"testing"
)

// gate is what a wire does with what comes through it.
type gate string

const (
	through gate = ""       // everything passes
	silent  gate = "silent" // connections stay open and nothing passes, as with packets that are dropped
	deaf    gate = "deaf"   // the server hears the client, and its answers are held back
	torn    gate = "torn"   // connections are closed, and new ones as soon as they are made
)

// wire is the only way from a process to a server. What it holds back is delivered late,
// when it lets things through again.
type wire struct {
	listener net.Listener
	target   string

	mu      sync.Mutex
	gate    gate
	changed *sync.Cond
	ends    map[net.Conn]struct{}
	done    sync.WaitGroup
}

func newWire(tb testing.TB, target string) *wire {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	w := &wire{listener: l, target: target, ends: make(map[net.Conn]struct{})}
	w.changed = sync.NewCond(&w.mu)
	w.done.Go(w.accept)
	tb.Cleanup(func() {
		l.Close()
		w.set(torn)
		w.done.Wait()
	})
	return w
}

func (w *wire) address() string { return w.listener.Addr().String() }

func (w *wire) accept() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return
		}
		w.done.Go(func() { w.join(client) })
	}
}

// join connects a client to the server.
func (w *wire) join(client net.Conn) {
	defer client.Close()
	if !w.keep(client) || !w.pass(silent) {
		return
	}
	defer w.forget(client)
	server, err := net.Dial("tcp", w.target)
	if err != nil {
		return
	}
	defer server.Close()
	if !w.keep(server) {
		return
	}
	defer w.forget(server)
	var back sync.WaitGroup
	back.Go(func() { w.copy(client, server, silent, deaf) })
	w.copy(server, client, silent)
	back.Wait()
}

// copy passes on what comes, and holds it back at one of the gates. When one direction
// ends, so does the other.
func (w *wire) copy(to, from net.Conn, held ...gate) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil || !w.pass(held...) {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// pass waits at the gates, and tells whether the connection may go on after that.
func (w *wire) pass(held ...gate) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		waits := false
		for _, g := range held {
			waits = waits || w.gate == g
		}
		if !waits {
			return w.gate != torn
		}
		w.changed.Wait()
	}
}

// keep notes a connection, so that it can be torn. It is false when it must not live.
func (w *wire) keep(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ends[c] = struct{}{}
	return w.gate != torn
}

func (w *wire) forget(c net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.ends, c)
}

func (w *wire) set(to gate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gate = to
	if to == torn {
		for c := range w.ends {
			c.Close()
		}
	}
	w.changed.Broadcast()
}
