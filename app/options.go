package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/dispatchai/dispatchai/app/relay"
	"github.com/dispatchai/dispatchai/app/setup"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/plugin"
	"github.com/dispatchai/dispatchai/core/triage"
)

// Options is the whole configuration of a process. LoadOptions reads it from
// the environment; flags overwrite single fields; Validate then reports every
// fault at once.
type Options struct {
	Listen  string   `env:"DISPATCHAI_LISTEN" envDefault:"127.0.0.1:8080"`
	DataDir string   `env:"DISPATCHAI_DATA_DIR" envDefault:"dispatchai-data"`
	Roles   []string `env:"DISPATCHAI_ROLES" envDefault:"ingress,classify,label,gateway"`

	WebhookSecrets []string `env:"GITHUB_WEBHOOK_SECRET"`
	AppID          int64    `env:"GITHUB_APP_ID"`
	PrivateKey     string   `env:"GITHUB_PRIVATE_KEY"`
	PrivateKeyFile string   `env:"GITHUB_PRIVATE_KEY_FILE"`
	// GitHubAPIURL is https://api.github.com, unless the App of the data directory
	// is registered elsewhere.
	GitHubAPIURL string `env:"GITHUB_API_URL"`
	// RelayURL is a webhook relay's channel to listen to, for development on a
	// machine without a public address.
	RelayURL string `env:"DISPATCHAI_RELAY_URL"`

	APIToken       string   `env:"DISPATCHAI_API_TOKEN"`
	AllowedOrigins []string `env:"DISPATCHAI_ALLOWED_ORIGINS"`

	KafkaSeeds  []string `env:"KAFKA_BOOTSTRAP_SERVERS"`
	DatabaseURL string   `env:"DATABASE_URL"`
	// LogMaxBytes bounds the embedded event log on disk; at the bound webhooks
	// are answered with 503 and nothing is lost.
	LogMaxBytes int64 `env:"DISPATCHAI_LOG_MAX_BYTES" envDefault:"2147483648"`

	// Plugins are the classifiers, asked in this order: the name of a built-in
	// one, name=/path/to/executable, name=/path/to/directory for one with a manifest
	// (plugin.json) in it, or name=reattach:/path/to/file for one that
	// a person runs (see sdk.DebugKey).
	Plugins []string `env:"DISPATCHAI_PLUGINS" envDefault:"rules"`
	// PluginSettingsDir may hold NAME.json, the settings of plugin NAME.
	PluginSettingsDir string        `env:"DISPATCHAI_PLUGIN_SETTINGS_DIR"`
	PluginTimeout     time.Duration `env:"DISPATCHAI_PLUGIN_TIMEOUT" envDefault:"30s"`
	// OpenAIKey and OpenAIBaseURL are the classifier openai's, which gets them as settings.
	OpenAIKey     string `env:"OPENAI_API_KEY"`
	OpenAIBaseURL string `env:"OPENAI_BASE_URL"`
	// PluginPatience is how long an issue waits for a classifier that another one
	// could stand in for.
	PluginPatience time.Duration `env:"DISPATCHAI_PLUGIN_PATIENCE" envDefault:"10s"`
	// Challenger names the one of Plugins that is asked beside the others, without any
	// effect on labels; empty for none.
	Challenger string `env:"DISPATCHAI_CHALLENGER"`
	// PluginConfinement is auto, required or off (see ConfineAuto), PluginMemoryMB the
	// memory that each plugin may take, in MiB; 0 does not bound it.
	PluginConfinement string `env:"DISPATCHAI_PLUGIN_CONFINEMENT" envDefault:"auto"`
	PluginMemoryMB    int64  `env:"DISPATCHAI_PLUGIN_MEMORY_MB" envDefault:"1024"`
	// DailyBudgetUSD and RepositoryDailyBudgetUSD bound what answers may cost on one
	// day (UTC), in all and for each repository; 0 is no bound.
	DailyBudgetUSD           float64 `env:"DISPATCHAI_DAILY_BUDGET_USD"`
	RepositoryDailyBudgetUSD float64 `env:"DISPATCHAI_REPOSITORY_DAILY_BUDGET_USD"`

	// NeedsInfo are the headings of issue forms under which every bug report needs
	// an answer; its author is asked for those that are missing. None: nobody is asked.
	NeedsInfo []string `env:"DISPATCHAI_NEEDS_INFO"`
	// Poll is how often GitHub is asked for what no webhook tells: whether a
	// configuration file changed where the App may read nothing else, and whether
	// a suggestion was dismissed.
	Poll time.Duration `env:"DISPATCHAI_POLL" envDefault:"60s"`
	// BackfillOnInstall is which issues that were there before are classified where
	// the App is newly installed, unless a repository's own file asks for others.
	BackfillOnInstall triage.Backfill `env:"DISPATCHAI_BACKFILL_ON_INSTALL" envDefault:"none"`
	// SweepInterval is how often GitHub's log of deliveries is read, ReconcileInterval
	// how often each repository is compared with GitHub, when all is well.
	SweepInterval     time.Duration `env:"DISPATCHAI_SWEEP_INTERVAL" envDefault:"5m"`
	ReconcileInterval time.Duration `env:"DISPATCHAI_RECONCILE_INTERVAL" envDefault:"6h"`
	// RedeliveriesPerMinute is how often GitHub is asked to send again what did not arrive.
	RedeliveriesPerMinute int `env:"DISPATCHAI_REDELIVERIES_PER_MINUTE" envDefault:"60"`

	MaxWebhookRequests     int      `env:"MAX_WEBHOOK_REQUESTS" envDefault:"100"`
	RateLimitWindowSeconds int      `env:"RATE_LIMIT_WINDOW_SECONDS" envDefault:"60"`
	TrustedProxies         []string `env:"DISPATCHAI_TRUSTED_PROXIES"`

	// EraseAfter is how long the data of what was removed on GitHub is kept.
	EraseAfter time.Duration `env:"DISPATCHAI_ERASE_AFTER" envDefault:"720h"`

	LogLevel string `env:"LOG_LEVEL" envDefault:"info"`
	// DebugListen serves Go's profiles under /debug/pprof/. They tell much about
	// the process: a loopback address only.
	DebugListen string `env:"DISPATCHAI_DEBUG_LISTEN"`

	// StrictContents tells that the App may not read repositories' contents, so
	// that their configuration is the single file named in its settings, which is
	// polled. Setup notes it in the data directory; no environment variable sets it.
	StrictContents bool

	// Demo opens the API to this machine without a token. No environment
	// variable sets it.
	Demo bool

	// unread are the variables whose value could not be read at all.
	unread     []string
	registered setup.Credentials // the App that setup keeps in the data directory
	privateKey []byte
	proxies    []netip.Prefix
	plugins    []pluginChoice
	level      slog.Level
}

