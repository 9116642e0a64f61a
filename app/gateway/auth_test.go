package gateway

import (
	"crypto/tls"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAuthentication(t *testing.T) {
	s := open(t)
	wrong := map[string]requestOption{
		"none":           without("Authorization"),
		"another":        with("Authorization", "Bearer another"),
		"a prefix":       with("Authorization", "Bearer "+testToken[:len(testToken)-1]),
		"more":           with("Authorization", "Bearer "+testToken+"x"),
		"empty":          with("Authorization", "Bearer "),
		"another scheme": with("Authorization", "Basic "+testToken),
		"no scheme":      with("Authorization", testToken),
		"not a WebSocket": func(r *http.Request) {
			r.Header.Del("Authorization")
			r.Header.Set("Sec-WebSocket-Protocol", inSubprotocol())
		},
	}
	for name, option := range wrong {
		t.Run(name, func(t *testing.T) {
			a := s.expect(401, "GET", "/api/stats", "", option)
			if a.header.Get("WWW-Authenticate") == "" || !strings.Contains(a.problem().Detail, "Authorization: Bearer") {
				t.Errorf("a refusal that does not say how: %v %s", a.header, a.body)
			}
			if strings.Contains(string(a.body), testToken) {
				t.Error("the answer gives the token away")
			}
			if a := s.expect(200, "GET", "/api/session", "", option); !strings.Contains(string(a.body), `"authenticated":false`) {
				t.Errorf("session %s", a.body)
			}
		})
	}
	s.expect(200, "GET", "/api/stats", "")
	s.expect(200, "GET", "/api/stats", "", with("Authorization", "bearer  "+testToken+" "))
	if a := s.expect(200, "GET", "/api/session", ""); string(a.body) != `{"authenticated":true,"authentication":"token","mode":"serve","version":"1.2.3"}` {
		t.Errorf("session %s", a.body)
	}
	if strings.Contains(s.logged.String(), testToken) {
		t.Error("the log has the token")
	}
}

func inSubprotocol() string {
	return subprotocol + ", bearer." + base64.RawURLEncoding.EncodeToString([]byte(testToken))
}

func TestTokenInSubprotocol(t *testing.T) {
	s := open(t)
	conn, response, err := s.dial("", http.Header{"Sec-WebSocket-Protocol": {inSubprotocol()}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := response.Header.Get("Sec-WebSocket-Protocol"); got != subprotocol {
		t.Errorf("the server selects %q, which browsers would refuse", got)
	}
	if _, text, err := conn.ReadMessage(); err != nil || !strings.Contains(string(text), `"hello"`) {
		t.Errorf("%v %s", err, text)
	}
	for _, offered := range []string{subprotocol, subprotocol + ", bearer.", subprotocol + ", bearer.!!", subprotocol + ", bearer.d3Jvbmc"} {
		if _, response, err := s.dial("", http.Header{"Sec-WebSocket-Protocol": {offered}}); err == nil || response.StatusCode != 401 {
			t.Errorf("%q is let in", offered)
		}
	}
}

func TestClosedWithoutToken(t *testing.T) {
	s := open(t, closed)
	for _, option := range []requestOption{without("Authorization"), with("Authorization", "Bearer "), with("Authorization", "Bearer x")} {
		if a := s.expect(401, "GET", "/api/issues", "", option); !strings.Contains(a.problem().Detail, "DISPATCHAI_API_TOKEN") {
			t.Errorf("the answer does not say what to do: %s", a.body)
		}
	}
	if _, response, err := s.dial("", http.Header{}); err == nil || response.StatusCode != 401 {
		t.Errorf("the stream: %v", err)
	}
}

// TestRebinding: a page of another site whose name resolves to this machine
// sends its own name as Host.
func TestRebinding(t *testing.T) {
	s := open(t, demo)
	for _, name := range []string{"evil.example", "evil.example:8080", "localhost.evil.example", "10.0.0.1:8080", "127.0.0.1.nip.io", "[2001:db8::1]:8080", "0.0.0.0"} {
		if a := s.expect(403, "GET", "/api/issues", "", host(name)); !strings.Contains(a.problem().Detail, "localhost") {
			t.Errorf("%s: %s", name, a.body)
		}
		if a := s.expect(200, "GET", "/api/session", "", host(name)); !strings.Contains(string(a.body), `"authenticated":false`) {
			t.Errorf("%s: session %s", name, a.body)
		}
	}
	for _, name := range []string{"localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.1.2.3", "[::1]:8080", "[::1]"} {
		s.expect(200, "GET", "/api/issues", "", without("Authorization"), host(name))
	}
	s.expect(403, "POST", "/api/issues/1101/classify", "", without("Authorization"), with("Origin", "http://evil.example"))
	s.expect(403, "POST", "/api/issues/1101/classify", "", without("Authorization"), with("Sec-Fetch-Site", "cross-site"))
	if _, response, err := s.dial("", http.Header{"Origin": {"http://evil.example"}}); err == nil || response.StatusCode != 403 {
		t.Errorf("a page of another site may listen: %v", err)
	}
}

func TestOrigins(t *testing.T) {
	a, err := newAuthenticator("x", false, []string{"https://triage.example", " HTTPS://Other.Example:443/ ", "http://plain.example:8080"})
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		origin string
		tls    bool
		want   bool
	}{
		{"", false, true},
		{"http://gateway.example:8080", false, true},
		{"http://GATEWAY.example:8080", false, true},
		{"https://gateway.example:8080", false, true}, // a proxy ends TLS
		{"https://gateway.example:8080", true, true},
		{"http://gateway.example:8080", true, false},
		{"http://gateway.example", false, false},
		{"http://gateway.example:8081", false, false},
		{"http://gateway.example:8080.evil.example", false, false},
		{"http://evil@gateway.example:8080", false, false},
		{"http://gateway.example:8080/", false, false},
		{"ftp://gateway.example:8080", false, false},
		{"//gateway.example:8080", false, false},
		{"gateway.example:8080", false, false},
		{"null", false, false},
		{"https://triage.example", false, true},
		{"https://TRIAGE.example", false, true},
		{"http://triage.example", false, false},
		{"https://triage.example.evil.example", false, false},
		{"https://a.triage.example", false, false},
		{"https://other.example", false, true},
		{"http://plain.example:8080", false, true},
		{"http://plain.example", false, false},
	}
	for _, c := range cases {
		r := httptest.NewRequest("POST", "/api/x", nil)
		r.Host = "gateway.example:8080"
		if c.tls {
			r.TLS = &tls.ConnectionState{}
		}
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		if got := a.allowsOrigin(r); got != c.want {
			t.Errorf("origin %q (TLS %t): %t", c.origin, c.tls, got)
		}
	}
	two := httptest.NewRequest("POST", "/api/x", nil)
	two.Header["Origin"] = []string{"https://triage.example", "https://evil.example"}
	if a.allowsOrigin(two) {
		t.Error("two origins are let in")
	}
	for _, bad := range []string{"*", "https://*.example", "triage.example", "https://", "https://a/b", "https://a?x", "ftp://a", "https://u@a", "", "https://a:b"} {
		if _, err := newAuthenticator("x", false, []string{bad}); err == nil || !strings.Contains(err.Error(), "https://host") {
			t.Errorf("origin %q: %v", bad, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	s := open(t)
	good := Config{Store: s.store, Publisher: s.producer}
	for name, spoil := range map[string]func(*Config){
		"no store":         func(c *Config) { c.Store = nil },
		"no publisher":     func(c *Config) { c.Publisher = nil },
		"token, yet open":  func(c *Config) { c.Open, c.Token = true, "x" },
		"negative":         func(c *Config) { c.ReadBack = -1 },
		"bad origin":       func(c *Config) { c.Origins = []string{"*"} },
		"metrics twice":    func(c *Config) { c.Registerer = s.registry },
		"no dashboard yet": func(c *Config) { c.Dashboard = files(nil) },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := New(cfg); err == nil || !strings.HasPrefix(err.Error(), "gateway: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzOrigin: whatever a browser or an attacker sends, only an origin that is
// this host's own or a configured one passes, and no token but the right one.
func FuzzOrigin(f *testing.F) {
	a, err := newAuthenticator("right", false, []string{"https://triage.example"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("http://h:1", "h:1", "Bearer right", "bearer.cmlnaHQ")
	f.Add("https://triage.example", "", "bearer  right ", ", ,bearer.x,")
	f.Add("://", "", "Bearer", "bearer.")
	f.Fuzz(func(t *testing.T, origin, host, authorization, protocols string) {
		r := &http.Request{Method: "POST", Host: host, Header: http.Header{"Origin": {origin}, "Authorization": {authorization}, "Sec-Websocket-Protocol": {protocols}, "Upgrade": {"websocket"}}}
		if a.allowsOrigin(r) && !strings.EqualFold(origin, "https://triage.example") &&
			(host == "" || (!strings.EqualFold(origin, "http://"+host) && !strings.EqualFold(origin, "https://"+host))) {
			t.Errorf("the origin %q passes at %q", origin, host)
		}
		if a.authenticated(r) != (bearer(r) == "right") {
			t.Errorf("%q %q", authorization, protocols)
		}
		if a.authenticated(r) && !strings.Contains(authorization, "right") && !strings.Contains(protocols, "bearer.cmlnaHQ") {
			t.Errorf("let in with %q %q", authorization, protocols)
		}
		isLoopback(host)
	})
}
