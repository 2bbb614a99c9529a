package durable_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/pgserver"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/projection/projtest"
	"github.com/oatmill/oatmill/projection/sqlview"
)

// sums is what one statement sees of a view's tables: where they stand, and enough of what
// is in them that hardly any record leaves it as it was.
type sums struct{ Position, Decided, Tokens, Inactive, Resources, Uses int64 }

// look reads the sums by one statement, which sees one state of the database.
func look(db *sql.DB, cfg sqlview.Config) (s sums, err error) {
	err = db.QueryRow(fmt.Sprintf(`SELECT (SELECT position FROM %s),
  (SELECT CAST(coalesce(sum(version), 0) AS BIGINT) FROM %[2]s), (SELECT count(*) FROM %s), (SELECT CAST(coalesce(sum(inactive), 0) AS BIGINT) FROM %[2]s),
  (SELECT count(*) FROM %[4]s), (SELECT CAST(coalesce(sum(accepted_count + refused_count), 0) AS BIGINT) FROM %s)`,
		at(cfg, "state"), at(cfg, "organizations"), at(cfg, "tokens"), at(cfg, "resources"), at(cfg, "last_used"),
	)).Scan(&s.Position, &s.Decided, &s.Tokens, &s.Inactive, &s.Resources, &s.Uses)
	return s, err
}

// expected is the sums after each record, by position, and before the first.
func expected(records []events.Recorded) map[int64]sums {
	type token struct {
		inactive  bool
		resources int
		uses      int64
	}
	tokens := make(map[string]*token) // by organization and id
	s := sums{}
	all := map[int64]sums{0: s}
	for _, r := range records {
		if r.Stream.Kind() == events.KindOrganization {
			s.Decided += int64(r.Version) - int64(r.Version-1)
		}
		name := r.Stream.Name() + " "
		var p events.Payload
		if kind := r.Stream.Kind(); kind == events.KindOrganization || kind == events.KindUsage {
			p = must(r.Payload())
		}
		switch p := p.(type) {
		case *events.TokenGenerated:
			tokens[name+p.Token] = &token{resources: len(p.Resources)}
			s.Tokens++
			s.Resources += int64(len(p.Resources))
		case *events.TokenEdited:
			if p.Resources != nil {
				s.Resources += int64(len(p.Resources) - tokens[name+p.Token].resources)
				tokens[name+p.Token].resources = len(p.Resources)
			}
		case *events.TokenDeactivated:
			tokens[name+p.Token].inactive = true
			s.Inactive++
		case *events.TokenDeleted:
			gone := tokens[name+p.Token]
			delete(tokens, name+p.Token)
			s.Tokens--
			s.Resources -= int64(gone.resources)
			s.Uses -= gone.uses
			if gone.inactive {
				s.Inactive--
			}
		case *events.UsageRecorded:
			for _, use := range p.Uses {
				for _, span := range []*events.UseSpan{use.Accepted, use.Refused} {
					if t := tokens[name+use.Token]; t != nil && span != nil {
						t.uses += span.Count
						s.Uses += span.Count
					}
				}
			}
		}
		s.Position = int64(r.Position)
		all[s.Position] = s
	}
	return all
}

// watch looks at the tables again and again, as a host would that reads while others write.
// Never does it see rows that do not belong to the position it sees.
func watch(t *testing.T, db *sql.DB, cfg sqlview.Config, want map[int64]sums) (stop func() (looks int)) {
	done, looks := make(chan struct{}), 0
	var watching sync.WaitGroup
	watching.Go(func() {
		for last := int64(0); ; looks++ {
			select {
			case <-done:
				return
			default:
			}
			got, err := look(db, cfg)
			if err != nil || got != want[got.Position] || got.Position < last {
				t.Errorf("after position %d: %v\n%s", last, err, cmp.Diff(want[got.Position], got))
				return
			}
			last = got.Position
		}
	})
	stop = sync.OnceValue(func() int {
		close(done)
		watching.Wait()
		return looks
	})
	t.Cleanup(func() { stop() })
	return stop
}

