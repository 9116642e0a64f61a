package triage

import (
	"slices"
	"strings"
)

// Option is one value a field may take in a repository, with the repository's
// own label for it. Label is empty when the repository has none: the value can
// then be shown, but never written.
type Option struct {
	Value       string `json:"value"`
	Label       string `json:"label,omitempty"`
	Description string `json:"description,omitempty"`
}

// Meaning is what a label says: a value of a field.
type Meaning struct {
	Field Field
	Value string
}

// Taxonomy ties the values of the fields to the labels that a repository
// already has. It is immutable; the zero Taxonomy is that of a repository of
// which nothing is known, and allows nothing.
type Taxonomy struct {
	options map[Field][]Option
	labels  map[string]knownLabel // by LabelKey
}

type knownLabel struct {
	name    string
	meaning Meaning // zero: the label says nothing a classifier may say
	reading int     // where NewTaxonomy keeps what the name says
}

// LabelKey is the form in which two names of the same label are equal: GitHub
// compares label names without regard to case.
func LabelKey(name string) string {
	for i := range len(name) {
		if name[i] >= 0x80 {
			return strings.ToLower(strings.ToUpper(name))
		}
	}
	return strings.ToLower(name)
}

// NewTaxonomy reads a repository's label set. Category, priority, severity and
// effort always offer their canonical values; component and tags offer what the
// repository has labels for. Labels that record a maintainer's decision or drive
// automation ("wontfix", "status: accepted", "ok-to-test") have no meaning here,
// so that no classifier can ask for them.
//
// Where several labels mean the same, all of them are understood and one is
// written: a label that names the value rather than something near it, then one
// that names its field ("kind/bug" before "bug"), then the first by name. A
// label that means less than the value ("crash" of a bug, "refactoring" of
// maintenance) is understood but never written. The order of labels does not matter.
func NewTaxonomy(labels []RepositoryLabel) Taxonomy {
	t := Taxonomy{
		options: make(map[Field][]Option, 6),
		labels:  make(map[string]knownLabel, len(labels)),
	}
	readings := make([]reading, len(labels))
	scale := priorityScale{}
	for i, l := range labels {
		readings[i] = readLabel(l.Name)
		scale.note(readings[i].rank)
		if key := LabelKey(l.Name); t.labels[key].name == "" || l.Name < t.labels[key].name {
			t.labels[key] = knownLabel{name: l.Name, reading: i}
		}
	}

	type candidate struct {
		label  *RepositoryLabel
		burden int
	}
	chosen := make(map[Meaning]candidate, len(labels))
	for key, known := range t.labels {
		l, r := &labels[known.reading], &readings[known.reading]
		if r.rank.valid {
			r.Meaning = Meaning{FieldPriority, scale.value(r.rank)}
		}
		known.meaning = r.Meaning
		t.labels[key] = known
		if r.Meaning == (Meaning{}) || r.fit == narrower {
			continue
		}
		c, taken := chosen[r.Meaning]
		if burden := r.burden(); !taken || burden < c.burden || burden == c.burden && l.Name < c.label.Name {
			chosen[r.Meaning] = candidate{l, burden}
		}
	}

	for _, closed := range closedFields {
		options := make([]Option, len(closed.values))
		for i, v := range closed.values {
			options[i].Value = v
			if c, ok := chosen[Meaning{closed.field, v}]; ok {
				options[i].Label, options[i].Description = c.label.Name, c.label.Description
			}
		}
		t.options[closed.field] = options
	}
	for m, c := range chosen {
		if m.Field == FieldComponent || m.Field == FieldTags {
			t.options[m.Field] = append(t.options[m.Field], Option{Value: m.Value, Label: c.label.Name, Description: c.label.Description})
		}
	}
	for _, f := range [...]Field{FieldComponent, FieldTags} {
		slices.SortFunc(t.options[f], func(a, b Option) int { return strings.Compare(a.Value, b.Value) })
	}
	return t
}

// Options lists what a field may be. The slice must not be changed.
func (t Taxonomy) Options(f Field) []Option { return t.options[f] }

// AllOptions is Options for every field that has any. It must not be changed.
func (t Taxonomy) AllOptions() map[Field][]Option { return t.options }

// Allows tells whether the value is one of the field's options.
func (t Taxonomy) Allows(f Field, value string) bool {
	return slices.ContainsFunc(t.options[f], func(o Option) bool { return o.Value == value })
}

// Label is the repository's label for a value, if it has one.
func (t Taxonomy) Label(f Field, value string) (string, bool) {
	for _, o := range t.options[f] {
		if o.Value == value {
			return o.Label, o.Label != ""
		}
	}
	return "", false
}

// Means tells what a label of the repository says, if it says anything we know.
func (t Taxonomy) Means(label string) (Meaning, bool) {
	m := t.labels[LabelKey(label)].meaning
	return m, m != Meaning{}
}

// Has tells whether the repository defines the label, and gives its spelling.
func (t Taxonomy) Has(label string) (string, bool) {
	l, ok := t.labels[LabelKey(label)]
	return l.name, ok
}
