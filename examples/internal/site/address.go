package site

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/net/idna"

	"github.com/oatmill/oatmill/examples/internal/cli"
)

// ParseURL returns the normal form of a public base URL that a flag was given, and "" for
// "". The form is that of RFC 3986, 6.2.2 and 6.2.3, without a slash at the end, and the one
// that browsers send as Origin (RFC 6454, 6.2): scheme and host in lower case, the host in
// ASCII without a dot at the end, no port that is the scheme's own.
//
// A base URL has a scheme, a host and a port, and nothing else: clients look for /v2/ and
// browsers for the console at the root. What else is given is a usage error.
func ParseURL(flag, text string) (string, error) {
	if text == "" {
		return "", nil
	}
	if strings.Contains(text, "@") {
		// The text is left out because it may hold a password.
		return "", cli.Usagef("%s: want an address without a name and password", flag)
	}
	base, err := normalURL(text)
	if err != nil {
		return "", cli.Usagef("%s %q: %v: want an address like https://hub.example.com", flag, text, err)
	}
	return base, nil
}

func normalURL(text string) (string, error) {
	if strings.ContainsAny(text, "?#") {
		return "", errors.New("a query or fragment has no place in it")
	}
	at, err := url.Parse(decodeUnreserved(text))
	if err != nil {
		return "", errors.Unwrap(err) // without the text, which the caller names
	}
	if at.Scheme != "http" && at.Scheme != "https" || at.Host == "" {
		return "", errors.New("not an address of http or https")
	}
	if path.Clean("/"+at.Path) != "/" {
		return "", errors.New("everything is served at the root, and not below a path")
	}
	host, err := normalHost(at.Hostname(), strings.HasPrefix(at.Host, "["))
	if err != nil {
		return "", err
	}
	port, err := normalPort(at.Scheme, at.Port())
	return at.Scheme + "://" + host + port, err
}

// decodeUnreserved decodes what needs no percent-encoding (RFC 3986, 6.2.2.2). No character
// that separates parts of a URL is among it.
func decodeUnreserved(text string) string {
	encoded := regexp.MustCompile(`(?i)%(2[de]|3[0-9]|4[1-9a-f]|5[0-9a]|5f|6[1-9a-f]|7[0-9a]|7e)`)
	return encoded.ReplaceAllStringFunc(text, func(triplet string) string {
		code, _ := strconv.ParseUint(triplet[1:], 16, 8) // two hexadecimal digits
		return string(rune(code))
	})
}

// normalHost returns a host as browsers write it. One in brackets is an IPv6 address.
func normalHost(host string, brackets bool) (string, error) {
	if brackets {
		return normalIPv6(host)
	}
	// Names in local networks have underscores and hyphens anywhere.
	profile := idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(false), idna.CheckHyphens(false))
	ascii, err := profile.ToASCII(host)
	if err != nil {
		return "", fmt.Errorf("the host %q is no name: %w", host, err)
	}
	ascii = strings.TrimSuffix(ascii, ".")
	if ip, err := netip.ParseAddr(ascii); err == nil && ip.Is4() {
		return ascii, nil
	}
	labels := strings.Split(ascii, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return "", fmt.Errorf("the host %q is no name", host)
		}
	}
	// Browsers take a host that ends with a number for an IPv4 address, however it is
	// written (WHATWG URL, 3.5), and would send another Origin.
	if _, err := strconv.ParseUint(labels[len(labels)-1], 0, 64); err == nil || len(ascii) > 253 {
		return "", fmt.Errorf("the host %q is neither a name nor an address", host)
	}
	return ascii, nil
}

// normalIPv6 returns the address in brackets, as RFC 5952 writes it but without the form
// with dots, which no browser sends.
func normalIPv6(host string) (string, error) {
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.Is6() || ip.Zone() != "" {
		return "", fmt.Errorf("[%s] is no IPv6 address that clients elsewhere can use", host)
	}
	if ip.Is4In6() {
		b := ip.As16()
		return fmt.Sprintf("[::ffff:%x:%x]", uint(b[12])<<8|uint(b[13]), uint(b[14])<<8|uint(b[15])), nil
	}
	return "[" + ip.String() + "]", nil
}

// normalPort returns a port with its colon, and "" for the one that the scheme means.
func normalPort(scheme, port string) (string, error) {
	if port == "" {
		return "", nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil || n == 0:
		return "", fmt.Errorf("%s is no port", port)
	case scheme == "http" && n == 80, scheme == "https" && n == 443:
		return "", nil
	}
	return fmt.Sprintf(":%d", n), nil
}

// BaseURL returns how clients reach a server that listens on addr: as the flag --url says,
// which [ParseURL] read, and without it by the address itself.
func BaseURL(given, scheme string, addr net.Addr) (string, error) {
	if given != "" {
		return given, nil
	}
	at := addr.String()
	host, port, err := net.SplitHostPort(at)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		at = net.JoinHostPort("127.0.0.1", port)
	}
	base, err := normalURL(scheme + "://" + at)
	if err != nil {
		return "", cli.Usagef("--addr %s is no address to give to clients (%v): say with --url how they reach it", at, err)
	}
	return base, nil
}

// RegistryHost returns the registry's name for docker. It has a port where docker would
// take it for a namespace of Docker Hub without: where it has no dot and is not localhost.
func RegistryHost(base string) string {
	scheme, host, _ := strings.Cut(base, "://")
	if strings.ContainsAny(host, ".:") || host == "localhost" {
		return host
	}
	return host + map[string]string{"http": ":80", "https": ":443"}[scheme]
}

// CheckListen returns a usage error for an address that no server can listen on.
func CheckListen(flag, addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return cli.Usagef("%s %q: want HOST:PORT, like 127.0.0.1:8080", flag, addr)
	}
	return nil
}
