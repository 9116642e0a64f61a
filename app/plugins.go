package app

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/dispatchai/dispatchai/core/control"
	"github.com/dispatchai/dispatchai/core/eventlog"
)

// PluginListing is a plugin as operators see it.
type PluginListing struct {
	Name string `json:"name"`
	// Kind is "built-in" or "external".
	Kind string `json:"kind"`
	// Configured tells that the options at hand name it.
	Configured bool `json:"configured"`
	// Enabled tells that it may be asked; By and At who decided that and when,
	// where anybody has.
	Enabled bool       `json:"enabled"`
	By      string     `json:"by,omitempty"`
	At      *time.Time `json:"at,omitempty"`
	// Processes are those that run it.
	Processes []PluginProcess `json:"processes"`
}

// PluginProcess is a plugin in one process.
type PluginProcess struct {
	Process string `json:"process"`
	control.Plugin
}

// ListPlugins tells of the built-in plugins, those that the options name, those
// that processes report and those that operators have switched, by name. It
// reads the log once and follows nothing.
func ListPlugins(ctx context.Context, o Options, cluster *eventlog.Cluster, builtIn []string) ([]PluginListing, error) {
	overview, err := scanOverview(ctx, cluster)
	if err != nil {
		return nil, err
	}

	listings := make(map[string]*PluginListing)
	add := func(name string) *PluginListing {
		if l, ok := listings[name]; ok {
			return l
		}
		l := &PluginListing{Name: name, Kind: "external", Enabled: overview.Enabled(name), Processes: []PluginProcess{}}
		if slices.Contains(builtIn, name) {
			l.Kind = "built-in"
		}
		if s, switched := overview.Switches[name]; switched {
			l.By, l.At = s.By, &s.At
		}
		listings[name] = l
		return l
	}
	for _, name := range slices.Concat(builtIn, overview.Known()) {
		add(name)
	}
	for _, p := range trimmed(o.Plugins) {
		name, path, external := strings.Cut(p, "=")
		if !pluginName.MatchString(name) {
			continue // told by Validate
		}
		l := add(name)
		l.Configured = true
		if external && path != "" {
			l.Kind = "external"
		}
	}
	for _, r := range overview.Processes {
		for _, p := range r.Plugins {
			l := add(p.Name)
			l.Processes = append(l.Processes, PluginProcess{r.Name, p})
		}
	}
	list := make([]PluginListing, 0, len(listings))
	for _, l := range listings {
		list = append(list, *l)
	}
	slices.SortFunc(list, func(a, b PluginListing) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}
