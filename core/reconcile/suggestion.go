package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/failpoint"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// suggestionGitHub is what a SuggestionWatcher asks of GitHub.
type suggestionGitHub interface {
	LabelSuggestions(ctx context.Context, installationID int64, repository triage.Repository, number int, etag string) ([]github.LabelSuggestion, string, error)
}

// SuggestionWatcherConfig is what a SuggestionWatcher is made of. Everything is
// required but what has a default.
type SuggestionWatcherConfig struct {
	Store     store.Suggesting
	GitHub    suggestionGitHub
	Publisher publisher
	// Every is how often a new suggestion is looked at; one that waits for long,
	// ever more seldom. Default a minute.
	Every  time.Duration
	Logger *slog.Logger
	Now    func() time.Time
}

// SuggestionWatcher finds out what people made of suggestions on GitHub. An
// approval comes by itself, as a label that a person put on the issue; of a
// dismissal nobody is told, and the watcher makes an event of it. Several
// processes may run one each on the same store.
type SuggestionWatcher struct {
	SuggestionWatcherConfig
}

// NewSuggestionWatcher returns a SuggestionWatcher; Run runs it.
func NewSuggestionWatcher(cfg SuggestionWatcherConfig) *SuggestionWatcher {
	if cfg.Every <= 0 {
		cfg.Every = time.Minute
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &SuggestionWatcher{cfg}
}

const (
	// watchedAtOnce bounds the issues looked at between two looks for work,
	// watchers those at the same time.
	watchedAtOnce = 64
	watchers      = 4
	// unlookedFor is the least time for which an issue is left to who looks at it,
	// or alone when it could not be looked at. Two that look at the same do no harm.
	unlookedFor = 10 * time.Second
	// seldomest is how often the oldest suggestion is still looked at.
	seldomest = time.Hour
)

// Run looks after suggestions until ctx ends.
func (w *SuggestionWatcher) Run(ctx context.Context) error {
	tick := time.NewTicker(min(w.Every/4, 10*time.Second))
	defer tick.Stop()
	for {
		if err := w.look(ctx); err != nil && ctx.Err() == nil {
			w.Logger.ErrorContext(ctx, "cannot look after suggestions; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (w *SuggestionWatcher) look(ctx context.Context) error {
	for ctx.Err() == nil {
		now := w.Now()
		issues, err := w.Store.ClaimSuggestions(ctx, now, now.Add(max(w.Every, unlookedFor)), watchedAtOnce)
		if err != nil {
			return err
		}
		var group errgroup.Group
		group.SetLimit(watchers)
		for _, issue := range issues {
			group.Go(func() error {
				if err := w.lookAt(ctx, issue); err != nil && ctx.Err() == nil {
					w.Logger.DebugContext(ctx, "cannot look at suggestions; trying again later", "repository", issue.Repository.FullName, "issue", issue.Number, "error", err)
				}
				return nil
			})
		}
		_ = group.Wait()
		if len(issues) < watchedAtOnce {
			return nil
		}
	}
	return nil
}

// lookAt finds out what became of the pending suggestions for one issue.
func (w *SuggestionWatcher) lookAt(ctx context.Context, issue store.SuggestedIssue) error {
	ctx = github.Background(ctx)
	var pending []store.Suggestion
	etag := ""
	for _, s := range issue.Suggestions {
		if s.State == store.SuggestionPending {
			pending = append(pending, s)
		}
	}
	for _, s := range pending {
		if etag = s.ETag; etag == "" {
			break // one of them was not looked at yet
		}
	}
	list, next, err := w.GitHub.LabelSuggestions(ctx, issue.Repository.InstallationID, issue.Repository, issue.Number, etag)
	unchanged := errors.Is(err, github.ErrNotModified)
	gone := errors.Is(err, github.ErrNotFound) || errors.Is(err, github.ErrGone)
	if err != nil && !unchanged && !gone {
		return err
	}
	byID := make(map[int64]github.SuggestionState, len(list))
	for _, g := range list {
		byID[g.ID] = g.State
	}
	now := w.Now().UTC()
	for i := range pending {
		s := &pending[i]
		s.ETag, s.UpdatedAt = next, now
		s.LookAt = now.Add(min(max(w.Every, now.Sub(s.CreatedAt)/8), max(seldomest, w.Every)))
		if unchanged {
			continue
		}
		switch byID[s.GitHubID] {
		case github.SuggestionPending:
			continue
		case github.SuggestionApproved:
			s.State = store.SuggestionApproved
		case github.SuggestionDismissed:
			if err := w.publish(ctx, issue, *s); err != nil {
				return err
			}
			s.State = store.SuggestionDismissed
		default:
			s.State = store.SuggestionWithdrawn
		}
		s.LookAt, s.ETag = time.Time{}, ""
	}
	failpoint.Hit("reconcile/after-dismissal")
	return w.Store.RecordSuggestions(ctx, pending)
}

// publish makes an event of a dismissal. Its ID follows from the suggestion's, so
// that one that is published twice counts once.
func (w *SuggestionWatcher) publish(ctx context.Context, issue store.SuggestedIssue, s store.Suggestion) error {
	now := w.Now().UTC()
	e := triage.Event{
		ID: fmt.Sprintf("dismissal/%d/%d", issue.Repository.ID, s.GitHubID), Kind: triage.KindDismissal, ReceivedAt: now,
		InstallationID: issue.Repository.InstallationID, Repository: issue.Repository, Number: issue.Number,
		Label: &triage.RepositoryLabel{Name: s.Name}, Sender: triage.Actor{Type: triage.ActorUser},
	}
	name, key, value, err := github.EncodeEvent(e)
	if err != nil {
		return err
	}
	failpoint.Hit("reconcile/before-dismissal")
	return w.Publisher.Append(ctx, eventlog.Record{
		Topic: eventlog.TopicIssuesRaw, Key: key, Value: value,
		Headers: []eventlog.Header{
			{Key: eventlog.HeaderDelivery, Value: []byte(e.ID)},
			{Key: eventlog.HeaderEvent, Value: []byte(name)},
			{Key: eventlog.HeaderReceivedAt, Value: []byte(now.Format(time.RFC3339Nano))},
		},
	})
}
