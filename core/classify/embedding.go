package classify

import (
	"context"
	"log/slog"
	"strconv"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/dispatchai/dispatchai/core/plugin"
	"github.com/dispatchai/dispatchai/core/store"
)

// embedding is an issue's embedding, nil where none could be made, and the
// function that compares others with it exactly, nil where their cosine is exact.
type embedding struct {
	*store.Embedding
	exact func(store.Terms) float64
}

// weightings knows how terms are weighted in each repository: it keeps those
// used last, in bounded memory, and looks in the store whether they still hold, because
// another process may have counted anew.
type weightings struct {
	storage store.Embeddings
	logger  *slog.Logger
	weights [256]float32 // by packed weight
	none    *weighting   // before anything was counted

	mu    sync.Mutex
	cache *simplelru.LRU[weightingKey, *weighting]
	slots int
}

type weightingKey struct {
	repositoryID int64
	model        string
}

// maxSlots bounds what is kept, in slots of 8 bytes: 16 MiB, enough for a
// thousand repositories of a hundred issues, or for fifteen of the largest.
const maxSlots = 2 << 20

func newWeightings(storage store.Embeddings, logger *slog.Logger) *weightings {
	w := &weightings{storage: storage, logger: logger, weights: store.UnpackWeights()}
	w.none = newWeighting(0, &vocabulary{}, &w.weights)
	// The bound that matters is maxSlots; there are fewer weightings than slots.
	w.cache, _ = simplelru.NewLRU(maxSlots, func(_ weightingKey, evicted *weighting) { w.slots -= evicted.size() })
	return w
}

// of gives the weighting in force of each of the repositories.
func (w *weightings) of(ctx context.Context, model string, repositories []int64) (map[int64]*weighting, error) {
	found := make(map[int64]*weighting, len(repositories))
	known := make(map[int64]int64, len(repositories))
	w.mu.Lock()
	for _, id := range repositories {
		found[id] = w.none
		if cached, ok := w.cache.Get(weightingKey{id, model}); ok {
			found[id] = cached
		}
		known[id] = found[id].version
	}
	w.mu.Unlock()
	vocabularies, err := w.storage.Vocabularies(ctx, model, known)
	if err != nil {
		return nil, err
	}
	for id, stored := range vocabularies {
		v, err := decodeVocabulary(stored.Terms)
		if err != nil {
			w.logger.ErrorContext(ctx, "the repository's issues are compared as if they were few", "repository", id, "vocabulary", stored.Version, "error", err)
			v = &vocabulary{}
		}
		found[id] = newWeighting(stored.Version, v, &w.weights)
		w.keep(weightingKey{id, model}, found[id])
	}
	return found, nil
}

func (w *weightings) keep(key weightingKey, made *weighting) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cache.Remove(key)
	w.cache.Add(key, made)
	w.slots += made.size()
	for w.slots > maxSlots {
		w.cache.RemoveOldest()
	}
}

// spaceModel is the model's name as it stands in the store: that of folded terms
// tells how they are folded.
func spaceModel(model string, terms bool) string {
	if terms {
		return model + "/" + strconv.Itoa(foldedSize)
	}
	return model
}

// embed makes an embedding of what the plugin made of an issue's text, for the
// issue's repository.
func (w *weightings) embed(ctx context.Context, made plugin.Embeddings, repositories []int64) ([]embedding, error) {
	embeddings := make([]embedding, len(repositories))
	for i, v := range made.Vectors {
		if v != nil {
			embeddings[i].Embedding = &store.Embedding{Model: made.Model, Vector: v}
		}
	}
	if len(made.Terms) == 0 {
		return embeddings, nil
	}
	model := spaceModel(made.Model, true)
	weights, err := w.of(ctx, model, repositories)
	if err != nil {
		return nil, err
	}
	for i, list := range made.Terms {
		if list == nil {
			continue
		}
		terms := make([]store.Term, len(list))
		for j, t := range list {
			terms[j] = store.Term(t)
		}
		packed, weigh := store.PackTerms(terms), weights[repositories[i]]
		embeddings[i] = embedding{weigh.embed(model, packed), weigh.similarity(packed)}
	}
	return embeddings, nil
}

// embed makes the embedding of weighted terms.
func (w *weighting) embed(model string, terms store.Terms) *store.Embedding {
	return &store.Embedding{Model: model, Vector: w.fold(terms), Terms: terms, Vocabulary: w.version}
}
