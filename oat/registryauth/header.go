package registryauth

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// quoted returns s as a quoted string of a header (RFC 9110, 5.6.4).
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// unquotable reports whether a character cannot be written into a quoted string. New fields have
// nothing but US-ASCII (RFC 9110, 5.5).
func unquotable(r rune) bool { return r != '\t' && (r < ' ' || r > '~') }

// notInURI reports whether no address has this character (RFC 3986, 2).
func notInURI(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"<>\\^`{|}", r) }

// The headers of the token endpoint and the registry that scripts may read and send.
const (
	exposedHeaders = "Content-Length, Content-Range, Docker-Content-Digest, Docker-Distribution-Api-Version, Docker-Upload-UUID, " +
		"Link, Location, OCI-Chunk-Min-Length, OCI-Filters-Applied, OCI-Subject, Range, RateLimit-Limit, RateLimit-Remaining, Retry-After, WWW-Authenticate"
	allowedHeaders = "Accept, Authorization, Cache-Control, Content-Range, Content-Type, Range"
	allowedMethods = "DELETE, GET, HEAD, PATCH, POST, PUT"
)

// shared returns a handler that lets the scripts of Config.Origins use next (Fetch Standard, 3.2).
func (s *Server) shared(next http.HandlerFunc) http.Handler {
	if len(s.cfg.Origins) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Add("Vary", "Origin")
		origin := r.Header.Get("Origin")
		if !slices.Contains(s.cfg.Origins, origin) {
			next(w, r)
			return
		}
		header.Set("Access-Control-Allow-Origin", origin)
		header.Set("Access-Control-Allow-Credentials", "true")
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			header.Set("Access-Control-Allow-Methods", allowedMethods)
			header.Set("Access-Control-Allow-Headers", allowedHeaders)
			header.Set("Access-Control-Max-Age", "600")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		header.Set("Access-Control-Expose-Headers", exposedHeaders)
		next(w, r)
	})
}

// checkOrigin refuses what no browser sends as an origin (RFC 6454, 6.2).
func checkOrigin(origin string) error {
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || strings.ToLower(u.Scheme+"://"+u.Host) != origin ||
		u.Scheme == "https" && u.Port() == "443" || u.Scheme == "http" && u.Port() == "80" {
		return fmt.Errorf("origin is %q, want one like https://ui.example.com: in lower case, without a path and without the scheme's own port", origin)
	}
	return nil
}
