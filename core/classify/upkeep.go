package classify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dispatchai/dispatchai/core/failpoint"
	"github.com/dispatchai/dispatchai/core/plugin"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
	"github.com/dispatchai/dispatchai/plugins/sdk"
)

const (
	// A repository's vocabulary is counted first when so many of its issues are
	// embedded, and again whenever they have doubled.
	firstVocabulary = 50

	// upkeepEvery is how often all repositories are looked at, upkeepSpacing how
	// soon again when one of them has grown fast, upkeepRetry after a failure.
	upkeepEvery   = time.Minute
	upkeepSpacing = 2 * time.Second
	upkeepRetry   = 10 * time.Second

	// A batch is one transaction of the store: small, so that live work gets its
	// turn, and smaller where the issues' texts are read.
	upkeepBatch = 64
	textBatch   = 16
	// Each step of the upkeep ends by its deadline; what it left is done by the next pass.
	stepTimeout  = time.Minute
	countTimeout = 5 * time.Minute
	// maxGrown bounds how many repositories' growth is followed between two passes.
	maxGrown = 100_000
)

// upkeep is what live work tells the upkeep of embeddings.
type upkeep struct {
	live  atomic.Int32  // batches under way
	due   chan struct{} // of the next pass, before its time
	mu    sync.Mutex
	grown map[int64]int // since the last pass
}

func newUpkeep() *upkeep {
	return &upkeep{due: make(chan struct{}, 1), grown: make(map[int64]int)}
}

// embedded counts one more issue of a repository.
func (u *upkeep) embedded(repositoryID int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.grown) < maxGrown {
		u.grown[repositoryID]++
	}
	if u.grown[repositoryID] == firstVocabulary {
		u.again()
	}
}

// again asks for another pass soon.
func (u *upkeep) again() {
	select {
	case u.due <- struct{}{}:
	default:
	}
}

// KeepEmbeddings keeps all embeddings of the present model, and weighted by a
// vocabulary that fits their repository, until ctx ends. All of its state is in the
// store: it can be interrupted anywhere, and run by several processes.
func (w *Worker) KeepEmbeddings(ctx context.Context) error {
	for {
		wait := upkeepEvery
		if _, model := w.embedder(); model == nil {
			wait = upkeepSpacing // the plugin has not started yet
		} else if err := w.RenewEmbeddings(ctx); err != nil && ctx.Err() == nil {
			wait = upkeepRetry
			w.Logger.WarnContext(ctx, "embeddings were not all renewed; trying again soon", "after", wait, "error", err)
		}
		if !sleep(ctx, upkeepSpacing) {
			return nil
		}
		timer := time.NewTimer(wait - upkeepSpacing)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-w.upkeep.due:
		}
		timer.Stop()
	}
}

// sleep tells whether the time has passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// RenewEmbeddings is one pass over all repositories: it counts the vocabularies
// that are due, and renews each embedding that is of another model or weighted
// by another vocabulary than its repository's. An error does not keep it from the
// other repositories, unless the store or the plugin is away.
func (w *Worker) RenewEmbeddings(ctx context.Context) error {
	embedder, model := w.embedder()
	if model == nil {
		return nil
	}
	w.upkeep.mu.Lock()
	clear(w.upkeep.grown)
	w.upkeep.mu.Unlock()
	r := &renewal{Worker: w, embedder: embedder, name: model.Name, terms: model.Terms, model: spaceModel(model.Name, model.Terms)}
	var repositories []store.EmbeddedRepository
	err := step(ctx, stepTimeout, func(ctx context.Context) (err error) {
		repositories, err = w.Store.EmbeddedRepositories(ctx)
		return err
	})
	if err != nil {
		return err
	}
	stale := 0
	for _, repository := range repositories {
		current := r.space(repository.Vocabulary)
		for space, issues := range repository.Issues {
			if space != current {
				stale += issues
			}
		}
	}
	w.metrics.staleEmbeddings.Set(float64(stale))
	var faults []error
	for _, repository := range repositories {
		renewed, err := r.repository(ctx, repository)
		if renewed > 0 {
			w.Logger.InfoContext(ctx, "embeddings renewed", "repository", repository.RepositoryID, "issues", renewed, "model", r.model)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("repository %d: %w", repository.RepositoryID, err))
			if _, away := plugin.RetryAfter(err); away || ctx.Err() != nil || errors.Is(err, errModelChanged) || w.Store.Ping(ctx) != nil {
				break
			}
		}
	}
	return errors.Join(faults...)
}

