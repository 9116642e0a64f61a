package simulate

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	jwt "github.com/golang-jwt/jwt/v4"
	"github.com/google/go-github/v62/github"

	"github.com/dispatchai/dispatchai/core/github/githubtest"
)

// testKey spares each test the making of an RSA key.
var testKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

const testSecret = "a webhook secret of the tests"

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// start runs a simulated GitHub with the organisation acme, its repositories widget and gadget (private), and people:
// ada administers, max maintains, tri triages.
func start(t testing.TB, o Options) *GitHub {
	t.Helper()
	key, err := testKey()
	if err != nil {
		t.Fatal(err)
	}
	o.PrivateKey, o.WebhookSecret = key, testSecret
	watch, also := githubtest.Watch(t, githubtest.Answers), o.OnRequest
	o.OnRequest = func(e Exchange) {
		watch(githubtest.Exchange(e))
		if also != nil {
			also(e)
		}
	}
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx := testContext(t)
	for _, name := range []string{"widget", "gadget"} {
		must(t, g.CreateRepository(ctx, NewRepository{Owner: "acme", Name: name, Private: name == "gadget",
			Labels: []Label{{"bug", "d73a4a", "Something isn't working"}, {"kind/feature request", "a2eeef", ""}, {"P1", "", "soon"}},
			Roles:  map[string]Role{"ada": RoleAdmin, "max": RoleMaintain, "tri": RoleTriage}}))
	}
	return g
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func install(t testing.TB, g *GitHub, o InstallOptions) int64 {
	t.Helper()
	id, err := g.Install(testContext(t), "acme", o)
	must(t, err)
	return id
}

// client is the real client with the real transport, as the App uses them.
func client(t testing.TB, g *GitHub, installation int64) *github.Client {
	t.Helper()
	tr, err := ghinstallation.New(http.DefaultTransport, g.AppID(), installation, g.PrivateKeyPEM())
	must(t, err)
	tr.BaseURL = g.URL() + "/api/v3"
	c, err := github.NewClient(&http.Client{Transport: tr}).WithEnterpriseURLs(g.URL(), g.URL())
	must(t, err)
	return c
}

func appClient(t testing.TB, g *GitHub) *github.Client {
	t.Helper()
	tr, err := ghinstallation.NewAppsTransport(http.DefaultTransport, g.AppID(), g.PrivateKeyPEM())
	must(t, err)
	c, err := github.NewClient(&http.Client{Transport: tr}).WithEnterpriseURLs(g.URL(), g.URL())
	must(t, err)
	return c
}

func open(t testing.TB, g *GitHub, repo, title string) int {
	t.Helper()
	n, err := g.OpenIssue(testContext(t), repo, NewIssue{Author: "reporter", Title: title, Body: "It is broken."})
	must(t, err)
	return n
}

func status(err error) int {
	var res *github.ErrorResponse
	if errors.As(err, &res) {
		return res.Response.StatusCode
	}
	return 0
}

func labelNames(labels []*github.Label) []string {
	var out []string
	for _, l := range labels {
		out = append(out, l.GetName())
	}
	return out
}

func TestLabelsThroughTheRealClient(t *testing.T) {
	g := start(t, Options{})
	gh, ctx := client(t, g, install(t, g, InstallOptions{})), testContext(t)
	n := open(t, g, "acme/widget", "Broken")

	labels, _, err := gh.Issues.AddLabelsToIssue(ctx, "ACME", "Widget", n, []string{"BUG", "kind/feature request"})
	must(t, err)
	if got := labelNames(labels); !slices.Equal(got, []string{"bug", "kind/feature request"}) {
		t.Errorf("labels after adding = %q; names of the repository's own labels are expected", got)
	}
	_, _, err = gh.Issues.AddLabelsToIssue(ctx, "acme", "widget", n, []string{"bug", "invented"})
	must(t, err)
	if l, _, err := gh.Issues.GetLabel(ctx, "acme", "widget", "invented"); err != nil || l.GetColor() != "ededed" {
		t.Errorf("a label unknown to the repository was not created as GitHub does: %v, %v", l, err)
	}
	// The real client does not escape the name's slash, and GitHub takes that.
	_, err = gh.Issues.RemoveLabelForIssue(ctx, "acme", "widget", n, "kind/feature request")
	must(t, err)
	if _, err = gh.Issues.RemoveLabelForIssue(ctx, "acme", "widget", n, "kind%2Ffeature%20request"); status(err) != 404 {
		t.Errorf("removing a label that is not on the issue: %v, want 404", err)
	}
	writes, err := g.BotLabelWrites("acme/widget", n)
	must(t, err)
	if writes["bug"] != 1 || writes["invented"] != 1 {
		t.Errorf("writes by the bot = %v, want one each: a label that is there already is not written again", writes)
	}
	events, _, err := gh.Issues.ListIssueEvents(ctx, "acme", "widget", n, nil)
	must(t, err)
	var seen []string
	for _, e := range events {
		seen = append(seen, e.GetEvent()+" "+e.GetLabel().GetName()+" "+e.GetActor().GetLogin()+" "+e.GetActor().GetType())
	}
	want := []string{"labeled bug dispatchai[bot] Bot", "labeled kind/feature request dispatchai[bot] Bot", "labeled invented dispatchai[bot] Bot",
		"unlabeled kind/feature request dispatchai[bot] Bot"}
	if !slices.Equal(seen, want) {
		t.Errorf("events = %q, want %q", seen, want)
	}
	is, _, err := gh.Issues.Get(ctx, "acme", "widget", n)
	must(t, err)
	if is.GetTitle() != "Broken" || is.GetUser().GetLogin() != "reporter" || is.GetAuthorAssociation() != "NONE" || len(is.Labels) != 2 || is.GetID() < 1<<31 {
		t.Errorf("issue = %v", is)
	}
}

func TestListsArePaginated(t *testing.T) {
	g := start(t, Options{})
	gh, ctx := client(t, g, install(t, g, InstallOptions{})), testContext(t)
	for i := range 205 {
		must(t, g.CreateLabel(ctx, "acme/widget", "max", Label{Name: "label-" + itoa(i)}))
	}
	seen := map[string]bool{}
	pages := 0
	o := &github.ListOptions{PerPage: 1000}
	for {
		labels, res, err := gh.Issues.ListLabels(ctx, "acme", "widget", o)
		must(t, err)
		if len(labels) > 100 {
			t.Errorf("%d labels in a page; GitHub gives 100 at most", len(labels))
		}
		for _, l := range labels {
			seen[l.GetName()] = true
		}
		pages++
		if res.NextPage == 0 {
			break
		}
		o.Page = res.NextPage
	}
	if len(seen) != 208 || pages != 3 {
		t.Errorf("%d labels in %d pages, want 208 in 3", len(seen), pages)
	}
	past, _, err := gh.Issues.ListLabels(ctx, "acme", "widget", &github.ListOptions{Page: 9, PerPage: 100})
	if err != nil || len(past) != 0 {
		t.Errorf("beyond the last page: %d labels, %v", len(past), err)
	}
}

func TestListingIssues(t *testing.T) {
	clock := NewVirtual(time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC))
	g := start(t, Options{Clock: clock, AuthClock: Real{}})
	gh, ctx := client(t, g, install(t, g, InstallOptions{})), testContext(t)
	first := open(t, g, "acme/widget", "first")
	clock.Advance(time.Hour)
	second := open(t, g, "acme/widget", "second")
	pull, err := g.OpenPullRequest(ctx, "acme/widget", NewIssue{Author: "reporter", Title: "a change"})
	must(t, err)
	must(t, g.CloseIssue(ctx, "acme/widget", second, "tri", "not_planned"))
	for _, c := range []struct {
		o    github.IssueListByRepoOptions
		want []int
	}{
		{github.IssueListByRepoOptions{}, []int{pull, first}},
		{github.IssueListByRepoOptions{State: "closed"}, []int{second}},
		{github.IssueListByRepoOptions{State: "all", Direction: "asc"}, []int{first, second, pull}},
		{github.IssueListByRepoOptions{State: "all", Since: clock.Now().Add(-time.Minute), Direction: "asc"}, []int{second, pull}},
		{github.IssueListByRepoOptions{State: "all", Labels: []string{"bug"}}, nil},
	} {
		issues, _, err := gh.Issues.ListByRepo(ctx, "acme", "widget", &c.o)
		must(t, err)
		var got []int
		for _, is := range issues {
			got = append(got, is.GetNumber())
			if is.IsPullRequest() != (is.GetNumber() == pull) {
				t.Errorf("#%d is a pull request: %v", is.GetNumber(), is.IsPullRequest())
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v lists %v, want %v", c.o, got, c.want)
		}
	}
}

func TestWhatChangedSinceIsFound(t *testing.T) {
	clock := NewVirtual(time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC))
	g := start(t, Options{Clock: clock, AuthClock: Real{}})
	gh, ctx := client(t, g, install(t, g, InstallOptions{})), testContext(t)
	for i := range 250 {
		n := open(t, g, "acme/widget", "issue "+itoa(i))
		if i%50 == 0 {
			_, err := g.Comment(ctx, "acme/widget", n, "reporter", "old")
			must(t, err)
		}
	}
	clock.Advance(24 * time.Hour)
	cursor := clock.Now()
	must(t, g.CloseIssue(ctx, "acme/widget", 7, "tri", ""))
	clock.Advance(time.Minute)
	must(t, g.AddLabel(ctx, "acme/widget", 3, "tri", "bug"))
	id, err := g.Comment(ctx, "acme/widget", 200, "reporter", "new")
	must(t, err)
	var changed []int
	o := &github.IssueListByRepoOptions{State: "all", Since: cursor, Sort: "updated", Direction: "asc", ListOptions: github.ListOptions{PerPage: 2}}
	for {
		page, res, err := gh.Issues.ListByRepo(ctx, "acme", "widget", o)
		must(t, err)
		for _, is := range page {
			changed = append(changed, is.GetNumber())
		}
		if res.NextPage == 0 {
			break
		}
		o.Page = res.NextPage
	}
	if !slices.Equal(changed, []int{7, 3, 200}) {
		t.Errorf("changed since the cursor: %v, want 7, 3 and 200 in the order of their change", changed)
	}
	comments, _, err := gh.Issues.ListComments(ctx, "acme", "widget", 0, &github.IssueListCommentsOptions{Since: &cursor})
	if err != nil || len(comments) != 1 || comments[0].GetID() != id {
		t.Errorf("comments since the cursor: %v, %v", comments, err)
	}
	all, _, err := gh.Issues.ListComments(ctx, "acme", "widget", 0, &github.IssueListCommentsOptions{Sort: github.String("created"), Direction: github.String("desc")})
	if err != nil || len(all) != 6 || all[0].GetID() != id {
		t.Errorf("all comments, newest first: %v, %v", all, err)
	}
	events, _, err := gh.Issues.ListRepositoryEvents(ctx, "acme", "widget", nil)
	if err != nil || len(events) != 2 || events[0].GetEvent() != "labeled" || events[0].GetIssue().GetNumber() != 3 || events[1].GetIssue().GetNumber() != 7 {
		t.Errorf("events of the repository: %v, %v", events, err)
	}
}

