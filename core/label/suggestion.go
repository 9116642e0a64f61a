package label

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dispatchai/dispatchai/core/failpoint"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// unknownFor is how long a server is taken to know no suggestions after it said so.
const unknownFor = time.Hour

// suggest brings the suggestions for an issue to what the row wants: each label
// is suggested once, what a person answered stays answered, and what is no longer
// wanted is taken back. Where GitHub knows no suggestions the dashboard alone shows them.
func (w *Worker) suggest(ctx context.Context, row store.Desired, at *site, view triage.LabelView, held []store.Suggestion) error {
	wanted, err := w.suggestable(ctx, row, at, view)
	if err != nil {
		return err
	}
	byKey := make(map[string]store.Suggestion, len(held))
	for _, s := range held {
		byKey[triage.LabelKey(s.Name)] = s
	}
	var fresh, stale []store.Suggestion
	for _, l := range wanted {
		key := triage.LabelKey(l.Name)
		s, known := byKey[key]
		delete(byKey, key)
		switch {
		case known && (s.State.Answered() || s.State == store.SuggestionPending):
			continue
		case !known || s.State == store.SuggestionWithdrawn:
			s = store.Suggestion{Issue: row.Issue, CreatedAt: w.Now().UTC()}
		}
		s.SuggestedLabel = l
		fresh = append(fresh, s)
	}
	for _, s := range byKey {
		if s.State.Open() {
			stale = append(stale, s)
		}
	}
	if len(fresh) == 0 && len(stale) == 0 {
		return nil
	}
	return w.settleSuggestions(ctx, row, at, fresh, stale)
}

// suggestable are the row's suggestions that the policy lets through: what it
// would hold back as a label, it holds back as a suggestion.
func (w *Worker) suggestable(ctx context.Context, row store.Desired, at *site, view triage.LabelView) ([]store.SuggestedLabel, error) {
	if len(row.Suggested) == 0 {
		return nil, nil
	}
	v := view
	v.Desired = nil
	for _, s := range row.Suggested {
		v.Desired = append(v.Desired, s.DesiredLabel)
	}
	plan := triage.PlanLabels(v)
	if plan.NeedHistory {
		var err error
		if v.History, err = w.history(ctx, row, at.repository); err != nil {
			return nil, fmt.Errorf("read the issue's label history: %w", err)
		}
		v.HistoryKnown = true
		plan = triage.PlanLabels(v)
	}
	var wanted []store.SuggestedLabel
	for _, d := range plan.Add {
		for _, s := range row.Suggested {
			if triage.LabelKey(s.Name) == triage.LabelKey(d.Name) {
				wanted = append(wanted, store.SuggestedLabel{DesiredLabel: d, Reason: s.Reason})
				break
			}
		}
	}
	return wanted, nil
}

func (w *Worker) settleSuggestions(ctx context.Context, row store.Desired, at *site, fresh, stale []store.Suggestion) error {
	installation, number := at.repository.InstallationID, row.Issue.Number
	var there []github.LabelSuggestion
	known := w.suggests(installation)
	if known {
		var err error
		if there, _, err = w.GitHub.LabelSuggestions(ctx, installation, at.repository, number, ""); errors.Is(err, github.ErrNotFound) {
			// The issue is there, its labels were just read.
			w.unsuggesting.Add(installation, w.Now())
			known = false
		} else if err != nil {
			return fmt.Errorf("list the suggestions: %w", err)
		}
	}
	for i := range stale {
		if err := w.withdraw(ctx, at, number, &stale[i], there, known); err != nil {
			return err
		}
	}
	if !known {
		for i := range fresh {
			fresh[i].State = store.SuggestionShown
		}
		return w.recordSuggestions(ctx, append(fresh, stale...))
	}
	if err := w.recordSuggestions(ctx, stale); err != nil {
		return err
	}
	return w.makeSuggestions(ctx, row, at, fresh, there)
}

// suggests tells whether the server may know suggestions: it is asked before
// anything is suggested, because one that does not know them would put the label
// on the issue.
func (w *Worker) suggests(installation int64) bool {
	at, said := w.unsuggesting.Get(installation)
	return !said || w.Now().Sub(at) >= unknownFor
}

