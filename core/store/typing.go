package store

import (
	"context"
	"fmt"
	"time"

	"github.com/dispatchai/dispatchai/core/triage"
)

// Typing remembers which issue types the app has set: an issue is given a type
// once, so that what people make of it afterwards is theirs.
type Typing interface {
	// IssueTypes returns the newest row of each issue that has one.
	IssueTypes(ctx context.Context, keys []triage.IssueKey) (map[triage.IssueKey]TypedIssue, error)
	// RecordIssueType creates or replaces the issue's row. One that is settled stays as it is.
	RecordIssueType(ctx context.Context, row TypedIssue) error
}

// TypingState is how it stands with the type of an issue.
type TypingState string

// A row is Intended before the call to GitHub; every other state is final.
const (
	TypingIntended TypingState = "intended"
	TypingWritten  TypingState = "written"
	TypingForeign  TypingState = "foreign" // somebody else had given it one
	TypingRefused  TypingState = "refused" // the App has not the right
)

// TypedIssue is an issue whose type the app wanted to set.
type TypedIssue struct {
	Issue   triage.IssueKey
	Type    string
	EventID string
	State   TypingState
	At      time.Time
}

// Normalize returns the row as every store keeps it; see IssueChange.Normalize.
func (i TypedIssue) Normalize() (TypedIssue, error) {
	if i.Issue.RepositoryID <= 0 || i.Issue.Number <= 0 || i.Type == "" {
		return i, fmt.Errorf("issue type %q of %s: not a type of an issue", i.Type, i.Issue)
	}
	switch i.State {
	case TypingIntended, TypingWritten, TypingForeign, TypingRefused:
	default:
		return i, fmt.Errorf("issue type %q of %s: unknown state %q", i.Type, i.Issue, i.State)
	}
	i.Type, i.EventID, i.At = CleanText(i.Type), CleanText(i.EventID), CleanTime(i.At)
	return i, nil
}
