package triage

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestModesThresholdsAndChain(t *testing.T) {
	c := DefaultRepositoryConfig()
	if c.ModeOf(FieldTags) != ModeApply || c.Threshold("rules", FieldCategory) != DefaultThresholds()[FieldCategory] || !c.Asks("anything", FieldTags) {
		t.Error("the defaults do not hold")
	}
	c.Modes = map[Field]Mode{FieldTags: ModeShadow}
	c.Thresholds = Thresholds{FieldCategory: 0.5}
	c.Classifiers = []ClassifierChoice{{Name: "rules"}, {Name: "openai", Fields: []Field{FieldCategory}, Thresholds: Thresholds{FieldCategory: 0.9}}}
	if c.ModeOf(FieldTags) != ModeShadow || c.ModeOf(FieldCategory) != ModeApply {
		t.Error("modes of fields do not hold")
	}
	for _, want := range []struct {
		plugin    string
		field     Field
		threshold float64
		asked     bool
	}{
		{"rules", FieldCategory, 0.5, true},
		{"rules", FieldTags, DefaultThresholds()[FieldTags], true},
		{"openai", FieldCategory, 0.9, true},
		{"openai", FieldTags, DefaultThresholds()[FieldTags], false},
		{"other", FieldCategory, 0.5, false},
	} {
		if got := c.Threshold(want.plugin, want.field); got != want.threshold {
			t.Errorf("the threshold of %s for %s is %v, want %v", want.plugin, want.field, got, want.threshold)
		}
		if got := c.Asks(want.plugin, want.field); got != want.asked {
			t.Errorf("%s is asked for %s: %t", want.plugin, want.field, got)
		}
	}
}

func TestSkips(t *testing.T) {
	c := DefaultRepositoryConfig()
	c.Skip = SkipConfig{Authors: []string{"*[bot]", "octocat"}, Labels: []string{"no-triage", "internal/*"}}
	for _, want := range []struct {
		issue Issue
		why   string // a part of it; "": not skipped
	}{
		{Issue{Author: Actor{Login: "renovate[bot]"}}, "skip.authors"},
		{Issue{Author: Actor{Login: "Octocat"}}, "skip.authors"},
		{Issue{Author: Actor{Login: "octocats"}}, ""},
		{Issue{Author: Actor{Login: "botb"}}, ""}, // brackets are only brackets
		{Issue{}, ""},
		{Issue{Labels: []string{"bug", "No-Triage"}}, "skip.labels"},
		{Issue{Labels: []string{"internal/a/b"}}, "skip.labels"},
	} {
		why, skip := c.Skips(want.issue)
		if skip != (want.why != "") || !strings.Contains(why, want.why) {
			t.Errorf("%+v: skipped %t because %q, want %q", want.issue, skip, why, want.why)
		}
	}
}

