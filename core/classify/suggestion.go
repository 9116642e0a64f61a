package classify

import (
	"errors"
	"slices"
	"time"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// decideDismissal takes a suggestion that a person dismissed for a veto of the
// label, and for a correction as if the label had been taken off.
func decideDismissal(k *work) error {
	e := k.event
	if e.Label == nil {
		return eventlog.Permanent(errors.New("a dismissal without a label"))
	}
	k.change.EventType = triage.Updated
	k.change.Ledger = []store.LedgerObservation{{Label: e.Label.Name, State: triage.LedgerVetoed, Actor: e.Sender.Login, At: e.ReceivedAt}}
	issue := k.state.Issue
	issue.UpdatedAt = time.Time{} // the dismissal is no change of the issue: it counts from when it was seen
	e.Action, e.Issue = "unlabeled", &issue
	k.change.Corrections = triage.CorrectionsFromLabel(e, k.catalogue.taxonomy, k.state.Effective())
	for i := range k.change.Corrections {
		k.change.EventType = triage.Corrected
		k.change.Corrections[i].Reason = "dismissed the suggestion of " + e.Label.Name
	}
	return nil
}

// approval is the correction that a person makes by putting a label on an issue
// for which it was only suggested: the answer is theirs from then on. Of a field
// with several values it says nothing about the others, and so corrects nothing.
func approval(k *work) []triage.Correction {
	e, held := k.event, k.state.Effective()
	m, ok := k.catalogue.taxonomy.Means(e.Label.Name)
	if !ok || held == nil || e.Action != "labeled" || m.Field.Multiple() || k.config().ModeOf(m.Field) != triage.ModeSuggest {
		return nil
	}
	answer := held.Fields[m.Field]
	if answer.Source == triage.SourceHuman || !slices.Contains(answer.Values, m.Value) {
		return nil
	}
	return []triage.Correction{{
		EventID: e.ID, Issue: k.key, Field: m.Field, Old: slices.Clone(answer.Values), New: []string{m.Value},
		Actor: e.Sender.Login, Source: triage.FromGitHub, At: e.ReceivedAt, Reason: "approved " + e.Label.Name,
	}}
}
