package app

import (
	"context"
	"slices"

	"github.com/dispatchai/dispatchai/core/control"
	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/reconcile"
)

// openEraser runs beside the plugins, which it tells what to forget.
func (a *App) openEraser() {
	plugins := make(map[string]reconcile.Plugin, len(a.plugins))
	for _, p := range a.plugins {
		plugins[p.Name()] = p
	}
	logger := a.logger.With("part", "erasure")
	eraser := reconcile.NewEraser(reconcile.EraserConfig{
		Store: a.store, DeadLetters: eventlog.NewDeadLetters(a.cluster, a.producer, logger), Plugins: plugins,
		EraseAfter: a.options.EraseAfter, Logger: logger, Registerer: a.registry,
	})
	a.workers = append(a.workers, component{"eraser", eraser.Run})
}

// openRefresher runs beside the plugins, because a configuration file may name
// those that run here.
func (a *App) openRefresher() {
	var names []string
	for _, choice := range a.options.plugins {
		names = append(names, choice.name)
	}
	refresher := reconcile.NewRefresher(reconcile.RefresherConfig{
		Store: a.store, GitHub: a.github, Owner: a.name, Classifiers: names, FilePoll: a.options.Poll,
		Logger: a.logger.With("part", "configuration"), Registerer: a.registry,
	})
	watcher := reconcile.NewSuggestionWatcher(reconcile.SuggestionWatcherConfig{
		Store: a.store, GitHub: a.github, Publisher: a.producer, Every: a.options.Poll, Logger: a.logger.With("part", "suggestions"),
	})
	a.workers = append(a.workers, component{"configuration refresher", refresher.Run}, component{"suggestion watcher", watcher.Run})
}

// openReconciler looks for what was missed, beside the workers that it feeds: of
// all processes with the role classify one does it at a time.
func (a *App) openReconciler() {
	o := a.options
	letters := eventlog.NewDeadLetters(a.cluster, a.producer, a.logger)
	r := reconcile.NewReconciler(reconcile.ReconcilerConfig{
		Store: a.store, GitHub: a.github, Publisher: a.producer, Owner: a.name,
		Lag:                   a.rawLag,
		DeadLetters:           func(ctx context.Context) (map[string]bool, error) { return buried(ctx, letters) },
		Requests:              a.backfillRequests,
		BackfillNew:           o.BackfillOnInstall,
		SweepEvery:            o.SweepInterval,
		ReconcileEvery:        o.ReconcileInterval,
		RedeliveriesPerMinute: o.RedeliveriesPerMinute,
		Logger:                a.logger.With("part", "gaps"), Registerer: a.registry,
	})
	a.workers = append(a.workers, component{"reconciler", func(ctx context.Context) error {
		select {
		case <-a.table.CaughtUp():
		case <-ctx.Done():
			return nil
		}
		return r.Run(ctx)
	}})
}

// rawLag is how far the workers are behind in what GitHub has told.
func (a *App) rawLag(ctx context.Context) ([]eventlog.PartitionLag, error) {
	var all []eventlog.PartitionLag
	for _, group := range []string{GroupClassify, GroupDirectory} {
		lags, err := a.cluster.Lag(ctx, group, Groups()[group]...)
		if err != nil {
			return nil, err
		}
		all = append(all, lags...)
	}
	return all, nil
}

// buriedPage is how many dead letters are read at a time.
const buriedPage = 1000

// buried are the deliveries that ended among the dead letters, settled ones too.
func buried(ctx context.Context, letters *eventlog.DeadLetters) (map[string]bool, error) {
	dead := make(map[string]bool)
	options := eventlog.ListOptions{Limit: buriedPage, Resolved: true}
	for {
		page, err := letters.List(ctx, options)
		if err != nil {
			return nil, err
		}
		for _, d := range page {
			dead[d.Delivery] = true
			options.After = d.ID
		}
		if len(page) < buriedPage {
			return dead, nil
		}
	}
}

// backfillRequests are what operators asked for, by repository, and what is
// closed when anything they ask for changes.
func (a *App) backfillRequests() (map[int64]control.BackfillRequest, <-chan struct{}) {
	changed := a.table.Changed()
	requests := make(map[int64]control.BackfillRequest)
	for _, e := range a.table.List(eventlog.TopicControl) {
		if id, ok := control.BackfillOfKey(e.Key); ok {
			if r, err := control.ParseBackfillRequest(e.Value); err == nil {
				requests[id] = r
			}
		}
	}
	return requests, changed
}

// RoleRuns tells whether a process with the role has reported itself lately.
func RoleRuns(ctx context.Context, cluster *eventlog.Cluster, role string) (bool, error) {
	overview, err := scanOverview(ctx, cluster)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(overview.Processes, func(p control.Report) bool { return slices.Contains(p.Roles, role) }), nil
}
