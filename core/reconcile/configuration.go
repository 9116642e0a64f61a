package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/sync/singleflight"

	"github.com/dispatchai/dispatchai/core/failpoint"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// configurationGitHub is what a Refresher asks of GitHub.
type configurationGitHub interface {
	Contents(ctx context.Context, installationID int64, repository triage.Repository, path, etag string, most int) (github.File, error)
	LastCommit(ctx context.Context, installationID int64, repository triage.Repository, path string) (string, error)
	IssueTypes(ctx context.Context, installationID int64, repository triage.Repository) ([]string, error)
	CheckConclusion(ctx context.Context, installationID int64, repository triage.Repository, sha, name string) (string, error)
	CreateCheckRun(ctx context.Context, installationID int64, repository triage.Repository, run github.CheckRun) error
}

// configurationStore is what a Refresher needs of the store.
type configurationStore interface {
	store.Configuring
	StartBackfill(ctx context.Context, b store.Backfill) error
}

// RefresherConfig is what a Refresher is made of. Everything is required but what
// has a default.
type RefresherConfig struct {
	Store  configurationStore
	GitHub configurationGitHub
	// Owner names this process in claims.
	Owner string
	// Classifiers are the names of the plugins that a file may choose from.
	Classifiers []string
	// Concurrency bounds the repositories read at once; default 8.
	Concurrency int
	// Poll is how often due repositories are looked for; default a second.
	Poll time.Duration
	// FilePoll is how often the configuration file is looked at where the App may
	// read nothing else, and so is told of no push; default a minute.
	FilePoll time.Duration
	// Recheck is how often the files are looked at though no event gave reason to;
	// default six hours.
	Recheck    time.Duration
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time
}

// Refresher keeps the configuration of every repository as its files have it.
// Several processes may run one each on the same store.
type Refresher struct {
	RefresherConfig
	owners   singleflight.Group // of inherited files, by installation and owner
	readings *prometheus.CounterVec
}

