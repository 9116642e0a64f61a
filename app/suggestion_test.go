package app_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dispatchai/dispatchai/app/simulate"
)

// waitSuggestion waits until the issue has exactly one suggestion on GitHub, in
// that state.
func (s *system) waitSuggestion(number int, state string) (found simulate.Suggestion) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("issue %d has one suggestion, %s", number, state), func() bool {
		all, err := s.github.Suggestions(testRepo, number)
		if err != nil {
			s.t.Fatal(err)
		}
		if len(all) > 1 {
			s.t.Fatalf("issue %d has the suggestions %+v", number, all)
		}
		if len(all) == 1 {
			found = all[0]
		}
		return len(all) == 1 && found.State == state
	})
	return found
}

func (s *system) dismissSuggestion(number int) {
	s.t.Helper()
	all, err := s.github.Suggestions(testRepo, number)
	if err != nil || len(all) != 1 {
		s.t.Fatalf("suggestions %+v, %v", all, err)
	}
	if err := s.github.DismissSuggestion(testContext(s.t), testRepo, number, "maia", all[0].ID); err != nil {
		s.t.Fatal(err)
	}
}

// onlyCategory has the category suggested and everything else left alone.
const onlyCategory = "mode: shadow\nmodes: {category: suggest}\n"

// TestSuggestionsOnGitHub: in suggest mode nothing is written; what a person says
// of a suggestion on GitHub comes back as a correction, and is final.
func TestSuggestionsOnGitHub(t *testing.T) {
	t.Parallel()
	s := configurable(t, simulate.Options{Seed: 71, Suggestions: true})
	s.env = append(s.env, "DISPATCHAI_POLL=1s")
	s.configFile(onlyCategory)
	s.start()
	ctx := testContext(t)

	approved, err := s.github.OpenIssue(ctx, testRepo, bugReport(1))
	if err != nil {
		t.Fatal(err)
	}
	made := s.waitSuggestion(approved, "pending")
	if made.Label != "kind/bug" || made.Actor != s.github.BotLogin() || made.Rationale == "" || made.Confidence == "" {
		t.Errorf("the suggestion is %+v", made)
	}
	eventually(t, "the dashboard shows the suggestion", func() bool {
		issue, ok := s.issue(approved)
		return ok && len(issue.Suggestions) == 1 && issue.Suggestions[0].State == "pending" && issue.Suggestions[0].Value == "bug" && issue.Suggestions[0].Reason != ""
	})
	if is, _ := s.github.Issue(testRepo, approved); len(is.Labels) != 0 {
		t.Fatalf("a suggestion became the labels %v", is.Labels)
	}
	if err := s.github.ApproveSuggestion(ctx, testRepo, approved, "maia", made.ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the approval is a correction", func() bool {
		issue, ok := s.issue(approved)
		return ok && len(issue.Corrections) == 1 && issue.Corrections[0].Actor == "maia" && slices.Equal(issue.Corrections[0].New, []string{"bug"}) && len(issue.Suggestions) == 0
	})

	dismissed, err := s.github.OpenIssue(ctx, testRepo, bugReport(2))
	if err != nil {
		t.Fatal(err)
	}
	s.waitSuggestion(dismissed, "pending")
	s.dismissSuggestion(dismissed)
	eventually(t, "the dismissal is a correction and a veto", func() bool {
		issue, ok := s.issue(dismissed)
		return ok && len(issue.Corrections) == 1 && len(issue.Corrections[0].New) == 0 && len(issue.Suggestions) == 0 &&
			slices.ContainsFunc(issue.Ledger, func(l apiLedgerEntry) bool { return l.Name == "kind/bug" && l.State == "vetoed" })
	})
	issue, _ := s.issue(dismissed)
	if status := s.call("POST", fmt.Sprintf("/api/issues/%d/classify", issue.ID), nil, nil); status != http.StatusOK {
		t.Fatalf("classify again: %d", status)
	}
	s.settled()
	s.waitSuggestion(dismissed, "dismissed")

	// An answer on the dashboard settles what is pending on GitHub.
	third, err := s.github.OpenIssue(ctx, testRepo, bugReport(3))
	if err != nil {
		t.Fatal(err)
	}
	s.waitSuggestion(third, "pending")
	issue, _ = s.issue(third)
	s.call("POST", fmt.Sprintf("/api/issues/%d/correct", issue.ID), map[string]any{"field": "category", "values": []string{"feature"}, "actor": "maia"}, nil)
	s.waitLabel(third, "kind/feature")
	eventually(t, "the suggestion is taken back", func() bool {
		all, err := s.github.Suggestions(testRepo, third)
		return err == nil && len(all) == 1 && all[0].State == "dismissed" && all[0].ResolvedBy == s.github.BotLogin()
	})
	if issue, _ = s.issue(third); len(issue.Corrections) != 1 {
		t.Errorf("taking a suggestion back counts as %+v", issue.Corrections)
	}
	if is, _ := s.github.Issue(testRepo, approved); !slices.Equal(is.Labels, []string{"kind/bug"}) {
		t.Errorf("the approved issue has %v", is.Labels)
	}
	if writes, _ := s.github.BotLabelWrites(testRepo, approved); len(writes) != 0 {
		t.Errorf("the app wrote %v on an issue whose suggestion a person approved", writes)
	}
	s.stop()
}

// TestSuggestionsOnTheDashboard: a server that knows no suggestions is never
// asked to make one, because it would put the label on the issue.
func TestSuggestionsOnTheDashboard(t *testing.T) {
	t.Parallel()
	var suggested atomic.Int64
	s := configurable(t, simulate.Options{Seed: 72, OnRequest: func(e simulate.Exchange) {
		if e.Method == http.MethodPost && strings.Contains(string(e.Body), "suggest") {
			suggested.Add(1)
		}
	}})
	s.configFile(onlyCategory)
	s.start()
	shown := func(number, n int) (issue apiIssue) {
		t.Helper()
		eventually(t, fmt.Sprintf("issue %d shows %d suggestions", number, n), func() bool {
			var ok bool
			issue, ok = s.issue(number)
			return ok && issue.Classification != nil && len(issue.Suggestions) == n
		})
		return issue
	}
	answer := func(issue apiIssue, values ...string) {
		t.Helper()
		if values == nil {
			values = []string{}
		}
		if status := s.call("POST", fmt.Sprintf("/api/issues/%d/correct", issue.ID), map[string]any{"field": "category", "values": values, "actor": "maia"}, nil); status != http.StatusOK {
			t.Fatalf("the answer to a suggestion was answered with %d", status)
		}
	}
	approved, labels := s.openAndSettle(bugReport(1))
	if len(labels) != 0 {
		t.Fatalf("the issue got %v", labels)
	}
	if issue := shown(approved, 1); issue.Suggestions[0].State != "shown" || issue.Suggestions[0].Name != "kind/bug" {
		t.Errorf("the suggestion is %+v", issue.Suggestions[0])
	} else {
		answer(issue, "bug")
	}
	s.waitLabel(approved, "kind/bug")
	shown(approved, 0)
	dismissed, _ := s.openAndSettle(bugReport(2))
	answer(shown(dismissed, 1))
	shown(dismissed, 0)
	s.settled()
	if is, _ := s.github.Issue(testRepo, dismissed); len(is.Labels) != 0 {
		t.Errorf("the dismissed label was written: %v", is.Labels)
	}
	if n := suggested.Load(); n != 0 {
		t.Errorf("%d suggestions were sent to a server that does not know them", n)
	}
}
