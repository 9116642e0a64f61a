package label

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dispatchai/dispatchai/core/failpoint"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// settle brings one issue's labels to the desired state. The result is nil when
// the row should simply stay due; the error tells what went wrong with GitHub.
func (w *Worker) settle(ctx context.Context, inst store.ClaimedInstallation, row store.Desired, s scene) (*store.DesiredResult, error) {
	done := &store.DesiredResult{Issue: row.Issue, Revision: row.Revision, Done: true}
	repository, known := s.repositories[row.Issue.RepositoryID]
	ledger := s.ledger[row.Issue]
	if !known || repository.Repository.Removed {
		w.metrics.settled.WithLabelValues("gone").Inc()
		return done, nil
	}
	if len(row.Labels) == 0 && len(ledger) == 0 {
		w.metrics.settled.WithLabelValues("unlabelled").Inc()
		return done, nil
	}
	log := w.Logger.With("repository", repository.Repository.FullName, "issue", row.Issue.Number, "delivery", row.EventID, "traceparent", row.Traceparent)

	err := w.bring(ctx, inst, row, repository.Repository, s.taxonomies[row.Issue.RepositoryID], ledger)
	switch {
	case err == nil:
		w.metrics.settled.WithLabelValues("labelled").Inc()
		w.metrics.latencySeconds.Observe(w.Now().Sub(row.ReceivedAt).Seconds())
		return done, nil
	case errors.Is(err, github.ErrNotFound), errors.Is(err, github.ErrGone):
		log.InfoContext(ctx, "the issue is gone from GitHub; nothing to label")
		w.metrics.settled.WithLabelValues("gone").Inc()
		return done, nil
	case ctx.Err() != nil:
		return nil, nil
	}
	w.metrics.settled.WithLabelValues("postponed").Inc()
	log.WarnContext(ctx, "labels have to wait", "attempts", row.Attempts+1, "error", err)
	result := w.postponed(row, err)
	return &result, err
}

func (w *Worker) bring(ctx context.Context, inst store.ClaimedInstallation, row store.Desired, repository triage.Repository, taxonomy triage.Taxonomy, ledger []triage.LedgerEntry) error {
	onIssue, err := w.GitHub.IssueLabels(ctx, inst.InstallationID, repository, row.Issue.Number)
	if err != nil {
		return fmt.Errorf("read the issue's labels: %w", err)
	}
	view := triage.LabelView{Desired: row.Labels, OnIssue: onIssue, Ledger: ledger, Taxonomy: taxonomy}
	plan := triage.PlanLabels(view)
	if plan.NeedHistory {
		if view.History, err = w.history(ctx, inst, row, repository); err != nil {
			return fmt.Errorf("read the issue's label history: %w", err)
		}
		view.HistoryKnown = true
		plan = triage.PlanLabels(view)
	}
	for _, skipped := range plan.Skipped {
		w.metrics.skipped.WithLabelValues(string(skipped.Reason)).Inc()
	}
	if err := w.record(ctx, row, plan.Settle); err != nil {
		return err
	}
	if err := w.add(ctx, inst, row, repository, plan.Add); err != nil {
		return err
	}
	for _, e := range plan.Remove {
		if err := w.remove(ctx, inst, row, repository, e); err != nil {
			return err
		}
	}
	return nil
}

// history is the issue's label history with our own hand marked in it.
func (w *Worker) history(ctx context.Context, inst store.ClaimedInstallation, row store.Desired, repository triage.Repository) ([]triage.LabelEvent, error) {
	slug, err := w.GitHub.AppSlug(ctx)
	if err != nil {
		return nil, err
	}
	events, err := w.GitHub.LabelHistory(ctx, inst.InstallationID, repository, row.Issue.Number)
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

func (w *Worker) add(ctx context.Context, inst store.ClaimedInstallation, row store.Desired, repository triage.Repository, labels []triage.DesiredLabel) error {
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
	if _, err := w.GitHub.AddLabels(ctx, inst.InstallationID, repository, row.Issue.Number, names); err != nil {
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

func (w *Worker) remove(ctx context.Context, inst store.ClaimedInstallation, row store.Desired, repository triage.Repository, e triage.LedgerEntry) error {
	e.State = triage.LedgerRemoving
	failpoint.Hit("label/before-removal")
	if err := w.record(ctx, row, []triage.LedgerEntry{e}); err != nil {
		return err
	}
	if err := w.GitHub.RemoveLabel(ctx, inst.InstallationID, repository, row.Issue.Number, e.Name); err != nil {
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
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseFor)
	defer cancel()
	if err := w.Store.RecordLedger(ctx, entries); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}
