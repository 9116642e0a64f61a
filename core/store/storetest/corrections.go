package storetest

import (
	"testing"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

func correct(eventID string, key triage.IssueKey, second float64, field triage.Field, values ...string) store.IssueChange {
	c := partial(eventID, key)
	c.Corrections = []triage.Correction{{Field: field, New: values, Actor: "maria", Reason: "I know.", Source: triage.FromDashboard, At: at(second)}}
	return c
}

var correctionTests = map[string]func(*testing.T, store.Store){
	"audit with old values": func(t *testing.T, s store.Store) {
		issue := newIssue(1, 1, 0)
		key := issue.Key()
		apply(t, s, classified("e1", issue, 1, "bug", "high"))
		apply(t, s, correct("c1", key, 10, triage.FieldCategory, "feature"))
		apply(t, s, correct("c2", key, 20, triage.FieldCategory))
		apply(t, s, correct("c3", key, 30, triage.FieldSeverity, "minor"))
		state := apply(t, s, correct("c4", key, 40, triage.FieldTags, "three"))[0]
		want := func(event string, second float64, field triage.Field, old, values []string) triage.Correction {
			return triage.Correction{EventID: event, Issue: key, Field: field, Old: old, New: values, Actor: "maria", Reason: "I know.", Source: triage.FromDashboard, At: at(second)}
		}
		equal(t, "corrections", state.Corrections, []triage.Correction{
			want("c1", 10, triage.FieldCategory, []string{"bug"}, []string{"feature"}),
			want("c2", 20, triage.FieldCategory, []string{"feature"}, []string{}),
			want("c3", 30, triage.FieldSeverity, []string{}, []string{"minor"}),
			want("c4", 40, triage.FieldTags, []string{"one", "two"}, []string{"three"}),
		})
		equal(t, "loaded", load(t, s, key), state)
		equal(t, "effective", state.Effective().Value(triage.FieldSeverity), "minor")
		equal(t, "plugins' word", state.Classification.Value(triage.FieldCategory), "bug")
		equal(t, "status", state.Status(), store.StatusCorrected)
	},
	"a given old value stands": func(t *testing.T, s store.Store) {
		issue := newIssue(1, 1, 0)
		apply(t, s, classified("e1", issue, 1, "bug", "high"))
		change := correct("c1", issue.Key(), 10, triage.FieldCategory, "feature")
		change.Corrections[0].Old = []string{}
		equal(t, "old", apply(t, s, change)[0].Corrections[0].Old, []string{})
	},
	"several fields of one event": func(t *testing.T, s store.Store) {
		issue := newIssue(1, 1, 0)
		apply(t, s, classified("e1", issue, 1, "bug", "high"))
		change := correct("c1", issue.Key(), 10, triage.FieldCategory, "feature")
		change.Corrections = append(change.Corrections,
			triage.Correction{Field: triage.FieldPriority, New: []string{"low"}},
			triage.Correction{Field: triage.FieldCategory, New: []string{"twice"}})
		state := apply(t, s, change)[0]
		equal(t, "corrections", len(state.Corrections), 2)
		equal(t, "event", state.Corrections[1].EventID, "c1")
		equal(t, "at", state.Corrections[1].At, at(50)) // when the change was received
		equal(t, "loaded", load(t, s, issue.Key()), state)
	},
	"a known correction changes nothing": func(t *testing.T, s store.Store) {
		issue := newIssue(1, 1, 0)
		apply(t, s, classified("e1", issue, 1, "bug", "high"), received("e2", newIssue(1, 2, 0), 2))
		first := apply(t, s, correct("c1", issue.Key(), 10, triage.FieldCategory, "feature"))[0]
		for i, key := range []triage.IssueKey{issue.Key(), {RepositoryID: 1, Number: 2}} {
			// Another event with the same correction, as after Prune.
			again := correct([]string{"r1", "r2"}[i], key, 10, triage.FieldCategory, "question")
			again.Corrections[0].EventID = "c1"
			state := apply(t, s, again)[0]
			equal(t, "loaded", load(t, s, key), state)
		}
		equal(t, "corrections", load(t, s, issue.Key()).Corrections, first.Corrections)
		equal(t, "of the other", len(load(t, s, triage.IssueKey{RepositoryID: 1, Number: 2}).Corrections), 0)
	},
	"oldest first, whenever they come": func(t *testing.T, s store.Store) {
		issue := newIssue(1, 1, 0)
		apply(t, s, classified("e1", issue, 1, "bug", "high"))
		apply(t, s, correct("late", issue.Key(), 30, triage.FieldCategory, "third"))
		apply(t, s, correct("early", issue.Key(), 10, triage.FieldCategory, "first"))
		state := apply(t, s, correct("middle", issue.Key(), 20, triage.FieldCategory, "second"))[0]
		equal(t, "effective", state.Effective().Value(triage.FieldCategory), "third")
		var order []string
		for _, k := range load(t, s, issue.Key()).Corrections {
			order = append(order, k.EventID)
		}
		equal(t, "order", order, []string{"early", "middle", "late"})
	},
	"they stand over later classifications": func(t *testing.T, s store.Store) {
		issue := newIssue(1, 1, 0)
		apply(t, s, classified("e1", issue, 1, "bug", "high"))
		apply(t, s, correct("c1", issue.Key(), 10, triage.FieldCategory, "feature"))
		state := apply(t, s, classified("e2", newIssue(1, 1, 60), 60, "question", "low"))[0]
		equal(t, "category", state.Effective().Value(triage.FieldCategory), "feature")
		equal(t, "priority", state.Effective().Value(triage.FieldPriority), "low")
		equal(t, "loaded", load(t, s, issue.Key()), state)
	},
	"old is what was before the change's own classification": func(t *testing.T, s store.Store) {
		issue := newIssue(1, 1, 0)
		apply(t, s, classified("e1", issue, 1, "bug", "high"))
		change := classified("e2", newIssue(1, 1, 60), 60, "question", "low")
		change.Corrections = []triage.Correction{{Field: triage.FieldCategory, New: []string{"feature"}, At: at(60)}}
		equal(t, "old", apply(t, s, change)[0].Corrections[0].Old, []string{"bug"})
	},
	"before the first classification": func(t *testing.T, s store.Store) {
		issue := newIssue(1, 1, 0)
		apply(t, s, received("e1", issue, 1))
		state := apply(t, s, correct("c1", issue.Key(), 10, triage.FieldCategory, "feature"))[0]
		if state.Effective() != nil || state.Status() != store.StatusReceived {
			t.Fatalf("effective %v, status %v", state.Effective(), state.Status())
		}
		state = apply(t, s, correct("c2", issue.Key(), 20, triage.FieldCategory, "bug"))[0]
		equal(t, "old", state.Corrections[1].Old, []string{"feature"})
		state = apply(t, s, classified("e2", newIssue(1, 1, 60), 60, "question", "low"))[0]
		equal(t, "category", state.Effective().Value(triage.FieldCategory), "bug")
	},
}
