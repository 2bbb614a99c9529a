package pglog_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/pglog"
)

// content is everything in the database that a failed opening could have made or changed.
func content(t *testing.T, address string) string {
	t.Helper()
	conn := connect(t, address)
	var found string
	err := conn.QueryRow(t.Context(), `SELECT coalesce(string_agg(n.nspname || '.' || c.relname || ' ' || c.relkind::text || ' ' || coalesce(c.relacl::text, ''), E'\n' ORDER BY 1), '')
		|| (SELECT string_agg(nspname, ',' ORDER BY 1) FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp')
		|| (SELECT count(*) FROM pg_proc) || ' ' || (SELECT count(*) FROM pg_trigger)
		FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname !~ '^pg_'`).Scan(&found)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestOpenRefuses opens what is no log, or cannot be got at. Each error names what is
// wrong; nothing is written, and no goroutine is left.
func TestOpenRefuses(t *testing.T) {
	address := newDatabase(t)
	for _, c := range []struct {
		name   string
		before []string // run in the database
		cfg    pglog.Config
		is     error
		says   string
	}{
		{"somebody else's schema", []string{`CREATE SCHEMA oatmill`, `CREATE TABLE oatmill.oats (n int)`}, pglog.Config{}, events.ErrDamaged, `"oatmill"`},
		{"somebody else's layout", []string{`CREATE SCHEMA oatmill`, `CREATE TABLE oatmill.layout (application text, version integer)`}, pglog.Config{}, events.ErrDamaged, "layout"},
		{"another application's layout", []string{
			`CREATE SCHEMA oatmill`, `CREATE TABLE oatmill.layout (application text, version integer)`, `INSERT INTO oatmill.layout VALUES ('barley', 1)`,
		}, pglog.Config{}, events.ErrDamaged, "barley"},
		{"the schema public with tables in it", []string{`CREATE TABLE public.users (n int)`}, pglog.Config{Schema: "public"}, events.ErrDamaged, `"public"`},
		{"a newer layout", []string{"LOG", `UPDATE oatmill.layout SET version = 2`}, pglog.Config{}, events.ErrNewer, "layout 2"},
		{"a newer layout is damage too", []string{"LOG", `UPDATE oatmill.layout SET version = 99`}, pglog.Config{}, events.ErrDamaged, "layout 99"},
		{"a layout that never was", []string{"LOG", `UPDATE oatmill.layout SET version = 0`}, pglog.Config{}, events.ErrDamaged, "layout 0"},
		{"a table is missing", []string{"LOG", `DROP TABLE oatmill.checkpoints`}, pglog.Config{}, events.ErrDamaged, "checkpoints"},
		{"a column is missing", []string{"LOG", `DROP VIEW oatmill.log`, `ALTER TABLE oatmill.records DROP COLUMN reason`}, pglog.Config{}, events.ErrDamaged, "records"},
		{"IDs are not unique", []string{"LOG", `ALTER TABLE oatmill.records DROP CONSTRAINT records_id_key`}, pglog.Config{}, events.ErrDamaged, "records"},
		{"a name that is none", nil, pglog.Config{Schema: strings.Repeat("x", 64)}, events.ErrInvalid, "63"},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer mustExec(t, address, `DROP SCHEMA IF EXISTS oatmill CASCADE`, `DROP TABLE IF EXISTS public.users`)
			for _, statement := range c.before {
				if statement == "LOG" {
					mustClose(t, open(t, address, pglog.Config{}))
					continue
				}
				mustExec(t, address, statement)
			}
			before := content(t, address)
			leak := goleak.IgnoreCurrent()
			log, err := pglog.Open(t.Context(), address, c.cfg)
			if log != nil || !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want %q that says %q", err, c.is, c.says)
			}
			goleak.VerifyNone(t, leak)
			if after := content(t, address); after != before {
				t.Errorf("the database was changed:\n%s\nand was\n%s", after, before)
			}
		})
	}
}

// changed is the address with something else in it.
func changed(t *testing.T, address string, change func(u *url.URL)) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	change(u)
	return u.String()
}

