package github

import (
	"context"
	"fmt"
	"net/http"

	"github.com/dispatchai/dispatchai/core/triage"
)

type typedAnswer struct {
	Type *struct {
		Name string `json:"name"`
	} `json:"type"`
}

func (a typedAnswer) name() string {
	if a.Type == nil {
		return ""
	}
	return a.Type.Name
}

// IssueType is the name of the issue's type, "" when it has none.
func (c *Client) IssueType(ctx context.Context, installationID int64, repository triage.Repository, number int) (string, error) {
	operation := fmt.Sprintf("read the type of %s#%d", repository.FullName, number)
	path, err := issuePath(operation, installationID, repository, number)
	if err != nil {
		return "", err
	}
	var answer typedAnswer
	_, err = c.call(ctx, operation, installationID, http.MethodGet, path, nil, &answer)
	return answer.name(), err
}

// SetIssueType gives the issue a type and returns the one that it then has:
// GitHub drops the wish in silence where the App has not the right.
func (c *Client) SetIssueType(ctx context.Context, installationID int64, repository triage.Repository, number int, name string) (string, error) {
	operation := fmt.Sprintf("set the type of %s#%d", repository.FullName, number)
	path, err := issuePath(operation, installationID, repository, number)
	if err != nil {
		return "", err
	}
	var answer typedAnswer
	body := struct {
		Type string `json:"type"`
	}{name}
	_, err = c.call(ctx, operation, installationID, http.MethodPatch, path, body, &answer)
	return answer.name(), err
}
