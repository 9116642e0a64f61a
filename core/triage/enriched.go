package triage

import "time"

// EventType says why a record of issues.enriched was written.
type EventType string

// The event types of issues.enriched.
const (
	// Classified: the issue was classified, or a stored result was emitted again.
	Classified EventType = "classified"
	// Corrected: a human changed a field.
	Corrected EventType = "corrected"
	// Updated: the issue itself changed (closed, labelled, renamed) and its
	// classification stands as it was.
	Updated EventType = "updated"
	// Directed: what is to be done about the issue changed though nobody
	// classified or corrected it: answers were withdrawn, or a person told the
	// app to leave it alone or to go on.
	Directed EventType = "directed"
)

// Enriched is the value of a record on issues.enriched: the issue, what is
// held to be true of it now, and its neighbours.
type Enriched struct {
	EventType EventType `json:"event_type"`
	// EventID is the event that caused the record; the same event emitted twice says the same.
	EventID string `json:"event_id"`
	// Revision grows with every change of the issue; a record with a lower one
	// than was seen is an old record seen again.
	Revision int64 `json:"revision"`
	// ReceivedAt is when the issue was first heard of.
	ReceivedAt time.Time `json:"received_at"`
	Issue      Issue     `json:"issue"`
	// Classification is the effective one (see Effective); it is nil for an
	// issue that changed before it was classified.
	Classification *Classification `json:"classification"`
	SimilarIssues  []Neighbour     `json:"similar_issues"`
	Corrections    []Correction    `json:"corrections,omitempty"`
	// Ignored tells that nothing is to be written on the issue.
	Ignored bool `json:"ignored,omitempty"`
	// Request is what its author is to be asked, nil for nothing.
	Request *InfoRequest `json:"request,omitempty"`
	// Reactions are to be given to comments that the event brought.
	Reactions []Reaction `json:"reactions,omitempty"`
}