// TestOpenNamesWhatCannotBeReached says which of address, password and database is wrong,
// and never repeats the password.
func TestOpenNamesWhatCannotBeReached(t *testing.T) {
	address := newDatabase(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		address, says string
		want          error // nil where no value of package events applies
	}{
		"a wrong address":    {changed(t, address, func(u *url.URL) { u.Host = nobody }), nobody, events.ErrUnavailable},
		"a wrong password":   {changed(t, address, func(u *url.URL) { u.User = url.UserPassword("postgres", "hunter2") }), "password", events.ErrDenied},
		"an unknown user":    {changed(t, address, func(u *url.URL) { u.User = url.UserPassword("nobody", "hunter2") }), "nobody", events.ErrDenied},
		"no such database":   {withDatabase(t, address, "gone"), "gone", events.ErrUnavailable},
		"no address":         {"::", "address", nil},
		"a bad port":         {"postgres://u:hunter2@127.0.0.1:port/db", "address", nil},
		"a bad pool setting": {address + "&pool_max_conns=many", "address", nil},
	} {
		leak := goleak.IgnoreCurrent()
		log, err := pglog.Open(t.Context(), c.address, pglog.Config{})
		if log != nil || err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v does not say %q", name, err, c.says)
		}
		if c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the password is in %v", name, err)
		}
		goleak.VerifyNone(t, leak)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := pglog.Open(ctx, address, pglog.Config{}); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context: %v", err)
	}
}

// TestRights opens the log as users with too few rights, and with just enough.
func TestRights(t *testing.T) {
	address := newDatabase(t)
	user := fmt.Sprintf("oatmill_%x", testkit.NewGenerator().ID())
	mustExec(t, address, `CREATE ROLE `+user+` LOGIN PASSWORD 'secret'`)
	t.Cleanup(func() { mustExec(t, address, `DROP OWNED BY `+user, `DROP ROLE `+user) })
	as := changed(t, address, func(u *url.URL) { u.User = url.UserPassword(user, "secret") })
	denied := func(says string) {
		t.Helper()
		if _, err := pglog.Open(t.Context(), as, pglog.Config{}); !errors.Is(err, events.ErrDenied) || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want %q that says %q", err, events.ErrDenied, says)
		}
	}
	denied("permission denied for database") // to make the schema
	owner := openFor(t, address, pglog.Config{})
	denied("permission denied for schema oatmill")
	mustExec(t, address, `GRANT USAGE ON SCHEMA oatmill TO `+user)
	denied("permission denied for table layout")
	mustExec(t, address, `GRANT SELECT ON ALL TABLES IN SCHEMA oatmill TO `+user, `GRANT INSERT ON oatmill.records TO `+user)
	denied("UPDATE on counter")
	mustExec(t, address, `GRANT UPDATE ON oatmill.counter TO `+user, `GRANT INSERT, UPDATE ON oatmill.checkpoints, oatmill.snapshots TO `+user)
	log := openFor(t, as, pglog.Config{})
	testkit.Append(t, log, acme, testkit.NewGenerator().Batch(2)...)
	if err := log.SaveCheckpoint(t.Context(), "mailer", 2); err != nil {
		t.Error(err)
	}
	mustExec(t, address, `REVOKE INSERT ON oatmill.records FROM `+user)
	if _, err := log.Append(t.Context(), acme, events.Any, testkit.NewGenerator().Batch(1)...); !errors.Is(err, events.ErrDenied) {
		t.Errorf("append without the right: %v", err)
	}
	mustExec(t, address, `GRANT INSERT ON oatmill.records TO `+user)
	testkit.Append(t, log, acme, testkit.NewGenerator().Batch(2)...)
	if got := sound(t, owner); len(got) != 4 {
		t.Errorf("%d records, want 4", len(got))
	}
}

// TestSchemaOfItsOwn gives a user, who may create nothing in the database, an empty schema.
func TestSchemaOfItsOwn(t *testing.T) {
	address := newDatabase(t)
	user := fmt.Sprintf("oatmill_%x", testkit.NewGenerator().ID())
	mustExec(t, address, `CREATE ROLE `+user+` LOGIN PASSWORD 'secret'`, `CREATE SCHEMA "Hafer-Mühle" AUTHORIZATION `+user)
	t.Cleanup(func() { mustExec(t, address, `DROP OWNED BY `+user, `DROP ROLE `+user) })
	as := changed(t, address, func(u *url.URL) { u.User = url.UserPassword(user, "secret") })
	log := openFor(t, as, pglog.Config{Schema: "Hafer-Mühle"})
	testkit.Append(t, log, acme, testkit.NewGenerator().Batch(2)...)
	sound(t, log)
}

