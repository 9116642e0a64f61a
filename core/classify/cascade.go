package classify

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/plugin"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// An issue goes down its repository's chain of classifiers. A field is taken from
// the first whose confidence reaches its threshold for the field; the next is
// asked for what is still open, and only if a label depends on it. One that
// cannot be asked, fails or takes too long is passed over as long as another can
// answer: that is noted with the classification, and with each field that
// the next one answered in its place.

// promptly is how long a batch waits for a plugin. Issues that a plugin has not
// answered for by then are detached, so that the others of the batch go on.
const promptly = 100 * time.Millisecond

// inquiry is an issue on its way down the chain.
type inquiry struct {
	*work
	item      plugin.Item
	similar   []triage.Neighbour
	embedding *store.Embedding
	chain     []Classifier
	next      int // in the chain

	made     *triage.Classification
	answered bool
	fault    error // of those that were asked and gave nothing; one that time mends comes first
	told     bool  // the neighbours' fields are in the item
}

// group is the inquiries that one call is about.
type group struct {
	*call[[]plugin.Outcome]
	classifier Classifier
	inquiries  []*inquiry
}

// works are those of the group's inquiries.
func (g *group) works() []*work {
	works := make([]*work, len(g.inquiries))
	for i, q := range g.inquiries {
		works[i] = q.work
	}
	return works
}

// cascade takes the inquiries down their chains. With detaching set it returns the
// groups that a plugin has not answered promptly; the others are concluded.
func (w *Worker) cascade(ctx context.Context, open []*inquiry, detaching bool) (waiting []*group) {
	for len(open) > 0 {
		groups := w.route(ctx, open)
		open = nil
		began := w.Now()
		for _, g := range groups {
			switch {
			case g.await(ctx, w.Now(), w.patience(g, detaching, began)):
				w.settle(g)
				open = append(open, g.inquiries...)
			case detaching:
				waiting = append(waiting, g)
			default:
				open = append(open, w.giveUp(ctx, g)...)
			}
		}
	}
	return waiting
}

// resume waits for a group that was detached and takes it to its end.
func (w *Worker) resume(ctx context.Context, g *group) {
	open := g.inquiries
	if g.await(ctx, w.Now(), w.patience(g, false, time.Time{})) {
		w.settle(g)
	} else {
		open = w.giveUp(ctx, g)
	}
	w.cascade(ctx, open, false)
}

// patience is how long after its beginning a call is waited for.
func (w *Worker) patience(g *group, detaching bool, began time.Time) time.Duration {
	switch {
	case detaching:
		return promptly + began.Sub(g.began)
	case g.inquiries[0].replaceable():
		longest := w.Patience
		for _, q := range g.inquiries {
			longest = max(longest, w.patienceOf(q))
		}
		return longest
	}
	return foreverPatient // the plugin's own deadline ends it
}

// foreverPatient is longer than a handler may take.
const foreverPatient = time.Hour

// giveUp passes the group's classifier over because it takes too long, unless ctx
// has ended: then nobody is to blame.
func (w *Worker) giveUp(ctx context.Context, g *group) []*inquiry {
	if ctx.Err() != nil {
		fail(g.works(), eventlog.RetryAfter(0, ctx.Err()))
		return nil
	}
	for _, q := range g.inquiries {
		w.passOver(q, triage.PassedSlow, "no answer within "+w.patienceOf(q).String())
	}
	return g.inquiries
}

// replaceable tells whether the issue can do without its present classifier.
func (q *inquiry) replaceable() bool { return q.answered || q.next+1 < len(q.chain) }

