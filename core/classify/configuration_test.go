package classify_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/classify"
	"github.com/dispatchai/dispatchai/core/plugin"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// oracle is a classifier that always says the same, and keeps what settings it saw.
type oracle struct {
	*watched
	name   string
	says   map[triage.Field]triage.Answer
	mu     sync.Mutex
	asked  int
	ruling string
}

func (o *oracle) Name() string { return o.name }

func (o *oracle) Classify(_ context.Context, items []plugin.Item) ([]plugin.Outcome, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked += len(items)
	outcomes := make([]plugin.Outcome, len(items))
	for i, item := range items {
		o.ruling = string(item.Repository.Settings)
		outcomes[i].Fields = map[triage.Field]triage.Answer{}
		for f, a := range o.says {
			a.Plugin, a.Source = o.name, triage.SourcePlugin
			outcomes[i].Fields[f] = a
		}
	}
	return outcomes, nil
}

func (o *oracle) seen() (asked int, ruling string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.asked, o.ruling
}

// configure has the repository's files read, with this in them.
func (f *fixture) configure(c triage.RepositoryConfig) {
	f.Helper()
	id := f.key(1).RepositoryID
	installation, err := f.github.InstallationOf(repo)
	f.check(err)
	f.check(f.store.ApplyInstallation(f.ctx, store.InstallationChange{
		EventID: fmt.Sprint("configured/", time.Now().UnixNano()), At: time.Now().Add(-2 * time.Hour),
		Configuration: store.ConfigurationMark{Because: store.DuePush, InstallationID: installation, RepositoryIDs: []int64{id}},
	}))
	jobs, err := f.store.ClaimConfigurations(f.ctx, store.ConfigurationClaim{Owner: "test", Now: time.Now(), LeaseFor: time.Minute, Limit: 1})
	f.check(err)
	if len(jobs) != 1 {
		f.Fatalf("%d repositories are due for a configuration", len(jobs))
	}
	f.check(f.store.SaveConfiguration(f.ctx, store.ConfigurationResult{
		RepositoryID: id, Owner: jobs[0].Owner, Marks: jobs[0].Marks, Configuration: &store.Configuration{Config: c},
		NextDue: time.Now().Add(1000 * time.Hour), Because: store.DuePeriodic,
	}))
}

func answer(value string, confidence float64) triage.Answer {
	return triage.Answer{Values: []string{value}, Confidence: confidence, Reason: "so it is"}
}

