package classify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/failpoint"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// work is one record on its way through HandleIssues.
type work struct {
	record    *eventlog.Record
	event     triage.Event
	key       triage.IssueKey
	state     store.IssueState
	known     bool
	applied   bool // by an earlier run
	catalogue *catalogue

	policy    triage.RetriagePolicy
	commands  []triage.Command // of somebody who may give them
	reactions []triage.Reaction

	change   store.IssueChange
	classify bool
	inquiry  *inquiry // about it, once classifiers are asked
	stored   bool     // by this run
	origin   *work    // of a successor: whose record it comes from
	gone     bool     // its repository is erased; nothing is kept of the event
	emit     triage.EventType
	err      error
}

// HandleIssues is the handler of issues.raw: one outcome per record, in order.
func (w *Worker) HandleIssues(ctx context.Context, batch []*eventlog.Record) []error {
	began := w.Now()
	w.upkeep.live.Add(1)
	defer w.upkeep.live.Add(-1)
	works := make([]*work, len(batch))
	for i, r := range batch {
		works[i] = w.read(r)
	}
	w.prepare(ctx, works)
	outcomes := make([]error, len(works))
	place := make(map[*work]int, len(works))
	for i, k := range works {
		place[k] = i
	}
	waiting := w.classify(ctx, works)
	for _, g := range waiting {
		later := g.works()
		rest := eventlog.Detach(len(later), func(ctx context.Context) []error {
			w.resume(ctx, g)
			return w.finish(ctx, later)
		})
		for i, k := range later {
			outcomes[place[k]] = rest[i]
			delete(place, k)
		}
	}
	prompt := slices.DeleteFunc(slices.Clone(works), func(k *work) bool { _, here := place[k]; return !here })
	for i, err := range w.finish(ctx, prompt) {
		outcomes[place[prompt[i]]] = err
	}
	w.metrics.batchSeconds.Observe(w.Now().Sub(began).Seconds())
	return outcomes
}

// finish stores and publishes what became of the events, and gives their outcomes.
func (w *Worker) finish(ctx context.Context, works []*work) []error {
	failpoint.Hit("classify/before-apply")
	w.apply(ctx, works)
	w.noteIgnored(ctx, works)
	failpoint.Hit("classify/after-apply")
	w.publish(ctx, works)
	failpoint.Hit("classify/after-publish")
	w.learn(ctx, works)
	w.challenge(works)
	outcomes := make([]error, len(works))
	for i, k := range works {
		outcomes[i] = k.err
		w.metrics.event(k)
	}
	return outcomes
}

func (w *Worker) read(r *eventlog.Record) *work {
	k := &work{record: r}
	k.event, k.err = parse(r)
	if k.err != nil {
		k.err = eventlog.Permanent(k.err)
		return k
	}
	k.key = k.event.IssueKey()
	if k.event.Kind != triage.KindPullRequest && k.key == (triage.IssueKey{}) {
		k.err = eventlog.Permanent(fmt.Errorf("a %s event without an issue number", k.event.Kind))
	}
	return k
}

// prepare loads what is known and decides what each event changes.
func (w *Worker) prepare(ctx context.Context, works []*work) {
	var keys []triage.IssueKey
	var ids []string
	for _, k := range works {
		if k.err == nil && k.event.Kind != triage.KindPullRequest {
			keys = append(keys, k.key)
			ids = append(ids, k.event.ID)
		}
	}
	if len(keys) == 0 {
		return
	}
	states, err := w.Store.LoadIssues(ctx, keys)
	if err != nil {
		failAll(works, storeDown(err))
		return
	}
	applied, err := w.Store.AppliedEvents(ctx, ids)
	if err != nil {
		failAll(works, storeDown(err))
		return
	}
	for _, k := range works {
		if k.err != nil || k.event.Kind == triage.KindPullRequest {
			continue
		}
		k.state, k.known = states[k.key]
		if was, ok := applied[k.event.ID]; ok {
			k.applied, k.emit, k.gone = true, was.EventType, !k.known
		} else if k.event.Issue == nil && !k.known {
			k.err = w.unknown(ctx, k)
		}
	}
	// Whether a comment is a command or an answer decides what else has to be known
	// of its issue; what is only published again needs no taxonomy.
	w.loadPolicies(ctx, slices.DeleteFunc(slices.Clone(works), func(k *work) bool {
		return k.event.Kind != triage.KindComment && (!k.applied || k.emit == "")
	}))
	w.loadCommands(ctx, works)
	w.loadTaxonomies(ctx, works)
	for _, k := range works {
		if k.catalogue != nil {
			k.policy = w.policy(k.key.RepositoryID, k.config())
		}
		if k.err == nil && k.applied && !k.gone && len(k.commands) > 0 {
			// What was published may not have been; then so is the acknowledgement now.
			k.obey(&store.IssueChange{})
		}
		if k.err == nil && !k.applied && !k.gone && k.event.Kind != triage.KindPullRequest {
			if k.err = w.decide(ctx, k); k.err == nil && k.classify {
				k.err = w.configured(k)
			}
		}
	}
}

