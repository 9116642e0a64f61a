package label

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dispatchai/dispatchai/core/failpoint"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

const (
	// planAttempts is how often an issue is looked at anew when the ledger
	// changed between the plan and its execution.
	planAttempts = 3
	// unclearAttempts is how often an issue that contradicts its own history is
	// looked at again before it is left as it is: a minute altogether.
	unclearAttempts = 6
)

var errUnclear = errors.New("the issue and its label history contradict each other; looking again later")

// settle brings one issue's labels to the desired state, or finds out why it
// has to wait. A row that it leaves without a result stays due.
func (d *drain) settle(ctx context.Context, row store.Desired) {
	at, w := d.sites[row.Issue.RepositoryID], d.worker
	if ctx.Err() != nil || d.blocked(row) {
		return
	}
	ctx = class(ctx, row)
	if err := at.failed(); err != nil {
		d.failed(ctx, row, at, err)
		return
	}
	if err := w.GitHub.Ready(ctx, at.repository.InstallationID); err != nil {
		d.failed(ctx, row, at, err) // nothing is read for a write that cannot follow
		return
	}
	ledger := d.scene.ledger[row.Issue]
	var unclear bool
	var err error
	for attempt := 1; !row.Ignored; attempt++ {
		unclear, err = w.bring(ctx, row, at, ledger, d.scene.suggestions[row.Issue])
		if !errors.Is(err, store.ErrConflict) || attempt == planAttempts {
			break
		}
		fresh, readErr := w.Store.Ledger(ctx, []triage.IssueKey{row.Issue})
		if readErr != nil {
			err = fmt.Errorf("store: %w", readErr)
			break
		}
		ledger = fresh[row.Issue]
	}
	if err == nil && !row.Ignored {
		err = w.ask(ctx, row, at.repository)
	}
	if err == nil {
		err = w.react(ctx, row, at.repository)
	}
	switch {
	case err != nil:
		d.failed(ctx, row, at, err)
	case row.Ignored:
		d.done(row, "ignored")
	case unclear && row.Attempts < unclearAttempts:
		d.postpone(row, 0, longestDelay, errUnclear)
	default:
		d.done(row, "labelled")
		w.metrics.latencySeconds.Observe(w.Now().Sub(row.ReceivedAt).Seconds())
	}
}

// bring looks at the issue and does what is to be done; unclear tells that a
// part of it was left undone because nobody can tell yet what is right.
func (w *Worker) bring(ctx context.Context, row store.Desired, at *site, ledger []triage.LedgerEntry, suggestions []store.Suggestion) (unclear bool, _ error) {
	onIssue, err := w.GitHub.IssueLabels(ctx, at.repository.InstallationID, at.repository, row.Issue.Number)
	if err != nil {
		return false, fmt.Errorf("read the issue's labels: %w", err)
	}
	view := triage.LabelView{Desired: row.Labels, OnIssue: onIssue, Ledger: ledger, Taxonomy: at.taxonomy}
	plan := triage.PlanLabels(view)
	if plan.NeedHistory {
		if view.History, err = w.history(ctx, row, at.repository); err != nil {
			return false, fmt.Errorf("read the issue's label history: %w", err)
		}
		view.HistoryKnown = true
		plan = triage.PlanLabels(view)
	}
	for _, skipped := range plan.Skipped {
		w.metrics.skipped.WithLabelValues(string(skipped.Reason)).Inc()
	}
	if err := w.record(ctx, row, plan.Settle); err != nil {
		return false, err
	}
	if err := w.add(ctx, row, at.repository, plan.Add); err != nil {
		return false, err
	}
	for _, e := range plan.Remove {
		if slices.Contains(row.Held, e.Field) {
			continue
		}
		if err := w.remove(ctx, row, at.repository, e); err != nil {
			return false, err
		}
	}
	if len(row.Suggested) > 0 || anyOpen(suggestions) {
		if err := w.suggest(ctx, row, at, view, suggestions); err != nil {
			return false, err
		}
	}
	if row.IssueType != "" {
		if err := w.setType(ctx, row, at.repository); err != nil {
			return false, err
		}
	}
	return plan.Unclear, nil
}

// history is the issue's label history with our own hand marked in it.
func (w *Worker) history(ctx context.Context, row store.Desired, repository triage.Repository) ([]triage.LabelEvent, error) {
	slug, err := w.GitHub.AppSlug(ctx)
	if err != nil {
		return nil, err
	}
	events, err := w.GitHub.LabelHistory(ctx, repository.InstallationID, repository, row.Issue.Number)
	if err != nil {
		return nil, err
	}
	history := make([]triage.LabelEvent, len(events))
	for i, e := range events {
		history[i] = triage.LabelEvent{
			Label: e.Label, Added: e.Added, Actor: e.Actor, Created: e.At,
			Ours: e.Actor.Type == triage.ActorBot && strings.EqualFold(e.Actor.Login, slug+"[bot]"),
		}
	}
	return history, nil
}

func (w *Worker) add(ctx context.Context, row store.Desired, repository triage.Repository, labels []triage.DesiredLabel) error {
	if len(labels) == 0 {
		return nil
	}
	entries := make([]triage.LedgerEntry, len(labels))
	names := make([]string, len(labels))
	for i, l := range labels {
		entries[i] = triage.LedgerEntry{DesiredLabel: l, State: triage.LedgerIntended}
		names[i] = l.Name
	}
	failpoint.Hit("label/before-intent")
	if err := w.record(ctx, row, entries); err != nil {
		return err
	}
	failpoint.Hit("label/after-intent")
	if _, err := w.GitHub.AddLabels(ctx, repository.InstallationID, repository, row.Issue.Number, names); err != nil {
		return fmt.Errorf("add labels: %w", err)
	}
	failpoint.Hit("label/after-add")
	for i := range entries {
		entries[i].State = triage.LedgerWritten
		w.metrics.written.WithLabelValues("added", string(entries[i].Field)).Inc()
	}
	if err := w.record(ctx, row, entries); err != nil {
		return err
	}
	failpoint.Hit("label/after-written")
	return nil
}

func (w *Worker) remove(ctx context.Context, row store.Desired, repository triage.Repository, e triage.LedgerEntry) error {
	e.State = triage.LedgerRemoving
	failpoint.Hit("label/before-removal")
	if err := w.record(ctx, row, []triage.LedgerEntry{e}); err != nil {
		return err
	}
	if err := w.GitHub.RemoveLabel(ctx, repository.InstallationID, repository, row.Issue.Number, e.Name); err != nil {
		return fmt.Errorf("take off label %q: %w", e.Name, err)
	}
	failpoint.Hit("label/after-removal")
	e.State = triage.LedgerRemoved
	w.metrics.written.WithLabelValues("removed", string(e.Field)).Inc()
	return w.record(ctx, row, []triage.LedgerEntry{e})
}

// record writes ledger rows; it goes on while the process is stopping, because
// what was done on GitHub must be known.
func (w *Worker) record(ctx context.Context, row store.Desired, entries []triage.LedgerEntry) error {
	if len(entries) == 0 {
		return nil
	}
	now := w.Now().UTC()
	for i := range entries {
		entries[i].Issue = row.Issue
		entries[i].UpdatedAt = now
		if entries[i].CreatedAt.IsZero() || entries[i].State == triage.LedgerIntended {
			entries[i].CreatedAt = now
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseMargin)
	defer cancel()
	if err := w.Store.RecordLedger(ctx, entries); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}
