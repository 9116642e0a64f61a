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

// classify asks the plugins about every issue of the batch that needs it and
// completes the changes. It returns the groups that wait for a slow plugin:
// resume takes them to their end.
func (w *Worker) classify(ctx context.Context, works []*work) (waiting []*group) {
	inquiries := w.inquiries(works)
	if len(inquiries) == 0 {
		return nil
	}
	began := w.Now()
	w.placeAmongOthers(ctx, inquiries)
	waiting = w.cascade(ctx, inquiries, true)
	w.metrics.classifySeconds.Observe(w.Now().Sub(began).Seconds())
	return waiting
}

// inquiries are the issues to ask about, each with its repository's chain.
func (w *Worker) inquiries(works []*work) []*inquiry {
	var classifiers []Classifier
	var inquiries []*inquiry
	for _, k := range works {
		if k.err != nil || k.applied || k.gone || !k.classify {
			continue
		}
		if classifiers == nil {
			classifiers = w.enabled()
		}
		chain := w.chain(k.catalogue.followed, classifiers)
		if len(chain) == 0 {
			k.err = errNoneEnabled
			continue
		}
		q := &inquiry{
			work: k, chain: chain, item: plugin.Item{Repository: k.catalogue.repository, Issue: k.current()},
			made: &triage.Classification{DeliveryID: k.event.ID, Fields: map[triage.Field]triage.Answer{}},
		}
		if replies := k.directives().Replies; replies != "" {
			q.item.Issue.Body += "\n\n" + replies
		}
		k.inquiry = q
		inquiries = append(inquiries, q)
	}
	return inquiries
}

// placeAmongOthers embeds the issues and finds similar ones.
func (w *Worker) placeAmongOthers(ctx context.Context, inquiries []*inquiry) {
	made, err := w.embed(ctx, inquiries)
	inquiries = slices.DeleteFunc(slices.Clone(inquiries), func(q *inquiry) bool {
		after, away := plugin.RetryAfter(err)
		switch {
		case errors.Is(err, errPostponed) || away && !w.patient(q, after):
			w.metrics.postponedEmbeddings.Inc()
			q.embedding = &store.Embedding{Model: postponedModel, Vector: []float32{1}}
		case err != nil:
			q.err = pluginError(err)
		}
		return err != nil
	})
	if len(inquiries) == 0 {
		return
	}
	works := make([]*work, len(inquiries))
	repositories := make([]int64, len(inquiries))
	for i, q := range inquiries {
		works[i], repositories[i] = q.work, q.key.RepositoryID
	}
	embeddings, err := w.weightings.embed(ctx, made, repositories)
	if err != nil {
		fail(works, storeDown(err))
		return
	}
	similar, err := w.neighbours(ctx, works, embeddings)
	if err != nil {
		fail(works, storeDown(err))
		return
	}
	for i, q := range inquiries {
		q.similar, q.embedding = similar[i], embeddings[i].Embedding
		q.item.Similar = make([]plugin.Similar, len(similar[i]))
		for j, n := range similar[i] {
			q.item.Similar[j] = plugin.Similar{Neighbour: n}
		}
	}
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
	if into.Hold == "" {
		into.Hold = o.Hold
	}
	into.Usage = into.Usage.Plus(o.Usage)
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

// postponedModel is the model of the embeddings of issues that were classified
// while the embedder was away: the upkeep finds them by it and embeds them.
const postponedModel = "postponed"

// errPostponed says that the embedder takes longer than issues wait.
var errPostponed = errors.New("the plugin that embeds does not answer in time")

// embed has vectors or terms made of the issues; there are none when no plugin
// can make them.
func (w *Worker) embed(ctx context.Context, inquiries []*inquiry) (plugin.Embeddings, error) {
	embedder, _ := w.embedder()
	if embedder == nil {
		return plugin.Embeddings{}, nil
	}
	desk := embedder.Name() + "/embed"
	if w.stalled(desk) {
		return plugin.Embeddings{}, errPostponed
	}
	texts := make([]sdk.Text, len(inquiries))
	for i, q := range inquiries {
		texts[i] = sdk.Text{Title: q.item.Issue.Title, Body: q.item.Issue.Body}
	}
	a, err := ask(w, desk, func(ctx context.Context) (plugin.Embeddings, error) { return embedder.Embed(ctx, texts) })
	if err != nil {
		return plugin.Embeddings{}, &plugin.UnavailableError{Plugin: embedder.Name(), State: plugin.Busy, RetryAfter: busyAgain, Err: err}
	}
	switch done := a.await(ctx, w.Now(), w.Patience); {
	case !done && ctx.Err() != nil:
		return plugin.Embeddings{}, ctx.Err()
	case !done:
		return plugin.Embeddings{}, errPostponed
	}
	first := inquiries[0]
	if failed := (*plugin.CallError)(nil); errors.As(a.err, &failed) && len(inquiries) == 1 && first.record.Attempt >= embedAttempts {
		w.Logger.WarnContext(ctx, "the issue gets no similar issues, because its text cannot be embedded", "issue", first.key.String(), "error", a.err)
		return plugin.Embeddings{}, nil
	}
	return a.answer, a.err
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
