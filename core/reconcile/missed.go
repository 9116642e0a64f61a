package reconcile

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/failpoint"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// event is one that was missed, on its way into the log.
type event struct {
	id    string
	key   string
	value []byte
}

// missed makes the events that tell what the state does not know of the issue.
//
// The list tells what an issue is now, not who made it so. Where its labels
// differ, its history tells who changed them, and each change that stands
// becomes an event of its own, before which everything is as it would be had the
// webhook come: a person's removal is a veto, a person's change a correction,
// what the App itself or another bot did is neither. A label whose change the
// history does not tell, because the label itself was deleted, teaches nothing.
// Comments and deletions are not in the list: they come with the redelivery, or not at all.
func (r *Reconciler) missed(ctx context.Context, repository triage.Repository, state store.IssueState, listed github.ListedIssue, action string) ([]event, error) {
	now, err := snapshot("reconcile", github.Snapshot{Action: action, Issue: listed, Repository: repository})
	if err != nil {
		return nil, err
	}
	added := store.LabelsAdded(state.Issue.Labels, listed.Issue.Labels)
	removed := store.LabelsAdded(listed.Issue.Labels, state.Issue.Labels)
	if len(added)+len(removed) == 0 || state.Deleted {
		return []event{now}, nil
	}
	history, err := r.GitHub.LabelHistory(github.Background(ctx), repository.InstallationID, repository, listed.Issue.Number)
	if err != nil {
		return nil, err
	}
	var changes []event
	for _, c := range standing(history, added, removed) {
		if c.Actor.Type == triage.ActorUser && c.App != "" {
			continue // a program through a person's account
		}
		action := "unlabeled"
		if c.Added {
			action = "labeled"
		}
		e, err := snapshot("reconcile", github.Snapshot{Action: action, Issue: listed, Repository: repository, Label: c.Label, Sender: c.Actor, At: c.At})
		if err != nil {
			return nil, err
		}
		changes = append(changes, e)
	}
	r.metrics.found.WithLabelValues("label_changes").Add(float64(len(changes)))
	if state.Revision == 0 {
		return append([]event{now}, changes...), nil // there is nothing to correct before it is known
	}
	return append(changes, now), nil
}

// standing picks from an issue's history the last change of each of the labels,
// where it is the one that made the difference, in the order of time.
func standing(history []github.LabelEvent, added, removed []string) []github.LabelEvent {
	wanted := make(map[string]bool, len(added)+len(removed))
	for _, l := range added {
		wanted[store.LabelKey(l)] = true
	}
	for _, l := range removed {
		wanted[store.LabelKey(l)] = false
	}
	var changes []github.LabelEvent
	for _, e := range slices.Backward(history) {
		isOn, differs := wanted[store.LabelKey(e.Label)]
		if !differs {
			continue
		}
		delete(wanted, store.LabelKey(e.Label))
		if e.Added == isOn && e.Actor.Login != "" {
			changes = append(changes, e)
		}
	}
	slices.SortStableFunc(changes, func(a, b github.LabelEvent) int { return cmp.Or(a.At.Compare(b.At), strings.Compare(a.Label, b.Label)) })
	return changes
}

// snapshot encodes an event under an ID that follows from what it says, so that
// finding the same twice changes nothing.
func snapshot(source string, s github.Snapshot) (event, error) {
	key, value, err := s.Encode()
	if err != nil {
		return event{}, err
	}
	i := s.Issue.Issue
	at := i.UpdatedAt
	h := sha256.New()
	for _, part := range append([]string{s.Action, s.Label, i.Title, i.Body, i.State}, i.Labels...) {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	if !s.At.IsZero() {
		at = s.At
		h.Reset()
		fmt.Fprintf(h, "%s:%s:%s", s.Action, store.LabelKey(s.Label), s.Sender.Login)
	}
	id := fmt.Sprintf("%s/%s@%s/%s", source, key, at.UTC().Format(time.RFC3339), hex.EncodeToString(h.Sum(nil)[:6]))
	return event{id: id, key: key, value: value}, nil
}

// enqueue appends the events to issues.raw, in order.
func (r *Reconciler) enqueue(ctx context.Context, events []event, backfill bool) error {
	if len(events) == 0 {
		return nil
	}
	records := make([]eventlog.Record, len(events))
	received := r.Now().UTC().Format(time.RFC3339Nano)
	for i, e := range events {
		record := eventlog.Record{Topic: eventlog.TopicIssuesRaw, Key: e.key, Value: e.value}
		record.SetHeader(eventlog.HeaderDelivery, e.id)
		record.SetHeader(eventlog.HeaderEvent, github.EventSnapshot)
		record.SetHeader(eventlog.HeaderReceivedAt, received)
		if backfill {
			record.SetHeader(eventlog.HeaderBackfill, "1")
		}
		records[i] = record
	}
	failpoint.Hit("reconcile/before-enqueue")
	if err := r.Publisher.Append(ctx, records...); err != nil {
		return fmt.Errorf("event log: %w", err)
	}
	failpoint.Hit("reconcile/after-enqueue")
	return nil
}
