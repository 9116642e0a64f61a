package simulate

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-github/v62/github"
)

func TestTheLifeOfAnInstallationAndItsRepositories(t *testing.T) {
	hook := newReceiver(t)
	g := start(t, Options{WebhookURL: hook.URL, Senders: 1})
	ctx := testContext(t)
	id := install(t, g, InstallOptions{Repositories: []string{"widget"}})
	n := open(t, g, "acme/widget", "x")
	must(t, g.WaitIdle(ctx))
	hook.take()
	steps := []struct {
		name string
		do   func() error
		want []string
	}{
		{"accepting permissions", func() error {
			return g.AcceptPermissions(ctx, id, map[string]string{"issues": "write", "contents": "read", "checks": "write"}, []string{"issues", "issue_comment", "label", "repository", "push"})
		}, []string{"installation.new_permissions_accepted"}},
		{"selecting all", func() error { return g.SelectAll(ctx, id) }, []string{"installation_repositories.added"}},
		{"privatizing", func() error { return g.SetPrivate(ctx, "acme/widget", "ada", true) }, []string{"repository.privatized"}},
		{"publicizing", func() error { return g.SetPrivate(ctx, "acme/widget", "ada", false) }, []string{"repository.publicized"}},
		{"archiving", func() error { return g.SetArchived(ctx, "acme/widget", "ada", true) }, []string{"repository.archived"}},
		{"unarchiving", func() error { return g.SetArchived(ctx, "acme/widget", "ada", false) }, []string{"repository.unarchived"}},
		{"pinning", func() error { return g.Pin(ctx, "acme/widget", n, "max") }, []string{"issues.pinned"}},
		{"unpinning", func() error { return g.Unpin(ctx, "acme/widget", n, "max") }, []string{"issues.unpinned"}},
		{"locking", func() error { return g.Lock(ctx, "acme/widget", n, "max") }, []string{"issues.locked"}},
		{"unlocking", func() error { return g.Unlock(ctx, "acme/widget", n, "max") }, []string{"issues.unlocked"}},
		{"assigning", func() error { return g.Assign(ctx, "acme/widget", n, "tri", "max") }, []string{"issues.assigned"}},
		{"assigning again", func() error { return g.Assign(ctx, "acme/widget", n, "tri", "max") }, nil},
		{"unassigning", func() error { return g.Unassign(ctx, "acme/widget", n, "tri", "max") }, []string{"issues.unassigned"}},
		{"transferring an issue", func() error { _, err := g.TransferIssue(ctx, "acme/widget", n, "max", "acme/gadget"); return err }, []string{"issues.opened", "issues.transferred"}},
		{"renaming", func() error { return g.RenameRepository(ctx, "acme/widget", "ada", "sprocket") }, []string{"repository.renamed"}},
		{"giving away", func() error { return g.TransferRepository(ctx, "acme/sprocket", "ada", "elsewhere") }, []string{"repository.transferred", "installation_repositories.removed"}},
		{"deleting", func() error { return g.DeleteRepository(ctx, "acme/gadget", "ada") }, []string{"repository.deleted", "installation_repositories.removed"}},
		{"creating", func() error { return g.CreateRepository(ctx, NewRepository{Owner: "acme", Name: "fresh"}) }, []string{"installation_repositories.added", "repository.created"}},
		{"suspending", func() error { return g.Suspend(ctx, id) }, []string{"installation.suspend"}},
		{"creating while suspended", func() error { return g.CreateRepository(ctx, NewRepository{Owner: "acme", Name: "quiet"}) }, nil},
		{"opening while suspended", func() error {
			_, err := g.OpenIssue(ctx, "acme/quiet", NewIssue{Author: "reporter", Title: "x"})
			return err
		}, nil},
		{"unsuspending", func() error { return g.Unsuspend(ctx, id) }, []string{"installation.unsuspend"}},
		{"uninstalling", func() error { return g.Uninstall(ctx, id) }, []string{"installation.deleted"}},
		{"opening afterwards", func() error {
			_, err := g.OpenIssue(ctx, "acme/quiet", NewIssue{Author: "reporter", Title: "y"})
			return err
		}, nil},
	}
	for _, s := range steps {
		must(t, s.do())
		must(t, g.WaitIdle(ctx))
		var got []string
		for _, one := range hook.take() {
			got = append(got, one.action())
			parsed, err := github.ParseWebHook(one.event, one.payload)
			must(t, err)
			switch e := parsed.(type) {
			case *github.InstallationEvent:
				if e.GetInstallation().GetID() != id || e.GetAction() == "new_permissions_accepted" && len(e.Repositories) != 1 || e.GetAction() == "deleted" && len(e.Repositories) != 2 {
					t.Errorf("%s: %s", s.name, one.payload)
				}
			case *github.IssuesEvent:
				if s.name == "assigning" && (e.GetAssignee().GetLogin() != "max" || len(e.GetIssue().Assignees) != 1) {
					t.Errorf("%s: %s", s.name, one.payload)
				}
			case *github.RepositoryEvent:
				if s.name == "archiving" && !e.GetRepo().GetArchived() {
					t.Errorf("%s: %s", s.name, one.payload)
				}
			}
		}
		if !slices.Equal(got, s.want) {
			t.Errorf("%s sends %q, want %q", s.name, got, s.want)
		}
	}
}

