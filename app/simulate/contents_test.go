package simulate

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-github/v62/github"
)

func files(t testing.TB, g *GitHub, repo string, n NewCommit) string {
	t.Helper()
	sha, err := g.Commit(testContext(t), repo, "max", n)
	must(t, err)
	return sha
}

func TestContentsThroughTheRealClient(t *testing.T) {
	clock := NewVirtual(time.Now().Truncate(time.Second))
	g := start(t, Options{Clock: clock, AuthClock: Real{}})
	ctx := testContext(t)
	must(t, g.CreateRepository(ctx, NewRepository{Owner: "acme", Name: ".github", Files: map[string]string{".github/dispatchai.yml": "mode: shadow\n"}}))
	gh := client(t, g, install(t, g, InstallOptions{}))
	if _, _, _, err := gh.Repositories.GetContents(ctx, "acme", "widget", "", nil); status(err) != 404 || !strings.Contains(err.Error(), "empty") {
		t.Errorf("the root of an empty repository: %v, want 404", err)
	}
	first := files(t, g, "acme/widget", NewCommit{Files: map[string]string{".github/dispatchai.yml": "mode: apply\n",
		".github/workflows/ci.yml": "on: push\n", ".github/workflows/label.yml": "on: issues\n", "README.md": strings.Repeat("widget ", 100), "a b/ä.txt": "x"}})
	clock.Advance(time.Hour)
	second := files(t, g, "acme/widget", NewCommit{Files: map[string]string{".github/dispatchai.yml": "mode: suggest\n"}, Removed: []string{"README.md"}})
	read := func(repo, path, ref string) string {
		file, _, _, err := gh.Repositories.GetContents(ctx, "acme", repo, path, &github.RepositoryContentGetOptions{Ref: ref})
		must(t, err)
		content, err := file.GetContent()
		must(t, err)
		return content
	}
	for _, c := range []struct{ repo, path, ref, want string }{
		{".github", ".github/dispatchai.yml", "", "mode: shadow\n"},
		{"widget", ".github/dispatchai.yml", "", "mode: suggest\n"},
		{"widget", ".github/dispatchai.yml", first, "mode: apply\n"},
		{"widget", ".github/dispatchai.yml", "main", "mode: suggest\n"},
		{"widget", "README.md", first[:12], strings.Repeat("widget ", 100)},
		{"widget", "a b/ä.txt", second, "x"},
	} {
		if got := read(c.repo, c.path, c.ref); got != c.want {
			t.Errorf("%s %s at %q = %q, want %q", c.repo, c.path, c.ref, got, c.want)
		}
	}
	_, list, _, err := gh.Repositories.GetContents(ctx, "acme", "widget", ".github/workflows", nil)
	must(t, err)
	var names []string
	for _, e := range list {
		names = append(names, e.GetType()+" "+e.GetPath())
	}
	if want := []string{"file .github/workflows/ci.yml", "file .github/workflows/label.yml"}; !slices.Equal(names, want) {
		t.Errorf("the directory has %q, want %q", names, want)
	}
	download, _, err := gh.Repositories.DownloadContents(ctx, "acme", "widget", ".github/workflows/label.yml", nil)
	must(t, err)
	downloaded, err := io.ReadAll(download)
	if err != nil || string(downloaded) != "on: issues\n" {
		t.Errorf("downloaded %q, %v", downloaded, err)
	}
	for _, c := range []struct{ path, ref string }{{"README.md", ""}, {"nowhere/at/all", ""}, {".github/dispatchai.yml", "no-such-branch"}} {
		if _, _, _, err := gh.Repositories.GetContents(ctx, "acme", "widget", c.path, &github.RepositoryContentGetOptions{Ref: c.ref}); status(err) != 404 {
			t.Errorf("%s at %q: %v, want 404", c.path, c.ref, err)
		}
	}
	if sha, _, err := gh.Repositories.GetCommitSHA1(ctx, "acme", "widget", "main", ""); err != nil || sha != second {
		t.Errorf("the head is %s, %v; want %s", sha, err, second)
	}
	commits, _, err := gh.Repositories.ListCommits(ctx, "acme", "widget", &github.CommitsListOptions{Path: ".github/workflows"})
	if err != nil || len(commits) != 1 || commits[0].GetSHA() != first || commits[0].GetAuthor().GetLogin() != "max" {
		t.Errorf("commits of the workflows: %v, %v; want only the first", commits, err)
	}

	token := newToken(t, g, g.Installations()[0].ID, nil)
	const path = "/repos/acme/widget/contents/.github/dispatchai.yml"
	raw, body := ask(t, g, token, "GET", path, "", "Accept", "application/vnd.github.raw+json")
	if string(body) != "mode: suggest\n" || !strings.HasPrefix(raw.Header.Get("Content-Type"), "application/vnd.github.raw") || raw.Header.Get("Last-Modified") != clock.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT") {
		t.Errorf("raw: %q, %v", body, raw.Header)
	}
	plain, _ := ask(t, g, token, "GET", path, "")
	if plain.Header.Get("ETag") == raw.Header.Get("ETag") {
		t.Error("two media types of a file share a tag")
	}
	files(t, g, "acme/widget", NewCommit{Files: map[string]string{"other.txt": "unrelated"}})
	if same, _ := ask(t, g, token, "GET", path, "", "If-None-Match", plain.Header.Get("ETag")); same.StatusCode != 304 {
		t.Errorf("after an unrelated commit: %d, want 304", same.StatusCode)
	}
	_, body = ask(t, g, token, "GET", "/repos/acme/widget/contents/.github", "", "Accept", "application/vnd.github.object+json")
	var object struct {
		Type    string
		Entries []struct{ Name, Type string }
	}
	must(t, json.Unmarshal(body, &object))
	if object.Type != "dir" || len(object.Entries) != 2 || object.Entries[1].Type != "dir" || object.Entries[1].Name != "workflows" {
		t.Errorf("a directory as an object: %s", body)
	}
}

