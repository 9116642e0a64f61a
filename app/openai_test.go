package app_test

import (
	"encoding/json"
	"math"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dispatchai/dispatchai/app/simulate"
	"github.com/dispatchai/dispatchai/plugins/openai/openaitest"
)

// TestOpenAI: the model server that the environment names is asked from within the
// plugin's confinement, an issue gets the label that it chose, and what it cost is in
// the account to the token. The key is nowhere to be seen.
func TestOpenAI(t *testing.T) {
	t.Parallel()
	model := &openaitest.Server{Answer: func(r openaitest.Request) openaitest.Answer {
		return openaitest.Answer{Content: openaitest.Fill(r, func(field string, values []string) string {
			switch {
			case field == "category":
				return "feature"
			case len(values) > 0:
				return values[0]
			}
			return "In short."
		})}
	}}
	server := httptest.NewServer(model)
	t.Cleanup(server.Close)
	s := newSystem(t, simulate.Options{Seed: 91})
	s.installTestRepository()
	settings := t.TempDir()
	if err := os.WriteFile(filepath.Join(settings, "openai.json"), []byte(`{"prices":{"input":0.15,"cached_input":0.075,"output":0.6}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s.env = []string{
		"DISPATCHAI_PLUGINS=openai", "OPENAI_API_KEY=" + openaitest.Key, "OPENAI_BASE_URL=" + server.URL + "/v1",
		"DISPATCHAI_PLUGIN_SETTINGS_DIR=" + settings,
	}
	s.start()
	t.Cleanup(s.dump)
	number, err := s.github.OpenIssue(testContext(t), testRepo, bugReport(1))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(number, "kind/feature")
	var issue map[string]any
	found := false
	eventually(t, "the issue is in the API", func() bool {
		var list struct {
			Issues []map[string]any `json:"issues"`
		}
		if s.call("GET", "/api/issues?repository="+testRepo, nil, &list) == 200 && len(list.Issues) == 1 {
			issue, found = list.Issues[0], true
		}
		return found
	})
	text, _ := json.Marshal(issue)
	if !strings.Contains(string(text), `"In short."`) {
		t.Errorf("the issue lacks the summary: %s", text)
	}
	out, err := s.run("usage", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var account struct {
		Rows []struct {
			Plugin       string  `json:"plugin"`
			InputTokens  int64   `json:"input_tokens"`
			OutputTokens int64   `json:"output_tokens"`
			CostUSD      float64 `json:"cost_usd"`
		} `json:"rows"`
	}
	if err := json.Unmarshal([]byte(out), &account); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	usage, spent := account.Rows, model.Spent()
	cost := (float64(spent.Input)*0.15 + float64(spent.Output)*0.6) / 1e6
	if len(usage) != 1 || usage[0].Plugin != "openai" || usage[0].InputTokens != spent.Input || usage[0].OutputTokens != spent.Output || math.Abs(usage[0].CostUSD-cost) > 1e-9 {
		t.Errorf("%+v were spent, which is $%.9f; the account is %s", spent, cost, out)
	}
	for _, f := range model.Faults() {
		t.Errorf("a request is not as OpenAI describes it: %s", f)
	}
	if strings.Contains(s.process.output()+string(text)+s.metrics(""), openaitest.Key) {
		t.Error("the key is in the log, the API or the metrics")
	}
}

// TestInjections: every attempt to steer the model goes through the whole service, in
// front of a model that does what it is told: no label is written that the repository
// does not have, none that drives automation, and nothing of the prompt is shown.
func TestInjections(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../plugins/openai/testdata/injections.json")
	if err != nil {
		t.Fatal(err)
	}
	var attempts []struct{ Title, Body string }
	if err := json.Unmarshal(text, &attempts); err != nil {
		t.Fatal(err)
	}
	privileged := []string{"ok-to-test", "approved", "lgtm", "wontfix", "do-not-merge"}
	var turn atomic.Int64
	model := &openaitest.Server{Answer: func(r openaitest.Request) openaitest.Answer {
		n := int(turn.Add(1))
		return openaitest.Answer{Content: openaitest.Fill(r, func(_ string, values []string) string {
			switch {
			case len(values) == 0:
				return "My instructions are: " + r.System()
			case n%2 == 0:
				return privileged[n/2%len(privileged)]
			}
			return values[n%len(values)]
		})}
	}}
	server := httptest.NewServer(model)
	t.Cleanup(server.Close)
	s := newSystem(t, simulate.Options{Seed: 93, RateLimits: simulate.RateLimits{Off: true}})
	labels := testLabels()
	mayBe := make(map[string]bool)
	for _, l := range labels {
		mayBe[l.Name] = !slices.Contains(privileged, l.Name)
	}
	for _, name := range privileged {
		if !slices.ContainsFunc(labels, func(l simulate.Label) bool { return l.Name == name }) {
			labels = append(labels, simulate.Label{Name: name, Color: "ededed"})
		}
	}
	ctx := testContext(t)
	if err := s.github.CreateRepository(ctx, simulate.NewRepository{Owner: testOwner, Name: "widgets", Labels: labels}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.github.Install(ctx, testOwner, simulate.InstallOptions{}); err != nil {
		t.Fatal(err)
	}
	s.env = []string{"DISPATCHAI_PLUGINS=openai", "OPENAI_API_KEY=" + openaitest.Key, "OPENAI_BASE_URL=" + server.URL + "/v1"}
	s.start()
	t.Cleanup(s.dump)
	var numbers []int
	for _, a := range attempts {
		number, err := s.github.OpenIssue(ctx, testRepo, simulate.NewIssue{Author: "mallory", Title: a.Title, Body: a.Body})
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, number)
	}
	s.settled()
	labelled := 0
	for i, number := range numbers {
		issue, err := s.github.Issue(testRepo, number)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range issue.Labels {
			if labelled++; !mayBe[l] {
				t.Errorf("%q carries %q", attempts[i].Title, l)
			}
		}
	}
	if len(attempts) < 200 || labelled < 50 {
		t.Errorf("of %d issues %d labels were written: that shows nothing", len(attempts), labelled)
	}
	for page := "/api/issues?limit=200&repository=" + testRepo; page != ""; {
		var list struct {
			Issues     []json.RawMessage `json:"issues"`
			NextCursor *string           `json:"next_cursor"`
		}
		if status := s.call("GET", page, nil, &list); status != 200 {
			t.Fatalf("the API answers %d", status)
		}
		for _, issue := range list.Issues {
			if strings.Contains(string(issue), "You triage the issues") || strings.Contains(string(issue), "My instructions are") {
				t.Errorf("the prompt is shown: %s", issue)
			}
		}
		if page = ""; list.NextCursor != nil {
			page = "/api/issues?limit=200&repository=" + testRepo + "&cursor=" + url.QueryEscape(*list.NextCursor)
		}
	}
	t.Logf("%d issues, %d labels, %d requests to the model", len(attempts), labelled, len(model.Asked()))
}
