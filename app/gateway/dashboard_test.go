package gateway

import (
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/dispatchai/dispatchai/web"
)

func files(of map[string]string) fs.FS {
	m := make(fstest.MapFS)
	for name, body := range of {
		m[name] = &fstest.MapFile{Data: []byte(body)}
	}
	return m
}

func TestDashboard(t *testing.T) {
	script := strings.Repeat("console.log('hello');\n", 500)
	s := open(t, func(c *Config) {
		c.Dashboard = files(map[string]string{"index.html": "<!doctype html><title>index</title>", "assets/app-1a2b.js": script, "theme.js": "1", "favicon.svg": "<svg xmlns='http://www.w3.org/2000/svg'/>"})
	})
	const immutable = "public, max-age=31536000, immutable"
	page := with("Accept", "text/html,*/*;q=0.8")
	cases := []struct {
		path   string
		option requestOption
		status int
		media  string
		cache  string
		body   string
	}{
		{"/", page, 200, "text/html; charset=utf-8", "no-cache", "<!doctype html><title>index</title>"},
		{"/index.html", page, 200, "text/html; charset=utf-8", "no-cache", "<!doctype html><title>index</title>"},
		{"/issues/12", page, 200, "text/html; charset=utf-8", "no-cache", "<!doctype html><title>index</title>"},
		{"/repositories/harbour-lights/tide.watch", page, 200, "text/html; charset=utf-8", "no-cache", "<!doctype html><title>index</title>"},
		{"/assets/app-1a2b.js", without("Accept"), 200, "text/javascript; charset=utf-8", immutable, script},
		{"/theme.js", without("Accept"), 200, "text/javascript; charset=utf-8", "no-cache", "1"},
		{"/favicon.svg", without("Accept"), 200, "image/svg+xml", "no-cache", "<svg xmlns='http://www.w3.org/2000/svg'/>"},
		{"/assets", page, 200, "text/html; charset=utf-8", "no-cache", "<!doctype html><title>index</title>"},
		{"/assets/gone-9.js", page, 404, "application/problem+json", "no-store", ""},
		{"/robots.txt", with("Accept", "*/*"), 404, "application/problem+json", "no-store", ""},
	}
	for _, c := range cases {
		a := s.call("GET", c.path, "", without("Authorization"), c.option)
		if a.status != c.status || a.header.Get("Content-Type") != c.media || a.header.Get("Cache-Control") != c.cache || (c.body != "" && string(a.body) != c.body) {
			t.Errorf("%s: %d %v %.80s", c.path, a.status, a.header, a.body)
		}
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Content-Security-Policy": contentSecurityPolicy, "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s: %s is %q", c.path, name, got)
			}
		}
	}
	for _, path := range []string{"/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/assets/..%2f..%2fetc%2fpasswd", "/..\\..\\etc\\passwd", "//etc/passwd", "/assets/", "/%00"} {
		if a := s.call("GET", path, ""); strings.Contains(string(a.body), "root:") || strings.Contains(string(a.body), "app-1a2b") || a.status >= 500 {
			t.Errorf("%s: %d %.80s", path, a.status, a.body)
		}
	}
	if a := s.call("HEAD", "/assets/app-1a2b.js", ""); a.status != 200 || len(a.body) > 0 || a.header.Get("Content-Type") == "" {
		t.Errorf("HEAD: %d %v", a.status, a.header)
	}
	if a := s.call("POST", "/", ""); a.status != 405 || a.header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d %v", a.status, a.header)
	}
	// What must be revalidated is not sent again.
	etag := s.call("GET", "/", "").header.Get("ETag")
	if a := s.call("GET", "/", "", with("If-None-Match", etag)); etag == "" || a.status != 304 || len(a.body) > 0 {
		t.Errorf("revalidated with %q: %d %s", etag, a.status, a.body)
	}
	// The API's own security headers and the lack of caching.
	if a := s.expect(200, "GET", "/api/issues", ""); a.header.Get("Cache-Control") != "no-store" || a.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%v", a.header)
	}
}

func TestCompression(t *testing.T) {
	s := open(t, func(c *Config) { c.Dashboard = web.Dist() })
	names, err := fs.Glob(web.Dist(), "assets/*.js")
	if err != nil || len(names) == 0 {
		t.Fatalf("the built dashboard has no scripts: %v", err)
	}
	for _, path := range append(names, "api/openapi.json") {
		request, _ := http.NewRequestWithContext(testContext(t), "GET", s.server.URL+"/"+path, nil)
		request.Header.Set("Accept-Encoding", "gzip, br")
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		packed, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.Header.Get("Content-Encoding") != "gzip" || !strings.Contains(response.Header.Get("Vary"), "Accept-Encoding") {
			t.Fatalf("%s: %v %v", path, err, response.Header)
		}
		reader, err := gzip.NewReader(strings.NewReader(string(packed)))
		if err != nil {
			t.Fatal(err)
		}
		plain, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		want := openapi
		if path != "api/openapi.json" {
			if want, err = fs.ReadFile(web.Dist(), path); err != nil {
				t.Fatal(err)
			}
		}
		if string(plain) != string(want) {
			t.Errorf("%s does not unpack to itself", path)
		}
		if len(packed)*2 > len(plain) {
			t.Errorf("%s: %d of %d bytes", path, len(packed), len(plain))
		}
		t.Logf("%s: %d -> %d bytes", path, len(plain), len(packed))
	}
	// Who does not ask for it gets it plain.
	request, _ := http.NewRequestWithContext(testContext(t), "GET", s.server.URL+"/"+names[0], nil)
	request.Header.Set("Accept-Encoding", "identity")
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.Header.Get("Content-Encoding") != "" {
		t.Errorf("%v", response.Header)
	}
}
