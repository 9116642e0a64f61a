package eventlog_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/eventlog/embedded"
)

// consumeAll returns the first n records of issues.raw as a consumer sees them.
func consumeAll(t *testing.T, cfg eventlog.Config, n int) []*eventlog.Record {
	t.Helper()
	var mu sync.Mutex
	var got []*eventlog.Record
	_, stop := startConsumer(t, cfg, eventlog.ConsumerConfig{
		Group: t.Name(),
		Handler: func(_ context.Context, batch []*eventlog.Record) []error {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, batch...)
			return make([]error, len(batch))
		},
	})
	eventually(t, fmt.Sprintf("%d records", n), func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got) >= n
	})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	return got
}

// TestLargestRecord takes a record of the largest size, incompressible, through
// both kinds of log, as a dead letter too, and refuses a larger one.
func TestLargestRecord(t *testing.T) {
	backends := map[string]func(*testing.T) eventlog.Config{
		"embedded": func(t *testing.T) eventlog.Config { return openEmbedded(t, 1) },
		"cluster":  func(t *testing.T) eventlog.Config { cfg, _ := openCluster(t, 2); return cfg },
	}
	for name, open := range backends {
		t.Run(name, func(t *testing.T) {
			cfg := open(t)
			p := newProducer(t, cfg)
			value := make([]byte, eventlog.MaxRecordBytes-1024)
			rand.Read(value)
			rec := eventlog.Record{Topic: eventlog.TopicIssuesRaw, Key: "1#1", Value: value}
			rec.SetHeader(eventlog.HeaderDelivery, "guid")
			if err := p.Append(testContext(t), rec); err != nil {
				t.Fatal(err)
			}
			tooLarge := rec
			tooLarge.Value = make([]byte, eventlog.MaxRecordBytes+1)
			if err := p.Append(testContext(t), tooLarge); !errors.Is(err, eventlog.ErrTooLarge) {
				t.Fatalf("a record over the limit: %v", err)
			}
			got := make(chan []byte, 1)
			_, stop := startConsumer(t, cfg, eventlog.ConsumerConfig{
				Producer: p,
				Handler: func(_ context.Context, batch []*eventlog.Record) []error {
					got <- batch[0].Value
					return []error{eventlog.Permanent(errors.New("too much"))}
				},
			})
			select {
			case v := <-got:
				if !bytes.Equal(v, value) {
					t.Error("the value changed on the way")
				}
			case <-time.After(patience):
				t.Fatal("the record did not come")
			}
			cl := newCluster(t, cfg)
			eventually(t, "the record to be committed", func() bool { return lag(t, cl, "classify") == 0 })
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			letter, err := eventlog.NewDeadLetters(cl, p, nil).Show(testContext(t), "0-0")
			if err != nil {
				t.Fatal(err)
			}
			if letter.Reference || !bytes.Equal(letter.Value, value) {
				t.Errorf("the letter has %d bytes, by reference: %v", len(letter.Value), letter.Reference)
			}
		})
	}
}

