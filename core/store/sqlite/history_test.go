package sqlite

import (
	"slices"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// column reads one column of text, in the order of the query.
func column(t *testing.T, s *Store, query string) []string {
	t.Helper()
	rows, err := s.reader.db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	if err := scanAll(rows, func() error {
		var v string
		err := rows.Scan(&v)
		values = append(values, v)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return values
}

func TestHistoryIsKept(t *testing.T) {
	s := openStore(t, Options{})
	for _, event := range []string{"e1", "e2", "e3"} {
		c := smallChange(event, 1)
		c.Classification = &triage.Classification{DeliveryID: event}
		applyAll(t, s, c)
	}
	if got := column(t, s, "SELECT delivery_id FROM issue_classification_history ORDER BY id"); !slices.Equal(got, []string{"e1", "e2"}) {
		t.Errorf("classifications %v", got)
	}
	record := func(state triage.LedgerState, second int64) {
		t.Helper()
		if err := s.RecordLedger(t.Context(), []triage.LedgerEntry{{
			Issue: triage.IssueKey{RepositoryID: 1, Number: 1}, DesiredLabel: triage.DesiredLabel{Name: "bug", EventID: "e1"},
			State: state, UpdatedAt: time.Unix(second, 0),
		}}); err != nil {
			t.Fatal(err)
		}
	}
	record(triage.LedgerIntended, 1)
	record(triage.LedgerIntended, 1) // told twice
	record(triage.LedgerConfirmed, 5)
	record(triage.LedgerWritten, 3) // came late, and is kept all the same
	veto := smallChange("e4", 1)
	veto.Ledger = []store.LedgerObservation{{Label: "BUG", State: triage.LedgerVetoed, At: time.Unix(9, 0)}}
	applyAll(t, s, veto)
	if got := column(t, s, "SELECT state FROM label_ledger_history ORDER BY id"); !slices.Equal(got, []string{"intended", "written", "confirmed"}) {
		t.Errorf("ledger %v", got)
	}
	if got := column(t, s, "SELECT state FROM label_ledger"); !slices.Equal(got, []string{"vetoed"}) {
		t.Errorf("newest %v", got)
	}
}