// pluginChoice is one entry of Options.Plugins.
type pluginChoice struct {
	name     string
	source   string // as the configuration or a revision says it
	path     string // "" for a built-in, one with a manifest, and one to reattach to
	reattach string
	settings []byte
	manifest *plugin.Spec // of one with a manifest
}

// ReattachPrefix stands, in the place of an executable, before the file in which
// a plugin that a person started says how to reach it.
const ReattachPrefix = "reattach:"

// The roles of a process.
const (
	RoleIngress  = "ingress"
	RoleClassify = "classify"
	RoleLabel    = "label"
	RoleGateway  = "gateway"
)

// AllRoles are what a single process does.
func AllRoles() []string { return []string{RoleIngress, RoleClassify, RoleLabel, RoleGateway} }

// LoadOptions reads the environment. It fails only for values that cannot be
// read at all; Validate judges the rest, and says nothing more of those, so that
// both errors joined are all that is wrong.
func LoadOptions() (Options, error) {
	var o Options
	err := env.Parse(&o)
	var aggregate env.AggregateError
	if !errors.As(err, &aggregate) {
		return o, err
	}
	faults := make([]error, 0, len(aggregate.Errors))
	for _, e := range aggregate.Errors {
		variable, fault := environmentFault(e)
		o.unread = append(o.unread, variable)
		faults = append(faults, fault)
	}
	return o, errors.Join(faults...)
}

