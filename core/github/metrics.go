package github

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of all calls. What is left of budgets is that of the installations in
// the cache.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	held     *prometheus.CounterVec
}

// heldBack counts a call that did not go out.
func (m *metrics) heldBack(reason string, background bool) {
	m.held.WithLabelValues(reason, class(background)).Inc()
}

func class(background bool) string {
	if background {
		return "background"
	}
	return "live"
}

func newMetrics(r prometheus.Registerer, c *Client) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dispatchai_github_requests_total",
			Help: "Requests to GitHub's API by route and HTTP status (\"error\" when there was no answer).",
		}, []string{"route", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "dispatchai_github_request_duration_seconds",
			Help:    "How long requests to GitHub's API took, by route.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"route"}),
		held: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dispatchai_github_calls_held_total",
			Help: "Calls that did not go out, by what they wait for (content_minute, content_hour, points_minute, primary, retry_after, outage) and class (live, background).",
		}, []string{"reason", "class"}),
	}
	if r == nil {
		return m, nil
	}
	for _, collector := range []prometheus.Collector{
		m.requests, m.duration, m.held, newBudgetCollector(c),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "dispatchai_github_installations_cached",
			Help: "Installations that were called lately and whose budget is in memory.",
		}, func() float64 { return float64(c.cache.len()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "dispatchai_github_down",
			Help: "1 while GitHub's API as a whole does not answer, and writes wait.",
		}, func() float64 {
			if c.outage.down() {
				return 1
			}
			return 0
		}),
	} {
		if err := r.Register(collector); err != nil {
			return nil, fmt.Errorf("github: register metrics: %w", err)
		}
	}
	return m, nil
}

// budgetCollector tells what is left to the installation that has least left,
// in one pass over all of them for each scrape.
type budgetCollector struct {
	client                   *Client
	left, remaining, blocked *prometheus.Desc
}

func newBudgetCollector(c *Client) *budgetCollector {
	return &budgetCollector{
		client: c,
		left: prometheus.NewDesc("dispatchai_github_budget_left",
			"What is left of each limit to the installation that has least left, by limit and class; without a value while no installation has limits.",
			[]string{"limit", "class"}, nil),
		remaining: prometheus.NewDesc("dispatchai_github_rate_remaining_requests",
			"Requests left in the present hour to the installation that has fewest left; -1 before the first answer.", nil, nil),
		blocked: prometheus.NewDesc("dispatchai_github_installations_blocked",
			"Installations whose live calls wait for their budget or for as long as GitHub asked.", nil, nil),
	}
}

func (b *budgetCollector) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- b.left
	descriptions <- b.remaining
	descriptions <- b.blocked
}

func (b *budgetCollector) Collect(out chan<- prometheus.Metric) {
	lowest := map[[2]string]int{}
	least := func(limit, class string, n int) {
		key := [2]string{limit, class}
		if present, ok := lowest[key]; n >= 0 && (!ok || n < present) {
			lowest[key] = n
		}
	}
	remaining, blocked := -1, 0
	for _, i := range b.client.cache.all() {
		state := i.budget.left()
		if !state.WaitUntil.IsZero() {
			blocked++
		}
		if state.Rate.Limit > 0 && (remaining < 0 || state.Rate.Remaining < remaining) {
			remaining = state.Rate.Remaining
		}
		if state.Unlimited {
			continue
		}
		for _, of := range []struct {
			class string
			left  Left
		}{{class(false), state.Live}, {class(true), state.Background}} {
			least(heldContentMinute, of.class, of.left.ContentMinute)
			least(heldContentHour, of.class, of.left.ContentHour)
			least(heldPoints, of.class, of.left.Points)
			least(heldPrimary, of.class, of.left.Requests)
		}
	}
	for key, n := range lowest {
		out <- prometheus.MustNewConstMetric(b.left, prometheus.GaugeValue, float64(n), key[0], key[1])
	}
	out <- prometheus.MustNewConstMetric(b.remaining, prometheus.GaugeValue, float64(remaining))
	out <- prometheus.MustNewConstMetric(b.blocked, prometheus.GaugeValue, float64(blocked))
}
