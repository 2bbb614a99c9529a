package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
)

// tour is what the steps share.
type tour struct {
	address, schema string
	made            bool // the schema
	first, second   *process
	token           oat.Token  // the one of acme/api
	secret          oat.Secret // and what opens with it
}

func (t *tour) steps() []func(context.Context) (string, error) {
	return []func(context.Context) (string, error){
		t.createSchema, t.embed, t.rollBack, t.commit, t.refuseStrangers, t.readAndWrite, t.guardRoutes,
		t.startSecond, t.join, t.removeOwner, t.revoke, t.tellHistory, t.verifyChains, t.shutDown,
	}
}

var api = repository{organization: "acme", name: "acme/api", visibility: "private"}

func (t *tour) embed(ctx context.Context) (_ string, err error) {
	if t.first, err = startProcess(ctx, t.address, t.schema); err != nil {
		return "", err
	}
	count, found, err := t.first.view.Count(ctx, "acme", time.Now())
	if err == nil && (!found || count.Limit != 10) {
		err = fmt.Errorf("acme is not registered: %+v", count)
	}
	return fmt.Sprintf("embedded the library: acme may have %d tokens; its owners stay in the forge's own table", count.Limit), err
}

// rollBack shows that a transaction that is rolled back leaves nothing, on either side.
func (t *tour) rollBack(ctx context.Context) (string, error) {
	before, err := t.first.log.End(ctx)
	if err != nil {
		return "", err
	}
	tx, err := t.first.pool.Begin(ctx)
	if err != nil {
		return "", err
	}
	token, secret, err := t.first.createRepositoryIn(ctx, tx, "alice", api)
	if err := errors.Join(err, tx.Rollback(ctx)); err != nil {
		return "", err
	}
	after, err := t.first.log.End(ctx)
	if err != nil {
		return "", err
	}
	if after != before {
		return "", fmt.Errorf("the log grew from position %d to %d in a transaction that was rolled back", before, after)
	}
	if err := t.missing(ctx, api.name); err != nil {
		return "", err
	}
	err = t.wantStatus(ctx, t.first, "acme", secret, http.MethodGet, api.name, http.StatusUnauthorized)
	return fmt.Sprintf("rolled a transaction back: neither %s nor token %.8s… is there", api.name, token.ID), err
}

func (t *tour) commit(ctx context.Context) (_ string, err error) {
	if t.token, t.secret, err = t.first.createRepository(ctx, "alice", api); err != nil {
		return "", err
	}
	// The repository is empty and there, and the token opens it at once.
	if err := t.wantStatus(ctx, t.first, "acme", t.secret, http.MethodGet, api.name, http.StatusOK); err != nil {
		return "", err
	}
	if err := t.first.show(ctx); err != nil {
		return "", err
	}
	shown, found, err := t.first.view.Get(ctx, "acme", t.token.ID, time.Now())
	if err == nil && (!found || shown.CreatedBy != "alice") {
		err = fmt.Errorf("the token is not in the read model: %+v", shown)
	}
	return fmt.Sprintf("created %s and its token in one transaction; the secret opens it, and prints as %v", api.name, t.secret), err
}

// refuseStrangers shows that whoever does not own the organization gets no token, and
// therefore no repository either.
func (t *tour) refuseStrangers(ctx context.Context) (string, error) {
	stray := repository{organization: "acme", name: "acme/stray", visibility: "private"}
	_, _, err := t.first.createRepository(ctx, "bob", stray)
	if !errors.Is(err, oat.ErrNotOwner) {
		return "", fmt.Errorf("a repository that bob creates in acme: %w", unexpected(err))
	}
	return fmt.Sprintf("refused bob, who owns globex: %v", err), t.missing(ctx, stray.name)
}

func (t *tour) readAndWrite(ctx context.Context) (string, error) {
	const content = "package api"
	err := t.wantStatus(ctx, t.first, "acme", t.secret, http.MethodPut, api.name, http.StatusNoContent, content)
	if err != nil {
		return "", err
	}
	_, got, err := t.first.ask(ctx, "acme", t.secret, http.MethodGet, api.name, "")
	if err == nil && got != content {
		err = fmt.Errorf("wrote %q and read %q", content, got)
	}
	return fmt.Sprintf("PUT and GET %s with the token as acme: %q", api.name, got), err
}

