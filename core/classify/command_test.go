package classify_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/app/simulate"
	"github.com/dispatchai/dispatchai/core/classify"
	"github.com/dispatchai/dispatchai/core/triage"
)

const permissionRoute = "GET /repos/{owner}/{repo}/collaborators/{login}/permission"

// say comments on an issue and passes what GitHub sends of it.
func (f *fixture) say(login string, number int, body string) int64 {
	f.Helper()
	f.clock.Advance(time.Minute)
	id, err := f.github.Comment(f.ctx, repo, number, login, body)
	f.check(err)
	f.pass()
	return id
}

func TestCommandsOfPeopleWhoMayTriage(t *testing.T) {
	f := newFixture(t)
	n := f.open(crashTitle, crashBody)
	f.pass()
	f.published()
	id := f.say("tom", n, "/dispatch category Question\n/dispatch component area/lexer\n/dispatch category feature")
	got := f.published()
	if len(got) != 1 || got[0].EventType != triage.Corrected || len(got[0].Corrections) != 2 ||
		!slices.Equal(got[0].Reactions, []triage.Reaction{{CommentID: id, Content: "+1"}}) {
		t.Fatalf("published %+v", got)
	}
	s := f.state(n)
	if c := s.Corrections[1]; s.Effective().Value(triage.FieldCategory) != "feature" || c.Actor != "tom" || c.Source != triage.FromGitHub || c.EventID != got[0].EventID {
		t.Errorf("the corrections are %+v", s.Corrections)
	}
	if f.rules.asked() != 1 {
		t.Errorf("the plugin was asked %d times", f.rules.asked())
	}
	f.say("tom", n, "/dispatch classify")
	if got := f.published(); len(got) != 1 || got[0].EventType != triage.Classified || len(got[0].Reactions) != 1 || f.rules.asked() != 2 {
		t.Errorf("published %+v", got)
	}
	f.say("tom", n, "/dispatch undo")
	if got := f.state(n).Effective(); got.Value(triage.FieldCategory) != "feature" || len(f.state(n).Directives.Withdrawals) == 0 {
		t.Errorf("after an undo %+v holds", got.Fields)
	}
	f.say("tom", n, "/dispatch severity enormous\n/dispatch category none")
	got = f.published()
	if last := got[len(got)-1]; last.Reactions[0].Content != "confused" || last.Classification.Value(triage.FieldCategory) != "" {
		t.Errorf("half understood: %+v", last)
	}
	if got := f.counter("dispatchai_classify_commands_total", "unclear"); got != 1 {
		t.Errorf("%v unclear commands", got)
	}
}

func TestWhoseCommandsAreNotHeeded(t *testing.T) {
	f := newFixture(t)
	n := f.open(crashTitle, crashBody)
	f.pass()
	f.published()
	f.check(f.github.SetRole(repo, "rita", simulate.RoleRead))
	for _, login := range []string{"reporter", "stranger", "rita", "other[bot]"} {
		f.say(login, n, "/dispatch category question\n/dispatch ignore")
	}
	if got := f.published(); len(got) != 0 || len(f.state(n).Corrections) != 0 || !f.state(n).Directives.IsZero() {
		t.Errorf("published %+v", got)
	}
	if got := f.counter("dispatchai_classify_commands_total", "refused"); got != 3 {
		t.Errorf("%v commands were refused, want 3", got)
	}

	// An edited comment, one that an App wrote in a person's name, and one that
	// the sender did not write are no commands; nor is what says nothing to the app.
	id := f.say("tom", n, "Hello.")
	asked := f.github.Requests()[permissionRoute]
	repository, comment := f.key(n).RepositoryID, `"comment":{"id":%d,"body":"/dispatch ignore","user":{"login":"%s","type":"User"}%s}`
	for i, c := range []struct{ action, comment string }{
		{"edited", fmt.Sprintf(comment, id, "tom", "")},
		{"created", fmt.Sprintf(comment, id, "tom", `,"performed_via_github_app":{"slug":"x"}`)},
		{"created", fmt.Sprintf(comment, id, "maria", "")},
	} {
		issue, err := json.Marshal(map[string]any{"id": f.state(n).Issue.ID, "number": n, "title": crashTitle, "body": crashBody, "state": "open", "updated_at": time.Now()})
		f.check(err)
		r, err := f.record("issue_comment", fmt.Sprint("made-", i), fmt.Appendf(nil, `{"action":%q,"issue":%s,%s,"repository":{"id":%d,"full_name":%q},"sender":{"login":"tom","type":"User"}}`,
			c.action, issue, c.comment, repository, repo))
		f.check(err)
		f.ok(f.handle(r))
	}
	if f.state(n).Directives.Ignored || f.github.Requests()[permissionRoute] != asked {
		t.Error("what is no command was heeded, or asked about")
	}
}

