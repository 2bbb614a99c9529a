package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oatmill/oatmill/examples/internal/accounts"
	"github.com/oatmill/oatmill/examples/internal/cli"
	"github.com/oatmill/oatmill/examples/internal/site"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

const defaultAddr = "127.0.0.1:8080"

// commands is the whole command line.
func (p *program) commands() *cobra.Command {
	var options serveOptions
	root := &cobra.Command{
		Use:   "console",
		Short: "A container registry and the Admin Console of its access tokens",
		Long: `A container registry, the Admin Console in which owners manage their organization's
access tokens, and the Docker-Hub-compatible API for the same, on one port.

Without a command it serves until SIGINT or SIGTERM. Then requests that have begun are
finished, uses are written down, and everything is closed.

On an empty data folder the organization acme is registered, on plan team with the
owner alice; a link that signs her in once, and her password, are printed once.

  /                  the Admin Console, and /sign-in
  /v2/orgs/…         the API: access tokens; /v2/auditlogs/…, /v2/users/login,
                     /v2/auth/token, and its description at /v2/openapi.json
  /v2/…              the registry, with its token endpoint /token
  /jwks.json         the keys of registry tokens
  /healthz, /readyz  200 while tokens can be verified, and while commands can be carried
                     out, too; what cannot be done, and why, as JSON

Browsers warn of the certificate that --tls-dev makes. Docker takes it on the loopback
address; on other machines put it in /etc/docker/certs.d/HOST:PORT/ca.crt.

Exit codes: 0 done, 1 refused by a rule or not possible, 2 wrong usage.`,
		Example: `  console
  console --addr 127.0.0.1:8443 --tls-dev
  console --addr :443 --tls-cert cert.pem --tls-key key.pem --url https://hub.example.com
  console user add bob --owns acme`,
		Args: cli.NoArguments,
		RunE: cli.Does(func(ctx context.Context, _ []string) error { return p.serve(ctx, options) }),
	}
	root.PersistentFlags().StringVar(&p.data, "data", site.DefaultData, site.DataUsage)
	options.flags(root)
	root.AddCommand(cli.Group("user", "Make accounts for people", p.userAdd(), p.userReset()))
	return root
}

// serveOptions are the flags of serving.
type serveOptions struct {
	addr            string
	url             string
	tlsCert, tlsKey string
	tlsDev          bool
	insecureHTTP    bool
	publicRepos     []string
	apiLimit        string
	signInLimit     string
	trustedProxies  []string
	perAddress      int
	verbose         bool

	requests, tries quota.Rate   // of apiLimit and signInLimit
	proxies         site.Proxies // of trustedProxies
}

func (o *serveOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.addr, "addr", defaultAddr, "the `address` to listen on")
	f.StringVar(&o.url, "url", "", "the `address` people and clients reach it by, if not the one it listens on")
	f.StringVar(&o.tlsCert, "tls-cert", "", "serve HTTPS with the certificate in this `file` (PEM)")
	f.StringVar(&o.tlsKey, "tls-key", "", "and the key in this `file`")
	f.BoolVar(&o.tlsDev, "tls-dev", false, "serve HTTPS with a certificate of its own making, kept in the data folder")
	f.BoolVar(&o.insecureHTTP, "insecure-http", false, "serve plain HTTP also on addresses that others reach")
	f.StringArrayVar(&o.publicRepos, "public-repo", nil, site.PublicUsage)
	f.StringVar(&o.apiLimit, "api-limit", "600/1m", "how many `requests` to the API each person may send")
	f.StringVar(&o.signInLimit, "sign-in-limit", "20/1m", "how many `tries` to sign in each address has")
	f.StringArrayVar(&o.trustedProxies, "trusted-proxy", nil, site.ProxyUsage)
	f.IntVar(&o.perAddress, "connections-per-address", site.DefaultPerAddress, site.PerAddressUsage)
	f.BoolVar(&o.verbose, "verbose", false, "log everything")
}

func (o *serveOptions) tls() bool { return o.tlsDev || o.tlsCert != "" }

func (o *serveOptions) scheme() string {
	if o.tls() {
		return "https"
	}
	return "http"
}

