package app_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/dispatchai/dispatchai/app/simulate"
)

// revisedPlugin builds a version of the plugin.
func revisedPlugin(t *testing.T, dir, version string) string {
	t.Helper()
	path := filepath.Join(dir, "revised-"+version)
	out, err := exec.Command("go", "build", "-ldflags", "-X main.version="+version, "-o", path, "./testdata/revised").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// TestReviseUnderLoad: a plugin is upgraded, configured anew and rolled back while
// issues are opened; what does not start changes nothing; every issue gets its labels,
// once; and what was decided holds after a restart.
func TestReviseUnderLoad(t *testing.T) {
	t.Parallel()
	s := newSystem(t, simulate.Options{Seed: 92, RateLimits: simulate.RateLimits{Off: true}})
	s.installTestRepository()
	// Everybody may enter it: the plugins run as users of their own where they can.
	dir, err := os.MkdirTemp("", "dispatchai-revised-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	one, two := revisedPlugin(t, dir, "1.0.0"), revisedPlugin(t, dir, "2.0.0")
	settings := t.TempDir()
	configure := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(settings, "mine.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	configure(`{"priority":"low"}`)
	s.env = []string{"DISPATCHAI_PLUGINS=mine=" + one, "DISPATCHAI_PLUGIN_SETTINGS_DIR=" + settings}
	s.start()
	t.Cleanup(s.dump)

	const inFlight = 20
	var mu sync.Mutex
	var numbers []int
	stop, opening := make(chan struct{}), sync.WaitGroup{}
	ctx := testContext(t)
	opening.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			number, err := s.github.OpenIssue(ctx, testRepo, featureRequest(n))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			numbers = append(numbers, number)
			behind := numbers[max(0, n-inFlight)]
			mu.Unlock()
			if n < inFlight {
				continue
			}
			if _, err := s.github.WaitFor(ctx, testRepo, behind, func(i simulate.Issue) bool { return hasLabel(i, "kind/bug") }); err != nil {
				t.Errorf("issue %d is not labelled: %v", behind, err)
				return
			}
		}
	})
	defer func() {
		select {
		case <-stop:
		default:
			close(stop)
		}
		opening.Wait()
	}()
	opened := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(numbers)
	}
	// further waits until issues were opened and labelled since.
	further := func(label string) {
		t.Helper()
		before := opened()
		eventually(t, "more issues are opened", func() bool { return opened() >= before+5 })
		mu.Lock()
		last := numbers[len(numbers)-1]
		mu.Unlock()
		s.waitLabel(last, label)
	}
	revise := func(says string, args ...string) {
		t.Helper()
		out, err := s.run(append([]string{"plugin"}, args...)...)
		if err != nil || !strings.Contains(out, says) {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	refused := func(says string, args ...string) {
		t.Helper()
		out, err := s.run(append([]string{"plugin"}, args...)...)
		if err == nil || !strings.Contains(err.Error()+out, says) {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	further("priority/low")
	refused("never upgraded", "rollback", "mine")
	refused("no running process runs", "reload", "other")
	revise("mine 2.0.0 runs", "upgrade", "mine", two)
	further("priority/low")
	configure(`{"priority":"high"}`)
	revise("mine 2.0.0 runs", "reload", "mine")
	further("priority/high")
	configure(`{"priority":"none"}`)
	refused("priority: it must be high or low", "reload", "mine")
	refused("did not start", "upgrade", "mine", "/bin/false")
	refused("no such file", "upgrade", "mine", filepath.Join(dir, "nowhere"))
	further("priority/high")
	configure(`{"priority":"low"}`)
	revise("mine 2.0.0 runs", "upgrade", "mine", two)
	revise("mine 1.0.0 runs", "upgrade", "mine", one)
	revise("mine 2.0.0 runs", "rollback", "mine")
	further("priority/low")
	close(stop)
	opening.Wait()
	for _, number := range numbers {
		s.waitLabel(number, "kind/bug")
	}
	s.settled()
	s.assertLabelledOnce(numbers)
	if got := s.total("dispatchai_eventlog_dead_records_total"); got > 0 {
		t.Errorf("%v records were dead-lettered", got)
	}
	t.Logf("%d issues were opened meanwhile", len(numbers))

	s.stop()
	s.start()
	version := func() string {
		for _, p := range s.status().Processes {
			for _, own := range p.Plugins {
				if own.State == "running" {
					return own.Version
				}
			}
		}
		return ""
	}
	eventually(t, "the upgrade holds after a restart", func() bool { return version() == "2.0.0" })
	s.stop()
	// The configuration was changed since: it counts.
	s.env[0] = "DISPATCHAI_PLUGINS=mine=" + filepath.Join(dir, ".", "revised-1.0.0-again")
	if err := os.Symlink(one, filepath.Join(dir, "revised-1.0.0-again")); err != nil {
		t.Fatal(err)
	}
	s.start()
	eventually(t, "the configuration holds where it was changed", func() bool { return version() == "1.0.0" })
}
