package repoconfig

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/dispatchai/dispatchai/core/triage"
)

// maxFaults bounds how many faults of one file are told.
const maxFaults = 100

// The limits of texts, in characters.
const (
	maxLabel = 50 // GitHub's own
	maxGlob  = 100
)

// reader turns nodes into values and collects the faults of one file. Where a
// value is faulty its methods say so and answer false.
type reader struct {
	file   string
	faults []triage.ConfigFault
	untold bool // there are more faults
}

func (r *reader) fault(n *yaml.Node, path, format string, args ...any) {
	if len(r.faults) == maxFaults {
		r.untold = true
		return
	}
	f := triage.ConfigFault{File: r.file, Path: path, Message: fmt.Sprintf(format, args...)}
	if n != nil {
		f.Line, f.Column = n.Line, n.Column
	}
	r.faults = append(r.faults, f)
}

// plain finds aliases and tags, which no configuration needs: an alias may make
// a small file a large one, and a tag another thing of a value than it looks.
// Both are told once; the methods that meet one afterwards answer false in silence.
func (r *reader) plain(n *yaml.Node) bool {
	ok := true
	switch {
	case n.Kind == yaml.AliasNode:
		r.fault(n, "", "*%s would repeat another part of the file, which is not possible here; write the value out, or put it in quotes if the asterisk belongs to it", cleaned(n.Value))
		ok = false
	case n.Style&yaml.TaggedStyle != 0:
		r.fault(n, "", "the tag %s is not known here; remove it, and put the value in quotes if it is text", shown(n.Tag))
		ok = false
	}
	for _, c := range n.Content {
		ok = r.plain(c) && ok
	}
	return ok
}

// entry is one key of a mapping with its value.
type entry struct {
	name  string
	key   *yaml.Node
	value *yaml.Node
	path  string
}

// object reads a mapping whose keys are fixed.
func (r *reader) object(n *yaml.Node, path string, keys []string) ([]entry, bool) {
	entries, ok := r.mapping(n, path)
	known := entries[:0]
	for _, e := range entries {
		if !slices.Contains(keys, e.name) {
			r.fault(e.key, e.path, "this key is not known%s", instead(e.name, keys))
			continue
		}
		known = append(known, e)
	}
	return known, ok
}

// mapping reads a mapping whose keys are anything. A key that stands twice
// counts once.
func (r *reader) mapping(n *yaml.Node, path string) ([]entry, bool) {
	if !r.is(n, path, yaml.MappingNode, "a mapping (key: value)") {
		return nil, false
	}
	entries := make([]entry, 0, len(n.Content)/2)
	lines := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" || isNull(key) {
			r.fault(key, path, "this cannot be a key; write a word and a colon")
			continue
		}
		e := entry{key.Value, key, value, inside(path, key.Value)}
		if first, twice := lines[e.name]; twice {
			r.fault(key, e.path, "this key stands in line %d already; keep one of them", first)
			continue
		}
		lines[e.name] = key.Line
		entries = append(entries, e)
	}
	return entries, true
}

// list reads a list of 1 to most entries.
func (r *reader) list(n *yaml.Node, path string, most int) ([]*yaml.Node, bool) {
	if !r.is(n, path, yaml.SequenceNode, "a list (lines that start with a dash)") {
		return nil, false
	}
	return n.Content, r.count(n, path, most)
}

func (r *reader) count(n *yaml.Node, path string, most int) bool {
	if len(n.Content) > most {
		r.fault(n, path, "there are %d entries; at most %d are allowed", len(n.Content), most)
		return false
	}
	return true
}

// texts reads a list of texts, or a single one, each checked by of. Without
// entries it is a list that is not nil: it says that there are none.
func (r *reader) texts(n *yaml.Node, path string, most int, of func(n *yaml.Node, path string) (string, bool)) ([]string, bool) {
	if n.Kind == yaml.ScalarNode && !isNull(n) {
		s, ok := of(n, path)
		return []string{s}, ok
	}
	if !r.is(n, path, yaml.SequenceNode, "a text or a list of texts") || !r.count(n, path, most) {
		return nil, false
	}
	all, good := make([]string, 0, len(n.Content)), true
	for i, c := range n.Content {
		s, ok := of(c, at(path, i))
		if ok && slices.Contains(all, s) {
			r.fault(c, at(path, i), "%s stands in the list already; remove one of them", shown(s))
			ok = false
		}
		good = good && ok
		all = append(all, s)
	}
	return all, good
}

// text gives a reader of texts of at most limit characters that are not blank.
func (r *reader) text(limit int) func(n *yaml.Node, path string) (string, bool) {
	return func(n *yaml.Node, path string) (string, bool) {
		if !r.is(n, path, yaml.ScalarNode, "a text") {
			return "", false
		}
		switch n.Tag {
		case "!!str", "!!timestamp":
		default:
			r.fault(n, path, "must be a text, but %s is %s; put it in quotes", shown(n.Value), kindOf(n))
			return "", false
		}
		switch length := utf8.RuneCountInString(n.Value); {
		case strings.TrimSpace(n.Value) == "":
			r.fault(n, path, "is empty; give it a value, or remove it")
			return "", false
		case length > limit:
			r.fault(n, path, "is %d characters long; make it %d at most", length, limit)
			return "", false
		}
		return n.Value, true
	}
}

