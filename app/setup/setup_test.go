package setup

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dispatchai/dispatchai/core/github"
)

// TestWhereTheAppIsRegistered: for whom, at which GitHub, and through which API.
func TestWhereTheAppIsRegistered(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ web, org, form, api string }{
		{"", "", "https://github.com/settings/apps/new?state=s+t", "https://api.github.com"},
		{"https://github.com/", "acme", "https://github.com/organizations/acme/settings/apps/new?state=s+t", "https://api.github.com"},
		{"https://ghe.example.com", "", "https://ghe.example.com/settings/apps/new?state=s+t", "https://ghe.example.com/api/v3"},
		{"https://ghe.example.com:8443", "a-b", "https://ghe.example.com:8443/organizations/a-b/settings/apps/new?state=s+t", "https://ghe.example.com:8443/api/v3"},
		{"https://octo.ghe.com", "acme", "https://octo.ghe.com/organizations/acme/settings/apps/new?state=s+t", "https://api.octo.ghe.com"},
		{"http://127.0.0.1:9", "", "http://127.0.0.1:9/settings/apps/new?state=s+t", "http://127.0.0.1:9/api/v3"},
	} {
		cfg := Config{GitHubURL: c.web, Org: c.org, DataDir: t.TempDir(), WebhookURL: "https://triage.example.com", WebhookListen: "127.0.0.1:8080"}
		if err := cfg.complete(nil); err != nil {
			t.Fatal(err)
		}
		if form, api := cfg.formAction("s t"), cfg.apiURL(); form != c.form || api != c.api {
			t.Errorf("%s for %q: %s and %s", c.web, c.org, form, api)
		}
		if _, err := github.ParseAPIURL(cfg.apiURL()); err != nil {
			t.Error(err)
		}
	}
}

// TestManifest is what GitHub is asked for in each mode.
func TestManifest(t *testing.T) {
	t.Parallel()
	build := func(cfg Config) manifest {
		t.Helper()
		cfg.DataDir, cfg.WebhookListen = t.TempDir(), "127.0.0.1:8080"
		if err := cfg.complete(nil); err != nil {
			t.Fatal(err)
		}
		m, err := newManifest(cfg, "http://127.0.0.1:9/created")
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range m.permissions() {
			if p.Why == "" {
				t.Errorf("%s is not justified", p.Name)
			}
		}
		return m
	}
	want := manifest{
		Name: "DispatchAI acme", URL: "https://github.com/dispatchai/dispatchai", HookAttributes: hookAttributes{URL: "https://triage.example.com/webhook/github", Active: true},
		RedirectURL: "http://127.0.0.1:9/created", SetupURL: "https://triage.example.com/",
		DefaultPermissions: map[string]string{"issues": "write", "metadata": "read", "contents": "read"},
		DefaultEvents:      []string{"issues", "issue_comment", "label", "repository", "push"},
	}
	m := build(Config{Org: "acme", WebhookURL: "https://triage.example.com"})
	want.Description = m.Description
	if diff := cmp.Diff(want, m); diff != "" || m.Description == "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	m = build(Config{Strict: true, Checks: true, Public: true, RelayURL: "https://smee.io/abc",
		Forward: func(context.Context, string, string, func([]byte, string) error) error { return nil }})
	if diff := cmp.Diff(map[string]string{"issues": "write", "metadata": "read", "checks": "write"}, m.DefaultPermissions); diff != "" || slices.Contains(m.DefaultEvents, "push") {
		t.Errorf("strict: %v, events %v", m.DefaultPermissions, m.DefaultEvents)
	}
	if !m.Public || m.SetupURL != "" || m.HookAttributes.URL != "https://smee.io/abc" || !strings.HasPrefix(m.Name, "DispatchAI ") || len(m.Name) > longestName {
		t.Errorf("relayed: %+v", m)
	}
	if text, err := json.Marshal(m); err != nil || strings.Contains(string(text), "single_file") || strings.Contains(string(text), "secret") {
		t.Errorf("it has what GitHub refuses: %s, %v", text, err)
	}
	if name := defaultName(strings.Repeat("a", 39)); len(name) > longestName {
		t.Errorf("the name %q is too long", name)
	}
}

