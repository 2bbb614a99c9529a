package pglog_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/pglog"
	"github.com/oatmill/oatmill/events/durable/pgserver"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		if err := play(role); err != nil {
			fmt.Fprintln(os.Stderr, role+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(run{m})
}

// run is all tests, and the end of the servers they share.
type run struct{ *testing.M }

func (r run) Run() int {
	code := r.M.Run()
	for _, s := range []*sharedServer{&shared, &mortal} {
		if err := s.close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

// sharedServer is a server that several tests use, each in a database of its own. It is
// started by the first one that asks. It does not sync its files, which only the loss of power
// would show, and which makes tests several times as quick.
type sharedServer struct {
	start  func(context.Context, pgserver.Config) (*pgserver.Server, error)
	once   sync.Once
	server *pgserver.Server
	err    error
}

// shared is for most tests, and mortal for those that kill it. They leave it running.
var shared, mortal = sharedServer{start: pgserver.Find}, sharedServer{start: pgserver.Start}

func (s *sharedServer) get(t testing.TB) *pgserver.Server {
	t.Helper()
	s.once.Do(func() {
		s.server, s.err = s.start(context.Background(), pgserver.Config{Settings: map[string]string{"max_connections": "200", "fsync": "off"}})
	})
	need(t, s.err)
	return s.server
}

func (s *sharedServer) close() error {
	if s.server == nil {
		return nil
	}
	return s.server.Close()
}

// need skips, or fails on a machine for all checks, where there is no PostgreSQL.
func need(t testing.TB, err error) {
	t.Helper()
	switch {
	case errors.Is(err, pgserver.ErrNotFound):
		testkit.Missing(t, err.Error())
	case err != nil:
		t.Fatal(err)
	}
}

// mayKill skips the test where only a server that is not ours is to be used.
func mayKill(t testing.TB) {
	t.Helper()
	if os.Getenv(pgserver.Env) != "" {
		testkit.Missing(t, "the server at $"+pgserver.Env+" is not ours to kill: unset it")
	}
}

// mortalServer is a server that the test may stop and kill, if it starts it again.
func mortalServer(t testing.TB) *pgserver.Server {
	t.Helper()
	mayKill(t)
	return mortal.get(t)
}

// ownServer is a server for one test.
func ownServer(t testing.TB, settings map[string]string) *pgserver.Server {
	t.Helper()
	mayKill(t)
	server, err := pgserver.Start(t.Context(), pgserver.Config{Settings: settings})
	need(t, err)
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// newDatabase is the address of a new database on the shared server, which is dropped
// after the test.
func newDatabase(t testing.TB) string {
	t.Helper()
	return newDatabaseOn(t, shared.get(t))
}

func newDatabaseOn(t testing.TB, server *pgserver.Server) string {
	t.Helper()
	name := fmt.Sprintf("oatmill_test_%x", testkit.NewGenerator().ID())
	mustExec(t, server.URL(), `CREATE DATABASE `+name+` ENCODING 'UTF8' TEMPLATE template0`)
	t.Cleanup(func() { mustExec(t, server.URL(), `DROP DATABASE `+name+` WITH (FORCE)`) })
	return withDatabase(t, server.URL(), name)
}

func withDatabase(t testing.TB, address, name string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

// connect is a connection of the test's own.
func connect(t testing.TB, address string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// raw runs SQL behind the library's back.
func raw(t testing.TB, address string, statements ...string) error {
	t.Helper()
	ctx := context.Background() // also in a cleanup, after the test's context
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

func mustExec(t testing.TB, address string, statements ...string) {
	t.Helper()
	if err := raw(t, address, statements...); err != nil {
		t.Fatal(err)
	}
}

// open opens a log; openFor one that ends with the test, if the test does not end it
// before.
func open(t testing.TB, address string, cfg pglog.Config) *pglog.Log {
	t.Helper()
	log, err := pglog.Open(t.Context(), address, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func openFor(t testing.TB, address string, cfg pglog.Config) *pglog.Log {
	t.Helper()
	log := open(t, address, cfg)
	t.Cleanup(func() { mustClose(t, log) })
	return log
}

func mustClose(t testing.TB, log *pglog.Log) {
	t.Helper()
	if err := log.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}
