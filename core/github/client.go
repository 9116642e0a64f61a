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
	"maps"
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
	// MaxTokens bounds the tokens kept, one for each repository and what is done
	// there; default 8192.
	MaxTokens int
	// Now is the clock that budgets go by; default time.Now.
	Now func() time.Time
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
//
// Every request passes the budget of its installation. One that would exceed it
// does not go out: the call fails at once with ErrRateLimited and says in
// RetryAfter when it may. While GitHub's API as a whole is down, calls fail at
// once with ErrUnavailable, but for one from time to time. Calls are live unless
// made under Background's context.
type Client struct {
	app       *installation // calls as the App itself
	asApp     http.RoundTripper
	cache     *installations
	tokens    *tokens
	outage    *outage
	wire      http.RoundTripper
	timeout   time.Duration
	appID     int64
	apiURL    string
	base      *url.URL
	userAgent string
	slug      atomic.Pointer[string]
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
	if cfg.MaxTokens <= 0 {
		cfg.MaxTokens = 8192
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Transport == nil {
		cfg.Transport = newHTTPTransport()
	}

	c := &Client{
		cache: newInstallations(cfg.MaxInstallations), outage: &outage{now: cfg.Now, logger: logger},
		timeout: cfg.Timeout, appID: cfg.AppID, apiURL: base.String(), base: base, userAgent: cfg.UserAgent,
	}
	metrics, err := newMetrics(cfg.Registerer, c)
	if err != nil {
		return nil, err
	}
	c.wire = &transport{base: cfg.Transport, timeout: cfg.Timeout, prefix: strings.TrimSuffix(base.Path, "/"), agent: cfg.UserAgent, metrics: metrics, logger: logger}
	limited := alwaysLimited(base.Hostname())
	newInstallation := func(id int64, places int) *installation {
		return &installation{
			id: id, slots: make(chan struct{}, places), backgroundSlots: make(chan struct{}, max(1, places/2)),
			budget: newBudget(id, cfg.Now, limited, metrics, logger),
		}
	}
	c.app = newInstallation(0, appCalls)
	c.cache.make = func(id int64) *installation { return newInstallation(id, cfg.PerInstallation) }

	sign := &signer{next: ghinstallation.NewRSASigner(jwt.SigningMethodRS256, key)}
	root := strings.TrimSuffix(c.apiURL, "/")
	// Each token has an AppsTransport of its own because ghinstallation writes to
	// it without a lock whenever it fetches a token.
	asApp := func(id int64) (*ghinstallation.AppsTransport, error) {
		t, err := ghinstallation.NewAppsTransportWithOptions(&gate{c, id}, cfg.AppID, ghinstallation.WithSigner(sign))
		if err == nil {
			t.BaseURL = root
		}
		return t, err
	}
	if c.asApp, err = asApp(0); err != nil {
		return nil, fmt.Errorf("github: %w", err)
	}
	c.tokens, err = newTokens(cfg.MaxTokens, func(id int64) *ghinstallation.AppsTransport {
		t, _ := asApp(id) // cannot fail: the App's own went the same way
		return t
	})
	if err != nil {
		return nil, fmt.Errorf("github: %w", err)
	}
	return c, nil
}

// appCalls bounds the calls at once as the App itself, the fetching of tokens included.
const appCalls = 32

// alwaysLimited tells the hosts of github.com and of Enterprise Cloud with data
// residency, which have limits even where an answer does not show them.
func alwaysLimited(host string) bool {
	host = strings.ToLower(host)
	return host == "api.github.com" || strings.HasSuffix(host, ".ghe.com")
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
		return i.budget.known()
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
	return c.send(ctx, operation, installationID, method, path, nil, body, into)
}

// send is call with headers of the request's own.
func (c *Client) send(ctx context.Context, operation string, installationID int64, method, path string, header http.Header, body, into any) (*gh.Response, error) {
	if installationID < 0 {
		return nil, invalid(operation, installationID, "the installation's ID is negative")
	}
	ctx, cancel := context.WithTimeout(ctx, 3*c.timeout)
	defer cancel()
	as := c.app
	if installationID != 0 {
		as = c.cache.get(installationID)
	}
	key, name := tokenFor(ctx, installationID, path)
	for attempt := 1; ; attempt++ {
		if key.scope == scopeContents && as.singleFile.Load() {
			key.scope = scopeSingleFile
		}
		through := c.asApp
		var token *ghinstallation.Transport
		if installationID != 0 {
			token = c.tokens.transport(key, name)
			through = token
		}
		answer, err := c.do(ctx, as, through, method, path, header, body, into)
		if err == nil {
			return answer, nil
		}
		e := explain(ctx, operation, installationID, err)
		c.learn(as, e)
		var direct *gh.ErrorResponse
		switch {
		case installationID == 0 || attempt > 1:
			return answer, e
		case errors.As(err, &direct) && errors.Is(e.Kind, ErrUnauthorized):
			c.tokens.drop(key, token)
		case e.forToken && errors.Is(e.Kind, ErrForbidden) && (key.scope == scopeContents || key.scope == scopeSingleFile):
			// The App may read contents, or only the files named in its settings; the latter is the exception.
			as.singleFile.Store(key.scope == scopeContents)
			key.scope = scopeContents
		default:
			return answer, e
		}
	}
}

// learn draws the consequences of a failed call for those that follow.
func (c *Client) learn(as *installation, e *Error) {
	switch {
	case errors.Is(e.Kind, ErrRateLimited) && e.Status != 0:
		if e.forToken {
			as = c.app
		}
		as.budget.block(e)
	case errors.Is(e.Kind, ErrUnavailable):
		e.Outage = c.outage.down()
	}
}

func (c *Client) do(ctx context.Context, as *installation, through http.RoundTripper, method, path string, header http.Header, body, into any) (*gh.Response, error) {
	release, err := as.acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("wait for the installation's other calls: %w", err)
	}
	defer release()
	// Each call has a client of its own: go-github keeps what it knows of the
	// limits in it and would judge by this machine's clock, beside the budget.
	api := newAPI(through, c.base, c.userAgent)
	req, err := api.NewRequest(method, path, body)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, header)
	return api.Do(ctx, req, into)
}

