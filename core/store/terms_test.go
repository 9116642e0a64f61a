package store

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestTermsComeBack(t *testing.T) {
	weights := UnpackWeights()
	r := rand.New(rand.NewPCG(1, 2))
	given := map[uint32]Term{}
	var list []Term
	for range 500 {
		term := Term{ID: r.Uint32(), Weight: float32(1 + math.Log(1+r.Float64()*1000)), Share: uint16(r.IntN(MaxTermShare + 1))}
		given[term.ID] = term
		list = append(list, term)
	}
	packed := PackTerms(append(list, list[7]))
	if packed.Len() != len(given) || !packed.valid() {
		t.Fatalf("%d terms of %d, valid %v", packed.Len(), len(given), packed.valid())
	}
	for i := range packed.Len() {
		id, weight, share := packed.At(i)
		want, known := given[id]
		if !known || math.Abs(float64(weights[weight]/want.Weight)-1) > 0.012 {
			t.Errorf("term %d weighs %v, want %v", id, weights[weight], want.Weight)
		}
		if got := UnpackShare(share); math.Abs(got-float64(want.Share)) > 1+0.01*float64(want.Share)+2*math.Sqrt(float64(want.Share))/10 {
			t.Errorf("term %d is in %v of a thousand, want %d", id, got, want.Share)
		}
	}
	if weights[packWeight(1)] != 1 {
		t.Errorf("the weight 1 comes back as %v", weights[packWeight(1)])
	}
	if got := weights[packWeight(MaxTermWeight)]; got < 63 || got > 66 {
		t.Errorf("the largest weight comes back as %v", got)
	}
}

func TestTermsBeyondTheirBounds(t *testing.T) {
	inf := float32(math.Inf(1))
	packed := PackTerms([]Term{{ID: 4, Weight: inf, Share: 60000}, {ID: 3, Weight: -1}, {ID: 2, Weight: float32(math.NaN())}, {ID: 1, Weight: 1e-30}})
	if packed.Len() != 4 || !packed.valid() {
		t.Fatalf("packed into %d", packed.Len())
	}
	weights := UnpackWeights()
	for i := range 4 {
		_, weight, share := packed.At(i)
		if w := weights[weight]; !(w > 0 && w < 100) || UnpackShare(share) > MaxTermShare {
			t.Errorf("term %d weighs %v, share %v", i, w, UnpackShare(share))
		}
	}
	one := PackTerms([]Term{{ID: 1, Weight: 1}})
	for name, terms := range map[string]Terms{
		"cut": one[:5], "twice": append(append(Terms{}, one...), one...), "too many": PackTerms(make([]Term, 1)),
	} {
		if name == "too many" {
			var many []Term
			for id := range uint32(MaxTerms + 1) {
				many = append(many, Term{ID: id, Weight: 1})
			}
			terms = PackTerms(many)
		}
		if terms.valid() {
			t.Errorf("%s: taken for valid", name)
		}
	}
}
