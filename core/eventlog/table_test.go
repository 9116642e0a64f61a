package eventlog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dispatchai/dispatchai/core/eventlog"
)

func setting(key, value string) eventlog.Record {
	return eventlog.Record{Topic: eventlog.TopicControl, Key: key, Value: []byte(value)}
}

func tombstone(key string) eventlog.Record {
	return eventlog.Record{Topic: eventlog.TopicControl, Key: key}
}

func appendAll(tb testing.TB, p *eventlog.Producer, records ...eventlog.Record) {
	tb.Helper()
	if err := p.Append(testContext(tb), records...); err != nil {
		tb.Fatal(err)
	}
}

// follow runs a table until the test ends, and waits until it has caught up.
func follow(tb testing.TB, cfg eventlog.Config, tc eventlog.TableConfig) *eventlog.Table {
	tb.Helper()
	if tc.Topics == nil {
		tc.Topics = []string{eventlog.TopicControl, eventlog.TopicStatus}
	}
	if tc.Logger == nil {
		tc.Logger = testLogger(tb)
	}
	table, err := eventlog.NewTable(cfg, tc)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- table.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Errorf("Run: %v", err)
		}
	})
	select {
	case <-table.CaughtUp():
	case <-time.After(patience):
		tb.Fatal("the table does not catch up")
	}
	return table
}

func held(table *eventlog.Table, topic string) map[string]string {
	all := make(map[string]string)
	for _, e := range table.List(topic) {
		all[e.Key] = string(e.Value)
	}
	return all
}

// TestTable: on both kinds of log a table has the newest value of each key when
// it has caught up, then follows, and forgets what is removed.
func TestTable(t *testing.T) {
	for name, open := range map[string]func(*testing.T) eventlog.Config{
		"embedded": func(t *testing.T) eventlog.Config { return openEmbedded(t, 1) },
		"cluster":  func(t *testing.T) eventlog.Config { cfg, _ := openCluster(t, 2); return cfg },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := open(t)
			if empty := follow(t, cfg, eventlog.TableConfig{}); len(empty.List(eventlog.TopicControl)) != 0 {
				t.Error("a table of an empty log is not empty")
			}
			p := newProducer(t, cfg)
			at := time.UnixMilli(1_700_000_000_000)
			first := setting("a", "1")
			first.Time = at
			appendAll(t, p, setting("b", "1"), setting("c", "1"), first, setting("b", "2"), tombstone("c"), setting("e", ""),
				eventlog.Record{Topic: eventlog.TopicStatus, Key: "a", Value: []byte("another topic's")})
			table := follow(t, cfg, eventlog.TableConfig{})
			if got, want := held(table, eventlog.TopicControl), map[string]string{"a": "1", "b": "2", "e": ""}; !maps.Equal(got, want) {
				t.Fatalf("control has %v, want %v", got, want)
			}
			if got := held(table, eventlog.TopicStatus); !maps.Equal(got, map[string]string{"a": "another topic's"}) {
				t.Fatalf("status has %v", got)
			}
			if e, ok := table.Get(eventlog.TopicControl, "a"); !ok || !e.Time.Equal(at) || e.Key != "a" {
				t.Errorf("a is %+v, %v", e, ok)
			}
			if _, ok := table.Get(eventlog.TopicControl, "c"); ok {
				t.Error("c was removed and is there")
			}

			changed := table.Changed()
			appendAll(t, p, setting("d", "1"), tombstone("a"), tombstone("never there"))
			await(t, changed)
			eventually(t, "the changes", func() bool {
				return maps.Equal(held(table, eventlog.TopicControl), map[string]string{"b": "2", "d": "1", "e": ""})
			})
		})
	}
}

func await(tb testing.TB, done <-chan struct{}) {
	tb.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		tb.Fatal("nothing was told")
	}
}

