// Package label is the worker between issues.enriched and GitHub: each result
// becomes a durable desired-state row per issue, and a scheduler brings the
// issues' labels to it, one installation at a time, within what GitHub allows.
//
// A label is written once: the intent is in the ledger before the call, and
// what a crash left unclear is settled from the issue's own history. What
// people put on or take off is theirs (see triage.PlanLabels).
package label

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/failpoint"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// gitHub is what the worker asks of GitHub.
type gitHub interface {
	AppSlug(ctx context.Context) (string, error)
	RepositoryLabels(ctx context.Context, installationID int64, repository triage.Repository) ([]triage.RepositoryLabel, error)
	IssueLabels(ctx context.Context, installationID int64, repository triage.Repository, number int) ([]string, error)
	AddLabels(ctx context.Context, installationID int64, repository triage.Repository, number int, names []string) ([]string, error)
	RemoveLabel(ctx context.Context, installationID int64, repository triage.Repository, number int, name string) error
	LabelHistory(ctx context.Context, installationID int64, repository triage.Repository, number int) ([]github.LabelEvent, error)
}

// storage is what the worker needs of the store.
type storage interface {
	store.Labelling
	store.Directory
}

// Config is what a Worker is made of. Everything is required but what has a
// default.
type Config struct {
	Store      storage
	GitHub     gitHub
	Thresholds triage.Thresholds // default: triage.DefaultThresholds
	// Owner names this process in leases.
	Owner string
	// Concurrency bounds the issues worked on at once over all installations
	// (default 64), PerInstallation those of one (default 4).
	Concurrency     int
	PerInstallation int
	Logger          *slog.Logger
	Registerer      prometheus.Registerer
	Now             func() time.Time
}

// Worker keeps the labels of issues as classified.
type Worker struct {
	Config
	wake    chan struct{}
	metrics metrics
}

// New returns a Worker; HandleEnriched feeds it, Run drains it.
func New(cfg Config) *Worker {
	if cfg.Thresholds == nil {
		cfg.Thresholds = triage.DefaultThresholds()
	}
	if cfg.Concurrency == 0 {
		cfg.Concurrency = 64
	}
	if cfg.PerInstallation == 0 {
		cfg.PerInstallation = 4
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Worker{Config: cfg, wake: make(chan struct{}, 1), metrics: newMetrics(cfg.Registerer, cfg.Store.DesiredPending)}
}

// HandleEnriched is the handler of issues.enriched. It only writes the desired
// state down: an offset never waits for GitHub.
func (w *Worker) HandleEnriched(ctx context.Context, batch []*eventlog.Record) []error {
	outcomes := make([]error, len(batch))
	results := make([]*triage.Enriched, len(batch))
	var repositoryIDs []int64
	seen := make(map[int64]bool)
	for i, r := range batch {
		var e triage.Enriched
		if err := json.Unmarshal(r.Value, &e); err != nil {
			outcomes[i] = eventlog.Permanent(fmt.Errorf("a record of %s that is not a result: %w", r.Topic, err))
			continue
		}
		if e.Classification == nil || (e.EventType != triage.Classified && e.EventType != triage.Corrected) {
			continue
		}
		results[i] = &e
		if id := e.Issue.Repository.ID; !seen[id] {
			seen[id] = true
			repositoryIDs = append(repositoryIDs, id)
		}
	}
	if len(repositoryIDs) == 0 {
		return outcomes
	}
	fail := func(err error) []error {
		for i, e := range results {
			if e != nil {
				outcomes[i] = eventlog.RetryAfter(time.Second, fmt.Errorf("store: %w", err))
			}
		}
		return outcomes
	}
	repositories, err := w.Store.LoadRepositories(ctx, repositoryIDs)
	if err != nil {
		return fail(err)
	}
	taxonomies := make(map[int64]triage.Taxonomy, len(repositories))
	for id, r := range repositories {
		taxonomies[id] = triage.NewTaxonomy(r.Labels)
	}
	rows := make([]store.Desired, 0, len(batch))
	for i, e := range results {
		if e == nil {
			continue
		}
		row := store.Desired{
			Issue:          e.Issue.Key(),
			InstallationID: e.Issue.Repository.InstallationID,
			Revision:       e.Revision,
			EventID:        e.EventID,
			Labels:         triage.DesiredLabels(*e.Classification, taxonomies[e.Issue.Repository.ID], w.Thresholds),
			Traceparent:    batch[i].Header(eventlog.HeaderTraceparent),
			ReceivedAt:     batch[i].ReceivedAt(),
		}
		rows = append(rows, row)
	}
	failpoint.Hit("label/before-desired")
	if err := w.Store.SaveDesired(ctx, rows); err != nil {
		return fail(err)
	}
	failpoint.Hit("label/after-desired")
	w.metrics.desired.Add(float64(len(rows)))
	w.nudge()
	return outcomes
}

func (w *Worker) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
