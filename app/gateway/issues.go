package gateway

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// maxRequestBody bounds what a client may send; a correction is small.
const maxRequestBody = 64 << 10

func (g *Gateway) listIssues(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	// Taken before the store is read, so that what happens in between is
	// streamed rather than missed.
	live := g.hub.position().String()
	filter := store.IssueFilter{
		State: q.Get("state"), Category: q.Get("category"), Priority: q.Get("priority"), Component: q.Get("component"),
		Status: store.Status(q.Get("status")), Search: q.Get("q"), Cursor: q.Get("cursor"),
	}
	if limit := q.Get("limit"); limit != "" {
		n, err := strconv.Atoi(limit)
		if err != nil || n < 1 || n > 200 {
			writeProblem(w, problem{Status: http.StatusBadRequest, Detail: "limit must be a number from 1 to 200."})
			return
		}
		filter.Limit = n
	}
	if name := q.Get("repository"); name != "" {
		id, err := g.repositoryID(r.Context(), name)
		if err != nil {
			g.storeProblem(w, r, err, "There is no repository "+name+" here.")
			return
		}
		filter.RepositoryIDs = []int64{id}
	}
	page, err := g.Store.ListIssues(r.Context(), filter)
	if errors.Is(err, store.ErrInvalidCursor) {
		writeProblem(w, problem{Status: http.StatusBadRequest, Detail: "cursor was not given out by this service; leave it out to start over."})
		return
	}
	if err != nil {
		g.storeProblem(w, r, err, "")
		return
	}
	views := make([]issueView, len(page.Issues))
	for i, s := range page.Issues {
		views[i] = viewOfState(s)
	}
	var next *string
	if page.Next != "" {
		next = &page.Next
	}
	writeJSON(w, http.StatusOK, struct {
		Issues     []issueView `json:"issues"`
		NextCursor *string     `json:"next_cursor"`
		LiveCursor string      `json:"live_cursor"`
	}{views, next, live})
}

func (g *Gateway) repositoryID(ctx context.Context, fullName string) (int64, error) {
	repositories, err := g.Store.ListRepositories(ctx)
	if err != nil {
		return 0, err
	}
	for _, r := range repositories {
		if strings.EqualFold(r.Repository.FullName, fullName) {
			return r.Repository.ID, nil
		}
	}
	return 0, store.ErrNotFound
}

func (g *Gateway) getIssue(w http.ResponseWriter, r *http.Request) {
	state, ok := g.findIssue(w, r)
	if !ok {
		return
	}
	g.writeDetail(w, r, http.StatusOK, state)
}

func (g *Gateway) findIssue(w http.ResponseWriter, r *http.Request) (store.IssueState, bool) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		writeProblem(w, problem{Status: http.StatusNotFound, Detail: "Issues are named by GitHub's numeric ID."})
		return store.IssueState{}, false
	}
	state, err := g.Store.FindIssue(r.Context(), id)
	if err != nil {
		g.storeProblem(w, r, err, "There is no such issue here.")
		return store.IssueState{}, false
	}
	return state, true
}

func (g *Gateway) taxonomyOf(ctx context.Context, repositoryID int64) (triage.Taxonomy, error) {
	repositories, err := g.Store.LoadRepositories(ctx, []int64{repositoryID})
	if err != nil {
		return triage.Taxonomy{}, err
	}
	return triage.NewTaxonomy(repositories[repositoryID].Labels), nil
}

func (g *Gateway) writeDetail(w http.ResponseWriter, r *http.Request, status int, s store.IssueState) {
	taxonomy, err := g.taxonomyOf(r.Context(), s.Issue.Repository.ID)
	if err != nil {
		g.storeProblem(w, r, err, "")
		return
	}
	ledgers, err := g.Store.Ledger(r.Context(), []triage.IssueKey{s.Issue.Key()})
	if err != nil {
		g.storeProblem(w, r, err, "")
		return
	}
	detail := issueDetail{
		issueView: viewOfState(s), Body: s.Issue.Body, Corrections: s.Corrections,
		Ledger: ledgers[s.Issue.Key()], Options: taxonomy.AllOptions(),
	}
	if detail.Corrections == nil {
		detail.Corrections = []triage.Correction{}
	}
	if detail.Ledger == nil {
		detail.Ledger = []triage.LedgerEntry{}
	}
	writeJSON(w, status, detail)
}

