package console

import (
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
)

//go:embed assets templates
var files embed.FS

// Config is what a console needs. Service, Log, Tokens, Counts, LastUsed, History and
// User are required; for everything else zero works.
type Config struct {
	// Service carries out what owners decide, and says who is an owner.
	Service *oat.Service
	// Log is the log of Service. The console asks it only where it ends, so that after
	// a change it can wait until the read models show it. A log that is no
	// [events.Heads] is not waited for.
	Log events.Log
	// Runner leads Tokens, Counts and History along the log. nil means that nobody
	// waits: a change may show a moment later.
	Runner *projection.Runner

	// What the pages show.
	Tokens   *projection.Tokens
	Counts   *projection.Counts
	LastUsed *projection.LastUsed
	History  *projection.History
	// Daily is what the picture of a token's use is drawn from. nil means no picture.
	Daily *projection.Daily

	// User tells who is signed in, by the host's own session, and false for nobody. It
	// is asked on every request but those for assets. A host whose session is a cookie
	// must make it HttpOnly, Secure and SameSite.
	User func(*http.Request) (user string, ok bool)
	// SignIn is the address of the host's sign-in page that leads back to the path
	// back afterwards. nil means that there is none: who is not signed in is told so.
	SignIn func(back string) string
	// SignOut is the path of the same origin that ends a session when it is posted to.
	// "" means that the pages offer none.
	SignOut string

	// Organizations names the organizations a user owns, for the first page. nil means
	// that they are looked for in Tokens, which looks at every organization and finds
	// none where the host keeps the owners.
	Organizations func(ctx context.Context, user string) ([]string, error)
	// Repositories suggests names of an organization's repositories, written
	// "ORG/REPO", that begin with or contain query, which may be empty. It is called
	// for owners only. nil means no suggestions.
	Repositories func(ctx context.Context, organization, query string) ([]string, error)

	// Prefix is the path the console is mounted under, like "/console". "" means the
	// root.
	Prefix string
	// Registry is the host, and port if any, that docker login is shown with. "" means
	// Docker's own, which needs no name.
	Registry string
	// Title stands at the head of each page. "" means "Admin Console".
	Title string
	// TrustedOrigins may post to the console in addition to its own, like
	// "https://admin.example.com": only for a proxy that changes the host's name. Case, the
	// scheme's own port and a slash at the end make no difference.
	TrustedOrigins []string

	// Now is the clock. nil means [time.Now].
	Now func() time.Time
	// Rand is where the names of requests come from. nil means crypto/rand.
	Rand io.Reader
	// Logger hears of what went wrong on the host's side. Nothing of a form's content
	// and no secret is logged. nil means silence.
	Logger *slog.Logger
}

// Console is the http.Handler. It is safe for concurrent use and keeps nothing between
// two requests, so any number of processes may serve the same owners.
type Console struct {
	cfg     Config
	pages   pages
	assets  map[string]asset
	routes  []route
	handler http.Handler
}

// New is a console. The error says what is wrong with cfg.
func New(cfg Config) (*Console, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.complete()
	assets, err := loadAssets()
	if err != nil {
		return nil, fmt.Errorf("new console: %w", err)
	}
	pages, err := loadPages()
	if err != nil {
		return nil, fmt.Errorf("new console: %w", err)
	}
	c := &Console{cfg: cfg, pages: pages, assets: assets}
	c.routes = c.table()
	protection := http.NewCrossOriginProtection()
	for _, trusted := range cfg.TrustedOrigins {
		origin, err := parseOrigin(trusted)
		if err == nil {
			err = protection.AddTrustedOrigin(origin)
		}
		if err != nil {
			return nil, fmt.Errorf("new console: Config.TrustedOrigins: %q: %w", trusted, err)
		}
	}
	c.handler = c.guard(protection, c.mux())
	return c, nil
}

func (cfg *Config) check() error {
	for name, missing := range map[string]bool{
		"Service": cfg.Service == nil, "Log": cfg.Log == nil, "Tokens": cfg.Tokens == nil, "Counts": cfg.Counts == nil,
		"LastUsed": cfg.LastUsed == nil, "History": cfg.History == nil, "User": cfg.User == nil,
	} {
		if missing {
			return fmt.Errorf("new console: Config.%s is required", name)
		}
	}
	u, err := url.Parse(cfg.Prefix)
	if cfg.Prefix != "" && (err != nil || u.Path != cfg.Prefix || path.Clean(cfg.Prefix) != cfg.Prefix || cfg.Prefix[0] != '/' || cfg.Prefix == "/" || strings.ContainsAny(cfg.Prefix, "{} ")) {
		return errors.New(`new console: Config.Prefix: want a path like "/console", or nothing`)
	}
	if s := cfg.SignOut; s != "" && (s[0] != '/' || strings.HasPrefix(s, "//")) {
		return errors.New(`new console: Config.SignOut: want a path like "/sign-out", or nothing`)
	}
	return nil
}

func (cfg *Config) complete() {
	if cfg.Title == "" {
		cfg.Title = "Admin Console"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
}

// ServeHTTP serves every path below Config.Prefix, the prefix included.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := &tracked{ResponseWriter: w}
	defer c.answerPanic(answer, r)
	setHeaders(w.Header())
	c.handler.ServeHTTP(answer, r)
}

// setHeaders sets what holds for every answer. Pages are never stored, because what they
// show is for the person who asked, and one of them shows a secret. The referrer policy
// is not "no-referrer", which would have browsers post forms from the origin "null".
func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// settle waits until the read models have come to the end of the log, so that who made a
// change sees it. Not to see it at once is no failure, and so it waits only briefly.
func (c *Console) settle(ctx context.Context) {
	heads, ok := c.cfg.Log.(events.Heads)
	if !ok || c.cfg.Runner == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	end, err := heads.End(ctx)
	if err == nil {
		err = c.cfg.Runner.WaitFor(ctx, end)
	}
	if err != nil {
		c.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "a change may show late", slog.Any("cause", err))
	}
}

// settleTime is how long a person waits at most for read models that are behind.
const settleTime = 2 * time.Second
