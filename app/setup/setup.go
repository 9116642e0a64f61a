// Package setup registers DispatchAI's GitHub App: GitHub's App Manifest flow
// from a page on this machine, for github.com, an organisation or an Enterprise
// Server. It keeps the App's secrets in the data directory and ends when a real
// delivery from GitHub was seen to arrive.
//
// The page is served on a loopback address and to requests that name it, so that
// neither the network nor another web site reaches it. GitHub sends the browser
// back with a code; the random state that the page gave along says that it was
// this page that asked, is compared in constant time and is good once.
//
// The first delivery, a ping, is sent the moment the App comes to be, when nobody
// here can know the secret that it is signed with. It fails, and GitHub is asked
// for it again once the secret is kept.
package setup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/dispatchai/dispatchai/core/github"
)

// ErrSetUp is returned when the data directory holds an App whose setup is done.
var ErrSetUp = errors.New("set up already")

// Setup is one run of the flow.
type Setup struct {
	cfg      Config
	existing *Credentials // an App whose check was not finished; nil to register one
	state    *state
	codes    chan string
}

// New checks the configuration and the data directory, and refuses before
// anything happens: all faults at once, or ErrSetUp for an App that is set up
// already. One that was registered, but whose delivery check was not finished,
// is taken up from there.
func New(cfg Config) (*Setup, error) {
	s := &Setup{cfg: cfg, codes: make(chan string, 1)}
	if !cfg.Force && cfg.DataDir != "" {
		existing, err := Load(cfg.DataDir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		case !existing.VerifiedAt.IsZero() && !cfg.Move:
			return nil, fmt.Errorf("%w: %s holds the App %s (%d) of %s, to be installed at %s; check it with `dispatchai doctor`. "+
				"--move sends its deliveries to another --webhook-url or --relay; --force registers another App and keeps this one beside it", ErrSetUp, filepath.Join(cfg.DataDir, FileName), existing.Slug, existing.AppID, existing.Owner, existing.InstallURL())
		default:
			s.existing = &existing
		}
	}
	if err := s.cfg.complete(s.existing); err != nil {
		return nil, err
	}
	return s, nil
}

// Result is what came of a setup.
type Result struct {
	Credentials
	// Path is the file that keeps them, in DataDir.
	Path, DataDir string
}

// Run serves the page, waits for the App, keeps its secrets and waits for a
// delivery. It returns when all that is done, when a bound of time is reached,
// or with ctx. With an error the App may exist and be kept: running setup again
// goes on from there.
func (s *Setup) Run(ctx context.Context) (result Result, err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil {
		return Result{}, fmt.Errorf("--listen: %w (choose another address, or leave it out for a free port)", err)
	}
	origin := "http://" + listener.Addr().String()
	m, err := newManifest(s.cfg, origin+"/created")
	if err != nil {
		return Result{}, errors.Join(err, listener.Close())
	}
	s.state = newState(s.cfg, m)
	if s.existing != nil {
		s.state.created(*s.existing)
	}
	page := serve(listener, s.pageHandler(listener.Addr().String()), s.cfg.Logger)
	defer func() { err = errors.Join(err, page.stop()) }()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	receiver, err := s.receive(ctx)
	if err != nil {
		return Result{}, err
	}
	defer func() { cancel(); err = errors.Join(err, receiver.stop()) }()

	s.report("page", "Open this page to create the App.", origin+"/")
	if s.cfg.OpenBrowser != nil {
		if err := s.cfg.OpenBrowser(origin + "/"); err != nil {
			s.cfg.Logger.Debug("no browser was opened", "error", err)
		}
	}
	app, err := s.app(ctx, receiver)
	if err != nil {
		return Result{}, err
	}
	result = Result{Credentials: app, Path: filepath.Join(s.cfg.DataDir, FileName), DataDir: s.cfg.DataDir}
	if err := s.check(ctx, &result.Credentials, receiver); err != nil {
		return result, err
	}
	result.VerifiedAt = time.Now().UTC().Truncate(time.Second)
	if err := result.store(s.cfg.DataDir); err != nil {
		return result, fmt.Errorf("the delivery check passed, but could not be noted in %s: %w", result.Path, err)
	}
	s.report("verified", "A signed delivery from GitHub arrived.", "")
	s.state.finish(result.Credentials)
	s.report("done", "Install the App on your repositories.", result.InstallURL())
	s.state.awaitReader(ctx)
	return result, nil
}

func (s *Setup) report(event, text, url string) {
	s.cfg.Report(Progress{Event: event, Text: text, URL: url})
}

