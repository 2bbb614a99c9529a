package site

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/oatmill/oatmill/examples/internal/cli"
)

// Proxies are the networks of the proxies before a server. What others than they write
// into X-Forwarded-For is their own invention.
type Proxies []netip.Prefix

// ProxyUsage is what to say of the flag that names them.
const ProxyUsage = "the `network` of a proxy before it, like 10.0.0.0/8, whose X-Forwarded-For says where requests come from; once for each"

// ParseProxies reads what somebody gave to a flag that names networks or addresses.
func ParseProxies(flag string, texts []string) (proxies Proxies, err error) {
	for _, text := range texts {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			var address netip.Addr
			address, err = netip.ParseAddr(text)
			network = netip.PrefixFrom(address, address.BitLen())
		}
		if err != nil {
			return nil, cli.Usagef("%s %q: want a network or an address, like 10.0.0.0/8", flag, text)
		}
		proxies = append(proxies, network.Masked())
	}
	return proxies, nil
}

// ClientAddress is where a request comes from: the peer, and where that is a trusted
// proxy, the last address in X-Forwarded-For that is not another one.
func (p Proxies) ClientAddress(r *http.Request) string {
	nearest := host(r.RemoteAddr)
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		address, err := netip.ParseAddr(host(strings.TrimSpace(hop)))
		if !p.trusted(nearest) || err != nil {
			break
		}
		nearest = address.Unmap().String()
	}
	return nearest
}

func (p Proxies) trusted(address string) bool {
	parsed, err := netip.ParseAddr(address)
	parsed = parsed.Unmap().WithZone("")
	return err == nil && slices.ContainsFunc(p, func(network netip.Prefix) bool { return network.Contains(parsed) })
}

// host is an address without its port, if it has one.
func host(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return strings.Trim(address, "[]")
}
