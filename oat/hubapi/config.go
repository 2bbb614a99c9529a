package hubapi

import (
	"context"
	"crypto/rand"
	_ "embed" // for the description
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/quota"
)

// Config is what a [Handler] needs. Everything up to Keys is required.
type Config struct {
	// Service carries out the commands, and tells who may see what.
	Service *oat.Service
	// Log is the service's log.
	Log events.Log
	// Tokens, History and LastUsed are what is shown.
	Tokens   *projection.Tokens
	History  *projection.History
	LastUsed *projection.LastUsed
	// Runner leads these three along the log. The host has it Run.
	Runner *projection.Runner
	// SignIn checks the credentials of a person and returns the name that the
	// organization's owners are known by. The identifier was cleaned with [oat.CleanText].
	// SignIn refuses credentials with an error that is [oat.ErrRefused], the same for a
	// person who does not exist. Every other error is logged. One of the storage errors of
	// package events, such as [events.ErrUnavailable], is answered 503, any other one 500.
	// The secret is wrapped so that it cannot be printed. A
	// text in the form of an organization access token never comes here.
	SignIn func(ctx context.Context, identifier string, secret oat.Secret) (user string, err error)
	// Keys sign and verify the JWTs of people who signed in. The first one signs, all
	// of them verify, so that a key can be replaced: put the new one first, and take the
	// old one out after [SessionTTL]. Every process has the same keys.
	Keys []Key

	// Issuer is who signs the JWTs; JWTs of another issuer are refused. "" means
	// "oatmill".
	Issuer string
	// BaseURL is where clients reach the handler, like "https://hub.example.com": what
	// stands before "/v2/" in the links of a list. "" means the scheme and the Host of
	// the request. It must be set behind a proxy: no Forwarded header is looked at.
	BaseURL string
	// Rate is how many requests a signed-in user may send, and how many an address may
	// from which nobody is signed in. The zero Rate means [DefaultRate].
	Rate quota.Rate
	// SignIns limits sign-ins that fail. A host with another way to sign in, such as a
	// form, gives the same value to both. Nil means one with [DefaultSignInRate].
	SignIns *quota.Attempts
	// ClientAddress is the address a request came from, for the limits. Nil means the
	// peer's, from Request.RemoteAddr. A host behind a proxy it trusts reads the
	// proxy's header here.
	ClientAddress func(*http.Request) string
	// MaxWait is how long a request waits for the read models to come up to what the
	// log holds; it is answered 503 then. 0 means five seconds.
	MaxWait time.Duration
	// Now is the clock, the same as the service's. Nil means [time.Now].
	Now func() time.Time
	// Rand is where the ids of JWTs come from. Nil means crypto/rand.
	Rand io.Reader
	// Logger hears of what went wrong on this side, and of refused sign-ins. Nil means
	// silence.
	Logger *slog.Logger
}

// DefaultRate is 600 requests a minute.
func DefaultRate() quota.Rate { return quota.Rate{Count: 600, Window: time.Minute} }

// DefaultSignInRate returns 30 failed sign-ins a minute.
func DefaultSignInRate() quota.Rate { return quota.Rate{Count: 30, Window: time.Minute} }

// Handler is the API: an http.Handler for the addresses that the package comment lists.
// It is safe for concurrent use.
type Handler struct {
	cfg        Config
	base       string // without the slash at its end, "" when requests tell
	signer     jose.Signer
	algorithms []jose.SignatureAlgorithm

	users, addresses *limiter
}

// New is a handler. The error says what is wrong with cfg.
func New(cfg Config) (*Handler, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("hubapi: %w", err)
	}
	base, err := parseBase(cfg.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("hubapi: %w", err)
	}
	key := jose.SigningKey{Algorithm: cfg.Keys[0].algorithm, Key: cfg.Keys[0].private}
	signer, err := jose.NewSigner(key, new(jose.SignerOptions).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("hubapi: first key: %w", err)
	}
	return &Handler{
		cfg: cfg, base: base, signer: signer, algorithms: algorithmsOf(cfg.Keys),
		users: newLimiter(cfg.Rate), addresses: newLimiter(cfg.Rate),
	}, nil
}

func (cfg Config) withDefaults() Config {
	cfg.Keys = slices.Clone(cfg.Keys)
	if cfg.Issuer == "" {
		cfg.Issuer = "oatmill"
	}
	if cfg.Rate.Unlimited() {
		cfg.Rate = DefaultRate()
	}
	if cfg.SignIns == nil {
		cfg.SignIns = quota.NewAttempts(DefaultSignInRate())
	}
	if cfg.ClientAddress == nil {
		cfg.ClientAddress = peerAddress
	}
	if cfg.MaxWait == 0 {
		cfg.MaxWait = 5 * time.Second
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
	return cfg
}

func (cfg *Config) check() error {
	switch {
	case cfg.Service == nil:
		return errors.New("a service is required")
	case cfg.Log == nil:
		return errors.New("the service's log is required")
	case cfg.Tokens == nil || cfg.History == nil || cfg.LastUsed == nil:
		return errors.New("tokens, history and last used are required")
	case cfg.Runner == nil:
		return errors.New("a runner is required")
	case cfg.SignIn == nil:
		return errors.New("a function that checks credentials is required")
	case len(cfg.Keys) == 0:
		return errors.New("a key is required")
	case cfg.MaxWait < 0:
		return fmt.Errorf("max wait is %v", cfg.MaxWait)
	}
	for i, key := range cfg.Keys {
		if key.err == nil && key.private == nil {
			key.err = errors.New("is empty")
		}
		if key.err != nil {
			return fmt.Errorf("key %d %w", i+1, key.err)
		}
	}
	for name, rate := range map[string]quota.Rate{"rate": cfg.Rate, "sign-in rate": cfg.SignIns.Rate()} {
		if rate.Count < 1 || rate.Window < time.Second {
			return fmt.Errorf("%s is %d in %v, want at least one in a second or more", name, rate.Count, rate.Window)
		}
	}
	return nil
}

// parseBase is the base URL without the slash at its end.
func parseBase(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	base, err := url.Parse(text)
	if err != nil || base.Scheme != "https" && base.Scheme != "http" || base.Host == "" || base.RawQuery != "" || base.Fragment != "" || base.User != nil {
		return "", fmt.Errorf("base url is %q, want an address like https://hub.example.com", text)
	}
	return (&url.URL{Scheme: base.Scheme, Host: base.Host}).String() + trimSlash(base.EscapedPath()), nil
}

func trimSlash(path string) string {
	for len(path) > 0 && path[len(path)-1] == '/' {
		path = path[:len(path)-1]
	}
	return path
}

// peerAddress is the host that a request came from.
func peerAddress(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

//go:embed openapi.json
var description []byte

// Description is the OpenAPI 3.1 description of the API, in JSON. It is also served, at
// "/v2/openapi.json". The bytes are the caller's.
func Description() []byte { return slices.Clone(description) }
