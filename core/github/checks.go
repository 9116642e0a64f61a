package github

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/dispatchai/dispatchai/core/triage"
)

// CheckRun is what the App says about a commit.
type CheckRun struct {
	ID   int64 // of one that exists
	Name string
	SHA  string // of the commit
	// Conclusion is "success" or "failure".
	Conclusion  string
	Title       string
	Summary     string // Markdown
	Annotations []Annotation
}

// Annotation points to a place in a file. Line counts from one; Column too, and
// is 0 where there is none.
type Annotation struct {
	Path         string
	Line, Column int
	Title        string
	Message      string
}

// MaxAnnotations is how many annotations GitHub takes in one request.
const MaxAnnotations = 50

// CheckRuns lists the App's own check runs of that name on a commit, the newest
// first; of what they say it gives ID, Name, SHA and Conclusion.
func (c *Client) CheckRuns(ctx context.Context, installationID int64, repository triage.Repository, sha, name string) ([]CheckRun, error) {
	operation := fmt.Sprintf("list the check runs of %s@%.12s", repository.FullName, sha)
	base, err := repositoryPath(operation, installationID, repository)
	if err != nil {
		return nil, err
	}
	var answer struct {
		CheckRuns []struct {
			ID         int64  `json:"id"`
			Name       string `json:"name"`
			HeadSHA    string `json:"head_sha"`
			Conclusion string `json:"conclusion"`
			App        struct {
				ID int64 `json:"id"`
			} `json:"app"`
		} `json:"check_runs"`
	}
	path := base + "/commits/" + url.PathEscape(sha) + "/check-runs?filter=all&per_page=100&check_name=" + url.QueryEscape(name)
	if _, err := c.call(ctx, operation, installationID, http.MethodGet, path, nil, &answer); err != nil {
		return nil, err
	}
	var runs []CheckRun
	for _, r := range answer.CheckRuns {
		if r.App.ID == c.appID && r.Name == name {
			runs = append(runs, CheckRun{ID: r.ID, Name: r.Name, SHA: r.HeadSHA, Conclusion: r.Conclusion})
		}
	}
	return runs, nil
}

// SaveCheckRun makes a completed check run, or changes the one that has the ID.
func (c *Client) SaveCheckRun(ctx context.Context, installationID int64, repository triage.Repository, run CheckRun) error {
	operation := fmt.Sprintf("write a check run on %s@%.12s", repository.FullName, run.SHA)
	base, err := repositoryPath(operation, installationID, repository)
	if err != nil {
		return err
	}
	type annotation struct {
		Path        string `json:"path"`
		StartLine   int    `json:"start_line"`
		EndLine     int    `json:"end_line"`
		StartColumn int    `json:"start_column,omitempty"`
		EndColumn   int    `json:"end_column,omitempty"`
		Level       string `json:"annotation_level"`
		Title       string `json:"title,omitempty"`
		Message     string `json:"message"`
	}
	type output struct {
		Title       string       `json:"title"`
		Summary     string       `json:"summary"`
		Annotations []annotation `json:"annotations,omitempty"`
	}
	body := struct {
		Name       string `json:"name"`
		HeadSHA    string `json:"head_sha,omitempty"`
		Status     string `json:"status"`
		Conclusion string `json:"conclusion"`
		Output     output `json:"output"`
	}{run.Name, run.SHA, "completed", run.Conclusion, output{Title: run.Title, Summary: run.Summary}}
	for _, a := range run.Annotations[:min(len(run.Annotations), MaxAnnotations)] {
		body.Output.Annotations = append(body.Output.Annotations, annotation{a.Path, a.Line, a.Line, a.Column, a.Column, "failure", a.Title, a.Message})
	}
	method, path := http.MethodPost, base+"/check-runs"
	if run.ID != 0 {
		method, path, body.HeadSHA = http.MethodPatch, fmt.Sprintf("%s/%d", path, run.ID), ""
	}
	_, err = c.call(ctx, operation, installationID, method, path, body, nil)
	return err
}
