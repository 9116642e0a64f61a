package app_test

import (
	"encoding/json"
	"math"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
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
