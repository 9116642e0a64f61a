package rules

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/plugins/sdk"
)

func TestSettingsFaults(t *testing.T) {
	rules := func(rule string) string { return `{"rules":[` + rule + `]}` }
	for settings, want := range map[string][]string{
		`[]`:                {"rules: settings: must be a JSON object"},
		`{"rules":`:         {"rules: settings: is not JSON"},
		`{"rule":[]}`:       {"rules: rule: is not known; known are rules"},
		`{"rules":{}}`:      {"rules: rules: must be a list of rules"},
		rules(`3`):          {"rules: rule 1: must be a JSON object"},
		rules(`{}`):         {"rule 1: name: is missing", "rule 1: when: has no condition", "rule 1: set: is missing"},
		rules(`{"name":7}`): {"rule 1: name: must be a text that is not empty"},
		rules(`{"name":"a","when":{"title":"(x","body":"y{2000}","titel":"z"},"set":{"catgory":"bug"},"confidence":1.5,"stop":"no"}`): {
			`rule 1 "a": when.titel: is not known; known are title, body, any, author, labels, template`,
			`rule 1 "a": when.title: is not a regular expression in RE2 syntax: missing closing )`,
			`rule 1 "a": when.body: is not a regular expression`, `rule 1 "a": set.catgory: is not known`,
			`rule 1 "a": confidence: must be a number above 0 and at most 1`, `rule 1 "a": stop: must be true or false`,
		},
		rules(`{"name":"a","when":{},"set":{}}`):                                                   {"when: has no condition", "set: is empty"},
		rules(`{"name":"a","when":{"any":"x"},"set":{"category":""}}`):                             {"set.category: must be a text that is not empty"},
		rules(`{"name":"a","when":{"any":"x"},"set":{"category":["bug"]}}`):                        {"set.category: must be a text"},
		rules(`{"name":"a","when":{"any":"x"},"set":{"tags":[]}}`):                                 {"set.tags: must be a list of 1 to 20 texts"},
		rules(`{"name":"a","when":{"any":"x"},"set":{"summary":"s"}}`):                             {"set.summary: is not known"},
		rules(`{"name":"a","when":{"labels":[""]},"set":{"tags":"x"}}`):                            {"when.labels: has an entry that is empty"},
		rules(`{"name":"a","when":{"template":{"...":"x","Part":"("}},"set":{"tags":"x"}}`):        {"when.template.Part: is not a regular", "names no heading"},
		rules(`{"name":"a","when":{"template":[]},"set":{"tags":"x"}}`):                            {"when.template: must map 1 to 20 headings"},
		rules(`{"name":"a","when":{"any":"` + strings.Repeat("x", 501) + `"},"set":{"tags":"x"}}`): {"when.any: is longer than 500 characters"},
		rules(`{"name":"a","when":{"any":"(x{30}){30}y{900}"},"set":{"tags":"x"}}`):                {"when.any: is too large"},
		rules(`{"name":"a","when":{"any":"x"},"set":{"tags":"x"},"confidence":null}`):              {"confidence: must be"},
		rules(`{"name":"a","when":{"any":"x"},"set":{"tags":"x"}},` + `{"name":"a","when":null}`):  {`rule 2 "a": name: is the name of rule 1 too`, `rule 2 "a": when: must be a JSON object`},
		rules(strings.TrimSuffix(strings.Repeat(`{},`, 101), ",")):                                 {"rules: rules: there are 101 rules; at most 100 are allowed"},
		`{"rules":[],"x":"` + strings.Repeat("x", maxSettings) + `"}`:                              {"bytes long; make them 65536 at most"},
		rules(big(10)): {"rules: rules: the regular expressions are too large together"},
	} {
		err := ValidateSettings(json.RawMessage(settings))
		if err == nil {
			t.Errorf("%.100s: no error", settings)
			continue
		}
		for _, part := range want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%.100s:\ngot  %v\nwant %s", settings, err, part)
			}
		}
		plain(t, strings.ReplaceAll(err.Error(), "\n", " "))
	}
	for _, settings := range []string{"", "  ", "null", "{}", `{"rules":null}`, `{"rules":[]}`, rules(`{"name":"docs","repositories":"acme/docs","set":{"category":"documentation"}}`)} {
		if err := ValidateSettings(json.RawMessage(settings)); err != nil {
			t.Errorf("%q: %v", settings, err)
		}
	}
}

// big writes n rules, each of nearly the largest size that one may have.
func big(n int) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf(`{"name":"r%d","when":{"any":"(a?b?c?d?e?){66}z"},"set":{"tags":"crash"}}`, i))
	}
	return strings.Join(out, ",")
}

