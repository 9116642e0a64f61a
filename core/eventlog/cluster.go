package eventlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// adminTimeout bounds one administrative question to the brokers.
const adminTimeout = 15 * time.Second

// Cluster asks the log about itself: topics, lag, health. It holds one
// connection; Close it.
type Cluster struct {
	cfg    Config
	logger *slog.Logger
	client *kgo.Client
	admin  *kadm.Client
}

// NewCluster prepares a connection; nothing is dialled until the first
// question.
func NewCluster(cfg Config, logger *slog.Logger) (*Cluster, error) {
	logger = orDiscard(logger)
	cl, err := cfg.client(logger)
	if err != nil {
		return nil, err
	}
	adm := kadm.NewClient(cl)
	adm.SetTimeoutMillis(int32(adminTimeout.Milliseconds()))
	return &Cluster{cfg: cfg, logger: logger, client: cl, admin: adm}, nil
}

// Close releases the connection.
func (c *Cluster) Close() { c.client.Close() }

// Ping returns nil if the log has not failed and a broker answers. Without a
// deadline in ctx it takes at most a few seconds.
func (c *Cluster) Ping(ctx context.Context) error {
	if err := c.cfg.failure(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := c.client.Ping(ctx); err != nil {
		return fmt.Errorf("%w: no broker answers: %w", ErrUnavailable, err)
	}
	return nil
}

// topics are those that every installation has.
func topics() []string {
	return []string{TopicIssuesRaw, TopicInstallationsRaw, TopicIssuesEnriched, TopicIssuesDead, TopicControl, TopicStatus}
}

// EnsureTopics creates the topics that are missing and checks that those which
// exist take the records that they are for and are compacted where they are to
// be, setting it right where it may. It is safe to call from several processes
// at once.
func (c *Cluster) EnsureTopics(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*adminTimeout)
	defer cancel()
	existing, err := c.admin.ListTopics(ctx, topics()...)
	if err != nil {
		return fmt.Errorf("event log: list topics: %w", err)
	}
	var present []string
	for _, topic := range topics() {
		detail, ok := existing[topic]
		if ok && detail.Err == nil {
			present = append(present, topic)
			continue
		}
		if ok && !errors.Is(detail.Err, kerr.UnknownTopicOrPartition) {
			return fmt.Errorf("event log: topic %s: %w", topic, detail.Err)
		}
		if err := c.createTopic(ctx, topic); err != nil {
			return err
		}
	}
	return c.checkTopics(ctx, present)
}

func (c *Cluster) createTopic(ctx context.Context, topic string) error {
	partitions := max(c.cfg.Partitions, 1)
	configs := map[string]*string{
		"max.message.bytes": kadm.StringPtr(strconv.Itoa(int(maxMessageBytes(topic)))),
	}
	if c.cfg.Retention > 0 {
		retention := strconv.FormatInt(c.cfg.Retention.Milliseconds(), 10)
		if topic == TopicIssuesDead {
			retention = "-1"
		}
		configs["retention.ms"] = &retention
	}
	if topic == TopicIssuesDead || Compacted(topic) {
		partitions = 1
	}
	if Compacted(topic) {
		delete(configs, "retention.ms")
		configs["segment.bytes"] = kadm.StringPtr(strconv.Itoa(CompactedSegmentBytes))
		if c.cfg.Retention > 0 {
			configs["cleanup.policy"] = kadm.StringPtr("compact")
		}
	}
	_, err := c.admin.CreateTopic(ctx, partitions, max(c.cfg.Replication, -1), configs, topic)
	switch {
	case errors.Is(err, kerr.TopicAlreadyExists):
		return nil
	case err != nil:
		by := fmt.Sprintf("max.message.bytes=%d", maxMessageBytes(topic))
		if Compacted(topic) {
			by += ", cleanup.policy=compact and one partition"
		}
		return fmt.Errorf("event log: create topic %s: %w; create it by hand with %s, or grant the right to create topics", topic, err, by)
	}
	c.logger.Info("topic created", "topic", topic, "partitions", partitions)
	return nil
}

// checkTopics raises max.message.bytes where it is too small, sees to it that
// compacted topics are, and warns of a retention that leaves too little time to
// notice a standing consumer.
func (c *Cluster) checkTopics(ctx context.Context, topics []string) error {
	if len(topics) == 0 {
		return nil
	}
	described, err := c.admin.DescribeTopicConfigs(ctx, topics...)
	for _, topic := range topics {
		topicErr := err
		if topicErr == nil {
			var rc kadm.ResourceConfig
			if rc, topicErr = described.On(topic, nil); topicErr == nil {
				topicErr = rc.Err
			}
			if topicErr == nil {
				if err := c.checkConfigs(ctx, topic, rc.Configs); err != nil {
					return err
				}
				continue
			}
		}
		// Not every cluster lets a client read its configuration; then the first
		// record that is too large will tell.
		attrs := []any{"topic", topic, "need", maxMessageBytes(topic), "err", topicErr}
		if Compacted(topic) {
			attrs = append(attrs, "cleanup_policy", "compact")
		}
		c.logger.Warn("cannot read the topic's configuration; make sure that max.message.bytes is large enough, and the cleanup policy right", attrs...)
	}
	return nil
}

