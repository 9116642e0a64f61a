package triage

import (
	"slices"
	"time"
)

// Field is one thing a classification says about an issue.
type Field string

// Every field of a classification, in the order they are shown.
const (
	FieldCategory  Field = "category"
	FieldPriority  Field = "priority"
	FieldSeverity  Field = "severity"
	FieldComponent Field = "component"
	FieldTags      Field = "tags"
	FieldEffort    Field = "effort"
	FieldAssignees Field = "assignees"
	FieldSummary   Field = "summary"
	FieldSentiment Field = "sentiment"
)

// Fields lists every field in the order they are shown.
func Fields() []Field {
	return []Field{
		FieldCategory, FieldPriority, FieldSeverity, FieldComponent, FieldTags,
		FieldEffort, FieldAssignees, FieldSummary, FieldSentiment,
	}
}

// Valid tells whether f is a field this version knows.
func (f Field) Valid() bool { return slices.Contains(Fields(), f) }

// Multiple tells whether a field may hold several values at once.
func (f Field) Multiple() bool { return f == FieldTags || f == FieldAssignees }

// Labelled tells whether the field's values may stand as labels on GitHub.
func (f Field) Labelled() bool {
	switch f {
	case FieldCategory, FieldPriority, FieldSeverity, FieldComponent, FieldTags, FieldEffort:
		return true
	}
	return false
}

// Source says whose word a field's value is.
type Source string

// A value is a plugin's until a human says otherwise; then it stays the human's.
const (
	SourcePlugin Source = "plugin"
	SourceHuman  Source = "human"
)

// Answer is one field's value with everything one needs to trust it or not.
type Answer struct {
	// Values holds at most one value unless the field is Multiple; none means
	// "does not apply", said by a human.
	Values []string `json:"values"`
	// Confidence is the probability, 0 to 1, that the values are right.
	Confidence float64 `json:"confidence"`
	Reason     string  `json:"reason,omitempty"`
	Source     Source  `json:"source"`
	// Plugin and Version name the classifier; of a human's answer they stay empty.
	Plugin  string `json:"plugin,omitempty"`
	Version string `json:"version,omitempty"`
	// FallbackFor is the classifier that was to be asked first and could not be;
	// empty: none.
	FallbackFor string `json:"fallback_for,omitempty"`
	// Actor is the human's login, EventID the correction that said so.
	Actor   string `json:"actor,omitempty"`
	EventID string `json:"event_id,omitempty"`
	// AskedAt is when the human said so; zero for a plugin's answer. Of a label
	// change it is GitHub's own time, which is whole seconds.
	AskedAt time.Time `json:"asked_at,omitzero"`
}

// Value is the single value, or "" when there is none.
func (a Answer) Value() string {
	if len(a.Values) == 0 {
		return ""
	}
	return a.Values[0]
}

// Usage is what an answer cost.
type Usage struct {
	InputTokens  int64   `json:"input_tokens,omitempty"`
	OutputTokens int64   `json:"output_tokens,omitempty"`
	CostUSD      float64 `json:"cost_usd,omitempty"`
}

// Plus is both together.
func (u Usage) Plus(v Usage) Usage {
	return Usage{u.InputTokens + v.InputTokens, u.OutputTokens + v.OutputTokens, u.CostUSD + v.CostUSD}
}

// PassedOver is a classifier that an issue was to be asked of and that gave
// nothing, so that the next one of the chain answered in its place.
type PassedOver struct {
	Plugin string         `json:"plugin"`
	Reason PassOverReason `json:"reason"`
	// Detail is for an operator to read.
	Detail string `json:"detail,omitempty"`
}

// PassOverReason is why a classifier was passed over.
type PassOverReason string

// The reasons.
const (
	// PassedUnavailable: it is not running, or asked to be left alone.
	PassedUnavailable PassOverReason = "unavailable"
	// PassedSlow: it did not answer in time.
	PassedSlow PassOverReason = "slow"
	// PassedFailed: it failed over the issue.
	PassedFailed PassOverReason = "failed"
	// PassedBudget: the day's budget is spent.
	PassedBudget PassOverReason = "budget"
)

// Classification is what is held to be true of an issue. Fields a classifier
// abstained from are absent.
type Classification struct {
	// DeliveryID is the event that caused it.
	DeliveryID string           `json:"delivery_id"`
	Fields     map[Field]Answer `json:"fields"`
	Reasoning  string           `json:"reasoning,omitempty"`
	Usage      Usage            `json:"usage,omitzero"`
	// Hold says why a person must look at the issue before labels of plugins are
	// written or suggested; empty: nobody need.
	Hold string `json:"hold,omitempty"`
	// PassedOver are the classifiers that were to be asked and gave nothing.
	PassedOver   []PassedOver `json:"passed_over,omitempty"`
	ClassifiedAt time.Time    `json:"classified_at"`
}

// Value is the single value of a field, or "".
func (c Classification) Value(f Field) string { return c.Fields[f].Value() }

// Neighbour is a similar issue of the same repository.
type Neighbour struct {
	IssueID int64  `json:"id"`
	Number  int    `json:"number"`
	Title   string `json:"title"`
	State   string `json:"state"`
	URL     string `json:"url"`
	// Similarity is the cosine of the two embeddings, -1 to 1.
	Similarity float64 `json:"similarity"`
}

// SortedFields lists the fields that are set, in the order they are shown.
// Fields that this version does not know are left out.
func (c Classification) SortedFields() []Field {
	set := make([]Field, 0, len(c.Fields))
	for _, f := range Fields() {
		if _, ok := c.Fields[f]; ok {
			set = append(set, f)
		}
	}
	return set
}
