package plugin

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are one plugin's view of the collectors that all plugins share.
type metrics struct {
	up            prometheus.Gauge
	inFlight      prometheus.Gauge
	memory        prometheus.Gauge
	open          prometheus.Gauge
	opened        prometheus.Counter
	restarts      *prometheus.CounterVec // by reason
	duration      prometheus.ObserverVec // by method
	connections   *prometheus.CounterVec // by outcome
	calls         *prometheus.CounterVec // by method and outcome
	items         *prometheus.CounterVec // by outcome
	dropped       *prometheus.CounterVec // by field and reason
	truncated     prometheus.Counter
	lines         prometheus.Counter
	linesDropped  prometheus.Counter
	modelFailures prometheus.Counter
}

func newMetrics(r prometheus.Registerer, plugin string) (*metrics, error) {
	var faults []error
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "dispatchai", Subsystem: "plugin", Name: name, Help: help}, append([]string{"plugin"}, labels...))
		return register(r, v, &faults)
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "dispatchai", Subsystem: "plugin", Name: name, Help: help}, append([]string{"plugin"}, labels...))
		return register(r, v, &faults)
	}
	duration := register(r, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "dispatchai", Subsystem: "plugin", Name: "call_duration_seconds",
		Help:    "How long calls to the plugin took, failed ones included.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2.5, 13),
	}, []string{"plugin", "method"}), &faults)
	own := prometheus.Labels{"plugin": plugin}
	m := &metrics{
		up:            gauge("up", "1 while the plugin's process runs and is configured.").With(own),
		inFlight:      gauge("calls_in_flight", "Calls to the plugin in progress.").With(own),
		memory:        gauge("memory_bytes", "Resident memory of the plugin with all processes that it started; Linux only.").With(own),
		open:          gauge("circuit_open", "1 while the plugin is left alone because call after call failed.").With(own),
		opened:        counter("circuit_opened_total", "How often the plugin was left alone because call after call failed.").With(own),
		restarts:      counter("restarts_total", "How often the plugin's process ended or failed to start and is started anew.", "reason").MustCurryWith(own),
		duration:      duration.MustCurryWith(own),
		connections:   counter("connections_total", "Connections that the plugin wanted to hosts.", "outcome").MustCurryWith(own),
		calls:         counter("calls_total", "Calls to the plugin.", "method", "outcome").MustCurryWith(own),
		items:         counter("items_total", "Issues given to the plugin.", "outcome").MustCurryWith(own),
		dropped:       counter("answers_dropped_total", "Answers of the plugin, or parts of them, that the host did not accept.", "field", "reason").MustCurryWith(own),
		truncated:     counter("issues_truncated_total", "Issues cut to fit the protocol's message size.").With(own),
		lines:         counter("log_lines_total", "Lines the plugin wrote that were logged.").With(own),
		linesDropped:  counter("log_lines_dropped_total", "Lines the plugin wrote beyond the rate that is logged.").With(own),
		modelFailures: counter("model_load_failures_total", "Models that the plugin would not load after a start.").With(own),
	}
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("register the metrics of plugin %s: %w", plugin, err)
	}
	return m, nil
}

// register gives the collector that an earlier plugin registered, if any.
func register[C prometheus.Collector](r prometheus.Registerer, c C, faults *[]error) C {
	err := r.Register(c)
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if existing, ok := already.ExistingCollector.(C); ok {
			return existing
		}
	}
	if err != nil {
		*faults = append(*faults, err)
	}
	return c
}
