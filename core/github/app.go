package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dispatchai/dispatchai/core/triage"
)

// App is the GitHub App as GitHub describes it.
type App struct {
	ID    int64
	Slug  string
	Name  string
	Owner string
	URL   string
	// Permissions maps a permission ("issues") to its level ("read", "write").
	Permissions map[string]string
	// Events are the webhook events it is subscribed to; "installation" and
	// "installation_repositories" come without being subscribed to.
	Events        []string
	Installations int
}

// BotLogin is the login under which the App's writes appear on GitHub.
func (a App) BotLogin() string { return a.Slug + "[bot]" }

// Faults says, one sentence each, what the App's settings lack for DispatchAI
// to work; none when all is well.
func (a App) Faults() []string {
	var faults []string
	if level := a.Permissions["issues"]; level != "write" {
		faults = append(faults, "The App may not write labels: give it the repository permission Issues: Read and write, and let each installation's owner accept it.")
	}
	if level := a.Permissions["metadata"]; level == "" {
		faults = append(faults, "The App may not see repositories: give it the repository permission Metadata: Read-only.")
	}
	for _, event := range []string{EventIssues, EventIssueComment, EventLabel, EventRepository} {
		if !slices.Contains(a.Events, event) {
			faults = append(faults, fmt.Sprintf("The App does not hear of %q: subscribe to it under Permissions & events.", event))
		}
	}
	return faults
}

// appAnswer is the App as the API has it.
type appAnswer struct {
	ID          int64             `json:"id"`
	Slug        string            `json:"slug"`
	Name        string            `json:"name"`
	HTMLURL     string            `json:"html_url"`
	Permissions map[string]string `json:"permissions"`
	Events      []string          `json:"events"`
	Owner       *actorAnswer      `json:"owner"`
	Count       int               `json:"installations_count"`
}

func (a appAnswer) app() App {
	app := App{
		ID: a.ID, Slug: a.Slug, Name: a.Name, URL: a.HTMLURL, Permissions: a.Permissions, Events: a.Events, Installations: a.Count,
	}
	if a.Owner != nil {
		app.Owner = a.Owner.Login
	}
	return app
}

// App asks GitHub who the App is. It proves that GitHub can be reached and that
// App ID, private key and this machine's clock are right; its errors say which
// of them is wrong and what to do.
func (c *Client) App(ctx context.Context) (App, error) {
	var answer appAnswer
	_, err := c.call(ctx, "read the App", 0, http.MethodGet, "app", nil, &answer)
	if err != nil {
		return App{}, c.diagnose(err)
	}
	if answer.ID == 0 || answer.Slug == "" {
		return App{}, fmt.Errorf("%s answers, but not as GitHub's API does; check GITHUB_API_URL (for GitHub Enterprise Server it is https://HOST/api/v3)", c.apiURL)
	}
	if answer.ID != c.appID {
		return App{}, fmt.Errorf("GitHub knows the key as that of App %d (%s), not of App %d; set GITHUB_APP_ID to %d",
			answer.ID, answer.Slug, c.appID, answer.ID)
	}
	app := answer.app()
	slug := app.Slug
	c.slug.Store(&slug)
	return app, nil
}

// AppSlug is the App's name in URLs; its writes appear as "slug[bot]". It is
// asked for once and kept after the first success.
func (c *Client) AppSlug(ctx context.Context) (string, error) {
	if slug := c.slug.Load(); slug != nil {
		return *slug, nil
	}
	app, err := c.App(ctx)
	return app.Slug, err
}

// Installation reads one installation. One that was removed is ErrNotFound.
func (c *Client) Installation(ctx context.Context, id int64) (triage.Installation, error) {
	operation := fmt.Sprintf("read installation %d", id)
	if id <= 0 {
		return triage.Installation{}, invalid(operation, 0, "the installation is unknown")
	}
	var answer struct {
		ID          int64      `json:"id"`
		SuspendedAt *time.Time `json:"suspended_at"`
		UpdatedAt   time.Time  `json:"updated_at"`
		Account     *struct {
			Login string `json:"login"`
			Slug  string `json:"slug"`
		} `json:"account"`
	}
	if _, err := c.call(ctx, operation, 0, http.MethodGet, fmt.Sprintf("app/installations/%d", id), nil, &answer); err != nil {
		return triage.Installation{}, err
	}
	state := triage.Installation{ID: answer.ID, Suspended: answer.SuspendedAt != nil, UpdatedAt: answer.UpdatedAt.UTC()}
	if answer.Account != nil {
		state.Account = answer.Account.Login
		if state.Account == "" {
			state.Account = answer.Account.Slug
		}
	}
	return state, nil
}

// tolerableSkew is what the tokens of the library underneath forgive: they are
// dated half a minute back.
const tolerableSkew = 25 * time.Second

// diagnose turns a failed look at the App into what its operator can do about it.
func (c *Client) diagnose(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	skew := time.Duration(0)
	if !e.serverTime.IsZero() {
		skew = time.Since(e.serverTime).Round(time.Second)
	}
	message := strings.ToLower(e.Message)
	aboutTime := strings.Contains(message, "'exp'") || strings.Contains(message, "'iat'") || strings.Contains(message, "expir")
	switch {
	case errors.Is(e.Kind, ErrUnauthorized) && (skew.Abs() > tolerableSkew || aboutTime):
		return fmt.Errorf("this machine's clock is %s GitHub's, so GitHub refuses the App's tokens; set the clock (for example with NTP): %w", describeSkew(skew), err)
	case errors.Is(e.Kind, ErrUnauthorized):
		return fmt.Errorf("GitHub does not accept the private key for App %d: it belongs to another App or was deleted; "+
			"check GITHUB_APP_ID, or generate a new key in the App's settings: %w", c.appID, err)
	case errors.Is(e.Kind, ErrNotFound):
		return fmt.Errorf("there is no App %d at %s; check GITHUB_APP_ID (the number under \"About\" in the App's settings, not the client ID) and GITHUB_API_URL: %w",
			c.appID, c.apiURL, err)
	case errors.Is(e.Kind, ErrUnavailable) && e.Status == 0:
		return fmt.Errorf("no GitHub API answers at %s; check GITHUB_API_URL, the network and HTTPS_PROXY: %w", c.apiURL, err)
	}
	return err
}

func describeSkew(skew time.Duration) string {
	switch {
	case skew > tolerableSkew:
		return skew.String() + " ahead of"
	case skew < -tolerableSkew:
		return skew.Abs().String() + " behind"
	}
	return "different from"
}
