package github

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestConvertManifest(t *testing.T) {
	key := string(newServer(t).pem)
	conversion := func(change map[string]any) string {
		answer := map[string]any{
			"id": 900100, "slug": "dispatchai-acme", "node_id": "A_x", "name": "DispatchAI acme", "owner": map[string]any{"login": "acme"},
			"html_url": "https://github.com/apps/dispatchai-acme", "permissions": map[string]string{"issues": "write"}, "events": []string{"issues"},
			"client_id": "Iv23liabc", "client_secret": "client-hunter2", "webhook_secret": "webhook-hunter2", "pem": key,
		}
		for name, value := range change {
			answer[name] = value
		}
		text, err := json.Marshal(answer)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	status, body := 0, ""
	asked := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Method + " " + r.URL.Path
		if r.Header.Get("Authorization") != "" || r.UserAgent() != "DispatchAI/test" {
			t.Errorf("headers %v", r.Header)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	defer server.Close()

	status, body = 201, conversion(nil)
	app, err := ConvertManifest(t.Context(), server.URL+"/api/v3", "a180b1a3d263c81b", "DispatchAI/test")
	if err != nil || asked != "POST /api/v3/app-manifests/a180b1a3d263c81b/conversions" {
		t.Fatalf("%v after %s", err, asked)
	}
	if app.ID != 900100 || app.Slug != "dispatchai-acme" || app.Owner != "acme" || app.ClientID != "Iv23liabc" || app.ClientSecret != "client-hunter2" ||
		app.WebhookSecret != "webhook-hunter2" || string(app.PrivateKey) != key || app.Permissions["issues"] != "write" {
		t.Errorf("the App is %+v", app.App)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "app", app)
	if shown := fmt.Sprintf("%v %+v %#v %s", app, app, app, &log); strings.Contains(shown, "hunter2") || strings.Contains(shown, "PRIVATE") {
		t.Errorf("secrets show in %s", shown)
	}

	for name, c := range map[string]struct {
		status int
		body   string
		kind   error
		want   string
	}{
		"used or expired":   {404, `{"message":"Not Found"}`, ErrNotFound, "404"},
		"refused":           {422, `{"message":"Validation Failed"}`, ErrInvalid, "Validation Failed"},
		"down":              {503, ``, ErrUnavailable, "503"},
		"not GitHub":        {201, `{"hello":"world"}`, nil, "not as GitHub's API does"},
		"no webhook secret": {201, conversion(map[string]any{"webhook_secret": nil}), nil, "without a webhook secret"},
		"no key":            {201, conversion(map[string]any{"pem": "hunter2"}), nil, "its key cannot be used"},
	} {
		status, body = c.status, c.body
		_, err := ConvertManifest(t.Context(), server.URL, "the-code-hunter2", "DispatchAI/test")
		if err == nil || !strings.Contains(err.Error(), c.want) || c.kind != nil && !errors.Is(err, c.kind) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	asked = ""
	for _, code := range []string{"", "../../user", "a/b", strings.Repeat("a", 201), "a?b"} {
		if _, err := ConvertManifest(t.Context(), server.URL, code, "DispatchAI/test"); !errors.Is(err, ErrInvalid) || asked != "" {
			t.Errorf("the code %.20q: %v, asked %q", code, err, asked)
		}
	}
	server.Close()
	if _, err := ConvertManifest(t.Context(), server.URL, "the-code-hunter2", "DispatchAI/test"); !errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("nobody there: %v", err)
	}
}
