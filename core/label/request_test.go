package label_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dispatchai/dispatchai/app/simulate"
	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/label"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/store/sqlite"
	"github.com/dispatchai/dispatchai/core/triage"
)

const marker = "<!-- dispatchai:needs-info -->"

// amend changes what a result says.
func (f *fixture) amend(r *eventlog.Record, change func(*triage.Enriched)) *eventlog.Record {
	f.Helper()
	var e triage.Enriched
	f.check(json.Unmarshal(r.Value, &e))
	change(&e)
	value, err := json.Marshal(e)
	f.check(err)
	r.Value = value
	return r
}

// asking is a result that asks the issue's author so.
func (f *fixture) asking(full string, key triage.IssueKey, text string, create bool) *eventlog.Record {
	f.Helper()
	return f.amend(f.result(full, key, says{"category": "bug"}), func(e *triage.Enriched) {
		e.Request = &triage.InfoRequest{Text: text, Open: true, Create: create}
	})
}

func (f *fixture) comments(full string, number int) []simulate.CommentSnapshot {
	f.Helper()
	all, err := f.github.Comments(full, number)
	f.check(err)
	return all
}

// asked wants exactly one comment of the App's, which says so.
func (f *fixture) asked(full string, number int, text string) int64 {
	f.Helper()
	var mine []simulate.CommentSnapshot
	for _, c := range f.comments(full, number) {
		if c.Author == f.github.BotLogin() {
			mine = append(mine, c)
		}
	}
	if len(mine) != 1 || mine[0].Body != text+"\n\n"+marker {
		f.Fatalf("%s#%d has the requests %+v, want one: %q", full, number, mine, text)
	}
	return mine[0].ID
}

func TestTheRequestIsOneCommentEditedInPlace(t *testing.T) {
	t.Parallel()
	f := unlimited(t)
	repo := f.repository("octo", "parser")
	w := f.start("one")
	issue := f.open(repo)
	// Anybody can write the marker.
	_, err := f.github.Comment(f.ctx, repo, issue.Number, "mallory", "Me first. "+marker)
	f.check(err)
	record := f.asking(repo, issue, "Which version?", true)
	f.give(w, record)
	f.settled()
	id := f.asked(repo, issue.Number, "Which version?")
	f.give(w, record, f.asking(repo, issue, "Which version?", true), f.asking(repo, issue, "Which system?", true))
	f.settled()
	if again := f.asked(repo, issue.Number, "Which system?"); again != id {
		t.Errorf("the comment is %d, was %d", again, id)
	}
	f.give(w, f.asking(repo, issue, "Thanks.", false))
	f.settled()
	f.asked(repo, issue.Number, "Thanks.")
	if n := f.github.Requests()["PATCH /repos/{owner}/{repo}/issues/comments/{id}"]; n != 2 {
		t.Errorf("the comment was edited %d times, want twice", n)
	}
	got, err := f.store.LoadInfoRequest(f.ctx, issue)
	f.check(err)
	if got.State != store.RequestWritten || got.CommentID != id {
		t.Errorf("known of it is %+v", got)
	}
}

func TestWhoIsNotAsked(t *testing.T) {
	t.Parallel()
	f := unlimited(t)
	repo := f.repository("octo", "parser")
	w := f.start("one")
	old, closed, ignored := f.open(repo), f.open(repo), f.open(repo)
	f.check(f.github.CloseIssue(f.ctx, repo, closed.Number, "maria", ""))
	f.give(w, f.asking(repo, old, "Which version?", false), f.asking(repo, closed, "Which version?", true),
		f.amend(f.asking(repo, ignored, "Which version?", true), func(e *triage.Enriched) { e.Ignored = true }))
	f.settled()
	for _, issue := range []triage.IssueKey{old, closed, ignored} {
		if got := f.comments(repo, issue.Number); len(got) != 0 {
			t.Errorf("%s is asked %+v", issue, got)
		}
	}
	f.once(repo, ignored.Number) // nor labelled
}

// forgetful fails to store that a comment was made, as a crash after it does.
type forgetful struct {
	*sqlite.Store
	failing atomic.Bool
}

func (s *forgetful) SaveInfoRequest(ctx context.Context, r store.InfoRequest) error {
	if r.State == store.RequestWritten && s.failing.CompareAndSwap(true, false) {
		return errors.New("the process died here")
	}
	return s.Store.SaveInfoRequest(ctx, r)
}