func sameSums(t testing.TB, db *sql.DB, cfg sqlview.Config, want map[int64]sums) sums {
	t.Helper()
	got, err := look(db, cfg)
	if err != nil || got != want[got.Position] {
		t.Fatalf("%v\n%s", err, cmp.Diff(want[got.Position], got))
	}
	return got
}

// logOf is a log with the world's records, which get positions without gaps.
func logOf(t testing.TB, records []events.Recorded) (*memlog.Log, []events.Recorded) {
	t.Helper()
	log := memlog.New()
	appendAll(t, log, records)
	var all []events.Recorded
	for r, err := range log.ReadAll(context.Background(), 0) {
		noError(t, err)
		all = append(all, r)
	}
	return log, all
}

func appendAll(t testing.TB, log events.Log, records []events.Recorded) {
	for _, r := range records {
		if _, err := log.Append(context.Background(), r.Stream, events.Any, r.Envelope); err != nil {
			t.Error(err)
			return
		}
	}
}

// poison has the database refuse a token of that label, which stands for everything that
// fails in the middle of a batch.
func poison(t testing.TB, h viewHost, db *sql.DB, cfg sqlview.Config) (cure func()) {
	tokens := at(cfg, "tokens")
	if h.dialect == sqlview.SQLite {
		execute(t, db, "CREATE TRIGGER "+cfg.Prefix+"poison BEFORE INSERT ON "+tokens+" WHEN NEW.label = 'poison' BEGIN SELECT raise(ABORT, 'poisoned'); END")
		return func() { execute(t, db, "DROP TRIGGER "+cfg.Prefix+"poison") }
	}
	function := at(cfg, "poison")
	execute(t, db, "CREATE FUNCTION "+function+"() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.label = 'poison' THEN RAISE 'poisoned'; END IF; RETURN NEW; END $$")
	execute(t, db, "CREATE TRIGGER poison BEFORE INSERT ON "+tokens+" FOR EACH ROW EXECUTE FUNCTION "+function+"()")
	return func() { execute(t, db, "DROP TRIGGER poison ON "+tokens) }
}

// Whatever ends a transaction in the middle, rows and position stay those of one moment, and
// the same batch goes through later. To see it fail, let transactPostgreSQL hand v.db to work, or
// leave the ROLLBACK out of rollBack (SQLite).
func testViewFailsAsAWhole(t *testing.T, h viewHost) {
	db, cfg := h.open(t), h.fresh(t)
	v := openView(t, db, cfg)
	var past history
	past.register(t, "acme")
	past.generate(t, "acme", "before", "")
	past.generate(t, "acme", "poison", "", resource("acme/api", "scope-image-pull"))
	past.generate(t, "acme", "after", "")
	want := expected(past.records)
	cure := poison(t, h, db, cfg)
	for range 2 {
		err := v.Apply(t.Context(), past.records)
		if err == nil || !strings.Contains(err.Error(), "poisoned") || errors.Is(err, events.ErrDamaged) {
			t.Fatalf("%v, want what the database said", err)
		}
		if got := sameSums(t, db, cfg, want); got.Position != 0 || v.Position() != 0 {
			t.Fatalf("position %d, and %d in the table", v.Position(), got.Position)
		}
	}
	cure()
	noError(t, v.Apply(t.Context(), past.records))
	if got := sameSums(t, db, cfg, want); got.Tokens != 3 {
		t.Fatalf("%+v", got)
	}
	testViewContextEnds(t, h)
}

