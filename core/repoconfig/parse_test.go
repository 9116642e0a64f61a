package repoconfig

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dispatchai/dispatchai/core/triage"
	"github.com/dispatchai/dispatchai/plugins/rules"
)

var running = Options{Classifiers: []string{"rules", "openai", "local"}}

// corpus reads the files of a directory below testdata.
func corpus(t testing.TB, directory string) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", directory, "*.yml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files in testdata/%s (%v)", directory, err)
	}
	files := make(map[string][]byte, len(paths))
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(path)] = content
	}
	return files
}

func parse(content string) (triage.RepositoryConfig, []triage.ConfigFault) {
	return Parse(running, File{Name: "f", Content: []byte(content)})
}

func TestParseEverything(t *testing.T) {
	config, faults := Parse(running, File{Name: "f", Content: corpus(t, "valid")["everything.yml"]})
	for _, f := range faults {
		t.Error(f)
	}
	want := triage.RepositoryConfig{
		Mode:  triage.ModeSuggest,
		Modes: map[triage.Field]triage.Mode{triage.FieldCategory: triage.ModeApply, triage.FieldSeverity: triage.ModeShadow},
		Classifiers: []triage.ClassifierChoice{
			{Name: "rules"},
			{Name: "openai", Fields: []triage.Field{triage.FieldCategory, triage.FieldPriority}, Thresholds: triage.Thresholds{triage.FieldPriority: 0.9}},
		},
		Challenger:     "local",
		DailyBudgetUSD: 0.5,
		Thresholds:     triage.Thresholds{triage.FieldCategory: 0.6, triage.FieldTags: 1},
		Labels: triage.LabelConfig{
			Map: map[triage.Field]map[string][]string{
				triage.FieldCategory:  {"bug": {"defect"}, "question": {"help: usage", "support"}, "security": {}},
				triage.FieldComponent: {"cli": {"area/command-line"}, "böse-größe": {"area/ß"}, "2024": {"edition-2024"}},
			},
			Ignore: []string{"status: *", "old/*"}, Never: []string{"security"}, Allow: []string{"bug"}, Limit: 3,
		},
		IssueTypes: triage.IssueTypeConfig{Set: true, Map: map[string]string{"bug": "Defect", "feature": "Story"}},
		Rules: []triage.Rule{
			{
				Name: "importer crashes", Repositories: []string{"acme/*"},
				When: triage.RuleConditions{
					Title: "(?i)import", Any: "panic:|segmentation fault", Author: "*[bot]", Labels: []string{"area/*"},
					Template: map[string]string{"Which part is it about?": "(?i)importer"},
				},
				Set:        triage.RuleValues{triage.FieldCategory: {"bug"}, triage.FieldTags: {"regression"}, triage.FieldComponent: {"importer"}},
				Confidence: 0.8, Stop: true,
			},
			{Name: "for everyone in a repository", Repositories: []string{"acme/docs"}, Set: triage.RuleValues{triage.FieldCategory: {"documentation"}}},
		},
		Skip:      triage.SkipConfig{Authors: []string{"*[bot]", "octocat"}, Labels: []string{"no-triage"}},
		NeedsInfo: triage.NeedsInfoConfig{Ask: true, Answers: []string{"Steps to reproduce", "Version"}, Categories: []string{"bug", "performance"}, Comment: "Thanks! Could you tell us:\n"},
		Retriage:  triage.RetriageConfig{Reopen: true},
		Backfill:  triage.BackfillOpen,
	}
	if diff := cmp.Diff(want, config); diff != "" {
		t.Errorf("the configuration differs (-want +got):\n%s", diff)
	}
	stored, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	var back triage.RepositoryConfig
	if err := json.Unmarshal(stored, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(config, back); diff != "" {
		t.Errorf("stored and read back it differs (-want +got):\n%s", diff)
	}
}

func TestWithoutFilesTheDefaultsHold(t *testing.T) {
	for name, files := range map[string][]File{
		"none": nil, "empty": {{Name: "f"}}, "comments": {{Name: "f", Content: []byte("# nothing\n")}}, "two empty": {{Name: "o"}, {Name: "f", Content: []byte("---\n")}},
	} {
		config, faults := Parse(running, files...)
		if len(faults) > 0 {
			t.Errorf("%s: %v", name, faults)
		}
		if diff := cmp.Diff(triage.DefaultRepositoryConfig(), config); diff != "" {
			t.Errorf("%s: not the defaults (-want +got):\n%s", name, diff)
		}
	}
}

// faults.golden holds what is told of every file in testdata/invalid and
// testdata/beyond.
func TestFaults(t *testing.T) {
	var got strings.Builder
	for _, directory := range []string{"invalid", "beyond"} {
		files := corpus(t, directory)
		for _, name := range slices.Sorted(mapKeys(files)) {
			_, faults := Parse(running, File{Name: directory + "/" + name, Content: files[name]})
			if len(faults) == 0 {
				t.Errorf("%s/%s is accepted", directory, name)
			}
			for _, f := range faults {
				fmt.Fprintln(&got, f.Error())
			}
			got.WriteByte('\n')
		}
	}
	want, err := os.ReadFile("testdata/faults.golden")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")); diff != "" {
		t.Errorf("the faults differ from testdata/faults.golden (-want +got):\n%s", diff)
	}
}

