package reconcile

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	erasures *prometheus.CounterVec
	failures prometheus.Counter
}

func newMetrics(r prometheus.Registerer) metrics {
	f := promauto.With(r)
	return metrics{
		erasures: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dispatchai_reconcile_erasures_total", Help: "Erasures that ended, by subject and outcome.",
		}, []string{"subject", "outcome"}),
		failures: f.NewCounter(prometheus.CounterOpts{
			Name: "dispatchai_reconcile_failures_total", Help: "Passes after which something was left that should have been erased.",
		}),
	}
}
