package durable_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/pgserver"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/projection/projtest"
	"github.com/oatmill/oatmill/projection/sqlview"
	"github.com/oatmill/oatmill/quota"
)

// viewHost is a host's database, for the tests of sqlview.
type viewHost struct {
	dialect sqlview.Dialect
	// open is a database handle as the host of another process would have it.
	open func(t testing.TB) *sql.DB
	// fresh is a configuration with no tables yet.
	fresh func(t testing.TB) sqlview.Config
	// address opens the database from another process, with driver.
	driver, address string
	server          *pgserver.Server // nil for SQLite
}

// size is how many records a test gets. Under the race detector SQLite, which is C code made Go,
// is some 30 times slower; the code of ours that can have races is the same on PostgreSQL.
func (h viewHost) size(records int) int {
	if raceDetector && h.dialect == sqlview.SQLite {
		return records / 6
	}
	return records
}

func TestSQLViewSQLite(t *testing.T) {
	t.Parallel()
	testViews(t, sqliteHost(t, t.TempDir()))
}

func TestSQLViewPostgreSQL(t *testing.T) {
	t.Parallel()
	h := postgresHost(t, sharedPostgres(t))
	testViews(t, h)
	t.Run("a role that only reads", func(t *testing.T) { testViewReader(t, h) })
	t.Run("settings of sessions", func(t *testing.T) { testViewSessionSettings(t, h) })
	t.Run("the server crashes", func(t *testing.T) { testViewServerCrashes(t, postgresHost(t, ownPostgres(t))) })
}

func testViews(t *testing.T, h viewHost) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, h viewHost)
	}{
		{"satisfies projtest", testViewSatisfiesProjtest},
		{"agrees with the read models in memory", testViewAgrees},
		{"goes by the nanosecond", testViewNanoseconds},
		{"takes every text and time", testViewOddValues},
		{"refuses what is not its own", testViewRefusesForeign},
		{"is laid out once", testViewLaidOutOnce},
		{"fails as a whole", testViewFailsAsAWhole},
		{"two runners at once", testViewTwoRunners},
		{"a database that was restored", testViewRestored},
		{"a host joins its own tables", testViewJoins},
		{"rebuild repairs", testViewRebuildRepairs},
		{"rebuild beside live", testViewRebuildBesideLive},
		{"rebuild interrupted", testViewRebuildInterrupted},
		{"rebuild superseded", testViewRebuildSuperseded},
		{"rebuild from another log", testViewRebuildOtherLog},
		{"a killed process", testViewKilled},
		{"a closed organization", testViewClosed},
		{"an organization closed by its first record", testViewClosedAtFirst},
		{"folds again once", testViewRefoldTwice},
		{"folding again fails as a whole", testViewRefoldFailsAsAWhole},
		{"reset beside others", testViewResetBesideOthers},
		{"forked beside others", testViewForkedBesideOthers},
		{"follows a fork", testViewFollowsFork},
		{"rebuild opens", testViewRebuildOpens},
		{"layout 1", testViewLayout1},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, h) })
	}
}

// sqliteHost is a file per view, and syncs nothing: what the tests kill is processes.
func sqliteHost(t testing.TB, dir string) viewHost {
	file := filepath.Join(dir, "host.db")
	h := viewHost{dialect: sqlview.SQLite, driver: "sqlite", address: "file:" + file + "?_pragma=journal_mode(wal)&_pragma=synchronous(off)&_pragma=busy_timeout(20000)"}
	h.open = func(t testing.TB) *sql.DB { return openDatabase(t, h) }
	h.fresh = freshPrefix(sqlview.Config{Dialect: sqlview.SQLite})
	return h
}

// postgresHost is a database on a server.
func postgresHost(t testing.TB, server *pgserver.Server) viewHost {
	t.Helper()
	h := viewHost{dialect: sqlview.PostgreSQL, driver: "pgx", address: server.URL(), server: server}
	h.address = collatedDatabase(t, h)
	h.open = func(t testing.TB) *sql.DB { return openDatabase(t, h) }
	prefixes := freshPrefix(sqlview.Config{Dialect: sqlview.PostgreSQL})
	h.fresh = func(t testing.TB) sqlview.Config {
		cfg := prefixes(t)
		cfg.Schema = fmt.Sprintf("oatmill test %s%d", cfg.Prefix, os.Getpid()) // needs its quotes
		t.Cleanup(func() {
			db := openDatabase(t, h)
			_, err := db.Exec(`DROP SCHEMA IF EXISTS "` + cfg.Schema + `" CASCADE`)
			noError(t, errors.Join(err, db.Close()))
		})
		return cfg
	}
	return h
}

