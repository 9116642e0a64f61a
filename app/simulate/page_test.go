package simulate

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestSomebodyChangesAnIssueInTheBrowser(t *testing.T) {
	g := start(t, Options{})
	ctx := testContext(t)
	n, err := g.OpenIssue(ctx, "acme/widget", NewIssue{Author: "reporter", Title: "<script>alert(1)</script>", Body: "</pre><img src=x>"})
	must(t, err)
	is, err := g.Issue("acme/widget", n)
	must(t, err)
	res, body := get(t, is.HTMLURL, "")
	if res.StatusCode != 200 || strings.Contains(string(body), "<script>") || strings.Contains(string(body), "<img") || !strings.Contains(string(body), "&lt;script&gt;") {
		t.Errorf("the issue's page: %d %s", res.StatusCode, body)
	}
	post := func(form url.Values, origin string) *http.Response {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, is.HTMLURL, strings.NewReader(form.Encode()))
		must(t, err)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", origin)
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		_, err = io.Copy(io.Discard, res.Body)
		must(t, err)
		must(t, res.Body.Close())
		return res
	}
	if res := post(url.Values{"add": {"bug"}}, "http://elsewhere.example"); res.StatusCode != 403 {
		t.Errorf("a form of another site: %d, want 403", res.StatusCode)
	}
	if res := post(url.Values{"add": {"bug"}}, g.URL()); res.StatusCode != 200 {
		t.Errorf("adding a label: %d", res.StatusCode)
	}
	post(url.Values{"comment": {"so it is"}}, g.URL())
	post(url.Values{"state": {"closed"}}, g.URL())
	if is, err = g.Issue("acme/widget", n); err != nil || len(is.Labels) != 1 || is.Comments != 1 || is.State != "closed" {
		t.Errorf("after the forms: %+v, %v", is, err)
	}
	post(url.Values{"remove": {"bug"}}, g.URL())
	if is, err = g.Issue("acme/widget", n); err != nil || len(is.Labels) != 0 {
		t.Errorf("after removing: %+v, %v", is, err)
	}
	events, err := g.LabelEvents("acme/widget", n)
	if err != nil || len(events) != 2 || events[0].Actor != "ada" || events[0].Bot {
		t.Errorf("events = %+v, %v; want the administrator's", events, err)
	}
	for _, path := range []string{"/", "/acme/widget/issues", "/avatars/u/1"} {
		if res, body := get(t, g.URL()+path, ""); res.StatusCode != 200 || len(body) == 0 {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
	if res, _ := get(t, g.URL()+"/acme/widget/issues/99", ""); res.StatusCode != 404 {
		t.Errorf("a page of nothing: %d", res.StatusCode)
	}
}
