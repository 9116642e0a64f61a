package app

import (
	"context"
	"time"
)

const (
	maintenanceEvery = time.Hour
	// appliedEventsKept is longer than GitHub redelivers (three days).
	appliedEventsKept = 7 * 24 * time.Hour
)

// maintain does the housekeeping that no request asks for.
func (a *App) maintain(ctx context.Context) error {
	ticker := time.NewTicker(maintenanceEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			if _, err := a.store.Prune(ctx, now.Add(-appliedEventsKept)); err != nil && ctx.Err() == nil {
				a.logger.WarnContext(ctx, "old events could not be pruned; trying again in an hour", "error", err)
			}
		}
	}
}
