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
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

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
	Ledger(ctx context.Context, keys []triage.IssueKey) (map[triage.IssueKey][]triage.LedgerEntry, error)
}

// Config is what a Gateway is made of.
type Config struct {
	Store     storage
	Publisher publisher
	Log       eventlog.Config // tailed for live results
	// Dashboard is the built front end; nil serves the API alone.
	Dashboard fs.FS
	// Token opens the API to who bears it. Without one the API is closed,
	// unless Open, which only the demo sets.
	Token string
	Open  bool
	// Origins are further origins that a browser may connect from; the
	// gateway's own is always allowed.
	Origins []string
	Version string
	// ReadBack is how many records of each partition are read back at start,
	// so that a reconnecting page misses nothing (default 500).
	ReadBack int
	// CorrectionWait bounds how long a correction's request waits for its
	// result (default 5 s).
	CorrectionWait time.Duration
	Logger         *slog.Logger
	Registerer     prometheus.Registerer
	Now            func() time.Time
}

// Gateway serves the API and the dashboard.
type Gateway struct {
	Config
	hub     *hub
	results *results
	auth    authenticator
	metrics metrics
	handler http.Handler
}

// New checks the configuration and returns a Gateway; Run must run for live
// results.
func New(cfg Config) (*Gateway, error) {
	if cfg.Open && cfg.Token != "" {
		return nil, errors.New("gateway: an API token is set for an open gateway; leave one of them out")
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
	g := &Gateway{Config: cfg, results: newResults(), auth: newAuthenticator(cfg.Token, cfg.Open, cfg.Origins), metrics: newMetrics(cfg.Registerer)}
	g.hub = newHub(cfg.Logger, g.metrics)
	g.handler = g.routes()
	return g, nil
}

// ServeHTTP answers every path that the gateway owns.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.handler.ServeHTTP(w, r) }

// Run tails the log until ctx ends.
func (g *Gateway) Run(ctx context.Context) error {
	return eventlog.Tail(ctx, g.Log, eventlog.TailConfig{
		Topics:  []string{eventlog.TopicIssuesRaw, eventlog.TopicIssuesEnriched},
		From:    eventlog.Start{LastRecords: int64(g.ReadBack)},
		Handler: g.observe,
		Logger:  g.Logger,
	})
}

// Disconnect ends every live connection and takes no more; the server calls it
// before it waits for requests to end.
func (g *Gateway) Disconnect() { g.hub.close() }

func (g *Gateway) observe(records []*eventlog.Record, _ eventlog.Cursor) {
	g.hub.publish(records)
	for _, r := range records {
		if r.Topic == eventlog.TopicIssuesEnriched {
			g.results.arrived(r.Header(eventlog.HeaderDelivery))
		}
	}
}

func (g *Gateway) routes() http.Handler {
	api := http.NewServeMux()
	api.HandleFunc("GET /api/issues", g.listIssues)
	api.HandleFunc("GET /api/issues/{id}", g.getIssue)
	api.HandleFunc("POST /api/issues/{id}/correct", g.correctIssue)
	api.HandleFunc("POST /api/issues/{id}/classify", g.reclassifyIssue)
	api.HandleFunc("GET /api/repositories", g.listRepositories)
	api.HandleFunc("GET /api/stats", g.getStats)
	api.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, problem{Status: http.StatusNotFound, Detail: "There is nothing at " + r.Method + " " + r.URL.Path + "; the API is described at /api/openapi.json."})
	})

	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/session", g.getSession)
	mux.HandleFunc("GET /api/openapi.json", serveOpenAPI)
	mux.Handle("/api/", g.auth.require(api))
	mux.HandleFunc("GET /ws", g.stream)
	if g.Dashboard != nil {
		mux.Handle("/", dashboard(g.Dashboard))
	}
	return secure(mux)
}
