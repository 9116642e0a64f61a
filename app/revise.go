package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dispatchai/dispatchai/core/control"
	"github.com/dispatchai/dispatchai/core/eventlog"
)

// Revise is what an operator wants a plugin to be run by.
type Revise string

// The ways to revise a plugin.
const (
	Upgrade  Revise = "upgrade"  // by another path
	Rollback Revise = "rollback" // by what it was run by before
	Reload   Revise = "reload"   // by the same, with its settings and its manifest read again
)

// RevisePlugin decides what a plugin is run by from now on, in every process. source
// is for an upgrade (see PluginSource).
func RevisePlugin(ctx context.Context, log *eventlog.Cluster, producer *eventlog.Producer, name string, how Revise, source, by string) (control.PluginRevision, error) {
	overview, err := scanOverview(ctx, log)
	if err != nil {
		return control.PluginRevision{}, err
	}
	p, ok := runningPlugin(overview, name)
	if !ok {
		return control.PluginRevision{}, fmt.Errorf("no running process runs a plugin %q; start the service, or name the plugin in DISPATCHAI_PLUGINS", name)
	}
	if strings.HasPrefix(p.Source, ReattachPrefix) {
		return control.PluginRevision{}, fmt.Errorf("plugin %s is run by a person, who replaces it by running another", name)
	}
	last := overview.Revisions[name]
	r := control.PluginRevision{
		Number: last.Number + 1, Source: source, Previous: p.Source, Configured: p.Configured, By: by, At: time.Now().UTC().Truncate(time.Millisecond),
	}
	switch how {
	case Rollback:
		if last.Number == 0 {
			return r, fmt.Errorf("plugin %s was never upgraded, so there is nothing to go back to", name)
		}
		r.Source = last.Previous
	case Reload:
		r.Source = p.Source
		if last.Source == p.Source {
			r.Previous = last.Previous // a reload is nothing to go back to
		}
	}
	value, err := r.Encode()
	if err != nil {
		return r, err
	}
	return r, producer.Append(ctx, eventlog.Record{Topic: eventlog.TopicControl, Key: control.RevisionKey(name), Value: value})
}

// runningPlugin is the plugin as the first process that runs it reports it.
func runningPlugin(o control.Overview, name string) (control.Plugin, bool) {
	for _, process := range o.Processes {
		if i := slices.IndexFunc(process.Plugins, func(p control.Plugin) bool { return p.Name == name }); i >= 0 {
			return process.Plugins[i], true
		}
	}
	return control.Plugin{}, false
}

// reviseEvery is how often AwaitRevision looks.
const reviseEvery = 300 * time.Millisecond

// AwaitRevision waits until every process that runs the plugin has tried the revision,
// and gives what they say of the plugin. An error says in which the revision is not
// in force, or not known to be.
func AwaitRevision(ctx context.Context, log *eventlog.Cluster, name string, number int64) ([]PluginProcess, error) {
	for {
		overview, err := scanOverview(ctx, log)
		if err != nil {
			return nil, err
		}
		var tried []PluginProcess
		var faults, waiting []string
		for _, process := range overview.Processes {
			for _, p := range process.Plugins {
				switch {
				case p.Name != name:
				case p.Revision < number:
					waiting = append(waiting, process.Name)
				default:
					tried = append(tried, PluginProcess{process.Name, p})
					if p.RevisionError != "" {
						faults = append(faults, process.Name+": "+p.RevisionError)
					}
				}
			}
		}
		if len(waiting) == 0 && len(tried) > 0 {
			if len(faults) > 0 {
				return tried, fmt.Errorf("the plugin runs as before where its revision does not start:\n%s", strings.Join(faults, "\n"))
			}
			return tried, nil
		}
		timer := time.NewTimer(reviseEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return tried, errors.New("these processes have not reported it yet: " + strings.Join(waiting, ", ") + " (see `dispatchai plugin list`)")
		}
	}
}
