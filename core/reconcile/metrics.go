package reconcile

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type erasureMetrics struct {
	erasures *prometheus.CounterVec
	failures prometheus.Counter
}

func newErasureMetrics(r prometheus.Registerer) erasureMetrics {
	f := promauto.With(r)
	return erasureMetrics{
		erasures: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dispatchai_reconcile_erasures_total", Help: "Erasures that ended, by subject and outcome.",
		}, []string{"subject", "outcome"}),
		failures: f.NewCounter(prometheus.CounterOpts{
			Name: "dispatchai_reconcile_failures_total", Help: "Passes after which something was left that should have been erased.",
		}),
	}
}

type gapMetrics struct {
	leading    prometheus.Gauge
	sweeps     *prometheus.CounterVec
	redelivery *prometheus.CounterVec
	lost       prometheus.Counter
	compared   *prometheus.CounterVec
	found      *prometheus.CounterVec
	backfilled *prometheus.CounterVec
}

func newGapMetrics(r prometheus.Registerer) gapMetrics {
	f := promauto.With(r)
	return gapMetrics{
		leading: f.NewGauge(prometheus.GaugeOpts{
			Name: "dispatchai_reconcile_leading", Help: "1 while this process looks for gaps on behalf of all.",
		}),
		sweeps: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dispatchai_reconcile_sweeps_total", Help: "Readings of GitHub's log of deliveries, by outcome (done, failed).",
		}, []string{"outcome"}),
		redelivery: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dispatchai_reconcile_redeliveries_total", Help: "Missing deliveries by what came of asking for them (asked, failed, given_up).",
		}, []string{"outcome"}),
		lost: f.NewCounter(prometheus.CounterOpts{
			Name: "dispatchai_reconcile_lost_deliveries_total", Help: "Deliveries that were accepted and left no trace.",
		}),
		compared: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dispatchai_reconcile_repositories_total", Help: "Comparisons of a repository's issues with GitHub's list, by outcome (done, failed).",
		}, []string{"outcome"}),
		found: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dispatchai_reconcile_found_total", Help: "What comparing found: issues missing, changed or touched, label_changes, installations, repositories.",
		}, []string{"what"}),
		backfilled: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dispatchai_reconcile_backfilled_total", Help: "Issues that backfills looked at, by what came of it (enqueued, unchanged).",
		}, []string{"outcome"}),
	}
}
