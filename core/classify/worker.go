// Package classify is the worker between issues.raw and issues.enriched: it
// parses each event, brings the stored issue up to date, asks the classifier
// plugins, stores what they say and publishes the result. Human corrections
// take the same way, without a plugin being asked.
//
// Effects are idempotent per event: an event that was applied before is not
// computed again, but its present result is published again, so a crash
// between storing and publishing loses nothing.
package classify

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/plugin"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// Classifier is a running plugin.
type Classifier interface {
	Name() string
	Describe() plugin.Description
	Classify(ctx context.Context, items []plugin.Item) ([]plugin.Outcome, error)
	Embed(ctx context.Context, texts []sdk.Text) (plugin.Embeddings, error)
	Learn(ctx context.Context, examples []plugin.Example) error
}

// storage is what the worker needs of the store.
type storage interface {
	store.Issues
	store.Directory
	store.Embeddings
	store.Usage
	RecordComparisons(ctx context.Context, comparisons []store.Comparison) error
	Ping(ctx context.Context) error
}

// publisher appends to the log and returns when the records are durable.
type publisher interface {
	Append(ctx context.Context, records ...eventlog.Record) error
}

// gitHub is what the worker asks of GitHub itself.
type gitHub interface {
	AppSlug(ctx context.Context) (string, error)
	RepositoryLabels(ctx context.Context, installationID int64, repository triage.Repository) ([]triage.RepositoryLabel, error)
	RepositoryPermission(ctx context.Context, installationID int64, repository triage.Repository, login string) (github.Permission, error)
}

// Config is what a Worker is made of. Everything is required but Challenger, Enabled, Patience, Budget, Policy and Now.
type Config struct {
	Store     storage
	Publisher publisher
	GitHub    gitHub
	// Classifiers are the chain of repositories that have none of their own, in
	// order, and those that a repository's chain may name. The first one that can
	// embed provides the vectors or terms.
	Classifiers []Classifier
	// Challenger is the name of the classifier that is left out of the server's own
	// chain and asked beside it; empty for none.
	Challenger string
	// Patience is how long an issue waits for a classifier that another could
	// stand in for. 10 seconds unless set.
	Patience time.Duration
	// Budget bounds what answers may cost.
	Budget Budget
	// Enabled tells of a classifier's name whether it is to be asked now; nil
	// has all of them asked. Where none is, events that need a classification
	// wait until one is.
	Enabled func(name string) bool
	// Policy says what has a repository's issues looked at again; nil stands for
	// triage.DefaultRetriagePolicy everywhere.
	Policy func(repositoryID int64) triage.RetriagePolicy
	// ConfigurationWait is how long an event waits for the first reading of its
	// repository's files before it is classified by the defaults; 0 does not wait.
	ConfigurationWait time.Duration
	// NeighbourLimit is how many similar issues are kept with an issue.
	NeighbourLimit int
	Logger         *slog.Logger
	Registerer     prometheus.Registerer
	Now            func() time.Time
}

// Worker turns events into classifications. Its handlers are safe for
// concurrent use.
type Worker struct {
	Config
	taxonomies *lru.Cache[int64, *catalogue]
	fetches    singleflight.Group // of label sets, by repository
	weightings *weightings
	upkeep     *upkeep
	rights     *lru.Cache[person, right]
	asking     singleflight.Group           // for rights
	waiting    *lru.Cache[int64, time.Time] // since when a repository's files are waited for
	metrics    metrics

	base     context.Context // of calls to plugins
	stop     context.CancelFunc
	calls    sync.WaitGroup
	desksMu  sync.Mutex
	desks    map[string]*desk // by the plugin's name
	spending *spending
	missing  *lru.Cache[string, time.Time] // since when an event waits for a classifier

	challengers challengers
}

// catalogue is what a repository's labels mean, in our terms and in a plugin's.
type catalogue struct {
	fullName   string
	labels     []triage.RepositoryLabel
	taxonomy   triage.Taxonomy
	repository *sdk.Repository
	// configuration is what the repository's files say; ruled is repository with
	// its own rules, for the plugin that they are for.
	configuration *store.Configuration
	ruled         *sdk.Repository
	followed      triage.RepositoryConfig // see Worker.followed
}

// New checks the configuration and returns a Worker. Close must be called.
func New(cfg Config) (*Worker, error) {
	if len(cfg.Classifiers) == 0 {
		return nil, errors.New("classify: no classifier plugin is enabled; enable at least one (DISPATCHAI_PLUGINS)")
	}
	if cfg.Enabled == nil {
		cfg.Enabled = func(string) bool { return true }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Policy == nil {
		cfg.Policy = func(int64) triage.RetriagePolicy { return triage.DefaultRetriagePolicy() }
	}
	if cfg.Patience == 0 {
		cfg.Patience = 10 * time.Second
	}
	if cfg.NeighbourLimit == 0 {
		cfg.NeighbourLimit = 5
	}
	cache, err := lru.New[int64, *catalogue](10_000)
	if err != nil {
		return nil, err
	}
	waiting, err := lru.New[int64, time.Time](10_000)
	if err != nil {
		return nil, err
	}
	rights, err := lru.New[person, right](cachedRights)
	if err != nil {
		return nil, err
	}
	missing, err := lru.New[string, time.Time](10_000)
	if err != nil {
		return nil, err
	}
	if challenges := func(c Classifier) bool { return c.Name() == cfg.Challenger }; cfg.Challenger != "" {
		// Another comes before it where one is looked for that embeds.
		decides := func(c Classifier) bool { return !challenges(c) }
		cfg.Classifiers = slices.Concat(
			slices.DeleteFunc(slices.Clone(cfg.Classifiers), challenges), slices.DeleteFunc(slices.Clone(cfg.Classifiers), decides))
	}
	m := newMetrics(cfg.Registerer)
	base, stop := context.WithCancel(context.Background())
	return &Worker{
		Config: cfg, taxonomies: cache, rights: rights, waiting: waiting, weightings: newWeightings(cfg.Store, cfg.Logger), upkeep: newUpkeep(), metrics: m,
		base: base, stop: stop, desks: make(map[string]*desk), spending: newSpending(cfg, m), missing: missing,
		challengers: challengers{queues: make(map[string]chan *inquiry)},
	}, nil
}

// enabled are the classifiers to ask, in order. A batch asks for them once, so
// that one that is disabled meanwhile finishes it.
func (w *Worker) enabled() []Classifier {
	return slices.DeleteFunc(slices.Clone(w.Classifiers), func(c Classifier) bool { return !w.Enabled(c.Name()) })
}

// Express tells which records must not wait behind a model call: what people
// ask for on the dashboard.
func Express(r *eventlog.Record) bool {
	return r.Header(eventlog.HeaderEvent) == github.EventCorrection
}

// parse reads a record of issues.raw or installations.raw.
func parse(r *eventlog.Record) (triage.Event, error) {
	event, delivery := r.Header(eventlog.HeaderEvent), r.Header(eventlog.HeaderDelivery)
	if event == "" || delivery == "" {
		return triage.Event{}, errors.New("the record lacks its event or delivery header")
	}
	return github.ParseWebhook(event, delivery, r.Value, r.ReceivedAt())
}
