package storetest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// tolerance lets a store keep vectors in half precision.
const tolerance = 2e-3

func embedded(eventID string, issue triage.Issue, model string, vector ...float32) store.IssueChange {
	c := classified(eventID, issue, 1, "bug", "high")
	c.Embedding = &store.Embedding{Model: model, Vector: vector}
	return c
}

func neighbours(t *testing.T, s store.Store, repositoryID int64, number int, model string, limit int, vector ...float32) []triage.Neighbour {
	t.Helper()
	found, err := s.Neighbours(testContext(t), []store.NeighbourQuery{{
		RepositoryID: repositoryID, Number: number, Embedding: store.Embedding{Model: model, Vector: vector}, Limit: limit,
	}})
	check(t, err)
	if len(found) != 1 {
		t.Fatalf("%d answers to one query", len(found))
	}
	return found[0]
}

func numbersOf(list []triage.Neighbour) []int {
	numbers := []int{}
	for _, n := range list {
		numbers = append(numbers, n.Number)
	}
	return numbers
}

var neighbourTests = map[string]func(*testing.T, store.Store){
	"nearest first, with what they look like": func(t *testing.T, s store.Store) {
		apply(t, s,
			embedded("e1", newIssue(1, 1, 0), "m", 1, 0, 0),
			embedded("e2", newIssue(1, 2, 0), "m", 1, 1, 0),
			embedded("e3", newIssue(1, 3, 0), "m", -1, 0, 0),
			embedded("e4", newIssue(1, 4, 0), "m", 10, 1, 0))
		found := neighbours(t, s, 1, 1, "m", 10, 2, 0, 0)
		equal(t, "numbers", numbersOf(found), []int{4, 2, 3})
		issue := newIssue(1, 2, 0)
		if d := found[1].Similarity - math.Sqrt(0.5); math.Abs(d) > tolerance {
			t.Fatalf("similarity %v", found[1].Similarity)
		}
		equal(t, "neighbour", found[1], triage.Neighbour{IssueID: issue.ID, Number: 2, Title: issue.Title, State: issue.State, URL: issue.URL, Similarity: found[1].Similarity})
		if math.Abs(found[2].Similarity+1) > tolerance {
			t.Fatalf("similarity of the opposite %v", found[2].Similarity)
		}
		equal(t, "limit", numbersOf(neighbours(t, s, 1, 1, "m", 2, 2, 0, 0)), []int{4, 2})
		equal(t, "no limit", numbersOf(neighbours(t, s, 1, 1, "m", 0, 2, 0, 0)), []int{})
	},
	"never of another repository or model": func(t *testing.T, s store.Store) {
		apply(t, s,
			embedded("e1", newIssue(1, 1, 0), "m", 1, 2),
			embedded("e2", newIssue(2, 2, 0), "m", 1, 2),
			embedded("e3", newIssue(1, 3, 0), "other", 1, 2))
		equal(t, "repository 1", numbersOf(neighbours(t, s, 1, 0, "m", 10, 1, 2)), []int{1})
		equal(t, "repository 2", numbersOf(neighbours(t, s, 2, 0, "m", 10, 1, 2)), []int{2})
		equal(t, "repository 3", numbersOf(neighbours(t, s, 3, 0, "m", 10, 1, 2)), []int{})
		equal(t, "other model", numbersOf(neighbours(t, s, 1, 0, "other", 10, 1, 2)), []int{3})
		equal(t, "unknown model", numbersOf(neighbours(t, s, 1, 0, "none", 10, 1, 2)), []int{})
	},
	"of equals the lower number": func(t *testing.T, s store.Store) {
		for _, number := range []int{5, 3, 9, 1, 7} {
			apply(t, s, embedded(fmt.Sprint("e", number), newIssue(1, number, 0), "m", 0.3, 0.1, 0.7))
		}
		equal(t, "numbers", numbersOf(neighbours(t, s, 1, 3, "m", 3, 0.2, 0.2, 0.9)), []int{1, 5, 7})
	},
	"what was applied is found at once": func(t *testing.T, s store.Store) {
		for number := 1; number <= 40; number++ {
			apply(t, s, embedded(fmt.Sprint("e", number), newIssue(1, number, 0), "m", float32(number), 1))
			equal(t, "found", len(neighbours(t, s, 1, 0, "m", 100, 1, 0)), number)
		}
		apply(t, s, embedded("f", newIssue(1, 20, 10), "m", -1, 0))
		found := numbersOf(neighbours(t, s, 1, 0, "m", 100, 1, 0))
		equal(t, "last", found[len(found)-1], 20)
		equal(t, "found", len(found), 40)
	},
	"one embedding per issue": func(t *testing.T, s store.Store) {
		issue := newIssue(1, 1, 0)
		apply(t, s, embedded("e1", issue, "old", 1), embedded("e2", newIssue(1, 2, 0), "old", 1))
		equal(t, "old", numbersOf(neighbours(t, s, 1, 0, "old", 10, 1)), []int{1, 2})
		apply(t, s, embedded("e3", issue, "new", 1))
		equal(t, "old", numbersOf(neighbours(t, s, 1, 0, "old", 10, 1)), []int{2})
		equal(t, "new", numbersOf(neighbours(t, s, 1, 0, "new", 10, 1)), []int{1})
		again := classified("e4", issue, 9, "bug", "low")
		apply(t, s, again) // without an embedding the old one stays
		equal(t, "new", numbersOf(neighbours(t, s, 1, 0, "new", 10, 1)), []int{1})
	},
	"an embedding without a classification is not written": func(t *testing.T, s store.Store) {
		c := received("e1", newIssue(1, 1, 0), 1)
		c.Embedding = &store.Embedding{Model: "m", Vector: []float32{1}}
		apply(t, s, c)
		equal(t, "found", numbersOf(neighbours(t, s, 1, 0, "m", 10, 1)), []int{})
	},
	"deleted issues are left out": func(t *testing.T, s store.Store) {
		apply(t, s, embedded("e1", newIssue(1, 1, 0), "m", 1), embedded("e2", newIssue(1, 2, 0), "m", 1))
		equal(t, "before", numbersOf(neighbours(t, s, 1, 0, "m", 10, 1)), []int{1, 2})
		gone := partial("d", triage.IssueKey{RepositoryID: 1, Number: 1})
		gone.Deleted = true
		apply(t, s, gone)
		equal(t, "after", numbersOf(neighbours(t, s, 1, 0, "m", 10, 1)), []int{2})
		apply(t, s, embedded("e3", newIssue(1, 1, 60), "m", 1))
		equal(t, "embedded again", numbersOf(neighbours(t, s, 1, 0, "m", 10, 1)), []int{2})
	},
	"vectors without direction": func(t *testing.T, s store.Store) {
		nan, inf := float32(math.NaN()), float32(math.Inf(1))
		apply(t, s, embedded("e1", newIssue(1, 1, 0), "m", 1, 1), embedded("e2", newIssue(1, 2, 0), "m", 0, 0),
			embedded("e3", newIssue(1, 3, 0), "m", nan), embedded("e4", newIssue(1, 4, 0), "m", inf, 1), embedded("e5", newIssue(1, 5, 0), "m"))
		equal(t, "stored", numbersOf(neighbours(t, s, 1, 0, "m", 10, 1, 0)), []int{1})
		for _, q := range [][]float32{nil, {0, 0}, {nan}, {inf}} {
			equal(t, fmt.Sprint(q), numbersOf(neighbours(t, s, 1, 0, "m", 10, q...)), []int{})
		}
		apply(t, s, embedded("e6", newIssue(1, 1, 10), "m", 0))
		equal(t, "lost its direction", numbersOf(neighbours(t, s, 1, 0, "m", 10, 1, 0)), []int{})
	},
	"huge and tiny numbers": func(t *testing.T, s store.Store) {
		apply(t, s, embedded("e1", newIssue(1, 1, 0), "m", 3e38, 3e38), embedded("e2", newIssue(1, 2, 0), "m", 1e-30, 0))
		found := neighbours(t, s, 1, 0, "m", 10, 3e38)
		equal(t, "numbers", numbersOf(found), []int{2, 1})
		for _, n := range found {
			if !(n.Similarity > 0.7 && n.Similarity <= 1) {
				t.Fatalf("similarity %v", n.Similarity)
			}
		}
	},
	"agrees with the definition": func(t *testing.T, s store.Store) {
		r := rand.New(rand.NewPCG(1, 2))
		vectors := map[int][]float32{}
		var changes []store.IssueChange
		for number := 1; number <= 250; number++ {
			set := 60
			if number%2 == 0 {
				set = 3000 // most places set
			}
			vectors[number] = randomVector(r, 1024+number%3*256, set)
			changes = append(changes, embedded(fmt.Sprint("e", number), newIssue(1, number, 0), "m", vectors[number]...))
		}
		apply(t, s, changes...)
		var queries []store.NeighbourQuery
		for number := 1; number <= 20; number++ {
			queries = append(queries, store.NeighbourQuery{RepositoryID: 1, Number: number, Embedding: store.Embedding{Model: "m", Vector: vectors[number]}, Limit: 10})
		}
		for range 2 { // the second time from whatever was kept
			answers, err := s.Neighbours(testContext(t), queries)
			check(t, err)
			for i, q := range queries {
				want := []float64{}
				for number, v := range vectors {
					if number != q.Number {
						want = append(want, cosine(q.Embedding.Vector, v))
					}
				}
				slices.SortFunc(want, func(a, b float64) int { return -cmpFloat(a, b) })
				equal(t, "found", len(answers[i]), 10)
				for j, n := range answers[i] {
					if exact := cosine(q.Embedding.Vector, vectors[n.Number]); math.Abs(n.Similarity-exact) > tolerance || math.Abs(exact-want[j]) > tolerance {
						t.Fatalf("query %d, place %d: similarity %v, exact %v, want %v", i, j, n.Similarity, exact, want[j])
					}
				}
			}
		}
	},
}

func cosine(a, b []float32) float64 {
	var dot, aa, bb float64
	for i := range max(len(a), len(b)) {
		var x, y float64
		if i < len(a) {
			x = float64(a[i])
		}
		if i < len(b) {
			y = float64(b[i])
		}
		dot, aa, bb = dot+x*y, aa+x*x, bb+y*y
	}
	return dot / math.Sqrt(aa*bb)
}

func cmpFloat(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