// collatedDatabase is the address of a database that sorts as people do, not by bytes, where
// the server lets us make one; of the one at h where it does not.
func collatedDatabase(t testing.TB, h viewHost) string {
	t.Helper()
	db := openDatabase(t, h)
	name := fmt.Sprintf("oatmill_sqlview_%d", os.Getpid())
	if _, err := db.Exec("CREATE DATABASE " + name + " TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"); err != nil {
		t.Logf("no database with a collation of its own: %v", err)
		return h.address
	}
	t.Cleanup(func() {
		db := openDatabase(t, h)
		_, err := db.Exec("DROP DATABASE " + name + " WITH (FORCE)")
		noError(t, errors.Join(err, db.Close()))
	})
	address := must(url.Parse(h.address))
	address.Path = "/" + name
	return address.String()
}

func freshPrefix(cfg sqlview.Config) func(testing.TB) sqlview.Config {
	var number atomic.Int64
	return func(testing.TB) sqlview.Config {
		cfg := cfg
		cfg.Prefix = fmt.Sprintf("v%d_", number.Add(1))
		return cfg
	}
}

func openDatabase(t testing.TB, h viewHost) *sql.DB {
	t.Helper()
	db, err := sql.Open(h.driver, h.address)
	noError(t, err)
	db.SetMaxOpenConns(8)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func openView(t testing.TB, db *sql.DB, cfg sqlview.Config) *sqlview.View {
	t.Helper()
	v, err := sqlview.Open(context.Background(), db, cfg)
	noError(t, err)
	return v
}

// at is the full name of one of the view's tables.
func at(cfg sqlview.Config, table string) string {
	if cfg.Schema != "" {
		return `"` + cfg.Schema + `".` + cfg.Prefix + table
	}
	return cfg.Prefix + table
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func execute(t testing.TB, db *sql.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(context.Background(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func randomViewWorld(t testing.TB, organizations, records int) projtest.World {
	t.Helper()
	w := projtest.NewWorld(projtest.Seed(t), organizations, records)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("repeat with OATMILL_PROJTEST_SEED=%d", w.Seed)
		}
	})
	return w
}

// The view keeps the contract of a projection, and what it stored is what it goes on from.
// To see it fail, let set.fold write the position of the batch's last record whatever was
// folded (unknown type, damaged record), or let changes.addToken leave the uses of deleted
// tokens where they are (batching).
func testViewSatisfiesProjtest(t *testing.T, h viewHost) {
	if h.size(6) == 1 {
		t.Skip("takes minutes with the race detector: run it without, as .ci/run does")
	}
	db := h.open(t)
	configs := make(map[*sqlview.View]sqlview.Config)
	projtest.Run(t, projtest.Harness[*sqlview.View]{
		New: func(t testing.TB) *sqlview.View {
			cfg := h.fresh(t)
			v := openView(t, db, cfg)
			configs[v] = cfg
			return v
		},
		Dump: func(v *sqlview.View, w projtest.World) any { return dumpView(t, v, w, 6) },
		Reopen: func(t testing.TB, v *sqlview.View) *sqlview.View {
			again := openView(t, h.open(t), configs[v])
			configs[again] = configs[v]
			return again
		},
	})
}

// dumpView is what a view answers, as of every nth instant.
func dumpView(t testing.TB, v *sqlview.View, w projtest.World, nth int) any {
	ctx := context.Background()
	var dump []any
	ask := func(answer any, found bool, err error) {
		if err != nil && !t.Failed() {
			t.Error(err)
		}
		dump = append(dump, answer, found)
	}
	all, err := v.Organizations(ctx)
	ask(all, true, err)
	for _, organization := range w.Organizations {
		for i := 0; i < len(w.Instants); i += nth {
			page, err := v.List(ctx, organization, projection.Query{At: w.Instants[i]})
			ask(page, true, err)
			count, found, err := v.Count(ctx, organization, w.Instants[i])
			ask(count, found, err)
		}
		for _, id := range w.Tokens[organization] {
			usage, found, err := v.Usage(ctx, organization, uuid.MustParse(id))
			ask(usage, found, err)
		}
	}
	return dump
}

// dumpModels is what the read models in memory answer when they are asked the same.
func dumpModels(w projtest.World, records []events.Recorded, plans quota.Plans, nth int) any {
	m := newModels(records, plans)
	dump := []any{m.tokens.Organizations(), true}
	for _, organization := range w.Organizations {
		for i := 0; i < len(w.Instants); i += nth {
			dump = append(dump, m.tokens.List(organization, projection.Query{At: w.Instants[i]}), true)
			count, found := m.counts.Of(organization, w.Instants[i])
			dump = append(dump, count, found)
		}
		for _, id := range w.Tokens[organization] {
			usage, found := m.used.Of(organization, uuid.MustParse(id))
			dump = append(dump, usage, found)
		}
	}
	return dump
}

type models struct {
	tokens *projection.Tokens
	counts *projection.Counts
	used   *projection.LastUsed
}

func newModels(records []events.Recorded, plans quota.Plans) models {
	m := models{projection.NewTokens(), projection.NewCounts(plans), projection.NewLastUsed()}
	for _, p := range []projection.Projection{m.tokens, m.counts, m.used} {
		if err := p.Apply(context.Background(), records); err != nil {
			panic(err)
		}
	}
	return m
}

// A host can take either: the same questions get the same answers, whatever is asked and
// however the records came. To see it fail, let roundUp round down, let View.order
// leave out the id, leave the COLLATE out of Dialect.bytewise (PostgreSQL), let set.mergeUses keep the row's attempt when the new one is later, or
// let fold.delete not count down the inactive ones.
func testViewAgrees(t *testing.T, h viewHost) {
	plans := quota.Plans{"team": {Tokens: 10}, "business": {Tokens: 100}, "personal": {}}
	w := randomViewWorld(t, 3, h.size(2000))
	cfg := h.fresh(t)
	cfg.Plans = plans
	v := openView(t, h.open(t), cfg)
	random := rand.New(rand.NewPCG(w.Seed, 2))
	for rest := w.Records; len(rest) > 0; {
		n := min(len(rest), 1+random.IntN(500))
		noError(t, v.Apply(t.Context(), rest[:n]))
		rest = rest[n:]
	}
	m := newModels(w.Records, plans)
	if diff := cmp.Diff(dumpModels(w, w.Records, plans, 1), dumpView(t, v, w, 1)); diff != "" {
		t.Fatal(diff)
	}
	for _, name := range append(w.Organizations, "nobody") {
		for range 60 {
			q := randomViewQuery(random, w)
			got, err := v.List(t.Context(), name, q)
			if want := m.tokens.List(name, q); err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("%s, %+v: %v\n%s", name, q, err, cmp.Diff(want, got))
			}
		}
		for _, owner := range w.Organizations {
			for _, id := range w.Tokens[owner] {
				when := w.Instants[random.IntN(len(w.Instants))]
				got, found, err := v.Get(t.Context(), name, uuid.MustParse(id), when)
				want, there := m.tokens.Get(name, uuid.MustParse(id), when)
				if err != nil || found != there || !reflect.DeepEqual(got, want) {
					t.Fatalf("%s of %s at %v: %v, %v\n%s", id, name, when, found, err, cmp.Diff(want, got))
				}
			}
		}
	}
}

func randomViewQuery(random *rand.Rand, w projtest.World) projection.Query {
	labels := []string{"", "", "CI", "deploy", "ÖSS", " x", "nothing has this", "%", "'"}
	sorts := []projection.Order{projection.ByCreated, projection.ByModified, projection.ByExpires, projection.ByLabel, "no such order"}
	q := projection.Query{
		At:         w.Instants[random.IntN(len(w.Instants))],
		Label:      labels[random.IntN(len(labels))],
		Sort:       sorts[random.IntN(len(sorts))],
		Descending: random.IntN(2) == 0,
		Page:       random.IntN(6) - 1,
		PageSize:   random.IntN(20) - 1,
	}
	for _, state := range []projection.State{projection.Active, projection.Inactive, projection.Expired, "no such state"} {
		if random.IntN(2) == 0 {
			q.States = append(q.States, state)
		}
	}
	return q
}

// history makes records one after the other, as a log would number them.
type history struct {
	records []events.Recorded
	heads   map[events.StreamID]events.Head
}

var historyBegins = time.Date(2026, time.March, 1, 9, 0, 0, 0, time.UTC)

func (h *history) add(t testing.TB, stream events.StreamID, p events.Payload) {
	t.Helper()
	if h.heads == nil {
		h.heads = make(map[events.StreamID]events.Head)
	}
	id := [16]byte{15: byte(len(h.records)), 14: byte(len(h.records) >> 8), 0: 1}
	e, err := events.NewEnvelope(id, historyBegins.Add(time.Duration(len(h.records))*time.Second), "alice", p)
	noError(t, err)
	sealed, head := events.Seal(stream, h.heads[stream], []events.Envelope{e})
	h.heads[stream] = head
	sealed[0].Position = events.Position(len(h.records) + 1)
	h.records = append(h.records, sealed...)
}

func (h *history) register(t testing.TB, organization string) {
	h.add(t, events.OrganizationStream(organization), &events.OrganizationRegistered{Plan: quota.Team, Owners: []string{"alice"}})
}

func (h *history) generate(t testing.TB, organization, label, expires string, resources ...events.Resource) uuid.UUID {
	id := uuid.New()
	h.add(t, events.OrganizationStream(organization), &events.TokenGenerated{Token: id.String(), Label: label, ExpiresAt: expires, Resources: append([]events.Resource{}, resources...)})
	return id
}

func (h *history) use(t testing.TB, organization string, uses ...events.Use) {
	h.add(t, events.UsageStream(organization), &events.UsageRecorded{Uses: uses})
}

func resource(path string, scopes ...string) events.Resource {
	return events.Resource{Type: "TYPE_REPO", Path: path, Scopes: scopes}
}

// Expiries are as fine as nanoseconds, and the database's moments are not. To see it fail,
// let View.expired compare expires_at alone, or let View.order leave expires_nanos out.
func testViewNanoseconds(t *testing.T, h viewHost) {
	var past history
	past.register(t, "acme")
	base := historyBegins.Add(time.Hour)
	for _, nanos := range []int{0, 1, 2, 500, 998, 999, 1000, 1001} {
		past.generate(t, "acme", fmt.Sprint(nanos), base.Add(time.Duration(nanos)).Format(time.RFC3339Nano))
	}
	v := openView(t, h.open(t), h.fresh(t))
	noError(t, v.Apply(t.Context(), past.records))
	m := newModels(past.records, nil)
	for nanos := -1; nanos < 1003; nanos += 1 + max(0, min(nanos, 994-nanos)/3) {
		when := base.Add(time.Duration(nanos))
		for _, descending := range []bool{false, true} {
			q := projection.Query{At: when, Sort: projection.ByExpires, Descending: descending, States: []projection.State{projection.Expired}}
			got, err := v.List(t.Context(), "acme", q)
			if want := m.tokens.List("acme", q); err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("%d nanoseconds after: %v\n%s", nanos, err, cmp.Diff(want, got))
			}
		}
		got, _, err := v.Count(t.Context(), "acme", when)
		if want, _ := m.counts.Of("acme", when); err != nil || got != want {
			t.Fatalf("%d nanoseconds after: %v\n%s", nanos, err, cmp.Diff(want, got))
		}
	}
}

