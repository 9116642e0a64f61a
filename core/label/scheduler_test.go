package label_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/app/simulate"
	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/label"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

func TestALimitOfOneInstallationHoldsUpNoOther(t *testing.T) {
	f := unlimited(t)
	limited, free := f.repository("slow", "parser"), f.repository("quick", "parser")
	const pause = 3 * time.Second
	injected := f.github.InjectFault(simulate.Fault{
		Route: addRoute, Times: 1, Status: http.StatusForbidden, RetryAfter: pause,
		Match: func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/slow/") },
	})
	w := f.start("one")
	held := f.open(limited)
	f.give(w, f.result(limited, held, says{"category": "bug"}))
	f.until("the limit is met", func() bool { return injected.Hits() == 1 })
	limitedAt := time.Now()
	const others = 5
	for range others {
		issue := f.open(free)
		f.give(w, f.result(free, issue, says{"category": "bug"}))
		f.want(free, issue.Number, "bug")
	}
	f.want(limited, held.Number, "bug")
	f.settled()
	f.once(limited, held.Number, "bug")
	writes := f.writes()
	last := writes[len(writes)-1]
	// Retry-After counts from GitHub's answer, which came just before limitedAt.
	if after := last.seen.Sub(limitedAt); last.Repository != limited || after < pause-200*time.Millisecond {
		t.Errorf("the last write was in %s, %s after the limit; want the limited one, not before %s", last.Repository, after, pause)
	}
	if len(writes) != others+1 {
		t.Errorf("%d writes, want %d", len(writes), others+1)
	}
	// A limit is nobody's failure: it does not count as an attempt.
	if got := w.counter(f, "dispatchai_label_issues_total", "postponed"); got != 0 {
		t.Errorf("%v rows were put off as failed", got)
	}
}

func TestASuspendedInstallation(t *testing.T) {
	t.Parallel()
	for name, news := range map[string]bool{"its events come": true, "its events are lost": false} {
		t.Run(name, func(t *testing.T) {
			f := unlimited(t)
			repo := f.repository("octo", "parser")
			issue := f.open(repo)
			id := f.known(repo).InstallationID
			announce := func(suspended bool, at time.Time) {
				if news {
					f.check(f.store.ApplyInstallation(f.ctx, store.InstallationChange{
						EventID: fmt.Sprint("suspended", suspended), At: at, Installation: &triage.Installation{ID: id, Account: "octo", Suspended: suspended, UpdatedAt: at},
					}))
				}
			}
			f.check(f.github.Suspend(f.ctx, id))
			announce(true, f.now())
			before := f.github.Requests()
			w := f.start("one")
			f.give(w, f.result(repo, issue, says{"category": "bug"}))
			// Another installation is served meanwhile, twice over: the claims went round.
			other := f.repository("other", "parser")
			for range 2 {
				n := f.open(other)
				f.give(w, f.result(other, n, says{"category": "bug"}))
				f.want(other, n.Number, "bug")
			}
			f.once(repo, issue.Number)
			f.check(f.github.Unsuspend(f.ctx, id))
			announce(false, f.now().Add(time.Second))
			if !news {
				f.shift.Store(int64(90 * time.Second)) // it is tried again by itself
			}
			f.want(repo, issue.Number, "bug")
			f.settled()
			f.once(repo, issue.Number, "bug")
			if got := f.github.Requests()[addRoute] - before[addRoute]; got != 3 {
				t.Errorf("%d writes, want 3", got)
			}
		})
	}
}

func TestAnOrderlyStopFinishesTheCallUnderWay(t *testing.T) {
	f := unlimited(t)
	repo := f.repository("octo", "parser")
	issue, next := f.open(repo), f.open(repo)
	injected := f.github.InjectFault(simulate.Fault{Route: addRoute, Times: 1, Latency: 500 * time.Millisecond})
	w := f.start("one", func(c *label.Config) { c.PerInstallation = 1 })
	f.give(w, f.result(repo, issue, says{"category": "bug"}), f.result(repo, next, says{"category": "bug"}))
	f.until("the call is under way", func() bool { return injected.Hits() == 1 })
	w.stop()
	if e := f.ledger(issue)["bug"]; e.State != triage.LedgerWritten {
		t.Errorf("the ledger says %+v of the call that was under way", e)
	}
	f.once(repo, next.Number) // nothing new was begun
	f.start("two")            // the lease was given back: nothing is waited for
	f.settled()
	f.once(repo, issue.Number, "bug")
	f.once(repo, next.Number, "bug")
}

