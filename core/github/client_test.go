package github

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dispatchai/dispatchai/core/triage"
)

const appID = 900100

// server is a GitHub that checks the App's tokens and hands each API request to serve.
type server struct {
	*httptest.Server
	t      *testing.T
	key    *rsa.PrivateKey
	pem    []byte
	serve  http.HandlerFunc                            // requests with an installation's token
	app    http.HandlerFunc                            // requests with the App's
	tokens func(w http.ResponseWriter, id string) bool // true: it answered instead

	issued  atomic.Int64
	mu      sync.Mutex
	valid   map[string]bool
	secrets []string
}

func newServer(t *testing.T) *server {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, key: key, valid: map[string]bool{}}
	s.pem = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	s.Server = httptest.NewServer(http.HandlerFunc(s.route))
	t.Cleanup(s.Close)
	return s
}

func (s *server) route(w http.ResponseWriter, r *http.Request) {
	for name, want := range map[string]string{"User-Agent": "DispatchAI", "Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"} {
		if got := r.Header.Values(name); len(got) != 1 || got[0] != want {
			s.t.Errorf("%s %s has the header %s %q, want %q", r.Method, r.URL.Path, name, got, want)
		}
	}
	credential := r.Header.Get("Authorization")
	if bearer, ok := strings.CutPrefix(credential, "Bearer "); ok {
		s.remember(bearer)
		claims := &jwt.RegisteredClaims{}
		_, err := jwt.ParseWithClaims(bearer, claims, func(*jwt.Token) (any, error) { return &s.key.PublicKey, nil })
		if err != nil {
			answer(w, 401, "A JSON web token could not be decoded")
			return
		}
		if claims.Issuer != fmt.Sprint(appID) {
			answer(w, 404, "Integration not found")
			return
		}
		if id, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/app/installations/"), "/access_tokens"); ok {
			if body, err := io.ReadAll(r.Body); err != nil || !strings.HasPrefix(string(body), "{") {
				s.t.Errorf("a token is asked for with %q, which is no object: %v", body, err)
			}
			s.token(w, id)
			return
		}
		s.app(w, r)
		return
	}
	token, _ := strings.CutPrefix(credential, "token ")
	s.mu.Lock()
	valid := s.valid[token]
	s.mu.Unlock()
	if !valid {
		answer(w, 401, "Bad credentials")
		return
	}
	w.Header().Set("X-RateLimit-Limit", "5000")
	w.Header().Set("X-RateLimit-Remaining", "4321")
	w.Header().Set("X-RateLimit-Reset", fmt.Sprint(time.Now().Add(time.Hour).Unix()))
	s.serve(w, r)
}

