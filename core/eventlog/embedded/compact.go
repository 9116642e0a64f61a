package embedded

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/failpoint"
)

const (
	// A topic is compacted when it has more records than compactRecords and
	// compactFactor times as many as live keys.
	compactRecords = 1000
	compactFactor  = 4
	// compactLook is by how many bytes a topic grows before its records are
	// counted again.
	compactLook = 32 << 10
	// compactTimeout bounds one compaction, during which appends to the topic
	// wait; it is shorter than producers wait for an append.
	compactTimeout = 4 * time.Second
	// compactBatch is how many bytes of records are appended again at once.
	compactBatch = eventlog.MaxCompactedBytes
)

// compactor keeps the compacted topics small. The broker's own compaction
// deletes a partition's files before it writes them anew, so a crash in between
// loses every key; the topics therefore are not marked as compacted there.
// Instead the live records are appended once more, and only when they are
// durable what lies before them is deleted. A crash at any moment leaves the
// newest record of each key in the log, behind all older ones.
//
// Nobody may append between the reading of the live records and their being
// appended again, or an older value would end up behind a newer one: see gate.
type compactor struct {
	dir     string // of the partitions
	client  *kgo.Client
	admin   *kadm.Client
	cluster *eventlog.Cluster
	broker  *kfake.Cluster
	logger  *slog.Logger
	done    *prometheus.CounterVec // by topic and outcome
	looked  map[string]int64       // size when the records were last counted
}

func newCompactor(b *Broker, client *kgo.Client, admin *kadm.Client, cluster *eventlog.Cluster) (*compactor, error) {
	done, err := register(b.opts.Registerer, prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "dispatchai", Subsystem: "eventlog", Name: "embedded_compactions_total",
		Help: "Compactions of topics of the embedded log, by outcome: done, failed.",
	}, []string{"topic", "outcome"}))
	if err != nil {
		return nil, err
	}
	return &compactor{
		dir: filepath.Join(dataDir(b.opts.Dir), "partitions"), client: client, admin: admin, cluster: cluster,
		broker: b.cluster, logger: b.logger, done: done, looked: make(map[string]int64),
	}, nil
}

// round compacts the topics that need it.
func (c *compactor) round(ctx context.Context) error {
	var errs []error
	for _, topic := range []string{eventlog.TopicControl, eventlog.TopicStatus} {
		size, err := topicBytes(c.dir, topic)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if looked := c.looked[topic]; size >= looked && size < looked+compactLook {
			continue
		}
		if err := c.consider(ctx, topic); err != nil {
			c.done.WithLabelValues(topic, "failed").Inc()
			errs = append(errs, fmt.Errorf("compact %s: %w", topic, err))
			continue
		}
		if c.looked[topic], err = topicBytes(c.dir, topic); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// topicBytes is what a compacted topic takes on disk.
func topicBytes(partitions, topic string) (size int64, err error) {
	segs, err := segments(filepath.Join(partitions, topic+"-0"))
	for _, s := range segs {
		size += s.size
	}
	return size, err
}

// consider counts the records and the live keys, and compacts if it is worth it.
func (c *compactor) consider(ctx context.Context, topic string) error {
	starts, err := c.admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return err
	}
	ends, err := c.admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return err
	}
	start, _ := starts.Lookup(topic, 0)
	end, _ := ends.Lookup(topic, 0)
	if end.Offset-start.Offset <= compactRecords {
		return nil
	}
	s, err := c.cluster.Snapshot(ctx, topic)
	if err != nil || s.Records <= compactRecords || s.Records <= compactFactor*len(s.Live) {
		return err
	}
	return c.compact(ctx, topic)
}

func (c *compactor) compact(ctx context.Context, topic string) error {
	ctx, cancel := context.WithTimeout(ctx, compactTimeout)
	defer cancel()
	info := c.broker.TopicInfo(topic)
	if info == nil {
		return kerr.UnknownTopicOrPartition
	}
	g := shut(c.broker, info)
	defer g.open()
	s, err := c.cluster.Snapshot(ctx, topic)
	if err != nil {
		return err
	}
	live := s.Live
	// Without live keys the last record stays: the broker finds the end of a
	// partition by its files.
	keepFrom := s.End - 1
	failpoint.Hit("log/before-compaction")
	for at := 0; at < len(live); {
		to, size := at, 0
		for to < len(live) && (to == at || size+recordBytes(live[to]) <= compactBatch) {
			size += recordBytes(live[to])
			to++
		}
		base, err := g.append(ctx, c.client, live[at:to])
		if err != nil {
			return fmt.Errorf("append the live records again: %w", err)
		}
		if at == 0 {
			keepFrom = base
		}
		at = to
	}
	g.open()
	failpoint.Hit("log/after-compaction")
	offsets := make(kadm.Offsets)
	offsets.AddOffset(topic, 0, keepFrom, -1)
	responses, err := c.admin.DeleteRecords(ctx, offsets)
	if err == nil {
		err = responses.Error()
	}
	if err != nil {
		return fmt.Errorf("delete records: %w", err)
	}
	failpoint.Hit("log/after-compaction-trim")
	c.done.WithLabelValues(topic, "done").Inc()
	c.logger.Debug("topic compacted", "topic", topic, "records", s.Records, "keys", len(live))
	return nil
}

