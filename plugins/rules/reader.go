package rules

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// reader turns what was found in one issue into answers.
type reader struct {
	d       *document
	hits    *hits
	found   []finding
	options *options
	issue   *sdk.Issue
	similar []sdk.SimilarIssue
}

// Below these, a field is not answered.
const (
	leastMargin     = 0.1 // between the best value and the next
	leastConfidence = 0.33
	leastNamed      = 0.5 // for components and tags
)

// category answers the category, and gives what the issue most probably is, and
// how surely, whether the repository asks for it or not.
func (r *reader) category(answers map[sdk.Field]sdk.Answer) (category, float64) {
	scores := r.d.lex.scores(r.found)
	neighbour, pull := r.neighbours(&scores)

	free := scores
	shares(free[:], temperature)
	what := category(0)
	for c := range categories {
		if free[c] > free[what] {
			what = c
		}
	}
	if len(r.found) == 0 {
		return what, 0
	}

	// A repository without a word for bugs, features or questions still has
	// such issues: they keep their share. What is about documentation,
	// security, performance or upkeep is one of those three as well, and is
	// taken for it where there is no word of its own.
	offered := 0
	for c := range categories {
		if r.options.category[c] != "" {
			offered++
		} else if c > question {
			scores[c] = math.Inf(-1)
		}
	}
	if offered == 0 {
		return what, free[what]
	}
	shares(scores[:], temperature)
	best, next := category(-1), 0.0
	for c := range categories {
		switch {
		case r.options.category[c] == "":
			next = max(next, scores[c])
		case best < 0:
			best = c
		case scores[c] > scores[best]:
			next = max(next, scores[best])
			best = c
		default:
			next = max(next, scores[c])
		}
	}
	if scores[best]-next < leastMargin || scores[best] < leastConfidence {
		return what, free[what]
	}
	reason := r.because(best, neighbour, pull)
	if reason == "" {
		return what, free[what]
	}
	answers[sdk.Category] = sdk.Answer{Values: []string{r.options.category[best]}, Confidence: rounded(scores[best]), Reason: reason}
	return what, free[what]
}

// neighbours lets the nearest issues speak, those that are very near: at most
// three, and together less than one strong cue of the issue itself. It gives
// the nearest one that counted, and for which category.
func (r *reader) neighbours(scores *[categories]float64) (number int, of category) {
	of = -1
	for _, s := range r.similar[:min(len(r.similar), 3)] {
		if s.Similarity < 0.6 || len(s.Fields[sdk.Category]) == 0 {
			continue
		}
		for c := range categories {
			if v := r.options.category[c]; v != "" && v == s.Fields[sdk.Category][0] {
				scores[c] += 2 * (min(s.Similarity, 1) - 0.5)
				if of < 0 {
					number, of = s.Number, c
				}
			}
		}
	}
	return number, of
}

// because names the three things that speak most for a category.
func (r *reader) because(best category, neighbour int, of category) string {
	type reason struct {
		weight float64
		index  int
	}
	var reasons []reason
	for _, f := range r.found {
		w := r.d.lex.weightsOf(f.index)
		others := 0.0
		for c := range categories {
			if c != best {
				others += w.of(c)
			}
		}
		if weight := f.strength * (w.of(best) - others/float64(categories-1)); w.of(best) > 0 && weight > 0.12 {
			reasons = append(reasons, reason{weight, f.index})
		}
	}
	sort.SliceStable(reasons, func(i, j int) bool { return reasons[i].weight > reasons[j].weight })
	var parts []string
	for _, x := range reasons {
		if len(parts) == 3 {
			break
		}
		if s := r.says(x.index); !slices.Contains(parts, s) {
			parts = append(parts, s)
		}
	}
	if of == best && len(parts) < 3 {
		parts = append(parts, fmt.Sprintf("the similar issue #%d", neighbour))
	}
	if len(parts) == 0 {
		return ""
	}
	return "Has " + listing(parts) + "."
}

// says completes "Has ..." for a finding.
func (r *reader) says(index int) string {
	l, d := r.d.lex, r.d
	switch {
	case index < l.signalAt():
		return l.says(index, r.hits)
	case index == l.signalAt()+int(hasTrace):
		return d.firstTrace.String()
	case index == l.signalAt()+int(hasErrorName):
		return "the error name “" + quotable(string(d.text[d.errorName.start:d.errorName.end])) + "”"
	case index < l.prefixAt():
		return signal(index - l.signalAt()).String()
	case index < l.answerAt():
		return "a title marked “" + r.prefixOf(category(index-l.prefixAt())) + "”"
	}
	return "the form's answer “" + category(index-l.answerAt()).String() + "”"
}

