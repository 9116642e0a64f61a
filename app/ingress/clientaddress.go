package ingress

import (
	"net/http"
	"net/netip"
	"strings"
)

// clientAddresses finds out who sent a request. Proxies that are not trusted
// are themselves the sender, whatever they say.
type clientAddresses struct {
	trusted []netip.Prefix
}

// maxHops bounds how much of X-Forwarded-For is read, from its end.
const maxHops = 32

// of returns the address that requests are counted by: the rightmost hop that
// is not a trusted proxy, of IPv6 its /64, which is what one customer gets. The
// invalid zero Addr stands for connections without an address (Unix sockets).
func (c clientAddresses) of(r *http.Request) netip.Addr {
	connection, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	address := connection.Addr().Unmap().WithZone("")
	if len(c.trusted) > 0 && c.trusts(address) {
		address = c.forwarded(r.Header, address)
	}
	if address.Is6() {
		if prefix, err := address.Prefix(64); err == nil {
			address = prefix.Addr()
		}
	}
	return address
}

// forwarded walks X-Forwarded-For from the hop nearest to us outwards. Each
// trusted proxy vouches for the hop before it; what is no address ends the
// chain of trust, and the last proxy in it is the client. X-Real-IP counts
// where there is no X-Forwarded-For.
func (c clientAddresses) forwarded(header http.Header, proxy netip.Addr) netip.Addr {
	lists := header["X-Forwarded-For"]
	if len(lists) == 0 {
		if values := header["X-Real-Ip"]; len(values) == 1 {
			if address, ok := parseHop(values[0]); ok {
				return address
			}
		}
		return proxy
	}
	client, hops := proxy, 0
	for i := len(lists) - 1; i >= 0; i-- {
		for rest, more := lists[i], true; more; hops++ {
			if hops == maxHops {
				return client
			}
			hop := rest
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, hop = rest[:comma], rest[comma+1:]
			} else {
				more = false
			}
			address, ok := parseHop(hop)
			if !ok {
				return client
			}
			client = address
			if !c.trusts(address) {
				return client
			}
		}
	}
	return client
}

func (c clientAddresses) trusts(address netip.Addr) bool {
	for _, p := range c.trusted {
		if p.Contains(address) {
			return true
		}
	}
	return false
}

// parseHop reads an address as proxies write it: bare, or with a port, IPv6
// then in brackets.
func parseHop(text string) (netip.Addr, bool) {
	text = strings.TrimSpace(text)
	if len(text) > 80 {
		return netip.Addr{}, false
	}
	address, err := netip.ParseAddr(text)
	if err != nil {
		if inside, ok := strings.CutPrefix(text, "["); ok && strings.HasSuffix(inside, "]") {
			address, err = netip.ParseAddr(strings.TrimSuffix(inside, "]"))
		} else {
			var withPort netip.AddrPort
			withPort, err = netip.ParseAddrPort(text)
			address = withPort.Addr()
		}
	}
	if err != nil {
		return netip.Addr{}, false
	}
	return address.Unmap().WithZone(""), true
}
