package registryauth

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/oatmill/oatmill/oat"
)

// How long a JWT is good. The protocol has no shorter time than a minute; a longer
// one than a few only prolongs what a registry without [Server.Guard] cannot revoke.
const (
	MinTokenTTL = time.Minute
	MaxTokenTTL = 5 * time.Minute
)

// backdate is how long before its issue a JWT is valid, for registries whose clocks are behind
// and that allow no leeway.
const backdate = 10 * time.Second

// Config is what a [Server] needs.
type Config struct {
	// Verifier tells whether a secret opens, and what. Required.
	Verifier *oat.Verifier
	// Keys sign the JWTs. Required.
	Keys *Keys
	// Issuer is who hands out the JWTs, as registries are told to expect it.
	// Required.
	Issuer string
	// Services are the registries that JWTs are handed out for, by the name each
	// gives as its service. At least one; the first is the one that Guard names.
	// A name may have every character of a quoted string in a header, in US-ASCII.
	Services []string
	// Realm is the address of the token endpoint as clients reach it, like
	// "https://auth.example.com/token". Required. The package comment says which ones
	// recent clients refuse.
	Realm string
	// Origins are the origins of user interfaces in browsers, like "https://ui.example.com",
	// whose scripts may use the token endpoint, the JWKS and what is behind Guard (CORS).
	// They may send credentials that the browser has. Empty means that no script of
	// another origin may.
	Origins []string
	// Visibility tells who may see a repository. Nil, and an error, mean that it is
	// not known, which counts as private.
	Visibility func(ctx context.Context, repository string) (oat.Visibility, error)
	// TokenTTL is how long a JWT is good, from [MinTokenTTL] to [MaxTokenTTL] and in
	// whole seconds. 0 means MinTokenTTL.
	TokenTTL time.Duration
	// ClientAddress is the address a request came from, for the record of uses. Nil
	// means the peer's, from Request.RemoteAddr. A host behind a proxy it trusts
	// reads the proxy's header here.
	ClientAddress func(*http.Request) string
	// Now is the clock. Nil means [time.Now].
	Now func() time.Time
	// Rand is where the ids of JWTs come from. Nil means crypto/rand.
	Rand io.Reader
	// Logger hears of what went wrong on this side. Nil means silence.
	Logger *slog.Logger
}

// Server is the token endpoint: an http.Handler for one address. It is safe for
// concurrent use.
type Server struct {
	cfg      Config
	endpoint http.Handler
}

// New is a server. The error says what is wrong with cfg.
func New(cfg Config) (*Server, error) {
	if cfg.TokenTTL == 0 {
		cfg.TokenTTL = MinTokenTTL
	}
	if cfg.ClientAddress == nil {
		cfg.ClientAddress = peerAddress
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
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("registryauth: %w", err)
	}
	cfg.Services, cfg.Origins = slices.Clone(cfg.Services), slices.Clone(cfg.Origins)
	s := &Server{cfg: cfg}
	s.endpoint = s.shared(s.serveToken)
	return s, nil
}

func (cfg *Config) check() error {
	switch {
	case cfg.Verifier == nil:
		return errors.New("a verifier is required")
	case cfg.Keys == nil:
		return errors.New("keys are required")
	case cfg.Issuer == "":
		return errors.New("an issuer is required")
	case len(cfg.Services) == 0:
		return errors.New("at least one service is required")
	case cfg.TokenTTL < MinTokenTTL || cfg.TokenTTL > MaxTokenTTL || cfg.TokenTTL%time.Second != 0:
		return fmt.Errorf("token ttl is %v, want whole seconds from %v to %v", cfg.TokenTTL, MinTokenTTL, MaxTokenTTL)
	}
	realm, err := url.Parse(cfg.Realm)
	if err != nil || (realm.Scheme != "https" && realm.Scheme != "http") || realm.Host == "" || strings.ContainsFunc(cfg.Realm, notInURI) {
		return fmt.Errorf("realm is %q, want an address like https://auth.example.com/token", cfg.Realm)
	}
	for i, service := range cfg.Services {
		if service == "" || strings.ContainsFunc(service, unquotable) || slices.Contains(cfg.Services[:i], service) {
			return fmt.Errorf("service %q is empty, repeated, or has characters that cannot stand in a header", service)
		}
		if isUnsupported(cfg.Verifier, service) {
			return fmt.Errorf("service %q is one that organization access tokens are not for", service)
		}
	}
	for _, origin := range cfg.Origins {
		if err := checkOrigin(origin); err != nil {
			return err
		}
	}
	return nil
}

// peerAddress is the host that a request came from.
func peerAddress(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// isUnsupported asks the verifier about a service alone: without a secret there is
// nothing else that it could look at.
func isUnsupported(verifier *oat.Verifier, service string) bool {
	_, err := verifier.Verify(context.Background(), oat.Attempt{Service: service})
	return errors.Is(err, oat.ErrUnsupportedService)
}

// ServeHTTP answers one request for a registry token.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.endpoint.ServeHTTP(w, r) }

func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	reply, err := s.answer(w, r)
	if err != nil {
		s.writeRefusal(w, r, err, r.Method == http.MethodPost)
		return
	}
	writeJSON(w, http.StatusOK, reply)
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request) (*tokenReply, error) {
	req, err := read(w, r)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(s.cfg.Services, req.service) {
		if isUnsupported(s.cfg.Verifier, req.service) {
			return nil, oat.ErrUnsupportedService
		}
		return nil, refuse(http.StatusBadRequest, "unknown service")
	}
	grant, err := s.authenticate(r, &req)
	if err != nil {
		return nil, err
	}
	return s.mint(&req, grant, s.granted(r.Context(), grant, req.scopes))
}

