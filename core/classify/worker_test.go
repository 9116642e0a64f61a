package classify_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dispatchai/dispatchai/app/simulate"
	"github.com/dispatchai/dispatchai/core/classify"
	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/plugin"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
	"github.com/dispatchai/dispatchai/plugins/sdk"
)

const (
	crashTitle = "Crash when parsing an empty file"
	crashBody  = "### Steps to reproduce\n\n1. run `parse empty.txt`\n\n### Actual behavior\n\npanic: runtime error: index out of range\n"
)

func TestOpenedIssueIsClassifiedAndPublished(t *testing.T) {
	f := newFixture(t)
	f.pass()
	first := f.open(crashTitle, crashBody)
	f.open("Crash while parsing an empty document", "It crashes with a panic on an empty document.")
	f.pass()

	results := f.published()
	if len(results) != 2 {
		t.Fatalf("%d results, want 2", len(results))
	}
	r := results[0]
	if r.EventType != triage.Classified || r.Revision != 1 || r.Issue.Number != first || r.Classification.Value(triage.FieldCategory) != "bug" {
		t.Errorf("the first result is %+v", r)
	}
	a := r.Classification.Fields[triage.FieldCategory]
	if a.Plugin != "rules" || a.Version == "" || a.Confidence <= 0 || a.Reason == "" || r.Classification.DeliveryID != r.EventID {
		t.Errorf("the answer lacks its provenance: %+v of %+v", a, r.Classification)
	}
	if similar := results[1].SimilarIssues; len(similar) != 1 || similar[0].Number != first {
		t.Errorf("the second issue's neighbours are %+v, want the first", similar)
	}
	if state := f.state(first); state.TextHash == "" || state.Effective() == nil {
		t.Errorf("stored as %+v", state)
	}
}

func TestPullRequestsAreIgnoredAndCounted(t *testing.T) {
	f := newFixture(t)
	f.pass()
	n, err := f.github.OpenPullRequest(f.ctx, repo, simulate.NewIssue{Author: "reporter", Title: crashTitle, Body: crashBody})
	f.check(err)
	_, err = f.github.Comment(f.ctx, repo, n, admin, "Looks good, but it crashes.")
	f.check(err)
	records := f.take()
	if len(records) == 0 {
		t.Fatal("GitHub sent nothing about the pull request")
	}
	f.ok(f.handle(records...))
	if got := f.counter("dispatchai_classify_events_total", "pull_request", "ignored"); got != float64(len(records)) {
		t.Errorf("%v pull request events counted, want %d", got, len(records))
	}
	if f.rules.asked() != 0 || len(f.published()) != 0 {
		t.Error("a pull request was classified")
	}
	states, err := f.store.LoadIssues(f.ctx, []triage.IssueKey{f.key(n)})
	f.check(err)
	if len(states) != 0 {
		t.Error("a pull request was stored as an issue")
	}
}

func TestNullsInAnIssue(t *testing.T) {
	f := newFixture(t)
	f.pass()
	id := f.key(1).RepositoryID
	body := fmt.Sprintf(`{"action":"opened","issue":{"id":77,"number":1,"title":%q,"body":null,"user":null,"labels":null,"state":"open","closed_at":null,
		"created_at":"2026-01-02T03:04:05Z","updated_at":"2026-01-02T03:04:05Z"},"repository":{"id":%d,"full_name":%q},"installation":null,"sender":null}`, crashTitle, id, repo)
	r, err := f.record(github.EventIssues, "nulls", []byte(body))
	f.check(err)
	f.ok(f.handle(r))
	if got := f.published(); len(got) != 1 || got[0].Classification.Value(triage.FieldCategory) != "bug" {
		t.Errorf("published %+v", got)
	}
}

