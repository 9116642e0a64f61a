package app_test

import (
	"bufio"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/app/simulate"
)

// backfillProgress is a line of `dispatchai backfill --json`.
type backfillProgress struct {
	Status                             string
	Total, Listed, Enqueued, Unchanged int64
}

// watcher is a running `dispatchai backfill`.
type watcher struct {
	cmd      *exec.Cmd
	progress chan backfillProgress // closed when the command has ended
	err      error                 // then
	stderr   *strings.Builder
}

func (s *system) backfill(args ...string) *watcher {
	s.t.Helper()
	w := &watcher{progress: make(chan backfillProgress, 10_000), stderr: &strings.Builder{}}
	w.cmd = exec.CommandContext(testContext(s.t), s.binary, append([]string{"backfill", testRepo, "--json"}, args...)...)
	w.cmd.Env, w.cmd.Stderr = s.environment(), w.stderr
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		defer close(w.progress)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var p backfillProgress
			if json.Unmarshal(lines.Bytes(), &p) == nil {
				w.progress <- p
			}
		}
		w.err = w.cmd.Wait()
	}()
	return w
}

// until waits for progress that fits.
func (w *watcher) until(t testing.TB, what string, fits func(backfillProgress) bool) backfillProgress {
	t.Helper()
	timeout := time.After(deadline)
	for {
		select {
		case p, ok := <-w.progress:
			if !ok {
				t.Fatalf("the command ended before %s: %v\n%s", what, w.err, w.stderr)
			}
			if fits(p) {
				return p
			}
		case <-timeout:
			t.Fatalf("the backfill did not come to %s\n%s", what, w.stderr)
		}
	}
}

func (w *watcher) end(t testing.TB) backfillProgress {
	t.Helper()
	var last backfillProgress
	w.until(t, "its end", func(p backfillProgress) bool { last = p; return p.Status != "running" })
	for range w.progress { //nolint:revive // until it is closed
	}
	if w.err != nil {
		t.Errorf("dispatchai backfill: %v\n%s", w.err, w.stderr)
	}
	return last
}

