package site_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oatmill/oatmill/examples/internal/clitest"
	"github.com/oatmill/oatmill/examples/internal/site"
)

// door is a server whose /busy is answered after release.
type door struct {
	t       *testing.T
	addr    string
	begun   chan struct{} // receives for each request for /busy that has begun
	release func()
}

// openDoor serves with a limit, until the test ends.
func openDoor(t *testing.T, perAddress int, proxies site.Proxies, log io.Writer) *door {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	released := make(chan struct{})
	d := &door{t, listener.Addr().String(), make(chan struct{}, 100), sync.OnceFunc(func() { close(released) })}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/busy", func(http.ResponseWriter, *http.Request) {
		d.begun <- struct{}{}
		<-released
	})
	serving := site.Serving{
		HTTP: site.NewHTTP(mux, logged(log)), Listener: listener, PerAddress: perAddress, Proxies: proxies,
		Follow: func(ctx context.Context) error { <-ctx.Done(); return nil },
		Close:  func() error { return nil }, Logger: logged(log),
	}
	// No connection of these tests ends because it is silent.
	serving.HTTP.ReadHeaderTimeout, serving.HTTP.IdleTimeout = time.Hour, time.Hour
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serving.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		d.release()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return d
}

// dial connects from an address of this machine.
func (d *door) dial(from string) net.Conn {
	d.t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.Dial("tcp", d.addr)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(clitest.Patience))
	return conn
}

func ask(conn net.Conn, path string, header ...string) error {
	_, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\n"+strings.Join(append(header, "Host: x\r\n\r\n"), "\r\n"))
	return err
}

// busy sends a request that is not answered yet, and waits until it has begun.
func (d *door) busy(conn net.Conn, header ...string) {
	d.t.Helper()
	if err := ask(conn, "/busy", header...); err != nil {
		d.t.Fatal(err)
	}
	select {
	case <-d.begun:
	case <-time.After(clitest.Patience):
		d.t.Fatal("the request does not begin")
	}
}

// answered demands the answer to a request.
func (d *door) answered(conn net.Conn) {
	d.t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || response.StatusCode != http.StatusOK {
		d.t.Fatalf("the answer is %v (%v)", response, err)
	}
	_ = response.Body.Close()
}

// hungUp demands that the server closes a connection without an answer.
func (d *door) hungUp(conn net.Conn) {
	d.t.Helper()
	n, err := conn.Read(make([]byte, 1))
	var timeout net.Error
	if n > 0 || errors.As(err, &timeout) && timeout.Timeout() {
		d.t.Errorf("read %d bytes (%v), want the connection closed", n, err)
	}
}

// TestConnectionsPerAddress refuses an address whose connections are all busy another one,
// serves other addresses meanwhile, and the same one as soon as a connection has ended.
//
// Fails if admit does not count, counts all addresses together, or if Close does not take a
// connection out of the count.
func TestConnectionsPerAddress(t *testing.T) {
	log := &lockedBuffer{written: make(chan string, 1)}
	d := openDoor(t, 3, nil, log)
	busy := []net.Conn{d.dial("127.0.0.1")}
	d.busy(busy[0], "Connection: close")
	for range 2 {
		conn := d.dial("127.0.0.1")
		d.busy(conn)
		busy = append(busy, conn)
	}
	for range 2 {
		d.hungUp(d.dial("127.0.0.1"))
	}
	select {
	case line := <-log.written:
		if !strings.Contains(line, "address=127.0.0.1") || !strings.Contains(line, "--connections-per-address") {
			t.Errorf("the log says %q", line)
		}
	case <-time.After(clitest.Patience):
		t.Fatal("the log does not say that a connection was refused")
	}
	other := d.dial("127.0.0.2")
	d.busy(other)
	d.release()
	for _, conn := range append(busy, other) {
		d.answered(conn)
	}
	d.hungUp(busy[0])
	next := d.dial("127.0.0.1")
	if err := ask(next, "/"); err != nil {
		t.Fatal(err)
	}
	d.answered(next)
}

// TestIdleConnectionGivesWay closes the connection of an address that has been idle for
// longest for a new one. A client is served that shares its address with one that hoards
// connections. Connections without a request count as idle.
//
// Fails if admit refuses at the limit without dropOldest, or if changed leaves a busy
// connection among those that are idle (it is closed without its answer then).
func TestIdleConnectionGivesWay(t *testing.T) {
	d := openDoor(t, 2, nil, io.Discard)
	busy, silent := d.dial("127.0.0.1"), net.Conn(nil)
	d.busy(busy)
	for range 5 {
		before := silent
		silent = d.dial("127.0.0.1")
		if before != nil {
			d.hungUp(before)
		}
	}
	if err := ask(silent, "/"); err != nil {
		t.Fatal(err)
	}
	d.answered(silent)
	d.release()
	d.answered(busy)
}

// TestProxyConnections lets a trusted proxy, which has the connections of all its clients,
// open any number, and every address where the limit is 0.
//
// Fails if counted does not ask whether the address is a proxy's, or admit takes 0 for a
// limit.
func TestProxyConnections(t *testing.T) {
	proxies, err := site.ParseProxies("--trusted-proxy", []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]*door{"proxy": openDoor(t, 1, proxies, io.Discard), "no limit": openDoor(t, 0, nil, io.Discard)} {
		t.Run(name, func(t *testing.T) {
			var busy []net.Conn
			for range 5 {
				conn := d.dial("127.0.0.1")
				d.busy(conn)
				busy = append(busy, conn)
			}
			d.release()
			for _, conn := range busy {
				d.answered(conn)
			}
		})
	}
}

// TestIdleConnectionsAreBounded opens more connections than may be idle in all, and sends
// nothing on them: the first ones are closed, and the last one is served.
//
// Fails if wait does not drop the oldest.
func TestIdleConnectionsAreBounded(t *testing.T) {
	d := openDoor(t, 0, nil, io.Discard)
	first := d.dial("127.0.0.1")
	for range 1024 {
		d.dial("127.0.0.1")
	}
	d.hungUp(first)
	last := d.dial("127.0.0.1")
	if err := ask(last, "/"); err != nil {
		t.Fatal(err)
	}
	d.answered(last)
}
