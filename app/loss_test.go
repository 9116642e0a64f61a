package app_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/app/simulate"
	"github.com/dispatchai/dispatchai/core/store/sqlite"
)

// failpoints are all places where a crash must do no harm; TestFailpoints fails
// when the code has one that is not listed.
func failpoints() []string {
	return []string{
		"ingress/before-append", "ingress/after-append",
		"classify/before-apply", "classify/after-apply", "classify/after-publish",
		"classify/before-directory", "classify/after-directory",
		"classify/before-vocabulary", "classify/after-vocabulary", "classify/before-renewal", "classify/after-renewal",
		"label/before-desired", "label/after-desired",
		"label/before-intent", "label/after-intent", "label/after-add", "label/after-written",
		"label/before-removal", "label/after-removal", "label/before-suggestion", "label/after-suggestion",
		"label/before-type", "label/after-type",
		"reconcile/before-configuration", "reconcile/after-configuration", "reconcile/before-check", "reconcile/after-check",
		"reconcile/before-dismissal", "reconcile/after-dismissal",
		"reconcile/before-sweep", "reconcile/after-sweep", "reconcile/before-ask", "reconcile/after-ask",
		"reconcile/before-enqueue", "reconcile/after-enqueue", "reconcile/before-progress", "reconcile/after-progress",
		"reconcile/before-directory", "reconcile/after-directory",
		"log/before-compaction", "log/after-compaction", "log/after-compaction-trim",
		"reconcile/before-begin", "reconcile/after-begin", "reconcile/after-step",
		"reconcile/before-finish", "reconcile/after-finish", "reconcile/after-forget",
		"label/before-request", "label/after-request", "label/after-comment", "label/after-comment-edit", "label/after-reaction",
	}
}

