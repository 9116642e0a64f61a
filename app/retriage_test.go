package app_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/app/simulate"
)

// requests are the comments by which the app asks an issue's author.
func (s *system) requests(number int) []simulate.CommentSnapshot {
	s.t.Helper()
	comments, err := s.github.Comments(testRepo, number)
	if err != nil {
		s.t.Fatal(err)
	}
	return slices.DeleteFunc(comments, func(c simulate.CommentSnapshot) bool { return c.Author != s.github.BotLogin() })
}

// waitRequest waits until the issue's one request says so.
func (s *system) waitRequest(number int, says string) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("the one comment of the app on issue %d says %q", number, says), func() bool {
		asked := s.requests(number)
		if len(asked) > 1 {
			s.t.Fatalf("issue %d has %d comments of the app", number, len(asked))
		}
		return len(asked) == 1 && strings.Contains(asked[0].Body, says)
	})
}

// waitReaction waits until the app has reacted to a comment so, and not otherwise.
func (s *system) waitReaction(comment int64, content string) {
	s.t.Helper()
	eventually(s.t, "the command is acknowledged with "+content, func() bool {
		reactions, err := s.github.Reactions(testRepo, comment)
		if err != nil {
			s.t.Fatal(err)
		}
		return len(reactions) == 1 && reactions[0].Content == content && reactions[0].Author == s.github.BotLogin()
	})
}

