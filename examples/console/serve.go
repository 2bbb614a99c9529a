package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/oatmill/oatmill/events/durable/sqlitelog"
	"github.com/oatmill/oatmill/examples/internal/accounts"
	"github.com/oatmill/oatmill/examples/internal/cli"
	"github.com/oatmill/oatmill/examples/internal/site"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/quota"
)

// recordInterval is how long uses are summed up. With the usual minute a person who
// looks whether a token is used would wait for it; half a second costs an organization
// in steady use two small records a second.
const recordInterval = 500 * time.Millisecond

// server is the parts of the library, put together. One process that both verifies
// and runs commands gives its service the verifier, so that a command holds before
// it returns. One runner feeds the verifier and all read models, and so brings in what
// other processes append.
type server struct {
	url      string // where people and clients reach it
	data     site.Folder
	log      *sqlitelog.Log
	logger   *slog.Logger
	accounts *accounts.Accounts
	recorder *oat.Recorder
	verifier *oat.Verifier
	service  *oat.Service
	runner   *projection.Runner
	models   models
	images   *site.Images
	public   []string   // repositories
	requests quota.Rate // of one person to the API
	tries    quota.Rate // of one address to sign in
	proxies  site.Proxies
	hsts     bool // browsers are to reach it by HTTPS alone
}

// models are the read models that the console and the API show.
type models struct {
	tokens   *projection.Tokens
	counts   *projection.Counts
	lastUsed *projection.LastUsed
	history  *projection.History
	daily    *projection.Daily
}

func newModels() models {
	return models{projection.NewTokens(), projection.NewCounts(nil), projection.NewLastUsed(), projection.NewHistory(), projection.NewDaily(0)}
}

// serve opens everything, serves until ctx ends, and closes everything.
func (p *program) serve(ctx context.Context, options serveOptions) error {
	if err := options.check(); err != nil {
		return err
	}
	// The address comes first: where another server has it, nothing is touched.
	listener, err := listen(options)
	if err != nil {
		return err
	}
	defer listener.Close()
	return p.folder().WithLog(ctx, func(log *sqlitelog.Log) error {
		config, err := p.tlsConfig(options)
		if err != nil {
			return err
		}
		s, err := p.newServer(ctx, log, options, site.BaseURL(options.url, options.scheme(), listener.Addr()))
		if err != nil {
			return err
		}
		return p.run(ctx, s, listener, config, options)
	})
}

// run serves, once the first start has done what it has to.
func (p *program) run(ctx context.Context, s *server, listener net.Listener, config *tls.Config, options serveOptions) error {
	handler, err := s.routes(options.verbose)
	if err == nil {
		err = os.WriteFile(p.urlFile(), []byte(s.url), 0o600)
	}
	if err == nil {
		err = p.firstStart(ctx, s)
	}
	if err != nil {
		return errors.Join(err, s.close())
	}
	serving := site.Serving{
		HTTP: site.NewHTTP(handler, s.logger), Listener: listener, TLS: config != nil,
		Follow: s.runner.Run, Close: s.close, Logger: s.logger,
	}
	serving.HTTP.TLSConfig = config
	p.say("console: serving %s from %s; Ctrl-C stops it", s.url, p.data)
	return serving.Run(ctx)
}

// listen refuses to let passwords and secrets travel unprotected.
func listen(options serveOptions) (net.Listener, error) {
	listener, err := net.Listen("tcp", options.addr)
	if err != nil {
		return nil, fmt.Errorf("%w (--addr chooses another address)", err)
	}
	if !options.tls() && !options.insecureHTTP && !listener.Addr().(*net.TCPAddr).IP.IsLoopback() {
		_ = listener.Close() // nothing was accepted
		return nil, cli.Usagef("--addr %s is reached by others, and plain HTTP shows them every password: use --tls-cert and --tls-key, or --tls-dev, or --insecure-http behind a proxy", options.addr)
	}
	return listener, nil
}

func (p *program) newServer(ctx context.Context, log *sqlitelog.Log, options serveOptions, base string) (s *server, err error) {
	s = &server{url: base, data: p.folder(), log: log, logger: site.NewLogger(p.stderr, options.verbose), models: newModels(), public: options.publicRepos}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.requests, err = site.ParseRate("--api-limit", options.apiLimit); err != nil {
		return s, err
	}
	if s.tries, err = site.ParseRate("--sign-in-limit", options.signInLimit); err != nil {
		return s, err
	}
	if s.proxies, err = site.ParseProxies("--trusted-proxy", options.trustedProxies); err != nil {
		return s, err
	}
	// A certificate of its own making must not bind everything else on this machine.
	s.hsts = s.secure() && !options.tlsDev
	if s.accounts, err = accounts.Open(ctx, p.accountsFile(), p.now); err != nil {
		return s, err
	}
	if s.recorder, err = oat.NewRecorder(oat.RecorderConfig{Log: log, Interval: recordInterval, Logger: s.logger}); err != nil {
		return s, err
	}
	s.verifier = oat.NewVerifier(oat.VerifierConfig{Recorder: s.recorder, Logger: s.logger})
	if s.service, err = oat.New(oat.Config{Log: log, Verifier: s.verifier, Logger: s.logger}); err != nil {
		return s, err
	}
	s.runner, err = projection.NewRunner(projection.RunnerConfig{
		Log:         log,
		Projections: []projection.Projection{s.verifier, s.models.tokens, s.models.counts, s.models.lastUsed, s.models.history, s.models.daily},
		Logger:      s.logger,
	})
	return s, err
}

// close ends what needs ending, and writes down the uses that were not yet.
func (s *server) close() (err error) {
	err = s.images.Close()
	if s.recorder != nil {
		err = errors.Join(err, site.Flush(s.recorder))
	}
	if s.accounts != nil {
		err = errors.Join(err, s.accounts.Close())
	}
	return err
}

// secure tells whether browsers reach it by HTTPS, by itself or behind a proxy.
func (s *server) secure() bool { return strings.HasPrefix(s.url, "https:") }

// host is what docker login is given.
func (s *server) host() string {
	_, host, _ := strings.Cut(s.url, "://")
	host, _, _ = strings.Cut(host, "/")
	return host
}
