// Package reconcile is the worker that brings what is stored in line with GitHub
// and with policy, where no event does: it erases what was removed when its
// grace period is over.
package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/store"
)

// deadLetters are the events that failed for good, as eventlog.DeadLetters has them.
type deadLetters interface {
	List(ctx context.Context, opts eventlog.ListOptions) ([]eventlog.DeadLetter, error)
	Discard(ctx context.Context, ids ...string) error
}

// Plugin is a running plugin.
type Plugin interface {
	Forget(ctx context.Context, repositoryID int64) error
}

// Config is what a Worker is made of. Everything is required but what has a default.
type Config struct {
	Store       store.Erasing
	DeadLetters deadLetters
	// Plugins are those to be told, by the names the operator gave them.
	Plugins map[string]Plugin
	// EraseAfter is the grace period after a removal; 0 erases at once.
	EraseAfter time.Duration
	// Every is how often the worker looks; default ten seconds, or one when
	// EraseAfter is shorter than a minute.
	Every      time.Duration
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time
}

// Worker keeps the store in line. Several processes may run one each on the same store.
type Worker struct {
	Config
	metrics metrics
}

// New returns a Worker; Run runs it.
func New(cfg Config) *Worker {
	if cfg.Every <= 0 {
		cfg.Every = 10 * time.Second
		if cfg.EraseAfter < time.Minute {
			cfg.Every = time.Second
		}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Worker{Config: cfg, metrics: newMetrics(cfg.Registerer)}
}

// Run looks for what is to be done until ctx ends, and then returns nil: what is
// unfinished goes on at the next start.
func (w *Worker) Run(ctx context.Context) error {
	ticker := time.NewTicker(w.Every)
	defer ticker.Stop()
	for {
		if err := w.Erase(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrClosed) {
			w.metrics.failures.Inc()
			w.Logger.WarnContext(ctx, "not everything could be erased; trying again", "in", w.Every, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