// TestCommands: what people with the triage permission say in a comment is done
// and acknowledged; of others nothing is.
func TestCommands(t *testing.T) {
	t.Parallel()
	s := newSystem(t, simulate.Options{Seed: 72, RateLimits: simulate.RateLimits{Off: true}})
	s.installTestRepository()
	s.start()
	t.Cleanup(s.dump)
	ctx := testContext(t)
	if err := s.github.SetRole(testRepo, "tom", simulate.RoleTriage); err != nil {
		t.Fatal(err)
	}
	number, err := s.github.OpenIssue(ctx, testRepo, bugReport(1))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(number, "kind/bug")
	say := func(login, body string) int64 {
		t.Helper()
		id, err := s.github.Comment(ctx, testRepo, number, login, body)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	without := func(label string) {
		t.Helper()
		if issue, err := s.github.WaitFor(ctx, testRepo, number, func(i simulate.Issue) bool { return !hasLabel(i, label) }); err != nil {
			t.Fatalf("the issue keeps %s: %v, %v", label, issue.Labels, err)
		}
	}

	refused := say(bugReport(1).Author, "/dispatch category question\n/dispatch undo")
	s.waitReaction(say("tom", "I'd say:\n\n/dispatch category feature\n/dispatch priority high"), "+1")
	s.waitLabel(number, "kind/feature")
	s.waitLabel(number, "priority/high")
	without("kind/bug")
	issue, _ := s.issue(number)
	if len(issue.Corrections) != 2 || issue.Corrections[0].Actor != "tom" || issue.Corrections[0].Source != "github" || issue.value("category") != "feature" {
		t.Errorf("the corrections are %+v", issue.Corrections)
	}
	s.waitReaction(say("maia", "/dispatch category kernel-panic"), "confused")
	s.waitReaction(say("maia", "/dispatch dance"), "confused")
	s.waitReaction(say("maia", "/dispatch priority none"), "+1")
	without("priority/high")

	s.waitReaction(say("maia", "/dispatch undo"), "+1")
	without("area/parser")
	s.waitReaction(say("maia", "/dispatch classify"), "+1")
	s.waitLabel(number, "area/parser")

	// A person took it off, and another asks for it afterwards.
	eventually(t, "the app's label is confirmed", func() bool {
		i, ok := s.issue(number)
		return ok && slices.ContainsFunc(i.Ledger, func(l apiLedgerEntry) bool { return l.Name == "area/parser" && l.State == "confirmed" })
	})
	if err := s.github.RemoveLabel(ctx, testRepo, number, "tom", "area/parser"); err != nil {
		t.Fatal(err)
	}
	s.waitReaction(say("tom", "/dispatch classify"), "+1")
	without("area/parser")
	if i, err := s.github.Issue(testRepo, number); err != nil || hasLabel(i, "area/parser") {
		t.Errorf("the veto does not hold: %v, %v", i.Labels, err)
	}
	// GitHub's times are whole seconds: within one nobody can tell which came first.
	removed := time.Now()
	eventually(t, "another second has begun", func() bool { return time.Since(removed) > 2*time.Second })
	s.waitReaction(say("maia", "/dispatch component parser"), "+1")
	s.waitLabel(number, "area/parser")

	s.waitReaction(say("maia", "/dispatch ignore"), "+1")
	if status := s.call("POST", fmt.Sprintf("/api/issues/%d/correct", issue.ID), map[string]any{"field": "category", "values": []string{"question"}, "actor": "maia"}, nil); status != http.StatusOK {
		t.Fatalf("correct: %d", status)
	}
	eventually(t, "nothing waits", func() bool { return s.metric("dispatchai_label_pending") == 0 })
	if i, err := s.github.Issue(testRepo, number); err != nil || !hasLabel(i, "kind/feature") || hasLabel(i, "kind/question") {
		t.Errorf("an issue that is to be left alone has %v, %v", i.Labels, err)
	}
	s.waitReaction(say("maia", "/dispatch resume"), "+1")
	s.waitLabel(number, "kind/question")
	without("kind/feature")

	if reactions, err := s.github.Reactions(testRepo, refused); err != nil || len(reactions) != 0 {
		t.Errorf("a stranger's command was answered: %+v, %v", reactions, err)
	}
	if n := s.metric(`dispatchai_classify_commands_total{outcome="refused"}`); n != 1 {
		t.Errorf("%v commands were refused, want 1", n)
	}
	if asked := s.requests(number); len(asked) != 0 {
		t.Errorf("the app comments %+v", asked)
	}
}

// TestNeedsInfo: an author is asked once, in one comment that follows what they
// answer; nobody is asked by default, on closed issues, or about old ones.
func TestNeedsInfo(t *testing.T) {
	t.Parallel()
	// One sender keeps the order of an issue that is closed, edited and reopened within a second, which GitHub's times cannot tell.
	s := newSystem(t, simulate.Options{Seed: 73, Senders: 1, RateLimits: simulate.RateLimits{Off: true}})
	s.installTestRepository()
	ctx := testContext(t)
	if err := s.github.CreateLabel(ctx, testRepo, "maia", simulate.Label{Name: "needs-info", Color: "ffffff"}); err != nil {
		t.Fatal(err)
	}
	s.env = []string{"DISPATCHAI_NEEDS_INFO=Operating system,Widget size"}
	s.start()
	t.Cleanup(s.dump)

	report := bugReport(1)
	number, err := s.github.OpenIssue(ctx, testRepo, report)
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(number, "needs-info")
	s.waitRequest(number, "- Operating system\n- Widget size")
	if asked := s.requests(number)[0].Body; !strings.Contains(asked, "<!-- dispatchai:needs-info -->") {
		t.Errorf("it has no marker: %s", asked)
	}
	if _, err := s.github.Comment(ctx, testRepo, number, "maia", "Operating system: does not matter, says a maintainer"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.github.Comment(ctx, testRepo, number, report.Author, "- **Widget size:** large"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the comment asks for the rest only", func() bool {
		asked := s.requests(number)
		return len(asked) == 1 && strings.Contains(asked[0].Body, "- Operating system") && !strings.Contains(asked[0].Body, "- Widget size")
	})
	body := report.Body + "\n\n### Operating system\n\nPlan 9\n"
	if err := s.github.EditIssue(ctx, testRepo, number, report.Author, nil, &body); err != nil {
		t.Fatal(err)
	}
	s.waitRequest(number, "Thank you, that is all we asked for.")
	if _, err := s.github.WaitFor(ctx, testRepo, number, func(i simulate.Issue) bool { return !hasLabel(i, "needs-info") }); err != nil {
		t.Fatal(err)
	}

	feature, err := s.github.OpenIssue(ctx, testRepo, featureRequest(1))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(feature, "kind/feature")
	complete := bugReport(2)
	complete.Body += "\n\n### Operating system\n\nPlan 9\n\n### Widget size\n\n7\n"
	answered, err := s.github.OpenIssue(ctx, testRepo, complete)
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(answered, "kind/bug")
	// Asking again, in whatever way the issue comes up again, makes no second comment.
	if err := s.github.CloseIssue(ctx, testRepo, number, "maia", ""); err != nil {
		t.Fatal(err)
	}
	if err := s.github.EditIssue(ctx, testRepo, number, report.Author, nil, &report.Body); err != nil {
		t.Fatal(err)
	}
	if err := s.github.ReopenIssue(ctx, testRepo, number, "maia"); err != nil {
		t.Fatal(err)
	}
	s.waitRequest(number, "- Operating system")
	eventually(t, "nothing waits", func() bool { return s.metric("dispatchai_label_pending") == 0 })
	for _, n := range []int{feature, answered} {
		if asked := s.requests(n); len(asked) != 0 {
			t.Errorf("issue %d is asked %+v", n, asked)
		}
	}
}

// TestTransferredIssue: an issue is triaged at its new place.
func TestTransferredIssue(t *testing.T) {
	t.Parallel()
	s := newSystem(t, simulate.Options{Seed: 74, RateLimits: simulate.RateLimits{Off: true}})
	s.installTestRepository()
	s.start()
	t.Cleanup(s.dump)
	ctx := testContext(t)
	const there = testOwner + "/gadgets"
	if err := s.github.CreateRepository(ctx, simulate.NewRepository{Owner: testOwner, Name: "gadgets", Labels: []simulate.Label{{Name: "bug"}}, Roles: map[string]simulate.Role{"maia": simulate.RoleMaintain}}); err != nil {
		t.Fatal(err)
	}
	number, err := s.github.OpenIssue(ctx, testRepo, bugReport(1))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(number, "kind/bug")
	moved, err := s.github.TransferIssue(ctx, testRepo, number, "maia", there)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.github.WaitFor(ctx, there, moved, func(i simulate.Issue) bool { return hasLabel(i, "bug") }); err != nil {
		t.Fatalf("the issue is not labelled at its new place: %v", err)
	}
	eventually(t, "the old one is no longer shown", func() bool { _, ok := s.issue(number); return !ok })
}
