package simulate

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-github/v62/github"
)

func TestThePrimaryLimitIsPerInstallation(t *testing.T) {
	clock := NewVirtual(time.Now())
	g := start(t, Options{Clock: clock, AuthClock: Real{}, RateLimits: RateLimits{Primary: 3}})
	ctx := testContext(t)
	gh := client(t, g, install(t, g, InstallOptions{}))
	_, res, err := gh.Repositories.Get(ctx, "acme", "widget")
	must(t, err)
	if res.Rate.Limit != 3 || res.Rate.Remaining != 2 || res.Rate.Reset.Sub(clock.Now()) > time.Hour {
		t.Errorf("rate = %+v", res.Rate)
	}
	for range 2 {
		_, _, err = gh.Repositories.Get(ctx, "acme", "widget")
		must(t, err)
	}
	fresh := client(t, g, g.Installations()[0].ID) // a client that does not know yet
	_, _, err = fresh.Repositories.Get(ctx, "acme", "widget")
	var limited *github.RateLimitError
	if !errors.As(err, &limited) || limited.Rate.Remaining != 0 {
		t.Fatalf("beyond the limit: %v, want a rate limit error", err)
	}
	limits, _, err := fresh.RateLimit.Get(ctx)
	if err != nil || limits.Core.Remaining != 0 {
		t.Errorf("/rate_limit, which costs nothing: %v, %v", limits, err)
	}
	clock.Advance(time.Hour)
	if _, _, err = client(t, g, g.Installations()[0].ID).Repositories.Get(ctx, "acme", "widget"); err != nil {
		t.Errorf("after an hour: %v", err)
	}
}

func TestSecondaryLimits(t *testing.T) {
	clock := NewVirtual(time.Now())
	g := start(t, Options{Clock: clock, AuthClock: Real{}})
	ctx := testContext(t)
	id := install(t, g, InstallOptions{})
	n := open(t, g, "acme/widget", "x")
	write := func() error {
		_, _, err := client(t, g, id).Issues.AddLabelsToIssue(ctx, "acme", "widget", n, []string{"bug"})
		return err
	}
	refused := func(at time.Duration, count int) {
		t.Helper()
		for i := range count {
			if err := write(); err != nil {
				t.Fatalf("write %d: %v", i+1, err)
			}
		}
		err := write()
		var abuse *github.AbuseRateLimitError
		if !errors.As(err, &abuse) || abuse.GetRetryAfter() != at {
			t.Fatalf("write %d: %v, retry after %v; want a secondary limit and %v", count+1, err, abuse.GetRetryAfter(), at)
		}
	}
	refused(time.Minute, 80)
	for range 5 {
		clock.Advance(time.Minute)
		refused(time.Minute, 80)
	}
	clock.Advance(time.Minute)
	refused(54*time.Minute, 20) // the hour's 500 are used up
	g.SetRateLimits(RateLimits{Off: true})
	if err := write(); err != nil {
		t.Errorf("with limits off: %v", err)
	}
	token, _, err := appClient(t, g).Apps.CreateInstallationToken(ctx, id, nil)
	must(t, err)
	g.SetRateLimits(RateLimits{SecondaryStatus: 429, Points: 4})
	gh, err := github.NewClient(nil).WithAuthToken(token.GetToken()).WithEnterpriseURLs(g.URL(), g.URL())
	must(t, err)
	res, err := gh.Issues.DeleteLabel(ctx, "acme", "widget", "P1")
	if res == nil || res.StatusCode != 429 || res.Header.Get("Retry-After") == "" {
		t.Errorf("a write of 5 points with 4 left: %v", err)
	}
}

