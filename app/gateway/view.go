package gateway

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// issueView is an issue as lists and live frames show it: without its body.
type issueView struct {
	ID             int64                  `json:"id"`
	Repository     repositoryRef          `json:"repository"`
	Number         int                    `json:"number"`
	Title          string                 `json:"title"`
	State          string                 `json:"state"`
	Author         triage.Actor           `json:"author"`
	URL            string                 `json:"url"`
	Labels         []string               `json:"labels"`
	CreatedAt      time.Time              `json:"created_at"`
	UpdatedAt      time.Time              `json:"updated_at"`
	ReceivedAt     time.Time              `json:"received_at"`
	Revision       int64                  `json:"revision"`
	Status         store.Status           `json:"status"`
	Classification *triage.Classification `json:"classification"`
	SimilarIssues  []triage.Neighbour     `json:"similar_issues"`
}

type repositoryRef struct {
	ID       int64  `json:"id"`
	FullName string `json:"full_name"`
	Private  bool   `json:"private"`
}

// issueDetail adds what the issue's own page shows.
type issueDetail struct {
	issueView
	Body        string                           `json:"body"`
	Corrections []triage.Correction              `json:"corrections"`
	Ledger      []triage.LedgerEntry             `json:"ledger"`
	Options     map[triage.Field][]triage.Option `json:"options"`
}

func viewOf(i triage.Issue, receivedAt time.Time, revision int64, c *triage.Classification, similar []triage.Neighbour) issueView {
	v := issueView{
		ID: i.ID, Repository: repositoryRef{i.Repository.ID, i.Repository.FullName, i.Repository.Private},
		Number: i.Number, Title: i.Title, State: i.State, Author: i.Author, URL: i.URL, Labels: i.Labels,
		CreatedAt: i.CreatedAt, UpdatedAt: i.UpdatedAt, ReceivedAt: receivedAt, Revision: revision,
		Status: statusOf(c), Classification: c, SimilarIssues: similar,
	}
	if v.Labels == nil {
		v.Labels = []string{}
	}
	if v.SimilarIssues == nil {
		v.SimilarIssues = []triage.Neighbour{}
	}
	return v
}

func viewOfState(s store.IssueState) issueView {
	return viewOf(s.Issue, s.ReceivedAt, s.Revision, s.Effective(), s.Similar)
}

func statusOf(c *triage.Classification) store.Status {
	if c == nil {
		return store.StatusReceived
	}
	for _, a := range c.Fields {
		if a.Source == triage.SourceHuman {
			return store.StatusCorrected
		}
	}
	return store.StatusClassified
}

// liveFrame is one "issue" frame of the WebSocket.
type liveFrame struct {
	Type       string             `json:"type"`
	Event      string             `json:"event"`
	Cursor     string             `json:"cursor"`
	Issue      issueView          `json:"issue"`
	Correction *triage.Correction `json:"correction,omitempty"`
	Label      *liveLabel         `json:"label,omitempty"`
}

type liveLabel struct {
	Name   string       `json:"name"`
	Action string       `json:"action"`
	Sender triage.Actor `json:"sender"`
}

// frameOf makes a live frame of a record, or tells that there is nothing to show.
func frameOf(r *eventlog.Record, cursor string) (liveFrame, bool, error) {
	if r.Topic == eventlog.TopicIssuesEnriched {
		var e triage.Enriched
		if err := json.Unmarshal(r.Value, &e); err != nil {
			return liveFrame{}, false, err
		}
		f := liveFrame{
			Type: "issue", Event: string(e.EventType), Cursor: cursor,
			Issue: viewOf(e.Issue, e.ReceivedAt, e.Revision, e.Classification, e.SimilarIssues),
		}
		if n := len(e.Corrections); n > 0 {
			f.Correction = &e.Corrections[n-1]
		}
		return f, true, nil
	}
	event, delivery := r.Header(eventlog.HeaderEvent), r.Header(eventlog.HeaderDelivery)
	if event != "issues" {
		return liveFrame{}, false, nil
	}
	e, err := github.ParseWebhook(event, delivery, r.Value, r.ReceivedAt())
	if err != nil {
		return liveFrame{}, false, err
	}
	if e.Issue == nil {
		return liveFrame{}, false, errors.New("an issues event without an issue")
	}
	f := liveFrame{Type: "issue", Cursor: cursor, Issue: viewOf(*e.Issue, e.ReceivedAt, 0, nil, nil)}
	switch {
	case e.Kind == triage.KindIssue && e.Action == "opened":
		f.Event = "received"
	case e.Kind == triage.KindLabelChange && e.Label != nil:
		f.Event = "label"
		f.Label = &liveLabel{Name: e.Label.Name, Action: e.Action, Sender: e.Sender}
	default:
		return liveFrame{}, false, nil
	}
	return f, true, nil
}
