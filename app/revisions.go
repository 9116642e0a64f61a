package app

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/dispatchai/dispatchai/core/control"
	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/plugin"
)

// revisions has the plugins of this process run by what operators say: another
// executable, the one before, or the same with settings that are read again. Issues
// are classified meanwhile, and none is lost: the new process starts beside the one
// that runs. What does not start changes nothing, and is told.
type revisions struct {
	app *App
	// inForce is closed once what was decided before this process started is.
	inForce chan struct{}

	mu      sync.Mutex
	applied map[string]applied // by the plugin's name
	changed chan struct{}
}

// applied is what became of a plugin's last revision.
type applied struct {
	number     int64
	source     string // that is in force
	configured string // what the configuration names
	fault      string // why the revision is not in force
}

func newRevisions(a *App) *revisions {
	r := &revisions{app: a, inForce: make(chan struct{}), applied: make(map[string]applied), changed: make(chan struct{})}
	for _, choice := range a.options.plugins {
		r.applied[choice.name] = applied{source: choice.source, configured: choice.source}
	}
	return r
}

// of tells what became of a plugin's last revision.
func (r *revisions) of(name string) applied {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.applied[name]
}

// changes returns a channel that is closed when of next has something else to tell.
func (r *revisions) changes() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

func (r *revisions) set(name string, a applied) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.applied[name] = a
	close(r.changed)
	r.changed = make(chan struct{})
}

// run applies revisions as they are decided.
func (r *revisions) run(ctx context.Context) error {
	table := r.app.table
	select {
	case <-ctx.Done():
		return nil
	case <-table.CaughtUp():
	}
	for first := true; ; first = false {
		changed := table.Changed()
		for i, choice := range r.app.options.plugins {
			e, ok := table.Get(eventlog.TopicControl, control.RevisionKey(choice.name))
			if !ok {
				continue
			}
			revision, err := control.ParsePluginRevision(e.Value)
			if err != nil {
				r.app.logger.ErrorContext(ctx, "a plugin's revision cannot be read and is left out; decide it again with `dispatchai plugin upgrade`", "plugin", choice.name, "error", err)
				continue
			}
			if revision.Number > r.of(choice.name).number {
				r.apply(ctx, r.app.plugins[i], choice, revision)
			}
		}
		if first {
			close(r.inForce)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// replaceTimeout bounds the start of a plugin's new process, models included.
const replaceTimeout = 2 * time.Minute

func (r *revisions) apply(ctx context.Context, p *plugin.Plugin, choice pluginChoice, revision control.PluginRevision) {
	done := r.of(choice.name)
	done.number, done.fault = revision.Number, ""
	log := r.app.logger.With("plugin", choice.name, "revision", revision.Number, "by", revision.By)
	if revision.Configured != choice.source {
		// The configuration was changed since, and says what to run.
		log.InfoContext(ctx, "the plugin's revision is left out: the configuration names another path than when it was decided",
			"configured", choice.source, "then", revision.Configured)
		done.fault = fmt.Sprintf("left out: the configuration names %q here, and named %q where it was decided", choice.source, revision.Configured)
		r.set(choice.name, done)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, replaceTimeout)
	defer cancel()
	spec, err := r.app.revisedSpec(choice, revision.Source)
	if err == nil {
		spec.WorkDir = p.Spec().WorkDir
		err = p.Replace(ctx, spec)
	}
	if err != nil {
		done.fault = err.Error()
		log.ErrorContext(ctx, "the plugin's revision does not start; the one before stays in force", "source", revision.Source, "error", err)
	} else {
		done.source = revision.Source
		log.InfoContext(ctx, "the plugin runs by another revision", "source", revision.Source, "version", p.Describe().Version)
	}
	r.set(choice.name, done)
}

// revisedSpec says how to run a plugin by another source, with its settings as they
// are now.
func (a *App) revisedSpec(choice pluginChoice, source string) (plugin.Spec, error) {
	var faults []string
	choice = a.options.choose(choice.name, source, func(variable, format string, args ...any) {
		faults = append(faults, variable+": "+fmt.Errorf(format, args...).Error())
	})
	if len(faults) > 0 {
		return plugin.Spec{}, fmt.Errorf("%s", strings.Join(faults, "; "))
	}
	return pluginSpec(choice, a.backends)
}

// PluginSource makes the source of a revision of a path that an operator gave: absolute,
// of something that can be run.
func PluginSource(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if len(abs) > control.MaxPath {
		return "", fmt.Errorf("the path has %d bytes, more than the %d that an upgrade can have; give a shorter one, a link for example", len(abs), control.MaxPath)
	}
	if hasManifest(abs) {
		_, err = plugin.ReadManifest(abs)
		return abs, err
	}
	info, err := os.Stat(abs)
	if err == nil && info.Mode().Perm()&0o111 == 0 {
		err = fmt.Errorf("%s is not executable; make it so with chmod +x", abs)
	}
	return abs, err
}
