package simulate

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	jwt "github.com/golang-jwt/jwt/v4"
	"github.com/google/go-github/v62/github"
)

func TestEveryRequestIsRecorded(t *testing.T) {
	var mu sync.Mutex
	var seen []Exchange
	g := start(t, Options{OnRequest: func(e Exchange) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, e)
	}})
	ctx := testContext(t)
	gh := client(t, g, install(t, g, InstallOptions{}))
	n := open(t, g, "acme/widget", "x")
	_, _, err := gh.Issues.AddLabelsToIssue(ctx, "acme", "widget", n, []string{"bug"})
	must(t, err)
	_, _, err = gh.Issues.ListByRepo(ctx, "acme", "widget", &github.IssueListByRepoOptions{State: "all"})
	must(t, err)
	_, _, _ = gh.Repositories.ListBranches(ctx, "acme", "widget", nil)
	g.InjectFault(Fault{Method: "PATCH", Times: 1, Disconnect: true})
	_, _, _ = gh.Issues.Edit(ctx, "acme", "widget", n, &github.IssueRequest{State: github.String("closed")})
	g.InjectFault(Fault{Method: "POST", Times: 1, Status: 502, AfterEffect: true})
	_, _, _ = gh.Issues.AddLabelsToIssue(ctx, "acme", "widget", n, []string{"P1"})
	get(t, g.URL()+"/", "") // a page is no request to the API
	must(t, g.Close())
	mu.Lock()
	defer mu.Unlock()
	var got []string
	for _, e := range seen {
		if e.Header.Get("Authorization") != "" || e.Header.Get("User-Agent") == "" || e.At.IsZero() {
			t.Errorf("%s %s with header %v", e.Method, e.Path, e.Header)
		}
		got = append(got, strings.TrimSpace(e.Method+" "+e.Path+" "+e.Query.Encode()+" "+string(e.Body))+" "+itoa(e.Status)+" "+e.Route)
	}
	want := []string{
		"POST /app/installations/64000001/access_tokens  null\n 201 POST /app/installations/{id}/access_tokens",
		"POST /repos/acme/widget/issues/1/labels  [\"bug\"]\n 200 POST /repos/{owner}/{repo}/issues/{number}/labels",
		"GET /repos/acme/widget/issues state=all 200 GET /repos/{owner}/{repo}/issues",
		"GET /repos/acme/widget/branches 404 unknown",
		"PATCH /repos/acme/widget/issues/1  {\"state\":\"closed\"} 0 PATCH /repos/{owner}/{repo}/issues/{number}",
		"POST /repos/acme/widget/issues/1/labels  [\"P1\"]\n 502 POST /repos/{owner}/{repo}/issues/{number}/labels",
	}
	for i := range want {
		want[i] = strings.ReplaceAll(want[i], "\n", "")
	}
	if !slices.Equal(got, want) {
		t.Errorf("recorded\n%q, want\n%q", got, want)
	}
	if !strings.Contains(string(seen[1].Answer), `"name":"bug"`) || seen[1].AnswerHeader.Get("Content-Type") == "" {
		t.Errorf("the answer to labels = %s", seen[1].Answer)
	}
}

func TestADaysOutageIsQuickAndLeavesItsDeliveriesInTheLog(t *testing.T) {
	hook := newReceiver(t)
	clock := NewVirtual(time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC))
	g := start(t, Options{Clock: clock, AuthClock: Real{}, WebhookURL: hook.URL, DeliveryLog: 20_000, RateLimits: RateLimits{Primary: 1_000_000, SecondaryOff: true}})
	ctx := testContext(t)
	key, err := testKey()
	must(t, err)
	// The real transport signs a JWT for each request, which would take longer than all else here.
	signed, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"iat": time.Now().Unix(), "exp": time.Now().Unix() + 600, "iss": g.AppID()}).SignedString(key)
	must(t, err)
	app, err := github.NewClient(nil).WithAuthToken(signed).WithEnterpriseURLs(g.URL(), g.URL())
	must(t, err)
	install(t, g, InstallOptions{})
	for i := range 500 {
		open(t, g, "acme/widget", "issue "+itoa(i))
	}
	must(t, g.WaitIdle(ctx))
	hook.take()
	g.SetUnreachable(true)
	for hour := range 24 {
		for n := range 209 {
			number := (hour*209+n)%500 + 1
			_, err := g.Comment(ctx, "acme/widget", number, "reporter", "still so")
			must(t, err)
		}
		clock.Advance(time.Hour)
	}
	g.SetUnreachable(false)
	must(t, g.WaitIdle(ctx))
	if got := hook.take(); len(got) != 0 {
		t.Errorf("%d webhooks arrived during the outage", len(got))
	}
	failed := 0
	heal := func(status string) (listed int) {
		o := &github.ListCursorOptions{PerPage: 100}
		for {
			req, err := app.NewRequest("GET", "app/hook/deliveries?per_page=100&status="+status+"&cursor="+o.Cursor, nil)
			must(t, err)
			var page []*github.HookDelivery
			res, err := app.Do(ctx, req, &page)
			must(t, err)
			for _, d := range page {
				listed++
				if status == "" && d.GetStatus() != "OK" {
					failed++
					_, _, _ = app.Apps.RedeliverHookDelivery(ctx, d.GetID())
				}
			}
			if res.Cursor == "" {
				return listed
			}
			o.Cursor = res.Cursor
		}
	}
	if n := heal("failure"); n != 0 {
		t.Errorf("the status filter finds %d failed connections; GitHub's finds none, as they have no status code", n)
	}
	heal("")
	must(t, g.WaitIdle(ctx))
	guids := map[string]bool{}
	for _, one := range hook.take() {
		guids[one.guid] = true
	}
	if failed < 5000 || len(guids) != failed {
		t.Errorf("%d failed deliveries, %d came again; want at least 5000 and all", failed, len(guids))
	}
}
