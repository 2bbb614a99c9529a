// Embed shows what a backend that exists adds to have organization access tokens: a
// small forge with users, organizations and repositories in PostgreSQL. It is a tour
// that checks itself.
//
//	go run ./examples/embed
//	go run ./examples/embed --postgres postgres://user:password@host/database
//
// Without an address it starts a PostgreSQL of its own, which it throws away at the end.
// At an address it makes two schemas, and removes them at the end.
//
// Every step does one thing, checks that it is as it should be, and says what was
// seen. If anything is not, the tour ends there with exit code 1.
//
// backend.go is the forge as it was before. tokens.go and guard.go are what was added:
// the parts and what to do with them, and the middleware before the forge's routes.
// process.go serves both; tour.go and this file are the tour.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/oatmill/oatmill/events/durable/pgserver"
)

func main() {
	address := flag.String("postgres", "", "address of a PostgreSQL; a throwaway one is started when there is none")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, *address); err != nil {
		fmt.Fprintln(os.Stderr, "embed:", err)
		os.Exit(1)
	}
}

// patience is how long a step may take.
const patience = time.Minute

// run is the tour, at the PostgreSQL at address or at one of its own.
func run(ctx context.Context, out io.Writer, address string) (err error) {
	if address == "" {
		fmt.Fprintln(out, "    no --postgres given: starting a throwaway PostgreSQL")
		server, err := pgserver.Start(ctx, pgserver.Config{})
		if errors.Is(err, pgserver.ErrNotFound) {
			return fmt.Errorf("%w, or give an address with --postgres", err)
		}
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, server.Close()) }()
		address = server.URL()
	}
	t := &tour{address: address, schema: "embed_" + strings.ToLower(rand.Text()[:8])}
	defer func() { err = errors.Join(err, t.second.close(), t.first.close(), t.dropSchemas()) }()
	for i, step := range t.steps() {
		inTime, cancel := context.WithTimeout(ctx, patience)
		seen, err := step(inTime)
		cancel()
		if err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
		fmt.Fprintf(out, "%2d. %s\n", i+1, seen)
	}
	fmt.Fprintln(out, "Everything was as it should be.")
	return nil
}

// createSchema makes the forge as it stands before the tour: alice and carol own acme,
// bob owns globex.
func (t *tour) createSchema(ctx context.Context) (string, error) {
	conn, err := pgx.Connect(ctx, t.address)
	if err != nil {
		return "", err
	}
	_, err = conn.Exec(ctx, "CREATE SCHEMA "+t.schema+"; SET search_path TO "+t.schema+";"+tables+`
INSERT INTO users VALUES ('alice', 'alice@acme.example'), ('carol', 'carol@acme.example'), ('bob', 'bob@globex.example');
INSERT INTO organizations VALUES ('acme', 'team'), ('globex', 'team');
INSERT INTO owners VALUES ('acme', 'alice'), ('acme', 'carol'), ('globex', 'bob');
INSERT INTO repositories VALUES
  ('acme/site', 'acme', 'public', 'welcome'), ('acme/wiki', 'acme', 'internal', 'how we work'), ('globex/core', 'globex', 'private', 'plans');`)
	t.made = err == nil
	return fmt.Sprintf("made a forge with 3 users, 2 organizations and 3 repositories in schema %s at %s", t.schema, host(t.address)),
		errors.Join(err, conn.Close(ctx))
}

// host is the part of an address that may be shown.
func host(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "the address given"
	}
	return u.Host
}

// dropSchemas removes what createSchema and the log made. It is as if nothing had been.
func (t *tour) dropSchemas() error {
	if !t.made {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, t.address)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "DROP SCHEMA IF EXISTS "+t.schema+", "+t.schema+"_log CASCADE")
	return errors.Join(err, conn.Close(ctx))
}