// unknown says what becomes of an event that brings no issue along and is about
// one that is not known: nothing, if the issue was erased with its repository.
func (w *Worker) unknown(ctx context.Context, k *work) error {
	states, err := w.Store.LoadRepositories(ctx, []int64{k.key.RepositoryID})
	if err != nil {
		return storeDown(err)
	}
	if k.gone = states[k.key.RepositoryID].Erased; k.gone {
		return nil
	}
	return eventlog.Permanent(fmt.Errorf("a %s event for issue %s, which is not known", k.event.Kind, k.key))
}

// decide fills in the change that the event makes, short of the classification.
func (w *Worker) decide(ctx context.Context, k *work) error {
	e := k.event
	k.change = store.IssueChange{
		EventID:    e.ID,
		ReceivedAt: e.ReceivedAt,
		Position:   store.Position{Partition: k.record.Partition, Offset: k.record.Offset},
	}
	if e.Issue != nil {
		k.change.Issue = *e.Issue
	} else {
		k.change.Issue, k.change.Partial = k.state.Issue, true
	}
	switch e.Kind {
	case triage.KindCorrection:
		return w.decideCorrection(k)
	case triage.KindUndo:
		return decideUndo(k)
	}
	if k.state.Deleted {
		return nil // late news of an issue that nobody sees any more
	}

	asked := false // for a classification, by a person
	switch e.Kind {
	case triage.KindDismissal:
		return decideDismissal(k)
	case triage.KindReclassify:
		asked = true
		k.change.Directives.AskedAnew = e.ReceivedAt
	case triage.KindComment:
		if len(k.commands) > 0 {
			k.change.EventType = triage.Directed
			asked = k.obey(&k.change)
		}
		if k.repliesToRequest() {
			k.classify = true
			k.change.Directives.Replies = e.Comment.Body
		}
	case triage.KindLabelChange:
		if err := w.decideLabelChange(ctx, k); err != nil {
			return err
		}
	case triage.KindIssue:
		k.change.EventType = triage.Updated
		switch e.Action {
		case "deleted":
			k.change.Deleted, k.change.Because = true, store.IssueDeleted
			return nil
		case "transferred":
			k.change.Deleted, k.change.Because, k.change.MovedTo = true, store.IssueTransferred, e.MovedTo
			return nil
		}
	}

	// An issue whose opening was missed is classified when it is next heard of; one
	// that was opened is, even when it was closed before we heard, and so is a closed
	// one that was backfilled: somebody asked for it.
	current := k.current()
	opened := e.Kind == triage.KindIssue && (e.Action == "opened" || e.Action == "reopened" || e.Action == github.ActionBackfilled)
	unseen := k.state.Classification == nil && (current.State != "closed" || opened)
	edited := !k.change.Partial && k.state.Classification != nil && textHash(current) != k.state.TextHash
	reopened := e.Kind == triage.KindIssue && current.State != "closed" &&
		(e.Action == "reopened" || e.Action == github.ActionReconciled && k.state.Issue.State == "closed")
	again := edited && k.policy.Edit || reopened && k.policy.Reopen
	k.classify = asked || (k.classify || unseen || again) && !k.directives().Ignored
	if (edited || reopened) && k.policy.NeedsInfo.Ask && k.change.EventType == triage.Updated {
		k.change.EventType = triage.Directed // what its author is to be asked may have changed
	}
	return nil
}

