package github

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/golang-jwt/jwt/v4"
)

// transport is the lowest layer: one HTTP exchange, bounded in time and size,
// counted. It reads the whole answer, so that connections always return to the
// pool and no layer above can leak one.
type transport struct {
	base    http.RoundTripper
	timeout time.Duration
	prefix  string // the path of the API's root, without a trailing slash
	agent   string // who asks, as every request has to say
	metrics *metrics
	logger  *slog.Logger
}

// maxAnswer bounds an answer; a hundred issue events take about 300 kB.
const maxAnswer = 16 << 20

func newHTTPTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns = 512
	t.MaxIdleConnsPerHost = 256
	t.MaxConnsPerHost = 512
	t.IdleConnTimeout = 90 * time.Second
	t.TLSHandshakeTimeout = 10 * time.Second
	return t
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(req.Context(), t.timeout)
	defer cancel()
	route := routeOf(req.Method, strings.TrimPrefix(req.URL.Path, t.prefix))
	start := time.Now()
	answer, err := t.exchange(t.introduced(req.WithContext(ctx)))
	took := time.Since(start)
	status := "error"
	if err == nil {
		status = strconv.Itoa(answer.StatusCode)
		answer.Request = req
	}
	t.metrics.requests.WithLabelValues(route, status).Inc()
	t.metrics.duration.WithLabelValues(route).Observe(took.Seconds())
	if t.logger.Enabled(ctx, slog.LevelDebug) {
		t.logger.Debug("called GitHub", "route", route, "path", req.URL.Path, "status", status, "duration", took)
	}
	return answer, err
}

const (
	apiVersion   = "2022-11-28"
	mediaType    = "application/vnd.github+json"
	oldMediaType = "application/vnd.github.v3+json" // which the libraries above ask for
)

// introduced returns the request with the headers that GitHub documents. The
// libraries above ask for a media type of old, some of them twice, and fetch
// tokens without saying who they are.
func (t *transport) introduced(req *http.Request) *http.Request {
	header := req.Header.Clone()
	if header == nil {
		header = make(http.Header)
	}
	accept := mediaType
	for _, asked := range header.Values("Accept") {
		if asked != oldMediaType {
			accept = asked // a special form, as of raw contents
		}
	}
	header.Set("Accept", accept)
	header.Set("X-GitHub-Api-Version", apiVersion)
	header.Set("User-Agent", t.agent)
	req.Header = header
	return req
}

func (t *transport) exchange(req *http.Request) (*http.Response, error) {
	answer, err := t.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	var body bytes.Buffer
	if answer.ContentLength > 0 && answer.ContentLength <= maxAnswer {
		body.Grow(int(answer.ContentLength) + bytes.MinRead)
	}
	n, err := body.ReadFrom(io.LimitReader(answer.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if n > maxAnswer {
		return nil, fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
	}
	answer.Body = io.NopCloser(&body)
	return answer, nil
}

// routeOf names the endpoint with the variable parts left out, so that it can
// be a metric's label: only endpoints that this package calls have names.
func routeOf(method, path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	route := "other"
	switch {
	case len(parts) == 1 && parts[0] == "app":
		route = "/app"
	case len(parts) == 2 && parts[0] == "app" && parts[1] == "installations":
		route = "/app/installations"
	case len(parts) == 2 && parts[0] == "installation" && parts[1] == "repositories":
		route = "/installation/repositories"
	case len(parts) >= 3 && parts[0] == "app" && parts[1] == "installations":
		route = "/app/installations/{id}"
		if len(parts) == 4 && parts[3] == "access_tokens" {
			route += "/access_tokens"
		}
	case len(parts) >= 3 && parts[0] == "app" && parts[1] == "hook":
		switch {
		case len(parts) == 3 && (parts[2] == "config" || parts[2] == "deliveries"):
			route = "/app/hook/" + parts[2]
		case len(parts) == 4 && parts[2] == "deliveries":
			route = "/app/hook/deliveries/{id}"
		case len(parts) == 5 && parts[2] == "deliveries" && parts[4] == "attempts":
			route = "/app/hook/deliveries/{id}/attempts"
		}
	case len(parts) >= 4 && parts[0] == "repos":
		switch rest := parts[3:]; {
		case rest[0] == "labels" && len(rest) == 1:
			route = "/repos/{repo}/labels"
		case rest[0] == "issues" && len(rest) == 1:
			route = "/repos/{repo}/issues"
		case rest[0] == "issues" && len(rest) == 2:
			route = "/repos/{repo}/issues/{number}"
		case rest[0] == "issues" && len(rest) == 3 && (rest[2] == "labels" || rest[2] == "events" || rest[2] == "suggestions"):
			route = "/repos/{repo}/issues/{number}/" + rest[2]
		case rest[0] == "issues" && len(rest) == 5 && rest[2] == "suggestions":
			route = "/repos/{repo}/issues/{number}/suggestions/{id}/dismiss"
		case rest[0] == "labels" && len(rest) == 2:
			route = "/repos/{repo}/labels/{name}"
		case rest[0] == "issues" && len(rest) >= 4 && rest[2] == "labels":
			route = "/repos/{repo}/issues/{number}/labels/{name}"
		case rest[0] == "contents":
			route = "/repos/{repo}/contents/{path}"
		case rest[0] == "check-runs":
			route = "/repos/{repo}/check-runs"
		case rest[0] == "commits" && len(rest) == 3:
			route = "/repos/{repo}/commits/{sha}/" + rest[2]
		case rest[0] == "commits" && len(rest) == 1, rest[0] == "issue-types" && len(rest) == 1:
			route = "/repos/{repo}/" + rest[0]
		case rest[0] == "collaborators" && len(rest) == 3 && rest[2] == "permission":
			route = "/repos/{repo}/collaborators/{user}/permission"
		}
	}
	return method + " " + route
}

// sameOrigin keeps credentials at home: the App's tokens go along with every
// redirect, so only redirects within the API are followed, and none that would
// turn a write into a read.
func sameOrigin(req *http.Request, via []*http.Request) error {
	from := via[0]
	switch {
	case len(via) >= 5:
		return errors.New("stopped after 5 redirects")
	case req.URL.Host != from.URL.Host || req.URL.Scheme != from.URL.Scheme:
		return fmt.Errorf("refused a redirect to another host, %s://%s; check GITHUB_API_URL", req.URL.Scheme, req.URL.Host)
	case req.Method != from.Method:
		return fmt.Errorf("refused a redirect that turns %s into %s", from.Method, req.Method)
	}
	return nil
}

// signer makes the App's JSON web tokens. A token serves all installations for
// half a minute: an RSA signature costs about a millisecond, and after a start
// a thousand installations want an access token at once.
type signer struct {
	next ghinstallation.Signer

	mu     sync.Mutex
	signed string
	until  time.Time // on the clock of the claims' issue time
}

const tokenReuse = 30 * time.Second

func (s *signer) Sign(claims jwt.Claims) (string, error) {
	registered, ok := claims.(*jwt.RegisteredClaims)
	if !ok || registered.IssuedAt == nil {
		return s.next.Sign(claims)
	}
	issued := registered.IssuedAt.Time
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.signed != "" && issued.Before(s.until) && issued.After(s.until.Add(-2*tokenReuse)) {
		return s.signed, nil
	}
	signed, err := s.next.Sign(claims)
	if err != nil {
		return "", err
	}
	s.signed, s.until = signed, issued.Add(tokenReuse)
	return signed, nil
}
