package app_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/dispatchai/dispatchai/app/simulate"
	"github.com/dispatchai/dispatchai/core/confine"
)

var hostile = sync.OnceValues(func() (string, error) {
	path := filepath.Join(buildDir, "hostile")
	out, err := exec.Command("go", "build", "-o", path, "./testdata/hostile").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

// hostilePlugin is the hostile plugin under the name of a behaviour.
func hostilePlugin(t *testing.T, mode string) string {
	t.Helper()
	binary, err := hostile()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "hostile-"+mode)
	b, err := os.ReadFile(binary)
	if err == nil {
		err = os.WriteFile(path, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestHostilePlugins: whatever the first plugin of the chain does, every issue gets
// its label by the next one, nothing of the first is written, and the issue says
// that it was passed over.
func TestHostilePlugins(t *testing.T) {
	t.Parallel()
	strength := confine.Probe()
	const issues = 12
	for mode, told := range map[string]string{ // in the log
		"crash":    "exit status 66",
		"hang":     "the process hangs",
		"flood":    "plugin output dropped",
		"memory":   "too much memory",
		"nonsense": "",
		"protocol": "it speaks version 99 of the plugin protocol",
		"huge":     "",
		"other":    "",
		"intruder": "intruder: could []",
		// What the confinement is for: without it all of that is possible.
		"intruder unconfined": `intruder: could [\"speak to the network\" \"join the event log\" \"read the database\" \"read the service's environment\"]`,
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			if mode == "intruder" && !strength.Namespaces {
				if os.Getenv("CI") == "true" {
					t.Fatalf("plugins cannot be confined here: they get %s", strength)
				}
				t.Skipf("plugins cannot be confined here: they get %s", strength)
			}
			s := newSystem(t, simulate.Options{Seed: 90, RateLimits: simulate.RateLimits{Off: true}})
			s.installTestRepository()
			settings := t.TempDir()
			address := strings.TrimPrefix(s.github.URL(), "http://")
			address, _, _ = strings.Cut(address, "/")
			target, err := json.Marshal(object{"data_dir": s.dataDir, "address": address, "host": os.Getpid()})
			if err == nil {
				err = os.WriteFile(filepath.Join(settings, "hostile.json"), target, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			behaviour, unconfined := strings.CutSuffix(mode, " unconfined")
			s.env = []string{
				"DISPATCHAI_PLUGINS=hostile=" + hostilePlugin(t, behaviour) + ",rules", "DISPATCHAI_PLUGIN_SETTINGS_DIR=" + settings,
				"DISPATCHAI_PLUGIN_PATIENCE=1s", "DISPATCHAI_PLUGIN_TIMEOUT=3s", "DISPATCHAI_PLUGIN_MEMORY_MB=256",
			}
			if unconfined {
				s.env = append(s.env, "DISPATCHAI_PLUGIN_CONFINEMENT=off")
			}
			s.start()
			t.Cleanup(s.dump)
			ctx := testContext(t)
			var numbers []int
			for n := range issues {
				number, err := s.github.OpenIssue(ctx, testRepo, bugReport(n))
				if err != nil {
					t.Fatal(err)
				}
				numbers = append(numbers, number)
			}
			for _, number := range numbers {
				s.waitLabel(number, "kind/bug")
				issue, err := s.github.Issue(testRepo, number)
				if err != nil {
					t.Fatal(err)
				}
				for _, l := range issue.Labels {
					if l == "wontfix" || l == "admin" {
						t.Errorf("issue %d has the label %s", number, l)
					}
				}
			}
			if told != "" {
				eventually(t, fmt.Sprintf("the log says %q", told), func() bool { return strings.Contains(s.process.output(), told) })
			}
			if got := s.total("dispatchai_eventlog_dead_records_total"); got > 0 {
				t.Errorf("%v records were dead-lettered", got)
			}
		})
	}
}
