package label

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dispatchai/dispatchai/core/failpoint"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// requestMarker is what the one comment that asks for answers is found by.
const requestMarker = "<!-- dispatchai:needs-info -->"

// ask brings the one comment by which the issue's author is asked for answers to
// what it should say. It is made at most once: the intent is stored before the
// call, and after a crash the comment is looked for on GitHub. What somebody
// deleted is not made again, and a closed issue is left alone.
func (w *Worker) ask(ctx context.Context, row store.Desired, repository triage.Repository) error {
	if row.Request == nil {
		return nil
	}
	known, err := w.Store.LoadInfoRequest(ctx, row.Issue)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	body := row.Request.Text + "\n\n" + requestMarker
	switch {
	case known.State == store.RequestGone,
		known.State == store.RequestWritten && known.Text == body,
		known.State == "" && !row.Request.Create:
		return nil
	}
	open, err := w.GitHub.IssueOpen(ctx, repository.InstallationID, repository, row.Issue.Number)
	if err != nil || !open {
		return err
	}
	known.Issue = row.Issue
	if known.State == "" {
		known.State = store.RequestIntended
		failpoint.Hit("label/before-request")
		if err := w.saveRequest(ctx, known); err != nil {
			return err
		}
		failpoint.Hit("label/after-request")
	}
	if known.CommentID == 0 {
		if known.CommentID, known.Text, err = w.findRequest(ctx, row, repository); err != nil {
			return err
		}
	}
	switch {
	case known.CommentID == 0 && !row.Request.Create:
		return nil
	case known.CommentID == 0:
		known.CommentID, err = w.GitHub.CreateComment(ctx, repository.InstallationID, repository, row.Issue.Number, body)
		failpoint.Hit("label/after-comment")
	case known.Text != body:
		err = w.GitHub.UpdateComment(ctx, repository.InstallationID, repository, known.CommentID, body)
		failpoint.Hit("label/after-comment-edit")
	}
	switch {
	case err == nil:
		known.State, known.Text = store.RequestWritten, body
	case known.CommentID != 0 && (errors.Is(err, github.ErrNotFound) || errors.Is(err, github.ErrGone)):
		known.State = store.RequestGone
	case errors.Is(err, github.ErrForbidden):
		// The conversation is locked; its labels are no worse for it.
		w.Logger.InfoContext(ctx, "GitHub takes no comment on the issue", "repository", repository.FullName, "issue", row.Issue.Number, "error", err)
		return nil
	default:
		return fmt.Errorf("ask for answers: %w", err)
	}
	return w.saveRequest(ctx, known)
}

// findRequest looks for the comment on GitHub.
func (w *Worker) findRequest(ctx context.Context, row store.Desired, repository triage.Repository) (id int64, text string, _ error) {
	slug, err := w.GitHub.AppSlug(ctx)
	if err != nil {
		return 0, "", err
	}
	// Anybody can write the marker; only the App's own comment counts.
	found, err := w.GitHub.FindComment(ctx, repository.InstallationID, repository, row.Issue.Number, func(c github.Comment) bool {
		return c.Author.Type == triage.ActorBot && strings.EqualFold(c.Author.Login, slug+"[bot]") && strings.Contains(c.Body, requestMarker)
	})
	if err != nil {
		return 0, "", fmt.Errorf("look for the comment that asks for answers: %w", err)
	}
	return found.ID, found.Body, nil
}

// saveRequest goes on while the process is stopping, like record.
func (w *Worker) saveRequest(ctx context.Context, r store.InfoRequest) error {
	r.UpdatedAt = w.Now().UTC()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseMargin)
	defer cancel()
	if err := w.Store.SaveInfoRequest(ctx, r); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// react gives comments the reactions that they are to have; to react again, after
// a crash, changes nothing on GitHub.
func (w *Worker) react(ctx context.Context, row store.Desired, repository triage.Repository) error {
	for _, r := range row.Reactions {
		err := w.GitHub.AddReaction(ctx, repository.InstallationID, repository, r.CommentID, r.Content)
		switch {
		case errors.Is(err, github.ErrForbidden), errors.Is(err, github.ErrInvalid):
			w.Logger.InfoContext(ctx, "GitHub takes no reaction to a comment", "repository", repository.FullName, "issue", row.Issue.Number, "error", err)
		case err != nil:
			return fmt.Errorf("acknowledge a command: %w", err)
		}
		failpoint.Hit("label/after-reaction")
	}
	return nil
}