// TestReadOnly opens a database that takes no writes, as a standby does not.
func TestReadOnly(t *testing.T) {
	address := newDatabase(t)
	log := openFor(t, address, pglog.Config{})
	mustExec(t, address, `DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END$$`)
	if _, err := pglog.Open(t.Context(), address, pglog.Config{}); !errors.Is(err, events.ErrReadOnly) {
		t.Errorf("open: %v", err)
	}
	testkit.Append(t, log, acme, testkit.NewGenerator().Batch(1)...) // a session that was there before
}

func TestEncoding(t *testing.T) {
	server := shared.get(t)
	name := fmt.Sprintf("oatmill_latin_%x", testkit.NewGenerator().ID())
	mustExec(t, server.URL(), `CREATE DATABASE `+name+` ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'`)
	t.Cleanup(func() { mustExec(t, server.URL(), `DROP DATABASE `+name+` WITH (FORCE)`) })
	if _, err := pglog.Open(t.Context(), withDatabase(t, server.URL(), name), pglog.Config{}); err == nil || !strings.Contains(err.Error(), "LATIN1") {
		t.Errorf("error %v does not say LATIN1", err)
	}
}

// TestOpenedAtOnce starts on an empty database from many sides at the same time. Each
// opening is a pool, so that for the database they are processes; real ones follow in
// TestProcessesStartAtOnce.
//
// What breaks it: layOut without its lock.
func TestOpenedAtOnce(t *testing.T) {
	address := newDatabase(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			log, err := pglog.Open(t.Context(), address, pglog.Config{})
			if err != nil {
				t.Error(err)
				return
			}
			defer log.Close()
			if _, err := log.Append(t.Context(), acme, events.Any, testkit.NewGenerator().Batch(2)...); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := sound(t, openFor(t, address, pglog.Config{})); len(got) != 16 {
		t.Errorf("%d records, want 16", len(got))
	}
}

// TestHostsPool gives the log a pool of the host's, in each way that pgx has of sending
// statements. Closing the log leaves the pool open.
func TestHostsPool(t *testing.T) {
	address := newDatabase(t)
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			cfg, err := pgxpool.ParseConfig(address)
			if err != nil {
				t.Fatal(err)
			}
			cfg.ConnConfig.DefaultQueryExecMode = mode
			pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			log, err := pglog.New(t.Context(), pool, pglog.Config{Schema: mode.String()})
			if err != nil {
				t.Fatal(err)
			}
			useAll(t, log)
			mustClose(t, log)
			if err := pool.Ping(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// useAll makes each call of a log once, with values that every field has.
func useAll(t *testing.T, log *pglog.Log) {
	t.Helper()
	ctx := t.Context()
	batch := testkit.NewGenerator().Batch(3)
	batch[1].Correlation, batch[1].Reason, batch[1].Causation = "c", `it's "quoted" \ ünïcode`, batch[0].ID
	batch[2].Data = []byte(`{"nul":"\u0000","half":"\ud800","n":1.50}`)
	first := testkit.Append(t, log, acme, batch...)
	again := testkit.Append(t, log, acme, batch...)
	records := sound(t, log)
	for i, r := range first {
		if !r.Equal(again[i]) || !r.Equal(records[r.ID.String()]) {
			t.Errorf("%+v was appended, %+v repeated, and %+v read", r, again[i], records[r.ID.String()])
		}
	}
	if _, err := log.Append(ctx, acme, 1, testkit.NewGenerator().Batch(1)...); !errors.Is(err, events.ErrConflict) {
		t.Errorf("a wrong version: %v", err)
	}
	if _, err := log.Append(ctx, "usage/acme", 0, batch[0]); !errors.Is(err, events.ErrDuplicate) {
		t.Errorf("a taken ID: %v", err)
	}
	snapshot := events.Snapshot{Head: events.Head{Version: 3, Hash: first[2].Hash()}, Format: "f", Data: []byte{0, 1, 255}}
	if err := log.SaveSnapshot(ctx, acme, snapshot); err != nil {
		t.Error(err)
	}
	if got, err := log.LoadSnapshot(ctx, acme); err != nil || string(got.Data) != string(snapshot.Data) || got.Head != snapshot.Head {
		t.Errorf("snapshot %+v, %v", got, err)
	}
	if err := log.SaveCheckpoint(ctx, "mailer", 2); err != nil {
		t.Error(err)
	}
	if p, err := log.LoadCheckpoint(ctx, "mailer"); p != 2 || err != nil {
		t.Errorf("checkpoint %d, %v", p, err)
	}
	if err := log.Wait(ctx, 2); err != nil {
		t.Error(err)
	}
	if err := log.Notify(ctx); err != nil {
		t.Error(err)
	}
}
