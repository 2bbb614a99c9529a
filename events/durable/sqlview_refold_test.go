package durable_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/projection/projtest"
	"github.com/oatmill/oatmill/projection/sqlview"
)

// forge puts another record in the place of the last one: the one that a log has after a
// failover that lost it.
func (h *history) forge(t testing.TB, p events.Payload) {
	t.Helper()
	lost := h.records[len(h.records)-1]
	h.records = slices.Clone(h.records[:len(h.records)-1])
	head := events.Head{Version: lost.Version - 1, Hash: lost.Previous}
	e, err := events.NewEnvelope([16]byte{1: 1, 15: byte(lost.Position)}, historyBegins, "mallory", p)
	noError(t, err)
	sealed, head := events.Seal(lost.Stream, head, []events.Envelope{e})
	sealed[0].Position = lost.Position
	h.heads[lost.Stream] = head
	h.records = append(h.records, sealed...)
}

// fork returns a history that can go on in another way.
func (h *history) fork() *history {
	other := &history{records: slices.Clone(h.records), heads: make(map[events.StreamID]events.Head)}
	for stream, head := range h.heads {
		other.heads[stream] = head
	}
	return other
}

// of yields the records of an organization, as a runner gives them to Refold.
func (h *history) of(organization string) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		for _, stream := range []events.StreamID{events.OrganizationStream(organization), events.UsageStream(organization)} {
			for _, r := range h.records {
				if r.Stream == stream && !yield(r, nil) {
					return
				}
			}
		}
	}
}

// closedView returns a view in which acme is closed, because a record of another history
// follows those that the view knows, and umbrella is open. right is the history that it
// should have been given.
func closedView(t *testing.T, db *sql.DB, cfg sqlview.Config) (v *sqlview.View, right *history, token uuid.UUID) {
	t.Helper()
	right = new(history)
	right.register(t, "acme")
	right.register(t, "umbrella")
	token = right.generate(t, "acme", "ci", "", resource("acme/api", "scope-image-pull"))
	right.generate(t, "umbrella", "deploy", "")
	right.use(t, "acme", events.Use{Token: token.String(), Accepted: &events.UseSpan{First: historyBegins, Last: historyBegins, Count: 3}})
	right.add(t, "organization/acme", &events.OrganizationOwnerAdded{Owner: "lost"})
	wrong := right.fork()
	wrong.forge(t, &events.OrganizationOwnerAdded{Owner: "other"})
	right.add(t, "organization/acme", &events.TokenDeactivated{Token: token.String()})
	v = openView(t, db, cfg)
	noError(t, v.Apply(t.Context(), append(wrong.records, right.records[len(right.records)-1])))
	if got := v.Suspects(); !slices.Equal(got, []events.StreamID{"organization/acme"}) {
		t.Fatalf("closed: %v", got)
	}
	return v, right, token
}

