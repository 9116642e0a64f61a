package simulate

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// registration is what an App is registered with. A simulated GitHub has one App, whose ID, slug, key and client ID come
// from Options; a manifest gives it the rest. It is replaced, never changed.
type registration struct {
	name        string
	permissions map[string]string
	events      []string
	secret      string
	object      []byte // the App as the API shows it
}

// manifests are the registrations of Apps from manifests.
type manifests struct {
	mu      sync.Mutex
	names   map[string]bool       // taken, by slug: they are unique on all of GitHub
	pending map[string]conversion // by the code's hash
}

// conversion is a code that waits to be exchanged.
type conversion struct {
	registration *registration
	at           time.Time
}

// manifest is what GitHub reads of an App's manifest,
// https://docs.github.com/apps/sharing-github-apps/registering-a-github-app-from-a-manifest#github-app-manifest-parameters.
type manifest struct {
	Name           string `json:"name"`
	URL            string `json:"url"`
	HookAttributes *struct {
		URL    string `json:"url"`
		Active *bool  `json:"active"`
	} `json:"hook_attributes"`
	RedirectURL           string            `json:"redirect_url"`
	CallbackURLs          []string          `json:"callback_urls"`
	SetupURL              string            `json:"setup_url"`
	Description           string            `json:"description"`
	Public                bool              `json:"public"`
	DefaultEvents         []string          `json:"default_events"`
	DefaultPermissions    map[string]string `json:"default_permissions"`
	RequestOAuthOnInstall bool              `json:"request_oauth_on_install"`
	SetupOnUpdate         bool              `json:"setup_on_update"`
}

const (
	longestAppName = 34
	codeLives      = time.Hour
	maxPending     = 100
)

// readManifest returns GitHub's complaint about a manifest, or nothing when it is good. As GitHub, it refuses members that it does not know.
func readManifest(text string) (manifest, []string) {
	var m manifest
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&m); err != nil {
		return m, []string{"The configuration does not appear to be a valid GitHub App manifest: " + err.Error()}
	}
	var faults []string
	absolute := func(what, address string) {
		if u, err := url.Parse(address); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			faults = append(faults, what+" must be a valid URL")
		}
	}
	absolute(`"url"`, m.URL)
	absolute(`"redirect_url"`, m.RedirectURL)
	if m.SetupURL != "" {
		absolute(`"setup_url"`, m.SetupURL)
	}
	if len(m.CallbackURLs) > 10 {
		faults = append(faults, "Too many callback URLs")
	}
	if m.HookAttributes != nil {
		absolute("Hook url", m.HookAttributes.URL)
	}
	gr := grant{permissions: maps.Clone(m.DefaultPermissions)}
	if gr.permissions == nil {
		gr.permissions = map[string]string{}
	}
	for _, name := range slices.Sorted(maps.Keys(gr.permissions)) {
		if level := gr.permissions[name]; permissionLevel(level) == 0 {
			faults = append(faults, fmt.Sprintf("Default permission records resource %s has no access level %q", name, level))
		}
	}
	gr.permissions["metadata"] = "read"
	for _, event := range m.DefaultEvents {
		if !gr.allowsEvent(event) {
			faults = append(faults, fmt.Sprintf("Default events are not supported by permissions: %s", event))
		}
	}
	return m, faults
}

var notInSlugs = regexp.MustCompile(`[^a-z0-9]+`)

func slugOf(name string) string {
	return strings.Trim(notInSlugs.ReplaceAllString(strings.ToLower(name), "-"), "-")
}

