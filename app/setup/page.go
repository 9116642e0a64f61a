package setup

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/url"
)

//go:embed page.html
var pageSource string

//go:embed page.css
var styleSource []byte

//go:embed page.js
var scriptSource []byte

// pageHandler serves the page to browsers that name this machine. Another name
// that leads here is not believed: a web site could have made it.
func (s *Setup) pageHandler(address string) http.Handler {
	pages := template.Must(template.New("setup").Parse(pageSource))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { s.render(w, pages, "page") })
	mux.HandleFunc("GET /progress", func(w http.ResponseWriter, _ *http.Request) { s.render(w, pages, "main") })
	mux.HandleFunc("GET /created", s.comeBack)
	mux.HandleFunc("GET /page.css", asset("text/css; charset=utf-8", styleSource))
	mux.HandleFunc("GET /page.js", asset("text/javascript; charset=utf-8", scriptSource))
	_, port, _ := net.SplitHostPort(address)
	policy := pagePolicy(s.cfg.GitHubURL)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if host, hostPort, err := net.SplitHostPort(r.Host); err != nil || hostPort != port || !loopback(host) {
			http.Error(w, "This page answers on this machine only, under its own address.", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// pagePolicy lets the page load its own files alone. Browsers hold the redirects
// of a form's answer against form-action as well, and an organisation's sign-on
// may lead anywhere, so any https is allowed beside GitHub itself.
func pagePolicy(github string) string {
	return fmt.Sprintf("default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; form-action %s https:; base-uri 'none'; frame-ancestors 'none'", github)
}

func asset(kind string, content []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		_, _ = w.Write(content) // a browser that has gone away is no fault of ours
	}
}

func (s *Setup) render(w http.ResponseWriter, pages *template.Template, name string) {
	v, err := s.state.view()
	var b bytes.Buffer
	if err == nil {
		err = pages.ExecuteTemplate(&b, name, v)
	}
	if err != nil {
		s.cfg.Logger.Error("the setup page failed", "error", err)
		http.Error(w, "The setup page failed; the terminal says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if _, err := w.Write(b.Bytes()); err == nil {
		s.state.shown(v)
	}
}

// comeBack takes the code that GitHub sent the browser back with.
func (s *Setup) comeBack(w http.ResponseWriter, r *http.Request) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || s.state.consume(query.Get("state")) != nil {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintln(w, "This does not come from the page that setup shows, or came back before. Nothing was kept of it.\nBegin at the page's first address again.")
		return
	}
	s.codes <- query.Get("code") // there is room: only one state is out at a time
	// The code leaves the address bar and the history with it.
	http.Redirect(w, r, "/", http.StatusSeeOther)
}