func newAPI(through http.RoundTripper, base *url.URL, userAgent string) *gh.Client {
	api := gh.NewClient(&http.Client{Transport: through, CheckRedirect: sameOrigin})
	api.BaseURL, api.UserAgent = base, userAgent
	return api
}

// gate is what every request passes on its way out: those with a token pay from
// their installation's budget, those for a token from the App's.
type gate struct {
	c            *Client
	installation int64
}

func (g *gate) RoundTrip(req *http.Request) (*http.Response, error) {
	refuse := func(err error) (*http.Response, error) {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	ctx, as := req.Context(), g.c.app
	switch {
	case isTokenRequest(req):
		release, err := as.acquire(ctx)
		if err != nil {
			return refuse(fmt.Errorf("wait for the App's other calls: %w", err))
		}
		defer release()
	case g.installation != 0:
		as = g.c.cache.get(g.installation)
	}
	probe, held := g.c.outage.admit()
	if held != nil {
		as.budget.metrics.heldBack(held.reason, isBackground(ctx))
		return refuse(held)
	}
	landed, held := as.budget.admit(isBackground(ctx), costOf(req.Method, req.URL.Path))
	if held != nil {
		return refuse(held)
	}
	answer, err := g.c.wire.RoundTrip(req)
	landed(answer)
	if ctx.Err() == nil { // a caller that gave up tells nothing of GitHub
		g.c.outage.answered(probe, answer, err)
	}
	return answer, err
}

func invalid(operation string, installationID int64, why string) *Error {
	return &Error{Kind: ErrInvalid, Operation: operation, InstallationID: installationID, cause: errors.New(why)}
}
