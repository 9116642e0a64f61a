package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dispatchai/dispatchai/core/control"
	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/failpoint"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

const (
	// inFlight is how many backfilled issues wait in the log at most: a live event
	// never waits behind more.
	inFlight = 24
	// liveLag is how many events may wait for the workers while a backfill goes on;
	// with more, live events have the workers to themselves.
	liveLag = 100
	// inFlightLook is how often it is looked whether those in flight were handled,
	// and inFlightMost after how long it goes on without them: one that cannot be handled ends
	// among the dead letters.
	inFlightLook = 50 * time.Millisecond
	inFlightMost = 2 * time.Minute
	// backfillLook is how often it is looked for work where nobody says that there is some.
	backfillLook = 5 * time.Second
	// backfillRetry is after how long a backfill that failed goes on.
	backfillRetry = 30 * time.Second
	progressEvery = time.Second
)

// backfillOn does what backfills are asked for, one after the other, until ctx ends.
func (r *Reconciler) backfillOn(ctx context.Context) {
	for ctx.Err() == nil {
		requests, changed := r.Requests()
		b, ok, err := r.nextBackfill(ctx, requests)
		if err == nil && ok {
			err = r.backfill(ctx, b)
		}
		if err != nil && ctx.Err() == nil {
			r.Logger.WarnContext(ctx, "backfills are held up", "error", err)
		}
		if !ok || err != nil {
			pause(ctx, backfillLook, changed)
		}
	}
}

// backfillNew begins backfills of repositories that the App is newly installed on.
func (r *Reconciler) backfillNew(ctx context.Context, repositories []triage.Repository) error {
	if r.BackfillNew == "" || r.BackfillNew == triage.BackfillNone {
		return nil
	}
	now := r.Now()
	for _, repository := range repositories {
		err := r.Store.StartBackfill(ctx, store.Backfill{
			Repository: repository, RequestID: "install", State: string(r.BackfillNew), AskedBy: "DISPATCHAI_BACKFILL_ON_INSTALL",
			AskedAt: now, Status: store.BackfillRunning, UpdatedAt: now,
		})
		if err != nil {
			return fmt.Errorf("store: %w", err)
		}
	}
	return nil
}

// nextBackfill takes up new requests, stops what is to be stopped, and gives the
// backfill that has waited longest.
func (r *Reconciler) nextBackfill(ctx context.Context, requests map[int64]control.BackfillRequest) (next store.Backfill, ok bool, err error) {
	all, err := r.Store.Backfills(ctx)
	if err != nil {
		return next, false, err
	}
	now := r.Now()
	known := make(map[int64]store.Backfill, len(all))
	for _, b := range all {
		known[b.Repository.ID] = b
	}
	for id, request := range requests {
		if request.Cancel || known[id].RequestID == request.ID {
			continue
		}
		b := store.Backfill{
			Repository: triage.Repository{ID: id}, RequestID: request.ID, State: request.State, AskedBy: request.By, AskedAt: request.At,
			Status: store.BackfillRunning, UpdatedAt: now,
		}
		if request.Since != nil {
			b.Since = *request.Since
		}
		if err := r.Store.StartBackfill(ctx, b); err != nil {
			return next, false, err
		}
		known[id] = b
	}
	if all, err = r.Store.Backfills(ctx); err != nil {
		return next, false, err
	}
	for _, b := range all {
		if b.Status != store.BackfillRunning {
			continue
		}
		if cancelled(requests, b) {
			if err := r.finish(ctx, &b, store.BackfillCancelled, ""); err != nil {
				return next, false, err
			}
			continue
		}
		if b.Repository.Removed || b.NotBefore.After(now) {
			continue // it goes on when the repository is back, or later
		}
		if !ok || b.UpdatedAt.Before(next.UpdatedAt) {
			next, ok = b, true
		}
	}
	return next, ok, nil
}

func cancelled(requests map[int64]control.BackfillRequest, b store.Backfill) bool {
	request, ok := requests[b.Repository.ID]
	return ok && request.Cancel && request.ID == b.RequestID
}

// finish ends a backfill and says so.
func (r *Reconciler) finish(ctx context.Context, b *store.Backfill, status store.BackfillStatus, why string) error {
	b.Status, b.Error, b.UpdatedAt = status, why, r.Now()
	b.FinishedAt = b.UpdatedAt
	if err := r.Store.SaveBackfill(ctx, *b); err != nil {
		if errors.Is(err, store.ErrConflict) {
			return nil // another request has taken its place
		}
		return err
	}
	r.Logger.InfoContext(ctx, "backfill ended", "repository", b.Repository.FullName, "status", status, "listed", b.Listed, "enqueued", b.Enqueued, "unchanged", b.Unchanged, "error", why)
	return r.report(ctx, *b)
}

// report tells how far the backfill has come.
func (r *Reconciler) report(ctx context.Context, b store.Backfill) error {
	value, err := control.BackfillProgress{
		RequestID: b.RequestID, Repository: b.Repository.FullName, State: b.State, Status: string(b.Status), Total: b.Total,
		Listed: b.Listed, Enqueued: b.Enqueued, Unchanged: b.Unchanged, At: r.Now().UTC(), Error: b.Error,
	}.Encode()
	if err != nil {
		return err
	}
	return r.Publisher.Append(ctx, eventlog.Record{Topic: eventlog.TopicStatus, Key: control.BackfillKey(b.Repository.ID), Value: value})
}

