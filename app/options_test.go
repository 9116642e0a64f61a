package app_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dispatchai/dispatchai/app"
	"github.com/dispatchai/dispatchai/app/setup"
	"github.com/dispatchai/dispatchai/app/simulate"
)

// privateKeyPEM is a key as GitHub gives it out.
func privateKeyPEM(t testing.TB) string {
	t.Helper()
	github, err := simulate.New(simulate.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := github.Close(); err != nil {
			t.Error(err)
		}
	})
	return string(github.PrivateKeyPEM())
}

// validOptions pass Validate as they are.
func validOptions(key string) app.Options {
	o := app.DefaultOptions()
	o.WebhookSecrets = []string{"hunter2-webhook"}
	o.AppID, o.PrivateKey = 7, key
	return o
}

// orSetup is how a fault of the App's settings ends.
const orSetup = "; or let `dispatchai setup` create the App and keep this in the data directory"

// TestOptionsFaults: every fault is told in words that name the variable and
// say what would be right, each alone and all at once.
func TestOptionsFaults(t *testing.T) {
	t.Parallel()
	key := privateKeyPEM(t)
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	brokenKey := write("broken.pem", "-----BEGIN RSA PRIVATE KEY-----\nMIIE")
	settings := filepath.Join(dir, "settings")
	if err := os.MkdirAll(settings, 0o700); err != nil {
		t.Fatal(err)
	}
	write("settings/rules.json", "{not json")

	for _, c := range []struct {
		name   string
		change func(*app.Options)
		want   string // one fault per line
	}{
		{"nothing", func(*app.Options) {}, ""},
		{"no role", func(o *app.Options) { o.Roles = []string{" "} }, "DISPATCHAI_ROLES: no role is given; choose from ingress, classify, label, gateway"},
		{"unknown role", func(o *app.Options) { o.Roles, o.KafkaSeeds = []string{"ingress", "chef"}, []string{"k:9092"} },
			`DISPATCHAI_ROLES: there is no role "chef"; choose from ingress, classify, label, gateway`},
		{"some roles without Kafka", func(o *app.Options) { o.Roles = []string{"gateway"} },
			"DISPATCHAI_ROLES: only part of the roles is given, but the embedded event log lives in one process; run all roles, or set KAFKA_BOOTSTRAP_SERVERS"},
		{"one role four times", func(o *app.Options) { o.Roles = []string{"gateway", "gateway", "gateway", "gateway"} },
			"DISPATCHAI_ROLES: only part of the roles is given, but the embedded event log lives in one process; run all roles, or set KAFKA_BOOTSTRAP_SERVERS"},
		{"some roles with Kafka", func(o *app.Options) { o.Roles, o.KafkaSeeds = []string{"gateway"}, []string{"k:9092"} }, ""},
		{"a gateway needs no App", func(o *app.Options) {
			o.Roles, o.KafkaSeeds, o.AppID, o.PrivateKey, o.WebhookSecrets = []string{"gateway"}, []string{"k:9092"}, 0, "", nil
		}, ""},
		{"listen", func(o *app.Options) { o.Listen = "8080" }, `DISPATCHAI_LISTEN: "8080" is not host:port (for example 127.0.0.1:8080)`},
		{"no directory", func(o *app.Options) { o.DataDir = "" }, "DISPATCHAI_DATA_DIR: no directory is given"},
		{"level", func(o *app.Options) { o.LogLevel = "loud" }, `LOG_LEVEL: "loud" is not a level; use debug, info, warn or error`},
		{"PostgreSQL", func(o *app.Options) { o.DatabaseURL = "postgres://dispatch:hunter2@db/dispatch" },
			"DATABASE_URL: this version stores in SQLite in the data directory only; leave it unset"},
		{"small log", func(o *app.Options) { o.LogMaxBytes = 64<<20 - 1 }, "DISPATCHAI_LOG_MAX_BYTES: 67108863 is less than 64 MiB, which the largest webhooks need"},
		{"negative grace period", func(o *app.Options) { o.EraseAfter = -time.Hour }, "DISPATCHAI_ERASE_AFTER: -1h0m0s is negative; give the time that removed data is kept (720h is 30 days), or 0 to erase it at once"},
		{"Kafka without a port", func(o *app.Options) { o.KafkaSeeds = []string{"k1:9092", "k2"} }, `KAFKA_BOOTSTRAP_SERVERS: "k2" is not host:port`},
		{"Kafka with a password", func(o *app.Options) { o.KafkaSeeds = []string{"me:hunter2@k1:9092"} },
			"KAFKA_BOOTSTRAP_SERVERS: it holds host:port only, no user and no password"},
		{"API address", func(o *app.Options) { o.GitHubAPIURL = "api.github.com" },
			`GITHUB_API_URL: "api.github.com" is not an http(s) address (for GitHub Enterprise Server: https://HOST/api/v3)`},
		{"API address with a token", func(o *app.Options) { o.GitHubAPIURL = "https://hunter2@ghe.example.com/api/v3" },
			"GITHUB_API_URL: it must not hold a user or a password; the App's private key is what GitHub knows DispatchAI by"},
		{"no App", func(o *app.Options) { o.AppID = 0 }, "GITHUB_APP_ID: not set (the number on the App's settings page)" + orSetup},
		{"no key", func(o *app.Options) { o.PrivateKey = "" },
			"GITHUB_PRIVATE_KEY_FILE: not set, nor GITHUB_PRIVATE_KEY (create one under App settings > Private keys)" + orSetup},
		{"two keys", func(o *app.Options) { o.PrivateKeyFile = brokenKey }, "GITHUB_PRIVATE_KEY: GITHUB_PRIVATE_KEY_FILE is set as well; leave one of them out"},
		{"key file missing", func(o *app.Options) { o.PrivateKey, o.PrivateKeyFile = "", "/nowhere/key.pem" },
			"GITHUB_PRIVATE_KEY_FILE: no such file /nowhere/key.pem (create one under App settings > Private keys)"},
		{"key file broken", func(o *app.Options) { o.PrivateKey, o.PrivateKeyFile = "", brokenKey },
			"GITHUB_PRIVATE_KEY_FILE: the GitHub App private key is cut short or damaged: it begins as PEM but does not end as one; copy the whole .pem file, its first and last line included"},
		{"no key at all", func(o *app.Options) { o.PrivateKey = "hunter2" },
			"GITHUB_PRIVATE_KEY: the GitHub App private key is not PEM: it must begin with -----BEGIN RSA PRIVATE KEY-----; if you meant a file, set GITHUB_PRIVATE_KEY_FILE to its path"},
		{"key with escaped line ends", func(o *app.Options) { o.PrivateKey = strings.ReplaceAll(key, "\n", `\n`) }, ""},
		{"no secret", func(o *app.Options) { o.WebhookSecrets = []string{"", " "} },
			"GITHUB_WEBHOOK_SECRET: not set; without it anybody could send webhooks (App settings > Webhook secret)" + orSetup},
		{"requests", func(o *app.Options) { o.MaxWebhookRequests = 0 }, "MAX_WEBHOOK_REQUESTS: 0 is not at least 1"},
		{"window", func(o *app.Options) { o.RateLimitWindowSeconds = -3 }, "RATE_LIMIT_WINDOW_SECONDS: -3 is not at least 1"},
		{"proxies", func(o *app.Options) { o.TrustedProxies = []string{"10.0.0.0/8", "192.0.2.1", "proxy"} },
			`DISPATCHAI_TRUSTED_PROXIES: "proxy" is neither an address nor a network (10.0.0.0/8)`},
		{"plugin's name", func(o *app.Options) { o.Plugins = []string{"../rules", "Rules=/x"} },
			"DISPATCHAI_PLUGINS: \"../rules\" is not a plugin's name (lower-case letters, digits, dashes)\n" +
				"DISPATCHAI_PLUGINS: \"Rules\" is not a plugin's name (lower-case letters, digits, dashes)"},
		{"plugin without a path", func(o *app.Options) { o.Plugins = []string{"mine="} }, "DISPATCHAI_PLUGINS: mine= names no executable"},
		{"plugin to reattach to", func(o *app.Options) { o.Plugins = []string{"mine=reattach:/tmp/mine.json"} }, ""},
		{"plugin to reattach to nowhere", func(o *app.Options) { o.Plugins = []string{"mine=reattach:mine.json"} },
			"DISPATCHAI_PLUGINS: mine=reattach: must be followed by the absolute path of the file that the plugin printed"},
		{"plugin twice", func(o *app.Options) { o.Plugins = []string{"rules", "rules"} }, "DISPATCHAI_PLUGINS: rules is named twice"},
		{"no plugin", func(o *app.Options) { o.Plugins = nil }, "DISPATCHAI_PLUGINS: no plugin is named; the built-in one is called rules"},
		{"plugin's settings", func(o *app.Options) { o.PluginSettingsDir = settings },
			"DISPATCHAI_PLUGIN_SETTINGS_DIR: " + settings + "/rules.json is not JSON"},
		{"no settings for this plugin", func(o *app.Options) { o.PluginSettingsDir = dir }, ""},
		{"poll", func(o *app.Options) { o.Poll = time.Millisecond }, "DISPATCHAI_POLL: 1ms is less than a second, which no request budget bears; leave it unset for 60s"},
		{"gaps", func(o *app.Options) {
			o.BackfillOnInstall, o.SweepInterval, o.ReconcileInterval, o.RedeliveriesPerMinute = "off", time.Millisecond, time.Second, 0
		},
			"DISPATCHAI_BACKFILL_ON_INSTALL: \"off\" is not possible; there are none, open and all\n" +
				"DISPATCHAI_SWEEP_INTERVAL: 1ms is shorter than a second\n" +
				"DISPATCHAI_RECONCILE_INTERVAL: 1s is shorter than a minute\n" +
				"DISPATCHAI_REDELIVERIES_PER_MINUTE: 0 is not at least 1"},
		{"openai without a key", func(o *app.Options) { o.Plugins = []string{"rules", "openai"} },
			"OPENAI_API_KEY: not set, but DISPATCHAI_PLUGINS names openai (create one at https://platform.openai.com/api-keys; a server of your own, named by OPENAI_BASE_URL, may need none)"},
		{"openai", func(o *app.Options) { o.Plugins, o.OpenAIKey = []string{"openai"}, "sk-x" }, ""},
		{"a model server of one's own", func(o *app.Options) { o.Plugins, o.OpenAIBaseURL = []string{"openai"}, "http://localhost:11434/v1" }, ""},
		{"confinement", func(o *app.Options) { o.PluginConfinement = "some" }, `DISPATCHAI_PLUGIN_CONFINEMENT: "some" is not possible; there are auto, required and off`},
		{"memory", func(o *app.Options) { o.PluginMemoryMB = 63 }, "DISPATCHAI_PLUGIN_MEMORY_MB: 63 MiB is too little for a plugin, or more than a machine has; 0 is no bound"},
		{"patience", func(o *app.Options) { o.PluginPatience = 0 }, "DISPATCHAI_PLUGIN_PATIENCE: 0s is shorter than 100ms, in which few classifiers answer"},
		{"challenger that is none", func(o *app.Options) { o.Challenger = "openai" }, `DISPATCHAI_CHALLENGER: "openai" is not among DISPATCHAI_PLUGINS; add it there`},
		{"nobody to challenge", func(o *app.Options) { o.Challenger = "rules" }, "DISPATCHAI_CHALLENGER: rules is the only plugin, so there is none to challenge; add another to DISPATCHAI_PLUGINS"},
		{"budget", func(o *app.Options) { o.DailyBudgetUSD = -1 }, "DISPATCHAI_DAILY_BUDGET_USD: -1 is not an amount of US dollars; give one above 0, or leave it unset for no bound"},
		{"repository's budget", func(o *app.Options) { o.RepositoryDailyBudgetUSD = math.NaN() }, "DISPATCHAI_REPOSITORY_DAILY_BUDGET_USD: NaN is not an amount of US dollars; give one above 0, or leave it unset for no bound"},
		{"plugin's time", func(o *app.Options) { o.PluginTimeout = time.Millisecond }, "DISPATCHAI_PLUGIN_TIMEOUT: 1ms is shorter than a second"},
		{"origins", func(o *app.Options) {
			o.AllowedOrigins = []string{"https://a.example", "https://b.example/", "b.example"}
		},
			"DISPATCHAI_ALLOWED_ORIGINS: \"https://b.example/\" is not an origin (for example https://triage.example.com, without a path)\n" +
				"DISPATCHAI_ALLOWED_ORIGINS: \"b.example\" is not an origin (for example https://triage.example.com, without a path)"},
		{"everything", func(o *app.Options) {
			*o = app.Options{Roles: []string{"chef", "ingress", "classify", "label", "gateway"}, WebhookSecrets: []string{""}, PrivateKey: "hunter2",
				Listen: "here", GitHubAPIURL: "hunter2@there", DatabaseURL: "hunter2", LogLevel: "?", KafkaSeeds: []string{"hunter2@k"}}
		}, strings.Join([]string{
			`DISPATCHAI_ROLES: there is no role "chef"; choose from ingress, classify, label, gateway`,
			`DISPATCHAI_LISTEN: "here" is not host:port (for example 127.0.0.1:8080)`,
			"DISPATCHAI_DATA_DIR: no directory is given",
			`LOG_LEVEL: "?" is not a level; use debug, info, warn or error`,
			"DATABASE_URL: this version stores in SQLite in the data directory only; leave it unset",
			"DISPATCHAI_POLL: 0s is less than a second, which no request budget bears; leave it unset for 60s",
			"DISPATCHAI_LOG_MAX_BYTES: 0 is less than 64 MiB, which the largest webhooks need",
			"KAFKA_BOOTSTRAP_SERVERS: it holds host:port only, no user and no password",
			"GITHUB_API_URL: it must not hold a user or a password; the App's private key is what GitHub knows DispatchAI by",
			"GITHUB_APP_ID: not set (the number on the App's settings page)" + orSetup,
			"GITHUB_PRIVATE_KEY: the GitHub App private key is not PEM: it must begin with -----BEGIN RSA PRIVATE KEY-----; if you meant a file, set GITHUB_PRIVATE_KEY_FILE to its path",
			"GITHUB_WEBHOOK_SECRET: not set; without it anybody could send webhooks (App settings > Webhook secret)" + orSetup,
			"MAX_WEBHOOK_REQUESTS: 0 is not at least 1",
			"RATE_LIMIT_WINDOW_SECONDS: 0 is not at least 1",
			"DISPATCHAI_PLUGINS: no plugin is named; the built-in one is called rules",
			"DISPATCHAI_PLUGIN_TIMEOUT: 0s is shorter than a second",
			"DISPATCHAI_PLUGIN_PATIENCE: 0s is shorter than 100ms, in which few classifiers answer",
			`DISPATCHAI_PLUGIN_CONFINEMENT: "" is not possible; there are auto, required and off`,
			`DISPATCHAI_BACKFILL_ON_INSTALL: "" is not possible; there are none, open and all`,
			"DISPATCHAI_SWEEP_INTERVAL: 0s is shorter than a second",
			"DISPATCHAI_RECONCILE_INTERVAL: 0s is shorter than a minute",
			"DISPATCHAI_REDELIVERIES_PER_MINUTE: 0 is not at least 1",
		}, "\n")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := validOptions(key)
			c.change(&o)
			for range 2 { // the second time must say the same
				got := ""
				if err := o.Validate(); err != nil {
					got = err.Error()
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("faults (-want +got):\n%s", diff)
				}
				if strings.Contains(got, "hunter2") {
					t.Errorf("a secret is in the error: %s", got)
				}
			}
		})
	}
}

