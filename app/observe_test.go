package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/dispatchai/dispatchai/app/simulate"
	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/eventlog/embedded"
)

// TestTraceReachesTheLabel: the trace that a webhook came with is in the headers
// of its records, in what follows from it, and where the label worker writes.
func TestTraceReachesTheLabel(t *testing.T) {
	t.Parallel()
	s := newSystem(t, simulate.Options{Seed: 71, RateLimits: simulate.RateLimits{Off: true}})
	s.installTestRepository()
	s.start()
	t.Cleanup(s.dump)
	ctx := testContext(t)
	// The issue exists on GitHub; its webhook comes from here, with a trace.
	if err := s.github.SetWebhookURL(""); err != nil {
		t.Fatal(err)
	}
	number, err := s.github.OpenIssue(ctx, testRepo, bugReport(1))
	if err != nil {
		t.Fatal(err)
	}
	issue, err := s.github.Issue(testRepo, number)
	if err != nil {
		t.Fatal(err)
	}
	payload := s.opened(number)
	payload["issue"].(object)["id"] = issue.ID
	// The worker says something about this issue only when something is wrong.
	s.github.InjectFault(simulate.Fault{Method: "GET", Route: "GET /repos/{owner}/{repo}/issues/{number}/labels", Times: 1, Status: http.StatusBadGateway})
	const (
		traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
		parent  = "00-" + traceID + "-00f067aa0ba902b7-01"
	)
	if answer := s.deliver("issues", "traced", encode(t, payload), "Traceparent", parent); answer.code != http.StatusOK {
		t.Fatalf("the delivery was answered with %d", answer.code)
	}
	s.waitLabel(number, "kind/bug")

	for _, topic := range []string{eventlog.TopicIssuesRaw, eventlog.TopicIssuesEnriched} {
		records := s.records(topic)
		i := slices.IndexFunc(records, func(r *eventlog.Record) bool { return r.Header(eventlog.HeaderDelivery) == "traced" })
		if i < 0 {
			t.Errorf("%s has no record of the delivery", topic)
			continue
		}
		header := records[i].Header(eventlog.HeaderTraceparent)
		version, rest, _ := strings.Cut(header, "-")
		if version != "00" || !strings.HasPrefix(rest, traceID+"-") || !strings.HasSuffix(rest, "-01") || header == parent {
			t.Errorf("the traceparent in %s is %q; it must continue %s with a span of its own", topic, header, parent)
		}
	}
	var found bool
	for line := range strings.SplitSeq(s.process.output(), "\n") {
		var entry struct{ Part, Delivery, Traceparent, Repository string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Part == "label" && strings.Contains(entry.Traceparent, traceID) {
			found = entry.Delivery == "traced" && entry.Repository == testRepo
		}
	}
	if !found {
		t.Errorf("no line of the label worker carries the trace:\n%s", s.process.output())
	}
}

// records reads a topic of the running service from its start to its end, as
// any other process may.
func (s *system) records(topic string) []*eventlog.Record {
	s.t.Helper()
	config, err := embedded.Dial(testContext(s.t), filepath.Join(s.dataDir, "log"))
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(testContext(s.t))
	defer stop()
	var records []*eventlog.Record
	err = eventlog.Tail(ctx, config, eventlog.TailConfig{
		Topics: []string{topic}, From: eventlog.Start{LastRecords: 1000},
		Handler:  func(read []*eventlog.Record, _ eventlog.Cursor) { records = append(records, read...) },
		CaughtUp: func(eventlog.Cursor) { stop() },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return records
}

// TestMetrics: /metrics is what Prometheus reads, every name follows its
// conventions, and every step of the way from webhook to label counts.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s := newSystem(t, simulate.Options{Seed: 72})
	s.installTestRepository()
	s.start()
	t.Cleanup(s.dump)
	number, err := s.github.OpenIssue(testContext(t), testRepo, bugReport(1))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(number, "kind/bug")
	poison := s.opened(900)
	delete(poison["issue"].(object), "id")
	s.deliver("issues", "poison", encode(t, poison))
	s.deliver("issues", "unsigned", encode(t, poison), "X-Hub-Signature-256", "sha256="+strings.Repeat("0", 64))
	s.deliver("star", "ignored", encode(t, poison))
	issue, _ := s.issue(number)
	s.connect("")
	if code := s.call("POST", fmt.Sprintf("/api/issues/%d/correct", issue.ID), object{"field": "category", "values": []string{"feature"}}, nil); code != http.StatusOK {
		t.Errorf("the correction was answered with %d", code)
	}
	s.waitLabel(number, "kind/feature")

	// Each step, and the least that it must have counted by now.
	wanted := map[string]float64{
		`dispatchai_ingress_accepted_total{event="issues"}`:                                  2,
		`dispatchai_ingress_ignored_total`:                                                   1,
		`dispatchai_ingress_rejected_total{reason="bad_signature"}`:                          1,
		`dispatchai_ingress_request_duration_seconds`:                                        4,
		`dispatchai_ingress_body_bytes`:                                                      3,
		`dispatchai_eventlog_published_records_total{topic="issues.raw"}`:                    3,
		`dispatchai_eventlog_published_records_total{topic="issues.enriched"}`:               2,
		`dispatchai_eventlog_publish_duration_seconds{topic="issues.raw"}`:                   1,
		`dispatchai_eventlog_consumed_records_total{group="classify",topic="issues.raw"}`:    3,
		`dispatchai_eventlog_consumed_records_total{group="label",topic="issues.enriched"}`:  2,
		`dispatchai_eventlog_dead_records_total{group="classify",topic="issues.raw"}`:        1,
		`dispatchai_eventlog_lag_records{group="classify",partition="0",topic="issues.raw"}`: 0,
		`dispatchai_eventlog_embedded_used_bytes`:                                            1,
		`dispatchai_classify_events_total{kind="issue",outcome="done"}`:                      1,
		`dispatchai_classify_events_total{kind="unreadable",outcome="dead"}`:                 1,
		`dispatchai_classify_corrections_total{field="category",source="dashboard"}`:         1,
		`dispatchai_classify_latency_seconds`:                                                1,
		`dispatchai_classify_embeddings_stale`:                                               0,
		`dispatchai_plugin_call_duration_seconds`:                                            1,
		`dispatchai_store_commit_duration_seconds`:                                           1,
		`dispatchai_label_desired_total`:                                                     2,
		`dispatchai_label_writes_total{field="category",operation="added"}`:                  2,
		`dispatchai_label_latency_seconds`:                                                   1,
		`dispatchai_label_pending`:                                                           0,
		`dispatchai_github_requests_total`:                                                   3,
		`dispatchai_github_request_duration_seconds`:                                         3,
		`dispatchai_gateway_clients`:                                                         1,
		`dispatchai_gateway_frames_total`:                                                    1,
		`go_goroutines`:                                                                      1,
		`process_resident_memory_bytes`:                                                      1,
	}
	var text []byte
	var missing []string
	eventually(t, "every step has counted", func() bool {
		text = s.scrape()
		families := parseMetrics(t, text)
		missing = nil
		for series, least := range wanted {
			if got, ok := sum(families, series); !ok || got < least {
				missing = append(missing, series)
			}
		}
		return len(missing) == 0 || t.Failed()
	})

	problems, err := promlint.New(bytes.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "dispatchai_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	for name, family := range parseMetrics(t, text) {
		if !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") && !strings.HasPrefix(name, "promhttp_") && len(strings.Split(name, "_")) < 3 {
			t.Errorf("%s is not dispatchai_<subsystem>_<what>", name)
		}
		if help := family.GetHelp(); strings.HasPrefix(name, "dispatchai_") && !strings.HasSuffix(help, ".") {
			t.Errorf("%s: its help is no sentence: %q", name, help)
		}
		// A label's values must not grow with what strangers send.
		if n := len(family.GetMetric()); n > 200 {
			t.Errorf("%s has %d series", name, n)
		}
	}
}

func (s *system) scrape() []byte {
	s.t.Helper()
	request, err := http.NewRequestWithContext(testContext(s.t), http.MethodGet, "http://"+s.addr+"/metrics", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		s.t.Fatalf("/metrics: %d %v", response.StatusCode, err)
	}
	return text
}

func parseMetrics(t testing.TB, text []byte) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("/metrics is not what Prometheus reads: %v", err)
	}
	return families
}

// sum adds up the series of a family that have the labels named; of histograms
// it counts the observations. It tells whether there is any.
func sum(families map[string]*dto.MetricFamily, series string) (total float64, found bool) {
	name, labels, _ := strings.Cut(strings.TrimSuffix(series, "}"), "{")
	for _, m := range families[name].GetMetric() {
		fits := true
		if labels != "" {
			for want := range strings.SplitSeq(labels, ",") {
				key, value, _ := strings.Cut(want, "=")
				fits = fits && slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool {
					return l.GetName() == key && `"`+l.GetValue()+`"` == value
				})
			}
		}
		if fits {
			found = true
			total += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return total, found
}
