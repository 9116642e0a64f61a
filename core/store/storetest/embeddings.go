package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// terms packs IDs, each of the same weight.
func terms(ids ...uint32) store.Terms {
	list := make([]store.Term, len(ids))
	for i, id := range ids {
		list[i] = store.Term{ID: id, Weight: 1, Share: 6}
	}
	return store.PackTerms(list)
}

// weighted is a change whose embedding was made of terms.
func weighted(eventID string, issue triage.Issue, vocabulary int64, packed store.Terms, vector ...float32) store.IssueChange {
	c := embedded(eventID, issue, "words", vector...)
	c.Embedding.Terms, c.Embedding.Vocabulary = packed, vocabulary
	return c
}

func space(model string, vocabulary int64) store.EmbeddingSpace {
	return store.EmbeddingSpace{Model: model, Vocabulary: vocabulary}
}

func replacement(number int, from store.EmbeddingSpace, textHash string, e *store.Embedding) store.EmbeddingReplacement {
	return store.EmbeddingReplacement{Issue: triage.IssueKey{RepositoryID: 1, Number: number}, From: from, TextHash: textHash, Embedding: e}
}

func replace(t *testing.T, s store.Store, want int, replacements ...store.EmbeddingReplacement) {
	t.Helper()
	n, err := s.ReplaceEmbeddings(testContext(t), replacements)
	check(t, err)
	equal(t, "replaced", n, want)
}

func embeddedIssues(t *testing.T, s store.Store, query store.EmbeddedQuery) []store.EmbeddedIssue {
	t.Helper()
	found, err := s.EmbeddedIssues(testContext(t), query)
	check(t, err)
	return found
}

func embeddedRepositories(t *testing.T, s store.Store) []store.EmbeddedRepository {
	t.Helper()
	found, err := s.EmbeddedRepositories(testContext(t))
	check(t, err)
	return found
}

