package simulate

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"
)

// BenchmarkRoundTrip measures what the simulation costs a benchmark of the App: an issue is opened, its webhook is sent,
// a bare receiver puts two labels on it through the REST API, and the two webhooks of those are sent. 1,000
// installations of one repository each, limits and history off, bodies of 3 KB.
func BenchmarkRoundTrip(b *testing.B) {
	const installations = 1000
	tokens := make(map[int64]string, installations)
	var g *GitHub
	api := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-GitHub-Event") != "issues" {
			return
		}
		payload, err := io.ReadAll(r.Body)
		if err != nil {
			b.Error(err)
			return
		}
		if !strings.HasPrefix(string(payload), `{"action":"opened"`) {
			return
		}
		var p struct {
			Issue struct {
				LabelsURL string `json:"labels_url"`
			} `json:"issue"`
			Installation struct {
				ID int64 `json:"id"`
			} `json:"installation"`
		}
		if err := json.Unmarshal(payload, &p); err != nil {
			b.Error(err)
			return
		}
		req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, strings.TrimSuffix(p.Issue.LabelsURL, "{/name}"), strings.NewReader(`{"labels":["bug","P1"]}`))
		if err != nil {
			b.Error(err)
			return
		}
		req.Header.Set("Authorization", "token "+tokens[p.Installation.ID])
		res, err := api.Do(req)
		if err != nil {
			b.Error(err)
			return
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			b.Errorf("labelling: %s", res.Status)
		}
		_, _ = io.Copy(io.Discard, res.Body)
	}))
	defer hook.Close()
	g = start(b, Options{RateLimits: RateLimits{Off: true}, DeliveryLog: -1, EventsPerIssue: -1})
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
	defer cancel()
	repos := make([]string, installations)
	for i := range repos {
		owner := fmt.Sprintf("org-%d", i)
		repos[i] = owner + "/main"
		must(b, g.CreateRepository(ctx, NewRepository{Owner: owner, Name: "main", Labels: []Label{{"bug", "d73a4a", ""}, {"P1", "b60205", ""}}}))
		id, err := g.Install(ctx, owner, InstallOptions{})
		must(b, err)
		inst, err := g.installation(id)
		must(b, err)
		t, err := g.issueToken(inst, inst.grant.Load().permissions, nil)
		must(b, err)
		tokens[id] = t.secret
	}
	must(b, g.SetWebhookURL(hook.URL))
	body := strings.Repeat("The quick brown fox jumps over the lazy dog, \"quoted\".\n", 55)
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		_, err := g.OpenIssue(ctx, repos[i%installations], NewIssue{Author: "reporter", Title: "Something broke", Body: body})
		must(b, err)
	}
	must(b, g.WaitIdle(ctx))
	b.StopTimer()
	if d := g.Deliveries(); d.OK != int64(3*b.N) {
		b.Errorf("deliveries = %+v, want %d", d, 3*b.N)
	}
	runtime.GC()
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "issues/s")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(b.N), "B-kept/issue")
}

// BenchmarkOpenIssue measures making state and payload alone: the webhook is made and lost.
func BenchmarkOpenIssue(b *testing.B) {
	g := start(b, Options{WebhookURL: "http://127.0.0.1:1/", DeliveryFaults: DeliveryFaults{Vanish: 1}, DeliveryLog: -1})
	_, err := g.Install(b.Context(), "acme", InstallOptions{})
	must(b, err)
	body := strings.Repeat("The quick brown fox jumps over the lazy dog, \"quoted\".\n", 55)
	b.ReportAllocs()
	for b.Loop() {
		_, err := g.OpenIssue(b.Context(), "acme/widget", NewIssue{Author: "reporter", Title: "Something broke", Body: body})
		must(b, err)
	}
}