func TestDesiredLabelsOfAConfiguration(t *testing.T) {
	taxonomy := NewTaxonomy(named("bug", "priority: high", "area/cli", "regression", "accessibility", "effort: small"))
	plugin := func(confidence float64, values ...string) Answer {
		return Answer{Values: values, Confidence: confidence, Source: SourcePlugin, Plugin: "rules"}
	}
	classification := Classification{Fields: map[Field]Answer{
		FieldCategory:  plugin(0.9, "bug"),
		FieldPriority:  {Values: []string{"high"}, Source: SourceHuman},
		FieldComponent: plugin(0.7, "cli"),
		FieldTags:      plugin(0.8, "regression", "accessibility"),
		FieldEffort:    plugin(0.81, "small"),
	}}
	names := func(labels []DesiredLabel) string {
		var all []string
		for _, d := range labels {
			all = append(all, d.Name)
		}
		return strings.Join(all, ",")
	}
	for name, c := range map[string]struct {
		change         func(*RepositoryConfig)
		apply, suggest string
	}{
		"default": {func(c *RepositoryConfig) { c.Labels.Limit = 20 }, "bug,priority: high,area/cli,regression,accessibility,effort: small", ""},
		"limit":   {func(*RepositoryConfig) {}, "bug,priority: high,regression,accessibility,effort: small", ""},
		"least":   {func(c *RepositoryConfig) { c.Labels.Limit = 1 }, "priority: high", ""},
		"unset":   {func(c *RepositoryConfig) { c.Labels.Limit = 0 }, "bug,priority: high,regression,accessibility,effort: small", ""},
		"suggest": {func(c *RepositoryConfig) { c.Mode = ModeSuggest }, "priority: high", "bug,regression,accessibility,effort: small"},
		"shadow":  {func(c *RepositoryConfig) { c.Mode = ModeShadow }, "", ""},
		"by field": {func(c *RepositoryConfig) {
			c.Mode = ModeShadow
			c.Modes = map[Field]Mode{FieldCategory: ModeApply, FieldEffort: ModeSuggest}
		}, "bug", "effort: small"},
		"threshold": {func(c *RepositoryConfig) { c.Thresholds = Thresholds{FieldTags: 0.9, FieldCategory: 0.95} }, "priority: high,area/cli,effort: small", ""},
		"threshold of the classifier": {func(c *RepositoryConfig) {
			c.Classifiers = []ClassifierChoice{{Name: "rules", Thresholds: Thresholds{FieldComponent: 0.99, FieldTags: 0.99, FieldEffort: 0.99}}}
		}, "bug,priority: high", ""},
	} {
		config := DefaultRepositoryConfig()
		c.change(&config)
		apply, suggest := config.DesiredLabels(classification, taxonomy)
		if names(apply) != c.apply || names(suggest) != c.suggest {
			t.Errorf("%s: applies %q and suggests %q, want %q and %q", name, names(apply), names(suggest), c.apply, c.suggest)
		}
	}
	// On hold nothing of a plugin's is written or suggested, and what stands on the issue stays.
	hold := classification
	hold.Hold = "its text tries to steer its own classification"
	apply, suggest := DefaultRepositoryConfig().DesiredLabels(hold, taxonomy)
	if names(apply) != "priority: high" || len(suggest) > 0 {
		t.Errorf("on hold: applies %q and suggests %q", names(apply), names(suggest))
	}
	if held := DefaultRepositoryConfig().HeldFields(Issue{}, hold); !slices.Contains(held, FieldCategory) || slices.Contains(held, FieldPriority) {
		t.Errorf("on hold: %v are held", held)
	}
	// People's labels are never left out, however many they are.
	people := Classification{Fields: map[Field]Answer{FieldCategory: {Values: []string{"bug"}, Source: SourceHuman}, FieldTags: {Values: []string{"regression", "accessibility"}, Source: SourceHuman}}}
	config := DefaultRepositoryConfig()
	config.Labels.Limit = 1
	if apply, _ := config.DesiredLabels(people, taxonomy); len(apply) != 3 {
		t.Errorf("of three labels that people asked for %q is left", names(apply))
	}
}

func TestRuleSettingsAreThePlugins(t *testing.T) {
	c := DefaultRepositoryConfig()
	if settings, err := c.RuleSettings(); settings != nil || err != nil {
		t.Errorf("without rules: %s, %v", settings, err)
	}
	c.Rules = []Rule{
		{Name: "a", When: RuleConditions{Title: "x"}, Set: RuleValues{FieldCategory: {"bug"}, FieldTags: {"one"}}, Confidence: 0.5, Stop: true},
		{Name: "b", Repositories: []string{"acme/*"}, Set: RuleValues{FieldPriority: {"low"}}},
	}
	settings, err := c.RuleSettings()
	want := `{"rules":[{"name":"a","when":{"title":"x"},"set":{"category":"bug","tags":["one"]},"confidence":0.5,"stop":true},{"name":"b","repositories":["acme/*"],"set":{"priority":"low"}}]}`
	if err != nil || string(settings) != want {
		t.Errorf("got  %s (%v)\nwant %s", settings, err, want)
	}
	c.Rules = []Rule{{Name: "c", Set: RuleValues{FieldCategory: {"bug", "feature"}}}}
	if _, err := c.RuleSettings(); err == nil {
		t.Error("two categories are taken")
	}
	var back RuleValues
	for _, bad := range []string{`[]`, `{"category":1}`} {
		if json.Unmarshal([]byte(bad), &back) == nil {
			t.Errorf("%s is read", bad)
		}
	}
}

