package github

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/dispatchai/dispatchai/core/triage"
)

// What a snapshot is about, beside GitHub's own actions "opened", "labeled" and
// "unlabeled", which mean the same in it as in GitHub's webhook.
const (
	// ActionReconciled: comparing with GitHub showed that the issue has changed.
	ActionReconciled = "reconciled"
	// ActionBackfilled: somebody asked for the issues that were there before.
	ActionBackfilled = "backfilled"
)

// Snapshot is an issue as GitHub lists it, on its way to issues.raw as the event
// that was missed.
type Snapshot struct {
	Action     string
	Issue      ListedIssue
	Repository triage.Repository
	// Label, Sender and At are of a label change that the issue's history tells of.
	Label  string
	Sender triage.Actor
	At     time.Time
}

// Encode writes the snapshot in the shape of GitHub's issues webhook, so that
// the same parser reads it: the record key and the value of an EventSnapshot.
func (s Snapshot) Encode() (key string, value []byte, err error) {
	issue := s.Issue.Raw
	if !s.At.IsZero() {
		// The issue as of the label change, so far as it can be known.
		members := make(map[string]json.RawMessage)
		if err := json.Unmarshal(issue, &members); err != nil {
			return "", nil, fmt.Errorf("the listed issue %d: %w", s.Issue.Issue.Number, err)
		}
		if members["updated_at"], err = json.Marshal(s.At.UTC().Format(time.RFC3339)); err != nil {
			return "", nil, err
		}
		if issue, err = json.Marshal(members); err != nil {
			return "", nil, err
		}
	}
	type identified struct {
		ID int64 `json:"id"`
	}
	type named struct {
		Name string `json:"name"`
	}
	type repositoryBody struct {
		ID       int64  `json:"id"`
		FullName string `json:"full_name"`
		Private  bool   `json:"private"`
	}
	body := struct {
		Action       string          `json:"action"`
		Issue        json.RawMessage `json:"issue"`
		Label        *named          `json:"label,omitempty"`
		Repository   repositoryBody  `json:"repository"`
		Installation identified      `json:"installation"`
		Sender       *triage.Actor   `json:"sender,omitempty"`
	}{
		Action: s.Action, Issue: issue, Repository: repositoryBody{s.Repository.ID, s.Repository.FullName, s.Repository.Private},
		Installation: identified{s.Repository.InstallationID},
	}
	if s.Label != "" {
		body.Label, body.Sender = &named{s.Label}, &s.Sender
	}
	value, err = json.Marshal(body)
	if err != nil {
		return "", nil, fmt.Errorf("encode the snapshot of issue %d: %w", s.Issue.Issue.Number, err)
	}
	return triage.IssueKey{RepositoryID: s.Repository.ID, Number: s.Issue.Issue.Number}.String(), value, nil
}
