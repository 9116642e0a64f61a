package label

import (
	"context"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	desired        prometheus.Counter
	settled        *prometheus.CounterVec
	written        *prometheus.CounterVec
	skipped        *prometheus.CounterVec
	latencySeconds prometheus.Histogram
}

// pendingTimeout bounds the count that a scrape makes.
const pendingTimeout = 2 * time.Second

// newMetrics registers the worker's metrics; pending counts the rows that wait.
func newMetrics(r prometheus.Registerer, pending func(context.Context) (int64, error)) metrics {
	f := promauto.With(r)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "dispatchai_label_pending", Help: "Issues whose labels are not settled yet.",
	}, func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), pendingTimeout)
		defer cancel()
		n, err := pending(ctx)
		if err != nil {
			return math.NaN()
		}
		return float64(n)
	})
	return metrics{
		desired: f.NewCounter(prometheus.CounterOpts{
			Name: "dispatchai_label_desired_total", Help: "Desired-state rows written.",
		}),
		settled: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dispatchai_label_issues_total", Help: "Issues brought to their desired labels, by outcome (labelled, unlabelled, ignored, gone, archived, refused, postponed).",
		}, []string{"outcome"}),
		written: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dispatchai_label_writes_total", Help: "Labels written on GitHub, by operation and field.",
		}, []string{"operation", "field"}),
		skipped: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dispatchai_label_skipped_total", Help: "Desired labels that the policy held back, by reason.",
		}, []string{"reason"}),
		latencySeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "dispatchai_label_latency_seconds", Help: "Time from the acceptance of a delivery to the settled labels of its issue.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2.5, 14),
		}),
	}
}
