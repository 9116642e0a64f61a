package sqlite

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dispatchai/dispatchai/core/store"
)

// metrics counts what the store does. Without a registerer it counts all the
// same, for nobody.
type metrics struct {
	registerer prometheus.Registerer
	collectors []prometheus.Collector

	duration *prometheus.HistogramVec
	errors   *prometheus.CounterVec
	commit   prometheus.Histogram
	group    prometheus.Histogram
}

func newMetrics(registerer prometheus.Registerer, w *writer, vectors *vectorCache) (*metrics, error) {
	m := &metrics{
		registerer: registerer,
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "dispatchai_store_operation_duration_seconds", Help: "How long a call of the store took, waiting included.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}, []string{"operation"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dispatchai_store_errors_total", Help: "Calls of the store that failed; a row that is not found is no failure.",
		}, []string{"operation"}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "dispatchai_store_commit_duration_seconds", Help: "How long a commit took, the sync to disk included.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2, 15),
		}),
		group: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "dispatchai_store_commit_operations", Help: "How many writes shared a commit.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 8),
		}),
	}
	m.collectors = []prometheus.Collector{
		m.duration, m.errors, m.commit, m.group,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "dispatchai_store_queued_operations", Help: "Writes that wait for their turn.",
		}, func() float64 { return float64(len(w.queue)) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "dispatchai_store_vector_cache_bytes", Help: "Memory that holds vectors of recently used repositories.",
		}, func() float64 { return float64(vectors.size()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "dispatchai_store_vector_cache_hits_total", Help: "Searches for neighbours that found the repository's vectors in memory.",
		}, func() float64 { return float64(vectors.hits.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "dispatchai_store_vector_cache_misses_total", Help: "Searches for neighbours that read the repository's vectors from disk.",
		}, func() float64 { return float64(vectors.misses.Load()) }),
	}
	if registerer == nil {
		return m, nil
	}
	for i, c := range m.collectors {
		if err := registerer.Register(c); err != nil {
			m.collectors = m.collectors[:i]
			m.unregister()
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) unregister() {
	if m.registerer == nil {
		return
	}
	for _, c := range m.collectors {
		m.registerer.Unregister(c)
	}
}

// observe is deferred with the time at which the operation began.
func (m *metrics) observe(operation string, began time.Time, err *error) {
	m.duration.WithLabelValues(operation).Observe(time.Since(began).Seconds())
	if *err != nil && !errors.Is(*err, store.ErrNotFound) && !errors.Is(*err, store.ErrInvalidCursor) {
		m.errors.WithLabelValues(operation).Inc()
	}
}

func (m *metrics) committed(operations int, took time.Duration) {
	m.group.Observe(float64(operations))
	m.commit.Observe(took.Seconds())
}
