package triage

import "time"

// DesiredLabel is a label the app wants on an issue, with its provenance.
type DesiredLabel struct {
	Name  string `json:"name"`
	Field Field  `json:"field"`
	Value string `json:"value"`
	// Source is SourceHuman when a person asked for it in a correction.
	Source     Source  `json:"source"`
	Plugin     string  `json:"plugin,omitempty"`
	Version    string  `json:"version,omitempty"`
	Confidence float64 `json:"confidence"`
	// EventID is the delivery or correction it follows from.
	EventID string `json:"event_id"`
	// AskedAt is when the person asked for it, zero for a plugin's wish. Of a
	// label that somebody took off, only a later request lifts the veto.
	AskedAt time.Time `json:"asked_at,omitzero"`
}

// LedgerState is where one label of one issue stands between the app and the people.
type LedgerState string

// The life of a label the app writes. A row starts Intended, before the call
// to GitHub, so that a crash in between is seen.
const (
	LedgerIntended  LedgerState = "intended"  // about to be added
	LedgerWritten   LedgerState = "written"   // GitHub answered that it was added
	LedgerConfirmed LedgerState = "confirmed" // the webhook of our own write came back
	LedgerRemoving  LedgerState = "removing"  // about to be taken off by the app
	LedgerRemoved   LedgerState = "removed"   // taken off by the app itself
	LedgerVetoed    LedgerState = "vetoed"    // taken off by somebody else: never added again by a plugin
	LedgerForeign   LedgerState = "foreign"   // wanted, but somebody else had put it there: theirs, never taken off
)

// Holds tells whether the app believes that its label stands on the issue.
func (s LedgerState) Holds() bool {
	return s == LedgerWritten || s == LedgerConfirmed || s == LedgerRemoving
}

// LedgerEntry is the newest ledger row of one label on one issue.
type LedgerEntry struct {
	Issue IssueKey `json:"issue"`
	DesiredLabel
	State LedgerState `json:"state"`
	// Actor is who took the label off (Vetoed) or put it there (Foreign), where it is known.
	Actor     string    `json:"actor,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}
