package setup

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/app/relay"
	"github.com/dispatchai/dispatchai/app/simulate"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/github/githubtest"
)

// deadline bounds what a test waits for.
const deadline = 60 * time.Second

func newGitHub(t *testing.T) *simulate.GitHub {
	t.Helper()
	watch := githubtest.Watch(t, githubtest.Everything)
	g, err := simulate.New(simulate.Options{OnRequest: func(e simulate.Exchange) { watch(githubtest.Exchange(e)) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// run is a setup on its way.
type run struct {
	t      *testing.T
	github *simulate.GitHub
	news   chan Progress
	ended  chan struct{}
	result Result
	err    error
}

// start runs a setup for the simulated GitHub until it ends or the test does.
func start(t *testing.T, g *simulate.GitHub, cfg Config) *run {
	t.Helper()
	r := &run{t: t, github: g, news: make(chan Progress, 100), ended: make(chan struct{})}
	cfg.GitHubURL, cfg.UserAgent, cfg.Report = g.URL(), "DispatchAI/test", func(p Progress) { r.news <- p }
	if cfg.WebhookListen == "" {
		cfg.WebhookListen = freeAddress(t)
	}
	if cfg.WebhookURL == "" && cfg.RelayURL == "" {
		cfg.WebhookURL = "http://" + cfg.WebhookListen
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	go func() {
		defer close(r.ended)
		r.result, r.err = s.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-r.ended })
	return r
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (r *run) await(event string) Progress {
	r.t.Helper()
	for {
		select {
		case p := <-r.news:
			if p.Event == event {
				return p
			}
		case <-r.ended:
			select {
			case p := <-r.news:
				if p.Event == event {
					return p
				}
				continue
			default:
			}
			r.t.Fatalf("setup ended without %q: %v", event, r.err)
		}
	}
}

func (r *run) end() (Result, error) {
	<-r.ended
	return r.result, r.err
}

// browser follows no redirect by itself.
var browser = &http.Client{Timeout: deadline, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func fetch(t *testing.T, request *http.Request) (*http.Response, string) {
	t.Helper()
	response, err := browser.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

func get(t *testing.T, address string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return fetch(t, request)
}

var (
	formAction    = regexp.MustCompile(`<form method="post" action="([^"]*)"`)
	manifestField = regexp.MustCompile(`name="manifest" value="([^"]*)"`)
)

// create does at the page and at GitHub what a person does, and returns where
// GitHub sends the browser back to.
func (r *run) create(page string) *url.URL {
	r.t.Helper()
	_, body := get(r.t, page)
	action, text := formAction.FindStringSubmatch(body), manifestField.FindStringSubmatch(body)
	if action == nil || text == nil {
		r.t.Fatalf("the page has no form: %s", body)
	}
	to, err := url.Parse(html.UnescapeString(action[1]))
	if err != nil {
		r.t.Fatal(err)
	}
	name := regexp.MustCompile(`"name":"([^"]*)"`).FindStringSubmatch(html.UnescapeString(text[1]))
	form := url.Values{"manifest": {html.UnescapeString(text[1])}, "create": {"1"}, "name": {name[1]}, "state": {to.Query().Get("state")}}
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, to.String(), strings.NewReader(form.Encode()))
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, body := fetch(r.t, request)
	back, err := response.Location()
	if err != nil {
		r.t.Fatalf("GitHub did not create the App: %d %s", response.StatusCode, body)
	}
	return back
}

// finish creates the App and waits for the end.
func (r *run) finish() (Result, error) {
	r.t.Helper()
	back := r.create(r.await("page").URL)
	if response, body := get(r.t, back.String()); response.StatusCode != http.StatusSeeOther || response.Header.Get("Location") != "/" {
		r.t.Fatalf("coming back: %d %s", response.StatusCode, body)
	}
	return r.end()
}

func TestSetupOfAPerson(t *testing.T) {
	t.Parallel()
	g := newGitHub(t)
	dir := filepath.Join(t.TempDir(), "data")
	result, err := start(t, g, Config{DataDir: dir, Checks: true}).finish()
	if err != nil {
		t.Fatal(err)
	}
	if result.Owner != "you" || result.Org != "" || result.StrictContents || result.VerifiedAt.IsZero() || result.PermissionsURL() != g.URL()+"/settings/apps/dispatchai/permissions" {
		t.Errorf("the App: %+v %v", result, result.Credentials)
	}
	client, err := github.NewClient(github.ClientConfig{AppID: result.AppID, PrivateKey: []byte(result.PrivateKey), APIURL: result.APIURL})
	if err != nil {
		t.Fatal(err)
	}
	app, err := client.App(t.Context())
	if err != nil || len(app.Faults()) != 0 || app.Permissions["contents"] != "read" || app.Permissions["checks"] != "write" || len(app.Permissions) != 4 {
		t.Errorf("at GitHub: %+v, %v, faults %q", app, err, app.Faults())
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != FileName {
		t.Errorf("left in the data directory: %v, %v", entries, err)
	}
	if info, err := os.Stat(filepath.Join(dir, FileName)); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestComingBack: only what the page itself asked for is taken, and once.
func TestComingBack(t *testing.T) {
	t.Parallel()
	r := start(t, newGitHub(t), Config{DataDir: t.TempDir()})
	page := r.await("page").URL
	back := r.create(page)
	for name, query := range map[string]url.Values{
		"no state":        {"code": {"attackers"}},
		"another state":   {"code": {"attackers"}, "state": {"guess"}},
		"a state's start": {"code": {"attackers"}, "state": {back.Query().Get("state")[:20]}},
		"an empty state":  {"code": {"attackers"}, "state": {""}},
	} {
		if response, body := get(t, page+"created?"+query.Encode()); response.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d %s", name, response.StatusCode, body)
		}
	}
	if response, _ := get(t, back.String()); response.StatusCode != http.StatusSeeOther {
		t.Fatalf("the right one: %d", response.StatusCode)
	}
	if response, _ := get(t, back.String()); response.StatusCode != http.StatusForbidden {
		t.Errorf("the same once more: %d", response.StatusCode)
	}
	if _, err := r.end(); err != nil {
		t.Error(err)
	}
}

// TestPageIsOfThisMachine: no other web site and no other name reaches it.
func TestPageIsOfThisMachine(t *testing.T) {
	t.Parallel()
	r := start(t, newGitHub(t), Config{DataDir: t.TempDir(), Strict: true})
	page := r.await("page").URL
	_, port, err := net.SplitHostPort(strings.TrimSuffix(strings.TrimPrefix(page, "http://"), "/"))
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]int{
		"127.0.0.1:" + port: 200, "localhost:" + port: 200, "[::1]:" + port: 200,
		"rebound.example:" + port: 403, "127.0.0.1:1": 403, "127.0.0.1": 403, "127.0.0.1.nip.io:" + port: 403,
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, page, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host
		response, body := fetch(t, request)
		if response.StatusCode != want || want != 200 && strings.Contains(body, "state=") {
			t.Errorf("Host %s: %d, want %d", host, response.StatusCode, want)
		}
		policy := response.Header.Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || response.Header.Get("X-Frame-Options") != "DENY" {
			t.Errorf("headers %v", response.Header)
		}
	}
	_, body := get(t, page)
	if strings.Contains(body, "contents") && !strings.Contains(body, "Strict:") || strings.Contains(body, "<style") || strings.Contains(body, "https://") && strings.Contains(body, `src="https://`) {
		t.Errorf("the page: %s", body)
	}
	for _, path := range []string{"page.css", "page.js", "progress"} {
		if response, _ := get(t, page+path); response.StatusCode != 200 {
			t.Errorf("%s: %d", path, response.StatusCode)
		}
	}
	if response, _ := get(t, page+"webhook/github"); response.StatusCode != 404 {
		t.Errorf("the page's address takes webhooks: %d", response.StatusCode)
	}
}

// TestCodeIsNoGood: one that was used or is too old is told, and another App can
// be created at once.
func TestCodeIsNoGood(t *testing.T) {
	t.Parallel()
	g := newGitHub(t)
	r := start(t, g, Config{DataDir: t.TempDir()})
	page := r.await("page").URL
	back := r.create(page)
	if _, err := github.ConvertManifest(t.Context(), g.URL()+"/api/v3", back.Query().Get("code"), "thief"); err != nil {
		t.Fatal(err)
	}
	get(t, back.String())
	if p := r.await("trouble"); !strings.Contains(p.Text, "older than an hour") || !strings.Contains(p.Text, "delete it") {
		t.Errorf("it says %q", p.Text)
	}
	if _, body := get(t, page); !strings.Contains(body, "older than an hour") {
		t.Errorf("the page does not say it: %s", body)
	}
	get(t, r.create(page).String())
	if result, err := r.end(); err != nil || result.AppID == 0 {
		t.Errorf("the second time: %v, %v", result, err)
	}
}

// TestWebhookIsNotReached: it is told why not, the App stays, and setup goes on
// from there with another URL.
func TestWebhookIsNotReached(t *testing.T) {
	t.Parallel()
	g := newGitHub(t)
	dir := t.TempDir()
	nobody := freeAddress(t)
	result, err := start(t, g, Config{DataDir: dir, WebhookURL: "http://" + nobody, CheckTimeout: 3 * time.Second}).finish()
	if err == nil || !strings.Contains(err.Error(), "GitHub cannot reach "+nobody) || !strings.Contains(err.Error(), "run `dispatchai setup` again") {
		t.Fatalf("it ended with %v", err)
	}
	kept, err := Load(dir)
	if err != nil || !kept.VerifiedAt.IsZero() || kept.AppID != result.AppID {
		t.Fatalf("kept: %+v, %v", kept, err)
	}

	notFound := httptest.NewServer(http.NotFoundHandler())
	defer notFound.Close()
	again := start(t, g, Config{DataDir: dir, WebhookURL: notFound.URL + "/hooks", CheckTimeout: deadline})
	if _, body := get(t, again.await("page").URL); !strings.Contains(body, "Checking that deliveries arrive") || strings.Contains(body, "<form") {
		t.Errorf("the page offers to create another App: %s", body)
	}
	if p := again.await("trouble"); !strings.Contains(p.Text, "answers with 404") {
		t.Errorf("it says %q", p.Text)
	}
	if hook := hookOf(t, kept); hook != notFound.URL+"/hooks" {
		t.Errorf("GitHub delivers to %s", hook)
	}

	listen := freeAddress(t)
	third := start(t, g, Config{DataDir: dir, WebhookListen: listen, WebhookURL: "http://" + listen + "/webhook/github"})
	if result, err := third.end(); err != nil || result.AppID != kept.AppID || result.WebhookURL != "http://"+listen+"/webhook/github" {
		t.Errorf("with the right URL: %v, %v", result, err)
	}
	if done, err := Load(dir); err != nil || done.VerifiedAt.IsZero() || done.WebhookSecret != kept.WebhookSecret || done.PrivateKey != kept.PrivateKey {
		t.Errorf("kept: %+v, %v", done, err)
	}
}

func hookOf(t *testing.T, c Credentials) string {
	t.Helper()
	client, err := github.NewClient(github.ClientConfig{AppID: c.AppID, PrivateKey: []byte(c.PrivateKey), APIURL: c.APIURL})
	if err != nil {
		t.Fatal(err)
	}
	address, err := client.WebhookURL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// TestSomethingElseListens: what answers at the service's address is believed
// when it answers as DispatchAI does, by what GitHub's log shows.
func TestSomethingElseListens(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ body, trouble string }{
		"the service":    {`{"status":"accepted","delivery_id":"x","event":"ping"}`, ""},
		"something else": {`<html>It works!</html>`, "not as DispatchAI does"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, c.body) }))
			t.Cleanup(server.Close)
			r := start(t, newGitHub(t), Config{DataDir: t.TempDir(), WebhookListen: strings.TrimPrefix(server.URL, "http://"), CheckTimeout: 4 * time.Second})
			_, err := r.finish()
			if c.trouble == "" && err != nil || c.trouble != "" && (err == nil || !strings.Contains(err.Error(), c.trouble)) {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}

// TestSetupThroughARelay: with no public address, on a channel of our own relay.
func TestSetupThroughARelay(t *testing.T) {
	t.Parallel()
	server := relay.NewServer(relay.ServerConfig{})
	listener := httptest.NewServer(server)
	t.Cleanup(func() { server.Close(); listener.CloseClientConnections(); listener.Close() })
	channel := listener.URL + "/" + relay.NewChannelName()
	connected := make(chan struct{}, 10)
	forward := func(ctx context.Context, channel, target string, verify func([]byte, string) error) error {
		client, err := relay.NewClient(relay.ClientConfig{Channel: channel, Target: target, Verify: verify, OnConnect: func() { connected <- struct{}{} }})
		if err != nil {
			return err
		}
		return client.Run(ctx)
	}
	result, err := start(t, newGitHub(t), Config{DataDir: t.TempDir(), RelayURL: channel, Forward: forward}).finish()
	if err != nil || result.RelayURL != channel || result.WebhookURL != "" || len(connected) != 1 {
		t.Errorf("%v, %v, connected %d times", result, err, len(connected))
	}
}

// TestExistingApp: it is never lost, whatever is asked for.
func TestExistingApp(t *testing.T) {
	t.Parallel()
	g := newGitHub(t)
	dir := t.TempDir()
	first, err := start(t, g, Config{DataDir: dir}).finish()
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{DataDir: dir, GitHubURL: g.URL(), WebhookListen: "127.0.0.1:8080", WebhookURL: "http://127.0.0.1:8080"}
	if _, err := New(cfg); !errors.Is(err, ErrSetUp) || !strings.Contains(err.Error(), "dispatchai (31415) of you") {
		t.Errorf("set up already: %v", err)
	}
	listen := freeAddress(t)
	moved, err := start(t, g, Config{DataDir: dir, Move: true, WebhookListen: listen}).end()
	if err != nil || moved.AppID != first.AppID || moved.WebhookURL != "http://"+listen+"/webhook/github" || hookOf(t, moved.Credentials) != moved.WebhookURL {
		t.Errorf("moved: %v, %v", moved, err)
	}
	other := newOtherGitHub(t)
	second, err := start(t, other, Config{DataDir: dir, Force: true}).finish()
	if err != nil || second.AppID != 27182 {
		t.Fatalf("another App: %v, %v", second, err)
	}
	aside := filepath.Join(dir, "github-app-31415.json")
	text, err := os.ReadFile(aside)
	if err != nil {
		t.Fatal(err)
	}
	if old, err := parse(text); err != nil || old.PrivateKey != first.PrivateKey {
		t.Errorf("the first App is not beside it: %v, %v", old, err)
	}
	if info, err := os.Stat(aside); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(dir, FileName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged file: %v", err)
	}
}

func newOtherGitHub(t *testing.T) *simulate.GitHub {
	t.Helper()
	watch := githubtest.Watch(t, githubtest.Everything)
	g, err := simulate.New(simulate.Options{AppID: 27182, OnRequest: func(e simulate.Exchange) { watch(githubtest.Exchange(e)) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// TestNobodyComes: an hour is GitHub's own bound.
func TestNobodyComes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := start(t, newGitHub(t), Config{DataDir: dir, CreateTimeout: 10 * time.Millisecond}).end()
	if err == nil || !strings.Contains(err.Error(), "no App was created within 10ms") {
		t.Errorf("it ended with %v", err)
	}
	if _, err := Load(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it kept something: %v", err)
	}
}

// TestReceiver: nothing counts but what GitHub signed.
func TestReceiver(t *testing.T) {
	t.Parallel()
	const secret = "it's a secret to everybody"
	s := &Setup{cfg: Config{WebhookListen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)}}
	r, err := s.receive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	}()
	send := func(event, signature string, body []byte) int {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.address+webhookPath, strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-GitHub-Event", event)
		request.Header.Set("X-Hub-Signature-256", signature)
		response, _ := fetch(t, request)
		return response.StatusCode
	}
	body := []byte(`{"zen":"x"}`)
	if status := send("ping", github.Sign(secret, body), body); status != 503 {
		t.Errorf("before the secret is known: %d", status)
	}
	if err := r.learn(secret); err != nil {
		t.Fatal(err)
	}
	for signature, want := range map[string]int{"": 401, github.Sign("other", body): 401} {
		if status := send("ping", signature, body); status != want {
			t.Errorf("signature %q: %d", signature, status)
		}
	}
	if status := send("ping", github.Sign(secret, body), make([]byte, largestPing+1)); status != 503 {
		t.Errorf("a body too large: %d", status)
	}
	select {
	case <-r.arrived:
		t.Error("something arrived already")
	default:
	}
	if status := send("installation", github.Sign(secret, body), body); status != 503 {
		t.Errorf("what the service has to keep: %d", status)
	}
	<-r.arrived
	if status := send("ping", github.Sign(secret, body), body); status != 200 || r.refused() != 2 {
		t.Errorf("a ping: %d, %d refused", status, r.refused())
	}
}
