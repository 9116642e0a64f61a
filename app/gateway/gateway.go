// Package gateway is what people and their programs talk to: the REST API, the
// WebSocket stream of live results, and the dashboard itself.
//
// It owns no results. On demand it reads the store; live it tails the log, so
// that any number of gateways show the same. What people ask for goes into the
// log as an event of its own and comes back as a result.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"github.com/klauspost/compress/gzhttp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dispatchai/dispatchai/core/control"
	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// publisher appends to the log and returns when the records are durable.
type publisher interface {
	Append(ctx context.Context, records ...eventlog.Record) error
}

// storage is what the gateway reads.
type storage interface {
	store.Reader
	LoadRepositories(ctx context.Context, ids []int64) (map[int64]store.RepositoryState, error)
	LoadConfigurationReport(ctx context.Context, repositoryID int64) (store.ConfigurationReport, error)
	Ledger(ctx context.Context, keys []triage.IssueKey) (map[triage.IssueKey][]triage.LedgerEntry, error)
	Disagreements(ctx context.Context, repositoryIDs []int64, limit int) ([]store.Disagreement, error)
	ChallengeScores(ctx context.Context, repositoryIDs []int64) ([]store.ChallengeScore, error)
	Gaps(ctx context.Context, since time.Time, repositoryIDs []int64) (store.GapReport, error)
	Suggestions(ctx context.Context, keys []triage.IssueKey) (map[triage.IssueKey][]store.Suggestion, error)
}

// Config is what a Gateway is made of. Store, Publisher and Log are needed.
type Config struct {
	Store     storage
	Publisher publisher
	Log       eventlog.Config // tailed for live results
	// Overview gives what is known of all processes and plugins, or false when
	// it is not known yet; nil is never known.
	Overview func() (control.Overview, bool)
	// Dashboard is the built front end, with index.html at its root; nil serves
	// the API alone.
	Dashboard fs.FS
	// Token opens the API to who bears it. Without one the API is closed,
	// unless Open, which only the demo sets: then it is open to requests that
	// name this machine by a loopback address.
	Token string
	Open  bool
	// Origins are further origins, such as https://triage.example, under which
	// the dashboard is reached through a proxy that does not pass the Host
	// header on. The gateway's own origin is always allowed.
	Origins []string
	Version string
	// ReadBack is how many records of each partition are read back at start,
	// so that a reconnecting page misses nothing (default 500).
	ReadBack int
	// CorrectionWait bounds how long a correction's request waits for its
	// result (default 5 s).
	CorrectionWait time.Duration
	Logger         *slog.Logger          // nil is silent
	Registerer     prometheus.Registerer // nil registers nothing
	Now            func() time.Time
}

// Gateway serves the API and the dashboard.
type Gateway struct {
	config  Config
	hub     *hub
	results *results
	auth    authenticator
	metrics metrics
	handler http.Handler
	// writeWait bounds one write to a live client; see the constant.
	writeWait time.Duration
}

const (
	// requestTimeout bounds one request of the API, beside CorrectionWait.
	requestTimeout = 20 * time.Second
	// restartPause keeps a tail that falls behind again and again from spinning.
	restartPause = time.Second
)

// New checks the configuration and returns a Gateway; Run must run for live
// results.
func New(cfg Config) (*Gateway, error) {
	switch {
	case cfg.Store == nil || cfg.Publisher == nil:
		return nil, errors.New("gateway: Store and Publisher are needed")
	case cfg.Open && cfg.Token != "":
		return nil, errors.New("gateway: an API token is set for an open gateway; leave one of them out")
	case cfg.ReadBack < 0 || cfg.CorrectionWait < 0:
		return nil, errors.New("gateway: ReadBack and CorrectionWait cannot be negative")
	}
	if cfg.ReadBack == 0 {
		cfg.ReadBack = 500
	}
	if cfg.CorrectionWait == 0 {
		cfg.CorrectionWait = 5 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	auth, err := newAuthenticator(cfg.Token, cfg.Open, cfg.Origins)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, fmt.Errorf("gateway: register metrics: %w", err)
	}
	g := &Gateway{config: cfg, results: newResults(), auth: auth, metrics: m, writeWait: writeWait}
	g.hub = newHub(cfg.Logger, m, cfg.Now)
	if g.handler, err = g.routes(); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	return g, nil
}

