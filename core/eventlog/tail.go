package eventlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Start says where a Tail begins. At most one field is set; the zero Start is
// the end of the log: only what comes from now on.
type Start struct {
	// Cursor continues where another Tail was.
	Cursor Cursor
	// LastRecords reads back so many records of each partition, fewer where the
	// log has fewer.
	LastRecords int64
	// Since reads back the records of that time before now.
	Since time.Duration
	// All reads back everything that the log has.
	All bool
}

// TailConfig describes a Tail. Topics and Handler are needed.
type TailConfig struct {
	Topics []string
	From   Start
	// Handler gets the records in order per partition, and the cursor behind
	// them. It is called by one goroutine at a time and should not linger: while
	// it does, nothing is read.
	Handler func(records []*Record, at Cursor)
	// CaughtUp, if not nil, is called once, by the goroutine that calls
	// Handler, when everything that the log held at the start was handled.
	CaughtUp func(at Cursor)
	Logger   *slog.Logger
}

// ErrCursorExpired says that the log no longer has what follows a cursor: the
// reader needs a snapshot from elsewhere and a new cursor.
var ErrCursorExpired = errors.New("the log no longer reaches back to the cursor")

// newPartitions is how often a Tail looks whether topics have grown.
const newPartitions = 30 * time.Second

// Tail reads topics without being a member of a group, so that every caller
// sees every record, and returns nil when ctx ends. It returns an error if the
// start cannot be found or the log refuses to be read. ErrCursorExpired comes at
// the start, or later if the tail was so slow that the log was trimmed past it.
func Tail(ctx context.Context, cfg Config, tc TailConfig) error {
	if len(tc.Topics) == 0 || tc.Handler == nil {
		return errors.New("event log: a tail needs Topics and Handler")
	}
	logger := orDiscard(tc.Logger)
	cluster, err := NewCluster(cfg, logger)
	if err != nil {
		return err
	}
	defer cluster.Close()
	t := &tail{cfg: cfg, tc: tc, logger: logger, admin: cluster.admin}
	if err := t.locate(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	return t.run(ctx)
}

type tail struct {
	cfg    Config
	tc     TailConfig
	logger *slog.Logger
	admin  *kadm.Client
	at     Cursor
	behind map[partitionID]int64 // ends at the start, of partitions not there yet
	// failing tells that the last fetch met an error that polling again at once
	// would only repeat.
	failing bool
}

// locate finds the offset to begin with in every partition.
func (t *tail) locate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	starts, err := startOffsets(ctx, t.admin, t.tc.Topics...)
	if err != nil {
		return err
	}
	ends, err := endOffsets(ctx, t.admin, t.tc.Topics...)
	if err != nil {
		return err
	}
	var since map[partitionID]int64
	if t.tc.From.Since > 0 {
		listed, err := t.admin.ListOffsetsAfterMilli(ctx, time.Now().Add(-t.tc.From.Since).UnixMilli(), t.tc.Topics...)
		if since, err = offsetsOf(listed, err); err != nil {
			return err
		}
	}
	t.at = Cursor{offsets: make(map[partitionID]int64)}
	t.behind = make(map[partitionID]int64)
	for id, end := range ends {
		at := end
		switch from := t.tc.From; {
		case !from.Cursor.IsZero():
			known, ok := from.Cursor.offsets[id]
			if !ok {
				// The partition is younger than the cursor.
				known = starts[id]
			}
			if known < starts[id] || known > end {
				return fmt.Errorf("%w: topic %s partition %d has %d to %d, the cursor is at %d",
					ErrCursorExpired, id.topic, id.id, starts[id], end, known)
			}
			at = known
		case from.All:
			at = starts[id]
		case from.LastRecords > 0:
			at = max(starts[id], end-from.LastRecords)
		case from.Since > 0:
			if o, ok := since[id]; ok && o >= 0 {
				at = min(o, end)
			}
		}
		t.at.offsets[id] = at
		if at < end {
			t.behind[id] = end
		}
	}
	return nil
}

