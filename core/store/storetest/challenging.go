package storetest

import (
	"fmt"
	"math"
	"testing"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

func opinion(plugin string, confidence float64, sure bool, values ...string) triage.Opinion {
	return triage.Opinion{Plugin: plugin, Values: append([]string{}, values...), Confidence: confidence, Sure: sure}
}

// compared is a comparison of categories.
func compared(repositoryID int64, number int, second float64, champion, challenger triage.Opinion) store.Comparison {
	return store.Comparison{
		Issue: triage.IssueKey{RepositoryID: repositoryID, Number: number}, Challenger: "openai", Version: "1.0.0", At: at(second),
		Fields: map[triage.Field]store.Contrast{triage.FieldCategory: {Champion: champion, Challenger: challenger}},
	}
}

// disagreements are those of a listing, in order.
func disagreements(t *testing.T, s store.Store, repositories []int64, limit int) []string {
	t.Helper()
	list, err := s.Disagreements(testContext(t), repositories, limit)
	check(t, err)
	names := []string{}
	for _, d := range list {
		names = append(names, fmt.Sprintf("%d#%d %s", d.RepositoryID, d.Number, d.Field))
	}
	return names
}

func scores(t *testing.T, s store.Store, repositories []int64) []string {
	t.Helper()
	list, err := s.ChallengeScores(testContext(t), repositories)
	check(t, err)
	texts := []string{}
	for _, c := range list {
		texts = append(texts, fmt.Sprintf("%s %s %s %s: %d compared, %d agreed, %d judged, %d to %d", c.Repository, c.Challenger, c.Version, c.Field,
			c.Compared, c.Agreed, c.Judged, c.ChampionRight, c.ChallengerRight))
	}
	return texts
}

var challengingTests = map[string]func(*testing.T, store.Store){
	"what diverges most comes first": func(t *testing.T, s store.Store) {
		shelf(t, s) // 1#1, 1#2, 1#3 and 1#5, which is corrected; 2#4
		bug, sure, feature := opinion("rules", 0.6, true, "bug"), opinion("rules", 0.95, true, "bug"), opinion("openai", 0.9, true, "feature")
		check(t, s.RecordComparisons(testContext(t), nil))
		check(t, s.RecordComparisons(testContext(t), []store.Comparison{
			compared(1, 1, 1, bug, feature), compared(1, 2, 2, sure, feature), compared(1, 3, 3, bug, opinion("openai", 0.9, true, "bug")),
			compared(2, 4, 4, bug, opinion("openai", 0.2, false, "feature")), compared(1, 5, 5, sure, feature), compared(1, 99, 6, sure, feature),
		}))
		equal(t, "all", disagreements(t, s, nil, 10), []string{"1#2 category", "1#1 category", "2#4 category"})
		equal(t, "the first", disagreements(t, s, nil, 1), []string{"1#2 category"})
		equal(t, "one repository's", disagreements(t, s, []int64{2}, 10), []string{"2#4 category"})
		equal(t, "of none", disagreements(t, s, []int64{}, 10), []string{})

		list, err := s.Disagreements(testContext(t), []int64{1}, 1)
		check(t, err)
		issue := load(t, s, triage.IssueKey{RepositoryID: 1, Number: 2}).Issue
		want := store.Disagreement{
			RepositoryID: 1, Repository: "acme/repo-1", Number: 2, IssueID: issue.ID, Title: issue.Title, URL: issue.URL,
			Opponents: store.Opponents{Challenger: "openai", Version: "1.0.0", Field: triage.FieldCategory}, Says: store.Contrast{Champion: sure, Challenger: feature}, Divergence: sure.Divergence(feature), At: at(2),
		}
		equal(t, "disagreement", list, []store.Disagreement{want})

		apply(t, s, correct("c2", triage.IssueKey{RepositoryID: 1, Number: 2}, 70, triage.FieldCategory, "feature"))
		equal(t, "without what a person decided", disagreements(t, s, nil, 10), []string{"1#1 category", "2#4 category"})
		gone := received("gone", newIssue(1, 1, 80), 9)
		gone.Deleted = true
		apply(t, s, gone)
		equal(t, "without deleted issues", disagreements(t, s, nil, 10), []string{"2#4 category"})
		install(t, s, store.InstallationChange{EventID: "removed", At: at(90), Removed: []int64{2}})
		equal(t, "without removed repositories", disagreements(t, s, nil, 10), []string{})
		check(t, s.RecordComparisons(testContext(t), []store.Comparison{compared(1, 1, 100, sure, feature), compared(2, 4, 100, sure, feature)}))
		equal(t, "nor is anything added to them", scores(t, s, nil), []string{"acme/repo-1 openai 1.0.0 category: 3 compared, 1 agreed, 2 judged, 0 to 2"})
	},
	"the newest of an issue counts": func(t *testing.T, s store.Store) {
		shelf(t, s)
		bug, feature := opinion("rules", 0.9, true, "bug"), opinion("openai", 0.9, true, "feature")
		both := compared(1, 1, 2, bug, feature)
		both.Fields[triage.FieldTags] = store.Contrast{Champion: opinion("rules", 0.9, true, "<ui> & \"more\"", "api"), Challenger: opinion("openai", 0.9, true, "api", "<ui> & \"more\"")}
		check(t, s.RecordComparisons(testContext(t), []store.Comparison{both, both, compared(1, 1, 1, bug, bug)}))
		equal(t, "scores", scores(t, s, nil), []string{
			"acme/repo-1 openai 1.0.0 category: 1 compared, 0 agreed, 0 judged, 0 to 0", "acme/repo-1 openai 1.0.0 tags: 1 compared, 1 agreed, 0 judged, 0 to 0",
		})
		newer := compared(1, 1, 3, bug, bug)
		newer.Version = "2.0.0"
		another := compared(1, 1, 3, bug, feature)
		another.Challenger = "a"
		check(t, s.RecordComparisons(testContext(t), []store.Comparison{newer, another}))
		equal(t, "newer scores", scores(t, s, []int64{1}), []string{
			"acme/repo-1 a 1.0.0 category: 1 compared, 0 agreed, 0 judged, 0 to 0", "acme/repo-1 openai 2.0.0 category: 1 compared, 1 agreed, 0 judged, 0 to 0",
		})
		older := compared(1, 2, 4, bug, bug)
		check(t, s.RecordComparisons(testContext(t), []store.Comparison{older}))
		equal(t, "the version compared last comes first", scores(t, s, []int64{1})[1:], []string{
			"acme/repo-1 openai 1.0.0 category: 1 compared, 1 agreed, 0 judged, 0 to 0", "acme/repo-1 openai 2.0.0 category: 1 compared, 1 agreed, 0 judged, 0 to 0",
		})
	},
	"people say who is right": func(t *testing.T, s store.Store) {
		shelf(t, s)
		key := triage.IssueKey{RepositoryID: 1, Number: 1}
		both := compared(1, 1, 2, opinion("rules", 0.9, true, "bug"), opinion("openai", 0.9, true, "feature"))
		both.Fields[triage.FieldTags] = store.Contrast{Champion: opinion("rules", 0.1, false, "ui"), Challenger: opinion("openai", 0.9, true, "<a>", "b")}
		check(t, s.RecordComparisons(testContext(t), []store.Comparison{both}))
		apply(t, s, correct("first", key, 10, triage.FieldCategory, "bug"), correct("none", key, 11, triage.FieldTags))
		equal(t, "the champion is right", scores(t, s, nil), []string{
			"acme/repo-1 openai 1.0.0 category: 1 compared, 0 agreed, 1 judged, 1 to 0", "acme/repo-1 openai 1.0.0 tags: 1 compared, 0 agreed, 1 judged, 1 to 0",
		})
		apply(t, s, correct("second", key, 12, triage.FieldCategory, "question"), correct("tags", key, 13, triage.FieldTags, "b", "<a>"))
		equal(t, "the last word counts", scores(t, s, nil), []string{
			"acme/repo-1 openai 1.0.0 category: 1 compared, 0 agreed, 1 judged, 0 to 0", "acme/repo-1 openai 1.0.0 tags: 1 compared, 0 agreed, 1 judged, 0 to 1",
		})
	},
	"nonsense is refused": func(t *testing.T, s store.Store) {
		shelf(t, s)
		good := compared(1, 1, 1, opinion("a", 1, true, "bug"), opinion("b", 1, true, "bug"))
		for _, spoil := range []func(*store.Comparison){
			func(c *store.Comparison) { c.Issue.Number = 0 },
			func(c *store.Comparison) { c.Challenger = "" },
			func(c *store.Comparison) { c.Fields = map[triage.Field]store.Contrast{triage.FieldSummary: {}} },
		} {
			bad := good
			spoil(&bad)
			if err := s.RecordComparisons(testContext(t), []store.Comparison{good, bad}); err == nil {
				t.Errorf("%+v was taken", bad)
			}
		}
		equal(t, "nothing is kept", scores(t, s, nil), []string{})
		odd := compared(1, 1, 1, opinion("a", math.NaN(), true, "bug"), opinion("b", 7, true, "feature"))
		check(t, s.RecordComparisons(testContext(t), []store.Comparison{odd}))
		equal(t, "what can be kept is", disagreements(t, s, nil, 10), []string{"1#1 category"})
	},
}
