package reconcile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/failpoint"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// directoryRetry is how soon a failed comparison of the installations is tried again.
const directoryRetry = time.Minute

// compareDirectoryOn compares the App's installations at once and from then on,
// until ctx ends.
func (r *Reconciler) compareDirectoryOn(ctx context.Context) {
	for ctx.Err() == nil {
		wait, err := r.compareDirectory(ctx)
		if err != nil && ctx.Err() == nil {
			r.Logger.WarnContext(ctx, "the App's installations could not be compared with GitHub", "again_in", wait, "error", err)
		}
		pause(ctx, wait, r.directory)
	}
}

// compareDirectory compares the installations and repositories that GitHub lists
// with the store, and puts what no webhook told of into installations.raw. It
// returns when to do so again.
func (r *Reconciler) compareDirectory(ctx context.Context) (time.Duration, error) {
	sweep, err := r.Store.LoadSweep(ctx)
	if err != nil {
		return directoryRetry, err
	}
	began := r.Now()
	listed, err := r.GitHub.ListInstallations(github.Background(ctx))
	if err != nil {
		return retryAfter(err, directoryRetry), err
	}
	known, err := r.Store.ListRepositories(ctx)
	if err != nil {
		return directoryRetry, err
	}
	byInstallation := make(map[int64][]triage.Repository)
	for _, k := range known {
		id := k.Repository.InstallationID
		byInstallation[id] = append(byInstallation[id], k.Repository)
	}
	var first error
	for _, installation := range listed {
		held := byInstallation[installation.ID]
		delete(byInstallation, installation.ID)
		if err := r.compareInstallation(ctx, installation, held, sweep.DirectoryAt, began); err != nil {
			if ctx.Err() != nil {
				return directoryRetry, err
			}
			first = errors.Join(first, err)
		}
	}
	for id, repositories := range byInstallation {
		if err := r.missingInstallation(ctx, id, repositories, began); err != nil {
			first = errors.Join(first, err)
		}
	}
	if first != nil {
		return retryAfter(first, directoryRetry), first
	}
	if err := r.Store.SaveDirectory(ctx, began); err != nil {
		return directoryRetry, err
	}
	return jitter(r.ReconcileEvery), nil
}

// compareInstallation compares one installation that GitHub lists.
func (r *Reconciler) compareInstallation(ctx context.Context, installation github.ListedInstallation, held []triage.Repository, since, at time.Time) error {
	state, err := r.Store.LoadInstallation(ctx, installation.ID)
	unknown := errors.Is(err, store.ErrNotFound)
	switch {
	case err != nil && !unknown:
		return err
	case state.Removed:
		return nil // its removal is on the way in GitHub's list too, or the other way round
	case !unknown && state.Suspended != installation.Suspended && installation.UpdatedAt.After(state.UpdatedAt):
		action := "unsuspend"
		if installation.Suspended {
			action = "suspend"
		}
		if err := r.tellInstallation(ctx, at, github.EventInstallation, action, installation, nil, nil); err != nil {
			return err
		}
	}
	if installation.Suspended {
		return nil // nothing of it can be read
	}
	visible, err := r.GitHub.InstallationRepositories(github.Background(ctx), installation.ID)
	if err != nil {
		return err
	}
	added := slices.DeleteFunc(slices.Clone(visible), func(v triage.Repository) bool {
		return slices.ContainsFunc(held, func(h triage.Repository) bool {
			return h.ID == v.ID && h.FullName == v.FullName && h.Private == v.Private
		})
	})
	removed := slices.DeleteFunc(slices.Clone(held), func(h triage.Repository) bool {
		return slices.ContainsFunc(visible, func(v triage.Repository) bool { return h.ID == v.ID })
	})
	if !unknown && len(added)+len(removed) == 0 {
		return nil
	}
	// Their issues are compared from when the App can have been there, but not from
	// before the last time when it was not.
	from := installation.CreatedAt
	if since.After(from) {
		from = since
	}
	if err := r.expect(ctx, added, from); err != nil {
		return err
	}
	if unknown {
		err = r.tellInstallation(ctx, at, github.EventInstallation, "created", installation, added, nil)
	} else {
		err = r.tellInstallation(ctx, at, github.EventInstallationRepositories, "added", installation, added, removed)
	}
	if err != nil {
		return err
	}
	r.Logger.InfoContext(ctx, "GitHub lists repositories otherwise than webhooks had told", "installation", installation.ID, "account", installation.Account,
		"unknown", unknown, "added", len(added), "removed", len(removed))
	r.metrics.found.WithLabelValues("repositories").Add(float64(len(added) + len(removed)))
	return nil
}

// missingInstallation deals with one that GitHub does not list any more: its
// end is told only when GitHub also says that it does not exist.
func (r *Reconciler) missingInstallation(ctx context.Context, id int64, held []triage.Repository, at time.Time) error {
	if id == 0 {
		return nil
	}
	state, err := r.Store.LoadInstallation(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		state, err = triage.Installation{ID: id}, nil
	}
	if err != nil || state.Removed {
		return err
	}
	if _, err := r.GitHub.Installation(github.Background(ctx), id); !errors.Is(err, github.ErrNotFound) {
		return err
	}
	raw := fmt.Sprintf(`{"id":%d,"account":{"login":%q}}`, id, state.Account)
	r.Logger.InfoContext(ctx, "an installation has ended, which no webhook had told", "installation", id, "account", state.Account, "repositories", len(held))
	return r.tellInstallation(ctx, at, github.EventInstallation, "deleted", github.ListedInstallation{Installation: state, Raw: []byte(raw)}, nil, held)
}

// tellInstallation appends an event to installations.raw, under an ID that
// follows from what it says. It is as old as the list that it comes from, so that a
// webhook of what happened since stands.
func (r *Reconciler) tellInstallation(ctx context.Context, at time.Time, name, action string, installation github.ListedInstallation, added, removed []triage.Repository) error {
	value, err := github.EncodeDirectory(name, action, installation, added, removed)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(value)
	id := strconv.FormatInt(installation.ID, 10)
	record := eventlog.Record{Topic: eventlog.TopicInstallationsRaw, Key: id, Value: value}
	record.SetHeader(eventlog.HeaderDelivery, fmt.Sprintf("reconcile/%s/%s/%s", name, id, hex.EncodeToString(sum[:6])))
	record.SetHeader(eventlog.HeaderEvent, name)
	record.SetHeader(eventlog.HeaderReceivedAt, at.UTC().Format(time.RFC3339Nano))
	failpoint.Hit("reconcile/before-directory")
	if err := r.Publisher.Append(ctx, record); err != nil {
		return fmt.Errorf("event log: %w", err)
	}
	failpoint.Hit("reconcile/after-directory")
	if name == github.EventInstallation {
		r.metrics.found.WithLabelValues("installations").Inc()
	}
	return nil
}

// expect writes down from when repositories are to be compared that the directory
// is about to know.
func (r *Reconciler) expect(ctx context.Context, repositories []triage.Repository, from time.Time) error {
	if err := r.Store.ExpectRepositories(ctx, repositories, from, r.Now()); err != nil {
		return err
	}
	return r.backfillNew(ctx, repositories)
}