func TestAuthenticationIsGitHubs(t *testing.T) {
	g := start(t, Options{})
	id := install(t, g, InstallOptions{})
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	now := time.Now().Unix()
	key, _ := testKey()
	sign := func(k *rsa.PrivateKey, claims jwt.MapClaims) string {
		signed, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(k)
		must(t, err)
		return "Bearer " + signed
	}
	hmacSigned, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"iat": now, "exp": now + 60, "iss": g.AppID()}).SignedString([]byte("x"))
	must(t, err)
	for name, c := range map[string]struct {
		authorization string
		status        int
		message       string
	}{
		"good, issuer a number": {sign(key, jwt.MapClaims{"iat": now - 60, "exp": now + 600, "iss": g.AppID()}), 200, ""},
		"good, issuer a text":   {sign(key, jwt.MapClaims{"iat": now, "exp": now + 60, "iss": "31415"}), 200, ""},
		"slow clock":            {sign(key, jwt.MapClaims{"iat": now + 30, "exp": now + 60, "iss": g.AppID()}), 200, ""},
		"from the future":       {sign(key, jwt.MapClaims{"iat": now + 300, "exp": now + 400, "iss": g.AppID()}), 401, "iat"},
		"expired":               {sign(key, jwt.MapClaims{"iat": now - 100, "exp": now - 1, "iss": g.AppID()}), 401, "exp"},
		"too long":              {sign(key, jwt.MapClaims{"iat": now, "exp": now + 3600, "iss": g.AppID()}), 401, "too far"},
		"no iat":                {sign(key, jwt.MapClaims{"exp": now + 60, "iss": g.AppID()}), 401, "iat"},
		"another App":           {sign(key, jwt.MapClaims{"iat": now, "exp": now + 60, "iss": 7}), 401, "iss"},
		"another key":           {sign(other, jwt.MapClaims{"iat": now, "exp": now + 60, "iss": g.AppID()}), 401, "could not be decoded"},
		"another algorithm":     {"Bearer " + hmacSigned, 401, "could not be decoded"},
		"no authorization":      {"", 401, "Requires authentication"},
		"a token of nobody":     {"token ghs_nobody", 401, "Bad credentials"},
		"another scheme":        {"Basic YTpi", 401, "Bad credentials"},
	} {
		res, body := get(t, g.URL()+"/app", c.authorization)
		var answer struct {
			Message string `json:"message"`
			Docs    string `json:"documentation_url"`
		}
		must(t, json.Unmarshal(body, &answer))
		if res.StatusCode != c.status || !strings.Contains(answer.Message, c.message) || c.status != 200 && answer.Docs == "" {
			t.Errorf("%s: %d %q, want %d %q", name, res.StatusCode, body, c.status, c.message)
		}
	}
	token, _, err := appClient(t, g).Apps.CreateInstallationToken(testContext(t), id, nil)
	must(t, err)
	if res, _ := get(t, g.URL()+"/app", "token "+token.GetToken()); res.StatusCode != 401 {
		t.Errorf("an installation's token opens /app: %d", res.StatusCode)
	}
	if res, _ := get(t, g.URL()+"/repos/acme/widget", "token "+token.GetToken()); res.StatusCode != 200 {
		t.Errorf("a good token at a path without prefix: %d", res.StatusCode)
	}
}

