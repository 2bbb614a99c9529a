package console

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// parseOrigin returns an address in the form in which browsers send it as Origin (RFC 6454,
// 6.2; RFC 3986, 6.2.2.1 and 6.2.3): scheme and host in lower case, without the scheme's own
// port and without a slash at the end.
func parseOrigin(address string) (string, error) {
	at, err := url.Parse(address)
	switch {
	case err != nil:
		return "", err
	case at.Scheme != "http" && at.Scheme != "https" || at.Hostname() == "" || at.User != nil || strings.Trim(at.Path, "/") != "" || strings.ContainsAny(address, "?#"):
		return "", errors.New("want an address like https://admin.example.com, with nothing after the host and port")
	case strings.ContainsFunc(at.Host, func(r rune) bool { return r > 0x7f }):
		return "", errors.New("browsers send the host in ASCII: write it with xn--")
	}
	return at.Scheme + "://" + normalHost(at.Scheme, at.Host), nil
}

// normalHost returns a host in lower case, without the port that the scheme means.
func normalHost(scheme, host string) string {
	host = strings.TrimSuffix(strings.ToLower(host), ":")
	return strings.TrimSuffix(host, map[string]string{"http": ":80", "https": ":443"}[scheme])
}

// guard has crossOrigin answer posts that another site has a browser send. Browsers send an
// Origin in normal form. A proxy may write the Host in capitals, or with the scheme's own
// port, and is then not taken for another site.
func (c *Console) guard(protection *http.CrossOriginProtection, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		checked := r.WithContext(r.Context())
		scheme, _, _ := strings.Cut(r.Header.Get("Origin"), "://")
		checked.Host = normalHost(scheme, r.Host)
		if err := protection.Check(checked); err != nil {
			c.crossOrigin(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
