package plugin

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/dispatchai/dispatchai/core/confine"
)

// echoing gives the address of a server that says again what it is told.
func echoing(t *testing.T) (address, port string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				line, err := bufio.NewReader(c).ReadString('\n')
				if err == nil {
					_, _ = fmt.Fprint(c, "echo "+line)
				}
			}()
		}
	}()
	_, port, _ = net.SplitHostPort(listener.Addr().String())
	return listener.Addr().String(), port
}

// A plugin reaches the hosts that it may speak to, by the proxy, and no other.
func TestProxy(t *testing.T) {
	address, port := echoing(t)
	other, _ := echoing(t)
	strength := confine.Probe()
	start := func(t *testing.T, hosts ...Host) *Plugin {
		t.Helper()
		p, err := Launch(limited(t), Spec{Name: "netted", Path: self(t), Args: []string{asPlugin, "sdk"}, Hosts: hosts}, Options{Confinement: strength})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
		return p
	}
	allowed := start(t, Host{Name: "127.0.0.1", Port: port, Private: true}, Host{Name: "localhost", Port: port})
	none := start(t)
	for name, c := range map[string]struct {
		plugin *Plugin
		title  string
		want   string // in the answer
		fault  string // in the error
	}{
		"a host that is named":             {allowed, "connect " + address, "echo ping", ""},
		"a port that is not":               {allowed, "connect " + other, "", "manifest"},
		"a host that is not":               {allowed, "connect example.com:443", "", "manifest"},
		"a name that leads to private":     {allowed, "connect localhost:" + port, "", "not a public address"},
		"not an address":                   {allowed, "connect nonsense", "", "400"},
		"without hosts":                    {none, "connect " + address, "", "manifest"},
		"past the proxy":                   {allowed, "dial " + address, "", "unreachable"},
		"past the proxy that is not there": {none, "dial " + address, "", "unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			if (c.plugin == none || strings.HasPrefix(c.title, "dial")) && !strength.Namespaces {
				t.Skip("namespaces cannot be made here")
			}
			out := classify(t, c.plugin, c.title)[0]
			if c.fault != "" && (out.Err == nil || !strings.Contains(out.Err.Error(), c.fault)) || c.fault == "" && out.Err != nil || !strings.Contains(out.Reasoning, c.want) {
				t.Errorf("%q, %v", out.Reasoning, out.Err)
			}
		})
	}
}

func TestHostMatches(t *testing.T) {
	for _, c := range []struct {
		host       Host
		name, port string
		want       bool
	}{
		{Host{Name: "api.example.com"}, "API.example.com", "443", true},
		{Host{Name: "api.example.com"}, "api.example.com", "80", false},
		{Host{Name: "api.example.com", Port: "8443"}, "api.example.com", "8443", true},
		{Host{Name: "api.example.com"}, "api.example.com.evil.org", "443", false},
		{Host{Name: "*.example.com"}, "a.b.example.com", "443", true},
		{Host{Name: "*.example.com"}, "example.com", "443", false},
		{Host{Name: "*.example.com"}, ".example.com", "443", false},
		{Host{Name: "*.example.com"}, "evilexample.com", "443", false},
		{Host{Name: "*"}, "example.com", "443", false},
		{Host{Name: "*example.com"}, "evilexample.com", "443", false},
	} {
		if got := c.host.matches(c.name, c.port); got != c.want {
			t.Errorf("%+v and %s:%s: %v", c.host, c.name, c.port, got)
		}
	}
}
