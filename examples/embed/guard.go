package main

import (
	"errors"
	"net"
	"net/http"

	"github.com/oatmill/oatmill/oat"
)

// guard lets through the requests whose token allows the action on their repository, and
// answers the others itself:
//
//   - 401 when there is no token and it takes one, or when the token does not open,
//     whatever the cause. The client cannot tell which repositories there are.
//   - 403 when the token may read the repository and not write to it.
//   - 404 when the token opens and does not reach the repository, which may not exist.
//   - 503 when the verifier is not sure to know every revocation. That says nothing of
//     the token, and a client that got 401 would throw a good secret away. Whoever reads a
//     public repository without a token is served all the same: there is nothing to revoke.
//   - 500 when the repositories cannot be looked up.
func (t *tokens) guard(action oat.Action) middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if status := t.check(r, action); status != http.StatusOK {
				refuse(w, status)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// check is the status that the request deserves.
func (t *tokens) check(r *http.Request, action oat.Action) int {
	grant, err := t.grant(r)
	switch {
	case errors.Is(err, oat.ErrStale): // before ErrRefused, which it also is
		return http.StatusServiceUnavailable
	case err != nil:
		return http.StatusUnauthorized
	}
	visibility, err := t.visibility(r)
	switch {
	case err != nil:
		return http.StatusInternalServerError
	case grant.Allows(action, nameIn(r), visibility):
		return http.StatusOK
	case grant.Organization() == "":
		return http.StatusUnauthorized
	case grant.Allows(oat.Pull, nameIn(r), visibility):
		return http.StatusForbidden
	}
	return http.StatusNotFound
}

// grant is what the request's credentials open: the organization as the user, and a
// token's secret as the password. It is asked for anew with every request.
func (t *tokens) grant(r *http.Request) (oat.Grant, error) {
	if len(r.Header.Values("Authorization")) == 0 {
		return oat.Anonymous(), nil
	}
	organization, secret, _ := r.BasicAuth() // nothing when it is anything else, which opens nothing
	peer, _, _ := net.SplitHostPort(r.RemoteAddr)
	return t.verifier.Verify(r.Context(), oat.Attempt{
		Organization: organization, Secret: oat.NewSecret(secret), Address: peer, UserAgent: r.UserAgent(),
	})
}

// visibility translates the backend's word. Public means everyone in the world, so that
// "internal" is not public, and neither is a word that is added later.
func (t *tokens) visibility(r *http.Request) (oat.Visibility, error) {
	word, err := t.backend.visibility(r.Context(), nameIn(r))
	if err != nil || word != "public" {
		return oat.VisibilityUnknown, err
	}
	return oat.VisibilityPublic, nil
}

func refuse(w http.ResponseWriter, status int) {
	switch status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Basic realm="forge", charset="UTF-8"`)
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	}
	w.Header().Set("Cache-Control", "no-store")
	reply(w, status)
}
