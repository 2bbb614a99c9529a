package hubapi

import (
	"net/http"
	"net/url"
	"strings"
)

// Mount registers the handler for its addresses, and for all others of Docker Hub's API, which
// it answers with its own "not found": a registry behind the same mux would answer them with
// 401. Addresses in the form of a registry's go on to what mux has for "/v2/", so that a
// repository of an organization called "orgs" can be pulled.
func (h *Handler) Mount(mux *http.ServeMux) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if registryForm(r.URL.Path) {
			if registry := registryOf(mux, r); registry != nil {
				registry.ServeHTTP(w, r)
				return
			}
		}
		h.ServeHTTP(w, r)
	})
	mux.Handle("/v2/openapi.json", h)
	for _, first := range []string{
		"access-tokens", "auditlogs", "auth", "invites", "namespaces", "orgs", "repositories", "scim", "user", "users",
	} {
		mux.Handle("/v2/"+first, h)
		mux.Handle("/v2/"+first+"/", handler)
	}
}

// registryForm reports whether a path has the form of a registry's: the name of a repository,
// then one of the endpoints of distribution-spec 1.1.
func registryForm(path string) bool {
	parts := strings.Split(strings.TrimPrefix(path, "/v2/"), "/")
	n := len(parts)
	if n < 3 {
		return false
	}
	switch last := parts[n-1]; parts[n-2] {
	case "manifests", "blobs", "referrers":
		return last != ""
	case "tags":
		return last == "list"
	case "uploads":
		return n > 3 && parts[n-3] == "blobs"
	}
	return false
}

// registryOf returns what mux has for "/v2/", nil when that is nothing or the handler of the
// whole site.
func registryOf(mux *http.ServeMux, r *http.Request) http.Handler {
	base := new(http.Request)
	*base = *r
	base.URL = &url.URL{Path: "/v2/"}
	registry, pattern := mux.Handler(base)
	if !strings.HasSuffix(pattern, "/v2/") {
		return nil
	}
	return registry
}
