package label

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

const (
	// leaseFor is how long an installation stays this process's own; a crashed
	// owner's work is taken over after it. What is not finished leaseMargin
	// before its end is given back, so that no two processes work on one issue.
	leaseFor    = time.Minute
	leaseMargin = 10 * time.Second
	// claimPace is the least time between two looks for work. While most places
	// are taken a look waits that long patience times more, so that it fills
	// many places at once: each look goes through all installations that wait.
	claimPace = 5 * time.Millisecond
	patience  = 4
	// maxIssues is how many rows of one installation are claimed at once.
	maxIssues = 32
	// stopGrace is how long calls under way may go on when the process stops.
	stopGrace = 5 * time.Second
	// settleFor bounds the store's part in settling, which a stop does not cut off.
	settleFor = 30 * time.Second
)

// Run drains the desired-state rows until ctx ends, then waits for the calls
// under way, which are cut off after five seconds: what they did is found out
// from the issue's history at the next start. It returns nil after an orderly
// stop.
func (w *Worker) Run(ctx context.Context) error {
	calls, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(stopGrace, cut) })()
	var drains sync.WaitGroup
	defer drains.Wait()

	finished := make(chan bool, w.Concurrency)
	idle := time.NewTicker(w.Poll)
	defer idle.Stop()
	pace := time.NewTimer(0)
	defer pace.Stop()
	due, paced, busy, waited := true, false, 0, 0
	for sequence := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
			due = true
		case more := <-finished:
			busy--
			due = due || more
		case <-idle.C:
			due = true
		case <-pace.C:
			paced = true
		}
		if !due || !paced || busy == w.Concurrency || ctx.Err() != nil {
			continue
		}
		free := w.Concurrency - busy
		if probeIn, down := w.GitHub.Outage(); down {
			// One installation's rows find out whether GitHub answers again; all others wait untouched.
			if probeIn > 0 || busy > 0 {
				continue
			}
			free, waited = 1, patience
		}
		if paced = false; free < w.Concurrency/4 && waited < patience {
			waited++
			pace.Reset(claimPace)
			continue
		}
		waited = 0
		// Each claim leases under a name of its own, so that this process does
		// not take an installation twice at the same time.
		sequence++
		owner := fmt.Sprintf("%s/%d", w.Owner, sequence)
		news := w.news.Load()
		claimed, s, err := w.claim(ctx, owner, free)
		if err != nil && ctx.Err() == nil {
			w.Logger.ErrorContext(ctx, "cannot claim issues to label; trying again", "error", err)
		}
		for _, inst := range claimed {
			drains.Go(func() {
				left := w.drain(calls, ctx.Done(), owner, inst, s)
				finished <- left || news != w.news.Load()
			})
		}
		busy += len(claimed)
		due = len(claimed) == free
		pace.Reset(claimPace)
	}
}

// scene is what the claimed rows are judged by.
type scene struct {
	repositories map[int64]store.RepositoryState
	ledger       map[triage.IssueKey][]triage.LedgerEntry
	suggestions  map[triage.IssueKey][]store.Suggestion
}

// claim leases up to free installations and reads what their rows are judged by.
func (w *Worker) claim(ctx context.Context, owner string, free int) (claimed []store.ClaimedInstallation, s scene, err error) {
	claimed, err = w.Store.ClaimDesired(ctx, store.Claim{
		Owner: owner, Now: w.Now(), LeaseFor: leaseFor, MaxInstallations: free, MaxIssues: maxIssues,
	})
	if err != nil || len(claimed) == 0 {
		return nil, s, err
	}
	var keys []triage.IssueKey
	var ids []int64
	seen := make(map[int64]bool)
	for _, inst := range claimed {
		for _, row := range inst.Rows {
			keys = append(keys, row.Issue)
			if id := row.Issue.RepositoryID; !seen[id] {
				seen[id] = true
				ids = append(ids, id)
			}
		}
	}
	// The ledger comes before anything that is read of the issues; see triage.LabelView.
	if s.ledger, err = w.Store.Ledger(ctx, keys); err == nil {
		if s.repositories, err = w.Store.LoadRepositories(ctx, ids); err == nil {
			if err = w.reconsider(ctx, claimed, s.repositories); err == nil {
				s.suggestions, err = w.Store.Suggestions(ctx, keys)
			}
		}
	}
	if err != nil {
		settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleFor)
		defer cancel()
		for _, inst := range claimed {
			w.release(settle, store.Release{InstallationID: inst.InstallationID, Owner: owner})
		}
		return nil, s, err
	}
	return claimed, s, nil
}

