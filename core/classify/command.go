package classify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// person is somebody in a repository.
type person struct {
	repositoryID int64
	login        string
}

// right is whether a person may triage, as GitHub said at a time.
type right struct {
	may bool
	at  time.Time
}

const (
	// rightFor is how long GitHub's word on a person's permission is believed: no
	// event tells when it is taken away.
	rightFor = time.Minute
	// cachedRights bounds the permissions kept in memory.
	cachedRights = 10_000
)

// spoken are the commands of a comment that a person has just written: not of
// one that was edited, nor of a bot's or an App's.
func (k *work) spoken() []triage.Command {
	e := k.event
	if e.Kind != triage.KindComment || e.Action != "created" || e.Comment == nil || e.Comment.ViaApp ||
		e.Sender.Type != triage.ActorUser || e.Sender.Login == "" || !strings.EqualFold(e.Sender.Login, e.Comment.Author.Login) {
		return nil
	}
	return triage.ParseCommands(e.Comment.Body)
}

// loadCommands gives every comment the commands that its author may give. Of
// others they are not heeded, without a word: an answer would be noise.
func (w *Worker) loadCommands(ctx context.Context, works []*work) {
	var group errgroup.Group
	group.SetLimit(16)
	for _, k := range works {
		if k.err != nil || k.event.Kind != triage.KindComment || !k.policy.Commands || k.applied && k.emit == "" {
			continue
		}
		commands := k.spoken()
		if len(commands) == 0 {
			continue
		}
		group.Go(func() error {
			may, err := w.mayTriage(ctx, k)
			switch {
			case err != nil:
				k.err = err
			case may:
				k.commands = commands
			case !k.applied:
				w.metrics.commands.WithLabelValues("refused").Inc()
			}
			return nil
		})
	}
	_ = group.Wait()
}

// mayTriage asks GitHub whether the event's sender has the triage permission or more.
func (w *Worker) mayTriage(ctx context.Context, k *work) (bool, error) {
	who := person{k.key.RepositoryID, strings.ToLower(k.event.Sender.Login)}
	at := w.Now()
	if known, ok := w.rights.Get(who); ok && at.Sub(known.at) < rightFor {
		return known.may, nil
	}
	may, err, _ := w.asking.Do(strconv.FormatInt(who.repositoryID, 10)+"/"+who.login, func() (any, error) {
		installation := k.event.InstallationID
		if installation == 0 {
			installation = k.state.Issue.Repository.InstallationID
		}
		p, err := w.GitHub.RepositoryPermission(ctx, installation, k.event.Repository, k.event.Sender.Login)
		switch {
		case errors.Is(err, github.ErrNotFound), errors.Is(err, github.ErrGone), errors.Is(err, github.ErrForbidden),
			errors.Is(err, github.ErrSuspended), errors.Is(err, github.ErrInvalid):
			w.Logger.WarnContext(ctx, "a command is not heeded, because its author's permission cannot be read", "repository", k.event.Repository.FullName, "error", err)
		case err != nil:
			return false, retryGitHub(fmt.Errorf("read the permission of a command's author: %w", err))
		}
		may := err == nil && (p.Triage || p.Push || p.Maintain || p.Admin)
		w.rights.Add(who, right{may, at})
		return may, nil
	})
	if err != nil {
		return false, err
	}
	return may.(bool), nil
}

// obey makes the commands part of the change, in their order, and acknowledges
// them; asked tells that they ask for a classification.
func (k *work) obey(change *store.IssueChange) (asked bool) {
	at := k.event.SaidAt()
	by := k.event.Sender.Login
	unclear := false
	// What was never classified cannot be corrected: so it is first.
	asked = k.state.Classification == nil
	for _, c := range k.commands {
		switch c.Verb {
		case triage.VerbClassify:
			asked = true
			change.Directives.AskedAnew = at
		case triage.VerbIgnore, triage.VerbResume:
			change.Directives.Ignored, change.Directives.IgnoredBy, change.Directives.IgnoredAt = c.Verb == triage.VerbIgnore, by, at
		case triage.VerbUndo:
			if k.state.Classification != nil {
				in := triage.UndoInput{Answers: triage.WithdrawAll(*k.state.Classification), Actor: by}
				change.Directives.Withdrawals = in.Withdrawals(k.event.ID, at)
			}
		case triage.VerbSet:
			values, ok := k.catalogue.taxonomy.Resolve(c.Field, c.Values)
			if !ok || len(values) > 1 && !c.Field.Multiple() {
				unclear = true
				continue
			}
			change.EventType = triage.Corrected
			change.Corrections = slices.DeleteFunc(change.Corrections, func(made triage.Correction) bool { return made.Field == c.Field })
			change.Corrections = append(change.Corrections, triage.Correction{
				EventID: k.event.ID, Issue: k.key, Field: c.Field, New: values,
				Actor: by, Reason: "command", Source: triage.FromGitHub, At: at,
			})
		default:
			unclear = true
		}
	}
	r := triage.Reaction{CommentID: k.event.Comment.ID, Content: triage.ReactionDone}
	if unclear {
		r.Content = triage.ReactionUnclear
	}
	k.reactions = []triage.Reaction{r}
	return asked
}

// repliesToRequest tells that the issue's author comments while answers are missing.
func (k *work) repliesToRequest() bool {
	e := k.event
	if !k.policy.Comment || e.Kind != triage.KindComment || e.Action != "created" || e.Issue == nil || e.Comment == nil || e.Comment.ViaApp ||
		e.Sender.Type != triage.ActorUser || e.Sender.Login == "" || !strings.EqualFold(e.Sender.Login, e.Issue.Author.Login) {
		return false
	}
	return len(k.policy.Missing(*e.Issue, k.state.Effective(), k.state.Directives.Replies)) > 0
}
