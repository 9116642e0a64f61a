package github

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/dispatchai/dispatchai/core/triage"
)

// WorkflowDirectory is where a repository keeps its workflows.
const WorkflowDirectory = ".github/workflows"

// ErrNotModified is the answer to a conditional read: what was read last time
// still holds. It costs nothing of the hourly budget.
var ErrNotModified = errors.New("not modified")

// File is a file, or a directory, of a repository's default branch.
type File struct {
	// SHA is git's name of the content; Size counts its bytes.
	SHA  string
	Size int
	// Content is nil for a file longer than was asked for, and for what is no file.
	Content []byte
	// Directory tells that Entries are what is at the path.
	Directory bool
	Entries   []Entry
	// ETag makes the next read of it conditional.
	ETag string
}

// Entry is a file in a directory; directories within it are left out.
type Entry struct {
	Path, SHA string
	Size      int
}

// Contents reads what is at a path of the repository's default branch. With
// the etag of an earlier answer it is ErrNotModified when that still holds.
// Nothing there is ErrNotFound, and ErrForbidden tells that the App may not
// read it. most bounds the bytes of File.Content.
func (c *Client) Contents(ctx context.Context, installationID int64, repository triage.Repository, path, etag string, most int) (File, error) {
	operation := fmt.Sprintf("read %s of %s", path, repository.FullName)
	base, err := repositoryPath(operation, installationID, repository)
	if err != nil {
		return File{}, err
	}
	header := http.Header{"Accept": {"application/vnd.github.object+json"}}
	if etag != "" {
		header.Set("If-None-Match", etag)
	}
	type entryAnswer struct {
		Type string `json:"type"`
		Path string `json:"path"`
		SHA  string `json:"sha"`
		Size int    `json:"size"`
	}
	var answer struct {
		entryAnswer
		Encoding string        `json:"encoding"`
		Content  string        `json:"content"`
		Entries  []entryAnswer `json:"entries"`
	}
	answered, err := c.send(ctx, operation, installationID, http.MethodGet, base+"/contents/"+escapePath(path), header, nil, &answer)
	if err != nil {
		if e := (*Error)(nil); errors.As(err, &e) && e.Status == http.StatusNotModified {
			return File{}, ErrNotModified
		}
		return File{}, err
	}
	f := File{SHA: answer.SHA, Size: answer.Size, Directory: answer.Type == "dir", ETag: answered.Header.Get("ETag")}
	for _, e := range answer.Entries {
		if e.Type == "file" {
			f.Entries = append(f.Entries, Entry{Path: e.Path, SHA: e.SHA, Size: e.Size})
		}
	}
	if answer.Type != "file" || answer.Size > most {
		return f, nil
	}
	if answer.Encoding != "base64" && answer.Size > 0 {
		return File{}, invalid(operation, installationID, fmt.Sprintf("GitHub gave the file in the encoding %q", shorten(answer.Encoding)))
	}
	if f.Content, err = base64.StdEncoding.DecodeString(strings.ReplaceAll(answer.Content, "\n", "")); err != nil {
		return File{}, invalid(operation, installationID, "GitHub gave a content that is not base64")
	}
	return f, nil
}

// LastCommit is the newest commit of the default branch that changed the file.
// It is ErrNotFound where there is none.
func (c *Client) LastCommit(ctx context.Context, installationID int64, repository triage.Repository, path string) (sha string, _ error) {
	operation := fmt.Sprintf("find the last commit of %s of %s", path, repository.FullName)
	base, err := repositoryPath(operation, installationID, repository)
	if err != nil {
		return "", err
	}
	var found []struct {
		SHA string `json:"sha"`
	}
	if _, err := c.call(ctx, operation, installationID, http.MethodGet, base+"/commits?per_page=1&path="+url.QueryEscape(path), nil, &found); err != nil {
		return "", err
	}
	if len(found) == 0 || found[0].SHA == "" {
		return "", &Error{Kind: ErrNotFound, Operation: operation, InstallationID: installationID, cause: errors.New("no commit changed it")}
	}
	return found[0].SHA, nil
}

// IssueTypes lists the names of the issue types that issues of the repository
// may have; none where its owner has none.
func (c *Client) IssueTypes(ctx context.Context, installationID int64, repository triage.Repository) ([]string, error) {
	operation := "list the issue types of " + repository.FullName
	base, err := repositoryPath(operation, installationID, repository)
	if err != nil {
		return nil, err
	}
	var found []struct {
		Name      string `json:"name"`
		IsEnabled *bool  `json:"is_enabled"`
	}
	_, err = c.call(ctx, operation, installationID, http.MethodGet, base+"/issue-types", nil, &found)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	var types []string
	for _, t := range found {
		if t.Name != "" && (t.IsEnabled == nil || *t.IsEnabled) {
			types = append(types, t.Name)
		}
	}
	return types, err
}

func escapePath(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}
