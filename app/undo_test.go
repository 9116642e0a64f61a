package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/dispatchai/dispatchai/app/simulate"
)

// undoReport is what "undo --json" prints.
type undoReport struct {
	DryRun                 bool `json:"dry_run"`
	Issues, Labels, Spared int
	Repositories           []struct {
		Repository    string
		Remove, Spare []struct {
			Label, Reason string
			Count         int
			Examples      []int
		}
	}
}

func (s *system) undo(args ...string) undoReport {
	s.t.Helper()
	out, err := s.run(append([]string{"undo", "--plugin", "rules", "--json"}, args...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	var r undoReport
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		s.t.Fatalf("undo --json: %v in %s", err, out)
	}
	return r
}

func (r undoReport) spared(label, reason string) int {
	for _, one := range r.Repositories {
		for _, l := range one.Spare {
			if l.Label == label && l.Reason == reason {
				return l.Count
			}
		}
	}
	return 0
}

// TestUndo: what a plugin put on 300 issues comes off, except where people had
// a hand in it; it stays off when the plugin says the same again, and comes
// back when a person asks for the issue to be classified anew.
func TestUndo(t *testing.T) {
	t.Parallel()
	const issues, vetoed, replaced, confirmed = 300, 40, 40, 20
	s := newSystem(t, simulate.Options{Seed: 71, Senders: 8, RateLimits: simulate.RateLimits{Off: true}})
	s.installTestRepository()
	s.start()
	t.Cleanup(s.dump)
	ctx := testContext(t)
	var numbers []int
	for n := range issues {
		number, err := s.github.OpenIssue(ctx, testRepo, bugReport(n))
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, number)
	}
	for _, n := range numbers {
		s.waitLabel(n, "kind/bug")
	}
	for _, n := range numbers[:vetoed+replaced] {
		if err := s.github.RemoveLabel(ctx, testRepo, n, "maia", "kind/bug"); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range numbers[vetoed : vetoed+replaced] {
		if err := s.github.AddLabel(ctx, testRepo, n, "maia", "kind/bug"); err != nil {
			t.Fatal(err)
		}
	}
	ids := map[int]int64{}
	var list struct {
		Issues []apiIssue
		Next   string `json:"next_cursor"`
	}
	for _, page := range []string{"", "more"} {
		path := "/api/issues?limit=200"
		if page != "" {
			path += "&cursor=" + list.Next
		}
		list.Issues = nil
		if status := s.call("GET", path, nil, &list); status != http.StatusOK {
			t.Fatalf("list the issues: %d", status)
		}
		for _, i := range list.Issues {
			ids[i.Number] = i.ID
		}
	}
	for _, n := range numbers[vetoed+replaced : vetoed+replaced+confirmed] {
		if status := s.call("POST", fmt.Sprintf("/api/issues/%d/correct", ids[n]), map[string]any{"field": "category", "values": []string{"bug"}, "actor": "maia"}, nil); status != http.StatusOK {
			t.Fatalf("confirm issue %d: %d", n, status)
		}
	}
	if err := s.github.WaitIdle(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the store has heard of everything", func() bool {
		return s.metric(`dispatchai_classify_events_total{kind="label_change",outcome="done"}`) >= float64(issues+2*replaced+vetoed) &&
			s.metric("dispatchai_label_pending") == 0
	})

	plan := s.undo("--since", "1h", "--dry-run")
	toUndo := numbers[vetoed+replaced+confirmed:]
	if !plan.DryRun || plan.Issues != issues || plan.Labels != issues+len(toUndo) || // the components' labels, and those that nobody touched
		plan.spared("kind/bug", "vetoed") != vetoed ||
		plan.spared("kind/bug", "corrected")+plan.spared("kind/bug", "others") != replaced+confirmed {
		t.Errorf("the dry run says %+v", plan)
	}
	if plan := s.undo("--since", "1h", "--dry-run", "--repo", "acme/Widgets"); plan.Issues != issues {
		t.Errorf("in the only repository the dry run finds %d issues", plan.Issues)
	}
	if _, err := s.run("undo", "--plugin", "rules", "--since", "1h", "--repo", "acme/gadgets"); err == nil || !strings.Contains(err.Error(), "acme/gadgets") {
		t.Errorf("a repository that is not there: %v", err)
	}
	if plan := s.undo("--plugin", "rules@0.0.1", "--since", "1h", "--dry-run"); plan.Issues+plan.Spared != 0 {
		t.Errorf("of a version that was never used it finds %+v", plan)
	}
	if n := s.metric(`dispatchai_classify_events_total{kind="undo",outcome="done"}`); n > 0 {
		t.Fatalf("a dry run undid %v issues", n)
	}

	if done := s.undo("--since", "1h"); done.Labels != issues+len(toUndo) || done.DryRun {
		t.Errorf("the undo says %+v", done)
	}
	s.undo("--since", "1h") // interrupted and run again, or just doubted
	bare := func(n int) {
		t.Helper()
		if _, err := s.github.WaitFor(ctx, testRepo, n, func(i simulate.Issue) bool { return !hasLabel(i, "kind/bug") }); err != nil {
			t.Fatalf("issue %d keeps its label: %v", n, err)
		}
	}
	for _, n := range toUndo {
		bare(n)
	}
	eventually(t, "nothing waits", func() bool { return s.metric("dispatchai_label_pending") == 0 })

	// The same plugin says the same again of an edited text.
	again := toUndo[0]
	body := bugReport(0).Body + "\n\nIt crashes on another machine, too.\n"
	if err := s.github.EditIssue(ctx, testRepo, again, bugReport(vetoed+replaced+confirmed).Author, nil, &body); err != nil {
		t.Fatal(err)
	}
	next, err := s.github.OpenIssue(ctx, testRepo, bugReport(issues))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(next, "kind/bug")
	eventually(t, "the edited issue was classified again and nothing waits", func() bool {
		return s.metric("dispatchai_label_pending") == 0 && s.metric(`dispatchai_classify_events_total{kind="issue",outcome="done"}`) >= float64(issues+2)
	})
	for i, n := range numbers {
		issue, err := s.github.Issue(testRepo, n)
		if err != nil {
			t.Fatal(err)
		}
		if hasLabel(issue, "area/parser") {
			t.Errorf("issue %d keeps area/parser", n)
		}
		if want := i >= vetoed && i < vetoed+replaced+confirmed; hasLabel(issue, "kind/bug") != want {
			t.Errorf("issue %d (the %d.) ends with %v", n, i, issue.Labels)
		}
	}
	var detail apiIssue
	s.call("GET", fmt.Sprintf("/api/issues/%d", ids[again]), nil, &detail)
	if detail.value("category") != "" || !slices.ContainsFunc(detail.Ledger, func(l apiLedgerEntry) bool { return l.Name == "kind/bug" && l.State == "removed" }) {
		t.Errorf("the undone issue is shown as %q with %+v", detail.value("category"), detail.Ledger)
	}

	// A person asks for it, and undoes it again while the service is down.
	if status := s.call("POST", fmt.Sprintf("/api/issues/%d/classify", ids[again]), nil, nil); status != http.StatusOK {
		t.Fatalf("classify anew: %d", status)
	}
	s.waitLabel(again, "kind/bug")
	eventually(t, "nothing waits", func() bool { return s.metric("dispatchai_label_pending") == 0 })
	s.stop()
	if done := s.undo("--since", "2020-01-01"); done.Issues != 2 {
		t.Errorf("the undo without a service says %+v", done)
	}
	s.start()
	bare(again)
	bare(next)
}