// TestCodecs reads batches compressed in every way that a producer may choose.
func TestCodecs(t *testing.T) {
	cfg := openEmbedded(t, 1)
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	for name, codec := range codecs {
		cl, err := kgo.NewClient(append(cfg.Options, kgo.ProducerBatchCompression(codec))...)
		if err != nil {
			t.Fatal(err)
		}
		err = cl.ProduceSync(testContext(t), &kgo.Record{
			Topic: eventlog.TopicIssuesRaw, Key: []byte(name), Value: bytes.Repeat([]byte(name), 10_000),
		}).FirstErr()
		cl.Close()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	for _, r := range consumeAll(t, cfg, len(codecs)) {
		if !bytes.Equal(r.Value, bytes.Repeat([]byte(r.Key), 10_000)) {
			t.Errorf("%s: got %d bytes", r.Key, len(r.Value))
		}
	}
}

// TestCancelledAppend checks that callers who give up disturb nobody else.
func TestCancelledAppend(t *testing.T) {
	cfg := openEmbedded(t, 1)
	p := newProducer(t, cfg)
	var wg sync.WaitGroup
	var acked atomic.Int64
	for w := range 16 {
		wg.Go(func() {
			for i := range 50 {
				ctx, cancel := context.WithCancel(context.Background())
				if w%2 == 0 {
					go cancel()
				}
				err := p.Append(ctx, raw(fmt.Sprintf("%d#%d", w, i), "x"))
				cancel()
				switch {
				case err == nil:
					acked.Add(1)
				case w%2 == 0 && errors.Is(err, context.Canceled):
				default:
					t.Errorf("producer %d: %v", w, err)
				}
			}
		})
	}
	wg.Wait()
	if acked.Load() < 400 {
		t.Errorf("only %d appends were acknowledged", acked.Load())
	}
	// The sequence is unharmed.
	if err := p.Append(testContext(t), raw("1#1", "last")); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.Append(ended, raw("1#1", "x")); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that had ended: %v", err)
	}
}