// DefaultOptions are the options of an empty environment.
func DefaultOptions() Options {
	var o Options
	// Only a default that cannot be parsed fails here, which no input causes.
	_ = env.ParseWithOptions(&o, env.Options{Environment: map[string]string{}})
	return o
}

// longestShown bounds the values that errors repeat: a longer one is more likely
// a secret in the wrong variable than a slip of the pen.
const longestShown = 24

// environmentFault names the variable rather than the field behind it.
func environmentFault(err error) (variable string, fault error) {
	var parse env.ParseError
	if !errors.As(err, &parse) {
		return "", err
	}
	field, ok := reflect.TypeFor[Options]().FieldByName(parse.Name)
	if !ok {
		return "", err
	}
	variable = field.Tag.Get("env")
	wanted := "a whole number"
	switch parse.Type {
	case reflect.TypeFor[time.Duration]():
		wanted = "a duration such as 30s or 2m"
	case reflect.TypeFor[float64]():
		wanted = "a number such as 2.50"
	}
	value := os.Getenv(variable)
	if len(value) > longestShown {
		return variable, fmt.Errorf("%s: its value of %d characters is not %s", variable, len(value), wanted)
	}
	return variable, fmt.Errorf("%s: %q is not %s", variable, value, wanted)
}

func (o Options) has(role string) bool { return slices.Contains(o.Roles, role) }

// Validate checks every option and returns all faults joined, each beginning
// with the name of the variable to change. It may be called again.
func (o *Options) Validate() error {
	var faults []error
	fault := func(variable, format string, args ...any) {
		if !slices.Contains(o.unread, variable) {
			faults = append(faults, fmt.Errorf("%s: %w", variable, fmt.Errorf(format, args...)))
		}
	}
	o.privateKey, o.proxies, o.plugins = nil, nil, nil

	o.Roles = distinct(trimmed(o.Roles))
	if len(o.Roles) == 0 {
		fault("DISPATCHAI_ROLES", "no role is given; choose from %s", strings.Join(AllRoles(), ", "))
	}
	for _, r := range o.Roles {
		if !slices.Contains(AllRoles(), r) {
			fault("DISPATCHAI_ROLES", "there is no role %q; choose from %s", r, strings.Join(AllRoles(), ", "))
		}
	}
	if len(o.Roles) > 0 && len(o.Roles) < len(AllRoles()) && len(trimmed(o.KafkaSeeds)) == 0 {
		fault("DISPATCHAI_ROLES", "only part of the roles is given, but the embedded event log lives in one process; run all roles, or set KAFKA_BOOTSTRAP_SERVERS")
	}
	if _, _, err := net.SplitHostPort(o.Listen); err != nil {
		fault("DISPATCHAI_LISTEN", "%q is not host:port (for example 127.0.0.1:8080)", o.Listen)
	}
	if o.DebugListen != "" {
		host, _, err := net.SplitHostPort(o.DebugListen)
		if ip := net.ParseIP(host); err != nil || (host != "localhost" && (ip == nil || !ip.IsLoopback())) {
			fault("DISPATCHAI_DEBUG_LISTEN", "%q is not a loopback address with a port (for example 127.0.0.1:6060)", o.DebugListen)
		}
	}
	if o.DataDir == "" {
		fault("DISPATCHAI_DATA_DIR", "no directory is given")
	}
	if err := o.level.UnmarshalText([]byte(o.LogLevel)); err != nil {
		fault("LOG_LEVEL", "%q is not a level; use debug, info, warn or error", o.LogLevel)
	}
	if o.DatabaseURL != "" {
		fault("DATABASE_URL", "this version stores in SQLite in the data directory only; leave it unset")
	}
	if o.EraseAfter < 0 {
		fault("DISPATCHAI_ERASE_AFTER", "%s is negative; give the time that removed data is kept (720h is 30 days), or 0 to erase it at once", o.EraseAfter)
	}
	if o.Poll < time.Second {
		fault("DISPATCHAI_POLL", "%s is less than a second, which no request budget bears; leave it unset for 60s", o.Poll)
	}
	if o.LogMaxBytes < 64<<20 {
		fault("DISPATCHAI_LOG_MAX_BYTES", "%d is less than 64 MiB, which the largest webhooks need", o.LogMaxBytes)
	}
	o.KafkaSeeds = trimmed(o.KafkaSeeds)
	for _, seed := range o.KafkaSeeds {
		if strings.Contains(seed, "@") {
			fault("KAFKA_BOOTSTRAP_SERVERS", "it holds host:port only, no user and no password")
		} else if _, _, err := net.SplitHostPort(seed); err != nil {
			fault("KAFKA_BOOTSTRAP_SERVERS", "%q is not host:port", seed)
		}
	}
	o.useRegisteredApp(fault)
	o.validateGitHub(fault)
	o.validateIngress(fault)
	o.validatePlugins(fault)
	o.validateReconciling(fault)
	o.validateGateway(fault)
	return errors.Join(faults...)
}

