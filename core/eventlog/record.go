// Package eventlog is the durable log between the parts of DispatchAI: Kafka
// spoken through franz-go, whether the brokers are a Kafka cluster or the one
// embedded in the process (package embedded). Nothing above this package may
// know which.
//
// What it promises:
//
//   - Producer.Append returns nil only once every record is durable.
//   - A Consumer hands out records in order per key, different keys in
//     parallel, and commits an offset only once every record below it is
//     finished: handled, or durable among the dead letters.
//   - Delivery is at least once. Handlers are idempotent.
package eventlog

import (
	"bytes"
	"errors"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The topics. Values are JSON; keys are `repositoryID#number` on the topics
// about issues and the installation's ID on installations.raw.
//
// control and status are compacted: they keep the newest record of each key, a
// record without a value removes its key, and a Table reads them.
const (
	TopicIssuesRaw        = "issues.raw"
	TopicInstallationsRaw = "installations.raw"
	TopicIssuesEnriched   = "issues.enriched"
	TopicIssuesDead       = "issues.dead"
	// TopicControl has what operators change, for every process to follow.
	TopicControl = "control"
	// TopicStatus has what processes report of themselves.
	TopicStatus = "status"
)

// Compacted tells whether a topic keeps the newest record of each key rather
// than every record.
func Compacted(topic string) bool { return topic == TopicControl || topic == TopicStatus }

// Headers that travel with a record from the webhook to the label.
const (
	// HeaderDelivery is the GUID under which every effect is idempotent.
	HeaderDelivery = "delivery"
	// HeaderEvent is the name of the event, as in X-GitHub-Event.
	HeaderEvent = "event"
	// HeaderReceivedAt is when the event was accepted, RFC 3339 with
	// nanoseconds.
	HeaderReceivedAt = "received-at"
	// HeaderTraceparent is the W3C trace context.
	HeaderTraceparent = "traceparent"
	// HeaderBackfill stands on what nobody waits for; its effects come after those
	// of live events.
	HeaderBackfill = "backfill"
)

// MaxRecordBytes is the largest record, key and headers included: GitHub sends
// up to 25 MiB, and the rest is for headers and for what a part adds.
const MaxRecordBytes = 26 << 20

// MaxCompactedBytes is the same for a record of a compacted topic: readers keep
// the newest of every key in memory.
const MaxCompactedBytes = 64 << 10

// CompactedSegmentBytes is the size of the files of compacted topics. It is
// small, because brokers do not compact the newest file, and the smallest that
// all of them take.
const CompactedSegmentBytes = 1 << 20

const (
	// batchOverhead is what a batch of one record costs beyond the record.
	batchOverhead = 64 << 10
	// deadOverhead is what a dead letter may add to the record that died, so
	// that the largest record still fits among the dead letters.
	deadOverhead = 1 << 20
)

var (
	// ErrFull says that the log has no room now: the embedded log reached its
	// bound on disk, or the producer its bound in memory. The caller should
	// refuse the work (HTTP 503) and try again later.
	ErrFull = errors.New("the event log is full")
	// ErrTooLarge says that a record is larger than MaxRecordBytes, or than
	// MaxCompactedBytes on a compacted topic, or than the brokers accept. Trying again does not help.
	ErrTooLarge = errors.New("the record is too large for the event log")
	// ErrUnavailable says that the log did not answer in time, or has failed.
	// A record of that Append may or may not become durable.
	ErrUnavailable = errors.New("the event log is not available")
	// ErrClosed says that the Producer was closed.
	ErrClosed = errors.New("the producer is closed")
)

// Header is one header of a record.
type Header struct {
	Key   string
	Value []byte
}

// Record is one record of the log. To append, Topic and Value are needed;
// Partition and Offset are ignored, and a zero Time means now. Records with
// the same key keep their order; an empty key promises none.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64
	Key       string
	Value     []byte
	Headers   []Header
	// Time is the record's timestamp, milliseconds being kept.
	Time time.Time
	// Attempt is, in a Consumer's handler, the number of this attempt,
	// starting at 1. Attempts that ended in RetryAfter and those that failed in
	// the company of other records are not counted.
	Attempt int

	leaderEpoch int32
}

// Header returns the value of the first header with that key, or "".
func (r *Record) Header(key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// SetHeader replaces every header with that key by one with the given value.
// The slice is copied, so records that share their headers do not disturb each
// other.
func (r *Record) SetHeader(key, value string) {
	headers := make([]Header, 0, len(r.Headers)+1)
	for _, h := range r.Headers {
		if h.Key != key {
			headers = append(headers, h)
		}
	}
	headers = append(headers, Header{Key: key, Value: []byte(value)})
	r.Headers = headers
}

// ReceivedAt returns when the event was accepted: the header if it is there
// and well formed, else the record's timestamp.
func (r *Record) ReceivedAt() time.Time {
	if t, err := time.Parse(time.RFC3339Nano, r.Header(HeaderReceivedAt)); err == nil {
		return t
	}
	return r.Time
}

// size is what the record takes in memory and, before compression, on the
// wire; a little more rather than less.
func (r *Record) size() int {
	n := len(r.Key) + len(r.Value) + 96
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value) + 12
	}
	return n
}

// detach gives the record memory of its own. As it was fetched it shares that of
// its whole batch, which a record that waits would keep.
func (r *Record) detach() {
	r.Value = bytes.Clone(r.Value)
	headers := make([]Header, len(r.Headers))
	for i, h := range r.Headers {
		headers[i] = Header{Key: strings.Clone(h.Key), Value: bytes.Clone(h.Value)}
	}
	r.Headers = headers
}

func (r *Record) toKafka() *kgo.Record {
	k := &kgo.Record{Topic: r.Topic, Value: r.Value, Timestamp: r.Time}
	if r.Key != "" {
		k.Key = []byte(r.Key)
	}
	if len(r.Headers) > 0 {
		k.Headers = make([]kgo.RecordHeader, len(r.Headers))
		for i, h := range r.Headers {
			k.Headers[i] = kgo.RecordHeader{Key: h.Key, Value: h.Value}
		}
	}
	return k
}

func fromKafka(k *kgo.Record) *Record {
	r := &Record{
		Topic:       k.Topic,
		Partition:   k.Partition,
		Offset:      k.Offset,
		Key:         string(k.Key),
		Value:       k.Value,
		Time:        k.Timestamp,
		leaderEpoch: k.LeaderEpoch,
	}
	if len(k.Headers) > 0 {
		r.Headers = make([]Header, len(k.Headers))
		for i, h := range k.Headers {
			r.Headers[i] = Header{Key: h.Key, Value: h.Value}
		}
	}
	return r
}