func TestIssueType(t *testing.T) {
	types := []string{"Bug", "Feature", "Task", "Epic", "Initiative", "Proposal"}
	c := DefaultRepositoryConfig()
	if got, ok := c.IssueType("bug", types); ok {
		t.Errorf("types are off, but bug is %q", got)
	}
	c.IssueTypes = IssueTypeConfig{Set: true, Map: map[string]string{"question": "epic", "security": "Gone"}}
	for category, want := range map[string]string{
		"bug": "Bug", "feature": "Feature", "maintenance": "Task", "question": "Epic", "security": "", "documentation": "", "performance": "", "": "", "epic": "",
	} {
		if got, ok := c.IssueType(category, types); got != want || ok != (want != "") {
			t.Errorf("the type of %q is %q, want %q", category, got, want)
		}
	}
	// The better word wins, whatever the order; one kind of a thing is not the thing.
	for want, types := range map[string][]string{
		"Feature": {"Enhancement", "Idea", "Feature"}, "Enhancement": {"Idea", "Enhancement"}, "": {"Proposal", "Crash"}, "Improvement": {"New feature", "Improvement"},
	} {
		for range 2 {
			if got, _ := c.IssueType("feature", types); got != want {
				t.Errorf("of %q the type is %q, want %q", types, got, want)
			}
			slices.Reverse(types)
		}
	}
}

func TestNeedsInfo(t *testing.T) {
	n := NeedsInfoConfig{Ask: true, Answers: []string{"Steps to reproduce", "Version", "What happened?"}, Categories: []string{"bug"}, Comment: "Please add:\n"}
	if !n.Wants("bug") || n.Wants("feature") {
		t.Error("the wrong categories are asked about")
	}
	if n.Ask = false; n.Wants("bug") {
		t.Error("asks though it is off")
	}
	full := "### Steps to reproduce\n\n1. open\n\n### Version\n\n1.2\n\n### What happened?\n\nIt broke"
	for body, want := range map[string]string{
		full:                                   "",
		"":                                     "Steps to reproduce,Version,What happened?",
		"It broke, version 1.2":                "Steps to reproduce,Version,What happened?",
		strings.ReplaceAll(full, "\n", "\r\n"): "",
		strings.Replace(full, "1.2", "_No response_", 1):                                                "Version",
		strings.Replace(full, "1.2", "<!-- your version -->", 1):                                        "Version",
		strings.Replace(full, "1.2", "<!-- your\nversion\n--> 1.2", 1):                                  "",
		strings.Replace(full, "1. open", "```sh\n### Version\n```", 1):                                  "",
		strings.Replace(full, "1. open", "```sh\nmake\n```", 1):                                         "",
		strings.Replace(full, "1. open", "```\n```", 1):                                                 "Steps to reproduce",
		strings.Replace(full, "### Version", "**Version**", 1):                                          "Version",
		strings.Replace(full, "### Version", "# VERSION:", 1):                                           "",
		strings.Replace(full, "### Version", "###Version", 1):                                           "Version",
		"### Version\n### Steps to reproduce\nx\n### What happened?\n":                                  "Version,What happened?",
		"<!-- ### Version\n1.2 -->\n### Steps to reproduce\n\n![](x)\n\n### What happened?\n\nNone":     "Version",
		"~~~\n### Version\n1.2\n### Steps to reproduce\nx\n### What happened?\ny (a block left open)\n": "Steps to reproduce,Version,What happened?",
	} {
		if got := strings.Join(n.Missing(body), ","); got != want {
			t.Errorf("missing %q, want %q, in:\n%s", got, want, body)
		}
	}
	if got := n.Text([]string{"Version", "What\nhappened?"}); got != "Please add:\n\n- Version\n- What happened?" {
		t.Errorf("asks %q", got)
	}
}

func FuzzNeedsInfo(f *testing.F) {
	f.Add("### Version\n\n1.2\n", "Version")
	f.Add("<!--\n```\n### a\n-->", "a")
	f.Add("``` x\n~~~\n### a\n```", "a")
	f.Fuzz(func(t *testing.T, body, heading string) {
		n := NeedsInfoConfig{Answers: []string{heading}, Comment: "x"}
		missing := n.Missing(body)
		if len(missing) > 1 {
			t.Errorf("missing %q", missing)
		}
		if strings.Count(n.Text(missing), "\n") > 2 {
			t.Errorf("a heading breaks the list: %q", n.Text(missing))
		}
		if normaliseWords(heading) != "" && strings.TrimSpace(body) == "" && len(missing) == 0 {
			t.Error("nothing answers something")
		}
	})
}
