package gateway

import (
	"net/http"
	"time"

	"github.com/dispatchai/dispatchai/core/control"
)

// switchView is what an operator decided on a plugin, or that nobody has.
type switchView struct {
	Name    string     `json:"name"`
	Enabled bool       `json:"enabled"`
	By      string     `json:"by"`
	At      *time.Time `json:"at"`
}

// getStatus answers with what processes report of themselves and what operators
// decided on plugins.
func (g *Gateway) getStatus(w http.ResponseWriter, _ *http.Request) {
	var overview control.Overview
	known := false
	if g.config.Overview != nil {
		overview, known = g.config.Overview()
	}
	if !known {
		w.Header().Set("Retry-After", "1")
		writeProblem(w, problem{Status: http.StatusServiceUnavailable, Detail: "The reports of the processes have not been read yet; try again shortly."})
		return
	}
	plugins := []switchView{}
	for _, name := range overview.Known() {
		v := switchView{Name: name, Enabled: overview.Enabled(name)}
		if s, switched := overview.Switches[name]; switched {
			v.By, v.At = s.By, &s.At
		}
		plugins = append(plugins, v)
	}
	writeJSON(w, http.StatusOK, struct {
		ServerTime time.Time        `json:"server_time"`
		Processes  []control.Report `json:"processes"`
		Plugins    []switchView     `json:"plugins"`
	}{g.config.Now().UTC(), overview.Processes, plugins})
}
