package github

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// NewApp is an App that GitHub has just registered from a manifest. Its secrets
// are told this once; GitHub shows the private key and the client secret to
// nobody again.
type NewApp struct {
	App
	ClientID      string
	ClientSecret  string
	WebhookSecret string
	PrivateKey    []byte // PEM
}

// String names the App and hides its secrets.
func (a NewApp) String() string { return fmt.Sprintf("new GitHub App %d (%s)", a.ID, a.Slug) }

// GoString hides the secrets from %#v too.
func (a NewApp) GoString() string { return a.String() }

// LogValue hides the secrets from structured logs.
func (a NewApp) LogValue() slog.Value { return slog.StringValue(a.String()) }

// manifestCode is what GitHub's codes look like; it becomes part of a URL.
var manifestCode = regexp.MustCompile(`^[A-Za-z0-9_-]{1,200}$`)

// conversionTimeout bounds the exchange of a code.
const conversionTimeout = 20 * time.Second

// ConvertManifest exchanges the code that GitHub gave the browser after it
// registered an App from a manifest for the App and its secrets. A code is good
// once, for an hour; one that is not is ErrNotFound or ErrInvalid. The request
// needs no credentials, as there are none yet. apiURL is as ParseAPIURL takes it.
func ConvertManifest(ctx context.Context, apiURL, code, userAgent string) (NewApp, error) {
	const operation = "create the App from its manifest"
	if !manifestCode.MatchString(code) {
		return NewApp{}, invalid(operation, 0, "the code is not one of GitHub's")
	}
	base, err := ParseAPIURL(apiURL)
	if err != nil {
		return NewApp{}, err
	}
	if userAgent == "" {
		userAgent = "DispatchAI"
	}
	ctx, cancel := context.WithTimeout(ctx, conversionTimeout)
	defer cancel()
	metrics, err := newMetrics(nil, nil)
	if err != nil {
		return NewApp{}, err
	}
	connections := newHTTPTransport()
	defer connections.CloseIdleConnections()
	// The path holds the code, which is as good as the key until it is used: it is not logged.
	wire := &transport{base: connections, timeout: conversionTimeout, prefix: strings.TrimSuffix(base.Path, "/"), agent: userAgent, metrics: metrics, logger: slog.New(slog.DiscardHandler)}
	api := newAPI(wire, base, userAgent)
	request, err := api.NewRequest(http.MethodPost, "app-manifests/"+code+"/conversions", nil)
	if err != nil {
		return NewApp{}, fmt.Errorf("github: %w", err)
	}
	var answer struct {
		appAnswer
		ClientID      string `json:"client_id"`
		ClientSecret  string `json:"client_secret"`
		WebhookSecret string `json:"webhook_secret"`
		PEM           string `json:"pem"`
	}
	if _, err := api.Do(ctx, request, &answer); err != nil {
		return NewApp{}, explain(ctx, operation, 0, withoutPath(err))
	}
	app := NewApp{
		App: answer.app(), ClientID: answer.ClientID, ClientSecret: answer.ClientSecret,
		WebhookSecret: answer.WebhookSecret, PrivateKey: []byte(answer.PEM),
	}
	if app.ID <= 0 || app.Slug == "" {
		return NewApp{}, fmt.Errorf("github: %s: %s answers, but not as GitHub's API does; check the address (for GitHub Enterprise Server the API is https://HOST/api/v3)", operation, base)
	}
	if app.WebhookSecret == "" {
		return NewApp{}, fmt.Errorf("github: %s: GitHub made the App %s without a webhook secret, without which nothing it sends can be trusted; delete the App and create it again with an active webhook", operation, app.Slug)
	}
	if _, err := ParsePrivateKey(app.PrivateKey); err != nil {
		return NewApp{}, fmt.Errorf("github: %s: GitHub made the App %s, but its key cannot be used: %w", operation, app.Slug, err)
	}
	return app, nil
}

// withoutPath keeps the code out of an error of the layers below, which quote
// the URL.
func withoutPath(err error) error {
	var quoting *url.Error
	if errors.As(err, &quoting) {
		return quoting.Err
	}
	return err
}
