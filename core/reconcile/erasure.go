package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/failpoint"
	"github.com/dispatchai/dispatchai/core/plugin"
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

// EraserConfig is what an Eraser is made of. Everything is required but what has a default.
type EraserConfig struct {
	Store       store.Erasing
	DeadLetters deadLetters
	// Plugins are those to be told, by the names the operator gave them.
	Plugins map[string]Plugin
	// EraseAfter is the grace period after a removal; 0 erases at once.
	EraseAfter time.Duration
	// Every is how often it looks; default ten seconds, or one when
	// EraseAfter is shorter than a minute.
	Every      time.Duration
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time
}

// Eraser erases what was removed when its grace period is over. Several processes
// may run one each on the same store.
type Eraser struct {
	EraserConfig
	metrics erasureMetrics
}

// NewEraser returns an Eraser; Run runs it.
func NewEraser(cfg EraserConfig) *Eraser {
	if cfg.Every <= 0 {
		cfg.Every = 10 * time.Second
		if cfg.EraseAfter < time.Minute {
			cfg.Every = time.Second
		}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Eraser{EraserConfig: cfg, metrics: newErasureMetrics(cfg.Registerer)}
}

// Run looks for what is to be done until ctx ends, and then returns nil: what is
// unfinished goes on at the next start.
func (w *Eraser) Run(ctx context.Context) error {
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

const (
	// removalsAtOnce bounds the removals that are read and begun at a time.
	removalsAtOnce = 100
	// issuesAtOnce is how many issues one transaction erases, so that others get
	// their turn in between.
	issuesAtOnce = 50
)

// Erase erases everything whose grace period is over: from the store, from the
// dead letters and, through Forget, from what plugins know. What fails is left
// for the next call and keeps nothing else back.
func (w *Eraser) Erase(ctx context.Context) error {
	var faults []error
	for ctx.Err() == nil {
		begun, err := w.begin(ctx)
		if err != nil {
			faults = append(faults, err)
		}
		if begun == 0 {
			break
		}
	}
	open, err := w.Store.OpenErasures(ctx)
	if err != nil {
		return errors.Join(append(faults, fmt.Errorf("read the erasures under way: %w", err))...)
	}
	var emptied []store.Erasure
	for _, e := range open {
		if err := w.erase(ctx, e); err != nil {
			faults = append(faults, fmt.Errorf("erase %s: %w", subject(e), err))
			continue
		}
		emptied = append(emptied, e)
	}
	if err := w.discard(ctx, emptied); err != nil {
		faults = append(faults, err)
	} else {
		for _, e := range emptied {
			faults = append(faults, w.finish(ctx, e))
		}
	}
	return errors.Join(append(faults, w.forget(ctx))...)
}

// begin opens the erasures that are due and tells how many.
func (w *Eraser) begin(ctx context.Context) (begun int, _ error) {
	now := w.Now()
	before := now.Add(-w.EraseAfter)
	due, err := w.Store.Removals(ctx, before, removalsAtOnce)
	if err != nil {
		return 0, fmt.Errorf("read what was removed: %w", err)
	}
	var names []string
	for name := range w.Plugins {
		names = append(names, name)
	}
	var faults []error
	for _, r := range due {
		failpoint.Hit("reconcile/before-begin")
		e, err := w.Store.BeginErasure(ctx, r, before, now, names)
		switch {
		case errors.Is(err, store.ErrConflict):
			continue // it came back, or another process is faster
		case err != nil:
			faults = append(faults, err)
			continue
		}
		failpoint.Hit("reconcile/after-begin")
		begun++
		w.Logger.InfoContext(ctx, "the grace period is over; erasing", "erasure", e.ID, "subject", string(e.Subject), "repository_id", e.RepositoryID,
			"number", e.Number, "installation", e.InstallationID, "because", string(e.Because), "removed_at", e.RemovedAt)
	}
	return begun, errors.Join(faults...)
}

func (w *Eraser) erase(ctx context.Context, e store.Erasure) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		more, err := w.Store.EraseSome(ctx, e.ID, issuesAtOnce)
		if err != nil {
			return err
		}
		failpoint.Hit("reconcile/after-step")
		if !more {
			return nil
		}
	}
}