// The tables and views of a closed organization say so, its tokens are not usable, and it is
// as if nothing had happened when it was folded again. Source: a record that is skipped after
// an asynchronous failover. Fails if createViews leaves out the comparison of closed.
func testViewClosed(t *testing.T, h viewHost) {
	db, cfg := h.open(t), h.fresh(t)
	v, right, token := closedView(t, db, cfg)
	statement := fmt.Sprintf(`SELECT s.label || ' ' || s.status || ' ' || CAST(s.usable = TRUE AS INTEGER) || ' ' || (s.closed IS NULL) || ' ' || c.active || ' ' || c.remaining || ' ' || (c.closed IS NULL) || ' ' || (SELECT count(*) FROM %[1]sowners o WHERE o.organization = s.organization)
FROM %[1]stoken_status s JOIN %[1]scounts c ON c.organization = s.organization ORDER BY 1`, at(cfg, ""))
	if h.dialect == sqlview.PostgreSQL {
		statement = strings.NewReplacer("(s.closed IS NULL)", "CAST(s.closed IS NULL AS INTEGER)", "(c.closed IS NULL)", "CAST(c.closed IS NULL AS INTEGER)").Replace(statement)
	}
	if got, want := texts(t, db, statement), []string{"ci active 0 0 0 0 0 0", "deploy active 1 1 1 9 1 1"}; !slices.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	reason := texts(t, db, "SELECT closed FROM "+at(cfg, "organizations")+" WHERE closed IS NOT NULL")
	if len(reason) != 1 || !strings.Contains(reason[0], "organization/acme: version 4: says ") {
		t.Errorf("closed because %q", reason)
	}
	if got, found, err := v.Get(t.Context(), "acme", token, historyBegins); err != nil || !found || got.State != projection.Active {
		t.Errorf("the row of the token changed: %+v, %v, %v", got, found, err)
	}
	noError(t, v.Refold(t.Context(), "organization/acme", right.of("acme")))
	if got, want := texts(t, db, statement), []string{"ci inactive 0 1 0 9 1 2", "deploy active 1 1 1 9 1 1"}; !slices.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	if len(v.Suspects()) > 0 {
		t.Errorf("closed: %v", v.Suspects())
	}
	if u, _, err := v.Usage(t.Context(), "acme", token); err != nil || u.Accepted.Count != 3 {
		t.Errorf("uses %+v, %v", u, err)
	}
}

// An organization that is closed by its first record has a row that says so, and is not
// found otherwise, as in the read models in memory. A reason of any length and with any
// characters is stored. Fails if organization.close does not cut the reason.
func testViewClosedAtFirst(t *testing.T, h viewHost) {
	db, cfg := h.open(t), h.fresh(t)
	v := openView(t, db, cfg)
	var past history
	var never strings.Builder // cannot be compressed: PostgreSQL compresses what it has an index of
	for range 500 {
		never.WriteString("é\x00" + uuid.NewString())
	}
	past.add(t, "organization/acme", &events.TokenGenerated{Token: uuid.NewString(), ExpiresAt: never.String()})
	past.add(t, "organization/acme", &events.TokenDeleted{Token: uuid.NewString()})
	past.register(t, "umbrella")
	noError(t, v.Apply(t.Context(), past.records))
	if got := v.Suspects(); !slices.Equal(got, []events.StreamID{"organization/acme"}) {
		t.Fatalf("closed: %v", got)
	}
	list, err := v.Organizations(t.Context())
	if err != nil || len(list) != 1 || list[0].Name != "umbrella" {
		t.Errorf("%+v, %v", list, err)
	}
	if _, found, err := v.Organization(t.Context(), "acme"); found || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
	if _, found, err := v.Count(t.Context(), "acme", historyBegins); found || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
	err = v.Refold(t.Context(), "organization/acme", past.of("acme"))
	if !errors.Is(err, events.ErrDamaged) || len(v.Suspects()) != 1 {
		t.Errorf("%v, closed: %v", err, v.Suspects())
	}
	noError(t, v.Refold(t.Context(), "organization/acme", new(history).of("acme")))
	if got := texts(t, db, "SELECT organization FROM "+at(cfg, "organizations")); !slices.Equal(got, []string{"umbrella"}) {
		t.Errorf("organizations: %q", got)
	}
}

// Of two processes with the same tables each finds what the other one closed, and a second
// Refold writes nothing. Fails if set.refold does not compare with what is stored, or if
// applySome does not read the suspects.
func testViewRefoldTwice(t *testing.T, h viewHost) {
	db, cfg := h.open(t), h.fresh(t)
	second := openView(t, h.open(t), cfg)
	first, right, _ := closedView(t, db, cfg)
	noError(t, second.Apply(t.Context(), right.records[:1]))
	if got := second.Suspects(); !slices.Equal(got, first.Suspects()) {
		t.Fatalf("the other process has closed %v", got)
	}
	noError(t, first.Refold(t.Context(), "organization/acme", right.of("acme")))
	execute(t, db, "UPDATE "+at(cfg, "tokens")+" SET description = 'untouched'")
	noError(t, second.Refold(t.Context(), "organization/acme", right.of("acme")))
	if got := texts(t, db, "SELECT description FROM "+at(cfg, "tokens")); !slices.Equal(got, []string{"untouched", "untouched"}) {
		t.Errorf("rewritten: %q", got)
	}
	if len(second.Suspects()) > 0 || second.Position() != first.Position() {
		t.Errorf("closed: %v, position %d", second.Suspects(), second.Position())
	}
}

