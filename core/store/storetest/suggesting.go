package storetest

import (
	"testing"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

func suggestion(number int, label string, state store.SuggestionState, look float64) store.Suggestion {
	return store.Suggestion{
		Issue: triage.IssueKey{RepositoryID: 1, Number: number}, State: state, GitHubID: 7, CreatedAt: at(1), UpdatedAt: at(2), ETag: `"e"`, LookAt: at(look),
		SuggestedLabel: store.SuggestedLabel{Reason: "because", DesiredLabel: triage.DesiredLabel{
			Name: label, Field: triage.FieldCategory, Value: "bug", Source: triage.SourcePlugin, Plugin: "rules", Version: "1", Confidence: 0.5, EventID: "e",
		}},
	}
}

func suggestions(t *testing.T, s store.Store, number int) []store.Suggestion {
	t.Helper()
	key := triage.IssueKey{RepositoryID: 1, Number: number}
	found, err := s.Suggestions(testContext(t), []triage.IssueKey{key, key})
	check(t, err)
	return found[key]
}

var suggestingTests = map[string]func(*testing.T, store.Store){
	"kept and replaced, but not once it is answered": func(t *testing.T, s store.Store) {
		equal(t, "none", len(suggestions(t, s, 1)), 0)
		first, other := suggestion(1, "Bug", store.SuggestionIntended, 5), suggestion(1, "area/x", store.SuggestionShown, 5)
		check(t, s.RecordSuggestions(testContext(t), []store.Suggestion{first, other}))
		equal(t, "kept", suggestions(t, s, 1), []store.Suggestion{other, first})
		first = suggestion(1, "bug", store.SuggestionPending, 6)
		check(t, s.RecordSuggestions(testContext(t), []store.Suggestion{first}))
		equal(t, "replaced", suggestions(t, s, 1), []store.Suggestion{other, first})
		first.State = store.SuggestionDismissed
		check(t, s.RecordSuggestions(testContext(t), []store.Suggestion{first}))
		check(t, s.RecordSuggestions(testContext(t), []store.Suggestion{suggestion(1, "bug", store.SuggestionPending, 6)}))
		equal(t, "answered", suggestions(t, s, 1), []store.Suggestion{other, first})
	},
	"looked after when due": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		check(t, s.RecordSuggestions(testContext(t), []store.Suggestion{
			suggestion(1, "bug", store.SuggestionPending, 20), suggestion(2, "bug", store.SuggestionPending, 10), suggestion(2, "late", store.SuggestionPending, 90),
			suggestion(3, "bug", store.SuggestionShown, 0), suggestion(4, "bug", store.SuggestionPending, 90),
		}))
		claim := func(second, again float64, want ...int) {
			t.Helper()
			issues, err := s.ClaimSuggestions(testContext(t), at(second), at(again), 10)
			check(t, err)
			numbers := []int{}
			for _, i := range issues {
				numbers = append(numbers, i.Number)
				equal(t, "repository", i.Repository.FullName, "acme/one")
				equal(t, "suggestions", len(i.Suggestions), len(suggestions(t, s, i.Number)))
			}
			equal(t, "due", numbers, append([]int{}, want...))
		}
		claim(5, 6)
		claim(30, 60, 2, 1)
		claim(40, 60)
		claim(61, 100, 1, 2)
		install(t, s, store.InstallationChange{EventID: "off", At: at(1), Installation: &triage.Installation{ID: 10, Suspended: true, UpdatedAt: at(1)}})
		claim(200, 300)
		install(t, s, store.InstallationChange{EventID: "on", At: at(2), Installation: &triage.Installation{ID: 10, UpdatedAt: at(2)}, Removed: []int64{1}})
		claim(200, 300)
	},
	"nonsense is refused": func(t *testing.T, s store.Store) {
		for name, bad := range map[string]store.Suggestion{
			"no issue": {State: store.SuggestionShown}, "no label": suggestion(1, "", store.SuggestionShown, 0), "no state": suggestion(1, "bug", "", 0),
		} {
			if err := s.RecordSuggestions(testContext(t), []store.Suggestion{bad}); err == nil {
				t.Errorf("%s was taken", name)
			}
		}
		if _, err := s.ClaimSuggestions(testContext(t), at(1), at(1), 10); err == nil {
			t.Error("a claim for no time was taken")
		}
	},
}