// discard settles the dead letters of what was erased: nobody is to replay them.
func (w *Eraser) discard(ctx context.Context, erasures []store.Erasure) error {
	if len(erasures) == 0 {
		return nil
	}
	letters, err := w.DeadLetters.List(ctx, eventlog.ListOptions{Limit: math.MaxInt})
	if err != nil {
		return err
	}
	for _, letter := range letters {
		for _, e := range erasures {
			if !concerns(letter, e) {
				continue
			}
			if err := w.DeadLetters.Discard(ctx, letter.ID); err != nil {
				return err
			}
			break
		}
	}
	return nil
}

// concerns tells whether the letter's record is about what was erased.
func concerns(letter eventlog.DeadLetter, e store.Erasure) bool {
	aboutInstallation := letter.Topic == eventlog.TopicInstallationsRaw
	switch e.Subject {
	case store.SubjectRepository:
		return !aboutInstallation && strings.HasPrefix(letter.Key, strconv.FormatInt(e.RepositoryID, 10)+"#")
	case store.SubjectIssue:
		return !aboutInstallation && letter.Key == e.Issue().String()
	}
	return aboutInstallation && letter.Key == strconv.FormatInt(e.InstallationID, 10)
}

func (w *Eraser) finish(ctx context.Context, e store.Erasure) error {
	failpoint.Hit("reconcile/before-finish")
	e, err := w.Store.FinishErasure(ctx, e.ID, w.Now())
	if err != nil {
		return fmt.Errorf("finish erasing %s: %w", subject(e), err)
	}
	failpoint.Hit("reconcile/after-finish")
	w.metrics.erasures.WithLabelValues(string(e.Subject), e.Outcome).Inc()
	w.Logger.InfoContext(ctx, "erasure ended", "erasure", e.ID, "outcome", e.Outcome, "subject", string(e.Subject), "repository_id", e.RepositoryID,
		"number", e.Number, "installation", e.InstallationID, "because", string(e.Because), "removed_at", e.RemovedAt, "rows", e.Rows)
	return nil
}

// forgetTimeout bounds the wait for one plugin.
const forgetTimeout = time.Minute

// forget tells the plugins which repositories to forget. One that is down is told
// at the next call; what is noted for plugins of another process stays.
func (w *Eraser) forget(ctx context.Context) error {
	waiting, err := w.Store.Forgets(ctx)
	if err != nil {
		return fmt.Errorf("read what plugins are to forget: %w", err)
	}
	var faults []error
	down := make(map[string]bool)
	for _, f := range waiting {
		p := w.Plugins[f.Plugin]
		if p == nil || down[f.Plugin] {
			continue
		}
		if err := w.tell(ctx, p, f); err != nil {
			down[f.Plugin] = true
			faults = append(faults, fmt.Errorf("plugin %s is to forget repository %d: %w", f.Plugin, f.RepositoryID, err))
		}
	}
	return errors.Join(faults...)
}

func (w *Eraser) tell(ctx context.Context, p Plugin, f store.Forget) error {
	call, cancel := context.WithTimeout(ctx, forgetTimeout)
	defer cancel()
	// One that learns nothing has nothing to forget.
	if err := p.Forget(call, f.RepositoryID); err != nil && !errors.Is(err, plugin.ErrUnsupported) {
		return err
	}
	failpoint.Hit("reconcile/after-forget")
	return w.Store.FinishForget(ctx, f)
}

func subject(e store.Erasure) string {
	switch e.Subject {
	case store.SubjectRepository:
		return fmt.Sprintf("repository %d", e.RepositoryID)
	case store.SubjectIssue:
		return "issue " + e.Issue().String()
	}
	return fmt.Sprintf("installation %d", e.InstallationID)
}
