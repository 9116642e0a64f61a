package classify

import (
	"context"
	"slices"
	"sync"

	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/plugin"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// A challenger is asked about the issues that the chain has classified, for people to
// see whether it would do better. What it says is kept beside what was decided and has
// no other effect: it is asked after the issue is stored, by a goroutine of its own,
// and what it is too slow for is left out. Older issues of a backfill are left out too.

// The bounds of a challenger's queue: how many issues may wait, and how many it is
// asked about at once.
const (
	challengeQueue = 64
	challengeBatch = 8
)

// challengers has the queue of every classifier that was a challenger since the start.
type challengers struct {
	mu     sync.Mutex
	queues map[string]chan *inquiry
}

// challengerOf is the classifier that challenges the chain of the issue; nil where
// none does.
func (w *Worker) challengerOf(q *inquiry) Classifier {
	name := q.catalogue.followed.Challenger
	if name == "" {
		name = w.Challenger
	}
	named := func(c Classifier) bool { return c.Name() == name }
	if name == "" || slices.ContainsFunc(q.chain, named) || !w.Enabled(name) {
		return nil
	}
	if i := slices.IndexFunc(w.Classifiers, named); i >= 0 {
		return w.Classifiers[i]
	}
	return nil
}

// challenge hands what was classified and stored to the challengers. It waits for nobody.
func (w *Worker) challenge(works []*work) {
	for _, k := range works {
		if k.inquiry == nil || !k.stored || k.change.Classification == nil || k.event.Action == github.ActionBackfilled {
			continue
		}
		c := w.challengerOf(k.inquiry)
		if c == nil {
			continue
		}
		select {
		case w.queueOf(c) <- k.inquiry:
		default:
			w.metrics.challenges.WithLabelValues(c.Name(), "dropped").Inc()
		}
	}
}

// queueOf gives the classifier's queue, and has it worked off.
func (w *Worker) queueOf(c Classifier) chan<- *inquiry {
	w.challengers.mu.Lock()
	defer w.challengers.mu.Unlock()
	queue := w.challengers.queues[c.Name()]
	if queue == nil {
		queue = make(chan *inquiry, challengeQueue)
		w.challengers.queues[c.Name()] = queue
		w.calls.Go(func() { w.runChallenger(c, queue) })
	}
	return queue
}

func (w *Worker) runChallenger(c Classifier, queue <-chan *inquiry) {
	for {
		var batch []*inquiry
		select {
		case <-w.base.Done():
			return
		case q := <-queue:
			batch = append(batch, q)
		}
		for full := false; !full && len(batch) < challengeBatch; {
			select {
			case q := <-queue:
				batch = append(batch, q)
			default:
				full = true
			}
		}
		w.askChallenger(w.base, c, batch)
	}
}

// askChallenger has the challenger answer, and keeps how that compares.
func (w *Worker) askChallenger(ctx context.Context, c Classifier, batch []*inquiry) {
	count := func(outcome string, n int) {
		if n > 0 {
			w.metrics.challenges.WithLabelValues(c.Name(), outcome).Add(float64(n))
		}
	}
	account, err := w.account(ctx, batch)
	if err == nil && c.Name() != rulesPlugin {
		err = w.tellOfNeighbours(ctx, batch)
	}
	if err != nil {
		count("failed", len(batch))
		w.Logger.WarnContext(ctx, "a challenger was not asked", "plugin", c.Name(), "issues", len(batch), "error", err)
		return
	}
	asked := batch[:0]
	var items []plugin.Item
	for _, q := range batch {
		if _, exhausted := account.exhausted(c.Name(), q.key.RepositoryID, w.budget(q)); exhausted {
			count("budget", 1)
			continue
		}
		item := q.item
		if c.Name() == rulesPlugin {
			item.Repository = q.catalogue.ruled
		}
		asked, items = append(asked, q), append(items, item)
	}
	if len(asked) == 0 {
		return
	}
	call, err := w.askAbout(c, items)
	if err != nil {
		count("dropped", len(asked)) // it is busy with the issues that it decides
		return
	}
	select {
	case <-call.done:
	case <-ctx.Done():
		return
	}
	if call.err != nil {
		count("failed", len(asked))
		w.Logger.InfoContext(ctx, "a challenger did not answer", "plugin", c.Name(), "issues", len(asked), "error", call.err)
		return
	}
	var comparisons []store.Comparison
	for i, q := range asked {
		if call.answer[i].Err != nil {
			count("failed", 1)
			continue
		}
		comparison := w.compare(q, c, call.answer[i])
		agreed := true
		for _, pair := range comparison.Fields {
			agreed = agreed && pair.Champion.Agrees(pair.Challenger)
		}
		if agreed {
			count("agreed", 1)
		} else {
			count("disagreed", 1)
		}
		comparisons = append(comparisons, comparison)
	}
	if err := w.Store.RecordComparisons(ctx, comparisons); err != nil {
		w.Logger.WarnContext(ctx, "what a challenger said could not be stored", "plugin", c.Name(), "issues", len(comparisons), "error", err)
	}
}

// compare puts what was decided beside what the challenger says, for every field that
// may become a label and that the challenger may set. Both are held to the thresholds
// that are in force for them.
func (w *Worker) compare(q *inquiry, c Classifier, o plugin.Outcome) store.Comparison {
	config := q.catalogue.followed
	says := triage.Classification{Fields: make(map[triage.Field]triage.Answer)}
	for f, a := range o.Fields {
		if a, left := q.directives().Withhold(f, a); left {
			says.Fields[f] = a
		}
	}
	made := store.Comparison{
		Issue: q.key, Challenger: c.Name(), Version: c.Describe().Version, At: w.Now(), Fields: make(map[triage.Field]store.Contrast),
	}
	for _, f := range triage.Fields() {
		if f.Labelled() && declares(c, f) && len(q.item.Repository.Options[sdk.Field(f)]) > 0 {
			made.Fields[f] = store.Contrast{Champion: triage.OpinionOf(*q.made, f, config), Challenger: triage.OpinionOf(says, f, config)}
		}
	}
	return made
}
