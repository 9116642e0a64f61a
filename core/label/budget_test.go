package label_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dispatchai/dispatchai/app/simulate"
	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/label"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/store/sqlite"
	"github.com/dispatchai/dispatchai/core/triage"
)

// timed is a fixture whose whole world goes by a clock that stands still until
// nothing more can happen.
type timed struct {
	*fixture
	clock *simulate.Virtual
	began time.Time
	store *watched
}

func newTimed(t testing.TB, limits simulate.RateLimits) *timed {
	t.Helper()
	clock := simulate.NewVirtual(time.Date(2026, 5, 4, 9, 17, 23, 400e6, time.UTC))
	f := newFixtureAt(t, limits, clock)
	return &timed{fixture: f, clock: clock, began: clock.Now(), store: &watched{Store: f.store}}
}

// watched is a store that knows whether anybody has work in hand or finds some.
type watched struct {
	*sqlite.Store
	mu     sync.Mutex
	epoch  int // grows with whatever may make work
	inHand int
	idle   bool
}

func (w *watched) ClaimDesired(ctx context.Context, claim store.Claim) ([]store.ClaimedInstallation, error) {
	w.mu.Lock()
	before := w.epoch
	w.mu.Unlock()
	claimed, err := w.Store.ClaimDesired(ctx, claim)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inHand += len(claimed)
	w.idle = err == nil && w.inHand == 0 && before == w.epoch
	return claimed, err
}

func (w *watched) ReleaseInstallation(ctx context.Context, release store.Release) error {
	err := w.Store.ReleaseInstallation(ctx, release)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inHand--
	w.epoch++
	return err
}

func (w *watched) SaveDesired(ctx context.Context, rows []store.Desired) error {
	err := w.Store.SaveDesired(ctx, rows)
	w.disturb()
	return err
}

// disturb tells that there may be work again.
func (w *watched) disturb() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.epoch++
	w.idle = false
}

func (w *watched) state() (idle, nothingInHand bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.idle, w.inHand == 0
}

// quick makes a worker look often for what the clock made due.
func (f *timed) quick(c *label.Config) { c.Store, c.Poll = f.store, time.Millisecond }

func (f *timed) requests() (n int64) {
	for _, count := range f.github.Requests() {
		n += count
	}
	return n
}

// pass lets time pass until it holds. The clock moves on only when there is
// nothing to do: to when the next wait is over, or by step.
func (f *timed) pass(what string, step time.Duration, holds func() bool) {
	f.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-f.ctx.Done():
			f.Fatalf("waited in vain until %s; %s have passed", what, f.clock.Now().Sub(f.began))
		}
		idle, nothingInHand := f.store.state()
		wait := f.nextWait()
		if probeIn, down := f.client.Outage(); down && probeIn > 0 && nothingInHand {
			idle, wait = true, probeIn
		}
		if !idle {
			continue
		}
		if wait <= 0 {
			wait = step
		}
		f.clock.Advance(wait)
		f.store.disturb()
	}
}

// nextWait is how long the first of the installations that wait has to.
func (f *timed) nextWait() (least time.Duration) {
	for _, inst := range f.github.Installations() {
		for _, client := range f.clients {
			if state, ok := client.Budget(inst.ID); ok && !state.WaitUntil.IsZero() {
				if wait := state.WaitUntil.Sub(f.now()); least == 0 || wait < least {
					least = wait
				}
			}
		}
	}
	return least
}

func (f *timed) drained() bool {
	n, err := f.store.DesiredPending(f.ctx)
	f.check(err)
	return n == 0
}

// rows opens issues and makes their desired-state rows.
func (f *timed) rows(full string, n int, backfill bool) []triage.IssueKey {
	f.Helper()
	keys := make([]triage.IssueKey, n)
	rows := make([]store.Desired, n)
	known := f.known(full)
	states, err := f.store.LoadRepositories(f.ctx, []int64{known.ID})
	f.check(err)
	version := states[known.ID].InForce().Version
	for i := range keys {
		keys[i] = f.open(full)
		rows[i] = store.Desired{
			Issue: keys[i], InstallationID: known.InstallationID, Revision: 1, EventID: fmt.Sprint("e", keys[i]), ConfigVersion: version,
			Labels:   []triage.DesiredLabel{{Name: "bug", Field: triage.FieldCategory, Value: "bug", Source: triage.SourcePlugin, Plugin: "rules", Version: "1", Confidence: 1}},
			Backfill: backfill, ReceivedAt: f.now(),
		}
	}
	f.check(f.store.SaveDesired(f.ctx, rows))
	return keys
}

