// Package github is everything that speaks to GitHub: it verifies and parses
// webhook deliveries (Verifier, Key, ParseWebhook), and calls the REST API as a
// GitHub App (Client). Its types are DispatchAI's own; nothing of the libraries
// underneath shows.
package github

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/golang-jwt/jwt/v4"
	gh "github.com/google/go-github/v62/github"
	"github.com/prometheus/client_golang/prometheus"
)

// ClientConfig says who the App is and how hard to press GitHub. Zero values
// stand for the defaults named with each field.
type ClientConfig struct {
	// AppID is the number GitHub shows in the App's settings (GITHUB_APP_ID).
	AppID int64
	// PrivateKey is the App's key; see ParsePrivateKey.
	PrivateKey []byte
	// APIURL is the API's root (GITHUB_API_URL); see ParseAPIURL.
	APIURL string
	// UserAgent is sent with every request, as GitHub demands. Default "DispatchAI".
	UserAgent string
	// Timeout bounds each HTTP exchange; default 20 s. A method's call takes at
	// most three times as long, waiting for a slot and fetching a token included
	// (per page, where there are pages).
	Timeout time.Duration
	// PerInstallation bounds the calls at once of one installation; default 8.
	PerInstallation int
	// MaxInstallations bounds the installations kept in memory; default 4096.
	MaxInstallations int
	// Transport replaces the HTTP transport, for proxies of a special kind.
	Transport  http.RoundTripper
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Client calls GitHub's REST API as the App and as its installations. It is
// safe for concurrent use, keeps tokens until they near their end, and never
// shows them or the key in an error, a log or a metric. It does not retry by
// itself, except once with a new token when GitHub refuses a kept one: retrying
// is the business of who can park the work.
type Client struct {
	app     *installation // calls as the App itself
	cache   *installations
	timeout time.Duration
	appID   int64
	apiURL  string
	slug    atomic.Pointer[string]
}

// NewClient checks the configuration, all of it at once, and makes no call.
func NewClient(cfg ClientConfig) (*Client, error) {
	var faults []error
	if cfg.AppID <= 0 {
		faults = append(faults, errors.New("no GitHub App ID: set GITHUB_APP_ID to the number in the App's settings under \"About\""))
	}
	key, err := ParsePrivateKey(cfg.PrivateKey)
	if err != nil {
		faults = append(faults, err)
	}
	base, err := ParseAPIURL(cfg.APIURL)
	if err != nil {
		faults = append(faults, err)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	logger := cfg.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if base.Scheme == "http" && !loopback(base.Hostname()) {
		logger.Warn("GITHUB_API_URL is not https: installation tokens travel in the clear", "url", base.String())
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "DispatchAI"
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 20 * time.Second
	}
	if cfg.PerInstallation <= 0 {
		cfg.PerInstallation = 8
	}
	if cfg.MaxInstallations <= 0 {
		cfg.MaxInstallations = 4096
	}
	if cfg.Transport == nil {
		cfg.Transport = newHTTPTransport()
	}

	c := &Client{cache: newInstallations(cfg.MaxInstallations), timeout: cfg.Timeout, appID: cfg.AppID, apiURL: base.String()}
	metrics, err := newMetrics(cfg.Registerer, c.cache)
	if err != nil {
		return nil, err
	}
	wire := &transport{base: cfg.Transport, timeout: cfg.Timeout, prefix: strings.TrimSuffix(base.Path, "/"), agent: cfg.UserAgent, metrics: metrics, logger: logger}
	sign := &signer{next: ghinstallation.NewRSASigner(jwt.SigningMethodRS256, key)}
	root := strings.TrimSuffix(c.apiURL, "/")
	// Each installation has an AppsTransport of its own because ghinstallation
	// writes to it without a lock whenever it fetches a token.
	asApp := func() (*ghinstallation.AppsTransport, error) {
		t, err := ghinstallation.NewAppsTransportWithOptions(wire, cfg.AppID, ghinstallation.WithSigner(sign))
		if err == nil {
			t.BaseURL = root
		}
		return t, err
	}
	newInstallation := func(id int64, rt http.RoundTripper) (*installation, error) {
		api, err := newAPI(rt, c.apiURL, cfg.UserAgent)
		return &installation{id: id, api: api, slots: make(chan struct{}, cfg.PerInstallation)}, err
	}
	appTransport, err := asApp()
	if err != nil {
		return nil, fmt.Errorf("github: %w", err)
	}
	if c.app, err = newInstallation(0, appTransport); err != nil {
		return nil, fmt.Errorf("github: %w", err)
	}
	c.cache.make = func(id int64) *installation {
		// Neither can fail: the App's own went through the same a few lines above.
		t, _ := asApp()
		tokens := ghinstallation.NewFromAppsTransport(t, id)
		tokens.InstallationTokenOptions = &gh.InstallationTokenOptions{} // without it the request's body would be null, which GitHub does not describe
		i, _ := newInstallation(id, tokens)
		return i
	}
	return c, nil
}

// ParseAPIURL reads GITHUB_API_URL; "" is https://api.github.com. A path is
// kept. Where there is none, "/api/v3" is added for GitHub Enterprise Server,
// that is for https unless the host begins with "api." (github.com, and
// Enterprise Cloud with data residency) or is this machine. The result's path
// ends in a slash.
func ParseAPIURL(text string) (*url.URL, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		text = "https://api.github.com"
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, errors.New("GITHUB_API_URL is not a URL: it must look like https://api.github.com or https://github.example.com/api/v3")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("GITHUB_API_URL has a user name, a query or a fragment: give only scheme, host and path")
	}
	host := strings.ToLower(u.Hostname())
	if host == "github.com" || host == "www.github.com" {
		return nil, errors.New("GITHUB_API_URL names GitHub's web site: the API of github.com is https://api.github.com, which is also the default")
	}
	u.Path = strings.TrimRight(u.Path, "/")
	if u.Path == "" && u.Scheme == "https" && !strings.HasPrefix(host, "api.") && !loopback(host) {
		u.Path = "/api/v3"
	}
	u.Path, u.RawPath = u.Path+"/", ""
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Rate returns the installation's hourly budget as of its last answer; false
// when none is known.
func (c *Client) Rate(installationID int64) (Rate, bool) {
	if i := c.cache.find(installationID); i != nil {
		return i.budget()
	}
	return Rate{}, false
}

// String names the App and the API, and hides everything else.
func (c *Client) String() string { return fmt.Sprintf("GitHub App %d at %s", c.appID, c.apiURL) }

// GoString hides the key from %#v too.
func (c *Client) GoString() string { return c.String() }

// LogValue hides the key from structured logs.
func (c *Client) LogValue() slog.Value { return slog.StringValue(c.String()) }

// call makes one call as the installation, as the App itself when that is 0.
// The answer is decoded into into, unless it is nil.
func (c *Client) call(ctx context.Context, operation string, installationID int64, method, path string, body, into any) (*gh.Response, error) {
	if installationID < 0 {
		return nil, invalid(operation, installationID, "the installation's ID is negative")
	}
	ctx, cancel := context.WithTimeout(ctx, 3*c.timeout)
	defer cancel()
	for attempt := 1; ; attempt++ {
		as := c.app
		if installationID != 0 {
			as = c.cache.get(installationID)
		}
		answer, err := as.do(ctx, method, path, body, into)
		if err == nil {
			return answer, nil
		}
		e := explain(ctx, operation, installationID, err)
		var direct *gh.ErrorResponse
		if installationID == 0 || attempt > 1 || !errors.As(err, &direct) || !errors.Is(e.Kind, ErrUnauthorized) {
			return answer, e
		}
		c.cache.drop(as)
	}
}

func (i *installation) do(ctx context.Context, method, path string, body, into any) (*gh.Response, error) {
	if err := i.acquire(ctx); err != nil {
		return nil, fmt.Errorf("wait for the installation's other calls: %w", err)
	}
	defer i.release()
	req, err := i.api.NewRequest(method, path, body)
	if err != nil {
		return nil, err
	}
	answer, err := i.api.Do(ctx, req, into)
	i.note(answer)
	return answer, err
}

func invalid(operation string, installationID int64, why string) *Error {
	return &Error{Kind: ErrInvalid, Operation: operation, InstallationID: installationID, cause: errors.New(why)}
}
