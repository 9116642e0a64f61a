package classify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
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
	applied   bool
	catalogue *catalogue

	change   store.IssueChange
	classify bool
	emit     triage.EventType
	err      error
}

// HandleIssues is the handler of issues.raw: one outcome per record, in order.
func (w *Worker) HandleIssues(ctx context.Context, batch []*eventlog.Record) []error {
	began := w.Now()
	works := make([]*work, len(batch))
	for i, r := range batch {
		works[i] = w.read(r)
	}
	w.prepare(ctx, works)
	w.classify(ctx, works)
	failpoint.Hit("classify/before-apply")
	w.apply(ctx, works)
	failpoint.Hit("classify/after-apply")
	w.publish(ctx, works)
	failpoint.Hit("classify/after-publish")
	w.learn(ctx, works)

	outcomes := make([]error, len(works))
	for i, k := range works {
		outcomes[i] = k.err
		w.metrics.event(k)
	}
	w.metrics.batchSeconds.Observe(w.Now().Sub(began).Seconds())
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
			k.applied, k.emit = true, was.EventType
		}
	}
	w.loadTaxonomies(ctx, works)
	for _, k := range works {
		if k.err == nil && !k.applied && k.event.Kind != triage.KindPullRequest {
			k.err = w.decide(ctx, k)
		}
	}
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
		if !k.known {
			return eventlog.Permanent(fmt.Errorf("a %s event for issue %s, which is not known", e.Kind, k.key))
		}
		k.change.Issue, k.change.Partial = k.state.Issue, true
	}

	switch e.Kind {
	case triage.KindCorrection:
		return w.decideCorrection(k)
	case triage.KindReclassify:
		k.classify = true
	case triage.KindLabelChange:
		if err := w.decideLabelChange(ctx, k); err != nil {
			return err
		}
	case triage.KindIssue:
		switch e.Action {
		case "deleted", "transferred":
			k.change.Deleted = true
			k.change.EventType = triage.Updated
			return nil
		}
		k.change.EventType = triage.Updated
	}

	// An issue whose opening was missed is classified when it is next heard of.
	current := w.current(k)
	unseen := k.state.Classification == nil && current.State != "closed"
	edited := e.Kind == triage.KindIssue && k.state.Classification != nil && textHash(current) != k.state.TextHash
	if unseen || edited {
		k.classify = true
	}
	return nil
}

// current is the newer of the stored issue and the event's.
func (w *Worker) current(k *work) triage.Issue {
	if k.change.Partial || (k.known && k.change.Issue.UpdatedAt.Before(k.state.Issue.UpdatedAt)) {
		return k.state.Issue
	}
	return k.change.Issue
}

func (w *Worker) decideCorrection(k *work) error {
	in := k.event.Correction
	if in == nil {
		return eventlog.Permanent(errors.New("a correction event without a correction"))
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

// creationWindow is how long after an issue's creation a label change counts
// as part of opening it: issue forms and templates put labels on through the
// reporter's own account, and nobody is to be taught by a form.
const creationWindow = 5 * time.Second

func (w *Worker) decideLabelChange(ctx context.Context, k *work) error {
	e := k.event
	if e.Label == nil {
		return eventlog.Permanent(fmt.Errorf("a %s event without a label", e.Action))
	}
	added := e.Action == "labeled"
	at := k.change.Issue.UpdatedAt
	switch e.Sender.Type {
	case triage.ActorUser:
		if added && at.Sub(k.change.Issue.CreatedAt) <= creationWindow {
			return nil
		}
		if !added {
			k.change.Ledger = []store.LedgerObservation{{Label: e.Label.Name, State: triage.LedgerVetoed, Actor: e.Sender.Login, At: at}}
		}
		k.change.EventType = triage.Updated
		if cs := triage.CorrectionsFromLabel(e, k.catalogue.taxonomy, k.state.Effective()); len(cs) > 0 {
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

// apply stores every change in one transaction; when that fails, one bad
// change must not hold up the others, so each is tried alone.
func (w *Worker) apply(ctx context.Context, works []*work) {
	var ready []*work
	for _, k := range works {
		if k.err == nil && !k.applied && k.event.Kind != triage.KindPullRequest {
			ready = append(ready, k)
		}
	}
	if len(ready) == 0 || w.applyTogether(ctx, ready) == nil || ctx.Err() != nil {
		return
	}
	if len(ready) == 1 {
		return
	}
	for _, k := range ready {
		k.err = nil
		_ = w.applyTogether(ctx, []*work{k})
	}
}

func (w *Worker) applyTogether(ctx context.Context, ready []*work) error {
	changes := make([]store.IssueChange, len(ready))
	for i, k := range ready {
		changes[i] = k.change
	}
	states, err := w.Store.ApplyIssues(ctx, changes)
	for i, k := range ready {
		if err != nil {
			k.err = storeDown(err)
			continue
		}
		k.state, k.emit = states[i], k.change.EventType
	}
	return err
}

// publish appends the present result of every event that has one.
func (w *Worker) publish(ctx context.Context, works []*work) {
	var records []eventlog.Record
	var emitting []*work
	for _, k := range works {
		if k.err != nil || k.emit == "" {
			continue
		}
		value, err := json.Marshal(triage.Enriched{
			EventType:      k.emit,
			EventID:        k.event.ID,
			Revision:       k.state.Revision,
			ReceivedAt:     k.state.ReceivedAt,
			Issue:          k.state.Issue,
			Classification: k.state.Effective(),
			SimilarIssues:  k.state.Similar,
			Corrections:    k.change.Corrections,
		})
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
	if err := w.Publisher.Append(ctx, records...); err != nil {
		for _, k := range emitting {
			k.err = eventlog.RetryAfter(time.Second, fmt.Errorf("publish the result: %w", err))
		}
	}
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
