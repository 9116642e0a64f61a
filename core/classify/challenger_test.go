package classify_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/classify"
	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/plugin"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// challenges waits until so many issues came to the outcome.
func (f *fixture) challenges(outcome string, n float64) {
	f.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for f.counter("dispatchai_classify_challenges_total", outcome, "challenger") < n {
		select {
		case <-ticker.C:
		case <-f.ctx.Done():
			f.Fatalf("not %g issues came to be %s", n, outcome)
		}
	}
}

// disagreements waits until there are so many.
func (f *fixture) disagreements(n int) []store.Disagreement {
	f.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		list, err := f.store.Disagreements(f.ctx, nil, 100)
		f.check(err)
		if len(list) >= n {
			return list
		}
		select {
		case <-ticker.C:
		case <-f.ctx.Done():
			f.Fatalf("there are %d disagreements, not %d", len(list), n)
		}
	}
}

func challengedBy(name string) func(*classify.Config) {
	return func(c *classify.Config) { c.Challenger = name }
}

// TestChallenger: it is asked after the issue is decided, what it says has no effect,
// and is kept beside what was decided, each held to its own threshold.
func TestChallenger(t *testing.T) {
	champion := newMember(t, "champion", map[triage.Field]triage.Answer{
		triage.FieldCategory: answer("bug", 0.6), triage.FieldPriority: answer("high", 0.9), triage.FieldComponent: answer("lexer", 0.2),
	})
	challenger := newMember(t, "challenger", map[triage.Field]triage.Answer{
		triage.FieldCategory: answer("feature", 0.99), triage.FieldPriority: answer("high", 0.95), triage.FieldComponent: answer("docs", 0.2), triage.FieldSummary: answer("Another.", 1),
	})
	challenger.embedding = nil
	f := newFixture(t, chainOf(challenger, champion), challengedBy("challenger"))
	f.pass()
	n := f.open(crashTitle, crashBody)
	f.pass()
	c := f.state(n).Classification
	if c.Value(triage.FieldCategory) != "bug" || c.Fields[triage.FieldSummary].Value() != "" || len(c.PassedOver) > 0 {
		t.Errorf("the issue is %+v", c)
	}
	for _, r := range f.published() {
		if r.Classification != nil && r.Classification.Value(triage.FieldCategory) != "bug" {
			t.Errorf("published is %+v", r.Classification)
		}
	}
	list := f.disagreements(1)
	d := list[0]
	if len(list) != 1 || d.Number != n || d.Field != triage.FieldCategory || d.Challenger != "challenger" || d.Version != challenger.Describe().Version ||
		d.Says.Champion.Plugin != "champion" || !d.Says.Champion.Sure || !slices.Equal(d.Says.Champion.Values, []string{"bug"}) ||
		d.Says.Challenger.Confidence != 0.99 || !slices.Equal(d.Says.Challenger.Values, []string{"feature"}) {
		t.Errorf("they disagree about %+v", list)
	}
	counted, err := f.store.ChallengeScores(f.ctx, nil)
	f.check(err)
	for _, s := range counted {
		if want := 1; s.Field == triage.FieldCategory && s.Agreed != 0 || s.Field != triage.FieldCategory && s.Agreed != want {
			t.Errorf("%s: %+v", s.Field, s)
		}
	}
	if len(counted) < 3 || slices.ContainsFunc(counted, func(s store.ChallengeScore) bool { return s.Field == triage.FieldSummary }) {
		t.Errorf("compared are %+v", counted)
	}
	// A person's word settles it.
	f.ok(f.handle(f.correct("c", n, triage.FieldCategory, "feature")))
	if list, err := f.store.Disagreements(f.ctx, nil, 100); err != nil || len(list) > 0 {
		t.Errorf("still to be reviewed: %+v, %v", list, err)
	}
	// What is replayed is compared once, and what is backfilled not at all.
	asked := len(challenger.asked())
	f.ok(f.handle(f.own(triage.Event{ID: "c", Kind: triage.KindReclassify, Repository: f.state(n).Issue.Repository, Number: n})))
	older := f.open("An older issue", crashBody)
	for _, r := range f.take() {
		r.Value = bytes.Replace(r.Value, []byte(`"action":"opened"`), []byte(`"action":"`+github.ActionBackfilled+`"`), 1)
		r.SetHeader(eventlog.HeaderEvent, github.EventSnapshot)
		f.ok(f.handle(r))
	}
	if f.state(older).Classification == nil {
		t.Error("the backfilled issue is not classified")
	}
	f.open(crashTitle, crashBody)
	f.pass()
	f.challenges("disagreed", 2)
	if now := len(challenger.asked()); now != asked+1 {
		t.Errorf("the challenger was asked %d times more, want once", now-asked)
	}
}

