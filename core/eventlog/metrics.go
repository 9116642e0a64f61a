package eventlog

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// register adds a collector, or returns the equal one that another Producer or
// Consumer of this process has already added, so that several share a metric
// and differ in their labels.
func register[C prometheus.Collector](reg prometheus.Registerer, c C) (C, error) {
	if reg == nil {
		return c, nil
	}
	err := reg.Register(c)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if existing, ok := already.ExistingCollector.(C); ok {
			return existing, nil
		}
	}
	if err != nil {
		return c, fmt.Errorf("event log: register metrics: %w", err)
	}
	return c, nil
}

const namespace, subsystem = "dispatchai", "eventlog"

type producerMetrics struct {
	records  *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	duration *prometheus.HistogramVec
	failures *prometheus.CounterVec
}

func newProducerMetrics(reg prometheus.Registerer) (m producerMetrics, err error) {
	var errs [4]error
	m.records, errs[0] = register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "published_records_total",
		Help: "Records made durable.",
	}, []string{"topic"}))
	m.bytes, errs[1] = register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "published_bytes_total",
		Help: "Bytes made durable, before compression.",
	}, []string{"topic"}))
	m.duration, errs[2] = register(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "publish_duration_seconds",
		Help:    "Time from Append to durable.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"topic"}))
	m.failures, errs[3] = register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "publish_failures_total",
		Help: "Appends that failed, by reason: full, too_large, unavailable, canceled, closed, other.",
	}, []string{"reason"}))
	return m, errors.Join(errs[:]...)
}

type consumerMetrics struct {
	consumed   *prometheus.CounterVec
	inFlight   prometheus.Gauge
	detached   prometheus.Gauge
	buffered   prometheus.Gauge
	batch      prometheus.Observer
	duration   prometheus.Observer
	retries    *prometheus.CounterVec
	dead       *prometheus.CounterVec
	lag        *prometheus.GaugeVec
	commitFail prometheus.Counter
	fetchFail  *prometheus.CounterVec
	dataLoss   *prometheus.CounterVec
	panics     prometheus.Counter
}

func newConsumerMetrics(reg prometheus.Registerer, group string) (m consumerMetrics, err error) {
	var errs []error
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c, err := register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: name, Help: help,
		}, append([]string{"group"}, labels...)))
		errs = append(errs, err)
		curried, err := c.CurryWith(prometheus.Labels{"group": group})
		if err != nil {
			errs = append(errs, err)
			return c
		}
		return curried
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		c, err := register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: subsystem, Name: name, Help: help,
		}, append([]string{"group"}, labels...)))
		errs = append(errs, err)
		curried, err := c.CurryWith(prometheus.Labels{"group": group})
		if err != nil {
			errs = append(errs, err)
			return c
		}
		return curried
	}
	histogram := func(name, help string, buckets []float64) prometheus.Observer {
		c, err := register(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: name, Help: help, Buckets: buckets,
		}, []string{"group"}))
		errs = append(errs, err)
		return c.WithLabelValues(group)
	}
	m.consumed = counter("consumed_records_total", "Records finished: handled, or durable among the dead letters.", "topic")
	m.inFlight = gauge("in_flight_batches", "Batches with the handler now.").WithLabelValues()
	m.detached = gauge("detached_parts", "Parts of batches that go on without a slot, waiting for something slow.").WithLabelValues()
	m.buffered = gauge("buffered_records", "Records fetched and not yet finished.").WithLabelValues()
	m.batch = histogram("batch_records", "Records in a batch.", []float64{1, 2, 4, 8, 16, 32, 64, 128, 256})
	m.duration = histogram("batch_duration_seconds", "Time the handler took for a batch.", prometheus.DefBuckets)
	m.retries = counter("retries_total", "Records to be tried again, by reason: error, asked.", "topic", "reason")
	m.dead = counter("dead_records_total", "Records moved to the dead letters.", "topic")
	m.lag = gauge("lag_records", "Records between the committed mark and the end of the partition, as of the last fetch.", "topic", "partition")
	m.commitFail = counter("commit_failures_total", "Commits of offsets that failed.").WithLabelValues()
	m.fetchFail = counter("fetch_failures_total", "Fetches that failed in a way that does not heal by itself, such as corrupt batches.", "topic")
	m.dataLoss = counter("data_loss_records_total", "Records deleted from the log before they were read, or lost with its end.", "topic")
	m.panics = counter("handler_panics_total", "Panics of the handler.").WithLabelValues()
	return m, errors.Join(errs...)
}

type tableMetrics struct {
	keys    *prometheus.GaugeVec
	refused *prometheus.CounterVec
}

func newTableMetrics(reg prometheus.Registerer) (m tableMetrics, err error) {
	var errs [2]error
	m.keys, errs[0] = register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "table_keys",
		Help: "Keys of a compacted topic that this process holds.",
	}, []string{"topic"}))
	m.refused, errs[1] = register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "table_refused_records_total",
		Help: "Records of a compacted topic that this process did not take, by reason: keys, size, key.",
	}, []string{"topic", "reason"}))
	return m, errors.Join(errs[:]...)
}