func TestTokensDieWithTheirInstallation(t *testing.T) {
	g := start(t, Options{})
	ctx := testContext(t)
	id := install(t, g, InstallOptions{})
	token := newToken(t, g, id, nil)
	code := func() int {
		res, _ := ask(t, g, token, "GET", "/repos/acme/widget", "")
		return res.StatusCode
	}
	before := code()
	must(t, g.Suspend(ctx, id))
	suspended := code()
	_, _, denied := appClient(t, g).Apps.CreateInstallationToken(ctx, id, nil)
	must(t, g.Uninstall(ctx, id))
	if before != 200 || suspended != 403 || status(denied) != 403 || code() != 401 {
		t.Errorf("installed %d, suspended %d, a token while suspended %v, uninstalled %d; want 200, 403, 403, 401", before, suspended, denied, code())
	}
}

func TestAnArchivedRepositoryIsReadOnly(t *testing.T) {
	g := start(t, Options{})
	ctx := testContext(t)
	gh := client(t, g, install(t, g, InstallOptions{}))
	n := open(t, g, "acme/widget", "x")
	must(t, g.SetArchived(ctx, "acme/widget", "ada", true))
	if repo, _, err := gh.Repositories.Get(ctx, "acme", "widget"); err != nil || !repo.GetArchived() {
		t.Errorf("repository = %v, %v", repo, err)
	}
	if _, _, err := gh.Issues.AddLabelsToIssue(ctx, "acme", "widget", n, []string{"bug"}); status(err) != 403 || !strings.Contains(err.Error(), "archived so is read-only") {
		t.Errorf("the App labels: %v, want 403", err)
	}
	if err := g.AddLabel(ctx, "acme/widget", n, "ada", "bug"); !errors.Is(err, ErrArchived) {
		t.Errorf("a person labels: %v, want ErrArchived", err)
	}
	must(t, g.DeleteRepository(ctx, "acme/widget", "ada"))
}

func TestCommentEventsTellWhoWroteThem(t *testing.T) {
	hook := newReceiver(t)
	g := start(t, Options{WebhookURL: hook.URL, Senders: 1})
	ctx := testContext(t)
	gh := client(t, g, install(t, g, InstallOptions{}))
	n := open(t, g, "acme/widget", "x")
	mine, _, err := gh.Issues.CreateComment(ctx, "acme", "widget", n, &github.IssueComment{Body: github.String("What version?")})
	must(t, err)
	_, _, err = gh.Issues.EditComment(ctx, "acme", "widget", mine.GetID(), &github.IssueComment{Body: github.String("Which version?")})
	must(t, err)
	_, err = gh.Issues.DeleteComment(ctx, "acme", "widget", mine.GetID())
	must(t, err)
	id, err := g.Comment(ctx, "acme/widget", n, "tri", "/dispatch category bug")
	must(t, err)
	must(t, g.EditComment(ctx, "acme/widget", id, "tri", "/dispatch category feature"))
	if err := g.EditComment(ctx, "acme/widget", id, "stranger", "no"); !errors.Is(err, ErrForbidden) {
		t.Errorf("a stranger edits: %v, want ErrForbidden", err)
	}
	must(t, g.DeleteComment(ctx, "acme/widget", id, "max"))
	must(t, g.Lock(ctx, "acme/widget", n, "max"))
	if _, err := g.Comment(ctx, "acme/widget", n, "reporter", "let me"); !errors.Is(err, ErrForbidden) {
		t.Errorf("a comment on a locked issue: %v, want ErrForbidden", err)
	}
	must(t, g.WaitIdle(ctx))
	var got []string
	for _, one := range hook.take() {
		if one.event != "issue_comment" {
			continue
		}
		var e struct {
			Action  string
			Sender  struct{ Login string }
			Comment struct {
				Association string                 `json:"author_association"`
				App         *struct{ Slug string } `json:"performed_via_github_app"`
			}
			Changes struct{ Body struct{ From string } }
		}
		must(t, json.Unmarshal(one.payload, &e))
		via := "by hand"
		if e.Comment.App != nil {
			via = "via " + e.Comment.App.Slug
		}
		got = append(got, strings.TrimSpace(strings.Join([]string{e.Action, e.Sender.Login, e.Comment.Association, via, e.Changes.Body.From}, " ")))
	}
	want := []string{"created dispatchai[bot] NONE via dispatchai", "edited dispatchai[bot] NONE via dispatchai What version?", "deleted dispatchai[bot] NONE via dispatchai",
		"created tri MEMBER by hand", "edited tri MEMBER by hand /dispatch category bug", "deleted max MEMBER by hand"}
	if !slices.Equal(got, want) {
		t.Errorf("comment events:\n got %q\nwant %q", got, want)
	}
}
