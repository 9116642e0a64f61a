package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/dispatchai/dispatchai/core/plugin"
)

// health answers the questions that orchestrators and people ask a process.
type health struct {
	app   *App
	ready atomic.Bool
}

func newHealth(a *App) *health { return &health{app: a} }

func (h *health) register(mux *http.ServeMux) {
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", h.serveReady)
	mux.HandleFunc("GET /health", h.serveHealth)
	mux.Handle("GET /metrics", promhttp.HandlerFor(h.app.registry, promhttp.HandlerOpts{Registry: h.app.registry}))
}

// Status is the state of a process or of one thing it depends on.
type Status string

// A degraded process works, but not fully: deliveries are accepted and wait.
const (
	StatusOK       Status = "ok"
	StatusDegraded Status = "degraded"
	StatusDown     Status = "down"
)

// HealthReport is what GET /health answers.
type HealthReport struct {
	Status       Status                `json:"status"`
	Version      string                `json:"version"`
	Roles        []string              `json:"roles"`
	Dependencies map[string]Dependency `json:"dependencies"`
}

// Dependency is one thing the process depends on.
type Dependency struct {
	Status Status `json:"status"`
	Detail string `json:"detail,omitempty"`
}

const healthTimeout = 3 * time.Second

func (h *health) report(ctx context.Context) HealthReport {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	a := h.app
	r := HealthReport{Status: StatusOK, Version: a.backends.Version, Roles: a.options.Roles, Dependencies: make(map[string]Dependency)}
	set := func(name string, failed Status, err error) {
		if err == nil {
			r.Dependencies[name] = Dependency{Status: StatusOK}
			return
		}
		r.Dependencies[name] = Dependency{Status: failed, Detail: err.Error()}
		if failed == StatusDown || r.Status == StatusOK {
			r.Status = failed
		}
	}
	if err := a.cluster.Ping(ctx); err != nil {
		set("event_log", StatusDown, err)
	} else {
		set("event_log", StatusDegraded, a.logRoom())
	}
	set("store", StatusDown, a.store.Ping(ctx))
	enabled := 0
	for _, p := range a.plugins {
		state := p.Health()
		d := Dependency{Status: StatusOK}
		if s := a.pluginSwitch(p.Name()); !s.Enabled {
			// As an operator wants it, whatever its process does.
			r.Dependencies["plugin:"+state.Name] = Dependency{Status: StatusOK, Detail: fmt.Sprintf("disabled by %s at %s", s.By, s.At.Format(time.RFC3339))}
			continue
		}
		enabled++
		if state.State != plugin.Running && state.State != plugin.Busy {
			d = Dependency{Status: StatusDegraded, Detail: string(state.State)}
			if state.LastError != "" {
				d.Detail += ": " + state.LastError
			}
			if r.Status == StatusOK {
				r.Status = StatusDegraded
			}
		}
		r.Dependencies["plugin:"+state.Name] = d
	}
	if len(a.plugins) > 0 && enabled == 0 {
		set("plugins", StatusDegraded, errors.New(noneEnabled))
	}
	return r
}

// nearlyFull is how much of the log's bound may be taken before it is told.
const nearlyFull = 0.9

// logRoom returns an error when the event log is so full that webhooks are
// refused, or soon will be.
func (a *App) logRoom() error {
	if a.logUsage == nil {
		return nil
	}
	used, bound := a.logUsage()
	if float64(used) < nearlyFull*float64(bound) {
		return nil
	}
	return fmt.Errorf("%d of %d MiB are taken by events that are not worked off yet; webhooks are refused with 503 while it is full: "+
		"see what holds the workers up (other entries here, the lag in /metrics), or raise DISPATCHAI_LOG_MAX_BYTES", used>>20, bound>>20)
}

func (h *health) serveHealth(w http.ResponseWriter, r *http.Request) {
	report := h.report(r.Context())
	status := http.StatusOK
	if report.Status == StatusDown {
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(report)
}

// serveReady tells whether to send requests here: not while starting or
// stopping, nor when what webhooks are stored in does not answer.
func (h *health) serveReady(w http.ResponseWriter, r *http.Request) {
	if !h.ready.Load() {
		http.Error(w, "starting or stopping", http.StatusServiceUnavailable)
		return
	}
	if h.report(r.Context()).Status == StatusDown {
		http.Error(w, "a dependency is down; see /health", http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}
