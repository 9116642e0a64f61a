package classify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/plugin"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// classify asks the plugins about every issue of the batch that needs it, in
// one call each, and completes the changes.
func (w *Worker) classify(ctx context.Context, works []*work) {
	var asked []*work
	for _, k := range works {
		if k.err == nil && !k.applied && k.classify {
			asked = append(asked, k)
		}
	}
	if len(asked) == 0 {
		return
	}
	began := w.Now()
	issues := make([]triage.Issue, len(asked))
	for i, k := range asked {
		issues[i] = w.current(k)
	}
	embeddings, err := w.embed(ctx, issues)
	if err != nil {
		fail(asked, pluginError(err))
		return
	}
	similar, err := w.neighbours(ctx, asked, embeddings)
	if err != nil {
		fail(asked, storeDown(err))
		return
	}

	items := make([]plugin.Item, len(asked))
	merged := make([]*triage.Classification, len(asked))
	for i, k := range asked {
		items[i] = plugin.Item{Repository: k.catalogue.repository, Issue: issues[i], Similar: make([]plugin.Similar, len(similar[i]))}
		for j, n := range similar[i] {
			items[i].Similar[j] = plugin.Similar{Neighbour: n}
		}
		merged[i] = &triage.Classification{DeliveryID: k.event.ID, Fields: map[triage.Field]triage.Answer{}, ClassifiedAt: w.Now().UTC()}
	}
	for _, c := range w.Classifiers {
		outcomes, err := c.Classify(ctx, items)
		if err != nil {
			fail(asked, pluginError(err))
			return
		}
		for i, o := range outcomes {
			if o.Err != nil {
				asked[i].err = pluginError(o.Err)
				continue
			}
			merge(merged[i], o)
		}
	}
	for i, k := range asked {
		if k.err != nil {
			continue
		}
		k.change.EventType = triage.Classified
		k.change.Classification = merged[i]
		k.change.TextHash = textHash(issues[i])
		k.change.Similar = similar[i]
		k.change.Embedding = embeddings[i]
	}
	w.metrics.classifySeconds.Observe(w.Now().Sub(began).Seconds())
}

// merge keeps, field by field, the more confident answer.
func merge(into *triage.Classification, o plugin.Outcome) {
	for f, a := range o.Fields {
		if held, ok := into.Fields[f]; !ok || a.Confidence > held.Confidence {
			into.Fields[f] = a
		}
	}
	if into.Reasoning == "" {
		into.Reasoning = o.Reasoning
	}
	into.Usage.InputTokens += o.Usage.InputTokens
	into.Usage.OutputTokens += o.Usage.OutputTokens
	into.Usage.CostUSD += o.Usage.CostUSD
}

// embed gives one vector per issue; it is nil where no plugin can make one.
func (w *Worker) embed(ctx context.Context, issues []triage.Issue) ([]*store.Embedding, error) {
	embeddings := make([]*store.Embedding, len(issues))
	var embedder Classifier
	for _, c := range w.Classifiers {
		if c.Describe().Embedding != nil {
			embedder = c
			break
		}
	}
	if embedder == nil {
		return embeddings, nil
	}
	texts := make([]sdk.Text, len(issues))
	for i, issue := range issues {
		texts[i] = sdk.Text{Title: issue.Title, Body: issue.Body}
	}
	vectors, model, err := embedder.Embed(ctx, texts)
	if err != nil {
		return nil, err
	}
	for i, v := range vectors {
		if v != nil {
			embeddings[i] = &store.Embedding{Model: model, Vector: v}
		}
	}
	return embeddings, nil
}

func (w *Worker) neighbours(ctx context.Context, asked []*work, embeddings []*store.Embedding) ([][]triage.Neighbour, error) {
	similar := make([][]triage.Neighbour, len(asked))
	queries := make([]store.NeighbourQuery, 0, len(asked))
	asking := make([]int, 0, len(asked))
	for i, k := range asked {
		if embeddings[i] == nil {
			continue
		}
		queries = append(queries, store.NeighbourQuery{
			RepositoryID: k.key.RepositoryID, Number: k.key.Number,
			Embedding: *embeddings[i], Limit: w.NeighbourLimit,
		})
		asking = append(asking, i)
	}
	if len(queries) == 0 {
		return similar, nil
	}
	found, err := w.Store.Neighbours(ctx, queries)
	if err != nil {
		return nil, err
	}
	for j, i := range asking {
		// What has next to nothing in common is no similar issue.
		similar[i] = slices.DeleteFunc(found[j], func(n triage.Neighbour) bool { return n.Similarity < minimumSimilarity })
	}
	return similar, nil
}

// minimumSimilarity is the cosine under which a neighbour is not shown.
const minimumSimilarity = 0.2

func fail(works []*work, err error) {
	for _, k := range works {
		if k.err == nil {
			k.err = err
		}
	}
}