// guardRoutes tries what the token must not open, and what opens without one.
func (t *tour) guardRoutes(ctx context.Context) (string, error) {
	tries := []struct {
		user, method, repository string
		want                     int
	}{
		{"acme", http.MethodGet, "globex/core", http.StatusNotFound},       // another organization's
		{"acme", http.MethodGet, "acme/wiki", http.StatusNotFound},         // not the one it is for
		{"acme", http.MethodGet, "acme/none", http.StatusNotFound},         // not there at all
		{"acme", http.MethodPut, "acme/wiki", http.StatusNotFound},         //
		{"globex", http.MethodGet, "acme/api", http.StatusUnauthorized},    // not globex's token
		{"globex", http.MethodGet, "globex/core", http.StatusUnauthorized}, //
		{"", http.MethodGet, "acme/site", http.StatusOK},                   // public
		{"", http.MethodPut, "acme/site", http.StatusUnauthorized},         // which is not for writing
		{"", http.MethodGet, "acme/wiki", http.StatusUnauthorized},         // internal is not public
		{"", http.MethodGet, "acme/api", http.StatusUnauthorized},
	}
	for _, try := range tries {
		if err := t.wantStatus(ctx, t.first, try.user, t.secret, try.method, try.repository, try.want); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("tried %d requests at the guard: only the public repository opens, and only to read", len(tries)), nil
}

func (t *tour) startSecond(ctx context.Context) (_ string, err error) {
	if t.second, err = startProcess(ctx, t.address, t.schema); err != nil {
		return "", err
	}
	return "started a second process on the same database: the secret opens there too",
		t.wantStatus(ctx, t.second, "acme", t.secret, http.MethodGet, api.name, http.StatusOK)
}

// join asks questions that need both the forge's tables and the read models. For one of
// them it makes a token whose time of creation is long past, by a clock of that time.
func (t *tour) join(ctx context.Context) (string, error) {
	past, err := oat.New(oat.Config{
		Log: t.first.log, Owners: owners{t.first.pool},
		Now: func() time.Time { return time.Now().AddDate(0, 0, -100) },
	})
	if err != nil {
		return "", err
	}
	_, _, err = past.Generate(ctx, oat.Actor{User: "alice"}, oat.Generate{
		Organization: "acme", Label: "forgotten", Expires: oat.Never(), Resources: []oat.Resource{oat.All("acme", oat.ReadWrite)},
	})
	if err != nil {
		return "", err
	}
	canPush, err := t.rows(ctx, pushers, "acme/api 2, acme/site 1, acme/wiki 1, globex/core 0")
	if err != nil {
		return "", err
	}
	forgotten, err := t.rows(ctx, idle, "forgotten alice@acme.example, carol@acme.example")
	return fmt.Sprintf("joined with the forge's tables:\n      tokens that can push: %s\n      not used for 90 days: %s", canPush, forgotten), err
}

// removeOwner shows that the forge's own table decides, and that tokens are the
// organization's and not their creator's.
func (t *tour) removeOwner(ctx context.Context) (string, error) {
	if _, err := t.first.pool.Exec(ctx, "DELETE FROM owners WHERE organization = 'acme' AND name = 'alice'"); err != nil {
		return "", err
	}
	err := t.first.service.Deactivate(ctx, oat.Actor{User: "alice"}, oat.Deactivate{Organization: "acme", Token: t.token.ID})
	if !errors.Is(err, oat.ErrNotOwner) {
		return "", fmt.Errorf("a command of alice, who is no owner any more: %w", unexpected(err))
	}
	return "removed alice from the forge's owners: her next command is refused, and the token she made goes on",
		t.wantStatus(ctx, t.first, "acme", t.secret, http.MethodGet, api.name, http.StatusOK)
}

// revoke shows that a revocation holds in this process when the command returns, and in
// the other one when that has followed the log.
func (t *tour) revoke(ctx context.Context) (string, error) {
	carol := oat.Actor{User: "carol", Reason: "found in a paste"}
	if err := t.first.service.Deactivate(ctx, carol, oat.Deactivate{Organization: "acme", Token: t.token.ID}); err != nil {
		return "", err
	}
	began := time.Now()
	if err := t.wantStatus(ctx, t.first, "acme", t.secret, http.MethodGet, api.name, http.StatusUnauthorized); err != nil {
		return "", err
	}
	end, err := t.first.log.End(ctx)
	if err != nil {
		return "", err
	}
	if err := t.second.follower.WaitFor(ctx, end); err != nil {
		return "", err
	}
	took := time.Since(began)
	if err := t.wantStatus(ctx, t.second, "acme", t.secret, http.MethodGet, api.name, http.StatusUnauthorized); err != nil {
		return "", err
	}
	_, err = t.rows(ctx, pushers, "acme/api 1, acme/site 1, acme/wiki 1, globex/core 0")
	return fmt.Sprintf("carol deactivated the token: refused here at once, and by the second process within %v", took.Round(100*time.Microsecond)), err
}

func (t *tour) tellHistory(ctx context.Context) (string, error) {
	if err := t.second.show(ctx); err != nil {
		return "", err
	}
	story := t.second.history.Token("acme", t.token.ID, projection.Span{})
	if story.Total != 2 {
		return "", fmt.Errorf("the history has %d entries, want 2", story.Total)
	}
	told := "the history of the token, as the second process tells it:"
	for _, e := range story.Entries {
		told += fmt.Sprintf("\n      %s  %-5s  %-20s  %s", e.Time.Format("15:04:05.000"), e.Actor, e.Type, e.Reason)
	}
	return told, nil
}

func (t *tour) verifyChains(ctx context.Context) (string, error) {
	decided, err := events.VerifyChain(ctx, t.first.log, events.OrganizationStream("acme"))
	if err != nil {
		return "", err
	}
	used, err := events.VerifyChain(ctx, t.first.log, events.UsageStream("acme"))
	if err == nil && (decided.Version != 4 || used.Version == 0) {
		err = fmt.Errorf("the chains have %d and %d records, want 4 and some", decided.Version, used.Version)
	}
	return fmt.Sprintf("verified the hash chains of acme: %d decisions, the last %.16s…, and %d records of use", decided.Version, decided.Hash, used.Version), err
}

// shutDown ends both processes, and shows that nothing of them is left at work.
func (t *tour) shutDown(ctx context.Context) (string, error) {
	for _, p := range []*process{t.second, t.first} {
		if err := p.close(); err != nil {
			return "", err
		}
		if left := int(p.pool.Stat().TotalConns()) + p.db.Stats().OpenConnections; left != 0 {
			return "", fmt.Errorf("%d connections are left open", left)
		}
		err := p.service.Authorize(ctx, oat.Actor{Host: "tour"}, "acme")
		if !errors.Is(err, events.ErrClosed) {
			return "", fmt.Errorf("a command after the end: %w", unexpected(err))
		}
	}
	return "shut both processes down: uses recorded, followers stopped, no connection left", nil
}

// wantStatus sends a request and says what is wrong with the answer's status. The content
// of a PUT is optional.
func (t *tour) wantStatus(ctx context.Context, p *process, user string, secret oat.Secret, method, repository string, want int, content ...string) error {
	got, _, err := p.ask(ctx, user, secret, method, repository, strings.Join(content, ""))
	if err == nil && got != want {
		err = fmt.Errorf("%s %s as %q: answered %d, want %d", method, repository, user, got, want)
	}
	return err
}

// missing says when a repository is there.
func (t *tour) missing(ctx context.Context, name string) error {
	switch visibility, err := t.first.backend.visibility(ctx, name); {
	case err != nil:
		return err
	case visibility != "":
		return fmt.Errorf("repository %s is there", name)
	}
	return nil
}

// rows runs a query of two columns over tables and read models that know everything, and
// says when the rows are not as they should be.
func (t *tour) rows(ctx context.Context, query, want string) (string, error) {
	if err := t.first.show(ctx); err != nil {
		return "", err
	}
	rows, err := t.first.pool.Query(ctx, query)
	if err != nil {
		return "", err
	}
	lines, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		values, err := row.Values()
		return strings.TrimSuffix(fmt.Sprintln(values...), "\n"), err
	})
	got := strings.Join(lines, ", ")
	if err == nil && got != want {
		err = fmt.Errorf("the rows are %q, want %q", got, want)
	}
	return got, err
}

// unexpected is what went on instead of the refusal that was expected.
func unexpected(err error) error {
	if err == nil {
		return errors.New("was not refused")
	}
	return err
}