// route finds each inquiry's next classifier and asks, in one call for all that go
// to the same. Inquiries that are at the end of their chain are concluded.
func (w *Worker) route(ctx context.Context, open []*inquiry) []*group {
	account, err := w.account(ctx, slices.DeleteFunc(slices.Clone(open), func(q *inquiry) bool { return q.next == len(q.chain) }))
	if err != nil {
		for _, q := range open {
			fail([]*work{q.work}, storeDown(err))
		}
		return nil
	}
	type destination struct {
		name        string
		replaceable bool
	}
	gathered := make(map[destination]*group)
	var order []*group
	for _, q := range open {
		if q.err != nil {
			continue
		}
		c := w.nextClassifier(ctx, q, account)
		if c == nil {
			w.conclude(q)
			continue
		}
		to := destination{c.Name(), q.replaceable()}
		g := gathered[to]
		if g == nil {
			g = &group{classifier: c}
			gathered[to] = g
			order = append(order, g)
		}
		g.inquiries = append(g.inquiries, q)
	}
	asked := order[:0]
	var again []*inquiry
	for _, g := range order {
		if err := w.question(ctx, g); err != nil {
			again = append(again, w.busy(g, err)...)
			continue
		}
		asked = append(asked, g)
	}
	if len(again) > 0 {
		asked = append(asked, w.route(ctx, again)...)
	}
	return asked
}

// question asks the group's classifier.
func (w *Worker) question(ctx context.Context, g *group) (err error) {
	if g.inquiries[0].replaceable() && w.stalled(g.classifier.Name()) {
		return errStalled
	}
	if g.classifier.Name() != rulesPlugin {
		if err := w.tellOfNeighbours(ctx, g.inquiries); err != nil {
			return err
		}
	}
	items := make([]plugin.Item, len(g.inquiries))
	for i, q := range g.inquiries {
		items[i] = q.item
		items[i].Wanted = q.wanted(g.classifier)
		if g.classifier.Name() == rulesPlugin {
			items[i].Repository = q.catalogue.ruled
		}
	}
	g.call, err = w.askAbout(g.classifier, items)
	return err
}

// errStalled says that a question to the plugin has been open for too long.
var errStalled = errors.New("it has not answered an earlier question in time")

// busy is what becomes of a group that could not be asked: those that go on
// without the classifier are returned.
func (w *Worker) busy(g *group, err error) (again []*inquiry) {
	for _, q := range g.inquiries {
		switch {
		case errors.Is(err, errStalled):
			w.passOver(q, triage.PassedSlow, err.Error())
		case errors.Is(err, errBusy) && (!q.replaceable() || w.patient(q, busyAgain)):
			q.err = eventlog.RetryAfter(busyAgain, errors.New("plugin "+g.classifier.Name()+": "+err.Error()))
		case errors.Is(err, errBusy):
			w.passOver(q, triage.PassedSlow, err.Error())
		default:
			q.err = storeDown(err)
		}
		if q.err == nil {
			again = append(again, q)
		}
	}
	return again
}

// busyAgain is how soon an issue comes back to a plugin that is busy.
const busyAgain = 250 * time.Millisecond

// nextClassifier is the next of the chain that has something to say; nil at its end.
func (w *Worker) nextClassifier(ctx context.Context, q *inquiry, a *account) Classifier {
	for ; q.next < len(q.chain); q.next++ {
		c := q.chain[q.next]
		if !q.needs(c) {
			continue
		}
		if why, exhausted := a.exhausted(c.Name(), q.key.RepositoryID, w.budget(q)); exhausted {
			w.spending.tell(ctx, c.Name(), why)
			q.note(triage.PassedBudget, why)
			w.metrics.passedOver.WithLabelValues(c.Name(), string(triage.PassedBudget)).Inc()
			continue
		}
		return c
	}
	return nil
}

// account reads the day's spending where a budget bounds what is asked.
func (w *Worker) account(ctx context.Context, asked []*inquiry) (*account, error) {
	bounded := false
	ids := make([]int64, 0, len(asked))
	for _, q := range asked {
		bounded = bounded || w.budget(q) != Budget{}
		ids = append(ids, q.key.RepositoryID)
	}
	slices.Sort(ids)
	return w.spending.today(ctx, slices.Compact(ids), bounded)
}

