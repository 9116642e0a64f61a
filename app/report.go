package app

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/dispatchai/dispatchai/core/control"
	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/plugin"
)

const (
	// reportTimeout bounds the making and appending of one report.
	reportTimeout = 8 * time.Second
	// reportPause lets changes that come together make one report.
	reportPause = 250 * time.Millisecond
)

// reporter tells others of this process on the topic status.
type reporter struct {
	app     *App
	host    string
	started time.Time
	groups  []control.Group // as of the last report
	failing bool
}

// processName tells this run of the process from all others.
func processName(host string, started time.Time) string {
	return fmt.Sprintf("%s/%d/%d", host, os.Getpid(), started.UnixNano())
}

// run reports at every interval and when something has changed, and takes the
// report back at the end.
func (r *reporter) run(ctx context.Context) error {
	changes, stop := r.changes(ctx)
	defer stop()
	interval := time.NewTicker(control.ReportEvery)
	defer interval.Stop()
	for {
		r.report(ctx)
		select {
		case <-ctx.Done():
			r.withdraw(context.WithoutCancel(ctx))
			return nil
		case <-interval.C:
			r.sweep(ctx)
		case <-changes:
			pause := time.NewTimer(reportPause)
			select {
			case <-ctx.Done():
			case <-pause.C:
			}
			pause.Stop()
		}
	}
}

// changes tells of every change that belongs into a report.
func (r *reporter) changes(ctx context.Context) (changes <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	told := make(chan struct{}, 1)
	var watchers sync.WaitGroup
	watch := func(changed func() <-chan struct{}, differs func() bool) {
		watchers.Go(func() {
			for {
				next := changed()
				if differs() {
					select {
					case told <- struct{}{}:
					default:
					}
				}
				select {
				case <-next:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	for _, p := range r.app.plugins {
		var was plugin.Health
		watch(p.Changed, func() bool {
			now := p.Health()
			differs := now != was
			was = now
			return differs
		})
	}
	if len(r.app.plugins) > 0 {
		watch(r.app.revisions.changes, func() bool { return true })
		was := make(map[string]bool)
		watch(r.app.table.Changed, func() (differs bool) {
			for _, p := range r.app.plugins {
				enabled := r.app.pluginEnabled(p.Name())
				differs = differs || was[p.Name()] != enabled
				was[p.Name()] = enabled
			}
			return differs
		})
	}
	return told, func() {
		cancel()
		watchers.Wait()
	}
}

func (r *reporter) report(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	a := r.app
	report := control.Report{
		Name: a.name, Host: r.host, PID: os.Getpid(), Roles: a.options.Roles, Version: a.backends.Version,
		StartedAt: r.started.UTC(), Groups: r.lag(ctx),
	}
	for _, p := range a.plugins {
		report.Plugins = append(report.Plugins, a.describePlugin(p))
	}
	report.ReportedAt = time.Now().UTC()
	value, err := report.Encode()
	if err == nil {
		err = a.producer.Append(ctx, eventlog.Record{Topic: eventlog.TopicStatus, Key: a.name, Value: value})
	}
	if err != nil && ctx.Err() == nil && !r.failing {
		a.logger.WarnContext(ctx, "this process cannot report itself and will look as if it were gone; it is tried again", "error", err)
	}
	r.failing = err != nil
}

func (r *reporter) lag(ctx context.Context) []control.Group {
	groups := make([]control.Group, 0, len(r.app.groups))
	for _, g := range r.app.groups {
		lags, err := r.app.cluster.Lag(ctx, g, Groups()[g]...)
		if err != nil {
			return r.groups
		}
		sum := control.Group{Group: g}
		for _, l := range lags {
			sum.Lag += l.Lag
			sum.Lost += l.Lost
		}
		groups = append(groups, sum)
	}
	r.groups = groups
	return groups
}

// describePlugin puts a plugin's health into the terms of a report.
func (a *App) describePlugin(p *plugin.Plugin) control.Plugin {
	// Read before the rest, which is then no older than the revision.
	revised := a.revisions.of(p.Name())
	h := p.Health()
	d := control.Plugin{
		Source: revised.source, Configured: revised.configured, Revision: revised.number, RevisionError: revised.fault,
		Name: h.Name, Version: h.Version, Since: h.Since.UTC(), Restarts: h.Restarts, LastError: h.LastError,
	}
	switch h.State {
	case plugin.Running, plugin.Busy:
		d.State = control.PluginRunning
	case plugin.Tripped:
		d.State = control.PluginTripped
	case plugin.BackingOff:
		d.State = control.PluginRestarting
	case plugin.Closed:
		d.State = control.PluginStopped
	default:
		d.State = control.PluginStarting
	}
	if s := a.pluginSwitch(p.Name()); !s.Enabled {
		d.State, d.Since = control.PluginDisabled, s.At
	}
	return d
}

// withdraw removes the report of a process that stops in order.
func (r *reporter) withdraw(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	if err := r.app.producer.Append(ctx, eventlog.Record{Topic: eventlog.TopicStatus, Key: r.app.name}); err != nil {
		r.app.logger.WarnContext(ctx, "this process's last report could not be removed; it counts as gone in a minute", "error", err)
	}
}

// sweep removes what processes left behind that did not stop in order. Several
// gateways may do so at once, and it does no harm to one that is only slow: it
// reports itself again.
func (r *reporter) sweep(ctx context.Context) {
	if !r.app.options.has(RoleGateway) {
		return
	}
	var old []eventlog.Record
	for _, e := range r.app.table.List(eventlog.TopicStatus) {
		if time.Since(e.Time) > control.ForgottenAfter {
			old = append(old, eventlog.Record{Topic: eventlog.TopicStatus, Key: e.Key})
		}
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	if err := r.app.producer.Append(ctx, old...); err != nil && ctx.Err() == nil {
		r.app.logger.DebugContext(ctx, "old reports could not be removed", "error", err)
	}
}
