package label_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/app/simulate"
	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/label"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

func TestAResultBecomesLabelsOnGitHub(t *testing.T) {
	f := unlimited(t)
	repo := f.repository("octo", "parser")
	w := f.start("one")
	issue := f.open(repo)
	record := f.result(repo, issue, says{"category": "bug", "component": "lexer", "priority": "high"})
	f.give(w, record)
	f.want(repo, issue.Number, "bug", "area/lexer") // the repository has no label for a priority
	f.settled()
	e := f.ledger(issue)["bug"]
	if e.State != triage.LedgerWritten || e.Plugin != "rules" || e.Version != "1.0.0" || e.Confidence != 0.99 || e.EventID == "" {
		t.Errorf("the ledger says %+v", e)
	}
	for range 4 {
		f.give(w, record) // the log replays
	}
	f.settled()
	f.once(repo, issue.Number, "bug", "area/lexer")
	if got := f.github.Requests()[addRoute]; got != 1 {
		t.Errorf("%d writes, want one for both labels", got)
	}
	if labels, err := f.github.Labels(repo); err != nil || len(labels) != len(standardLabels) {
		t.Errorf("the repository has the labels %v (%v)", labels, err)
	}
}

func TestResultsThatAskForNothing(t *testing.T) {
	f := unlimited(t)
	repo := f.repository("octo", "parser")
	w := f.start("one")
	issue := f.open(repo)
	updated := f.result(repo, issue, says{"category": "bug"})
	updated.Value = []byte(strings.Replace(string(updated.Value), `"classified"`, `"updated"`, 1))
	f.give(w, updated)
	if n, err := f.store.DesiredPending(f.ctx); n != 0 || err != nil {
		t.Errorf("%d rows of an update (%v)", n, err)
	}
	f.give(w, f.result(repo, issue, says{"summary": "It crashes."}))
	f.settled()
	if got := f.github.Requests()[readRoute]; got != 0 {
		t.Errorf("GitHub was asked %d times about an issue that needs nothing", got)
	}
	if got := w.counter(f, "dispatchai_label_issues_total", "unlabelled"); got != 1 {
		t.Errorf("%v unlabelled issues counted", got)
	}
}

func TestBadResultsDieAloneAndOutagesAreWaitedFor(t *testing.T) {
	f := unlimited(t)
	repo := f.repository("octo", "parser")
	w := f.make("one")
	good := f.result(repo, f.open(repo), says{"category": "bug"})
	junk := &eventlog.Record{Topic: eventlog.TopicIssuesEnriched, Value: []byte("junk")}
	nobody := f.result(repo, triage.IssueKey{RepositoryID: 1}, says{"category": "bug"})
	got := w.HandleEnriched(f.ctx, []*eventlog.Record{junk, good, nobody})
	if !eventlog.IsPermanent(got[0]) || got[1] != nil || !eventlog.IsPermanent(got[2]) {
		t.Errorf("outcomes %v", got)
	}
	f.check(f.store.Close())
	again := f.result(repo, f.key(repo, 1), says{"category": "bug"})
	if got := w.HandleEnriched(f.ctx, []*eventlog.Record{again}); got[0] == nil || !strings.Contains(got[0].Error(), "(retry after") {
		t.Errorf("while the store is away: %v", got[0])
	}
}

func (f *fixture) key(full string, number int) triage.IssueKey {
	return triage.IssueKey{RepositoryID: f.known(full).ID, Number: number}
}

func TestALabelDeletedMeanwhileIsNotCreatedAnew(t *testing.T) {
	for name, news := range map[string]bool{"its event came": true, "its event was lost": false} {
		t.Run(name, func(t *testing.T) {
			f := unlimited(t)
			repo := f.repository("octo", "parser")
			issue := f.open(repo)
			w := f.make("one")
			f.give(w, f.result(repo, issue, says{"category": "bug", "component": "lexer"}))
			f.check(f.github.DeleteLabel(f.ctx, repo, "maria", "bug"))
			if news {
				f.check(f.store.ApplyInstallation(f.ctx, store.InstallationChange{
					EventID: "deleted", At: f.now(), LabelRepositoryID: issue.RepositoryID, DeletedLabel: "bug",
				}))
			} else {
				f.shift.Store(int64(6 * time.Minute)) // the set is read again when it is old
			}
			w = f.start("two")
			f.want(repo, issue.Number, "area/lexer")
			f.settled()
			f.once(repo, issue.Number, "area/lexer")
			if labels, err := f.github.Labels(repo); err != nil || len(labels) != len(standardLabels)-1 {
				t.Errorf("the repository has the labels %v (%v)", labels, err)
			}
			if got := w.counter(f, "dispatchai_label_skipped_total", string(triage.SkipUnknown)); got != 1 {
				t.Errorf("%v unknown labels counted", got)
			}
		})
	}
}

