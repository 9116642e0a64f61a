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
	"slices"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
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
	FindComment(ctx context.Context, installationID int64, repository triage.Repository, number int, fits func(github.Comment) bool) (github.Comment, error)
	CreateComment(ctx context.Context, installationID int64, repository triage.Repository, number int, body string) (int64, error)
	UpdateComment(ctx context.Context, installationID int64, repository triage.Repository, commentID int64, body string) error
	AddReaction(ctx context.Context, installationID int64, repository triage.Repository, commentID int64, content string) error
	IssueOpen(ctx context.Context, installationID int64, repository triage.Repository, number int) (bool, error)
	LabelSuggestions(ctx context.Context, installationID int64, repository triage.Repository, number int, etag string) ([]github.LabelSuggestion, string, error)
	LabelID(ctx context.Context, installationID int64, repository triage.Repository, name string) (int64, error)
	SuggestLabels(ctx context.Context, installationID int64, repository triage.Repository, number int, suggestions []github.NewSuggestion) error
	DismissSuggestion(ctx context.Context, installationID int64, repository triage.Repository, number int, id int64) error
	IssueType(ctx context.Context, installationID int64, repository triage.Repository, number int) (string, error)
	SetIssueType(ctx context.Context, installationID int64, repository triage.Repository, number int, name string) (string, error)
	LabelHistory(ctx context.Context, installationID int64, repository triage.Repository, number int) ([]github.LabelEvent, error)
	Ready(ctx context.Context, installationID int64) error
	Outage() (probeIn time.Duration, down bool)
	SaveBudget(installationID int64) []byte
	RestoreBudget(installationID int64, saved []byte, lost int, lostAt time.Time) error
}

// storage is what the worker needs of the store.
type storage interface {
	store.Labelling
	store.Directory
	store.Suggesting
	store.Typing
	LoadIssues(ctx context.Context, keys []triage.IssueKey) (map[triage.IssueKey]store.IssueState, error)
	Ping(ctx context.Context) error
}

// Config is what a Worker is made of. Everything is required but what has a
// default.
type Config struct {
	Store  storage
	GitHub gitHub
	// Owner names this process in leases.
	Owner string
	// Concurrency bounds the issues worked on at once over all installations
	// (default 64), PerInstallation those of one (default 4).
	Concurrency     int
	PerInstallation int
	// Poll is how often rows that became due by time alone are looked for; default 1 s.
	Poll time.Duration
	// LookAfter is how long after its making a suggestion is looked at on GitHub
	// for the first time, because nobody is told of a dismissal; default a minute.
	LookAfter  time.Duration
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time
}

// Worker keeps the labels of issues as classified.
type Worker struct {
	Config
	wake       chan struct{}
	news       atomic.Uint64 // grows with every nudge
	issues     chan struct{} // a place for each issue worked on
	taxonomies *lru.Cache[int64, labelSet]
	// unsuggesting are the installations whose server said that it knows no suggestions, and when.
	unsuggesting *lru.Cache[int64, time.Time]
	metrics      metrics
}

// labelSet is a repository's labels and what they mean under a configuration.
type labelSet struct {
	labels   []triage.RepositoryLabel
	version  int64
	taxonomy triage.Taxonomy
}

// cachedTaxonomies bounds the taxonomies kept in memory.
const cachedTaxonomies = 10_000

// New returns a Worker; HandleEnriched feeds it, Run drains it.
func New(cfg Config) *Worker {
	if cfg.Concurrency == 0 {
		cfg.Concurrency = 64
	}
	if cfg.PerInstallation == 0 {
		cfg.PerInstallation = 4
	}
	if cfg.Poll == 0 {
		cfg.Poll = time.Second
	}
	if cfg.LookAfter == 0 {
		cfg.LookAfter = time.Minute
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cache, err := lru.New[int64, labelSet](cachedTaxonomies)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	unsuggesting, err := lru.New[int64, time.Time](cachedTaxonomies)
	if err != nil {
		panic(err) // as above
	}
	return &Worker{
		unsuggesting: unsuggesting,
		Config:       cfg, wake: make(chan struct{}, 1), issues: make(chan struct{}, cfg.Concurrency), taxonomies: cache,
		metrics: newMetrics(cfg.Registerer, cfg.Store.DesiredPending),
	}
}

func (w *Worker) taxonomy(repositoryID int64, labels []triage.RepositoryLabel, c *store.Configuration) triage.Taxonomy {
	if held, ok := w.taxonomies.Get(repositoryID); ok && held.version == c.Version && slices.Equal(held.labels, labels) {
		return held.taxonomy
	}
	t := c.Taxonomy(labels)
	w.taxonomies.Add(repositoryID, labelSet{labels, c.Version, t})
	return t
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
		if e.EventType != triage.Directed && (e.Classification == nil || e.EventType != triage.Classified && e.EventType != triage.Corrected) {
			continue
		}
		if key := e.Issue.Key(); key.RepositoryID <= 0 || key.Number <= 0 {
			outcomes[i] = eventlog.Permanent(fmt.Errorf("a result about %s, which is no issue", key))
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
	repositories, err := w.Store.LoadRepositories(ctx, repositoryIDs)
	if err != nil {
		for i, e := range results {
			if e != nil {
				outcomes[i] = storeDown(err)
			}
		}
		return outcomes
	}
	rows := make([]store.Desired, 0, len(batch))
	from := make([]int, 0, len(batch)) // the record of each row
	for i, e := range results {
		if e == nil {
			continue
		}
		repository := repositories[e.Issue.Repository.ID]
		installation := repository.Repository.InstallationID
		if installation == 0 {
			installation = e.Issue.Repository.InstallationID
		}
		if installation == 0 {
			continue // the App is not installed there: it has no right to label
		}
		row := store.Desired{
			Issue:          e.Issue.Key(),
			InstallationID: installation,
			Revision:       e.Revision,
			EventID:        e.EventID,
			Request:        e.Request,
			Reactions:      e.Reactions,
			Ignored:        e.Ignored,
			Traceparent:    batch[i].Header(eventlog.HeaderTraceparent),
			Backfill:       batch[i].Header(eventlog.HeaderBackfill) != "",
			ReceivedAt:     batch[i].ReceivedAt(),
		}
		w.desire(&row, e.Issue, e.Classification, repository)
		rows = append(rows, row)
		from = append(from, i)
	}
	failpoint.Hit("label/before-desired")
	w.saveDesired(ctx, rows, func(row int, err error) { outcomes[from[row]] = err })
	failpoint.Hit("label/after-desired")
	w.nudge()
	return outcomes
}

// saveDesired stores the rows in one transaction; when that fails though the
// store is well, one bad row must not hold up the others, so each is tried alone.
func (w *Worker) saveDesired(ctx context.Context, rows []store.Desired, failed func(row int, err error)) {
	err := w.Store.SaveDesired(ctx, rows)
	if err == nil {
		w.metrics.desired.Add(float64(len(rows)))
		return
	}
	outage := func() bool { return ctx.Err() != nil || w.Store.Ping(ctx) != nil }
	down := outage()
	for i := range rows {
		if !down {
			if err = w.Store.SaveDesired(ctx, rows[i:i+1]); err == nil {
				w.metrics.desired.Inc()
				continue
			}
			down = outage()
		}
		if down {
			failed(i, storeDown(err))
		} else {
			failed(i, fmt.Errorf("store: %w", err))
		}
	}
}

// storeDown is waited for, not counted: the record is not to blame.
func storeDown(err error) error {
	return eventlog.RetryAfter(time.Second, fmt.Errorf("store: %w", err))
}

func (w *Worker) nudge() {
	w.news.Add(1)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