// testViewContextEnds ends contexts at moments all over a transaction.
func testViewContextEnds(t *testing.T, h viewHost) {
	db, cfg := h.open(t), h.fresh(t)
	v := openView(t, db, cfg)
	w := randomViewWorld(t, 3, h.size(1000))
	want := expected(w.Records)
	const parts = 10
	ended, whole := 0, time.Duration(0)
	for batch := range slices.Chunk(w.Records, len(w.Records)/parts) {
		ctx, cancel := context.WithTimeout(t.Context(), whole*time.Duration(ended+1)/parts)
		err := v.Apply(ctx, batch)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			ended++
		} else {
			noError(t, err)
		}
		sameSums(t, db, cfg, want)
		began := time.Now()
		noError(t, v.Apply(t.Context(), batch))
		whole = max(whole, time.Since(began))
		if got := sameSums(t, db, cfg, want); got.Position != int64(v.Position()) {
			t.Fatalf("position %d, and %d in the table", v.Position(), got.Position)
		}
	}
	if ended == 0 {
		t.Error("no context ended in time to show anything")
	}
}

// A full disk stops the view, and nothing else comes of it.
func TestSQLViewFullDisk(t *testing.T) {
	h := sqliteHost(t, t.TempDir())
	db, cfg := h.open(t), h.fresh(t)
	db.SetMaxOpenConns(1) // the limit is the connection's
	v := openView(t, db, cfg)
	w := randomViewWorld(t, 3, 3000)
	want := expected(w.Records)
	execute(t, db, "PRAGMA max_page_count = 60")
	var full error
	for batch := range slices.Chunk(w.Records, 64) {
		if full = v.Apply(t.Context(), batch); full != nil {
			break
		}
	}
	if full == nil || !strings.Contains(full.Error(), "full") || errors.Is(full, events.ErrDamaged) {
		t.Fatalf("%v, want that the disk is full", full)
	}
	if got := sameSums(t, db, cfg, want); got.Position != int64(v.Position()) || got.Position == 0 {
		t.Fatalf("position %d, and %d in the table", v.Position(), got.Position)
	}
	execute(t, db, "PRAGMA max_page_count = 1000000")
	noError(t, v.Apply(t.Context(), w.Records))
	if diff := cmp.Diff(dumpModels(w, w.Records, nil, 4), dumpView(t, v, w, 4)); diff != "" {
		t.Fatal(diff)
	}
}

