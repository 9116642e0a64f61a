package classify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

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
		if k.err == nil && !k.applied && !k.gone && k.classify {
			asked = append(asked, k)
		}
	}
	if len(asked) == 0 {
		return
	}
	classifiers := w.enabled()
	chains := make([][]Classifier, 0, len(asked))
	asked = slices.DeleteFunc(asked, func(k *work) bool {
		chain := chain(k.catalogue.followed, classifiers)
		if len(chain) == 0 {
			k.err = errNoneEnabled
			return true
		}
		chains = append(chains, chain)
		return false
	})
	if len(asked) == 0 {
		return
	}
	began := w.Now()
	issues := make([]triage.Issue, len(asked))
	for i, k := range asked {
		issues[i] = k.current()
		if replies := k.directives().Replies; replies != "" {
			issues[i].Body += "\n\n" + replies
		}
	}
	made, err := w.embed(ctx, asked, issues)
	if err != nil {
		fail(asked, pluginError(err))
		return
	}
	repositories := make([]int64, len(asked))
	for i, k := range asked {
		repositories[i] = k.key.RepositoryID
	}
	embeddings, err := w.weightings.embed(ctx, made, repositories)
	if err != nil {
		fail(asked, storeDown(err))
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
	answered := make([]bool, len(asked))
	refused := make([]error, len(asked))
	outcomes := make([]map[string]plugin.Outcome, len(asked)) // by the plugin's name
	for _, c := range classifiers {
		mine, which := itemsFor(c, asked, items, chains)
		if len(mine) == 0 {
			continue
		}
		answers, err := c.Classify(ctx, mine)
		if err != nil {
			for _, i := range which {
				fail(asked[i:i+1], pluginError(err))
			}
			continue
		}
		for j, o := range answers {
			i := which[j]
			if o.Err == nil {
				answered[i] = true
				if outcomes[i] == nil {
					outcomes[i] = make(map[string]plugin.Outcome, len(chains[i]))
				}
				outcomes[i][c.Name()] = o
			} else if err := pluginError(o.Err); eventlog.IsPermanent(err) {
				refused[i] = err
			} else if asked[i].err == nil {
				asked[i].err = err
			}
		}
	}
	for i, k := range asked {
		for _, c := range chains[i] {
			if o, ok := outcomes[i][c.Name()]; ok {
				merge(merged[i], o, c.Name(), k.catalogue.followed, k.directives())
			}
		}
	}
	for i, k := range asked {
		// A plugin that will never answer abstains, as long as another answers.
		if k.err == nil && !answered[i] {
			k.err = refused[i]
		}
		if k.err != nil {
			continue
		}
		k.change.EventType = triage.Classified
		k.change.Classification = merged[i]
		k.change.TextHash = textHash(k.current())
		k.change.Similar = similar[i]
		k.change.Embedding = embeddings[i].Embedding
	}
	w.metrics.classifySeconds.Observe(w.Now().Sub(began).Seconds())
}

// enabledAgain is how soon an event that no classifier may be asked about looks
// for one again.
const enabledAgain = 3 * time.Second

// errNoneEnabled has events wait in the log: it keeps them, while an issue that
// was let through would stay without labels.
var errNoneEnabled = eventlog.RetryAfter(enabledAgain, errors.New("no classifier plugin is enabled; enable one with `dispatchai plugin enable NAME`"))