func (t *tail) run(ctx context.Context) error {
	offsets := make(map[string]map[int32]kgo.Offset)
	for id, at := range t.at.offsets {
		if offsets[id.topic] == nil {
			offsets[id.topic] = make(map[int32]kgo.Offset)
		}
		offsets[id.topic][id.id] = kgo.NewOffset().At(at)
	}
	cl, err := t.cfg.client(t.logger, append(fetchOptions(),
		kgo.ConsumePartitions(offsets),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	)...)
	if err != nil {
		return err
	}
	defer cl.Close()
	t.caughtUp()
	looked := time.Now()
	for {
		poll, cancel := context.WithTimeout(ctx, newPartitions)
		fetches := cl.PollRecords(poll, pollRecords)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		if err := t.cfg.failure(); err != nil {
			return err
		}
		if err := t.check(fetches); err != nil {
			return err
		}
		if err := t.gap(fetches); err != nil {
			return err
		}
		records := make([]*Record, 0, fetches.NumRecords())
		fetches.EachRecord(func(k *kgo.Record) { records = append(records, fromKafka(k)) })
		if len(records) > 0 {
			t.at = t.at.Advance(records...)
			t.tc.Handler(records, t.at)
			t.caughtUp()
		}
		if len(records) == 0 && t.failing {
			rest := time.NewTimer(restFor)
			select {
			case <-ctx.Done():
			case <-rest.C:
			}
			rest.Stop()
		}
		if time.Since(looked) >= newPartitions {
			looked = time.Now()
			t.addPartitions(ctx, cl)
		}
	}
}

// caughtUp calls CaughtUp once nothing of the start is missing.
func (t *tail) caughtUp() {
	for id, end := range t.behind {
		if t.at.offsets[id] >= end {
			delete(t.behind, id)
		}
	}
	if len(t.behind) == 0 && t.tc.CaughtUp != nil {
		t.tc.CaughtUp(t.at)
		t.tc.CaughtUp = nil
	}
}

// check returns the errors after which reading on is pointless.
func (t *tail) check(fetches kgo.Fetches) (fatal error) {
	t.failing = false
	fetches.EachError(func(topic string, id int32, err error) {
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			return
		}
		err = fmt.Errorf("event log: tail: topic %s partition %d: %w", topic, id, err)
		if isFatal(err) || errors.Is(err, kgo.ErrClientClosed) {
			fatal = errors.Join(fatal, err)
			return
		}
		t.failing = true
		t.logger.Error("the event log cannot be read", "err", err)
	})
	return fatal
}

// gap returns ErrCursorExpired if what was fetched does not follow on what was
// handled, because the log was trimmed past it or lost its end.
func (t *tail) gap(fetches kgo.Fetches) (err error) {
	fetches.EachPartition(func(fp kgo.FetchTopicPartition) {
		at, known := t.at.Offset(fp.Topic, fp.Partition)
		if len(fp.Records) == 0 || !known {
			return
		}
		first := fp.Records[0].Offset
		if first < at || first > at && fp.LogStartOffset > at {
			err = fmt.Errorf("%w: topic %s partition %d continues at %d instead of %d", ErrCursorExpired, fp.Topic, fp.Partition, first, at)
		}
	})
	return err
}

// addPartitions reads partitions that were added since, from their start.
func (t *tail) addPartitions(ctx context.Context, cl *kgo.Client) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	starts, err := startOffsets(ctx, t.admin, t.tc.Topics...)
	if err != nil {
		t.logger.Warn("cannot look for new partitions", "err", err)
		return
	}
	added := make(map[string]map[int32]kgo.Offset)
	at := t.at.Advance()
	for id, start := range starts {
		if _, known := at.offsets[id]; !known {
			at.offsets[id] = start
			if added[id.topic] == nil {
				added[id.topic] = make(map[int32]kgo.Offset)
			}
			added[id.topic][id.id] = kgo.NewOffset().At(start)
		}
	}
	t.at = at
	if len(added) > 0 {
		cl.AddConsumePartitions(added)
	}
}