func TestASingleFileIsAllThatItsPermissionOpens(t *testing.T) {
	g := start(t, Options{Permissions: map[string]string{"issues": "write", "single_file": "read"}})
	ctx := testContext(t)
	id := install(t, g, InstallOptions{})
	gh := client(t, g, id)
	get := func(path string) int {
		_, _, _, err := gh.Repositories.GetContents(ctx, "acme", "widget", path, nil)
		if err == nil {
			return 200
		}
		return status(err)
	}
	files(t, g, "acme/widget", NewCommit{Files: map[string]string{"README.md": "x"}})
	if unnamed := get(".github/dispatchai.yml"); unnamed != 403 {
		t.Errorf("a file that is not named in the settings: %d, want 403", unnamed)
	}
	g.SetSingleFiles(".github/dispatchai.yml")
	before := get(".github/dispatchai.yml")
	files(t, g, "acme/widget", NewCommit{Files: map[string]string{".github/dispatchai.yml": "mode: apply\n"}})
	if got, want := []int{before, get(".github/dispatchai.yml"), get("README.md"), get(".github"), get("")}, []int{404, 200, 403, 403, 403}; !slices.Equal(got, want) {
		t.Errorf("the file missing, the file, another, its directory, the root: %v, want %v", got, want)
	}
	inst, _, err := appClient(t, g).Apps.GetInstallation(ctx, id)
	if err != nil || inst.GetSingleFileName() != ".github/dispatchai.yml" {
		t.Errorf("installation = %v, %v", inst, err)
	}
}

