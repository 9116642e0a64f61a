package triage

import "slices"

// Thresholds is the least confidence with which a plugin's answer becomes a
// label, by field; a field that is missing takes its default. A human's answer
// always becomes one.
type Thresholds map[Field]float64

// DefaultThresholds favours no label over a wrong one: with the rules
// classifier nine of ten categories and four of five components that reach them
// are right on the demo's issues (TestThresholds in app).
func DefaultThresholds() Thresholds {
	return Thresholds{
		FieldCategory: 0.45, FieldPriority: 0.8, FieldSeverity: 0.8,
		FieldComponent: 0.65, FieldTags: 0.75, FieldEffort: 0.8,
	}
}

func (t Thresholds) of(f Field) float64 {
	if least, ok := t[f]; ok {
		return least
	}
	return DefaultThresholds()[f]
}

// RequestLabel is the label that stands on an issue while its author is asked
// for answers. It belongs to no field: a repository's configuration names it,
// never a classifier.
func RequestLabel(name, eventID string) DesiredLabel {
	return DesiredLabel{Name: name, Source: SourcePlugin, Plugin: requester, Confidence: 1, EventID: eventID}
}

// requester stands in the ledger where the app itself wants a label.
const requester = "dispatchai"

func (d DesiredLabel) byRequest() bool {
	return d.Field == "" && d.Source == SourcePlugin && d.Plugin == requester
}

// desiredLabels turns an effective classification into the labels the app
// wants: only values for which the repository has a label, only with enough
// confidence, one for a single-valued field, each label once. What the taxonomy
// does not hold is left out, whoever asks for it.
func desiredLabels(c Classification, t Taxonomy, threshold func(plugin string, f Field) float64) []DesiredLabel {
	var desired []DesiredLabel
	for _, f := range c.SortedFields() {
		a := c.Fields[f]
		// Written so that a confidence that is no number is too little.
		if !f.Labelled() || a.Source != SourceHuman && !(a.Confidence >= threshold(a.Plugin, f)) {
			continue
		}
		values := a.Values
		if !f.Multiple() {
			values = values[:min(len(values), 1)]
		}
		for i, v := range values {
			name, ok := t.Label(f, v)
			if !ok || slices.Contains(values[:i], v) {
				continue
			}
			cause := c.DeliveryID
			if a.EventID != "" {
				cause = a.EventID
			}
			desired = append(desired, DesiredLabel{
				Name: name, Field: f, Value: v, Source: a.Source,
				Plugin: a.Plugin, Version: a.Version, Confidence: a.Confidence,
				EventID: cause, AskedAt: a.AskedAt,
			})
		}
	}
	return desired
}
