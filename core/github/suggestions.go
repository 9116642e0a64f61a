package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/dispatchai/dispatchai/core/triage"
)

// LabelSuggestion is a label that somebody suggested for an issue, as newer
// servers keep it.
type LabelSuggestion struct {
	ID      int64
	LabelID int64
	State   SuggestionState
}

// SuggestionState is what became of a suggestion.
type SuggestionState string

// The states of suggestions that matter; there are others, in which a suggestion
// has been overtaken.
const (
	SuggestionPending   SuggestionState = "pending"
	SuggestionApproved  SuggestionState = "approved"
	SuggestionDismissed SuggestionState = "dismissed"
)

// LabelSuggestions lists the labels that were suggested for the issue, in
// whatever state. With the etag of an earlier answer it is ErrNotModified when
// that still holds. For an issue that is there, ErrNotFound tells that the server
// knows no suggestions.
func (c *Client) LabelSuggestions(ctx context.Context, installationID int64, repository triage.Repository, number int, etag string) (list []LabelSuggestion, newETag string, _ error) {
	operation := fmt.Sprintf("list the suggestions for %s#%d", repository.FullName, number)
	path, err := issuePath(operation, installationID, repository, number)
	if err != nil {
		return nil, "", err
	}
	header := http.Header{}
	if etag != "" {
		header.Set("If-None-Match", etag)
	}
	var found []struct {
		ID       int64           `json:"id"`
		Action   string          `json:"action"`
		State    SuggestionState `json:"state"`
		TargetID int64           `json:"target_id"`
	}
	answer, err := c.send(ctx, operation, installationID, http.MethodGet, path+"/suggestions?state=all&action=add_label&per_page=100", header, nil, &found)
	if err != nil {
		if e := (*Error)(nil); errors.As(err, &e) && e.Status == http.StatusNotModified {
			return nil, etag, ErrNotModified
		}
		return nil, "", err
	}
	for _, s := range found {
		if s.Action == "add_label" {
			list = append(list, LabelSuggestion{ID: s.ID, LabelID: s.TargetID, State: s.State})
		}
	}
	return list, answer.Header.Get("ETag"), nil
}

// LabelID is GitHub's number of a repository's label.
func (c *Client) LabelID(ctx context.Context, installationID int64, repository triage.Repository, name string) (int64, error) {
	operation := "read a label of " + repository.FullName
	path, err := repositoryPath(operation, installationID, repository)
	if err != nil {
		return 0, err
	}
	if name == "" || name == "." || name == ".." {
		return 0, invalid(operation, installationID, fmt.Sprintf("the label %q cannot be named in a URL", name))
	}
	var answer struct {
		ID int64 `json:"id"`
	}
	_, err = c.call(ctx, operation, installationID, http.MethodGet, path+"/labels/"+url.PathEscape(name), nil, &answer)
	return answer.ID, err
}

// NewSuggestion is a label to suggest, and why.
type NewSuggestion struct {
	Label      string
	Rationale  string
	Confidence float64
}

// maxRationale is GitHub's bound, in characters.
const maxRationale = 280

// SuggestLabels suggests labels for an issue. A server that knows no suggestions
// puts them on the issue: ask LabelSuggestions first.
func (c *Client) SuggestLabels(ctx context.Context, installationID int64, repository triage.Repository, number int, suggestions []NewSuggestion) error {
	operation := fmt.Sprintf("suggest labels for %s#%d", repository.FullName, number)
	path, err := issuePath(operation, installationID, repository, number)
	if err != nil {
		return err
	}
	type label struct {
		Name       string `json:"name"`
		Rationale  string `json:"rationale,omitempty"`
		Confidence string `json:"confidence"`
		Suggest    bool   `json:"suggest"`
	}
	var body struct {
		Labels []label `json:"labels"`
	}
	for _, s := range suggestions {
		body.Labels = append(body.Labels, label{s.Label, rationale(s.Rationale), confidenceLevel(s.Confidence), true})
	}
	_, err = c.call(ctx, operation, installationID, http.MethodPost, path+"/labels", body, nil)
	return err
}

// rationale keeps a reason within GitHub's bound and on one line, and has it
// call nobody: it may quote a stranger.
func rationale(s string) string {
	s = strings.ReplaceAll(strings.Join(strings.Fields(cleanText(s)), " "), "@", "@\u200b")
	if utf8.RuneCountInString(s) > maxRationale {
		s = string([]rune(s)[:maxRationale-1]) + "…"
	}
	return s
}

func confidenceLevel(c float64) string {
	switch {
	case c >= 0.9:
		return "high"
	case c >= 0.7:
		return "medium"
	}
	return "low"
}

// DismissSuggestion takes a pending suggestion back. One that is not pending any
// more is ErrInvalid, one that is gone ErrNotFound.
func (c *Client) DismissSuggestion(ctx context.Context, installationID int64, repository triage.Repository, number int, id int64) error {
	operation := fmt.Sprintf("dismiss a suggestion for %s#%d", repository.FullName, number)
	path, err := issuePath(operation, installationID, repository, number)
	if err != nil {
		return err
	}
	_, err = c.call(ctx, operation, installationID, http.MethodPost, fmt.Sprintf("%s/suggestions/%d/dismiss", path, id), nil, nil)
	return err
}