// TestPermissionsAreAskedOncePerMinute: and a person who lost theirs is refused after it.
func TestPermissionsAreAskedOncePerMinute(t *testing.T) {
	now := time.Now()
	f := newFixture(t, func(c *classify.Config) { c.Now = func() time.Time { return now } })
	n := f.open(crashTitle, crashBody)
	f.pass()
	for range 5 {
		f.say("tom", n, "/dispatch ignore")
	}
	if got := f.github.Requests()[permissionRoute]; got != 1 {
		t.Errorf("GitHub was asked %d times", got)
	}
	f.check(f.github.SetRole(repo, "tom", simulate.RoleRead))
	now = now.Add(time.Minute)
	f.say("tom", n, "/dispatch resume")
	if !f.state(n).Directives.Ignored {
		t.Error("a person without the permission was heeded a minute later")
	}

	// While GitHub cannot say, the command waits.
	now = now.Add(time.Minute)
	f.github.InjectFault(simulate.Fault{Method: http.MethodGet, Route: permissionRoute, Status: http.StatusBadGateway, Times: 1})
	_, err := f.github.Comment(f.ctx, repo, n, admin, "/dispatch resume")
	f.check(err)
	records := f.take()
	if outcomes := f.handle(records...); len(outcomes) != 1 || !waits(outcomes[0]) {
		t.Errorf("the outcomes are %v", outcomes)
	}
	f.ok(f.handle(records...))
	if f.state(n).Directives.Ignored {
		t.Error("the command was lost")
	}
}

// TestALostAcknowledgementIsMadeUpFor: a crash between storing and publishing
// costs neither the command nor its reaction, and a replay does nothing twice.
func TestALostAcknowledgementIsMadeUpFor(t *testing.T) {
	f := newFixture(t)
	n := f.open(crashTitle, crashBody)
	f.pass()
	f.published()
	_, err := f.github.Comment(f.ctx, repo, n, "tom", "/dispatch category question\n/dispatch dance")
	f.check(err)
	records := f.take()
	f.log.fail = []error{context.DeadlineExceeded}
	if outcomes := f.handle(records...); !waits(outcomes[0]) {
		t.Fatalf("the outcomes are %v", outcomes)
	}
	f.ok(f.handle(records...))
	f.ok(f.handle(records...))
	for i, r := range f.published() {
		if len(r.Reactions) != 1 || r.Reactions[0].Content != "confused" || r.EventType != triage.Corrected {
			t.Errorf("result %d is %+v", i, r)
		}
	}
	if s := f.state(n); len(s.Corrections) != 1 || s.Revision != 2 {
		t.Errorf("revision %d with %+v", s.Revision, s.Corrections)
	}
}

func TestAnIgnoredIssueIsNotClassified(t *testing.T) {
	f := newFixture(t)
	n := f.open(crashTitle, crashBody)
	f.pass()
	f.say("tom", n, "/dispatch ignore")
	body := "It is all different."
	f.clock.Advance(time.Minute)
	f.check(f.github.EditIssue(f.ctx, repo, n, "reporter", nil, &body))
	f.pass()
	if f.rules.asked() != 1 {
		t.Errorf("the plugin was asked %d times", f.rules.asked())
	}
	results := f.published()
	if last := results[len(results)-1]; !last.Ignored || last.EventType != triage.Updated {
		t.Errorf("published %+v", last)
	}
	f.say("tom", n, "/dispatch resume")
	if results := f.published(); f.rules.asked() != 2 || len(results) != 1 || results[0].Ignored || results[0].EventType != triage.Classified {
		t.Errorf("after resuming the plugin was asked %d times, published %+v", f.rules.asked(), results)
	}
	// A closed issue that was never classified is, when somebody speaks of it.
	silent := f.open(crashTitle, crashBody)
	f.check(f.github.CloseIssue(f.ctx, repo, silent, admin, ""))
	f.take() // lost
	f.say("tom", silent, "/dispatch category question")
	if results := f.published(); len(results) != 1 || results[0].Classification.Value(triage.FieldCategory) != "question" || len(results[0].Reactions) != 1 {
		t.Errorf("published %+v", results)
	}
}