// register makes the App of a manifest and returns the code for its secrets. The webhook's first ping is not sent yet.
func (g *GitHub) register(m manifest, owner *account) (code string, err error) {
	slug := slugOf(m.Name)
	switch {
	case slug == "":
		return "", fmt.Errorf("%w: name can't be blank", ErrInvalid)
	case len(m.Name) > longestAppName:
		return "", fmt.Errorf("%w: name is too long (maximum is %d characters)", ErrInvalid, longestAppName)
	}
	if code, err = randomText(40); err != nil {
		return "", err
	}
	secret := g.opts.WebhookSecret
	if secret == "" {
		if secret, err = randomText(40); err != nil {
			return "", err
		}
	}
	r := &registration{name: m.Name, permissions: maps.Clone(m.DefaultPermissions), events: slices.Clone(m.DefaultEvents), secret: secret}
	if r.permissions == nil {
		r.permissions = map[string]string{}
	}
	r.permissions["metadata"] = "read"
	r.object = g.renderApp(owner, r)

	g.manifests.mu.Lock()
	defer g.manifests.mu.Unlock()
	if g.manifests.names == nil {
		g.manifests.names, g.manifests.pending = map[string]bool{}, map[string]conversion{}
	}
	now := g.clock.Now()
	maps.DeleteFunc(g.manifests.pending, func(_ string, c conversion) bool { return now.Sub(c.at) > codeLives })
	if g.manifests.names[slug] {
		return "", fmt.Errorf("%w: name is already taken", ErrExists)
	}
	if len(g.manifests.pending) == maxPending {
		return "", fmt.Errorf("%w: too many Apps wait for their secrets to be fetched", ErrForbidden)
	}
	g.manifests.names[slug] = true
	g.manifests.pending[hashed(code)] = conversion{r, now}
	hook := ""
	if m.HookAttributes != nil && (m.HookAttributes.Active == nil || *m.HookAttributes.Active) {
		hook = m.HookAttributes.URL
	}
	if err := g.SetWebhookURL(hook); err != nil {
		return "", err
	}
	g.registered.Store(r)
	return code, nil
}

func hashed(code string) string {
	sum := sha256.Sum256([]byte(code))
	return hex.EncodeToString(sum[:])
}

// asked is what the App asks of installations, and how its webhooks are signed.
func (g *GitHub) asked() registration {
	if r := g.registered.Load(); r != nil {
		return *r
	}
	return registration{name: g.opts.AppName, permissions: g.opts.Permissions, events: g.opts.Events, secret: g.opts.WebhookSecret, object: g.appObject}
}

// convertManifest exchanges a code, once and within the hour, for the App with its secrets.
func convertManifest(c *call) reply {
	key := hashed(c.path("code"))
	c.g.manifests.mu.Lock()
	found, ok := c.g.manifests.pending[key]
	delete(c.g.manifests.pending, key)
	c.g.manifests.mu.Unlock()
	if !ok || c.g.clock.Now().Sub(found.at) > codeLives {
		return notFound()
	}
	secret, err := randomText(40)
	if err != nil {
		return c.failed(err, "", "")
	}
	var d document
	d.begin('{')
	d.members(found.registration.object[1 : len(found.registration.object)-1])
	d.str("client_secret", secret)
	d.str("webhook_secret", found.registration.secret)
	d.str("pem", string(c.g.PrivateKeyPEM()))
	d.end('}')
	return created(d)
}

// updateHookConfig changes where webhooks go. Of the rest of a webhook's configuration the simulation knows nothing.
func updateHookConfig(c *call) reply {
	var asked struct {
		URL         *string `json:"url"`
		ContentType string  `json:"content_type"`
		Secret      *string `json:"secret"`
	}
	if out := c.decode(&asked); out != nil {
		return *out
	}
	if asked.Secret != nil || asked.ContentType != "" && asked.ContentType != "json" {
		return fail(http.StatusUnprocessableEntity, "The simulated GitHub changes the url only", c.route.docs)
	}
	if asked.URL != nil {
		if err := c.g.SetWebhookURL(*asked.URL); err != nil || *asked.URL == "" {
			return fail(http.StatusUnprocessableEntity, "Validation Failed", c.route.docs)
		}
	}
	return getHookConfig(c)
}

// firstPing is the ping that GitHub sends when an App with a webhook is made, before anybody can know its secret.
func (g *GitHub) firstPing(r *http.Request) error {
	if g.outbox.target() == "" {
		return nil
	}
	if err := g.Ping(r.Context()); err != nil && !errors.Is(err, ErrQueueFull) {
		return err
	}
	return nil
}
