package store

import (
	"context"
	"fmt"
	"time"

	"github.com/dispatchai/dispatchai/core/triage"
)

// Suggesting remembers which labels were suggested for which issues, so that
// each is suggested once and what people said of it stays said.
type Suggesting interface {
	// Suggestions returns the suggestions for the issues, each issue's in the
	// order of their labels.
	Suggestions(ctx context.Context, keys []triage.IssueKey) (map[triage.IssueKey][]Suggestion, error)
	// RecordSuggestions creates the suggestions or replaces those of the same
	// issue and label. One that was answered stays as it is.
	RecordSuggestions(ctx context.Context, suggestions []Suggestion) error
	// ClaimSuggestions hands out issues with pending suggestions that are due to be
	// looked at on GitHub, the longest due first, with all of their suggestions; they are due
	// again at the given time unless RecordSuggestions says otherwise. Issues of
	// removed repositories, and of suspended or removed installations, wait.
	ClaimSuggestions(ctx context.Context, now, again time.Time, limit int) ([]SuggestedIssue, error)
}

// SuggestedLabel is a label to suggest, and why.
type SuggestedLabel struct {
	triage.DesiredLabel
	Reason string `json:"reason,omitempty"`
}

// SuggestionState is what became of a suggestion.
type SuggestionState string

// The life of a suggestion. Where GitHub knows none it is Shown on the dashboard
// alone; else it is Intended before the call, and then Pending there.
const (
	SuggestionShown     SuggestionState = "shown"
	SuggestionIntended  SuggestionState = "intended"
	SuggestionPending   SuggestionState = "pending"
	SuggestionApproved  SuggestionState = "approved"
	SuggestionDismissed SuggestionState = "dismissed"
	SuggestionWithdrawn SuggestionState = "withdrawn" // by the app, or overtaken; it may be made again
)

// Open tells whether people may still answer.
func (s SuggestionState) Open() bool {
	return s == SuggestionShown || s == SuggestionIntended || s == SuggestionPending
}

// Answered tells whether a person has.
func (s SuggestionState) Answered() bool {
	return s == SuggestionApproved || s == SuggestionDismissed
}

// Suggestion is a label suggested for an issue.
type Suggestion struct {
	Issue triage.IssueKey `json:"-"`
	SuggestedLabel
	State SuggestionState `json:"state"`
	// GitHubID is GitHub's number of it; 0 where it has none.
	GitHubID  int64     `json:"-"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	// ETag is that of the issue's suggestions when they were last looked at, and
	// LookAt is when they are to be looked at next.
	ETag   string    `json:"-"`
	LookAt time.Time `json:"-"`
}

// SuggestedIssue is an issue with suggestions to look after.
type SuggestedIssue struct {
	Repository  triage.Repository
	Number      int
	Suggestions []Suggestion
}

// Normalize returns the suggestion as every store keeps it; see IssueChange.Normalize.
func (s Suggestion) Normalize() (Suggestion, error) {
	if s.Issue.RepositoryID <= 0 || s.Issue.Number <= 0 || s.Name == "" {
		return s, fmt.Errorf("suggestion of %q for %s: not a label of an issue", s.Name, s.Issue)
	}
	if !s.State.Open() && !s.State.Answered() && s.State != SuggestionWithdrawn {
		return s, fmt.Errorf("suggestion of %q for %s: unknown state %q", s.Name, s.Issue, s.State)
	}
	s.SuggestedLabel = cleanSuggested(s.SuggestedLabel)
	s.ETag = CleanText(s.ETag)
	s.CreatedAt, s.UpdatedAt, s.LookAt = CleanTime(s.CreatedAt), CleanTime(s.UpdatedAt), CleanTime(s.LookAt)
	if s.CreatedAt.IsZero() {
		s.CreatedAt = s.UpdatedAt
	}
	return s, nil
}

func cleanSuggested(l SuggestedLabel) SuggestedLabel {
	return SuggestedLabel{DesiredLabel: cleanDesiredLabel(l.DesiredLabel), Reason: CleanText(l.Reason)}
}
