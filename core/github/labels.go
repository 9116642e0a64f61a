package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/dispatchai/dispatchai/core/triage"
)

// maxPages bounds every listing to 10,000 entries.
const maxPages = 100

// LabelEvent is one label put on or taken off an issue, as GitHub remembers it.
type LabelEvent struct {
	Label string
	Added bool
	// Actor is zero for a deleted account.
	Actor triage.Actor
	// App is the slug of the App that Actor acted through, "" for none.
	App string
	At  time.Time
}

// Permission is what somebody may do in a repository. GitHub grants the lower
// ones along with a higher one.
type Permission struct {
	Admin, Maintain, Push, Triage, Pull bool
	// Role is GitHub's name of it, or of a custom role.
	Role string
}

type labelAnswer struct {
	Name        string `json:"name"`
	Color       string `json:"color"`
	Description string `json:"description"`
}

func names(labels []labelAnswer) []string {
	all := make([]string, len(labels))
	for i, l := range labels {
		all[i] = l.Name
	}
	return all
}

// RepositoryLabels lists all labels that the repository defines.
func (c *Client) RepositoryLabels(ctx context.Context, installationID int64, repository triage.Repository) ([]triage.RepositoryLabel, error) {
	operation := "list the labels of " + repository.FullName
	path, err := repositoryPath(operation, installationID, repository)
	if err != nil {
		return nil, err
	}
	found, err := pages[labelAnswer](within(ctx, repository), c, operation, installationID, path+"/labels")
	if err != nil {
		return nil, err
	}
	labels := make([]triage.RepositoryLabel, len(found))
	for i, l := range found {
		labels[i] = triage.RepositoryLabel(l)
	}
	return labels, nil
}

// IssueLabels lists the names of the labels that the issue carries now.
func (c *Client) IssueLabels(ctx context.Context, installationID int64, repository triage.Repository, number int) ([]string, error) {
	operation := fmt.Sprintf("list the labels of %s#%d", repository.FullName, number)
	path, err := issuePath(operation, installationID, repository, number)
	if err != nil {
		return nil, err
	}
	found, err := pages[labelAnswer](within(ctx, repository), c, operation, installationID, path+"/labels")
	return names(found), err
}

// AddLabels puts the labels on the issue in one request and returns all that it
// then carries. Labels that it has already stay, and GitHub creates those that
// the repository does not have: check against RepositoryLabels first. Without
// names it does nothing and returns nil.
func (c *Client) AddLabels(ctx context.Context, installationID int64, repository triage.Repository, number int, labels []string) ([]string, error) {
	if len(labels) == 0 {
		return nil, nil
	}
	operation := fmt.Sprintf("add labels to %s#%d", repository.FullName, number)
	path, err := issuePath(operation, installationID, repository, number)
	if err != nil {
		return nil, err
	}
	var found []labelAnswer
	if _, err := c.call(within(ctx, repository), operation, installationID, http.MethodPost, path+"/labels", map[string][]string{"labels": labels}, &found); err != nil {
		return nil, err
	}
	return names(found), nil
}

// RemoveLabel takes one label off the issue. A label that is gone already is no
// error, nor is an issue or a repository that is gone (GitHub answers 404 to
// each of them); read the labels first where the difference matters.
func (c *Client) RemoveLabel(ctx context.Context, installationID int64, repository triage.Repository, number int, label string) error {
	operation := fmt.Sprintf("remove a label from %s#%d", repository.FullName, number)
	path, err := issuePath(operation, installationID, repository, number)
	if err != nil {
		return err
	}
	// As the last segment of a path these would mean another resource: all of
	// the issue's labels, or the issue.
	if label == "" || label == "." || label == ".." {
		return invalid(operation, installationID, fmt.Sprintf("the label %q cannot be named in a URL; remove it on GitHub", label))
	}
	_, err = c.call(within(ctx, repository), operation, installationID, http.MethodDelete, path+"/labels/"+url.PathEscape(label), nil, nil)
	var e *Error
	if errors.As(err, &e) && (errors.Is(e.Kind, ErrNotFound) || errors.Is(e.Kind, ErrGone)) && e.Status != 0 {
		return nil
	}
	return err
}

