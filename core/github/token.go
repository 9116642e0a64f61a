package github

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/bradleyfalzon/ghinstallation/v2"
	gh "github.com/google/go-github/v62/github"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/dispatchai/dispatchai/core/triage"
)

// A token is good for one repository and for what a call does there, so that
// one that leaks, or a request that goes astray, reaches nothing else. It lives
// an hour, and is kept for the repositories used last: one request for each of
// them and hour, of the 5,000 that GitHub grants the App.
type tokenKey struct {
	installation int64
	repository   string // by ID where it is known, by name otherwise; "" for calls about none
	scope        scope
}

// scope is what a call may do in its repository.
type scope string

const (
	scopeMetadata scope = "metadata"
	scopeIssues   scope = "issues"
	scopeContents scope = "contents"
	// scopeSingleFile stands for scopeContents where the App may read only the
	// files named in its settings.
	scopeSingleFile scope = "single_file"
	scopeChecks     scope = "checks"
)

// permissions of a token; GitHub adds the reading of metadata to all of them.
func (s scope) permissions() *gh.InstallationPermissions {
	read, write := gh.String("read"), gh.String("write")
	p := &gh.InstallationPermissions{Metadata: read}
	switch s {
	case scopeIssues:
		p.Issues = write
	case scopeContents:
		p.Contents = read
	case scopeSingleFile:
		p.SingleFile = read
	case scopeChecks:
		p.Checks = write
	}
	return p
}

type repositoryKey struct{}

// within names the repository that calls under the returned context are about.
func within(ctx context.Context, r triage.Repository) context.Context {
	return context.WithValue(ctx, repositoryKey{}, r.ID)
}

// tokenFor says which token a call needs, and the repository's name in its owner's account.
func tokenFor(ctx context.Context, installationID int64, path string) (key tokenKey, name string) {
	key = tokenKey{installation: installationID, scope: scopeMetadata}
	path, _, _ = strings.Cut(path, "?")
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if len(parts) < 3 || parts[0] != "repos" {
		return key, ""
	}
	name, key.repository = parts[2], strings.ToLower(parts[1]+"/"+parts[2])
	if id, ok := ctx.Value(repositoryKey{}).(int64); ok && id > 0 {
		key.repository = strconv.FormatInt(id, 10)
	}
	if len(parts) > 3 {
		switch parts[3] {
		case "commits":
			// The checks of a commit are no contents of it.
			key.scope = scopeContents
			if last := parts[len(parts)-1]; last == "check-runs" || last == "check-suites" {
				key.scope = scopeChecks
			}
		case "issues", "labels", "milestones":
			key.scope = scopeIssues
		case "contents", "git":
			key.scope = scopeContents
		case "check-runs", "check-suites":
			key.scope = scopeChecks
		}
	}
	return key, name
}

// tokens keeps the transports that fetch and renew tokens, one for each key.
type tokens struct {
	cache *lru.Cache[tokenKey, *ghinstallation.Transport]
	asApp func(installationID int64) *ghinstallation.AppsTransport
}

func newTokens(bound int, asApp func(int64) *ghinstallation.AppsTransport) (*tokens, error) {
	cache, err := lru.New[tokenKey, *ghinstallation.Transport](bound)
	return &tokens{cache: cache, asApp: asApp}, err
}

// transport is what requests with that token go through. An evicted one costs the next call a new token, nothing else.
func (t *tokens) transport(key tokenKey, name string) *ghinstallation.Transport {
	if held, ok := t.cache.Get(key); ok {
		return held
	}
	made := ghinstallation.NewFromAppsTransport(t.asApp(key.installation), key.installation)
	made.InstallationTokenOptions = &gh.InstallationTokenOptions{Permissions: key.scope.permissions()}
	if id, err := strconv.ParseInt(key.repository, 10, 64); err == nil {
		made.InstallationTokenOptions.RepositoryIDs = []int64{id}
	} else if name != "" {
		made.InstallationTokenOptions.Repositories = []string{name}
	}
	if held, ok, _ := t.cache.PeekOrAdd(key, made); ok {
		return held
	}
	return made
}

// drop forgets a token that GitHub no longer accepts, unless somebody has replaced it meanwhile.
func (t *tokens) drop(key tokenKey, refused *ghinstallation.Transport) {
	if held, ok := t.cache.Peek(key); ok && held == refused {
		t.cache.Remove(key)
	}
}

// isTokenRequest tells the App's own request for a token from those made with one.
func isTokenRequest(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/access_tokens")
}