// oldIssues makes issues of the test repository from before the App is
// installed there, a tenth of them closed, and installs it.
func (s *system) oldIssues(n int) {
	s.t.Helper()
	ctx := testContext(s.t)
	if err := s.github.CreateRepository(ctx, simulate.NewRepository{Owner: testOwner, Name: "widgets", Labels: testLabels(), Roles: map[string]simulate.Role{"maia": simulate.RoleMaintain}}); err != nil {
		s.t.Fatal(err)
	}
	for i := range n {
		number, err := s.github.OpenIssue(ctx, testRepo, bugReport(i))
		if err == nil && i%10 == 9 {
			err = s.github.CloseIssue(ctx, testRepo, number, "maia", "")
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	if _, err := s.github.OpenPullRequest(ctx, testRepo, simulate.NewIssue{Author: "tom", Title: "A pull request", Body: "Merge it"}); err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.github.Install(ctx, testOwner, simulate.InstallOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

// knows waits until the service has heard of the repository.
func (s *system) knows() {
	s.t.Helper()
	eventually(s.t, "the repository is known", func() bool {
		return slices.ContainsFunc(s.gaps().Repositories, func(r repositoryGaps) bool { return r.FullName == testRepo })
	})
}

// TestBackfill: thousands of old issues are classified and labelled on request,
// each once, though the service is killed in the middle; live issues do not wait.
func TestBackfill(t *testing.T) {
	t.Parallel()
	const issues = 2000
	s := newSystem(t, simulate.Options{Seed: 61, RateLimits: simulate.RateLimits{Off: true}, QueuedWebhooks: 20_000})
	s.quick()
	s.oldIssues(issues)
	s.start()
	t.Cleanup(s.dump)
	s.knows()

	live := func(n int) time.Duration {
		t.Helper()
		began := time.Now()
		number, err := s.github.OpenIssue(testContext(t), testRepo, featureRequest(n))
		if err != nil {
			t.Fatal(err)
		}
		s.waitLabel(number, "kind/feature")
		return time.Since(began)
	}
	var idle, busy []time.Duration
	for n := range 10 {
		idle = append(idle, live(n))
	}
	w := s.backfill()
	w.until(t, "its middle", func(p backfillProgress) bool { return p.Listed >= issues/10 })
	began := time.Now()
	for n := range 10 {
		busy = append(busy, live(100+n))
	}
	// Behind the old issues they would have come at its end.
	if b := s.gaps().Repositories[0].Backfill; b == nil || b.Status != "running" {
		t.Errorf("live issues were not labelled before the backfill ended: %+v", b)
	}
	s.kill()
	_ = w.cmd.Process.Signal(syscall.SIGTERM)
	for range w.progress { //nolint:revive // until it is closed
	}
	s.start()
	again := s.backfill()
	done := again.end(t)
	t.Logf("%d issues in %s; live issues took %s while idle, %s meanwhile (medians), %s at most", done.Listed, time.Since(began).Round(time.Millisecond), median(idle), median(busy), slices.Max(busy))
	if done.Status != "done" || done.Total < issues*9/10 || done.Listed < issues*9/10 {
		t.Errorf("it ended with %+v", done)
	}
	numbers := s.assertBackfilled(issues)
	s.assertLabelledOnce(numbers)

	// Once more: everything is classified, and nothing is done.
	if err := s.github.WaitIdle(testContext(t)); err != nil {
		t.Fatal(err)
	}
	s.waitGapless()
	before := s.metric(`dispatchai_reconcile_backfilled_total{outcome="enqueued"}`)
	done = s.backfill("--state", "open").end(t)
	if done.Status != "done" || done.Enqueued != 0 || done.Unchanged < issues*9/10 {
		t.Errorf("the second time it ended with %+v", done)
	}
	if after := s.metric(`dispatchai_reconcile_backfilled_total{outcome="enqueued"}`); after != before {
		t.Errorf("%v issues were enqueued again", after-before)
	}
}

func median(d []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(d))
	return sorted[len(sorted)/2].Round(time.Millisecond)
}

// assertBackfilled waits until the open ones of the old issues are labelled and
// checks that the closed ones are not.
func (s *system) assertBackfilled(issues int) (numbers []int) {
	s.t.Helper()
	for n := 1; n <= issues; n++ {
		numbers = append(numbers, n)
		if n%10 != 0 {
			s.waitLabel(n, "kind/bug")
		}
	}
	eventually(s.t, "nothing waits to be labelled", func() bool { return s.metric("dispatchai_label_pending") == 0 })
	for n := 10; n <= issues; n += 10 {
		issue, err := s.github.Issue(testRepo, n)
		if err != nil {
			s.t.Fatal(err)
		}
		if len(issue.Labels) > 0 {
			s.t.Errorf("the closed issue %d was labelled %v", n, issue.Labels)
		}
	}
	return numbers
}

// TestBackfillIsStopped: it can be stopped, asked for anew for closed issues too,
// and it begins by itself on installation where that is wanted.
func TestBackfillIsStopped(t *testing.T) {
	t.Parallel()
	s := newSystem(t, simulate.Options{Seed: 62, RateLimits: simulate.RateLimits{Off: true}})
	s.oldIssues(200)
	s.start()
	t.Cleanup(s.dump)
	s.knows()
	fault := s.github.InjectFault(simulate.Fault{Route: "GET /repos/{owner}/{repo}/issues", Status: 502, Match: nil})
	w := s.backfill()
	eventually(t, "the fault is met", func() bool { return fault.Hits() > 0 })
	if out, err := s.run("backfill", testRepo, "--cancel", "--json"); err != nil || !strings.Contains(out, `"cancelled"`) {
		t.Fatalf("--cancel: %v\n%s", err, out)
	}
	if p := w.end(t); p.Status != "cancelled" {
		t.Errorf("it ended with %+v", p)
	}
	if _, err := s.run("backfill", testRepo, "--cancel"); err == nil || !strings.Contains(err.Error(), "no backfill") {
		t.Errorf("a second --cancel: %v", err)
	}
	if _, err := s.run("backfill", "acme/other"); err == nil || !strings.Contains(err.Error(), testRepo) {
		t.Errorf("an unknown repository: %v", err)
	}
	fault.Remove()
	// Where it had to wait, what changed within the second that it had come to is listed again.
	if p := s.backfill("--state", "all").end(t); p.Status != "done" || p.Enqueued != 200 || p.Listed-p.Unchanged != 201 {
		t.Errorf("it ended with %+v", p)
	}
	for n := 1; n <= 200; n++ {
		s.waitLabel(n, "kind/bug")
	}
}

// TestBackfillOnInstall: it begins by itself where the operator wants that, and
// where the repository's own file does, when it is read first and when it is changed.
func TestBackfillOnInstall(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env   string
		files []string // the second follows once the first is in force
		all   bool
	}{
		"operator":         {env: "DISPATCHAI_BACKFILL_ON_INSTALL=open"},
		"repository":       {files: []string{"backfill: all\n"}, all: true},
		"repository later": {files: []string{"mode: apply\n", "backfill: open\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSystem(t, simulate.Options{
				Seed: 63, RateLimits: simulate.RateLimits{Off: true}, Permissions: map[string]string{"issues": "write", "contents": "read"},
				Events: []string{"issues", "issue_comment", "label", "repository", "push"},
			})
			s.env = []string{c.env}
			s.start()
			t.Cleanup(s.dump)
			s.oldIssues(50)
			for i, file := range c.files {
				s.configFile(file)
				eventually(t, "the file is in force", func() bool {
					return s.metric(`dispatchai_configuration_readings_total{outcome="changed"}`) > float64(i)
				})
			}
			for n := 1; n <= 50; n++ {
				if n%10 != 0 || c.all {
					s.waitLabel(n, "kind/bug")
				}
			}
			eventually(t, "the backfill is done", func() bool {
				r := s.gaps().Repositories
				return len(r) == 1 && r[0].Backfill != nil && r[0].Backfill.Status == "done"
			})
		})
	}
}
