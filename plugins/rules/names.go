package rules

import (
	"bytes"
	"fmt"

	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// names finds a repository's own names (components, tags) in an issue.
type names struct {
	options []named
	first   map[string][]int // first word -> options' names that start with it
	phrases []namePhrase
	words   map[string][]int // a word of a description -> options, if it is telling
}

type named struct {
	value  string
	silent bool // given only where a cue says so
}

type namePhrase struct {
	option int
	words  []string
}

const (
	maxOptions  = 300
	maxDescribe = 12
)

// newNames prepares the options of a field. describe says whether words of
// their descriptions count too.
func newNames(list []sdk.Option, describe bool, common *background) *names {
	n := &names{first: map[string][]int{}, words: map[string][]int{}}
	seen := map[string]bool{}
	for i, opt := range list[:min(len(list), maxOptions)] {
		n.options = append(n.options, named{value: opt.Value, silent: !describe && (workflowTags[tagKey(opt.Value)] || tagNames[tagKey(opt.Value)] != "")})
		for _, name := range []string{opt.Value, tail(opt.Value), tail(opt.Label)} {
			words := splitWords(name)
			key := fmt.Sprint(i, words)
			if len(words) == 0 || len(words) > 5 || seen[key] || len(words) == 1 && (len(words[0]) < 2 || commonNames[words[0]]) {
				continue
			}
			seen[key] = true
			n.first[words[0]] = append(n.first[words[0]], len(n.phrases))
			n.phrases = append(n.phrases, namePhrase{i, words})
			if joined := joinWords(words); len(words) > 1 && !seen[fmt.Sprint(i, joined)] {
				seen[fmt.Sprint(i, joined)] = true
				n.first[joined] = append(n.first[joined], len(n.phrases))
				n.phrases = append(n.phrases, namePhrase{i, []string{joined}})
			}
		}
		if !describe {
			continue
		}
		told := map[string]bool{}
		for _, word := range splitWords(opt.Description) {
			if len(word) >= 4 && !told[word] && !commonNames[word] && common.share(word) < 0.05 && len(told) < maxDescribe {
				told[word] = true
				n.words[word] = append(n.words[word], i)
			}
		}
	}
	// A word of several descriptions tells none from another.
	for word, of := range n.words {
		if len(of) > 1 || len(n.first[word]) > 0 {
			delete(n.words, word)
		}
	}
	return n
}

func joinWords(words []string) string {
	out := ""
	for _, w := range words {
		out += w
	}
	return out
}

// place is where an option's name was found; the best ones first.
type place int

const (
	byAnswer place = iota
	byPrefix
	byTitle
	byFrame
	byPath
	byText
	byWords
	places
)

// weight is how much a place counts for an option.
var placeWeights = [places]float64{byAnswer: 4, byPrefix: 3.4, byTitle: 1.9, byFrame: 1.5, byPath: 1.3, byText: 0.9, byWords: 0.55}

// mention is what speaks for one option.
type mention struct {
	option int
	found  [places]int
	path   span // a word in a path or trace, for the reason
	word   string
	bonus  float64 // a longer name tells more than a part of it
	score  float64
}

// find gives what the document mentions, by falling score. The cost is one
// look-up per word and the few words of a name where its first one stands.
func (n *names) find(d *document) []mention {
	found := map[int]*mention{}
	at := func(option int, where place) *mention {
		m := found[option]
		if m == nil {
			m = &mention{option: option}
			found[option] = m
		}
		m.found[where]++
		return m
	}
	for i, t := range d.tokens {
		word := d.lower[t.start:t.end]
		var where place
		switch {
		case t.zone == inTitle:
			where = byTitle
		case t.flags&inFrame != 0:
			where = byFrame
		case t.flags&inPath != 0:
			where = byPath
		case t.zone == inProse || t.zone == inChecked || t.zone == inCode:
			where = byText
		default:
			continue
		}
		for _, p := range n.first[string(word)] {
			ph := &n.phrases[p]
			if len(ph.words) > 1 && !follows(d, i, ph.words) {
				continue
			}
			m := at(ph.option, where)
			m.bonus = max(m.bonus, 0.2*float64(len(ph.words)-1))
			if (where == byFrame || where == byPath) && m.path.end == 0 {
				m.path = d.pathAround(int(t.start), int(t.end))
			}
		}
		if where <= byTitle || where == byText {
			for _, o := range n.words[string(word)] {
				if m := at(o, byWords); m.word == "" {
					m.word = string(word)
				}
			}
		}
	}
	for _, p := range d.prefixes {
		n.exact(d.lower[p.start:p.end], func(o int) { at(o, byPrefix) })
	}
	for i := range d.sections {
		s := &d.sections[i]
		if s.words[1]-s.words[0] > 8 || !d.asks(s, asksArea) {
			continue
		}
		end := s.answer.end
		if !s.inline {
			end = min(end, s.answer.start+400)
		}
		if s.answer.start < end {
			n.within(d.lower[s.answer.start:end], func(o int) { at(o, byAnswer) })
		}
	}
	out := make([]mention, 0, len(found))
	for _, m := range found {
		for w, count := range m.found {
			if count > 0 {
				m.score += placeWeights[w] * (1 + 0.25*float64(min(count-1, 4)))
			}
		}
		m.score *= 1 + m.bonus
		out = append(out, *m)
	}
	sortMentions(out)
	return out
}

// follows tells whether the words of a name stand at token i.
func follows(d *document, i int, words []string) bool {
	if i+len(words) > len(d.tokens) {
		return false
	}
	for k, w := range words {
		t := d.tokens[i+k]
		if t.zone != d.tokens[i].zone || string(d.lower[t.start:t.end]) != w {
			return false
		}
	}
	return true
}

// exact finds the options that a short text names and nothing besides.
func (n *names) exact(lower []byte, yield func(option int)) {
	words := splitWords(string(lower))
	if len(words) == 0 {
		return
	}
	for _, p := range n.first[words[0]] {
		if ph := &n.phrases[p]; len(ph.words) == len(words) && equalWords(ph.words, words) {
			yield(ph.option)
			return
		}
	}
	if len(words) > 3 {
		return
	}
	n.within(lower, yield)
}

// within finds each option that a text names, once, the longest names first.
func (n *names) within(lower []byte, yield func(option int)) {
	words := splitWords(string(lower))
	seen := map[int]bool{}
	for i := 0; i < len(words); {
		best, length := -1, 0
		for _, p := range n.first[words[i]] {
			ph := &n.phrases[p]
			if len(ph.words) > length && i+len(ph.words) <= len(words) && equalWords(ph.words, words[i:i+len(ph.words)]) {
				best, length = ph.option, len(ph.words)
			}
		}
		if best >= 0 && !seen[best] {
			seen[best] = true
			yield(best)
		}
		i += max(length, 1)
	}
}

func equalWords(a, b []string) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// asks tells whether the heading of a section has a word of that role.
func (d *document) asks(s *section, r role) bool {
	for _, t := range d.tokens[s.words[0]:s.words[1]] {
		if d.lex.roles[t.id]&r != 0 {
			return true
		}
	}
	return false
}

// pathAround gives the path that a word stands in.
func (d *document) pathAround(start, end int) span {
	const delimiters = " \n\"'()<>[]`,;|*={}"
	low := max(0, start-60)
	if i := bytes.LastIndexAny(d.text[low:start], delimiters); i >= 0 {
		low += i + 1
	}
	high := min(len(d.text), end+40)
	if i := bytes.IndexAny(d.text[end:high], delimiters); i >= 0 {
		high = end + i
	}
	return span{low, high}
}
