package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	gh "github.com/google/go-github/v62/github"

	"github.com/dispatchai/dispatchai/core/triage"
)

// ListedIssue is an issue of a list, or a pull request, of which nothing more
// than its number and its times is known.
type ListedIssue struct {
	Issue       triage.Issue
	PullRequest bool
	// Raw is the issue as GitHub wrote it.
	Raw json.RawMessage
}

// IssueQuery asks for a page of a repository's issues, in the order in which
// they were last changed, the longest ago first.
type IssueQuery struct {
	State string    // open, closed or all
	Since time.Time // changed at or after it; zero for all
	Page  int       // from 1
	// ETag is of the same query's earlier answer; where nothing changed since,
	// the answer is NotModified and costs nothing of the rate limit. Tags belong
	// to the installation's token, so each hour one is of no use.
	ETag string
}

// IssueList is a page of issues.
type IssueList struct {
	Issues      []ListedIssue
	Full        bool // there may be more of them
	NotModified bool
	ETag        string
	// At is when GitHub answered, by its own clock.
	At time.Time
}

// issuesPerPage is the most that GitHub gives.
const issuesPerPage = 100

// ListIssues lists issues and pull requests, which GitHub numbers and lists together.
func (c *Client) ListIssues(ctx context.Context, installationID int64, repository triage.Repository, q IssueQuery) (IssueList, error) {
	operation := "list the issues of " + repository.FullName
	path, err := repositoryPath(operation, installationID, repository)
	if err != nil {
		return IssueList{}, err
	}
	query := url.Values{
		"state": {q.State}, "sort": {"updated"}, "direction": {"asc"},
		"per_page": {strconv.Itoa(issuesPerPage)}, "page": {strconv.Itoa(max(1, q.Page))},
	}
	if !q.Since.IsZero() {
		query.Set("since", q.Since.UTC().Format(time.RFC3339))
	}
	var header http.Header
	if q.ETag != "" {
		header = http.Header{"If-None-Match": {q.ETag}}
	}
	var answers []json.RawMessage
	response, err := c.send(within(ctx, repository), operation, installationID, http.MethodGet, path+"/issues?"+query.Encode(), header, nil, &answers)
	list := IssueList{At: answeredAt(response)}
	if err != nil {
		if e := (*Error)(nil); q.ETag != "" && errors.As(err, &e) && e.Status == http.StatusNotModified {
			list.NotModified, list.ETag = true, q.ETag
			return list, nil
		}
		return IssueList{}, err
	}
	list.ETag, list.Full = response.Header.Get("ETag"), len(answers) == issuesPerPage
	for _, raw := range answers {
		listed, err := parseListed(raw, repository, list.At)
		if err != nil {
			return IssueList{}, fmt.Errorf("github: %s: %w", operation, err)
		}
		list.Issues = append(list.Issues, listed)
	}
	return list, nil
}

// parseListed reads an issue of a list with the parser of webhooks.
func parseListed(raw json.RawMessage, repository triage.Repository, at time.Time) (ListedIssue, error) {
	document, err := parseDocument(raw, nil)
	if err != nil {
		return ListedIssue{}, fmt.Errorf("%w: %w", ErrNotJSON, err)
	}
	number, ok := document.identifier("number")
	if !ok {
		return ListedIssue{}, fmt.Errorf("%w: a listed issue has no number", ErrIncomplete)
	}
	issue, pull, err := parseIssue(document, repository, int(number), at)
	if pull {
		issue = triage.Issue{
			Repository: repository, Number: int(number),
			CreatedAt: document.member("created_at").time(), UpdatedAt: document.member("updated_at").time(),
		}
	}
	return ListedIssue{Issue: issue, PullRequest: pull, Raw: raw}, err
}

// CountIssues counts a repository's issues and pull requests, those of the state
// "open", "closed" or "all"; 0 when GitHub does not tell.
func (c *Client) CountIssues(ctx context.Context, installationID int64, repository triage.Repository, state string, since time.Time) (int64, error) {
	operation := "count the issues of " + repository.FullName
	path, err := repositoryPath(operation, installationID, repository)
	if err != nil {
		return 0, err
	}
	query := url.Values{"state": {state}, "per_page": {"1"}}
	if !since.IsZero() {
		query.Set("since", since.UTC().Format(time.RFC3339))
	}
	var answers []json.RawMessage
	response, err := c.call(within(ctx, repository), operation, installationID, http.MethodGet, path+"/issues?"+query.Encode(), nil, &answers)
	if err != nil {
		return 0, err
	}
	if response.LastPage == 0 && response.NextPage != 0 {
		return 0, nil // more than one, and no number
	}
	return max(int64(response.LastPage), int64(len(answers))), nil
}

// answeredAt is the answer's date; this machine's where there is none.
func answeredAt(r *gh.Response) time.Time {
	if r != nil && r.Response != nil {
		if at, err := http.ParseTime(r.Header.Get("Date")); err == nil {
			return at.UTC()
		}
	}
	return time.Now().UTC()
}
