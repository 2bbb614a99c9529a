package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/oatmill/oatmill/events/durable/sqlitelog"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
)

// parts is the library put together in one process: a log, a service that carries out
// commands, a verifier that knows of them at once, a recorder of uses, and read models.
type parts struct {
	folder, path string
	log          *sqlitelog.Log
	recorder     *oat.Recorder
	verifier     *oat.Verifier
	service      *oat.Service
	live         *models
	runner       *projection.Runner // feeds the verifier and the read models

	stop    context.CancelFunc
	stopped chan error
}

func setUp(ctx context.Context) (p *parts, err error) {
	p = &parts{live: newModels(), stop: func() {}, stopped: make(chan error, 1)}
	defer func() {
		if err != nil {
			close(p.stopped)
			err = errors.Join(err, p.close())
		}
	}()
	if p.folder, err = os.MkdirTemp("", "oatmill-quickstart-"); err != nil {
		return p, err
	}
	p.path = filepath.Join(p.folder, "oatmill.db")
	if p.log, err = sqlitelog.Open(ctx, p.path, sqlitelog.Config{}); err != nil {
		return p, err
	}
	if p.recorder, err = oat.NewRecorder(oat.RecorderConfig{Log: p.log}); err != nil {
		return p, err
	}
	p.verifier = oat.NewVerifier(oat.VerifierConfig{Recorder: p.recorder})
	if p.service, err = oat.New(oat.Config{Log: p.log, Verifier: p.verifier}); err != nil {
		return p, err
	}
	p.runner, err = projection.NewRunner(projection.RunnerConfig{
		Log: p.log, Projections: append(p.live.all(), p.verifier),
	})
	if err != nil {
		return p, err
	}
	if err := p.runner.CatchUp(ctx); err != nil {
		return p, err
	}
	running, stop := context.WithCancel(context.Background())
	p.stop = stop
	go func() { p.stopped <- p.runner.Run(running) }()
	return p, nil
}

// follow waits until the read models know everything that happened so far. Uses would
// come into the log by themselves within a minute.
func (p *parts) follow(ctx context.Context) error {
	if err := p.recorder.Flush(ctx); err != nil {
		return err
	}
	end, err := p.log.End(ctx)
	if err != nil {
		return err
	}
	return p.runner.WaitFor(ctx, end)
}

func (p *parts) close() (err error) {
	p.stop()
	err = <-p.stopped
	if p.recorder != nil {
		err = errors.Join(err, p.recorder.Close(context.Background()))
	}
	if p.log != nil {
		err = errors.Join(err, p.log.Close())
	}
	return errors.Join(err, os.RemoveAll(p.folder))
}

// models are the read models.
type models struct {
	tokens   *projection.Tokens
	counts   *projection.Counts
	lastUsed *projection.LastUsed
	history  *projection.History
}

func newModels() *models {
	return &models{projection.NewTokens(), projection.NewCounts(nil), projection.NewLastUsed(), projection.NewHistory()}
}

func (m *models) all() []projection.Projection {
	return []projection.Projection{m.tokens, m.counts, m.lastUsed, m.history}
}

// view is everything the models say of the organization at an instant.
type view struct {
	organization projection.Organization
	tokens       projection.Page
	count        projection.Count
	uses         []projection.Usage
	story        projection.Story
}

func (m *models) view(at time.Time) (v view) {
	v.organization, _ = m.tokens.Organization(org)
	v.tokens = m.tokens.List(org, projection.Query{At: at})
	v.count, _ = m.counts.Of(org, at)
	v.story = m.history.Organization(org, projection.Span{})
	for _, token := range v.tokens.Tokens {
		used, _ := m.lastUsed.Of(org, token.ID)
		v.uses = append(v.uses, used)
	}
	return v
}
