package storetest

import (
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// removals lists what is to be erased, without its times.
func removals(t *testing.T, s store.Store, before time.Time) []store.Removal {
	t.Helper()
	list, err := s.Removals(testContext(t), before, 100)
	check(t, err)
	return list
}

// erase erases one removal to its end.
func erase(t *testing.T, s store.Store, r store.Removal) store.Erasure {
	t.Helper()
	e, err := s.BeginErasure(testContext(t), r, at(10_000), at(10_001), []string{"learner"})
	check(t, err)
	for more := true; more; {
		more, err = s.EraseSome(testContext(t), e.ID, 1)
		check(t, err)
	}
	e, err = s.FinishErasure(testContext(t), e.ID, at(10_002))
	check(t, err)
	return e
}

var erasingTests = map[string]func(*testing.T, store.Store){
	"a repository": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		one, two := newIssue(1, 1, 5), newIssue(2, 1, 5)
		apply(t, s, classified("e1", one, 1, "bug", "high"), classified("e2", two, 2, "bug", "high"))
		equal(t, "before", removals(t, s, at(10_000)), []store.Removal{})
		install(t, s, store.InstallationChange{EventID: "r1", At: at(20), Removed: []int64{1}, Because: store.RepositoryDeleted})
		equal(t, "too early", removals(t, s, at(19)), []store.Removal{})
		want := store.Removal{Subject: store.SubjectRepository, InstallationID: 10, RepositoryID: 1, Name: one.Repository.FullName, Because: store.RepositoryDeleted, RemovedAt: at(20)}
		equal(t, "due", removals(t, s, at(20)), []store.Removal{want})
		_, err := s.BeginErasure(testContext(t), want, at(19), at(30), nil)
		wantError(t, err, store.ErrConflict)
		e := erase(t, s, want)
		equal(t, "outcome", []any{e.Outcome, e.EndedAt, e.Rows["issues"], e.Rows["issue_classifications"]}, []any{store.Erased, at(10_002), int64(1), int64(1)})
		states, err := s.LoadIssues(testContext(t), []triage.IssueKey{one.Key(), two.Key()})
		check(t, err)
		equal(t, "issues left", len(states), 1)
		equal(t, "erased", repository(t, s, 1).Erased, true)
		equal(t, "name", repository(t, s, 1).Repository.FullName, "")
		equal(t, "found by its words", search(t, s, "Title"), 1)
		waiting, err := s.Forgets(testContext(t))
		check(t, err)
		equal(t, "to be told", waiting, []store.Forget{{RepositoryID: 1, Plugin: "learner", Since: at(10_001)}})
		check(t, s.FinishForget(testContext(t), waiting[0]))
		waiting, err = s.Forgets(testContext(t))
		check(t, err)
		equal(t, "told", len(waiting), 0)
		log, err := s.Erasures(testContext(t), 10)
		check(t, err)
		equal(t, "log", log, []store.Erasure{e})
		equal(t, "due again", removals(t, s, at(20_000)), []store.Removal{})

		equal(t, "a late event", apply(t, s, received("late", newIssue(1, 9, 500), 9))[0].Revision, int64(0))
		install(t, s, store.InstallationChange{EventID: "late label", At: at(600), LabelRepositoryID: 1, Label: &triage.RepositoryLabel{Name: "x"}, Described: []triage.Repository{{ID: 1, FullName: "acme/late"}}})
		check(t, s.SaveRepositoryLabels(testContext(t), 1, []triage.RepositoryLabel{{Name: "y"}}, at(700)))
		equal(t, "labels", len(repository(t, s, 1).Labels), 0)
		equal(t, "name after late events", repository(t, s, 1).Repository.FullName, "")
		install(t, s, store.InstallationChange{EventID: "a1", At: at(800), Upserted: []triage.Repository{{ID: 1, InstallationID: 10, FullName: "acme/back"}}})
		equal(t, "back", repository(t, s, 1).Repository, triage.Repository{ID: 1, InstallationID: 10, FullName: "acme/back"})
		equal(t, "an event after that", apply(t, s, received("late", newIssue(1, 9, 500), 9))[0].Revision, int64(1))
	},
	"a deleted issue": func(t *testing.T, s store.Store) {
		issue := newIssue(1, 1, 5)
		apply(t, s, classified("e1", issue, 1, "bug", "high"), received("e2", newIssue(1, 2, 5), 2))
		gone := received("e3", newIssue(1, 1, 6), 3)
		gone.Deleted = true
		apply(t, s, gone)
		due := removals(t, s, at(1000))
		equal(t, "due", due, []store.Removal{{
			Subject: store.SubjectIssue, InstallationID: 10, RepositoryID: 1, Number: 1, Name: issue.Repository.FullName, Because: store.IssueDeleted, RemovedAt: gone.ReceivedAt,
		}})
		erase(t, s, due[0])
		left := load(t, s, issue.Key())
		equal(t, "what is left", []any{left.Deleted, left.Issue.Title, left.Issue.Body, left.Classification == nil}, []any{true, "", "", true})
		equal(t, "a late event", apply(t, s, received("late", newIssue(1, 1, 500), 9))[0].Revision, int64(0))
		equal(t, "title", load(t, s, issue.Key()).Issue.Title, "")
		equal(t, "of another issue", load(t, s, triage.IssueKey{RepositoryID: 1, Number: 2}).Issue.Title, "Title of 2")
	},
	"an installation, after its repositories": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		install(t, s, store.InstallationChange{EventID: "gone", At: at(20), Installation: &triage.Installation{ID: 10, Removed: true}})
		subjects := func() (list []store.Subject) {
			for _, r := range removals(t, s, at(1000)) {
				list = append(list, r.Subject)
			}
			return list
		}
		equal(t, "first", subjects(), []store.Subject{store.SubjectRepository, store.SubjectRepository})
		for _, r := range removals(t, s, at(1000)) {
			erase(t, s, r)
		}
		equal(t, "then", subjects(), []store.Subject{store.SubjectInstallation})
		erase(t, s, removals(t, s, at(1000))[0])
		n, err := s.LoadInstallation(testContext(t), 10)
		check(t, err)
		equal(t, "what is left", []any{n.Account, n.Removed, n.Grant == nil}, []any{"", true, true})
		equal(t, "last", subjects(), []store.Subject(nil))
	},
	"an issue heard of after the uninstallation goes with it": func(t *testing.T, s store.Store) {
		install(t, s, store.InstallationChange{EventID: "gone", At: at(20), Installation: &triage.Installation{ID: 50, Account: "acme", Removed: true}})
		apply(t, s, received("e1", newIssue(5, 1, 5), 1))
		equal(t, "removed", repository(t, s, 5).Repository.Removed, true)
		equal(t, "since", removals(t, s, at(1000))[0].RemovedAt, at(20))
	},
	"no write is announced where none may be made": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		key := triage.IssueKey{RepositoryID: 1, Number: 1}
		record := func(state triage.LedgerState) error {
			return s.RecordLedger(testContext(t), []triage.LedgerEntry{{Issue: key, DesiredLabel: triage.DesiredLabel{Name: "bug"}, State: state, UpdatedAt: at(50)}})
		}
		check(t, record(triage.LedgerIntended))
		install(t, s, store.InstallationChange{EventID: "s1", At: at(10), Installation: &triage.Installation{ID: 10, Suspended: true, UpdatedAt: at(10)}})
		wantError(t, record(triage.LedgerIntended), store.ErrSuspended)
		wantError(t, record(triage.LedgerRemoving), store.ErrSuspended)
		check(t, record(triage.LedgerWritten)) // what was done must be known
		install(t, s, store.InstallationChange{EventID: "s2", At: at(20), Installation: &triage.Installation{ID: 10, UpdatedAt: at(20)}})
		check(t, record(triage.LedgerRemoving))
		install(t, s, store.InstallationChange{EventID: "r1", At: at(30), Removed: []int64{1}})
		wantError(t, record(triage.LedgerRemoving), store.ErrSuspended)
	},
	"what an installation was granted": func(t *testing.T, s store.Store) {
		grant := triage.Grant{Permissions: map[string]string{"issues": "write"}, Events: []string{"issues"}, RepositorySelection: "all", SingleFiles: []string{}}
		told := func(event string, second float64, g *triage.Grant) *triage.Grant {
			install(t, s, store.InstallationChange{EventID: event, At: at(100), Installation: &triage.Installation{ID: 10, Account: "acme", UpdatedAt: at(second), Grant: g}})
			n, err := s.LoadInstallation(testContext(t), 10)
			check(t, err)
			return n.Grant
		}
		equal(t, "not told", told("g0", 1, nil), (*triage.Grant)(nil))
		equal(t, "told", told("g1", 10, &grant), &grant)
		equal(t, "left out", told("g2", 20, nil), &grant)
		more := grant
		more.Permissions = map[string]string{"issues": "write", "checks": "write"}
		equal(t, "stale", told("g3", 15, &more), &grant)
		equal(t, "accepted", told("g4", 30, &more), &more)
	},
	"corrections follow a transferred issue twice": func(t *testing.T, s store.Store) {
		moved := func(event string, from triage.Issue, to triage.IssueKey) store.IssueChange {
			c := received(event, from, 10)
			c.Deleted, c.Because, c.MovedTo = true, store.IssueTransferred, to
			return c
		}
		first, second, third := newIssue(1, 1, 5), newIssue(2, 7, 5), newIssue(3, 9, 5)
		correction := partial("c1", first.Key())
		correction.Corrections = []triage.Correction{{Field: triage.FieldCategory, New: []string{"question"}, Actor: "maria", Source: triage.FromDashboard}}
		apply(t, s, classified("e1", first, 1, "bug", "high"))
		apply(t, s, correction)
		apply(t, s, classified("e2", second, 2, "bug", "high"))
		// The second move is heard of before the first.
		apply(t, s, moved("m2", second, third.Key()))
		apply(t, s, moved("m1", first, second.Key()))
		equal(t, "waiting", len(load(t, s, first.Key()).Corrections), 1)
		answer := apply(t, s, classified("e3", third, 3, "bug", "high"))[0]
		last := load(t, s, third.Key())
		equal(t, "answered", answer, last)
		equal(t, "followed", last.Effective().Value(triage.FieldCategory), "question")
		equal(t, "of", last.Corrections[0].Issue, third.Key())
		equal(t, "left behind", len(load(t, s, first.Key()).Corrections), 0)
		apply(t, s, moved("m1", first, second.Key()), moved("m1 again", first, second.Key()))
		equal(t, "after more of it", load(t, s, third.Key()), last)
	},
}

// search counts the issues that are found by a word.
func search(t *testing.T, s store.Store, word string) int {
	t.Helper()
	page, err := s.ListIssues(testContext(t), store.IssueFilter{Search: word})
	check(t, err)
	return len(page.Issues)
}
