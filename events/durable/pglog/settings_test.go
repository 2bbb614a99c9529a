package pglog_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/linear"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/pglog"
)

// sessionSettings has what ALTER ROLE … SET or ALTER DATABASE … SET may do to a session
// (postgresql.org/docs/current/runtime-config-client.html and -compatible.html): how it
// prints and reads, what names stand for, and how its transactions begin and end.
var sessionSettings = map[string][]string{
	"prints": {
		"quote_all_identifiers = on", "DateStyle = 'German, DMY'", "IntervalStyle = 'sql_standard'", "bytea_output = 'escape'",
		"TimeZone = 'Asia/Kathmandu'", "extra_float_digits = -15", "search_path = ''",
		"lc_messages = 'C.UTF-8'", "lc_monetary = 'C.UTF-8'", "lc_numeric = 'C.UTF-8'", "lc_time = 'C.UTF-8'",
	},
	"prints otherwise": { // and with seconds in the offset of times before 1937
		"DateStyle = 'SQL, MDY'", "TimeZone = 'Europe/Amsterdam'",
	},
	"reads": {
		"standard_conforming_strings = off", "backslash_quote = off", "array_nulls = off", "transform_null_equals = on", "client_encoding = 'LATIN1'",
	},
	"shadowed names": {"search_path = shadow, pg_catalog"},
	"serializable": {
		"default_transaction_isolation = 'serializable'", "default_transaction_deferrable = on",
		"statement_timeout = '1min'", "lock_timeout = '1min'", "idle_in_transaction_session_timeout = '1min'", "idle_session_timeout = '1min'",
	},
	"repeatable read": {
		"default_transaction_isolation = 'repeatable read'", "row_security = off", "session_replication_role = 'replica'",
		"plan_cache_mode = 'force_generic_plan'", "enable_indexscan = off", "enable_hashjoin = off",
	},
}

// TestSessionSettings opens logs and lays logs out, as users whose sessions begin with the
// settings, and makes each call, in the ways in which pgx sends statements and reads results:
// as bytes, and twice as texts.
//
// Fails if readTables lets format_type or pg_get_constraintdef print (prints), if a
// statement for texts reads a time or bytes as they are printed (prints), if names
// of the catalog or of types lack their schema (shadowed names), if a list of IDs contains NULL
// (reads), or if Open leaves client_encoding or standard_conforming_strings out.
func TestSessionSettings(t *testing.T) {
	address := newDatabase(t)
	mustClose(t, open(t, address, pglog.Config{Schema: "before"}))
	mustExec(t, address, `CREATE SCHEMA shadow`)
	for _, name := range []string{"text", "uuid", "bytea", "timestamptz", "json"} {
		mustExec(t, address, `CREATE TYPE shadow.`+name+` AS (n int)`)
	}
	for _, name := range []string{"pg_class", "pg_namespace", "pg_attribute", "pg_type", "pg_trigger", "pg_constraint", "records", "layout"} {
		mustExec(t, address, `CREATE TABLE shadow.`+name+` (n int)`)
	}
	for name, settings := range sessionSettings {
		t.Run(name, func(t *testing.T) {
			user := withSettings(t, address, settings)
			for _, mode := range []string{"cache_statement", "exec", "simple_protocol"} {
				as := changed(t, user, func(u *url.URL) { u.RawQuery += "&default_query_exec_mode=" + mode })
				openFor(t, as, pglog.Config{Schema: "before"})
				mustExec(t, address, `DROP SCHEMA IF EXISTS created CASCADE`)
				log := open(t, as, pglog.Config{Schema: "created"})
				useAll(t, log)
				// A host sets what pgx needs, and texts in UTF8, on its own connections.
				tx := begin(t, connect(t, as+"&client_encoding=UTF8&standard_conforming_strings=on"), pgx.ReadCommitted)
				if _, err := log.AppendTx(t.Context(), tx, acme, events.Any, testkit.NewGenerator().Batch(2)...); err != nil {
					t.Error(err)
				}
				mustCommit(t, tx)
				mustClose(t, log)
				if sound(t, openFor(t, address, pglog.Config{Schema: "created"})); t.Failed() {
					t.Fatalf("failed with %s", mode)
				}
			}
		})
	}
}

