package eventlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// commitTimeout bounds one commit.
const commitTimeout = 10 * time.Second

// isFatal tells the errors of the brokers that polling again does not heal,
// such as a missing right.
func isFatal(err error) bool {
	var ke *kerr.Error
	return errors.As(err, &ke) && !ke.Retriable
}

// commitLoop commits progress at every interval at which there is some.
func (c *Consumer) commitLoop(ctx context.Context) {
	ticker := time.NewTicker(c.cfg.CommitInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			c.rouse()
			bounded, cancel := context.WithTimeout(ctx, commitTimeout)
			c.commit(bounded, nil)
			cancel()
		}
	}
}

// commit commits the marks of the given partitions, or of all that are
// assigned, where they have moved.
func (c *Consumer) commit(ctx context.Context, only map[string][]int32) {
	c.commitMu.Lock()
	defer c.commitMu.Unlock()

	offsets := make(map[string]map[int32]kgo.EpochOffset)
	marks := make(map[partitionID]int64)
	add := func(p *partition) {
		if committed, ok := c.progress[p.partitionID]; p.mark < 0 || ok && committed == p.mark {
			return
		}
		if offsets[p.topic] == nil {
			offsets[p.topic] = make(map[int32]kgo.EpochOffset)
		}
		offsets[p.topic][p.id] = kgo.EpochOffset{Epoch: p.epoch, Offset: p.mark}
		marks[p.partitionID] = p.mark
	}
	c.mu.Lock()
	if only == nil {
		for _, p := range c.lanes.parts {
			add(p)
		}
	}
	for topic, ids := range only {
		for _, id := range ids {
			if p := c.lanes.parts[partitionID{topic, id}]; p != nil {
				add(p)
			}
		}
	}
	c.mu.Unlock()
	if len(offsets) == 0 {
		return
	}

	var failed error
	c.client.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			failed = err
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				id := partitionID{t.Topic, p.Partition}
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					failed = fmt.Errorf("topic %s partition %d: %w", t.Topic, p.Partition, err)
					continue
				}
				c.mu.Lock()
				c.progress[id] = marks[id]
				c.mu.Unlock()
			}
		}
	})
	switch {
	case failed == nil:
		return
	case errors.Is(failed, kerr.RebalanceInProgress), errors.Is(failed, context.Canceled):
		// It is committed with the next interval, or by who gets the partition.
		c.logger.Debug("commit put off", "err", failed)
	default:
		c.metrics.commitFail.Inc()
		c.logger.Warn("progress could not be committed; it will be tried again, and until then a restart repeats work", "err", failed)
	}
}

// checkOffsets compares the group's committed offsets with what the log still
// has, before fetching begins.
func (c *Consumer) checkOffsets(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	<-c.connected
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	topics := make([]string, 0, len(offsets))
	for topic := range offsets {
		topics = append(topics, topic)
	}
	var starts, ends kadm.ListedOffsets
	if len(topics) > 0 {
		var err error
		if starts, err = c.admin.ListStartOffsets(ctx, topics...); err == nil {
			ends, err = c.admin.ListEndOffsets(ctx, topics...)
		}
		if err != nil {
			return nil, fmt.Errorf("event log: cannot tell where the log starts: %w", err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for topic, partitions := range offsets {
		for id, o := range partitions {
			committed := o.EpochOffset().Offset
			pid := partitionID{topic, id}
			if committed >= 0 {
				c.progress[pid] = committed
				start, okStart := starts.Lookup(topic, id)
				end, okEnd := ends.Lookup(topic, id)
				switch {
				case okStart && start.Err == nil && committed < start.Offset:
					c.lost(pid, start.Offset-committed, "records were deleted from the log before this group read them; raise its retention",
						"committed", committed, "log_start", start.Offset)
					committed = start.Offset
					partitions[id] = kgo.NewOffset().At(committed)
				case okEnd && end.Err == nil && committed > end.Offset:
					c.lost(pid, committed-end.Offset, "the log ends before the group's position: its end was lost; reading all of it again",
						"committed", committed, "log_end", end.Offset)
					committed = -1
					partitions[id] = kgo.NewOffset().AtStart()
				}
			}
			c.lanes.assign(pid, max(committed, -1))
		}
	}
	return offsets, nil
}

func (c *Consumer) onAssigned(_ context.Context, _ *kgo.Client, assigned map[string][]int32) {
	c.mu.Lock()
	for topic, ids := range assigned {
		for _, id := range ids {
			c.lanes.assign(partitionID{topic, id}, -1)
		}
	}
	c.mu.Unlock()
	c.logger.Debug("partitions assigned", "partitions", assigned)
	c.once.Do(func() { close(c.assigned) })
}

// onRevoked lets what is in flight finish, commits it, and drops the rest,
// which the next owner reads again.
func (c *Consumer) onRevoked(ctx context.Context, _ *kgo.Client, revoked map[string][]int32) {
	<-c.connected
	c.mu.Lock()
	if c.stopping {
		c.mu.Unlock()
		return
	}
	var idles []<-chan struct{}
	for topic, ids := range revoked {
		for _, id := range ids {
			idles = append(idles, c.lanes.halt(partitionID{topic, id}))
		}
	}
	c.mu.Unlock()
	if len(idles) == 0 {
		return
	}
	timer := time.NewTimer(c.cfg.DrainTimeout)
	defer timer.Stop()
wait:
	for _, idle := range idles {
		select {
		case <-idle:
		case <-timer.C:
			c.logger.Warn("batches of revoked partitions did not finish in time; the next owner repeats them", "waited", c.cfg.DrainTimeout)
			break wait
		case <-ctx.Done():
			break wait
		}
	}
	bounded, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	c.commit(bounded, revoked)
	c.forget(revoked)
}

// onLost drops partitions that another member may have already.
func (c *Consumer) onLost(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
	<-c.connected
	c.forget(lost)
}

func (c *Consumer) forget(partitions map[string][]int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for topic, ids := range partitions {
		for _, id := range ids {
			pid := partitionID{topic, id}
			c.lanes.drop(pid)
			delete(c.ends, pid)
			delete(c.progress, pid)
			if _, resting := c.resting[pid]; resting || c.paused[pid] {
				delete(c.paused, pid)
				delete(c.resting, pid)
				c.client.ResumeFetchPartitions(map[string][]int32{topic: {id}})
			}
			c.metrics.lag.DeleteLabelValues(topic, fmt.Sprint(id))
		}
	}
	if !c.full() {
		close(c.room)
		c.room = make(chan struct{})
	}
	c.metrics.buffered.Set(float64(c.lanes.records))
}
