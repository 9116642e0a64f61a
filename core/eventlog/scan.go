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

// scanStall is how long a bounded read waits for a record that must be there.
const scanStall = 15 * time.Second

// startOffsets returns where the partitions of the topics begin.
func startOffsets(ctx context.Context, adm *kadm.Client, topics ...string) (map[partitionID]int64, error) {
	listed, err := adm.ListStartOffsets(ctx, topics...)
	return offsetsOf(listed, err)
}

// endOffsets returns the offset that the next record of each partition gets.
func endOffsets(ctx context.Context, adm *kadm.Client, topics ...string) (map[partitionID]int64, error) {
	listed, err := adm.ListEndOffsets(ctx, topics...)
	return offsetsOf(listed, err)
}

func offsetsOf(listed kadm.ListedOffsets, err error) (map[partitionID]int64, error) {
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("event log: list offsets: %w", err)
	}
	offsets := make(map[partitionID]int64)
	listed.Each(func(o kadm.ListedOffset) { offsets[partitionID{o.Topic, o.Partition}] = o.Offset })
	return offsets, nil
}

// scan reads a topic from its start to the end it has now.
func scan(ctx context.Context, cfg Config, adm *kadm.Client, logger *slog.Logger, topic string, fn func(*Record)) error {
	starts, err := startOffsets(ctx, adm, topic)
	if err != nil {
		return err
	}
	ends, err := endOffsets(ctx, adm, topic)
	if err != nil {
		return err
	}
	return read(ctx, cfg, logger, starts, ends, fn)
}

// fetchOne reads a single record; it returns nil if the log does not have it.
func fetchOne(ctx context.Context, cfg Config, adm *kadm.Client, logger *slog.Logger, id partitionID, offset int64) (*Record, error) {
	starts, err := startOffsets(ctx, adm, id.topic)
	if err != nil {
		return nil, err
	}
	ends, err := endOffsets(ctx, adm, id.topic)
	if err != nil {
		return nil, err
	}
	if start, ok := starts[id]; !ok || offset < start || offset >= ends[id] {
		return nil, nil
	}
	var found *Record
	err = read(ctx, cfg, logger, map[partitionID]int64{id: offset}, map[partitionID]int64{id: offset + 1}, func(r *Record) {
		if r.Offset == offset {
			found = r
		}
	})
	return found, err
}

// read reads [from, to) of every partition in from.
func read(ctx context.Context, cfg Config, logger *slog.Logger, from, to map[partitionID]int64, fn func(*Record)) error {
	offsets := make(map[string]map[int32]kgo.Offset)
	left := make(map[partitionID]int64)
	for id, at := range from {
		if at >= to[id] {
			continue
		}
		left[id] = to[id]
		if offsets[id.topic] == nil {
			offsets[id.topic] = make(map[int32]kgo.Offset)
		}
		offsets[id.topic][id.id] = kgo.NewOffset().At(at)
	}
	if len(left) == 0 {
		return nil
	}
	cl, err := cfg.client(logger, append(fetchOptions(),
		kgo.ConsumePartitions(offsets),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	)...)
	if err != nil {
		return err
	}
	defer cl.Close()
	for len(left) > 0 {
		stall, cancel := context.WithTimeout(ctx, scanStall)
		fetches := cl.PollRecords(stall, pollRecords)
		cancel()
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := cfg.failure(); err != nil {
			return err
		}
		if err := fetches.Err(); err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				err = fmt.Errorf("%w: nothing was read for %s", ErrUnavailable, scanStall)
			}
			return fmt.Errorf("event log: read: %w", err)
		}
		fetches.EachRecord(func(k *kgo.Record) {
			id := partitionID{k.Topic, k.Partition}
			if end, ok := left[id]; ok && k.Offset < end {
				fn(fromKafka(k))
			}
			if end, ok := left[id]; ok && k.Offset+1 >= end {
				delete(left, id)
			}
		})
	}
	return nil
}
