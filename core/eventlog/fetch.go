package eventlog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// fetchOptions are common to all that read. The sizes are soft: a broker sends
// a larger batch rather than none. They are of what is compressed, of which
// webhooks are a fifth, and each reader holds a fetch that it works on and one
// ahead: so they decide how much memory reading takes, and hardly how fast it is.
func fetchOptions() []kgo.Opt {
	return []kgo.Opt{
		kgo.FetchMaxBytes(1 << 20),
		kgo.FetchMaxPartitionBytes(128 << 10),
		kgo.FetchMaxWait(time.Second),
		kgo.MaxDecompressBatchBytes(256 << 20),
	}
}

// pollRecords is how many records are taken from the client at once.
const pollRecords = 1000

// poll fetches records into the lanes until ctx ends or the log refuses.
func (c *Consumer) poll(ctx context.Context) error {
	for {
		if !c.waitForRoom(ctx) {
			return nil
		}
		fetches := c.client.PollRecords(ctx, pollRecords)
		err := c.take(ctx, fetches)
		// What was polled is in the lanes now; a rebalance may take it away.
		c.client.AllowRebalance()
		if err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// waitForRoom waits while the buffer is full, and tells whether there is room
// before ctx ends.
func (c *Consumer) waitForRoom(ctx context.Context) bool {
	for {
		c.mu.Lock()
		room := c.room
		full := c.full()
		c.mu.Unlock()
		if !full {
			return ctx.Err() == nil
		}
		select {
		case <-room:
		case <-ctx.Done():
			return false
		}
	}
}

func (c *Consumer) full() bool {
	return c.lanes.records >= c.cfg.MaxBufferedRecords || c.lanes.bytes >= c.cfg.MaxBufferedBytes
}

// take puts what was fetched into the lanes.
func (c *Consumer) take(ctx context.Context, fetches kgo.Fetches) error {
	var fatal error
	fetches.EachError(func(topic string, id int32, err error) {
		fatal = errors.Join(fatal, c.fetchError(ctx, topic, id, err))
	})
	if fatal != nil {
		return fatal
	}
	c.mu.Lock()
	fetches.EachPartition(func(fp kgo.FetchTopicPartition) {
		id := partitionID{fp.Topic, fp.Partition}
		p := c.lanes.parts[id]
		if p == nil || p.halted {
			return
		}
		if fp.Err == nil {
			c.ends[id] = fp.HighWatermark
		}
		if len(fp.Records) == 0 {
			return
		}
		first := fp.Records[0].Offset
		switch {
		case p.next >= 0 && first > p.next && fp.LogStartOffset > p.next:
			c.lost(id, min(fp.LogStartOffset, first)-p.next, "records were deleted from the log before they were read; raise its retention, or find out why this group was so far behind",
				"expected", p.next, "log_start", fp.LogStartOffset)
		case p.next >= 0 && first < p.next:
			c.lost(id, p.next-first, "the log goes back behind what was already read: its end was lost; reading again from there",
				"expected", p.next, "got", first)
			delete(c.progress, id)
		}
		for _, r := range fp.Records {
			c.lanes.add(fromKafka(r))
		}
		c.flow(id)
	})
	c.metrics.buffered.Set(float64(c.lanes.records))
	c.mu.Unlock()
	c.signal()
	return nil
}

// fetchError judges an error of a fetch: it returns those after which polling
// on is pointless.
func (c *Consumer) fetchError(ctx context.Context, topic string, id int32, err error) error {
	var loss *kgo.ErrDataLoss
	var session *kgo.ErrGroupSession
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, kgo.ErrClientClosed):
		return fmt.Errorf("event log: consumer %s: %w", c.cfg.Group, err)
	case errors.As(err, &loss):
		c.mu.Lock()
		defer c.mu.Unlock()
		pid := partitionID{topic, id}
		c.lost(pid, max(1, loss.ConsumedTo-loss.ResetTo), "the brokers lost records at the end of the log", "err", err)
		if c.lanes.parts[pid] != nil {
			c.lanes.drop(pid)
			c.lanes.assign(pid, loss.ResetTo)
			delete(c.progress, pid)
		}
		return nil
	case errors.As(err, &session):
		c.sick(fmt.Errorf("the group session was lost: %w", err))
		return nil
	}
	c.metrics.fetchFail.WithLabelValues(topic).Inc()
	err = fmt.Errorf("fetching topic %s partition %d: %w", topic, id, err)
	c.sick(err)
	if isFatal(err) {
		return fmt.Errorf("event log: consumer %s: %w", c.cfg.Group, err)
	}
	c.rest(partitionID{topic, id})
	return nil
}

// restFor is how long a partition is left alone that could not be read. The
// client itself would try again at once, and again.
const restFor = 2 * time.Second

func (c *Consumer) rest(id partitionID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lanes.parts[id] == nil {
		return
	}
	c.resting[id] = time.Now().Add(restFor)
	c.client.PauseFetchPartitions(map[string][]int32{id.topic: {id.id}})
}

// rouse fetches from partitions again that have rested.
func (c *Consumer) rouse() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for id, until := range c.resting {
		if now.Before(until) {
			continue
		}
		delete(c.resting, id)
		if !c.paused[id] {
			c.client.ResumeFetchPartitions(map[string][]int32{id.topic: {id.id}})
		}
	}
}

// sick records a fault for Health, and logs it unless it has just been logged.
func (c *Consumer) sick(err error) {
	now := time.Now()
	c.mu.Lock()
	c.fault, c.faultAt = fmt.Errorf("event log: consumer %s: %w", c.cfg.Group, err), now
	quiet := now.Sub(c.loggedAt) < 10*time.Second
	if !quiet {
		c.loggedAt = now
	}
	c.mu.Unlock()
	if !quiet {
		c.logger.Error("the event log cannot be read", "err", err)
	}
}

// lost makes lost records known, c.mu being held.
func (c *Consumer) lost(id partitionID, records int64, msg string, attrs ...any) {
	c.metrics.dataLoss.WithLabelValues(id.topic).Add(float64(max(records, 0)))
	c.logger.Error("data loss: "+msg, append([]any{"topic", id.topic, "partition", id.id, "records", records}, attrs...)...)
}

// flow pauses a partition whose lowest unfinished record is too far behind,
// resumes it, and updates the lag, c.mu being held.
func (c *Consumer) flow(id partitionID) {
	p := c.lanes.parts[id]
	if p == nil || p.next < 0 {
		return
	}
	distance := p.next - p.mark
	parts := map[string][]int32{id.topic: {id.id}}
	switch {
	case !c.paused[id] && distance >= int64(c.cfg.MaxDistance):
		c.paused[id] = true
		c.client.PauseFetchPartitions(parts)
	case c.paused[id] && distance <= int64(c.cfg.MaxDistance)/2:
		delete(c.paused, id)
		if _, resting := c.resting[id]; !resting {
			c.client.ResumeFetchPartitions(parts)
		}
	}
	if end, ok := c.ends[id]; ok {
		c.metrics.lag.WithLabelValues(id.topic, strconv.Itoa(int(id.id))).Set(float64(max(0, end-p.mark)))
	}
}