// A record that the log took must not stop the view because its database has no word for
// what is in it.
func testViewOddValues(t *testing.T, h viewHost) {
	var past history
	past.register(t, "acme")
	texts := []string{"a\x00b", `\u0000`, "\\", `"`, "'; --", "\u2028 \u00e9 \U0001F600", "$1 ?1", "<&>"}
	for _, text := range texts {
		id := past.generate(t, "acme", text, "", resource(text, text))
		past.use(t, "acme", events.Use{Token: id.String(), Accepted: &events.UseSpan{First: historyBegins, Last: historyBegins, Count: 1, Address: text, UserAgent: text}})
	}
	for _, expires := range []string{"0000-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z", "1969-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59-14:00"} {
		past.generate(t, "acme", expires, expires)
	}
	cfg := h.fresh(t)
	v := openView(t, h.open(t), cfg)
	noError(t, v.Apply(t.Context(), past.records))
	for i := range past.records { // what is shown for NUL
		if g, ok := must(past.records[i].Payload()).(*events.TokenGenerated); ok && g.Label == texts[0] {
			g.Label = "a\uFFFDb"
			g.Resources[0].Path, g.Resources[0].Scopes[0] = g.Label, g.Label
		}
		if u, ok := must(past.records[i].Payload()).(*events.UsageRecorded); ok && u.Uses[0].Accepted.Address == texts[0] {
			u.Uses[0].Accepted.Address, u.Uses[0].Accepted.UserAgent = "a\uFFFDb", "a\uFFFDb"
			_, data, err := events.Encode(u)
			noError(t, err)
			past.records[i].Data = data // uses are read from there
		}
	}
	w := projtest.World{Organizations: []string{"acme"}, Tokens: map[string][]string{"acme": {}}}
	for _, year := range []int{-300000, -5000, 0, 1, 2026, 10000, 300000} {
		w.Instants = append(w.Instants, time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC))
	}
	for _, token := range newModels(past.records, nil).tokens.List("acme", projection.Query{}).Tokens {
		w.Tokens["acme"] = append(w.Tokens["acme"], token.ID.String())
	}
	if diff := cmp.Diff(dumpModels(w, past.records, nil, 1), dumpView(t, v, w, 1)); diff != "" {
		t.Fatal(diff)
	}
	page, err := v.List(t.Context(), "acme", projection.Query{Label: "\\", Sort: projection.ByExpires})
	if err != nil || page.Total != 2 || !slices.ContainsFunc(page.Tokens, func(t projection.Token) bool { return t.Label == "\\" }) {
		t.Errorf("%+v, %v", page, err)
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
