package github

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dispatchai/dispatchai/core/triage"
)

// ticking is a clock that a test moves.
type ticking struct{ at atomic.Int64 }

func newTicking() *ticking {
	c := &ticking{}
	c.at.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *ticking) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *ticking) advance(d time.Duration) { c.at.Add(int64(d)) }

func testBudget(c *ticking) *budget {
	m, err := newMetrics(nil, nil)
	if err != nil {
		panic(err)
	}
	return newBudget(5, c.now, true, m, slog.New(slog.DiscardHandler))
}

var (
	aRead  = cost{points: readPoints}
	aWrite = cost{points: writePoints, content: 1}
)

// spend makes up to n calls one after the other and tells how many went out.
func spend(b *budget, background bool, c cost, n int) (admitted int) {
	for range n {
		landed, held := b.admit(background, c)
		if held != nil {
			return admitted
		}
		landed(nil)
		admitted++
	}
	return admitted
}

func TestBudgetKeepsGitHubsLimits(t *testing.T) {
	clock := newTicking()
	b := testBudget(clock)
	if n := spend(b, false, aWrite, 1000); n != 80 {
		t.Fatalf("%d writes in a minute, want 80", n)
	}
	if n := spend(b, false, aRead, 1000); n != pointsPerMinute-400 {
		t.Errorf("%d reads beside 80 writes, want %d", n, pointsPerMinute-400)
	}
	held := b.held(false, aWrite)
	if held == nil || held.reason != heldContentMinute && held.reason != heldPoints || held.wait < time.Minute || held.wait > time.Minute+time.Second {
		t.Errorf("held %+v", held)
	}
	total := 80
	for total < 500 {
		clock.advance(time.Minute + time.Second)
		total += spend(b, false, aWrite, 1000)
	}
	clock.advance(time.Minute + time.Second)
	if held = b.held(false, aWrite); total != 500 || held == nil || held.reason != heldContentHour || held.wait > time.Hour {
		t.Errorf("%d writes in an hour, then %+v", total, held)
	}
	if held := b.held(false, aRead); held != nil {
		t.Errorf("a read waits for writes: %+v", held)
	}
	clock.advance(held.wait)
	if n := spend(b, false, aWrite, 1000); n != 80 {
		t.Errorf("%d writes after the wait, want 80", n)
	}
}

func TestBackgroundCallsLeaveRoomAndAreNotStarved(t *testing.T) {
	clock := newTicking()
	b := testBudget(clock)
	if n := spend(b, true, aWrite, 1000); n != 40 {
		t.Errorf("background took %d of 80 writes, want 40", n)
	}
	if n := spend(b, false, aWrite, 1000); n != 40 {
		t.Errorf("%d were left to live calls, want 40", n)
	}
	// Live calls want everything, hour after hour; background ones ask from time to time.
	live, background := 0, 0
	for range 6 * 60 * 4 {
		clock.advance(15 * time.Second)
		live += spend(b, false, aWrite, 1000)
		background += spend(b, true, aWrite, 1)
	}
	if background < 6*20 || live < 6*450 {
		t.Errorf("in six hours %d live and %d background writes", live, background)
	}
	// Background waits as long as live does, even where its own part would do.
	clock.advance(2 * time.Hour)
	clock.advance(time.Minute)
	spend(b, true, aWrite, 30)
	spend(b, false, aWrite, 1000)
	clock.advance(30 * time.Second)
	if held := b.held(true, aWrite); held == nil || !held.background {
		t.Errorf("held %+v", held)
	}
}