// TestFailpoints crashes the process at every durable step, each in its own
// run, restarts it, and shows that everything acknowledged still becomes a
// label, once.
func TestFailpoints(t *testing.T) {
	t.Parallel()
	assertAllFailpointsListed(t)
	path, err := binaries.failpoints()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range failpoints() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options, opened := simulate.Options{
				Seed: 11, Senders: 4, Permissions: map[string]string{"issues": "write", "contents": "read", "checks": "write"},
				Events:      []string{"issues", "issue_comment", "label", "repository", "push"},
				Suggestions: true,
			}, 5
			upkeep := strings.HasSuffix(name, "-vocabulary") || strings.HasSuffix(name, "-renewal")
			if upkeep {
				options.RateLimits.Off, opened = true, 60 // enough for a vocabulary
			}
			s := newSystem(t, options)
			s.binary = path
			armed := filepath.Join(t.TempDir(), "armed")
			s.env = []string{"DISPATCHAI_FAILPOINT=" + name, "DISPATCHAI_FAILPOINT_ARMED=" + armed, "DISPATCHAI_ERASE_AFTER=0", "DISPATCHAI_NEEDS_INFO=Operating system", "DISPATCHAI_POLL=1s", "DISPATCHAI_SWEEP_INTERVAL=1s"}
			s.start()
			t.Cleanup(s.dump)
			s.installTestRepository()
			reading := strings.HasSuffix(name, "-configuration") || strings.HasSuffix(name, "-check")
			erasing := slices.Contains([]string{
				"reconcile/before-begin", "reconcile/after-begin", "reconcile/after-step", "reconcile/before-finish", "reconcile/after-finish", "reconcile/after-forget",
			}, name)
			var leaving installed
			if erasing {
				leaving = s.installAnother("leaving", "notes")
			}
			ctx := testContext(t)
			first, err := s.github.OpenIssue(ctx, testRepo, bugReport(1))
			if err != nil {
				t.Fatal(err)
			}
			s.waitLabel(first, "kind/bug")
			s.waitRequest(first, "- Operating system")
			suggesting := strings.HasSuffix(name, "-suggestion") || strings.HasSuffix(name, "-dismissal")
			if suggesting {
				s.after("changed", func() { s.configFile("modes: {component: suggest}\n") })
			}

			typing := strings.HasSuffix(name, "-type")
			if typing {
				if err := s.github.SetIssueTypes(testOwner, simulate.IssueType{Name: "Bug"}); err != nil {
					t.Fatal(err)
				}
				s.after("changed", func() { s.configFile("issue-types: {set: true}\n") })
			}

			s.prepareLoss(name)
			if err := os.WriteFile(armed, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			var numbers []int
			var command int64
			for n := range opened {
				number, err := s.github.OpenIssue(ctx, testRepo, bugReport(10+n))
				if err != nil {
					t.Fatal(err)
				}
				numbers = append(numbers, number)
			}
			s.provokeLoss(name)
			switch {
			case strings.HasPrefix(name, "log/"):
				for _, n := range numbers {
					s.waitLabel(n, "kind/bug")
				}
				// What was decided before the crash holds after it.
				if _, err := s.run("plugin", "disable", "rules"); err != nil {
					t.Fatal(err)
				}
				_ = s.flood(ctx) // the process may be gone before all of it is appended
			case erasing:
				if err := s.github.Uninstall(ctx, leaving.installation); err != nil {
					t.Fatal(err)
				}
			case strings.HasSuffix(name, "-removal"):
				// Wait for the label before correcting it away.
				for _, n := range numbers {
					s.waitLabel(n, "kind/bug")
				}
				s.correctInBackground(numbers[0])
			case strings.HasSuffix(name, "-edit"):
				if _, err := s.github.Comment(ctx, testRepo, first, bugReport(1).Author, "Operating system: Plan 9"); err != nil {
					t.Fatal(err)
				}
			case strings.HasSuffix(name, "-reaction"):
				if command, err = s.github.Comment(ctx, testRepo, first, "maia", "/dispatch priority high"); err != nil {
					t.Fatal(err)
				}
			case strings.HasSuffix(name, "-dismissal"):
				s.waitSuggestion(numbers[0], "pending")
				s.dismissSuggestion(numbers[0])
			case suggesting:
			case reading:
				s.configFile("mode: applly\n")
			case name == "classify/before-directory", name == "classify/after-directory":
				if err := s.github.CreateLabel(ctx, testRepo, "maia", simulate.Label{Name: "area/new", Color: "ffffff"}); err != nil {
					t.Fatal(err)
				}
			}
			select {
			case <-s.process.exited:
			case <-time.After(deadline):
				t.Fatalf("the failpoint %s was never reached\n%s", name, s.process.output())
			}
			s.process = nil
			s.start()
			if strings.HasPrefix(name, "log/") {
				eventually(t, "the plugin is disabled as before the crash", func() bool {
					return s.metric(`dispatchai_plugin_enabled{plugin="rules"}`) == 0
				})
				if _, err := s.run("plugin", "enable", "rules"); err != nil {
					t.Fatal(err)
				}
			}
			if name == "reconcile/before-directory" || name == "reconcile/after-directory" {
				s.backfill().end(t) // no webhook told of the issues, and they were compared just before
			}
			s.redeliverFailed()
			for i, n := range numbers {
				if strings.HasSuffix(name, "-removal") && i == 0 {
					s.waitLabel(n, "kind/feature")
					eventually(t, "the label that was corrected away is gone", func() bool {
						issue, err := s.github.Issue(testRepo, n)
						return err == nil && !hasLabel(issue, "kind/bug")
					})
					continue
				}
				s.waitLabel(n, "kind/bug")
			}
			for _, n := range append(numbers, first) {
				if strings.HasSuffix(name, "-removal") && n == numbers[0] {
					continue // no bug any more, and its author was asked or not
				}
				says := "- Operating system"
				if strings.HasSuffix(name, "-edit") && n == first {
					says = "Thank you, that is all"
				}
				s.waitRequest(n, says)
			}
			if command != 0 {
				s.waitReaction(command, "+1")
				s.waitLabel(first, "priority/high")
			}
			s.assertLabelledOnce(append(numbers, first))
			for _, n := range numbers {
				if typing {
					s.waitType(n, "Bug")
				}
			}
			if suggesting {
				for i, n := range numbers {
					state := "pending"
					if strings.HasSuffix(name, "-dismissal") && i == 0 {
						state = "dismissed"
					}
					s.waitSuggestion(n, state)
				}
			}
			if strings.HasSuffix(name, "-dismissal") {
				eventually(t, "the dismissal is a correction, once", func() bool {
					issue, ok := s.issue(numbers[0])
					return ok && len(issue.Corrections) == 1
				})
			} else if reading {
				eventually(t, "the faults are shown", func() bool {
					c := s.configuration(testRepo)
					return len(c.Faults) == 1 && c.Check != nil && c.Check.Done
				})
				s.checkRuns(1)
			}
			if upkeep {
				s.waitRenewed(len(numbers) + 1)
			}
			if erasing {
				s.waitErased(leaving)
			}
		})
	}
}