// TestServeRefusesFaultyConfiguration: the real binary ends with status 1 and
// says all that is wrong, values that cannot be read included, once each.
func TestServeRefusesFaultyConfiguration(t *testing.T) {
	t.Parallel()
	got := execute(t, append(bareEnvironment(),
		"GITHUB_APP_ID=Iv23liabcdef", "MAX_WEBHOOK_REQUESTS=many", "DISPATCHAI_PLUGIN_TIMEOUT=5",
		"RATE_LIMIT_WINDOW_SECONDS=ghp_0123456789abcdefghijklmnopqrstuvwxyz", "DATABASE_URL=postgres://u:hunter2@h/d",
	), "serve", "--listen", "nowhere")
	want := `dispatchai: 8 things need to be put right:
  - GITHUB_APP_ID: "Iv23liabcdef" is not a whole number
  - DISPATCHAI_PLUGIN_TIMEOUT: "5" is not a duration such as 30s or 2m
  - MAX_WEBHOOK_REQUESTS: "many" is not a whole number
  - RATE_LIMIT_WINDOW_SECONDS: its value of 40 characters is not a whole number
  - DISPATCHAI_LISTEN: "nowhere" is not host:port (for example 127.0.0.1:8080)
  - DATABASE_URL: this version stores in SQLite in the data directory only; leave it unset
  - GITHUB_PRIVATE_KEY_FILE: not set, nor GITHUB_PRIVATE_KEY (create one under App settings > Private keys)` + orSetup + `
  - GITHUB_WEBHOOK_SECRET: not set; without it anybody could send webhooks (App settings > Webhook secret)` + orSetup + "\n"
	if got.code != 1 || got.stdout != "" {
		t.Errorf("it ended with status %d and printed %q, want status 1 and nothing", got.code, got.stdout)
	}
	if diff := cmp.Diff(want, got.stderr); diff != "" {
		t.Errorf("what it said (-want +got):\n%s", diff)
	}
}