// faultFunc notes what is wrong with a variable.
type faultFunc func(variable, format string, args ...any)

// useRegisteredApp takes from the data directory what the environment does not
// say of the App, unless the environment names another App than is kept there.
func (o *Options) useRegisteredApp(fault faultFunc) {
	o.registered, o.StrictContents = setup.Credentials{}, false
	app, err := setup.Load(o.DataDir)
	switch {
	case o.DataDir == "" || errors.Is(err, fs.ErrNotExist):
	case err != nil:
		if o.AppID == 0 || o.PrivateKey == "" && o.PrivateKeyFile == "" || len(trimmed(o.WebhookSecrets)) == 0 {
			fault("DISPATCHAI_DATA_DIR", "%w", err)
		}
	case o.AppID == 0 || o.AppID == app.AppID:
		o.registered, o.AppID, o.StrictContents = app, app.AppID, app.StrictContents
		if len(trimmed(o.WebhookSecrets)) == 0 {
			o.WebhookSecrets = []string{app.WebhookSecret}
		}
		if o.GitHubAPIURL == "" {
			o.GitHubAPIURL = app.APIURL
		}
		if o.RelayURL == "" {
			o.RelayURL = app.RelayURL
		}
	}
	if o.GitHubAPIURL == "" {
		o.GitHubAPIURL = "https://api.github.com"
	}
}

// orSetup is the other way to an App, told with each fault of the environment's.
const orSetup = "; or let `dispatchai setup` create the App and keep this in the data directory"

func (o *Options) validateGitHub(fault faultFunc) {
	if u, err := url.Parse(o.GitHubAPIURL); strings.Contains(o.GitHubAPIURL, "@") {
		fault("GITHUB_API_URL", "it must not hold a user or a password; the App's private key is what GitHub knows DispatchAI by")
	} else if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
		fault("GITHUB_API_URL", "%q is not an http(s) address (for GitHub Enterprise Server: https://HOST/api/v3)", o.GitHubAPIURL)
	}
	if !o.has(RoleClassify) && !o.has(RoleLabel) {
		return
	}
	if o.AppID <= 0 {
		fault("GITHUB_APP_ID", "not set (the number on the App's settings page)"+orSetup)
	}
	switch {
	case o.PrivateKey != "" && o.PrivateKeyFile != "":
		fault("GITHUB_PRIVATE_KEY", "GITHUB_PRIVATE_KEY_FILE is set as well; leave one of them out")
	case o.PrivateKey != "":
		o.keepPrivateKey("GITHUB_PRIVATE_KEY", []byte(o.PrivateKey), fault)
	case o.PrivateKeyFile != "":
		key, err := os.ReadFile(o.PrivateKeyFile)
		switch {
		case errors.Is(err, os.ErrNotExist):
			fault("GITHUB_PRIVATE_KEY_FILE", "no such file %s (create one under App settings > Private keys)", o.PrivateKeyFile)
		case err != nil:
			fault("GITHUB_PRIVATE_KEY_FILE", "%w", err)
		default:
			o.keepPrivateKey("GITHUB_PRIVATE_KEY_FILE", key, fault)
		}
	case o.registered.PrivateKey != "":
		o.privateKey = []byte(o.registered.PrivateKey)
	default:
		fault("GITHUB_PRIVATE_KEY_FILE", "not set, nor GITHUB_PRIVATE_KEY (create one under App settings > Private keys)"+orSetup)
	}
}