// prepareLoss has the webhooks that follow go wrong, so that the failpoints of
// the reconciler are reached.
func (s *system) prepareLoss(name string) {
	s.t.Helper()
	switch name {
	case "reconcile/before-ask", "reconcile/after-ask":
		s.github.SetUnreachable(true)
	case "reconcile/before-enqueue", "reconcile/after-enqueue", "reconcile/before-progress", "reconcile/after-progress",
		"reconcile/before-directory", "reconcile/after-directory":
		s.knows()
		if err := s.github.SetDeliveryFaults(simulate.DeliveryFaults{Vanish: 1}); err != nil {
			s.t.Fatal(err)
		}
	}
}

// provokeLoss has the reconciler make good what prepareLoss has spoilt.
func (s *system) provokeLoss(name string) {
	s.t.Helper()
	ctx := testContext(s.t)
	switch name {
	case "reconcile/before-ask", "reconcile/after-ask":
		s.github.SetUnreachable(false)
	case "reconcile/before-enqueue", "reconcile/after-enqueue", "reconcile/before-progress", "reconcile/after-progress":
		_ = s.backfill() // its service is about to crash
	case "reconcile/before-directory", "reconcile/after-directory":
		// A repository that no webhook told of is found at the next start.
		if err := s.github.CreateRepository(ctx, simulate.NewRepository{Owner: testOwner, Name: "gadgets", Labels: testLabels()}); err != nil {
			s.t.Fatal(err)
		}
		s.kill()
		s.start()
	default:
		return
	}
	if err := s.github.SetDeliveryFaults(simulate.DeliveryFaults{}); err != nil {
		s.t.Fatal(err)
	}
}

// waitRenewed waits until all of the issues are embedded by the repository's own vocabulary.
func (s *system) waitRenewed(issues int) {
	s.t.Helper()
	ctx := testContext(s.t)
	db, err := sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(s.dataDir, "dispatchai.db")})
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	eventually(s.t, "all embeddings are renewed", func() bool {
		found, err := db.EmbeddedRepositories(ctx)
		if err != nil || len(found) != 1 || len(found[0].Issues) != 1 {
			return false
		}
		for space, n := range found[0].Issues {
			return n == issues && space.Vocabulary >= 1 && space.Vocabulary == found[0].Vocabulary.Version
		}
		return false
	})
}

func assertAllFailpointsListed(t *testing.T) {
	t.Helper()
	listed := make(map[string]bool)
	for _, f := range failpoints() {
		listed[f] = true
	}
	for _, dir := range []string{"ingress", "../core/classify", "../core/label", "../core/reconcile", "../core/eventlog/embedded"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range strings.Split(string(content), `failpoint.Hit("`)[1:] {
				name, _, _ := strings.Cut(part, `"`)
				if !listed[name] {
					t.Errorf("%s has the failpoint %s, which no test crashes at", file, name)
				}
			}
		}
	}
}

// correctInBackground corrects an issue; the process may die while it is asked.
func (s *system) correctInBackground(number int) {
	issue, ok := s.issue(number)
	if !ok {
		s.t.Fatal("the issue to correct is not listed")
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		_ = post(ctx, "http://"+s.addr+fmt.Sprintf("/api/issues/%d/correct", issue.ID), s.token, `{"field":"category","values":["feature"],"actor":"maia"}`)
	})
	s.t.Cleanup(wait.Wait)
}

// redeliverFailed does what GitHub's users do by hand, and DispatchAI's own
// sweep later: have the deliveries that were not acknowledged sent again.
func (s *system) redeliverFailed() {
	s.t.Helper()
	ctx := testContext(s.t)
	if err := s.github.WaitIdle(ctx); err != nil {
		s.t.Fatal(err)
	}
	for {
		ok, failed := map[string]bool{}, map[string]bool{}
		for _, a := range s.github.Attempts() {
			if a.Failed() {
				failed[a.GUID] = true
			} else {
				ok[a.GUID] = true
			}
		}
		again := 0
		for guid := range failed {
			if !ok[guid] {
				again++
				if err := s.github.Redeliver(ctx, guid); err != nil {
					s.t.Fatal(err)
				}
			}
		}
		if again == 0 {
			return
		}
		if err := s.github.WaitIdle(ctx); err != nil {
			s.t.Fatal(err)
		}
	}
}

