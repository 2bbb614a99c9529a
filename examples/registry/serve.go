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

	"github.com/spf13/cobra"

	"github.com/oatmill/oatmill/examples/internal/cli"
	"github.com/oatmill/oatmill/examples/internal/site"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/registryauth"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/quota"
)

// serveOptions are the flags of serve.
type serveOptions struct {
	url            string
	publicRepos    []string
	pullLimit      string
	trustedProxies []string
	perAddress     int
	verbose        bool

	plans   quota.Plans  // with pullLimit
	proxies site.Proxies // of trustedProxies
}

func (o *serveOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.url, "url", "", "the `address` clients reach the server by, if not http:// and the address it listens on")
	cmd.Flags().StringArrayVar(&o.publicRepos, "public-repo", nil, site.PublicUsage)
	cmd.Flags().StringVar(&o.pullLimit, "pull-limit", "", "how often each organization may pull, like `100/6h`; without limit unless given")
	cmd.Flags().StringArrayVar(&o.trustedProxies, "trusted-proxy", nil, site.ProxyUsage)
	cmd.Flags().IntVar(&o.perAddress, "connections-per-address", site.DefaultPerAddress, site.PerAddressUsage)
	cmd.Flags().BoolVar(&o.verbose, "verbose", false, "log everything")
}

// check reads the flags, before anything is created.
func (o *serveOptions) check() (err error) {
	if o.url, err = site.ParseURL("--url", o.url); err != nil {
		return err
	}
	if o.plans, err = plansWith(o.pullLimit); err != nil {
		return err
	}
	if o.proxies, err = site.ParseProxies("--trusted-proxy", o.trustedProxies); err != nil {
		return err
	}
	if err := site.CheckPerAddress(o.perAddress); err != nil {
		return err
	}
	return site.CheckPublic("--public-repo", o.publicRepos)
}

func (p *program) serveCommand() *cobra.Command {
	var options serveOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the registry (what is done without a command, too)",
		Long: `Serve the registry until SIGINT or SIGTERM. Then requests that have begun are
finished, uses are written down, and the log is closed.

On an empty data folder the organization acme is registered, on plan team with the
owner alice, and one token is generated; its secret is printed once.

Besides /v2/ and the token endpoint /token there are /jwks.json; /healthz, which answers
200 while tokens can be verified; and /readyz, which does while commands can be carried
out, too. Both say as JSON what cannot be done, and why.

It speaks plain HTTP, which clients accept on the loopback address only. To be
reached from elsewhere, put a proxy with TLS before it and give its address to --url.`,
		Example: `  registry --data /srv/registry --addr 127.0.0.1:5000 serve
  registry serve --pull-limit 100/6h --public-repo acme/base`,
		Args: cli.NoArguments,
		RunE: cli.Does(func(ctx context.Context, _ []string) error { return p.serve(ctx, options) }),
	}
	options.flags(cmd)
	return cmd
}

// serve opens everything, serves until ctx ends, and closes everything. What cannot work is
// refused before anything is created: flags and the address first.
func (p *program) serve(ctx context.Context, options serveOptions) error {
	err := errors.Join(options.check(), site.CheckListen("--addr", p.addr))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", p.addr)
	if err != nil {
		return fmt.Errorf("%w (--addr chooses another address)", err)
	}
	defer listener.Close()
	if options.url, err = site.BaseURL(options.url, "http", listener.Addr()); err != nil {
		return err
	}
	var s *server
	err = site.Folder(p.data).Create(ctx, []string{site.LogName, site.KeysName, site.JWKSName}, func() (err error) {
		s, err = p.start(ctx, options)
		return err
	})
	if err != nil {
		return err
	}
	p.say("registry: serving %s from %s, listening on %s; Ctrl-C stops it", s.url, p.data, listener.Addr())
	return s.run(ctx, listener, options)
}