// prefixOf gives the title's prefix that named a category.
func (r *reader) prefixOf(c category) string {
	for _, p := range r.d.prefixes {
		if k, ok := r.d.lex.kindIn(r.d.lower[p.start:p.end]); ok && k.category == c {
			return quotable(string(r.d.text[p.start:p.end]))
		}
	}
	return c.String()
}

// says completes "Has ..." for a cue, in the words of the table.
func (l *lexicon) says(cue int, h *hits) string {
	quoted := "“" + l.phrases[h.by[cue]].text + "”"
	switch z := h.zone[cue]; z {
	case inTitle:
		return quoted + " in the title"
	case inHeading:
		return "the heading " + quoted
	case inCode:
		return quoted + " in its code or output"
	case inChecked:
		return "the ticked option " + quoted
	}
	if strings.Contains(quoted, " ") {
		return "the words " + quoted
	}
	return "the word " + quoted
}

// listing joins parts as a sentence does.
func listing(parts []string) string {
	if len(parts) < 2 {
		return strings.Join(parts, "")
	}
	return strings.Join(parts[:len(parts)-1], ", ") + " and " + parts[len(parts)-1]
}

// rounded keeps three decimals: more would pretend.
func rounded(p float64) float64 { return math.Round(min(p, 0.99)*1000) / 1000 }

// urgency answers priority or severity.
func (r *reader) urgency(answers map[sdk.Field]sdk.Answer, field sdk.Field, what category) {
	values, asks := &r.options.priority, asksPriority
	if field == sdk.Severity {
		values, asks = &r.options.severity, asksSeverity
	}
	offered := 0
	for _, v := range values {
		if v != "" {
			offered++
		}
	}
	if offered < 2 {
		return // with one value there is nothing to tell apart
	}
	if u, ok := r.d.answeredUrgency(asks); ok && values[u] != "" {
		answers[field] = sdk.Answer{Values: []string{values[u]}, Confidence: 0.85, Reason: "The author answered “" + u.String() + "” where the form asks for it."}
		return
	}
	if field == sdk.Severity && (what == feature || what == question || what == documentation || what == maintenance) {
		return // nothing is broken
	}
	scores := []float64{critical: -1.2, high: -0.8, medium: 0, low: -0.6}
	switch what {
	case feature, maintenance:
		scores[critical] -= 0.8
		scores[high] -= 0.4
		scores[low] += 0.3
	case documentation:
		scores[critical] -= 1
		scores[high] -= 0.6
		scores[low] += 0.8
	case question:
		scores[critical] -= 0.6
		scores[high] -= 0.4
		scores[low] += 0.2
	}
	weigh := func(i int) *levels {
		if field == sdk.Severity {
			return &r.d.lex.cues[i].severity
		}
		return &r.d.lex.cues[i].priority
	}
	seen := false
	for i, n := range r.hits.count {
		if n == 0 || *weigh(i) == (levels{}) {
			continue
		}
		seen = true
		for u := range urgencies {
			scores[u] += repeated(n) * weigh(i).of(u)
		}
	}
	if !seen {
		return
	}
	for u, v := range values {
		if v == "" {
			scores[u] = math.Inf(-1)
		}
	}
	shares(scores, 1)
	best, next := urgency(0), 0.0
	for u := range urgencies {
		if scores[u] > scores[best] {
			best = u
		}
	}
	for u := range urgencies {
		if u != best {
			next = max(next, scores[u])
		}
	}
	if scores[best]-next < leastMargin || scores[best] < leastConfidence {
		return
	}
	var parts []string
	for i, n := range r.hits.count {
		if n == 0 || len(parts) == 3 {
			continue
		}
		w := weigh(i)
		strongest := max(w.critical, w.high, w.medium, w.low)
		if w.of(best) > 0 && w.of(best) >= strongest/2 {
			parts = append(parts, r.d.lex.says(i, r.hits))
		}
	}
	if len(parts) == 0 {
		return
	}
	// Nobody has measured these weights as those of the category: the
	// confidence stays modest.
	answers[field] = sdk.Answer{Values: []string{values[best]}, Confidence: rounded(min(scores[best], 0.85)), Reason: "Has " + listing(parts) + "."}
}

// answeredUrgency gives the level that the author answered to a form.
func (d *document) answeredUrgency(asks role) (urgency, bool) {
	for i := range d.sections {
		s := &d.sections[i]
		if s.words[1]-s.words[0] > 6 || !d.asks(s, asks) {
			continue
		}
		found := int8(0)
		tokens := d.tokens[s.body[0]:min(s.body[1], s.body[0]+6)]
		for _, t := range tokens {
			if l := d.lex.level[t.id]; l > 0 {
				if found > 0 && found != l {
					return 0, false // all the choices, left to stand
				}
				found = l
			}
		}
		if found > 0 {
			return urgency(found - 1), true
		}
	}
	return 0, false
}
