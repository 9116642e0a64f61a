package gateway

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the gateway. Labels take only values known beforehand, so that
// nobody outside can make series.
type metrics struct {
	requests *prometheus.CounterVec   // by route and status
	duration *prometheus.HistogramVec // by route
	clients  prometheus.Gauge
	frames   prometheus.Counter
	resyncs  prometheus.Counter
	delay    *prometheus.HistogramVec // by topic
}

func newMetrics(r prometheus.Registerer) (metrics, error) {
	m := metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dispatchai_gateway_requests_total", Help: "Requests answered, by route and status.",
		}, []string{"route", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "dispatchai_gateway_request_seconds", Help: "Time to answer a request, by route; that of a correction includes the wait for its result.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 3, 10),
		}, []string{"route"}),
		clients: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "dispatchai_gateway_clients", Help: "WebSocket clients connected now.",
		}),
		frames: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dispatchai_gateway_frames_total", Help: "Live frames sent to clients.",
		}),
		resyncs: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dispatchai_gateway_resyncs_total", Help: "Times a client was too slow, or away for too long, and was told to read the snapshot.",
		}),
		delay: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "dispatchai_gateway_delay_seconds", Help: "Time from the acceptance of an event to its being offered to live clients, by topic.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 12),
		}, []string{"topic"}),
	}
	if r == nil {
		return m, nil
	}
	var faults []error
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.clients, m.frames, m.resyncs, m.delay} {
		faults = append(faults, r.Register(c))
	}
	return m, errors.Join(faults...)
}

// measure counts what a route answers and how long it takes.
func (m metrics) measure(route string, next http.HandlerFunc) http.Handler {
	duration := m.duration.WithLabelValues(route)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		answer := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next(answer, r)
		m.requests.WithLabelValues(route, strconv.Itoa(answer.status)).Inc()
		if !answer.hijacked {
			duration.Observe(time.Since(began).Seconds())
		}
	})
}