func get(t testing.TB, url, authorization string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(testContext(t), http.MethodGet, url, nil)
	must(t, err)
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	must(t, err)
	return res, body
}

func TestTokensAreNarrowedAndExpire(t *testing.T) {
	clock := NewVirtual(time.Now())
	g := start(t, Options{Clock: clock})
	id := install(t, g, InstallOptions{})
	app, ctx := appClient(t, g), testContext(t)
	narrow, _, err := app.Apps.CreateInstallationToken(ctx, id, &github.InstallationTokenOptions{Repositories: []string{"widget"},
		Permissions: &github.InstallationPermissions{Issues: github.String("read")}})
	must(t, err)
	if left := narrow.GetExpiresAt().Sub(clock.Now()); left < 59*time.Minute || left > time.Hour {
		t.Errorf("the token is valid for %v, want an hour", left)
	}
	gh, err := github.NewClient(nil).WithAuthToken(narrow.GetToken()).WithEnterpriseURLs(g.URL(), g.URL())
	must(t, err)
	n := open(t, g, "acme/widget", "x")
	if _, _, err = gh.Issues.Get(ctx, "acme", "widget", n); err != nil {
		t.Errorf("reading what the token covers: %v", err)
	}
	_, _, err = gh.Issues.AddLabelsToIssue(ctx, "acme", "widget", n, []string{"bug"})
	if status(err) != 403 || !strings.Contains(err.Error(), "Resource not accessible by integration") {
		t.Errorf("writing with issues:read: %v, want 403 Resource not accessible by integration", err)
	}
	if _, _, err = gh.Repositories.Get(ctx, "acme", "gadget"); status(err) != 404 {
		t.Errorf("a private repository the token does not cover: %v, want 404", err)
	}
	repos, _, err := gh.Apps.ListRepos(ctx, nil)
	must(t, err)
	if repos.GetTotalCount() != 1 || repos.Repositories[0].GetFullName() != "acme/widget" {
		t.Errorf("repositories of the narrowed token: %v", repos)
	}
	for name, o := range map[string]*github.InstallationTokenOptions{
		"a repository elsewhere":  {Repositories: []string{"nowhere"}},
		"more than was granted":   {Permissions: &github.InstallationPermissions{Administration: github.String("write")}},
		"a repository ID unknown": {RepositoryIDs: []int64{1}},
	} {
		if _, _, err := app.Apps.CreateInstallationToken(ctx, id, o); status(err) != 422 {
			t.Errorf("a token for %s: %v, want 422", name, err)
		}
	}
	clock.Advance(time.Hour)
	if _, _, err = gh.Issues.Get(ctx, "acme", "widget", n); status(err) != 401 || !strings.Contains(err.Error(), "Bad credentials") {
		t.Errorf("after an hour: %v, want 401 Bad credentials", err)
	}
	if _, _, err = app.Apps.Get(ctx, ""); status(err) != 401 {
		t.Errorf("a JWT of an hour ago: %v, want 401", err)
	}
}

