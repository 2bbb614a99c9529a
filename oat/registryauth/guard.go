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

// Guard stands before a registry and hands it the requests whose bearer token grants
// nothing that was revoked since, and those that have none. Handlers behind it find
// what the token opens with [GrantFrom]. The package comment says more.
func (s *Server) Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given := r.Header.Values("Authorization")
		if !slices.ContainsFunc(given, isBearer) {
			next.ServeHTTP(w, r)
			return
		}
		grant, err := s.recheck(r.Context(), given)
		if err != nil {
			s.cfg.Logger.DebugContext(r.Context(), "bearer token refused", slog.Any("cause", err))
			s.challenge(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), grantKey{}, grant)))
	})
}

// isBearer errs on the side of yes: what a registry might take for a bearer token
// must not pass unseen.
func isBearer(authorization string) bool {
	const scheme = "bearer"
	authorization = strings.TrimSpace(authorization)
	return len(authorization) >= len(scheme) && strings.EqualFold(authorization[:len(scheme)], scheme)
}

// recheck is what the token behind a JWT opens by now, and no error when everything
// the JWT grants is granted still.
func (s *Server) recheck(ctx context.Context, authorization []string) (oat.Grant, error) {
	_, raw, _ := strings.Cut(authorization[0], " ")
	if len(authorization) != 1 || len(raw) > maxBearer {
		return oat.Grant{}, errors.New("more than one Authorization header, or one too long")
	}
	var c claims
	if err := s.cfg.Keys.verify(raw, &c); err != nil {
		return oat.Grant{}, err
	}
	if err := s.checkClaims(&c); err != nil {
		return oat.Grant{}, err
	}
	grant, err := s.regrant(ctx, &c)
	if err != nil {
		return oat.Grant{}, err
	}
	for _, a := range c.Access {
		for _, action := range a.Actions {
			if a.Type != typeRepository || !s.allows(ctx, grant, action, a.Name) {
				return oat.Grant{}, errNoLonger
			}
		}
	}
	return grant, nil
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

// regrant is what the token behind a JWT opens by now.
func (s *Server) regrant(ctx context.Context, c *claims) (oat.Grant, error) {
	if c.Subject == "" && c.Token == "" {
		return oat.Anonymous(), nil
	}
	id, err := oat.ParseTokenID(c.Token)
	if err != nil {
		return oat.Grant{}, fmt.Errorf("token behind the bearer token: %w", err)
	}
	return s.cfg.Verifier.Recheck(ctx, c.Subject, id)
}

// challenge answers as a registry does to a client that must fetch another JWT.
func (s *Server) challenge(w http.ResponseWriter, r *http.Request, err error) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	if errors.Is(err, oat.ErrStale) {
		s.writeRefusal(w, r, err)
		return
	}
	challenge := fmt.Sprintf(`Bearer realm="%s",service="%s"`, s.cfg.Realm, s.cfg.Services[0])
	if scope := neededScope(r); scope != "" {
		challenge += fmt.Sprintf(`,scope="%s"`, scope)
	}
	w.Header().Set("WWW-Authenticate", challenge+`,error="invalid_token"`)
	const text = "authentication required"
	writeJSON(w, http.StatusUnauthorized, errorReply{text, []errorItem{{"UNAUTHORIZED", text}}})
}

// neededScope is the scope that a request to a registry needs, "" for a request that
// is not about one repository.
func neededScope(r *http.Request) string {
	name, ok := strings.CutPrefix(r.URL.Path, "/v2/")
	end := -1
	for _, part := range []string{"/manifests/", "/blobs/", "/tags/", "/referrers/"} {
		end = max(end, strings.LastIndex(name, part))
	}
	if !ok || end <= 0 || strings.ContainsFunc(name[:end], unusual) {
		return ""
	}
	needed := access{typeRepository, name[:end], []string{actionPull, actionPush}}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		needed.Actions = []string{actionPull}
	case http.MethodDelete:
		needed.Actions = []string{"delete"}
	}
	return needed.String()
}
