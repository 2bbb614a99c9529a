package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

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
	log      *site.WatchedLog
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
	handler  http.Handler
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

// serve opens everything, serves until ctx ends, and closes everything. What cannot work is
// refused before anything is created: flags, the address, and the given certificate first.
func (p *program) serve(ctx context.Context, options serveOptions) error {
	if err := options.check(); err != nil {
		return err
	}
	listener, err := listen(options)
	if err != nil {
		return err
	}
	defer listener.Close()
	if options.url, err = site.BaseURL(options.url, options.scheme(), listener.Addr()); err != nil {
		return err
	}
	config, err := p.givenCertificate(options)
	if err != nil {
		return err
	}
	var s *server
	err = p.folder().Create(ctx, files(options), func() (err error) {
		if options.tlsDev {
			if config, err = p.ownCertificate(options); err != nil {
				return err
			}
		}
		s, err = p.start(ctx, options)
		return err
	})
	if err != nil {
		return err
	}
	serving := site.Serving{
		HTTP: site.NewHTTP(s.handler, s.logger), Listener: listener, TLS: config != nil, PerAddress: options.perAddress, Proxies: options.proxies,
		Follow: s.runner.Run, Close: s.close, Logger: s.logger,
	}
	serving.HTTP.TLSConfig = config
	p.say("console: serving %s from %s, listening on %s; Ctrl-C stops it", s.url, p.data, listener.Addr())
	return serving.Run(ctx)
}

// files are those that a start creates where they do not exist.
func files(options serveOptions) []string {
	names := []string{site.LogName, site.KeysName, site.JWKSName, accountsName, apiKeyName, urlName}
	if options.tlsDev {
		names = append(names, devCertName, devKeyName)
	}
	return names
}

// start opens everything, and does what a first start has to.
func (p *program) start(ctx context.Context, options serveOptions) (*server, error) {
	s, err := p.newServer(ctx, options)
	if err != nil {
		return nil, err
	}
	// The other commands need it, and serving does not.
	if err := site.WriteFile(p.urlFile(), []byte(s.url)); err != nil {
		s.logger.Error("the links that other commands print have an old address", "error", err)
	}
	if err := p.firstStart(ctx, s); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
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

// newServer opens everything in the data folder.
func (p *program) newServer(ctx context.Context, options serveOptions) (s *server, err error) {
	log, err := p.folder().OpenLog(ctx)
	if err != nil {
		return nil, err
	}
	s = &server{
		url: options.url, data: p.folder(), logger: site.NewLogger(p.stderr, options.verbose), models: newModels(),
		public: options.publicRepos, requests: options.requests, tries: options.tries, proxies: options.proxies,
	}
	s.log = site.Watch(log, s.logger)
	// A certificate of its own making must not bind everything else on this machine.
	s.hsts = s.secure() && !options.tlsDev
	if s.accounts, err = accounts.Open(ctx, p.accountsFile(), p.now); err == nil {
		err = s.build(options.verbose)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// build puts the parts together.
func (s *server) build(verbose bool) (err error) {
	if s.recorder, err = oat.NewRecorder(oat.RecorderConfig{Log: s.log, Interval: recordInterval, Logger: s.logger}); err != nil {
		return err
	}
	s.verifier = oat.NewVerifier(oat.VerifierConfig{Recorder: s.recorder, Logger: s.logger})
	if s.service, err = oat.New(oat.Config{Log: s.log, Verifier: s.verifier, Logger: s.logger}); err != nil {
		return err
	}
	s.runner, err = projection.NewRunner(projection.RunnerConfig{
		Log:         s.log,
		Projections: []projection.Projection{s.verifier, s.models.tokens, s.models.counts, s.models.lastUsed, s.models.history, s.models.daily},
		Logger:      s.logger,
	})
	if err != nil {
		return err
	}
	s.handler, err = s.routes(verbose)
	return err
}

// close ends what needs ending, and writes down the uses that were not yet.
func (s *server) close() (err error) {
	err = s.images.Close()
	if s.recorder != nil {
		err = errors.Join(err, site.Flush(s.recorder))
	}
	if s.verifier != nil {
		s.verifier.FlushLog()
	}
	if s.accounts != nil {
		err = errors.Join(err, s.accounts.Close())
	}
	return errors.Join(err, s.log.Close())
}

// secure tells whether browsers reach it by HTTPS, by itself or behind a proxy.
func (s *server) secure() bool { return strings.HasPrefix(s.url, "https:") }