// A Refold that fails in the middle changes nothing. Fails if
// transactPostgreSQL passes v.db to work.
func testViewRefoldFailsAsAWhole(t *testing.T, h viewHost) {
	db, cfg := h.open(t), h.fresh(t)
	v, right, token := closedView(t, db, cfg)
	wrong := right.fork()
	wrong.generate(t, "acme", "poison", "")
	noError(t, v.Apply(t.Context(), wrong.records))
	rows := func() string {
		return strings.Join(texts(t, db, fmt.Sprintf(`SELECT organization || CAST(version AS TEXT) || hash || coalesce(closed, '') FROM %[1]sorganizations
UNION ALL SELECT organization || label || CAST(version AS TEXT) FROM %[1]stokens
UNION ALL SELECT organization || path FROM %[1]sresources UNION ALL SELECT organization || CAST(accepted_count AS TEXT) FROM %[1]slast_used ORDER BY 1`, at(cfg, ""))), "\n")
	}
	before := rows()
	cure := poison(t, h, db, cfg)
	if err := v.Refold(t.Context(), "organization/acme", wrong.of("acme")); err == nil || !strings.Contains(err.Error(), "poisoned") {
		t.Fatalf("%v, want what the database said", err)
	}
	if got := rows(); got != before || len(v.Suspects()) != 1 {
		t.Errorf("closed: %v\n%s", v.Suspects(), cmp.Diff(before, got))
	}
	cure()
	noError(t, v.Refold(t.Context(), "organization/acme", wrong.of("acme")))
	if got, _, err := v.Get(t.Context(), "acme", token, historyBegins); err != nil || got.State != projection.Inactive {
		t.Errorf("%+v, %v", got, err)
	}
}

// After one process has emptied the tables the others go on from where they are, without a
// hole, and do not empty them again; a database that was restored is still noticed. Fails if
// stand.before ignores the generation, if View.Reset does not compare it, or if applySome
// does not call continues.
func testViewResetBesideOthers(t *testing.T, h viewHost) {
	db, cfg := h.open(t), h.fresh(t)
	first, second, third := openView(t, db, cfg), openView(t, h.open(t), cfg), openView(t, h.open(t), cfg)
	w := randomViewWorld(t, 3, 300)
	want := expected(w.Records)
	for _, v := range []*sqlview.View{first, second, third} {
		noError(t, v.Apply(t.Context(), w.Records[:200]))
	}
	noError(t, first.Reset(t.Context()))
	if got := sameSums(t, db, cfg, want); got.Position != 0 || first.Position() != 0 {
		t.Fatalf("%+v after a reset", got)
	}
	err := second.Apply(t.Context(), w.Records[200:])
	if err == nil || errors.Is(err, events.ErrDamaged) || second.Position() != 0 {
		t.Fatalf("%v at position %d, want an error after which the log is read from 0", err, second.Position())
	}
	noError(t, second.Apply(t.Context(), w.Records[:100]))
	noError(t, third.Reset(t.Context())) // has the tables as they were before the first reset
	if got := sameSums(t, db, cfg, want); got.Position != int64(w.Records[99].Position) || third.Position() != w.Records[99].Position {
		t.Fatalf("%+v, and the process is at %d", got, third.Position())
	}
	noError(t, third.Apply(t.Context(), w.Records))
	noError(t, first.Apply(t.Context(), w.Records))
	if got := sameSums(t, db, cfg, want); got.Position != int64(first.Position()) {
		t.Fatalf("%+v, and the process is at %d", got, first.Position())
	}
	if diff := cmp.Diff(dumpModels(w, w.Records, nil, 4), dumpView(t, first, w, 4)); diff != "" {
		t.Fatal(diff)
	}
	execute(t, db, fmt.Sprintf("UPDATE %s SET position = 1", at(cfg, "state")))
	if err := third.Reset(t.Context()); !errors.Is(err, events.ErrDamaged) {
		t.Fatalf("reset: %v, want that the database was restored", err)
	}
	execute(t, db, fmt.Sprintf("UPDATE %s SET position = %d, generation = generation - 1", at(cfg, "state"), third.Position()))
	if err := third.Reset(t.Context()); !errors.Is(err, events.ErrDamaged) {
		t.Fatalf("reset: %v, want that the database was restored", err)
	}
}