func TestRules(t *testing.T) {
	issue := sdk.Issue{Title: "Parser is wrong", Body: "Ticket SUP-4711 <!-- hidden -->\n\n### Which part?\n\nCommand line\n\n### More\n\n_No response_", Author: "renovate[bot]", Labels: []string{"area/x", "Customer"}}
	for _, x := range []struct {
		name, rule string
		holds      bool
	}{
		{"title", `"when":{"title":"^Parser"}`, true},
		{"title, with its case", `"when":{"title":"^parser"}`, false},
		{"title, without", `"when":{"title":"(?i)^parser"}`, true},
		{"title does not see the body", `"when":{"title":"SUP-"}`, false},
		{"body", `"when":{"body":"SUP-[0-9]{4}"}`, true},
		{"body does not see the title", `"when":{"body":"wrong"}`, false},
		{"comments are not seen", `"when":{"body":"hidden"}`, false},
		{"any", `"when":{"any":"(?s)Parser.*SUP"}`, true},
		{"author", `"when":{"author":"*[BOT]"}`, true},
		{"another author", `"when":{"author":"dependa*"}`, false},
		{"labels", `"when":{"labels":["area/*","customer"]}`, true},
		{"one label is missing", `"when":{"labels":["area/*","internal"]}`, false},
		{"template", `"when":{"template":{"which PART":"(?i)^command line$"}}`, true},
		{"template, another answer", `"when":{"template":{"Which part?":"server"}}`, false},
		{"template, no response", `"when":{"template":{"More":"response"}}`, false},
		{"template, another heading", `"when":{"template":{"Which":"."}}`, false},
		{"repository", `"repositories":["ACME/*"]`, true},
		{"another repository", `"repositories":["other/*"],"when":{"any":"."}`, false},
		{"all must hold", `"when":{"title":"Parser","body":"nowhere"}`, false},
	} {
		repository := acme()
		repository.Settings = json.RawMessage(`{"rules":[{"name":"the rule",` + x.rule + `,"set":{"effort":"LARGE"},"confidence":0.7}]}`)
		if err := ValidateSettings(repository.Settings); err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		r := classify(t, New(), repository, issue)
		a, ok := r.Fields[sdk.Effort]
		if ok != x.holds {
			t.Errorf("%s: held %v, want %v", x.name, ok, x.holds)
		}
		if ok && (a.Values[0] != "large" || a.Confidence != 0.7 || a.Reason != "Matches the repository's rule “the rule”.") {
			t.Errorf("%s: %+v", x.name, a)
		}
	}
}

// TestPrecedence: the repository's rules go before those for all, the first one
// decides, tags add up, stop ends it, and what is not an option is not set.
func TestPrecedence(t *testing.T) {
	c, repository := New(), acme()
	ctx := context.Background()
	if err := c.Configure(ctx, json.RawMessage(`{"rules":[
		{"name":"g1","when":{"any":"."},"set":{"category":"security","effort":"small","tags":["flaky","nowhere"]}}]}`)); err != nil {
		t.Fatal(err)
	}
	repository.Settings = json.RawMessage(`{"rules":[
		{"name":"r1","when":{"any":"x"},"set":{"category":"kind/question","tags":["docker"],"component":"nothing"},"confidence":0.6},
		{"name":"r2","when":{"any":"x"},"set":{"category":"bug","tags":"windows"}},
		{"name":"r3","when":{"any":"halt"},"set":{"priority":"low"},"stop":true}]}`)
	r := classify(t, c, repository, sdk.Issue{Title: "x crashes", Body: "x panics"})
	if got := value(r, sdk.Category); got != "question" {
		t.Errorf("category %q", got)
	}
	if a := r.Fields[sdk.Effort]; len(a.Values) != 1 || a.Values[0] != "small" || !strings.Contains(a.Reason, "“g1” for all repositories") {
		t.Errorf("effort %+v", a)
	}
	if a := r.Fields[sdk.Tags]; !slices.Equal(a.Values, []string{"windows", "flaky", "docker"}) || a.Confidence != 0.6 {
		t.Errorf("tags %+v", a)
	}
	if !strings.Contains(r.Reasoning, "The rule “r1” sets component to “nothing”, which the repository does not have.") {
		t.Errorf("reasoning %q", r.Reasoning)
	}
	r = classify(t, c, repository, sdk.Issue{Title: "halt crashes"})
	if _, ok := r.Fields[sdk.Effort]; ok || value(r, sdk.Priority) != "low" {
		t.Errorf("after stop: %v", r)
	}

	// Faulty settings for all are refused and change nothing; a repository's
	// own are left aside, and said to be.
	if err := c.Configure(ctx, json.RawMessage(`{"rules":[{}]}`)); err == nil {
		t.Error("faulty settings were taken")
	}
	repository.Settings = json.RawMessage(`{"rules":[{"name":"r","when":{"title":"("},"set":{"category":"question"}}]}`)
	r = classify(t, c, repository, sdk.Issue{Title: "x crashes"})
	if value(r, sdk.Category) != "security" || !strings.Contains(r.Reasoning, `The repository's own rules were not used: rules: rule 1 "r": when.title`) {
		t.Errorf("got %q", r.Reasoning)
	}
	sound(t, repository, r)
	if err := c.Configure(ctx, nil); err != nil {
		t.Fatal(err)
	}
	if r = classify(t, c, acme(), sdk.Issue{Title: "x crashes every time"}); value(r, sdk.Category) == "security" {
		t.Error("rules stayed after they were taken back")
	}
}