func TestInstallationsComeAndGo(t *testing.T) {
	g := start(t, Options{})
	id := install(t, g, InstallOptions{Repositories: []string{"widget"}})
	gh, app, ctx := client(t, g, id), appClient(t, g), testContext(t)
	if _, _, err := gh.Repositories.Get(ctx, "acme", "widget"); err != nil {
		t.Fatal(err)
	}
	must(t, g.Suspend(ctx, id))
	if _, _, err := gh.Repositories.Get(ctx, "acme", "widget"); status(err) != 403 || !strings.Contains(err.Error(), "suspended") {
		t.Errorf("suspended: %v", err)
	}
	if inst, _, err := app.Apps.GetInstallation(ctx, id); err != nil || inst.SuspendedAt == nil || inst.SuspendedBy.GetLogin() != "ada" {
		t.Errorf("a suspended installation = %v, %v", inst, err)
	}
	must(t, g.Unsuspend(ctx, id))
	if inst, _, err := app.Apps.FindOrganizationInstallation(ctx, "ACME"); err != nil || inst.GetID() != id {
		t.Errorf("the organisation's installation = %v, %v", inst, err)
	}
	if _, _, err := app.Apps.FindUserInstallation(ctx, "ada"); status(err) != 404 {
		t.Errorf("an installation where there is none: %v, want 404", err)
	}
	must(t, g.AddRepositories(ctx, id, "gadget"))
	if _, _, err := gh.Repositories.Get(ctx, "acme", "gadget"); err != nil {
		t.Errorf("an added repository: %v", err)
	}
	must(t, g.RemoveRepositories(ctx, id, "widget"))
	if _, _, err := gh.Issues.ListLabels(ctx, "acme", "widget", nil); status(err) != 403 {
		t.Errorf("a removed public repository: %v, want 403", err)
	}
	must(t, g.Uninstall(ctx, id))
	if _, _, err := gh.Repositories.Get(ctx, "acme", "gadget"); status(err) != 401 {
		t.Errorf("uninstalled: %v, want 401", err)
	}
	if list, _, err := app.Apps.ListInstallations(ctx, nil); err != nil || len(list) != 0 {
		t.Errorf("installations left: %v, %v", list, err)
	}
}