func TestFaultsHaveAPlaceInTheFile(t *testing.T) {
	content := "mode: aply\nthresholds:\n  category: 0.5\n  prioritty: 0.8\n  tags: 80%\nlabels:\n  limit: many\n"
	_, faults := parse(content)
	want := []triage.ConfigFault{
		{File: "f", Line: 1, Column: 7, Path: "mode", Message: `"aply" is not possible here; did you mean apply?`},
		{File: "f", Line: 4, Column: 3, Path: "thresholds.prioritty", Message: "this key is not known; did you mean priority?"},
		{File: "f", Line: 5, Column: 9, Path: "thresholds.tags", Message: `must be a number from 0 to 1, not "80%"; write 0.8`},
		{File: "f", Line: 7, Column: 10, Path: "labels.limit", Message: `must be a whole number from 1 to 20, not "many"`},
	}
	if diff := cmp.Diff(want, faults); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := faults[1].Error(); got != "f:4:3: thresholds.prioritty: this key is not known; did you mean priority?" {
		t.Errorf("reads %q", got)
	}
}

func TestBounds(t *testing.T) {
	if _, faults := parse("# " + strings.Repeat("x", MaxBytes) + "\n"); len(faults) != 1 || !strings.Contains(faults[0].Message, "65536 at most") {
		t.Errorf("too long a file: %v", faults)
	}
	many := make([]string, 3000)
	for i := range many {
		many[i] = fmt.Sprintf("k%d: 1", i)
	}
	if _, faults := parse(strings.Join(many, "\n")); len(faults) != maxFaults+1 || !strings.Contains(faults[maxFaults].Message, "not listed") {
		t.Errorf("%d faults of %d are told, the last is %v", len(faults), len(many), faults[len(faults)-1])
	}
	var own strings.Builder
	own.WriteString("rules:\n")
	for i := range maxRules + 1 {
		fmt.Fprintf(&own, "- {name: r%d, when: {title: x}, set: {category: bug}}\n", i)
	}
	if _, faults := parse(own.String()); len(faults) != 1 || faults[0].Path != "rules" {
		t.Errorf("too many rules: %v", faults)
	}
}

