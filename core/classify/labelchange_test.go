package classify_test

import (
	"slices"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/app/simulate"
	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/triage"
)

func TestLabelsOfAFormTeachNothing(t *testing.T) {
	f := newFixture(t)
	n := f.open(crashTitle, crashBody, "question", "area/docs")
	records := f.take()
	if len(records) != 4 { // installation, opened, two labeled
		t.Fatalf("GitHub sent %d events", len(records))
	}
	f.ok(f.handle(records...))
	if s := f.state(n); len(s.Corrections) != 0 || s.Effective().Value(triage.FieldCategory) != "bug" {
		t.Errorf("a form's labels became %+v", s.Corrections)
	}
	if len(f.ledger(n)) != 0 {
		t.Errorf("a form's labels are in the ledger: %+v", f.ledger(n))
	}
}

func TestPeoplesLabelChangesAreCorrections(t *testing.T) {
	f := newFixture(t)
	n := f.open(crashTitle, crashBody)
	f.pass()
	if got := f.state(n).Effective().Value(triage.FieldCategory); got != "bug" {
		t.Fatalf("classified as %q", got)
	}
	f.published()

	f.clock.Advance(time.Minute)
	f.check(f.github.AddLabel(f.ctx, repo, n, "tom", "question"))
	f.pass()
	f.clock.Advance(time.Minute)
	f.check(f.github.AddLabel(f.ctx, repo, n, "tom", "area/docs"))
	f.pass()
	f.clock.Advance(time.Minute)
	f.check(f.github.RemoveLabel(f.ctx, repo, n, admin, "area/docs"))
	f.pass()

	results := f.published()
	if len(results) != 3 {
		t.Fatalf("%d results, want 3", len(results))
	}
	for i, want := range []triage.Correction{
		{Field: triage.FieldCategory, Old: []string{"bug"}, New: []string{"question"}, Actor: "tom"},
		{Field: triage.FieldComponent, New: []string{"docs"}, Actor: "tom"},
		{Field: triage.FieldComponent, Old: []string{"docs"}, New: []string{}, Actor: admin},
	} {
		if results[i].EventType != triage.Corrected || len(results[i].Corrections) != 1 {
			t.Fatalf("result %d is %+v", i, results[i])
		}
		c := results[i].Corrections[0]
		if c.Field != want.Field || want.Old != nil && !slices.Equal(c.Old, want.Old) || !slices.Equal(c.New, want.New) ||
			c.Actor != want.Actor || c.Source != triage.FromGitHub || c.EventID != results[i].EventID {
			t.Errorf("correction %d is %+v, want %+v", i, c, want)
		}
	}
	s := f.state(n)
	if s.Effective().Value(triage.FieldCategory) != "question" || s.Effective().Value(triage.FieldComponent) != "" {
		t.Errorf("held to be true: %+v", s.Effective())
	}
	// Taking a label off is a veto, whoever had put it on.
	if e := f.ledger(n)["area/docs"]; e.State != triage.LedgerVetoed || e.Actor != admin {
		t.Errorf("the ledger says %+v of the label that was taken off", e)
	}
	if got := f.counter("dispatchai_classify_corrections_total"); got != 3 {
		t.Errorf("%v corrections counted, want 3", got)
	}
}

func TestOtherBotsTeachNothing(t *testing.T) {
	f := newFixture(t)
	n := f.open(crashTitle, crashBody)
	f.pass()
	f.clock.Advance(time.Minute)
	f.check(f.github.AddLabel(f.ctx, repo, n, "stale[bot]", "question"))
	f.pass()
	if s := f.state(n); len(s.Corrections) != 0 || len(f.ledger(n)) != 0 {
		t.Errorf("another bot's label became %+v, %+v", s.Corrections, f.ledger(n))
	}
	f.clock.Advance(time.Minute)
	f.check(f.github.RemoveLabel(f.ctx, repo, n, "stale[bot]", "question"))
	f.pass()
	if s := f.state(n); len(s.Corrections) != 0 || f.ledger(n)["question"].State != triage.LedgerVetoed {
		t.Errorf("another bot's removal became %+v, %+v", s.Corrections, f.ledger(n))
	}
}

// intend puts a label into the ledger and on the issue, as the label worker does.
func (f *fixture) intend(number int, name string) {
	f.Helper()
	entry := triage.LedgerEntry{
		Issue: f.key(number), State: triage.LedgerIntended, CreatedAt: f.clock.Now(), UpdatedAt: f.clock.Now(),
		DesiredLabel: triage.DesiredLabel{Name: name, Field: triage.FieldCategory, Value: name, Source: triage.SourcePlugin, Plugin: "rules", EventID: "x"},
	}
	f.check(f.store.RecordLedger(f.ctx, []triage.LedgerEntry{entry}))
	s := f.state(number)
	_, err := f.client.AddLabels(f.ctx, s.Issue.Repository.InstallationID, s.Issue.Repository, number, []string{name})
	f.check(err)
}