// start opens everything, and does what a first start has to.
func (p *program) start(ctx context.Context, options serveOptions) (*server, error) {
	log, err := site.Folder(p.data).OpenLog(ctx)
	if err != nil {
		return nil, err
	}
	s := &server{url: options.url, logger: site.NewLogger(p.stderr, options.verbose)}
	s.log = site.Watch(log, s.logger)
	if err = s.build(site.Folder(p.data), options); err == nil {
		err = p.firstStart(ctx, s)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// server is the parts of the library, put together. One process that both verifies
// and runs commands gives its service the verifier, so that a command holds before
// it returns; the runner feeds the verifier what other processes append.
type server struct {
	url      string
	log      *site.WatchedLog
	logger   *slog.Logger
	recorder *oat.Recorder
	verifier *oat.Verifier
	service  *oat.Service
	runner   *projection.Runner
	images   *site.Images
	http     *http.Server
}

// build puts the parts together.
func (s *server) build(data site.Folder, options serveOptions) (err error) {
	if s.recorder, err = oat.NewRecorder(oat.RecorderConfig{Log: s.log, Logger: s.logger}); err != nil {
		return err
	}
	s.verifier = oat.NewVerifier(oat.VerifierConfig{Plans: options.plans, Recorder: s.recorder, Logger: s.logger})
	if s.service, err = oat.New(oat.Config{Log: s.log, Plans: options.plans, Verifier: s.verifier, Logger: s.logger}); err != nil {
		return err
	}
	s.runner, err = projection.NewRunner(projection.RunnerConfig{
		Log: s.log, Projections: []projection.Projection{s.verifier}, Logger: s.logger,
	})
	if err != nil {
		return err
	}
	handler, err := s.handler(data, options)
	if err != nil {
		return err
	}
	s.http = site.NewHTTP(handler, s.logger)
	return nil
}

// handler is everything the server answers.
func (s *server) handler(data site.Folder, options serveOptions) (http.Handler, error) {
	keys, err := registryauth.OpenKeys(data.Keys(), registryauth.KeysConfig{})
	if err != nil {
		return nil, err
	}
	realm := s.url + "/token"
	auth, err := registryauth.New(registryauth.Config{
		Verifier: s.verifier, Keys: keys, Issuer: site.ServiceName, Services: []string{site.ServiceName},
		Realm: realm, Visibility: site.Public(options.publicRepos), ClientAddress: options.proxies.ClientAddress, Logger: s.logger,
	})
	if err != nil {
		return nil, err
	}
	if err := keys.WriteJWKS(data.JWKS()); err != nil {
		return nil, err
	}
	if s.images, err = site.NewImages(data, realm, options.verbose); err != nil {
		return nil, err
	}
	pulls := &pulls{plans: options.plans, now: time.Now}
	mux := http.NewServeMux()
	mux.Handle("/token", auth)
	mux.Handle("/jwks.json", auth.JWKS())
	// The guard comes first: what was revoked neither pulls nor counts as a pull.
	mux.Handle("/v2/", auth.Guard(pulls.limit(s.images)))
	health := site.NewHealth(s.verifier, s.log)
	mux.HandleFunc("/healthz", health.Live)
	mux.HandleFunc("/readyz", health.Ready)
	handler := site.Prompt(mux, "/v2/", site.UsualLimits())
	return site.Secured(strings.HasPrefix(s.url, "https:"), handler), nil
}

// run serves until ctx ends or something fails that ends it.
func (s *server) run(ctx context.Context, listener net.Listener, options serveOptions) error {
	serving := site.Serving{
		HTTP: s.http, Listener: listener, PerAddress: options.perAddress, Proxies: options.proxies,
		Follow: s.runner.Run, Close: s.close, Logger: s.logger,
	}
	return serving.Run(ctx)
}

// close ends what needs ending, and writes down the uses that were not yet.
func (s *server) close() error {
	err := s.images.Close()
	if s.recorder != nil {
		err = errors.Join(err, site.Flush(s.recorder))
	}
	if s.verifier != nil {
		s.verifier.FlushLog()
	}
	return errors.Join(err, s.log.Close())
}
