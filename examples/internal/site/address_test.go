package site_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/distribution/reference"

	"github.com/oatmill/oatmill/examples/internal/cli"
	"github.com/oatmill/oatmill/examples/internal/site"
)

// TestParseURL demands the one normal form of an address, and that it is a fixed point.
// Sources: RFC 3986, 6.2.2.1 (case), 6.2.2.2 (percent-encoding), 6.2.2.3 (dot segments),
// 6.2.3 (ports and empty paths), 3.2.2 (names in UTF-8); RFC 6454, 4 (the host in ASCII) and
// 6.2; RFC 5952, 4; WHATWG URL, "origin"; UTS 46.
//
// Fails if normalURL leaves out any of its steps.
func TestParseURL(t *testing.T) {
	for _, c := range []struct{ given, want string }{
		{"", ""},
		{"https://hub.example.com", "https://hub.example.com"},
		{"https://hub.example.com/", "https://hub.example.com"},
		{"https://hub.example.com//", "https://hub.example.com"},
		{"https://hub.example.com/./a/..", "https://hub.example.com"},
		{"HTTPS://Hub.Example.com", "https://hub.example.com"},
		{"hTtP://HUB", "http://hub"},
		{"https://hub.example.com:443", "https://hub.example.com"},
		{"https://hub.example.com:0443/", "https://hub.example.com"},
		{"https://hub.example.com:", "https://hub.example.com"},
		{"http://hub.example.com:80", "http://hub.example.com"},
		{"http://hub.example.com:443", "http://hub.example.com:443"},
		{"https://hub.example.com:80", "https://hub.example.com:80"},
		{"https://hub.example.com:08443", "https://hub.example.com:8443"},
		{"https://hub.example.com.", "https://hub.example.com"},
		{"https://hub.example.com.:443/", "https://hub.example.com"},
		{"https://hub%2Eexample%2ecom", "https://hub.example.com"},
		{"https://%48ub.example.com/%2E/", "https://hub.example.com"},
		{"https://my_registry:5000", "https://my_registry:5000"},
		{"https://r3---sn.example.com", "https://r3---sn.example.com"},
		{"https://Bücher.example", "https://xn--bcher-kva.example"},
		{"https://b%C3%BCcher.example", "https://xn--bcher-kva.example"},
		{"https://bu\u0308cher.example", "https://xn--bcher-kva.example"},
		{"https://XN--BCHER-KVA.example", "https://xn--bcher-kva.example"},
		{"https://straße.example", "https://xn--strae-oqa.example"},
		{"https://hub。example．com。", "https://hub.example.com"},
		{"https://１２７.0.0.1", "https://127.0.0.1"},
		{"http://127.0.0.1:8080/", "http://127.0.0.1:8080"},
		{"http://127.0.0.1.", "http://127.0.0.1"},
		{"http://[2001:DB8:0:0::0001]:8080", "http://[2001:db8::1]:8080"},
		{"https://[::1]:443", "https://[::1]"},
		{"https://[::FFFF:192.0.2.1]", "https://[::ffff:c000:201]"},
	} {
		got, err := site.ParseURL("--url", c.given)
		if err != nil || got != c.want {
			t.Errorf("%q is %q (%v), want %q", c.given, got, err, c.want)
		}
		if again, err := site.ParseURL("--url", got); err != nil || again != got {
			t.Errorf("%q is %q (%v) the second time", got, again, err)
		}
	}
	for _, given := range []string{
		"hub.example.com", "hub.example.com:443", "ftp://hub.example.com", "https://", "https:///", "https://:443", "https:hub.example.com", "//hub.example.com", "/", "https",
		"https://hub.example.com/registry", "https://hub.example.com/%2Fa", "https://hub.example.com/a/", "https://hub.example.com/?", "https://hub.example.com?x=1", "https://hub.example.com#", "https://hub.example.com/#x",
		"https://hub.example.com:0", "https://hub.example.com:65536", "https://hub.example.com:https", "https://hub.example.com:-1", "https://hub.example.com:4 43",
		" https://hub.example.com", "https://hub.example.com ", "https://hub example.com", "https://hub.example.com\n", "https:\\\\hub.example.com", "https://hub\\.example.com",
		"https://.", "https://..", "https://hub..example.com", "https://.example.com", "https://hub.example.com..", "https://" + strings.Repeat("a", 64) + ".example.com", "https://" + strings.Repeat("a.", 127) + "example.com",
		"https://hub%00.example.com", "https://hub%2Fexample.com", "https://hub%zz.example.com", "https://hub,example.com", "https://hub<.example.com", "https://*.example.com",
		"https://xn--a.example", "https://\u202ehub.example.com", "https://a\u2100b.example", "https://אa.example",
		"https://127.1", "https://2130706433", "https://0x7f.0.0.1", "https://127.0.0.01", "https://256.0.0.1", "https://1.2.3.4.5",
		"https://::1", "https://[::1", "https://[fe80::1%25eth0]", "https://[fe80::1%eth0]", "https://[127.0.0.1]", "https://[hub.example.com]", "https://[]", "https://[v1.a]",
	} {
		got, err := site.ParseURL("--url", given)
		if err == nil || !cli.IsUsage(err) || !strings.Contains(err.Error(), "--url") || !strings.Contains(err.Error(), "https://hub.example.com") {
			t.Errorf("%q is %q (%v), want a usage error that shows an address", given, got, err)
		}
	}
	for _, given := range []string{"https://alice:secret@hub.example.com", "https://alice@hub.example.com", "https://secret%zz@hub.example.com"} {
		if got, err := site.ParseURL("--url", given); err == nil || !cli.IsUsage(err) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q is %q (%v), want a usage error without the password", given, got, err)
		}
	}
}

