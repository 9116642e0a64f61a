package triage

import (
	"strings"
	"unicode"
)

// reading is what a label's name says; the zero Meaning is nothing.
type reading struct {
	Meaning
	fit      fit
	prefixed bool // the name says which field it speaks of: "kind/bug"
	rank     rank // set for a priority that is only a number: "P1"
}

// burden orders labels of one meaning, the one to write first.
func (r reading) burden() int {
	b := int(r.fit)
	if r.fit >= looser {
		b = 4
	}
	if !r.prefixed {
		b += 2
	}
	return b
}

// fit is how well a word names a value.
type fit int

const (
	exact    fit = iota // the value's own name
	synonym             // another name of the very same thing
	looser              // a wider or vaguer word that repositories use for it
	narrower            // one kind of it: understood, never written
)

// rank is a priority's place on a repository's scale of numbers.
type rank struct {
	valid bool
	n     int
}

// priorityScale reads numbers as the repository that uses them does: most
// count from P0, some from P1, which shows when they go down to P4 without a P0.
type priorityScale struct{ zero, deep bool }

func (s *priorityScale) note(r rank) {
	s.zero = s.zero || r.valid && r.n == 0
	s.deep = s.deep || r.valid && r.n >= 4
}

func (s *priorityScale) value(r rank) string {
	n := r.n
	if s.deep && !s.zero {
		n--
	}
	return [...]string{"critical", "high", "medium", "low"}[min(n, 3)]
}

// readLabel decides what a label means. The description is asked what it is for
// only where the name is a word of the repository's own, or none.
func readLabel(name, description string) reading {
	r := readName(name)
	if description == "" || r == (reading{}) && normaliseWords(name) != "" {
		return r
	}
	said := normaliseWords(description)
	if ofProcess(said) {
		return reading{}
	}
	if r.Field != FieldTags && r != (reading{}) || asksForMore(name) {
		return r
	}
	if d := readDescription(said); d.Meaning != (Meaning{}) {
		return d
	}
	return r
}

// readName reads a label's name.
func readName(name string) reading {
	text := stripOrdinal(stripShortcodes(name))
	words := normaliseWords(text)
	if words == "" {
		return reading{}
	}
	prefix, rest, by := cutPrefix(text)
	field := fieldOfPrefix(prefix)
	if by == byWord && field == FieldComponent && !strings.HasPrefix(strings.ToLower(text), "area-") && !strings.HasPrefix(strings.ToLower(text), "component-") {
		field = "" // "package-manager" and "plugin api" name no field
	}
	if prefix == "d" && by != byLetter {
		field = "" // "D-Trivial" is a difficulty, "d: examples" is none
	}
	if field == "" {
		if by == byLetter && prefix == "i" && !isWorkflow(words) {
			// "I-" is the letter some projects put before what an issue brings with it: "I-regression".
			return tag(normaliseWords(rest))
		}
		if apart := splitCamel(text); apart != text {
			if r := readPlain(normaliseWords(apart)); r.Field != FieldTags {
				return r // "FeatureRequest", "WaitingForInfo", but not "TypeScript"
			}
		}
		return readPlain(words)
	}

	said := normaliseWords(rest)
	switch {
	case said == "":
		return reading{}
	case field == FieldComponent:
		// "feature: request" is no component.
		if v, fit := categoryOf(words); v != "" {
			return reading{Meaning: Meaning{FieldCategory, v}, fit: fit}
		}
		if said == "tracking" || said == "meta" || said == "epic" {
			return reading{}
		}
		return reading{Meaning: Meaning{FieldComponent, slug(said)}, prefixed: true}
	}
	r := readValue(field, said)
	switch {
	case r.Meaning != Meaning{} || r.rank.valid:
		r.prefixed = true
		return r
	case by == byWord:
		return readPlain(words) // "type system", "impact analysis"
	case field == FieldSeverity:
		if v, fit := categoryOf(said); v != "" && fit <= synonym && len(prefix) > 1 {
			return reading{Meaning: Meaning{FieldCategory, v}, fit: looser} // "severity: security"
		}
	case field == FieldCategory && len(prefix) > 1 && (said == "critical" || said == "urgent" || said == "blocker"):
		return reading{Meaning: Meaning{FieldPriority, "critical"}, fit: narrower} // "type: blocker", which often means a release
	case field == FieldCategory && prefix != "t" && !isWorkflow(words):
		return tag(said) // "kind/regression" is no category of ours, yet it tells something
	}
	return reading{}
}