func TestConfigFaults(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Config)
		want   []string
	}{
		"nothing":          {func(*Config) {}, nil},
		"no URL":           {func(c *Config) { c.WebhookURL = "" }, []string{"--webhook-url: not given"}},
		"two ways":         {func(c *Config) { c.RelayURL = "https://smee.io/x" }, []string{"--webhook-url, --relay: give one"}},
		"no relay's code":  {func(c *Config) { c.WebhookURL, c.RelayURL = "", "https://smee.io/x" }, []string{"--relay: this build"}},
		"loopback":         {func(c *Config) { c.WebhookURL = "http://localhost:8080" }, []string{"GitHub does not reach localhost:8080"}},
		"in the clear":     {func(c *Config) { c.WebhookURL = "http://triage.example.com" }, []string{"--webhook-url: over http"}},
		"no URL at all":    {func(c *Config) { c.WebhookURL = "triage" }, []string{`--webhook-url: "triage" is not`}},
		"GitHub in clear":  {func(c *Config) { c.GitHubURL = "http://ghe.example.com" }, []string{"--github-url: over http"}},
		"the API":          {func(c *Config) { c.GitHubURL = "https://ghe.example.com/api/v3" }, []string{"--github-url:"}},
		"organisation":     {func(c *Config) { c.Org = "../x" }, []string{"--org:"}},
		"name":             {func(c *Config) { c.Name = strings.Repeat("x", 35) }, []string{"--name:"}},
		"page for all":     {func(c *Config) { c.Listen = "0.0.0.0:80" }, []string{"--listen:"}},
		"no directory":     {func(c *Config) { c.DataDir = "" }, []string{"--data-dir: no directory"}},
		"not a directory":  {func(c *Config) { c.DataDir = filepath.Join(file, "x") }, []string{"--data-dir: the App's secrets could not be kept"}},
		"service's listen": {func(c *Config) { c.WebhookListen = "8080" }, []string{"DISPATCHAI_LISTEN:"}},
		"all at once": {func(c *Config) { *c = Config{GitHubURL: "x", Org: "?", Listen: "y"} }, []string{
			"--github-url:", "--org:", "--data-dir:", "--listen:", "--webhook-url:", "DISPATCHAI_LISTEN:"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := Config{DataDir: t.TempDir(), WebhookURL: "https://triage.example.com/", WebhookListen: "127.0.0.1:8080"}
			c.change(&cfg)
			var got []string
			if err := cfg.complete(nil); err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			if len(got) != len(c.want) {
				t.Fatalf("faults %q, want %q", got, c.want)
			}
			for i := range got {
				if !strings.Contains(got[i], c.want[i]) {
					t.Errorf("fault %q, want %q in it", got[i], c.want[i])
				}
			}
		})
	}
}

func TestDiagnose(t *testing.T) {
	t.Parallel()
	public := situation{url: "https://triage.example.com/webhook/github", listening: true, address: "127.0.0.1:8080", dataDir: "/data"}
	service, ours, relayed := public, public, public
	service.listening, service.ours, ours.ours = false, true, true
	relayed.url, relayed.relayed = "https://relay.example.com/channel", true
	rewritten := relayed
	rewritten.badSignatures = 1
	for _, c := range []struct {
		status    string
		code      int
		situation situation
		want      string
	}{
		{"failed to connect to host", 0, public, "GitHub cannot reach triage.example.com"},
		{"timed out", 0, public, "did not answer GitHub in time"},
		{"SSL certificate problem: unable to get local issuer certificate", 0, public, "does not trust the TLS certificate of triage.example.com"},
		{"Invalid HTTP Response: 404", 404, public, "Let the proxy pass POST /webhook/github on to DispatchAI at 127.0.0.1:8080"},
		{"", 405, public, "nothing takes webhooks at this path"},
		{"", 301, public, "redirect (301), which GitHub does not follow"},
		{"", 401, public, "asks for a login"},
		{"", 403, public, "refuses GitHub's addresses"},
		{"", 401, ours, "with another webhook secret, and it is not the one here"},
		{"", 401, service, "restart it with --data-dir /data"},
		{"", 502, public, "finds nothing behind it"},
		{"OK", 200, public, "not as DispatchAI does"},
		{"", 418, public, "answers GitHub with 418"},
		{"", 503, ours, "answers GitHub with 503"},
		{"OK", 200, relayed, "it did not come here"},
		{"OK", 200, rewritten, "written the JSON anew"},
		{"", 503, relayed, "nobody listens to the channel"},
		{"", 404, relayed, "check the channel's URL"},
	} {
		got := diagnose(github.Delivery{Status: c.status, StatusCode: c.code}, c.situation)
		if !strings.Contains(got, c.want) || strings.Contains(got, "channel\"") || strings.Contains(got, "/channel") {
			t.Errorf("%d %q: %s", c.code, c.status, got)
		}
	}
}

func TestCredentialsHideTheirSecrets(t *testing.T) {
	t.Parallel()
	c := Credentials{AppID: 7, Slug: "dispatchai", ClientSecret: "hunter2", WebhookSecret: "hunter2", PrivateKey: "hunter2"}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "app", c)
	if shown := fmt.Sprintf("%v %+v %#v %s", c, c, c, &log); strings.Contains(shown, "hunter2") || !strings.Contains(shown, "dispatchai") {
		t.Errorf("it shows as %s", shown)
	}
	s := newState(Config{}, manifest{})
	s.created(c)
	s.finish(c)
	if shown := fmt.Sprint(s.app.ClientSecret, s.app.WebhookSecret, s.app.PrivateKey); shown != "" {
		t.Errorf("the page has %q", shown)
	}
}

func TestServeCommand(t *testing.T) {
	t.Parallel()
	for dir, want := range map[string]string{
		"/var/lib/dispatchai": "dispatchai serve --data-dir /var/lib/dispatchai",
		"/my data":            "dispatchai serve --data-dir '/my data'",
		"/it's;rm":            `dispatchai serve --data-dir '/it'\''s;rm'`,
	} {
		if got := ServeCommand(dir); got != want {
			t.Errorf("%s: %s", dir, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"app_id":7,"webhook_secret":"hunter2","api_url":"https://api.github.com","private_key":"hunter2"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parse(text)
		if err == nil && (c.AppID <= 0 || c.WebhookSecret == "" || c.PrivateKey == "") {
			t.Error("incomplete, and accepted")
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a secret is in the error: %v", err)
		}
	})
}