func answered(status int, headers ...string) *http.Response {
	r := &http.Response{StatusCode: status, Header: http.Header{}}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func rateAnswer(at time.Time, limit, remaining int, reset time.Time) *http.Response {
	return answered(200, "Date", at.UTC().Format(http.TimeFormat), "X-RateLimit-Limit", fmt.Sprint(limit),
		"X-RateLimit-Remaining", fmt.Sprint(remaining), "X-RateLimit-Reset", fmt.Sprint(reset.Unix()), "X-RateLimit-Resource", "core")
}

func TestThePrimaryLimitGoesByGitHubsClock(t *testing.T) {
	for _, skew := range []time.Duration{0, 20 * time.Minute, -20 * time.Minute} {
		clock := newTicking()
		b := testBudget(clock)
		theirs := func() time.Time { return clock.now().Add(skew) }
		reset := theirs().Add(40 * time.Minute)
		tell := func(r *http.Response) {
			landed, held := b.admit(false, aRead)
			if held != nil {
				t.Fatalf("skew %s: held back: %v", skew, held)
			}
			landed(r)
		}
		tell(rateAnswer(theirs(), 1000, 200, reset))
		if held := b.held(true, aRead); held == nil || held.reason != heldPrimary {
			t.Errorf("skew %s: a background call with a fifth left: %+v", skew, held)
		}
		tell(rateAnswer(theirs(), 1000, 1, reset.Add(time.Second)))
		tell(rateAnswer(theirs(), 1000, 0, reset))
		// Late answers of before, and of another limit, change nothing.
		for _, stale := range []*http.Response{
			rateAnswer(theirs(), 1000, 300, reset), rateAnswer(theirs(), 1000, 300, reset.Add(-time.Hour)),
			answered(200, "X-RateLimit-Limit", "30", "X-RateLimit-Remaining", "29", "X-RateLimit-Reset", "1", "X-RateLimit-Resource", "search"),
			answered(502),
		} {
			b.note(clock.now(), stale)
		}
		held := b.held(false, aRead)
		if held == nil || held.reason != heldPrimary || (held.wait-40*time.Minute).Abs() > 3*time.Second {
			t.Fatalf("skew %s: %+v", skew, held)
		}
		if at := b.left().WaitUntil; !at.Equal(clock.now().Add(held.wait)) {
			t.Errorf("skew %s: waits until %s", skew, at)
		}
		clock.advance(held.wait)
		if held := b.held(false, aRead); held != nil {
			t.Errorf("skew %s: after the reset: %+v", skew, held)
		}
	}
}

func TestABudgetSurvivesInTheStore(t *testing.T) {
	clock := newTicking()
	s := newServer(t)
	client := func() *Client { return s.client(func(c *ClientConfig) { c.Now = clock.now }) }
	a, b := client(), client()
	writes := func(c *Client) int { return spend(c.cache.get(5).budget, false, aWrite, 1000) }
	n := spend(a.cache.get(5).budget, false, aWrite, 50)
	clock.advance(10 * time.Second)
	n += spend(a.cache.get(5).budget, true, aWrite, 1) // beyond its half, within its share
	saved := a.SaveBudget(5)
	if err := b.RestoreBudget(5, saved, 0, time.Time{}); err != nil {
		t.Fatal(err)
	}
	n += writes(b)
	if n != 80 {
		t.Errorf("two processes made %d writes in one minute, want 80", n)
	}
	// Back at the first one, which knows its own part already.
	if err := a.RestoreBudget(5, b.SaveBudget(5), 0, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if n := writes(a); n != 0 {
		t.Errorf("%d more", n)
	}
	clock.advance(52 * time.Second)
	if n := writes(a); n != 50 {
		t.Errorf("%d writes after the first ones' minute, want 50", n)
	}

	// What dead processes may have spent counts, but no more than the limits allow.
	c := client()
	if err := c.RestoreBudget(5, nil, 3, clock.now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if n := writes(c); n != 80-3*lostRow.content {
		t.Errorf("%d writes beside three lost issues", n)
	}
	c = client()
	if err := c.RestoreBudget(5, nil, 1000, clock.now()); err != nil {
		t.Fatal(err)
	}
	if n := writes(c); n != 0 {
		t.Errorf("%d writes beside a thousand lost issues", n)
	}
	clock.advance(time.Hour + 2*time.Minute)
	if n := writes(c); n != 80 {
		t.Errorf("%d writes an hour later", n)
	}

	// A block and the hour's requests are handed on too.
	a.cache.get(6).budget.block(&Error{RetryAfter: 20 * time.Minute})
	a.cache.get(6).budget.note(clock.now(), rateAnswer(clock.now(), 5000, 7, clock.now().Add(30*time.Minute)))
	d := client()
	if err := d.RestoreBudget(6, a.SaveBudget(6), 0, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := d.Ready(t.Context(), 6); !errors.Is(err, ErrRateLimited) {
		t.Errorf("a blocked installation: %v", err)
	}
	if state, _ := d.Budget(6); state.Live.Requests != 7 || state.Background.Requests != 0 {
		t.Errorf("budget %+v", state)
	}

	// What is no budget is an error, and nothing worse.
	for _, damaged := range []string{"{", "[]", `{"points":"x"}`, `{"content":[[1,2]]}`, `{"content":[[9223372036854775807,9223372036854775807,-1]],"blocked_until":9223372036854775807,"limit":1,"reset":-5}`} {
		e := client()
		_ = e.RestoreBudget(7, []byte(damaged), 0, time.Time{})
		clock.advance(time.Hour + 2*time.Minute)
		if n := spend(e.cache.get(7).budget, false, aWrite, 1000); n != 80 {
			t.Errorf("%s: %d writes an hour later, want 80", damaged, n)
		}
	}
}

func TestAnEnterpriseServerWithoutLimitsIsNotHeldBack(t *testing.T) {
	s := newServer(t)
	var limits atomic.Bool
	s.serve = func(w http.ResponseWriter, _ *http.Request) {
		if !limits.Load() {
			w.Header().Del("X-RateLimit-Limit")
			w.Header().Del("X-RateLimit-Remaining")
		}
		fmt.Fprint(w, `[]`)
	}
	clock := newTicking()
	c := s.client(func(cfg *ClientConfig) { cfg.Now = clock.now })
	for range 100 {
		if _, err := c.AddLabels(t.Context(), 5, testRepository(), 3, []string{"bug"}); err != nil {
			t.Fatal(err)
		}
	}
	if state, ok := c.Budget(5); !ok || !state.Unlimited || len(c.SaveBudget(5)) != 0 {
		t.Errorf("budget %+v", state)
	}
	limits.Store(true) // its administrator switches them on
	for range 200 {
		_, _ = c.AddLabels(t.Context(), 5, testRepository(), 3, []string{"bug"})
	}
	if _, err := c.AddLabels(t.Context(), 5, testRepository(), 3, []string{"bug"}); !errors.Is(err, ErrRateLimited) {
		t.Errorf("limits were switched on: %v", err)
	}
	for host, want := range map[string]bool{"api.github.com": true, "API.GitHub.com": true, "api.octo.ghe.com": true, "github.example.com": false, "127.0.0.1": false} {
		if got := alwaysLimited(host); got != want {
			t.Errorf("%s: always limited %t", host, got)
		}
	}
}

func TestACallHeldBackSaysWhyAndHowLong(t *testing.T) {
	s := newServer(t)
	s.serve = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `[]`) }
	clock := newTicking()
	registry := prometheus.NewRegistry()
	c := s.client(func(cfg *ClientConfig) { cfg.Now, cfg.Registerer = clock.now, registry })
	add := func(ctx context.Context) error {
		_, err := c.AddLabels(ctx, 5, testRepository(), 3, []string{"bug"})
		return err
	}
	background := Background(t.Context())
	for range 40 {
		if err := add(background); err != nil {
			t.Fatal(err)
		}
	}
	var e *Error
	err := add(background)
	if !errors.As(err, &e) || !errors.Is(err, ErrRateLimited) || !e.Background || !e.Secondary || e.Status != 0 ||
		e.RetryAfter < 59*time.Second || e.RetryAfter > 61*time.Second || !strings.Contains(err.Error(), "80 writes a minute") {
		t.Errorf("%v (%+v)", err, e)
	}
	if err := c.Ready(background, 5); !errors.Is(err, ErrRateLimited) {
		t.Errorf("ready: %v", err)
	}
	if err := c.Ready(t.Context(), 5); err != nil {
		t.Errorf("ready: %v", err)
	}
	state, ok := c.Budget(5)
	if !ok || state.Live.ContentMinute != 40-4+4 || state.Background.ContentMinute != 0 || state.Live.ContentHour != 460 {
		t.Errorf("budget %+v", state)
	}
	for range 40 {
		if err := add(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := add(t.Context()); !errors.Is(err, ErrRateLimited) {
		t.Errorf("the 81st write: %v", err)
	}
	values := map[string]float64{}
	families, gatherErr := registry.Gather()
	if gatherErr != nil {
		t.Fatal(gatherErr)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, l := range m.GetLabel() {
				name += "|" + l.GetValue()
			}
			values[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"dispatchai_github_calls_held_total|live|content_minute":       1,
		"dispatchai_github_calls_held_total|background|content_minute": 2,
		"dispatchai_github_budget_left|live|content_minute":            0,
		"dispatchai_github_budget_left|live|content_hour":              420,
		"dispatchai_github_budget_left|live|primary":                   4321,
		"dispatchai_github_installations_blocked":                      1,
		"dispatchai_github_down":                                       0,
	} {
		if values[name] != want {
			t.Errorf("%s is %v, want %v", name, values[name], want)
		}
	}
}

func TestWhatGitHubAsksForIsObeyed(t *testing.T) {
	s := newServer(t)
	calls := 0
	s.serve = func(w http.ResponseWriter, _ *http.Request) {
		calls++
		w.Header().Set("Retry-After", "1800")
		answer(w, 429, "You have exceeded a secondary rate limit")
	}
	clock := newTicking()
	c := s.client(func(cfg *ClientConfig) { cfg.Now = clock.now })
	for range 3 {
		_, err := c.IssueLabels(t.Context(), 5, testRepository(), 3)
		if wait, ok := RetryAfter(err); !ok || wait != 30*time.Minute {
			t.Fatalf("%v: wait %s", err, wait)
		}
	}
	if calls != 1 {
		t.Errorf("GitHub was called %d times within its own Retry-After", calls)
	}
	s.serve = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `[]`) }
	if _, err := c.IssueLabels(t.Context(), 6, testRepository(), 3); err != nil {
		t.Errorf("another installation: %v", err)
	}
	clock.advance(30 * time.Minute)
	if _, err := c.IssueLabels(t.Context(), 5, testRepository(), 3); err != nil {
		t.Errorf("after the wait: %v", err)
	}
}

func TestAnOutageIsProbedAndNotBesieged(t *testing.T) {
	s := newServer(t)
	var down atomic.Bool
	calls := 0
	s.serve = func(w http.ResponseWriter, _ *http.Request) {
		calls++
		if down.Load() {
			answer(w, 503, "Unicorn!")
			return
		}
		fmt.Fprint(w, `[]`)
	}
	clock := newTicking()
	c := s.client(func(cfg *ClientConfig) { cfg.Now = clock.now })
	call := func(id int64) *Error {
		_, err := c.IssueLabels(t.Context(), id, testRepository(), 3)
		var e *Error
		errors.As(err, &e)
		return e
	}
	for id := range int64(4) {
		if e := call(id + 1); e != nil {
			t.Fatal(e)
		}
	}
	down.Store(true)
	calls = 0
	for n := range 4 {
		if e := call(int64(n) + 1); !errors.Is(e, ErrUnavailable) || e.Outage {
			t.Fatalf("failure %d: %v", n+1, e)
		}
	}
	if e := call(1); !errors.Is(e, ErrUnavailable) || !e.Outage {
		t.Fatalf("the fifth failure in a row: %v", e)
	}
	if e := call(2); !e.Outage || e.Status != 0 || e.RetryAfter != time.Second || calls != 5 {
		t.Fatalf("during the outage: %v after %d calls", e, calls)
	}
	for range 6 * 60 {
		clock.advance(time.Minute)
		for id := range int64(4) {
			if e := call(id + 1); e == nil || !e.Outage || e.RetryAfter > longestProbe {
				t.Fatalf("during the outage: %v", e)
			}
		}
	}
	if calls != 5+6*60 {
		t.Errorf("%d calls in six hours of outage, want one for each wait", calls)
	}
	down.Store(false)
	clock.advance(longestProbe)
	if probeIn, is := c.Outage(); !is || probeIn != 0 {
		t.Errorf("outage %t, probe in %s", is, probeIn)
	}
	for id := range int64(4) {
		if e := call(id + 1); e != nil {
			t.Errorf("after the outage: %v", e)
		}
	}
	if _, is := c.Outage(); is {
		t.Error("the outage did not end")
	}
}

// A token reaches one repository and does one kind of thing there.
func TestTokensAreNarrowed(t *testing.T) {
	s := newServer(t)
	var mu sync.Mutex
	var asked []string
	noContents := false
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/access_tokens") {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			var options map[string]any
			if err := json.Unmarshal(body, &options); err != nil {
				t.Errorf("token request: %q: %v", body, err)
			}
			canonical, _ := json.Marshal(options)
			mu.Lock()
			asked = append(asked, r.URL.Path+" "+string(canonical))
			refuse := noContents && strings.Contains(string(canonical), "contents")
			mu.Unlock()
			if refuse {
				answer(w, 422, "The permissions requested are not granted to this installation.")
				return
			}
			if strings.Contains(string(canonical), "99") {
				answer(w, 422, "There is at least one repository that does not exist or is not accessible to the parent installation.")
				return
			}
		}
		s.route(w, r)
	})
	s.serve = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `[]`) }
	c := s.client()
	ctx := t.Context()
	one, two, unnumbered := testRepository(), triage.Repository{ID: 8, FullName: "harbour-lights/buoys"}, triage.Repository{FullName: "harbour-lights/old"}
	for range 3 {
		for _, r := range []triage.Repository{one, two, unnumbered} {
			if _, err := c.IssueLabels(ctx, 5, r, 3); err != nil {
				t.Fatal(err)
			}
			if _, err := c.AddLabels(ctx, 5, r, 3, []string{"bug"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	var list any
	if _, err := c.call(ctx, "list", 5, http.MethodGet, "installation/repositories", nil, &list); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`/app/installations/5/access_tokens {"permissions":{"issues":"write","metadata":"read"},"repository_ids":[7]}`,
		`/app/installations/5/access_tokens {"permissions":{"issues":"write","metadata":"read"},"repository_ids":[8]}`,
		`/app/installations/5/access_tokens {"permissions":{"issues":"write","metadata":"read"},"repositories":["old"]}`,
		`/app/installations/5/access_tokens {"permissions":{"metadata":"read"}}`,
	}
	if !slices.Equal(asked, want) {
		t.Errorf("asked for\n%s\nwant\n%s", strings.Join(asked, "\n"), strings.Join(want, "\n"))
	}

	// An App that may read only files named in its settings is found out once.
	asked, noContents = nil, true
	for _, r := range []triage.Repository{one, two} {
		if _, err := c.call(within(ctx, r), "read a file", 5, http.MethodGet, "repos/"+r.FullName+"/contents/.github/dispatchai.yml", nil, &list); err != nil {
			t.Fatal(err)
		}
	}
	want = []string{
		`/app/installations/5/access_tokens {"permissions":{"contents":"read","metadata":"read"},"repository_ids":[7]}`,
		`/app/installations/5/access_tokens {"permissions":{"metadata":"read","single_file":"read"},"repository_ids":[7]}`,
		`/app/installations/5/access_tokens {"permissions":{"metadata":"read","single_file":"read"},"repository_ids":[8]}`,
	}
	if !slices.Equal(asked, want) {
		t.Errorf("asked for\n%s\nwant\n%s", strings.Join(asked, "\n"), strings.Join(want, "\n"))
	}

	// A repository that is no longer the installation's is out of reach, not a fault of the request.
	if _, err := c.IssueLabels(ctx, 5, triage.Repository{ID: 99, FullName: "harbour-lights/sold"}, 3); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "installation token") {
		t.Errorf("a repository out of reach: %v", err)
	}
}

// Tokens cost the App's own budget, so a start with many repositories does not
// run into the App's limits either.
func TestTokensArePaidByTheApp(t *testing.T) {
	s := newServer(t)
	s.serve = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `[]`) }
	clock := newTicking()
	c := s.client(func(cfg *ClientConfig) { cfg.Now = clock.now })
	c.app.budget.always = true // as with github.com
	calls := 0
	for id := range int64(1000) {
		_, err := c.IssueLabels(t.Context(), 5, triage.Repository{ID: id + 1, FullName: fmt.Sprint("o/r", id)}, 3)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || !errors.Is(err, ErrRateLimited) || e.RetryAfter > 62*time.Second {
				t.Fatalf("%v", err)
			}
			break
		}
		calls++
	}
	if want := pointsPerMinute / writePoints; calls != want || int(s.issued.Load()) != want {
		t.Errorf("%d repositories and %d tokens in a minute, want %d", calls, s.issued.Load(), want)
	}
	if n, _ := c.Budget(5); n.Live.Points != pointsPerMinute-calls {
		t.Errorf("the installation has %d points left", n.Live.Points)
	}
}
