package sqlite

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

func testVector(number, places int) *vector {
	return &vector{issueID: int64(number), number: number, values: make([]float32, places)}
}

func TestVectorCacheIsBounded(t *testing.T) {
	const bound = 100_000
	c := newVectorCache(bound)
	for repository := range int64(50) {
		space := vectorSpace{repository, "m"}
		_, load, ok := c.get(space)
		if ok || load == nil {
			t.Fatal("no load")
		}
		for number := range 10 {
			load.add(testVector(number, 1000))
		}
		load.end(space, true)
		if c.size() > bound {
			t.Fatalf("%d bytes, bound %d", c.size(), bound)
		}
		if vectors, _, ok := c.get(space); !ok || len(vectors) != 10 {
			t.Fatalf("repository %d was not kept", repository)
		}
	}
	if _, _, ok := c.get(vectorSpace{48, "m"}); !ok {
		t.Error("the one before the last was not kept")
	}
	if _, load, ok := c.get(vectorSpace{0, "m"}); ok {
		t.Error("the first was kept")
	} else {
		for number := range 1000 { // more than may be kept
			load.add(testVector(number, 1000))
		}
		load.end(vectorSpace{0, "m"}, true)
	}
	if _, _, ok := c.get(vectorSpace{0, "m"}); ok {
		t.Error("a set larger than the bound was kept")
	}
	for number := range 1000 { // and one that grows beyond it
		c.apply([]vectorUpdate{{space: vectorSpace{49, "m"}, number: number, vector: testVector(number, 1000)}})
		if c.size() > bound {
			t.Fatalf("%d bytes, bound %d", c.size(), bound)
		}
	}
	c.purge()
	if c.size() != 0 || c.used.Len() != 0 {
		t.Errorf("%d bytes after purge", c.size())
	}
}

func TestVectorCacheCountsRight(t *testing.T) {
	c := newVectorCache(1 << 30)
	space := vectorSpace{1, "m"}
	_, load, _ := c.get(space)
	load.end(space, true)
	r := rand.New(rand.NewPCG(1, 1))
	want := map[int]*vector{}
	for range 5000 {
		u := vectorUpdate{space: space, number: r.IntN(50)}
		switch r.IntN(4) {
		case 0:
			delete(want, u.number)
		case 1: // embedded under another model
			u.space.model, u.vector = "other", testVector(u.number, 3)
			delete(want, u.number)
		default:
			u.vector = testVector(u.number, r.IntN(9))
			want[u.number] = u.vector
		}
		before, _, _ := c.get(space)
		copied := slices.Clone(before)
		c.apply([]vectorUpdate{u})
		if !slices.Equal(before, copied) {
			t.Fatal("a search under way saw its vectors change")
		}
	}
	got, _, ok := c.get(space)
	if !ok || len(got) != len(want) {
		t.Fatalf("%d vectors, want %d", len(got), len(want))
	}
	var bytes int64
	for _, v := range got {
		if want[v.number] != v {
			t.Fatalf("vector of %d differs", v.number)
		}
		bytes += v.bytes()
	}
	if c.size() != bytes {
		t.Errorf("%d bytes counted, want %d", c.size(), bytes)
	}
}

func TestVectorCacheHearsOfCommitsWhileLoading(t *testing.T) {
	c := newVectorCache(1 << 20)
	space := vectorSpace{1, "m"}
	_, load, _ := c.get(space)
	if _, second, ok := c.get(space); ok || second != nil {
		t.Error("two loads of one space")
	}
	load.add(testVector(1, 1))
	load.add(testVector(2, 1))
	c.apply([]vectorUpdate{{space: space, number: 3, vector: testVector(3, 1)}, {space: vectorSpace{1, ""}, number: 1}})
	load.end(space, true)
	vectors, _, ok := c.get(space)
	if !ok || len(vectors) != 2 {
		t.Errorf("%d vectors, kept %v", len(vectors), ok)
	}
	other := vectorSpace{2, "m"}
	_, load, _ = c.get(other)
	c.purge()
	load.end(other, true)
	if _, _, ok := c.get(other); ok {
		t.Error("a load from before the purge was kept")
	}
	third := vectorSpace{3, "m"}
	_, load, _ = c.get(third)
	load.end(third, false)
	if _, _, ok := c.get(third); ok {
		t.Error("an unfinished load was kept")
	}
}