// slowAnswers makes GitHub's answers to a route come only when released,
// though the requests take effect at once.
type slowAnswers struct {
	http.RoundTripper
	done    chan struct{} // closed when the effect is there
	once    sync.Once
	matches func(*http.Request) bool
}

func (s *slowAnswers) RoundTrip(r *http.Request) (*http.Response, error) {
	if !s.matches(r) {
		return s.RoundTripper.RoundTrip(r)
	}
	answer, err := s.RoundTripper.RoundTrip(r.WithContext(context.WithoutCancel(r.Context())))
	if err != nil {
		return nil, err
	}
	answer.Body.Close()
	s.once.Do(func() { close(s.done) })
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestAWriteThatAStopCutOffIsSettledFromHistory(t *testing.T) {
	t.Parallel()
	f := unlimited(t)
	repo := f.repository("octo", "parser")
	issue := f.open(repo)
	slow := &slowAnswers{RoundTripper: http.DefaultTransport, done: make(chan struct{}), matches: func(r *http.Request) bool {
		return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/labels")
	}}
	client, err := github.NewClient(github.ClientConfig{AppID: f.github.AppID(), PrivateKey: f.github.PrivateKeyPEM(), APIURL: f.github.URL(), Transport: slow})
	f.check(err)
	w := f.start("one", func(c *label.Config) { c.GitHub = client })
	f.give(w, f.result(repo, issue, says{"category": "bug"}))
	<-slow.done
	began := time.Now()
	w.stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("stopping took %s", took)
	}
	if e := f.ledger(issue)["bug"]; e.State != triage.LedgerIntended {
		t.Errorf("the ledger says %+v of a write whose answer was never seen", e)
	}
	f.start("two")
	f.settled()
	f.once(repo, issue.Number, "bug")
	if e := f.ledger(issue)["bug"]; e.State != triage.LedgerWritten {
		t.Errorf("the ledger says %+v", e)
	}
	if got := f.github.Requests()[addRoute]; got != 1 {
		t.Errorf("%d writes, want 1", got)
	}
}

