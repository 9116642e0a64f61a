package store

import (
	"fmt"
	"time"

	"github.com/dispatchai/dispatchai/core/triage"
)

// NormalizeEntry returns the row as every store keeps it; see IssueChange.Normalize.
func NormalizeEntry(e triage.LedgerEntry) (triage.LedgerEntry, error) {
	if e.Issue.RepositoryID <= 0 || e.Issue.Number <= 0 || e.Name == "" {
		return e, fmt.Errorf("ledger: label %q of %s: not a label of an issue", e.Name, e.Issue)
	}
	switch e.State {
	case triage.LedgerIntended, triage.LedgerWritten, triage.LedgerConfirmed,
		triage.LedgerRemoving, triage.LedgerRemoved, triage.LedgerVetoed, triage.LedgerForeign:
	default:
		return e, fmt.Errorf("ledger: label %q of %s: unknown state %q", e.Name, e.Issue, e.State)
	}
	e.DesiredLabel = cleanDesiredLabel(e.DesiredLabel)
	e.AskedAt = time.Time{} // a matter of the desired state alone
	e.Actor = CleanText(e.Actor)
	e.CreatedAt, e.UpdatedAt = CleanTime(e.CreatedAt), CleanTime(e.UpdatedAt)
	if e.CreatedAt.IsZero() {
		e.CreatedAt = e.UpdatedAt
	}
	return e, nil
}

// Verdict says what becomes of a row that RecordLedger was given.
type Verdict int

// What RecordLedger does with a row.
const (
	// Replace: it becomes the label's newest row; the old one becomes history.
	Replace Verdict = iota
	// Keep: the present row stays; the given one becomes history.
	Keep
	// Same: it is the present row already; nothing is written.
	Same
	// Refuse: somebody vetoed the label since the caller read the ledger; the
	// whole call fails with ErrConflict.
	Refuse
)

// JudgeEntry decides whether a normalized row may replace the label's newest
// one (nil: there is none): the rules of RecordLedger, in one place for every store.
func JudgeEntry(present *triage.LedgerEntry, next triage.LedgerEntry) Verdict {
	if present == nil {
		return Replace
	}
	if next.State == present.State && next.DesiredLabel == present.DesiredLabel &&
		next.Actor == present.Actor && next.UpdatedAt.Equal(present.UpdatedAt) {
		return Same
	}
	byPlugin := next.Source != triage.SourceHuman
	switch {
	case next.State == triage.LedgerIntended && present.State == triage.LedgerVetoed && byPlugin:
		return Refuse
	case next.State != triage.LedgerWritten:
		return Replace
	case present.State == triage.LedgerVetoed && (byPlugin || !next.UpdatedAt.After(present.UpdatedAt)):
		return Keep
	case present.State == triage.LedgerConfirmed &&
		(next.EventID == present.EventID || !next.UpdatedAt.After(present.UpdatedAt)):
		return Keep
	}
	return Replace
}

// Observe gives the label's newest row after a normalized observation of the
// event, and whether it changed: the rules of LedgerObservation, in one place
// for every store. present is nil when there is no row.
//
// GitHub's times are whole seconds, the app's own are finer; where the order
// within one second cannot be known, the human's veto wins.
func Observe(present *triage.LedgerEntry, issue triage.IssueKey, eventID string, o LedgerObservation) (next triage.LedgerEntry, changed bool) {
	if present == nil {
		if o.State != triage.LedgerVetoed {
			return triage.LedgerEntry{}, false
		}
		return triage.LedgerEntry{
			Issue:        issue,
			DesiredLabel: triage.DesiredLabel{Name: o.Label, Source: triage.SourceHuman, EventID: eventID},
			State:        triage.LedgerVetoed,
			Actor:        o.Actor,
			CreatedAt:    o.At,
			UpdatedAt:    o.At,
		}, true
	}
	next = *present
	next.State, next.Actor, next.UpdatedAt = o.State, o.Actor, o.At
	switch o.State {
	case triage.LedgerConfirmed:
		switch present.State {
		case triage.LedgerIntended, triage.LedgerWritten:
			changed = true
		case triage.LedgerVetoed, triage.LedgerRemoved, triage.LedgerRemoving:
			changed = o.At.After(present.UpdatedAt)
		}
		next.Actor = ""
	case triage.LedgerRemoved:
		switch present.State {
		case triage.LedgerRemoving:
			changed = true
		case triage.LedgerIntended, triage.LedgerWritten, triage.LedgerConfirmed:
			// Only a removal after the label was (again) meant to stand tells anything.
			changed = o.At.After(present.UpdatedAt)
		}
		next.Actor = ""
	case triage.LedgerVetoed:
		switch {
		case present.State == triage.LedgerVetoed:
			changed = o.At.After(present.UpdatedAt)
		case present.Source == triage.SourceHuman && present.State != triage.LedgerRemoved:
			// A person asked for the label; only a removal after that counts.
			changed = !o.At.Before(present.UpdatedAt.Truncate(time.Second))
		default:
			changed = true
		}
	}
	next.UpdatedAt = freshest(o.At, present.UpdatedAt)
	if o.State == triage.LedgerVetoed {
		next.UpdatedAt = o.At
	}
	return next, changed
}
