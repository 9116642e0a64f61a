package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/dispatchai/dispatchai/core/triage"
)

// Comment is a comment on an issue, as GitHub has it now.
type Comment struct {
	ID     int64
	Author triage.Actor // zero for a deleted account
	Body   string
}

type commentAnswer struct {
	ID   int64        `json:"id"`
	User *actorAnswer `json:"user"`
	Body string       `json:"body"`
}

func (a commentAnswer) comment() Comment {
	c := Comment{ID: a.ID, Body: a.Body}
	if a.User != nil {
		c.Author = triage.Actor{Login: a.User.Login, Type: a.User.Type}
	}
	return c
}

// FindComment returns the issue's first comment that fits, oldest first; its ID
// is 0 when none does.
func (c *Client) FindComment(ctx context.Context, installationID int64, repository triage.Repository, number int, fits func(Comment) bool) (Comment, error) {
	operation := fmt.Sprintf("list the comments of %s#%d", repository.FullName, number)
	path, err := issuePath(operation, installationID, repository, number)
	if err != nil {
		return Comment{}, err
	}
	for page := 1; page <= maxPages; {
		var found []commentAnswer
		answer, err := c.call(ctx, operation, installationID, http.MethodGet, fmt.Sprintf("%s/comments?per_page=100&page=%d", path, page), nil, &found)
		if err != nil {
			return Comment{}, err
		}
		for _, a := range found {
			if comment := a.comment(); fits(comment) {
				return comment, nil
			}
		}
		if answer.NextPage <= page {
			return Comment{}, nil
		}
		page = answer.NextPage
	}
	return Comment{}, invalid(operation, installationID, fmt.Sprintf("the list has more than %d pages", maxPages))
}

// CreateComment comments on the issue and returns the comment's ID. Look with
// FindComment first where a crash may have come between an earlier call and its
// record: GitHub makes another one each time.
func (c *Client) CreateComment(ctx context.Context, installationID int64, repository triage.Repository, number int, body string) (int64, error) {
	operation := fmt.Sprintf("comment on %s#%d", repository.FullName, number)
	path, err := issuePath(operation, installationID, repository, number)
	if err != nil {
		return 0, err
	}
	var made commentAnswer
	if _, err := c.call(ctx, operation, installationID, http.MethodPost, path+"/comments", map[string]string{"body": body}, &made); err != nil {
		return 0, err
	}
	if made.ID <= 0 {
		return 0, invalid(operation, installationID, "GitHub's answer has no comment ID")
	}
	return made.ID, nil
}

// UpdateComment replaces the text of one of the App's own comments.
func (c *Client) UpdateComment(ctx context.Context, installationID int64, repository triage.Repository, commentID int64, body string) error {
	operation := fmt.Sprintf("edit comment %d in %s", commentID, repository.FullName)
	path, err := commentPath(operation, installationID, repository, commentID)
	if err != nil {
		return err
	}
	_, err = c.call(ctx, operation, installationID, http.MethodPatch, path, map[string]string{"body": body}, nil)
	return err
}

// AddReaction reacts to a comment. A reaction that the App gave before is no
// error, nor is a comment that is gone.
func (c *Client) AddReaction(ctx context.Context, installationID int64, repository triage.Repository, commentID int64, content string) error {
	operation := fmt.Sprintf("react to comment %d in %s", commentID, repository.FullName)
	path, err := commentPath(operation, installationID, repository, commentID)
	if err != nil {
		return err
	}
	_, err = c.call(ctx, operation, installationID, http.MethodPost, path+"/reactions", map[string]string{"content": content}, nil)
	var e *Error
	if errors.As(err, &e) && (errors.Is(e.Kind, ErrNotFound) || errors.Is(e.Kind, ErrGone)) && e.Status != 0 {
		return nil
	}
	return err
}

// IssueOpen tells whether the issue is open now.
func (c *Client) IssueOpen(ctx context.Context, installationID int64, repository triage.Repository, number int) (bool, error) {
	operation := fmt.Sprintf("read %s#%d", repository.FullName, number)
	path, err := issuePath(operation, installationID, repository, number)
	if err != nil {
		return false, err
	}
	var answer struct {
		State string `json:"state"`
	}
	_, err = c.call(ctx, operation, installationID, http.MethodGet, path, nil, &answer)
	return answer.State == "open", err
}

func commentPath(operation string, installationID int64, r triage.Repository, commentID int64) (string, error) {
	path, err := repositoryPath(operation, installationID, r)
	if err == nil && commentID <= 0 {
		err = invalid(operation, installationID, "the comment's ID is not positive")
	}
	return fmt.Sprintf("%s/issues/comments/%d", path, commentID), err
}
