package storetest

import (
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

func withdrawal(eventID, value string, second float64) triage.Withdrawal {
	return triage.Withdrawal{EventID: eventID, Plugin: "rules", Version: "1.2.3", Field: triage.FieldCategory, Value: value, Actor: "operator", At: at(second)}
}

var directiveTests = map[string]func(*testing.T, store.Store){
	"what was said of an issue is kept and adds up": func(t *testing.T, s store.Store) {
		issue := newIssue(1, 1, 0)
		apply(t, s, classified("e1", issue, 1, "bug", "high"))
		undo := partial("undo", issue.Key())
		undo.EventType, undo.Directives = triage.Directed, triage.Directives{Withdrawals: []triage.Withdrawal{withdrawal("undo", "bug", 20)}}
		ignore := partial("ignore", issue.Key())
		ignore.Directives = triage.Directives{Ignored: true, IgnoredBy: "maria\x00", IgnoredAt: at(21), Replies: "It is 1.2."}
		states := apply(t, s, undo, ignore, undo)
		want := triage.Directives{
			Withdrawals: []triage.Withdrawal{withdrawal("undo", "bug", 20)},
			Ignored:     true, IgnoredBy: "maria\uFFFD", IgnoredAt: at(21), Replies: "It is 1.2.",
		}
		equal(t, "answered", states[2].Directives, want)
		state := load(t, s, issue.Key())
		equal(t, "stored", state.Directives, want)
		equal(t, "what the plugins said", state.Classification.Value(triage.FieldCategory), "bug")
		equal(t, "what holds", state.Effective().Value(triage.FieldCategory), "")
		equal(t, "what holds beside it", state.Effective().Value(triage.FieldPriority), "high")
		page, err := s.ListIssues(testContext(t), store.IssueFilter{Category: "bug"})
		check(t, err)
		equal(t, "listed by what was withdrawn", len(page.Issues), 0)

		anew := classified("e2", newIssue(1, 1, 30), 3, "bug", "high")
		anew.Directives.AskedAnew = at(30)
		equal(t, "asked for anew", apply(t, s, anew)[0].Effective().Value(triage.FieldCategory), "bug")
		page, err = s.ListIssues(testContext(t), store.IssueFilter{Category: "bug"})
		check(t, err)
		equal(t, "listed again", len(page.Issues), 1)
	},
	"of an issue that is not known nothing is kept": func(t *testing.T, s store.Store) {
		c := partial("e1", triage.IssueKey{RepositoryID: 1, Number: 1})
		c.Directives.AskedAnew = at(1)
		equal(t, "revision", apply(t, s, c)[0].Revision, int64(0))
		issue := newIssue(1, 1, 0)
		equal(t, "directives", apply(t, s, received("e2", issue, 1))[0].Directives, triage.Directives{})
	},
	"the ledger is listed by plugin, whole issues to a page": func(t *testing.T, s store.Store) {
		var want []triage.LedgerEntry
		for number := 1; number <= 5; number++ {
			for _, name := range []string{"area/parser", "kind/bug", "regression"} {
				e := entry(triage.LedgerConfirmed, 10)
				e.Issue, e.Name, e.CreatedAt = triage.IssueKey{RepositoryID: int64(1 + number%2), Number: number}, name, at(float64(number))
				switch {
				case name == "area/parser" && number == 3:
					e.Version = "2.0.0"
				case name == "regression" && number%2 == 0:
					e.Plugin = "openai"
				case name == "regression":
					e.Source = triage.SourceHuman
				}
				record(t, s, e)
				if e.Plugin == "rules" && e.Source == triage.SourcePlugin {
					want = append(want, e)
				}
			}
		}
		list := func(f store.LedgerFilter) (all []triage.LedgerEntry, pages int) {
			for {
				page, err := s.ListLedger(testContext(t), f)
				check(t, err)
				if len(page) == 0 {
					return all, pages
				}
				all, pages, f.After = append(all, page...), pages+1, page[len(page)-1].Issue
			}
		}
		got, pages := list(store.LedgerFilter{Plugin: "rules", Issues: 2})
		// In the order of repositories: numbers 2 and 4, then 1, 3 and 5.
		order := append(append([]triage.LedgerEntry{}, want[2:4]...), want[6:8]...)
		order = append(append(append(order, want[0:2]...), want[4:6]...), want[8:10]...)
		equal(t, "everything", got, order)
		equal(t, "pages", pages, 3)
		got, _ = list(store.LedgerFilter{Plugin: "rules", Version: "2.0.0", Issues: 10})
		equal(t, "of one version", got, want[4:5])
		got, _ = list(store.LedgerFilter{Plugin: "rules", Since: at(4), Issues: 10})
		equal(t, "since then", len(got), 4)
		got, _ = list(store.LedgerFilter{Plugin: "rules", RepositoryIDs: []int64{1}, Issues: 10})
		equal(t, "of one repository", len(got), 4)
		got, _ = list(store.LedgerFilter{Plugin: "rules", RepositoryIDs: []int64{}, Issues: 10})
		equal(t, "of none", len(got), 0)
		if _, err := s.ListLedger(testContext(t), store.LedgerFilter{Plugin: "rules"}); err == nil {
			t.Error("a page of no issues was listed")
		}
	},
}

func claimOne(t *testing.T, s store.Store, owner string, second float64) store.Desired {
	t.Helper()
	claimed, err := s.ClaimDesired(testContext(t), store.Claim{Owner: owner, Now: at(second), LeaseFor: time.Minute, MaxInstallations: 1, MaxIssues: 10})
	check(t, err)
	if len(claimed) != 1 || len(claimed[0].Rows) != 1 {
		t.Fatalf("claimed %+v, want one row", claimed)
	}
	return claimed[0].Rows[0]
}

var requestTests = map[string]func(*testing.T, store.Store){
	"a request is kept as given": func(t *testing.T, s store.Store) {
		got, err := s.LoadInfoRequest(testContext(t), ledgerKey)
		check(t, err)
		equal(t, "before the first", got, store.InfoRequest{Issue: ledgerKey})
		for _, r := range []store.InfoRequest{
			{Issue: ledgerKey, State: store.RequestIntended, UpdatedAt: at(1)},
			{Issue: ledgerKey, State: store.RequestWritten, CommentID: 1 << 40, Text: "Please add:\n\n- Version", UpdatedAt: at(2)},
			{Issue: ledgerKey, State: store.RequestGone, CommentID: 7, UpdatedAt: at(3)},
		} {
			check(t, s.SaveInfoRequest(testContext(t), r))
			got, err := s.LoadInfoRequest(testContext(t), ledgerKey)
			check(t, err)
			equal(t, string(r.State), got, r)
		}
		got, err = s.LoadInfoRequest(testContext(t), triage.IssueKey{RepositoryID: 1, Number: 2})
		check(t, err)
		equal(t, "of another issue", got.State, store.RequestState(""))
		if err := s.SaveInfoRequest(testContext(t), store.InfoRequest{State: store.RequestIntended}); err == nil {
			t.Error("a request of no issue was saved")
		}
	},
	"what a row carries comes back with it": func(t *testing.T, s store.Store) {
		row := store.Desired{
			Issue: ledgerKey, InstallationID: 10, Revision: 1, EventID: "e1", Labels: []triage.DesiredLabel{}, Ignored: true, ReceivedAt: at(0),
			Request:   &triage.InfoRequest{Text: "Please add:", Open: true, Create: true, Label: "needs-info"},
			Reactions: []triage.Reaction{{CommentID: 5, Content: "+1"}},
		}
		check(t, s.SaveDesired(testContext(t), []store.Desired{row}))
		equal(t, "row", claimOne(t, s, "one", 1), row)
	},
	"reactions wait until a row is done": func(t *testing.T, s store.Store) {
		one, two, three := triage.Reaction{CommentID: 1, Content: "+1"}, triage.Reaction{CommentID: 2, Content: "confused"}, triage.Reaction{CommentID: 3, Content: "+1"}
		save := func(revision int64, reactions ...triage.Reaction) {
			t.Helper()
			check(t, s.SaveDesired(testContext(t), []store.Desired{{Issue: ledgerKey, InstallationID: 10, Revision: revision, EventID: "e", ReceivedAt: at(0), Reactions: reactions}}))
		}
		finish := func(owner string, revision int64, done bool) {
			t.Helper()
			check(t, s.FinishDesired(testContext(t), []store.DesiredResult{{Issue: ledgerKey, Revision: revision, Done: done, NotBefore: at(2)}}))
			check(t, s.ReleaseInstallation(testContext(t), store.Release{InstallationID: 10, Owner: owner, BlockedUntil: at(0)}))
		}
		save(1, one)
		save(2, two)
		save(2, three) // the log replays
		equal(t, "of two revisions", claimOne(t, s, "a", 3).Reactions, []triage.Reaction{one, two})
		finish("a", 2, false)
		equal(t, "after a failure", claimOne(t, s, "b", 4).Reactions, []triage.Reaction{one, two})
		save(3, three) // meanwhile
		finish("b", 2, true)
		equal(t, "of a row that moved on", claimOne(t, s, "c", 5).Reactions, []triage.Reaction{one, two, three})
		finish("c", 3, true)
		save(4)
		equal(t, "once done", len(claimOne(t, s, "d", 6).Reactions), 0)
	},
}