// budget is the server's, or the repository's own where that is less.
func (w *Worker) budget(q *inquiry) Budget {
	b := w.Budget
	if own := q.catalogue.followed.DailyBudgetUSD; own > 0 && (b.PerRepository == 0 || own < b.PerRepository) {
		b.PerRepository = own
	}
	return b
}

// needs tells whether the classifier is to be asked: when none has answered yet,
// and afterwards for what may become a label and is not sure yet.
func (q *inquiry) needs(c Classifier) bool {
	return !q.answered || slices.ContainsFunc(triage.Fields(), func(f triage.Field) bool {
		return f.Labelled() && slices.ContainsFunc(q.item.Repository.Options[sdk.Field(f)], func(o sdk.Option) bool { return o.Label != "" }) && q.open(c, f)
	})
}

// wanted are the fields to ask the classifier for; nil stands for all.
func (q *inquiry) wanted(c Classifier) []triage.Field {
	var wanted []triage.Field
	whole := true
	for _, f := range triage.Fields() {
		if q.open(c, f) {
			wanted = append(wanted, f)
		} else if declares(c, f) && (len(q.item.Repository.Options[sdk.Field(f)]) > 0 || !f.Labelled()) {
			whole = false
		}
	}
	if whole {
		return nil
	}
	return wanted
}

// open tells whether the classifier may still answer for the field: the repository
// takes it from the classifier and has a use for it, and no answer is sure yet.
// What is only shown needs none that is sure; what a person has said, none but the first.
func (q *inquiry) open(c Classifier, f triage.Field) bool {
	config := q.catalogue.followed
	if !declares(c, f) || !config.Asks(c.Name(), f) {
		return false
	}
	held, ok := q.made.Fields[f]
	if !f.Labelled() {
		return !ok
	}
	said := func(k triage.Correction) bool { return k.Field == f }
	if len(q.item.Repository.Options[sdk.Field(f)]) == 0 || q.answered && slices.ContainsFunc(q.state.Corrections, said) {
		return false
	}
	return !ok || !(held.Confidence >= config.Threshold(held.Plugin, f))
}

// declares tells whether the classifier may set the field. One that has never
// run may set any.
func declares(c Classifier, f triage.Field) bool {
	d := c.Describe()
	return d.Name == "" || slices.Contains(d.Fields, f)
}

// settle takes what a call gave. A call that failed as a whole says of every
// issue what it said.
func (w *Worker) settle(g *group) {
	for i, q := range g.inquiries {
		err := g.err
		if err == nil {
			err = g.answer[i].Err
		}
		if err != nil {
			w.missed(q, err)
			continue
		}
		q.take(g.answer[i], g.classifier)
	}
}

// take keeps what the classifier said.
func (q *inquiry) take(o plugin.Outcome, c Classifier) {
	for f, a := range o.Fields {
		if by := q.insteadOf(f); by != "" {
			a.FallbackFor = by
			o.Fields[f] = a
		}
	}
	merge(q.made, o, c.Name(), q.catalogue.followed, q.directives())
	q.answered = true
	q.next++
}

// insteadOf is the first classifier that was passed over and might have answered
// for the field.
func (q *inquiry) insteadOf(f triage.Field) string {
	for _, p := range q.made.PassedOver {
		i := slices.IndexFunc(q.chain, func(c Classifier) bool { return c.Name() == p.Plugin })
		if i >= 0 && i < q.next && declares(q.chain[i], f) && q.catalogue.followed.Asks(p.Plugin, f) {
			return p.Plugin
		}
	}
	return ""
}