// decideUndo remembers what was withdrawn; the classification itself stays as
// the plugins made it.
func decideUndo(k *work) error {
	if k.event.Undo == nil {
		return eventlog.Permanent(errors.New("an undo event without the answers to withdraw"))
	}
	k.change.EventType = triage.Directed
	k.change.Directives.Withdrawals = k.event.Undo.Withdrawals(k.event.ID, k.event.ReceivedAt)
	return nil
}

// current is the issue as it will stand once the change is stored.
func (k *work) current() triage.Issue {
	issue := k.state.Apply(k.change).State.Issue
	if !k.known {
		issue.Repository = k.change.Issue.Repository
	}
	return issue
}

// directives are those that hold once the change is stored.
func (k *work) directives() triage.Directives { return k.state.Directives.With(k.change.Directives) }

// echo tells that the event neither teaches nor asks anything: a bot's label,
// most often our own coming back, or a comment, on an issue whose text was
// judged already. Such events are as many as labels, and need no taxonomy.
func (k *work) echo() bool {
	e := k.event
	quiet := e.Kind == triage.KindComment || (e.Kind == triage.KindLabelChange && e.Sender.Type == triage.ActorBot)
	return quiet && len(k.commands) == 0 && e.Issue != nil && k.state.Classification != nil &&
		e.Issue.Title == k.state.Issue.Title && e.Issue.Body == k.state.Issue.Body && textHash(*e.Issue) == k.state.TextHash &&
		!k.repliesToRequest()
}

// corrections are those that the event made, as they are stored.
func (k *work) corrections() []triage.Correction {
	var made []triage.Correction
	for _, c := range k.state.Corrections {
		if c.EventID == k.event.ID {
			made = append(made, c)
		}
	}
	return made
}

func (w *Worker) decideCorrection(k *work) error {
	in := k.event.Correction
	if in == nil {
		return eventlog.Permanent(errors.New("a correction event without a correction"))
	}
	if k.state.Deleted && k.state.Classification == nil {
		return nil // nothing is left of it to be corrected
	}
	if k.state.Classification == nil {
		return eventlog.Permanent(fmt.Errorf("issue %s cannot be corrected before it is classified", k.key))
	}
	if err := in.Validate(k.catalogue.taxonomy); err != nil {
		return eventlog.Permanent(err)
	}
	values := in.Values
	if values == nil {
		values = []string{}
	}
	k.change.EventType = triage.Corrected
	k.change.Corrections = []triage.Correction{{
		EventID: k.event.ID, Issue: k.key, Field: in.Field, New: values,
		Actor: in.Actor, Reason: in.Reason, Source: triage.FromDashboard, At: k.event.ReceivedAt,
	}}
	return nil
}

// creationWindow is how long after an issue's creation a label that its author
// puts on counts as part of opening it: issue forms and templates do so through
// the reporter's own account, and nobody is to be taught by a form.
const creationWindow = 5 * time.Second

func (w *Worker) decideLabelChange(ctx context.Context, k *work) error {
	e := k.event
	if e.Label == nil {
		return eventlog.Permanent(fmt.Errorf("a %s event without a label", e.Action))
	}
	if k.known && e.Superseded(k.state.Issue) {
		return nil
	}
	added := e.Action == "labeled"
	at := k.change.Issue.UpdatedAt
	switch e.Sender.Type {
	case triage.ActorUser:
		byAuthor := strings.EqualFold(e.Sender.Login, k.change.Issue.Author.Login)
		if added && byAuthor && at.Sub(k.change.Issue.CreatedAt) <= creationWindow {
			return nil
		}
		if !added {
			k.change.Ledger = []store.LedgerObservation{{Label: e.Label.Name, State: triage.LedgerVetoed, Actor: e.Sender.Login, At: at}}
		}
		k.change.EventType = triage.Updated
		if cs := triage.CorrectionsFromLabel(e, k.catalogue.taxonomy, k.state.Effective()); len(cs) > 0 {
			k.change.Corrections = cs
			k.change.EventType = triage.Corrected
		} else if cs := approval(k); len(cs) > 0 {
			k.change.Corrections = cs
			k.change.EventType = triage.Corrected
		}
	case triage.ActorBot:
		slug, err := w.GitHub.AppSlug(ctx)
		if err != nil {
			return retryGitHub(fmt.Errorf("ask GitHub for the App's own name: %w", err))
		}
		ours := strings.EqualFold(e.Sender.Login, slug+"[bot]")
		switch {
		case ours && added:
			k.change.Ledger = []store.LedgerObservation{{Label: e.Label.Name, State: triage.LedgerConfirmed, Actor: e.Sender.Login, At: at}}
		case ours:
			k.change.Ledger = []store.LedgerObservation{{Label: e.Label.Name, State: triage.LedgerRemoved, Actor: e.Sender.Login, At: at}}
		case !added:
			k.change.Ledger = []store.LedgerObservation{{Label: e.Label.Name, State: triage.LedgerVetoed, Actor: e.Sender.Login, At: at}}
		}
	}
	return nil
}