func TestOnlyWhatChangedIsClassifiedAgain(t *testing.T) {
	f := newFixture(t)
	n := f.open(crashTitle, crashBody)
	f.pass()
	step := func(what string, want int) {
		t.Helper()
		f.clock.Advance(time.Minute)
		f.pass()
		if got := f.rules.asked(); got != want {
			t.Errorf("after %s the plugin was asked %d times, want %d", what, got, want)
		}
	}
	step("opening", 1)
	f.check(f.github.CloseIssue(f.ctx, repo, n, admin, ""))
	step("closing", 1)
	f.check(f.github.ReopenIssue(f.ctx, repo, n, admin))
	step("reopening", 2)
	f.check(f.github.AddLabel(f.ctx, repo, n, admin, "area/docs"))
	_, err := f.github.Comment(f.ctx, repo, n, admin, "Thanks!")
	f.check(err)
	step("a label and a comment", 2)
	title := "How do I parse an empty file?"
	body := "What is the right way to do it? The documentation does not say."
	f.check(f.github.EditIssue(f.ctx, repo, n, "reporter", &title, &body))
	step("an edit", 3)
	if got := f.state(n).Effective().Value(triage.FieldCategory); got != "question" {
		t.Errorf("the edited issue is a %q, want a question", got)
	}

	// The edit's own delivery was lost: whatever tells of the new text next has it classified.
	f.check(f.github.EditIssue(f.ctx, repo, n, "reporter", new(crashTitle), new(crashBody)))
	f.take()
	_, err = f.github.Comment(f.ctx, repo, n, admin, "So it is a bug.")
	f.check(err)
	step("a comment on a text not seen before", 4)
}

func TestOldDeliveriesNeverTakeAnIssueBack(t *testing.T) {
	f := newFixture(t)
	f.pass()
	n := f.open("How do I parse an empty file?", "What is the right way?")
	opened := f.take()
	f.clock.Advance(time.Minute)
	f.check(f.github.EditIssue(f.ctx, repo, n, "reporter", new(crashTitle), new(crashBody)))
	edited := f.take()
	f.ok(f.handle(edited...))
	want := f.state(n)
	f.ok(f.handle(opened...)) // the redelivery, days later
	got := f.state(n)
	if diff := cmp.Diff(want.Issue, got.Issue); diff != "" {
		t.Errorf("the old delivery changed the issue (-want +got):\n%s", diff)
	}
	if f.rules.asked() != 1 {
		t.Errorf("the plugin was asked %d times, want once", f.rules.asked())
	}
	results := f.published()
	if last := results[len(results)-1]; last.Issue.Title != crashTitle || last.EventType != triage.Updated {
		t.Errorf("the old delivery was published as %s of %q", last.EventType, last.Issue.Title)
	}
}

func TestClosedBeforeItsOpeningIsHeardOf(t *testing.T) {
	f := newFixture(t)
	f.pass()
	n := f.open(crashTitle, crashBody)
	opened := f.take()
	f.clock.Advance(time.Minute)
	f.check(f.github.CloseIssue(f.ctx, repo, n, admin, ""))
	f.ok(f.handle(f.take()...))
	if f.rules.asked() != 0 {
		t.Error("an issue that is closed when it is first heard of was classified")
	}
	f.ok(f.handle(opened...))
	if s := f.state(n); s.Classification == nil || s.Issue.State != "closed" {
		t.Errorf("an acknowledged opening was not classified, or the issue was reopened: %+v", s)
	}
}

func TestAReplayRecomputesNothingAndPublishesTheStoredResult(t *testing.T) {
	f := newFixture(t)
	f.pass()
	f.open(crashTitle, crashBody)
	records := f.take()
	f.ok(f.handle(records...))
	first := f.published()
	for range 4 {
		f.ok(f.handle(records...))
		if diff := cmp.Diff(first, f.published()); diff != "" {
			t.Fatalf("the replay said something else (-first +replay):\n%s", diff)
		}
	}
	if f.rules.asked() != 1 {
		t.Errorf("the plugin was asked %d times, want once", f.rules.asked())
	}
	if got := f.counter("dispatchai_classify_events_total", "issue", "replayed"); got != 4 {
		t.Errorf("%v replays counted, want 4", got)
	}
}

