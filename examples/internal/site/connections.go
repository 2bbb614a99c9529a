package site

import (
	"container/list"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/oatmill/oatmill/examples/internal/cli"
)

const (
	// DefaultPerAddress is enough for an office or a cluster behind one address, and half of
	// the 1024 open files that many systems allow a process.
	DefaultPerAddress = 512
	// maxIdle is how many connections may wait for a request. Each ends by itself after
	// IdleTimeout, or ReadHeaderTimeout before its first request.
	maxIdle = 1024
	// warnEvery is how often the log says that connections are refused.
	warnEvery = time.Minute
)

// PerAddressUsage is what to say of the flag that sets the limit.
const PerAddressUsage = "how many `connections` each address, or IPv6 network of 64 bits, may have open, 0 for any number; those of --trusted-proxy may have any number"

// CheckPerAddress returns a usage error for a limit that means nothing.
func CheckPerAddress(limit int) error {
	if limit < 0 {
		return cli.Usagef("--connections-per-address %d: want a number, or 0 for any number", limit)
	}
	return nil
}

// connections bounds the connections of a server. Where an address has as many as it may, or
// too many are idle in all, the one that has been idle for longest is closed for a new one.
// An address whose connections are all busy is refused another.
type connections struct {
	perAddress int
	proxies    Proxies
	logger     *slog.Logger

	mu     sync.Mutex
	open   map[string]*addressConnections
	idle   *list.List // of *connection, those that began to wait first in front
	warned time.Time
}

// addressConnections are those of one address.
type addressConnections struct {
	count int
	idle  *list.List // of *connection, as in connections
}

// connection is one that is counted until it is closed.
type connection struct {
	*net.TCPConn
	all     *connections
	address string // "" for a proxy's, of which there may be any number
	// Where it stands among idle ones, nil while it is busy.
	place, ownPlace *list.Element
	forgotten       bool
}

func newConnections(perAddress int, proxies Proxies, logger *slog.Logger) *connections {
	return &connections{perAddress: perAddress, proxies: proxies, logger: logger, open: make(map[string]*addressConnections), idle: list.New()}
}

// limit returns a listener that accepts what may be open.
func (c *connections) limit(listener net.Listener) net.Listener { return &limited{listener, c} }

type limited struct {
	net.Listener
	connections *connections
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		accepted, err := l.Listener.Accept()
		tcp, ok := accepted.(*net.TCPConn)
		if err != nil || !ok {
			return accepted, err
		}
		if conn, ok := l.connections.admit(tcp); ok {
			return conn, nil
		}
		_ = tcp.Close() // nothing was read or written
	}
}

// admit counts a connection, which waits for its first request, unless its address has too
// many that are busy.
func (c *connections) admit(tcp *net.TCPConn) (admitted *connection, ok bool) {
	conn := &connection{TCPConn: tcp, all: c, address: c.counted(tcp.RemoteAddr())}
	c.mu.Lock()
	defer c.mu.Unlock()
	own := c.of(conn.address)
	if conn.address != "" && c.perAddress > 0 && own.count >= c.perAddress && !dropOldest(own.idle) {
		if now := time.Now(); now.Sub(c.warned) > warnEvery {
			c.warned = now
			c.logger.Warn("connections are refused because their address has too many; --connections-per-address sets the limit", "address", conn.address)
		}
		return nil, false
	}
	own.count++
	c.open[conn.address] = own
	conn.wait()
	return conn, true
}

func (c *connections) of(address string) *addressConnections {
	if own, ok := c.open[address]; ok {
		return own
	}
	return &addressConnections{idle: list.New()}
}

// counted returns what connections from an address are counted by, "" where they are not.
func (c *connections) counted(addr net.Addr) string {
	peer, err := netip.ParseAddrPort(addr.String())
	ip := peer.Addr().Unmap().WithZone("")
	if err != nil || c.proxies.trusted(ip.String()) {
		return ""
	}
	if ip.Is4() {
		return ip.String()
	}
	network, _ := ip.Prefix(64) // an IPv6 address has that many bits
	return network.String()
}

// dropOldest closes the connection that has been idle for longest, and reports whether there
// is one. The caller holds the mutex.
func dropOldest(idle *list.List) bool {
	oldest := idle.Front()
	if oldest == nil {
		return false
	}
	conn := oldest.Value.(*connection)
	conn.forget()
	_ = conn.TCPConn.Close() // no request is lost: none has begun
	return true
}

// changed is the server's ConnState.
func (c *connections) changed(changed net.Conn, state http.ConnState) {
	if over, ok := changed.(*tls.Conn); ok {
		changed = over.NetConn()
	}
	conn, ok := changed.(*connection)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateActive, http.StateHijacked:
		conn.work()
	case http.StateIdle:
		conn.wait()
	}
}

// wait puts a connection behind all that are idle. The caller holds the mutex, here and in
// the methods that follow.
func (c *connection) wait() {
	if c.forgotten || c.place != nil {
		return
	}
	c.place, c.ownPlace = c.all.idle.PushBack(c), c.all.open[c.address].idle.PushBack(c)
	if c.all.idle.Len() > maxIdle {
		dropOldest(c.all.idle)
	}
}

// work takes a connection from those that are idle.
func (c *connection) work() {
	if c.place == nil {
		return
	}
	c.all.idle.Remove(c.place)
	c.all.open[c.address].idle.Remove(c.ownPlace)
	c.place, c.ownPlace = nil, nil
}

// forget takes a connection out of the count.
func (c *connection) forget() {
	if c.forgotten {
		return
	}
	c.work()
	c.forgotten = true
	own := c.all.open[c.address]
	if own.count--; own.count == 0 {
		delete(c.all.open, c.address)
	}
}

// Close is [net.Conn.Close].
func (c *connection) Close() error {
	c.all.mu.Lock()
	c.forget()
	c.all.mu.Unlock()
	return c.TCPConn.Close()
}