// readPlain reads a name without a prefix.
func readPlain(words string) reading {
	if v, fit := categoryOf(words); v != "" {
		return reading{Meaning: Meaning{FieldCategory, v}, fit: fit}
	}
	if head, last := cutLast(words); head != "" {
		switch f := fieldOfPrefix(last); {
		case f == FieldPriority, f == FieldSeverity && last != "s", f == FieldEffort && last != "e":
			if r := readValue(f, head); r.Meaning != (Meaning{}) || r.rank.valid {
				r.prefixed = true
				return r // "high priority"
			}
		}
	}
	first, rest, _ := strings.Cut(words, " ")
	switch n, numbered := priorityNumber(first); {
	case numbered && rest == "":
		return reading{rank: rank{true, n}}
	case numbered:
		// "P1 - Critical"; what follows another number says nothing that can be read.
		v, fit := priorityOf(rest)
		if v == "" {
			return reading{}
		}
		return reading{Meaning: Meaning{FieldPriority, v}, fit: fit}
	}
	switch words {
	case "nice to have":
		return reading{Meaning: Meaning{FieldPriority, "low"}, fit: synonym}
	case "easy":
		return reading{Meaning: Meaning{FieldEffort, "small"}, fit: synonym}
	case "hard":
		return reading{Meaning: Meaning{FieldEffort, "large"}, fit: synonym}
	case "critical", "urgent", "blocker":
		return reading{Meaning: Meaning{FieldPriority, "critical"}, fit: synonym}
	case "s0", "s1", "s2", "s3", "s4", "sev0", "sev1", "sev2", "sev3", "sev4":
		v, fit := severityOf(words)
		return reading{Meaning: Meaning{FieldSeverity, v}, fit: fit, prefixed: true}
	}
	// What speaks of a priority that cannot be read ("needs priority") must not become a tag.
	if hasWord(words, "priority") || hasWord(words, "severity") || isWorkflow(words) {
		return reading{}
	}
	return tag(words)
}

// readValue reads the words beside a closed field's name.
func readValue(f Field, words string) reading {
	of := categoryOf
	switch f {
	case FieldPriority:
		of = priorityOf
	case FieldSeverity:
		of = severityOf
	case FieldEffort:
		of = effortOf
	}
	if v, fit := of(words); v != "" {
		return reading{Meaning: Meaning{f, v}, fit: fit}
	}
	if f == FieldCategory || hasWord(words, "not") || hasWord(words, "non") || hasWord(words, "no") {
		return reading{}
	}
	// "p1 high", "sev 2 major", "high impact": the first word that decides; words say more than numbers.
	for w := range strings.FieldsSeq(words) {
		if v, fit := of(w); v != "" {
			return reading{Meaning: Meaning{f, v}, fit: max(fit, synonym)}
		}
	}
	if f == FieldPriority {
		first, _, more := strings.Cut(words, " ")
		if n, ok := priorityNumber(first); ok {
			return reading{rank: rank{true, n}}
		}
		if !more && len(first) == 1 && first[0] >= '0' && first[0] <= '5' {
			return reading{rank: rank{true, int(first[0] - '0')}}
		}
	}
	return reading{}
}

func tag(words string) reading {
	if words == "" {
		return reading{}
	}
	return reading{Meaning: Meaning{FieldTags, slug(words)}}
}

func slug(words string) string { return strings.ReplaceAll(words, " ", "-") }

// priorityNumber reads "p0" to "p5".
func priorityNumber(word string) (int, bool) {
	if len(word) == 2 && word[0] == 'p' && word[1] >= '0' && word[1] <= '5' {
		return int(word[1] - '0'), true
	}
	return 0, false
}

// separator is what stands between a prefix and the rest.
type separator int

const (
	byNothing separator = iota
	bySign              // "kind/bug", "type: bug", "[Type] Bug", "area - cli"
	byLetter            // "C-bug", "A-parser": one capital letter
	byWord              // "priority-high", "type bug": may as well be no prefix at all
)

