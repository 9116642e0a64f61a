package control

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// ReportEvery is how often a process reports itself when nothing changes.
	ReportEvery = 10 * time.Second
	// GoneAfter is the age at which a report counts no longer: whoever wrote it
	// has crashed, or cannot reach the log.
	GoneAfter = time.Minute
	// ForgottenAfter is the age at which others remove a report.
	ForgottenAfter = time.Hour
)

// The bounds of a report, so that it always fits into a record.
const (
	maxText    = 512
	maxList    = 16
	maxShort   = 256
	maxVersion = 100
)

// Report is what a process tells of itself. Its key on status is the Name.
type Report struct {
	// Name tells this run of the process from all others: host/pid/start.
	Name       string    `json:"name"`
	Host       string    `json:"host"`
	PID        int       `json:"pid"`
	Roles      []string  `json:"roles"`
	Version    string    `json:"version"`
	StartedAt  time.Time `json:"started_at"`
	ReportedAt time.Time `json:"reported_at"`
	// Groups are the consumer groups that it is a member of.
	Groups []Group `json:"groups"`
	// Plugins are those that it runs, in the order in which they are asked.
	Plugins []Plugin `json:"plugins"`
}

// Group is how far a consumer group is behind, all of its members together.
type Group struct {
	Group string `json:"group"`
	// Lag is how many records wait for it.
	Lag int64 `json:"lag"`
	// Lost is how many records were deleted before it read them.
	Lost int64 `json:"lost"`
}

// PluginState is what becomes of a plugin in a process.
type PluginState string

// The states of a plugin. Disabled wins over the others: its process may run,
// but is not asked.
const (
	PluginStarting   PluginState = "starting"
	PluginRunning    PluginState = "running"
	PluginRestarting PluginState = "restarting"
	// PluginTripped: it fails call after call and is left alone for a while.
	PluginTripped  PluginState = "circuit open"
	PluginStopped  PluginState = "stopped"
	PluginDisabled PluginState = "disabled"
)

// Plugin is a plugin as one process runs it.
type Plugin struct {
	Name    string      `json:"name"`
	Version string      `json:"version"`
	State   PluginState `json:"state"`
	// Since is when it came into that state.
	Since    time.Time `json:"since"`
	Restarts int       `json:"restarts"`
	// LastError is the last fault, which may be over.
	LastError string `json:"last_error"`
	// Source is the path that it is run by, and Configured the one that the
	// configuration names; both are empty for a built-in one. Revision is the
	// number of the last revision that was tried, 0 for none, and RevisionError why
	// that one is not in force.
	Source        string `json:"source,omitempty"`
	Configured    string `json:"configured,omitempty"`
	Revision      int64  `json:"revision,omitempty"`
	RevisionError string `json:"revision_error,omitempty"`
}

// Encode gives the value on status, cut to its bounds.
func (r Report) Encode() ([]byte, error) {
	r.bound()
	return encode(r)
}

// ParseReport reads a value on status.
func ParseReport(value []byte) (Report, error) {
	var r Report
	if err := json.Unmarshal(value, &r); err != nil {
		return Report{}, fmt.Errorf("not a report: %w", err)
	}
	if r.Name == "" || r.ReportedAt.IsZero() {
		return Report{}, errors.New("not a report: it lacks its name or its time")
	}
	r.bound()
	return r, nil
}

// bound keeps a report within what a record takes and gives lists that are
// absent as empty ones.
func (r *Report) bound() {
	r.Name, r.Host, r.Version = bounded(r.Name, maxShort), bounded(r.Host, maxShort), bounded(r.Version, maxVersion)
	r.Roles = append([]string{}, r.Roles[:min(len(r.Roles), maxList)]...)
	for i, role := range r.Roles {
		r.Roles[i] = bounded(role, maxVersion)
	}
	r.Groups = append([]Group{}, r.Groups[:min(len(r.Groups), maxList)]...)
	for i := range r.Groups {
		r.Groups[i].Group = bounded(r.Groups[i].Group, maxVersion)
	}
	r.Plugins = append([]Plugin{}, r.Plugins[:min(len(r.Plugins), maxList)]...)
	for i := range r.Plugins {
		p := &r.Plugins[i]
		p.Name, p.Version = bounded(p.Name, maxVersion), bounded(p.Version, maxVersion)
		p.State = PluginState(bounded(string(p.State), maxVersion))
		p.LastError, p.RevisionError = bounded(p.LastError, maxText), bounded(p.RevisionError, maxText)
		p.Source, p.Configured = bounded(p.Source, MaxPath), bounded(p.Configured, MaxPath)
	}
}

// Age is how long ago the process reported itself; clocks that disagree do not
// make it negative.
func (r Report) Age(now time.Time) time.Duration { return max(0, now.Sub(r.ReportedAt)) }

// Overview is all that is known of a running installation.
type Overview struct {
	// Processes are those that have reported themselves lately, by name.
	Processes []Report
	// Switches are what operators decided, by the plugin's name.
	Switches map[string]PluginSwitch
	// Revisions are what operators last had plugins run by, by the plugin's name.
	Revisions map[string]PluginRevision
}

// Known are the names of all plugins that run somewhere or were switched, sorted.
func (o Overview) Known() []string {
	var names []string
	for _, r := range o.Processes {
		for _, p := range r.Plugins {
			names = append(names, p.Name)
		}
	}
	for name := range o.Switches {
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Enabled tells whether a plugin is to be asked.
func (o Overview) Enabled(plugin string) bool {
	s, switched := o.Switches[plugin]
	return s.Enabled || !switched
}

// NewOverview leaves out the reports of processes that are gone.
func NewOverview(reports []Report, switches map[string]PluginSwitch, revisions map[string]PluginRevision, now time.Time) Overview {
	o := Overview{Processes: []Report{}, Switches: switches, Revisions: revisions}
	for _, r := range reports {
		if r.Age(now) < GoneAfter {
			o.Processes = append(o.Processes, r)
		}
	}
	slices.SortFunc(o.Processes, func(a, b Report) int { return cmp.Compare(a.Name, b.Name) })
	return o
}
