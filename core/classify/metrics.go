package classify

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/triage"
)

type metrics struct {
	events          *prometheus.CounterVec
	batchSeconds    prometheus.Histogram
	classifySeconds prometheus.Histogram
	latencySeconds  prometheus.Histogram
	corrections     *prometheus.CounterVec

	commands          *prometheus.CounterVec
	staleEmbeddings   prometheus.Gauge
	renewedEmbeddings prometheus.Counter
	vocabularies      prometheus.Counter

	postponedEmbeddings prometheus.Counter

	passedOver    *prometheus.CounterVec
	cost          *prometheus.CounterVec
	tokens        *prometheus.CounterVec
	cachedAnswers *prometheus.CounterVec
	challenges    *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) metrics {
	f := promauto.With(r)
	buckets := prometheus.ExponentialBuckets(0.001, 2.5, 12)
	return metrics{
		events: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dispatchai_classify_events_total",
			Help: "Events handled by the classify worker, by kind and outcome (done, replayed, ignored, erased, retried, dead).",
		}, []string{"kind", "outcome"}),
		batchSeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "dispatchai_classify_batch_seconds", Help: "Time to handle one batch of events.", Buckets: buckets,
		}),
		classifySeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "dispatchai_classify_plugins_seconds", Help: "Time from the first plugin call of a batch to the last answer.", Buckets: buckets,
		}),
		latencySeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "dispatchai_classify_latency_seconds", Help: "Time from the acceptance of a delivery to its stored classification.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2.5, 12),
		}),
		corrections: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dispatchai_classify_corrections_total", Help: "Corrections recorded, by field and source.",
		}, []string{"field", "source"}),
		commands: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dispatchai_classify_commands_total", Help: "Comments with /dispatch commands, by outcome (done, unclear, refused: its author lacks the triage permission).",
		}, []string{"outcome"}),
		staleEmbeddings: f.NewGauge(prometheus.GaugeOpts{
			Name: "dispatchai_classify_embeddings_stale", Help: "Embeddings of another model, or of an older vocabulary, that wait to be renewed.",
		}),
		renewedEmbeddings: f.NewCounter(prometheus.CounterOpts{
			Name: "dispatchai_classify_embeddings_renewed_total", Help: "Embeddings that were renewed because the model or the vocabulary had changed.",
		}),
		postponedEmbeddings: f.NewCounter(prometheus.CounterOpts{
			Name: "dispatchai_classify_embeddings_postponed_total", Help: "Issues that were classified without similar issues, because the plugin that embeds was away; they are embedded later.",
		}),
		passedOver: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dispatchai_classify_passed_over_total", Help: "Times that an issue went on without a classifier of its chain, by reason (unavailable, slow, failed, budget).",
		}, []string{"plugin", "reason"}),
		cost: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dispatchai_classify_cost_usd_total", Help: "What plugins' answers cost, in US dollars, as the plugins say.",
		}, []string{"plugin"}),
		tokens: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dispatchai_classify_tokens_total", Help: "Tokens that plugins' answers took, by direction (input, output).",
		}, []string{"plugin", "direction"}),
		cachedAnswers: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dispatchai_classify_cached_answers_total", Help: "Answers that a plugin knew from an identical or nearly identical issue.",
		}, []string{"plugin"}),
		challenges: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dispatchai_classify_challenges_total", Help: "Issues that a challenger was to be asked about, by outcome (agreed, disagreed, failed, budget, dropped: it was too slow).",
		}, []string{"plugin", "outcome"}),
		vocabularies: f.NewCounter(prometheus.CounterOpts{
			Name: "dispatchai_classify_vocabularies_total", Help: "Vocabularies counted anew because their repository had grown.",
		}),
	}
}

// event counts one handled record.
func (m metrics) event(k *work) {
	kind, outcome := string(k.event.Kind), "done"
	switch {
	case kind == "":
		kind, outcome = "unreadable", "dead"
	case eventlog.IsPermanent(k.err):
		outcome = "dead"
	case k.err != nil:
		outcome = "retried"
	case k.event.Kind == triage.KindPullRequest:
		outcome = "ignored"
	case k.gone:
		outcome = "erased"
	case k.applied:
		outcome = "replayed"
	}
	m.events.WithLabelValues(kind, outcome).Inc()
	if k.err != nil || k.applied || k.gone {
		return
	}
	if k.change.Classification != nil {
		m.latencySeconds.Observe(k.change.Classification.ClassifiedAt.Sub(k.event.ReceivedAt).Seconds())
	}
	for _, r := range k.reactions {
		outcome := "done"
		if r.Content != triage.ReactionDone {
			outcome = "unclear"
		}
		m.commands.WithLabelValues(outcome).Inc()
	}
	for _, c := range k.change.Corrections {
		m.corrections.WithLabelValues(string(c.Field), string(c.Source)).Inc()
	}
}
