package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/dispatchai/dispatchai/app/simulate"
	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/eventlog/embedded"
)

// systemStatus is what GET /api/status answers.
type systemStatus struct {
	Processes []struct {
		Name, Version string
		PID           int
		Roles         []string
		StartedAt     time.Time `json:"started_at"`
		ReportedAt    time.Time `json:"reported_at"`
		Groups        []struct {
			Group     string
			Lag, Lost int64
		}
		Plugins []struct {
			Name, Version, State string
			Restarts             int
			LastError            string `json:"last_error"`
		}
	}
	Plugins []struct {
		Name, By string
		Enabled  bool
	}
}

func (s *system) status() (got systemStatus) {
	s.t.Helper()
	if code := s.call("GET", "/api/status", nil, &got); code != http.StatusOK {
		return systemStatus{}
	}
	return got
}

// waitPlugin waits until the one process reports its plugin in that state.
func (s *system) waitPlugin(name, state string) {
	s.t.Helper()
	eventually(s.t, name+" is reported as "+state, func() bool {
		got := s.status()
		return len(got.Processes) == 1 && len(got.Processes[0].Plugins) == 1 && got.Processes[0].Plugins[0].Name == name && got.Processes[0].Plugins[0].State == state
	})
}

// listed is an entry of "plugin list --json".
type listed struct {
	Name, Kind, By      string
	Configured, Enabled bool
	Processes           []struct{ Process, State, Version string }
}

func (s *system) listPlugins() map[string]listed {
	s.t.Helper()
	out, err := s.run("plugin", "list", "--json")
	if err != nil {
		s.t.Fatal(err)
	}
	var list []listed
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		s.t.Fatalf("%v in %s", err, out)
	}
	byName := make(map[string]listed)
	for _, l := range list {
		byName[l.Name] = l
	}
	return byName
}

// TestDisableAndEnableAPlugin: an operator takes the only plugin out of a running
// service and puts it back; the issue opened meanwhile waits and is labelled
// then, and a restart in between changes nothing.
func TestDisableAndEnableAPlugin(t *testing.T) {
	t.Parallel()
	s := newSystem(t, simulate.Options{Seed: 71})
	s.installTestRepository()
	s.start()
	t.Cleanup(s.dump)
	ctx := testContext(t)
	first, err := s.github.OpenIssue(ctx, testRepo, bugReport(1))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(first, "kind/bug")
	s.waitPlugin("rules", "running")
	if got := s.listPlugins()["rules"]; got.Kind != "built-in" || !got.Configured || !got.Enabled || len(got.Processes) != 1 || got.Processes[0].State != "running" || got.Processes[0].Version == "" {
		t.Errorf("plugin list says %+v", got)
	}

	out, err := s.run("plugin", "disable", "rules")
	if err != nil || !strings.Contains(out, "No enabled plugin is left") {
		t.Fatalf("plugin disable: %v, %s", err, out)
	}
	s.waitPlugin("rules", "disabled")
	waiting, err := s.github.OpenIssue(ctx, testRepo, bugReport(2))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the issue waits", func() bool {
		return s.metric(`dispatchai_classify_events_total{kind="issue",outcome="retried"}`) >= 1
	})
	var health struct {
		Status       string
		Dependencies map[string]struct{ Status, Detail string }
	}
	s.call("GET", "/health", nil, &health)
	if d := health.Dependencies; health.Status != "degraded" || !strings.Contains(d["plugins"].Detail, "dispatchai plugin enable NAME") || !strings.Contains(d["plugin:rules"].Detail, "disabled by ") {
		t.Errorf("health says %+v", health)
	}
	if got := s.metric(`dispatchai_plugin_enabled{plugin="rules"}`); got != 0 {
		t.Errorf("the metric says %v", got)
	}
	got := s.status()
	if len(got.Plugins) != 1 || got.Plugins[0].Enabled || !strings.Contains(got.Plugins[0].By, "@") {
		t.Errorf("/api/status says %+v", got.Plugins)
	}
	groups := fmt.Sprint(got.Processes[0].Groups)
	for _, g := range []string{"classify", "directory", "label"} {
		if !strings.Contains(groups, g) {
			t.Errorf("the process reports the groups %s, which lack %s", groups, g)
		}
	}
	eventually(t, "the lag shows that an issue waits", func() bool {
		for _, g := range s.status().Processes[0].Groups {
			if g.Group == "classify" {
				return g.Lag >= 1
			}
		}
		return false
	})

	// A restart, orderly or not, does not forget it.
	for _, end := range []func(){s.stop, s.kill} {
		end()
		s.start()
		eventually(t, "the restarted process reports the plugin as disabled", func() bool {
			for _, p := range s.status().Processes {
				if p.PID == s.process.cmd.Process.Pid && len(p.Plugins) == 1 {
					return p.Plugins[0].State == "disabled"
				}
			}
			return false
		})
		if issue, ok := s.issue(waiting); ok && issue.Status != "received" {
			t.Fatalf("the issue is %s", issue.Status)
		}
	}
	s.stop()
	// Without a service the command opens the log itself.
	if out, err := s.run("plugin", "enable", "rules", "--json"); err != nil || !strings.Contains(out, `"enabled":true`) {
		t.Fatalf("plugin enable: %v, %s", err, out)
	}
	s.start()
	s.waitLabel(waiting, "kind/bug")
	if _, err := s.run("plugin", "disable", "rules"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "disabled once more", func() bool { return s.metric(`dispatchai_plugin_enabled{plugin="rules"}`) == 0 })
	third, err := s.github.OpenIssue(ctx, testRepo, bugReport(3))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the issue waits", func() bool {
		return s.metric(`dispatchai_classify_events_total{kind="issue",outcome="retried"}`) >= 1
	})
	if _, err := s.run("plugin", "enable", "rules"); err != nil {
		t.Fatal(err)
	}
	s.waitLabel(third, "kind/bug")
	s.assertLabelledOnce([]int{first, waiting, third})

	if _, err := s.run("plugin", "disable", "roles"); err == nil || !strings.Contains(err.Error(), `no plugin "roles"; there are openai, rules`) {
		t.Errorf("a plugin that is none: %v", err)
	}
	plain, err := s.run("plugin", "list")
	if err != nil || !strings.Contains(plain, "NAME") || !strings.Contains(plain, "rules   built-in  yes") {
		t.Errorf("plugin list: %v\n%s", err, plain)
	}
}

