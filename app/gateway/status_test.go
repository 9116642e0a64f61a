package gateway

import (
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/control"
)

// reporting has the gateway know of two processes and two plugins.
func reporting(c *Config) {
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	c.Overview = func() (control.Overview, bool) {
		return control.NewOverview([]control.Report{
			{
				Name: "web-1/7/1", Host: "web-1", PID: 7, Roles: []string{"classify"}, Version: "1.2.3", StartedAt: at, ReportedAt: time.Now(),
				Groups:  []control.Group{{Group: "classify", Lag: 3, Lost: 1}},
				Plugins: []control.Plugin{{Name: "rules", Version: "1", State: control.PluginDisabled, Since: at, Restarts: 2, LastError: "exit status 3"}},
			},
			{Name: "web-0/8/1", Roles: []string{}, Groups: []control.Group{}, Plugins: []control.Plugin{}, ReportedAt: time.Now()},
			{Name: "gone/9/1", ReportedAt: time.Now().Add(-time.Hour)},
		}, map[string]control.PluginSwitch{"rules": {By: "maia@desk", At: at}, "other": {Enabled: true, By: "tom", At: at}}, nil, time.Now()), true
	}
}

func TestStatus(t *testing.T) {
	s := open(t, reporting)
	var got struct {
		Processes []struct {
			Name    string
			Groups  []struct{ Lag, Lost int }
			Plugins []struct {
				Name, State string
				Restarts    int
				LastError   string `json:"last_error"`
			}
		}
		Plugins []struct {
			Name, By string
			Enabled  bool
			At       *time.Time
		}
	}
	s.expect(200, "GET", "/api/status", "").decode(&got)
	if len(got.Processes) != 2 || got.Processes[0].Name != "web-0/8/1" || got.Processes[1].Name != "web-1/7/1" {
		t.Fatalf("the processes are %+v", got.Processes)
	}
	p := got.Processes[1]
	if len(p.Groups) != 1 || p.Groups[0].Lag != 3 || p.Groups[0].Lost != 1 || len(p.Plugins) != 1 || p.Plugins[0].State != "disabled" || p.Plugins[0].Restarts != 2 || p.Plugins[0].LastError == "" {
		t.Errorf("the process is %+v", p)
	}
	if len(got.Plugins) != 2 || got.Plugins[0].Name != "other" || !got.Plugins[0].Enabled || got.Plugins[1].Enabled || got.Plugins[1].By != "maia@desk" || got.Plugins[1].At == nil {
		t.Errorf("the plugins are %+v", got.Plugins)
	}
	s.expect(405, "POST", "/api/status", "")
}