// app returns the App to check: the one that is there already, or the one that
// whoever reads the page creates. Its secrets are kept when it returns.
func (s *Setup) app(ctx context.Context, r *receiver) (Credentials, error) {
	if s.existing != nil {
		c := *s.existing
		if err := r.learn(c.WebhookSecret); err != nil {
			return c, err
		}
		s.report("created", fmt.Sprintf("Goes on with the App %s (%d), which was created before.", c.Slug, c.AppID), c.URL)
		return c, s.redirectDeliveries(ctx, &c)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.CreateTimeout,
		fmt.Errorf("no App was created within %s; run `dispatchai setup` again when you are ready", s.cfg.CreateTimeout))
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return Credentials{}, context.Cause(ctx)
		case code := <-s.codes:
			app, err := s.convert(ctx, code)
			if err != nil {
				if ctx.Err() != nil {
					return Credentials{}, context.Cause(ctx)
				}
				s.startOver(err)
				continue
			}
			return s.keep(app, r)
		}
	}
}

// convert exchanges the code, patiently as long as GitHub cannot be reached: it
// is good once, and what it is good for exists already.
func (s *Setup) convert(ctx context.Context, code string) (github.NewApp, error) {
	return backoff.Retry(ctx, func() (github.NewApp, error) {
		app, err := github.ConvertManifest(ctx, s.cfg.apiURL(), code, s.cfg.UserAgent)
		if _, temporary := github.RetryAfter(err); err != nil && !temporary {
			err = backoff.Permanent(err)
		}
		return app, err
	}, backoff.WithBackOff(backoff.NewExponentialBackOff()), backoff.WithMaxElapsedTime(30*time.Second))
}

// startOver tells what went wrong and offers the form again, with a new state
// and a new name, because the App of the old name may exist.
func (s *Setup) startOver(err error) {
	why := err.Error()
	if errors.Is(err, github.ErrNotFound) {
		why = "GitHub does not know this code: it was used before, or is older than an hour. "
	}
	why += " If an App was created, delete it under Settings > Developer settings > GitHub Apps: its key is lost. Then create another one below."
	s.state.again(why, defaultName(""))
	s.report("trouble", why, "")
}

// keep stores the App before anything else happens to it.
func (s *Setup) keep(app github.NewApp, r *receiver) (Credentials, error) {
	c := Credentials{
		AppID: app.ID, Slug: app.Slug, Name: app.Name, Owner: app.Owner, Org: s.cfg.Org, URL: app.URL, ClientID: app.ClientID, ClientSecret: app.ClientSecret,
		WebhookSecret: app.WebhookSecret, PrivateKey: string(app.PrivateKey), GitHubURL: s.cfg.GitHubURL, APIURL: s.cfg.apiURL(),
		WebhookURL: s.cfg.WebhookURL, RelayURL: s.cfg.RelayURL, StrictContents: s.cfg.Strict, CreatedAt: time.Now().UTC().Truncate(time.Second),
	}
	if err := c.store(s.cfg.DataDir); err != nil {
		return c, fmt.Errorf("the App %s was created, but its secrets could not be kept in %s: %w; delete it at %s and run `dispatchai setup` again", c.Slug, s.cfg.DataDir, err, c.PermissionsURL())
	}
	if err := r.learn(c.WebhookSecret); err != nil {
		return c, err
	}
	s.state.created(c)
	s.report("created", fmt.Sprintf("Created the App %s (%d); its secrets are in %s.", c.Slug, c.AppID, filepath.Join(s.cfg.DataDir, FileName)), c.URL)
	return c, nil
}

// redirectDeliveries has GitHub send deliveries to where this run was told,
// when that is not where the App was registered for.
func (s *Setup) redirectDeliveries(ctx context.Context, c *Credentials) error {
	if s.cfg.hookURL() == "" || s.cfg.WebhookURL == c.WebhookURL && s.cfg.RelayURL == c.RelayURL {
		return nil
	}
	client, err := s.client(*c)
	if err != nil {
		return err
	}
	if err := client.SetWebhookURL(ctx, s.cfg.hookURL()); err != nil {
		return fmt.Errorf("GitHub would not send deliveries to %s: %w", s.cfg.hookURL(), err)
	}
	c.WebhookURL, c.RelayURL = s.cfg.WebhookURL, s.cfg.RelayURL
	return c.store(s.cfg.DataDir)
}

func (s *Setup) client(c Credentials) (*github.Client, error) {
	return github.NewClient(github.ClientConfig{AppID: c.AppID, PrivateKey: []byte(c.PrivateKey), APIURL: c.APIURL, UserAgent: s.cfg.UserAgent, Logger: s.cfg.Logger})
}

// served is an HTTP server with the goroutine that runs it.
type served struct {
	server *http.Server
	done   chan struct{}
}

func serve(listener net.Listener, handler http.Handler, logger *slog.Logger) *served {
	s := &served{done: make(chan struct{}), server: &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}}
	go func() {
		defer close(s.done)
		_ = s.server.Serve(listener) // it ends with stop alone
	}()
	return s
}

// stop waits for requests under way, briefly.
func (s *served) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := s.server.Shutdown(ctx); err != nil {
		_ = s.server.Close() // a browser that holds on to its connection is cut off
	}
	<-s.done
	return nil
}
