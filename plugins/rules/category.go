package rules

import (
	"math"
	"strings"
)

// finding is one thing found in an issue: a cue, a signal, or the kind that the
// author gave. index says which (see evidence), strength how much of its
// weights count.
type finding struct {
	index    int
	strength float64
}

// The findings are numbered: the cues first, then the signals, the kinds named
// before the title, and the kinds answered to a form.
func (l *lexicon) signalAt() int { return len(l.cues) }
func (l *lexicon) prefixAt() int { return len(l.cues) + int(signals) }
func (l *lexicon) answerAt() int { return len(l.cues) + int(signals) + int(categories) }

// weightsOf gives what a finding says of the categories.
func (l *lexicon) weightsOf(index int) *weights {
	switch {
	case index < l.signalAt():
		return &l.cues[index].weights
	case index < l.prefixAt():
		return &signalWeights[index-l.signalAt()]
	case index < l.answerAt():
		return &prefixWeights[index-l.prefixAt()]
	}
	return &answerWeights[index-l.answerAt()]
}

// find appends what the document shows to out.
func (d *document) find(h *hits, out []finding) []finding {
	l := d.lex
	for i, n := range h.count {
		if n > 0 && l.cues[i].weights != (weights{}) {
			out = append(out, finding{i, repeated(n)})
		}
	}
	for s := range signals {
		if d.shows(s) {
			out = append(out, finding{l.signalAt() + int(s), 1})
		}
	}
	for _, p := range d.prefixes {
		if k, ok := l.kindIn(d.lower[p.start:p.end]); ok {
			out = append(out, finding{l.prefixAt() + int(k.category), k.strength})
			break
		}
	}
	if k, ok := d.answeredKind(); ok {
		out = append(out, finding{l.answerAt() + int(k.category), k.strength})
	}
	return out
}

// repeated is how much more a cue says that comes n times.
func repeated(n uint8) float64 {
	switch {
	case n >= 3:
		return 1.5
	case n == 2:
		return 1.25
	}
	return 1
}

// shows tells whether the document has a signal.
func (d *document) shows(s signal) bool {
	switch s {
	case hasTrace:
		return d.traces != 0
	case hasErrorName:
		return d.errorName.end > 0
	case titleError:
		return d.errorName.end > 0 && d.errorName.end < d.bodyAt
	case hasFacts:
		return d.facts >= 2
	case hasSteps:
		return d.numbered >= 2
	case hasImage:
		return d.images > 0
	case hasCode:
		return d.codeLines > 0
	case hasMuchCode:
		return d.codeLines >= 15
	case hasReference:
		return d.references > 0
	case noBody:
		return d.proseWords < 4 && d.codeLines == 0
	case shortBody:
		return d.proseWords >= 4 && d.proseWords < 60
	case longBody:
		return d.proseWords >= 200
	case titleQuestion:
		return d.titleAsks
	case bodyQuestion:
		return d.questions == 1
	case bodyQuestions:
		return d.questions > 1
	case endsAsking:
		return d.lastAsks
	case bugTemplate:
		return d.form == bugForm
	case featureTemplate:
		return d.form == featureForm
	}
	return false
}

// kindIn gives the one kind that a few words name; none when they name two.
func (l *lexicon) kindIn(lower []byte) (kind, bool) {
	var found kind
	words := 0
	for i := 0; i < len(lower); {
		j, _ := nextWord(lower, i)
		if j == i {
			i++
			continue
		}
		words++
		if k := l.kinds[l.ids[string(lower[i:j])]]; k.strength > 0 {
			switch {
			case found.strength == 0, found.category == k.category && k.strength > found.strength:
				found = k
			case found.category != k.category && k.strength == found.strength && k.strength == 1:
				return kind{}, false
			case k.strength > found.strength:
				found = k
			}
		}
		i = j
	}
	return found, found.strength > 0 && words <= 6
}

// answeredKind gives the kind that the author answered where a form asks for
// it: "Issue type: Bug", or "Do you want to request a feature or report a bug?".
func (d *document) answeredKind() (kind, bool) {
	for i := range d.sections {
		s := &d.sections[i]
		asks, kinds := false, 0
		for _, t := range d.tokens[s.words[0]:s.words[1]] {
			asks = asks || d.lex.roles[t.id]&asksKind != 0
			if k := d.lex.kinds[t.id]; k.strength == 1 {
				kinds |= 1 << k.category
			}
		}
		few := s.words[1]-s.words[0] <= 7
		if (!asks || !few) && (kinds&(1<<bug) == 0 || kinds&(1<<feature|1<<question) == 0) {
			continue
		}
		first := d.tokens[s.body[0]:s.body[1]]
		if len(first) == 0 {
			continue
		}
		end := int(first[0].end)
		for _, t := range first[1:min(len(first), 6)] {
			if strings.Contains(string(d.text[end:t.start]), "\n") {
				break
			}
			end = int(t.end)
		}
		if k, ok := d.lex.kindIn(d.lower[first[0].start:end]); ok && k.strength == 1 {
			return k, true
		}
	}
	return kind{}, false
}

// scores adds up what the findings say of each category.
func (l *lexicon) scores(found []finding) [categories]float64 {
	var sum [categories]float64
	for c := range categories {
		sum[c] = bias.of(c)
	}
	for _, f := range found {
		w := l.weightsOf(f.index)
		for c := range categories {
			sum[c] += f.strength * w.of(c)
		}
	}
	return sum
}

// shares turns scores into probabilities that add up to one. Scores of minus
// infinity take no part.
func shares(scores []float64, temperature float64) {
	top := math.Inf(-1)
	for _, s := range scores {
		top = max(top, s)
	}
	if math.IsInf(top, -1) {
		clear(scores)
		return
	}
	sum := 0.0
	for i, s := range scores {
		scores[i] = math.Exp((s - top) / temperature)
		sum += scores[i]
	}
	for i := range scores {
		scores[i] /= sum
	}
}
