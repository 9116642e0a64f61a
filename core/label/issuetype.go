package label

import (
	"context"
	"fmt"
	"strings"

	"github.com/dispatchai/dispatchai/core/failpoint"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// issueType is the type that the category gives the issue, "" for none.
func issueType(in *store.Configuration, c triage.Classification) string {
	a, mode := c.Fields[triage.FieldCategory], in.Config.ModeOf(triage.FieldCategory)
	human := a.Source == triage.SourceHuman
	switch {
	case len(a.Values) == 0, mode == triage.ModeShadow, mode == triage.ModeSuggest && !human:
		return ""
	case !human && !(a.Confidence >= in.Config.Threshold(a.Plugin, triage.FieldCategory)):
		return ""
	}
	name, _ := in.Config.IssueType(a.Values[0], in.IssueTypes)
	return name
}

// setType gives the issue its type, once, where it has none: what is made of it
// afterwards is people's.
func (w *Worker) setType(ctx context.Context, row store.Desired, repository triage.Repository) error {
	rows, err := w.Store.IssueTypes(ctx, []triage.IssueKey{row.Issue})
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	held, known := rows[row.Issue]
	if known && held.State != store.TypingIntended {
		return nil
	}
	has, err := w.GitHub.IssueType(ctx, repository.InstallationID, repository, row.Issue.Number)
	if err != nil {
		return fmt.Errorf("read the issue's type: %w", err)
	}
	next := store.TypedIssue{Issue: row.Issue, Type: row.IssueType, EventID: row.EventID, State: store.TypingIntended}
	switch {
	case has != "" && known && strings.EqualFold(has, held.Type):
		next.Type, next.State = held.Type, store.TypingWritten // before a crash
		return w.recordType(ctx, next)
	case has != "":
		next.State = store.TypingForeign
		return w.recordType(ctx, next)
	}
	failpoint.Hit("label/before-type")
	if err := w.recordType(ctx, next); err != nil {
		return err
	}
	if has, err = w.GitHub.SetIssueType(ctx, repository.InstallationID, repository, row.Issue.Number, row.IssueType); err != nil {
		return fmt.Errorf("set the issue's type: %w", err)
	}
	failpoint.Hit("label/after-type")
	if next.State = store.TypingWritten; !strings.EqualFold(has, row.IssueType) {
		next.State = store.TypingRefused
		w.Logger.WarnContext(ctx, "GitHub has not set the issue's type; the App lacks the right", "repository", repository.FullName, "issue", row.Issue.Number)
	} else {
		w.metrics.written.WithLabelValues("typed", string(triage.FieldCategory)).Inc()
	}
	return w.recordType(ctx, next)
}

func (w *Worker) recordType(ctx context.Context, row store.TypedIssue) error {
	row.At = w.Now().UTC()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseMargin)
	defer cancel()
	if err := w.Store.RecordIssueType(ctx, row); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}