// choice gives a reader of texts that are one of a few.
func (r *reader) choice(allowed []string) func(n *yaml.Node, path string) (string, bool) {
	return func(n *yaml.Node, path string) (string, bool) {
		if !r.is(n, path, yaml.ScalarNode, "one of "+strings.Join(allowed, ", ")) {
			return "", false
		}
		if n.Tag != "!!str" || !slices.Contains(allowed, n.Value) {
			r.fault(n, path, "%s is not possible here%s", shown(n.Value), instead(n.Value, allowed))
			return "", false
		}
		return n.Value, true
	}
}

func (r *reader) boolean(n *yaml.Node, path string) (value, ok bool) {
	if !r.is(n, path, yaml.ScalarNode, "true or false") {
		return false, false
	}
	if n.Tag != "!!bool" {
		r.fault(n, path, "must be true or false, not %s", shown(n.Value))
		return false, false
	}
	return strings.EqualFold(n.Value, "true"), true
}

// probability reads a number from 0 to 1.
func (r *reader) probability(n *yaml.Node, path string) (float64, bool) {
	if !r.is(n, path, yaml.ScalarNode, "a number from 0 to 1") {
		return 0, false
	}
	var v float64
	if n.Tag != "!!int" && n.Tag != "!!float" || n.Decode(&v) != nil || !(v >= 0 && v <= 1) {
		more := ""
		if s, percent := strings.CutSuffix(n.Value, "%"); percent {
			if p, err := strconv.ParseFloat(s, 64); err == nil && p >= 0 && p <= 100 {
				more = fmt.Sprintf("; write %g", p/100)
			}
		}
		r.fault(n, path, "must be a number from 0 to 1, not %s%s", shown(n.Value), more)
		return 0, false
	}
	return v, true
}

// amount reads a sum of money above nothing.
func (r *reader) amount(n *yaml.Node, path string, most float64) (float64, bool) {
	want := fmt.Sprintf("an amount of US dollars above 0, at most %g", most)
	if !r.is(n, path, yaml.ScalarNode, want) {
		return 0, false
	}
	var v float64
	if n.Tag != "!!int" && n.Tag != "!!float" || n.Decode(&v) != nil || !(v > 0 && v <= most) {
		r.fault(n, path, "must be %s, not %s", want, shown(n.Value))
		return 0, false
	}
	return v, true
}

// integer reads a whole number from least to most.
func (r *reader) integer(n *yaml.Node, path string, least, most int) (int, bool) {
	want := fmt.Sprintf("a whole number from %d to %d", least, most)
	if !r.is(n, path, yaml.ScalarNode, want) {
		return 0, false
	}
	var v int
	if n.Tag != "!!int" || n.Decode(&v) != nil || v < least || v > most {
		r.fault(n, path, "must be %s, not %s", want, shown(n.Value))
		return 0, false
	}
	return v, true
}

// glob reads a pattern.
func (r *reader) glob(n *yaml.Node, path string) (string, bool) { return r.text(maxGlob)(n, path) }

// The limits of regular expressions are those of the rules plugin.
const (
	maxExpression = 500  // characters
	maxProgram    = 1000 // instructions of one
	maxPrograms   = 4000 // instructions of all
)

// expression reads a regular expression.
func (r *reader) expression(n *yaml.Node, path string) (string, bool) {
	s, ok := r.text(maxExpression)(n, path)
	if !ok {
		return "", false
	}
	if _, err := regexp.Compile(s); err != nil {
		why := strings.TrimPrefix(err.Error(), "error parsing regexp: ")
		if strings.Contains(why, "(?") {
			why += " (RE2 knows no look-around)"
		}
		r.fault(n, path, "is not a regular expression in RE2 syntax: %s", cleaned(why))
		return "", false
	}
	if programSize(s) > maxProgram {
		r.fault(n, path, "is too large (at most %d instructions); shorten its alternatives and repetitions", maxProgram)
		return "", false
	}
	return s, true
}

// programSize is how many instructions a regular expression becomes; 0 for none.
func programSize(expression string) int {
	if expression == "" {
		return 0
	}
	parsed, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return 0
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return maxProgram + 1
	}
	return len(program.Inst)
}

// is checks a node's kind.
func (r *reader) is(n *yaml.Node, path string, kind yaml.Kind, want string) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		return false // told by plain
	case isNull(n):
		r.fault(n, path, "has no value; give it one, or remove the key")
	case n.Kind != kind:
		r.fault(n, path, "must be %s, not %s", want, kindOf(n))
	default:
		return true
	}
	return false
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.Tag {
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	case "!!null":
		return "nothing"
	}
	return "a text"
}

// inside is the path of a key below path.
func inside(path, key string) string {
	for _, c := range []byte(key) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			key = shown(key)
			break
		}
	}
	if len(key) > maxGlob {
		key = shown(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// at is the path of a list's entry.
func at(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// shown quotes what stands in a file, shortened and without anything that is
// not to be seen.
func shown(s string) string {
	const most = 60
	n := 0
	for i := range s {
		if n++; n > most {
			return strconv.Quote(s[:i] + "…")
		}
	}
	return strconv.Quote(s)
}

// cleaned escapes what is not to be seen.
func cleaned(s string) string {
	quoted := strconv.Quote(s)
	return strings.ReplaceAll(strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`), `\\`, `\`)
}
