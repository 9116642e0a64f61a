package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

const (
	// settled is how long ago an issue must have changed, by GitHub's clock, to be
	// compared: news that is on its way is no gap.
	settled = time.Minute
	// again is how much of what was compared is looked at a second time.
	again = 2 * time.Minute
	// comparedAtOnce is how many repositories are compared at a time.
	comparedAtOnce = 3
	// compareLook is how often it is looked whether any is due.
	compareLook = 5 * time.Second
	// restPause is how long a repository rests after a start of the service at
	// which it was compared lately.
	restPause = 15 * time.Minute
	// refusedPause is how long one rests that GitHub does not let the App read.
	refusedPause = 24 * time.Hour
	// labelsKept is how long a label set that was read is trusted without reading it again.
	labelsKept = 24 * time.Hour
)

// compareOn compares what is due, until ctx ends.
func (r *Reconciler) compareOn(ctx context.Context) {
	now := r.Now()
	if err := r.Store.HastenReconciliations(ctx, now.Add(-restPause), now); err != nil && ctx.Err() == nil {
		r.Logger.WarnContext(ctx, "repositories are compared with GitHub later than they should be", "error", err)
	}
	for ctx.Err() == nil {
		worked, err := r.compareDue(ctx)
		if err != nil && ctx.Err() == nil {
			r.Logger.WarnContext(ctx, "repositories could not be compared with GitHub", "error", err)
		}
		if !worked || err != nil {
			pause(ctx, compareLook, r.hastened)
		}
	}
}

// compareDue compares some of the repositories that are due, and tells whether
// there were any.
func (r *Reconciler) compareDue(ctx context.Context) (bool, error) {
	adopted, err := r.Store.AdoptRepositories(ctx, r.Now())
	if err == nil {
		err = r.backfillNew(ctx, adopted)
	}
	if err != nil {
		return false, err
	}
	due, err := r.Store.DueReconciliations(ctx, r.Now(), 4*comparedAtOnce)
	if err != nil || len(due) == 0 {
		return false, err
	}
	var group errgroup.Group
	group.SetLimit(comparedAtOnce)
	for _, c := range due {
		group.Go(func() error { return r.compare(ctx, c) })
	}
	return true, group.Wait()
}

// compare compares one repository and writes down how it went. Its error is the
// store's or the log's; GitHub's is written down.
func (r *Reconciler) compare(ctx context.Context, c store.Reconciliation) error {
	c.StartedAt, c.Error = r.Now(), ""
	err := r.comparePages(ctx, &c)
	if ctx.Err() != nil {
		return ctx.Err() // it is due still, from where it is
	}
	var refused *github.Error
	switch {
	case err == nil:
		c.Completed, c.CompletedAt, c.Error = true, r.Now(), ""
		c.Due = r.Now().Add(jitter(r.ReconcileEvery))
		r.metrics.compared.WithLabelValues("done").Inc()
	case errors.As(err, &refused):
		c.Error = err.Error()
		c.Due = r.Now().Add(retryAfter(err, refusedPause))
		r.metrics.compared.WithLabelValues("failed").Inc()
		r.Logger.WarnContext(ctx, "a repository could not be compared with GitHub; it goes on from there", "repository", c.Repository.FullName, "again_at", c.Due, "error", err)
	default:
		return err
	}
	return r.Store.SaveReconciliation(ctx, c)
}