// authenticate is what the credentials of a request open. This is the one place
// that asks, however the credentials came.
func (s *Server) authenticate(r *http.Request, req *request) (oat.Grant, error) {
	if req.anonymous {
		return oat.Anonymous(), nil
	}
	return s.cfg.Verifier.Verify(r.Context(), oat.Attempt{
		Organization: req.organization,
		Secret:       req.secret,
		Service:      req.service,
		Address:      s.cfg.ClientAddress(r),
		UserAgent:    r.UserAgent(),
	})
}

// tokenOf is the id of the token behind a grant, "" when there is none.
func tokenOf(grant oat.Grant) string {
	if grant.Organization() == "" {
		return ""
	}
	return grant.Token().String()
}

// tokenReply is the answer of the token endpoint.
type tokenReply struct {
	Token       string  `json:"token"`
	AccessToken string  `json:"access_token"`
	ExpiresIn   int64   `json:"expires_in"` // seconds, at least those of MinTokenTTL
	IssuedAt    string  `json:"issued_at"`
	Scope       *string `json:"scope,omitempty"` // for a form only
}

func (s *Server) mint(req *request, grant oat.Grant, granted []access) (*tokenReply, error) {
	signed, c, err := s.sign(req.service, grant, granted)
	if err != nil {
		return nil, err
	}
	reply := &tokenReply{
		Token: signed, AccessToken: signed,
		ExpiresIn: max(c.Expires-c.IssuedAt, int64(MinTokenTTL/time.Second)),
		IssuedAt:  time.Unix(c.IssuedAt, 0).UTC().Format(time.RFC3339),
	}
	if req.form {
		scope := scopeString(granted)
		reply.Scope = &scope
	}
	return reply, nil
}

// sign signs a JWT and returns it with its claims.
func (s *Server) sign(service string, grant oat.Grant, granted []access) (string, *claims, error) {
	var id [16]byte
	if _, err := io.ReadFull(s.cfg.Rand, id[:]); err != nil {
		return "", nil, fmt.Errorf("id of a registry token: %w", err)
	}
	issued := s.cfg.Now()
	expires := issued.Add(s.cfg.TokenTTL)
	if end, ok := grant.Expires(); ok && end.Before(expires) {
		expires = end
	}
	c := &claims{
		Issuer: s.cfg.Issuer, Subject: grant.Organization(), Audience: service,
		Expires: expires.Unix(), NotBefore: issued.Add(-backdate).Unix(), IssuedAt: issued.Unix(),
		ID: hex.EncodeToString(id[:]), Access: granted, Token: tokenOf(grant),
	}
	signed, err := s.cfg.Keys.sign(c)
	if err != nil {
		return "", nil, fmt.Errorf("sign a registry token: %w", err)
	}
	return signed, c, nil
}

// writeRefusal answers with what kept a request from getting a token. A form is also answered in
// the words of OAuth.
func (s *Server) writeRefusal(w http.ResponseWriter, r *http.Request, err error, form bool) {
	answer := &refusal{status: http.StatusInternalServerError, text: "internal error"}
	switch {
	case errors.As(err, &answer):
	case errors.Is(err, oat.ErrStale):
		answer = &refusal{status: http.StatusServiceUnavailable, text: "temporarily unavailable, try again"}
	case errors.Is(err, oat.ErrRefused):
		answer = &refusal{status: http.StatusUnauthorized, text: err.Error()}
	default:
		s.cfg.Logger.ErrorContext(r.Context(), "token endpoint", slog.Any("cause", err))
	}
	switch answer.status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Basic realm="+quoted(s.cfg.Services[0]))
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	}
	body := errorReply{Details: answer.text, Errors: []errorItem{{answer.code(), answer.text}}}
	if form {
		body.Error = answer.oauthCode()
	}
	writeJSON(w, answer.status, body)
}

// errorReply says the same twice, because some clients read the one and some the
// other.
type errorReply struct {
	Details string      `json:"details,omitempty"`
	Errors  []errorItem `json:"errors"`
	Error   string      `json:"error,omitempty"` // to a form (RFC 6749, 5.2)
}

type errorItem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// A client that went away cannot be told anything.
	_ = json.NewEncoder(w).Encode(body)
}

// JWKS serves the keys by which registries verify the JWTs.
func (s *Server) JWKS() http.Handler {
	return s.shared(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			s.writeRefusal(w, r, refuse(http.StatusMethodNotAllowed, "method not allowed, use GET"), false)
			return
		}
		w.Header().Set("Content-Type", "application/jwk-set+json")
		w.Header().Set("Cache-Control", "public, max-age=60")
		_, _ = w.Write(s.cfg.Keys.JWKS())
	})
}
