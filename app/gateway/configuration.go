package gateway

import (
	"net/http"
	"strconv"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// configurationState is how it stands with a repository's configuration.
type configurationState string

const (
	configurationUnread  configurationState = "unread"   // nobody has read the files yet
	configurationInForce configurationState = "in_force" // what the files say is in force
	configurationFaulty  configurationState = "faulty"   // what they said before is
	configurationGuarded configurationState = "guarded"  // they were never right, and nothing is written
)

// configurationView is a repository's configuration as people look at it.
type configurationView struct {
	Repository repositoryRef      `json:"repository"`
	State      configurationState `json:"state"`
	Access     *store.Access      `json:"access"`
	// Configuration is what is in force, with every default filled in.
	Configuration triage.RepositoryConfig     `json:"configuration"`
	Sources       []store.ConfigurationSource `json:"sources"`
	InForceSince  *time.Time                  `json:"in_force_since"`
	CheckedAt     *time.Time                  `json:"checked_at"`
	Error         string                      `json:"error,omitempty"`
	Faults        []triage.ConfigFault        `json:"faults"`
	// LabelFaults tell where it does not fit the labels that the repository has.
	LabelFaults []triage.ConfigFault      `json:"label_faults"`
	Notes       []string                  `json:"notes"`
	Reacting    []string                  `json:"reacting"`
	IssueTypes  []string                  `json:"issue_types"`
	Check       *store.ConfigurationCheck `json:"check"`
}

func viewOfConfiguration(s store.RepositoryState, report store.ConfigurationReport) configurationView {
	in := s.InForce()
	v := configurationView{
		Repository: refOf(s.Repository), State: configurationInForce, Configuration: in.Config,
		Sources: orEmpty(report.InForce), InForceSince: timeOrNil(report.InForceSince), CheckedAt: timeOrNil(report.CheckedAt), Error: report.Error,
		Faults: orEmpty(report.Faults), LabelFaults: orEmpty(in.Config.LabelFaults(s.Labels, in.Reacting)), Notes: orEmpty(report.Notes),
		Reacting: orEmpty(in.Reacting), IssueTypes: orEmpty(in.IssueTypes), Check: report.Check,
	}
	if report.Access != "" {
		v.Access = &report.Access
	}
	switch {
	case s.Configuration == nil:
		v.State = configurationUnread
	case report.Guarded:
		v.State = configurationGuarded
	case len(report.Faults) > 0:
		v.State = configurationFaulty
	}
	return v
}

func (g *Gateway) getConfiguration(w http.ResponseWriter, r *http.Request) {
	const unknown = "There is no such repository here."
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		writeProblem(w, problem{Status: http.StatusNotFound, Detail: "Repositories are named by GitHub's numeric ID."})
		return
	}
	states, err := g.config.Store.LoadRepositories(r.Context(), []int64{id})
	if err != nil {
		g.storeProblem(w, r, err, "")
		return
	}
	state, known := states[id]
	if !known || state.Repository.Removed {
		writeProblem(w, problem{Status: http.StatusNotFound, Detail: unknown})
		return
	}
	report, err := g.config.Store.LoadConfigurationReport(r.Context(), id)
	if err != nil {
		g.storeProblem(w, r, err, unknown)
		return
	}
	writeJSON(w, http.StatusOK, viewOfConfiguration(state, report))
}

func refOf(r triage.Repository) repositoryRef { return repositoryRef{r.ID, r.FullName, r.Private} }

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