// TestStatusOfProcesses: a process reports itself, and takes the report back
// when it stops in order; a plugin that keeps ending is told with its fault.
func TestStatusOfProcesses(t *testing.T) {
	t.Parallel()
	s := newSystem(t, simulate.Options{Seed: 72})
	s.env = []string{"DISPATCHAI_PLUGINS=rules,broken=/bin/false"}
	s.start()
	t.Cleanup(s.dump)
	var got systemStatus
	eventually(t, "both plugins are reported", func() bool {
		got = s.status()
		return len(got.Processes) == 1 && len(got.Processes[0].Plugins) == 2 && got.Processes[0].Plugins[0].State == "running" &&
			got.Processes[0].Plugins[1].State == "restarting" && got.Processes[0].Plugins[1].Restarts >= 2
	})
	p := got.Processes[0]
	if p.PID != s.process.cmd.Process.Pid || p.Version == "" || len(p.Roles) != 4 || time.Since(p.StartedAt) > deadline || p.ReportedAt.Before(p.StartedAt) {
		t.Errorf("the process reports %+v", p)
	}
	if broken := p.Plugins[1]; broken.Name != "broken" || !strings.Contains(broken.LastError, "exit status 1") {
		t.Errorf("the broken plugin is reported as %+v", broken)
	}
	if l := s.listPlugins()["broken"]; l.Kind != "external" || l.Configured || len(l.Processes) != 1 {
		t.Errorf("plugin list says %+v", l)
	}
	s.stop()
	if l := s.listPlugins()["rules"]; len(l.Processes) != 0 {
		t.Errorf("after an orderly stop plugin list says %+v", l)
	}
}

