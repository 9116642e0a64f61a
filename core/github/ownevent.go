package github

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dispatchai/dispatchai/core/triage"
)

// The events that DispatchAI itself writes to issues.raw, beside GitHub's. The
// value of the first two is a triage.Event in JSON, that of a snapshot has the
// shape of GitHub's issues event (Snapshot.Encode). A delivery from outside never
// bears these names: see RouteOf.
const (
	EventCorrection = "dispatchai.correction"
	EventReclassify = "dispatchai.reclassify"
	EventUndo       = "dispatchai.undo"
	EventDismissal  = "dispatchai.dismissal"
	EventSnapshot   = "dispatchai.snapshot"
)

// EncodeEvent writes a correction, a request to classify anew, an undo or a
// dismissal as a record of issues.raw: the event header, the record key and the value, which
// ParseWebhook reads back. The event needs an ID, a Kind of these, the
// repository's ID and the issue's number; a correction needs its field and
// actor, an undo its answers and actor. Errors match ErrIncomplete or ErrUnknownEvent.
func EncodeEvent(e triage.Event) (event, key string, value []byte, err error) {
	switch e.Kind {
	case triage.KindCorrection:
		event = EventCorrection
	case triage.KindReclassify:
		event = EventReclassify
	case triage.KindUndo:
		event = EventUndo
	case triage.KindDismissal:
		event = EventDismissal
	default:
		return "", "", nil, fmt.Errorf("%w: kind %q is not written by DispatchAI itself", ErrUnknownEvent, e.Kind)
	}
	if err := checkOwnEvent(event, &e); err != nil {
		return "", "", nil, err
	}
	value, err = json.Marshal(e)
	if err != nil {
		return "", "", nil, fmt.Errorf("encode the %s event: %w", event, err)
	}
	return event, e.IssueKey().String(), value, nil
}

func parseOwnEvent(event, deliveryID string, body []byte, receivedAt time.Time) (triage.Event, error) {
	var e triage.Event
	if err := json.Unmarshal(body, &e); err != nil {
		return triage.Event{}, fmt.Errorf("%w: the %s event: %w", ErrNotJSON, event, err)
	}
	if e.ID == "" {
		e.ID = deliveryID
	}
	if e.ReceivedAt.IsZero() {
		e.ReceivedAt = receivedAt
	}
	if err := checkOwnEvent(event, &e); err != nil {
		return triage.Event{}, err
	}
	return e, nil
}

// checkOwnEvent names what is missing and cleans what a person typed.
func checkOwnEvent(event string, e *triage.Event) error {
	want := map[string]triage.Kind{
		EventCorrection: triage.KindCorrection, EventReclassify: triage.KindReclassify, EventUndo: triage.KindUndo,
		EventDismissal: triage.KindDismissal,
	}[event]
	switch {
	case e.Kind != want:
		return fmt.Errorf("%w: the %s event has the kind %q instead of %q", ErrIncomplete, event, e.Kind, want)
	case e.ID == "":
		return incomplete(event, "id")
	case e.Repository.ID <= 0:
		return incomplete(event, "repository.id (a positive whole number)")
	case e.Number <= 0:
		return incomplete(event, "number (a positive whole number)")
	}
	switch want {
	case triage.KindCorrection:
		return checkCorrection(event, e)
	case triage.KindUndo:
		return checkUndo(event, e)
	case triage.KindDismissal:
		if e.Label == nil || e.Label.Name == "" {
			return incomplete(event, "label.name")
		}
	}
	return nil
}

func checkCorrection(event string, e *triage.Event) error {
	switch {
	case e.Correction == nil:
		return incomplete(event, "correction")
	case !e.Correction.Field.Valid():
		return fmt.Errorf("%w: the %s event corrects %q, which is no field of a classification", ErrIncomplete, event, e.Correction.Field)
	case e.Correction.Actor == "":
		return incomplete(event, "correction.actor")
	}
	clean := *e.Correction
	clean.Values = slices.Clone(clean.Values)
	for i, v := range clean.Values {
		clean.Values[i] = cleanText(v)
	}
	clean.Reason = cleanText(clean.Reason)
	clean.Actor = cleanText(clean.Actor)
	e.Correction = &clean
	return nil
}

func checkUndo(event string, e *triage.Event) error {
	switch {
	case e.Undo == nil || len(e.Undo.Answers) == 0:
		return incomplete(event, "undo.answers")
	case len(e.Undo.Answers) > triage.MaxWithdrawals:
		return fmt.Errorf("%w: the %s event withdraws %d answers, at most %d can be", ErrIncomplete, event, len(e.Undo.Answers), triage.MaxWithdrawals)
	case e.Undo.Actor == "":
		return incomplete(event, "undo.actor")
	}
	clean := triage.UndoInput{Answers: slices.Clone(e.Undo.Answers), Actor: cleanText(e.Undo.Actor)}
	for i, a := range clean.Answers {
		if a.Plugin == "" || !a.Field.Labelled() {
			return fmt.Errorf("%w: the %s event names an answer of plugin %q to %q, which no label stands for", ErrIncomplete, event, a.Plugin, a.Field)
		}
		clean.Answers[i] = triage.UndoneAnswer{Plugin: cleanText(a.Plugin), Version: cleanText(a.Version), Field: a.Field, Value: cleanText(a.Value)}
	}
	e.Undo = &clean
	return nil
}

// cleanText is s as valid UTF-8 without NUL characters, which PostgreSQL refuses.
func cleanText(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