// TestServeNeedsASecret: nothing runs without a webhook secret.
func TestServeNeedsASecret(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	got := execute(t, append(bareEnvironment(), "GITHUB_APP_ID=7", "GITHUB_PRIVATE_KEY="+privateKeyPEM(t), "GITHUB_WEBHOOK_SECRET= , "),
		"serve", "--listen", "127.0.0.1:0", "--data-dir", dir)
	want := "dispatchai: GITHUB_WEBHOOK_SECRET: not set; without it anybody could send webhooks (App settings > Webhook secret)" + orSetup + "\n"
	if got.code != 1 || got.stderr != want {
		t.Errorf("it ended with status %d and said %q, want status 1 and %q", got.code, got.stderr, want)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("it left something in the data directory: %v", err)
	}
}

// TestFlagsWinOverTheEnvironment: what stands in a flag counts, also when it is worse.
func TestFlagsWinOverTheEnvironment(t *testing.T) {
	t.Parallel()
	env := append(bareEnvironment(), "GITHUB_APP_ID=7", "GITHUB_PRIVATE_KEY="+privateKeyPEM(t), "GITHUB_WEBHOOK_SECRET=s",
		"DISPATCHAI_LISTEN=127.0.0.1:0", "DISPATCHAI_DATA_DIR="+t.TempDir(), "DISPATCHAI_ROLES=ingress,classify,label,gateway")
	got := execute(t, env, "serve", "--listen", "flag", "--data-dir", "", "--roles", "ingress, flag")
	want := `dispatchai: 4 things need to be put right:
  - DISPATCHAI_ROLES: there is no role "flag"; choose from ingress, classify, label, gateway
  - DISPATCHAI_ROLES: only part of the roles is given, but the embedded event log lives in one process; run all roles, or set KAFKA_BOOTSTRAP_SERVERS
  - DISPATCHAI_LISTEN: "flag" is not host:port (for example 127.0.0.1:8080)
  - DISPATCHAI_DATA_DIR: no directory is given
`
	if diff := cmp.Diff(want, got.stderr); diff != "" || got.code != 1 {
		t.Errorf("status %d, what it said (-want +got):\n%s", got.code, diff)
	}
	// And a good flag heals a bad variable: the whole system starts with it.
	s := newSystem(t, simulate.Options{Seed: 31})
	s.env = []string{"DISPATCHAI_LISTEN=nowhere", "DISPATCHAI_ROLES=chef", "DISPATCHAI_DATA_DIR=/proc/nowhere"}
	s.args = []string{"--roles", "gateway,label,classify,ingress"}
	s.start()
	s.stop()
}