// keepPrivateKey takes a key that can be used. Its faults quote nothing of it.
func (o *Options) keepPrivateKey(variable string, key []byte, fault faultFunc) {
	if _, err := github.ParsePrivateKey(key); err != nil {
		fault(variable, "%w", err)
		return
	}
	o.privateKey = key
}

func (o *Options) validateIngress(fault faultFunc) {
	if !o.has(RoleIngress) {
		return
	}
	o.WebhookSecrets = trimmed(o.WebhookSecrets)
	if len(o.WebhookSecrets) == 0 {
		fault("GITHUB_WEBHOOK_SECRET", "not set; without it anybody could send webhooks (App settings > Webhook secret)"+orSetup)
	}
	if o.RelayURL != "" {
		if err := relay.CheckChannel(o.RelayURL); err != nil {
			fault("DISPATCHAI_RELAY_URL", "%w", err)
		}
	}
	if o.MaxWebhookRequests < 1 {
		fault("MAX_WEBHOOK_REQUESTS", "%d is not at least 1", o.MaxWebhookRequests)
	}
	if o.RateLimitWindowSeconds < 1 {
		fault("RATE_LIMIT_WINDOW_SECONDS", "%d is not at least 1", o.RateLimitWindowSeconds)
	}
	for _, p := range trimmed(o.TrustedProxies) {
		prefix, err := netip.ParsePrefix(p)
		if err != nil {
			addr, aerr := netip.ParseAddr(p)
			if aerr != nil {
				fault("DISPATCHAI_TRUSTED_PROXIES", "%q is neither an address nor a network (10.0.0.0/8)", p)
				continue
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		o.proxies = append(o.proxies, prefix)
	}
}

var pluginName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)

func (o *Options) validatePlugins(fault faultFunc) {
	if !o.has(RoleClassify) {
		return
	}
	seen := make(map[string]bool)
	for _, p := range trimmed(o.Plugins) {
		name, path, external := strings.Cut(p, "=")
		file, attached := strings.CutPrefix(path, ReattachPrefix)
		switch {
		case !pluginName.MatchString(name):
			fault("DISPATCHAI_PLUGINS", "%q is not a plugin's name (lower-case letters, digits, dashes)", name)
		case external && path == "":
			fault("DISPATCHAI_PLUGINS", "%s= names no executable", name)
		case attached && !filepath.IsAbs(file):
			fault("DISPATCHAI_PLUGINS", "%s=%s must be followed by the absolute path of the file that the plugin printed", name, ReattachPrefix)
		case seen[name]:
			fault("DISPATCHAI_PLUGINS", "%s is named twice", name)
		}
		seen[name] = true
		o.plugins = append(o.plugins, o.choose(name, path, fault))
	}
	if len(o.plugins) == 0 {
		fault("DISPATCHAI_PLUGINS", "no plugin is named; the built-in one is called rules")
	}
	if o.PluginTimeout < time.Second {
		fault("DISPATCHAI_PLUGIN_TIMEOUT", "%s is shorter than a second", o.PluginTimeout)
	}
	if o.Challenger != "" {
		switch {
		case !seen[o.Challenger]:
			fault("DISPATCHAI_CHALLENGER", "%q is not among DISPATCHAI_PLUGINS; add it there", o.Challenger)
		case len(o.plugins) == 1:
			fault("DISPATCHAI_CHALLENGER", "%s is the only plugin, so there is none to challenge; add another to DISPATCHAI_PLUGINS", o.Challenger)
		}
	}
	if o.PluginPatience < 100*time.Millisecond {
		fault("DISPATCHAI_PLUGIN_PATIENCE", "%s is shorter than 100ms, in which few classifiers answer", o.PluginPatience)
	}
	if !slices.Contains([]string{ConfineAuto, ConfineRequired, ConfineOff}, o.PluginConfinement) {
		fault("DISPATCHAI_PLUGIN_CONFINEMENT", "%q is not possible; there are auto, required and off", o.PluginConfinement)
	}
	if o.PluginMemoryMB != 0 && (o.PluginMemoryMB < 64 || o.PluginMemoryMB > 1<<20) {
		fault("DISPATCHAI_PLUGIN_MEMORY_MB", "%d MiB is too little for a plugin, or more than a machine has; 0 is no bound", o.PluginMemoryMB)
	}
	budget := func(variable string, amount float64) {
		if !(amount >= 0 && amount <= 1e9) {
			fault(variable, "%g is not an amount of US dollars; give one above 0, or leave it unset for no bound", amount)
		}
	}
	budget("DISPATCHAI_DAILY_BUDGET_USD", o.DailyBudgetUSD)
	budget("DISPATCHAI_REPOSITORY_DAILY_BUDGET_USD", o.RepositoryDailyBudgetUSD)
}

// choose gives the plugin of a name that is run by a source - a path, what to reattach
// by, or nothing for a built-in one - with its settings as they are now.
func (o *Options) choose(name, source string, fault faultFunc) pluginChoice {
	choice := pluginChoice{name: name, source: source, path: source}
	if file, attached := strings.CutPrefix(source, ReattachPrefix); attached {
		choice.path, choice.reattach = "", file
	}
	if o.PluginSettingsDir != "" && pluginName.MatchString(name) {
		file := filepath.Join(o.PluginSettingsDir, name+".json")
		settings, err := os.ReadFile(file)
		switch {
		case err != nil && !errors.Is(err, os.ErrNotExist):
			fault("DISPATCHAI_PLUGIN_SETTINGS_DIR", "%w", err)
		case err == nil && !json.Valid(settings):
			fault("DISPATCHAI_PLUGIN_SETTINGS_DIR", "%s is not JSON", file)
		case err == nil:
			choice.settings = settings
		}
	}
	if name == openAI && source == "" {
		merged, err := o.openAISettings(choice.settings)
		if err != nil {
			fault("OPENAI_API_KEY", "%w", err)
		}
		choice.settings = merged
	}
	if hasManifest(choice.path) {
		spec, err := manifestSpec(choice)
		if err != nil {
			fault("DISPATCHAI_PLUGINS", "%s: %w", name, err)
		}
		choice.manifest, choice.path = &spec, ""
	}
	return choice
}

func (o *Options) validateReconciling(fault faultFunc) {
	if !o.has(RoleClassify) {
		return
	}
	if !slices.Contains(triage.Backfills(), o.BackfillOnInstall) {
		fault("DISPATCHAI_BACKFILL_ON_INSTALL", "%q is not possible; there are none, open and all", o.BackfillOnInstall)
	}
	if o.SweepInterval < time.Second {
		fault("DISPATCHAI_SWEEP_INTERVAL", "%s is shorter than a second", o.SweepInterval)
	}
	if o.ReconcileInterval < time.Minute {
		fault("DISPATCHAI_RECONCILE_INTERVAL", "%s is shorter than a minute", o.ReconcileInterval)
	}
	if o.RedeliveriesPerMinute < 1 {
		fault("DISPATCHAI_REDELIVERIES_PER_MINUTE", "%d is not at least 1", o.RedeliveriesPerMinute)
	}
}

func (o *Options) validateGateway(fault faultFunc) {
	if !o.has(RoleGateway) {
		return
	}
	o.AllowedOrigins = trimmed(o.AllowedOrigins)
	for _, origin := range o.AllowedOrigins {
		// Browsers send scheme, host and port and nothing else, so more never matches.
		if u, err := url.Parse(origin); err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || origin != u.Scheme+"://"+u.Host {
			fault("DISPATCHAI_ALLOWED_ORIGINS", "%q is not an origin (for example https://triage.example.com, without a path)", origin)
		}
	}
}

// Level is the log level; it is known after Validate.
func (o Options) Level() slog.Level { return o.level }

// distinct keeps the first of equal values.
func distinct(values []string) []string {
	var kept []string
	for _, v := range values {
		if !slices.Contains(kept, v) {
			kept = append(kept, v)
		}
	}
	return kept
}

func trimmed(values []string) []string {
	var kept []string
	for _, v := range values {
		if v = strings.TrimSpace(v); v != "" {
			kept = append(kept, v)
		}
	}
	return kept
}
