package setup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// webhookPath is where the service takes webhooks.
const webhookPath = "/webhook/github"

// Config says which App to register and where to keep it. Zero values stand for
// the defaults named with each field.
type Config struct {
	DataDir string
	// GitHubURL is GitHub's web site, https://github.com when empty, or an
	// Enterprise Server's.
	GitHubURL string
	// Org is the organisation to register the App for; "" is the person who is
	// signed in at GitHub.
	Org string
	// Name is the App's; by default one that is likely to be free.
	Name string
	// WebhookURL is how GitHub reaches the service; without a path, /webhook/github
	// is added. RelayURL is a webhook relay's channel instead of it.
	WebhookURL, RelayURL string
	// Public lets other accounts than the owner's install the App.
	Public bool
	// Strict leaves out the permission to read repositories' contents.
	Strict bool
	// Checks adds the permission to write check runs.
	Checks bool
	// Move takes up an App that is set up already, to have its deliveries sent to
	// another WebhookURL or RelayURL.
	Move bool
	// Force registers another App although the data directory holds one already,
	// which is kept beside it.
	Force bool

	// Listen is the address of the page, on this machine; a free port by default.
	Listen string
	// WebhookListen is where the service will listen. Until it does, setup
	// itself takes the first delivery there.
	WebhookListen string
	// Forward brings what comes through the relay to target until ctx ends, and
	// chooses by verify among what a delivery's body may have been. It is needed
	// with RelayURL.
	Forward func(ctx context.Context, channel, target string, verify func(body []byte, signature string) error) error

	// CreateTimeout bounds the wait for the App; default an hour, GitHub's own
	// bound. CheckTimeout bounds the wait for a delivery; default 5 minutes.
	CreateTimeout, CheckTimeout time.Duration
	// OpenBrowser shows the page to whoever runs setup; nil leaves that to them.
	OpenBrowser func(url string) error
	// Report is told how it goes, from one goroutine.
	Report    func(Progress)
	UserAgent string
	Logger    *slog.Logger
}

// Progress is one piece of news.
type Progress struct {
	// Event is "page" (URL is the page to open), "created", "checking",
	// "trouble" (Text says what is wrong; setup goes on trying), "verified" or
	// "done" (URL is where to install the App).
	Event string `json:"event"`
	Text  string `json:"text"`
	URL   string `json:"url,omitempty"`
}

var orgName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$`)

// complete fills defaults in and reports all faults at once, each by its flag.
// With an App that exists already, where deliveries go may be left as it is.
func (c *Config) complete(existing *Credentials) error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.GitHubURL == "" && existing != nil {
		c.GitHubURL = existing.GitHubURL
	}
	if c.GitHubURL == "" {
		c.GitHubURL = "https://github.com"
	}
	web, err := url.Parse(strings.TrimRight(c.GitHubURL, "/"))
	switch {
	case err != nil || web.Host == "" || web.Scheme != "https" && web.Scheme != "http" || web.User != nil || web.Path != "" || web.RawQuery != "" || web.Fragment != "":
		fault("--github-url: %q is not GitHub's web site (https://github.com, or https://HOST of an Enterprise Server)", c.GitHubURL)
		web = &url.URL{Scheme: "https", Host: "github.com"}
	case web.Scheme == "http" && !loopback(web.Hostname()):
		fault("--github-url: over http the App's private key would travel in the clear; give its https address")
	}
	c.GitHubURL = web.String()
	if c.Org != "" && !orgName.MatchString(c.Org) {
		fault("--org: %q is not an organisation's name (as in %s/NAME)", c.Org, c.GitHubURL)
	}
	if c.Name == "" {
		c.Name = defaultName(c.Org)
	} else if len(c.Name) > longestName {
		fault("--name: %q is longer than the %d characters that GitHub allows", c.Name, longestName)
	}
	if c.DataDir == "" {
		fault("--data-dir: no directory is given")
	} else if err := writable(c.DataDir); err != nil {
		fault("--data-dir: the App's secrets could not be kept in %s: %w", c.DataDir, err)
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	if host, _, err := net.SplitHostPort(c.Listen); err != nil || !loopback(host) {
		fault("--listen: %q is not an address of this machine alone (127.0.0.1:PORT): whoever sees the page could register an App of their own for you; "+
			"from elsewhere, forward the port with ssh -L", c.Listen)
	}
	c.completeDeliveries(existing, web, fault)
	if c.CreateTimeout <= 0 {
		c.CreateTimeout = time.Hour
	}
	if c.CheckTimeout <= 0 {
		c.CheckTimeout = 5 * time.Minute
	}
	if c.Report == nil {
		c.Report = func(Progress) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return errors.Join(faults...)
}

func (c *Config) completeDeliveries(existing *Credentials, web *url.URL, fault func(string, ...any)) {
	switch {
	case c.WebhookURL != "" && c.RelayURL != "":
		fault("--webhook-url, --relay: give one of them: deliveries come to a public address, or through a relay")
	case c.RelayURL != "" && c.Forward == nil:
		fault("--relay: this build knows no relay")
	case c.RelayURL != "":
	case c.WebhookURL == "" && existing != nil:
	case c.WebhookURL == "":
		fault("--webhook-url: not given; it is how GitHub reaches this machine, for example https://triage.example.com/webhook/github. " +
			"Without a public address, use --relay (see docs/install.md)")
	default:
		u, err := url.Parse(c.WebhookURL)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.Fragment != "":
			fault("--webhook-url: %q is not an https URL", c.WebhookURL)
			return
		case loopback(u.Hostname()) && !loopback(web.Hostname()):
			fault("--webhook-url: GitHub does not reach %s, which is this machine's name for itself; give its public address, or use --relay", u.Host)
		case u.Scheme == "http" && !loopback(u.Hostname()):
			fault("--webhook-url: over http everybody on the way reads the issues of private repositories; give an https address")
		}
		if strings.Trim(u.Path, "/") == "" {
			u.Path = webhookPath
		}
		c.WebhookURL = u.String()
	}
	if _, _, err := net.SplitHostPort(c.WebhookListen); c.RelayURL == "" && err != nil {
		fault("DISPATCHAI_LISTEN: %q is not host:port (for example 127.0.0.1:8080)", c.WebhookListen)
	}
}

// hookURL is where GitHub sends deliveries.
func (c Config) hookURL() string {
	if c.RelayURL != "" {
		return c.RelayURL
	}
	return c.WebhookURL
}

// apiURL is the API that belongs to GitHub's web site.
func (c Config) apiURL() string {
	u, err := url.Parse(c.GitHubURL)
	if err != nil {
		return ""
	}
	host := strings.ToLower(u.Host)
	switch {
	case host == "github.com" || host == "www.github.com":
		return "https://api.github.com"
	case strings.HasSuffix(host, ".ghe.com"): // Enterprise Cloud with data residency
		return "https://api." + host
	}
	return u.Scheme + "://" + u.Host + "/api/v3"
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
