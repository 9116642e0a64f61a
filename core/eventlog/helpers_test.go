package eventlog_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/eventlog/embedded"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// logBuffer collects a log for a test to read.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func testLogger(tb testing.TB) *slog.Logger {
	tb.Helper()
	b := &logBuffer{}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("log of %s:\n%s", tb.Name(), b.String())
		}
	})
	return slog.New(slog.NewTextHandler(io.Writer(b), nil))
}

func testContext(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	tb.Cleanup(cancel)
	return ctx
}

// openEmbedded returns the Config of a fresh embedded log with its topics.
func openEmbedded(tb testing.TB, partitions int32) eventlog.Config {
	tb.Helper()
	b, err := embedded.Open(testContext(tb), embedded.Options{
		Dir: tb.TempDir(), Partitions: partitions, Logger: testLogger(tb),
		Groups: map[string][]string{"classify": {eventlog.TopicIssuesRaw}},
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := b.Close(); err != nil {
			tb.Error(err)
		}
	})
	ensureTopics(tb, b.Config())
	return b.Config()
}

// openCluster returns the Config of a Kafka cluster of three brokers over TCP.
func openCluster(tb testing.TB, partitions int32, opts ...kfake.Opt) (eventlog.Config, *kfake.Cluster) {
	tb.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(3)}, opts...)...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	cfg := eventlog.Kafka(c.ListenAddrs())
	cfg.Partitions = partitions
	ensureTopics(tb, cfg)
	return cfg, c
}

func ensureTopics(tb testing.TB, cfg eventlog.Config) {
	tb.Helper()
	cl := newCluster(tb, cfg)
	if err := cl.EnsureTopics(testContext(tb)); err != nil {
		tb.Fatal(err)
	}
}

func newCluster(tb testing.TB, cfg eventlog.Config) *eventlog.Cluster {
	tb.Helper()
	cl, err := eventlog.NewCluster(cfg, testLogger(tb))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(cl.Close)
	return cl
}

func newProducer(tb testing.TB, cfg eventlog.Config) *eventlog.Producer {
	tb.Helper()
	p, err := eventlog.NewProducer(cfg, eventlog.ProducerConfig{Logger: testLogger(tb)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			tb.Error(err)
		}
	})
	return p
}

// startConsumer runs a consumer until the test ends or stop is called, which
// returns what Run returned.
func startConsumer(tb testing.TB, cfg eventlog.Config, cc eventlog.ConsumerConfig) (c *eventlog.Consumer, stop func() error) {
	tb.Helper()
	if cc.Group == "" {
		cc.Group = "classify"
	}
	if cc.Topics == nil {
		cc.Topics = []string{eventlog.TopicIssuesRaw}
	}
	if cc.Logger == nil {
		cc.Logger = testLogger(tb)
	}
	if cc.Producer == nil {
		cc.Producer = newProducer(tb, cfg)
	}
	if cc.BackOffMin == 0 {
		cc.BackOffMin = time.Millisecond
	}
	if cc.BackOffMax == 0 {
		cc.BackOffMax = 5 * time.Millisecond
	}
	c, err := eventlog.NewConsumer(cfg, cc)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var runErr error
	go func() {
		defer close(done)
		runErr = c.Run(ctx)
	}()
	stop = func() error {
		cancel()
		select {
		case <-done:
			return runErr
		case <-time.After(patience):
			tb.Fatal("the consumer does not stop")
			return nil
		}
	}
	tb.Cleanup(func() {
		if err := stop(); err != nil {
			tb.Error(err)
		}
	})
	return c, stop
}

// eventually polls until ok, with a deadline.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			tb.Fatalf("waited %s for: %s", patience, what)
		case <-ticker.C:
		}
	}
}

// lag is the sum over the partitions of issues.raw.
func lag(tb testing.TB, cl *eventlog.Cluster, group string) int64 {
	tb.Helper()
	lags, err := cl.Lag(testContext(tb), group, eventlog.TopicIssuesRaw)
	if err != nil {
		tb.Fatal(err)
	}
	var sum int64
	for _, l := range lags {
		sum += l.Lag
	}
	return sum
}

func raw(key, value string) eventlog.Record {
	return eventlog.Record{Topic: eventlog.TopicIssuesRaw, Key: key, Value: []byte(value)}
}

// metric sums the series of a counter or gauge.
func metric(tb testing.TB, reg *prometheus.Registry, name string) (sum float64) {
	tb.Helper()
	families, err := reg.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// heldUntil makes the requests that it controls wait for a channel.
func heldUntil(c *kfake.Cluster, release <-chan struct{}) func(kmsg.Request) (kmsg.Response, error, bool) {
	return func(kmsg.Request) (kmsg.Response, error, bool) {
		select {
		case <-release:
			c.DropControl()
		default:
			c.SleepControl(func() { <-release })
		}
		return nil, nil, false
	}
}
