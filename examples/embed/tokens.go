package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/oatmill/oatmill/events/durable/pglog"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/projection/sqlview"
)

// tokens is everything that was added to the backend, once in each of its processes. The
// log has a schema of its own, and the read models are tables beside the backend's.
type tokens struct {
	backend  *backend
	db       *sql.DB // for the view, which takes what database/sql has
	log      *pglog.Log
	recorder *oat.Recorder
	verifier *oat.Verifier
	service  *oat.Service
	view     *sqlview.View
	history  *projection.History

	// The verifier has a runner of its own, so that no trouble with the read models keeps
	// it from hearing of revocations.
	follower, filler *projection.Runner

	closers []func() error // in the order in which the parts were made
}

func addTokens(ctx context.Context, b *backend) (t *tokens, err error) {
	t = &tokens{backend: b, db: stdlib.OpenDB(*b.pool.Config().ConnConfig), history: projection.NewHistory()}
	t.closers = append(t.closers, t.db.Close)
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
		}
	}()
	if t.log, err = pglog.New(ctx, b.pool, pglog.Config{Schema: b.schema + "_log"}); err != nil {
		return t, err
	}
	t.closers = append(t.closers, t.log.Close)
	if t.recorder, err = oat.NewRecorder(oat.RecorderConfig{Log: t.log}); err != nil {
		return t, err
	}
	t.closers = append(t.closers, func() error { return t.recorder.Close(context.Background()) })
	t.verifier = oat.NewVerifier(oat.VerifierConfig{Recorder: t.recorder})
	if t.service, err = oat.New(oat.Config{Log: t.log, Owners: owners{b.pool}, Verifier: t.verifier}); err != nil {
		return t, err
	}
	t.view, err = sqlview.Open(ctx, t.db, sqlview.Config{Dialect: sqlview.PostgreSQL, Schema: b.schema})
	if err != nil {
		return t, err
	}
	if err := t.registerAll(ctx); err != nil {
		return t, err
	}
	if t.follower, err = t.run(ctx, t.verifier); err != nil {
		return t, err
	}
	t.filler, err = t.run(ctx, t.view, t.history)
	return t, err
}

// run brings projections up to date and has them follow the log until close. A real
// backend would look at what Run returns when it returns, and call itself unhealthy.
func (t *tokens) run(ctx context.Context, projections ...projection.Projection) (*projection.Runner, error) {
	runner, err := projection.NewRunner(projection.RunnerConfig{Log: t.log, Projections: projections})
	if err != nil {
		return nil, err
	}
	if err := runner.CatchUp(ctx); err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- runner.Run(running) }()
	t.closers = append(t.closers, func() error { stop(); return <-stopped })
	return runner, nil
}

// close ends the parts in the reverse of the order in which they were made. Uses that
// the recorder has not written yet are in the log then.
func (t *tokens) close() (err error) {
	for ; len(t.closers) > 0; t.closers = t.closers[:len(t.closers)-1] {
		err = errors.Join(err, t.closers[len(t.closers)-1]())
	}
	return err
}

// registerAll makes the backend's organizations known to the library, at every start. With
// thousands of them it would belong in the migration that introduces tokens. An
// organization that comes later is registered in the transaction of its row, with Within.
func (t *tokens) registerAll(ctx context.Context) error {
	rows, err := t.backend.pool.Query(ctx, "SELECT name, plan FROM organizations ORDER BY name")
	if err != nil {
		return err
	}
	type organization struct{ Name, Plan string }
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[organization])
	if err != nil {
		return err
	}
	for _, o := range all {
		err := t.service.Register(ctx, oat.Actor{Host: "start"}, oat.Register{Organization: o.Name, Plan: o.Plan})
		if err != nil && !errors.Is(err, oat.ErrExists) {
			return err
		}
	}
	return nil
}

// owners answers who owns an organization from the backend's own table, so that there is
// one list of owners and not two.
//
// Inside a transaction it asks the transaction. If it took another connection there, as
// many transactions at once as the pool has connections would all wait for each other.
type owners struct{ db querier }

// querier is a pool or a transaction.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func (o owners) IsOwner(ctx context.Context, organization, user string) (is bool, err error) {
	err = o.db.QueryRow(ctx, "SELECT EXISTS (SELECT FROM owners WHERE organization = $1 AND name = $2)",
		organization, user).Scan(&is)
	return is, err
}

// createRepository makes a repository and the token its pipeline pushes with: both, or
// neither. The secret is handed out after the commit, and opens by then.
//
// When the commit's reply is lost, or ctx ends after the commit, there are both and an
// error. The secret is lost then; the owner finds the token by its label and deletes it.
func (t *tokens) createRepository(ctx context.Context, user string, r repository) (token oat.Token, secret oat.Secret, err error) {
	err = pgx.BeginFunc(ctx, t.backend.pool, func(tx pgx.Tx) (err error) {
		token, secret, err = t.createRepositoryIn(ctx, tx, user, r)
		return err
	})
	if err == nil {
		err = t.know(ctx)
	}
	if err != nil {
		return oat.Token{}, oat.Secret{}, fmt.Errorf("create repository %s: %w", r.name, err)
	}
	return token, secret, nil
}

// createRepositoryIn appends to the log last, because other writers wait from there to
// the end of the transaction.
func (t *tokens) createRepositoryIn(ctx context.Context, tx pgx.Tx, user string, r repository) (oat.Token, oat.Secret, error) {
	if err := t.backend.insert(ctx, tx, r); err != nil {
		return oat.Token{}, oat.Secret{}, err
	}
	return t.service.Within(t.log.Tx(tx), owners{tx}).Generate(ctx, oat.Actor{User: user}, oat.Generate{
		Organization: r.organization,
		Label:        "pipeline of " + r.name,
		Expires:      oat.Never(),
		Resources:    []oat.Resource{oat.Repository(r.name, oat.ReadWrite)},
	})
}

// know wakes the followers of all processes after a commit, and waits until this one's
// verifier knows what was committed. Commands outside a transaction need none of this.
func (t *tokens) know(ctx context.Context) error {
	end, err := t.log.End(ctx)
	if err != nil {
		return err
	}
	return errors.Join(t.log.Notify(ctx), t.follower.WaitFor(ctx, end))
}

// show waits until the read models have everything that happened so far, uses included,
// which come into the log by themselves within a minute.
func (t *tokens) show(ctx context.Context) error {
	if err := t.recorder.Flush(ctx); err != nil {
		return err
	}
	end, err := t.log.End(ctx)
	if err != nil {
		return err
	}
	return t.filler.WaitFor(ctx, end)
}

// pushers is each repository, and how many tokens can push to it now.
const pushers = `
SELECT r.name, count(DISTINCT s.id)::int
FROM repositories r
LEFT JOIN oatmill_resources x ON x.push AND x.organization = r.organization AND x.path IN (r.name, r.organization || '/*')
LEFT JOIN oatmill_token_status s ON s.id = x.id AND s.organization = x.organization AND s.usable
GROUP BY r.name ORDER BY r.name`

// idle is the tokens that open and that nobody used for 90 days, and whom to ask.
const idle = `
SELECT s.label, string_agg(u.email, ', ' ORDER BY u.email)
FROM oatmill_token_status s
JOIN owners o ON o.organization = s.organization
JOIN users u ON u.name = o.name
WHERE s.usable AND greatest(s.created_at, s.last_used_at) < now() - interval '90 days'
GROUP BY s.id, s.label ORDER BY s.label`