// TestTransactionOfAnotherPool gives the log a transaction of a host's whose results are texts,
// while those of the log's own pool are not, and the other way round.
//
// Fails if on returns the statements for the pool, or if insertion stores no causation as zeros.
func TestTransactionOfAnotherPool(t *testing.T) {
	address := newDatabase(t)
	texts := changed(t, withSettings(t, address, []string{"DateStyle = 'German'", "bytea_output = 'escape'"}), func(u *url.URL) {
		u.RawQuery += "&default_query_exec_mode=simple_protocol"
	})
	for log, host := range map[string]string{address: texts, texts: address} {
		l := openFor(t, log, pglog.Config{})
		first := testkit.Append(t, l, acme, testkit.NewGenerator().Batch(2)...)
		tx := begin(t, connect(t, host), pgx.ReadCommitted)
		batch := testkit.NewGenerator().Batch(2)
		batch[1].Causation = batch[0].ID
		if _, err := l.AppendTx(t.Context(), tx, acme, events.Any, batch...); err != nil {
			t.Fatal(err)
		}
		var caused int
		if err := tx.QueryRow(t.Context(), `SELECT count(causation) FROM oatmill.records WHERE position > $1`, int64(first[1].Position)).Scan(&caused); err != nil || caused != 1 {
			t.Errorf("%d of two records have a causation, %v, want one", caused, err)
		}
		read := 0
		for r, err := range l.Tx(tx).ReadAll(t.Context(), first[0].Position-1) {
			if err != nil {
				t.Fatal(err)
			}
			if read < 2 && !r.Equal(first[read]) {
				t.Errorf("%+v was appended, and %+v read", first[read], r)
			}
			read++
		}
		if read != 4 {
			t.Errorf("%d records, want 4", read)
		}
		mustCommit(t, tx)
		sound(t, l)
	}
}

// TestEncodingOfSessions gives New a pool whose sessions take the bytes of texts for LATIN1.
// PostgreSQL would store other texts than the ones that were appended.
//
// Fails if server leaves client_encoding out.
func TestEncodingOfSessions(t *testing.T) {
	address := newDatabase(t)
	pool, err := pgxpool.New(t.Context(), withSettings(t, address, []string{"client_encoding = 'LATIN1'"}))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	before := content(t, address)
	if _, err := pglog.New(t.Context(), pool, pglog.Config{}); err == nil || !strings.Contains(err.Error(), "LATIN1") {
		t.Errorf("error %v does not say LATIN1", err)
	}
	if after := content(t, address); after != before {
		t.Errorf("the database was changed:\n%s\nand was\n%s", after, before)
	}
}

// TestIsolationOfSessions takes histories on sessions whose transactions do not wait for the
// changes of others, and end with an error instead.
//
// Fails if collided leaves serialization failures out, or if locked leaves READ COMMITTED out.
func TestIsolationOfSessions(t *testing.T) {
	for _, isolation := range []string{"serializable", "repeatable read"} {
		address := withSettings(t, newDatabase(t), []string{"default_transaction_isolation = '" + isolation + "'"})
		linear.Check(t, linear.Config{Clients: 8, Calls: 20}, openFor(t, address, pglog.Config{}), openFor(t, address, pglog.Config{}))
	}
}

// withSettings returns the address for a superuser whose sessions begin with the settings.
func withSettings(t *testing.T, address string, settings []string) string {
	t.Helper()
	user := fmt.Sprintf("oatmill_%x", testkit.NewGenerator().ID())
	mustExec(t, address, `CREATE ROLE `+user+` SUPERUSER LOGIN PASSWORD 'secret'`)
	t.Cleanup(func() { mustExec(t, address, `DROP OWNED BY `+user+` CASCADE`, `DROP ROLE `+user) })
	for _, setting := range settings {
		mustExec(t, address, `ALTER ROLE `+user+` SET `+setting)
	}
	return changed(t, address, func(u *url.URL) { u.User = url.UserPassword(user, "secret") })
}
