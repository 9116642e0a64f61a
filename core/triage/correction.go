package triage

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// CorrectionSource says where a human made a correction.
type CorrectionSource string

// A correction is made on the dashboard (or its API) or by changing a label on GitHub.
const (
	FromDashboard CorrectionSource = "dashboard"
	FromGitHub    CorrectionSource = "github"
)

// Correction is one field changed by one person: the audit row, and what
// classifiers learn from.
type Correction struct {
	// EventID and Field together are unique: one event may correct several fields.
	EventID string           `json:"event_id"`
	Issue   IssueKey         `json:"issue"`
	Field   Field            `json:"field"`
	Old     []string         `json:"old"`
	New     []string         `json:"new"`
	Actor   string           `json:"actor"`
	Reason  string           `json:"reason,omitempty"`
	Source  CorrectionSource `json:"source"`
	At      time.Time        `json:"at"`
}

// Effective lays the corrections over what the classifiers said: a human's word
// stands until a human changes it, whatever is classified afterwards. The later
// correction wins, by its At and, where that is equal, by its place in the
// slice; so a delivery that GitHub brings late does not undo what was said
// since. The arguments are not changed.
func Effective(c Classification, corrections []Correction) Classification {
	byTime := func(a, b Correction) int { return a.At.Compare(b.At) }
	if !slices.IsSortedFunc(corrections, byTime) {
		corrections = slices.Clone(corrections)
		slices.SortStableFunc(corrections, byTime)
	}
	fields := make(map[Field]Answer, len(c.Fields)+len(corrections))
	for f, a := range c.Fields {
		fields[f] = a
	}
	for _, k := range corrections {
		asked := k.At
		if k.Source == FromGitHub {
			asked = asked.Truncate(time.Second)
		}
		fields[k.Field] = Answer{
			Values:     append(make([]string, 0, len(k.New)), k.New...),
			Confidence: 1,
			Reason:     k.Reason,
			Source:     SourceHuman,
			Actor:      k.Actor,
			EventID:    k.EventID,
			AskedAt:    asked,
		}
	}
	c.Fields = fields
	return c
}

// CorrectionsFromLabel reads a human's label change as a correction of the
// field that the label speaks for. held is the effective classification before
// the change, nil when there is none. A change corrects nothing when it says
// what is held already, when another label that stays on the issue says the
// same, or when the event's own issue shows that it was undone meanwhile.
//
// The labels that the event shows on the issue are the human's word: of a field
// with several values all of them, and nothing that was held but never written;
// of a single-valued field, when one of two labels is taken off, the other.
//
// The correction's At is when GitHub says the change was made, within a second,
// or when the event was received, whichever is earlier.
func CorrectionsFromLabel(e Event, t Taxonomy, held *Classification) []Correction {
	if e.Label == nil {
		return nil
	}
	m, ok := t.Means(e.Label.Name)
	if e.Action == "unlabeled" {
		m, ok = t.Reads(*e.Label) // the label may be gone by the time its removal is heard of
	}
	if !ok {
		return nil
	}
	old := []string{}
	if held != nil {
		old = append(old, held.Fields[m.Field].Values...)
	}
	has := slices.Contains(old, m.Value)
	said := slices.Clone(old)
	if e.Issue != nil && e.Issue.Labels != nil {
		said = valuesOf(t, e.Issue.Labels, m.Field)
	}
	next := []string{}
	switch e.Action {
	case "labeled":
		if has || e.Issue != nil && e.Issue.Labels != nil && !e.Issue.HasLabel(e.Label.Name) {
			return nil
		}
		if m.Field.Multiple() {
			next = append(next, slices.DeleteFunc(said, func(v string) bool { return v == m.Value })...)
		}
		next = append(next, m.Value)
	case "unlabeled":
		if e.Issue == nil || e.Issue.Labels == nil {
			said = slices.DeleteFunc(said, func(v string) bool { return v == m.Value })
		}
		if !has || slices.Contains(said, m.Value) {
			return nil
		}
		if m.Field.Multiple() || len(said) == 1 {
			next = append(next, said...)
		}
	default:
		return nil
	}
	return []Correction{{
		EventID: e.ID, Issue: e.IssueKey(), Field: m.Field, Old: old, New: next,
		Actor: e.Sender.Login, Source: FromGitHub, At: e.changedAt(),
		Reason: e.Action + " " + e.Label.Name,
	}}
}

// valuesOf lists what the labels say about a field, each value once.
func valuesOf(t Taxonomy, labels []string, f Field) []string {
	var values []string
	for _, l := range labels {
		if m, ok := t.Means(l); ok && m.Field == f && !slices.Contains(values, m.Value) {
			values = append(values, m.Value)
		}
	}
	return values
}

// Validate tells what is wrong with a correction, in words for the person who
// made it; nil means it can be applied in a repository of that taxonomy.
func (in CorrectionInput) Validate(t Taxonomy) error {
	if !in.Field.Valid() {
		return fmt.Errorf("there is no field %q; the fields are %s", in.Field, joinFields(Fields()))
	}
	if len(in.Values) > 1 && !in.Field.Multiple() {
		return fmt.Errorf("%s takes one value, not %d", in.Field, len(in.Values))
	}
	if len(in.Values) > 20 {
		return fmt.Errorf("%s takes at most 20 values, not %d", in.Field, len(in.Values))
	}
	for _, v := range in.Values {
		if in.Field.Labelled() && !t.Allows(in.Field, v) {
			return fmt.Errorf("%s cannot be %q in this repository; it can be %s", in.Field, v, joinOptions(t.Options(in.Field)))
		}
		if len(v) == 0 || len(v) > 1000 {
			return fmt.Errorf("a value of %s must have 1 to 1,000 characters", in.Field)
		}
	}
	return nil
}

func joinFields(fields []Field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = string(f)
	}
	return strings.Join(names, ", ")
}

func joinOptions(options []Option) string {
	if len(options) == 0 {
		return "nothing, because the repository has no label for it"
	}
	names := make([]string, len(options))
	for i, o := range options {
		names[i] = o.Value
	}
	return strings.Join(names, ", ")
}
