package classify_test

import (
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/triage"
)

// undoing is the record that undoes what the rules plugin says of an issue's category.
func (f *fixture) undoing(id string, number int, at time.Time) *eventlog.Record {
	f.Helper()
	a := f.state(number).Classification.Fields[triage.FieldCategory]
	r := f.own(triage.Event{
		ID: id, Kind: triage.KindUndo, Repository: triage.Repository{ID: f.key(number).RepositoryID}, Number: number,
		Undo: &triage.UndoInput{Actor: "operator", Answers: []triage.UndoneAnswer{{Plugin: a.Plugin, Version: a.Version, Field: triage.FieldCategory, Value: a.Value()}}},
	})
	r.SetHeader(eventlog.HeaderReceivedAt, at.UTC().Format(time.RFC3339Nano))
	return r
}

// TestUndoneAnswersStayAway: an undo holds through replays and through what the
// same plugin says afterwards, until a person asks for a new classification.
func TestUndoneAnswersStayAway(t *testing.T) {
	f := newFixture(t)
	n := f.open(crashTitle, crashBody)
	opened := f.take()
	f.ok(f.handle(opened...))
	f.published()
	undo := f.undoing("undo", n, time.Now())
	f.ok(f.handle(undo, undo))
	for i, r := range f.published() {
		if r.EventType != triage.Directed || r.Classification.Value(triage.FieldCategory) != "" || r.Revision != 2 {
			t.Errorf("result %d is %+v", i, r)
		}
	}
	if got := f.state(n).Classification.Value(triage.FieldCategory); got != "bug" {
		t.Errorf("what the plugin said is forgotten: %q", got)
	}
	f.ok(f.handle(opened...)) // the log replays from before
	for _, r := range f.published() {
		if r.Classification.Value(triage.FieldCategory) != "" {
			t.Errorf("a replay brings it back: %+v", r)
		}
	}
	f.clock.Advance(time.Minute)
	body := crashBody + "\nIt crashes here, too.\n"
	f.check(f.github.EditIssue(f.ctx, repo, n, "reporter", nil, &body))
	f.pass()
	if results := f.published(); len(results) != 1 || results[0].EventType != triage.Classified || results[0].Classification.Value(triage.FieldCategory) != "" {
		t.Errorf("after an edit: %+v", results)
	}
	f.ok(f.handle(f.own(triage.Event{ID: "again", Kind: triage.KindReclassify, Repository: triage.Repository{ID: f.key(n).RepositoryID}, Number: n})))
	if results := f.published(); len(results) != 1 || results[0].Classification.Value(triage.FieldCategory) != "bug" {
		t.Errorf("asked for anew: %+v", results)
	}
}