// drain works through the claimed rows of one installation, gives the lease
// back, and tells whether rows that are due may be left. When stopping is
// closed no further row is begun.
func (w *Worker) drain(ctx context.Context, stopping <-chan struct{}, owner string, inst store.ClaimedInstallation, s scene) (left bool) {
	settle, cancelSettle := context.WithTimeout(context.WithoutCancel(ctx), leaseFor+settleFor)
	defer cancelSettle()
	ctx, cancel := context.WithTimeout(ctx, leaseFor-leaseMargin)
	defer cancel()

	if err := w.GitHub.RestoreBudget(inst.InstallationID, inst.Budget, inst.Lost, inst.LostAt); err != nil {
		w.Logger.ErrorContext(ctx, "what an installation has spent of its request budget is not known; going by what this process knows", "installation", inst.InstallationID, "error", err)
	}
	d := &drain{worker: w, installation: inst.InstallationID, scene: s, sites: make(map[int64]*site)}
	rows := d.simple(inst.Rows)
	d.visit(ctx, rows)
	var group errgroup.Group
	group.SetLimit(w.PerInstallation)
	for _, row := range rows {
		group.Go(func() error {
			select {
			case w.issues <- struct{}{}:
				defer func() { <-w.issues }()
			case <-stopping:
				return nil
			}
			select {
			case <-stopping:
			default:
				d.settle(ctx, row)
			}
			return nil // a row without a result stays due
		})
	}
	_ = group.Wait()

	if len(d.results) > 0 {
		if err := w.Store.FinishDesired(settle, d.results); err != nil {
			w.Logger.ErrorContext(ctx, "cannot settle labelled issues; they will be looked at again", "installation", inst.InstallationID, "error", err)
		}
	}
	w.release(settle, store.Release{
		InstallationID: inst.InstallationID, Owner: owner, BlockedUntil: d.blockedUntil, BackfillUntil: d.backfillUntil,
		Budget: w.GitHub.SaveBudget(inst.InstallationID),
	})
	return len(inst.Rows) == maxIssues || len(d.results) < len(inst.Rows)
}

func (w *Worker) release(ctx context.Context, r store.Release) {
	if err := w.Store.ReleaseInstallation(ctx, r); err != nil {
		w.Logger.WarnContext(ctx, "cannot release an installation; its lease will run out", "installation", r.InstallationID, "error", err)
	}
}

// drain is one installation's share of the work under way.
type drain struct {
	worker       *Worker
	installation int64
	scene        scene
	sites        map[int64]*site // complete before the first row is settled

	mu            sync.Mutex
	results       []store.DesiredResult
	blockedUntil  time.Time // for all rows
	liveHeld      bool      // by the budget; backfill rows may have a share left
	backfillUntil time.Time // for backfill rows
}

// class is the context in which a row's calls are made.
func class(ctx context.Context, row store.Desired) context.Context {
	if row.Backfill {
		return github.Background(ctx)
	}
	return ctx
}

// site is a repository with what its rows need.
type site struct {
	repository triage.Repository
	taxonomy   triage.Taxonomy
	// fault keeps every row of the repository from being labelled.
	mu    sync.Mutex
	fault error
}

func (s *site) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault
}

func (s *site) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = err
}

// simple settles the rows that need nothing of GitHub and returns the others.
func (d *drain) simple(rows []store.Desired) []store.Desired {
	var others []store.Desired
	for _, row := range rows {
		state, known := d.scene.repositories[row.Issue.RepositoryID]
		switch {
		case !known || state.Erased:
			d.done(row, "gone")
		case state.Repository.Removed:
			// It stays due: the repository may come back.
		case state.Repository.Archived:
			d.done(row, "archived")
		case row.Ignored && len(row.Reactions) == 0:
			d.done(row, "ignored")
		case row.Request != nil || len(row.Reactions) > 0:
			others = append(others, row)
		case len(row.Labels) == 0 && len(row.Suggested) == 0 && row.IssueType == "" && len(d.scene.ledger[row.Issue]) == 0 && !anyOpen(d.scene.suggestions[row.Issue]),
			untouched(row, d.scene.suggestions[row.Issue]):
			d.done(row, "unlabelled")
		default:
			others = append(others, row)
		}
	}
	return others
}

// labelSetMaxAge is how old a repository's stored label set may be before it is
// read again. A POST of labels creates those that do not exist, so the set must
// be right; label events keep it so between two readings.
const labelSetMaxAge = 5 * time.Minute

// visit learns what the rows' repositories are like. A repository that cannot
// be read keeps its own rows back and nobody else's.
func (d *drain) visit(ctx context.Context, rows []store.Desired) {
	var group errgroup.Group
	group.SetLimit(d.worker.PerInstallation)
	for _, row := range rows {
		id := row.Issue.RepositoryID
		if d.sites[id] != nil {
			continue
		}
		state := d.scene.repositories[id]
		at := &site{repository: state.Repository}
		if at.repository.InstallationID == 0 {
			at.repository.InstallationID = d.installation
		}
		d.sites[id] = at
		group.Go(func() error {
			labels, err := d.worker.labelSet(class(ctx, row), at.repository, state)
			if err != nil {
				at.fail(err)
				return nil
			}
			at.taxonomy = d.worker.taxonomy(id, labels, state.InForce())
			return nil
		})
	}
	_ = group.Wait()
}

