package repoconfig

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// job is a workflow of one job with the condition.
func job(on, condition string) string {
	return "on: " + on + "\njobs:\n  it:\n    runs-on: ubuntu-latest\n    if: " + condition + "\n    steps:\n      - run: echo\n"
}

const labelled = "{issues: {types: [labeled]}}"

func TestReadWorkflows(t *testing.T) {
	for name, c := range map[string]struct {
		content string
		labels  string // with commas between
		unclear string // a part of the one sentence; "": none
	}{
		"equal":              {job(labelled, "github.event.label.name == 'deploy'"), "deploy", ""},
		"equal, turned":      {job(labelled, `"${{ 'x: y' == github.event.label.name }}"`), "x: y", ""},
		"brackets":           {job(labelled, "github.event['label'].name == 'deploy'"), "deploy", ""},
		"quotation mark":     {job(labelled, "github.event.label.name == 'won''t fix'"), "won't fix", ""},
		"either":             {job(labelled, "github.event.label.name == 'a' || github.event.label.name == 'b'"), "a,b", ""},
		"contains labels":    {job(labelled, "contains(github.event.issue.labels.*.name, 'run-ai')"), "run-ai", ""},
		"contains text":      {job(labelled, "contains(github.event.label.name, 'fix')"), "*fix*", ""},
		"contains json":      {job(labelled, "contains(toJSON(github.event.issue.labels.*.name), 'fix')"), "*fix*", ""},
		"contains join":      {job(labelled, "contains(join(github.event.issue.labels.*.name, ','), 'fix')"), "*fix*", ""},
		"one of json":        {job(labelled, `contains(fromJSON('["a", "b c"]'), github.event.label.name)`), "a,b c", ""},
		"starts":             {job(labelled, "startsWith(github.event.label.name, 'backport ')"), "backport *", ""},
		"ends":               {job(labelled, "endsWith(github.event.label.name, '/ok')"), "*/ok", ""},
		"case":               {job(labelled, "CONTAINS(GitHub.Event.Issue.Labels.*.Name, 'x')"), "x", ""},
		"not":                {job(labelled, `"!contains(github.event.issue.labels.*.name, 'quiet')"`), "quiet", `the job "it"`},
		"unequal":            {job(labelled, "github.event.label.name != 'quiet'"), "quiet", `the job "it"`},
		"no condition":       {"on: {issues: {types: [opened, labeled]}}\njobs: {greet: {steps: [{run: echo}]}}", "", `the job "greet"`},
		"a variable":         {job(labelled, "github.event.label.name == env.LABEL"), "", `the job "it"`},
		"another workflow":   {"on: " + labelled + "\njobs: {it: {uses: ./.github/workflows/x.yml}}", "", `the job "it"`},
		"other action":       {job("{issues: {types: [opened, labeled]}}", "github.event.action == 'opened'"), "", ""},
		"without types":      {job("issues", "github.repository == 'a/b'"), "", `the job "it"`},
		"a list":             {job("[push, issues]", "github.repository == 'a/b'"), "", `the job "it"`},
		"other types":        {job("{issues: {types: [opened]}}", "github.repository == 'a/b'"), "", ""},
		"pull requests":      {job("{pull_request_target: {types: [labeled]}}", "github.event.label.name == 'safe to test'"), "safe to test", ""},
		"pull requests, any": {"on: {pull_request_target: {types: [labeled]}}\njobs: {it: {steps: [{run: echo}]}}", "", ""},
		"steps":              {"on: " + labelled + "\njobs: {it: {steps: [{if: \"github.event.label.name == 'a'\", run: x}, {if: \"github.event.label.name == 'b'\", run: x}]}}", "a,b", ""},
		"one step open":      {"on: " + labelled + "\njobs: {it: {steps: [{if: \"github.event.label.name == 'a'\", run: x}, {run: x}]}}", "a", `the job "it"`},
		"script":             {"on: " + labelled + "\njobs: {it: {if: \"github.event.label.name == 'a'\", steps: [{uses: actions/github-script@v7, with: {script: \"if (context.payload.label.name === \\\"b\\\") {}\"}}]}}", "a,b", ""},
		"variable of a step": {job(labelled, "github.event.label.name == 'a'") + "        env: {X: \"${{ contains(github.event.issue.labels.*.name, 'b') }}\"}\n", "a,b", ""},
		"stale":              {"on: {schedule: [{cron: x}]}\njobs: {it: {steps: [{uses: actions/stale@v9, with: {stale-issue-label: no-activity, exempt-issue-labels: 'bug,security', any-of-labels: 'needs info, waiting', days-before-stale: 3}}]}}", "Stale,needs info,no-activity,waiting", ""},
		"project":            {"on: {schedule: [{cron: x}]}\njobs: {it: {steps: [{uses: actions/add-to-project@v1, with: {labeled: 'bug, feature'}}]}}", "bug,feature", ""},
		"backport":           {"on: push\njobs: {it: {steps: [{uses: korthout/backport-action@v3, with: {label_pattern: '^port ([^ ]+)$'}}]}}", "port *", ""},
		"alias":              {"x: &c github.event.label.name == 'a'\non: " + labelled + "\njobs: {it: {if: *c, steps: []}}", "a", ""},
		"no YAML":            {"on: [", "", "cannot be read"},
		"nothing":            {"", "", ""},
		"a text":             {"hello", "", ""},
	} {
		got := ReadWorkflows(File{Name: "w.yml", Content: []byte(c.content)})
		if labels := strings.Join(got.Labels, ","); labels != c.labels {
			t.Errorf("%s: reacts to %q, want %q", name, labels, c.labels)
		}
		switch unclear := strings.Join(got.Unclear, "\n"); {
		case c.unclear == "" && unclear != "":
			t.Errorf("%s: unclear: %s", name, unclear)
		case c.unclear != "" && (!strings.Contains(unclear, c.unclear) || len(got.Unclear) != 1):
			t.Errorf("%s: unclear: %q, want %q in it", name, unclear, c.unclear)
		}
	}
}