func (s *server) token(w http.ResponseWriter, id string) {
	if s.tokens != nil && s.tokens(w, id) {
		return
	}
	token := fmt.Sprintf("ghs_secret%s_%d", id, s.issued.Add(1))
	s.remember(token)
	s.mu.Lock()
	s.valid[token] = true
	s.mu.Unlock()
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"token":%q,"expires_at":%q}`, token, time.Now().Add(time.Hour).Format(time.RFC3339))
}

func (s *server) remember(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets = append(s.secrets, secret)
}

func (s *server) revokeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.valid)
}

func (s *server) client(change ...func(*ClientConfig)) *Client {
	s.t.Helper()
	cfg := ClientConfig{AppID: appID, PrivateKey: s.pem, APIURL: s.URL, Timeout: 10 * time.Second}
	for _, c := range change {
		c(&cfg)
	}
	c, err := NewClient(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func answer(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": message, "documentation_url": "https://docs.github.com/rest"})
}

func testRepository() triage.Repository {
	return triage.Repository{ID: 7, FullName: "harbour-lights/tidewatch"}
}

func TestClientReadsAllPages(t *testing.T) {
	s := newServer(t)
	s.serve = func(w http.ResponseWriter, r *http.Request) {
		page := r.URL.Query().Get("page")
		if r.URL.Query().Get("per_page") != "100" {
			t.Errorf("per_page is %q", r.URL.Query().Get("per_page"))
		}
		if page != "3" {
			next := int(page[0]-'0') + 1
			w.Header().Set("Link", fmt.Sprintf(`<%s%s?per_page=100&page=%d>; rel="next", <%s/last?page=3>; rel="last"`, s.URL, r.URL.Path, next, s.URL))
		}
		fmt.Fprintf(w, `[{"name":"l%s","color":"aabbcc","description":null,"unknown":[1]}]`, page)
	}
	registry := prometheus.NewRegistry()
	c := s.client(func(cfg *ClientConfig) { cfg.Registerer = registry })
	labels, err := c.RepositoryLabels(t.Context(), 5, testRepository())
	if err != nil {
		t.Fatal(err)
	}
	want := []triage.RepositoryLabel{{Name: "l1", Color: "aabbcc"}, {Name: "l2", Color: "aabbcc"}, {Name: "l3", Color: "aabbcc"}}
	if !reflect.DeepEqual(labels, want) {
		t.Errorf("labels %+v", labels)
	}
	on, err := c.IssueLabels(t.Context(), 5, testRepository(), 3)
	if err != nil || !reflect.DeepEqual(on, []string{"l1", "l2", "l3"}) {
		t.Errorf("labels of the issue %q, %v", on, err)
	}
	if n := s.issued.Load(); n != 1 {
		t.Errorf("%d tokens were fetched, want 1", n)
	}
	if rate, ok := c.Rate(5); !ok || rate.Remaining != 4321 || rate.Limit != 5000 {
		t.Errorf("rate %+v, %t", rate, ok)
	}
	if _, ok := c.Rate(6); ok {
		t.Error("the rate of an installation never asked is known")
	}
	got := map[string]float64{}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, l := range m.GetLabel() {
				name += "|" + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	for name, want := range map[string]float64{
		"dispatchai_github_requests_total|GET /repos/{repo}/issues/{number}/labels|200":       3,
		"dispatchai_github_requests_total|GET /repos/{repo}/labels|200":                       3,
		"dispatchai_github_requests_total|POST /app/installations/{id}/access_tokens|201":     1,
		"dispatchai_github_request_duration_seconds|GET /repos/{repo}/issues/{number}/labels": 3,
		"dispatchai_github_rate_remaining_requests":                                           4321,
		"dispatchai_github_installations_cached":                                              1,
	} {
		if got[name] != want {
			t.Errorf("metric %s is %v, want %v", name, got[name], want)
		}
	}
}

func TestClientChangesLabels(t *testing.T) {
	s := newServer(t)
	var requests []string
	s.serve = func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests = append(requests, r.Method+" "+r.RequestURI+" "+strings.TrimSpace(string(body)))
		if strings.HasSuffix(r.RequestURI, "gone") {
			answer(w, 404, "Label does not exist")
			return
		}
		fmt.Fprint(w, `[{"name":"bug"},{"name":"area: buoys"}]`)
	}
	c := s.client()
	ctx := t.Context()
	got, err := c.AddLabels(ctx, 5, testRepository(), 3, []string{"bug", "area: buoys <&>"})
	if err != nil || !reflect.DeepEqual(got, []string{"bug", "area: buoys"}) {
		t.Errorf("added: %q, %v", got, err)
	}
	if got, err := c.AddLabels(ctx, 5, testRepository(), 3, nil); got != nil || err != nil {
		t.Errorf("nothing added: %q, %v", got, err)
	}
	for _, label := range []string{"bug", "area/buoys: a?b#c%20 🌊", "gone", "..."} {
		if err := c.RemoveLabel(ctx, 5, testRepository(), 3, label); err != nil {
			t.Errorf("remove %q: %v", label, err)
		}
	}
	want := []string{
		`POST /repos/harbour-lights/tidewatch/issues/3/labels {"labels":["bug","area: buoys <&>"]}`,
		`DELETE /repos/harbour-lights/tidewatch/issues/3/labels/bug `,
		`DELETE /repos/harbour-lights/tidewatch/issues/3/labels/area%2Fbuoys:%20a%3Fb%23c%2520%20%F0%9F%8C%8A `,
		`DELETE /repos/harbour-lights/tidewatch/issues/3/labels/gone `,
		`DELETE /repos/harbour-lights/tidewatch/issues/3/labels/... `,
	}
	if !reflect.DeepEqual(requests, want) {
		t.Errorf("requests\n%s\nwant\n%s", strings.Join(requests, "\n"), strings.Join(want, "\n"))
	}
}

// A name from a webhook must never turn a request into another one: a label
// named ".." would delete all of an issue's labels.
func TestClientRefusesNamesThatLeadElsewhere(t *testing.T) {
	s := newServer(t)
	s.serve = func(w http.ResponseWriter, r *http.Request) { t.Errorf("it was sent: %s %s", r.Method, r.RequestURI) }
	c := s.client()
	for _, label := range []string{"", ".", ".."} {
		if err := c.RemoveLabel(t.Context(), 5, testRepository(), 3, label); !errors.Is(err, ErrInvalid) {
			t.Errorf("label %q: %v", label, err)
		}
	}
	for _, name := range []string{"", "a", "/b", "a/", "a/..", "../b", "a/b/c", "a/b?x", "a/b%2f", "a/ b", "a/b\n"} {
		if _, err := c.IssueLabels(t.Context(), 5, triage.Repository{FullName: name}, 3); !errors.Is(err, ErrInvalid) {
			t.Errorf("repository %q: %v", name, err)
		}
	}
	if _, err := c.IssueLabels(t.Context(), 0, testRepository(), 3); !errors.Is(err, ErrInvalid) {
		t.Errorf("no installation: %v", err)
	}
	if _, err := c.IssueLabels(t.Context(), 5, testRepository(), 0); !errors.Is(err, ErrInvalid) {
		t.Errorf("no number: %v", err)
	}
}

func TestClientLabelHistoryAndPermission(t *testing.T) {
	s := newServer(t)
	s.serve = func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/repos/harbour-lights/tidewatch/issues/3/events":
			fmt.Fprint(w, `[{"event":"labeled","actor":{"login":"dispatchai[bot]","type":"Bot"},"label":{"name":"bug"},"created_at":"2026-11-03T08:01:15Z","performed_via_github_app":{"slug":"dispatchai"}},
				{"event":"closed","actor":null,"created_at":"2026-11-03T08:02:15Z"},
				{"event":"unlabeled","actor":null,"label":{"name":"bug"},"created_at":"2026-11-03T08:03:15Z"}]`)
		case "/repos/harbour-lights/tidewatch/collaborators/ewan-ross/permission":
			fmt.Fprint(w, `{"permission":"read","role_name":"triage","user":{"login":"ewan-ross","permissions":{"admin":false,"maintain":false,"push":false,"triage":true,"pull":true}}}`)
		default:
			answer(w, 404, "Not Found")
		}
	}
	c := s.client()
	history, err := c.LabelHistory(t.Context(), 5, testRepository(), 3)
	want := []LabelEvent{
		{Label: "bug", Added: true, Actor: triage.Actor{Login: "dispatchai[bot]", Type: triage.ActorBot}, App: "dispatchai", At: time.Date(2026, 11, 3, 8, 1, 15, 0, time.UTC)},
		{Label: "bug", At: time.Date(2026, 11, 3, 8, 3, 15, 0, time.UTC)},
	}
	if err != nil || !reflect.DeepEqual(history, want) {
		t.Errorf("history %+v, %v", history, err)
	}
	p, err := c.RepositoryPermission(t.Context(), 5, testRepository(), "ewan-ross")
	if err != nil || p != (Permission{Triage: true, Pull: true, Role: "triage"}) {
		t.Errorf("permission %+v, %v", p, err)
	}
	if _, err := c.RepositoryPermission(t.Context(), 5, testRepository(), "no-body/../x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("permission of nobody: %v", err)
	}
}

func TestClientErrors(t *testing.T) {
	inAnHour := func(w http.ResponseWriter, after time.Duration) {
		now := time.Now()
		w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
		w.Header().Set("X-RateLimit-Reset", fmt.Sprint(now.Add(after).Unix()))
	}
	for name, tc := range map[string]struct {
		serve     http.HandlerFunc
		kind      error
		wait      time.Duration
		secondary bool
		says      string
	}{
		"not found": {func(w http.ResponseWriter, r *http.Request) { answer(w, 404, "Not Found") }, ErrNotFound, 0, false, "404"},
		"gone":      {func(w http.ResponseWriter, r *http.Request) { answer(w, 410, "Issues are disabled for this repo") }, ErrGone, 0, false, "disabled"},
		"forbidden": {func(w http.ResponseWriter, r *http.Request) {
			answer(w, 403, "Resource not accessible by integration")
		}, ErrForbidden, 0, false, "Issues: read and write"},
		"suspended": {func(w http.ResponseWriter, r *http.Request) {
			answer(w, 403, "This installation has been suspended")
		}, ErrSuspended, 0, false, "suspension"},
		"archived": {func(w http.ResponseWriter, r *http.Request) {
			answer(w, 403, "Repository was archived so is read-only.")
		}, ErrArchived, 0, false, "archived"},
		"invalid": {func(w http.ResponseWriter, r *http.Request) { answer(w, 422, "Validation Failed") }, ErrInvalid, 0, false, "Validation Failed"},
		"primary limit": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-RateLimit-Remaining", "0")
			inAnHour(w, 10*time.Minute)
			answer(w, 403, "API rate limit exceeded for installation ID 5.")
		}, ErrRateLimited, 10*time.Minute + time.Second, false, "next call in 10m"},
		"primary limit, 429": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-RateLimit-Remaining", "0")
			inAnHour(w, 5*time.Minute)
			answer(w, 429, "API rate limit exceeded for installation ID 5.")
		}, ErrRateLimited, 5*time.Minute + time.Second, false, "429"},
		"secondary limit": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "37")
			w.WriteHeader(403)
			fmt.Fprint(w, `{"message":"You have exceeded a secondary rate limit.","documentation_url":"https://docs.github.com/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits"}`)
		}, ErrRateLimited, 37 * time.Second, true, "secondary"},
		"secondary limit, bare 429": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Del("X-RateLimit-Reset")
			answer(w, 429, "Too many requests")
		}, ErrRateLimited, time.Minute, true, "1m"},
		"absurd wait": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "99999999")
			answer(w, 429, "")
		}, ErrRateLimited, time.Hour, true, ""},
		"server error":   {func(w http.ResponseWriter, r *http.Request) { answer(w, 502, "Server Error") }, ErrUnavailable, 5 * time.Second, false, "502"},
		"maintenance":    {func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Retry-After", "120"); answer(w, 503, "") }, ErrUnavailable, 2 * time.Minute, false, "503"},
		"not GitHub":     {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>log in</html>") }, ErrUnavailable, 5 * time.Second, false, "invalid character"},
		"cut connection": {func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }, ErrUnavailable, 5 * time.Second, false, "EOF"},
		"cut answer": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "[")
		}, ErrUnavailable, 5 * time.Second, false, "read the answer"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.serve = tc.serve
			_, err := s.client().AddLabels(t.Context(), 5, testRepository(), 3, []string{"bug"})
			var e *Error
			if !errors.As(err, &e) || !errors.Is(err, tc.kind) {
				t.Fatalf("%v, want %v", err, tc.kind)
			}
			wait, temporary := RetryAfter(err)
			if wait != tc.wait || temporary != (tc.wait > 0) || e.Secondary != tc.secondary || e.InstallationID != 5 {
				t.Errorf("wait %v (%t), secondary %t: %+v", wait, temporary, e.Secondary, e)
			}
			if !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), "add labels to harbour-lights/tidewatch#3 (installation 5)") {
				t.Errorf("it says %q", err)
			}
		})
	}
}

func TestClientTokenErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		status  int
		message string
		kind    error
	}{
		"removed":   {404, "Not Found", ErrNotFound},
		"suspended": {403, "This installation has been suspended", ErrSuspended},
		"limited":   {429, "Too many requests", ErrRateLimited},
		"broken":    {500, "", ErrUnavailable},
		"unknown":   {401, "A JSON web token could not be decoded", ErrUnauthorized},
	} {
		s := newServer(t)
		fetched := 0
		s.tokens = func(w http.ResponseWriter, _ string) bool { fetched++; answer(w, tc.status, tc.message); return true }
		_, err := s.client().IssueLabels(t.Context(), 5, testRepository(), 3)
		if !errors.Is(err, tc.kind) || !strings.Contains(err.Error(), "installation token") {
			t.Errorf("%s: %v, want %v", name, err, tc.kind)
		}
		if fetched != 1 {
			t.Errorf("%s: asked for %d tokens", name, fetched)
		}
	}
}

func TestClientReplacesRevokedToken(t *testing.T) {
	s := newServer(t)
	calls := 0
	s.serve = func(w http.ResponseWriter, _ *http.Request) { calls++; fmt.Fprint(w, `[]`) }
	c := s.client()
	for range 2 {
		if _, err := c.IssueLabels(t.Context(), 5, testRepository(), 3); err != nil {
			t.Fatal(err)
		}
		s.revokeAll()
	}
	if n := s.issued.Load(); n != 2 || calls != 2 {
		t.Errorf("%d tokens, %d calls; want 2 and 2", n, calls)
	}
	s.serve = func(w http.ResponseWriter, _ *http.Request) { answer(w, 401, "Bad credentials") }
	before := s.issued.Load()
	if _, err := c.IssueLabels(t.Context(), 5, testRepository(), 3); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("refused for good: %v", err)
	}
	if n := s.issued.Load() - before; n != 1 {
		t.Errorf("%d new tokens were tried after the revoked one, want 1", n)
	}
}

func TestClientKeepsCredentialsAtHome(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the redirect was followed, with %q", r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	s := newServer(t)
	s.serve = func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/repos/harbour-lights/tidewatch/issues/3/labels":
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		case "/repos/harbour-lights/tidewatch/issues/4/labels":
			http.Redirect(w, r, "/repositories/7/issues/4/labels", http.StatusTemporaryRedirect)
		case "/repos/harbour-lights/tidewatch/issues/5/labels":
			http.Redirect(w, r, "/repositories/7/issues/5/labels", http.StatusFound)
		case "/repositories/7/issues/4/labels":
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, `[{"name":%q}]`, r.Method+string(body))
		default:
			t.Errorf("%s %s", r.Method, r.URL)
		}
	}
	c := s.client()
	if _, err := c.IssueLabels(t.Context(), 5, testRepository(), 3); err == nil || !strings.Contains(err.Error(), "another host") {
		t.Errorf("redirect to another host: %v", err)
	}
	got, err := c.AddLabels(t.Context(), 5, testRepository(), 4, []string{"bug"})
	if err != nil || len(got) != 1 || got[0] != `POST{"labels":["bug"]}`+"\n" {
		t.Errorf("a renamed repository: %q, %v", got, err)
	}
	if _, err := c.AddLabels(t.Context(), 5, testRepository(), 5, []string{"bug"}); err == nil || !strings.Contains(err.Error(), "turns POST into GET") {
		t.Errorf("a write redirected to a read: %v", err)
	}
}

func TestClientBoundsCallsPerInstallation(t *testing.T) {
	s := newServer(t)
	var now, most atomic.Int64
	entered, leave := make(chan struct{}, 64), make(chan struct{})
	s.serve = func(w http.ResponseWriter, _ *http.Request) {
		n := now.Add(1)
		for seen := most.Load(); n > seen && !most.CompareAndSwap(seen, n); seen = most.Load() {
		}
		entered <- struct{}{}
		<-leave
		now.Add(-1)
		fmt.Fprint(w, `[]`)
	}
	c := s.client(func(cfg *ClientConfig) { cfg.PerInstallation = 3 })
	var group sync.WaitGroup
	for range 12 {
		group.Go(func() {
			if _, err := c.IssueLabels(t.Context(), 5, testRepository(), 3); err != nil {
				t.Error(err)
			}
		})
	}
	for range 3 {
		<-entered
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.IssueLabels(ctx, 5, testRepository(), 3); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnavailable) {
		t.Errorf("a cancelled wait: %v", err)
	}
	close(leave)
	group.Wait()
	if most.Load() != 3 {
		t.Errorf("%d calls at once, want 3", most.Load())
	}
}

func TestClientForgetsInstallations(t *testing.T) {
	s := newServer(t)
	s.serve = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `[]`) }
	c := s.client(func(cfg *ClientConfig) { cfg.MaxInstallations, cfg.MaxTokens = 2, 2 })
	for _, id := range []int64{1, 2, 1, 3, 1, 2} { // 3 pushes 2 out, 2 pushes 3 out
		if _, err := c.IssueLabels(t.Context(), id, testRepository(), 3); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.issued.Load(); n != 4 {
		t.Errorf("%d tokens were fetched, want 4", n)
	}
	if c.cache.len() != 2 {
		t.Errorf("%d installations are kept, want 2", c.cache.len())
	}
}

func TestClientManyInstallationsAtOnce(t *testing.T) {
	s := newServer(t)
	s.serve = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `[]`) }
	c := s.client()
	var group sync.WaitGroup
	for id := range int64(40) {
		for range 3 {
			group.Go(func() {
				if _, err := c.IssueLabels(t.Context(), id+1, testRepository(), 3); err != nil {
					t.Error(err)
				}
			})
		}
	}
	group.Wait()
	if n := s.issued.Load(); n != 40 {
		t.Errorf("%d tokens for 40 installations", n)
	}
	signed := map[string]bool{}
	for _, secret := range s.secrets {
		if strings.HasPrefix(secret, "eyJ") {
			signed[secret] = true
		}
	}
	if len(signed) > 3 {
		t.Errorf("%d JSON web tokens were signed within seconds; one serves all", len(signed))
	}
}

func TestClientApp(t *testing.T) {
	const app = `{"id":900100,"slug":"dispatchai","name":"DispatchAI","owner":{"login":"harbour-lights"},"html_url":"https://github.com/apps/dispatchai",
		"permissions":{"issues":"write","metadata":"read"},"events":["issues","issue_comment","label","repository"],"installations_count":3}`
	s := newServer(t)
	asked := 0
	s.app = func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/app":
			asked++
			fmt.Fprint(w, app)
		case "/app/installations/5":
			fmt.Fprint(w, `{"id":5,"account":{"login":"harbour-lights"},"suspended_at":"2026-11-02T10:00:00Z","updated_at":"2026-11-02T10:00:00Z"}`)
		default:
			answer(w, 404, "Not Found")
		}
	}
	c := s.client()
	for range 2 {
		if slug, err := c.AppSlug(t.Context()); slug != "dispatchai" || err != nil {
			t.Errorf("slug %q, %v", slug, err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times for the slug", asked)
	}
	got, err := c.App(t.Context())
	if err != nil || got.BotLogin() != "dispatchai[bot]" || got.Owner != "harbour-lights" || got.Installations != 3 || len(got.Faults()) != 0 {
		t.Errorf("app %+v, %v, faults %q", got, err, got.Faults())
	}
	got.Permissions, got.Events = map[string]string{"issues": "read"}, []string{"issues"}
	if faults := got.Faults(); len(faults) != 5 {
		t.Errorf("faults %q, want 5", faults)
	}
	at := time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)
	if i, err := c.Installation(t.Context(), 5); err != nil || i != (triage.Installation{ID: 5, Account: "harbour-lights", Suspended: true, UpdatedAt: at}) {
		t.Errorf("installation %+v, %v", i, err)
	}
	if _, err := c.Installation(t.Context(), 6); !errors.Is(err, ErrNotFound) {
		t.Errorf("installation 6: %v", err)
	}
}

func TestClientAppExplainsFaults(t *testing.T) {
	s := newServer(t)
	other := newServer(t)
	s.app = func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html></html>") }
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(-10*time.Minute).UTC().Format(http.TimeFormat))
		answer(w, 401, "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued")
	}))
	defer slow.Close()
	renamed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"id":12,"slug":"other"}`) }))
	defer renamed.Close()
	empty := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"hello":"world"}`) }))
	defer empty.Close()
	for name, tc := range map[string]struct {
		change func(*ClientConfig)
		says   []string
	}{
		"wrong key":   {func(cfg *ClientConfig) { cfg.PrivateKey = other.pem }, []string{"private key for App 900100", "generate a new key"}},
		"wrong App":   {func(cfg *ClientConfig) { cfg.AppID = 12 }, []string{"there is no App 12", "GITHUB_APP_ID"}},
		"wrong URL":   {func(*ClientConfig) {}, []string{"no GitHub API answers", "GITHUB_API_URL"}},
		"other JSON":  {func(cfg *ClientConfig) { cfg.APIURL = empty.URL }, []string{"not as GitHub's API does"}},
		"other App":   {func(cfg *ClientConfig) { cfg.APIURL = renamed.URL }, []string{"set GITHUB_APP_ID to 12"}},
		"unreachable": {func(cfg *ClientConfig) { cfg.APIURL = closed.URL }, []string{"no GitHub API answers", "HTTPS_PROXY"}},
		"clock":       {func(cfg *ClientConfig) { cfg.APIURL = slow.URL }, []string{"clock is 10m", "ahead of"}},
	} {
		_, err := s.client(tc.change).App(t.Context())
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		for _, want := range tc.says {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: it says %q, want %q in it", name, err, want)
			}
		}
	}
}

func TestClientNeverShowsCredentials(t *testing.T) {
	s := newServer(t)
	var out bytes.Buffer
	var mu sync.Mutex
	logger := slog.New(slog.NewJSONHandler(lockedWriter{&mu, &out}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	registry := prometheus.NewRegistry()
	c := s.client(func(cfg *ClientConfig) { cfg.Logger, cfg.Registerer = logger, registry })
	var step atomic.Int64
	answers := []http.HandlerFunc{
		func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `[]`) },
		func(w http.ResponseWriter, _ *http.Request) { answer(w, 500, "") },
		func(w http.ResponseWriter, _ *http.Request) { answer(w, 401, "Bad credentials") },
		func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
		},
	}
	s.serve = func(w http.ResponseWriter, r *http.Request) { answers[step.Load()](w, r) }
	s.app = func(w http.ResponseWriter, _ *http.Request) { answer(w, 401, "no") }
	for i := range answers {
		step.Store(int64(i))
		_, err := c.IssueLabels(t.Context(), 5, testRepository(), 3)
		logger.Error("failed", "err", err, "client", c)
		fmt.Fprintf(lockedWriter{&mu, &out}, "%v %+v %#v", err, err, err)
	}
	_, err := c.App(t.Context())
	fmt.Fprintf(&out, "%v %+v %#v %v %+v %#v", err, err, err, c, c, c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(&out, families)
	secrets := slices.Concat(s.secrets, strings.Split(string(s.pem), "\n")[1:5])
	if len(secrets) < 6 {
		t.Fatalf("only %d secrets were in play", len(secrets))
	}
	for _, secret := range secrets {
		if strings.Contains(out.String(), secret) {
			t.Errorf("a credential shows: %.12s...", secret)
		}
	}
	if !strings.Contains(out.String(), "called GitHub") {
		t.Error("nothing was logged")
	}
}

type lockedWriter struct {
	mu  *sync.Mutex
	out *bytes.Buffer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(p)
}

func TestNewClientNamesAllFaults(t *testing.T) {
	_, err := NewClient(ClientConfig{APIURL: "ftp://x"})
	for _, want := range []string{"GITHUB_APP_ID", "GITHUB_PRIVATE_KEY", "GITHUB_API_URL"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s in it", err, want)
		}
	}
}

func TestParseAPIURL(t *testing.T) {
	for in, want := range map[string]string{
		"":                                  "https://api.github.com/",
		"https://api.github.com":            "https://api.github.com/",
		"https://api.octo.ghe.com/":         "https://api.octo.ghe.com/",
		"https://github.example.com":        "https://github.example.com/api/v3/",
		"https://github.example.com/":       "https://github.example.com/api/v3/",
		"https://github.example.com/api/v3": "https://github.example.com/api/v3/",
		"https://proxy.example.com/gh//":    "https://proxy.example.com/gh/",
		"http://127.0.0.1:8123":             "http://127.0.0.1:8123/",
		"https://[::1]:8123/api/v3/":        "https://[::1]:8123/api/v3/",
		"http://simulate:8090":              "http://simulate:8090/",
	} {
		u, err := ParseAPIURL(in)
		if err != nil || u.String() != want {
			t.Errorf("%q: %v, %v; want %s", in, u, err, want)
		}
	}
	for _, in := range []string{"api.github.com", "ftp://x", "https://", "https://github.com", "https://token@api.github.com", "https://x/?a=b", "http://\x7f"} {
		if u, err := ParseAPIURL(in); err == nil || strings.Contains(err.Error(), "token@") {
			t.Errorf("%q: %v, %v; want an error", in, u, err)
		}
	}
}
