package classify_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/dispatchai/dispatchai/core/classify"
	"github.com/dispatchai/dispatchai/core/plugin"
	"github.com/dispatchai/dispatchai/core/triage"
	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// named is a classifier under another name, which counts what it is asked for.
type named struct {
	*watched
	name     string
	mu       sync.Mutex
	embedded int
}

func (n *named) Name() string { return n.name }

func (n *named) Embed(ctx context.Context, texts []sdk.Text) (plugin.Embeddings, error) {
	n.mu.Lock()
	n.embedded++
	n.mu.Unlock()
	made, err := n.watched.Embed(ctx, texts)
	made.Model = n.name + "-model"
	return made, err
}

// switches are what an operator has disabled.
type switches struct {
	mu  sync.Mutex
	off map[string]bool
}

func (s *switches) set(name string, enabled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.off[name] = !enabled
}

func (s *switches) enabled(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.off[name]
}

// TestADisabledPluginIsNotAsked: neither for a classification nor for vectors
// nor to learn, from the next batch on; the others do the work.
func TestADisabledPluginIsNotAsked(t *testing.T) {
	process, err := rulesProcess()
	if err != nil {
		t.Fatal(err)
	}
	first := &named{name: "first", watched: &watched{Plugin: process, learns: true}}
	second := &named{name: "second", watched: &watched{Plugin: process, learns: true}}
	s := &switches{off: map[string]bool{}}
	f := newFixture(t, func(c *classify.Config) {
		c.Classifiers, c.Enabled = []classify.Classifier{first, second}, s.enabled
	})
	asked := func() [4]int {
		return [4]int{first.asked(), second.asked(), first.embedded, second.embedded}
	}
	f.open(crashTitle, crashBody)
	f.pass()
	if got := asked(); got != [4]int{1, 1, 1, 0} {
		t.Errorf("with both enabled they were asked %v times", got)
	}
	s.set("first", false)
	n := f.open(crashTitle, crashBody)
	f.pass()
	if got := asked(); got != [4]int{1, 2, 1, 1} {
		t.Errorf("with the first disabled they were asked %v times", got)
	}
	if got := f.state(n).Effective().Value(triage.FieldCategory); got != "bug" {
		t.Errorf("classified as %q", got)
	}
	f.ok(f.handle(f.own(triage.Event{
		ID: "teach", Kind: triage.KindCorrection, Repository: f.state(n).Issue.Repository, Number: n,
		Correction: &triage.CorrectionInput{Field: triage.FieldCategory, Values: []string{"question"}, Actor: "tom"},
	})))
	if len(first.examples) != 0 || len(second.examples) != 1 {
		t.Errorf("%d and %d examples were taught", len(first.examples), len(second.examples))
	}
	s.set("first", true)
	f.open(crashTitle, crashBody)
	f.pass()
	if got := asked(); got != [4]int{2, 3, 2, 1} {
		t.Errorf("with both enabled again they were asked %v times", got)
	}
}

// TestIssuesWaitWhileNoPluginIsEnabled: nothing is lost, the outcome says why and
// what to do, and what needs no plugin goes on.
func TestIssuesWaitWhileNoPluginIsEnabled(t *testing.T) {
	s := &switches{off: map[string]bool{}}
	f := newFixture(t, func(c *classify.Config) { c.Enabled = s.enabled })
	known := f.open(crashTitle, crashBody)
	f.pass()
	f.published()
	s.set("rules", false)
	n := f.open(crashTitle, crashBody)
	waiting := f.take()
	for range 2 {
		outcomes := f.handle(waiting...)
		if len(outcomes) != 1 || !waits(outcomes[0]) || !strings.Contains(outcomes[0].Error(), "dispatchai plugin enable NAME") {
			t.Fatalf("the outcomes are %v", outcomes)
		}
	}
	f.ok(f.handle(f.own(triage.Event{
		ID: "by hand", Kind: triage.KindCorrection, Repository: f.state(known).Issue.Repository, Number: known,
		Correction: &triage.CorrectionInput{Field: triage.FieldCategory, Values: []string{"question"}, Actor: "tom"},
	})))
	if results := f.published(); len(results) != 1 || results[0].EventType != triage.Corrected {
		t.Errorf("published %+v", results)
	}
	s.set("rules", true)
	f.ok(f.handle(waiting...))
	if got := f.state(n).Effective().Value(triage.FieldCategory); got != "bug" {
		t.Errorf("classified as %q", got)
	}
	if f.rules.asked() != 2 {
		t.Errorf("the plugin was asked %d times", f.rules.asked())
	}
}

var _ classify.Classifier = (*plugin.Plugin)(nil)
