package durable_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/projection/projtest"
	"github.com/oatmill/oatmill/projection/sqlview"
)

// Whatever became of the rows, a rebuild makes them right again, and leaves alone those that
// are. To see it fail, leave the DELETE out of set.equal, or a column of Table.rest.
func testViewRebuildRepairs(t *testing.T, h viewHost) {
	db, cfg := h.open(t), h.fresh(t)
	v := openView(t, db, cfg)
	w := randomViewWorld(t, 3, 600)
	log, records := logOf(t, w.Records)
	noError(t, v.Apply(t.Context(), records))
	for _, spoil := range []string{
		"UPDATE %[1]stokens SET label = 'wrong' WHERE organization = 'org-0'",
		"UPDATE %[1]stokens SET expires_at = NULL WHERE organization = 'org-1'",
		"DELETE FROM %[1]stokens WHERE organization = 'org-2'",
		"DELETE FROM %[1]sresources WHERE ordinal > 0",
		"UPDATE %[1]slast_used SET accepted_count = accepted_count + 1",
		"INSERT INTO %[1]sorganizations SELECT 'nobody', plan, owners, registered_at, modified_at, modified_by, modified_version, version, tokens, inactive, hash, closed FROM %[1]sorganizations WHERE organization = 'org-0'",
	} {
		execute(t, db, fmt.Sprintf(spoil, at(cfg, "")))
	}
	var told []projection.Progress
	noError(t, v.Rebuild(t.Context(), log, func(p projection.Progress) { told = append(told, p) }))
	if diff := cmp.Diff(dumpModels(w, records, nil, 2), dumpView(t, v, w, 2)); diff != "" {
		t.Fatal(diff)
	}
	sameSums(t, db, cfg, expected(records))
	if end := records[len(records)-1].Position; v.Position() != end || len(told) == 0 || told[len(told)-1].Position != end {
		t.Errorf("at position %d, progress %+v", v.Position(), told)
	}
	if left := nextTables(t, h, db, cfg); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// nextTables are the tables of a second set.
func nextTables(t testing.TB, h viewHost, db *sql.DB, cfg sqlview.Config) (names []string) {
	t.Helper()
	statement := "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE '" + cfg.Prefix + "%_next'"
	if h.dialect == sqlview.PostgreSQL {
		statement = "SELECT tablename::text FROM pg_tables WHERE schemaname = '" + cfg.Schema + "' AND tablename LIKE '%_next'"
	}
	rows, err := db.Query(statement)
	noError(t, err)
	defer rows.Close()
	for rows.Next() {
		var name string
		noError(t, rows.Scan(&name))
		names = append(names, name)
	}
	noError(t, rows.Err())
	return names
}

// Rebuilds, a runner in the same process and one in another, a writer, and somebody who reads:
// at every moment the reader sees the rows of exactly the position it sees, and none goes
// back. To see it fail, let View.take not follow the live set.
func testViewRebuildBesideLive(t *testing.T, h viewHost) {
	w := randomViewWorld(t, 3, h.size(3000))
	half := len(w.Records) / 2
	_, records := logOf(t, w.Records)
	log, _ := logOf(t, w.Records[:half])
	cfg := h.fresh(t)
	v := openView(t, h.open(t), cfg)
	stop := watch(t, h.open(t), cfg, expected(records))
	var work, writing sync.WaitGroup
	defer work.Wait()
	defer writing.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, view := range []*sqlview.View{v, openView(t, h.open(t), cfg)} {
		runner := must(projection.NewRunner(projection.RunnerConfig{Log: log, Projections: []projection.Projection{view}, BatchSize: 32}))
		work.Go(func() {
			if err := runner.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	writing.Go(func() {
		for batch := range slices.Chunk(w.Records[half:], 50) {
			appendAll(t, log, batch)
			if err := waitUntil(ctx, v, must(log.End(ctx))-200); err != nil { // not much faster than it is read
				t.Error(err)
				return
			}
		}
	})
	for range 4 {
		noError(t, v.Rebuild(t.Context(), log, nil))
	}
	writing.Wait()
	noError(t, waitUntil(t.Context(), v, events.Position(len(records))))
	noError(t, v.Rebuild(t.Context(), log, nil))
	cancel()
	work.Wait()
	if looks := stop(); looks == 0 {
		t.Error("nobody looked")
	}
	w.Records = records
	if diff := cmp.Diff(dumpModels(w, records, nil, 4), dumpView(t, v, w, 4)); diff != "" {
		t.Fatal(diff)
	}
}

// waitUntil returns when the projection has come to a position.
func waitUntil(ctx context.Context, p projection.Projection, position events.Position) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for p.Position() < position {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// An interrupted rebuild changed nothing that anybody reads, and the next one does not build on
// what it left. To see it fail, let View.beginNext keep tables that are there.
func testViewRebuildInterrupted(t *testing.T, h viewHost) {
	db, cfg := h.open(t), h.fresh(t)
	v := openView(t, db, cfg)
	w := randomViewWorld(t, 3, 5000) // more than one transaction
	log, records := logOf(t, w.Records)
	want := expected(records)
	noError(t, v.Apply(t.Context(), records[:1000]))
	before := dumpView(t, v, w, 4)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := v.Rebuild(ctx, log, func(projection.Progress) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("%v, want %v", err, context.Canceled)
	}
	if got := sameSums(t, db, cfg, want); got.Position != int64(records[999].Position) || v.Position() != records[999].Position {
		t.Fatalf("%+v", got)
	}
	if !reflect.DeepEqual(before, dumpView(t, v, w, 4)) {
		t.Fatal("the live tables changed")
	}
	if len(nextTables(t, h, db, cfg)) == 0 {
		t.Fatal("the rebuild left nothing, so that it shows nothing to begin again")
	}
	execute(t, db, "UPDATE "+at(cfg, "organizations_next")+" SET version = 7")
	noError(t, v.Rebuild(t.Context(), log, nil))
	if got := sameSums(t, db, cfg, want); got.Position != int64(len(records)) {
		t.Fatalf("%+v", got)
	}
	if diff := cmp.Diff(dumpModels(w, records, nil, 4), dumpView(t, v, w, 4)); diff != "" {
		t.Fatal(diff)
	}
}

// Of two rebuilds the one that began later comes to its end, whether it is still at it
// or done when the other one goes on. To see it fail, leave the build out of set.lock.
func testViewRebuildSuperseded(t *testing.T, h viewHost) {
	w := randomViewWorld(t, 2, 300)
	log, records := logOf(t, w.Records)
	t.Run("by one that is done", func(t *testing.T) {
		db, cfg := h.open(t), h.fresh(t)
		v := openView(t, db, cfg)
		var inner error
		err := v.Rebuild(t.Context(), log, func(projection.Progress) { inner = v.Rebuild(t.Context(), log, nil) })
		if inner != nil || !errors.Is(err, sqlview.ErrSuperseded) {
			t.Fatalf("%v, and inside: %v", err, inner)
		}
		sameSums(t, db, cfg, expected(records))
	})
	t.Run("by one that goes on", func(t *testing.T) {
		db, cfg := h.open(t), h.fresh(t)
		v := openView(t, db, cfg)
		began, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		err := v.Rebuild(t.Context(), log, func(projection.Progress) {
			go func() {
				done <- v.Rebuild(t.Context(), log, func(projection.Progress) { close(began); <-goOn })
			}()
			<-began
		})
		close(goOn)
		if inner := <-done; inner != nil || !errors.Is(err, sqlview.ErrSuperseded) {
			t.Fatalf("%v, and the other: %v", err, inner)
		}
		sameSums(t, db, cfg, expected(records))
	})
}

// A log that cannot be the one the tables were filled from replaces nothing.
func testViewRebuildOtherLog(t *testing.T, h viewHost) {
	db, cfg := h.open(t), h.fresh(t)
	v := openView(t, db, cfg)
	w := randomViewWorld(t, 2, 300)
	_, records := logOf(t, w.Records)
	noError(t, v.Apply(t.Context(), records))
	short, _ := logOf(t, w.Records[:200])
	if err := v.Rebuild(t.Context(), short, nil); !errors.Is(err, events.ErrDamaged) {
		t.Fatalf("%v, want %v", err, events.ErrDamaged)
	}
	unknown, _ := logOf(t, w.Records)
	e := w.Records[0].Envelope
	e.ID, e.Type = [16]byte{1}, "token.transferred.v9"
	must(unknown.Append(t.Context(), events.OrganizationStream("org-0"), events.Any, e))
	if err := v.Rebuild(t.Context(), unknown, nil); !errors.Is(err, events.ErrUnknownType) {
		t.Fatalf("%v, want %v", err, events.ErrUnknownType)
	}
	if got := sameSums(t, db, cfg, expected(records)); got.Position != int64(len(records)) {
		t.Fatalf("%+v", got)
	}
}

// What a host asks with tables of its own.
func testViewJoins(t *testing.T, h viewHost) {
	db, cfg := h.open(t), h.fresh(t)
	v := openView(t, db, cfg)
	var past history
	past.register(t, "acme")
	past.register(t, "umbrella")
	pull, push := "scope-image-pull", "scope-image-push"
	past.generate(t, "acme", "writes api", "", resource("acme/api", pull, push), resource("acme/web", pull))
	past.generate(t, "acme", "writes all", "2999-01-01T00:00:00Z", resource("acme/*", pull, push))
	past.generate(t, "acme", "reads all", "", resource("acme/*", pull))
	past.generate(t, "acme", "public", "", resource("*/*/public", pull, push))
	past.generate(t, "acme", "expired", "2001-01-01T00:00:00Z", resource("acme/api", push))
	off := past.generate(t, "acme", "off", "", resource("acme/api", push))
	past.add(t, events.OrganizationStream("acme"), &events.TokenDeactivated{Token: off.String()})
	past.generate(t, "umbrella", "elsewhere", "", resource("acme/api", push))
	past.add(t, events.OrganizationStream("acme"), &events.OrganizationOwnerAdded{Owner: "bob"})
	noError(t, v.Apply(t.Context(), past.records))

	execute(t, db, "CREATE TABLE "+at(cfg, "host_repositories")+" (name TEXT PRIMARY KEY, organization TEXT)")
	execute(t, db, "INSERT INTO "+at(cfg, "host_repositories")+" VALUES ('acme/api', 'acme'), ('acme/web', 'acme'), ('umbrella/x', 'umbrella')")
	execute(t, db, "CREATE TABLE "+at(cfg, "host_users")+" (name TEXT PRIMARY KEY, mail TEXT)")
	execute(t, db, "INSERT INTO "+at(cfg, "host_users")+" VALUES ('bob', 'bob@example.com'), ('alice', 'alice@example.com'), ('eve', 'eve@example.com')")
	for _, c := range []struct {
		statement string
		want      []string
	}{
		{`SELECT h.name || ': ' || s.label FROM %[1]shost_repositories h
JOIN %[1]sresources r ON r.push = TRUE AND r.path IN (h.name, h.organization || '/*')
JOIN %[1]stoken_status s ON s.id = r.id AND s.organization = r.organization AND s.usable = TRUE
ORDER BY 1`, []string{"acme/api: writes all", "acme/api: writes api", "acme/web: writes all"}},
		{`SELECT o.organization || ': ' || h.mail FROM %[1]sowners o JOIN %[1]shost_users h ON h.name = o.owner ORDER BY o.organization, o.ordinal`,
			[]string{"acme: alice@example.com", "acme: bob@example.com", "umbrella: alice@example.com"}},
		{`SELECT label || ': ' || status FROM %[1]stoken_status WHERE status <> 'active' ORDER BY 1`, []string{"expired: expired", "off: inactive"}},
		{`SELECT organization || ': ' || active || ' of ' || total || ', ' || inactive || ' off, ' || expired || ' expired, ' || remaining || ' of ' || token_limit || ' left' FROM %[1]scounts ORDER BY 1`,
			[]string{"acme: 4 of 6, 1 off, 1 expired, 4 of 10 left", "umbrella: 1 of 1, 0 off, 0 expired, 9 of 10 left"}},
	} {
		if got := texts(t, db, fmt.Sprintf(c.statement, at(cfg, ""))); !slices.Equal(got, c.want) {
			t.Errorf("%s\n%s", c.statement, cmp.Diff(c.want, got))
		}
	}
	testViewOfHost(t, db, cfg, v, past)
}

// testViewOfHost rebuilds under a view of the host's own, with an index of its own.
func testViewOfHost(t *testing.T, db *sql.DB, cfg sqlview.Config, v *sqlview.View, past history) {
	execute(t, db, fmt.Sprintf("CREATE VIEW %[1]shost_view AS SELECT label FROM %[1]stokens WHERE organization = 'acme'", at(cfg, "")))
	execute(t, db, fmt.Sprintf("CREATE INDEX %shost_index ON %s (label)", cfg.Prefix, at(cfg, "tokens")))
	execute(t, db, fmt.Sprintf("UPDATE %stokens SET label = 'x'", at(cfg, "")))
	log, _ := logOf(t, past.records)
	// The positions of the records begin at 2, so the log is one short; a foreign record fills it.
	e := past.records[0].Envelope
	e.ID = [16]byte{9}
	must(log.Append(t.Context(), "host/x", events.Any, e))
	noError(t, v.Rebuild(t.Context(), log, nil))
	want := []string{"expired", "off", "public", "reads all", "writes all", "writes api"}
	if got := texts(t, db, "SELECT label FROM "+at(cfg, "host_view")+" ORDER BY label"); !slices.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

func texts(t testing.TB, db *sql.DB, statement string) (all []string) {
	t.Helper()
	rows, err := db.Query(statement)
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		noError(t, rows.Scan(&text))
		all = append(all, text)
	}
	noError(t, rows.Err())
	return all
}

// BenchmarkSQLView measures what a rebuild and a follower make a second: records a second into
// empty tables in transactions as large as a rebuild's, and in batches as a runner gives
// them by default; and the last transaction of a rebuild, in tokens a second.
func BenchmarkSQLView(b *testing.B) {
	for _, c := range []struct {
		name string
		host func(testing.TB) viewHost
	}{
		{"SQLite", func(b testing.TB) viewHost { return sqliteHost(b, b.TempDir()) }},
		{"PostgreSQL", func(tb testing.TB) viewHost { return postgresHost(tb, sharedPostgres(tb)) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			h := c.host(b)
			w := projtest.NewWorld(1, 200, 100_000)
			for _, size := range []int{256, 4096} {
				b.Run(fmt.Sprintf("apply=%d", size), func(b *testing.B) { benchmarkViewApply(b, h, w.Records, size) })
			}
			b.Run("rebuild", func(b *testing.B) { benchmarkViewRebuild(b, h, w.Records) })
		})
	}
}

func benchmarkViewApply(b *testing.B, h viewHost, records []events.Recorded, size int) {
	for b.Loop() {
		v := openView(b, h.open(b), h.fresh(b))
		for batch := range slices.Chunk(records, size) {
			noError(b, v.Apply(b.Context(), batch))
		}
	}
	b.ReportMetric(float64(len(records)*b.N)/b.Elapsed().Seconds(), "records/s")
}

func benchmarkViewRebuild(b *testing.B, h viewHost, records []events.Recorded) {
	log, records := logOf(b, records)
	v := openView(b, h.open(b), h.fresh(b))
	noError(b, v.Apply(b.Context(), records))
	var last, switching time.Duration
	for b.Loop() {
		began := b.Elapsed()
		noError(b, v.Rebuild(b.Context(), log, func(projection.Progress) { last = b.Elapsed() - began }))
		switching += b.Elapsed() - began - last
	}
	b.ReportMetric(float64(len(records)*b.N)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(switching.Seconds()*1000/float64(b.N), "ms/switch")
}