func TestTwoWorkersNeverWriteTwice(t *testing.T) {
	f := unlimited(t)
	const installations, each = 12, 6
	workers := []*worker{f.start("one"), f.start("two")}
	var group sync.WaitGroup
	type opened struct {
		repo  string
		issue triage.IssueKey
	}
	var all []opened
	for i := range installations {
		repo := f.repository(fmt.Sprint("org", i), "parser")
		for range each {
			all = append(all, opened{repo, f.open(repo)})
		}
	}
	// A quarter of the writes takes effect without an answer.
	f.github.InjectFault(simulate.Fault{Route: addRoute, Probability: 0.25, Times: 10, AfterEffect: true, Status: http.StatusBadGateway})
	for n, w := range workers {
		var batch []*eventlog.Record
		for i, o := range all {
			if i%2 == n {
				batch = append(batch, f.result(o.repo, o.issue, says{"category": "bug", "component": "docs"}))
			}
		}
		group.Go(func() {
			for range 3 { // and both see everything more than once
				for _, err := range workers[1-n].HandleEnriched(f.ctx, batch) {
					if err != nil {
						t.Error(err)
					}
				}
				for _, err := range w.HandleEnriched(f.ctx, batch) {
					if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	group.Wait()
	f.shift.Store(int64(20 * time.Second)) // past the pauses that the faults make
	f.until("every row is settled", func() bool {
		f.shift.Add(int64(50 * time.Millisecond))
		n, err := f.store.DesiredPending(f.ctx)
		f.check(err)
		return n == 0
	})
	for _, o := range all {
		f.once(o.repo, o.issue.Number, "bug", "area/docs")
	}
}

func TestThousandsOfRowsDrainWithBoundedConcurrency(t *testing.T) {
	f := unlimited(t)
	const installations, each, bound = 200, 10, 16
	var now, most atomic.Int64
	counting := &counter{RoundTripper: http.DefaultTransport, now: &now, most: &most}
	client, err := github.NewClient(github.ClientConfig{AppID: f.github.AppID(), PrivateKey: f.github.PrivateKeyPEM(), APIURL: f.github.URL(), Transport: counting})
	f.check(err)
	w := f.make("one")
	type opened struct {
		repo  string
		issue triage.IssueKey
	}
	var all []opened
	for i := range installations {
		repo := f.repository(fmt.Sprint("org", i), "parser")
		var batch []*eventlog.Record
		for range each {
			o := opened{repo, f.open(repo)}
			all = append(all, o)
			batch = append(batch, f.result(repo, o.issue, says{"category": "bug"}))
		}
		f.give(w, batch...)
	}
	f.start("two", func(c *label.Config) { c.GitHub, c.Concurrency = client, bound })
	f.settled()
	for _, o := range all {
		f.once(o.repo, o.issue.Number, "bug")
	}
	// Beside the issues only tokens are asked for, one for each installation in hand.
	if got := most.Load(); got > bound || got < 2 {
		t.Errorf("%d calls at once, want up to %d", got, bound)
	}
	if got := f.github.Requests()[addRoute]; got != installations*each {
		t.Errorf("%d writes, want %d", got, installations*each)
	}
}

// counter counts the requests under way.
type counter struct {
	http.RoundTripper
	now, most *atomic.Int64
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	n := c.now.Add(1)
	defer c.now.Add(-1)
	for most := c.most.Load(); n > most && !c.most.CompareAndSwap(most, n); most = c.most.Load() {
	}
	return c.RoundTripper.RoundTrip(r)
}

// lagging is a GitHub whose label history does not show the newest changes yet.
type lagging struct {
	*github.Client
	hidden atomic.Int64 // how many readings still hide everything
}

func (l *lagging) LabelHistory(ctx context.Context, installationID int64, r triage.Repository, number int) ([]github.LabelEvent, error) {
	history, err := l.Client.LabelHistory(ctx, installationID, r, number)
	if l.hidden.Add(-1) >= 0 {
		return nil, err
	}
	return history, err
}

func TestAHistoryThatLagsIsWaitedFor(t *testing.T) {
	t.Parallel()
	f := unlimited(t)
	repo := f.repository("octo", "parser")
	issue := f.open(repo)
	l := &lagging{Client: f.client}
	l.hidden.Store(2)
	w := f.start("one", func(c *label.Config) { c.GitHub = l })
	f.give(w, f.result(repo, issue, says{"category": "bug"}))
	f.want(repo, issue.Number, "bug")
	f.settled()
	f.give(w, f.result(repo, issue, says{"category": "question"}))
	f.until("the old label is gone", func() bool {
		f.shift.Add(int64(100 * time.Millisecond))
		s, err := f.github.Issue(repo, issue.Number)
		f.check(err)
		return len(s.Labels) == 1 && s.Labels[0] == "question"
	})
	f.settled()

	// One that contradicts itself for good is left alone in the end.
	l.hidden.Store(1 << 40)
	f.give(w, f.result(repo, issue, says{"category": "feature"}))
	f.until("it is given up", func() bool {
		f.shift.Add(int64(500 * time.Millisecond))
		n, err := f.store.DesiredPending(f.ctx)
		f.check(err)
		return n == 0
	})
	f.once(repo, issue.Number, "bug", "question", "feature")
	f.want(repo, issue.Number, "question", "feature")
}

// BenchmarkDrain drains 5,000 issues of 1,000 installations.
func BenchmarkDrain(b *testing.B) {
	const installations, each = 1000, 5
	for b.Loop() {
		b.StopTimer()
		f := unlimited(b)
		w := f.make("one")
		for i := range installations {
			repo := f.repository(fmt.Sprint("org", i), "parser")
			var batch []*eventlog.Record
			for range each {
				batch = append(batch, f.result(repo, f.open(repo), says{"category": "bug", "component": "lexer"}))
			}
			f.give(w, batch...)
		}
		b.StartTimer()
		began := time.Now()
		drain := f.start("two")
		f.settled()
		took := time.Since(began)
		b.StopTimer()
		drain.stop()
		b.ReportMetric(took.Seconds()*1e6/(installations*each), "µs/issue")
		b.ReportMetric(installations*each/took.Seconds(), "issues/s")
		b.StartTimer()
	}
}
