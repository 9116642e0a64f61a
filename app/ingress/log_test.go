package ingress

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/eventlog/embedded"
	"github.com/dispatchai/dispatchai/core/github"
)

// Every acknowledged delivery stands in the durable log exactly as it was sent,
// although buffers serve one delivery after another and forged ones in between.
func TestDeliveriesReachTheLogUnchanged(t *testing.T) {
	const senders, each = 16, 25
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	broker := openLog(t)
	producer := openProducerOn(t, broker)
	e := newEndpoint(t, func(cfg *Config) { cfg.Producer, cfg.MaxWebhookRequests = producer, senders*each })

	sent := make(map[string][]byte)
	var mu sync.Mutex
	var group sync.WaitGroup
	for s := range senders {
		group.Go(func() {
			for i := range each {
				id := fmt.Sprintf("delivery-%d-%d", s, i)
				body := bytes.Replace(issueBody(300+i*700), []byte("A title"), []byte(id), 1)
				r := e.delivery("issues", body)
				r.Header.Set("X-GitHub-Delivery", id)
				mu.Lock()
				sent[id] = body
				mu.Unlock()
				if got := e.send(r); got.code != http.StatusOK {
					t.Errorf("%s: %d %v", id, got.code, got.json)
				}
				forged := bytes.Repeat([]byte("x"), len(body))
				r = e.delivery("issues", forged)
				r.Header.Set("X-Hub-Signature-256", github.Sign("guess", forged))
				if got := e.send(r); got.code != http.StatusUnauthorized {
					t.Errorf("forged: %d", got.code)
				}
			}
		})
	}
	group.Wait()

	kept := make(map[string][]byte)
	tail, stop := context.WithCancel(ctx)
	err := eventlog.Tail(tail, broker.Config(), eventlog.TailConfig{
		Topics: []string{eventlog.TopicIssuesRaw},
		From:   eventlog.Start{LastRecords: 10_000},
		Handler: func(records []*eventlog.Record, _ eventlog.Cursor) {
			for _, r := range records {
				if r.Key != "77#12" {
					t.Errorf("the key is %q", r.Key)
				}
				kept[r.Header(eventlog.HeaderDelivery)] = bytes.Clone(r.Value)
			}
			if len(kept) >= len(sent) {
				stop()
			}
		},
	})
	stop()
	if err != nil && !strings.Contains(err.Error(), context.Canceled.Error()) {
		t.Fatal(err)
	}
	if len(kept) != len(sent) {
		t.Errorf("%d deliveries are in the log, %d were acknowledged", len(kept), len(sent))
	}
	for id, body := range sent {
		if !bytes.Equal(kept[id], body) {
			t.Errorf("%s: %d bytes were kept otherwise than the %d sent", id, len(kept[id]), len(body))
		}
	}
}

func openLog(t testing.TB) *embedded.Broker {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	broker, err := embedded.Open(ctx, embedded.Options{
		Dir: t.TempDir(), Groups: map[string][]string{"classify": {eventlog.TopicIssuesRaw}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	})
	cluster, err := eventlog.NewCluster(broker.Config(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	if err := cluster.EnsureTopics(ctx); err != nil {
		t.Fatal(err)
	}
	return broker
}

func openProducerOn(t testing.TB, broker *embedded.Broker) *eventlog.Producer {
	t.Helper()
	producer, err := eventlog.NewProducer(broker.Config(), eventlog.ProducerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := producer.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return producer
}
