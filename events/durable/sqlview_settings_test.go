package durable_test

import (
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/pgserver"
	"github.com/oatmill/oatmill/projection/sqlview"
)

// testViewSessionSettings opens views, and lays views out, as a user whose sessions begin with
// settings of ALTER ROLE … SET (postgresql.org/docs/current/runtime-config-client.html and
// -compatible.html), with results as bytes and as texts.
//
// Fails if compare lets format_type print (prints), if names of the catalog or of types lack
// their schema (shadowed names), if a moment or an identifier is read as it is printed, or if
// enterSchema leaves client_encoding out.
func testViewSessionSettings(t *testing.T, h viewHost) {
	db := h.open(t)
	role := fmt.Sprintf("oatmill_settings_%d", os.Getpid())
	if _, err := db.Exec("CREATE ROLE " + role + " SUPERUSER LOGIN PASSWORD 'secret'"); err != nil {
		testkit.Missing(t, fmt.Sprintf("needs the right to make a role: unset $%s, and the test has a server of its own (%v)", pgserver.Env, err))
	}
	execute(t, db, "CREATE SCHEMA oatmill_shadow")
	t.Cleanup(func() {
		owner := h.open(t)
		execute(t, owner, "DROP SCHEMA oatmill_shadow CASCADE")
		execute(t, owner, "DROP OWNED BY "+role+" CASCADE")
		execute(t, owner, "DROP ROLE "+role)
	})
	for _, name := range []string{"text", "uuid", "jsonb", "timestamptz"} {
		execute(t, db, "CREATE TYPE oatmill_shadow."+name+" AS (n int)")
	}
	for _, name := range []string{"pg_class", "pg_namespace", "pg_attribute", "pg_type"} {
		execute(t, db, "CREATE TABLE oatmill_shadow."+name+" (n int)")
	}
	w := randomViewWorld(t, 2, 120)
	want := dumpModels(w, w.Records, nil, 2)
	before := h.fresh(t)
	noError(t, openView(t, db, before).Apply(t.Context(), w.Records))
	for name, settings := range map[string][]string{
		"prints": {
			"quote_all_identifiers = on", "DateStyle = 'German, DMY'", "IntervalStyle = 'sql_standard'", "bytea_output = 'escape'",
			"TimeZone = 'Asia/Kathmandu'", "extra_float_digits = -15", "search_path = ''",
			"lc_messages = 'C.UTF-8'", "lc_monetary = 'C.UTF-8'", "lc_numeric = 'C.UTF-8'", "lc_time = 'C.UTF-8'",
		},
		"prints otherwise": {"DateStyle = 'SQL, MDY'", "TimeZone = 'Europe/Amsterdam'"},
		"reads":            {"backslash_quote = off", "array_nulls = off", "transform_null_equals = on"},
		"shadowed names":   {"search_path = oatmill_shadow, pg_catalog"},
		"serializable": {
			"default_transaction_isolation = 'serializable'", "default_transaction_deferrable = on",
			"statement_timeout = '1min'", "lock_timeout = '1min'", "idle_in_transaction_session_timeout = '1min'", "idle_session_timeout = '1min'",
		},
		"repeatable read": {"default_transaction_isolation = 'repeatable read'", "row_security = off", "session_replication_role = 'replica'"},
		"read only":       {"default_transaction_read_only = on"},
	} {
		execute(t, db, "ALTER ROLE "+role+" RESET ALL")
		for _, setting := range settings {
			execute(t, db, "ALTER ROLE "+role+" SET "+setting)
		}
		for _, mode := range []string{"cache_statement", "simple_protocol"} {
			t.Run(name+", "+mode, func(t *testing.T) {
				as := h
				address := must(url.Parse(h.address))
				address.User = url.UserPassword(role, "secret")
				parameters := address.Query()
				parameters.Set("default_query_exec_mode", mode)
				address.RawQuery = parameters.Encode()
				as.address = address.String()
				host := openDatabase(t, as)
				if diff := cmp.Diff(want, dumpView(t, openView(t, host, before), w, 2)); diff != "" {
					t.Error(diff)
				}
				if name == "read only" {
					return
				}
				created := h.fresh(t)
				noError(t, openView(t, host, created).Apply(t.Context(), w.Records))
				if diff := cmp.Diff(want, dumpView(t, openView(t, db, created), w, 2)); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
	t.Run("encoding", func(t *testing.T) {
		execute(t, db, "ALTER ROLE "+role+" RESET ALL")
		execute(t, db, "ALTER ROLE "+role+" SET client_encoding = 'LATIN1'")
		as := h
		address := must(url.Parse(h.address))
		address.User = url.UserPassword(role, "secret")
		as.address = address.String()
		if _, err := sqlview.Open(t.Context(), openDatabase(t, as), before); err == nil || !strings.Contains(err.Error(), "LATIN1") {
			t.Errorf("error %v does not say LATIN1", err)
		}
	})
}
