package simulate

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-github/v62/github"
)

// ask sends a request as an installation does that holds a token, for what the real client does not know. Headers come in pairs.
func ask(t testing.TB, g *GitHub, token, method, path, body string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(testContext(t), method, g.URL()+"/api/v3"+path, strings.NewReader(body))
	must(t, err)
	req.Header.Set("Authorization", "token "+token)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	must(t, err)
	return res, answer
}

func newToken(t testing.TB, g *GitHub, installation int64, o *github.InstallationTokenOptions) string {
	t.Helper()
	token, _, err := appClient(t, g).Apps.CreateInstallationToken(testContext(t), installation, o)
	must(t, err)
	return token.GetToken()
}

func TestEveryReadCanBeConditional(t *testing.T) {
	clock := NewVirtual(time.Now())
	g := start(t, Options{Clock: clock, AuthClock: Real{}})
	ctx := testContext(t)
	id := install(t, g, InstallOptions{})
	n := open(t, g, "acme/widget", "x")
	_, err := g.Comment(ctx, "acme/widget", n, "reporter", "hm")
	must(t, err)
	token, other := newToken(t, g, id, nil), newToken(t, g, id, nil)
	for path, dated := range map[string]bool{
		"/installation/repositories": false, "/users/ada": true, "/repos/acme/widget": true, "/repos/acme/widget/labels": false, "/repos/acme/widget/labels/bug": false,
		"/repos/acme/widget/issues": false, "/repos/acme/widget/issues/1": true, "/repos/acme/widget/issues/1/labels": false,
		"/repos/acme/widget/issues/1/comments": false, "/repos/acme/widget/issues/1/events": false, "/repos/acme/widget/issues/1/timeline": false,
		"/repos/acme/widget/collaborators/ada/permission": false,
	} {
		first, _ := ask(t, g, token, "GET", path, "")
		tag, date := first.Header.Get("ETag"), first.Header.Get("Last-Modified")
		if first.StatusCode != 200 || tag == "" || (date != "") != dated {
			t.Errorf("%s: %d with ETag %q and Last-Modified %q, want a date: %v", path, first.StatusCode, tag, date, dated)
			continue
		}
		used := first.Header.Get("X-RateLimit-Used")
		conditions := [][]string{{"If-None-Match", tag}}
		if dated {
			conditions = append(conditions, []string{"If-Modified-Since", date})
		}
		for _, condition := range conditions {
			again, body := ask(t, g, token, "GET", path, "", condition...)
			if again.StatusCode != 304 || len(body) != 0 || again.Header.Get("X-RateLimit-Used") != used {
				t.Errorf("%s with %s: %d of %d bytes, used %s after %s; want 304 for nothing", path, condition, again.StatusCode, len(body), again.Header.Get("X-RateLimit-Used"), used)
			}
		}
		if head, _ := ask(t, g, token, "HEAD", path, "", "If-None-Match", tag); head.StatusCode != 304 {
			t.Errorf("HEAD %s: %d, want 304", path, head.StatusCode)
		}
		// GitHub's tags belong to a token, so a fresh token makes each answer new once.
		if fresh, _ := ask(t, g, other, "GET", path, "", "If-None-Match", tag); fresh.StatusCode != 200 {
			t.Errorf("%s with another token's tag: %d, want 200", path, fresh.StatusCode)
		}
	}
	before, _ := ask(t, g, token, "GET", "/repos/acme/widget/issues/1", "")
	clock.Advance(time.Minute)
	must(t, g.AddLabel(ctx, "acme/widget", n, "tri", "bug"))
	for header, value := range map[string]string{"If-None-Match": before.Header.Get("ETag"), "If-Modified-Since": before.Header.Get("Last-Modified")} {
		if after, _ := ask(t, g, token, "GET", "/repos/acme/widget/issues/1", "", header, value); after.StatusCode != 200 {
			t.Errorf("a changed issue with %s: %d, want 200", header, after.StatusCode)
		}
	}
}

func TestARefusalSaysWhichPermissionWouldDo(t *testing.T) {
	g := start(t, Options{})
	open(t, g, "acme/widget", "x")
	token := newToken(t, g, install(t, g, InstallOptions{Permissions: map[string]string{"issues": "read"}}), nil)
	for path, want := range map[string]string{
		"/issues/1/labels":   "issues=write; pull_requests=write",
		"/issues/1/comments": "issues=write; pull_requests=write",
		"/issues":            "issues=write",
	} {
		res, body := ask(t, g, token, "POST", "/repos/acme/widget"+path, `{"labels":["bug"],"body":"b","title":"t"}`)
		if res.StatusCode != 403 || res.Header.Get("X-Accepted-GitHub-Permissions") != want || !strings.Contains(string(body), "Resource not accessible by integration") {
			t.Errorf("POST %s: %d %q %s, want 403 and %q", path, res.StatusCode, res.Header.Get("X-Accepted-GitHub-Permissions"), body, want)
		}
	}
}