func TestProfilesAreBoundedAndFresh(t *testing.T) {
	c := New()
	c.profiles.limit = 3
	for i := range 20 {
		r := acme()
		r.Settings = json.RawMessage(fmt.Sprintf(`{"rules":[{"name":"n%d","when":{"any":"."},"set":{"effort":"small"}}]}`, i))
		if got := classify(t, c, r, sdk.Issue{Title: "x"}).Fields[sdk.Effort].Reason; !strings.Contains(got, fmt.Sprintf("“n%d”", i)) {
			t.Errorf("rule %d: %q", i, got)
		}
		if n := c.profiles.recent.Len(); n > 3 || n != len(c.profiles.byKey) {
			t.Fatalf("%d profiles, %d keys", n, len(c.profiles.byKey))
		}
	}
	// The same repository with other options is not served from the cache.
	r := acme()
	classify(t, c, r, sdk.Issue{Title: "crash"})
	r2 := acme()
	r2.Options[sdk.Category] = optionsOf("kind", "defect")
	if got := value(classify(t, c, r2, sdk.Issue{Title: "[bug] crash after start"}), sdk.Category); got != "defect" {
		t.Errorf("got %q", got)
	}
}

func TestGlob(t *testing.T) {
	for _, x := range []struct {
		pattern, s string
		want       bool
	}{
		{"*", "", true}, {"a*c", "abbc", true}, {"a*c", "abbcd", false}, {"a?c", "abc", true}, {"?", "", false}, {"x[bot]", "X[bot]", true}, {"*a*b*", "xxaxxbxx", true},
		{"acme/*", "acme/a/b", true}, {"ä?", "Äß", true}, {"", "", true}, {"", "a", false}, {"**", "a", true}, {"*a", "baa", true},
	} {
		if got := glob(x.pattern, x.s); got != x.want {
			t.Errorf("glob(%q, %q) = %v", x.pattern, x.s, got)
		}
	}
}

// TestRulesAreStopped runs about the most expensive settings that are allowed,
// and stops them in the middle.
func TestRulesAreStopped(t *testing.T) {
	c, repository := New(), acme()
	repository.Settings = json.RawMessage(`{"rules":[` + big(5) + `]}`)
	if err := ValidateSettings(repository.Settings); err != nil {
		t.Fatal(err)
	}
	issue := sdk.Issue{Title: "x", Body: strings.Repeat("abcde", 500)}
	classify(t, c, repository, issue)
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if _, err := c.Classify(ctx, sdk.Request{Repository: repository, Issue: issue}); err == nil {
		t.Error("the deadline was not kept")
	}
}

// BenchmarkRules measures the worst that one repository's rules can cost.
func BenchmarkRules(b *testing.B) {
	c, repository := New(), acme()
	repository.Settings = json.RawMessage(`{"rules":[` + big(5) + `]}`)
	issue := sdk.Issue{Title: "x", Body: strings.Repeat("abcde", maxBody/5)}
	for b.Loop() {
		classify(b, c, repository, issue)
	}
}

func FuzzSettings(f *testing.F) {
	f.Add([]byte(`{"rules":[{"name":"a","repositories":["a/*"],"when":{"title":"x","body":"y","any":"z","author":"*","labels":["l"],"template":{"H":"."}},"set":{"category":"bug","tags":["t"]},"confidence":0.9,"stop":true}]}`))
	f.Add([]byte(`{"rules":[{"when":{"any":"(x{9}){9}"}}]}`))
	f.Add([]byte(`null`))
	c := New()
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := parseSettings(raw)
		if (s == nil) == (err == nil) {
			t.Fatalf("got %v and %v", s, err)
		}
		if err != nil {
			if len(bytes.TrimSpace([]byte(err.Error()))) == 0 {
				t.Error("an error without words")
			}
		}
		repository := acme()
		repository.Settings = raw
		sound(t, repository, classify(t, c, repository, sdk.Issue{Title: "crash", Body: "### H\n\nyes", Author: "a", Labels: []string{"l"}}))
	})
}
