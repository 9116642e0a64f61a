package setup

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/dispatchai/dispatchai/manifests"
)

// manifest is a GitHub App's, as GitHub reads it. Members that GitHub does not
// know make it refuse the whole; a single file to read cannot be named.
type manifest struct {
	Name               string            `json:"name"`
	URL                string            `json:"url"`
	Description        string            `json:"description,omitempty"`
	HookAttributes     hookAttributes    `json:"hook_attributes"`
	RedirectURL        string            `json:"redirect_url"`
	SetupURL           string            `json:"setup_url,omitempty"`
	Public             bool              `json:"public"`
	DefaultPermissions map[string]string `json:"default_permissions"`
	DefaultEvents      []string          `json:"default_events"`
}

type hookAttributes struct {
	URL    string `json:"url"`
	Active bool   `json:"active"`
}

// longestName is GitHub's bound of an App's name.
const longestName = 34

// newManifest fills manifests/github-app.json in for one App.
func newManifest(cfg Config, redirectURL string) (manifest, error) {
	var m manifest
	if err := json.Unmarshal(manifests.GitHubApp(), &m); err != nil {
		return m, fmt.Errorf("manifests/github-app.json: %w", err)
	}
	m.Name, m.RedirectURL, m.Public = cfg.Name, redirectURL, cfg.Public
	m.HookAttributes = hookAttributes{URL: cfg.hookURL(), Active: true}
	m.SetupURL = cfg.dashboardURL()
	if cfg.Strict {
		delete(m.DefaultPermissions, "contents")
		m.DefaultEvents = slices.DeleteFunc(m.DefaultEvents, func(event string) bool { return event == "push" })
	}
	if cfg.Checks {
		m.DefaultPermissions["checks"] = "write"
	}
	return m, nil
}

// dashboardURL is where GitHub sends people after they installed the App: the
// dashboard, where the webhook's URL tells where that is.
func (c Config) dashboardURL() string {
	base, ok := strings.CutSuffix(c.WebhookURL, webhookPath)
	if !ok || c.RelayURL != "" {
		return ""
	}
	return base + "/"
}

// defaultName makes a name that nobody on GitHub is likely to have: names of
// Apps are unique there. GitHub lets its reader change it.
func defaultName(org string) string {
	name := "DispatchAI " + org
	if org == "" || len(name) > longestName {
		name = "DispatchAI " + strings.ToLower(rand.Text()[:6])
	}
	return name
}

// permission is one line of what the page says about the manifest.
type permission struct{ Name, Level, Why string }

// permissions lists what the App asks for and why.
func (m manifest) permissions() []permission {
	var all []permission
	for _, name := range slices.Sorted(maps.Keys(m.DefaultPermissions)) {
		all = append(all, permission{Name: name, Level: m.DefaultPermissions[name], Why: reason(name)})
	}
	return all
}

// reason is what a permission is for; docs/permissions.md says it at length.
func reason(permission string) string {
	switch permission {
	case "issues":
		return "to read issues and their labels, and to put labels on and take its own off again"
	case "metadata":
		return "to see which repositories there are; GitHub demands it of every App"
	case "contents":
		return "to read .github/dispatchai.yml, and to hear at once when it changes"
	case "checks":
		return "to show faults of .github/dispatchai.yml on the commit that made them"
	}
	return ""
}

// formAction is GitHub's page that registers an App from a manifest.
func (c Config) formAction(state string) string {
	path := "/settings/apps/new"
	if c.Org != "" {
		path = "/organizations/" + url.PathEscape(c.Org) + path
	}
	return c.GitHubURL + path + "?state=" + url.QueryEscape(state)
}

// PermissionsURL is the page of the App's settings on which the single file is
// named.
func (c Credentials) PermissionsURL() string {
	path := "/settings/apps/" + url.PathEscape(c.Slug) + "/permissions"
	if c.Org != "" {
		path = "/organizations/" + url.PathEscape(c.Org) + path
	}
	return c.GitHubURL + path
}