func TestOwnLabelEventsConfirmTheLedger(t *testing.T) {
	f := newFixture(t)
	n := f.open(crashTitle, crashBody)
	f.pass()
	f.published()
	f.clock.Advance(time.Minute)
	f.intend(n, "bug")
	labelled := f.take()
	f.ok(f.handle(labelled...))
	if e := f.ledger(n)["bug"]; e.State != triage.LedgerConfirmed || e.Plugin != "rules" {
		t.Errorf("after our own labeled event the ledger says %+v", e)
	}
	if s := f.state(n); len(s.Corrections) != 0 || len(f.published()) != 0 {
		t.Error("our own label was taken for a correction")
	}

	f.clock.Advance(time.Minute)
	f.check(f.github.RemoveLabel(f.ctx, repo, n, admin, "bug"))
	f.pass()
	if e := f.ledger(n)["bug"]; e.State != triage.LedgerVetoed || e.Actor != admin {
		t.Errorf("after a person took it off the ledger says %+v", e)
	}
	// Our own event, once more under another GUID, does not lift the veto.
	again := *labelled[0]
	again.SetHeader(eventlog.HeaderDelivery, "another-guid")
	f.ok(f.handle(&again))
	if e := f.ledger(n)["bug"]; e.State != triage.LedgerVetoed {
		t.Errorf("a late confirmation lifted the veto: %+v", e)
	}
}

func TestAnUndoneChangeThatArrivesLateChangesNothing(t *testing.T) {
	f := newFixture(t)
	n := f.open(crashTitle, crashBody)
	f.pass()
	f.clock.Advance(time.Minute)
	f.intend(n, "bug")
	f.pass()
	f.clock.Advance(time.Minute)
	f.check(f.github.RemoveLabel(f.ctx, repo, n, admin, "bug"))
	late := f.take()
	f.clock.Advance(time.Minute)
	f.check(f.github.AddLabel(f.ctx, repo, n, admin, "bug"))
	f.pass()
	before := f.state(n)
	f.ok(f.handle(late...))
	if s := f.state(n); len(s.Corrections) != len(before.Corrections) || s.Effective().Value(triage.FieldCategory) != "bug" {
		t.Errorf("corrections %+v", s.Corrections)
	}
	if e := f.ledger(n)["bug"]; e.State == triage.LedgerVetoed {
		t.Errorf("the ledger holds a veto that was lifted: %+v", e)
	}
}

func TestAppNameIsNeededForBotsOnly(t *testing.T) {
	f := newFixture(t)
	n := f.open(crashTitle, crashBody)
	f.pass()
	f.github.InjectFault(simulate.Fault{Route: "GET /app", Status: 502, Times: 1})
	f.clock.Advance(time.Minute)
	f.check(f.github.AddLabel(f.ctx, repo, n, "stale[bot]", "question"))
	records := f.take()
	if got := f.handle(records...); !waits(got[0]) {
		t.Errorf("a bot's change while GitHub is away: %v", got[0])
	}
	f.ok(f.handle(records...))
	if records[0].Header(eventlog.HeaderEvent) != github.EventIssues {
		t.Errorf("the event is %q", records[0].Header(eventlog.HeaderEvent))
	}
}

func TestASwapOfLabelsWithinOneSecond(t *testing.T) {
	for name, reversed := range map[string]bool{"in order": false, "reversed": true} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			n := f.open(crashTitle, crashBody)
			f.pass()
			f.clock.Advance(time.Minute)
			f.intend(n, "bug")
			f.pass()
			f.clock.Advance(time.Minute)
			f.check(f.github.RemoveLabel(f.ctx, repo, n, admin, "bug"))
			f.check(f.github.AddLabel(f.ctx, repo, n, admin, "question"))
			records := f.take()
			if reversed {
				slices.Reverse(records)
			}
			f.ok(f.handle(records...))
			s := f.state(n)
			if got := s.Effective().Value(triage.FieldCategory); got != "question" {
				t.Errorf("held to be true: %q with the corrections %+v", got, s.Corrections)
			}
			if e := f.ledger(n)["bug"]; e.State != triage.LedgerVetoed {
				t.Errorf("the ledger says %+v", e)
			}
		})
	}
}
