package storetest

import (
	"testing"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

func install(t *testing.T, s store.Store, c store.InstallationChange) {
	t.Helper()
	check(t, s.ApplyInstallation(testContext(t), c))
}

func repository(t *testing.T, s store.Store, id int64) store.RepositoryState {
	t.Helper()
	states, err := s.LoadRepositories(testContext(t), []int64{id})
	check(t, err)
	state, ok := states[id]
	if !ok {
		t.Fatalf("repository %d is not known", id)
	}
	return state
}

func listed(t *testing.T, s store.Store) []int64 {
	t.Helper()
	states, err := s.ListRepositories(testContext(t))
	check(t, err)
	ids := []int64{}
	for _, state := range states {
		ids = append(ids, state.Repository.ID)
	}
	return ids
}

func names(labels []triage.RepositoryLabel) []string {
	list := []string{}
	for _, l := range labels {
		list = append(list, l.Name)
	}
	return list
}

// installed brings installation 10 with repositories 1 and 2.
func installed(second float64) store.InstallationChange {
	return store.InstallationChange{
		EventID: "installed", At: at(second),
		Installation: &triage.Installation{ID: 10, Account: "acme", UpdatedAt: at(second)},
		Upserted:     []triage.Repository{{ID: 1, FullName: "acme/one", Private: true}, {ID: 2, FullName: "acme/another", InstallationID: 10}},
	}
}

var directoryTests = map[string]func(*testing.T, store.Store){
	"installed": func(t *testing.T, s store.Store) {
		_, err := s.LoadInstallation(testContext(t), 10)
		wantError(t, err, store.ErrNotFound)
		install(t, s, installed(0))
		n, err := s.LoadInstallation(testContext(t), 10)
		check(t, err)
		equal(t, "installation", n, triage.Installation{ID: 10, Account: "acme", UpdatedAt: at(0)})
		equal(t, "repository", repository(t, s, 1), store.RepositoryState{
			Repository: triage.Repository{ID: 1, InstallationID: 10, FullName: "acme/one", Private: true}, Labels: []triage.RepositoryLabel{},
		})
		equal(t, "by name", listed(t, s), []int64{2, 1})
		events, err := s.AppliedEvents(testContext(t), []string{"installed"})
		check(t, err)
		equal(t, "event", events["installed"].Issue, triage.IssueKey{})
		known, err := s.LoadRepositories(testContext(t), []int64{7})
		check(t, err)
		equal(t, "unknown", len(known), 0)
	},
	"once per event": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		again := installed(50)
		again.Installation.Suspended = true
		again.Upserted[0].FullName = "acme/renamed"
		install(t, s, again)
		n, err := s.LoadInstallation(testContext(t), 10)
		check(t, err)
		equal(t, "suspended", n.Suspended, false)
		equal(t, "name", repository(t, s, 1).Repository.FullName, "acme/one")
	},
	"suspended, by its time": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		suspend := func(event string, second float64, suspended bool) bool {
			install(t, s, store.InstallationChange{EventID: event, At: at(100), Installation: &triage.Installation{ID: 10, Account: "acme", Suspended: suspended, UpdatedAt: at(second)}})
			n, err := s.LoadInstallation(testContext(t), 10)
			check(t, err)
			return n.Suspended
		}
		equal(t, "suspended", suspend("s1", 20, true), true)
		equal(t, "a stale unsuspension", suspend("s2", 10, false), true)
		equal(t, "unsuspended", suspend("s3", 30, false), false)
	},
	"an uninstallation is final and takes the repositories along": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		install(t, s, store.InstallationChange{EventID: "gone", At: at(20), Installation: &triage.Installation{ID: 10, Account: "acme", Removed: true, UpdatedAt: at(0)}})
		install(t, s, store.InstallationChange{EventID: "late", At: at(30), Installation: &triage.Installation{ID: 10, Account: "acme", UpdatedAt: at(25)}})
		n, err := s.LoadInstallation(testContext(t), 10)
		check(t, err)
		equal(t, "removed", n.Removed, true)
		equal(t, "listed", listed(t, s), []int64{})
		equal(t, "repository", repository(t, s, 1).Repository.Removed, true)
		// Installed anew, under another ID.
		install(t, s, store.InstallationChange{
			EventID: "anew", At: at(40), Installation: &triage.Installation{ID: 11, Account: "acme", UpdatedAt: at(40)},
			Upserted: []triage.Repository{{ID: 1, FullName: "acme/one"}},
		})
		equal(t, "listed", listed(t, s), []int64{1})
		equal(t, "installation", repository(t, s, 1).Repository.InstallationID, int64(11))
	},
	"repositories come and go, by the time of the event": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		install(t, s, store.InstallationChange{EventID: "r1", At: at(20), Removed: []int64{1, 3}})
		equal(t, "listed", listed(t, s), []int64{2})
		install(t, s, store.InstallationChange{EventID: "stale", At: at(10), Upserted: []triage.Repository{{ID: 1, InstallationID: 10, FullName: "acme/one"}, {ID: 3, InstallationID: 10, FullName: "acme/three"}}})
		equal(t, "listed after stale additions", listed(t, s), []int64{2})
		apply(t, s, received("e1", newIssue(1, 1, 500), 1))
		equal(t, "listed after an issue's event", listed(t, s), []int64{2})
		install(t, s, store.InstallationChange{EventID: "r2", At: at(30), Upserted: []triage.Repository{{ID: 3, InstallationID: 10, FullName: "acme/three"}}})
		equal(t, "listed after an addition", listed(t, s), []int64{2, 3})
		equal(t, "name", repository(t, s, 3).Repository.FullName, "acme/three")
		install(t, s, store.InstallationChange{EventID: "r3", At: at(25), Removed: []int64{3}})
		equal(t, "listed after a stale removal", listed(t, s), []int64{2, 3})
	},
	"a rename, by the time of the event": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		install(t, s, store.InstallationChange{EventID: "r1", At: at(20), Upserted: []triage.Repository{{ID: 1, FullName: "acme/renamed"}}})
		install(t, s, store.InstallationChange{EventID: "r2", At: at(10), Upserted: []triage.Repository{{ID: 1, FullName: "acme/stale"}}})
		issue := newIssue(1, 1, 15)
		apply(t, s, received("e1", issue, 1))
		equal(t, "repository", repository(t, s, 1).Repository, triage.Repository{ID: 1, InstallationID: 10, FullName: "acme/renamed"})
		equal(t, "of the issue", load(t, s, issue.Key()).Issue.Repository.FullName, "acme/renamed")
	},
	"whole label sets": func(t *testing.T, s store.Store) {
		wantError(t, s.SaveRepositoryLabels(testContext(t), 1, nil, at(1)), store.ErrNotFound)
		install(t, s, installed(0))
		labels := []triage.RepositoryLabel{{Name: "P1", Color: "ff0000", Description: "Soon"}, {Name: "bug"}, {Name: "BUG", Color: "00ff00"}}
		check(t, s.SaveRepositoryLabels(testContext(t), 1, labels, at(10)))
		equal(t, "repository", repository(t, s, 1), store.RepositoryState{
			Repository: triage.Repository{ID: 1, InstallationID: 10, FullName: "acme/one", Private: true},
			Labels:     []triage.RepositoryLabel{labels[2], labels[0]}, LabelsAt: at(10),
		})
		check(t, s.SaveRepositoryLabels(testContext(t), 1, []triage.RepositoryLabel{{Name: "old"}}, at(9)))
		equal(t, "after an older set", names(repository(t, s, 1).Labels), []string{"BUG", "P1"})
		check(t, s.SaveRepositoryLabels(testContext(t), 1, nil, at(11)))
		equal(t, "emptied", repository(t, s, 1).Labels, []triage.RepositoryLabel{})
		equal(t, "read at", repository(t, s, 1).LabelsAt, at(11))
		equal(t, "of the other", repository(t, s, 2).LabelsAt.IsZero(), true)
	},
	"single labels": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		check(t, s.SaveRepositoryLabels(testContext(t), 1, []triage.RepositoryLabel{{Name: "bug"}, {Name: "docs"}}, at(10)))
		change := func(event string, second float64, c store.InstallationChange) []string {
			c.EventID, c.At, c.LabelRepositoryID = event, at(second), 1
			install(t, s, c)
			return names(repository(t, s, 1).Labels)
		}
		label := func(name string) *triage.RepositoryLabel { return &triage.RepositoryLabel{Name: name} }
		equal(t, "older than the set", change("l0", 5, store.InstallationChange{DeletedLabel: "bug"}), []string{"bug", "docs"})
		equal(t, "created", change("l1", 20, store.InstallationChange{Label: label("new")}), []string{"bug", "docs", "new"})
		equal(t, "recased", change("l2", 21, store.InstallationChange{Label: label("NEW"), PreviousLabel: "new"}), []string{"bug", "docs", "NEW"})
		equal(t, "renamed", change("l3", 22, store.InstallationChange{Label: label("newer"), PreviousLabel: "NEW"}), []string{"bug", "docs", "newer"})
		equal(t, "deleted", change("l4", 30, store.InstallationChange{DeletedLabel: "Docs"}), []string{"bug", "newer"})
		equal(t, "older than the deletion", change("l5", 25, store.InstallationChange{Label: label("docs")}), []string{"bug", "newer"})
		equal(t, "another one out of order", change("l6", 26, store.InstallationChange{Label: label("area")}), []string{"area", "bug", "newer"})
		check(t, s.SaveRepositoryLabels(testContext(t), 1, []triage.RepositoryLabel{{Name: "bug"}, {Name: "docs"}, {Name: "newer"}}, at(24)))
		equal(t, "a set from before the last events", names(repository(t, s, 1).Labels), []string{"area", "bug", "newer"})
		check(t, s.SaveRepositoryLabels(testContext(t), 1, []triage.RepositoryLabel{{Name: "docs"}}, at(40)))
		equal(t, "a set from after", names(repository(t, s, 1).Labels), []string{"docs"})
		install(t, s, store.InstallationChange{EventID: "l9", At: at(50), LabelRepositoryID: 99, Label: label("x")})
		known, err := s.LoadRepositories(testContext(t), []int64{99})
		check(t, err)
		equal(t, "of an unknown repository", len(known), 0)
	},
	"nonsense is refused": func(t *testing.T, s store.Store) {
		for name, c := range map[string]store.InstallationChange{
			"no event":            {At: at(0)},
			"no time":             {EventID: "e"},
			"no installation":     {EventID: "e", At: at(0), Installation: &triage.Installation{}},
			"no repository":       {EventID: "e", At: at(0), Upserted: []triage.Repository{{FullName: "x/y"}}},
			"a label of no set":   {EventID: "e", At: at(0), DeletedLabel: "x"},
			"half of it in order": {EventID: "e", At: at(0), Upserted: []triage.Repository{{ID: 1, FullName: "x/y"}, {}}},
		} {
			if err := s.ApplyInstallation(testContext(t), c); err == nil {
				t.Fatalf("%s: no error", name)
			}
		}
		equal(t, "listed", listed(t, s), []int64{})
	},
}