// assertLabelledOnce fails when the app wrote a label twice, or when anything
// ended among the dead letters.
func (s *system) assertLabelledOnce(numbers []int) {
	s.t.Helper()
	for _, n := range numbers {
		writes, err := s.github.BotLabelWrites(testRepo, n)
		if err != nil {
			s.t.Fatal(err)
		}
		for label, count := range writes {
			if count != 1 {
				s.t.Errorf("issue %d: the app wrote %s %d times", n, label, count)
			}
		}
	}
	out, err := s.run("dead", "list", "--json")
	if err != nil {
		s.t.Fatal(err)
	}
	if strings.TrimSpace(out) != "[]" {
		s.t.Errorf("there are dead letters: %s", out)
	}
}

// TestKilledTwentyTimes kills the process at random moments under load. Every
// delivery that was acknowledged is classified and labelled, none twice.
func TestKilledTwentyTimes(t *testing.T) {
	t.Parallel()
	const kills = 20
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)

	s := newSystem(t, simulate.Options{Seed: seed, Senders: 8, RateLimits: simulate.RateLimits{Off: true}})
	s.start()
	t.Cleanup(s.dump)
	s.installTestRepository()
	ctx := testContext(t)

	load, stopLoad := context.WithCancel(context.Background())
	defer stopLoad()
	var mu sync.Mutex
	var numbers []int
	var wait sync.WaitGroup
	pace := make(chan struct{})
	wait.Go(func() {
		for n := 0; load.Err() == nil; n++ {
			issue := bugReport(n)
			if n%3 == 2 {
				issue = featureRequest(n)
			}
			number, err := s.github.OpenIssue(load, testRepo, issue)
			if err != nil {
				if load.Err() == nil && !errors.Is(err, simulate.ErrQueueFull) {
					t.Errorf("open an issue: %v", err)
				}
				return
			}
			mu.Lock()
			numbers = append(numbers, number)
			mu.Unlock()
			select {
			case pace <- struct{}{}:
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	for range kills {
		// Die after a random number of further issues.
		for range 1 + random.IntN(25) {
			<-pace
		}
		s.kill()
		s.start()
	}
	stopLoad()
	wait.Wait()
	s.redeliverFailed()

	mu.Lock()
	defer mu.Unlock()
	t.Logf("%d issues, %d kills", len(numbers), kills)
	for _, n := range numbers {
		want := "kind/bug"
		issue, err := s.github.Issue(testRepo, n)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(issue.Title, "Feature") {
			want = "kind/feature"
		}
		s.waitLabel(n, want)
	}
	eventually(t, "nothing waits to be labelled", func() bool { return s.metric("dispatchai_label_pending") == 0 })
	s.assertLabelledOnce(numbers)
	_ = ctx
}

// TestPluginKilledAndHung: a plugin that dies or hangs delays issues and loses none.
func TestPluginKilledAndHung(t *testing.T) {
	t.Parallel()
	s := newSystem(t, simulate.Options{Seed: 21})
	s.env = []string{"DISPATCHAI_PLUGIN_TIMEOUT=2s"}
	s.start()
	t.Cleanup(s.dump)
	s.installTestRepository()
	ctx := testContext(t)
	var numbers []int
	open := func(n int) {
		number, err := s.github.OpenIssue(ctx, testRepo, bugReport(n))
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, number)
	}
	open(1)
	s.waitLabel(numbers[0], "kind/bug")
	for n, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGKILL} {
		pid := s.pluginPID()
		if err := syscall.Kill(pid, signal); err != nil {
			t.Fatalf("signal the plugin: %v", err)
		}
		for i := range 4 {
			open(10*(n+1) + i)
		}
		for _, number := range numbers {
			s.waitLabel(number, "kind/bug")
		}
		eventually(t, "the plugin runs again", func() bool { p := s.pluginPID(); return p != 0 && p != pid })
	}
	s.assertLabelledOnce(numbers)
}

// pluginPID finds the process of the rules plugin among the service's children.
func (s *system) pluginPID() int {
	children, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", s.process.cmd.Process.Pid))
	if err != nil || len(children) == 0 {
		s.t.Skip("SKIPPED: the plugin's process can only be found where /proc is (Linux)")
	}
	for _, file := range children {
		content, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for field := range strings.FieldsSeq(string(content)) {
			var pid int
			if _, err := fmt.Sscan(field, &pid); err == nil {
				cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
				if strings.Contains(string(cmdline), "plugin\x00serve\x00rules") {
					return pid
				}
			}
		}
	}
	return 0
}
