package durable_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/natscluster"
	"github.com/oatmill/oatmill/events/durable/natslog"
	"github.com/oatmill/oatmill/events/durable/pglog"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
)

// sharedLog is a log that several processes have open, and can be woken by.
type sharedLog interface {
	events.Log
	events.Notifier
	events.Heads
	Close() error
}

// sharedStore is a kind of log that processes share.
type sharedStore struct {
	name string
	// start makes a place for a log, and is its address.
	start func(tb testing.TB) (address string)
	// open opens the log at an address, in any process.
	open func(ctx context.Context, address string) (sharedLog, error)
	// attach is the address for a process of its own, and the wires that lead there.
	attach func(tb testing.TB, address string) (own string, wires []*wire)
}

func sharedStores() []sharedStore {
	return []sharedStore{
		{name: "SQLite", start: startSQLite, open: openSQLite, attach: attachSQLite},
		{name: "PostgreSQL", start: startPostgres, open: openPostgres, attach: attachWires},
		{name: "JetStream", start: startJetStream, open: openJetStream, attach: attachWires},
	}
}

func storeNamed(name string) (sharedStore, error) {
	for _, s := range sharedStores() {
		if s.name == name {
			return s, nil
		}
	}
	return sharedStore{}, fmt.Errorf("no store %q", name)
}

func startSQLite(tb testing.TB) string {
	return filepath.Join(tb.TempDir(), "events.db")
}

func openSQLite(ctx context.Context, path string) (sharedLog, error) {
	return sqlitelog.Open(ctx, path, sqlitelog.Config{})
}

// attachSQLite is the file by way of a link that [unplug] can take away.
func attachSQLite(tb testing.TB, path string) (string, []*wire) {
	link := filepath.Join(tb.TempDir(), "disk")
	if err := os.Symlink(filepath.Dir(path), link); err != nil {
		tb.Fatal(err)
	}
	return filepath.Join(link, filepath.Base(path)), nil
}

// verifiersSchema holds the log on a server that may be somebody else's.
func verifiersSchema(pid int) string { return fmt.Sprintf("oatmill_verifiers_%d", pid) }

func startPostgres(tb testing.TB) string {
	server := sharedPostgres(tb)
	tb.Cleanup(func() { noError(tb, dropSchema(server.URL(), verifiersSchema(os.Getpid()))) })
	return server.URL()
}

func openPostgres(ctx context.Context, address string) (sharedLog, error) {
	return pglog.Open(ctx, address, pglog.Config{Schema: verifiersSchema(os.Getppid())})
}

func startJetStream(tb testing.TB) string {
	cluster, err := natscluster.Start(tb.Context(), natscluster.Config{Dir: tb.TempDir(), Nodes: 3})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := cluster.Close(); err != nil {
			tb.Error(err)
		}
	})
	return cluster.URL()
}

// openJetStream keeps to the addresses it is given: those that the servers tell of lead
// past the wires.
func openJetStream(ctx context.Context, address string) (sharedLog, error) {
	return natslog.Open(ctx, address, natslog.Config{Options: []nats.Option{nats.IgnoreDiscoveredServers()}})
}

// attachWires puts a wire before every server.
func attachWires(tb testing.TB, address string) (string, []*wire) {
	var own []string
	var wires []*wire
	for one := range strings.SplitSeq(address, ",") {
		u, err := url.Parse(one)
		if err != nil || u.Port() == "" {
			tb.Fatalf("no URL with a host and a port: %v", err)
		}
		w := newWire(tb, u.Host)
		u.Host = w.address()
		own, wires = append(own, u.String()), append(wires, w)
	}
	return strings.Join(own, ","), wires
}