// TestUnavailable checks that appends fail in time when no broker answers, that
// memory stays bounded, and that a broker coming back is enough to go on.
func TestUnavailable(t *testing.T) {
	var down atomic.Bool
	var d net.Dialer
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	var mu sync.Mutex
	var conns []net.Conn
	cfg := eventlog.Kafka(cluster.ListenAddrs(), kgo.Dialer(func(ctx context.Context, network, host string) (net.Conn, error) {
		if down.Load() {
			return nil, errors.New("unplugged")
		}
		c, err := d.DialContext(ctx, network, host)
		if err == nil {
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
		}
		return c, err
	}))
	cfg.Partitions = 1
	ensureTopics(t, cfg)
	p, err := eventlog.NewProducer(cfg, eventlog.ProducerConfig{DeliveryTimeout: 500 * time.Millisecond, MaxBufferedBytes: 1 << 20, Logger: testLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Append(testContext(t), raw("1#1", "first")); err != nil {
		t.Fatal(err)
	}
	down.Store(true)
	mu.Lock()
	for _, c := range conns {
		c.Close()
	}
	mu.Unlock()
	start := time.Now()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			err := p.Append(testContext(t), eventlog.Record{Topic: eventlog.TopicIssuesRaw, Value: make([]byte, 600<<10)})
			if !errors.Is(err, eventlog.ErrUnavailable) && !errors.Is(err, eventlog.ErrFull) {
				t.Errorf("without a broker: %v", err)
			}
		})
	}
	wg.Wait()
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %s to say so", took)
	}
	down.Store(false)
	eventually(t, "an append to succeed again", func() bool { return p.Append(testContext(t), raw("1#1", "again")) == nil })
	if err := p.Close(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := p.Append(testContext(t), raw("1#1", "x")); !errors.Is(err, eventlog.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestEnsureTopics raises the limit of a topic that was made by hand, warns of
// its retention, and may be called twice.
func TestEnsureTopics(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cfg := eventlog.Kafka(c.ListenAddrs())
	cl, err := kgo.NewClient(cfg.Options...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	if _, err := adm.CreateTopic(testContext(t), 2, 1, map[string]*string{
		"max.message.bytes": kadm.StringPtr("1000000"), "retention.ms": kadm.StringPtr("3600000"),
	}, eventlog.TopicIssuesRaw); err != nil {
		t.Fatal(err)
	}
	logs := &logBuffer{}
	ec, err := eventlog.NewCluster(cfg, logs.logger())
	if err != nil {
		t.Fatal(err)
	}
	defer ec.Close()
	for range 2 {
		if err := ec.EnsureTopics(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}
	if err := ec.Ping(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(logs.String(), "shorter than seven days") {
		t.Errorf("no warning of the retention in:\n%s", logs)
	}
	topics, err := adm.ListTopics(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	for topic, want := range map[string]int{
		eventlog.TopicIssuesRaw: 2, eventlog.TopicInstallationsRaw: 12, eventlog.TopicIssuesEnriched: 12, eventlog.TopicIssuesDead: 1,
	} {
		if got := len(topics[topic].Partitions); got != want {
			t.Errorf("%s has %d partitions, want %d", topic, got, want)
		}
	}
	p := newProducer(t, cfg)
	if err := p.Append(testContext(t), eventlog.Record{Topic: eventlog.TopicIssuesRaw, Value: bytes.Repeat([]byte("x"), 2<<20)}); err != nil {
		t.Errorf("2 MiB after raising the limit: %v", err)
	}
}

// TestDeletedBeforeRead deletes records that a group has not read and checks
// that this is said loudly and counted, and that the group goes on.
func TestDeletedBeforeRead(t *testing.T) {
	cfg, _ := openCluster(t, 1)
	p := newProducer(t, cfg)
	for i := range 10 {
		if err := p.Append(testContext(t), raw("1#1", fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	cl, err := kgo.NewClient(cfg.Options...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	committed := make(kadm.Offsets)
	committed.AddOffset(eventlog.TopicIssuesRaw, 0, 3, -1)
	if err := adm.CommitAllOffsets(testContext(t), "classify", committed); err != nil {
		t.Fatal(err)
	}
	trim := make(kadm.Offsets)
	trim.AddOffset(eventlog.TopicIssuesRaw, 0, 7, -1)
	if _, err := adm.DeleteRecords(testContext(t), trim); err != nil {
		t.Fatal(err)
	}
	lags, err := newCluster(t, cfg).Lag(testContext(t), "classify", eventlog.TopicIssuesRaw)
	if err != nil {
		t.Fatal(err)
	}
	if want := (eventlog.PartitionLag{Topic: eventlog.TopicIssuesRaw, Committed: 3, Start: 7, End: 10, Lag: 3, Lost: 4}); len(lags) != 1 || lags[0] != want {
		t.Errorf("lag %+v, want %+v", lags, want)
	}
	reg := prometheus.NewRegistry()
	logs := &logBuffer{}
	seen := make(chan int64, 10)
	startConsumer(t, cfg, eventlog.ConsumerConfig{
		Registerer: reg, Logger: logs.logger(),
		Handler: func(_ context.Context, batch []*eventlog.Record) []error {
			seen <- batch[0].Offset
			return []error{nil}
		},
	})
	for want := int64(7); want < 10; want++ {
		select {
		case got := <-seen:
			if got != want {
				t.Fatalf("offset %d, want %d", got, want)
			}
		case <-time.After(patience):
			t.Fatalf("offset %d did not come", want)
		}
	}
	if n := metric(t, reg, "dispatchai_eventlog_data_loss_records_total"); n != 4 {
		t.Errorf("%v records counted as lost, want 4", n)
	}
	if !strings.Contains(logs.String(), "data loss") {
		t.Error("nothing was said about it")
	}
}

// TestLogEndLost gives a group an offset beyond the log's end, as after
// restoring an old backup, and checks that it reads everything again.
func TestLogEndLost(t *testing.T) {
	cfg, _ := openCluster(t, 1)
	p := newProducer(t, cfg)
	if err := p.Append(testContext(t), raw("1#1", "a"), raw("1#1", "b")); err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(cfg.Options...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	committed := make(kadm.Offsets)
	committed.AddOffset(eventlog.TopicIssuesRaw, 0, 500, -1)
	if err := kadm.NewClient(cl).CommitAllOffsets(testContext(t), "classify", committed); err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	seen := make(chan int64, 10)
	startConsumer(t, cfg, eventlog.ConsumerConfig{
		Registerer: reg, CommitInterval: 10 * time.Millisecond,
		Handler: func(_ context.Context, batch []*eventlog.Record) []error {
			seen <- batch[0].Offset
			return []error{nil}
		},
	})
	for want := int64(0); want < 2; want++ {
		select {
		case got := <-seen:
			if got != want {
				t.Fatalf("offset %d, want %d", got, want)
			}
		case <-time.After(patience):
			t.Fatalf("offset %d did not come", want)
		}
	}
	if n := metric(t, reg, "dispatchai_eventlog_data_loss_records_total"); n != 498 {
		t.Errorf("%v records counted as lost, want 498", n)
	}
	ec := newCluster(t, cfg)
	eventually(t, "the new position to be committed", func() bool {
		lags, err := ec.Lag(testContext(t), "classify", eventlog.TopicIssuesRaw)
		return err == nil && len(lags) == 1 && lags[0].Committed == 2
	})
}

// TestDeadLetters replays, discards, and replays what dies again.
func TestDeadLetters(t *testing.T) {
	cfg := openEmbedded(t, 1)
	p := newProducer(t, cfg)
	var healed atomic.Bool
	var mu sync.Mutex
	var done []*eventlog.Record
	startConsumer(t, cfg, eventlog.ConsumerConfig{
		CommitInterval: 10 * time.Millisecond,
		Handler: func(_ context.Context, batch []*eventlog.Record) []error {
			errs := make([]error, len(batch))
			mu.Lock()
			defer mu.Unlock()
			for i, r := range batch {
				if !healed.Load() || r.Key == "1#never" {
					errs[i] = eventlog.Permanent(errors.New("no"))
					continue
				}
				done = append(done, r)
			}
			return errs
		},
	})
	for i := range 3 {
		r := raw(fmt.Sprintf("1#%d", i), fmt.Sprintf("value %d", i))
		r.SetHeader(eventlog.HeaderDelivery, fmt.Sprintf("guid-%d", i))
		if err := p.Append(testContext(t), r); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Append(testContext(t), raw("1#never", "hopeless")); err != nil {
		t.Fatal(err)
	}
	cl := newCluster(t, cfg)
	dead := eventlog.NewDeadLetters(cl, p, testLogger(t))
	open := func() (keys []string, ids map[string]string) {
		letters, err := dead.List(testContext(t), eventlog.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ids = make(map[string]string)
		for _, l := range letters {
			keys = append(keys, l.Key)
			ids[l.Key] = l.ID
		}
		return keys, ids
	}
	eventually(t, "four letters", func() bool { keys, _ := open(); return len(keys) == 4 })
	_, ids := open()

	page, err := dead.List(testContext(t), eventlog.ListOptions{Limit: 1, After: "0-1"})
	if err != nil || len(page) != 1 || page[0].ID != "0-2" {
		t.Errorf("page: %+v, %v", page, err)
	}
	letter, err := dead.Show(testContext(t), ids["1#1"])
	if err != nil {
		t.Fatal(err)
	}
	if string(letter.Value) != "value 1" || letter.Headers[eventlog.HeaderDelivery] != "guid-1" || len(letter.Headers) != 1 || letter.Error != "no" {
		t.Errorf("letter: %+v", letter)
	}
	for _, id := range []string{"0-99", "7-0", "nonsense", ""} {
		if _, err := dead.Show(testContext(t), id); !errors.Is(err, eventlog.ErrNoLetter) {
			t.Errorf("letter %q: %v", id, err)
		}
	}

	healed.Store(true)
	if _, err := dead.Replay(testContext(t), ids["1#1"]); err != nil {
		t.Fatal(err)
	}
	if keys, _ := open(); len(keys) != 3 {
		t.Errorf("open after one replay: %v", keys)
	}
	replayed, err := dead.ReplayAll(testContext(t))
	if err != nil || len(replayed) != 3 {
		t.Fatalf("replayed %v, %v", replayed, err)
	}
	eventually(t, "the healed ones to be done", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(done) == 3
	})
	mu.Lock()
	for _, r := range done {
		if r.Header(eventlog.HeaderReplayedFrom) != ids[r.Key] || !strings.HasPrefix(r.Header(eventlog.HeaderDelivery), "guid-") || !strings.HasPrefix(string(r.Value), "value ") {
			t.Errorf("replayed record: %+v", r)
		}
		for _, h := range r.Headers {
			if strings.HasPrefix(h.Key, "dead-") {
				t.Errorf("a replayed record carries %s", h.Key)
			}
		}
	}
	mu.Unlock()
	eventually(t, "the hopeless one to die again", func() bool {
		keys, now := open()
		return len(keys) == 1 && now["1#never"] != "" && now["1#never"] != ids["1#never"]
	})
	_, ids = open()
	if err := dead.Discard(testContext(t), ids["1#never"]); err != nil {
		t.Fatal(err)
	}
	if keys, _ := open(); len(keys) != 0 {
		t.Errorf("open at the end: %v", keys)
	}
	all, err := dead.List(testContext(t), eventlog.ListOptions{Resolved: true})
	if err != nil || len(all) != 5 || all[4].Resolved != "discarded" || all[0].Resolved != "replayed" {
		t.Errorf("all: %+v, %v", all, err)
	}
}

// TestTail reads back, goes on live, continues from a cursor, and notices that
// the log no longer reaches back to one.
func TestTail(t *testing.T) {
	cfg, _ := openCluster(t, 2)
	p := newProducer(t, cfg)
	put := func(n int) {
		for i := range n {
			if err := p.Append(testContext(t), raw(fmt.Sprintf("1#%d", i), "x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	type result struct {
		records []*eventlog.Record
		caught  int // records handled before CaughtUp
		cursor  eventlog.Cursor
	}
	// run tails until want records came and CaughtUp was called.
	run := func(from eventlog.Start, want int, live func()) (res result, err error) {
		ctx, cancel := context.WithTimeout(testContext(t), patience)
		defer cancel()
		res.caught = -1
		check := func() {
			if res.caught >= 0 && len(res.records) >= want {
				cancel()
			}
		}
		err = eventlog.Tail(ctx, cfg, eventlog.TailConfig{
			Topics: []string{eventlog.TopicIssuesRaw}, From: from, Logger: testLogger(t),
			Handler: func(records []*eventlog.Record, at eventlog.Cursor) {
				res.records, res.cursor = append(res.records, records...), at
				check()
			},
			CaughtUp: func(at eventlog.Cursor) {
				res.caught, res.cursor = len(res.records), at
				if live != nil {
					live()
				}
				check()
			},
		})
		if len(res.records) != want {
			t.Errorf("from %+v: %d records, want %d", from, len(res.records), want)
		}
		return res, err
	}
	put(20)
	first, err := run(eventlog.Start{}, 5, func() { put(5) })
	if err != nil || first.caught != 0 {
		t.Fatalf("from the end: caught up after %d, %v", first.caught, err)
	}
	back, err := run(eventlog.Start{LastRecords: 1000}, 25, nil)
	if err != nil || back.caught != 25 {
		t.Fatalf("reading back: caught up after %d, %v", back.caught, err)
	}
	if since, err := run(eventlog.Start{Since: time.Hour}, 25, nil); err != nil || since.caught != 25 {
		t.Fatalf("reading back an hour: caught up after %d, %v", since.caught, err)
	}
	for _, r := range back.records {
		if !back.cursor.Covers(r) {
			t.Errorf("the cursor %s does not cover partition %d offset %d", back.cursor, r.Partition, r.Offset)
		}
	}
	put(3)
	parsed, err := eventlog.ParseCursor(back.cursor.String())
	if err != nil {
		t.Fatal(err)
	}
	if next, err := run(eventlog.Start{Cursor: parsed}, 3, nil); err != nil || next.caught != 3 {
		t.Fatalf("from the cursor: caught up after %d, %v", next.caught, err)
	}

	cl, err := kgo.NewClient(cfg.Options...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	trim := make(kadm.Offsets)
	trim.AddOffset(eventlog.TopicIssuesRaw, 0, -1, -1)
	trim.AddOffset(eventlog.TopicIssuesRaw, 1, -1, -1)
	if _, err := kadm.NewClient(cl).DeleteRecords(testContext(t), trim); err != nil {
		t.Fatal(err)
	}
	if _, err := run(eventlog.Start{Cursor: parsed}, 0, nil); !errors.Is(err, eventlog.ErrCursorExpired) {
		t.Errorf("a cursor before the log: %v", err)
	}
	future := parsed.Advance(&eventlog.Record{Topic: eventlog.TopicIssuesRaw, Offset: 1 << 40})
	if _, err := run(eventlog.Start{Cursor: future}, 0, nil); !errors.Is(err, eventlog.ErrCursorExpired) {
		t.Errorf("a cursor beyond the log: %v", err)
	}
}

func TestCursor(t *testing.T) {
	var zero eventlog.Cursor
	if !zero.IsZero() || zero.String() != "" {
		t.Errorf("the zero cursor is %q", zero)
	}
	c := zero.Advance(&eventlog.Record{Topic: "a", Offset: 4}, &eventlog.Record{Topic: "a", Partition: 1, Offset: 0})
	if o, ok := c.Offset("a", 0); !ok || o != 5 {
		t.Errorf("offset %d, %v", o, ok)
	}
	if _, ok := c.Offset("b", 0); ok || !zero.IsZero() {
		t.Error("Advance changed the cursor it was called on, or made up a topic")
	}
	for _, bad := range []string{"!", "YTowOi0x", "YTotMTow", "OjA6MA", "YQ", strings.Repeat("A", 20_000), "YTowOjEsYTowOjI"} {
		if _, err := eventlog.ParseCursor(bad); !errors.Is(err, eventlog.ErrBadCursor) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}

// TestFailedLog checks that everything above notices at once when the embedded
// log fails for good.
func TestFailedLog(t *testing.T) {
	b, err := embedded.Open(testContext(t), embedded.Options{
		Dir: t.TempDir(), Groups: map[string][]string{"classify": {eventlog.TopicIssuesRaw}}, Logger: testLogger(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	failed := make(chan struct{})
	cfg := b.Config()
	cfg.Failed, cfg.Failure = failed, func() error { return errors.New("the disk is broken") }
	ensureTopics(t, b.Config())
	p, err := eventlog.NewProducer(cfg, eventlog.ProducerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := eventlog.NewConsumer(cfg, eventlog.ConsumerConfig{
		Group: "classify", Topics: []string{eventlog.TopicIssuesRaw}, Producer: p,
		Handler: func(_ context.Context, batch []*eventlog.Record) []error { return make([]error, len(batch)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Run(context.Background()) }()
	<-c.Assigned()
	close(failed)
	select {
	case err := <-done:
		if !errors.Is(err, eventlog.ErrUnavailable) || !strings.Contains(err.Error(), "the disk is broken") {
			t.Errorf("Run returned %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Run does not return")
	}
	if err := p.Append(testContext(t), raw("1#1", "x")); !errors.Is(err, eventlog.ErrUnavailable) {
		t.Errorf("Append: %v", err)
	}
	if err := c.Health(); err == nil {
		t.Error("Health is nil")
	}
	if err := p.Close(testContext(t)); !errors.Is(err, eventlog.ErrUnavailable) {
		t.Errorf("Close: %v", err)
	}
}

// TestLetterByReference checks that a record which the dead letters do not take
// because of its size leaves its value in its own topic.
func TestLetterByReference(t *testing.T) {
	cfg, _ := openCluster(t, 1)
	p := newProducer(t, cfg)
	cl, err := kgo.NewClient(cfg.Options...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	if _, err := adm.AlterTopicConfigs(testContext(t), []kadm.AlterConfig{{Name: "max.message.bytes", Value: kadm.StringPtr("100000")}}, eventlog.TopicIssuesDead); err != nil {
		t.Fatal(err)
	}
	value := make([]byte, 300_000)
	rand.Read(value)
	rec := eventlog.Record{Topic: eventlog.TopicIssuesRaw, Key: "1#1", Value: value}
	rec.SetHeader(eventlog.HeaderDelivery, "guid")
	if err := p.Append(testContext(t), rec); err != nil {
		t.Fatal(err)
	}
	again := make(chan *eventlog.Record, 1)
	startConsumer(t, cfg, eventlog.ConsumerConfig{
		Producer: p,
		Handler: func(_ context.Context, batch []*eventlog.Record) []error {
			if batch[0].Header(eventlog.HeaderReplayedFrom) != "" {
				again <- batch[0]
				return []error{nil}
			}
			return []error{eventlog.Permanent(errors.New("no"))}
		},
	})
	ec := newCluster(t, cfg)
	dead := eventlog.NewDeadLetters(ec, p, nil)
	eventually(t, "the letter", func() bool {
		list, err := dead.List(testContext(t), eventlog.ListOptions{})
		return err == nil && len(list) == 1 && list[0].Reference && list[0].Size == 0
	})
	letter, err := dead.Show(testContext(t), "0-0")
	if err != nil || !bytes.Equal(letter.Value, value) {
		t.Fatalf("the letter has %d bytes, %v", len(letter.Value), err)
	}
	if _, err := dead.Replay(testContext(t), "0-0"); err != nil {
		t.Fatal(err)
	}
	select {
	case r := <-again:
		if !bytes.Equal(r.Value, value) || r.Header(eventlog.HeaderDelivery) != "guid" {
			t.Error("the replayed record differs")
		}
	case <-time.After(patience):
		t.Fatal("the record did not come again")
	}
	trim := make(kadm.Offsets)
	trim.AddOffset(eventlog.TopicIssuesRaw, 0, -1, -1)
	if _, err := adm.DeleteRecords(testContext(t), trim); err != nil {
		t.Fatal(err)
	}
	if _, err := dead.Show(testContext(t), "0-0"); err == nil || !strings.Contains(err.Error(), "no longer has it") {
		t.Errorf("after the original is gone: %v", err)
	}
}

// TestCorruptBatch damages a batch on disk and checks that the consumer says so
// instead of standing still in silence, or spinning.
func TestCorruptBatch(t *testing.T) {
	dir := t.TempDir()
	b, err := embedded.Open(testContext(t), embedded.Options{
		Dir: dir, Groups: map[string][]string{"classify": {eventlog.TopicIssuesRaw}}, Logger: testLogger(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ensureTopics(t, b.Config())
	p := newProducer(t, b.Config())
	if err := p.Append(testContext(t), raw("1#1", strings.Repeat("x", 1000))); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "kafka", "partitions", "issues.raw-0", "0.dat"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff}, 70); err != nil {
		t.Fatal(err)
	}
	f.Close()
	reg := prometheus.NewRegistry()
	logs := &logBuffer{}
	c, _ := startConsumer(t, b.Config(), eventlog.ConsumerConfig{
		Registerer: reg, Logger: logs.logger(), Producer: p,
		Handler: func(_ context.Context, batch []*eventlog.Record) []error {
			t.Errorf("got %d records", len(batch))
			return make([]error, len(batch))
		},
	})
	eventually(t, "the consumer to be unhealthy", func() bool { return c.Health() != nil })
	if err := c.Health(); !strings.Contains(err.Error(), eventlog.TopicIssuesRaw) || !strings.Contains(err.Error(), "crc") {
		t.Errorf("Health: %v", err)
	}
	eventually(t, "a line about it", func() bool { return strings.Contains(logs.String(), "cannot be read") })
	first := metric(t, reg, "dispatchai_eventlog_fetch_failures_total")
	start := time.Now()
	eventually(t, "the failure to repeat itself", func() bool {
		return metric(t, reg, "dispatchai_eventlog_fetch_failures_total") > first+2
	})
	if took := time.Since(start); took < time.Second {
		t.Errorf("the consumer spins: three more failures in %s", took)
	}
}