// TestBaseURL has the address that a server listens on in normal form where no --url was
// given: browsers send no default port, and clients do not connect to the unspecified address.
//
// Fails if BaseURL returns the address as it is, or leaves out the unspecified one.
func TestBaseURL(t *testing.T) {
	for _, c := range []struct{ given, scheme, listens, want string }{
		{"", "http", "127.0.0.1:8080", "http://127.0.0.1:8080"},
		{"", "https", "[::]:8443", "https://127.0.0.1:8443"},
		{"", "https", "0.0.0.0:443", "https://127.0.0.1"},
		{"", "http", "192.0.2.1:80", "http://192.0.2.1"},
		{"", "http", "[2001:db8::1]:80", "http://[2001:db8::1]"},
		{"https://hub.example.com", "http", "127.0.0.1:8080", "https://hub.example.com"},
	} {
		addr := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.listens))
		if got, err := site.BaseURL(c.given, c.scheme, addr); err != nil || got != c.want {
			t.Errorf("on %s with %q it is %s (%v), want %s", c.listens, c.given, got, err, c.want)
		}
	}
	addr := net.TCPAddrFromAddrPort(netip.MustParseAddrPort("[fe80::1%eth0]:8080"))
	if got, err := site.BaseURL("", "http", addr); !cli.IsUsage(err) || !strings.Contains(err.Error(), "--url") {
		t.Errorf("on a link-local address it is %s (%v)", got, err)
	}
}

// TestRegistryHost has docker's own parser read image names with the host: it must take the
// host for the registry. Source: distribution/reference, "splitDockerDomain".
//
// Fails if RegistryHost leaves the port out of a host without a dot.
func TestRegistryHost(t *testing.T) {
	for base, want := range map[string]string{
		"https://hub.example.com": "hub.example.com", "http://127.0.0.1": "127.0.0.1", "https://[::1]": "[::1]", "http://localhost": "localhost",
		"https://hub": "hub:443", "http://hub": "hub:80", "https://hub:8443": "hub:8443", "https://hub.example.com:8443": "hub.example.com:8443",
	} {
		got := site.RegistryHost(base)
		if got != want {
			t.Errorf("the registry at %s is %s, want %s", base, got, want)
		}
		named, err := reference.ParseNormalizedNamed(got + "/acme/hello")
		if err != nil || reference.Domain(named) != got {
			t.Errorf("docker takes %v (%v) for the registry at %s", named, err, base)
		}
	}
}

// TestCheckListen refuses addresses that no listener takes, before anything else is done.
//
// Fails if CheckListen looks at the host alone, or not at all.
func TestCheckListen(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1:8080": true, ":8080": true, ":0": true, "[::1]:8080": true, "localhost:http": true,
		"": false, "8080": false, "127.0.0.1": false, "127.0.0.1:65536": false, "127.0.0.1:-1": false, "127.0.0.1:nonsense": false, "::1:8080": false, "http://127.0.0.1:8080": false,
	} {
		err := site.CheckListen("--addr", addr)
		if want != (err == nil) || err != nil && (!cli.IsUsage(err) || !strings.Contains(err.Error(), "--addr")) {
			t.Errorf("%q: %v", addr, err)
		}
	}
}