// TestRepositorysChallenger: a repository may name another challenger or none; one that
// decides challenges nobody, and one that is disabled is not asked.
func TestRepositorysChallenger(t *testing.T) {
	champion := newMember(t, "champion", map[triage.Field]triage.Answer{triage.FieldCategory: answer("bug", 0.9)})
	second := newMember(t, "second", map[triage.Field]triage.Answer{triage.FieldCategory: answer("bug", 0.9)})
	challenger := newMember(t, "challenger", map[triage.Field]triage.Answer{triage.FieldCategory: answer("feature", 0.9)})
	var disabled atomic.Bool
	f := newFixture(t, chainOf(champion, second, challenger), challengedBy("second"), func(c *classify.Config) {
		c.Enabled = func(name string) bool { return name != "challenger" || !disabled.Load() }
	})
	f.pass()
	n := 0
	for _, step := range []struct {
		name, challenger string
		disabled         bool
		chain            []string
		asked            *member
	}{
		{"the server's", "", false, nil, second},
		{"its own", "challenger", false, []string{"champion"}, challenger},
		{"none", triage.NoChallenger, false, []string{"champion"}, nil},
		{"one that does not run here", "elsewhere", false, []string{"champion"}, nil},
		{"one that decides", "", false, []string{"second", "champion"}, nil},
		{"one that is disabled", "challenger", true, []string{"champion"}, nil},
		{"the server's, beside its own chain", "", false, []string{"champion"}, second},
	} {
		if n++; n > 1 {
			config := triage.DefaultRepositoryConfig()
			config.Challenger = step.challenger
			for _, name := range step.chain {
				config.Classifiers = append(config.Classifiers, triage.ClassifierChoice{Name: name})
			}
			f.configure(config)
		}
		disabled.Store(step.disabled)
		asked := func() int { return len(step.asked.asked()) }
		if step.asked == nil {
			asked = func() int { return len(second.asked()) + len(challenger.asked()) }
		}
		before := asked()
		if len(step.chain) > 1 {
			before++ // as it decides
		}
		f.classified(t)
		if step.asked != nil {
			f.challengedOnce(step.name, asked, before+1)
		} else if now := asked(); now != before {
			t.Errorf("%s: it was asked", step.name)
		}
	}
}

// challengedOnce waits for a challenger's call.
func (f *fixture) challengedOnce(what string, asked func() int, want int) {
	f.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for asked() < want {
		select {
		case <-ticker.C:
		case <-f.ctx.Done():
			f.Fatalf("%s: the challenger was not asked", what)
		}
	}
	if now := asked(); now != want {
		f.Errorf("%s: asked %d times, want %d", what, now, want)
	}
}

// TestSlowChallenger: however long it takes, it holds up nothing; what it is too slow
// for is dropped, and it ends with the worker.
func TestSlowChallenger(t *testing.T) {
	champion := newMember(t, "champion", map[triage.Field]triage.Answer{triage.FieldCategory: answer("bug", 0.9)})
	challenger := newMember(t, "challenger", nil)
	challenger.says = func(ctx context.Context, _ plugin.Item) plugin.Outcome {
		<-ctx.Done()
		return plugin.Outcome{Err: ctx.Err()}
	}
	f := newFixture(t, chainOf(champion, challenger), challengedBy("challenger"))
	f.pass()
	const issues = 100
	for i := range issues {
		f.open(fmt.Sprint(crashTitle, " ", i), crashBody)
	}
	began := time.Now()
	f.pass()
	for n := 1; n <= issues; n++ {
		if f.state(n).Classification == nil {
			t.Fatalf("issue %d waits for a challenger", n)
		}
	}
	f.challenges("dropped", 20)
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %s", took)
	}
	f.worker.Close()
}

// TestChallengerThatCosts: its answers are in the account, the day's budget bounds
// them, and its failures are counted.
func TestChallengerThatCosts(t *testing.T) {
	champion := newMember(t, "champion", map[triage.Field]triage.Answer{triage.FieldCategory: answer("bug", 0.9)})
	challenger := newMember(t, "challenger", nil)
	var failing atomic.Bool
	challenger.says = func(context.Context, plugin.Item) plugin.Outcome {
		if failing.Load() {
			return plugin.Outcome{Err: errors.New("it cannot say")}
		}
		return plugin.Outcome{Fields: map[triage.Field]triage.Answer{triage.FieldCategory: answer("bug", 0.9)}, Usage: triage.Usage{CostUSD: 0.06}}
	}
	f := newFixture(t, chainOf(champion, challenger), challengedBy("challenger"), func(c *classify.Config) { c.Budget = classify.Budget{PerRepository: 0.1} })
	f.pass()
	f.classified(t)
	f.challenges("agreed", 1)
	failing.Store(true)
	f.classified(t)
	f.challenges("failed", 1)
	failing.Store(false)
	f.classified(t)
	f.challenges("agreed", 2)
	if c := f.classified(t); len(c.PassedOver) > 0 {
		t.Errorf("the issue itself bears the budget: %+v", c)
	}
	f.challenges("budget", 1)
	entries, err := f.store.UsageBetween(f.ctx, time.Now(), time.Now(), 0)
	f.check(err)
	if len(entries) != 1 || entries[0].Plugin != "challenger" || entries[0].Answers != 2 || entries[0].CostUSD != 0.12 {
		t.Errorf("the account is %+v", entries)
	}
	scores, err := f.store.ChallengeScores(f.ctx, nil)
	f.check(err)
	if i := slices.IndexFunc(scores, func(s store.ChallengeScore) bool { return s.Field == triage.FieldCategory }); i < 0 || scores[i].Compared != 2 || scores[i].Agreed != 2 {
		t.Errorf("scores are %+v", scores)
	}
}