// TestTheRepositorysChain: only those it names are asked, only for the fields it
// names, each by its own threshold, and its rules are for the rules plugin alone.
func TestTheRepositorysChain(t *testing.T) {
	process, err := rulesProcess()
	if err != nil {
		t.Fatal(err)
	}
	with := func(name string, says map[triage.Field]triage.Answer) *oracle {
		return &oracle{watched: &watched{Plugin: process}, name: name, says: says}
	}
	rules := with("rules", map[triage.Field]triage.Answer{triage.FieldCategory: answer("bug", 0.7), triage.FieldPriority: answer("low", 0.99)})
	model := with("model", map[triage.Field]triage.Answer{triage.FieldCategory: answer("question", 0.8), triage.FieldPriority: answer("high", 0.6)})
	other := with("other", map[triage.Field]triage.Answer{triage.FieldCategory: answer("feature", 1)})
	s := &switches{off: map[string]bool{}}
	f := newFixture(t, func(c *classify.Config) {
		c.Classifiers, c.Enabled = []classify.Classifier{rules, model, other}, s.enabled
	})
	f.open(crashTitle, crashBody)
	f.pass() // makes the repository known; the server's own chain
	if a, _ := other.seen(); a != 1 || f.state(1).Effective().Value(triage.FieldCategory) != "feature" {
		t.Fatalf("without a configuration: %d, %+v", a, f.state(1).Effective())
	}

	c := triage.DefaultRepositoryConfig()
	c.Classifiers = []triage.ClassifierChoice{
		{Name: "model", Thresholds: triage.Thresholds{triage.FieldCategory: 0.9}},
		{Name: "rules", Fields: []triage.Field{triage.FieldCategory}},
	}
	c.Rules = []triage.Rule{{Name: "mine", When: triage.RuleConditions{Title: "x"}, Set: triage.RuleValues{triage.FieldCategory: {"bug"}}}}
	f.configure(c)
	f.open(crashTitle, crashBody)
	f.pass()
	got := f.state(2).Effective()
	// The model is surer of the category, but not sure enough for its own threshold.
	if got.Value(triage.FieldCategory) != "bug" || got.Value(triage.FieldPriority) != "high" {
		t.Errorf("the chain says %+v", got.Fields)
	}
	if a, _ := other.seen(); a != 1 {
		t.Errorf("a plugin that is not in the chain was asked %d times", a)
	}
	_, toRules := rules.seen()
	_, toModel := model.seen()
	if toRules == "" || toModel != "" {
		t.Errorf("the repository's rules went to rules as %q, to the model as %q", toRules, toModel)
	}

	// A chain of which all are disabled waits; one of another server's is not followed.
	s.set("model", false)
	s.set("rules", false)
	f.open(crashTitle, crashBody)
	if outcomes := f.handle(f.take()...); !waits(outcomes[0]) {
		t.Errorf("with its chain disabled the event was settled with %v", outcomes)
	}
	c.Classifiers = []triage.ClassifierChoice{{Name: "elsewhere"}}
	f.configure(c)
	f.open(crashTitle, crashBody)
	f.pass()
	if got := f.state(4).Effective().Value(triage.FieldCategory); got != "feature" {
		t.Errorf("with a chain of plugins that run elsewhere it was classified as %q", got)
	}
}

// TestTheFirstReadingIsWaitedFor: for a while; corrections and comments are not
// held up, and afterwards the defaults must do.
func TestTheFirstReadingIsWaitedFor(t *testing.T) {
	var shift atomic.Int64
	f := newFixture(t, func(c *classify.Config) {
		c.ConfigurationWait = 30 * time.Second
		c.Now = func() time.Time { return time.Now().Add(time.Duration(shift.Load())) }
	})
	n := f.open(crashTitle, crashBody)
	records := f.take()
	var opened int
	for i, r := range records {
		if r.Header("event") == "issues" {
			opened = i
		}
	}
	for range 3 {
		if err := f.handle(records[opened])[0]; !waits(err) {
			t.Fatalf("before the files were read the event was settled with %v", err)
		}
	}
	shift.Store(int64(31 * time.Second))
	f.ok(f.handle(records[opened]))
	if f.state(n).Classification == nil {
		t.Error("the issue was not classified by the defaults")
	}
}

// TestSkippedIssues: stored and shown, but neither classified nor labelled, until
// a person asks.
func TestSkippedIssues(t *testing.T) {
	f := newFixture(t)
	f.open(crashTitle, crashBody)
	f.pass()
	c := triage.DefaultRepositoryConfig()
	c.Skip.Labels = []string{"area/*"}
	c.Retriage.Edit = false
	f.configure(c)
	n := f.open(crashTitle, crashBody, "area/docs")
	f.pass()
	f.published()
	if s := f.state(n); s.Classification != nil {
		t.Fatalf("the skipped issue was classified as %+v", s.Classification)
	}
	f.ok(f.handle(f.own(triage.Event{ID: "asked", Kind: triage.KindReclassify, Repository: triage.Repository{ID: f.key(n).RepositoryID}, Number: n})))
	if s := f.state(n); s.Classification == nil {
		t.Error("a person asked for it, and it was not classified")
	}
	asked := f.rules.asked()
	body := "Something else altogether."
	f.check(f.github.EditIssue(f.ctx, repo, 1, "reporter", nil, &body))
	f.pass()
	if f.rules.asked() != asked {
		t.Error("an edit had the issue classified again, though the repository does not want that")
	}
}