// A process that has read a forked log does not append to what another one filled from the
// lost history: rows of organizations without new records would stay as they are. Fails if
// applySome does not call continues.
func testViewForkedBesideOthers(t *testing.T, h viewHost) {
	for name, shift := range map[string]events.Position{"another record": 0, "none": 1} {
		db, cfg := h.open(t), h.fresh(t)
		behind, ahead := openView(t, db, cfg), openView(t, h.open(t), cfg)
		lost := new(history)
		lost.register(t, "acme")
		lost.register(t, "umbrella")
		kept := lost.fork()
		lost.generate(t, "acme", "lost", "")
		kept.generate(t, "umbrella", "kept", "")
		kept.records[2].Position += shift
		noError(t, behind.Apply(t.Context(), lost.records[:2]))
		noError(t, ahead.Apply(t.Context(), lost.records))
		err := behind.Apply(t.Context(), kept.records)
		if last := behind.Last(); err == nil || errors.Is(err, events.ErrDamaged) || !slices.Equal(last, []events.Mark{lost.records[2].Mark()}) {
			t.Fatalf("%s: %v, last record %v, want %v", name, err, last, lost.records[2].Mark())
		}
		if got := texts(t, db, "SELECT label FROM "+at(cfg, "tokens")); !slices.Equal(got, []string{"lost"}) {
			t.Fatalf("%s: tokens %q", name, got)
		}
		noError(t, behind.Reset(t.Context()))
		noError(t, behind.Apply(t.Context(), kept.records))
		if got := texts(t, db, "SELECT label FROM "+at(cfg, "tokens")); !slices.Equal(got, []string{"kept"}) {
			t.Fatalf("%s: tokens %q after the reset", name, got)
		}
	}
}

// A rebuild opens what was closed, and processes that had the tables before do not empty
// what it made. Fails if View.take does not count the generation up.
func testViewRebuildOpens(t *testing.T, h viewHost) {
	db, cfg := h.open(t), h.fresh(t)
	v, right, token := closedView(t, db, cfg)
	other := openView(t, h.open(t), cfg)
	log, _ := logOf(t, right.records)
	noError(t, v.Rebuild(t.Context(), log, nil))
	if len(v.Suspects()) > 0 || len(other.Suspects()) != 1 {
		t.Errorf("closed: %v, and in the other process %v", v.Suspects(), other.Suspects())
	}
	if got, _, err := v.Get(t.Context(), "acme", token, historyBegins); err != nil || got.State != projection.Inactive {
		t.Errorf("%+v, %v", got, err)
	}
	noError(t, other.Reset(t.Context()))
	if other.Position() != v.Position() || len(other.Suspects()) > 0 {
		t.Errorf("the other process is at %d, want %d, and has closed %v", other.Position(), v.Position(), other.Suspects())
	}
	if got := texts(t, db, "SELECT label FROM "+at(cfg, "tokens")+" ORDER BY 1"); !slices.Equal(got, []string{"ci", "deploy"}) {
		t.Errorf("tokens %q", got)
	}
}

// switchedLog is a log that can be replaced by another one, as a failover does to a server.
type switchedLog struct{ current atomic.Pointer[memlog.Log] }

