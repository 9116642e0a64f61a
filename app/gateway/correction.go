package gateway

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// Bounds of what a client may send; a correction is small.
const (
	maxRequestBody    = 64 << 10
	maxReason         = 500 // characters
	maxActor          = 100 // characters
	maxIdempotencyKey = 200 // bytes
)

type correctionRequest struct {
	Field  triage.Field `json:"field"`
	Values []string     `json:"values"` // nil when it was left out
	Reason string       `json:"reason"`
	Actor  string       `json:"actor"`
}

// input is the correction as it is recorded.
func (in correctionRequest) input() triage.CorrectionInput {
	values := make([]string, 0, len(in.Values))
	for _, v := range in.Values {
		if !slices.Contains(values, v) {
			values = append(values, v)
		}
	}
	// A name is one line, whatever was pasted.
	actor := strings.Join(strings.Fields(in.Actor), " ")
	if actor == "" {
		actor = "dashboard"
	}
	return triage.CorrectionInput{Field: in.Field, Values: values, Reason: strings.TrimSpace(in.Reason), Actor: actor}
}

// faults lists everything that is wrong with the correction in a repository of
// that taxonomy.
func (in correctionRequest) faults(t triage.Taxonomy) []fieldProblem {
	var faults []fieldProblem
	correction := in.input()
	if in.Field.Valid() && in.Values == nil {
		faults = append(faults, fieldProblem{"values", "Say which values the field has; an empty list says that it does not apply."})
	} else if len(in.Values) > 20 {
		faults = append(faults, fieldProblem{"values", "A correction has at most 20 values."})
	} else if err := correction.Validate(t); err != nil {
		name := "values"
		if !in.Field.Valid() {
			name = "field"
		}
		faults = append(faults, fieldProblem{name, err.Error()})
	}
	if utf8.RuneCountInString(correction.Reason) > maxReason {
		faults = append(faults, fieldProblem{"reason", "A reason has at most 500 characters."})
	}
	if utf8.RuneCountInString(correction.Actor) > maxActor {
		faults = append(faults, fieldProblem{"actor", "A name has at most 100 characters."})
	}
	return faults
}

func (g *Gateway) correctIssue(w http.ResponseWriter, r *http.Request) {
	var in correctionRequest
	if !readJSON(w, r, &in) {
		return
	}
	state, ok := g.findIssue(w, r)
	if !ok {
		return
	}
	if state.Classification == nil {
		writeProblem(w, problem{Status: http.StatusConflict, Detail: "The issue is not classified yet; it can be corrected once it is."})
		return
	}
	taxonomy, err := g.taxonomyOf(r.Context(), state.Issue.Repository.ID)
	if err != nil {
		g.storeProblem(w, r, err, "")
		return
	}
	if faults := in.faults(taxonomy); len(faults) > 0 {
		writeProblem(w, problem{Status: http.StatusUnprocessableEntity, Detail: "The correction cannot be applied.", Errors: faults})
		return
	}
	correction := in.input()
	g.submit(w, r, state, triage.Event{Kind: triage.KindCorrection, Correction: &correction})
}

func (g *Gateway) reclassifyIssue(w http.ResponseWriter, r *http.Request) {
	state, ok := g.findIssue(w, r)
	if !ok {
		return
	}
	g.submit(w, r, state, triage.Event{Kind: triage.KindReclassify})
}