// textHash identifies the text that a classification was made from.
func textHash(i triage.Issue) string {
	h := sha256.New()
	h.Write([]byte(i.Title))
	h.Write([]byte{0})
	h.Write([]byte(i.Body))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// apply stores every change in one transaction; when that fails though the
// store is well, one bad change must not hold up the others, so each is tried alone.
func (w *Worker) apply(ctx context.Context, works []*work) {
	var ready []*work
	for _, k := range works {
		if k.err == nil && !k.applied && !k.gone && k.event.Kind != triage.KindPullRequest {
			ready = append(ready, k)
		}
	}
	if len(ready) == 0 {
		return
	}
	err := w.applyTogether(ctx, ready)
	if err == nil {
		return
	}
	fault, outage := w.storeFault(ctx, err)
	if outage || len(ready) == 1 {
		fail(ready, fault)
		return
	}
	for i, k := range ready {
		err := w.applyTogether(ctx, []*work{k})
		if err == nil {
			continue
		}
		if k.err, outage = w.storeFault(ctx, err); outage {
			fail(ready[i:], k.err)
			return
		}
	}
}

// noteIgnored leaves a trace of the events that change nothing, their IDs, so that
// a delivery that was accepted and left none is known to be lost.
func (w *Worker) noteIgnored(ctx context.Context, works []*work) {
	var ignored []*work
	var ids []string
	for _, k := range works {
		if k.err == nil && (k.event.Kind == triage.KindPullRequest || k.gone) {
			ignored, ids = append(ignored, k), append(ids, k.event.ID)
		}
	}
	if len(ids) == 0 {
		return
	}
	if err := w.Store.NoteEvents(ctx, ids); err != nil {
		fault, _ := w.storeFault(ctx, err)
		fail(ignored, fault)
	}
}

func (w *Worker) applyTogether(ctx context.Context, ready []*work) error {
	changes := make([]store.IssueChange, len(ready))
	for i, k := range ready {
		changes[i] = k.change
	}
	states, err := w.Store.ApplyIssues(ctx, changes)
	if err != nil {
		return err
	}
	for i, k := range ready {
		if states[i].Revision == 0 {
			k.gone = true // it is erased, since it was looked at
			continue
		}
		k.state, k.emit, k.stored = states[i], k.change.EventType, true
		if e := k.change.Embedding; e != nil && len(e.Terms) > 0 {
			w.upkeep.embedded(k.key.RepositoryID)
		}
	}
	return nil
}

// publish appends the present result of every event that has one.
func (w *Worker) publish(ctx context.Context, works []*work) {
	var records []eventlog.Record
	var emitting []*work
	all := slices.Concat(works, w.successors(ctx, works))
	defer func() {
		for _, k := range all[len(works):] {
			if k.err != nil {
				k.origin.err = k.err
			}
		}
	}()
	for _, k := range all {
		if k.err != nil || k.gone || k.emit == "" {
			continue
		}
		value, err := w.encodeResult(k)
		if err != nil {
			k.err = eventlog.Permanent(fmt.Errorf("encode the result: %w", err))
			continue
		}
		record := eventlog.Record{Topic: eventlog.TopicIssuesEnriched, Key: k.key.String(), Value: value, Headers: k.record.Headers}
		record.SetHeader(eventlog.HeaderEvent, string(k.emit))
		records = append(records, record)
		emitting = append(emitting, k)
	}
	if len(records) == 0 {
		return
	}
	err := w.Publisher.Append(ctx, records...)
	if err == nil {
		return
	}
	if len(records) > 1 && errors.Is(err, eventlog.ErrTooLarge) {
		// Only the record that is too large has to go.
		for i, k := range emitting {
			k.err = publishFault(w.Publisher.Append(ctx, records[i]))
		}
		return
	}
	fail(emitting, publishFault(err))
}

// longestMove bounds how often an issue is followed from one repository to the next.
const longestMove = 16

// successors are what the transferred issues among the works have become, where
// that has corrections: its result is published whenever a transfer, or a
// correction of an issue that was transferred, is handled, so that a crash in
// between loses nothing.
func (w *Worker) successors(ctx context.Context, works []*work) []*work {
	following := make(map[*work]triage.IssueKey)
	for _, k := range works {
		if k.err == nil && !k.gone && (k.event.MovedTo != triage.IssueKey{} || k.emit == triage.Corrected) && k.state.MovedTo != (triage.IssueKey{}) {
			following[k] = k.state.MovedTo
		}
	}
	var next []*work
	defer func() { w.loadPolicies(ctx, next) }()
	for hop := 0; hop < longestMove && len(following) > 0; hop++ {
		states, err := w.Store.LoadIssues(ctx, slices.Collect(maps.Values(following)))
		if err != nil {
			fail(slices.Collect(maps.Keys(following)), storeDown(err))
			return nil
		}
		for k, key := range following {
			s, known := states[key]
			if known && s.MovedTo != (triage.IssueKey{}) {
				following[k] = s.MovedTo
				continue
			}
			delete(following, k)
			if known && !s.Deleted && s.Classification != nil && len(s.Corrections) > 0 {
				next = append(next, &work{record: k.record, event: k.event, key: key, state: s, emit: triage.Corrected, origin: k})
			}
		}
	}
	return next
}

func publishFault(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, eventlog.ErrTooLarge):
		return eventlog.Permanent(fmt.Errorf("publish the result: %w", err))
	}
	return eventlog.RetryAfter(time.Second, fmt.Errorf("publish the result: %w", err))
}

