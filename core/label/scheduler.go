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
	// leaseFor is how long an installation stays this process's own without
	// news; a crashed owner's work is taken over after it.
	leaseFor = time.Minute
	// idlePoll is how often rows that became due by time alone are looked for.
	idlePoll = time.Second
	// maxIssues is how many rows of one installation are claimed at once.
	maxIssues = 32
	// firstDelay and longestDelay bound the back-off of a row that fails.
	firstDelay   = time.Second
	longestDelay = time.Hour
)

// Run drains the desired-state rows until ctx ends, then waits for the calls
// under way. It returns nil after an orderly stop.
func (w *Worker) Run(ctx context.Context) error {
	slots := make(chan struct{}, w.Concurrency)
	finished := make(chan struct{}, 1)
	var claimed sync.WaitGroup
	defer claimed.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for sequence := 0; ; sequence++ {
		if free := cap(slots) - len(slots); free > 0 {
			// Each claim leases under a name of its own, so that this process does
			// not take an installation twice at the same time.
			owner := fmt.Sprintf("%s/%d", w.Owner, sequence)
			if err := w.claim(ctx, owner, free, slots, &claimed, finished); err != nil && ctx.Err() == nil {
				w.Logger.ErrorContext(ctx, "cannot claim issues to label; trying again", "error", err)
			}
		}
		timer.Reset(idlePoll)
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		case <-finished:
		case <-timer.C:
		}
	}
}

// claim takes up to free installations and works on each in a goroutine of its own.
func (w *Worker) claim(ctx context.Context, owner string, free int, slots chan struct{}, claimed *sync.WaitGroup, finished chan<- struct{}) error {
	installations, err := w.Store.ClaimDesired(ctx, store.Claim{
		Owner: owner, Now: w.Now(), LeaseFor: leaseFor, MaxInstallations: free, MaxIssues: maxIssues,
	})
	if err != nil {
		return err
	}
	for _, inst := range installations {
		slots <- struct{}{}
		claimed.Go(func() {
			defer func() {
				<-slots
				select {
				case finished <- struct{}{}:
				default:
				}
			}()
			w.drain(ctx, owner, inst)
		})
	}
	return nil
}

// drain works through the claimed rows of one installation and gives the lease back.
func (w *Worker) drain(ctx context.Context, owner string, inst store.ClaimedInstallation) {
	var (
		mu           sync.Mutex
		results      []store.DesiredResult
		blockedUntil time.Time
	)
	// Whatever happens, what was done is settled, even while stopping.
	settleCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseFor)
	defer cancel()

	scene, err := w.scene(ctx, inst)
	if err != nil {
		for _, row := range inst.Rows {
			results = append(results, w.postponed(row, err))
		}
		blockedUntil = w.blockedUntil(err)
	} else {
		var group errgroup.Group
		group.SetLimit(w.PerInstallation)
		for _, row := range inst.Rows {
			group.Go(func() error {
				mu.Lock()
				blocked := !blockedUntil.IsZero()
				mu.Unlock()
				if blocked || ctx.Err() != nil {
					return nil // still due; the lease's end or the block brings it back
				}
				result, err := w.settle(ctx, inst, row, scene)
				mu.Lock()
				defer mu.Unlock()
				if result != nil {
					results = append(results, *result)
				}
				if until := w.blockedUntil(err); until.After(blockedUntil) {
					blockedUntil = until
				}
				return nil
			})
		}
		_ = group.Wait()
	}
	if len(results) > 0 {
		if err := w.Store.FinishDesired(settleCtx, results); err != nil {
			w.Logger.ErrorContext(ctx, "cannot settle labelled issues; they will be looked at again", "installation", inst.InstallationID, "error", err)
		}
	}
	if err := w.Store.ReleaseInstallation(settleCtx, inst.InstallationID, owner, blockedUntil); err != nil {
		w.Logger.WarnContext(ctx, "cannot release an installation; its lease will run out", "installation", inst.InstallationID, "error", err)
	}
}

// scene is what the rows of one installation are judged by.
type scene struct {
	repositories map[int64]store.RepositoryState
	taxonomies   map[int64]triage.Taxonomy
	ledger       map[triage.IssueKey][]triage.LedgerEntry
}

// labelSetMaxAge is how old a repository's stored label set may be before it is
// read again. A POST of labels creates those that do not exist, so the set must
// be right; label events keep it so between two readings.
const labelSetMaxAge = 5 * time.Minute

func (w *Worker) scene(ctx context.Context, inst store.ClaimedInstallation) (scene, error) {
	s := scene{taxonomies: make(map[int64]triage.Taxonomy)}
	keys := make([]triage.IssueKey, len(inst.Rows))
	var ids []int64
	seen := make(map[int64]bool)
	for i, row := range inst.Rows {
		keys[i] = row.Issue
		if id := row.Issue.RepositoryID; !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	var err error
	if s.repositories, err = w.Store.LoadRepositories(ctx, ids); err != nil {
		return s, fmt.Errorf("store: %w", err)
	}
	if s.ledger, err = w.Store.Ledger(ctx, keys); err != nil {
		return s, fmt.Errorf("store: %w", err)
	}
	for id, r := range s.repositories {
		if w.Now().Sub(r.LabelsAt) > labelSetMaxAge {
			at := w.Now()
			labels, err := w.GitHub.RepositoryLabels(ctx, inst.InstallationID, r.Repository)
			if err != nil {
				return s, fmt.Errorf("read the labels of %s: %w", r.Repository.FullName, err)
			}
			if err := w.Store.SaveRepositoryLabels(ctx, id, labels, at); err != nil {
				return s, fmt.Errorf("store: %w", err)
			}
			r.Labels = labels
		}
		s.taxonomies[id] = triage.NewTaxonomy(r.Labels)
	}
	return s, nil
}

// blockedUntil is until when an error keeps a whole installation back; zero when it does not.
func (w *Worker) blockedUntil(err error) time.Time {
	if after, ok := github.RetryAfter(err); ok {
		return w.Now().Add(after)
	}
	for _, refusal := range []error{github.ErrForbidden, github.ErrSuspended, github.ErrUnauthorized} {
		if errors.Is(err, refusal) {
			return w.Now().Add(refusedFor)
		}
	}
	return time.Time{}
}

// refusedFor is how long an installation that refuses the App is left alone.
const refusedFor = 10 * time.Minute

// postponed is the result of a row that has to wait.
func (w *Worker) postponed(row store.Desired, err error) store.DesiredResult {
	delay := min(firstDelay<<min(row.Attempts, 12), longestDelay)
	if errors.Is(err, context.Canceled) || errors.Is(err, github.ErrRateLimited) {
		delay = 0
	}
	return store.DesiredResult{Issue: row.Issue, Revision: row.Revision, NotBefore: w.Now().Add(delay), Error: err.Error()}
}