// check reads the flags, before anything is created.
func (o *serveOptions) check() (err error) {
	if o.url, err = site.ParseURL("--url", o.url); err != nil {
		return err
	}
	switch {
	case (o.tlsCert == "") != (o.tlsKey == ""):
		return cli.Usagef("--tls-cert and --tls-key go together")
	case o.tlsCert != "" && o.tlsDev:
		return cli.Usagef("--tls-dev and --tls-cert exclude each other")
	case o.tls() && strings.HasPrefix(o.url, "http:"):
		return cli.Usagef("--url %q: want https, which is what TLS serves", o.url)
	}
	if o.requests, err = site.ParseRate("--api-limit", o.apiLimit); err != nil {
		return err
	}
	if o.tries, err = site.ParseRate("--sign-in-limit", o.signInLimit); err != nil {
		return err
	}
	if o.proxies, err = site.ParseProxies("--trusted-proxy", o.trustedProxies); err != nil {
		return err
	}
	if err := site.CheckPerAddress(o.perAddress); err != nil {
		return err
	}
	if err := site.CheckListen("--addr", o.addr); err != nil {
		return err
	}
	return site.CheckPublic("--public-repo", o.publicRepos)
}

func (p *program) userAdd() *cobra.Command {
	var owns string
	cmd := &cobra.Command{
		Use:     "add NAME [--owns ORG]",
		Short:   "Make an account, and print its sign-in link and password",
		Example: "  console user add bob --owns acme",
		Args:    cli.Arguments(cli.User("NAME")),
		RunE: cli.Does(func(ctx context.Context, args []string) error {
			return p.withAccounts(ctx, func(a *accounts.Accounts) error {
				switch exists, err := a.Exists(ctx, args[0]); {
				case err != nil:
					return err
				case exists:
					return fmt.Errorf("%w: %s (%s makes a new password)", accounts.ErrExists, args[0], p.invocation("user", "reset", args[0]))
				}
				// The ownership comes first: without the organization there is no account.
				if err := p.own(ctx, args[0], owns); err != nil {
					return err
				}
				credentials, err := a.Add(ctx, args[0])
				return p.handOver(credentials, err)
			})
		}),
	}
	cli.OrganizationFlag(cmd.Flags(), &owns, "owns", "make the person an owner of this `organization`")
	return cmd
}

func (p *program) userReset() *cobra.Command {
	return &cobra.Command{
		Use:   "reset NAME",
		Short: "Make a new sign-in link and password, and end the person's sessions",
		Long: `Make a new sign-in link and password for a person. What they had does not open any
more, and where they are signed in they are not. A script that has signed in to the API
stays so until its token ends, for ten minutes at most.`,
		Args: cli.Arguments(cli.User("NAME")),
		RunE: cli.Does(func(ctx context.Context, args []string) error {
			return p.withAccounts(ctx, func(a *accounts.Accounts) error {
				credentials, err := a.Reset(ctx, args[0])
				return p.handOver(credentials, err)
			})
		}),
	}
}

// withAccounts opens the accounts of a data folder that holds a log. The file is removed
// again if it did not exist and do fails.
func (p *program) withAccounts(ctx context.Context, do func(*accounts.Accounts) error) error {
	if _, err := os.Stat(p.folder().Log()); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is nothing in %s: start the server once, or name its folder with --data", p.data)
	}
	return p.folder().Create(ctx, []string{accountsName}, func() (err error) {
		a, err := accounts.Open(ctx, p.accountsFile(), p.now)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, a.Close()) }()
		return do(a)
	})
}

// The names of files in the data folder, in addition to those of package site.
const (
	accountsName = "accounts.db"
	apiKeyName   = "api.key"
	urlName      = "url"
)

func (p *program) accountsFile() string { return p.folder().File(accountsName) }

// urlFile is where a server leaves its address for the other commands.
func (p *program) urlFile() string { return p.folder().File(urlName) }

// own makes somebody an owner. Without an organization it does nothing.
func (p *program) own(ctx context.Context, name, organization string) (err error) {
	if organization == "" {
		return nil
	}
	log, err := p.folder().OpenLog(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	service, err := oat.New(oat.Config{Log: log})
	if err != nil {
		return err
	}
	return service.AddOwner(ctx, oat.Actor{Host: "console", Reason: "user add"}, oat.AddOwner{Organization: organization, Owner: name})
}

// handOver prints what a person is given. The link begins with the address under which
// the folder was served at last.
func (p *program) handOver(c accounts.Credentials, err error) error {
	if err != nil {
		return err
	}
	base, err := os.ReadFile(p.urlFile())
	if address, unusable := site.ParseURL("url", string(base)); err != nil || unusable != nil || address == "" {
		p.say("console: %s does not hold the server's address, with which the link begins: the server writes it when it starts", p.urlFile())
		base = nil
	}
	_, err = fmt.Fprintf(p.stdout, "%s signs in once, until %s, at\n\n    %s\n\nor with this password, which is shown this once:\n\n    %s\n",
		c.Name, c.Until.Local().Format("15:04"), string(base)+linkPath(c.Link), c.Password)
	return err
}
