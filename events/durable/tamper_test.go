package durable_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/pglog"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/quota"
)

// tampered is a log of two organizations that somebody with access to the database edits.
type tampered struct {
	records []events.Recorded
	revoked oat.Attempt // of acme
	others  oat.Attempt // of globex, and accepted
}

// fillTampered fills a log so that the last record of acme's stream is a revocation, and
// globex and its uses come after it.
func fillTampered(t *testing.T, log events.Log) tampered {
	t.Helper()
	ctx, by := t.Context(), oat.Actor{User: "alice", Correlation: "request", Reason: "why"}
	service, err := oat.New(oat.Config{Log: log})
	must(t, err)
	var tokens []oat.Token
	attempts := map[string]oat.Attempt{}
	for _, name := range []string{"acme", "globex"} {
		must(t, service.Register(ctx, by, oat.Register{Organization: name, Plan: quota.Team, Owners: []string{"alice", "bob"}}))
		token, secret, err := service.Generate(ctx, by, oat.Generate{
			Organization: name, Label: "ci", Expires: oat.Never(), Resources: []oat.Resource{oat.Repository(name+"/api", oat.Read)},
		})
		must(t, err)
		tokens, attempts[name] = append(tokens, token), oat.Attempt{Organization: name, Secret: secret}
		if name == "acme" {
			must(t, service.RemoveOwner(ctx, by, oat.RemoveOwner{Organization: name, Owner: "bob"}))
			must(t, service.Deactivate(ctx, by, oat.Deactivate{Organization: name, Token: token.ID}))
		}
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	use, err := events.NewEnvelope([16]byte{1}, at, "host:recorder", &events.UsageRecorded{Uses: []events.Use{{
		Token: tokens[1].ID.String(), Accepted: &events.UseSpan{First: at, Last: at, Count: 1},
	}}})
	must(t, err)
	_, err = log.Append(ctx, events.UsageStream("globex"), events.Any, use)
	must(t, err)
	made := tampered{revoked: attempts["acme"], others: attempts["globex"]}
	for r, err := range log.ReadAll(ctx, 0) {
		must(t, err)
		made.records = append(made.records, r)
	}
	return made
}

// serves starts a process on the edited log. It demands that nothing of acme opens, that the
// process says why, and that it serves globex when the edit can be told to concern acme
// alone.
func (made tampered) serves(t *testing.T, log events.Log, edit string, acmeAlone bool) {
	t.Helper()
	verifier, tokens := oat.NewVerifier(oat.VerifierConfig{}), projection.NewTokens()
	runner, err := projection.NewRunner(projection.RunnerConfig{
		Log: log, Projections: []projection.Projection{verifier, tokens}, Logger: slog.New(slog.DiscardHandler),
	})
	must(t, err)
	failed := runner.CatchUp(t.Context())
	if failed != nil && (!errors.Is(failed, events.ErrDamaged) || !verifier.Status().Stale) {
		t.Errorf("%s: %v, stale: %t", edit, failed, verifier.Status().Stale)
	}
	if _, err := verifier.Verify(t.Context(), made.revoked); err == nil {
		t.Errorf("%s: the revoked token opens", edit)
	}
	closed := verifier.Status().Closed
	switch _, err := verifier.Verify(t.Context(), made.others); {
	case !acmeAlone:
	case failed != nil || err != nil:
		t.Errorf("%s: the other organization is not served: %v, %v", edit, failed, err)
	case len(closed) != 1 || closed[0].Organization != "acme" || len(tokens.Suspects()) != 1:
		t.Errorf("%s: closed are %+v, %v", edit, closed, tokens.Suspects())
	}
	if !acmeAlone && failed == nil && len(closed) == 0 {
		t.Errorf("%s: not noticed", edit)
	}
}

// edits are the statements that change one record behind the library's back. Those that do
// not name the organization to a reader can be anybody's.
func edits(r events.Recorded, last bool, literal func(any) string) map[string]bool {
	where := fmt.Sprintf(" WHERE position = %d", r.Position)
	other := uuid.New()
	all := map[string]bool{
		"DELETE FROM records" + where: !last,
	}
	for column, value := range map[string]any{
		"type": "token.edited.v1", "time": r.Time.Add(time.Second), "actor": "mallory", "correlation": "another", "reason": "another",
		"id": other, "previous": events.Hash{1}, "hash": events.Hash{1}, "version": int(r.Version) + 100,
		"data": strings.Replace(string(r.Data), `":`, `": `, 1),
	} {
		all["UPDATE records SET "+column+" = "+literal(value)+where] = true
	}
	if r.Type == events.TypeTokenDeactivated { // a revocation becomes an edit
		all["UPDATE records SET type = 'token.edited.v1', data = "+literal(strings.Replace(string(r.Data), "}", `,"label":"ci"}`, 1))+where] = true
		all["UPDATE records SET data = "+literal(`{"token":"`+other.String()+`"}`)+where] = true
	}
	return all
}

// TestTamperedSQLite edits each record of acme behind the library's back, one way at a time,
// and starts a process on the file. Source: 377 edits of rows, of which a process noticed 107
// at its start. Fails if sqlitelog does not pass on the stored hash, or if a fold does not
// compare it.
func TestTamperedSQLite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.db")
	log, err := sqlitelog.Open(t.Context(), path, sqlitelog.Config{})
	must(t, err)
	made := fillTampered(t, log)
	must(t, log.Close())
	file, err := os.ReadFile(path)
	must(t, err)
	literal := func(v any) string {
		switch v := v.(type) {
		case time.Time:
			return fmt.Sprint(v.UnixMicro())
		case uuid.UUID:
			return "'" + strings.ToUpper("01"+strings.ReplaceAll(v.String(), "-", "")[:24]) + "'"
		case events.Hash:
			return "x'" + v.String() + "'"
		case string:
			return "'" + strings.ReplaceAll(v, "'", "''") + "'"
		}
		return fmt.Sprint(v)
	}
	n := 0
	try := func(edit string, acmeAlone bool) {
		n++
		edited := filepath.Join(t.TempDir(), fmt.Sprintf("%d.db", n))
		must(t, os.WriteFile(edited, file, 0o600))
		db, err := sql.Open("sqlite", edited)
		must(t, err)
		for _, statement := range []string{"DROP TRIGGER records_no_update", "DROP TRIGGER records_no_delete", edit} {
			if _, err := db.Exec(statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
		must(t, db.Close())
		log, err := sqlitelog.Open(t.Context(), edited, sqlitelog.Config{})
		must(t, err)
		made.serves(t, log, edit, acmeAlone)
		must(t, log.Close())
	}
	for _, r := range made.records {
		if r.Stream == events.OrganizationStream("acme") {
			for edit, acmeAlone := range edits(r, r.Type == events.TypeTokenDeactivated, literal) {
				try(edit, acmeAlone)
			}
		}
	}
	end := len(made.records)
	try(fmt.Sprintf("DELETE FROM records WHERE position = %d", end), false)
	try(fmt.Sprintf("DELETE FROM records WHERE position > %d", end-3), false)
}

// TestTamperedPostgres does so on PostgreSQL, in one schema, and takes each edit back.
func TestTamperedPostgres(t *testing.T) {
	url := sharedPostgres(t).URL()
	const schema = "oatmill_tampered"
	log, err := pglog.Open(t.Context(), url, pglog.Config{Schema: schema})
	must(t, err)
	made := fillTampered(t, log)
	db, err := sql.Open("pgx", url)
	must(t, err)
	t.Cleanup(func() {
		must(t, log.Close())
		must(t, db.Close())
		must(t, dropSchema(url, schema))
	})
	literal := func(v any) string {
		switch v := v.(type) {
		case time.Time:
			return "'" + v.Format(time.RFC3339Nano) + "'"
		case events.Hash:
			return `'\x` + v.String() + "'"
		case uuid.UUID, string:
			return "'" + strings.ReplaceAll(fmt.Sprint(v), "'", "''") + "'"
		}
		return fmt.Sprint(v)
	}
	execute := func(statements ...string) {
		t.Helper()
		for _, statement := range append([]string{"SET search_path = " + schema, "SET session_replication_role = replica"}, statements...) {
			if _, err := db.ExecContext(context.Background(), statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
	}
	db.SetMaxOpenConns(1)
	execute("CREATE TABLE original AS SELECT * FROM records")
	for _, r := range made.records {
		if r.Stream != events.OrganizationStream("acme") {
			continue
		}
		for edit, acmeAlone := range edits(r, r.Type == events.TypeTokenDeactivated, literal) {
			execute(edit)
			made.serves(t, log, edit, acmeAlone)
			execute("DELETE FROM records", "INSERT INTO records SELECT * FROM original")
		}
	}
}
