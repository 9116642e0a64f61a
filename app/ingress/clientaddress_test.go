package ingress

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func testProxies() clientAddresses {
	return clientAddresses{trusted: []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("fd00::/8"),
	}}
}

func TestClientAddress(t *testing.T) {
	for name, tc := range map[string]struct {
		remote    string
		forwarded []string
		realIP    string
		want      string
	}{
		"direct":                   {"203.0.113.7:5555", nil, "", "203.0.113.7"},
		"direct, pretending":       {"203.0.113.7:5555", []string{"1.2.3.4"}, "1.2.3.4", "203.0.113.7"},
		"IPv6 is counted by /64":   {"[2001:db8:1:2:3:4:5:6]:5555", nil, "", "2001:db8:1:2::"},
		"IPv4 inside IPv6":         {"[::ffff:203.0.113.7]:5555", nil, "", "203.0.113.7"},
		"zone":                     {"[fe80::1%eth0]:5555", nil, "", "fe80::"},
		"behind one proxy":         {"10.0.0.1:80", []string{"203.0.113.7"}, "", "203.0.113.7"},
		"behind two":               {"10.0.0.1:80", []string{"203.0.113.7, 10.0.0.2"}, "", "203.0.113.7"},
		"two header lines":         {"10.0.0.1:80", []string{"203.0.113.7", "10.0.0.2"}, "", "203.0.113.7"},
		"client makes up hops":     {"10.0.0.1:80", []string{"1.1.1.1, 2.2.2.2,203.0.113.7 , 10.0.0.2"}, "", "203.0.113.7"},
		"only proxies":             {"10.0.0.1:80", []string{"10.0.0.3, 10.0.0.2"}, "", "10.0.0.3"},
		"garbage before a proxy":   {"10.0.0.1:80", []string{"unknown, 10.0.0.2"}, "", "10.0.0.2"},
		"garbage":                  {"10.0.0.1:80", []string{"<script>"}, "", "10.0.0.1"},
		"empty":                    {"10.0.0.1:80", []string{""}, "9.9.9.9", "10.0.0.1"},
		"with port":                {"10.0.0.1:80", []string{"203.0.113.7:4711"}, "", "203.0.113.7"},
		"IPv6 in brackets":         {"10.0.0.1:80", []string{"[2001:db8::1]"}, "", "2001:db8::"},
		"IPv6 with port":           {"10.0.0.1:80", []string{"[2001:db8::1]:80"}, "", "2001:db8::"},
		"IPv6 bare":                {"[fd00::1]:80", []string{"2001:db8:0:9::1"}, "", "2001:db8:0:9::"},
		"X-Real-IP":                {"10.0.0.1:80", nil, "203.0.113.7", "203.0.113.7"},
		"X-Real-IP, garbage":       {"10.0.0.1:80", nil, "nobody", "10.0.0.1"},
		"X-Forwarded-For wins":     {"10.0.0.1:80", []string{"203.0.113.7"}, "1.2.3.4", "203.0.113.7"},
		"IPv6 form of a proxy":     {"[::ffff:10.0.0.1]:80", []string{"203.0.113.7"}, "", "203.0.113.7"},
		"IPv6 form inside a chain": {"10.0.0.1:80", []string{"203.0.113.7, ::ffff:10.0.0.2"}, "", "203.0.113.7"},
		"too many hops":            {"10.0.0.1:80", []string{"203.0.113.7" + strings.Repeat(",10.0.0.2", maxHops)}, "", "10.0.0.2"},
		"Unix socket":              {"@", []string{"203.0.113.7"}, "", "invalid IP"},
	} {
		r := &http.Request{RemoteAddr: tc.remote, Header: http.Header{}}
		if tc.forwarded != nil {
			r.Header["X-Forwarded-For"] = tc.forwarded
		}
		if tc.realIP != "" {
			r.Header.Set("X-Real-IP", tc.realIP)
		}
		if got := testProxies().of(r).String(); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// FuzzClientAddress shows that nobody who is not a trusted proxy chooses the
// address that he is counted by, whatever his headers hold.
func FuzzClientAddress(f *testing.F) {
	f.Add("203.0.113.7", "1.2.3.4, 10.0.0.1", "")
	f.Add("2001:db8::1", "[::1]:80,,unknown", "::ffff:1.2.3.4")
	f.Add("10.0.0.9", "a,b", "fe80::1%x")
	f.Fuzz(func(t *testing.T, client, forwarded, realIP string) {
		address, err := netip.ParseAddr(client)
		if err != nil || address.Zone() != "" {
			return
		}
		address = address.Unmap()
		counted := address
		if address.Is6() {
			prefix, err := address.Prefix(64)
			if err != nil {
				t.Fatal(err)
			}
			counted = prefix.Addr()
		}
		proxies := testProxies()
		header := http.Header{"X-Forwarded-For": {forwarded}, "X-Real-Ip": {realIP}}
		direct := &http.Request{RemoteAddr: netip.AddrPortFrom(address, 4711).String(), Header: header}
		got := proxies.of(direct)
		if !proxies.trusts(address) && got != counted {
			t.Fatalf("%s is counted as %s", address, got)
		}
		if proxies.trusts(address) {
			return
		}
		// The nearest proxy adds who connected to it; what stands before that is the client's own.
		header["X-Forwarded-For"] = []string{forwarded + ", " + address.String()}
		proxied := &http.Request{RemoteAddr: "10.0.0.1:80", Header: header}
		if got := proxies.of(proxied); got != counted {
			t.Fatalf("%s behind a proxy is counted as %s", address, got)
		}
	})
}
