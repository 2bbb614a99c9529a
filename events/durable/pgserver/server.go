package pgserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Env is the environment variable with the address of a server that [Find] uses.
const Env = "OATMILL_TEST_POSTGRES"

// Errors that callers branch on.
var (
	// ErrNotFound means that PostgreSQL is not installed, or not where it is looked for.
	ErrNotFound = errors.New("no PostgreSQL here: install the Debian package postgresql, or put the folder with initdb and postgres into PATH")

	// ErrForeign means that the server was not started by this package, and is not
	// stopped by it either.
	ErrForeign = errors.New("the server at $" + Env + " is not ours to stop")
)

// Config is how a server is started. The zero Config works.
type Config struct {
	// Dir is the folder for the cluster. It is made if there is none, and must be
	// empty and reachable for an unprivileged user. Empty means a new temporary folder,
	// which Close deletes.
	Dir string

	// Settings are added to the server's command line, like "max_connections": "300".
	Settings map[string]string
}

// Server is a running, or stopped, PostgreSQL. It is safe for concurrent use.
type Server struct {
	cfg      Config
	bin      string
	user     *account // nil for the caller's own
	made     bool     // the folder is ours to delete
	address  string   // of a server that is not ours
	password string

	mu      sync.Mutex
	port    int
	process *process // nil while the server is stopped
}

// Find is the server at the address in [Env] where that is set, and a new one that
// [Start] makes where it is not.
func Find(ctx context.Context, cfg Config) (*Server, error) {
	if address := os.Getenv(Env); address != "" {
		return &Server{address: address}, nil
	}
	return Start(ctx, cfg)
}

// Start makes a cluster and starts it; ctx bounds that, not the life of the server.
// It returns when the server takes connections.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, bin: bin, password: rand.Text()}
	if s.user, err = unprivileged(); err == nil {
		err = s.folder()
	}
	if err == nil {
		err = s.initialize(ctx)
	}
	if err == nil {
		err = s.Restart(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start PostgreSQL: %w", err), s.Close())
	}
	return s, nil
}

// Foreign tells whether the server was there before, so that it cannot be stopped.
func (s *Server) Foreign() bool { return s.address != "" }

// URL is the address of the server's database postgres, for its superuser. It stays the
// same when the server is restarted.
func (s *Server) URL() string {
	if s.Foreign() {
		return s.address
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword("postgres", s.password),
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)), Path: "/postgres", RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Kill ends all processes of the server with SIGKILL, as a crash does. What it had
// committed is there after [Server.Restart].
func (s *Server) Kill() error { return s.end((*process).kill) }

// Stop shuts the server down in order, without waiting for its clients to leave.
func (s *Server) Stop() error { return s.end((*process).stop) }

func (s *Server) end(how func(*process) error) error {
	if s.Foreign() {
		return ErrForeign
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return nil
	}
	err := how(s.process)
	s.process = nil
	return err
}

// Close ends the server at once and deletes the folder that Start made for it. A
// server that was there before is left alone.
func (s *Server) Close() error {
	if s.Foreign() {
		return nil
	}
	err := s.end((*process).abort)
	if s.made {
		err = errors.Join(err, os.RemoveAll(s.cfg.Dir))
	}
	return err
}

// Restart starts the server again with the same data and address; one that runs is
// shut down in order first. It returns when the server takes connections, which after a
// crash is when it has recovered. ctx bounds that.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.Stop(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.port == 0
	for try := 0; ; try++ {
		if first {
			s.port = freePort(try)
		}
		p, err := s.launch()
		if err != nil {
			return err
		}
		if err = s.ready(ctx, p); err == nil {
			s.process = p
			return nil
		}
		// Somebody else may have taken the port a moment before, or old processes still
		// be on their way out.
		if aborted := p.abort(); aborted != nil || ctx.Err() != nil || try == 5 {
			return errors.Join(err, aborted)
		}
	}
}

// ready waits until the server writes into its PID file that it takes connections.
func (s *Server) ready(ctx context.Context, p *process) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		b, _ := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
		lines := strings.Split(string(b), "\n")
		if len(lines) > 7 && lines[0] == strconv.Itoa(p.pid) && strings.TrimSpace(lines[7]) == "ready" {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.ended:
			return fmt.Errorf("the server ended: %w: %s", p.err, s.Log())
		case <-ctx.Done():
			return fmt.Errorf("the server was not ready: %w: %s", ctx.Err(), s.Log())
		}
	}
}

// Log is the end of what the server has printed, at most 4 KB.
func (s *Server) Log() string {
	b, err := os.ReadFile(s.logFile())
	if err != nil {
		return "no output"
	}
	return strings.TrimSpace(string(b[max(0, len(b)-4<<10):]))
}

func (s *Server) data() string    { return filepath.Join(s.cfg.Dir, "data") }
func (s *Server) logFile() string { return filepath.Join(s.cfg.Dir, "log") }

// Dir is the folder of the server, "" of one that was there before.
func (s *Server) Dir() string { return s.cfg.Dir }
