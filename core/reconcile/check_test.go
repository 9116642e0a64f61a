package reconcile

import (
	"strings"
	"testing"

	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

func TestWantedCheck(t *testing.T) {
	const name = "acme/shop/" + triage.ConfigFileName
	fault := triage.ConfigFault{File: name, Line: 1, Message: "no"}
	found := func(commit string, faults ...triage.ConfigFault) reading {
		return reading{access: store.AccessContents, config: triage.DefaultRepositoryConfig(), faults: faults,
			own: store.ConfigurationFile{ConfigurationSource: store.ConfigurationSource{Name: name, Commit: commit}, Present: true}}
	}
	silent, alone, gone := found("a", fault), found("a", fault), found("a", fault)
	silent.config.Checks = false
	alone.access = store.AccessFile
	gone.own.Present = false
	failed := func(commit string) *store.ConfigurationCheck {
		return &store.ConfigurationCheck{Commit: commit, Failed: true, Done: true}
	}
	refused := failed("a")
	refused.Refused = "no permission"
	for what, test := range map[string]struct {
		before *store.ConfigurationCheck
		found  reading
		want   string // "commit failed", or "" for none
	}{
		"good from the start":                  {nil, found("a"), ""},
		"faulty":                               {nil, found("a", fault), "a failed"},
		"faulty still":                         {failed("a"), found("a", fault), "a failed"},
		"faulty again":                         {failed("a"), found("b", fault), "b failed"},
		"mended":                               {failed("a"), found("b"), "b mended"},
		"mended where it stood":                {failed("a"), found("a"), "a mended"},
		"mended, but nobody was told":          {refused, found("b"), ""},
		"only the organisation's file is bad":  {nil, found("a", triage.ConfigFault{File: "acme/.github/" + triage.ConfigFileName}), ""},
		"switched off":                         {nil, silent, ""},
		"nothing but the file may be read":     {nil, alone, ""},
		"the file is gone":                     {failed("a"), gone, ""},
		"the commit is not known":              {nil, found("", fault), ""},
		"good after it was mended, other file": {&store.ConfigurationCheck{Commit: "a", Done: true}, found("b"), ""},
	} {
		got := ""
		if c := wantedCheck(test.before, test.found); c != nil {
			got = c.Commit + map[bool]string{true: " failed", false: " mended"}[c.Failed]
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", what, got, test.want)
		}
	}
}

func TestCheckRunStaysWithinGitHubsBounds(t *testing.T) {
	faults := make([]triage.ConfigFault, 100)
	for i := range faults {
		faults[i] = triage.ConfigFault{File: "f", Line: i, Column: 3, Path: strings.Repeat("p", 400), Message: "<b>*no*</b> " + strings.Repeat("x", 400)}
	}
	run := checkRun(store.ConfigurationCheck{Commit: "c", Failed: true}, faults)
	if len(run.Annotations) != github.MaxAnnotations || run.Annotations[0].Line != 1 || len(run.Annotations[0].Title) != maxAnnotationTitle {
		t.Errorf("%d annotations, the first %+v", len(run.Annotations), run.Annotations[0].Line)
	}
	if len(run.Summary) > maxSummary+100 || !strings.HasSuffix(run.Summary, "...\n") {
		t.Errorf("a summary of %d bytes", len(run.Summary))
	}
	for line := range strings.SplitSeq(run.Summary, "\n") {
		if strings.Contains(line, "<b>") && !strings.HasPrefix(line, "    ") {
			t.Errorf("%.40q is not shown as it is", line)
		}
	}
	if one := checkRun(store.ConfigurationCheck{Failed: true}, faults[:1]); !strings.HasPrefix(one.Title, "1 fault in") {
		t.Errorf("title %q", one.Title)
	}
}