// maxPublishedBody bounds the body in a result. GitHub's own bound is 65,536
// characters, so only a payload that is not GitHub's is ever cut.
const maxPublishedBody = 1 << 20

// resultSize is room for what a result usually says beside the issue's body.
const resultSize = 4 << 10

func (w *Worker) encodeResult(k *work) ([]byte, error) {
	issue := k.state.Issue
	if len(issue.Body) > maxPublishedBody {
		issue.Body = strings.ToValidUTF8(issue.Body[:maxPublishedBody], "") + "\n\n[cut by DispatchAI]"
	}
	effective := k.state.Effective()
	b := bytes.NewBuffer(make([]byte, 0, len(issue.Body)+resultSize))
	encoder := json.NewEncoder(b)
	encoder.SetEscapeHTML(false) // people read this, and browsers do not
	err := encoder.Encode(triage.Enriched{
		EventType:      k.emit,
		EventID:        k.event.ID,
		Revision:       k.state.Revision,
		ReceivedAt:     k.state.ReceivedAt,
		Issue:          issue,
		Classification: effective,
		SimilarIssues:  k.state.Similar,
		Corrections:    k.corrections(),
		Ignored:        k.state.Directives.Ignored,
		Request:        k.policy.Request(k.state.Issue, effective, k.state.Directives.Replies, w.Now()),
		Reactions:      k.reactions,
	})
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// storeFault tells an outage of the store, which is waited for because no event
// is to blame, from a change that the store does not take, which counts as an
// attempt and ends among the dead letters.
func (w *Worker) storeFault(ctx context.Context, err error) (fault error, outage bool) {
	if ctx.Err() != nil || errors.Is(err, store.ErrClosed) || w.Store.Ping(ctx) != nil {
		return storeDown(err), true
	}
	return fmt.Errorf("store: %w", err), false
}

// storeDown is waited for, not counted: the event is not to blame.
func storeDown(err error) error {
	return eventlog.RetryAfter(time.Second, fmt.Errorf("store: %w", err))
}

func retryGitHub(err error) error {
	after, ok := github.RetryAfter(err)
	if !ok {
		after = 10 * time.Second
	}
	return eventlog.RetryAfter(after, err)
}

func failAll(works []*work, err error) {
	for _, k := range works {
		if k.err == nil && k.event.Kind != triage.KindPullRequest {
			k.err = err
		}
	}
}