// cutPrefix splits a name where a prefix may end; the prefix is normalised.
func cutPrefix(s string) (prefix, rest string, by separator) {
	if s[0] == '[' || s[0] == '(' {
		if end := strings.IndexAny(s, "])"); end > 0 && strings.TrimSpace(s[end+1:]) != "" {
			return normaliseWords(s[1:end]), s[end+1:], bySign
		}
	}
	if i := strings.IndexAny(s, "/:=|>"); i > 0 {
		return normaliseWords(s[:i]), s[i+1:], bySign
	}
	for _, dash := range [...]string{" - ", " – ", " — "} {
		if i := strings.Index(s, dash); i > 0 {
			return normaliseWords(s[:i]), s[i+len(dash):], bySign
		}
	}
	if len(s) > 2 && s[1] == '-' && s[0] >= 'A' && s[0] <= 'Z' {
		return strings.ToLower(s[:1]), s[2:], byLetter
	}
	if i := strings.IndexAny(s, "-_ "); i > 0 {
		// "p-high" and "p high", but no component of one small letter.
		if p := normaliseWords(s[:i]); p != "a" {
			return p, s[i+1:], byWord
		}
	}
	return "", s, byNothing
}

// cutLast splits off the last word.
func cutLast(words string) (head, last string) {
	i := strings.LastIndexByte(words, ' ')
	if i < 0 {
		return "", words
	}
	return words[:i], words[i+1:]
}

func hasWord(words, word string) bool {
	for w := range strings.FieldsSeq(words) {
		if w == word {
			return true
		}
	}
	return false
}

// stripOrdinal removes the number by which a repository sorts its labels:
// "00 - Bug", "0.kind: bug", but not that of a version.
func stripOrdinal(name string) string {
	rest := strings.TrimLeft(name, "0123456789")
	if len(rest) == len(name) {
		return name
	}
	for _, sign := range [...]string{" - ", ".", ") "} {
		if after, ok := strings.CutPrefix(rest, sign); ok && len(after) > 1 && isLetter(after[0]) && isLetter(after[1]) {
			return after
		}
	}
	return name
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// splitCamel parts the words of "FeatureRequest"; a name that is not written so stays as it is.
func splitCamel(name string) string {
	parts := 0
	for i := range len(name) {
		if !isLetter(name[i]) {
			return name
		}
		if startsWord(name, i) {
			parts++
		}
	}
	if parts == 0 {
		return name
	}
	var b strings.Builder
	b.Grow(len(name) + parts)
	for i := range len(name) {
		if startsWord(name, i) {
			b.WriteByte(' ')
		}
		b.WriteByte(name[i])
	}
	return b.String()
}

func startsWord(name string, i int) bool { return i > 0 && name[i] < 'a' && name[i-1] >= 'a' }

// stripShortcodes removes ":shortcodes:" before and after a label's words; a
// name that is nothing else stays as it is.
func stripShortcodes(name string) string {
	s := strings.TrimSpace(name)
	for strings.HasPrefix(s, ":") {
		end := strings.IndexByte(s[1:], ':')
		if end < 0 || strings.IndexByte(s[1:end+1], ' ') >= 0 {
			break
		}
		s = strings.TrimSpace(s[end+2:])
	}
	for strings.HasSuffix(s, ":") {
		i := strings.LastIndexByte(s, ' ')
		if i < 0 || s[i+1] != ':' || i+2 == len(s) {
			break
		}
		s = strings.TrimSpace(s[:i])
	}
	if s == "" {
		return name
	}
	return s
}

// normaliseWords lower-cases and keeps letters with their marks, digits, '+'
// and '#' (as in "c++", "c#"), everything else becoming single spaces.
func normaliseWords(s string) string {
	if isNormal(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	space, inWord := false, false
	for _, r := range s {
		switch {
		case r < 0x80 && isWordByte(byte(r)):
		case 'A' <= r && r <= 'Z':
			r += 'a' - 'A'
		case r >= 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r)):
			r = unicode.ToLower(r)
		case r >= 0x80 && inWord && unicode.In(r, unicode.Mn, unicode.Mc) && !unicode.Is(unicode.Variation_Selector, r):
		default:
			space, inWord = true, false
			continue
		}
		if space && b.Len() > 0 {
			b.WriteByte(' ')
		}
		space, inWord = false, true
		if r < 0x80 {
			b.WriteByte(byte(r))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// isNormal tells whether normaliseWords would change nothing, which is most
// often so.
func isNormal(s string) bool {
	wasWord := false
	for i := range len(s) {
		is := isWordByte(s[i])
		if !is && (s[i] != ' ' || !wasWord) {
			return false
		}
		wasWord = is
	}
	return wasWord
}

func isWordByte(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '+' || c == '#'
}