func (l *switchedLog) Append(ctx context.Context, stream events.StreamID, expected events.Version, batch ...events.Envelope) ([]events.Recorded, error) {
	return l.current.Load().Append(ctx, stream, expected, batch...)
}

func (l *switchedLog) ReadStream(ctx context.Context, stream events.StreamID, after events.Version) iter.Seq2[events.Recorded, error] {
	return l.current.Load().ReadStream(ctx, stream, after)
}

func (l *switchedLog) ReadAll(ctx context.Context, after events.Position) iter.Seq2[events.Recorded, error] {
	return l.current.Load().ReadAll(ctx, after)
}

func (l *switchedLog) End(ctx context.Context) (events.Position, error) {
	return l.current.Load().End(ctx)
}

func (l *switchedLog) Head(ctx context.Context, stream events.StreamID) (events.Head, error) {
	return l.current.Load().Head(ctx, stream)
}

// Two processes follow a log that loses its newest records, gets others, and then the lost
// ones back: the tables are filled again each time, once, and equal the read models of the
// log that there is. Source: an asynchronous failover. Fails if View.Last returns no mark, or
// if View.Reset keeps the position.
func testViewFollowsFork(t *testing.T, h viewHost) {
	w := randomViewWorld(t, 3, 400)
	full, _ := logOf(t, w.Records)
	fork, _ := logOf(t, w.Records[:300])
	e := must(events.NewEnvelope([16]byte{15: 1}, historyBegins, "alice", &events.OrganizationOwnerAdded{Owner: "fork"}))
	must(fork.Append(t.Context(), "organization/org-0", events.Any, e))

	cfg := h.fresh(t)
	log := new(switchedLog)
	log.current.Store(full)
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	views := []*sqlview.View{openView(t, h.open(t), cfg), openView(t, h.open(t), cfg)}
	for _, v := range views {
		runner := must(projection.NewRunner(projection.RunnerConfig{Log: log, Projections: []projection.Projection{v}, PollInterval: time.Millisecond, Logger: slog.New(slog.DiscardHandler)}))
		work.Go(func() {
			if err := runner.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	for i, next := range []*memlog.Log{full, fork, full} {
		log.current.Store(next)
		var records []events.Recorded
		for r, err := range next.ReadAll(ctx, 0) {
			noError(t, err)
			records = append(records, r)
		}
		end := records[len(records)-1].Mark()
		tick := time.NewTicker(time.Millisecond)
		for _, v := range views {
			for !slices.Contains(v.Last(), end) && !t.Failed() {
				select {
				case <-tick.C:
				case <-ctx.Done():
					t.Fatal(ctx.Err())
				}
			}
		}
		tick.Stop()
		if diff := cmp.Diff(dumpModels(w, records, nil, 20), dumpView(t, views[0], w, 20)); diff != "" {
			t.Fatal(diff)
		}
		if got := texts(t, h.open(t), "SELECT CAST(generation AS TEXT) FROM "+at(cfg, "state")); !slices.Equal(got, []string{fmt.Sprint(i + 1)}) {
			t.Errorf("generation %s, want %d", got, i+1)
		}
	}
}

// layOut1 makes the tables of layout 1, as the versions made them that had it.
func layOut1(t testing.TB, h viewHost, db *sql.DB, cfg sqlview.Config) {
	t.Helper()
	text := string(must(os.ReadFile("testdata/sqlview_layout1_" + string(h.dialect) + ".sql")))
	conn := must(db.Conn(t.Context()))
	defer conn.Close()
	statements := strings.Split(strings.ReplaceAll(text, "$prefix", cfg.Prefix), ";\n")
	if h.dialect == sqlview.PostgreSQL {
		statements = slices.Concat([]string{`CREATE SCHEMA "` + cfg.Schema + `"`, `SET search_path TO "` + cfg.Schema + `"`}, statements, []string{"RESET search_path"})
	}
	for _, statement := range statements {
		if strings.TrimSpace(statement) == "" {
			continue
		}
		if _, err := conn.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// Tables of layout 1 are emptied and brought up to date, with all that the host has added to
// them, and a failure on the way leaves them as they were. Fails if View.upgrade does not
// empty the tables.
func testViewLayout1(t *testing.T, h viewHost) {
	db, cfg := h.open(t), h.fresh(t)
	layOut1(t, h, db, cfg)
	full := at(cfg, "")
	moment, owners := "1", "'[]'"
	if h.dialect == sqlview.PostgreSQL {
		moment, owners = "now()", "'[]'::jsonb"
	}
	execute(t, db, fmt.Sprintf("INSERT INTO %sorganizations VALUES ('acme', 'team', %s, %[3]s, %[3]s, 'alice', 1, 7, 1, 0)", full, owners, moment))
	execute(t, db, "UPDATE "+full+"state SET position = 70")
	execute(t, db, fmt.Sprintf("CREATE VIEW %[1]shost AS SELECT organization, active FROM %[1]scounts", full))
	execute(t, db, fmt.Sprintf("CREATE INDEX %shost_index ON %stokens (label)", cfg.Prefix, full))
	execute(t, db, "ALTER TABLE "+full+"resources RENAME TO "+cfg.Prefix+"hidden")
	if _, err := sqlview.Open(t.Context(), db, cfg); !errors.Is(err, events.ErrDamaged) || !strings.Contains(err.Error(), "resources") {
		t.Fatalf("%v, want that a table is missing", err)
	}
	execute(t, db, "ALTER TABLE "+at(cfg, "hidden")+" RENAME TO "+cfg.Prefix+"resources")
	if got := texts(t, db, "SELECT organization || CAST((SELECT position + layout FROM "+full+"state) AS TEXT) FROM "+full+"host"); !slices.Equal(got, []string{"acme71"}) {
		t.Fatalf("changed by a failure: %q", got)
	}

	var logged bytes.Buffer
	cfg.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	v := openView(t, db, cfg)
	if v.Position() != 0 || strings.Count(logged.String(), "emptied") != 1 || !strings.Contains(logged.String(), "layout=1") {
		t.Errorf("position %d, logged %q", v.Position(), logged.String())
	}
	w := randomViewWorld(t, 3, 300)
	noError(t, v.Apply(t.Context(), w.Records))
	if diff := cmp.Diff(dumpModels(w, w.Records, nil, 4), dumpView(t, v, w, 4)); diff != "" {
		t.Fatal(diff)
	}
	if got := texts(t, db, "SELECT organization FROM "+full+"host ORDER BY 1"); !slices.Equal(got, w.Organizations) {
		t.Errorf("the host's view has %q", got)
	}
	execute(t, db, "DROP INDEX "+at(sqlview.Config{Schema: cfg.Schema}, cfg.Prefix+"host_index"))
	again := openView(t, db, cfg)
	if again.Position() != v.Position() || strings.Count(logged.String(), "emptied") != 1 {
		t.Errorf("position %d, logged %q", again.Position(), logged.String())
	}
	testViewSame(t, h, db, cfg, w)
}

// testViewSame compares tables that were brought up to date with new ones.
func testViewSame(t *testing.T, h viewHost, db *sql.DB, cfg sqlview.Config, w projtest.World) {
	t.Helper()
	fresh := h.fresh(t)
	noError(t, openView(t, db, fresh).Apply(t.Context(), w.Records))
	for _, name := range []string{"organizations", "tokens", "resources", "last_used", "token_status", "counts", "owners"} {
		var columns [2][]string
		for i, c := range []sqlview.Config{cfg, fresh} {
			rows, err := db.Query("SELECT * FROM " + at(c, name) + " LIMIT 1")
			noError(t, err)
			columns[i] = must(rows.Columns())
			noError(t, rows.Close())
		}
		if diff := cmp.Diff(columns[1], columns[0]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