type correctionRequest struct {
	Field  triage.Field `json:"field"`
	Values []string     `json:"values"`
	Reason string       `json:"reason"`
	Actor  string       `json:"actor"`
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
	correction := triage.CorrectionInput{Field: in.Field, Values: in.Values, Reason: strings.TrimSpace(in.Reason), Actor: strings.TrimSpace(in.Actor)}
	if correction.Actor == "" {
		correction.Actor = "dashboard"
	}
	if fault := correctionFault(correction, taxonomy); fault != nil {
		writeProblem(w, problem{Status: http.StatusUnprocessableEntity, Detail: "The correction cannot be applied.", Errors: []fieldProblem{*fault}})
		return
	}
	g.submit(w, r, state, triage.Event{Kind: triage.KindCorrection, Correction: &correction})
}

func correctionFault(in triage.CorrectionInput, t triage.Taxonomy) *fieldProblem {
	switch {
	case len([]rune(in.Reason)) > 500:
		return &fieldProblem{"reason", "A reason has at most 500 characters."}
	case len([]rune(in.Actor)) > 100:
		return &fieldProblem{"actor", "A name has at most 100 characters."}
	}
	if err := in.Validate(t); err != nil {
		name := "values"
		if !in.Field.Valid() {
			name = "field"
		}
		return &fieldProblem{name, err.Error()}
	}
	return nil
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
	now := g.Now().UTC()
	e.ID = uuid.NewString()
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		e.ID = uuid.NewSHA1(uuid.NameSpaceURL, []byte(r.URL.Path+"\x00"+key)).String()
	}
	e.ReceivedAt = now
	e.Repository = state.Issue.Repository
	e.InstallationID = state.Issue.Repository.InstallationID
	e.Number = state.Issue.Number
	name, key, value, err := github.EncodeEvent(e)
	if err != nil {
		g.Logger.ErrorContext(r.Context(), "encode an event", "error", err)
		writeProblem(w, problem{Status: http.StatusInternalServerError})
		return
	}
	arrived, forget := g.results.expect(e.ID)
	defer forget()
	record := eventlog.Record{
		Topic: eventlog.TopicIssuesRaw, Key: key, Value: value,
		Headers: []eventlog.Header{
			{Key: eventlog.HeaderDelivery, Value: []byte(e.ID)},
			{Key: eventlog.HeaderEvent, Value: []byte(name)},
			{Key: eventlog.HeaderReceivedAt, Value: []byte(now.Format(time.RFC3339Nano))},
		},
	}
	if err := g.Publisher.Append(r.Context(), record); err != nil {
		g.Logger.ErrorContext(r.Context(), "the log did not take a request from the dashboard", "event", name, "error", err)
		w.Header().Set("Retry-After", "5")
		writeProblem(w, problem{Status: http.StatusServiceUnavailable, Detail: "The event log cannot store this now; nothing was changed. Try again."})
		return
	}
	timer := time.NewTimer(g.CorrectionWait)
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
	fresh, err := g.Store.FindIssue(r.Context(), state.Issue.ID)
	if err != nil {
		g.storeProblem(w, r, err, "The issue is gone.")
		return
	}
	g.writeDetail(w, r, http.StatusOK, fresh)
}

func (g *Gateway) listRepositories(w http.ResponseWriter, r *http.Request) {
	repositories, err := g.Store.ListRepositories(r.Context())
	if err != nil {
		g.storeProblem(w, r, err, "")
		return
	}
	type view struct {
		repositoryRef
		Labels  []triage.RepositoryLabel         `json:"labels"`
		Options map[triage.Field][]triage.Option `json:"options"`
	}
	views := make([]view, len(repositories))
	for i, s := range repositories {
		labels := s.Labels
		if labels == nil {
			labels = []triage.RepositoryLabel{}
		}
		views[i] = view{
			repositoryRef: repositoryRef{s.Repository.ID, s.Repository.FullName, s.Repository.Private},
			Labels:        labels, Options: triage.NewTaxonomy(s.Labels).AllOptions(),
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"repositories": views})
}

func (g *Gateway) getStats(w http.ResponseWriter, r *http.Request) {
	stats, err := g.Store.Stats(r.Context(), nil)
	if err != nil {
		g.storeProblem(w, r, err, "")
		return
	}
	writeJSON(w, http.StatusOK, struct {
		store.Stats
		ConnectedClients int `json:"connected_clients"`
	}{stats, g.hub.connected()})
}
