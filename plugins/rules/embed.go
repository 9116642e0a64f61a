package rules

import (
	"context"
	"math"
	"unicode"
	"unicode/utf8"

	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// The space of the embeddings. A change to how they are made needs a new name.
const (
	embeddingName = "hash-1024-v1"
	embeddingSize = 1024
)

// Embed turns each text into a vector of 1024 numbers and length one, by which
// issues that share telling words are near to each other: signed feature
// hashing of the words of title and body, weighted (1+ln tf)·idf. Words that
// every issue has weigh nothing. A text without a telling word gives the zero
// vector, which is like nothing. The same text gives the same vector on every
// machine.
func (c *Classifier) Embed(ctx context.Context, texts []sdk.Text) ([][]float32, error) {
	s := c.scratch.Get().(*scratch)
	defer c.scratch.Put(s)
	flat := make([]float32, len(texts)*embeddingSize)
	out := make([][]float32, len(texts))
	for i, t := range texts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		out[i] = flat[i*embeddingSize : (i+1)*embeddingSize : (i+1)*embeddingSize]
		s.embed(c.background, t, out[i])
	}
	return out, nil
}

// term is a distinct word of a text.
type term struct {
	hash       uint64
	count      int32
	start, end int32 // into the cleaned text, for the weight
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

func (t *termTable) add(hash uint64, start, end int, class string) {
	if 2*len(t.terms) >= len(t.slots) {
		t.slots = make([]int32, 2*len(t.slots))
		for i := range t.terms {
			at := t.terms[i].hash & uint64(len(t.slots)-1)
			for t.slots[at] != 0 {
				at = (at + 1) & uint64(len(t.slots)-1)
			}
			t.slots[at] = int32(i + 1)
		}
	}
	mask := uint64(len(t.slots) - 1)
	for at := hash & mask; ; at = (at + 1) & mask {
		switch n := t.slots[at]; {
		case n == 0:
			t.terms = append(t.terms, term{hash, 1, int32(start), int32(end), class})
			t.slots[at] = int32(len(t.terms))
			return
		case t.terms[n-1].hash == hash:
			t.terms[n-1].count++
			return
		}
	}
}

// embed fills out, which is all zeros, with the vector of a text.
func (s *scratch) embed(b *background, text sdk.Text, out []float32) {
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
	var vector [embeddingSize]float64
	for _, t := range s.terms.terms {
		word := s.lower[t.start:t.end]
		if t.class != "" {
			word = []byte(t.class)
		}
		w := (1 + math.Log(float64(t.count))) * b.idf(word)
		if t.hash>>63 == 1 {
			w = -w
		}
		vector[t.hash%embeddingSize] += w
	}
	length := 0.0
	for _, v := range vector {
		length += v * v
	}
	if length == 0 {
		return
	}
	length = math.Sqrt(length)
	for i, v := range vector {
		out[i] = float32(v / length)
	}
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

// hashOf is FNV-1a with a final mix, so that all of its bits can be used. It is
// written out because vectors are stored: it must never change.
func hashOf(word []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, b := range word {
		h = (h ^ uint64(b)) * 1099511628211
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
