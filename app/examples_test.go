package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dispatchai/dispatchai/app/simulate"
	"github.com/dispatchai/dispatchai/core/github"
)

// examplesDir holds GitHub's own examples of webhooks, of github.com and of
// several Enterprise Servers; `npm ci` in web/ puts them there.
const examplesDir = "../web/node_modules/@octokit/webhooks-examples"

// example is one delivery as GitHub documents it.
type example struct {
	name, event string
	body        []byte
}

func examples(t *testing.T) []example {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(examplesDir, "*", "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		if os.Getenv("CI") == "true" {
			t.Fatalf("there are no examples in %s: `npm ci` in web/ installs them", examplesDir)
		}
		t.Skip("SKIPPED: GitHub's examples of webhooks are not installed (run `npm ci` in web/)")
	}
	var all []example
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var events []struct {
			Name     string
			Examples []json.RawMessage
		}
		if err := json.Unmarshal(content, &events); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, e := range events {
			for i, body := range e.Examples {
				all = append(all, example{fmt.Sprintf("%s/%s/%d", filepath.Base(filepath.Dir(file)), e.Name, i), e.Name, body})
			}
		}
	}
	return all
}

// TestEveryExampleOfGitHubs: every delivery that GitHub gives as an example is
// accepted or ignored, every accepted one is handled, and none of them stops the
// service or ends among the dead letters.
func TestEveryExampleOfGitHubs(t *testing.T) {
	t.Parallel()
	all := examples(t)
	s := newSystem(t, simulate.Options{Seed: 81, RateLimits: simulate.RateLimits{Off: true}})
	s.start()
	t.Cleanup(s.dump)
	s.installTestRepository()
	accepted, ignored := 0, 0
	for i, e := range all {
		answer := s.deliver(e.event, fmt.Sprintf("example-%04d", i), e.body)
		_, wanted := github.RouteOf(e.event)
		switch {
		case answer.code == http.StatusOK && answer.Status == "accepted" && wanted:
			accepted++
		case answer.code == http.StatusOK && answer.Status == "ignored" && !wanted:
			ignored++
		default:
			t.Errorf("%s: answered with %+v", e.name, answer)
		}
	}
	t.Logf("%d examples: %d accepted, %d ignored", len(all), accepted, ignored)
	if accepted < 100 || ignored < 100 {
		t.Error("these are not GitHub's examples")
	}
	number, err := s.github.OpenIssue(testContext(t), testRepo, bugReport(1))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(number, "kind/bug")
	outcomes := func() map[string]int {
		seen := make(map[string]int)
		for line := range strings.SplitSeq(s.metrics("dispatchai_classify_events_total{"), "\n") {
			var value float64
			_, rest, _ := strings.Cut(line, `outcome="`)
			outcome, rest, found := strings.Cut(rest, `"} `)
			if _, err := fmt.Sscan(rest, &value); found && err == nil {
				seen[outcome] += int(value)
			}
		}
		return seen
	}
	if err := s.github.WaitIdle(testContext(t)); err != nil {
		t.Fatal(err)
	}
	// What the simulated GitHub sent itself is handled too, and so is the end of the
	// examples' installations, once their absence from GitHub's list is noticed.
	eventually(t, "every accepted example is handled", func() bool {
		o := outcomes()
		return s.lag() == 0 && o["done"]+o["ignored"]+o["replayed"]+o["dead"] >= accepted+len(s.github.Attempts())
	})
	t.Logf("outcomes: %v", outcomes())
	s.assertLabelledOnce([]int{number})
	s.stop()
}
