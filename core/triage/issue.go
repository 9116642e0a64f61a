// Package triage is the pure heart of DispatchAI: the vocabulary every other
// package speaks (events, issues, classifications, corrections), the taxonomy
// that ties classified values to a repository's own labels, and the policy that
// decides which labels the app may add or take off. It knows no transport, no
// storage and no clock.
package triage

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// IssueKey names an issue for as long as its repository exists: GitHub numbers
// issues and pull requests of a repository together and never reuses a number.
type IssueKey struct {
	RepositoryID int64 `json:"repository_id"`
	Number       int   `json:"number"`
}

// String gives "repositoryID#number", the record key on issues.raw and
// issues.enriched, so that everything about one issue stays in order.
func (k IssueKey) String() string {
	return strconv.FormatInt(k.RepositoryID, 10) + "#" + strconv.Itoa(k.Number)
}

// ParseIssueKey reads what String wrote, and nothing else: every issue has one
// key, so "01#1" is none.
func ParseIssueKey(s string) (IssueKey, error) {
	repository, number, found := strings.Cut(s, "#")
	if !found {
		return IssueKey{}, fmt.Errorf("issue key %q: want repositoryID#number", s)
	}
	id, err := strconv.ParseInt(repository, 10, 64)
	if err != nil || id <= 0 {
		return IssueKey{}, fmt.Errorf("issue key %q: %q is not a repository ID", s, repository)
	}
	n, err := strconv.Atoi(number)
	if err != nil || n <= 0 {
		return IssueKey{}, fmt.Errorf("issue key %q: %q is not an issue number", s, number)
	}
	key := IssueKey{RepositoryID: id, Number: n}
	if key.String() != s {
		return IssueKey{}, fmt.Errorf("issue key %q: want it written %q", s, key)
	}
	return key, nil
}

// Installation is one installation of the App on a user or an organisation.
type Installation struct {
	ID        int64     `json:"id"`
	Account   string    `json:"account"`
	Suspended bool      `json:"suspended"`
	Removed   bool      `json:"removed"`
	UpdatedAt time.Time `json:"updated_at"`
	// Grant is what its owner has accepted; nil when GitHub has not told yet.
	Grant *Grant `json:"grant,omitempty"`
}

// Grant is what the owner of an installation lets the App see and do.
type Grant struct {
	// Permissions are levels (read, write, admin) by GitHub's names ("issues", "contents").
	Permissions map[string]string `json:"permissions"`
	// Events are the names of the webhook events that GitHub sends.
	Events []string `json:"events"`
	// RepositorySelection is "all" or "selected".
	RepositorySelection string `json:"repository_selection"`
	// SingleFiles are the paths that the permission single_file opens.
	SingleFiles []string `json:"single_files"`
}

// Allows tells whether the installation's owner has granted the permission at
// the level (read, write or admin) or above it. What GitHub has not told is not
// granted.
func (n Installation) Allows(permission, level string) bool {
	if n.Grant == nil || n.Suspended || n.Removed {
		return false
	}
	granted, wanted := permissionLevel(n.Grant.Permissions[permission]), permissionLevel(level)
	return wanted > 0 && granted >= wanted
}

// AllowsFile tells whether the App may read the file at the path in the
// installation's repositories.
func (n Installation) AllowsFile(path string) bool {
	return n.Allows("contents", "read") || n.Allows("single_file", "read") && slices.Contains(n.Grant.SingleFiles, path)
}

func permissionLevel(level string) int {
	return slices.Index([]string{"", "read", "write", "admin"}, level)
}

// Repository is a repository the App is installed on.
type Repository struct {
	ID             int64  `json:"id"`
	InstallationID int64  `json:"installation_id"`
	FullName       string `json:"full_name"`
	Private        bool   `json:"private"`
	// Removed tells that the App lost access (uninstalled, repository removed or deleted).
	Removed bool `json:"removed,omitempty"`
	// Archived tells that the repository can only be read.
	Archived bool `json:"archived,omitempty"`
}

// Owner is the part of FullName before the slash.
func (r Repository) Owner() string {
	owner, _, _ := strings.Cut(r.FullName, "/")
	return owner
}

// Name is the part of FullName after the slash.
func (r Repository) Name() string {
	_, name, _ := strings.Cut(r.FullName, "/")
	return name
}

// RepositoryLabel is one label a repository defines. GitHub compares label
// names without regard to case.
type RepositoryLabel struct {
	Name        string `json:"name"`
	Color       string `json:"color,omitempty"`
	Description string `json:"description,omitempty"`
}

// ActorType is GitHub's account type as it stands in webhooks.
type ActorType string

// The account types that GitHub documents for webhook senders.
const (
	ActorUser         ActorType = "User"
	ActorBot          ActorType = "Bot"
	ActorOrganization ActorType = "Organization"
)

// Actor is who did something. The zero Actor stands for a deleted account
// (GitHub sends null).
type Actor struct {
	Login string    `json:"login"`
	Type  ActorType `json:"type,omitempty"`
}

// Issue is an issue as GitHub last described it to us.
type Issue struct {
	// ID is GitHub's own identifier, unique across repositories.
	ID                int64      `json:"id"`
	Repository        Repository `json:"repository"`
	Number            int        `json:"number"`
	Title             string     `json:"title"`
	Body              string     `json:"body,omitempty"`
	State             string     `json:"state"`
	Author            Actor      `json:"author"`
	AuthorAssociation string     `json:"author_association,omitempty"`
	Labels            []string   `json:"labels"`
	URL               string     `json:"url"`
	CreatedAt         time.Time  `json:"created_at"`
	UpdatedAt         time.Time  `json:"updated_at"`
	ClosedAt          *time.Time `json:"closed_at,omitempty"`
}

// Key is the issue's key.
func (i Issue) Key() IssueKey {
	return IssueKey{RepositoryID: i.Repository.ID, Number: i.Number}
}

// HasLabel tells whether the issue carries the label, comparing as GitHub does.
func (i Issue) HasLabel(name string) bool { return containsLabel(i.Labels, name) }

func containsLabel(labels []string, name string) bool {
	key := LabelKey(name)
	for _, l := range labels {
		if l == name || LabelKey(l) == key {
			return true
		}
	}
	return false
}