// neverRefused checks that no answer told of a limit: the budget saw them all coming.
func (f *timed) neverRefused(registries ...*prometheus.Registry) {
	f.Helper()
	for _, registry := range registries {
		families, err := registry.Gather()
		f.check(err)
		for _, family := range families {
			if family.GetName() != "dispatchai_github_requests_total" {
				continue
			}
			for _, m := range family.GetMetric() {
				for _, l := range m.GetLabel() {
					if l.GetName() == "status" && (l.GetValue() == "403" || l.GetValue() == "429") {
						f.Errorf("%v answers with status %s", m.GetCounter().GetValue(), l.GetValue())
					}
				}
			}
		}
	}
}

func (f *timed) allOnce(full string, keys []triage.IssueKey) {
	f.Helper()
	for _, key := range keys {
		f.once(full, key.Number, "bug")
	}
}

func TestThreeThousandLabelsTakeTheLeastTimeThatGitHubAllows(t *testing.T) {
	f := newTimed(t, simulate.RateLimits{})
	repo := f.repository("octo", "parser")
	keys := f.rows(repo, 3000, false)
	f.start("one", f.quick)
	f.pass("all are labelled", time.Second, f.drained)
	f.neverRefused(f.calls)
	f.allOnce(repo, keys)
	writes := f.writes()
	if len(writes) == 0 {
		f.Fatal("nothing was written")
	}
	took := writes[len(writes)-1].seen.Sub(writes[0].seen)
	// Five hours of 500, then seven bursts with six minutes between them.
	least := 5*time.Hour + 6*time.Minute
	t.Logf("3,000 labels took %s, at least %s", took, least)
	if took < least || took > least*11/10 {
		t.Errorf("3,000 labels took %s; the limits allow %s", took, least)
	}
	held := f.count(f.calls, "dispatchai_github_calls_held_total")
	t.Logf("%v calls were held back, %d requests made", held, f.requests())
	if reads := f.github.Requests()[readRoute]; reads > 3100 {
		t.Errorf("%d issues were read for 3,000 writes", reads)
	}
}

func TestTwoProcessesTogetherKeepToTheLimits(t *testing.T) {
	f := newTimed(t, simulate.RateLimits{})
	repo := f.repository("octo", "parser")
	keys := f.rows(repo, 700, false)
	calls := prometheus.NewRegistry()
	other := f.newClient(calls)
	f.start("one", f.quick)
	f.start("two", f.quick, func(c *label.Config) { c.GitHub = other })
	f.pass("all are labelled", time.Second, f.drained)
	f.neverRefused(f.calls, calls)
	f.allOnce(repo, keys)
	if mine, theirs := f.count(f.calls, "dispatchai_github_requests_total"), f.count(calls, "dispatchai_github_requests_total"); mine < 50 || theirs < 50 {
		t.Errorf("the processes made %v and %v requests; both were to take part", mine, theirs)
	}
	if took := f.clock.Now().Sub(f.began); took > 70*time.Minute {
		t.Errorf("700 labels took %s; an hour and two minutes suffice", took)
	}
}

func TestARestartRemembersWhatWasSpent(t *testing.T) {
	f := newTimed(t, simulate.RateLimits{})
	repo := f.repository("octo", "parser")
	keys := f.rows(repo, 160, false)
	first := f.start("one", f.quick)
	f.until("a minute's writes are spent", func() bool { return len(f.writes()) == 80 })
	first.stop()
	calls := prometheus.NewRegistry()
	f.start("two", f.quick, func(c *label.Config) { c.GitHub = f.newClient(calls) })
	f.pass("all are labelled", time.Second, f.drained)
	f.neverRefused(f.calls, calls)
	f.allOnce(repo, keys)
	if gap := f.writes()[80].seen.Sub(f.began); gap < time.Minute || gap > 2*time.Minute {
		t.Errorf("the second minute's writes began after %s", gap)
	}
}

// dying is a store whose process dies before it gives any lease back.
type dying struct{ *watched }

func (dying) ReleaseInstallation(context.Context, store.Release) error {
	return errors.New("the process is dead")
}