func TestWhatPeopleTakeOffStaysOff(t *testing.T) {
	f := unlimited(t)
	repo := f.repository("octo", "parser")
	w := f.start("one")
	issue := f.open(repo)
	f.give(w, f.result(repo, issue, says{"category": "bug"}))
	f.want(repo, issue.Number, "bug")
	f.settled()
	f.check(f.github.RemoveLabel(f.ctx, repo, issue.Number, "maria", "bug"))
	f.give(w, f.result(repo, issue, says{"category": "bug", "component": "lexer"}))
	f.want(repo, issue.Number, "area/lexer")
	f.settled()
	f.once(repo, issue.Number, "bug", "area/lexer")
	if e := f.ledger(issue)["bug"]; e.State != triage.LedgerVetoed || e.Actor != "maria" {
		t.Errorf("the ledger says %+v", e)
	}

	// She puts it back: it is hers now, and stays when the plugin changes its mind.
	f.check(f.github.AddLabel(f.ctx, repo, issue.Number, "maria", "bug"))
	f.give(w, f.result(repo, issue, says{"category": "question", "component": "lexer"}))
	f.settled()
	f.want(repo, issue.Number, "area/lexer", "bug")
	f.once(repo, issue.Number, "bug", "area/lexer")
}

func TestACorrectionReplacesTheLabel(t *testing.T) {
	f := unlimited(t)
	repo := f.repository("octo", "parser")
	w := f.start("one")
	issue := f.open(repo)
	f.give(w, f.result(repo, issue, says{"category": "bug", "component": "lexer"}))
	f.want(repo, issue.Number, "bug", "area/lexer")
	f.settled()
	f.give(w, f.result(repo, issue, says{"category": "!question", "component": "lexer"}))
	f.want(repo, issue.Number, "question", "area/lexer")
	f.settled()
	if l := f.ledger(issue); l["bug"].State != triage.LedgerRemoved || l["question"].Source != triage.SourceHuman {
		t.Errorf("the ledger says %+v", l)
	}
	f.once(repo, issue.Number, "bug", "area/lexer", "question")
}

func TestAPersonsRequestLiftsAVeto(t *testing.T) {
	f := unlimited(t)
	repo := f.repository("octo", "parser")
	w := f.start("one")
	issue := f.open(repo)
	f.give(w, f.result(repo, issue, says{"category": "bug"}))
	f.want(repo, issue.Number, "bug")
	f.settled()
	f.check(f.github.RemoveLabel(f.ctx, repo, issue.Number, "maria", "bug"))
	f.shift.Store(int64(2 * time.Second)) // GitHub's times are whole seconds
	f.give(w, f.result(repo, issue, says{"category": "!bug"}))
	f.want(repo, issue.Number, "bug")
	f.settled()
}

func TestAWriteWhoseAnswerWasLostIsNotRepeated(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]simulate.Fault{
		"502":        {Status: http.StatusBadGateway},
		"no answer":  {Disconnect: true},
		"cut before": {Status: http.StatusServiceUnavailable, RetryAfter: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			f := unlimited(t)
			repo := f.repository("octo", "parser")
			fault.Route, fault.Times, fault.AfterEffect = addRoute, 1, name != "cut before"
			injected := f.github.InjectFault(fault)
			w := f.start("one")
			issue := f.open(repo)
			f.give(w, f.result(repo, issue, says{"category": "bug"}))
			f.until("the fault has struck", func() bool { return injected.Hits() == 1 })
			f.until("the row was put off", func() bool { return w.counter(f, "dispatchai_label_issues_total", "postponed") == 1 })
			f.shift.Store(int64(10 * time.Second)) // past the pause
			f.settled()
			f.want(repo, issue.Number, "bug")
			f.once(repo, issue.Number, "bug")
			if e := f.ledger(issue)["bug"]; e.State != triage.LedgerWritten {
				t.Errorf("the ledger says %+v", e)
			}
		})
	}
}

func TestAnIssueOrRepositoryThatIsGoneIsSettled(t *testing.T) {
	f := unlimited(t)
	repo, lost := f.repository("octo", "parser"), f.repository("octo", "lost")
	deleted, orphan, fine := f.open(repo), f.open(lost), f.open(repo)
	w := f.make("one")
	f.give(w, f.result(repo, deleted, says{"category": "bug"}), f.result(lost, orphan, says{"category": "bug"}), f.result(repo, fine, says{"category": "bug"}))
	f.check(f.github.DeleteIssue(f.ctx, repo, deleted.Number, "maria"))
	f.check(f.github.DeleteRepository(f.ctx, lost, "maria")) // its event is lost, too
	f.shift.Store(int64(6 * time.Minute))                    // so that the label sets are read again
	w = f.start("two")
	f.want(repo, fine.Number, "bug")
	f.settled()
	if got := w.counter(f, "dispatchai_label_issues_total", "gone"); got != 2 {
		t.Errorf("%v gone issues counted, want 2", got)
	}
}

