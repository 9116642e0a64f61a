// Package reconcile brings what is stored in line with GitHub and with policy,
// where no event does:
//
//   - The Reconciler finds what was missed and has it made good. GitHub tells of
//     each change once and never tries again by itself. A sweep reads the log that
//     GitHub keeps of the App's deliveries, compares it with the events that left
//     their trace in the store, and asks for another attempt of what is missing. A
//     reconciliation compares what GitHub lists now, installations, repositories
//     and issues, with the store, and puts what differs into the log as an event:
//     it makes good what GitHub's log, which goes back three days, no longer has.
//     A backfill does the same for issues from before the App was installed.
//   - The Refresher reads the files in which repositories say how they want to be
//     treated, and the SuggestionWatcher asks what became of suggestions.
//   - The Eraser erases what was removed when its grace period is over.
//
// All of it survives a crash at any moment.
package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/dispatchai/dispatchai/core/control"
	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// storage is what the Reconciler needs of the store.
type storage interface {
	store.Reconciling
	LoadIssues(ctx context.Context, keys []triage.IssueKey) (map[triage.IssueKey]store.IssueState, error)
	AppliedEvents(ctx context.Context, eventIDs []string) (map[string]store.AppliedEvent, error)
	LoadInstallation(ctx context.Context, id int64) (triage.Installation, error)
	ListRepositories(ctx context.Context) ([]store.RepositoryState, error)
	SaveRepositoryLabels(ctx context.Context, repositoryID int64, labels []triage.RepositoryLabel, at time.Time) error
}

// gitHub is what the Reconciler asks of GitHub.
type gitHub interface {
	ListDeliveries(ctx context.Context, cursor string) (github.DeliveryPage, error)
	RedeliverDelivery(ctx context.Context, id int64) error
	Installation(ctx context.Context, id int64) (triage.Installation, error)
	ListInstallations(ctx context.Context) ([]github.ListedInstallation, error)
	InstallationRepositories(ctx context.Context, installationID int64) ([]triage.Repository, error)
	ListIssues(ctx context.Context, installationID int64, repository triage.Repository, q github.IssueQuery) (github.IssueList, error)
	CountIssues(ctx context.Context, installationID int64, repository triage.Repository, state string, since time.Time) (int64, error)
	LabelHistory(ctx context.Context, installationID int64, repository triage.Repository, number int) ([]github.LabelEvent, error)
	RepositoryLabels(ctx context.Context, installationID int64, repository triage.Repository) ([]triage.RepositoryLabel, error)
}

// publisher appends to the log and returns when the records are durable.
type publisher interface {
	Append(ctx context.Context, records ...eventlog.Record) error
}

// ReconcilerConfig is what a Reconciler is made of. All but the figures is needed.
type ReconcilerConfig struct {
	Store     storage
	GitHub    gitHub
	Publisher publisher
	// Lag tells how far the workers are behind in the raw topics.
	Lag func(ctx context.Context) ([]eventlog.PartitionLag, error)
	// DeadLetters lists the deliveries that ended among the dead letters.
	DeadLetters func(ctx context.Context) (map[string]bool, error)
	// Requests gives the backfills that operators asked for, by repository, and what
	// is closed when they change.
	Requests func() (requests map[int64]control.BackfillRequest, changed <-chan struct{})
	// BackfillNew is which issues to backfill of repositories that the App is newly
	// installed on.
	BackfillNew triage.Backfill
	// Owner names this running process among all.
	Owner string
	// SweepEvery is how often GitHub's log is read when all is well (default 5 min),
	// ReconcileEvery how often each repository is compared (default 6 h), and
	// RedeliveriesPerMinute how often GitHub is asked for another attempt (default
	// 60: GitHub grants an App 5,000 requests an hour for everything).
	SweepEvery            time.Duration
	ReconcileEvery        time.Duration
	RedeliveriesPerMinute int
	Logger                *slog.Logger
	Registerer            prometheus.Registerer
	Now                   func() time.Time
}

