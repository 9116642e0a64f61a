package simulate

import (
	"strings"
	"testing"

	"github.com/google/go-github/v62/github"
)

func TestCheckRunsThroughTheRealClient(t *testing.T) {
	g := start(t, Options{Permissions: map[string]string{"issues": "write", "contents": "read", "checks": "write"}})
	ctx := testContext(t)
	gh := client(t, g, install(t, g, InstallOptions{}))
	head := files(t, g, "acme/widget", NewCommit{Files: map[string]string{".github/dispatchai.yml": "mode: nonsense\n"}})
	remark := func(line int) *github.CheckRunAnnotation {
		return &github.CheckRunAnnotation{Path: github.String(".github/dispatchai.yml"), StartLine: github.Int(line), EndLine: github.Int(line),
			StartColumn: github.Int(7), EndColumn: github.Int(15), AnnotationLevel: github.String("failure"), Message: github.String("unknown mode"), Title: github.String("mode")}
	}
	remarks := func(n int) []*github.CheckRunAnnotation {
		var all []*github.CheckRunAnnotation
		for i := range n {
			all = append(all, remark(i+1))
		}
		return all
	}
	run, _, err := gh.Checks.CreateCheckRun(ctx, "acme", "widget", github.CreateCheckRunOptions{Name: "DispatchAI configuration", HeadSHA: head, Status: github.String("in_progress")})
	must(t, err)
	if run.GetStatus() != "in_progress" || run.GetHeadSHA() != head || run.Conclusion != nil || run.GetApp().GetSlug() != "dispatchai" {
		t.Errorf("created %v", run)
	}
	output := func(n int) *github.CheckRunOutput {
		return &github.CheckRunOutput{Title: github.String("Faults"), Summary: github.String("The last good configuration stays in force."), Annotations: remarks(n)}
	}
	update := func(conclusion string, o *github.CheckRunOutput) error {
		run, _, err = gh.Checks.UpdateCheckRun(ctx, "acme", "widget", run.GetID(), github.UpdateCheckRunOptions{Name: "DispatchAI configuration", Conclusion: github.String(conclusion), Output: o})
		return err
	}
	keep := run
	if err := update("failure", output(51)); status(err) != 422 {
		t.Errorf("51 annotations at once: %v, want 422", err)
	}
	run = keep
	must(t, update("failure", output(50)))
	must(t, update("failure", output(10)))
	if run.GetStatus() != "completed" || run.GetConclusion() != "failure" || run.GetCompletedAt().IsZero() || run.GetOutput().GetAnnotationsCount() != 60 {
		t.Errorf("updated %v, want completed with 60 annotations", run)
	}
	page, res, err := gh.Checks.ListCheckRunAnnotations(ctx, "acme", "widget", run.GetID(), &github.ListOptions{PerPage: 50})
	if err != nil || len(page) != 50 || res.NextPage != 2 || page[3].GetStartLine() != 4 || page[3].GetEndColumn() != 15 {
		t.Errorf("annotations %v, %v", page, err)
	}
	second, _, err := gh.Checks.CreateCheckRun(ctx, "acme", "widget", github.CreateCheckRunOptions{Name: "DispatchAI configuration", HeadSHA: head, Conclusion: github.String("success")})
	must(t, err)
	for _, filter := range []string{"latest", "all"} {
		list, _, err := gh.Checks.ListCheckRunsForRef(ctx, "acme", "widget", "main", &github.ListCheckRunsOptions{Filter: &filter})
		must(t, err)
		if want := map[string]int{"latest": 1, "all": 2}[filter]; list.GetTotal() != want || list.CheckRuns[0].GetID() != second.GetID() {
			t.Errorf("%s runs on main: %v, want %d", filter, list, want)
		}
	}
	if got, _, err := gh.Checks.GetCheckRun(ctx, "acme", "widget", run.GetID()); err != nil || got.GetOutput().GetTitle() != "Faults" {
		t.Errorf("the run = %v, %v", got, err)
	}
	for name, o := range map[string]github.CreateCheckRunOptions{
		"on no commit":           {Name: "x", HeadSHA: strings.Repeat("0", 40)},
		"without a name":         {HeadSHA: head},
		"done with no result":    {Name: "x", HeadSHA: head, Status: github.String("completed")},
		"with an odd conclusion": {Name: "x", HeadSHA: head, Conclusion: github.String("stale")},
		"without a summary":      {Name: "x", HeadSHA: head, Output: &github.CheckRunOutput{Title: github.String("t")}},
	} {
		if _, _, err := gh.Checks.CreateCheckRun(ctx, "acme", "widget", o); status(err) != 422 {
			t.Errorf("a run %s: %v, want 422", name, err)
		}
	}
	runs, err := g.CheckRuns("acme/widget")
	if err != nil || len(runs) != 2 || runs[0].Conclusion != "failure" || len(runs[0].Annotations) != 60 || runs[1].Conclusion != "success" {
		t.Errorf("runs = %+v, %v", runs, err)
	}
	readOnly := newToken(t, g, g.Installations()[0].ID, &github.InstallationTokenOptions{Permissions: &github.InstallationPermissions{Checks: github.String("read")}})
	if res, _ := ask(t, g, readOnly, "POST", "/repos/acme/widget/check-runs", `{"name":"x","head_sha":"`+head+`"}`); res.StatusCode != 403 || res.Header.Get("X-Accepted-GitHub-Permissions") != "checks=write" {
		t.Errorf("with checks:read: %d %v", res.StatusCode, res.Header)
	}
}

func TestReactionsThroughTheRealClient(t *testing.T) {
	g := start(t, Options{})
	ctx := testContext(t)
	gh := client(t, g, install(t, g, InstallOptions{}))
	n := open(t, g, "acme/widget", "x")
	id, err := g.Comment(ctx, "acme/widget", n, "tri", "/dispatch category bug")
	must(t, err)
	var made []int
	for _, content := range []string{"eyes", "eyes", "+1"} {
		_, res, err := gh.Reactions.CreateIssueCommentReaction(ctx, "acme", "widget", id, content)
		must(t, err)
		made = append(made, res.StatusCode)
	}
	if made[0] != 201 || made[1] != 200 || made[2] != 201 {
		t.Errorf("statuses %v, want 201, 200 for the same again, 201", made)
	}
	if _, _, err := gh.Reactions.CreateIssueCommentReaction(ctx, "acme", "widget", id, "shrug"); status(err) != 422 {
		t.Errorf("a reaction that is none: %v, want 422", err)
	}
	comment, _, err := gh.Issues.GetComment(ctx, "acme", "widget", id)
	if err != nil || comment.GetReactions().GetTotalCount() != 2 || comment.GetReactions().GetEyes() != 1 || comment.GetReactions().GetPlusOne() != 1 {
		t.Errorf("the comment has %v, %v", comment.GetReactions(), err)
	}
	list, _, err := gh.Reactions.ListIssueCommentReactions(ctx, "acme", "widget", id, nil)
	if err != nil || len(list) != 2 || list[0].GetUser().GetLogin() != g.BotLogin() {
		t.Errorf("reactions %v, %v", list, err)
	}
	_, err = gh.Reactions.DeleteIssueCommentReaction(ctx, "acme", "widget", id, list[0].GetID())
	must(t, err)
	left, err := g.Reactions("acme/widget", id)
	if err != nil || len(left) != 1 || left[0].Content != "+1" || left[0].Author != g.BotLogin() {
		t.Errorf("reactions left %v, %v", left, err)
	}
}