func TestConditionalRequestsAreFree(t *testing.T) {
	g := start(t, Options{})
	token, _, err := appClient(t, g).Apps.CreateInstallationToken(testContext(t), install(t, g, InstallOptions{}), nil)
	must(t, err)
	ask := func(tag string) *http.Response {
		req, err := http.NewRequestWithContext(testContext(t), http.MethodGet, g.URL()+"/api/v3/repos/acme/widget/labels", nil)
		must(t, err)
		req.Header.Set("Authorization", "token "+token.GetToken())
		if tag != "" {
			req.Header.Set("If-None-Match", tag)
		}
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		must(t, res.Body.Close())
		return res
	}
	first := ask("")
	again := ask(first.Header.Get("ETag"))
	if again.StatusCode != 304 || again.Header.Get("X-RateLimit-Used") != first.Header.Get("X-RateLimit-Used") {
		t.Errorf("unchanged: %d, used %s after %s", again.StatusCode, again.Header.Get("X-RateLimit-Used"), first.Header.Get("X-RateLimit-Used"))
	}
	must(t, g.CreateLabel(testContext(t), "acme/widget", "max", Label{Name: "new"}))
	if changed := ask(first.Header.Get("ETag")); changed.StatusCode != 200 {
		t.Errorf("changed: %d, want 200", changed.StatusCode)
	}
}

