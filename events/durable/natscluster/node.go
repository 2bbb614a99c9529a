package natscluster

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const loopback = "127.0.0.1"

// node is one server, over all its lives.
type node struct {
	name, dir string
	proxies   []*proxy // to the other nodes, nil at the node's own place
	gate      gate

	mu     sync.Mutex
	server *server.Server // nil while the node is down
	port   int            // for clients, the same in every life; 0 before the first
}

// running is the server, nil when the node is down.
func (n *node) running() *server.Server {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.server
}

func (n *node) address() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return net.JoinHostPort(loopback, strconv.Itoa(n.port))
}

// routes is the address that other nodes reach this one at, "" while it is down.
func (n *node) routes() string {
	if s := n.running(); s != nil {
		if a := s.ClusterAddr(); a != nil {
			return a.String()
		}
	}
	return ""
}

// start starts the server. advertised is the address it tells others to reach it at.
func (n *node) start(cfg Config, advertised string) error {
	opts, err := n.options(cfg, advertised)
	if err != nil {
		return fmt.Errorf("node %s: %w", n.name, err)
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("node %s: %w", n.name, err)
	}
	s.SetLoggerV2(&speaker{log: cfg.Logger.With("node", n.name)}, false, false, false)
	s.Start()
	n.mu.Lock()
	n.server = s
	n.mu.Unlock()
	if !s.ReadyForConnections(10 * time.Second) {
		return fmt.Errorf("node %s does not listen after 10 seconds", n.name)
	}
	if a, ok := s.Addr().(*net.TCPAddr); ok {
		n.mu.Lock()
		n.port = a.Port
		n.mu.Unlock()
	}
	return nil
}

func (n *node) options(cfg Config, advertised string) (*server.Options, error) {
	o := &server.Options{}
	if cfg.Conf != "" {
		if err := o.ProcessConfigString(cfg.Conf); err != nil {
			return nil, err
		}
	}
	o.ServerName, o.Host, o.Port = n.name, loopback, n.port
	if n.port == 0 {
		o.Port = server.RANDOM_PORT
	}
	o.NoSigs = true
	o.JetStream, o.StoreDir, o.JetStreamMaxStore = true, n.dir, cfg.MaxStore
	o.SyncAlways, o.SyncInterval = cfg.SyncAlways, cfg.SyncInterval
	if cfg.MaxPayload > 0 {
		o.MaxPayload = cfg.MaxPayload
		o.MaxPending = max(server.MAX_PENDING_SIZE, 2*int64(cfg.MaxPayload))
	}
	if len(n.proxies) > 1 {
		// One connection for each pair of nodes, through the proxies and by no other
		// way: what a node tells others of its address leads nowhere.
		o.Cluster = server.ClusterOpts{Name: "oatmill", Host: loopback, Port: server.RANDOM_PORT, PoolSize: -1, Advertise: advertised}
		for _, p := range n.proxies {
			if p != nil {
				o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: p.listener.Addr().String()})
			}
		}
	}
	return o, nil
}

func (n *node) stop() {
	n.mu.Lock()
	s := n.server
	n.server = nil
	n.mu.Unlock()
	if s != nil {
		s.Shutdown()
		s.WaitForShutdown()
	}
}

// speaker passes on what a server says.
type speaker struct{ log *slog.Logger }

func (s *speaker) Noticef(f string, v ...any) { s.log.Info(fmt.Sprintf(f, v...)) }
func (s *speaker) Warnf(f string, v ...any)   { s.log.Warn(fmt.Sprintf(f, v...)) }
func (s *speaker) Fatalf(f string, v ...any)  { s.log.Error(fmt.Sprintf(f, v...)) }
func (s *speaker) Errorf(f string, v ...any)  { s.log.Error(fmt.Sprintf(f, v...)) }
func (s *speaker) Debugf(f string, v ...any)  { s.log.Debug(fmt.Sprintf(f, v...)) }
func (s *speaker) Tracef(f string, v ...any)  { s.log.Debug(fmt.Sprintf(f, v...)) }