func step(ctx context.Context, timeout time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return do(ctx)
}

// renewal is a pass of RenewEmbeddings.
type renewal struct {
	*Worker
	embedder Classifier
	name     string // of the plugin's model
	terms    bool
	model    string // in the store
}

var errModelChanged = errors.New("the plugin was restarted with another embedding model")

// space is where a repository's embeddings belong.
func (r *renewal) space(v store.Vocabulary) store.EmbeddingSpace {
	s := store.EmbeddingSpace{Model: r.model}
	if r.terms && v.Model == r.model {
		s.Vocabulary = v.Version
	}
	return s
}

// outgrown tells whether the vocabulary is due to be counted.
func (r *renewal) outgrown(repository store.EmbeddedRepository) bool {
	embedded, counted := 0, 0
	for space, issues := range repository.Issues {
		if space.Model == r.model {
			embedded += issues
		}
	}
	if repository.Vocabulary.Model == r.model {
		counted = repository.Vocabulary.Issues
	}
	return r.terms && embedded >= max(firstVocabulary, 2*counted)
}

// repository counts and renews until there is nothing to do: what was embedded
// anew may be enough for a vocabulary.
func (r *renewal) repository(ctx context.Context, repository store.EmbeddedRepository) (renewed int, err error) {
	for {
		if r.outgrown(repository) {
			former := r.space(repository.Vocabulary)
			if repository.Vocabulary, err = r.count(ctx, repository); errors.Is(err, store.ErrConflict) {
				return renewed, nil // another process is at it
			} else if err != nil {
				return renewed, err
			}
			r.metrics.staleEmbeddings.Add(float64(repository.Issues[former]))
		}
		current := r.space(repository.Vocabulary)
		spaces := slices.SortedFunc(maps.Keys(repository.Issues), func(a, b store.EmbeddingSpace) int {
			return cmp.Or(cmp.Compare(a.Model, b.Model), cmp.Compare(a.Vocabulary, b.Vocabulary))
		})
		for _, space := range spaces {
			if space == current {
				continue
			}
			n, err := r.renew(ctx, repository.RepositoryID, space)
			renewed += n
			repository.Issues[current] += n
			delete(repository.Issues, space)
			if err != nil {
				return renewed, err
			}
		}
		if !r.outgrown(repository) {
			return renewed, nil
		}
	}
}

// count makes the repository's next vocabulary from its own issues.
func (r *renewal) count(ctx context.Context, repository store.EmbeddedRepository) (store.Vocabulary, error) {
	counted := newCounter()
	next := store.Vocabulary{RepositoryID: repository.RepositoryID, Model: r.model, Version: repository.Vocabulary.Version + 1}
	err := step(ctx, countTimeout, func(ctx context.Context) error {
		return r.Store.VisitTerms(ctx, next.RepositoryID, r.model, func(terms store.Terms) error {
			counted.add(terms)
			return nil
		})
	})
	if err != nil {
		return next, err
	}
	v := counted.vocabulary()
	if v.issues < firstVocabulary {
		return next, store.ErrConflict // they were there a moment ago
	}
	next.Issues, next.Terms = v.issues, v.encode()
	failpoint.Hit("classify/before-vocabulary")
	if err := step(ctx, stepTimeout, func(ctx context.Context) error { return r.Store.SaveVocabulary(ctx, next) }); err != nil {
		return next, err
	}
	failpoint.Hit("classify/after-vocabulary")
	r.upkeep.again() // for what is being stored by the former one just now
	r.metrics.vocabularies.Inc()
	r.Logger.InfoContext(ctx, "vocabulary counted", "repository", next.RepositoryID, "version", next.Version, "issues", next.Issues, "terms", len(v.terms))
	return next, nil
}