func TestErrorsAreGitHubs(t *testing.T) {
	g := start(t, Options{})
	gh, ctx := client(t, g, install(t, g, InstallOptions{})), testContext(t)
	n := open(t, g, "acme/widget", "x")
	gone := open(t, g, "acme/widget", "y")
	must(t, g.DeleteIssue(ctx, "acme/widget", gone, "ada"))
	_, _, deleted := gh.Issues.Get(ctx, "acme", "widget", gone)
	_, _, missing := gh.Issues.Get(ctx, "acme", "widget", 999)
	_, _, nowhere := gh.Repositories.Get(ctx, "acme", "nowhere")
	_, _, twice := gh.Issues.CreateLabel(ctx, "acme", "widget", &github.Label{Name: github.String("Bug")})
	_, _, long := gh.Issues.AddLabelsToIssue(ctx, "acme", "widget", n, []string{strings.Repeat("l", 51)})
	_, _, empty := gh.Issues.CreateComment(ctx, "acme", "widget", n, &github.IssueComment{})
	for name, c := range map[string]struct {
		err  error
		want int
	}{"deleted issue": {deleted, 410}, "missing issue": {missing, 404}, "missing repository": {nowhere, 404}, "label twice": {twice, 422},
		"label too long": {long, 422}, "empty comment": {empty, 422}} {
		var res *github.ErrorResponse
		if status(c.err) != c.want || !errors.As(c.err, &res) || res.DocumentationURL == "" {
			t.Errorf("%s: %v, want %d with a documentation_url", name, c.err, c.want)
		}
	}
	token, _, err := appClient(t, g).Apps.CreateInstallationToken(ctx, g.Installations()[0].ID, nil)
	must(t, err)
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, "/repos/acme/widget/issues/1/labels", strings.NewReader(`{"labels":`))
	req.Header.Set("Authorization", "token "+token.GetToken())
	req.Header.Set("User-Agent", "test")
	rec := httptest.NewRecorder()
	g.ServeHTTP(rec, req)
	if rec.Code != 400 || !strings.Contains(rec.Body.String(), "Problems parsing JSON") {
		t.Errorf("broken JSON: %d %s", rec.Code, rec.Body)
	}
}