func TestInheritance(t *testing.T) {
	organisation := `
mode: shadow
modes: {category: apply, tags: suggest}
thresholds: {category: 0.6, tags: 0.9}
labels:
  map: {category: {bug: defect, feature: wish}, component: {cli: area/cli}}
  never: [a, b]
  limit: 3
skip: {authors: ["*[bot]"]}
rules:
- {name: shared, when: {title: x}, set: {category: bug}}
- {name: theirs, when: {title: y}, set: {category: feature}}
needs-info: {ask: true, answers: [Version]}
`
	repository := `
modes: {tags: apply}
thresholds: {tags: 0.5}
labels:
  map: {category: {bug: bug}}
  never: [c]
skip: {labels: [x]}
rules:
- {name: own, when: {title: z}, set: {category: question}}
- {name: shared, when: {title: w}, set: {category: security}}
needs-info: {ask: false}
`
	config, faults := Parse(Options{}, File{"o", []byte(organisation)}, File{"r", []byte(repository)})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	want := triage.DefaultRepositoryConfig()
	want.Mode = triage.ModeShadow
	want.Modes = map[triage.Field]triage.Mode{triage.FieldCategory: triage.ModeApply, triage.FieldTags: triage.ModeApply}
	want.Thresholds = triage.Thresholds{triage.FieldCategory: 0.6, triage.FieldTags: 0.5}
	want.Labels = triage.LabelConfig{
		Map: map[triage.Field]map[string][]string{
			triage.FieldCategory:  {"bug": {"bug"}, "feature": {"wish"}},
			triage.FieldComponent: {"cli": {"area/cli"}},
		},
		Never: []string{"c"}, Limit: 3,
	}
	want.Skip = triage.SkipConfig{Authors: []string{"*[bot]"}, Labels: []string{"x"}}
	want.Rules = []triage.Rule{
		{Name: "own", When: triage.RuleConditions{Title: "z"}, Set: triage.RuleValues{triage.FieldCategory: {"question"}}},
		{Name: "shared", When: triage.RuleConditions{Title: "w"}, Set: triage.RuleValues{triage.FieldCategory: {"security"}}},
		{Name: "theirs", When: triage.RuleConditions{Title: "y"}, Set: triage.RuleValues{triage.FieldCategory: {"feature"}}},
	}
	want.NeedsInfo.Answers = []string{"Version"}
	if diff := cmp.Diff(want, config); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	// Each fault names its file, those of both together too.
	_, faults = Parse(Options{}, File{"o", []byte("mode: x")}, File{"r", []byte("checks: x")})
	if len(faults) != 2 || faults[0].File != "o" || faults[1].File != "r" {
		t.Errorf("faults of two files: %v", faults)
	}
	_, faults = Parse(Options{}, File{"o", []byte("labels: {map: {category: {bug: defect}}}")}, File{"r", []byte("labels:\n  map: {category: {feature: Defect}}")})
	if len(faults) != 1 || faults[0].File != "r" || faults[0].Line != 2 || faults[0].Path != "labels.map.category.feature" {
		t.Errorf("a label with two meanings: %v", faults)
	}
	_, faults = Parse(Options{}, File{"o", []byte("needs-info: {ask: true}")}, File{"r", nil})
	if len(faults) != 1 || faults[0].File != "o" || faults[0].Line != 1 {
		t.Errorf("no answers named: %v", faults)
	}

	config, faults = Parse(Options{}, File{"o", []byte("mode: [")}, File{"r", []byte("inherit: false\nchecks: false")})
	want = triage.DefaultRepositoryConfig()
	want.Checks = false
	if diff := cmp.Diff(want, config); diff != "" || len(faults) > 0 {
		t.Errorf("inherit: false (-want +got):\n%s%v", diff, faults)
	}
}

// What passes here is what the rules plugin takes, or a repository's rules would
// fail in silence.
func acceptedByThePlugin(t *testing.T, config triage.RepositoryConfig) {
	t.Helper()
	settings, err := config.RuleSettings()
	if err != nil {
		t.Fatal(err)
	}
	if err := rules.ValidateSettings(settings); err != nil {
		t.Errorf("the rules plugin refuses %s: %v", settings, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, directory := range []string{"valid", "invalid", "beyond"} {
		for _, content := range corpus(f, directory) {
			f.Add(content, []byte("mode: shadow\n"))
			f.Add([]byte("mode: shadow\n"), content)
		}
	}
	schema := compileSchema(f)
	f.Fuzz(func(t *testing.T, inherited, own []byte) {
		start := time.Now()
		config, faults := Parse(running, File{"o", inherited}, File{"r", own})
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("reading took %v", took)
		}
		for _, fault := range faults {
			if fault.Message == "" || fault.Line < 0 || fault.Column < 0 || strings.ContainsFunc(fault.Error(), func(r rune) bool { return r < ' ' || r == 0x7f || r == '\u202e' }) {
				t.Errorf("a fault that cannot be shown: %+q", fault.Error())
			}
			content := own
			if fault.File == "o" {
				content = inherited
			}
			if lines := bytes.Count(content, []byte("\n")) + bytes.Count(content, []byte("\r")) + bytes.Count(content, []byte("\u0085")) + bytes.Count(content, []byte("\u2028")) + bytes.Count(content, []byte("\u2029")); fault.Line > lines+1 {
				t.Errorf("%v is in line %d of %d", fault, fault.Line, lines+1)
			}
		}
		if len(faults) > 0 {
			return
		}
		acceptedByThePlugin(t, config)
		if config.Labels.Limit < 1 || !slices.Contains(triage.Modes(), config.Mode) || !slices.Contains(triage.Backfills(), config.Backfill) {
			t.Errorf("an impossible configuration: %+v", config)
		}
		// The schema takes whatever the parser takes.
		if err := schema.Validate(instance(t, own)); err != nil {
			t.Errorf("the schema refuses what the parser accepts: %v", err)
		}
	})
}
