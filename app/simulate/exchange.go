package simulate

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Exchange is one request to the API and its answer, as Options.OnRequest gets it.
type Exchange struct {
	At     time.Time
	Method string
	Path   string // as on api.github.com, escaped as it was sent: "/repos/acme/widget/labels/kind%2Fbug"
	Query  url.Values
	Header http.Header // without Authorization
	Body   []byte
	// Route is the endpoint, as Requests names it: "unknown" when there is none, empty for a redirect from a former name.
	Route        string
	Status       int // 0 when the connection was broken off instead of an answer
	AnswerHeader http.Header
	Answer       []byte
}

// witness writes an answer and remembers it.
type witness struct {
	http.ResponseWriter
	exchange *Exchange
}

func (w *witness) WriteHeader(status int) {
	w.exchange.Status = status
	w.exchange.AnswerHeader = w.Header().Clone()
	w.ResponseWriter.WriteHeader(status)
}

func (w *witness) Write(b []byte) (int, error) {
	w.exchange.Answer = append(w.exchange.Answer, b...)
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *witness) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// witnessed prepares a request for being told to OnRequest. Call tell when it was answered, also when that panics.
func (g *GitHub) witnessed(w http.ResponseWriter, r *http.Request) (watched http.ResponseWriter, tell func(route string)) {
	if g.opts.OnRequest == nil {
		return w, func(string) {}
	}
	e := &Exchange{At: g.clock.Now(), Method: r.Method, Path: strings.TrimPrefix(r.URL.EscapedPath(), "/api/v3"), Query: r.URL.Query(), Header: r.Header.Clone()}
	e.Header.Del("Authorization")
	if r.Body != nil {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxRequestBody+1))
		e.Body = body
		rest := io.Reader(r.Body)
		if err != nil {
			rest = failing{err}
		}
		r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), rest))
	}
	return &witness{w, e}, func(route string) {
		e.Route = route
		g.opts.OnRequest(*e)
	}
}

// failing is a body that could not be read.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