// merge keeps, field by field, the more confident answer of those that the
// repository wants and nobody has withdrawn; one that is sure enough for its plugin comes before one that is not.
func merge(into *triage.Classification, o plugin.Outcome, name string, config triage.RepositoryConfig, directives triage.Directives) {
	sure := func(f triage.Field, a triage.Answer) bool { return a.Confidence >= config.Threshold(a.Plugin, f) }
	for f, a := range o.Fields {
		if !config.Asks(name, f) {
			continue
		}
		a, left := directives.Withhold(f, a)
		if !left {
			continue
		}
		held, ok := into.Fields[f]
		if better := a.Confidence > held.Confidence; !ok || sure(f, a) != sure(f, held) && sure(f, a) || sure(f, a) == sure(f, held) && better {
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

// embedAttempts is after how many attempts made alone an issue that no vector
// can be made of is classified without one.
const embedAttempts = 3

// embedder is the enabled plugin that embeds, nil when none can. One that has not started
// yet might: then it is the one, without a model, because nothing may be embedded
// by another meanwhile, nor stay without an embedding.
func (w *Worker) embedder() (Classifier, *sdk.EmbeddingModel) {
	for _, c := range w.enabled() {
		if d := c.Describe(); d.Embedding != nil || d.Name == "" {
			return c, d.Embedding
		}
	}
	return nil, nil
}

// embed has vectors or terms made of the issues; there are none when no plugin
// can make them.
func (w *Worker) embed(ctx context.Context, asked []*work, issues []triage.Issue) (plugin.Embeddings, error) {
	embedder, _ := w.embedder()
	if embedder == nil {
		return plugin.Embeddings{}, nil
	}
	texts := make([]sdk.Text, len(issues))
	for i, issue := range issues {
		texts[i] = sdk.Text{Title: issue.Title, Body: issue.Body}
	}
	made, err := embedder.Embed(ctx, texts)
	if failed := (*plugin.CallError)(nil); errors.As(err, &failed) && len(asked) == 1 && asked[0].record.Attempt >= embedAttempts {
		w.Logger.WarnContext(ctx, "the issue gets no similar issues, because its text cannot be embedded", "issue", asked[0].key.String(), "error", err)
		return plugin.Embeddings{}, nil
	}
	return made, err
}

// candidates is how many of the nearest vectors are compared exactly, where that
// is possible. Folding loses little: among so many is the true nearest issue in 99.8 %.
const candidates = 100

func (w *Worker) neighbours(ctx context.Context, asked []*work, embeddings []embedding) ([][]triage.Neighbour, error) {
	similar := make([][]triage.Neighbour, len(asked))
	queries := make([]store.NeighbourQuery, 0, len(asked))
	asking := make([]int, 0, len(asked))
	for i, k := range asked {
		e := embeddings[i]
		if e.Embedding == nil {
			continue
		}
		queries = append(queries, store.NeighbourQuery{
			RepositoryID: k.key.RepositoryID, Number: k.key.Number, Embedding: *e.Embedding,
			Limit: w.NeighbourLimit, Exact: e.exact, Candidates: candidates,
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
		if k.err != nil || k.applied && len(k.commands) == 0 || k.gone || k.event.Kind == triage.KindPullRequest || k.echo() {
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
	labels := make([][]triage.RepositoryLabel, len(ids))
	var group errgroup.Group
	group.SetLimit(16)
	for i, id := range ids {
		state, known := states[id]
		if state.Erased {
			for _, k := range byRepository[id] {
				k.gone = true
			}
			continue
		}
		if labels[i] = state.Labels; known && !state.LabelsAt.IsZero() {
			continue
		}
		group.Go(func() (_ error) {
			var err error
			if labels[i], err = w.fetchLabels(ctx, describe(byRepository[id], state)); err != nil {
				fail(byRepository[id], err)
			}
			return nil
		})
	}
	_ = group.Wait()
	for i, id := range ids {
		name := states[id].Repository.FullName
		if name == "" {
			name = describe(byRepository[id], states[id]).FullName
		}
		c := w.catalogue(id, name, labels[i], states[id].InForce())
		for _, k := range byRepository[id] {
			k.catalogue = c
		}
	}
}

// described is a repository as it was at a time.
type described struct {
	triage.Repository
	at time.Time
}

// describe finds out where a repository is: by the newest of the events that
// GitHub sent, or, when there are only our own, by what is stored.
func describe(works []*work, state store.RepositoryState) described {
	d := described{Repository: state.Repository}
	for _, k := range works {
		if e := k.event; e.Issue != nil && !e.Issue.UpdatedAt.Before(d.at) {
			d.Repository, d.at = e.Repository, e.Issue.UpdatedAt
			if e.InstallationID != 0 {
				d.InstallationID = e.InstallationID
			}
		}
	}
	return d
}

// fetchLabels reads a repository's label set for the first time, once for all
// batches under way. A repository that the App may not see has none: nothing
// can be written there anyway.
func (w *Worker) fetchLabels(ctx context.Context, r described) ([]triage.RepositoryLabel, error) {
	found, err, _ := w.fetches.Do(strconv.FormatInt(r.ID, 10), func() (any, error) {
		return w.readLabels(ctx, r)
	})
	labels, _ := found.([]triage.RepositoryLabel)
	return labels, err
}

func (w *Worker) readLabels(ctx context.Context, r described) ([]triage.RepositoryLabel, error) {
	states, err := w.Store.LoadRepositories(ctx, []int64{r.ID})
	if err != nil {
		return nil, storeDown(err)
	}
	if state := states[r.ID]; !state.LabelsAt.IsZero() {
		return state.Labels, nil // another batch was faster
	}
	at := w.Now()
	labels, err := w.GitHub.RepositoryLabels(ctx, r.InstallationID, r.Repository)
	switch {
	case errors.Is(err, github.ErrNotFound), errors.Is(err, github.ErrGone), errors.Is(err, github.ErrForbidden),
		errors.Is(err, github.ErrSuspended), errors.Is(err, github.ErrInvalid):
		w.Logger.WarnContext(ctx, "the repository's labels cannot be read; its issues are classified without", "repository", r.FullName, "error", err)
		return nil, nil
	case err != nil:
		return nil, retryGitHub(fmt.Errorf("read the labels of %s: %w", r.FullName, err))
	}
	err = w.Store.SaveRepositoryLabels(ctx, r.ID, labels, at)
	if errors.Is(err, store.ErrNotFound) {
		// Heard of through an issue before its installation was announced.
		err = w.Store.ApplyInstallation(ctx, store.InstallationChange{
			EventID: fmt.Sprintf("repository/%d/%d", r.ID, at.UnixNano()), At: r.at, Upserted: []triage.Repository{r.Repository},
		})
		if err == nil {
			err = w.Store.SaveRepositoryLabels(ctx, r.ID, labels, at)
		}
	}
	if err != nil {
		return nil, storeDown(err)
	}
	return labels, nil
}

func (w *Worker) catalogue(repositoryID int64, fullName string, labels []triage.RepositoryLabel, configuration *store.Configuration) *catalogue {
	if c, ok := w.taxonomies.Get(repositoryID); ok && c.fullName == fullName && slices.Equal(c.labels, labels) && c.configuration.Version == configuration.Version {
		return c
	}
	t := configuration.Taxonomy(labels)
	c := &catalogue{fullName: fullName, labels: labels, taxonomy: t, repository: forPlugins(repositoryID, fullName, t), configuration: configuration}
	c.followed = w.followed(configuration.Config)
	c.ruled = withRules(c.repository, configuration.Config)
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
// holds the truth; a plugin that misses one, being disabled or not running, is
// taught again when it is fitted.
func (w *Worker) learn(ctx context.Context, works []*work) {
	var examples []plugin.Example
	for _, k := range works {
		// Stored is enough: what was not published is published again, but is
		// then no news any more.
		corrections := k.corrections()
		if !k.stored || len(corrections) == 0 {
			continue
		}
		fields := make(map[triage.Field][]string, len(corrections))
		for _, c := range corrections {
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
	for _, c := range w.enabled() {
		if !c.Describe().Learns {
			continue
		}
		if err := c.Learn(ctx, examples); err != nil {
			w.Logger.WarnContext(ctx, "plugin did not learn from corrections", "plugin", c.Describe().Name, "corrections", len(examples), "error", err)
		}
	}
}