func TestAFailedPublishIsMadeGoodByTheRetry(t *testing.T) {
	f := newFixture(t)
	f.rules.learns = true
	f.pass()
	n := f.open(crashTitle, crashBody)
	records := f.take()
	f.log.fail = []error{eventlog.ErrUnavailable}
	if got := f.handle(records...); !waits(got[0]) {
		t.Fatalf("the outcome is %v, want a retry that is not counted", got[0])
	}
	if len(f.published()) != 0 {
		t.Fatal("published though the append failed")
	}
	f.ok(f.handle(records...))
	if got := f.published(); len(got) != 1 || got[0].Classification == nil || f.rules.asked() != 1 {
		t.Errorf("the retry published %+v with %d calls of the plugin", got, f.rules.asked())
	}

	// The same with a correction: it is published whole, and learned once.
	correction := f.correct("c1", n, triage.FieldCategory, "question")
	f.log.fail = []error{eventlog.ErrUnavailable}
	if got := f.handle(correction); !waits(got[0]) {
		t.Fatalf("the outcome is %v", got[0])
	}
	f.ok(f.handle(correction))
	got := f.published()
	if len(got) != 1 || got[0].EventType != triage.Corrected || len(got[0].Corrections) != 1 {
		t.Fatalf("published %+v", got)
	}
	if c := got[0].Corrections[0]; !slices.Equal(c.Old, []string{"bug"}) || !slices.Equal(c.New, []string{"question"}) || c.Actor != "maria" {
		t.Errorf("the correction was published as %+v", c)
	}
	if len(f.rules.examples) != 1 {
		t.Errorf("%d examples were learned, want 1", len(f.rules.examples))
	}
}

func (f *fixture) correct(id string, number int, field triage.Field, values ...string) *eventlog.Record {
	return f.own(triage.Event{
		ID: id, Kind: triage.KindCorrection, Repository: triage.Repository{ID: f.key(number).RepositoryID}, Number: number,
		Correction: &triage.CorrectionInput{Field: field, Values: values, Actor: "maria", Reason: "I know better"},
	})
}

func TestOneBadChangeDoesNotHoldUpTheBatch(t *testing.T) {
	f := newFixture(t)
	f.rules.embedding = &sdk.EmbeddingModel{Name: "wide", Dimensions: 1}
	f.rules.vector = func(text sdk.Text) []float32 {
		if strings.Contains(text.Title, "refused") {
			return make([]float32, store.MaxDimensions+1) // which no store takes
		}
		return []float32{1}
	}
	f.pass()
	f.open(crashTitle, crashBody)
	f.open("refused by the store", crashBody)
	f.open(crashTitle+" again", crashBody)
	batch := f.take()
	poison, err := f.record(github.EventIssues, "poison", fmt.Appendf(nil, `{"issue":{"number":9},"repository":{"id":%d,"full_name":%q}}`, f.key(9).RepositoryID, repo))
	f.check(err)
	got := f.worker.HandleIssues(f.ctx, append(batch, poison))
	if got[0] != nil || got[2] != nil {
		t.Errorf("the good ones: %v, %v", got[0], got[2])
	}
	if got[1] == nil || waits(got[1]) || eventlog.IsPermanent(got[1]) {
		t.Errorf("the refused one must count as an attempt, so that it ends among the dead letters: %v", got[1])
	}
	if !eventlog.IsPermanent(got[3]) {
		t.Errorf("the unreadable one: %v", got[3])
	}
	if results := f.published(); len(results) != 2 {
		t.Errorf("%d results, want 2", len(results))
	}

	f.check(f.store.Close())
	for i, err := range f.worker.HandleIssues(f.ctx, batch) {
		if !waits(err) {
			t.Errorf("record %d while the store is away: %v", i, err)
		}
	}
}

func TestAResultTooLargeForTheLogDiesAlone(t *testing.T) {
	f := newFixture(t)
	f.pass()
	f.open(crashTitle, crashBody)
	f.open(crashTitle+" again", crashBody)
	f.log.fail = []error{eventlog.ErrTooLarge, nil, eventlog.ErrTooLarge}
	got := f.worker.HandleIssues(f.ctx, f.take())
	if got[0] != nil || !eventlog.IsPermanent(got[1]) {
		t.Errorf("outcomes %v", got)
	}
	if len(f.published()) != 1 {
		t.Error("the small result was not published")
	}
}