// gate makes appends to a topic wait, but for those through the gate itself,
// while the topic is compacted. It stands in the broker's one loop through which
// every request passes: what was appended before it was shut is read by whoever
// asks for the end of the topic afterwards.
type gate struct {
	broker *kfake.Cluster
	topic  string
	id     [16]byte
	name   string // which an append through the gate bears

	mu     sync.Mutex
	opened chan struct{}
	isOpen bool
	// sent counts appends through the gate without an answer. One of those may
	// still be on its way when the gate is opened, and must not come in then.
	sent int
}

// shut shuts the gate of a topic. Nobody may wait behind it for good: open it.
func shut(broker *kfake.Cluster, info *kfake.TopicInfo) *gate {
	g := &gate{
		broker: broker, topic: info.Topic, id: info.TopicID,
		name: "compaction-" + strconv.FormatInt(time.Now().UnixNano(), 36), opened: make(chan struct{}),
	}
	broker.ControlKey(int16(kmsg.Produce), g.pass)
	return g
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.isOpen {
		g.isOpen = true
		close(g.opened)
	}
}

// pass is asked by the broker's loop before it handles an append. While it
// waits, the broker handles what comes over other connections.
func (g *gate) pass(request kmsg.Request) (kmsg.Response, error, bool) { //nolint:revive // the broker's signature
	r, ok := request.(*kmsg.ProduceRequest)
	if !ok {
		return nil, nil, false
	}
	own := r.TransactionID != nil && *r.TransactionID == g.name
	g.mu.Lock()
	isOpen, idle := g.isOpen, g.sent == 0
	g.mu.Unlock()
	switch {
	case own && isOpen:
		g.broker.KeepControl()
		return nil, errors.New("embedded log: an append of a compaction that was given up"), true
	case own:
		r.TransactionID = nil // it was there to be known by
	case isOpen && idle:
		g.broker.DropControl()
	case !isOpen && g.concerns(r):
		g.broker.SleepControl(func() { <-g.opened })
	}
	return nil, nil, false
}

func (g *gate) concerns(r *kmsg.ProduceRequest) bool {
	return slices.ContainsFunc(r.Topics, func(t kmsg.ProduceRequestTopic) bool {
		return t.Topic == g.topic || t.TopicID == g.id
	})
}

// append appends records through the gate, as one batch, and returns the offset
// of the first once they are durable.
func (g *gate) append(ctx context.Context, client *kgo.Client, records []*eventlog.Record) (base int64, err error) {
	partition := kmsg.NewProduceRequestTopicPartition()
	partition.Records = encodeBatch(records)
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic, topic.TopicID = g.topic, g.id
	topic.Partitions = append(topic.Partitions, partition)
	request := kmsg.NewPtrProduceRequest()
	request.TransactionID = &g.name
	request.Acks = -1
	request.TimeoutMillis = int32(compactTimeout.Milliseconds())
	request.Topics = append(request.Topics, topic)

	g.count(1)
	// Unlike the client's own requests this one is not tried again.
	answer, err := client.SeedBrokers()[0].Request(ctx, request)
	if err != nil {
		return 0, err
	}
	g.count(-1)
	response, ok := answer.(*kmsg.ProduceResponse)
	if !ok || len(response.Topics) != 1 || len(response.Topics[0].Partitions) != 1 {
		return 0, errors.New("the broker's answer is not one to the request")
	}
	p := response.Topics[0].Partitions[0]
	return p.BaseOffset, kerr.ErrorForCode(p.ErrorCode)
}

func (g *gate) count(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sent += n
}

// recordBytes is what a record takes in a batch, rather more than less.
func recordBytes(r *eventlog.Record) int {
	n := len(r.Key) + len(r.Value) + 64
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value) + 12
	}
	return n
}

// encodeBatch writes records as one uncompressed batch of the log's format.
func encodeBatch(records []*eventlog.Record) []byte {
	first, last := records[0].Time.UnixMilli(), records[0].Time.UnixMilli()
	for _, r := range records {
		last = max(last, r.Time.UnixMilli())
	}
	batch := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, LastOffsetDelta: int32(len(records) - 1), FirstTimestamp: first, MaxTimestamp: last,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: int32(len(records)),
	}
	for i, r := range records {
		record := kmsg.Record{TimestampDelta64: r.Time.UnixMilli() - first, OffsetDelta: int32(i), Key: []byte(r.Key), Value: r.Value}
		for _, h := range r.Headers {
			record.Headers = append(record.Headers, kmsg.Header{Key: h.Key, Value: h.Value})
		}
		// The length comes first and does not count itself: a zero takes one byte.
		record.Length = int32(len(record.AppendTo(nil)) - 1)
		batch.Records = record.AppendTo(batch.Records)
	}
	const lengthEnd, crcEnd = 12, 21
	raw := batch.AppendTo(nil)
	batch.Length = int32(len(raw) - lengthEnd)
	batch.CRC = int32(crc32.Checksum(raw[crcEnd:], crc32.MakeTable(crc32.Castagnoli)))
	return batch.AppendTo(raw[:0])
}
