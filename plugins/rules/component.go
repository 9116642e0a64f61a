package rules

import (
	"fmt"
	"sort"
	"strings"

	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// maxTags bounds how many tags an issue is given.
const maxTags = 5

// component answers the component.
func (r *reader) component(answers map[sdk.Field]sdk.Answer) {
	n := r.options.component
	if n == nil {
		return
	}
	mentions := n.find(r.d)
	near := 0
	if len(r.similar) > 0 && r.similar[0].Similarity >= 0.75 && len(r.similar[0].Fields[sdk.Component]) == 1 {
		mentions, near = n.recall(mentions, r.similar[0])
	}
	if len(mentions) == 0 {
		return
	}
	best, next := mentions[0], 0.0
	if len(mentions) > 1 {
		next = mentions[1].score
	}
	confidence := 0.97 * best.score / (best.score + 0.7*next + 0.5)
	if confidence < leastNamed || best.score-next < 0.2*best.score {
		return
	}
	reason := r.mentioned(n.options[best.option].value, best)
	if near > 0 && best.total() == 0 {
		reason = fmt.Sprintf("The similar issue #%d belongs to it.", near)
	}
	answers[sdk.Component] = sdk.Answer{Values: []string{n.options[best.option].value}, Confidence: rounded(confidence), Reason: reason}
}

// recall lets the component of a very similar issue count like a mention.
func (n *names) recall(mentions []mention, s sdk.SimilarIssue) ([]mention, int) {
	for i, o := range n.options {
		if o.value != s.Fields[sdk.Component][0] {
			continue
		}
		at := -1
		for j := range mentions {
			if mentions[j].option == i {
				at = j
			}
		}
		if at < 0 {
			mentions = append(mentions, mention{option: i})
			at = len(mentions) - 1
		}
		mentions[at].score += 1.2
		sortMentions(mentions)
		return mentions, s.Number
	}
	return mentions, 0
}

func sortMentions(m []mention) {
	sort.Slice(m, func(i, j int) bool {
		if m[i].score != m[j].score {
			return m[i].score > m[j].score
		}
		return m[i].option < m[j].option
	})
}

func (m mention) total() int {
	sum := 0
	for _, n := range m.found {
		sum += n
	}
	return sum
}

// mentioned says where an option was found, the best place first.
func (r *reader) mentioned(value string, m mention) string {
	value = "“" + quotable(value) + "”"
	path := "“" + quotable(string(r.d.text[m.path.start:m.path.end])) + "”"
	switch {
	case m.found[byAnswer] > 0:
		return "The author answered " + value + " where the form asks for it."
	case m.found[byPrefix] > 0:
		return "The title is marked " + value + "."
	case m.found[byTitle] > 0 && m.found[byFrame] > 0:
		return "The title mentions " + value + ", and the stack trace goes through " + path + "."
	case m.found[byTitle] > 0:
		return "The title mentions " + value + "."
	case m.found[byFrame] > 0:
		return "The stack trace goes through " + path + "."
	case m.found[byPath] > 0:
		return "Mentions the path " + path + "."
	case m.found[byText] > 0:
		return "The text mentions " + value + "."
	}
	return "Has the word “" + quotable(m.word) + "” of the description of " + value + "."
}

// tags answers the tags: only those with a reason of their own.
func (r *reader) tags(answers map[sdk.Field]sdk.Answer, what category, sure float64) {
	o := r.options
	if o.tags == nil {
		return
	}
	var tags []tagged
	add := func(value string, confidence float64, reason string) {
		if value == "" || confidence < leastNamed {
			return
		}
		for i := range tags {
			if tags[i].value == value {
				if confidence > tags[i].confidence {
					tags[i] = tagged{value, confidence, reason}
				}
				return
			}
		}
		tags = append(tags, tagged{value, confidence, reason})
	}
	for i, n := range r.hits.count {
		c := &r.d.lex.cues[i]
		if n == 0 || c.tag == "" || (c.tag == "regression" || c.tag == "crash") && (what == feature || what == question) {
			continue
		}
		add(o.tagged[c.tag], c.confidence, "has "+r.d.lex.says(i, r.hits))
	}
	if r.d.traces&(1<<goTrace|1<<rustTrace|1<<nativeTrace) != 0 && what != feature && what != question {
		add(o.tagged["crash"], 0.75, "has "+r.d.firstTrace.String())
	}
	if what == bug && sure >= 0.4 && r.needsInfo() {
		add(o.tagged["needs-info"], 0.65, "has no steps, no output, no version and few words")
	}
	for _, c := range [...]category{documentation, security, performance} {
		if what == c && o.category[c] == "" {
			add(o.tagged[c.String()], sure, "is about "+c.String())
		}
	}
	for _, m := range o.tags.find(r.d) {
		if o.tags.options[m.option].silent {
			continue
		}
		value := o.tags.options[m.option].value
		switch {
		case m.found[byAnswer] > 0:
			add(value, 0.9, "was answered in the form")
		case m.found[byPrefix] > 0:
			add(value, 0.85, "stands before the title")
		case m.found[byTitle] > 0:
			add(value, 0.7, "stands in the title")
		case m.found[byText] >= 3:
			add(value, 0.6, "stands in the text several times")
		}
	}
	setTags(answers, tags)
}

type tagged struct {
	value      string
	confidence float64
	reason     string
}

// setTags makes the answer of the surest tags. Its confidence is that of the
// least sure among them.
func setTags(answers map[sdk.Field]sdk.Answer, tags []tagged) {
	if len(tags) == 0 {
		return
	}
	sort.SliceStable(tags, func(i, j int) bool { return tags[i].confidence > tags[j].confidence })
	tags = tags[:min(len(tags), maxTags)]
	a := sdk.Answer{Confidence: 1}
	var reasons []string
	for _, t := range tags {
		a.Values = append(a.Values, t.value)
		a.Confidence = min(a.Confidence, t.confidence)
		reasons = append(reasons, "“"+quotable(t.value)+"” "+t.reason)
	}
	a.Confidence = rounded(a.Confidence)
	a.Reason = strings.Join(reasons, "; ") + "."
	answers[sdk.Tags] = a
}

// needsInfo tells whether a bug report lacks all that one could start from.
func (r *reader) needsInfo() bool {
	d := r.d
	return d.codeLines == 0 && d.traces == 0 && d.numbered < 2 && d.images == 0 && d.facts == 0 && d.errorName.end == 0 && d.proseWords < 40 && !r.issue.Truncated
}