// submit appends an event of our own and answers when its result comes back,
// or with 202 when that takes too long. An Idempotency-Key makes a repeated
// request the same event.
func (g *Gateway) submit(w http.ResponseWriter, r *http.Request, state store.IssueState, e triage.Event) {
	now := g.config.Now().UTC()
	e.ID = uuid.NewString()
	if key := r.Header.Get("Idempotency-Key"); len(key) > maxIdempotencyKey {
		writeProblem(w, problem{Status: http.StatusBadRequest, Detail: "An Idempotency-Key has at most 200 bytes."})
		return
	} else if key != "" {
		scope := string(e.Kind) + "\x00" + strconv.FormatInt(state.Issue.ID, 10)
		e.ID = uuid.NewSHA1(uuid.NameSpaceURL, []byte(scope+"\x00"+key)).String()
	}
	switch recordedAs(state, e) {
	case recordedOtherwise:
		writeProblem(w, keyReused())
		return
	case recorded:
		g.writeDetail(w, r, http.StatusOK, state)
		return
	}
	e.ReceivedAt = now
	e.Repository = state.Issue.Repository
	e.InstallationID = state.Issue.Repository.InstallationID
	e.Number = state.Issue.Number
	name, key, value, err := github.EncodeEvent(e)
	if err != nil {
		g.config.Logger.ErrorContext(r.Context(), "encode an event", "error", err)
		writeProblem(w, problem{Status: http.StatusInternalServerError})
		return
	}
	arrived, forget := g.results.expect(e.ID)
	defer forget()
	err = g.config.Publisher.Append(r.Context(), eventlog.Record{
		Topic: eventlog.TopicIssuesRaw, Key: key, Value: value,
		Headers: []eventlog.Header{
			{Key: eventlog.HeaderDelivery, Value: []byte(e.ID)},
			{Key: eventlog.HeaderEvent, Value: []byte(name)},
			{Key: eventlog.HeaderReceivedAt, Value: []byte(now.Format(time.RFC3339Nano))},
			{Key: eventlog.HeaderTraceparent, Value: []byte(traceparent(r.Header))},
		},
	})
	if err != nil {
		g.logProblem(w, r, name, err)
		return
	}
	timer := time.NewTimer(g.config.CorrectionWait)
	defer timer.Stop()
	select {
	case <-arrived:
	case <-timer.C:
		location := "/api/issues/" + strconv.FormatInt(state.Issue.ID, 10)
		w.Header().Set("Location", location)
		writeJSON(w, http.StatusAccepted, map[string]string{"status": "pending", "event_id": e.ID, "location": location})
		return
	case <-r.Context().Done():
		return
	}
	fresh, err := g.config.Store.FindIssue(r.Context(), state.Issue.ID)
	if err != nil {
		g.storeProblem(w, r, err, "The issue is gone.")
		return
	}
	if recordedAs(fresh, e) == recordedOtherwise {
		writeProblem(w, keyReused())
		return
	}
	g.writeDetail(w, r, http.StatusOK, fresh)
}

// logProblem answers an append that failed, and says truly what is known of it.
func (g *Gateway) logProblem(w http.ResponseWriter, r *http.Request, event string, err error) {
	if errors.Is(r.Context().Err(), context.Canceled) {
		return // there is nobody to answer
	}
	g.config.Logger.ErrorContext(r.Context(), "the log did not take a request from the dashboard", "event", event, "error", err)
	w.Header().Set("Retry-After", "5")
	detail := "The event log cannot say whether it has stored this; look at the issue before you try again, or repeat the request with the same Idempotency-Key."
	if errors.Is(err, eventlog.ErrFull) || errors.Is(err, eventlog.ErrClosed) {
		detail = "The event log cannot store this now; nothing was changed. Try again."
	}
	writeProblem(w, problem{Status: http.StatusServiceUnavailable, Detail: detail})
}

// What the store knows of an event that is submitted (again).
const (
	unrecorded = iota
	recorded
	recordedOtherwise // as another correction
)

func recordedAs(state store.IssueState, e triage.Event) int {
	if e.Correction == nil {
		return unrecorded
	}
	for _, c := range state.Corrections {
		if c.EventID != e.ID {
			continue
		}
		clean := make([]string, len(e.Correction.Values))
		for i, v := range e.Correction.Values {
			clean[i] = store.CleanText(v)
		}
		if c.Field == e.Correction.Field && slices.Equal(c.New, clean) {
			return recorded
		}
		return recordedOtherwise
	}
	return unrecorded
}

func keyReused() problem {
	return problem{
		Status: http.StatusUnprocessableEntity, Detail: "The correction was not applied.",
		Errors: []fieldProblem{{"Idempotency-Key", "This key was used for another correction of the issue; use a new one."}},
	}
}