// TestTableBounds: what does not fit is refused, loudly, and nothing else suffers.
func TestTableBounds(t *testing.T) {
	cfg := openEmbedded(t, 1)
	p := newProducer(t, cfg)
	large := setting("large", strings.Repeat("x", eventlog.MaxCompactedBytes))
	if err := p.Append(testContext(t), large); !errors.Is(err, eventlog.ErrTooLarge) {
		t.Errorf("a value beyond the bound: %v", err)
	}
	appendAll(t, p, setting("a", "1"), setting("b", "1"), setting("large", "once small"))
	// Another program's producer knows no such bound.
	cl, err := kgo.NewClient(cfg.Options...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for _, r := range []*kgo.Record{
		{Topic: eventlog.TopicControl, Key: []byte("large"), Value: bytes.Repeat([]byte("x"), eventlog.MaxCompactedBytes)},
		{Topic: eventlog.TopicControl, Value: []byte("without a key")},
	} {
		if err := cl.ProduceSync(testContext(t), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	appendAll(t, p, setting("c", "1"), setting("d", "1"), setting("a", "2"), tombstone("b"), setting("e", "1"))
	logs, registry := &logBuffer{}, prometheus.NewRegistry()
	table := follow(t, cfg, eventlog.TableConfig{MaxKeys: 3, Logger: logs.logger(), Registerer: registry})
	if got, want := held(table, eventlog.TopicControl), map[string]string{"a": "2", "c": "1", "e": "1"}; !maps.Equal(got, want) {
		t.Errorf("held %v, want %v", got, want)
	}
	if got := metric(t, registry, "dispatchai_eventlog_table_refused_records_total"); got != 3 {
		t.Errorf("%v records counted as refused, want 3", got)
	}
	if got := metric(t, registry, "dispatchai_eventlog_table_keys"); got != 3 {
		t.Errorf("%v keys counted, want 3", got)
	}
	if !strings.Contains(logs.String(), "a record is not taken into account") || !strings.Contains(logs.String(), "key=large") {
		t.Errorf("the log says nothing of it:\n%s", logs)
	}
	if _, err := eventlog.NewTable(cfg, eventlog.TableConfig{Topics: []string{eventlog.TopicIssuesRaw}}); err == nil {
		t.Error("a table of a topic that is not compacted")
	}
}

// TestTableReadsAgain: a table whose place in the log is deleted reads from the
// start, and loses and invents nothing.
func TestTableReadsAgain(t *testing.T) {
	cfg, cluster := openCluster(t, 1)
	p := newProducer(t, cfg)
	appendAll(t, p, setting("a", "1"), setting("gone", "1"))
	table := follow(t, cfg, eventlog.TableConfig{})
	// The brokers do not answer fetches while the log moves on and is deleted
	// behind: what removed "gone" is never read.
	release := make(chan struct{})
	cluster.ControlKey(1, heldUntil(cluster, release))
	appendAll(t, p, tombstone("gone"), setting("a", "2"), setting("b", "1"))
	adm := kadm.NewClient(newKafkaClient(t, cfg))
	offsets := make(kadm.Offsets)
	offsets.AddOffset(eventlog.TopicControl, 0, 3, -1)
	if r, err := adm.DeleteRecords(testContext(t), offsets); err != nil || r.Error() != nil {
		t.Fatal(err, r.Error())
	}
	close(release)
	eventually(t, "what the log has now", func() bool {
		return maps.Equal(held(table, eventlog.TopicControl), map[string]string{"a": "2", "b": "1"})
	})
}

func newKafkaClient(tb testing.TB, cfg eventlog.Config) *kgo.Client {
	tb.Helper()
	cl, err := kgo.NewClient(cfg.Options...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(cl.Close)
	return cl
}

// TestCompactedTopics: a cluster is told to compact them, also where they are
// there with another policy.
func TestCompactedTopics(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cfg := eventlog.Kafka(c.ListenAddrs())
	adm := kadm.NewClient(newKafkaClient(t, cfg))
	if _, err := adm.CreateTopic(testContext(t), 1, 1, map[string]*string{"cleanup.policy": kadm.StringPtr("delete")}, eventlog.TopicStatus); err != nil {
		t.Fatal(err)
	}
	ensureTopics(t, cfg)
	ensureTopics(t, cfg)
	described, err := adm.DescribeTopicConfigs(testContext(t), eventlog.TopicControl, eventlog.TopicStatus, eventlog.TopicIssuesRaw)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range described {
		want := "compact"
		if d.Name == eventlog.TopicIssuesRaw {
			want = "delete"
		}
		for _, cfg := range d.Configs {
			if cfg.Key == "cleanup.policy" && cfg.MaybeValue() != want {
				t.Errorf("%s has cleanup.policy=%s, want %s", d.Name, cfg.MaybeValue(), want)
			}
		}
	}
	topics, err := adm.ListTopics(testContext(t), eventlog.TopicControl, eventlog.TopicStatus)
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range []string{eventlog.TopicControl, eventlog.TopicStatus} {
		if n := len(topics[topic].Partitions); n != 1 {
			t.Errorf("%s has %d partitions", topic, n)
		}
	}
}

// TestTableOfACompactedTopic reads what the brokers have compacted, with gaps.
func TestTableOfACompactedTopic(t *testing.T) {
	cfg, cluster := openCluster(t, 1)
	p := newProducer(t, cfg)
	for n := range 50 {
		appendAll(t, p, setting(fmt.Sprint("k", n%7), fmt.Sprint(n)))
	}
	cluster.Compact()
	table := follow(t, cfg, eventlog.TableConfig{})
	want := make(map[string]string)
	for n := 43; n < 50; n++ {
		want[fmt.Sprint("k", n%7)] = fmt.Sprint(n)
	}
	if got := held(table, eventlog.TopicControl); !maps.Equal(got, want) {
		t.Errorf("held %v, want %v", got, want)
	}
}
