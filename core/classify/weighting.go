package classify

import (
	"math"

	"github.com/dispatchai/dispatchai/core/store"
)

// foldedSize is how many numbers the vector of terms has.
const foldedSize = store.MaxDimensions

// priorIssues is how many issues what is known of issues anywhere counts for,
// beside the repository's own.
const priorIssues = 5

// weighting says how telling each term is in a repository: its inverse document
// frequency, ln((1+N+P) / (1+df+P*share)), where df of the repository's N issues
// have the term and so have share of the P that stand for issues anywhere. It
// does not change.
type weighting struct {
	version int64 // of the vocabulary; 0: none was counted yet
	// An open hash table of the vocabulary's terms; idf 0 marks a free slot.
	slots []weightedTerm
	// rest is the idf, by packed share, of a term that is not in the table: the
	// repository has one issue with it, the one that asks.
	rest    [256]float32
	weights *[256]float32 // by packed weight
}

type weightedTerm struct {
	id  uint32
	idf float32
}

// leastIDF is what a term in every issue weighs, so that no vector is without
// direction because its repository is monotonous.
const leastIDF = 1e-4

func newWeighting(version int64, v *vocabulary, weights *[256]float32) *weighting {
	w := &weighting{version: version, weights: weights}
	idf := func(df int, share byte) float32 {
		prior := priorIssues * store.UnpackShare(share) / store.MaxTermShare
		return float32(max(leastIDF, math.Log((1+float64(v.issues)+priorIssues)/(1+float64(df)+prior))))
	}
	known := min(1, v.issues) // of nothing counted, not even the one that asks
	for share := range w.rest {
		w.rest[share] = idf(known, byte(share))
	}
	size := 4
	for 4*size < 5*len(v.terms) {
		size *= 2
	}
	w.slots = make([]weightedTerm, size)
	for _, t := range v.terms {
		at := w.home(t.id)
		for w.slots[at].idf != 0 {
			at = (at + 1) & uint32(len(w.slots)-1)
		}
		w.slots[at] = weightedTerm{t.id, idf(int(t.issues), t.share)}
	}
	return w
}

// size is the memory it takes, in slots.
func (w *weighting) size() int { return len(w.slots) + 160 }

func (w *weighting) home(id uint32) uint32 { return mix(id) >> 8 & uint32(len(w.slots)-1) }

func (w *weighting) idf(id uint32, share byte) float32 {
	for at := w.home(id); ; at = (at + 1) & uint32(len(w.slots)-1) {
		switch s := w.slots[at]; {
		case s.idf == 0:
			return w.rest[share]
		case s.id == id:
			return s.idf
		}
	}
}

// fold makes the vector of a text: signed feature hashing of its weighted terms,
// by which the cosine of two texts is kept, but for collisions. It is nil for
// a text without terms.
func (w *weighting) fold(terms store.Terms) []float32 {
	if terms.Len() == 0 {
		return nil
	}
	vector := make([]float32, foldedSize)
	for i := range terms.Len() {
		id, weight, share := terms.At(i)
		x, h := w.weights[weight]*w.idf(id, share), mix(id)
		if h>>31 == 1 {
			x = -x
		}
		vector[h%foldedSize] += x
	}
	return vector
}

// similarity gives the function that compares texts with the given one: the
// cosine of their weighted terms, 0 to 1.
func (w *weighting) similarity(to store.Terms) func(store.Terms) float64 {
	own := make([]weightedTerm, to.Len())
	var norm float64
	for i := range own {
		id, weight, share := to.At(i)
		x := w.weights[weight] * w.idf(id, share)
		own[i] = weightedTerm{id, x}
		norm += float64(x) * float64(x)
	}
	return func(terms store.Terms) float64 {
		var dot, length float64
		rest := own
		for i := range terms.Len() {
			id, weight, share := terms.At(i)
			x := float64(w.weights[weight] * w.idf(id, share))
			length += x * x
			for len(rest) > 0 && rest[0].id < id {
				rest = rest[1:]
			}
			if len(rest) > 0 && rest[0].id == id {
				dot += x * float64(rest[0].idf)
			}
		}
		if dot == 0 {
			return 0
		}
		return min(1, dot/math.Sqrt(norm*length))
	}
}

// mix spreads the bits of an ID, whatever hash made it. Vectors that are stored
// depend on it: it must never change.
func mix(h uint32) uint32 {
	h ^= h >> 16
	h *= 0x85ebca6b
	h ^= h >> 13
	h *= 0xc2b2ae35
	return h ^ h>>16
}