func TestARefusedRepositoryHoldsUpNoOther(t *testing.T) {
	f := unlimited(t)
	repo, closed := f.repository("octo", "parser"), f.repository("octo", "closed")
	first, second := f.open(closed), f.open(repo)
	w := f.make("one")
	f.give(w, f.result(closed, first, says{"category": "bug"}))
	f.give(w, f.result(repo, second, says{"category": "bug"}))
	f.github.InjectFault(simulate.Fault{Route: readRoute, Status: http.StatusUnavailableForLegalReasons, Match: func(r *http.Request) bool {
		return strings.Contains(r.URL.Path, "octo/closed")
	}})
	w = f.start("two", func(c *label.Config) { c.PerInstallation = 1 })
	f.want(repo, second.Number, "bug")
	f.until("the other one was put off", func() bool { return w.counter(f, "dispatchai_label_issues_total", "postponed") == 1 })
	f.until("the good one is settled", func() bool { return w.counter(f, "dispatchai_label_issues_total", "labelled") == 1 })
	f.until("only the refused one waits", func() bool { n, err := f.store.DesiredPending(f.ctx); return n == 1 && err == nil })
}

func TestARequestThatGitHubRefusesIsGivenUp(t *testing.T) {
	f := unlimited(t)
	repo := f.repository("octo", "parser")
	issue := f.open(repo)
	f.github.InjectFault(simulate.Fault{Route: addRoute, Status: http.StatusUnprocessableEntity})
	w := f.start("one")
	f.give(w, f.result(repo, issue, says{"category": "bug"}))
	f.settled()
	if got := w.counter(f, "dispatchai_label_issues_total", "refused"); got != 1 {
		t.Errorf("%v refused issues counted", got)
	}
}

// vetoing is a store in which a veto arrives just before an intent is recorded.
type vetoing struct {
	store.Store
	veto func()
}

func (v *vetoing) RecordLedger(ctx context.Context, entries []triage.LedgerEntry) error {
	if veto := v.veto; veto != nil && entries[0].State == triage.LedgerIntended {
		v.veto = nil
		veto()
	}
	return v.Store.RecordLedger(ctx, entries)
}

func TestAVetoThatComesBetweenPlanAndIntent(t *testing.T) {
	f := unlimited(t)
	repo := f.repository("octo", "parser")
	issue := f.open(repo)
	f.check(f.github.AddLabel(f.ctx, repo, issue.Number, "maria", "bug"))
	f.check(f.github.RemoveLabel(f.ctx, repo, issue.Number, "maria", "bug"))
	s := &vetoing{Store: f.store}
	s.veto = func() {
		err := f.store.RecordLedger(f.ctx, []triage.LedgerEntry{{
			Issue: issue, DesiredLabel: triage.DesiredLabel{Name: "bug", Source: triage.SourceHuman}, State: triage.LedgerVetoed, Actor: "maria", UpdatedAt: f.now(),
		}})
		if err != nil {
			t.Error(err)
		}
	}
	w := f.start("one", func(c *label.Config) { c.Store = s })
	f.give(w, f.result(repo, issue, says{"category": "bug"}))
	f.settled()
	f.once(repo, issue.Number)
	if got := w.counter(f, "dispatchai_label_issues_total", "labelled"); got != 1 {
		t.Errorf("the row was not settled by planning again: %v", got)
	}
	if err := f.store.RecordLedger(f.ctx, []triage.LedgerEntry{{
		Issue: issue, DesiredLabel: triage.DesiredLabel{Name: "bug", Source: triage.SourcePlugin}, State: triage.LedgerIntended, UpdatedAt: f.now(),
	}}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("the veto does not hold: %v", err)
	}
}

// FuzzHandleEnriched shows that no record, whatever is in it, blocks its
// partition: it is done, or it dies.
func FuzzHandleEnriched(f *testing.F) {
	fixture := unlimited(f)
	repo := fixture.repository("octo", "parser")
	w := fixture.make("one")
	for _, values := range []says{{"category": "bug"}, {"category": "!question", "tags": "x"}, {}} {
		f.Add(fixture.result(repo, fixture.open(repo), values).Value)
	}
	f.Add([]byte(`{"event_type":"classified","classification":{},"issue":{"repository":{"id":-1},"number":1}}`))
	f.Add([]byte(`{"event_type":"corrected","revision":-9,"classification":{"fields":{"category":{"values":["bug",""],"confidence":1e308}}},"issue":{"repository":{"id":9,"installation_id":-3},"number":2147483647}}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		r := &eventlog.Record{Topic: eventlog.TopicIssuesEnriched, Value: value}
		got := w.HandleEnriched(t.Context(), []*eventlog.Record{r})
		if len(got) != 1 || got[0] != nil && strings.Contains(got[0].Error(), "(retry after") {
			t.Errorf("outcomes %v", got)
		}
	})
}
