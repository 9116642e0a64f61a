package rules

import (
	"strings"
)

// The words that stand for a class of words.
const (
	idUnknown uint16 = iota
	idQuestion
	idNumber
	idVersion
	firstWordID
)

// lexicon is the table of cues made ready for matching: every known word has a
// number, and phrases are paths in a tree of numbers, so that one pass over an
// issue's words finds all of them. It is built once and never changed.
type lexicon struct {
	cues    []cue
	phrases []phrase

	ids     map[string]uint16
	longest int // the length of the longest word

	first []uint16          // by word: the tree's node after it, 0 for none
	edges map[uint32]uint16 // node<<16 | word -> node
	ends  [][]uint16        // by node: the phrases that end there

	roles []role // by word
	kinds []kind // by word
	level []int8 // by word: an urgency + 1
}

// phrase is one of a cue's alternatives.
type phrase struct {
	text     string
	cue      uint16
	anchored bool // only at the start of a sentence
}

// role is what a word in a form's heading asks for.
type role uint8

const (
	asksKind role = 1 << iota
	asksArea
	asksPriority
	asksSeverity
	negates
)

// kind is what kind of issue a word names, and how surely.
type kind struct {
	category category
	strength float64
}

// newLexicon compiles the tables.
func newLexicon(tables ...[]cue) *lexicon {
	l := &lexicon{ids: map[string]uint16{"?": idQuestion, "#": idNumber, "#.#": idVersion}, edges: map[uint32]uint16{}, ends: make([][]uint16, 1)}
	for _, table := range tables {
		l.cues = append(l.cues, table...)
	}
	for _, c := range l.cues {
		for _, text := range strings.Split(c.words, "|") {
			for _, word := range strings.Fields(strings.TrimPrefix(strings.TrimSpace(text), "^")) {
				l.id(word)
			}
		}
	}
	each := func(words string, do func(id uint16)) {
		for _, word := range strings.Split(words, "|") {
			do(l.id(word))
		}
	}
	for _, w := range formWords {
		each(w.words, func(uint16) {})
	}
	for _, k := range kindWords {
		each(k.words, func(uint16) {})
	}
	for _, words := range urgencyWords {
		each(words, func(uint16) {})
	}
	l.first = make([]uint16, len(l.ids)+1)
	l.roles = make([]role, len(l.ids)+1)
	l.kinds = make([]kind, len(l.ids)+1)
	l.level = make([]int8, len(l.ids)+1)
	for _, w := range formWords {
		each(w.words, func(id uint16) { l.roles[id] |= w.role })
	}
	for _, k := range kindWords {
		each(k.words, func(id uint16) { l.kinds[id] = kind{k.category, k.strength} })
	}
	for u, words := range urgencyWords {
		each(words, func(id uint16) { l.level[id] = int8(u + 1) })
	}
	for i, c := range l.cues {
		l.add(uint16(i), c)
	}
	return l
}

// id gives a word's number, a new one if need be.
func (l *lexicon) id(word string) uint16 {
	id, ok := l.ids[word]
	if !ok {
		id = uint16(len(l.ids) + 1)
		l.ids[word] = id
		l.longest = max(l.longest, len(word))
	}
	return id
}

// add enters a cue with its phrases.
func (l *lexicon) add(index uint16, c cue) {
	for _, text := range strings.Split(c.words, "|") {
		p := phrase{cue: index}
		text, p.anchored = strings.CutPrefix(strings.TrimSpace(text), "^")
		p.text = strings.TrimSpace(text)
		var node uint16
		for i, word := range strings.Fields(p.text) {
			id := l.id(word)
			if i == 0 {
				if l.first[id] == 0 {
					l.first[id] = l.node()
				}
				node = l.first[id]
				continue
			}
			edge := uint32(node)<<16 | uint32(id)
			if l.edges[edge] == 0 {
				l.edges[edge] = l.node()
			}
			node = l.edges[edge]
		}
		if node == 0 {
			continue // an empty alternative
		}
		l.ends[node] = append(l.ends[node], uint16(len(l.phrases)))
		l.phrases = append(l.phrases, p)
	}
}

func (l *lexicon) node() uint16 {
	l.ends = append(l.ends, nil)
	return uint16(len(l.ends) - 1)
}

// hits says which cues an issue has: how often each, and by which
// phrase first, standing where.
type hits struct {
	count []uint8
	by    []uint16
	zone  []zone
}

// match finds all phrases in the words of the document. It takes time in
// proportion to the number of words: a phrase has at most a handful.
func (l *lexicon) match(d *document, h *hits) {
	h.count = append(h.count[:0], make([]uint8, len(l.cues))...)
	h.by = append(h.by[:0], make([]uint16, len(l.cues))...)
	h.zone = append(h.zone[:0], make([]zone, len(l.cues))...)
	for i, t := range d.tokens {
		if t.id == idUnknown || t.zone == 0 {
			continue
		}
		node := l.first[t.id]
		for j := i; node != 0; {
			for _, p := range l.ends[node] {
				ph := &l.phrases[p]
				c := &l.cues[ph.cue]
				if c.in&t.zone == 0 || ph.anchored && t.flags&startsSentence == 0 || c.guarded && l.negated(d, i) {
					continue
				}
				if n := h.count[ph.cue]; n == 0 {
					h.by[ph.cue], h.zone[ph.cue], h.count[ph.cue] = p, t.zone, 1
				} else if n < 255 {
					h.count[ph.cue]++
				}
			}
			if j++; j >= len(d.tokens) {
				break
			}
			next := d.tokens[j]
			if next.id == idUnknown || next.zone != t.zone || next.flags&(startsSentence|afterGap) != 0 {
				break
			}
			node = l.edges[uint32(node)<<16|uint32(next.id)]
		}
	}
}

// negated tells whether one of the three words before token i, in the same
// sentence, denies it.
func (l *lexicon) negated(d *document, i int) bool {
	for n := 0; n < 3 && i > 0 && d.tokens[i].flags&startsSentence == 0; n++ {
		i--
		if l.roles[d.tokens[i].id]&negates != 0 {
			return true
		}
	}
	return false
}