// NewRefresher returns a Refresher; Run runs it.
func NewRefresher(cfg RefresherConfig) *Refresher {
	if cfg.Concurrency == 0 {
		cfg.Concurrency = 8
	}
	if cfg.Poll == 0 {
		cfg.Poll = time.Second
	}
	if cfg.FilePoll == 0 {
		cfg.FilePoll = time.Minute
	}
	if cfg.Recheck == 0 {
		cfg.Recheck = 6 * time.Hour
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Refresher{RefresherConfig: cfg, readings: promauto.With(cfg.Registerer).NewCounterVec(prometheus.CounterOpts{
		Name: "dispatchai_configuration_readings_total", Help: "Readings of repositories' files, by outcome (changed, unchanged, faulty, failed).",
	}, []string{"outcome"})}
}

const (
	// claimFor is how long a repository is this process's own; a reading takes
	// less than readingTime of it.
	claimFor    = 2 * time.Minute
	readingTime = 100 * time.Second
	// saveTime bounds the saving of what was read, which a stop does not cut off.
	saveTime = 10 * time.Second
	// firstRetry and longestRetry bound the back-off of a reading that fails.
	firstRetry   = time.Second
	longestRetry = 5 * time.Minute
	// refusedRetry is how long an installation that lets nobody in is left alone.
	refusedRetry = time.Minute
)

// Run reads what is due until ctx ends, and then waits for the readings under way.
func (r *Refresher) Run(ctx context.Context) error {
	var readings sync.WaitGroup
	defer readings.Wait()
	finished := make(chan struct{}, r.Concurrency)
	tick := time.NewTicker(r.Poll)
	defer tick.Stop()
	busy, more, sequence := 0, true, 0
	for {
		if more && busy < r.Concurrency && ctx.Err() == nil {
			sequence++
			jobs, err := r.Store.ClaimConfigurations(ctx, store.ConfigurationClaim{
				Owner: fmt.Sprintf("%s/%d", r.Owner, sequence), Now: r.Now(), LeaseFor: claimFor, Limit: r.Concurrency - busy,
			})
			if err != nil && ctx.Err() == nil {
				r.Logger.ErrorContext(ctx, "cannot look for configurations to read; trying again", "error", err)
			}
			more = len(jobs) == r.Concurrency-busy
			busy += len(jobs)
			for _, job := range jobs {
				readings.Go(func() {
					r.refresh(ctx, job)
					finished <- struct{}{}
				})
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-finished:
			busy--
		case <-tick.C:
			more = true
		}
	}
}

// refresh reads the files of one repository and puts what they say in force.
func (r *Refresher) refresh(ctx context.Context, job store.ConfigurationJob) {
	log := r.Logger.With("repository", job.Repository.FullName, "because", job.Because)
	reading, cancel := context.WithTimeout(github.Background(ctx), readingTime)
	defer cancel()
	read, err := r.read(reading, job)
	if ctx.Err() != nil {
		return // it stays due
	}
	if err != nil {
		r.failed(ctx, log, job, err)
		return
	}
	result := r.judge(job, read)
	due := result.NextDue
	check := result.Report.Check
	if check != nil && !check.Done {
		result.NextDue = time.Time{} // in force at once; the repository stays in hand
	}
	if err := r.startBackfill(ctx, job, result); err != nil {
		r.unsaved(ctx, log, err)
		return
	}
	failpoint.Hit("reconcile/before-configuration")
	if err := r.save(ctx, result); err != nil {
		r.unsaved(ctx, log, err)
		return
	}
	failpoint.Hit("reconcile/after-configuration")
	r.told(ctx, log, job, result)
	if !result.NextDue.IsZero() {
		return
	}
	if err := r.check(reading, log, job, check, ownFaults(read.own, read.faults)); err != nil {
		if ctx.Err() != nil {
			return // it stays due
		}
		wait := r.backOff(job, err)
		log.DebugContext(ctx, "cannot write a check run yet; trying again", "in", wait, "error", err)
		due, result.Because, result.Failed = r.Now().Add(wait), store.DueCheck, true
	}
	result.NextDue = due
	if err := r.save(ctx, result); err != nil {
		r.unsaved(ctx, log, err)
	}
}

// startBackfill begins the backfill that a file asks for, once for each change of
// what it asks. It comes before the file is in force, so that a crash in between
// has it begun again rather than forgotten.
func (r *Refresher) startBackfill(ctx context.Context, job store.ConfigurationJob, result store.ConfigurationResult) error {
	wanted, before := result.Configuration.Config.Backfill, triage.BackfillNone
	if job.Configuration != nil {
		before = job.Configuration.Config.Backfill
	}
	if wanted == before || wanted == triage.BackfillNone {
		return nil
	}
	asked := result.Report.InForce[len(result.Report.InForce)-1] // the file that has the last word
	return r.Store.StartBackfill(ctx, store.Backfill{
		Repository: job.Repository, RequestID: fmt.Sprintf("file/%s/%s", wanted, asked.Blob), State: string(wanted), AskedBy: asked.Name,
		AskedAt: result.Report.CheckedAt, Status: store.BackfillRunning, UpdatedAt: result.Report.CheckedAt,
	})
}

// backOff is how long to wait after a failure.
func (r *Refresher) backOff(job store.ConfigurationJob, err error) time.Duration {
	wait := min(firstRetry<<min(job.Attempts, 10), longestRetry)
	if after, ok := github.RetryAfter(err); ok {
		wait = max(wait, after)
	}
	if errors.Is(err, github.ErrSuspended) || errors.Is(err, github.ErrUnauthorized) {
		wait = max(wait, refusedRetry)
	}
	return wait
}

// told leaves a trace of what a reading found.
func (r *Refresher) told(ctx context.Context, log *slog.Logger, job store.ConfigurationJob, result store.ConfigurationResult) {
	faults := result.Report.Faults
	changed := job.Configuration == nil || !result.Report.InForceSince.Equal(job.Report.InForceSince)
	switch {
	case len(faults) > 0:
		r.readings.WithLabelValues("faulty").Inc()
		if len(job.Report.Faults) == 0 || faults[0] != job.Report.Faults[0] || len(faults) != len(job.Report.Faults) {
			log.WarnContext(ctx, "the configuration file has faults; what was in force stays so", "faults", len(faults), "first", faults[0].Error(), "guarded", result.Report.Guarded)
		}
	case changed:
		r.readings.WithLabelValues("changed").Inc()
		log.InfoContext(ctx, "configuration in force", "mode", string(result.Configuration.Config.Mode), "files", len(result.Report.InForce), "access", string(result.Report.Access))
	default:
		r.readings.WithLabelValues("unchanged").Inc()
	}
}

// failed has the files read again later; what is in force stays so.
func (r *Refresher) failed(ctx context.Context, log *slog.Logger, job store.ConfigurationJob, err error) {
	r.readings.WithLabelValues("failed").Inc()
	wait := r.backOff(job, err)
	level := slog.LevelDebug
	if job.Attempts == 0 || job.Attempts%20 == 19 {
		level = slog.LevelWarn
	}
	log.Log(ctx, level, "cannot read the repository's configuration; trying again", "attempts", job.Attempts+1, "in", wait, "error", err)
	report := job.Report
	report.Error = err.Error()
	if err := r.save(ctx, store.ConfigurationResult{
		RepositoryID: job.Repository.ID, Owner: job.Owner, Marks: job.Marks, Report: report,
		Failed: true, NextDue: r.Now().Add(wait), Because: job.Because,
	}); err != nil {
		r.unsaved(ctx, log, err)
	}
}

// save goes on while the process is stopping, so that nothing is read twice.
func (r *Refresher) save(ctx context.Context, result store.ConfigurationResult) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTime)
	defer cancel()
	return r.Store.SaveConfiguration(ctx, result)
}

func (r *Refresher) unsaved(ctx context.Context, log *slog.Logger, err error) {
	if errors.Is(err, store.ErrConflict) {
		log.DebugContext(ctx, "another process has read the configuration meanwhile")
		return
	}
	log.ErrorContext(ctx, "cannot save a repository's configuration; it will be read again", "error", err)
}