func TestReadWorkflowsOfSeveralFiles(t *testing.T) {
	r := ReadWorkflows(
		File{"b.yml", []byte(job(labelled, "github.event.label.name == 'B'"))},
		File{"a.yml", []byte(job(labelled, "github.event.label.name == 'a'"))},
		File{"c.yml", []byte(job(labelled, "github.event.label.name == 'a'"))},
	)
	if !slices.Equal(r.Labels, []string{"B", "a"}) || len(r.Unclear) > 0 {
		t.Errorf("got %+v", r)
	}
	for path, want := range map[string]bool{
		".github/workflows/ci.yml": true, ".github/workflows/x.yaml": true, ".github/workflows/a/b.yml": false, ".github/x.yml": false, ".github/workflows/x.json": false,
	} {
		if WorkflowFile(path) != want {
			t.Errorf("WorkflowFile(%q) is %t", path, !want)
		}
	}
}

// An alias repeats at no cost to its author what costs its reader.
func TestReadWorkflowsIsBounded(t *testing.T) {
	steps := strings.Repeat("{if: *x},", 3000)
	content := "x: &x \"" + strings.Repeat("contains(", 3500) + "\"\non: " + labelled + "\njobs: {it: {steps: [" + steps + "]}}"
	start := time.Now()
	r := ReadWorkflows(File{"w.yml", []byte(content)})
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("reading took %v", took)
	}
	if !slices.ContainsFunc(r.Unclear, func(s string) bool { return strings.Contains(s, "too large") }) {
		t.Errorf("of a workflow that is not read to its end %q is said", r.Unclear)
	}
}

func FuzzReadWorkflows(f *testing.F) {
	for _, condition := range []string{
		"github.event.label.name == 'deploy'", "contains(fromJSON('[\"a\"]'), github.event.label.name)", "contains(((('a'", "startsWith(github.event['label'].name, 'x') || !x",
		"'a' == github.event.label.name == 'b'", "contains(,)", "==", "\"''", "a[\"b\"", "*x",
	} {
		f.Add([]byte(job(labelled, condition)))
	}
	f.Add([]byte("a: &a [x, x]\nb: &b [*a, *a]\non: *b\njobs: &j {it: {steps: [*b, *j]}}\n"))
	f.Add([]byte("jobs: &j\n  it: *j\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		start := time.Now()
		r := ReadWorkflows(File{"w.yml", content})
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("reading took %v", took)
		}
		if len(r.Labels) > maxReactions || len(r.Unclear) > maxUnclear {
			t.Errorf("%d labels, %d sentences", len(r.Labels), len(r.Unclear))
		}
		for _, l := range r.Labels {
			if strings.TrimSpace(l) == "" || strings.Trim(l, "*") == "" || utf8.RuneCountInString(l) > maxGlob {
				t.Errorf("reacts to %q", l)
			}
		}
		for _, s := range r.Unclear {
			if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == '\u202e' }) {
				t.Errorf("a sentence that cannot be shown: %+q", s)
			}
		}
	})
}