// Reconciler does it as long as Run runs.
type Reconciler struct {
	ReconcilerConfig
	pace    *rate.Limiter
	metrics gapMetrics

	// Of the sweep alone. reading are the GUIDs with an accepted attempt in the
	// reading under way.
	reading map[string]bool
	marks   []mark

	reported time.Time // of the backfill alone: when its progress was last told

	hastened  chan struct{} // something may be due to be compared
	directory chan struct{} // the installations may have changed unheard
}

// NewReconciler returns a Reconciler; Run runs it.
func NewReconciler(cfg ReconcilerConfig) *Reconciler {
	if cfg.SweepEvery <= 0 {
		cfg.SweepEvery = 5 * time.Minute
	}
	if cfg.ReconcileEvery <= 0 {
		cfg.ReconcileEvery = 6 * time.Hour
	}
	if cfg.RedeliveriesPerMinute <= 0 {
		cfg.RedeliveriesPerMinute = 60
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	perSecond := rate.Limit(float64(cfg.RedeliveriesPerMinute) / 60)
	return &Reconciler{
		ReconcilerConfig: cfg, pace: rate.NewLimiter(perSecond, max(1, cfg.RedeliveriesPerMinute/30)), metrics: newGapMetrics(cfg.Registerer),
		hastened: make(chan struct{}, 1), directory: make(chan struct{}, 1),
	}
}

const (
	// leaseName is the work that one process does for all.
	leaseName  = "reconcile"
	leaseFor   = 45 * time.Second
	leaseRenew = 10 * time.Second
)

// Run does the work whenever this process holds the lease, until ctx ends.
func (r *Reconciler) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		now := r.Now()
		taken, err := r.Store.AcquireLease(ctx, leaseName, r.Owner, now, now.Add(leaseFor))
		if err != nil && ctx.Err() == nil {
			r.Logger.WarnContext(ctx, "cannot ask the store who looks for gaps; trying again", "error", err)
		}
		if taken {
			r.metrics.leading.Set(1)
			r.lead(ctx)
			r.metrics.leading.Set(0)
		}
		pause(ctx, leaseRenew, nil)
	}
	return nil
}

// lead works until ctx ends or the lease is lost.
func (r *Reconciler) lead(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	for _, work := range []func(context.Context){r.sweepOn, r.compareDirectoryOn, r.compareOn, r.backfillOn} {
		group.Go(func() error { work(ctx); return nil })
	}
	group.Go(func() error {
		held := r.Now()
		for {
			pause(ctx, leaseRenew, nil)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			now := r.Now()
			taken, err := r.Store.AcquireLease(ctx, leaseName, r.Owner, now, now.Add(leaseFor))
			switch {
			case taken:
				held = now
			case err == nil, now.Sub(held) > leaseFor-leaseRenew:
				r.Logger.WarnContext(ctx, "another process looks for gaps now", "error", err)
				return errLeaseLost
			}
		}
	})
	_ = group.Wait()
	release, stop := context.WithTimeout(context.WithoutCancel(ctx), leaseRenew)
	defer stop()
	if err := r.Store.ReleaseLease(release, leaseName, r.Owner); err != nil && !errors.Is(err, store.ErrClosed) {
		r.Logger.DebugContext(ctx, "the lease was not given back and ends by itself", "error", err)
	}
}

var errLeaseLost = errors.New("the lease is lost")

// pause waits that long, or until woken; false when ctx ended.
func pause(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-wake:
	}
	return ctx.Err() == nil
}

// jitter spreads what would otherwise happen everywhere at once: d and up to a tenth more.
func jitter(d time.Duration) time.Duration { return d + rand.N(d/10+1) }

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// retryAfter is when to try again what failed at GitHub.
func retryAfter(err error, otherwise time.Duration) time.Duration {
	if after, ok := github.RetryAfter(err); ok {
		return after
	}
	return otherwise
}