// ServeHTTP answers every path that the gateway owns.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.handler.ServeHTTP(w, r) }

// Run tails the log until ctx ends. A tail that was so slow that the log was
// trimmed past it starts anew, and every client is told to read the snapshot.
func (g *Gateway) Run(ctx context.Context) error {
	for {
		err := eventlog.Tail(ctx, g.config.Log, eventlog.TailConfig{
			Topics:   liveTopics(),
			From:     eventlog.Start{LastRecords: int64(g.config.ReadBack)},
			Handler:  g.observe,
			CaughtUp: g.hub.goLive,
			Logger:   g.config.Logger,
		})
		if !errors.Is(err, eventlog.ErrCursorExpired) {
			return err
		}
		g.config.Logger.Warn("live results start anew, because the log was trimmed before they were read", "error", err)
		g.hub.reset()
		pause := time.NewTimer(restartPause)
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil
		case <-pause.C:
		}
	}
}

// Disconnect ends every live connection, waits until they are closed, which
// takes at most a few seconds, and takes no more. The server calls it before it
// waits for requests to end.
func (g *Gateway) Disconnect() { g.hub.close() }

func (g *Gateway) observe(records []*eventlog.Record, at eventlog.Cursor) {
	g.hub.publish(records, at)
	for _, r := range records {
		if r.Topic == eventlog.TopicIssuesEnriched {
			g.results.arrived(r.Header(eventlog.HeaderDelivery))
		}
	}
}

func (g *Gateway) routes() (http.Handler, error) {
	compress, err := gzhttp.NewWrapper(gzhttp.MinSize(1<<10), gzhttp.EnableZstd(false))
	if err != nil {
		return nil, err
	}
	public, api, mux := http.NewServeMux(), http.NewServeMux(), http.NewServeMux()
	// Each path answers its method, and any other with the one to use.
	route := func(on *http.ServeMux, method, path string, handler http.HandlerFunc) {
		allow := method
		if method == http.MethodGet {
			allow = "GET, HEAD"
		}
		on.Handle(method+" "+path, g.metrics.measure(method+" "+path, handler))
		on.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", allow)
			writeProblem(w, problem{Status: http.StatusMethodNotAllowed, Detail: r.URL.Path + " answers " + allow + " only."})
		})
	}
	route(api, http.MethodGet, "/api/issues", g.listIssues)
	route(api, http.MethodGet, "/api/issues/{id}", g.getIssue)
	route(api, http.MethodPost, "/api/issues/{id}/correct", g.correctIssue)
	route(api, http.MethodPost, "/api/issues/{id}/classify", g.reclassifyIssue)
	route(api, http.MethodGet, "/api/repositories", g.listRepositories)
	route(api, http.MethodGet, "/api/repositories/{id}/configuration", g.getConfiguration)
	route(api, http.MethodGet, "/api/stats", g.getStats)
	route(api, http.MethodGet, "/api/status", g.getStatus)
	route(api, http.MethodGet, "/api/gaps", g.getGaps)
	route(api, http.MethodGet, "/api/challenges", g.getChallenges)
	api.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, problem{Status: http.StatusNotFound, Detail: "There is nothing at " + r.URL.Path + "; the API is described at /api/openapi.json."})
	})

	route(public, http.MethodGet, "/api/session", g.getSession)
	route(public, http.MethodGet, "/api/openapi.json", serveOpenAPI)
	public.Handle("/api/", g.auth.require(withDeadline(requestTimeout+g.config.CorrectionWait, api)))
	if g.config.Dashboard != nil {
		files, err := newDashboard(g.config.Dashboard)
		if err != nil {
			return nil, err
		}
		public.Handle("/", files)
	}
	// The stream is a connection of its own and is not compressed.
	route(mux, http.MethodGet, "/ws", g.stream)
	mux.Handle("/", compress(public))
	return secure(mux), nil
}

// withDeadline ends what a request waits for.
func withDeadline(after time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), after)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
