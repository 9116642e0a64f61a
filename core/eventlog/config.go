package eventlog

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Config says how to reach a log and how its topics are laid out. It is made
// by Kafka, by embedded.Broker.Config or by embedded.Dial, and passed on as it
// is.
type Config struct {
	// Options reach the brokers: seeds, dialer, TLS, SASL.
	Options []kgo.Opt
	// Partitions is how many partitions a topic gets when EnsureTopics creates
	// it. Dead letters always have one.
	Partitions int32
	// Replication is the replication factor of created topics; -1 leaves it to
	// the brokers.
	Replication int16
	// Retention is how long the brokers keep records of created topics; they
	// compact those that are to be compacted. Zero means that the log sees to
	// both by itself.
	Retention time.Duration
	// Rounds is how many rounds of grouped appends the producer has in flight.
	// One groups best, and is right where the broker is in the same process.
	Rounds int
	// Admit, if not nil, is asked before so many bytes are appended to a topic;
	// its error is what Append returns.
	Admit func(topic string, bytes int) error
	// Failed, if not nil, is closed when the log has failed for good, and
	// Failure says why.
	Failed  <-chan struct{}
	Failure func() error
}

// defaultKafkaPartitions allows that many classify or label processes to share
// the work of one topic.
const defaultKafkaPartitions = 12

// minRetention is the shortest retention on a cluster that leaves an operator
// a week to notice a consumer that stands still.
const minRetention = 7 * 24 * time.Hour

// Kafka returns the Config of a Kafka or Redpanda cluster, reached at the given
// host:port seeds. Further options carry TLS and SASL.
func Kafka(seeds []string, opts ...kgo.Opt) Config {
	return Config{
		Options:     append([]kgo.Opt{kgo.SeedBrokers(seeds...)}, opts...),
		Partitions:  defaultKafkaPartitions,
		Replication: -1,
		Retention:   minRetention,
		Rounds:      4,
	}
}

// maxRecordBytes is the largest record that a topic takes.
func maxRecordBytes(topic string) int {
	switch {
	case topic == TopicIssuesDead:
		return MaxRecordBytes + deadOverhead
	case Compacted(topic):
		return MaxCompactedBytes
	}
	return MaxRecordBytes
}

// maxMessageBytes is the largest batch that a topic takes.
func maxMessageBytes(topic string) int32 { return int32(maxRecordBytes(topic)) + batchOverhead }

// client connects with the options of the Config and those given, which win.
func (c Config) client(logger *slog.Logger, opts ...kgo.Opt) (*kgo.Client, error) {
	all := slices.Concat([]kgo.Opt{
		kgo.ClientID("dispatchai"),
		kgo.WithLogger(clientLogger{logger}),
		kgo.DisableClientMetrics(),
		// A topic that EnsureTopics has just created is found soon.
		kgo.MetadataMinAge(250 * time.Millisecond),
	}, c.Options, opts)
	cl, err := kgo.NewClient(all...)
	if err != nil {
		return nil, fmt.Errorf("event log: invalid client options: %w", err)
	}
	return cl, nil
}

// failure returns why the log has failed, or nil.
func (c Config) failure() error {
	select {
	case <-c.Failed:
		if c.Failure != nil {
			if err := c.Failure(); err != nil {
				return fmt.Errorf("%w: %w", ErrUnavailable, err)
			}
		}
		return ErrUnavailable
	default:
		return nil
	}
}

// orDiscard makes a nil logger usable.
func orDiscard(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}

// clientLogger passes franz-go's own warnings and errors on. What it calls
// information is of use only to its own developers, hence debug.
type clientLogger struct{ *slog.Logger }

func (l clientLogger) Level() kgo.LogLevel {
	ctx := context.Background()
	switch {
	case l.Enabled(ctx, slog.LevelDebug):
		return kgo.LogLevelInfo
	case l.Enabled(ctx, slog.LevelWarn):
		return kgo.LogLevelWarn
	case l.Enabled(ctx, slog.LevelError):
		return kgo.LogLevelError
	}
	return kgo.LogLevelNone
}

func (l clientLogger) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	to := slog.LevelDebug
	switch level {
	case kgo.LogLevelError:
		to = slog.LevelError
	case kgo.LogLevelWarn:
		to = slog.LevelWarn
	}
	l.Logger.Log(context.Background(), to, "kafka client: "+msg, keyvals...)
}
