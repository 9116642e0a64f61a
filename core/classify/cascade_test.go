package classify_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/classify"
	"github.com/dispatchai/dispatchai/core/plugin"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// member is a classifier of a chain that says what it is told to.
type member struct {
	*watched
	name   string
	fields []triage.Field
	says   func(ctx context.Context, item plugin.Item) plugin.Outcome
	fails  func() error // the whole call

	mu    sync.Mutex
	items []plugin.Item
}

func (m *member) Name() string { return m.name }

func (m *member) Describe() plugin.Description {
	d := m.watched.Describe()
	d.Name, d.Fields = m.name, m.fields
	if m.embedding == nil {
		d.Embedding = nil
	}
	return d
}

func (m *member) Classify(ctx context.Context, items []plugin.Item) ([]plugin.Outcome, error) {
	m.mu.Lock()
	m.items = append(m.items, items...)
	m.mu.Unlock()
	if m.fails != nil {
		if err := m.fails(); err != nil {
			return nil, err
		}
	}
	outcomes := make([]plugin.Outcome, len(items))
	for i, item := range items {
		outcomes[i] = m.says(ctx, item)
		for f, a := range outcomes[i].Fields {
			a.Plugin, a.Version, a.Source = m.name, "1.0.0", triage.SourcePlugin
			outcomes[i].Fields[f] = a
		}
		if wanted := item.Wanted; len(wanted) > 0 { // as the host does
			for f := range outcomes[i].Fields {
				if !slices.Contains(wanted, f) {
					delete(outcomes[i].Fields, f)
				}
			}
		}
	}
	return outcomes, nil
}

// asked are the items that it was asked about.
func (m *member) asked() []plugin.Item {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.items)
}

func newMember(t *testing.T, name string, says map[triage.Field]triage.Answer) *member {
	t.Helper()
	process, err := rulesProcess()
	if err != nil {
		t.Fatal(err)
	}
	m := &member{watched: &watched{Plugin: process}, name: name, fields: triage.Fields()}
	m.says = func(context.Context, plugin.Item) plugin.Outcome {
		fields := make(map[triage.Field]triage.Answer, len(says))
		for f, a := range says {
			fields[f] = a
		}
		return plugin.Outcome{Fields: fields}
	}
	return m
}

func chainOf(members ...*member) func(*classify.Config) {
	return func(c *classify.Config) {
		c.Classifiers = nil
		for _, m := range members {
			c.Classifiers = append(c.Classifiers, m)
		}
	}
}

func (f *fixture) classified(t *testing.T) *triage.Classification {
	t.Helper()
	n := f.open(crashTitle, crashBody)
	f.pass()
	return f.state(n).Classification
}

// TestCascade: each field is taken from the first that is sure of it, the next is
// asked for the rest, and nobody for what is settled.
func TestCascade(t *testing.T) {
	first := newMember(t, "first", map[triage.Field]triage.Answer{triage.FieldCategory: answer("bug", 0.6), triage.FieldPriority: answer("high", 0.5)})
	second := newMember(t, "second", map[triage.Field]triage.Answer{
		triage.FieldCategory: answer("question", 0.99), triage.FieldPriority: answer("high", 0.9),
		triage.FieldComponent: answer("docs", 0.3), triage.FieldSummary: answer("It crashes.", 0.9),
	})
	third := newMember(t, "third", map[triage.Field]triage.Answer{triage.FieldComponent: answer("lexer", 0.9)})
	third.fields = []triage.Field{triage.FieldComponent, triage.FieldSummary}
	fourth := newMember(t, "fourth", nil)
	f := newFixture(t, chainOf(first, second, third, fourth))
	f.pass()
	c := f.classified(t)
	for field, want := range map[triage.Field]string{
		triage.FieldCategory: "bug by first", triage.FieldPriority: "high by second", triage.FieldComponent: "lexer by third", triage.FieldSummary: "It crashes. by second",
	} {
		if a := c.Fields[field]; a.Value()+" by "+a.Plugin != want {
			t.Errorf("%s is %s by %s, want %s", field, a.Value(), a.Plugin, want)
		}
	}
	if len(c.PassedOver) > 0 {
		t.Errorf("passed over: %+v", c.PassedOver)
	}
	if asked := first.asked(); len(asked) != 1 || asked[0].Wanted != nil {
		t.Errorf("the first was asked for %v", asked)
	}
	if asked := second.asked(); len(asked) != 1 || slices.Contains(asked[0].Wanted, triage.FieldCategory) ||
		!slices.Contains(asked[0].Wanted, triage.FieldPriority) || !slices.Contains(asked[0].Wanted, triage.FieldSummary) {
		t.Errorf("the second was asked for %v", asked)
	}
	if asked := third.asked(); len(asked) != 1 || !slices.Equal(asked[0].Wanted, []triage.Field{triage.FieldComponent}) {
		t.Errorf("the third was asked for %v", asked)
	}
	if asked := fourth.asked(); len(asked) != 0 {
		t.Errorf("the fourth was asked for %v, though nothing was left", asked[0].Wanted)
	}
}

