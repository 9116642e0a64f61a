package label

import (
	"context"
	"slices"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// desire fills in what the repository's configuration makes of a classification:
// the labels to write and to suggest, and the fields whose labels stay as they are.
func (w *Worker) desire(row *store.Desired, issue triage.Issue, held *triage.Classification, repository store.RepositoryState) {
	in := repository.InForce()
	row.ConfigVersion = in.Version
	row.Labels, row.Suggested, row.Held, row.IssueType = nil, nil, nil, ""
	if row.Request != nil && row.Request.Label != "" {
		row.Labels = []triage.DesiredLabel{triage.RequestLabel(row.Request.Label, row.EventID)}
	}
	if held == nil { // an issue that nobody has classified: nothing is known to be right or wrong
		row.Held = labelledFields()
		return
	}
	c := *held
	row.Held = in.Config.HeldFields(issue, c)
	if _, skip := in.Config.Skips(issue); skip && !asked(c) {
		return
	}
	labels, suggested := in.Config.DesiredLabels(c, w.taxonomy(issue.Repository.ID, repository.Labels, in))
	row.Labels = append(labels, row.Labels...)
	for _, l := range suggested {
		row.Suggested = append(row.Suggested, store.SuggestedLabel{DesiredLabel: l, Reason: c.Fields[l.Field].Reason})
	}
	row.IssueType = issueType(in, c)
}

// asked tells whether a person said what a field is: that counts even on an
// issue that is otherwise left alone.
func asked(c triage.Classification) bool {
	for _, a := range c.Fields {
		if a.Source == triage.SourceHuman {
			return true
		}
	}
	return false
}

func labelledFields() []triage.Field {
	var fields []triage.Field
	for _, f := range triage.Fields() {
		if f.Labelled() {
			fields = append(fields, f)
		}
	}
	return fields
}

// untouched tells that nothing of the issue is the app's to change.
func untouched(row store.Desired, suggestions []store.Suggestion) bool {
	return len(row.Labels) == 0 && len(row.Suggested) == 0 && row.IssueType == "" && len(row.Held) == len(labelledFields()) && !anyOpen(suggestions)
}

func anyOpen(suggestions []store.Suggestion) bool {
	return slices.ContainsFunc(suggestions, func(s store.Suggestion) bool { return s.State.Open() })
}

// reconsider brings rows up to the configuration that is in force now, where
// they were written down under another: what a repository wants today counts,
// however long the row has waited.
func (w *Worker) reconsider(ctx context.Context, claimed []store.ClaimedInstallation, repositories map[int64]store.RepositoryState) error {
	var stale []*store.Desired
	var keys []triage.IssueKey
	for _, inst := range claimed {
		for i := range inst.Rows {
			row := &inst.Rows[i]
			if state, known := repositories[row.Issue.RepositoryID]; known && row.ConfigVersion != state.InForce().Version {
				stale, keys = append(stale, row), append(keys, row.Issue)
			}
		}
	}
	if len(stale) == 0 {
		return nil
	}
	issues, err := w.Store.LoadIssues(ctx, keys)
	if err != nil {
		return err
	}
	for _, row := range stale {
		issue, kept := issues[row.Issue]
		if !kept { // erased since
			row.Labels, row.Suggested, row.Held, row.IssueType = nil, nil, labelledFields(), ""
			continue
		}
		w.desire(row, issue.Issue, issue.Effective(), repositories[row.Issue.RepositoryID])
	}
	return nil
}
