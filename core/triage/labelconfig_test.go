package triage

import (
	"slices"
	"strings"
	"testing"
)

func TestConfiguredTaxonomy(t *testing.T) {
	labels := []RepositoryLabel{
		{Name: "bug"}, {Name: "defect: known"}, {Name: "enhancement"}, {Name: "support"}, {Name: "status: question"},
		{Name: "area/cli"}, {Name: "Command line"}, {Name: "CI"}, {Name: "ok-to-test"}, {Name: "security"}, {Name: "priority: high"}, {Name: "regression"},
	}
	config := DefaultRepositoryConfig()
	config.Labels.Map = map[Field]map[string][]string{
		FieldCategory:  {"bug": {"Defect: known", "regression"}, "question": {"status: question"}, "feature": {}, "performance": {"gone"}},
		FieldComponent: {"cli": {"Command line"}, "Build Machines": {"CI"}},
		FieldTags:      {"tested": {"ok-to-test"}},
	}
	config.Labels.Ignore = []string{"status: *", "support"}
	config.Labels.Never = []string{"SECURITY", "priority: *"}
	config.Labels.Allow = []string{"ci"}
	taxonomy := config.Taxonomy(labels, []string{"regr*", "enhancement"})

	for name, want := range map[string]Meaning{
		"defect: known": {FieldCategory, "bug"}, "bug": {FieldCategory, "bug"}, "regression": {FieldCategory, "bug"},
		"status: question": {FieldCategory, "question"}, "support": {}, "enhancement": {FieldCategory, "feature"},
		"command line": {FieldComponent, "cli"}, "area/cli": {FieldComponent, "cli"}, "CI": {FieldComponent, "build-machines"},
		"ok-to-test": {FieldTags, "tested"}, "security": {FieldCategory, "security"}, "priority: high": {FieldPriority, "high"}, "gone": {},
	} {
		if m, _ := taxonomy.Means(name); m != want {
			t.Errorf("%q means %v, want %v", name, m, want)
		}
	}
	for what, want := range map[Meaning]string{
		{FieldCategory, "bug"}: "defect: known", {FieldCategory, "question"}: "status: question", {FieldCategory, "feature"}: "", {FieldCategory, "security"}: "",
		{FieldCategory, "performance"}: "", {FieldPriority, "high"}: "", {FieldComponent, "cli"}: "Command line", {FieldComponent, "build-machines"}: "CI", {FieldTags, "tested"}: "",
	} {
		if got, _ := taxonomy.Label(what.Field, what.Value); got != want {
			t.Errorf("%v is written as %q, want %q", what, got, want)
		}
	}
	for name, want := range map[string]bool{
		"bug": true, "regression": false, "enhancement": false, "security": false, "ok-to-test": false, "CI": true, "support": false, "gone": false, "priority: high": false,
	} {
		if taxonomy.Writable(name) != want {
			t.Errorf("%q may be written: %t", name, !want)
		}
	}
	// A row from before the label was denied is not carried out.
	plan := PlanLabels(LabelView{Taxonomy: taxonomy, Desired: []DesiredLabel{{Name: "security", Field: FieldCategory, Value: "security", Source: SourceHuman}}})
	if len(plan.Add) > 0 || len(plan.Skipped) != 1 || plan.Skipped[0].Reason != SkipUnknown {
		t.Errorf("a denied label is planned: %+v", plan)
	}

	var told []string
	for _, f := range config.LabelFaults(labels, []string{"regr*", "enhancement"}) {
		told = append(told, f.Error())
	}
	want := []string{
		`labels.map.category.performance: the repository has no label "gone"; create it, or name one that it has`,
		`labels.map.tags.tested: the label "ok-to-test" is not written, because a workflow reacts to it or its name is one that drives automation; name it in labels.allow if that is well`,
	}
	if !slices.Equal(told, want) {
		t.Errorf("told:\n%s\nwant:\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
}

func TestAllowDoesNotLiftNever(t *testing.T) {
	config := DefaultRepositoryConfig()
	config.Labels.Never, config.Labels.Allow = []string{"bug"}, []string{"*"}
	if config.Taxonomy(named("bug"), nil).Writable("bug") {
		t.Error("labels.allow lifts labels.never")
	}
	config.Labels.Never = nil
	if !config.Taxonomy(named("bug"), []string{"bug"}).Writable("bug") {
		t.Error("labels.allow does not lift what a workflow reacts to")
	}
	if config.Taxonomy(named("ok-to-test"), nil).Writable("ok-to-test") {
		t.Error("labels.allow gives a meaning to a label that has none")
	}
}

func TestDescriptionsAreReadWhereTheNameSaysNothing(t *testing.T) {
	for _, c := range []struct{ name, description, want string }{
		{"Fehler", "Something isn't working", "category=bug"},
		{"🐛", "Something isn't working", "category=bug"},
		{"rouge", "This issue is a bug report", "category=bug"},
		{"wanted", "New feature or request", "category=feature"},
		{"papier", "Improvements or additions to documentation", "category=documentation"},
		{"red", "High priority", "priority=high"},
		{"feu", "For critical issues", "priority=critical"},
		// The name has the last word.
		{"enhancement", "Something isn't working", "category=feature"},
		{"area/cli", "Something isn't working", "component=cli"},
		{"wontfix", "Something isn't working", ""},
		{"needs info", "Further information is requested", "tags=needs-info"},
		// What tells of more, or of no issue, says nothing.
		{"ux", "Something isn't working the way that people expect who know the other program", "tags=ux"},
		{"crashy", "A crash", "tags=crashy"},
		{"tiny", "Denotes a PR that changes 0-9 lines", ""},
		{"go", "Triggers a release", ""},
		{"sig-less", "Indicates an issue lacks a sig label", ""},
	} {
		taxonomy := NewTaxonomy([]RepositoryLabel{{Name: c.name, Description: c.description}})
		got := ""
		if m, ok := taxonomy.Means(c.name); ok {
			got = string(m.Field) + "=" + m.Value
		}
		if got != c.want {
			t.Errorf("%q, %q means %q, want %q", c.name, c.description, got, c.want)
		}
	}
	// A name that says it is written rather than one that only its description explains.
	taxonomy := NewTaxonomy([]RepositoryLabel{{Name: "Fehler", Description: "Something isn't working"}, {Name: "defect"}})
	if got, _ := taxonomy.Label(FieldCategory, "bug"); got != "defect" {
		t.Errorf("bug is written as %q", got)
	}
}

func TestCanonicalValue(t *testing.T) {
	for _, c := range []struct {
		field       Field
		value, want string
	}{
		{FieldCategory, "bug", "bug"}, {FieldCategory, "Bug", "bug"}, {FieldCategory, "defect", ""}, {FieldPriority, "high", "high"}, {FieldPriority, "", ""},
		{FieldComponent, "Command Line", "command-line"}, {FieldComponent, "c++", "c++"}, {FieldTags, "🎉", ""}, {FieldSummary, "anything", ""},
	} {
		if got, ok := CanonicalValue(c.field, c.value); ok != (c.want != "") || ok && got != c.want {
			t.Errorf("%s=%q is %q, %t, want %q", c.field, c.value, got, ok, c.want)
		}
	}
	if ClosedValues(FieldTags) != nil || len(ClosedValues(FieldEffort)) != 3 {
		t.Error("the closed values are others")
	}
}

// The configuration may be any: what a taxonomy offers is still the repository's own.
func FuzzConfiguredTaxonomy(f *testing.F) {
	f.Add("bug\nkind/bug\narea/cli\nok-to-test", "bug", "category", "bug\nok-to-test", "k*", "a*", "*ok*", "BUG")
	f.Add("ſ\nS\n*\n?", "x y", "component", "S\n*", "?", "", "**", "ſ*")
	f.Fuzz(func(t *testing.T, names, value, field, mapped, ignore, never, allow, reacting string) {
		labels := named(strings.Split(names, "\n")...)
		config := DefaultRepositoryConfig()
		config.Labels.Map = map[Field]map[string][]string{Field(field): {value: strings.Split(mapped, "\n")}}
		config.Labels.Ignore, config.Labels.Never, config.Labels.Allow = []string{ignore}, []string{never}, []string{allow}
		taxonomy := config.Taxonomy(labels, []string{reacting})
		for f, options := range taxonomy.AllOptions() {
			for _, o := range options {
				if o.Label == "" {
					continue
				}
				if m, _ := taxonomy.Means(o.Label); m != (Meaning{f, o.Value}) || !taxonomy.Writable(o.Label) {
					t.Errorf("%s=%s is written as %q, which means %v", f, o.Value, o.Label, m)
				}
				if MatchGlob(never, o.Label) || MatchGlob(reacting, o.Label) && !MatchGlob(allow, o.Label) {
					t.Errorf("%q is written against the configuration", o.Label)
				}
			}
		}
		config.LabelFaults(labels, []string{reacting})
	})
}