func TestWhatACrashedProcessSpentCounts(t *testing.T) {
	f := newTimed(t, simulate.RateLimits{})
	repo := f.repository("octo", "parser")
	keys := f.rows(repo, 120, false)
	first := f.start("one", func(c *label.Config) { c.Store = dying{&watched{Store: f.fixture.store}} })
	f.until("some are labelled", func() bool { return len(f.writes()) >= 32 })
	first.stop()
	f.check(f.store.ReleaseLeases(f.ctx)) // as the next process does
	calls := prometheus.NewRegistry()
	f.start("two", f.quick, func(c *label.Config) { c.GitHub = f.newClient(calls) })
	f.pass("all are labelled", time.Second, f.drained)
	f.neverRefused(f.calls, calls)
	f.allOnce(repo, keys)
	if took := f.clock.Now().Sub(f.began); took > 4*time.Minute {
		t.Errorf("it took %s to go on after a crash", took)
	}
}

func TestLiveIssuesComeBeforeABackfill(t *testing.T) {
	f := newTimed(t, simulate.RateLimits{})
	repo := f.repository("octo", "parser")
	old := f.rows(repo, 150, true)
	f.start("one", f.quick)
	f.until("the backfill's part of the minute is spent", func() bool { return len(f.writes()) >= 40 })
	if n := len(f.writes()); n > 45 {
		t.Errorf("a backfill took %d of the minute's 80 writes", n)
	}
	live := f.rows(repo, 30, false)
	f.until("live issues are labelled at once", func() bool { return len(f.writes()) >= 70 })
	if passed := f.clock.Now().Sub(f.began); passed != 0 {
		t.Errorf("live issues waited for %s", passed)
	}
	f.allOnce(repo, live)
	f.pass("all are labelled", time.Second, f.drained)
	f.neverRefused(f.calls)
	f.allOnce(repo, old)
	if took := f.clock.Now().Sub(f.began); took > 6*time.Minute {
		t.Errorf("a backfill of 150 took %s", took)
	}
}

func TestABackfillIsNeverStarved(t *testing.T) {
	f := newTimed(t, simulate.RateLimits{})
	repo := f.repository("octo", "parser")
	f.rows(repo, 1400, false) // more than two hours' work, all of it before
	old := f.rows(repo, 12, true)
	f.start("one", f.quick)
	f.pass("the backfill is done", time.Second, func() bool {
		for _, key := range old {
			if issue, err := f.github.Issue(repo, key.Number); err != nil || len(issue.Labels) == 0 {
				return false
			}
		}
		return true
	})
	f.neverRefused(f.calls)
	t.Logf("12 backfill issues among 1,400 live ones were labelled after %s", f.clock.Now().Sub(f.began))
	if f.drained() {
		t.Error("the live issues were done first")
	}
}

func TestAnHoursRetryAfterHoldsUpNobodyElse(t *testing.T) {
	f := newTimed(t, simulate.RateLimits{})
	slow, free := f.repository("slow", "parser"), f.repository("quick", "parser")
	f.github.InjectFault(simulate.Fault{
		Route: addRoute, Times: 1, Status: http.StatusTooManyRequests, RetryAfter: time.Hour,
		Match: func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/slow/") },
	})
	held := f.rows(slow, 3, false)
	f.start("one", f.quick, func(c *label.Config) { c.PerInstallation = 1 })
	f.until("the limit is met", func() bool { return f.github.Requests()[addRoute] == 1 })
	others := f.rows(free, 20, false)
	f.until("the others are labelled", func() bool { return len(f.writes()) == 20 })
	f.allOnce(free, others)
	f.until("they are settled", func() bool {
		left, err := f.store.DesiredPending(f.ctx)
		return err == nil && left == int64(len(held))
	})
	if passed := f.clock.Now().Sub(f.began); passed != 0 {
		t.Errorf("the others waited for %s", passed)
	}
	before := f.requests()
	f.clock.Advance(time.Hour - time.Second)
	other := f.rows(free, 1, false)
	f.until("the other is labelled", func() bool { return len(f.writes()) == 21 })
	f.allOnce(free, other)
	// A look at the set of labels, one at the issue, one write.
	if n := f.requests() - before; n > 3 {
		t.Errorf("%d requests within the hour, want 3", n)
	}
	f.pass("all are labelled", time.Second, f.drained)
	f.allOnce(slow, held)
	if at := f.writes()[21].seen.Sub(f.began); at < time.Hour || at > time.Hour+time.Minute {
		t.Errorf("the limited installation went on after %s", at)
	}
}

