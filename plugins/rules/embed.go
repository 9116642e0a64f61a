package rules

import (
	"context"
	"math"
	"unicode"
	"unicode/utf8"

	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// embeddingName names what the terms stand for. A change to how texts are cut
// or hashed needs a new name.
const embeddingName = "words-v2"

// EmbedTerms gives the words of each text, title and body alike: by those that
// are telling in a repository, its issues are found to be near to each other.
// How telling a word is, the host finds out; in how many issues anywhere it
// stands, as far as known, is its share. Of a text with more than
// sdk.MaxTerms words the first are taken. The same text gives the same terms
// on every machine.
func (c *Classifier) EmbedTerms(ctx context.Context, texts []sdk.Text) ([][]sdk.Term, error) {
	s := c.scratch.Get().(*scratch)
	defer c.scratch.Put(s)
	out := make([][]sdk.Term, len(texts))
	for i, t := range texts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		out[i] = s.embed(c.background, t)
	}
	return out, nil
}

// term is a distinct word of a text.
type term struct {
	id         uint32
	count      int32
	start, end int32 // into the cleaned text, for the share
	class      string
}

// termTable counts the distinct words of a text: an open hash table that is
// kept from text to text.
type termTable struct {
	slots []int32 // index into terms + 1
	terms []term
}

func (t *termTable) reset() {
	clear(t.slots)
	t.terms = t.terms[:0]
	if len(t.slots) == 0 {
		t.slots = make([]int32, 1024)
	}
}

// add counts a word. Once there are as many as may be, no further ones come in.
func (t *termTable) add(id uint32, start, end int, class string) {
	if 2*len(t.terms) >= len(t.slots) {
		t.slots = make([]int32, 2*len(t.slots))
		for i := range t.terms {
			at := t.terms[i].id & uint32(len(t.slots)-1)
			for t.slots[at] != 0 {
				at = (at + 1) & uint32(len(t.slots)-1)
			}
			t.slots[at] = int32(i + 1)
		}
	}
	mask := uint32(len(t.slots) - 1)
	for at := id & mask; ; at = (at + 1) & mask {
		switch n := t.slots[at]; {
		case n == 0:
			if len(t.terms) == sdk.MaxTerms {
				return
			}
			t.terms = append(t.terms, term{id, 1, int32(start), int32(end), class})
			t.slots[at] = int32(len(t.terms))
			return
		case t.terms[n-1].id == id:
			t.terms[n-1].count++
			return
		}
	}
}

// embed gives the terms of a text, in fresh memory.
func (s *scratch) embed(b *background, text sdk.Text) []sdk.Term {
	s.text = appendClean(s.text[:0], text.Title, maxTitle)
	s.text = append(s.text, '\n')
	s.text = appendClean(s.text, text.Body, maxBody)
	s.lower = appendLower(s.lower[:0], s.text)
	s.terms.reset()
	for i := 0; i < len(s.lower); {
		if b := s.lower[i]; b < utf8.RuneSelf && asciiClass(b) == 0 {
			if b != '?' && b != '!' {
				i++
				continue
			}
			for i < len(s.lower) && (s.lower[i] == '?' || s.lower[i] == '!') {
				i++
			}
			s.terms.add(hashOf([]byte("?")), 0, 0, "?")
			continue
		}
		j, kind := nextWord(s.lower, i)
		if j == i {
			_, size := utf8.DecodeRune(s.lower[i:])
			i += size
			continue
		}
		switch {
		case kind == numberWord:
			s.terms.add(hashOf([]byte("#")), 0, 0, "#")
		case kind == versionWord:
			s.terms.add(hashOf([]byte("#.#")), 0, 0, "#.#")
		case s.lower[i] >= utf8.RuneSelf:
			s.ideographs(i, j)
		default:
			s.terms.add(hashOf(s.lower[i:j]), i, j, "")
		}
		i = j
	}
	out := make([]sdk.Term, len(s.terms.terms))
	for i, t := range s.terms.terms {
		word := s.lower[t.start:t.end]
		if t.class != "" {
			word = []byte(t.class)
		}
		out[i] = sdk.Term{ID: t.id, Weight: float32(1 + math.Log(float64(t.count))), Share: b.commonness(word)}
	}
	return out
}

// ideographs adds the word lower[i:j]; one in a script that sets no blanks
// between words is added as pairs of characters.
func (s *scratch) ideographs(i, j int) {
	r, _ := utf8.DecodeRune(s.lower[i:])
	if !unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai) {
		s.terms.add(hashOf(s.lower[i:j]), i, j, "")
		return
	}
	for i < j {
		_, one := utf8.DecodeRune(s.lower[i:])
		_, two := utf8.DecodeRune(s.lower[i+one : j])
		s.terms.add(hashOf(s.lower[i:i+one+two]), i, i+one+two, "")
		if i+one+two >= j {
			return
		}
		i += one
	}
}

// hashOf is the upper half of FNV-1a with a final mix, so that all of its bits
// can be used. It is written out because terms are stored: it must never change.
func hashOf(word []byte) uint32 {
	h := uint64(14695981039346656037)
	for _, b := range word {
		h = (h ^ uint64(b)) * 1099511628211
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return uint32((h ^ h>>33) >> 32)
}