// renew brings what is in the space into the present one, batch by batch.
func (r *renewal) renew(ctx context.Context, repositoryID int64, from store.EmbeddingSpace) (renewed int, err error) {
	query := store.EmbeddedQuery{RepositoryID: repositoryID, Space: from, Limit: upkeepBatch, Texts: !r.terms || from.Model != r.model}
	if query.Texts {
		query.Limit = textBatch
	}
	var fault error
	for {
		began := r.Now()
		var issues []store.EmbeddedIssue
		err := step(ctx, stepTimeout, func(ctx context.Context) (err error) {
			issues, err = r.Store.EmbeddedIssues(ctx, query)
			return err
		})
		if err != nil || len(issues) == 0 {
			return renewed, errors.Join(err, fault)
		}
		query.After = issues[len(issues)-1].Number
		replacements, err := r.replacements(ctx, query, issues)
		if failed := (*plugin.CallError)(nil); errors.As(err, &failed) {
			fault = err // the next pass tries these again, and others meanwhile have their turn
			continue
		}
		if err != nil {
			return renewed, err
		}
		failpoint.Hit("classify/before-renewal")
		n := 0
		err = step(ctx, stepTimeout, func(ctx context.Context) (err error) {
			n, err = r.Store.ReplaceEmbeddings(ctx, replacements)
			return err
		})
		if err != nil {
			return renewed, err
		}
		failpoint.Hit("classify/after-renewal")
		renewed += n
		r.metrics.renewedEmbeddings.Add(float64(n))
		r.metrics.staleEmbeddings.Sub(float64(len(issues)))
		if renewed%(100*upkeepBatch) < n {
			r.Logger.InfoContext(ctx, "renewing embeddings", "repository", repositoryID, "issues", renewed)
		}
		if !sleep(ctx, r.pause(r.Now().Sub(began))) {
			return renewed, ctx.Err()
		}
	}
}

// pause is how long to leave processors and store to others after a batch.
func (r *renewal) pause(took time.Duration) time.Duration {
	if r.upkeep.live.Load() > 0 {
		took *= 4
	}
	return min(took, time.Second)
}

// replacements makes the issues' embeddings anew: from their terms where those are
// of the present model, and otherwise from their texts, through the plugin.
func (r *renewal) replacements(ctx context.Context, query store.EmbeddedQuery, issues []store.EmbeddedIssue) ([]store.EmbeddingReplacement, error) {
	embeddings := make([]embedding, len(issues))
	var err error
	if query.Texts {
		embeddings, err = r.anew(ctx, query.RepositoryID, issues)
	} else {
		var weights map[int64]*weighting
		err = step(ctx, stepTimeout, func(ctx context.Context) (err error) {
			weights, err = r.weightings.of(ctx, r.model, []int64{query.RepositoryID})
			return err
		})
		for i := 0; err == nil && i < len(issues); i++ {
			embeddings[i].Embedding = weights[query.RepositoryID].embed(r.model, issues[i].Terms)
		}
	}
	if err != nil {
		return nil, err
	}
	replacements := make([]store.EmbeddingReplacement, len(issues))
	for i, issue := range issues {
		replacements[i] = store.EmbeddingReplacement{
			Issue: triage.IssueKey{RepositoryID: query.RepositoryID, Number: issue.Number}, From: query.Space,
			TextHash: issue.TextHash, Embedding: embeddings[i].Embedding,
		}
	}
	return replacements, nil
}

// anew has the texts embedded. One that cannot be is left without an embedding,
// as it is when an issue is classified.
func (r *renewal) anew(ctx context.Context, repositoryID int64, issues []store.EmbeddedIssue) ([]embedding, error) {
	texts := make([]sdk.Text, len(issues))
	repositories := make([]int64, len(issues))
	for i, issue := range issues {
		texts[i], repositories[i] = sdk.Text{Title: issue.Title, Body: issue.Body}, repositoryID
	}
	made, err := r.embedder.Embed(ctx, texts) // with the plugin's own deadline
	if failed := (*plugin.CallError)(nil); errors.As(err, &failed) && len(issues) == 1 {
		r.Logger.WarnContext(ctx, "the issue gets no similar issues any more, because its text cannot be embedded", "repository", repositoryID, "number", issues[0].Number, "error", err)
		return make([]embedding, 1), nil
	}
	if err != nil {
		return nil, err
	}
	if made.Model != r.name || (made.Terms != nil) != r.terms {
		return nil, errModelChanged
	}
	var embeddings []embedding
	err = step(ctx, stepTimeout, func(ctx context.Context) (err error) {
		embeddings, err = r.weightings.embed(ctx, made, repositories)
		return err
	})
	return embeddings, err
}