// comparePages goes through everything that changed since the cursor. The list
// is in the order of changes, so the cursor follows it page by page: an issue
// that changes meanwhile comes again at the end, and none is skipped.
func (r *Reconciler) comparePages(ctx context.Context, c *store.Reconciliation) error {
	if err := r.freshenLabels(ctx, c); err != nil {
		return err
	}
	l, first := newListing(c.Since.Add(-again).Truncate(time.Second)), true
	for {
		query := github.IssueQuery{State: "all", Since: l.from, Page: l.page}
		if first {
			query.ETag = c.ETag
		}
		list, err := r.GitHub.ListIssues(github.Background(ctx), c.Repository.InstallationID, c.Repository, query)
		if err != nil {
			return err
		}
		if list.NotModified {
			return nil
		}
		horizon := list.At.Add(-settled)
		found, reached, err := r.compareList(ctx, c, l.take(list), horizon)
		if err != nil {
			return err
		}
		c.Listed, c.Missing, c.Changed = c.Listed+found.listed, c.Missing+found.missing, c.Changed+found.changed
		if found.missing+found.changed > 0 {
			c.FoundAt = r.Now()
		}
		news := reached.After(c.Since)
		if news {
			c.Since = reached
		}
		// The tag is good for the same question: only where the cursor has not moved,
		// and where nothing on the page was left for later.
		c.ETag = ""
		if first && !news && !list.Full && found.left == 0 {
			c.ETag = list.ETag
		}
		first = false
		if found.left > 0 || !l.next(list) {
			return nil
		}
		if news {
			if err := r.Store.SaveReconciliation(ctx, *c); err != nil {
				return fmt.Errorf("store: %w", err)
			}
		}
	}
}

// found is what comparing a page came to.
type found struct {
	listed, missing, changed, touched int64
	left                              int // too fresh to be compared
}

// compareList compares a page with the store and puts what differs into the log.
func (r *Reconciler) compareList(ctx context.Context, c *store.Reconciliation, list []github.ListedIssue, horizon time.Time) (f found, reached time.Time, err error) {
	var issues []github.ListedIssue
	var keys []triage.IssueKey
	for _, listed := range list {
		if listed.Issue.UpdatedAt.After(horizon) {
			f.left++
			continue
		}
		reached = listed.Issue.UpdatedAt
		if listed.PullRequest {
			continue
		}
		issues = append(issues, listed)
		keys = append(keys, listed.Issue.Key())
	}
	if len(issues) == 0 {
		return f, reached, nil
	}
	states, err := r.Store.LoadIssues(ctx, keys)
	if err != nil {
		return f, reached, fmt.Errorf("store: %w", err)
	}
	var made []event
	for _, listed := range issues {
		f.listed++
		state := states[listed.Issue.Key()]
		what := state.Compare(listed.Issue)
		action := github.ActionReconciled
		switch what {
		case store.ListedSame:
			continue
		case store.ListedTouched:
			f.touched++
		case store.ListedChanged:
			f.changed++
		case store.ListedMissing:
			f.missing++
			if !listed.Issue.CreatedAt.Before(c.Since.Add(-again)) {
				action = "opened" // within the time that is compared: its opening was missed
			}
		}
		events, err := r.missed(ctx, c.Repository, state, listed, action)
		if err != nil {
			return f, reached, err
		}
		made = append(made, events...)
	}
	if err := r.enqueue(ctx, made, false); err != nil {
		return f, reached, err
	}
	r.metrics.found.WithLabelValues("missing").Add(float64(f.missing))
	r.metrics.found.WithLabelValues("changed").Add(float64(f.changed))
	r.metrics.found.WithLabelValues("touched").Add(float64(f.touched))
	if f.missing+f.changed > 0 {
		r.Logger.InfoContext(ctx, "comparing with GitHub found what no webhook had told", "repository", c.Repository.FullName,
			"issues_missing", f.missing, "issues_changed", f.changed)
	}
	return f, reached, nil
}

// freshenLabels reads the repository's label set again when news of it was
// missed, or when it was long ago.
func (r *Reconciler) freshenLabels(ctx context.Context, c *store.Reconciliation) error {
	if !c.LabelsDue && r.Now().Sub(c.CompletedAt) < labelsKept {
		return nil
	}
	at := r.Now()
	labels, err := r.GitHub.RepositoryLabels(github.Background(ctx), c.Repository.InstallationID, c.Repository)
	if err != nil {
		return err
	}
	if err := r.Store.SaveRepositoryLabels(ctx, c.Repository.ID, labels, at); err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("store: %w", err)
	}
	c.LabelsDue = false
	return nil
}