// backfill goes on with a backfill until it ends or has to wait.
func (r *Reconciler) backfill(ctx context.Context, b store.Backfill) error {
	err := r.backfillPages(ctx, &b)
	if ctx.Err() != nil {
		return ctx.Err() // it goes on from where it is
	}
	var refused *github.Error
	switch {
	case errors.Is(err, errBackfillEnded):
		return r.finish(ctx, &b, store.BackfillDone, "")
	case errors.Is(err, errBackfillCancelled):
		return r.finish(ctx, &b, store.BackfillCancelled, "")
	case errors.Is(err, store.ErrConflict):
		return nil // another request has taken its place
	case errors.Is(err, github.ErrNotFound), errors.Is(err, github.ErrGone), errors.Is(err, github.ErrForbidden), errors.Is(err, github.ErrInvalid):
		return r.finish(ctx, &b, store.BackfillFailed, err.Error())
	case errors.As(err, &refused):
		b.Error, b.UpdatedAt = err.Error(), r.Now()
		b.NotBefore = r.Now().Add(retryAfter(err, backfillRetry))
		if err := r.Store.SaveBackfill(ctx, b); err != nil {
			return err
		}
		return r.report(ctx, b)
	}
	return err
}

var (
	errBackfillEnded     = errors.New("all issues were looked at")
	errBackfillCancelled = errors.New("somebody stopped it")
)

// backfillPages lists the repository's issues in the order of their last change
// and enqueues those that are not classified as they are, a few at a time.
func (r *Reconciler) backfillPages(ctx context.Context, b *store.Backfill) error {
	repository := b.Repository
	if b.Total == 0 && b.Position.IsZero() {
		total, err := r.GitHub.CountIssues(github.Background(ctx), repository.InstallationID, repository, b.State, b.Since)
		if err != nil {
			return err
		}
		b.Total = total
	}
	l := newListing(b.Since)
	if b.Position.After(l.from) {
		l.from = b.Position
	}
	for {
		list, err := r.GitHub.ListIssues(github.Background(ctx), repository.InstallationID, repository, github.IssueQuery{State: b.State, Since: l.from, Page: l.page})
		if err != nil {
			return err
		}
		if b.Begun.IsZero() {
			b.Begun = list.At
		}
		for fresh := l.take(list); len(fresh) > 0; {
			n := min(inFlight, len(fresh))
			if err := r.backfillSome(ctx, b, fresh[:n]); err != nil {
				return err
			}
			fresh = fresh[n:]
		}
		if !l.next(list) {
			return errBackfillEnded
		}
	}
}

// backfillSome deals with a part of a page and notes it once all of it was
// handled. After a crash the part is listed again, and what was enqueued by then
// has the same ID, or is classified.
func (r *Reconciler) backfillSome(ctx context.Context, b *store.Backfill, part []github.ListedIssue) error {
	if requests, _ := r.Requests(); cancelled(requests, *b) {
		return errBackfillCancelled
	}
	if err := r.yield(ctx); err != nil {
		return err
	}
	keys := make([]triage.IssueKey, 0, len(part))
	for _, listed := range part {
		if !listed.PullRequest {
			keys = append(keys, listed.Issue.Key())
		}
	}
	states, err := r.Store.LoadIssues(ctx, keys)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	var made []event
	for _, listed := range part {
		// One that changed since the beginning comes a second time, at the end.
		again := listed.Issue.UpdatedAt.After(b.Begun)
		if !again {
			b.Listed++
		}
		if listed.PullRequest {
			continue
		}
		state := states[listed.Issue.Key()]
		if state.Deleted || state.Classification != nil && (again || state.Compare(listed.Issue) <= store.ListedTouched) {
			if !again {
				b.Unchanged++
			}
			continue
		}
		e, err := snapshot("backfill/"+b.RequestID, github.Snapshot{Action: github.ActionBackfilled, Issue: listed, Repository: b.Repository})
		if err != nil {
			return err
		}
		made = append(made, e)
	}
	if err := r.enqueue(ctx, made, true); err != nil {
		return err
	}
	if err := r.handled(ctx, made); err != nil {
		return err
	}
	b.Enqueued += int64(len(made))
	b.Position, b.UpdatedAt, b.NotBefore, b.Error = part[len(part)-1].Issue.UpdatedAt, r.Now(), time.Time{}, ""
	failpoint.Hit("reconcile/before-progress")
	if err := r.Store.SaveBackfill(ctx, *b); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	failpoint.Hit("reconcile/after-progress")
	r.metrics.backfilled.WithLabelValues("enqueued").Add(float64(len(made)))
	if r.Now().Sub(r.reported) >= progressEvery {
		r.reported = r.Now()
		return r.report(ctx, *b)
	}
	return nil
}

// yield waits while live events wait.
func (r *Reconciler) yield(ctx context.Context) error {
	for {
		lags, err := r.Lag(ctx)
		if err != nil {
			return err
		}
		var waiting int64
		for _, l := range lags {
			waiting += l.Lag
		}
		if waiting <= liveLag {
			return nil
		}
		if !pause(ctx, time.Second, nil) {
			return ctx.Err()
		}
	}
}

// handled waits until the events have left their trace.
func (r *Reconciler) handled(ctx context.Context, events []event) error {
	ids := make([]string, len(events))
	for i, e := range events {
		ids[i] = e.id
	}
	until := r.Now().Add(inFlightMost)
	for len(ids) > 0 && r.Now().Before(until) {
		applied, err := r.Store.AppliedEvents(ctx, ids)
		if err != nil {
			return fmt.Errorf("store: %w", err)
		}
		left := ids[:0]
		for _, id := range ids {
			if _, done := applied[id]; !done {
				left = append(left, id)
			}
		}
		if ids = left; len(ids) == 0 {
			return nil
		}
		if !pause(ctx, inFlightLook, nil) {
			return ctx.Err()
		}
	}
	return nil
}
