package classify

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/dispatchai/dispatchai/core/store"
)

// vocabulary is in how many of a repository's issues each term stands. Terms of
// a single issue are left out: they are as telling as those not seen yet.
type vocabulary struct {
	issues int // that it was counted in
	terms  []countedTerm
}

type countedTerm struct {
	id     uint32
	issues uint32
	share  byte // packed, as the plugin says
}

const (
	// maxVocabulary is how many terms a vocabulary has, the most frequent ones.
	maxVocabulary = 100_000
	// maxCounted bounds the memory of counting: when more terms than this were
	// seen, those seen once are forgotten.
	maxCounted = 500_000
)

// counter counts a vocabulary.
type counter struct {
	issues int
	terms  map[uint32]countedTerm
}

func newCounter() *counter { return &counter{terms: make(map[uint32]countedTerm)} }

// add counts the terms of one issue.
func (c *counter) add(terms store.Terms) {
	c.issues++
	for i := range terms.Len() {
		id, _, share := terms.At(i)
		c.terms[id] = countedTerm{id, c.terms[id].issues + 1, share}
	}
	if len(c.terms) > maxCounted {
		c.forget()
	}
}

func (c *counter) forget() {
	for id, t := range c.terms {
		if t.issues < 2 {
			delete(c.terms, id)
		}
	}
}

func (c *counter) vocabulary() *vocabulary {
	c.forget()
	v := &vocabulary{issues: c.issues, terms: make([]countedTerm, 0, len(c.terms))}
	for _, t := range c.terms {
		v.terms = append(v.terms, t)
	}
	if len(v.terms) > maxVocabulary {
		slices.SortFunc(v.terms, func(a, b countedTerm) int {
			return cmp.Or(-cmp.Compare(a.issues, b.issues), cmp.Compare(a.id, b.id))
		})
		v.terms = slices.Clip(v.terms[:maxVocabulary])
	}
	slices.SortFunc(v.terms, func(a, b countedTerm) int { return cmp.Compare(a.id, b.id) })
	return v
}

// vocabularyFormat is the first byte of an encoded vocabulary.
const vocabularyFormat = 1

// encode gives the form in which the store keeps a vocabulary.
func (v *vocabulary) encode() []byte {
	b := make([]byte, 0, 16+8*len(v.terms))
	b = append(b, vocabularyFormat)
	b = binary.AppendUvarint(b, uint64(v.issues))
	b = binary.AppendUvarint(b, uint64(len(v.terms)))
	var last uint32
	for _, t := range v.terms {
		b = binary.AppendUvarint(b, uint64(t.id-last))
		b = binary.AppendUvarint(b, uint64(t.issues))
		b = append(b, t.share)
		last = t.id
	}
	return b
}

var errVocabulary = errors.New("the stored vocabulary cannot be read")

func decodeVocabulary(b []byte) (*vocabulary, error) {
	if len(b) == 0 || b[0] != vocabularyFormat {
		return nil, errVocabulary
	}
	b = b[1:]
	next := func(limit uint64) uint64 {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > limit {
			b = nil
			return 0
		}
		b = b[size:]
		return n
	}
	v := &vocabulary{issues: int(next(1 << 31))}
	count := int(next(maxVocabulary))
	v.terms = make([]countedTerm, 0, min(count, len(b)/3))
	var id uint64
	for i := range count {
		gap := next(1<<32 - 1)
		issues := next(1<<32 - 1)
		if len(b) == 0 {
			return nil, errVocabulary
		}
		share := b[0]
		b = b[1:]
		if id += gap; issues < 1 || id > 1<<32-1 || i > 0 && gap == 0 {
			return nil, errVocabulary
		}
		v.terms = append(v.terms, countedTerm{uint32(id), uint32(issues), share})
	}
	if len(b) != 0 || v.issues < 1 {
		return nil, errVocabulary
	}
	return v, nil
}
