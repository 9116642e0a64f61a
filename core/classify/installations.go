package classify

import (
	"context"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/failpoint"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// HandleInstallations is the handler of installations.raw: it keeps the
// directory of installations, repositories and their labels.
func (w *Worker) HandleInstallations(ctx context.Context, batch []*eventlog.Record) []error {
	outcomes := make([]error, len(batch))
	for i, r := range batch {
		event, err := parse(r)
		if err != nil {
			outcomes[i] = eventlog.Permanent(err)
			w.metrics.events.WithLabelValues("unreadable", "dead").Inc()
			continue
		}
		change, ok := installationChange(event)
		if !ok {
			// It leaves its trace all the same; see noteIgnored.
			if err := w.Store.NoteEvents(ctx, []string{event.ID}); err != nil {
				outcomes[i], _ = w.storeFault(ctx, err)
			}
			w.metrics.events.WithLabelValues(string(event.Kind), "ignored").Inc()
			continue
		}
		failpoint.Hit("classify/before-directory")
		if err := w.Store.ApplyInstallation(ctx, change); err != nil {
			outcomes[i], _ = w.storeFault(ctx, err)
			w.metrics.events.WithLabelValues(string(event.Kind), "retried").Inc()
			continue
		}
		failpoint.Hit("classify/after-directory")
		w.metrics.events.WithLabelValues(string(event.Kind), "done").Inc()
	}
	return outcomes
}

// installationChange says what an event changes in the directory, and whether
// it changes anything.
func installationChange(e triage.Event) (store.InstallationChange, bool) {
	change := store.InstallationChange{EventID: e.ID, At: e.ReceivedAt, Installation: e.Installation, Configuration: configurationMark(e)}
	if e.Installation == nil && e.InstallationID != 0 && e.Kind == triage.KindInstallationRepositories {
		change.Installation = &triage.Installation{ID: e.InstallationID, UpdatedAt: e.ReceivedAt}
	}
	switch e.Kind {
	case triage.KindInstallation, triage.KindInstallationRepositories:
		change.Upserted = e.Added
		for _, r := range e.Removed {
			change.Removed = append(change.Removed, r.ID)
		}
		if e.Kind == triage.KindInstallation && e.Action == "deleted" {
			change.Because = store.Uninstalled
		}
	case triage.KindRepository:
		if e.Action == "deleted" {
			change.Removed, change.Because = []int64{e.Repository.ID}, store.RepositoryDeleted
			break
		}
		change.Described = []triage.Repository{e.Repository}
		change.Transferred = e.Action == "transferred"
	case triage.KindRepositoryLabel:
		if e.Label == nil {
			return change, false
		}
		change.Described = []triage.Repository{e.Repository}
		change.LabelRepositoryID = e.Repository.ID
		if e.Action == "deleted" {
			change.DeletedLabel = e.Label.Name
		} else {
			change.Label, change.PreviousLabel = e.Label, e.PreviousLabel
		}
	case triage.KindPush:
		return change, !change.Configuration.IsZero()
	default:
		return change, false
	}
	return change, true
}
