package registryauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/oatmill/oatmill/oat"
)

// leeway is how far the clocks of two machines may be apart. Registries allow as much.
const leeway = time.Minute

// maxBearer is the bytes a bearer token may have. No JWT of a request within the
// limits is longer.
const maxBearer = 64 << 10

// claims is what a JWT of this package says. Times are seconds since 1970.
type claims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"` // the organization, "" for anonymous
	Audience  string   `json:"aud"`
	Expires   int64    `json:"exp"`
	NotBefore int64    `json:"nbf"`
	IssuedAt  int64    `json:"iat"`
	ID        string   `json:"jti"`
	Access    []access `json:"access"`
	Token     string   `json:"oat,omitempty"` // the id of the token, "" for anonymous
}

// grants reports whether the JWT grants an access.
func (c *claims) grants(wanted access) bool {
	return slices.ContainsFunc(c.Access, func(a access) bool {
		return a.Type == wanted.Type && a.Name == wanted.Name &&
			!slices.ContainsFunc(wanted.Actions, func(action string) bool { return !slices.Contains(a.Actions, action) })
	})
}

// errNoLonger means that a JWT grants more than the token behind it does by now.
var errNoLonger = errors.New("the token does not allow this any more")

// grantKey is where Guard leaves the grant it made in a request's context.
type grantKey struct{}

// GrantFrom is what the bearer token of a request opens, in a handler behind
// [Server.Guard], and false for a request that the guard handed on without one.
func GrantFrom(ctx context.Context) (oat.Grant, bool) {
	grant, ok := ctx.Value(grantKey{}).(oat.Grant)
	return grant, ok
}

// Guard returns a handler that stands before a registry. It hands on the requests that their bearer
// token allows, and those without one. Handlers behind it find what the token opens with
// [GrantFrom]. The package comment says what it answers to all others.
func (s *Server) Guard(next http.Handler) http.Handler {
	return s.shared(func(w http.ResponseWriter, r *http.Request) {
		needs := neededBy(r)
		given := r.Header.Values("Authorization")
		if !slices.ContainsFunc(given, isBearer) {
			if needs.cancels {
				s.challenge(w, needs, "", unauthenticated)
				return
			}
			next.ServeHTTP(w, r)
			return
		}
		grant, c, err := s.recheck(r, given)
		switch {
		case errors.Is(err, oat.ErrStale):
			w.Header().Set(apiVersionHeader, apiVersion)
			s.writeRefusal(w, r, err, false)
		case err != nil:
			s.cfg.Logger.DebugContext(r.Context(), "bearer token refused", slog.Any("cause", err))
			s.challenge(w, needs, "invalid_token", unauthenticated)
		default:
			s.serveGranted(w, r, next, needs, grant, c)
		}
	})
}

// serveGranted answers a request whose JWT is good. What the JWT lacks is for the registry to
// refuse, which challenges the client to fetch another one. What the token itself lacks, no other
// JWT has either.
func (s *Server) serveGranted(w http.ResponseWriter, r *http.Request, next http.Handler, needs needed, grant oat.Grant, c *claims) {
	r = r.WithContext(context.WithValue(r.Context(), grantKey{}, grant))
	missing, known := s.missing(r.Context(), grant, needs), grant.Organization() != ""
	switch {
	case missing == nil && needs.deletes:
		notDeleted(w, needs)
	case missing != nil && missing == &needs.access[0] && known:
		s.deny(w, needs, s.explain(r.Context(), grant, missing))
	case missing != nil && known:
		// To a challenge clients answer with an ordinary upload in place of a mount.
		s.challenge(w, needs, "insufficient_scope", s.explain(r.Context(), grant, missing))
	case needs.cancels && !c.grants(needs.access[0]):
		s.challenge(w, needs, "insufficient_scope", unauthenticated)
	case needs.cancels:
		s.cancel(w, r, next, needs.access[0].Name, grant, c.Audience)
	default:
		next.ServeHTTP(w, r)
	}
}

// cancel hands on a request that cancels an upload. The registry demands the right to delete for
// it. No JWT of a client has that right, so the registry gets another JWT with this request.
func (s *Server) cancel(w http.ResponseWriter, r *http.Request, next http.Handler, repository string, grant oat.Grant, service string) {
	signed, _, err := s.sign(service, grant, []access{{typeRepository, repository, []string{actionPull, actionPush, actionDelete}}})
	if err != nil {
		s.writeRefusal(w, r, err, false)
		return
	}
	r.Header = r.Header.Clone()
	r.Header.Set("Authorization", "Bearer "+signed)
	next.ServeHTTP(w, r)
}

// isBearer errs on the side of yes: what a registry might take for a bearer token
// must not pass unseen.
func isBearer(authorization string) bool {
	const scheme = "bearer"
	authorization = strings.TrimSpace(authorization)
	return len(authorization) >= len(scheme) && strings.EqualFold(authorization[:len(scheme)], scheme)
}