// TestWhatPeopleSaidIsNotBought: a later classifier is not asked for a field that
// a person has said; of similar issues it is told what people said.
func TestWhatPeopleSaidIsNotBought(t *testing.T) {
	first := newMember(t, "rules", map[triage.Field]triage.Answer{triage.FieldPriority: answer("high", 0.9), triage.FieldComponent: answer("lexer", 0.9)})
	first.embedding, first.vector = &sdk.EmbeddingModel{Name: "m", Dimensions: 2}, func(sdk.Text) []float32 { return []float32{1, 0} }
	second := newMember(t, "second", map[triage.Field]triage.Answer{triage.FieldCategory: answer("bug", 0.9)})
	f := newFixture(t, chainOf(first, second))
	f.pass()
	n := f.open(crashTitle, crashBody)
	f.pass()
	f.ok(f.handle(f.correct("c", n, triage.FieldCategory, "question")))
	f.ok(f.handle(f.own(triage.Event{ID: "again", Kind: triage.KindReclassify, Repository: f.state(n).Issue.Repository, Number: n})))
	if asked := second.asked(); len(asked) != 1 {
		t.Errorf("the second was asked %d times", len(asked))
	}
	m := f.open(crashTitle, crashBody)
	f.pass()
	asked := second.asked()
	if len(asked) != 2 {
		t.Fatalf("the second was asked %d times about issue %d and before", len(asked), m)
	}
	similar := asked[1].Similar
	if len(similar) != 1 || !slices.Equal(similar[0].Fields[triage.FieldCategory], []string{"question"}) ||
		!slices.Equal(similar[0].Corrected, []triage.Field{triage.FieldCategory}) || similar[0].Fields[triage.FieldPriority][0] != "high" {
		t.Errorf("of its neighbour it was told %+v", similar)
	}
}

// TestFallback: a classifier that is away for long or fails is passed over, which
// is marked; one that is soon back is waited for, but not for ever.
func TestFallback(t *testing.T) {
	var shift atomic.Int64
	model := newMember(t, "model", map[triage.Field]triage.Answer{triage.FieldCategory: answer("feature", 0.9)})
	local := newMember(t, "local", map[triage.Field]triage.Answer{triage.FieldCategory: answer("bug", 0.9)})
	f := newFixture(t, chainOf(model, local), func(c *classify.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(shift.Load())) }
	})
	f.pass()
	check := func(what string, c *triage.Classification, reason triage.PassOverReason) {
		t.Helper()
		a := c.Fields[triage.FieldCategory]
		if a.Value() != "bug" || a.Plugin != "local" || a.FallbackFor != "model" {
			t.Errorf("%s: the answer is %+v", what, a)
		}
		if len(c.PassedOver) != 1 || c.PassedOver[0].Plugin != "model" || c.PassedOver[0].Reason != reason || c.PassedOver[0].Detail == "" {
			t.Errorf("%s: passed over are %+v, want model as %s", what, c.PassedOver, reason)
		}
	}
	model.fails = func() error {
		return &plugin.UnavailableError{Plugin: "model", State: plugin.BackingOff, RetryAfter: time.Minute}
	}
	check("away for long", f.classified(t), triage.PassedUnavailable)
	model.fails = func() error {
		return &plugin.UnavailableError{Plugin: "model", State: plugin.Tripped, RetryAfter: time.Second}
	}
	check("failing call after call", f.classified(t), triage.PassedUnavailable)

	says := model.says
	for what, err := range map[string]error{
		"a call that failed":   &plugin.CallError{Plugin: "model", Method: "Classify", How: plugin.Malformed, Err: errors.New("nonsense")},
		"an error of its own":  &plugin.ItemError{Plugin: "model", Message: "no idea"},
		"an error that stays":  &plugin.ItemError{Plugin: "model", Message: "I do not read that", Permanent: true},
		"a call not supported": plugin.ErrUnsupported,
	} {
		model.fails = nil
		model.says = func(context.Context, plugin.Item) plugin.Outcome { return plugin.Outcome{Err: err} }
		check(what, f.classified(t), triage.PassedFailed)
	}
	model.says = says

	model.fails = func() error {
		return &plugin.UnavailableError{Plugin: "model", State: plugin.Starting, RetryAfter: 100 * time.Millisecond}
	}
	n := f.open(crashTitle, crashBody)
	opened := f.take()
	for range 3 {
		if got := f.handle(opened...); !waits(got[0]) {
			t.Fatalf("soon back: %v", got[0])
		}
	}
	shift.Store(int64(9950 * time.Millisecond))
	f.ok(f.handle(opened...))
	check("soon back for too long", f.state(n).Classification, triage.PassedUnavailable)

	// Back again, nothing is marked any more.
	model.fails = nil
	if c := f.classified(t); c.Value(triage.FieldCategory) != "feature" || len(c.PassedOver) > 0 || c.Fields[triage.FieldCategory].FallbackFor != "" {
		t.Errorf("once it is back: %+v", c)
	}
	// The last of a chain has nobody to fall back on.
	local.fails = func() error {
		return &plugin.CallError{Plugin: "local", Method: "Classify", How: plugin.Crashed, Err: errors.New("gone")}
	}
	model.fails = local.fails
	f.open(crashTitle, crashBody)
	if got := f.handle(f.take()...); got[0] == nil || waits(got[0]) {
		t.Errorf("when all fail: %v", got[0])
	}
}