func TestTheHoursRequestsAreNotExceeded(t *testing.T) {
	for name, skew := range map[string]time.Duration{"clocks agree": 0, "ours is ahead": 17 * time.Minute, "ours is behind": -3 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			f := newTimed(t, simulate.RateLimits{Primary: 60})
			f.shift.Store(int64(skew))
			repo := f.repository("octo", "parser")
			keys := f.rows(repo, 50, false) // two requests each
			f.start("one", f.quick)
			f.pass("all are labelled", 20*time.Second, f.drained)
			f.neverRefused(f.calls)
			f.allOnce(repo, keys)
			if took := f.clock.Now().Sub(f.began); took < time.Hour || took > time.Hour+time.Minute {
				t.Errorf("it took %s; the hour's requests come back after one hour", took)
			}
		})
	}
}

func TestHoursWithoutGitHubAreCaughtUpAtOnce(t *testing.T) {
	f := newTimed(t, simulate.RateLimits{})
	const installations, each = 12, 5
	repos := make([]string, installations)
	for i := range repos {
		repos[i] = f.repository(fmt.Sprint("org", i), "parser")
	}
	for name, down := range map[string]struct {
		fault simulate.Fault
		hours int
	}{"no connection": {simulate.Fault{Disconnect: true}, 1}, "502": {simulate.Fault{Status: http.StatusBadGateway}, 6}} {
		t.Run(name, func(t *testing.T) {
			keys := make([][]triage.IssueKey, installations)
			for i := range repos {
				keys[i] = f.rows(repos[i], each, false)
			}
			outage := f.github.InjectFault(down.fault)
			w := f.start("during "+name, f.quick)
			began := f.clock.Now()
			f.pass("hours are over", time.Second, func() bool { return f.clock.Now().Sub(began) > time.Duration(down.hours)*time.Hour })
			// Half a minute lies between two probes; a broken connection is tried twice.
			if n := outage.Hits(); n < 100*down.hours || n > 250*down.hours {
				t.Errorf("%d requests while GitHub was down, want two a minute", n)
			}
			if n := w.counter(f.fixture, "dispatchai_label_issues_total", "postponed"); n > 8 {
				t.Errorf("%v attempts count against issues", n)
			}
			if down := f.gauge("dispatchai_github_down"); down != 1 {
				t.Errorf("the metric says %v", down)
			}
			outage.Remove()
			recovered := f.clock.Now()
			f.pass("all are labelled", time.Second, f.drained)
			took := f.clock.Now().Sub(recovered)
			t.Logf("all is caught up %s after the recovery", took)
			if took > 65*time.Second {
				t.Errorf("it took %s to catch up", took)
			}
			for i := range repos {
				f.allOnce(repos[i], keys[i])
			}
			if down := f.gauge("dispatchai_github_down"); down != 0 {
				t.Errorf("the metric says %v", down)
			}
			w.stop()
		})
	}
}

// gauge reads a gauge without labels.
func (f *timed) gauge(name string) float64 {
	f.Helper()
	families, err := f.calls.Gather()
	f.check(err)
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	f.Fatalf("no metric %s", name)
	return 0
}

func TestChangesOfOneIssueAreOneWrite(t *testing.T) {
	f := newTimed(t, simulate.RateLimits{})
	repo := f.repository("octo", "parser")
	issue := f.open(repo)
	var blocked atomic.Bool
	blocked.Store(true)
	gate := f.github.InjectFault(simulate.Fault{Status: http.StatusTooManyRequests, RetryAfter: time.Minute, Match: func(*http.Request) bool { return blocked.Load() }})
	w := f.start("one", f.quick)
	f.give(w, f.result(repo, issue, says{"category": "question"}))
	f.until("the limit is met", func() bool { return gate.Hits() > 0 })
	for _, category := range []string{"feature", "question", "bug"} {
		f.give(w, []*eventlog.Record{f.result(repo, issue, says{"category": category, "component": "lexer"})}...)
	}
	blocked.Store(false)
	f.pass("it is labelled", time.Second, f.drained)
	f.once(repo, issue.Number, "bug", "area/lexer")
	if n := f.github.Requests()[addRoute]; n != 1 {
		t.Errorf("%d writes for four changes, want 1", n)
	}
}