func TestRenamedRepositoriesAndTransferredIssuesRedirect(t *testing.T) {
	g := start(t, Options{})
	gh, ctx := client(t, g, install(t, g, InstallOptions{})), testContext(t)
	n := open(t, g, "acme/widget", "x")
	must(t, g.AddLabel(ctx, "acme/widget", n, "tri", "bug"))
	must(t, g.RenameRepository(ctx, "acme/widget", "ada", "sprocket"))
	is, _, err := gh.Issues.Get(ctx, "acme", "widget", n)
	must(t, err)
	if !strings.HasSuffix(is.GetURL(), "/repos/acme/sprocket/issues/1") {
		t.Errorf("the old name leads to %s", is.GetURL())
	}
	if !strings.Contains(is.Labels[0].GetURL(), "/acme/sprocket/labels/bug") {
		t.Errorf("the label's URL did not follow: %s", is.Labels[0].GetURL())
	}
	if _, _, err = gh.Issues.AddLabelsToIssue(ctx, "acme", "widget", n, []string{"P1"}); err != nil {
		t.Errorf("a write to the old name: %v", err)
	}
	moved, err := g.TransferIssue(ctx, "acme/sprocket", n, "max", "acme/gadget")
	must(t, err)
	is, _, err = gh.Issues.Get(ctx, "acme", "sprocket", n)
	must(t, err)
	if is.GetNumber() != moved || !strings.Contains(is.GetRepositoryURL(), "acme/gadget") || len(is.Labels) != 2 {
		t.Errorf("the transferred issue: %v", is)
	}
}

func TestPermissionLevels(t *testing.T) {
	g := start(t, Options{})
	gh, ctx := client(t, g, install(t, g, InstallOptions{})), testContext(t)
	open(t, g, "acme/widget", "x") // makes reporter known
	for login, want := range map[string]struct {
		permission, role string
		triage           bool
	}{"ada": {"admin", "admin", true}, "max": {"write", "maintain", true}, "tri": {"read", "triage", true}, "reporter": {"read", "read", false}} {
		level, _, err := gh.Repositories.GetPermissionLevel(ctx, "acme", "widget", login)
		must(t, err)
		if level.GetPermission() != want.permission || level.GetUser().GetRoleName() != want.role || level.GetUser().GetPermissions()["triage"] != want.triage {
			t.Errorf("%s: %v, want %v", login, level, want)
		}
	}
	if err := g.AddLabel(ctx, "acme/widget", 1, "reporter", "bug"); !errors.Is(err, ErrForbidden) || !strings.Contains(err.Error(), "SetRole") {
		t.Errorf("a stranger labels an issue: %v, want an error that says what to do", err)
	}
}

func TestCommentsAreEditedByTheirAuthorOnly(t *testing.T) {
	g := start(t, Options{})
	gh, ctx := client(t, g, install(t, g, InstallOptions{})), testContext(t)
	n := open(t, g, "acme/widget", "x")
	theirs, err := g.Comment(ctx, "acme/widget", n, "reporter", "me too")
	must(t, err)
	mine, _, err := gh.Issues.CreateComment(ctx, "acme", "widget", n, &github.IssueComment{Body: github.String("need more")})
	must(t, err)
	_, _, err = gh.Issues.EditComment(ctx, "acme", "widget", mine.GetID(), &github.IssueComment{Body: github.String("thanks")})
	must(t, err)
	if _, _, err = gh.Issues.EditComment(ctx, "acme", "widget", theirs, &github.IssueComment{Body: github.String("no")}); status(err) != 403 {
		t.Errorf("editing somebody's comment: %v, want 403", err)
	}
	comments, _, err := gh.Issues.ListComments(ctx, "acme", "widget", n, nil)
	must(t, err)
	if len(comments) != 2 || comments[1].GetBody() != "thanks" || comments[1].GetUser().GetLogin() != "dispatchai[bot]" {
		t.Errorf("comments = %v", comments)
	}
	must(t, g.DeleteUser("reporter"))
	is, _, err := gh.Issues.Get(ctx, "acme", "widget", n)
	if err != nil || is.User != nil {
		t.Errorf("the issue of a deleted user: %v, %v; want user null", is.GetUser(), err)
	}
}