// TestPluginThatAPersonRuns: a plugin that somebody runs by hand, as under a
// debugger, is waited for before it runs and after it was killed; the issues
// opened meanwhile are labelled by the next run of it, and the service ends none.
func TestPluginThatAPersonRuns(t *testing.T) {
	t.Parallel()
	s := newSystem(t, simulate.Options{Seed: 75})
	s.installTestRepository()
	tmp := t.TempDir()
	file := filepath.Join(tmp, fmt.Sprintf("dispatchai-debug-%d", os.Getuid()), "rules.json")
	s.env = []string{"DISPATCHAI_PLUGINS=mine=reattach:" + file}
	s.start()
	t.Cleanup(s.dump)
	ctx := testContext(t)
	eventually(t, "what to do is reported", func() bool {
		got := s.status()
		return len(got.Processes) == 1 && len(got.Processes[0].Plugins) == 1 &&
			strings.Contains(got.Processes[0].Plugins[0].LastError, "start the plugin with DISPATCHAI_PLUGIN_DEBUG=1")
	})
	for n := range 2 {
		issue, err := s.github.OpenIssue(ctx, testRepo, bugReport(n+1))
		if err != nil {
			t.Fatal(err)
		}
		s.waitPlugin("mine", "restarting")
		person := exec.CommandContext(ctx, s.binary, "plugin", "serve", "rules")
		person.Env = []string{"TMPDIR=" + tmp, "DISPATCHAI_PLUGIN_DEBUG=1"}
		if err := person.Start(); err != nil {
			t.Fatal(err)
		}
		s.waitLabel(issue, "kind/bug")
		s.waitPlugin("mine", "running")
		if n == 0 {
			// A debugger ends it like this, and leaves its socket behind.
			if err := person.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = person.Wait()
			continue
		}
		if out, err := s.run("plugin", "test", "reattach:"+file); err != nil || !strings.Contains(out, "conforms") {
			t.Errorf("plugin test: %v\n%s", err, out)
		}
		s.stop()
		if err := person.Process.Signal(os.Interrupt); err != nil {
			t.Errorf("the service ended it: %v", err)
		}
		if err := person.Wait(); err != nil {
			t.Error(err)
		}
	}
}

// TestReplicasOnACluster: two processes on one Kafka cluster see each other, and
// both follow what an operator decides.
func TestReplicasOnACluster(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(3))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	kafka := "KAFKA_BOOTSTRAP_SERVERS=" + strings.Join(cluster.ListenAddrs(), ",")
	var replicas []*system
	for seed := range uint64(2) {
		s := newSystem(t, simulate.Options{Seed: 73 + seed})
		s.env = []string{kafka}
		s.start()
		t.Cleanup(s.dump)
		replicas = append(replicas, s)
	}
	reported := func(state string) func() bool {
		return func() bool {
			for _, s := range replicas {
				processes := s.status().Processes
				if len(processes) != len(replicas) {
					return false
				}
				for _, p := range processes {
					if len(p.Plugins) != 1 || p.Plugins[0].State != state {
						return false
					}
				}
			}
			return true
		}
	}
	eventually(t, "both report a running plugin, to both", reported("running"))
	env := append(replicas[0].environment(), kafka)
	if got := execute(t, env, "plugin", "disable", "rules"); got.code != 0 {
		t.Fatalf("plugin disable: %+v", got)
	}
	eventually(t, "both have disabled it", reported("disabled"))
	if got := execute(t, env, "plugin", "enable", "rules"); got.code != 0 {
		t.Fatalf("plugin enable: %+v", got)
	}
	eventually(t, "both have enabled it", reported("running"))
	replicas[1].stop()
	eventually(t, "the one that stopped has taken its report back", func() bool { return len(replicas[0].status().Processes) == 1 })
}

// flood appends so many reports to a running service's log that it compacts them.
func (s *system) flood(ctx context.Context) error {
	cfg, err := embedded.Dial(ctx, filepath.Join(s.dataDir, "log"))
	if err != nil {
		return err
	}
	p, err := eventlog.NewProducer(cfg, eventlog.ProducerConfig{})
	if err != nil {
		return err
	}
	defer func() { _ = p.Close(ctx) }()
	for n := range 30 {
		batch := make([]eventlog.Record, 100)
		for i := range batch {
			batch[i] = eventlog.Record{Topic: eventlog.TopicControl, Key: fmt.Sprintf("test/%d", i%10), Value: fmt.Appendf(nil, `{"n":%d,"at":%d}`, n*100+i, time.Now().UnixNano())}
		}
		if err := p.Append(ctx, batch...); err != nil {
			return err
		}
	}
	return nil
}