// TestOptionsFromTheDataDirectory: what setup keeps stands in for what the
// environment does not say, of the same App.
func TestOptionsFromTheDataDirectory(t *testing.T) {
	t.Parallel()
	key := privateKeyPEM(t)
	dir := t.TempDir()
	kept, err := json.Marshal(setup.Credentials{
		AppID: 7, Slug: "dispatchai", PrivateKey: key, WebhookSecret: "hunter2-kept", APIURL: "https://ghe.example.com/api/v3",
		RelayURL: "https://relay.example.com/channel", StrictContents: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	write := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, setup.FileName), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(kept)
	for name, c := range map[string]struct {
		change  func(*app.Options)
		secrets []string
		api     string
		relay   string
		strict  bool
		fault   string
	}{
		"all of it":        {func(*app.Options) {}, []string{"hunter2-kept"}, "https://ghe.example.com/api/v3", "https://relay.example.com/channel", true, ""},
		"another secret":   {func(o *app.Options) { o.WebhookSecrets = []string{"new", "old"} }, []string{"new", "old"}, "https://ghe.example.com/api/v3", "https://relay.example.com/channel", true, ""},
		"another API":      {func(o *app.Options) { o.GitHubAPIURL = "https://proxy.example.com/api/v3" }, []string{"hunter2-kept"}, "https://proxy.example.com/api/v3", "https://relay.example.com/channel", true, ""},
		"another relay":    {func(o *app.Options) { o.RelayURL = "https://smee.io/x" }, []string{"hunter2-kept"}, "https://ghe.example.com/api/v3", "https://smee.io/x", true, ""},
		"the same App":     {func(o *app.Options) { o.AppID, o.PrivateKey = 7, key }, []string{"hunter2-kept"}, "https://ghe.example.com/api/v3", "https://relay.example.com/channel", true, ""},
		"another App":      {func(o *app.Options) { o.AppID, o.PrivateKey, o.WebhookSecrets = 8, key, []string{"s"} }, []string{"s"}, "https://api.github.com", "", false, ""},
		"half another App": {func(o *app.Options) { o.AppID = 8 }, nil, "https://api.github.com", "", false, "GITHUB_PRIVATE_KEY_FILE: not set"},
		"a broken relay":   {func(o *app.Options) { o.RelayURL = "https://smee.io/" }, []string{"hunter2-kept"}, "https://ghe.example.com/api/v3", "https://smee.io/", true, "DISPATCHAI_RELAY_URL: the URL names no channel"},
	} {
		o := app.DefaultOptions()
		o.DataDir = dir
		c.change(&o)
		for range 2 { // the second time must come to the same
			err := o.Validate()
			if c.fault == "" && err != nil || c.fault != "" && (err == nil || !strings.HasPrefix(err.Error(), c.fault)) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if diff := cmp.Diff(c.secrets, o.WebhookSecrets); diff != "" || o.GitHubAPIURL != c.api || o.RelayURL != c.relay || o.StrictContents != c.strict {
			t.Errorf("%s: secrets %s, API %s, relay %s, strict %v", name, diff, o.GitHubAPIURL, o.RelayURL, o.StrictContents)
		}
	}
	write([]byte(`{"app_id":7,"webhook_secret":"hunter2`))
	o := app.DefaultOptions()
	o.DataDir = dir
	if err := o.Validate(); err == nil || !strings.Contains(err.Error(), "DISPATCHAI_DATA_DIR: "+filepath.Join(dir, setup.FileName)+" is damaged") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a damaged file: %v", err)
	}
	o = validOptions(key)
	o.DataDir = dir
	if err := o.Validate(); err != nil {
		t.Errorf("the environment says it all, and a damaged file is in the way: %v", err)
	}
}
