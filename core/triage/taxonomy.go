package triage

import (
	"fmt"
	"maps"
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
	config  LabelConfig
}

type knownLabel struct {
	name    string
	meaning Meaning // zero: the label says nothing a classifier may say
	never   bool    // understood, but not to be written
	reading int     // where NewTaxonomyWith keeps what the label says
}

// TaxonomyOptions are what a repository says about its labels beyond their
// names and descriptions. The zero value says nothing.
type TaxonomyOptions struct {
	// Labels is the part of the configuration that speaks of labels.
	Labels LabelConfig
	// Reacting are globs of the labels that the repository's workflows react to.
	// They are understood, but not written unless Labels.Allow says so.
	Reacting []string
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

// NewTaxonomy is NewTaxonomyWith for a repository that says nothing of its labels.
func NewTaxonomy(labels []RepositoryLabel) Taxonomy {
	return NewTaxonomyWith(labels, TaxonomyOptions{})
}

// NewTaxonomyWith reads a repository's label set. Category, priority, severity and
// effort always offer their canonical values; component and tags offer what the
// repository has labels for. Labels that record a maintainer's decision or drive
// automation ("wontfix", "status: accepted", "ok-to-test") have no meaning here,
// so that no classifier can ask for them. A description counts where the name
// says nothing of a closed field.
//
// Where several labels mean the same, all of them are understood and one is
// written: a label that names the value rather than something near it, then one
// that names its field ("kind/bug" before "bug"), then the first by name. A
// label that means less than the value ("crash" of a bug, "refactoring" of
// maintenance) is understood but never written. The order of labels does not matter.
//
// What the configuration maps has the last word on what a label means, and the
// values it maps are written as it says or not at all. Nothing is written that
// Labels.Never names, that workflows react to or whose name drives automation
// ("ok-to-test"), the latter two unless Labels.Allow names it.
func NewTaxonomyWith(labels []RepositoryLabel, options TaxonomyOptions) Taxonomy {
	mapped := mappedLabels(options.Labels.Map)
	t := Taxonomy{
		options: make(map[Field][]Option, 6),
		labels:  make(map[string]knownLabel, len(labels)),
		config:  options.Labels,
	}
	readings := make([]reading, len(labels))
	scale := priorityScale{}
	for i, l := range labels {
		readings[i] = readLabel(l.Name, l.Description)
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
		m, burden := r.Meaning, r.burden()
		choice, named := mapped.labels[key]
		switch {
		case named:
			m, burden = choice.Meaning, choice.place
		case matchesAny(options.Labels.Ignore, l.Name):
			m = Meaning{}
		}
		if m != (Meaning{}) {
			// Where the name drives automation, only the mapping gives it a meaning.
			known.never = options.never(l.Name, matchesAny(options.Reacting, l.Name) || r.Meaning == (Meaning{}) && drivesAutomation(normaliseWords(l.Name)))
		}
		known.meaning = m
		t.labels[key] = known
		if m == (Meaning{}) || known.never || mapped.values[m] && (!named || choice.place > 0) || !named && r.fit == narrower {
			continue
		}
		c, taken := chosen[m]
		if !taken || burden < c.burden || burden == c.burden && l.Name < c.label.Name {
			chosen[m] = candidate{l, burden}
		}
	}

	for _, closed := range closedFields {
		offered := make([]Option, len(closed.values))
		for i, v := range closed.values {
			offered[i].Value = v
			if c, ok := chosen[Meaning{closed.field, v}]; ok {
				offered[i].Label, offered[i].Description = c.label.Name, c.label.Description
			}
		}
		t.options[closed.field] = offered
	}
	for m, c := range chosen {
		if !m.Field.closed() {
			t.options[m.Field] = append(t.options[m.Field], Option{Value: m.Value, Label: c.label.Name, Description: c.label.Description})
		}
	}
	for _, f := range [...]Field{FieldComponent, FieldTags} {
		slices.SortFunc(t.options[f], func(a, b Option) int { return strings.Compare(a.Value, b.Value) })
	}
	return t
}

// never tells whether a label that means something must not be written. acts
// tells that it sets something in motion.
func (o TaxonomyOptions) never(name string, acts bool) bool {
	return matchesAny(o.Labels.Never, name) || acts && !matchesAny(o.Labels.Allow, name)
}

// mapping is LabelConfig.Map the other way round.
type mapping struct {
	values map[Meaning]bool
	labels map[string]mappedLabel // by LabelKey
}

type mappedLabel struct {
	Meaning
	place int // 0: the one to write
}

// mappedLabels turns the map round. Of a label that stands at several values,
// which a configuration file may not say, the first in the order of fields and
// values counts.
func mappedLabels(in map[Field]map[string][]string) mapping {
	if len(in) == 0 {
		return mapping{}
	}
	m := mapping{values: make(map[Meaning]bool), labels: make(map[string]mappedLabel)}
	for _, f := range Fields() {
		for _, v := range slices.Sorted(maps.Keys(in[f])) {
			value, ok := CanonicalValue(f, v)
			if !ok {
				continue
			}
			meaning := Meaning{f, value}
			m.values[meaning] = true
			for place, name := range in[f][v] {
				if _, taken := m.labels[LabelKey(name)]; !taken {
					m.labels[LabelKey(name)] = mappedLabel{meaning, place}
				}
			}
		}
	}
	return m
}

// Taxonomy is the repository's taxonomy under its configuration. reacting are
// globs of the labels that its workflows react to.
func (c RepositoryConfig) Taxonomy(labels []RepositoryLabel, reacting []string) Taxonomy {
	return NewTaxonomyWith(labels, TaxonomyOptions{Labels: c.Labels, Reacting: reacting})
}

// LabelFaults says where the label mapping does not fit the labels that the
// repository has, or cannot be followed. They keep no configuration from being
// in force: what they speak of is not written.
func (c RepositoryConfig) LabelFaults(labels []RepositoryLabel, reacting []string) []ConfigFault {
	t := c.Taxonomy(labels, reacting)
	var faults []ConfigFault
	for _, f := range Fields() {
		for _, v := range slices.Sorted(maps.Keys(c.Labels.Map[f])) {
			for place, name := range c.Labels.Map[f][v] {
				fault := ConfigFault{Path: fmt.Sprintf("labels.map.%s.%s", f, v)}
				switch _, has := t.Has(name); {
				case !has:
					fault.Message = fmt.Sprintf("the repository has no label %q; create it, or name one that it has", name)
				case place == 0 && !t.Writable(name) && matchesAny(c.Labels.Never, name):
					fault.Message = fmt.Sprintf("the label %q is not written, because labels.never names it too", name)
				case place == 0 && !t.Writable(name):
					fault.Message = fmt.Sprintf("the label %q is not written, because a workflow reacts to it or its name is one that drives automation; name it in labels.allow if that is well", name)
				default:
					continue
				}
				faults = append(faults, fault)
			}
		}
	}
	return faults
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

// Reads is Means for a label that the repository need not have now: it may have
// been renamed or deleted since, or be so new that it was not heard of yet. Then its
// name and description alone count; a mere rank says nothing without its scale.
func (t Taxonomy) Reads(l RepositoryLabel) (Meaning, bool) {
	if _, has := t.Has(l.Name); has {
		return t.Means(l.Name)
	}
	if _, mapped := mappedLabels(t.config.Map).labels[LabelKey(l.Name)]; !mapped && readLabel(l.Name, l.Description).rank.valid {
		return Meaning{}, false
	}
	return NewTaxonomyWith([]RepositoryLabel{l}, TaxonomyOptions{Labels: t.config}).Means(l.Name)
}

// Writable tells whether the label may be put on an issue: it means something,
// and nothing forbids writing it.
func (t Taxonomy) Writable(label string) bool {
	l := t.labels[LabelKey(label)]
	return l.meaning != Meaning{} && !l.never
}

// Has tells whether the repository defines the label, and gives its spelling.
func (t Taxonomy) Has(label string) (string, bool) {
	l, ok := t.labels[LabelKey(label)]
	return l.name, ok
}
