package store

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
)

// Term is one of the terms, such as words, that a text consists of.
type Term struct {
	ID uint32 // a hash of the term
	// Weight says how much the term stands out within its text: above 0, at most
	// MaxTermWeight. It is kept to one part in a hundred, 1 exactly.
	Weight float32
	// Share is in how many of a thousand issues anywhere the term stands, 0 to
	// MaxTermShare, kept as roughly.
	Share uint16
}

const (
	// MaxTerms bounds the terms of an Embedding.
	MaxTerms = 2048
	// MaxTermWeight bounds Term.Weight.
	MaxTermWeight = 64
	// MaxTermShare bounds Term.Share.
	MaxTermShare = 1000
)

// Terms are the terms of a text as every store keeps them, for they are many:
// packed into six bytes each, in ascending order of their IDs, each once.
type Terms []byte

const (
	packedTerm = 6 // ID, little-endian; weight; share
	// A weight of 2^(n/weightSteps) is packed as weightOne + n.
	weightOne   = 64
	weightSteps = 31
)

// PackTerms packs what a text consists of. Of a term that is there twice one is
// kept; numbers beyond their bounds are set to the bound.
func PackTerms(terms []Term) Terms {
	ordered := slices.Clone(terms)
	slices.SortFunc(ordered, func(a, b Term) int { return cmp.Compare(a.ID, b.ID) })
	packed := make(Terms, 0, packedTerm*len(ordered))
	for i, t := range ordered {
		if i > 0 && t.ID == ordered[i-1].ID {
			continue
		}
		packed = binary.LittleEndian.AppendUint32(packed, t.ID)
		packed = append(packed, packWeight(t.Weight), packShare(t.Share))
	}
	return packed
}

func packWeight(w float32) byte {
	if w == 1 {
		return weightOne // most are
	}
	if !(w > 0) {
		return 0
	}
	return byte(max(0, min(255, math.Round(weightOne+weightSteps*math.Log2(float64(w))))))
}

// packShare is finer where shares are small, because it is there that a
// difference tells.
func packShare(share uint16) byte {
	return byte(math.Round(255 * math.Sqrt(float64(min(share, MaxTermShare))/MaxTermShare)))
}

// UnpackWeights gives the weight for each packed one.
func UnpackWeights() (weights [256]float32) {
	for n := range weights {
		weights[n] = float32(math.Exp2(float64(n-weightOne) / weightSteps))
	}
	return weights
}

// UnpackShare gives the share, of MaxTermShare, that was packed.
func UnpackShare(packed byte) float64 {
	return MaxTermShare * float64(packed) / 255 * float64(packed) / 255
}

// Len is the number of terms.
func (t Terms) Len() int { return len(t) / packedTerm }

// At is the term at place i, from 0 to Len()-1, its weight and share packed.
func (t Terms) At(i int) (id uint32, weight, share byte) {
	b := t[packedTerm*i : packedTerm*i+packedTerm : packedTerm*i+packedTerm]
	return binary.LittleEndian.Uint32(b), b[4], b[5]
}

// valid tells whether PackTerms can have made t.
func (t Terms) valid() bool {
	if len(t)%packedTerm != 0 || t.Len() > MaxTerms {
		return false
	}
	for i := 1; i < t.Len(); i++ {
		if binary.LittleEndian.Uint32(t[packedTerm*i:]) <= binary.LittleEndian.Uint32(t[packedTerm*(i-1):]) {
			return false
		}
	}
	return true
}