func TestRetriageCanBeSwitchedOff(t *testing.T) {
	var policy triage.RetriagePolicy
	f := newFixture(t, func(c *classify.Config) { c.Policy = func(int64) triage.RetriagePolicy { return policy } })
	n := f.open(crashTitle, crashBody)
	f.pass()
	step := func(what string, want int) {
		t.Helper()
		f.clock.Advance(time.Minute)
		f.pass()
		if got := f.rules.asked(); got != want {
			t.Errorf("%s: the plugin was asked %d times, want %d", what, got, want)
		}
	}
	body := "Another text."
	f.check(f.github.EditIssue(f.ctx, repo, n, "reporter", nil, &body))
	f.check(f.github.CloseIssue(f.ctx, repo, n, admin, ""))
	step("edited and closed", 1)
	f.check(f.github.ReopenIssue(f.ctx, repo, n, admin))
	step("opened again", 1)
	f.say("tom", n, "/dispatch classify")
	step("told to", 1)
	policy = triage.DefaultRetriagePolicy()
	f.say("tom", n, "/dispatch classify")
	step("switched on", 2)
}

// asking has the authors of bugs and questions asked for the version.
func asking(c *classify.Config) {
	policy := triage.DefaultRetriagePolicy()
	policy.NeedsInfo = triage.NeedsInfoConfig{Ask: true, Answers: []string{"Version"}, Categories: []string{"bug", "question"}, Comment: "Please add:"}
	policy.NeedsInfoLabel = "needs-info"
	c.Policy = func(int64) triage.RetriagePolicy { return policy }
}

// TestALostResultIsPublishedAgainWhole: what an event's result asks of the author
// is in it whether it is published at once or, after a crash, when the event is
// handled again.
func TestALostResultIsPublishedAgainWhole(t *testing.T) {
	f := newFixture(t, asking)
	f.open(crashTitle, crashBody)
	opened := f.take()
	for round := range 2 {
		f.ok(f.handle(opened...))
		results := f.published()
		if len(results) != 1 || results[0].Request == nil || !results[0].Request.Open {
			t.Errorf("round %d: published %+v", round, results)
		}
	}
}

func TestTheAuthorsAnswerIsRead(t *testing.T) {
	f := newFixture(t, asking)
	n := f.open(crashTitle, crashBody)
	f.pass()
	last := func() *triage.InfoRequest {
		t.Helper()
		results := f.published()
		if len(results) == 0 {
			t.Fatal("nothing was published")
		}
		return results[len(results)-1].Request
	}
	if r := last(); r == nil || !r.Open || !r.Create || r.Label != "needs-info" || !strings.Contains(r.Text, "- Version") {
		t.Fatalf("asks %+v", r)
	}
	f.say("stranger", n, "Version: 9.9")
	if got := f.published(); len(got) != 0 || f.state(n).Directives.Replies != "" {
		t.Errorf("a stranger's answer counts: %+v", got)
	}
	f.say("reporter", n, "I think it is the newest. "+strings.Repeat("long ", 5000))
	if r := last(); r == nil || !r.Open || f.rules.asked() != 2 {
		t.Errorf("asks %+v", r)
	}
	f.say("reporter", n, "Version: 1.2")
	if r := last(); r == nil || r.Open || f.rules.asked() != 3 {
		t.Errorf("asks %+v", r)
	}
	items := f.rules.items
	if body := items[len(items)-1].Issue.Body; !strings.Contains(body, "Version: 1.2") || !strings.HasPrefix(body, crashBody) {
		t.Errorf("the plugin was given %.200q", body)
	}
	if got := f.state(n); len(got.Directives.Replies) > triage.MaxReplies || got.Issue.Body != crashBody {
		t.Errorf("%d bytes of replies are kept, the body is %.100q", len(got.Directives.Replies), got.Issue.Body)
	}
	f.say("reporter", n, "Thanks!")
	if got := f.published(); len(got) != 0 || f.rules.asked() != 3 {
		t.Errorf("a comment after all was there: %+v", got)
	}
}
