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

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
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
	verbose        bool
}

func (o *serveOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.url, "url", "", "the `address` clients reach the server by, if not http:// and the address it listens on")
	cmd.Flags().StringArrayVar(&o.publicRepos, "public-repo", nil, site.PublicUsage)
	cmd.Flags().StringVar(&o.pullLimit, "pull-limit", "", "how often each organization may pull, like `100/6h`; without limit unless given")
	cmd.Flags().StringArrayVar(&o.trustedProxies, "trusted-proxy", nil, site.ProxyUsage)
	cmd.Flags().BoolVar(&o.verbose, "verbose", false, "log everything")
}

// check looks at what would otherwise be noticed late, or never.
func (o *serveOptions) check() error {
	if !site.CheckURL(o.url) {
		return cli.Usagef("--url %q: want an address like https://registry.example.com", o.url)
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

Besides /v2/ and the token endpoint /token there are /healthz and /jwks.json.

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

// serve opens everything, serves until ctx ends, and closes everything.
func (p *program) serve(ctx context.Context, options serveOptions) error {
	if err := options.check(); err != nil {
		return err
	}
	plans, err := plansWith(options.pullLimit)
	if err != nil {
		return err
	}
	return p.withNewLog(ctx, func(log *sqlitelog.Log) error {
		listener, err := net.Listen("tcp", p.addr)
		if err != nil {
			return fmt.Errorf("%w (--addr chooses another address)", err)
		}
		defer listener.Close()
		s, err := p.newServer(log, plans, options, site.BaseURL(options.url, "http", listener.Addr()))
		if err != nil {
			return err
		}
		if err := p.firstStart(ctx, s, listener.Addr().String()); err != nil {
			return errors.Join(err, s.close())
		}
		p.say("registry: serving %s from %s; Ctrl-C stops it", s.url, p.data)
		return s.run(ctx, listener)
	})
}

// server is the parts of the library, put together. One process that both verifies
// and runs commands gives its service the verifier, so that a command holds before
// it returns; the runner feeds the verifier what other processes append.
type server struct {
	url      string
	log      events.Log
	logger   *slog.Logger
	recorder *oat.Recorder
	verifier *oat.Verifier
	service  *oat.Service
	runner   *projection.Runner
	images   *site.Images
	http     *http.Server
}

func (p *program) newServer(log events.Log, plans quota.Plans, options serveOptions, base string) (s *server, err error) {
	s = &server{url: base, log: log, logger: site.NewLogger(p.stderr, options.verbose)}
	s.recorder, err = oat.NewRecorder(oat.RecorderConfig{Log: log, Logger: s.logger})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	s.verifier = oat.NewVerifier(oat.VerifierConfig{Plans: plans, Recorder: s.recorder, Logger: s.logger})
	s.service, err = oat.New(oat.Config{Log: log, Plans: plans, Verifier: s.verifier, Logger: s.logger})
	if err != nil {
		return s, err
	}
	s.runner, err = projection.NewRunner(projection.RunnerConfig{
		Log: log, Projections: []projection.Projection{s.verifier}, Logger: s.logger,
	})
	if err != nil {
		return s, err
	}
	handler, err := s.handler(site.Folder(p.data), plans, options)
	if err != nil {
		return s, err
	}
	s.http = site.NewHTTP(handler, s.logger)
	return s, nil
}

// handler is everything the server answers.
func (s *server) handler(data site.Folder, plans quota.Plans, options serveOptions) (http.Handler, error) {
	keys, err := registryauth.OpenKeys(data.Keys(), registryauth.KeysConfig{})
	if err != nil {
		return nil, err
	}
	proxies, err := site.ParseProxies("--trusted-proxy", options.trustedProxies)
	if err != nil {
		return nil, err
	}
	realm := s.url + "/token"
	auth, err := registryauth.New(registryauth.Config{
		Verifier: s.verifier, Keys: keys, Issuer: site.ServiceName, Services: []string{site.ServiceName},
		Realm: realm, Visibility: site.Public(options.publicRepos), ClientAddress: proxies.ClientAddress, Logger: s.logger,
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
	pulls := &pulls{plans: plans, now: time.Now}
	mux := http.NewServeMux()
	mux.Handle("/token", auth)
	mux.Handle("/jwks.json", auth.JWKS())
	// The guard comes first: what was revoked neither pulls nor counts as a pull.
	mux.Handle("/v2/", auth.Guard(pulls.limit(s.images)))
	mux.HandleFunc("/healthz", site.Health(s.verifier))
	handler := site.Prompt(mux, "/v2/", site.UsualLimits())
	return site.Secured(strings.HasPrefix(s.url, "https:"), handler), nil
}

// run serves until ctx ends or something fails that ends it.
func (s *server) run(ctx context.Context, listener net.Listener) error {
	serving := site.Serving{HTTP: s.http, Listener: listener, Follow: s.runner.Run, Close: s.close, Logger: s.logger}
	return serving.Run(ctx)
}

// close ends what needs ending, and writes down the uses that were not yet.
func (s *server) close() error {
	return errors.Join(s.images.Close(), site.Flush(s.recorder))
}