// slowChain is a chain whose second classifier is asked about titles that are
// unclear, and answers when it is released.
func slowChain(t *testing.T, patience time.Duration) (l *logged, model *member, release chan struct{}) {
	local := newMember(t, "local", nil)
	local.says = func(_ context.Context, item plugin.Item) plugin.Outcome {
		confidence := 0.9
		if strings.HasPrefix(item.Issue.Title, "Unclear") {
			confidence = 0.2
		}
		return plugin.Outcome{Fields: map[triage.Field]triage.Answer{
			triage.FieldCategory: answer("bug", confidence), triage.FieldPriority: answer("high", 0.9), triage.FieldComponent: answer("lexer", 0.9),
		}}
	}
	release = make(chan struct{})
	model = newMember(t, "model", nil)
	model.says = func(ctx context.Context, _ plugin.Item) plugin.Outcome {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return plugin.Outcome{Fields: map[triage.Field]triage.Answer{triage.FieldCategory: answer("feature", 0.9)}}
	}
	return throughLog(t, chainOf(local, model), func(c *classify.Config) { c.Patience = patience }), model, release
}

// TestASlowClassifierHoldsUpNobody: issues that do not need it are done while it is asked.
func TestASlowClassifierHoldsUpNobody(t *testing.T) {
	f, model, release := slowChain(t, time.Minute)
	f.open("Unclear from the beginning", crashBody)
	for range 20 {
		f.open(crashTitle, crashBody)
	}
	f.send(f.take()...)
	for range 20 {
		if r := f.result(); r.Issue.Title != crashTitle || r.Classification.Fields[triage.FieldCategory].Plugin != "local" {
			t.Fatalf("%q was done first: %+v", r.Issue.Title, r.Classification)
		}
	}
	close(release)
	if r := f.result(); r.Classification.Value(triage.FieldCategory) != "feature" || len(r.Classification.PassedOver) > 0 {
		t.Errorf("of a classifier that is slow, not away: %+v", r.Classification)
	}
	if asked := model.asked(); len(asked) != 1 {
		t.Errorf("it was asked %d times", len(asked))
	}
}

// TestAHangingClassifierIsNotWaitedFor: an issue falls back when it takes too long,
// further ones at once; and it is asked again when it is back.
func TestAHangingClassifierIsNotWaitedFor(t *testing.T) {
	f, model, release := slowChain(t, 200*time.Millisecond)
	f.open("Unclear from the beginning", crashBody)
	f.send(f.take()...)
	r := f.result()
	a := r.Classification.Fields[triage.FieldCategory]
	if a.Value() != "bug" || a.Confidence != 0.2 || len(r.Classification.PassedOver) != 1 || r.Classification.PassedOver[0].Reason != triage.PassedSlow {
		t.Errorf("when patience was over: %+v", r.Classification)
	}
	f.open("Unclear now that it hangs", crashBody)
	f.send(f.take()...)
	if r := f.result(); len(r.Classification.PassedOver) != 1 || !strings.Contains(r.Classification.PassedOver[0].Detail, "earlier") {
		t.Errorf("while it hangs: %+v", r.Classification.PassedOver)
	}
	if asked := model.asked(); len(asked) != 1 {
		t.Errorf("a classifier that hangs was asked %d times", len(asked))
	}
	close(release)
	for i := 0; ; i++ {
		f.open("Unclear after that", crashBody)
		f.send(f.take()...)
		if r := f.result(); r.Classification.Value(triage.FieldCategory) == "feature" {
			break
		} else if i > 100 {
			t.Fatalf("it answers again, and is not asked: %+v", r.Classification)
		}
	}
}