func TestLabelSetsOfUnknownRepositoriesAreReadOnce(t *testing.T) {
	f := newFixture(t)
	const repositories, each = 12, 3
	for r := range repositories {
		f.check(f.github.CreateRepository(f.ctx, simulate.NewRepository{Owner: org, Name: fmt.Sprint("r", r), Labels: []simulate.Label{{Name: "bug"}}}))
		for range each {
			f.openIn(fmt.Sprint(org, "/r", r), crashTitle, crashBody)
		}
	}
	// What tells of the installation comes late or never.
	batches := make([][]*eventlog.Record, each)
	next := map[int64]int{}
	for _, r := range f.take() {
		if r.Topic == eventlog.TopicIssuesRaw {
			key, err := triage.ParseIssueKey(r.Key)
			f.check(err)
			at := next[key.RepositoryID]
			next[key.RepositoryID]++
			batches[at] = append(batches[at], r)
		}
	}
	var group sync.WaitGroup
	for _, batch := range batches {
		group.Go(func() {
			for _, err := range f.worker.HandleIssues(f.ctx, batch) {
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if got := f.github.Requests()["GET /repos/{owner}/{repo}/labels"]; got != repositories {
		t.Errorf("%d label sets were read, want %d", got, repositories)
	}
	var ids []int64
	for id := range next {
		ids = append(ids, id)
	}
	states, err := f.store.LoadRepositories(f.ctx, ids)
	f.check(err)
	for _, id := range ids {
		if s := states[id]; s.LabelsAt.IsZero() || len(s.Labels) != 1 || s.Repository.InstallationID == 0 {
			t.Errorf("repository %d is stored as %+v", id, s)
		}
	}
}

func TestGitHubIsAwayWhenARepositoryIsFirstHeardOf(t *testing.T) {
	f := newFixture(t)
	f.open(crashTitle, crashBody)
	opened := f.take()
	opened = opened[len(opened)-1:]
	const route = "GET /repos/{owner}/{repo}/labels"
	fault := f.github.InjectFault(simulate.Fault{Route: route, Status: http.StatusServiceUnavailable})
	for range 3 {
		if got := f.handle(opened...); !waits(got[0]) {
			t.Fatalf("while GitHub is away: %v", got[0])
		}
	}
	fault.Remove()
	if len(f.published()) != 0 {
		t.Fatal("published before the labels were known")
	}
	f.ok(f.handle(opened...))
	if got := f.published(); len(got) != 1 {
		t.Errorf("%d results", len(got))
	}
}

func TestALimitWhenARepositoryIsFirstHeardOf(t *testing.T) {
	f := newFixture(t)
	f.open(crashTitle, crashBody)
	opened := f.take()
	f.github.InjectFault(simulate.Fault{Route: "GET /repos/{owner}/{repo}/labels", Status: http.StatusForbidden, RetryAfter: 90 * time.Second})
	if got := f.handle(opened[len(opened)-1]); !waits(got[0]) || !strings.Contains(got[0].Error(), "(retry after 1m30s)") {
		t.Errorf("while GitHub limits: %v", got[0])
	}
}

func TestARepositoryOutOfReachIsClassifiedWithoutLabels(t *testing.T) {
	f := newFixture(t)
	f.open(crashTitle, crashBody)
	opened := f.take()
	f.github.InjectFault(simulate.Fault{Route: "GET /repos/{owner}/{repo}/labels", Status: http.StatusNotFound})
	f.ok(f.handle(opened[len(opened)-1]))
	got := f.published()
	if len(got) != 1 || got[0].Classification.Value(triage.FieldCategory) != "bug" {
		t.Errorf("published %+v", got)
	}
}

func TestALabelEventChangesTheTaxonomyOfTheNextClassification(t *testing.T) {
	f := newFixture(t)
	f.open(crashTitle, crashBody)
	f.pass()
	options := func() (values []string) {
		for _, o := range f.rules.items[len(f.rules.items)-1].Repository.Options[sdk.Component] {
			values = append(values, o.Value)
		}
		return values
	}
	if got := options(); slices.Contains(got, "network") {
		t.Fatalf("the options are %v before the label exists", got)
	}
	f.check(f.github.CreateLabel(f.ctx, repo, admin, simulate.Label{Name: "area/network"}))
	f.check(f.github.DeleteLabel(f.ctx, repo, admin, "area/docs"))
	f.pass()
	f.open(crashTitle+" again", crashBody)
	f.pass()
	if got := options(); !slices.Contains(got, "network") || slices.Contains(got, "docs") {
		t.Errorf("the options are %v after the label events", got)
	}
	if got := f.github.Requests()["GET /repos/{owner}/{repo}/labels"]; got != 1 {
		t.Errorf("the label set was read %d times, want once", got)
	}
}

func TestCorrectionsThatCannotBe(t *testing.T) {
	f := newFixture(t)
	f.pass()
	n := f.open(crashTitle, crashBody)
	opened := f.take()
	if got := f.handle(f.correct("unknown-issue", n, triage.FieldCategory, "bug")); !eventlog.IsPermanent(got[0]) {
		t.Errorf("of an issue that is not known: %v", got[0])
	}
	stranger := f.own(triage.Event{
		ID: "unknown-repository", Kind: triage.KindCorrection, Repository: triage.Repository{ID: 4711}, Number: 1,
		Correction: &triage.CorrectionInput{Field: triage.FieldCategory, Values: []string{"bug"}, Actor: "maria"},
	})
	if got := f.handle(stranger); !eventlog.IsPermanent(got[0]) {
		t.Errorf("of a repository that is not known: %v", got[0])
	}
	f.ok(f.handle(opened...))
	for _, bad := range []*eventlog.Record{
		f.correct("value", n, triage.FieldComponent, "no such component"),
		f.correct("two", n, triage.FieldCategory, "bug", "feature"),
	} {
		if got := f.handle(bad); !eventlog.IsPermanent(got[0]) {
			t.Errorf("%s: %v", bad.Value, got[0])
		}
	}
	if got := f.state(n); len(got.Corrections) != 0 {
		t.Errorf("corrections %+v", got.Corrections)
	}
}

func TestReclassifyingKeepsWhatPeopleSaid(t *testing.T) {
	f := newFixture(t)
	n := f.open(crashTitle, crashBody)
	f.pass()
	f.ok(f.handle(f.correct("c1", n, triage.FieldCategory, "question")))
	f.published()
	f.ok(f.handle(f.own(triage.Event{ID: "again", Kind: triage.KindReclassify, Repository: triage.Repository{ID: f.key(n).RepositoryID}, Number: n})))
	if f.rules.asked() != 2 {
		t.Errorf("the plugin was asked %d times, want twice", f.rules.asked())
	}
	got := f.published()
	if len(got) != 1 || got[0].EventType != triage.Classified || got[0].Classification.Value(triage.FieldCategory) != "question" || got[0].EventID != "again" {
		t.Errorf("published %+v", got)
	}
	if s := f.state(n); s.Classification.Value(triage.FieldCategory) != "bug" || s.Classification.DeliveryID != "again" {
		t.Errorf("the plugin's own word is %+v", s.Classification)
	}
}

func TestDeletedAndTransferredIssues(t *testing.T) {
	f := newFixture(t)
	f.check(f.github.CreateRepository(f.ctx, simulate.NewRepository{Owner: org, Name: "other", Roles: map[string]simulate.Role{admin: simulate.RoleAdmin}}))
	deleted, moved := f.open(crashTitle, crashBody), f.open(crashTitle, crashBody)
	stale := f.take()
	f.ok(f.handle(stale...))
	f.clock.Advance(time.Minute)
	f.check(f.github.EditIssue(f.ctx, repo, deleted, "reporter", new("Another title"), nil))
	edited := f.take()
	f.clock.Advance(time.Minute)
	f.check(f.github.DeleteIssue(f.ctx, repo, deleted, admin))
	number, err := f.github.TransferIssue(f.ctx, repo, moved, admin, org+"/other")
	f.check(err)
	f.pass()
	for _, n := range []int{deleted, moved} {
		if !f.state(n).Deleted {
			t.Errorf("issue %d is not marked as deleted", n)
		}
	}
	id, err := f.github.RepositoryID(org + "/other")
	f.check(err)
	states, err := f.store.LoadIssues(f.ctx, []triage.IssueKey{{RepositoryID: id, Number: number}})
	f.check(err)
	for _, s := range states {
		if s.Classification == nil || len(s.Similar) != 0 {
			t.Errorf("the transferred issue at its new place is %+v", s)
		}
	}
	asked := f.rules.asked()
	f.published()
	f.ok(f.handle(edited...)) // late news of an issue that is gone
	if f.rules.asked() != asked || len(f.published()) != 0 || !f.state(deleted).Deleted {
		t.Error("late news brought a deleted issue back")
	}
}

func TestSeveralPlugins(t *testing.T) {
	never := &plugin.ItemError{Plugin: "picky", Message: "I do not read that", Permanent: true}
	var picky *watched
	f := newFixture(t, func(c *classify.Config) {
		process, err := rulesProcess()
		if err != nil {
			t.Fatal(err)
		}
		picky = &watched{Plugin: process, refuse: func(triage.Issue) error { return never }}
		c.Classifiers = append([]classify.Classifier{picky}, c.Classifiers...)
	})
	f.pass()
	f.open(crashTitle, crashBody)
	f.pass()
	if got := f.published(); len(got) != 1 || got[0].Classification.Value(triage.FieldCategory) != "bug" {
		t.Errorf("with one plugin that refuses and one that answers: %+v", got)
	}
	f.rules.refuse = picky.refuse
	f.open(crashTitle, crashBody)
	if got := f.handle(f.take()...); !eventlog.IsPermanent(got[0]) {
		t.Errorf("when all refuse: %v", got[0])
	}
	f.rules.refuse = func(triage.Issue) error {
		return &plugin.UnavailableError{Plugin: "rules", RetryAfter: 3 * time.Second}
	}
	f.open(crashTitle, crashBody)
	if got := f.handle(f.take()...); !waits(got[0]) {
		t.Errorf("when one is away: %v", got[0])
	}
}

func TestATextThatCannotBeEmbedded(t *testing.T) {
	f := newFixture(t)
	f.pass()
	f.rules.failEmbed = func([]sdk.Text) error {
		return &plugin.CallError{Plugin: "rules", Method: "Embed", How: plugin.Crashed, Err: errors.New("gone")}
	}
	f.open(crashTitle, crashBody)
	opened := f.take()
	if got := f.handle(opened...); got[0] == nil || waits(got[0]) || eventlog.IsPermanent(got[0]) {
		t.Errorf("the first attempt: %v", got[0])
	}
	opened[0].Attempt = 3
	f.ok(f.handle(opened...))
	if got := f.published(); len(got) != 1 || len(got[0].SimilarIssues) != 0 {
		t.Errorf("published %+v", got)
	}
}

// TestStartingPlugin: an issue waits for the plugin that may embed it, so that none is
// without an embedding because it came while the plugin started.
func TestStartingPlugin(t *testing.T) {
	f := newFixture(t)
	f.pass()
	f.rules.starting = true
	f.rules.failEmbed = func([]sdk.Text) error { return &plugin.UnavailableError{Plugin: "rules", RetryAfter: time.Second} }
	f.open(crashTitle, crashBody)
	opened := f.take()
	if got := f.handle(opened...); !waits(got[0]) {
		t.Errorf("while the plugin starts: %v", got[0])
	}
	f.renew()
	f.rules.starting, f.rules.failEmbed = false, nil
	f.ok(f.handle(opened...))
	f.wantSpaces("once it had started,", words0(1))
}

func TestExpress(t *testing.T) {
	f := newFixture(t)
	f.open(crashTitle, crashBody)
	for _, r := range f.take() {
		if classify.Express(r) {
			t.Errorf("a %s event is express", r.Header(eventlog.HeaderEvent))
		}
	}
	if !classify.Express(f.correct("c", 1, triage.FieldCategory, "bug")) {
		t.Error("a correction waits behind model calls")
	}
	if classify.Express(f.own(triage.Event{ID: "r", Kind: triage.KindReclassify, Repository: triage.Repository{ID: 1}, Number: 1})) {
		t.Error("a model call is express")
	}
}
