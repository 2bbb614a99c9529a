package site

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"testing"
)

// TestConnectionStates follows one connection through the states that net/http names, with
// and without TLS: it gives way while it waits for a request, the first one or another, and
// not while one is worked on.
//
// Fails if changed leaves out a state, or does not look into a connection with TLS.
func TestConnectionStates(t *testing.T) {
	for name, over := range map[string]func(net.Conn) net.Conn{
		"plain": func(conn net.Conn) net.Conn { return conn },
		"tls":   func(conn net.Conn) net.Conn { return tls.Server(conn, new(tls.Config)) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newConnections(1, nil, slog.New(slog.DiscardHandler))
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			accept := func() *net.TCPConn {
				t.Helper()
				client, err := net.Dial("tcp", listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = client.Close() })
				accepted, err := listener.Accept()
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = accepted.Close() })
				return accepted.(*net.TCPConn)
			}
			conn, ok := c.admit(accept())
			if !ok {
				t.Fatal("the first connection is refused")
			}
			for _, state := range []http.ConnState{http.StateNew, http.StateActive, http.StateIdle, http.StateActive} {
				c.changed(over(conn), state)
			}
			if _, ok := c.admit(accept()); ok {
				t.Error("a second connection is admitted while the first is busy")
			}
			c.changed(over(conn), http.StateIdle)
			second, ok := c.admit(accept())
			if !ok {
				t.Fatal("a second connection is refused while the first is idle")
			}
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("the first connection is not closed: %v", err)
			}
			// What net/http still does with the closed one changes nothing.
			c.changed(over(conn), http.StateIdle)
			c.changed(over(conn), http.StateClosed)
			if err := conn.Close(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("closed twice: %v", err)
			}
			if err := second.Close(); err != nil || len(c.open) > 0 || c.idle.Len() > 0 {
				t.Errorf("after the end (%v) %d addresses and %d idle connections are counted", err, len(c.open), c.idle.Len())
			}
		})
	}
}