// recheck returns what the token behind a JWT opens now, and the JWT's claims. It returns an error
// unless everything that the JWT grants is still granted.
func (s *Server) recheck(r *http.Request, authorization []string) (oat.Grant, *claims, error) {
	_, raw, _ := strings.Cut(authorization[0], " ")
	if len(authorization) != 1 || len(raw) > maxBearer {
		return oat.Grant{}, nil, errors.New("more than one Authorization header, or one too long")
	}
	c := new(claims)
	if err := s.cfg.Keys.verify(raw, c); err != nil {
		return oat.Grant{}, nil, err
	}
	if err := s.checkClaims(c); err != nil {
		return oat.Grant{}, nil, err
	}
	grant, err := s.regrant(r, c)
	if err != nil {
		return oat.Grant{}, nil, err
	}
	for _, a := range c.Access {
		for _, action := range a.Actions {
			if a.Type != typeRepository || !s.allows(r.Context(), grant, action, a.Name) {
				return oat.Grant{}, nil, errNoLonger
			}
		}
	}
	return grant, c, nil
}

func (s *Server) checkClaims(c *claims) error {
	now := s.cfg.Now()
	switch {
	case c.Issuer != s.cfg.Issuer:
		return errors.New("another issuer")
	case !slices.Contains(s.cfg.Services, c.Audience):
		return errors.New("another audience")
	case now.After(time.Unix(c.Expires, 0).Add(leeway)):
		return errors.New("expired")
	case now.Before(time.Unix(c.NotBefore, 0).Add(-leeway)):
		return errors.New("not valid yet")
	}
	return nil
}

// regrant returns what the token behind a JWT opens now.
func (s *Server) regrant(r *http.Request, c *claims) (oat.Grant, error) {
	if c.Subject == "" && c.Token == "" {
		return oat.Anonymous(), nil
	}
	id, err := oat.ParseTokenID(c.Token)
	if err != nil {
		return oat.Grant{}, fmt.Errorf("token behind the bearer token: %w", err)
	}
	return s.cfg.Verifier.Recheck(r.Context(), oat.Recheck{
		Organization: c.Subject, Token: id, Address: s.cfg.ClientAddress(r), UserAgent: r.UserAgent(),
	})
}

// unauthenticated is what registries tell a client that must authenticate.
const unauthenticated = "authentication required"

// missing returns the first access that a request needs and the token does not allow, nil when it
// allows everything. Deletions need that the repository may be seen.
func (s *Server) missing(ctx context.Context, grant oat.Grant, needs needed) *access {
	for i, a := range needs.access {
		for _, action := range a.Actions {
			if action == actionDelete {
				action = actionPull
			}
			if a.Type != typeRepository || !s.allows(ctx, grant, action, a.Name) {
				return &needs.access[i]
			}
		}
	}
	return nil
}

// explain returns what the token may not do, in words for a person. They depend on what the token
// allows, and not on which repositories exist.
func (s *Server) explain(ctx context.Context, grant oat.Grant, missing *access) string {
	switch {
	case missing.Type != typeRepository:
		return "access tokens do not list the repositories of a registry"
	case !missing.asks(actionPush):
		return fmt.Sprintf("this token may not pull %s", missing.Name)
	case s.allows(ctx, grant, actionPull, missing.Name):
		return fmt.Sprintf("this token may pull %s, not push", missing.Name)
	}
	return fmt.Sprintf("this token may neither pull nor push %s", missing.Name)
}

const (
	apiVersionHeader = "Docker-Distribution-Api-Version"
	apiVersion       = "registry/2.0"
)

// challenge answers as a registry does to a client that must fetch another JWT.
func (s *Server) challenge(w http.ResponseWriter, needs needed, code, text string) {
	s.setChallenge(w.Header(), needs, code, text)
	writeJSON(w, http.StatusUnauthorized, errorReply{Details: text, Errors: []errorItem{{"UNAUTHORIZED", text}}})
}

// deny answers a client for which no JWT can be issued that allows the request. There are no details
// beside the errors: clients that read details forget the code.
func (s *Server) deny(w http.ResponseWriter, needs needed, text string) {
	s.setChallenge(w.Header(), needs, "insufficient_scope", text)
	writeJSON(w, http.StatusForbidden, errorReply{Errors: []errorItem{{"DENIED", text}}})
}

// setChallenge sets the headers of a refusal (RFC 6750, 3).
func (s *Server) setChallenge(header http.Header, needs needed, code, text string) {
	challenge := "Bearer realm=" + quoted(s.cfg.Realm) + ",service=" + quoted(s.cfg.Services[0])
	if len(needs.access) > 0 {
		challenge += ",scope=" + quoted(scopeString(needs.access))
	}
	if code != "" {
		challenge += ",error=" + quoted(code)
	}
	if text != unauthenticated {
		challenge += ",error_description=" + quoted(text)
	}
	header.Set(apiVersionHeader, apiVersion)
	header.Set("WWW-Authenticate", challenge)
}

// notDeleted answers a deletion, which no token allows.
func notDeleted(w http.ResponseWriter, needs needed) {
	const text = "nothing can be deleted from this registry"
	w.Header().Set(apiVersionHeader, apiVersion)
	w.Header().Set("Allow", needs.allow)
	writeJSON(w, http.StatusMethodNotAllowed, errorReply{Errors: []errorItem{{"UNSUPPORTED", text}}})
}