var embeddingTests = map[string]func(*testing.T, store.Store){
	"exactly the highest of the nearest": func(t *testing.T, s store.Store) {
		var changes []store.IssueChange
		for number := 1; number <= 30; number++ { // the higher the number, the farther
			changes = append(changes, weighted(fmt.Sprint("e", number), newIssue(1, number, 0), int64(number%3), terms(uint32(number), 1000), 10, float32(number)))
		}
		changes = append(changes, embedded("bare", newIssue(1, 31, 0), "words", 10, 31))
		apply(t, s, changes...)
		query := store.NeighbourQuery{RepositoryID: 1, Number: 2, Embedding: store.Embedding{Model: "words", Vector: []float32{1}}, Limit: 3}
		ask := func() []triage.Neighbour {
			found, err := s.Neighbours(testContext(t), []store.NeighbourQuery{query})
			check(t, err)
			return found[0]
		}
		equal(t, "by cosine", numbersOf(ask()), []int{1, 3, 4})
		asked := 0
		query.Exact = func(given store.Terms) float64 {
			if asked++; given.Len() == 0 {
				return -1
			}
			id, weight, _ := given.At(0)
			equal(t, "weight", store.UnpackWeights()[weight], float32(1))
			return float64(min(id, 8)) / 100
		}
		query.Candidates = 10
		for range 2 { // the second time from whatever was kept
			asked = 0
			found := ask()
			equal(t, "of equals the lower number", numbersOf(found), []int{8, 9, 10})
			equal(t, "similarity", found[0].Similarity, 0.08)
			equal(t, "asked about", asked, 10)
		}
		query.Candidates = 0
		equal(t, "no fewer candidates than the limit", numbersOf(ask()), []int{4, 3, 1})
		query.Candidates = 10_000
		asked = 0
		equal(t, "all", numbersOf(ask()), []int{8, 9, 10})
		equal(t, "asked about", asked, 30)
		query.Limit = 0
		equal(t, "no limit", numbersOf(ask()), []int{})
	},
	"terms that are none": func(t *testing.T, s store.Store) {
		bad := weighted("e1", newIssue(1, 1, 0), 0, store.Terms("12345"), 1)
		if _, err := s.ApplyIssues(testContext(t), []store.IssueChange{bad}); err == nil {
			t.Fatal("no error for terms that are not packed right")
		}
		apply(t, s, weighted("e1", newIssue(1, 1, 0), 0, terms(1), 1))
		if _, err := s.ReplaceEmbeddings(testContext(t), []store.EmbeddingReplacement{replacement(1, space("words", 0), "hash of e1", bad.Embedding)}); err == nil {
			t.Fatal("no error for a replacement with such terms")
		}
		wide := &store.Embedding{Model: "words", Vector: make([]float32, store.MaxDimensions+1)}
		if _, err := s.ReplaceEmbeddings(testContext(t), []store.EmbeddingReplacement{replacement(1, space("words", 0), "hash of e1", wide)}); err == nil {
			t.Fatal("no error for a replacement that is too long")
		}
	},
	"what is embedded": func(t *testing.T, s store.Store) {
		equal(t, "nothing", embeddedRepositories(t, s), []store.EmbeddedRepository(nil))
		for id := int64(1); id <= 5; id++ {
			change := store.InstallationChange{EventID: fmt.Sprint("i", id), At: at(0), Installation: &triage.Installation{ID: id * 10, UpdatedAt: at(0), Suspended: id == 3, Removed: id == 4}}
			check(t, s.ApplyInstallation(testContext(t), change))
			apply(t, s, weighted(fmt.Sprint("e", id), newIssue(id, 1, 0), 0, terms(1), 1), weighted(fmt.Sprint("f", id), newIssue(id, 2, 0), 1, terms(1), 1), embedded(fmt.Sprint("g", id), newIssue(id, 3, 0), "old", 1))
		}
		check(t, s.ApplyInstallation(testContext(t), store.InstallationChange{EventID: "gone", At: at(10), Removed: []int64{5}}))
		apply(t, s, weighted("h", newIssue(6, 1, 0), 0, terms(1), 1)) // of an installation not heard of
		check(t, s.SaveVocabulary(testContext(t), store.Vocabulary{RepositoryID: 2, Model: "words", Version: 1, Issues: 7, Terms: []byte{1}}))
		all := map[store.EmbeddingSpace]int{space("old", 0): 1, space("words", 0): 1, space("words", 1): 1}
		equal(t, "embedded", embeddedRepositories(t, s), []store.EmbeddedRepository{
			{RepositoryID: 1, Issues: all},
			{RepositoryID: 2, Issues: all, Vocabulary: store.Vocabulary{RepositoryID: 2, Model: "words", Version: 1, Issues: 7}},
			{RepositoryID: 6, Issues: map[store.EmbeddingSpace]int{space("words", 0): 1}},
		})
	},
	"terms are visited": func(t *testing.T, s store.Store) {
		apply(t, s, weighted("e1", newIssue(1, 1, 0), 0, terms(1, 2), 1), weighted("e2", newIssue(1, 2, 0), 3, terms(2), 1),
			weighted("e3", newIssue(2, 1, 0), 0, terms(3), 1), embedded("e4", newIssue(1, 3, 0), "other", 1))
		var seen []string
		visit := func(given store.Terms) error {
			seen = append(seen, string(given))
			return nil
		}
		check(t, s.VisitTerms(testContext(t), 1, "words", visit))
		slices.SortFunc(seen, func(a, b string) int { return len(a) - len(b) })
		equal(t, "terms", seen, []string{string(terms(2)), string(terms(1, 2))})
		enough := errors.New("enough")
		wantError(t, s.VisitTerms(testContext(t), 1, "words", func(store.Terms) error { return enough }), enough)
	},
	"vocabularies": func(t *testing.T, s store.Store) {
		ctx := testContext(t)
		first := store.Vocabulary{RepositoryID: 1, Model: "words", Version: 1, Issues: 50, Terms: []byte("first")}
		wantError(t, s.SaveVocabulary(ctx, first), store.ErrNotFound)
		apply(t, s, received("e1", newIssue(1, 1, 0), 1), received("e2", newIssue(2, 1, 0), 1))
		second := first
		second.Version, second.Issues, second.Terms = 2, 100, []byte(strings.Repeat("second", 100_000))
		wantError(t, s.SaveVocabulary(ctx, second), store.ErrConflict)
		check(t, s.SaveVocabulary(ctx, first))
		wantError(t, s.SaveVocabulary(ctx, first), store.ErrConflict)
		get := func(model string, known map[int64]int64) map[int64]store.Vocabulary {
			found, err := s.Vocabularies(ctx, model, known)
			check(t, err)
			return found
		}
		equal(t, "the first", get("words", map[int64]int64{1: 0, 2: 0, 3: 0}), map[int64]store.Vocabulary{1: first})
		equal(t, "known", get("words", map[int64]int64{1: 1}), map[int64]store.Vocabulary{})
		equal(t, "nobody asked", get("words", nil), map[int64]store.Vocabulary{})
		equal(t, "of another model", get("other", map[int64]int64{1: 0}), map[int64]store.Vocabulary{})
		check(t, s.SaveVocabulary(ctx, second))
		equal(t, "the second", get("words", map[int64]int64{1: 1, 2: 0}), map[int64]store.Vocabulary{1: second})
		third := store.Vocabulary{RepositoryID: 1, Model: "other", Version: 3, Issues: 9, Terms: []byte("third")}
		check(t, s.SaveVocabulary(ctx, third))
		equal(t, "replaced", get("words", map[int64]int64{1: 0}), map[int64]store.Vocabulary{})
		equal(t, "the third", get("other", map[int64]int64{1: 2}), map[int64]store.Vocabulary{1: third})
	},
	"issues of a space": func(t *testing.T, s store.Store) {
		for number := 1; number <= 9; number++ {
			apply(t, s, weighted(fmt.Sprint("e", number), newIssue(1, number, 0), int64(number%2), terms(uint32(number)), 1))
		}
		apply(t, s, weighted("f", newIssue(2, 1, 0), 1, terms(1), 1), embedded("g", newIssue(1, 10, 0), "other", 1))
		query := store.EmbeddedQuery{RepositoryID: 1, Space: space("words", 1), After: 1, Limit: 3}
		found := embeddedIssues(t, s, query)
		numbers := []int{}
		for _, i := range found {
			numbers = append(numbers, i.Number)
		}
		equal(t, "numbers", numbers, []int{3, 5, 7})
		equal(t, "without texts", found[0], store.EmbeddedIssue{Number: 3, TextHash: "hash of e3", Terms: terms(3)})
		query.Texts, query.After = true, 7
		issue := newIssue(1, 9, 0)
		equal(t, "with texts", embeddedIssues(t, s, query), []store.EmbeddedIssue{{Number: 9, TextHash: "hash of e9", Terms: terms(9), Title: issue.Title, Body: issue.Body}})
		query.Space, query.Texts, query.After = space("other", 0), false, 0
		equal(t, "without terms", embeddedIssues(t, s, query), []store.EmbeddedIssue{{Number: 10, TextHash: "hash of g"}})
		query.Limit = 0
		equal(t, "no limit", len(embeddedIssues(t, s, query)), 0)
	},
	"replaced while nothing has changed": func(t *testing.T, s store.Store) {
		for number := 1; number <= 5; number++ {
			apply(t, s, weighted(fmt.Sprint("e", number), newIssue(1, number, 0), 0, terms(uint32(number)), 1, float32(number)))
		}
		ask := func(model string) []int { return numbersOf(neighbours(t, s, 1, 0, model, 10, 0, 1)) }
		equal(t, "before", ask("words"), []int{5, 4, 3, 2, 1})
		from, next := space("words", 0), func(number int) *store.Embedding {
			return &store.Embedding{Model: "words", Vector: []float32{1, float32(10 - number)}, Terms: terms(uint32(number)), Vocabulary: 1}
		}
		apply(t, s, weighted("new", newIssue(1, 4, 9), 0, terms(40), 1, 50))
		gone := partial("gone", triage.IssueKey{RepositoryID: 1, Number: 5})
		gone.Deleted = true
		apply(t, s, gone)
		replace(t, s, 2, replacement(1, from, "hash of e1", next(1)), replacement(2, from, "hash of e2", next(2)),
			replacement(4, from, "hash of e4", next(4)), replacement(5, from, "hash of e5", next(5)), replacement(6, from, "hash of e6", next(6)))
		equal(t, "after", ask("words"), []int{4, 1, 2, 3})
		equal(t, "spaces", embeddedRepositories(t, s)[0].Issues, map[store.EmbeddingSpace]int{space("words", 0): 2, space("words", 1): 2})
		replace(t, s, 0, replacement(1, from, "hash of e1", next(9))) // another was faster
		replace(t, s, 1, replacement(1, space("words", 1), "hash of e1", &store.Embedding{Model: "other", Vector: []float32{0, 1}}))
		equal(t, "one left for another model", ask("words"), []int{4, 2, 3})
		equal(t, "the other model", ask("other"), []int{1})
		equal(t, "its terms are gone", embeddedIssues(t, s, store.EmbeddedQuery{RepositoryID: 1, Space: space("other", 0), Limit: 9}),
			[]store.EmbeddedIssue{{Number: 1, TextHash: "hash of e1"}})
		replace(t, s, 2, replacement(2, space("words", 1), "hash of e2", nil), replacement(3, from, "hash of e3", &store.Embedding{Model: "words", Vector: []float32{0}}))
		equal(t, "without", ask("words"), []int{4})
		revision := load(t, s, triage.IssueKey{RepositoryID: 1, Number: 1}).Revision
		equal(t, "the issue itself is as it was", revision, int64(1))
		replace(t, s, 0)
	},
}
