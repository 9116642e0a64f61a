package rules

import (
	"strings"

	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// options is what a repository accepts, made ready for matching.
type options struct {
	category  [categories]string // the repository's value; empty when it has none
	priority  [urgencies]string
	severity  [urgencies]string
	component *names
	tags      *names
	tagged    map[string]string // what a cue calls a tag -> the repository's value
	all       map[sdk.Field]map[string]string
}

// newOptions reads a repository's options. Values that the rules have another
// word for ("enhancement" for feature, "p1" for high) are understood.
func newOptions(in map[sdk.Field][]sdk.Option, l *lexicon, common *background) *options {
	o := &options{tagged: map[string]string{}, all: map[sdk.Field]map[string]string{}}
	for field, list := range in {
		byName := make(map[string]string, 2*len(list))
		for _, opt := range list {
			byName[fold(opt.Label)] = opt.Value
		}
		for _, opt := range list {
			byName[fold(opt.Value)] = opt.Value
		}
		delete(byName, "")
		o.all[field] = byName
	}
	for _, opt := range in[sdk.Category] {
		if c, ok := l.categoryOf(opt); ok && (o.category[c] == "" || fold(opt.Value) == c.String()) {
			o.category[c] = opt.Value
		}
	}
	for _, opt := range in[sdk.Priority] {
		if u, ok := l.urgencyOf(opt); ok && (o.priority[u] == "" || fold(opt.Value) == u.String()) {
			o.priority[u] = opt.Value
		}
	}
	for _, opt := range in[sdk.Severity] {
		if u, ok := l.urgencyOf(opt); ok && (o.severity[u] == "" || fold(opt.Value) == u.String()) {
			o.severity[u] = opt.Value
		}
	}
	if list := in[sdk.Component]; len(list) > 0 {
		o.component = newNames(list, true, common)
	}
	if list := in[sdk.Tags]; len(list) > 0 {
		o.tags = newNames(list, false, common)
		for _, opt := range list {
			for _, name := range []string{opt.Value, opt.Label} {
				if canonical, ok := tagNames[tagKey(name)]; ok && o.tagged[canonical] == "" {
					o.tagged[canonical] = opt.Value
				}
			}
		}
	}
	return o
}

// value gives the repository's own spelling of a value of a field, found by
// value or by label; false when the repository does not accept it.
func (o *options) value(field sdk.Field, name string) (string, bool) {
	v, ok := o.all[field][fold(name)]
	return v, ok
}

// categoryOf tells which category an option is.
func (l *lexicon) categoryOf(opt sdk.Option) (category, bool) {
	for _, name := range []string{opt.Value, tail(opt.Label)} {
		for c := range categories {
			if fold(name) == c.String() {
				return c, true
			}
		}
		if k, ok := l.kindIn([]byte(fold(name))); ok && k.strength == 1 {
			return k.category, true
		}
		if fold(name) == "support" {
			return question, true
		}
	}
	return 0, false
}

// urgencyOf tells which level an option is.
func (l *lexicon) urgencyOf(opt sdk.Option) (urgency, bool) {
	for _, name := range []string{opt.Value, tail(opt.Label)} {
		for _, word := range splitWords(name) {
			if id, ok := l.ids[word]; ok && l.level[id] > 0 {
				return urgency(l.level[id] - 1), true
			}
		}
	}
	return 0, false
}

func fold(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

// tail drops the group from a label's name: "kind/bug" and "type: bug" are bug.
func tail(label string) string {
	if i := strings.LastIndexAny(label, "/:"); i >= 0 && i+1 < len(label) {
		return strings.TrimSpace(label[i+1:])
	}
	return label
}

// splitWords gives the words of a name in lower case, as issues' words are cut.
func splitWords(name string) []string {
	text := appendClean(nil, name, 200)
	lower := appendLower(nil, text)
	var out []string
	for i := 0; i < len(lower); {
		j, _ := nextWord(lower, i)
		if j == i {
			i++
			continue
		}
		out = append(out, string(lower[i:j]))
		i = j
	}
	return out
}

// tagKey is a tag's name without its group, blanks and dashes.
func tagKey(name string) string { return strings.Join(splitWords(tail(name)), "") }
