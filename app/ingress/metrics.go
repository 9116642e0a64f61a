package ingress

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dispatchai/dispatchai/core/github"
)

// metrics of the webhook endpoint. Labels take only values known beforehand, so
// that no sender can make series.
type metrics struct {
	accepted                           map[string]prometheus.Counter // by event
	ignored                            prometheus.Counter
	rejected                           *prometheus.CounterVec // by reason
	limitedUnverified, limitedVerified prometheus.Counter
	duration                           prometheus.Histogram
	bodyBytes                          prometheus.Histogram
}

func newMetrics(r prometheus.Registerer, h *Handler) (*metrics, error) {
	accepted := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dispatchai_ingress_accepted_total",
		Help: "Deliveries that are durable in the log, by event.",
	}, []string{"event"})
	limited := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dispatchai_ingress_limited_total",
		Help: "Requests refused by a rate limit: that of unverified requests or that of verified deliveries.",
	}, []string{"limit"})
	m := &metrics{
		accepted: make(map[string]prometheus.Counter),
		ignored: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dispatchai_ingress_ignored_total",
			Help: "Verified deliveries of events that DispatchAI has no use for.",
		}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dispatchai_ingress_rejected_total",
			Help: "Requests refused, by reason.",
		}, []string{"reason"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "dispatchai_ingress_request_duration_seconds",
			Help:    "Time from a request's headers to its answer, the wait for the log included.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10},
		}),
		bodyBytes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "dispatchai_ingress_body_bytes",
			Help:    "Sizes of verified deliveries.",
			Buckets: prometheus.ExponentialBuckets(1<<10, 4, 8),
		}),
		limitedUnverified: limited.WithLabelValues("unverified"),
		limitedVerified:   limited.WithLabelValues("verified"),
	}
	for _, event := range []string{
		github.EventIssues, github.EventIssueComment, github.EventInstallation, github.EventInstallationRepositories,
		github.EventLabel, github.EventRepository, github.EventPush, github.EventPing,
	} {
		m.accepted[event] = accepted.WithLabelValues(event)
	}
	for _, reason := range reasons() {
		m.rejected.WithLabelValues(reason)
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		accepted, limited, m.ignored, m.rejected, m.duration, m.bodyBytes,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "dispatchai_ingress_in_flight_bytes",
			Help: "Bytes of bodies between their arrival and their being durable.",
		}, func() float64 { return float64(h.budget.used.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "dispatchai_ingress_tracked_addresses",
			Help: "Client addresses that the rate limiter remembers.",
		}, func() float64 { return float64(h.limits.len()) }),
	} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("ingress: register metrics: %w", err)
		}
	}
	return m, nil
}