// TestEmbedderAway: issues are classified without similar ones when the plugin
// that embeds is away for long, and are embedded later.
func TestEmbedderAway(t *testing.T) {
	f := newFixture(t)
	f.pass()
	f.rules.failEmbed = func([]sdk.Text) error {
		return &plugin.UnavailableError{Plugin: "rules", State: plugin.BackingOff, RetryAfter: time.Minute}
	}
	n := f.open(crashTitle, crashBody)
	f.pass()
	if f.state(n).Classification.Value(triage.FieldCategory) != "bug" {
		t.Errorf("classified as %+v", f.state(n).Classification)
	}
	f.rules.failEmbed = nil
	f.check(f.worker.RenewEmbeddings(f.ctx))
	f.wantSpaces("once it was back,", words0(1))
	f.open(crashTitle, crashBody)
	f.pass()
	if similar := f.state(n + 1).Similar; len(similar) != 1 || similar[0].Number != n {
		t.Errorf("similar to the next are %+v", similar)
	}
}

// TestHold: what a classifier holds is stored and published so.
func TestHold(t *testing.T) {
	m := newMember(t, "model", nil)
	m.says = func(context.Context, plugin.Item) plugin.Outcome {
		return plugin.Outcome{Fields: map[triage.Field]triage.Answer{triage.FieldCategory: answer("bug", 0.9)}, Hold: "its text steers"}
	}
	f := newFixture(t, chainOf(m))
	f.pass()
	f.classified(t)
	if got := f.published(); len(got) != 1 || got[0].Classification.Hold != "its text steers" {
		t.Errorf("published %+v", got)
	}
}

// TestBudget: once the day's bound is reached the cascade goes on without what
// costs, says so, and asks again on the next day.
func TestBudget(t *testing.T) {
	var shift atomic.Int64
	noon := time.Until(store.Day(time.Now()).Add(12 * time.Hour))
	shift.Store(int64(noon))
	local := newMember(t, "local", map[triage.Field]triage.Answer{triage.FieldCategory: answer("bug", 0.2)})
	paid := newMember(t, "paid", nil)
	cached := false
	paid.says = func(context.Context, plugin.Item) plugin.Outcome {
		o := plugin.Outcome{Fields: map[triage.Field]triage.Answer{triage.FieldCategory: answer("feature", 0.9)}}
		if o.Cached = cached; !cached {
			o.Usage = triage.Usage{InputTokens: 1000, OutputTokens: 100, CostUSD: 0.04}
		}
		return o
	}
	f := newFixture(t, chainOf(local, paid), func(c *classify.Config) {
		c.Budget = classify.Budget{Total: 1, PerRepository: 0.1}
		c.Now = func() time.Time { return time.Now().Add(time.Duration(shift.Load())) }
	})
	f.pass()
	for i := range 3 {
		if c := f.classified(t); c.Value(triage.FieldCategory) != "feature" || c.Usage.CostUSD != 0.04 {
			t.Fatalf("issue %d: %+v", i+1, c)
		}
	}
	c := f.classified(t)
	if c.Value(triage.FieldCategory) != "bug" || len(c.PassedOver) != 1 || c.PassedOver[0].Plugin != "paid" ||
		c.PassedOver[0].Reason != triage.PassedBudget || !strings.Contains(c.PassedOver[0].Detail, "$0.10") {
		t.Errorf("with the budget spent: %+v", c)
	}
	shift.Add(int64(24 * time.Hour))
	cached = true
	if c := f.classified(t); c.Value(triage.FieldCategory) != "feature" {
		t.Errorf("on the next day: %+v", c)
	}
	entries, err := f.store.UsageBetween(f.ctx, f.clock.Now().Add(-48*time.Hour), time.Now().Add(72*time.Hour), 0)
	f.check(err)
	id := f.key(1).RepositoryID
	today := store.Day(time.Now())
	want := []store.UsageEntry{
		{Day: today, RepositoryID: id, Plugin: "paid", Answers: 3, Usage: triage.Usage{InputTokens: 3000, OutputTokens: 300, CostUSD: 0.12}},
		{Day: today.Add(24 * time.Hour), RepositoryID: id, Plugin: "paid", Answers: 1, Cached: 1},
	}
	if !slices.Equal(entries, want) {
		t.Errorf("the account is %+v, want %+v", entries, want)
	}
	// A repository may ask for less than the server would give.
	cached = false
	config := triage.DefaultRepositoryConfig()
	config.DailyBudgetUSD = 0.01
	f.configure(config)
	f.classified(t)
	if c := f.classified(t); len(c.PassedOver) != 1 || !strings.Contains(c.PassedOver[0].Detail, "$0.01") {
		t.Errorf("with a budget of its own: %+v", c)
	}
}