func TestARequestLostByACrashIsFoundAgain(t *testing.T) {
	t.Parallel()
	f := unlimited(t)
	repo := f.repository("octo", "parser")
	s := &forgetful{Store: f.store}
	s.failing.Store(true)
	w := f.start("one", func(c *label.Config) { c.Store = s })
	issue := f.open(repo)
	f.give(w, f.asking(repo, issue, "Which version?", true))
	f.until("the record failed", func() bool { return !s.failing.Load() })
	f.shift.Store(int64(10 * 60e9))
	f.settled()
	f.asked(repo, issue.Number, "Which version?")
	if n := f.github.Requests()["POST /repos/{owner}/{repo}/issues/{number}/comments"]; n != 1 {
		t.Errorf("%d comments were made", n)
	}
}

// deleted is a GitHub on which every comment of the App's has been deleted.
type deleted struct{ *github.Client }

func (d deleted) UpdateComment(ctx context.Context, installationID int64, r triage.Repository, commentID int64, body string) error {
	return d.Client.UpdateComment(ctx, installationID, r, commentID+1_000_000, body)
}

func TestADeletedRequestIsNotMadeAgain(t *testing.T) {
	t.Parallel()
	f := unlimited(t)
	repo := f.repository("octo", "parser")
	w := f.start("one", func(c *label.Config) { c.GitHub = deleted{f.client} })
	issue := f.open(repo)
	for _, text := range []string{"Which version?", "Which system?", "Which size?"} {
		f.give(w, f.asking(repo, issue, text, true))
		f.settled()
	}
	if n := f.github.Requests()["POST /repos/{owner}/{repo}/issues/{number}/comments"]; n != 1 {
		t.Errorf("%d comments were made", n)
	}
	if got, err := f.store.LoadInfoRequest(f.ctx, issue); err != nil || got.State != store.RequestGone {
		t.Errorf("known of it is %+v, %v", got, err)
	}
}

func TestCommandsAreAcknowledged(t *testing.T) {
	t.Parallel()
	f := unlimited(t)
	repo := f.repository("octo", "parser")
	w := f.start("one")
	issue := f.open(repo)
	id, err := f.github.Comment(f.ctx, repo, issue.Number, "maria", "/dispatch ignore")
	f.check(err)
	record := f.amend(f.result(repo, issue, says{"category": "bug"}), func(e *triage.Enriched) {
		e.EventType, e.Ignored = triage.Directed, true
		// The second comment is gone by now.
		e.Reactions = []triage.Reaction{{CommentID: id, Content: "+1"}, {CommentID: id + 1000, Content: "confused"}}
	})
	f.give(w, record)
	f.settled()
	f.give(w, record)
	f.settled()
	got, err := f.github.Reactions(repo, id)
	f.check(err)
	if len(got) != 1 || got[0].Content != "+1" || got[0].Author != f.github.BotLogin() {
		t.Errorf("the reactions are %+v", got)
	}
	f.once(repo, issue.Number)
	if n := w.counter(f, "dispatchai_label_issues_total", "ignored"); n != 1 {
		t.Errorf("%v ignored issues were counted", n)
	}
	// What is not classified is acknowledged all the same.
	f.give(w, f.amend(f.result(repo, issue, nil), func(e *triage.Enriched) {
		e.EventType, e.Classification = triage.Directed, nil
		e.Reactions = []triage.Reaction{{CommentID: id, Content: "confused"}}
	}))
	f.settled()
	if got, err := f.github.Reactions(repo, id); err != nil || len(got) != 2 {
		t.Errorf("the reactions are %+v, %v", got, err)
	}
}

// locked is a GitHub on which conversations are locked.
type locked struct{ *github.Client }

func (locked) CreateComment(context.Context, int64, triage.Repository, int, string) (int64, error) {
	return 0, &github.Error{Kind: github.ErrForbidden, Operation: "comment", Status: http.StatusForbidden}
}

func (locked) AddReaction(context.Context, int64, triage.Repository, int64, string) error {
	return &github.Error{Kind: github.ErrForbidden, Operation: "react", Status: http.StatusForbidden}
}

func TestALockedConversationHoldsUpNothing(t *testing.T) {
	t.Parallel()
	f := unlimited(t)
	repo := f.repository("octo", "parser")
	w := f.start("one", func(c *label.Config) { c.GitHub = locked{f.client} })
	issue := f.open(repo)
	id, err := f.github.Comment(f.ctx, repo, issue.Number, "maria", "/dispatch classify")
	f.check(err)
	f.give(w, f.amend(f.asking(repo, issue, "Which version?", true), func(e *triage.Enriched) {
		e.Reactions = []triage.Reaction{{CommentID: id, Content: "+1"}}
	}))
	f.want(repo, issue.Number, "bug")
	f.settled()
	next := f.open(repo)
	f.give(w, f.result(repo, next, says{"category": "question"}))
	f.want(repo, next.Number, "question")
	f.settled()
	if n := len(f.comments(repo, issue.Number)); n != 1 || strings.Contains(f.comments(repo, issue.Number)[0].Body, marker) {
		t.Errorf("%d comments", n)
	}
}
