package gateway

import (
	"time"

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
	Suggestions []store.Suggestion               `json:"suggestions"`
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
