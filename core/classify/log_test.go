package classify_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/classify"
	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/eventlog/embedded"
	"github.com/dispatchai/dispatchai/core/triage"
)

// logged is a fixture whose worker reads and writes a real log.
type logged struct {
	*fixture
	producer      *eventlog.Producer
	results, dead chan *eventlog.Record
}

func throughLog(t *testing.T, adapt ...func(*classify.Config)) *logged {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	groups := map[string][]string{
		"classify": {eventlog.TopicIssuesRaw}, "directory": {eventlog.TopicInstallationsRaw},
		"results": {eventlog.TopicIssuesEnriched}, "dead": {eventlog.TopicIssuesDead},
	}
	broker, err := embedded.Open(ctx, embedded.Options{Dir: filepath.Join(t.TempDir(), "log"), Groups: groups})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	})
	cluster, err := eventlog.NewCluster(broker.Config(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	if err := cluster.EnsureTopics(ctx); err != nil {
		t.Fatal(err)
	}
	producer, err := eventlog.NewProducer(broker.Config(), eventlog.ProducerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := producer.Close(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	l := &logged{producer: producer, results: make(chan *eventlog.Record, 1000), dead: make(chan *eventlog.Record, 16)}
	l.fixture = newFixture(t, append(adapt, func(c *classify.Config) { c.Publisher = producer })...)
	collect := func(into chan<- *eventlog.Record) eventlog.Handler {
		return func(_ context.Context, batch []*eventlog.Record) []error {
			for _, r := range batch {
				into <- r
			}
			return make([]error, len(batch))
		}
	}
	run, stop := context.WithCancel(ctx)
	ended := make(chan error, 4)
	for group, handler := range map[string]eventlog.Handler{
		"classify": l.worker.HandleIssues, "directory": l.worker.HandleInstallations, "results": collect(l.results), "dead": collect(l.dead),
	} {
		consumer, err := eventlog.NewConsumer(broker.Config(), eventlog.ConsumerConfig{
			Group: group, Topics: groups[group], Handler: handler, Producer: producer, Express: classify.Express,
		})
		if err != nil {
			t.Fatal(err)
		}
		go func() { ended <- consumer.Run(run) }()
	}
	t.Cleanup(func() {
		stop()
		for range 4 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	return l
}

func (l *logged) send(records ...*eventlog.Record) {
	l.Helper()
	for _, r := range records {
		l.check(l.producer.Append(l.ctx, *r))
	}
}

func (l *logged) next(from <-chan *eventlog.Record) *eventlog.Record {
	l.Helper()
	select {
	case r := <-from:
		return r
	case <-l.ctx.Done():
		l.Fatal("waited in vain for a record")
		return nil
	}
}

// result is the next result.
func (l *logged) result() triage.Enriched {
	l.Helper()
	var r triage.Enriched
	l.check(json.Unmarshal(l.next(l.results).Value, &r))
	return r
}

// TestThroughTheLog has the worker read and write a real log: what GitHub sent
// comes out as results, a correction among them, and what no attempt can heal
// is found among the dead letters.
func TestThroughTheLog(t *testing.T) {
	f := throughLog(t)
	n := f.open(crashTitle, crashBody)
	opened := f.take()
	f.send(opened...)
	first := f.next(f.results)
	var r triage.Enriched
	f.check(json.Unmarshal(first.Value, &r))
	if first.Key != f.key(n).String() || r.EventType != triage.Classified || r.Classification.Value(triage.FieldCategory) != "bug" {
		t.Errorf("the first result, under %q: %+v", first.Key, r)
	}
	for _, header := range []string{eventlog.HeaderDelivery, eventlog.HeaderTraceparent, eventlog.HeaderReceivedAt} {
		if want := opened[len(opened)-1].Header(header); first.Header(header) != want {
			t.Errorf("the result has the %s %q, want %q", header, first.Header(header), want)
		}
	}
	f.send(f.correct("c1", n, triage.FieldCategory, "no such category"), f.correct("c2", n, triage.FieldCategory, "question"))
	corrected := f.result()
	if corrected.EventID != "c2" || corrected.Classification.Value(triage.FieldCategory) != "question" {
		t.Errorf("the correction came out as %+v", corrected)
	}
	if died := f.next(f.dead); died.Header(eventlog.HeaderDelivery) != "c1" {
		t.Errorf("among the dead letters: %+v", died)
	}
}