// pluginError waits for a plugin that is not running without counting the
// attempt against the event; a call that failed counts.
func pluginError(err error) error {
	var refused *plugin.ItemError
	if errors.As(err, &refused) && refused.Permanent {
		return eventlog.Permanent(err)
	}
	if after, ok := plugin.RetryAfter(err); ok {
		return eventlog.RetryAfter(after, err)
	}
	if errors.Is(err, context.Canceled) {
		return eventlog.RetryAfter(0, err)
	}
	return err
}

// loadTaxonomies gives every open work its repository's taxonomy, reading label
// sets from GitHub where none is stored yet.
func (w *Worker) loadTaxonomies(ctx context.Context, works []*work) {
	byRepository := make(map[int64][]*work)
	var ids []int64
	for _, k := range works {
		if k.err != nil || k.applied || k.event.Kind == triage.KindPullRequest {
			continue
		}
		id := k.key.RepositoryID
		if byRepository[id] == nil {
			ids = append(ids, id)
		}
		byRepository[id] = append(byRepository[id], k)
	}
	if len(ids) == 0 {
		return
	}
	states, err := w.Store.LoadRepositories(ctx, ids)
	if err != nil {
		failAll(works, storeDown(err))
		return
	}
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(16)
	for _, id := range ids {
		if state, ok := states[id]; ok && !state.LabelsAt.IsZero() {
			continue
		}
		group.Go(func() error {
			labels, err := w.fetchLabels(ctx, byRepository[id][0].event)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				fail(byRepository[id], err)
				return nil
			}
			state := states[id]
			state.Labels = labels
			states[id] = state
			return nil
		})
	}
	_ = group.Wait()
	for id, ks := range byRepository {
		c := w.catalogue(id, ks[0].event.Repository.FullName, states[id].Labels)
		for _, k := range ks {
			k.catalogue = c
		}
	}
}

// fetchLabels reads a repository's label set for the first time. A repository
// that the App may not see has none: nothing can be written there anyway.
func (w *Worker) fetchLabels(ctx context.Context, e triage.Event) ([]triage.RepositoryLabel, error) {
	at := w.Now()
	labels, err := w.GitHub.RepositoryLabels(ctx, e.InstallationID, e.Repository)
	switch {
	case errors.Is(err, github.ErrNotFound), errors.Is(err, github.ErrGone), errors.Is(err, github.ErrForbidden), errors.Is(err, github.ErrSuspended):
		return nil, nil
	case err != nil:
		return nil, retryGitHub(fmt.Errorf("read the labels of %s: %w", e.Repository.FullName, err))
	}
	if err := w.Store.SaveRepositoryLabels(ctx, e.Repository.ID, labels, at); err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, storeDown(err)
	}
	return labels, nil
}

func (w *Worker) catalogue(repositoryID int64, fullName string, labels []triage.RepositoryLabel) *catalogue {
	if c, ok := w.taxonomies.Get(repositoryID); ok && c.fullName == fullName && slices.Equal(c.labels, labels) {
		return c
	}
	t := triage.NewTaxonomy(labels)
	c := &catalogue{fullName: fullName, labels: labels, taxonomy: t, repository: forPlugins(repositoryID, fullName, t)}
	w.taxonomies.Add(repositoryID, c)
	return c
}

// forPlugins describes a repository in the words of the plugin SDK.
func forPlugins(id int64, fullName string, t triage.Taxonomy) *sdk.Repository {
	r := &sdk.Repository{ID: id, FullName: fullName, Options: make(map[sdk.Field][]sdk.Option)}
	for f, options := range t.AllOptions() {
		for _, o := range options {
			r.Options[sdk.Field(f)] = append(r.Options[sdk.Field(f)], sdk.Option{Value: o.Value, Label: o.Label, Description: o.Description})
		}
	}
	return r
}

// learn lets the plugins learn from the corrections of this batch. The store
// holds the truth; a plugin that misses one is taught again when it is fitted.
func (w *Worker) learn(ctx context.Context, works []*work) {
	var examples []plugin.Example
	for _, k := range works {
		if k.err != nil || len(k.change.Corrections) == 0 {
			continue
		}
		fields := make(map[triage.Field][]string, len(k.change.Corrections))
		for _, c := range k.change.Corrections {
			fields[c.Field] = c.New
		}
		examples = append(examples, plugin.Example{
			EventID:    k.event.ID,
			Repository: k.catalogue.repository,
			Issue:      k.state.Issue,
			Fields:     fields,
			At:         k.event.ReceivedAt,
		})
	}
	if len(examples) == 0 {
		return
	}
	for _, c := range w.Classifiers {
		if !c.Describe().Learns {
			continue
		}
		if err := c.Learn(ctx, examples); err != nil {
			w.Logger.WarnContext(ctx, "plugin did not learn from corrections", "plugin", c.Describe().Name, "corrections", len(examples), "error", err)
		}
	}
}