// LabelHistory lists who put which label on the issue and who took it off, oldest first.
func (c *Client) LabelHistory(ctx context.Context, installationID int64, repository triage.Repository, number int) ([]LabelEvent, error) {
	operation := fmt.Sprintf("list the label history of %s#%d", repository.FullName, number)
	path, err := issuePath(operation, installationID, repository, number)
	if err != nil {
		return nil, err
	}
	type eventAnswer struct {
		Event     string       `json:"event"`
		Actor     *actorAnswer `json:"actor"`
		Label     *labelAnswer `json:"label"`
		CreatedAt time.Time    `json:"created_at"`
		App       *struct {
			Slug string `json:"slug"`
		} `json:"performed_via_github_app"`
	}
	found, err := pages[eventAnswer](within(ctx, repository), c, operation, installationID, path+"/events")
	if err != nil {
		return nil, err
	}
	var history []LabelEvent
	for _, e := range found {
		if e.Label == nil || (e.Event != "labeled" && e.Event != "unlabeled") {
			continue
		}
		change := LabelEvent{Label: e.Label.Name, Added: e.Event == "labeled", At: e.CreatedAt.UTC()}
		if e.Actor != nil {
			change.Actor = triage.Actor{Login: e.Actor.Login, Type: e.Actor.Type}
		}
		if e.App != nil {
			change.App = e.App.Slug
		}
		history = append(history, change)
	}
	return history, nil
}

// RepositoryPermission tells what a person may do in the repository. For a
// login that does not exist the error is ErrNotFound.
func (c *Client) RepositoryPermission(ctx context.Context, installationID int64, repository triage.Repository, login string) (Permission, error) {
	operation := fmt.Sprintf("read the permission of %q in %s", shorten(login), repository.FullName)
	path, err := repositoryPath(operation, installationID, repository)
	if err != nil {
		return Permission{}, err
	}
	if login == "" || login == "." || login == ".." {
		return Permission{}, invalid(operation, installationID, "that is no login")
	}
	var answer struct {
		RoleName string `json:"role_name"`
		User     *struct {
			Permissions struct {
				Admin    bool `json:"admin"`
				Maintain bool `json:"maintain"`
				Push     bool `json:"push"`
				Triage   bool `json:"triage"`
				Pull     bool `json:"pull"`
			} `json:"permissions"`
		} `json:"user"`
	}
	path += "/collaborators/" + url.PathEscape(login) + "/permission"
	if _, err := c.call(within(ctx, repository), operation, installationID, http.MethodGet, path, nil, &answer); err != nil {
		return Permission{}, err
	}
	p := Permission{Role: answer.RoleName}
	if answer.User != nil {
		given := answer.User.Permissions
		p.Admin, p.Maintain, p.Push, p.Triage, p.Pull = given.Admin, given.Maintain, given.Push, given.Triage, given.Pull
	}
	return p, nil
}

// pages reads a listing to its end.
func pages[T any](ctx context.Context, c *Client, operation string, installationID int64, path string) ([]T, error) {
	var all []T
	for page := 1; page <= maxPages; {
		var found []T
		answer, err := c.call(ctx, operation, installationID, http.MethodGet, fmt.Sprintf("%s?per_page=100&page=%d", path, page), nil, &found)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
		if answer.NextPage <= page {
			return all, nil
		}
		page = answer.NextPage
	}
	return nil, invalid(operation, installationID, fmt.Sprintf("the list has more than %d pages", maxPages))
}

func issuePath(operation string, installationID int64, r triage.Repository, number int) (string, error) {
	path, err := repositoryPath(operation, installationID, r)
	if err == nil && number <= 0 {
		err = invalid(operation, installationID, "the issue's number is not positive")
	}
	return fmt.Sprintf("%s/issues/%d", path, number), err
}

// repositoryPath makes sure that a repository's name, which came in with a
// webhook, cannot lead a request anywhere else.
func repositoryPath(operation string, installationID int64, r triage.Repository) (string, error) {
	owner, name := r.Owner(), r.Name()
	for _, part := range []string{owner, name} {
		if part == "" || part == "." || part == ".." || strings.ContainsFunc(part, notInName) {
			return "", invalid(operation, installationID, "the repository's full name is not owner/name")
		}
	}
	if installationID <= 0 {
		return "", invalid(operation, installationID, "the installation is unknown")
	}
	return "repos/" + owner + "/" + name, nil
}

func notInName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
}

type actorAnswer struct {
	Login string           `json:"login"`
	Type  triage.ActorType `json:"type"`
}
