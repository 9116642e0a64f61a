package eventlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// maxTableKeys is how many keys a Table holds of one topic unless it is told
// otherwise.
const maxTableKeys = 10_000

// Entry is the newest value of a key.
type Entry struct {
	Key string
	// Value is not to be changed.
	Value []byte
	// Time is the record's timestamp, by the clock of who wrote it.
	Time time.Time
}

// TableConfig describes a Table. Topics are needed.
type TableConfig struct {
	// Topics are compacted ones.
	Topics []string
	// MaxKeys bounds the keys held of each topic; the records of further ones
	// are refused, which is logged and counted. Default 10,000. Larger values
	// than MaxCompactedBytes are refused likewise, and their keys are removed.
	MaxKeys    int
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Table follows compacted topics and holds the newest value of each key. Run
// must run; the other methods may be called from any goroutine.
type Table struct {
	cfg     Config
	tc      TableConfig
	logger  *slog.Logger
	metrics tableMetrics
	caught  chan struct{}

	mu      sync.Mutex
	topics  map[string]map[string]Entry
	changed chan struct{}

	// Of Run alone. building is what takes the place of topics once it has
	// caught up, complained when a refusal was last logged.
	building   map[string]map[string]Entry
	complained time.Time
}

// NewTable checks the configuration and connects to nothing yet.
func NewTable(cfg Config, tc TableConfig) (*Table, error) {
	if len(tc.Topics) == 0 {
		return nil, errors.New("event log: a table needs Topics")
	}
	for _, topic := range tc.Topics {
		if !Compacted(topic) {
			return nil, fmt.Errorf("event log: a table of %s, which is not compacted, would not find older keys", topic)
		}
	}
	if tc.MaxKeys <= 0 {
		tc.MaxKeys = maxTableKeys
	}
	metrics, err := newTableMetrics(tc.Registerer)
	if err != nil {
		return nil, err
	}
	return &Table{
		cfg: cfg, tc: tc, logger: orDiscard(tc.Logger), metrics: metrics,
		caught: make(chan struct{}), changed: make(chan struct{}),
	}, nil
}

// tableRestart keeps a table that falls behind again and again from spinning.
const tableRestart = time.Second

// Run follows the topics until ctx ends, and returns nil then; it returns an
// error if the log refuses to be read. A Table that was so slow that the log was
// compacted past it reads from the start again, and meanwhile keeps what it has.
func (t *Table) Run(ctx context.Context) error {
	for {
		t.building = make(map[string]map[string]Entry)
		for _, topic := range t.tc.Topics {
			t.building[topic] = make(map[string]Entry)
		}
		err := Tail(ctx, t.cfg, TailConfig{
			Topics: t.tc.Topics, From: Start{All: true}, Logger: t.logger,
			Handler:  func(records []*Record, _ Cursor) { t.take(records) },
			CaughtUp: func(Cursor) { t.caughtUp() },
		})
		if !errors.Is(err, ErrCursorExpired) {
			return err
		}
		t.logger.Debug("the log was compacted before it was read; reading it from its start", "err", err)
		pause := time.NewTimer(tableRestart)
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil
		case <-pause.C:
		}
	}
}

// CaughtUp is closed when everything that the topics held when Run began is in
// the Table.
func (t *Table) CaughtUp() <-chan struct{} { return t.caught }

// Changed returns a channel that is closed with the next change. Take it before
// reading, so that no change is missed.
func (t *Table) Changed() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changed
}

// Get returns the newest value of a key.
func (t *Table) Get(topic, key string) (Entry, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.topics[topic][key]
	return e, ok
}

// List returns every key of a topic with its newest value, sorted by key.
func (t *Table) List(topic string) []Entry {
	t.mu.Lock()
	entries := slices.Collect(maps.Values(t.topics[topic]))
	t.mu.Unlock()
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	return entries
}

// take applies records in the order of the log.
func (t *Table) take(records []*Record) {
	if t.building != nil {
		t.apply(t.building, records)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.apply(t.topics, records) {
		t.announce()
	}
}

// caughtUp puts what was read from the start in place.
func (t *Table) caughtUp() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.topics, t.building = t.building, nil
	t.announce()
	select {
	case <-t.caught:
	default:
		close(t.caught)
	}
}

// announce tells of a change, t.mu being held.
func (t *Table) announce() {
	for topic, entries := range t.topics {
		t.metrics.keys.WithLabelValues(topic).Set(float64(len(entries)))
	}
	close(t.changed)
	t.changed = make(chan struct{})
}

// apply tells whether the records changed anything.
func (t *Table) apply(topics map[string]map[string]Entry, records []*Record) (changed bool) {
	for _, r := range records {
		entries := topics[r.Topic]
		if entries == nil {
			continue
		}
		held, known := entries[r.Key]
		switch {
		case r.Key == "":
			t.refuse(r, "key", "it has no key")
		case r.Value == nil:
			delete(entries, r.Key)
			changed = changed || known
		case r.size() > MaxCompactedBytes:
			t.refuse(r, "size", fmt.Sprintf("it has %d bytes, at most %d are held", r.size(), MaxCompactedBytes))
			delete(entries, r.Key)
			changed = changed || known
		case !known && len(entries) >= t.tc.MaxKeys:
			t.refuse(r, "keys", fmt.Sprintf("%d keys are held already, which is the bound; remove some with records that have no value", len(entries)))
		case known && held.Time.Equal(r.Time) && bytes.Equal(held.Value, r.Value):
			// The log was compacted.
		default:
			// The value shares memory with everything that was fetched with it.
			entries[r.Key] = Entry{Key: r.Key, Value: bytes.Clone(r.Value), Time: r.Time}
			changed = true
		}
	}
	return changed
}

// refuse makes a record known that is not taken; of many, one a minute is logged.
func (t *Table) refuse(r *Record, reason, why string) {
	t.metrics.refused.WithLabelValues(r.Topic, reason).Inc()
	if now := time.Now(); now.Sub(t.complained) >= time.Minute {
		t.complained = now
		t.logger.Error("a record is not taken into account: "+why, "topic", r.Topic, "key", truncate(r.Key, 200), "offset", r.Offset)
	}
}
