package storetest

import (
	"testing"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

var ledgerKey = triage.IssueKey{RepositoryID: 1, Number: 1}

// entry is a plugin's row of the label "kind/bug".
func entry(state triage.LedgerState, second float64) triage.LedgerEntry {
	return triage.LedgerEntry{
		Issue: ledgerKey,
		DesiredLabel: triage.DesiredLabel{
			Name: "kind/bug", Field: triage.FieldCategory, Value: "bug", Source: triage.SourcePlugin,
			Plugin: "rules", Version: "1.2.3", Confidence: 0.875, EventID: "e1",
		},
		State: state, CreatedAt: at(0), UpdatedAt: at(second),
	}
}

func record(t *testing.T, s store.Store, entries ...triage.LedgerEntry) {
	t.Helper()
	check(t, s.RecordLedger(testContext(t), entries))
}

func ledgerOf(t *testing.T, s store.Store, key triage.IssueKey) []triage.LedgerEntry {
	t.Helper()
	rows, err := s.Ledger(testContext(t), []triage.IssueKey{key, {RepositoryID: 99, Number: 9}, key})
	check(t, err)
	if _, ok := rows[triage.IssueKey{RepositoryID: 99, Number: 9}]; ok {
		t.Fatal("rows of an issue without any")
	}
	return rows[key]
}

func wantState(t *testing.T, s store.Store, want triage.LedgerState) {
	t.Helper()
	rows := ledgerOf(t, s, ledgerKey)
	if len(rows) != 1 || rows[0].State != want {
		t.Fatalf("ledger %+v, want one row that is %s", rows, want)
	}
}

var ledgerTests = map[string]func(*testing.T, store.Store){
	"rows are kept as given": func(t *testing.T, s store.Store) {
		first, second := entry(triage.LedgerIntended, 1), entry(triage.LedgerWritten, 2)
		second.Name, second.Actor = "area/parser", "bot"
		other := entry(triage.LedgerVetoed, 3)
		other.Issue.Number = 2
		record(t, s, first, second, other)
		equal(t, "issue 1", ledgerOf(t, s, ledgerKey), []triage.LedgerEntry{second, first})
		equal(t, "issue 2", ledgerOf(t, s, other.Issue), []triage.LedgerEntry{other})
		check(t, s.RecordLedger(testContext(t), nil))
		rows, err := s.Ledger(testContext(t), nil)
		check(t, err)
		equal(t, "of no issue", len(rows), 0)
	},
	"a label's life": func(t *testing.T, s store.Store) {
		for i, state := range []triage.LedgerState{triage.LedgerIntended, triage.LedgerWritten, triage.LedgerConfirmed, triage.LedgerRemoving, triage.LedgerRemoved, triage.LedgerIntended, triage.LedgerWritten} {
			next := entry(state, float64(i))
			next.EventID = []string{"e1", "e1", "e1", "e2", "e2", "e3", "e3"}[i]
			record(t, s, next)
			equal(t, string(state), ledgerOf(t, s, ledgerKey), []triage.LedgerEntry{next})
		}
	},
	"labels are compared as GitHub does": func(t *testing.T, s store.Store) {
		record(t, s, entry(triage.LedgerIntended, 1))
		shouted := entry(triage.LedgerWritten, 2)
		shouted.Name = "KIND/Bug"
		record(t, s, shouted)
		equal(t, "rows", ledgerOf(t, s, ledgerKey), []triage.LedgerEntry{shouted})
	},
	"written never replaces confirmed or vetoed of the same or a later time": func(t *testing.T, s store.Store) {
		for number, step := range []struct {
			name    string
			present triage.LedgerState
			second  float64
			human   bool
			event   string
			want    triage.LedgerState
		}{
			{"confirmed later", triage.LedgerConfirmed, 11, false, "e2", triage.LedgerConfirmed},
			{"confirmed at the same time", triage.LedgerConfirmed, 10, false, "e2", triage.LedgerConfirmed},
			{"confirmed before", triage.LedgerConfirmed, 9, false, "e2", triage.LedgerWritten},
			{"confirmed before, the same write", triage.LedgerConfirmed, 9, false, "e1", triage.LedgerConfirmed},
			{"vetoed later, a human's label", triage.LedgerVetoed, 11, true, "e2", triage.LedgerVetoed},
			{"vetoed at the same time, a human's label", triage.LedgerVetoed, 10, true, "e2", triage.LedgerVetoed},
			{"vetoed before, a human's label", triage.LedgerVetoed, 9, true, "e2", triage.LedgerWritten},
			{"vetoed later, a plugin's label", triage.LedgerVetoed, 11, false, "e2", triage.LedgerVetoed},
			{"vetoed before, a plugin's label", triage.LedgerVetoed, 9, false, "e2", triage.LedgerVetoed},
			{"removed later", triage.LedgerRemoved, 11, false, "e2", triage.LedgerWritten},
			{"intended later", triage.LedgerIntended, 11, false, "e2", triage.LedgerWritten},
		} {
			key := triage.IssueKey{RepositoryID: 2, Number: number + 1}
			present, written := entry(step.present, step.second), entry(triage.LedgerWritten, 10)
			present.Issue, written.Issue, written.EventID = key, key, step.event
			if step.human {
				written.Source = triage.SourceHuman
			}
			record(t, s, present)
			record(t, s, written)
			equal(t, step.name, ledgerOf(t, s, key)[0].State, step.want)
		}
	},
	"a plugin's intention over a veto is a conflict": func(t *testing.T, s store.Store) {
		record(t, s, entry(triage.LedgerVetoed, 1))
		other := entry(triage.LedgerIntended, 2)
		other.Name = "area/parser"
		wantError(t, s.RecordLedger(testContext(t), []triage.LedgerEntry{other, entry(triage.LedgerIntended, 2)}), store.ErrConflict)
		wantState(t, s, triage.LedgerVetoed) // nothing else was recorded, either
		asked := entry(triage.LedgerIntended, 3)
		asked.Source = triage.SourceHuman
		record(t, s, asked)
		wantState(t, s, triage.LedgerIntended)
	},
	"recorded twice": func(t *testing.T, s store.Store) {
		record(t, s, entry(triage.LedgerIntended, 1), entry(triage.LedgerIntended, 1))
		record(t, s, entry(triage.LedgerIntended, 1))
		equal(t, "rows", ledgerOf(t, s, ledgerKey), []triage.LedgerEntry{entry(triage.LedgerIntended, 1)})
	},
	"nonsense is refused": func(t *testing.T, s store.Store) {
		nameless, stateless := entry(triage.LedgerWritten, 1), entry("lost", 1)
		nameless.Name = ""
		for _, e := range []triage.LedgerEntry{nameless, stateless} {
			if err := s.RecordLedger(testContext(t), []triage.LedgerEntry{entry(triage.LedgerWritten, 1), e}); err == nil {
				t.Fatalf("%+v was recorded", e)
			}
		}
		equal(t, "rows", len(ledgerOf(t, s, ledgerKey)), 0)
	},
}

// observe applies an observation of "Kind/Bug" as an event of its own.
func observe(t *testing.T, s store.Store, eventID string, state triage.LedgerState, second float64) {
	t.Helper()
	c := partial(eventID, ledgerKey)
	c.Ledger = []store.LedgerObservation{{Label: "Kind/Bug", State: state, Actor: "maria", At: at(second)}}
	apply(t, s, c)
}

var observationTests = map[string]func(*testing.T, store.Store){
	"without a row only a veto is kept": func(t *testing.T, s store.Store) {
		apply(t, s, received("e0", newIssue(1, 1, 0), 1))
		observe(t, s, "o1", triage.LedgerConfirmed, 1)
		observe(t, s, "o2", triage.LedgerRemoved, 2)
		equal(t, "rows", len(ledgerOf(t, s, ledgerKey)), 0)
		observe(t, s, "o3", triage.LedgerVetoed, 3)
		equal(t, "rows", ledgerOf(t, s, ledgerKey), []triage.LedgerEntry{{
			Issue: ledgerKey, DesiredLabel: triage.DesiredLabel{Name: "Kind/Bug", Source: triage.SourceHuman, EventID: "o3"},
			State: triage.LedgerVetoed, Actor: "maria", CreatedAt: at(3), UpdatedAt: at(3),
		}})
	},
	"our write comes back": func(t *testing.T, s store.Store) {
		apply(t, s, received("e0", newIssue(1, 1, 0), 1))
		record(t, s, entry(triage.LedgerWritten, 10))
		observe(t, s, "o1", triage.LedgerConfirmed, 9) // GitHub's clock is behind
		want := entry(triage.LedgerConfirmed, 10)
		equal(t, "rows", ledgerOf(t, s, ledgerKey), []triage.LedgerEntry{want})
	},
	"our write comes back before it is recorded": func(t *testing.T, s store.Store) {
		apply(t, s, received("e0", newIssue(1, 1, 0), 1))
		record(t, s, entry(triage.LedgerIntended, 10))
		observe(t, s, "o1", triage.LedgerConfirmed, 11)
		record(t, s, entry(triage.LedgerWritten, 12))
		wantState(t, s, triage.LedgerConfirmed)
	},
	"our removal comes back": func(t *testing.T, s store.Store) {
		apply(t, s, received("e0", newIssue(1, 1, 0), 1))
		record(t, s, entry(triage.LedgerRemoving, 10))
		observe(t, s, "o1", triage.LedgerRemoved, 9)
		wantState(t, s, triage.LedgerRemoved)
		record(t, s, entry(triage.LedgerWritten, 20))
		observe(t, s, "o2", triage.LedgerRemoved, 9) // of the former life
		wantState(t, s, triage.LedgerWritten)
		observe(t, s, "o3", triage.LedgerRemoved, 21)
		wantState(t, s, triage.LedgerRemoved)
	},
	"a veto keeps what it vetoes": func(t *testing.T, s store.Store) {
		apply(t, s, received("e0", newIssue(1, 1, 0), 1))
		record(t, s, entry(triage.LedgerConfirmed, 10))
		observe(t, s, "o1", triage.LedgerVetoed, 20)
		want := entry(triage.LedgerVetoed, 20)
		want.Actor = "maria"
		equal(t, "rows", ledgerOf(t, s, ledgerKey), []triage.LedgerEntry{want})
	},
	"a veto stands over a plugin's label however late it comes": func(t *testing.T, s store.Store) {
		apply(t, s, received("e0", newIssue(1, 1, 0), 1))
		for i, state := range []triage.LedgerState{triage.LedgerIntended, triage.LedgerWritten, triage.LedgerConfirmed, triage.LedgerRemoving, triage.LedgerRemoved} {
			key := triage.IssueKey{RepositoryID: 1, Number: 10 + i}
			apply(t, s, received("i"+string(state), newIssue(1, key.Number, 0), 1))
			row := entry(state, 10)
			row.Issue = key
			record(t, s, row)
			c := partial("o"+string(state), key)
			c.Ledger = []store.LedgerObservation{{Label: "kind/bug", State: triage.LedgerVetoed, At: at(5)}}
			apply(t, s, c)
			equal(t, string(state), ledgerOf(t, s, key)[0].State, triage.LedgerVetoed)
		}
	},
	"a veto from before a person asked for the label": func(t *testing.T, s store.Store) {
		apply(t, s, received("e0", newIssue(1, 1, 0), 1))
		asked := entry(triage.LedgerWritten, 10)
		asked.Source = triage.SourceHuman
		record(t, s, asked)
		observe(t, s, "o1", triage.LedgerVetoed, 5)
		wantState(t, s, triage.LedgerWritten)
		observe(t, s, "o2", triage.LedgerVetoed, 9.9) // the same second, to GitHub
		wantState(t, s, triage.LedgerVetoed)
	},
	"a confirmation never lifts a later veto": func(t *testing.T, s store.Store) {
		apply(t, s, received("e0", newIssue(1, 1, 0), 1))
		record(t, s, entry(triage.LedgerWritten, 10))
		observe(t, s, "o1", triage.LedgerVetoed, 20)
		observe(t, s, "o2", triage.LedgerConfirmed, 15)
		wantState(t, s, triage.LedgerVetoed)
		observe(t, s, "o3", triage.LedgerConfirmed, 20) // within the second the veto wins
		wantState(t, s, triage.LedgerVetoed)
		observe(t, s, "o4", triage.LedgerConfirmed, 25)
		wantState(t, s, triage.LedgerConfirmed)
	},
	"the newest veto names its actor": func(t *testing.T, s store.Store) {
		apply(t, s, received("e0", newIssue(1, 1, 0), 1))
		observe(t, s, "o1", triage.LedgerVetoed, 20)
		c := partial("o2", ledgerKey)
		c.Ledger = []store.LedgerObservation{{Label: "kind/bug", State: triage.LedgerVetoed, Actor: "early", At: at(10)}}
		apply(t, s, c)
		equal(t, "actor", ledgerOf(t, s, ledgerKey)[0].Actor, "maria")
		c.EventID, c.Ledger[0].Actor, c.Ledger[0].At = "o3", "late", at(30)
		apply(t, s, c)
		equal(t, "actor", ledgerOf(t, s, ledgerKey)[0].Actor, "late")
	},
	"observations count once per event, whatever the issue's age": func(t *testing.T, s store.Store) {
		apply(t, s, received("e0", newIssue(1, 1, 100), 1))
		record(t, s, entry(triage.LedgerWritten, 10))
		stale := received("o1", newIssue(1, 1, 1), 0)
		stale.Ledger = []store.LedgerObservation{{Label: "kind/bug", State: triage.LedgerVetoed, At: at(20)}}
		apply(t, s, stale)
		wantState(t, s, triage.LedgerVetoed)
		asked := entry(triage.LedgerIntended, 30)
		asked.Source = triage.SourceHuman
		record(t, s, asked)
		apply(t, s, stale)
		wantState(t, s, triage.LedgerIntended)
	},
	"only what can be observed": func(t *testing.T, s store.Store) {
		c := received("e0", newIssue(1, 1, 0), 1)
		c.Ledger = []store.LedgerObservation{{Label: "kind/bug", State: triage.LedgerIntended, At: at(1)}}
		if _, err := s.ApplyIssues(testContext(t), []store.IssueChange{c}); err == nil {
			t.Fatal("an intention was observed")
		}
	},
}