// labelSet is the repository's label set, read from GitHub when the stored one is old.
func (w *Worker) labelSet(ctx context.Context, r triage.Repository, state store.RepositoryState) ([]triage.RepositoryLabel, error) {
	at := w.Now()
	if at.Sub(state.LabelsAt) <= labelSetMaxAge {
		return state.Labels, nil
	}
	labels, err := w.GitHub.RepositoryLabels(ctx, r.InstallationID, r)
	if err != nil {
		return nil, fmt.Errorf("read the labels of %s: %w", r.FullName, err)
	}
	if err := w.Store.SaveRepositoryLabels(ctx, r.ID, labels, at); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return labels, nil
}

func (d *drain) done(row store.Desired, outcome string) {
	d.worker.metrics.settled.WithLabelValues(outcome).Inc()
	d.result(store.DesiredResult{Issue: row.Issue, Revision: row.Revision, Done: true})
}

func (d *drain) result(r store.DesiredResult) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.results = append(d.results, r)
}

// blocked tells whether the row has to wait along with others.
func (d *drain) blocked(row store.Desired) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case row.Backfill:
		return !d.backfillUntil.IsZero() || !d.blockedUntil.IsZero() && !d.liveHeld
	default:
		return !d.blockedUntil.IsZero()
	}
}

// block keeps the whole installation back for a while.
func (d *drain) block(wait time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.blockedUntil, d.liveHeld = later(d.blockedUntil, d.worker.Now().Add(wait)), false
}

// hold keeps back the rows of the class whose budget is spent. The installation
// is claimed again when its live rows can go on; backfill rows that are in hand
// already are tried before that.
func (d *drain) hold(row store.Desired, wait time.Duration) {
	until := d.worker.Now().Add(wait)
	d.mu.Lock()
	defer d.mu.Unlock()
	if row.Backfill {
		d.backfillUntil = later(d.backfillUntil, until)
		return
	}
	d.liveHeld = d.liveHeld || d.blockedUntil.IsZero()
	d.blockedUntil = later(d.blockedUntil, until)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

const (
	// firstDelay and longestDelay bound the back-off of a row that fails.
	firstDelay   = time.Second
	longestDelay = time.Hour
	// outageDelay bounds it where GitHub gave no good answer: when it is well
	// again nothing should wait for long.
	outageDelay = 5 * time.Minute
	// refusedFor is how long an installation that does not let the App in is
	// left alone, forbiddenFor an issue that it may not label. They end by
	// themselves: no event tells when a person has mended the cause.
	refusedFor   = time.Minute
	forbiddenFor = 10 * time.Minute
)

// postpone keeps the row back, the longer the more often it failed.
func (d *drain) postpone(row store.Desired, least, most time.Duration, err error) {
	delay := max(least, min(firstDelay<<min(row.Attempts, 12), most))
	d.worker.metrics.settled.WithLabelValues("postponed").Inc()
	d.result(store.DesiredResult{Issue: row.Issue, Revision: row.Revision, NotBefore: d.worker.Now().Add(delay), Error: err.Error()})
}

// failed decides what an error means: for the row, its repository and the
// whole installation.
func (d *drain) failed(ctx context.Context, row store.Desired, at *site, err error) {
	log := d.worker.Logger.With("repository", at.repository.FullName, "issue", row.Issue.Number, "delivery", row.EventID, "traceparent", row.Traceparent)
	wait, temporary := github.RetryAfter(err)
	var call *github.Error
	switch errors.As(err, &call); {
	case ctx.Err() != nil:
		return // cut off; the row stays due
	case call != nil && call.Outage:
		d.block(wait) // of no row's making: none counts it
		log.DebugContext(ctx, "labels wait for GitHub", "error", err)
		return
	case errors.Is(err, github.ErrRateLimited) && call.Status == 0:
		d.hold(row, wait)
		log.DebugContext(ctx, "labels wait for the installation's request budget", "error", err)
		return
	case errors.Is(err, github.ErrNotFound), errors.Is(err, github.ErrGone):
		log.InfoContext(ctx, "the issue is gone from GitHub; nothing to label")
		d.done(row, "gone")
		return
	case errors.Is(err, store.ErrSuspended):
		at.fail(err)
		log.InfoContext(ctx, "the App may not write there any more; the labels wait")
		return // the row stays due
	case errors.Is(err, github.ErrArchived):
		log.InfoContext(ctx, "the repository is archived; nothing is labelled there")
		d.done(row, "archived")
		return
	case errors.Is(err, github.ErrInvalid):
		log.WarnContext(ctx, "GitHub does not take the labels; giving up on this state of the issue", "error", err)
		d.done(row, "refused")
		return
	case errors.Is(err, github.ErrRateLimited):
		d.block(wait) // no failure of the row's, so it does not count
	case errors.Is(err, github.ErrSuspended), errors.Is(err, github.ErrUnauthorized):
		d.block(refusedFor)
	case errors.Is(err, github.ErrForbidden):
		at.fail(err)
		d.postpone(row, forbiddenFor, longestDelay, err)
	case temporary:
		d.block(wait)
		d.postpone(row, wait, outageDelay, err)
	default:
		d.postpone(row, 0, longestDelay, err)
	}
	log.WarnContext(ctx, "labels have to wait", "attempts", row.Attempts+1, "error", err)
}
