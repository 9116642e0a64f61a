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

// CheckConclusion is that of the App's newest check run of the name on a commit,
// "" where there is none.
func (c *Client) CheckConclusion(ctx context.Context, installationID int64, repository triage.Repository, sha, name string) (string, error) {
	operation := fmt.Sprintf("list the check runs of %s@%.12s", repository.FullName, sha)
	base, err := repositoryPath(operation, installationID, repository)
	if err != nil {
		return "", err
	}
	var answer struct {
		CheckRuns []struct {
			ID         int64  `json:"id"`
			Name       string `json:"name"`
			Conclusion string `json:"conclusion"`
			App        struct {
				ID int64 `json:"id"`
			} `json:"app"`
		} `json:"check_runs"`
	}
	path := base + "/commits/" + url.PathEscape(sha) + "/check-runs?filter=all&per_page=100&check_name=" + url.QueryEscape(name)
	if _, err := c.call(ctx, operation, installationID, http.MethodGet, path, nil, &answer); err != nil {
		return "", err
	}
	var newest int64
	conclusion := ""
	for _, r := range answer.CheckRuns {
		if r.App.ID == c.appID && r.Name == name && r.ID > newest {
			newest, conclusion = r.ID, r.Conclusion
		}
	}
	return conclusion, nil
}

// CreateCheckRun makes a completed check run, which takes the place of an older one
// of the same name on the same commit. Changing that one instead would leave its
// annotations: GitHub only ever adds to them
// (https://docs.github.com/en/rest/checks/runs#update-a-check-run).
func (c *Client) CreateCheckRun(ctx context.Context, installationID int64, repository triage.Repository, run CheckRun) error {
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
		HeadSHA    string `json:"head_sha"`
		Status     string `json:"status"`
		Conclusion string `json:"conclusion"`
		Output     output `json:"output"`
	}{run.Name, run.SHA, "completed", run.Conclusion, output{Title: run.Title, Summary: run.Summary}}
	for _, a := range run.Annotations[:min(len(run.Annotations), MaxAnnotations)] {
		body.Output.Annotations = append(body.Output.Annotations, annotation{a.Path, a.Line, a.Line, a.Column, a.Column, "failure", a.Title, a.Message})
	}
	_, err = c.call(ctx, operation, installationID, http.MethodPost, base+"/check-runs", body, nil)
	return err
}
