package simulate

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/github"
)

// submitted posts a form as a browser that came from origin does, and follows no redirect.
func submitted(t testing.TB, address, origin string, form url.Values) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(testContext(t), http.MethodPost, address, strings.NewReader(form.Encode()))
	must(t, err)
	req.Header.Set("Content-Type", formType)
	req.Header.Set("Origin", origin)
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	must(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	must(t, err)
	return res, string(body)
}

func TestAppFromManifest(t *testing.T) {
	clock := NewVirtual(time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC))
	g := start(t, Options{Clock: clock, AuthClock: Real{}})
	var mu sync.Mutex
	var signatures []string
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		signatures = append(signatures, r.Header.Get("X-GitHub-Event")+" "+r.Header.Get("X-Hub-Signature-256"))
		if len(signatures) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer hook.Close()
	text := `{"name":"DispatchAI acme","url":"https://example.com","hook_attributes":{"url":"` + hook.URL + `/webhook/github"},"redirect_url":"http://127.0.0.1:1/created",
		"public":false,"default_permissions":{"issues":"write","metadata":"read"},"default_events":["issues","label"]}`
	page := g.URL() + "/organizations/acme/settings/apps/new?state=s%26t"
	const elsewhere = "http://127.0.0.1:1"

	res, body := submitted(t, page, elsewhere, url.Values{"manifest": {text}})
	if res.StatusCode != 200 || !strings.Contains(body, "Create GitHub App for acme") || !strings.Contains(body, "issues: write") {
		t.Fatalf("the page: %d %s", res.StatusCode, body)
	}
	if policy := res.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "form-action 'self' http://127.0.0.1:1;") {
		t.Errorf("the browser could not come back: %s", policy)
	}
	create := url.Values{"manifest": {text}, "state": {"s&t"}, "create": {"1"}, "name": {"DispatchAI acme"}}
	if res, _ := submitted(t, page, elsewhere, create); res.StatusCode != 403 {
		t.Errorf("another site creates an App: %d", res.StatusCode)
	}
	created := func(form url.Values) *url.URL {
		t.Helper()
		res, body := submitted(t, page, g.URL(), form)
		back, err := res.Location()
		if err != nil {
			t.Fatalf("creating: %d %s", res.StatusCode, body)
		}
		if !strings.HasPrefix(back.String(), "http://127.0.0.1:1/created?") || back.Query().Get("state") != "s&t" || back.Query().Get("code") == "" {
			t.Fatalf("it leads back to %s", back)
		}
		return back
	}
	code := created(create).Query().Get("code")
	must(t, g.WaitIdle(testContext(t)))

	app, err := github.ConvertManifest(testContext(t), g.URL()+"/api/v3", code, "test")
	if err != nil {
		t.Fatal(err)
	}
	if app.ID != g.AppID() || app.Name != "DispatchAI acme" || app.Owner != "acme" || app.WebhookSecret != testSecret || app.ClientSecret == "" ||
		!slices.Equal(app.Events, []string{"issues", "label"}) || app.Permissions["contents"] != "" {
		t.Errorf("the App: %+v %+v", app.App, app)
	}
	if _, err := github.ConvertManifest(testContext(t), g.URL()+"/api/v3", code, "test"); err == nil {
		t.Error("the code is good twice")
	}
	client, err := github.NewClient(github.ClientConfig{AppID: app.ID, PrivateKey: app.PrivateKey, APIURL: g.URL() + "/api/v3"})
	must(t, err)
	log, err := client.ListDeliveries(testContext(t), "")
	attempts := log.Deliveries
	if err != nil || len(attempts) != 1 || attempts[0].Event != "ping" || attempts[0].OK() {
		t.Fatalf("the first ping: %+v, %v", attempts, err)
	}
	must(t, client.RedeliverDelivery(testContext(t), attempts[0].ID))
	must(t, g.WaitIdle(testContext(t)))
	mu.Lock()
	if len(signatures) != 2 || signatures[0] != signatures[1] || !strings.HasPrefix(signatures[0], "ping sha256=") {
		t.Errorf("signatures %q", signatures)
	}
	mu.Unlock()
	must(t, client.SetWebhookURL(testContext(t), hook.URL+"/other"))
	if address, err := client.WebhookURL(testContext(t)); address != hook.URL+"/other" || err != nil {
		t.Errorf("the webhook goes to %q, %v", address, err)
	}

	// Its installations are asked for what the manifest says.
	if res, body := submitted(t, g.URL()+"/apps/dispatchai/installations/new", g.URL(), url.Values{"account": {"acme"}}); res.StatusCode != 303 {
		t.Fatalf("installing: %d %s", res.StatusCode, body)
	}
	if got, err := client.App(testContext(t)); err != nil || got.Installations != 1 {
		t.Errorf("installed %d times, %v", got.Installations, err)
	}
	if all := g.Installations(); len(all) != 1 || all[0].Permissions["contents"] != "" || !slices.Equal(all[0].Events, []string{"issues", "label"}) {
		t.Errorf("installations %+v", all)
	}

	// A name is taken once, and a code is good for an hour.
	if res, body := submitted(t, page, g.URL(), create); res.StatusCode != 200 || !strings.Contains(body, "already taken") {
		t.Errorf("the same name again: %d %s", res.StatusCode, body)
	}
	create.Set("name", "DispatchAI acme two")
	code = created(create).Query().Get("code")
	clock.Advance(time.Hour + time.Second)
	if _, err := github.ConvertManifest(testContext(t), g.URL()+"/api/v3", code, "test"); err == nil {
		t.Error("the code is good after an hour")
	}
}

func TestManifestIsRefused(t *testing.T) {
	t.Parallel()
	const rest = `"url":"https://example.com","redirect_url":"http://127.0.0.1:1/created"`
	for text, want := range map[string]string{
		`{` + rest + `}`: "",
		`not JSON`:       "valid GitHub App manifest",
		`{"redirect_url":"http://127.0.0.1:1/created"}`:                                    `"url" must be`,
		`{"url":"https://example.com"}`:                                                    `"redirect_url" must be`,
		`{` + rest + `,"hook_attributes":{"url":"https://e.com/h","secret":"x"}}`:          "secret",
		`{` + rest + `,"hook_attributes":{"active":true}}`:                                 "Hook url",
		`{` + rest + `,"default_events":["push"],"default_permissions":{"issues":"read"}}`: "not supported by permissions: push",
		`{` + rest + `,"default_permissions":{"issues":"always"}}`:                         `no access level "always"`,
		`{` + rest + `,"single_file_name":".github/dispatchai.yml"}`:                       "single_file_name",
	} {
		_, faults := readManifest(text)
		if got := strings.Join(faults, "; "); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func FuzzReadManifest(f *testing.F) {
	f.Add(`{"name":"x","url":"https://example.com","default_permissions":{"issues":"write"},"default_events":["issues"]}`)
	f.Fuzz(func(t *testing.T, text string) {
		m, faults := readManifest(text)
		if len(faults) == 0 {
			if _, err := json.Marshal(m); err != nil {
				t.Errorf("accepted, but %v", err)
			}
			if _, err := url.Parse(withQuery(m.RedirectURL, "code", "c")); err != nil {
				t.Errorf("accepted, but it leads nowhere: %v", err)
			}
		}
	})
}
