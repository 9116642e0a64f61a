package gateway

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

func (g *Gateway) listIssues(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	// Taken before the store is read, so that what happens in between is
	// streamed rather than missed.
	live := g.hub.position().String()
	if fault := queryFault(q); fault != "" {
		writeProblem(w, problem{Status: http.StatusBadRequest, Detail: fault})
		return
	}
	filter := store.IssueFilter{
		State: q.Get("state"), Category: q.Get("category"), Priority: q.Get("priority"), Component: q.Get("component"),
		Status: store.Status(q.Get("status")), Search: q.Get("q"), Cursor: q.Get("cursor"),
	}
	var ok bool
	if filter.RepositoryIDs, filter.Limit, ok = g.narrow(w, r); !ok {
		return
	}
	page, err := g.config.Store.ListIssues(r.Context(), filter)
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

// narrow reads which repository is asked about, nil for all, and how many of
// something, 0 for as many as usual; where it cannot it answers the request.
func (g *Gateway) narrow(w http.ResponseWriter, r *http.Request) (repositoryIDs []int64, limit int, ok bool) {
	q := r.URL.Query()
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 200 {
			writeProblem(w, problem{Status: http.StatusBadRequest, Detail: "limit must be a number from 1 to 200."})
			return nil, 0, false
		}
		limit = n
	}
	if name := q.Get("repository"); name != "" {
		id, err := g.repositoryID(r.Context(), name)
		if err != nil {
			g.storeProblem(w, r, err, "There is no repository "+name+" here.")
			return nil, 0, false
		}
		repositoryIDs = []int64{id}
	}
	return repositoryIDs, limit, true
}

// queryFault says what is wrong with a filter that would otherwise find nothing.
func queryFault(q url.Values) string {
	switch q.Get("state") {
	case "", "open", "closed":
	default:
		return "state must be open or closed."
	}
	switch store.Status(q.Get("status")) {
	case "", store.StatusReceived, store.StatusClassified, store.StatusCorrected:
	default:
		return "status must be received, classified or corrected."
	}
	return ""
}

func (g *Gateway) repositoryID(ctx context.Context, fullName string) (int64, error) {
	repositories, err := g.config.Store.ListRepositories(ctx)
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
	state, err := g.config.Store.FindIssue(r.Context(), id)
	if err != nil {
		g.storeProblem(w, r, err, "There is no such issue here.")
		return store.IssueState{}, false
	}
	return state, true
}

func (g *Gateway) taxonomyOf(ctx context.Context, repositoryID int64) (triage.Taxonomy, error) {
	repositories, err := g.config.Store.LoadRepositories(ctx, []int64{repositoryID})
	if err != nil {
		return triage.Taxonomy{}, err
	}
	repository := repositories[repositoryID]
	return repository.InForce().Taxonomy(repository.Labels), nil
}

func (g *Gateway) writeDetail(w http.ResponseWriter, r *http.Request, status int, s store.IssueState) {
	taxonomy, err := g.taxonomyOf(r.Context(), s.Issue.Repository.ID)
	if err != nil {
		g.storeProblem(w, r, err, "")
		return
	}
	ledgers, err := g.config.Store.Ledger(r.Context(), []triage.IssueKey{s.Issue.Key()})
	if err != nil {
		g.storeProblem(w, r, err, "")
		return
	}
	suggestions, err := g.config.Store.Suggestions(r.Context(), []triage.IssueKey{s.Issue.Key()})
	if err != nil {
		g.storeProblem(w, r, err, "")
		return
	}
	detail := issueDetail{
		issueView: viewOfState(s), Body: s.Issue.Body, Corrections: s.Corrections,
		Ledger: ledgers[s.Issue.Key()], Suggestions: openSuggestions(s, suggestions[s.Issue.Key()]), Options: taxonomy.AllOptions(),
	}
	if detail.Corrections == nil {
		detail.Corrections = []triage.Correction{}
	}
	if detail.Ledger == nil {
		detail.Ledger = []triage.LedgerEntry{}
	}
	writeJSON(w, status, detail)
}

func (g *Gateway) listRepositories(w http.ResponseWriter, r *http.Request) {
	repositories, err := g.config.Store.ListRepositories(r.Context())
	if err != nil {
		g.storeProblem(w, r, err, "")
		return
	}
	type view struct {
		repositoryRef
		Labels  []triage.RepositoryLabel         `json:"labels"`
		Options map[triage.Field][]triage.Option `json:"options"`
		// ConfigurationFaults counts what is wrong in its configuration files.
		ConfigurationFaults int `json:"configuration_faults"`
	}
	views := make([]view, len(repositories))
	for i, s := range repositories {
		labels := s.Labels
		if labels == nil {
			labels = []triage.RepositoryLabel{}
		}
		views[i] = view{
			repositoryRef: refOf(s.Repository),
			Labels:        labels, Options: s.InForce().Taxonomy(s.Labels).AllOptions(), ConfigurationFaults: s.ConfigurationFaults,
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"repositories": views})
}

func (g *Gateway) getStats(w http.ResponseWriter, r *http.Request) {
	stats, err := g.config.Store.Stats(r.Context(), nil)
	if err != nil {
		g.storeProblem(w, r, err, "")
		return
	}
	writeJSON(w, http.StatusOK, struct {
		store.Stats
		ConnectedClients int `json:"connected_clients"`
	}{stats, g.hub.connected()})
}