// Two processes lead the same view; each record counts once, and nobody who reads meanwhile
// sees rows and position disagree. To see it fail, let set.fold not skip what the other one
// did, or take FOR UPDATE out of set.lockState (PostgreSQL).
func testViewTwoRunners(t *testing.T, h viewHost) {
	w := randomViewWorld(t, 3, h.size(1500))
	_, records := logOf(t, w.Records)
	want := expected(records)
	testViewTakesTurns(t, h, records, want)
	log, _ := logOf(t, nil)
	cfg := h.fresh(t)
	openView(t, h.open(t), cfg)
	stop := watch(t, h.open(t), cfg, want)
	var work sync.WaitGroup
	defer work.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var runners []*projection.Runner
	for range 2 {
		runner := must(projection.NewRunner(projection.RunnerConfig{Log: log, Projections: []projection.Projection{openView(t, h.open(t), cfg), projection.NewTokens()}, BatchSize: 16}))
		runners = append(runners, runner)
		work.Go(func() {
			if err := runner.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	appendAll(t, log, w.Records)
	for _, runner := range runners {
		noError(t, runner.WaitFor(t.Context(), events.Position(len(records))))
	}
	cancel()
	work.Wait()
	if looks := stop(); looks == 0 {
		t.Error("nobody looked")
	}
	w.Records = records
	if diff := cmp.Diff(dumpModels(w, records, nil, 4), dumpView(t, openView(t, h.open(t), cfg), w, 4)); diff != "" {
		t.Fatal(diff)
	}
}

// testViewTakesTurns has the same batches come to two views, each of which knows nothing of
// what the other one did.
func testViewTakesTurns(t *testing.T, h viewHost, records []events.Recorded, want map[int64]sums) {
	db, cfg := h.open(t), h.fresh(t)
	views := []*sqlview.View{openView(t, db, cfg), openView(t, h.open(t), cfg)}
	for at, turn := 0, 0; at < len(records); turn++ {
		at = min(len(records), at+40)
		from := max(0, at-100)
		noError(t, views[turn%2].Apply(t.Context(), records[from:at]))
		if got := sameSums(t, db, cfg, want); got.Position != int64(records[at-1].Position) || views[turn%2].Position() != records[at-1].Position {
			t.Fatalf("%+v after position %d", got, records[at-1].Position)
		}
	}
}

// A database that went back behind what a process knows must not be filled with a hole.
// Whoever opens the view then goes on from where the database is.
func testViewRestored(t *testing.T, h viewHost) {
	db, cfg := h.open(t), h.fresh(t)
	v := openView(t, db, cfg)
	w := randomViewWorld(t, 2, 200)
	noError(t, v.Apply(t.Context(), w.Records[:100]))
	before := w.Records[49].Position
	execute(t, db, fmt.Sprintf("UPDATE %s SET position = %d", at(cfg, "state"), before))
	err := v.Apply(t.Context(), w.Records[100:])
	if !errors.Is(err, events.ErrDamaged) || !strings.Contains(err.Error(), "restored") {
		t.Fatalf("%v, want that the database was restored", err)
	}
	if again := openView(t, db, cfg); again.Position() != before {
		t.Fatalf("opened at position %d, want %d", again.Position(), before)
	}
}

// What has our names and is not ours is refused with its name, and left as it is.
func testViewRefusesForeign(t *testing.T, h viewHost) {
	for _, c := range []struct {
		name    string
		foreign bool // there is no view yet
		spoil   string
		want    error
		says    string
	}{
		{"a table of the host's", true, "CREATE TABLE %[1]stokens (id INTEGER)", events.ErrDamaged, "tokens"},
		{"a state of the host's", true, "CREATE TABLE %[1]sstate (state TEXT)", events.ErrDamaged, "state"},
		{"a newer layout", false, "UPDATE %[1]sstate SET layout = 99", events.ErrNewer, "layout 99"},
		{"a layout that never was", false, "UPDATE %[1]sstate SET layout = 0", events.ErrDamaged, "layout 0"},
		{"no state", false, "DELETE FROM %[1]sstate", events.ErrDamaged, "state"},
		{"a table is gone", false, "DROP TABLE %[1]sresources", events.ErrDamaged, "resources"},
		{"a column is gone", false, "ALTER TABLE %[1]sorganizations DROP COLUMN inactive", events.ErrDamaged, "inactive"},
		{"a column has another name", false, "ALTER TABLE %[1]slast_used RENAME COLUMN refused_cause TO why", events.ErrDamaged, "refused_cause"},
		{"a view is gone", false, "DROP VIEW %[1]sowners", events.ErrDamaged, "owners"},
	} {
		t.Run(c.name, func(t *testing.T) {
			db, cfg := h.open(t), h.fresh(t)
			var v *sqlview.View
			if !c.foreign {
				v = openView(t, db, cfg)
			} else if h.dialect == sqlview.PostgreSQL {
				execute(t, db, `CREATE SCHEMA "`+cfg.Schema+`"`)
			}
			if h.dialect == sqlview.PostgreSQL && strings.Contains(c.spoil, "DROP ") {
				c.spoil += " CASCADE"
			}
			if h.dialect == sqlview.SQLite && strings.Contains(c.spoil, "DROP COLUMN") { // views are in its way
				execute(t, db, "DROP VIEW "+at(cfg, "counts"))
			}
			execute(t, db, fmt.Sprintf(c.spoil, at(cfg, "")))
			_, err := sqlview.Open(t.Context(), db, cfg)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("%v, want %v with %q", err, c.want, c.says)
			}
			if c.foreign {
				var n int
				if err := db.QueryRow("SELECT count(*) FROM " + at(cfg, "organizations")).Scan(&n); err == nil {
					t.Error("tables were made beside the host's")
				}
			}
			if v != nil && strings.Contains(c.spoil, "state") && c.name != "a layout that never was" {
				if err := v.Apply(t.Context(), randomViewWorld(t, 1, 10).Records); !errors.Is(err, c.want) {
					t.Errorf("apply: %v, want %v", err, c.want)
				}
			}
		})
	}
}

// Many processes that start at once make one view.
func testViewLaidOutOnce(t *testing.T, h viewHost) {
	cfg := h.fresh(t)
	w := randomViewWorld(t, 2, 100)
	var opening sync.WaitGroup
	for range 6 {
		db := h.open(t)
		opening.Go(func() {
			v, err := sqlview.Open(context.Background(), db, cfg)
			if err == nil {
				err = v.Apply(context.Background(), w.Records)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	opening.Wait()
	if t.Failed() {
		return
	}
	sameSums(t, h.open(t), cfg, expected(w.Records))
}

// Somebody who may only read opens the view and asks it, and cannot change it. To see it fail,
// let View.found take the lock of set.lockState.
func testViewReader(t *testing.T, h viewHost) {
	db, cfg := h.open(t), h.fresh(t)
	w := randomViewWorld(t, 2, 200)
	noError(t, openView(t, db, cfg).Apply(t.Context(), w.Records))
	role := fmt.Sprintf("oatmill_reader_%d", os.Getpid())
	if _, err := db.Exec("CREATE ROLE " + role); err != nil {
		testkit.Missing(t, fmt.Sprintf("needs the right to make a role: unset $%s, and the test has a server of its own (%v)", pgserver.Env, err))
	}
	t.Cleanup(func() {
		owner := h.open(t)
		execute(t, owner, "DROP OWNED BY "+role)
		execute(t, owner, "DROP ROLE "+role)
	})
	execute(t, db, fmt.Sprintf(`GRANT USAGE ON SCHEMA "%s" TO %s`, cfg.Schema, role))
	execute(t, db, fmt.Sprintf(`GRANT SELECT ON ALL TABLES IN SCHEMA "%s" TO %s`, cfg.Schema, role))
	address := must(url.Parse(h.address))
	parameters := address.Query()
	parameters.Set("role", role)
	address.RawQuery = parameters.Encode()
	h.address = address.String()
	reader := openView(t, openDatabase(t, h), cfg)
	if diff := cmp.Diff(dumpModels(w, w.Records, nil, 4), dumpView(t, reader, w, 4)); diff != "" {
		t.Fatal(diff)
	}
	e := w.Records[len(w.Records)-1]
	e.Position, e.Stream = e.Position+1, "host/x"
	if err := reader.Apply(t.Context(), []events.Recorded{e}); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Fatalf("%v, want that it may not", err)
	}
}

// The second set of tables does not survive a crash of the server. A rebuild in whose midst the
// server crashes ends with an error, which does not blame the log. To see it fail, let set.create
// make the state of the second set a table that survives.
func testViewServerCrashes(t *testing.T, h viewHost) {
	db, cfg := h.open(t), h.fresh(t)
	v := openView(t, db, cfg)
	w := randomViewWorld(t, 3, 5000)
	log, records := logOf(t, w.Records)
	want := expected(records)
	noError(t, v.Apply(t.Context(), records[:3000]))
	err := v.Rebuild(t.Context(), log, func(p projection.Progress) {
		if p.Position == events.Position(len(records)) {
			return
		}
		execute(t, db, "CHECKPOINT") // so that all that can survive does
		noError(t, h.server.Kill())
		noError(t, h.server.Restart(t.Context()))
		db.SetMaxIdleConns(0) // the connections that were lost are no error to stop at
		db.SetMaxIdleConns(8)
	})
	if err == nil || !strings.Contains(err.Error(), "begin again") || errors.Is(err, events.ErrDamaged) {
		t.Fatalf("%v, want that the rebuild must begin again", err)
	}
	if got := sameSums(t, db, cfg, want); got.Position != int64(records[2999].Position) {
		t.Fatalf("%+v", got)
	}
	noError(t, v.Rebuild(t.Context(), log, nil))
	if got := sameSums(t, db, cfg, want); got.Position != int64(len(records)) {
		t.Fatalf("%+v", got)
	}
	if diff := cmp.Diff(dumpModels(w, records, nil, 4), dumpView(t, v, w, 4)); diff != "" {
		t.Fatal(diff)
	}
}

const viewChild = "OATMILL_SQLVIEW_CHILD"

// TestSQLViewChild is no test: it is the process that testViewKilled kills. It applies
// the world's records in small batches, and says after each that it did.
func TestSQLViewChild(t *testing.T) {
	text, ok := os.LookupEnv(viewChild)
	if !ok {
		return
	}
	var c struct {
		driver, address string
		cfg             sqlview.Config
		seed            uint64
	}
	fields := strings.Split(text, "\n")
	c.driver, c.address = fields[0], fields[1]
	c.cfg = sqlview.Config{Dialect: sqlview.Dialect(fields[2]), Schema: fields[3], Prefix: fields[4]}
	must(fmt.Sscan(fields[5], &c.seed))
	v := openView(t, must(sql.Open(c.driver, c.address)), c.cfg)
	w := projtest.NewWorld(c.seed, 3, killedRecords)
	for batch := range slices.Chunk(w.Records, 25) {
		noError(t, v.Apply(t.Context(), batch))
		fmt.Println("applied", v.Position())
	}
	fmt.Println("done")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent is gone
}

const killedRecords = 2500

// A process that is killed in the middle of a batch leaves no part of one. To see it fail, let
// transactPostgreSQL hand v.db to work.
func testViewKilled(t *testing.T, h viewHost) {
	cfg := h.fresh(t)
	w := randomViewWorld(t, 3, killedRecords)
	want := expected(w.Records)
	openView(t, h.open(t), cfg)
	db := h.open(t)
	random := rand.New(rand.NewPCG(w.Seed, 3))
	for range 5 {
		killChild(t, h, cfg, w.Seed, 1+random.IntN(12), time.Duration(random.IntN(4000))*time.Microsecond)
		sameSums(t, db, cfg, want)
	}
	v := openView(t, h.open(t), cfg)
	if v.Position() == 0 {
		t.Fatal("no process came as far as to apply anything")
	}
	noError(t, v.Apply(t.Context(), w.Records))
	if diff := cmp.Diff(dumpModels(w, w.Records, nil, 4), dumpView(t, v, w, 4)); diff != "" {
		t.Fatal(diff)
	}
}

// killChild runs a process until it has said so many lines, and a little longer.
func killChild(t *testing.T, h viewHost, cfg sqlview.Config, seed uint64, lines int, longer time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, must(filepath.Abs(os.Args[0])), "-test.run=^TestSQLViewChild$", "-test.v")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s\n%s\n%s\n%s\n%s\n%d", viewChild, h.driver, h.address, h.dialect, cfg.Schema, cfg.Prefix, seed))
	_ = must(cmd.StdinPipe())
	out := must(cmd.StdoutPipe())
	noError(t, cmd.Start())
	said := bufio.NewScanner(out)
	for lines > 0 && said.Scan() {
		if strings.HasPrefix(said.Text(), "applied ") {
			lines--
		}
		if strings.Contains(said.Text(), "FAIL") || said.Text() == "done" {
			break
		}
	}
	timer := time.NewTimer(longer) // a moment in the midst of a batch, not something to wait for
	<-timer.C
	_ = cmd.Process.Kill()
	err := cmd.Wait()
	if cmd.ProcessState.Exited() {
		t.Fatalf("the process ended by itself: %v", err)
	}
}