func TestConcurrentRequestsAreLimited(t *testing.T) {
	g := start(t, Options{RateLimits: RateLimits{Concurrent: 2}})
	ctx := testContext(t)
	id := install(t, g, InstallOptions{})
	token, _, err := appClient(t, g).Apps.CreateInstallationToken(ctx, id, nil)
	must(t, err)
	repo, err := g.repository("acme/widget")
	must(t, err)
	repo.mu.Lock() // so that requests pile up inside
	var wg sync.WaitGroup
	statuses := make(chan int, 3)
	for range 3 {
		wg.Go(func() {
			res, _ := get(t, g.URL()+"/repos/acme/widget", "token "+token.GetToken())
			statuses <- res.StatusCode
		})
	}
	if first := <-statuses; first != 403 {
		t.Errorf("the third request at a time: %d, want 403", first)
	}
	repo.mu.Unlock()
	wg.Wait()
	if a, b := <-statuses, <-statuses; a != 200 || b != 200 {
		t.Errorf("the two others: %d, %d", a, b)
	}
}

func TestInjectedFaults(t *testing.T) {
	g := start(t, Options{Seed: 7})
	ctx := testContext(t)
	gh := client(t, g, install(t, g, InstallOptions{}))
	n := open(t, g, "acme/widget", "x")
	const addLabels = "POST /repos/{owner}/{repo}/issues/{number}/labels"
	add := func(label string) error {
		_, _, err := gh.Issues.AddLabelsToIssue(ctx, "acme", "widget", n, []string{label})
		return err
	}
	for _, want := range []int{500, 502} {
		f := g.InjectFault(Fault{Route: addLabels, Times: 2, Status: want})
		if a, b := status(add("bug")), status(add("bug")); a != want || b != want || f.Hits() != 2 {
			t.Errorf("injected %d: got %d, %d, %d hits", want, a, b, f.Hits())
		}
	}
	if is, err := g.Issue("acme/widget", n); err != nil || len(is.Labels) != 0 {
		t.Errorf("refused writes took effect: %v, %v", is.Labels, err)
	}
	lost := g.InjectFault(Fault{Route: addLabels, Times: 1, AfterEffect: true})
	if err := add("bug"); err == nil || status(err) != 0 {
		t.Errorf("a broken connection: %v", err)
	}
	if is, err := g.Issue("acme/widget", n); err != nil || len(is.Labels) != 1 || lost.Hits() != 1 {
		t.Errorf("the write whose answer was lost took no effect: %v, %v", is.Labels, err)
	}
	g.InjectFault(Fault{Method: "DELETE", Times: 1, Disconnect: true})
	if _, err := gh.Issues.RemoveLabelForIssue(ctx, "acme", "widget", n, "bug"); err == nil {
		t.Error("a closed connection gave no error")
	}
	slow := g.InjectFault(Fault{Latency: time.Hour, Match: func(r *http.Request) bool { return r.Method == http.MethodPost }})
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, _, err := gh.Issues.AddLabelsToIssue(short, "acme", "widget", n, []string{"P1"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a slow answer: %v", err)
	}
	slow.Remove()
	some := g.InjectFault(Fault{Method: "GET", Probability: 0.5, Status: 503})
	for range 100 {
		_, _, _ = gh.Issues.Get(ctx, "acme", "widget", n)
	}
	some.Remove()
	if hits := some.Hits(); hits < 30 || hits > 70 {
		t.Errorf("%d of 100 requests hit with probability 0.5", hits)
	}
	g.InjectFault(Fault{Route: addLabels, Times: 1, Status: 429, RetryAfter: 90 * time.Second})
	var abuse *github.AbuseRateLimitError
	if err := add("P1"); !errors.As(err, &abuse) || abuse.GetRetryAfter() != 90*time.Second {
		// The client takes only 403 for a secondary limit; a 429 reaches it as a plain error with the header.
		var plain *github.ErrorResponse
		if !errors.As(err, &plain) || plain.Response.StatusCode != 429 || plain.Response.Header.Get("Retry-After") != strconv.Itoa(90) {
			t.Errorf("an injected 429: %v", err)
		}
	}
	if counts := g.Requests(); counts[addLabels] != 7 {
		t.Errorf("%d requests counted for %s, want 7; all: %v", counts[addLabels], addLabels, counts)
	}
}