// makeSuggestions suggests what is not suggested yet; what was, before a crash
// or by somebody else, is taken over.
func (w *Worker) makeSuggestions(ctx context.Context, row store.Desired, at *site, fresh []store.Suggestion, there []github.LabelSuggestion) error {
	if len(fresh) == 0 {
		return nil
	}
	installation, number := at.repository.InstallationID, row.Issue.Number
	ids := make([]int64, len(fresh))
	var missing []github.NewSuggestion
	for i := range fresh {
		var err error
		if ids[i], err = w.GitHub.LabelID(ctx, installation, at.repository, fresh[i].Name); err != nil {
			return fmt.Errorf("find the label to suggest: %w", err)
		}
		fresh[i].State = store.SuggestionIntended
		if adopt(&fresh[i], ids[i], there); fresh[i].State == store.SuggestionIntended {
			missing = append(missing, github.NewSuggestion{Label: fresh[i].Name, Rationale: fresh[i].Reason, Confidence: fresh[i].Confidence})
		}
	}
	if len(missing) > 0 {
		failpoint.Hit("label/before-suggestion")
		if err := w.recordSuggestions(ctx, fresh); err != nil {
			return err
		}
		if err := w.GitHub.SuggestLabels(ctx, installation, at.repository, number, missing); err != nil {
			return fmt.Errorf("suggest labels: %w", err)
		}
		failpoint.Hit("label/after-suggestion")
		made, _, err := w.GitHub.LabelSuggestions(ctx, installation, at.repository, number, "")
		if err != nil {
			return fmt.Errorf("list the suggestions made: %w", err)
		}
		for i := range fresh {
			adopt(&fresh[i], ids[i], made)
		}
	}
	for i := range fresh {
		if fresh[i].State == store.SuggestionIntended {
			fresh[i].State = store.SuggestionShown // GitHub has not kept it
		}
		fresh[i].LookAt = w.Now().Add(w.LookAfter)
		w.metrics.written.WithLabelValues("suggested", string(fresh[i].Field)).Inc()
	}
	return w.recordSuggestions(ctx, fresh)
}

// adopt takes over what GitHub has of the suggestion. One that a person answered
// already is Pending here until whoever looks after it finds the answer.
func adopt(s *store.Suggestion, labelID int64, there []github.LabelSuggestion) {
	for _, g := range there {
		if g.LabelID != labelID {
			continue
		}
		switch g.State {
		case github.SuggestionPending, github.SuggestionApproved, github.SuggestionDismissed:
			s.State, s.GitHubID = store.SuggestionPending, g.ID
		}
	}
}

// withdraw takes a suggestion back, unless it was answered meanwhile.
func (w *Worker) withdraw(ctx context.Context, at *site, number int, s *store.Suggestion, there []github.LabelSuggestion, known bool) error {
	defer func() {
		if s.State != store.SuggestionPending {
			s.LookAt = time.Time{}
		}
	}()
	before := s.State
	s.State = store.SuggestionWithdrawn
	if before != store.SuggestionPending || !known {
		return nil
	}
	for _, g := range there {
		if g.ID != s.GitHubID {
			continue
		}
		switch g.State {
		case github.SuggestionPending:
			err := w.GitHub.DismissSuggestion(ctx, at.repository.InstallationID, at.repository, number, g.ID)
			if err != nil && !errors.Is(err, github.ErrInvalid) && !errors.Is(err, github.ErrNotFound) {
				return fmt.Errorf("take a suggestion back: %w", err)
			}
		case github.SuggestionApproved:
			s.State = store.SuggestionApproved
		case github.SuggestionDismissed:
			s.State = store.SuggestionPending // its answer is still to be heard
		}
	}
	return nil
}

func (w *Worker) recordSuggestions(ctx context.Context, suggestions []store.Suggestion) error {
	now := w.Now().UTC()
	for i := range suggestions {
		suggestions[i].UpdatedAt = now
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseMargin)
	defer cancel()
	if err := w.Store.RecordSuggestions(ctx, suggestions); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}