// missed is what becomes of an issue that its classifier gave nothing for. It
// waits for one that is soon back, and otherwise goes on to the next; one that
// fails call after call is not soon back.
func (w *Worker) missed(q *inquiry, err error) {
	if q.fault == nil || eventlog.IsPermanent(q.fault) {
		q.fault = pluginError(err)
	}
	if !q.replaceable() {
		q.next++
		return
	}
	after, away := plugin.RetryAfter(err)
	u, _ := errors.AsType[*plugin.UnavailableError](err)
	switch {
	case away && (u == nil || u.State != plugin.Tripped) && w.patient(q, after):
		q.err = eventlog.RetryAfter(after, err)
	case away:
		w.passOver(q, triage.PassedUnavailable, err.Error())
	case errors.Is(err, context.Canceled):
		q.err = eventlog.RetryAfter(0, err)
	default:
		w.passOver(q, triage.PassedFailed, err.Error())
	}
}

// passOver goes on to the next classifier, and notes why.
func (w *Worker) passOver(q *inquiry, reason triage.PassOverReason, detail string) {
	w.metrics.passedOver.WithLabelValues(q.chain[q.next].Name(), string(reason)).Inc()
	q.note(reason, detail)
	q.next++
}

// longestDetail bounds what is kept of an error with each issue, in bytes.
const longestDetail = 300

func (q *inquiry) note(reason triage.PassOverReason, detail string) {
	q.made.PassedOver = append(q.made.PassedOver, triage.PassedOver{
		Plugin: q.chain[q.next].Name(), Reason: reason, Detail: cut(detail, longestDetail),
	})
}

// cut shortens s to at most limit bytes, without splitting a character.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "")
}

// patient tells whether the issue may still wait that long for a classifier,
// counted from when it first had to.
func (w *Worker) patient(q *inquiry, after time.Duration) bool {
	now := w.Now()
	since, waiting, _ := w.missing.PeekOrAdd(q.event.ID, now)
	if !waiting {
		since = now
	}
	return now.Add(after).Sub(since) <= w.patienceOf(q)
}

// patienceOf is how long an issue waits for a classifier that another could stand
// in for. Nobody waits for the labels of one that has been there for long.
func (w *Worker) patienceOf(q *inquiry) time.Duration {
	if q.event.Action == github.ActionBackfilled {
		return backfillPatience * w.Patience
	}
	return w.Patience
}

// backfillPatience is how many times as long an older issue waits.
const backfillPatience = 6

// conclude completes the change of an issue that is at the end of its chain.
func (w *Worker) conclude(q *inquiry) {
	if !q.answered {
		// One that will never answer abstains, as long as another answers.
		if q.err = q.fault; q.err == nil {
			q.err = errNoneEnabled
		}
		return
	}
	w.missing.Remove(q.event.ID)
	q.made.ClassifiedAt = w.Now().UTC()
	q.change.EventType = triage.Classified
	q.change.Classification = q.made
	q.change.TextHash = textHash(q.current())
	q.change.Similar, q.change.Embedding = q.similar, q.embedding
}

// tellOfNeighbours adds to the inquiries what is held to be true of similar issues.
func (w *Worker) tellOfNeighbours(ctx context.Context, inquiries []*inquiry) error {
	var keys []triage.IssueKey
	for _, q := range inquiries {
		if q.told {
			continue
		}
		for _, s := range q.item.Similar {
			keys = append(keys, triage.IssueKey{RepositoryID: q.key.RepositoryID, Number: s.Number})
		}
	}
	if len(keys) == 0 {
		return nil
	}
	states, err := w.Store.LoadIssues(ctx, keys)
	if err != nil {
		return err
	}
	for _, q := range inquiries {
		if q.told {
			continue
		}
		q.told = true
		for i := range q.item.Similar {
			s := &q.item.Similar[i]
			state := states[triage.IssueKey{RepositoryID: q.key.RepositoryID, Number: s.Number}]
			effective := state.Effective()
			if effective == nil {
				continue
			}
			s.Fields = make(map[triage.Field][]string, len(effective.Fields))
			for f, a := range effective.Fields {
				if f == triage.FieldSummary {
					continue // of another issue's text
				}
				s.Fields[f] = a.Values
				if a.Source == triage.SourceHuman {
					s.Corrected = append(s.Corrected, f)
				}
			}
			slices.Sort(s.Corrected)
		}
	}
	return nil
}
