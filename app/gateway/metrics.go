package gateway

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	clients prometheus.Gauge
	frames  prometheus.Counter
	resyncs prometheus.Counter
}

func newMetrics(r prometheus.Registerer) metrics {
	f := promauto.With(r)
	return metrics{
		clients: f.NewGauge(prometheus.GaugeOpts{
			Name: "dispatchai_gateway_clients", Help: "WebSocket clients connected now.",
		}),
		frames: f.NewCounter(prometheus.CounterOpts{
			Name: "dispatchai_gateway_frames_total", Help: "Live frames sent to clients.",
		}),
		resyncs: f.NewCounter(prometheus.CounterOpts{
			Name: "dispatchai_gateway_resyncs_total", Help: "Times a client was too slow and was told to read the snapshot.",
		}),
	}
}