func (c *Cluster) checkConfigs(ctx context.Context, topic string, configs []kadm.Config) error {
	need := int64(maxMessageBytes(topic))
	for _, cfg := range configs {
		if cfg.Key == "cleanup.policy" && Compacted(topic) && c.cfg.Retention > 0 && cfg.MaybeValue() != "compact" {
			if err := c.compactTopic(ctx, topic, cfg.MaybeValue()); err != nil {
				return err
			}
			continue
		}
		value, err := strconv.ParseInt(cfg.MaybeValue(), 10, 64)
		if err != nil {
			continue
		}
		switch {
		case cfg.Key == "max.message.bytes" && value < need:
			_, err := c.admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{
				Op: kadm.SetConfig, Name: cfg.Key, Value: kadm.StringPtr(strconv.FormatInt(need, 10)),
			}}, topic)
			if err != nil {
				return fmt.Errorf("event log: topic %s takes records up to %d bytes and its limit cannot be raised (%w); set max.message.bytes=%d",
					topic, value, err, need)
			}
			c.logger.Info("raised the topic's limit", "topic", topic, "max_message_bytes", need)
		case cfg.Key == "retention.ms" && !Compacted(topic) && c.cfg.Retention > 0 && value >= 0 && value < minRetention.Milliseconds():
			c.logger.Warn("the topic's retention is shorter than seven days: a consumer that stands still longer than it loses records",
				"topic", topic, "retention", time.Duration(value)*time.Millisecond)
		}
	}
	return nil
}

// compactTopic has a topic compacted that would forget by age what holds until
// it is changed.
func (c *Cluster) compactTopic(ctx context.Context, topic, policy string) error {
	_, err := c.admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{
		Op: kadm.SetConfig, Name: "cleanup.policy", Value: kadm.StringPtr("compact"),
	}}, topic)
	if err != nil {
		return fmt.Errorf("event log: topic %s has cleanup.policy=%s and would forget what still holds, and that cannot be changed (%w); set cleanup.policy=compact",
			topic, policy, err)
	}
	c.logger.Info("changed the topic's cleanup policy", "topic", topic, "from", policy, "to", "compact")
	return nil
}

// Snapshot is what a compacted topic holds at one moment.
type Snapshot struct {
	// Live is the newest record of each key that is not removed, in the order of
	// the log.
	Live []*Record
	// Records counts the older ones and those that removed a key too.
	Records int
	// End is the offset that follows the last record.
	End int64
}

// Snapshot reads a compacted topic to the end that it has now.
//
// The embedded log compacts by appending the live records again and deleting
// what lies before them. Who is overtaken by that has missed records, among them
// those that removed keys, and so Snapshot reads again from the new start.
func (c *Cluster) Snapshot(ctx context.Context, topic string) (Snapshot, error) {
	if !Compacted(topic) {
		return Snapshot{}, fmt.Errorf("event log: a snapshot of %s, which is not compacted, would not find older keys", topic)
	}
	for {
		starts, err := startOffsets(ctx, c.admin, topic)
		if err != nil {
			return Snapshot{}, err
		}
		var s Snapshot
		newest := make(map[string]*Record)
		if err := scan(ctx, c.cfg, c.admin, c.logger, topic, func(r *Record) {
			s.Records++
			s.End = r.Offset + 1
			switch {
			case r.Key == "":
			case r.Value == nil:
				delete(newest, r.Key)
			default:
				newest[r.Key] = r
			}
		}); err != nil {
			return Snapshot{}, err
		}
		now, err := startOffsets(ctx, c.admin, topic)
		if err != nil {
			return Snapshot{}, err
		}
		if maps.Equal(starts, now) {
			s.Live = slices.SortedFunc(maps.Values(newest), func(a, b *Record) int { return cmp.Compare(a.Offset, b.Offset) })
			return s, nil
		}
	}
}

// PartitionLag is how far a group is behind in one partition.
type PartitionLag struct {
	Topic     string
	Partition int32
	// Committed is the offset the group will read next, or -1 if it has never
	// committed.
	Committed int64
	// Start and End bound what the partition holds: [Start, End).
	Start, End int64
	// Lag is the number of records that wait for the group.
	Lag int64
	// Lost is the number of records that were deleted before the group read
	// them. It is zero unless data was lost.
	Lost int64
}

// Lag returns how far a group is behind in the given topics, sorted by topic
// and partition. A partition in which the group has never committed counts in
// full.
func (c *Cluster) Lag(ctx context.Context, group string, topics ...string) ([]PartitionLag, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	if len(topics) == 0 {
		return nil, nil
	}
	committed, err := c.admin.FetchOffsets(ctx, group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, fmt.Errorf("event log: offsets of group %s: %w", group, err)
	}
	starts, err := c.admin.ListStartOffsets(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("event log: list start offsets: %w", err)
	}
	ends, err := c.admin.ListEndOffsets(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("event log: list end offsets: %w", err)
	}
	var lags []PartitionLag
	for topic, partitions := range ends {
		for id, end := range partitions {
			if end.Err != nil {
				return nil, fmt.Errorf("event log: topic %s partition %d: %w", topic, id, end.Err)
			}
			l := PartitionLag{Topic: topic, Partition: id, Committed: -1, End: end.Offset}
			if s, ok := starts.Lookup(topic, id); ok && s.Err == nil {
				l.Start = s.Offset
			}
			at := l.Start
			if o, ok := committed.Lookup(topic, id); ok && o.Err == nil && o.At >= 0 {
				l.Committed, at = o.At, o.At
				l.Lost = max(0, l.Start-o.At)
			}
			l.Lag = max(0, l.End-max(at, l.Start))
			lags = append(lags, l)
		}
	}
	slices.SortFunc(lags, func(a, b PartitionLag) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return lags, nil
}
