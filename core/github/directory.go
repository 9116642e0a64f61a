package github

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/dispatchai/dispatchai/core/triage"
)

// ListedInstallation is an installation as GitHub lists it.
type ListedInstallation struct {
	triage.Installation
	CreatedAt time.Time
	// Raw is the installation as GitHub wrote it, as it stands in webhooks too.
	Raw json.RawMessage
}

// maxInstallationPages bounds ListInstallations.
const maxInstallationPages = 1000

// ListInstallations lists all installations of the App.
func (c *Client) ListInstallations(ctx context.Context) ([]ListedInstallation, error) {
	const operation = "list the App's installations"
	var all []ListedInstallation
	for page := 1; page <= maxInstallationPages; {
		var found []json.RawMessage
		answer, err := c.call(ctx, operation, 0, http.MethodGet, fmt.Sprintf("app/installations?per_page=100&page=%d", page), nil, &found)
		if err != nil {
			return nil, err
		}
		for _, raw := range found {
			d, err := parseDocument(raw, nil)
			if err != nil {
				return nil, fmt.Errorf("github: %s: %w: %w", operation, ErrNotJSON, err)
			}
			id, ok := d.identifier("id")
			if !ok {
				return nil, fmt.Errorf("github: %s: %w: an installation without an id", operation, ErrIncomplete)
			}
			p := payload{installation: d}
			state := p.installationState(id, &triage.Event{})
			all = append(all, ListedInstallation{Installation: *state, CreatedAt: d.member("created_at").time(), Raw: raw})
		}
		if answer.NextPage <= page {
			return all, nil
		}
		page = answer.NextPage
	}
	return nil, invalid(operation, 0, fmt.Sprintf("the list has more than %d pages", maxInstallationPages))
}

// InstallationRepositories lists the repositories that the installation lets the App see.
func (c *Client) InstallationRepositories(ctx context.Context, installationID int64) ([]triage.Repository, error) {
	operation := fmt.Sprintf("list the repositories of installation %d", installationID)
	if installationID <= 0 {
		return nil, invalid(operation, installationID, "the installation is unknown")
	}
	var all []triage.Repository
	for page := 1; page <= maxPages; {
		var found struct {
			Repositories []struct {
				ID       int64  `json:"id"`
				FullName string `json:"full_name"`
				Private  bool   `json:"private"`
			} `json:"repositories"`
		}
		answer, err := c.call(ctx, operation, installationID, http.MethodGet, fmt.Sprintf("installation/repositories?per_page=100&page=%d", page), nil, &found)
		if err != nil {
			return nil, err
		}
		for _, r := range found.Repositories {
			all = append(all, triage.Repository{ID: r.ID, InstallationID: installationID, FullName: r.FullName, Private: r.Private})
		}
		if answer.NextPage <= page {
			return all, nil
		}
		page = answer.NextPage
	}
	return nil, invalid(operation, installationID, fmt.Sprintf("the list has more than %d pages", maxPages))
}

// EncodeDirectory writes what a comparison of an installation has found in the
// shape of GitHub's webhook, for installations.raw under the event's name:
// EventInstallation with the actions created, deleted, suspend and unsuspend, or
// EventInstallationRepositories with added and removed.
func EncodeDirectory(event, action string, installation ListedInstallation, added, removed []triage.Repository) ([]byte, error) {
	body := map[string]any{"action": action, "installation": installation.Raw}
	type entry struct {
		ID       int64  `json:"id"`
		FullName string `json:"full_name"`
		Private  bool   `json:"private"`
	}
	entries := func(list []triage.Repository) []entry {
		all := make([]entry, len(list))
		for i, r := range list {
			all[i] = entry{r.ID, r.FullName, r.Private}
		}
		return all
	}
	switch event {
	case EventInstallation:
		body["repositories"] = entries(slices.Concat(added, removed))
	case EventInstallationRepositories:
		body["repositories_added"], body["repositories_removed"] = entries(added), entries(removed)
	default:
		return nil, fmt.Errorf("%w: %q tells of no installation", ErrUnknownEvent, event)
	}
	value, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode the %s event: %w", event, err)
	}
	return value, nil
}