func TestPushIsSentToWhoMayReadContents(t *testing.T) {
	hook := newReceiver(t)
	g := start(t, Options{WebhookURL: hook.URL, Senders: 1, Events: []string{"issues", "push", "repository"}})
	ctx := testContext(t)
	id := install(t, g, InstallOptions{Permissions: map[string]string{"issues": "write"}})
	files(t, g, "acme/widget", NewCommit{Files: map[string]string{"kept": "1", "gone": "2", "changed": "3"}})
	must(t, g.WaitIdle(ctx))
	if got := hook.actions(); !slices.Equal(got, []string{"installation.created"}) {
		t.Fatalf("without contents: %q", got)
	}
	must(t, g.AcceptPermissions(ctx, id, map[string]string{"issues": "write", "contents": "read"}, []string{"issues", "push", "repository"}))
	must(t, g.WaitIdle(ctx))
	hook.take()
	head := files(t, g, "acme/widget", NewCommit{Message: "Rework\n\nall of it", Files: map[string]string{"changed": "4", "new": "5"}, Removed: []string{"gone"}})
	branch := files(t, g, "acme/widget", NewCommit{Branch: "trial", Files: map[string]string{"new": "6"}})
	must(t, g.SetDefaultBranch(ctx, "acme/widget", "ada", "trial"))
	must(t, g.WaitIdle(ctx))
	got := hook.take()
	if len(got) != 3 || got[2].action() != "repository.edited" {
		t.Fatalf("%d webhooks", len(got))
	}
	parsed, err := github.ParseWebHook("push", got[0].payload)
	must(t, err)
	e := parsed.(*github.PushEvent)
	c := e.HeadCommit
	if e.GetRef() != "refs/heads/main" || e.GetAfter() != head || e.GetBefore() == head || len(e.Commits) != 1 || c.GetID() != head || e.GetCreated() ||
		!slices.Equal(c.Added, []string{"new"}) || !slices.Equal(c.Modified, []string{"changed"}) || !slices.Equal(c.Removed, []string{"gone"}) ||
		e.GetRepo().GetDefaultBranch() != "main" || e.GetRepo().GetFullName() != "acme/widget" || e.GetRepo().GetPushedAt().IsZero() ||
		e.GetPusher().GetName() != "max" || e.GetSender().GetLogin() != "max" || e.GetInstallation().GetID() != id || e.GetRepo().GetOwner().GetName() != "acme" {
		t.Errorf("push = %s", got[0].payload)
	}
	parsed, err = github.ParseWebHook("push", got[1].payload)
	must(t, err)
	if e := parsed.(*github.PushEvent); e.GetRef() != "refs/heads/trial" || e.GetBefore() != strings.Repeat("0", 40) || e.GetAfter() != branch || !e.GetCreated() {
		t.Errorf("push of a new branch = %s", got[1].payload)
	}
	if !strings.Contains(string(got[2].payload), `"default_branch":{"from":"main"}`) || !strings.Contains(string(got[2].payload), `"default_branch":"trial"`) {
		t.Errorf("repository.edited = %s", got[2].payload)
	}
}

func TestCommitsThatCannotBeAreRefused(t *testing.T) {
	g := start(t, Options{})
	ctx := testContext(t)
	files(t, g, "acme/widget", NewCommit{Files: map[string]string{"a": "1"}})
	for name, c := range map[string]struct {
		login string
		n     NewCommit
		want  error
	}{
		"by a reader":            {"reporter", NewCommit{Files: map[string]string{"b": "1"}}, ErrForbidden},
		"that changes nothing":   {"max", NewCommit{Files: map[string]string{"a": "1"}}, ErrInvalid},
		"outside the repository": {"max", NewCommit{Files: map[string]string{"../a": "1"}}, ErrInvalid},
		"below a file":           {"max", NewCommit{Files: map[string]string{"a/b": "1"}}, ErrInvalid},
		"of a file that is gone": {"max", NewCommit{Removed: []string{"b"}}, ErrNotFound},
	} {
		if _, err := g.Commit(ctx, "acme/widget", c.login, c.n); !errors.Is(err, c.want) {
			t.Errorf("a commit %s: %v, want %v", name, err, c.want)
		}
	}
}

// TestObjectsAreNamedAsGitNamesThem compares with git itself, where there is one.
func TestObjectsAreNamedAsGitNamesThem(t *testing.T) {
	git, err := exec.LookPath("git")
	if err != nil {
		t.Skip("git is not installed")
	}
	dir := t.TempDir()
	run := func(in string, args ...string) string {
		cmd := exec.CommandContext(testContext(t), git, args...)
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(in)
		out, err := cmd.Output()
		must(t, err)
		return strings.TrimSpace(string(out))
	}
	run("", "init", "-q")
	b := newBlob("hello\n")
	if got := run("hello\n", "hash-object", "-w", "--stdin"); got != b.sha {
		t.Errorf("a blob is %s, git says %s", b.sha, got)
	}
	m := newCommit(nil, &account{id: 1, login: "ada"}, "first", time.Unix(1_800_000_000, 0).UTC(), map[string]*blob{"a.b": b, "a/b": b, "a0": b})
	inner := run("100644 blob "+b.sha+"\tb\n", "mktree")
	outer := run("100644 blob "+b.sha+"\ta.b\n040000 tree "+inner+"\ta\n100644 blob "+b.sha+"\ta0\n", "mktree")
	if outer != m.trees[""] {
		t.Errorf("a tree is %s, git says %s", m.trees[""], outer)
	}
	var committed strings.Builder
	for _, role := range []string{"author", "committer"} {
		committed.WriteString(role + " ada <1+ada@users.noreply.github.com> 1800000000 +0000\n")
	}
	if got := run("tree "+outer+"\n"+committed.String()+"\nfirst\n", "hash-object", "-t", "commit", "--stdin"); got != m.sha {
		t.Errorf("a commit is %s, git says %s", m.sha, got)
	}
}