// TestNeighboursWithoutCache runs searches and writes against a cache that keeps nothing.
func TestNeighboursWithoutCache(t *testing.T) {
	s := openStore(t, Options{VectorCacheBytes: 1})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 25 {
				number := w*100 + i + 1
				c := smallChange(fmt.Sprint("e", number), number)
				c.Classification, c.Embedding = &triage.Classification{}, &store.Embedding{Model: "m", Vector: []float32{float32(number), 1}}
				if _, err := s.ApplyIssues(t.Context(), []store.IssueChange{c}); err != nil {
					t.Error(err)
				}
				found, err := s.Neighbours(t.Context(), []store.NeighbourQuery{{RepositoryID: 1, Limit: 200, Embedding: store.Embedding{Model: "m", Vector: []float32{1}}}})
				if err != nil || !slices.ContainsFunc(found[0], func(n triage.Neighbour) bool { return n.Number == number }) {
					t.Errorf("%d is not among %d, %v", number, len(found), err)
				}
			}
		})
	}
	wg.Wait()
	if s.vectors.size() != 0 {
		t.Errorf("%d bytes kept", s.vectors.size())
	}
}

func FuzzDecodeVector(f *testing.F) {
	add := func(values ...float32) {
		s := encodeVector(store.Embedding{Vector: values, Terms: store.PackTerms([]store.Term{{ID: 1, Weight: 1}})})
		f.Add(s.values, s.places, s.places != nil, s.terms, s.norm)
	}
	f.Add([]byte{}, []byte{}, true, []byte{}, 1.0)
	add(1, 0, 0, 0, 2)
	add(float32(math.Copysign(0, -1)), 1)
	f.Add([]byte(strings.Repeat("\x01", 7000)), []byte(nil), false, []byte(nil), 3.0)
	f.Fuzz(func(t *testing.T, values, places []byte, sparse bool, terms []byte, norm float64) {
		s := storedVector{norm: norm, values: values, places: places, terms: terms}
		if !sparse {
			s.places = nil
		}
		var v vector
		s.decode(&v)
		if len(v.index) != len(v.small) || v.index != nil && v.values != nil || len(v.values)+len(v.small) > store.MaxDimensions {
			t.Fatalf("%d places, %d of %d values", len(v.index), len(v.small), len(v.values))
		}
		for _, at := range v.index {
			if int(at) >= store.MaxDimensions {
				t.Fatalf("places %v", v.index)
			}
		}
		v.dot(new(wide))
	})
}

// TestVectorForms: whatever is left out of a vector, it comes back.
func TestVectorForms(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, set := range []int{1, 40, 600, 900, 1000, 1536} {
		values := make([]float32, 1536)
		for _, at := range r.Perm(len(values))[:set] {
			values[at] = 3 * float32(r.NormFloat64())
		}
		stored := encodeVector(store.Embedding{Vector: values})
		if length := len(stored.values) + len(stored.places); length > min(6*set, 4*1536) {
			t.Errorf("%d places are kept in %d bytes", set, length)
		}
		var v vector
		stored.decode(&v)
		for at, x := range values {
			var unit wide
			unit[at] = 1
			if got, want := v.dot(&unit), float64(x)/stored.norm; math.Abs(got-want) > 2e-5 {
				t.Fatalf("%d set: %v at %d, want %v", set, got, at, want)
			}
		}
	}
	if encodeVector(store.Embedding{Vector: []float32{0, 0}}) != nil {
		t.Error("a vector without direction is kept")
	}
}
