package eventlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ConsumerConfig describes a Consumer. Group, Topics, Handler and Producer are
// needed; zero values elsewhere mean the defaults.
type ConsumerConfig struct {
	Group   string
	Topics  []string
	Handler Handler
	// Producer appends the dead letters.
	Producer *Producer

	// Express picks records that must not wait behind others' slow batches,
	// such as a human's correction. They form batches of their own, for which
	// slots are reserved. Order within a key still holds. It must depend on the
	// record alone.
	Express func(*Record) bool

	MaxBatchRecords    int // 256
	MaxBatchBytes      int // 2 MiB; a larger record travels alone
	MaxInFlightBatches int // 4
	ExpressSlots       int // 1, besides MaxInFlightBatches; only with Express

	MaxBufferedRecords int   // 10,000: fetched and not finished
	MaxBufferedBytes   int64 // 64 MiB, exceeded by at most one fetch
	// MaxDistance bounds, per partition, the records between the lowest
	// unfinished one and the last one fetched: what a crash makes the group
	// work on again. Default 20,000.
	MaxDistance int

	// MaxAttempts is after how many failed attempts made alone a record is
	// moved to the dead letters. Default 8.
	MaxAttempts int
	// BackOffMin and BackOffMax bound the delay before another attempt, which
	// doubles each time and is spread by up to a half. Defaults 500 ms, 1 min.
	BackOffMin, BackOffMax time.Duration

	// HandlerTimeout bounds one call of the handler. Default 2 min.
	HandlerTimeout time.Duration
	// DrainTimeout bounds the wait for batches in flight when the Consumer
	// stops or loses a partition; then their context ends. Default 20 s.
	DrainTimeout time.Duration
	// CommitInterval is how often progress is committed. Default 500 ms.
	CommitInterval time.Duration
	// SessionTimeout is after how long a silent process loses its partitions.
	// Default 20 s.
	SessionTimeout time.Duration
	// InstanceID, if set, makes the group member static: a restart within the
	// session timeout does not rebalance the group.
	InstanceID string

	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

func (c *ConsumerConfig) validate() error {
	var errs []error
	if c.Group == "" {
		errs = append(errs, errors.New("no Group"))
	}
	if len(c.Topics) == 0 {
		errs = append(errs, errors.New("no Topics"))
	}
	if c.Handler == nil {
		errs = append(errs, errors.New("no Handler"))
	}
	if c.Producer == nil {
		errs = append(errs, errors.New("no Producer for dead letters"))
	}
	if len(errs) > 0 {
		return fmt.Errorf("event log: consumer: %w", errors.Join(errs...))
	}
	orInt := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	orDuration := func(v *time.Duration, def time.Duration) {
		if *v <= 0 {
			*v = def
		}
	}
	orInt(&c.MaxBatchRecords, 256)
	orInt(&c.MaxBatchBytes, 2<<20)
	orInt(&c.MaxInFlightBatches, 4)
	orInt(&c.ExpressSlots, 1)
	if c.Express == nil {
		c.ExpressSlots = 0
	}
	orInt(&c.MaxBufferedRecords, 10_000)
	if c.MaxBufferedBytes <= 0 {
		c.MaxBufferedBytes = 64 << 20
	}
	orInt(&c.MaxDistance, 20_000)
	orInt(&c.MaxAttempts, 8)
	orDuration(&c.BackOffMin, 500*time.Millisecond)
	orDuration(&c.BackOffMax, time.Minute)
	c.BackOffMax = max(c.BackOffMax, c.BackOffMin)
	orDuration(&c.HandlerTimeout, 2*time.Minute)
	orDuration(&c.DrainTimeout, 20*time.Second)
	orDuration(&c.CommitInterval, 500*time.Millisecond)
	orDuration(&c.SessionTimeout, 20*time.Second)
	return nil
}

// Consumer is one member of a group. It fetches records, hands them to the
// handler in batches, and commits the group's progress.
type Consumer struct {
	cfg     ConsumerConfig
	failed  <-chan struct{}
	failure func() error
	logger  *slog.Logger
	metrics consumerMetrics
	client  *kgo.Client
	admin   *kadm.Client

	wake     chan struct{} // there may be something to start; holds at most one
	assigned chan struct{}
	once     sync.Once
	batches  sync.WaitGroup

	commitMu sync.Mutex // one commit at a time

	mu       sync.Mutex
	lanes    *lanes
	busy     [2]int // batches in flight by the class of slot they hold
	room     chan struct{}
	paused   map[partitionID]bool
	ends     map[partitionID]int64 // high watermark of the last fetch
	progress map[partitionID]int64 // committed
	stopping bool
	fault    error
	faultAt  time.Time
	loggedAt time.Time
}

// NewConsumer joins no group yet; Run does.
func NewConsumer(cfg Config, cc ConsumerConfig) (*Consumer, error) {
	if err := cc.validate(); err != nil {
		return nil, err
	}
	metrics, err := newConsumerMetrics(cc.Registerer, cc.Group)
	if err != nil {
		return nil, err
	}
	c := &Consumer{
		cfg:      cc,
		failed:   cfg.Failed,
		failure:  cfg.failure,
		logger:   orDiscard(cc.Logger).With("group", cc.Group),
		metrics:  metrics,
		wake:     make(chan struct{}, 1),
		assigned: make(chan struct{}),
		lanes:    newLanes(cc.MaxBatchRecords, cc.MaxBatchBytes, cc.Express),
		room:     make(chan struct{}),
		paused:   make(map[partitionID]bool),
		ends:     make(map[partitionID]int64),
		progress: make(map[partitionID]int64),
	}
	opts := []kgo.Opt{
		kgo.ConsumerGroup(cc.Group),
		kgo.ConsumeTopics(cc.Topics...),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(cc.SessionTimeout),
		kgo.HeartbeatInterval(min(3*time.Second, cc.SessionTimeout/4)),
		kgo.RebalanceTimeout(cc.DrainTimeout + commitTimeout + 30*time.Second),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		// A new group starts with the oldest record, and so does one whose
		// position the log no longer has: reading again is safe, skipping is
		// not.
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.AdjustFetchOffsetsFn(c.checkOffsets),
		kgo.OnPartitionsAssigned(c.onAssigned),
		kgo.OnPartitionsRevoked(c.onRevoked),
		kgo.OnPartitionsLost(c.onLost),
	}
	opts = append(opts, fetchOptions()...)
	if cc.InstanceID != "" {
		opts = append(opts, kgo.InstanceID(cc.InstanceID))
	}
	if c.client, err = cfg.client(c.logger, opts...); err != nil {
		return nil, err
	}
	c.admin = kadm.NewClient(c.client)
	return c, nil
}

// fetchOptions are common to all that read. The sizes are soft: a broker sends
// a larger batch rather than none.
func fetchOptions() []kgo.Opt {
	return []kgo.Opt{
		kgo.FetchMaxBytes(16 << 20),
		kgo.FetchMaxPartitionBytes(4 << 20),
		kgo.FetchMaxWait(time.Second),
		kgo.MaxDecompressBatchBytes(256 << 20),
	}
}

// pollRecords is how many records are taken from the client at once.
const pollRecords = 1000

// Assigned is closed when the Consumer first has its share of the partitions,
// which may be none.
func (c *Consumer) Assigned() <-chan struct{} { return c.assigned }

// Health returns the last fault in reading the log, if it is of the last
// minute; a fault that lasts repeats itself more often.
func (c *Consumer) Health() error {
	if err := c.failure(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fault == nil || time.Since(c.faultAt) > time.Minute {
		return nil
	}
	return c.fault
}

// Run consumes until ctx ends, and returns nil then; it returns an error if the
// log refuses to be read, or fails. On the way out it lets the batches in
// flight finish, commits, and leaves the group. Run is called once.
func (c *Consumer) Run(ctx context.Context) error {
	defer c.client.Close()
	batchCtx, cancelBatches := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelBatches()
	runCtx, stop := context.WithCancelCause(ctx)
	defer stop(nil)

	var loops sync.WaitGroup
	loops.Go(func() { stop(c.poll(runCtx)) })
	loops.Go(func() { c.dispatch(runCtx, batchCtx) })
	loops.Go(func() { c.commitLoop(runCtx) })
	select {
	case <-runCtx.Done():
	case <-c.failed:
		stop(c.failure())
	}
	loops.Wait()

	err := c.drain(cancelBatches)
	if ctx.Err() != nil {
		return err
	}
	if cause := context.Cause(runCtx); cause != nil && !errors.Is(cause, context.Canceled) {
		return errors.Join(cause, err)
	}
	return err
}

// drain waits for the batches in flight, commits and leaves the group.
func (c *Consumer) drain(cancelBatches context.CancelFunc) error {
	idle := make(chan struct{})
	go func() {
		defer close(idle)
		c.batches.Wait()
	}()
	timer := time.NewTimer(c.cfg.DrainTimeout)
	defer timer.Stop()
	var err error
	select {
	case <-idle:
	case <-timer.C:
		cancelBatches()
		timer.Reset(5 * time.Second)
		select {
		case <-idle:
		case <-timer.C:
			err = fmt.Errorf("event log: consumer %s: a handler does not end although its context has", c.cfg.Group)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	if c.failure() != nil {
		return err
	}
	c.commit(ctx, nil)
	c.mu.Lock()
	c.stopping = true
	c.mu.Unlock()
	if leaveErr := c.client.LeaveGroupContext(ctx); leaveErr != nil {
		c.logger.Warn("could not leave the group; its partitions stay with this process until the session times out", "err", leaveErr)
	}
	return err
}

// poll fetches records into the lanes until ctx ends or the log refuses.
func (c *Consumer) poll(ctx context.Context) error {
	for {
		if err := c.waitForRoom(ctx); err != nil {
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

// waitForRoom waits while the buffer is full.
func (c *Consumer) waitForRoom(ctx context.Context) error {
	for {
		c.mu.Lock()
		room := c.room
		full := c.full()
		c.mu.Unlock()
		if !full {
			return ctx.Err()
		}
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
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
	return nil
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
		c.client.ResumeFetchPartitions(parts)
	}
	if end, ok := c.ends[id]; ok {
		c.metrics.lag.WithLabelValues(id.topic, strconv.Itoa(int(id.id))).Set(float64(max(0, end-p.mark)))
	}
}

// signal tells dispatch to look.
func (c *Consumer) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// dispatch starts batches while there are slots, until ctx ends.
func (c *Consumer) dispatch(ctx, batchCtx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-timer.C:
		}
		c.mu.Lock()
		if due := c.lanes.wake(time.Now()); !due.IsZero() {
			timer.Reset(time.Until(due))
		}
		c.start(batchCtx)
		c.mu.Unlock()
	}
}

// start forms as many batches as there are slots, c.mu being held. Express
// batches take their own slots first, ordinary ones never take those.
func (c *Consumer) start(ctx context.Context) {
	for {
		slot := ordinary
		var batch []*entry
		if c.busy[express] < c.cfg.ExpressSlots {
			slot, batch = express, c.lanes.next(express)
		}
		if batch == nil {
			if c.busy[ordinary] >= c.cfg.MaxInFlightBatches {
				return
			}
			slot, batch = ordinary, c.lanes.next(express)
		}
		if batch == nil {
			batch = c.lanes.next(ordinary)
		}
		if batch == nil {
			return
		}
		c.busy[slot]++
		c.metrics.inFlight.Inc()
		c.batches.Go(func() { c.work(ctx, slot, batch) })
	}
}

// work runs one batch to its outcomes and settles it.
func (c *Consumer) work(ctx context.Context, slot class, batch []*entry) {
	resolutions := c.resolve(ctx, batch)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy[slot]--
	c.metrics.inFlight.Dec()
	c.lanes.finish(batch, resolutions, time.Now())
	for i, e := range batch {
		if resolutions[i].done {
			c.metrics.consumed.WithLabelValues(e.rec.Topic).Inc()
		}
		if i == 0 || batch[i-1].part != e.part {
			if !e.part.dropped {
				c.flow(e.part.partitionID)
			}
		}
	}
	c.metrics.buffered.Set(float64(c.lanes.records))
	if !c.full() {
		close(c.room)
		c.room = make(chan struct{})
	}
	c.signal()
}

// resolve asks the handler, and moves to the dead letters what is to be moved.
func (c *Consumer) resolve(ctx context.Context, batch []*entry) []resolution {
	resolutions := make([]resolution, len(batch))
	if first := batch[0]; first.verdict != nil {
		// Only the dead letter was missing.
		resolutions[0] = c.bury(ctx, first, first.verdict)
		return resolutions
	}
	errs := c.call(ctx, batch)
	for i, e := range batch {
		resolutions[i] = c.judge(ctx, e, errs[i], len(batch) == 1)
	}
	return resolutions
}

// call runs the handler; a panic or a wrong number of outcomes is everybody's
// error.
func (c *Consumer) call(ctx context.Context, batch []*entry) (errs []error) {
	records := make([]*Record, len(batch))
	for i, e := range batch {
		records[i] = e.rec
	}
	all := func(err error) {
		errs = make([]error, len(batch))
		for i := range errs {
			errs[i] = err
		}
	}
	start := time.Now()
	c.metrics.batch.Observe(float64(len(batch)))
	defer func() {
		c.metrics.duration.Observe(time.Since(start).Seconds())
		if p := recover(); p != nil {
			c.metrics.panics.Inc()
			c.logger.Error("the handler panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			all(fmt.Errorf("the handler panicked: %v", p))
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, c.cfg.HandlerTimeout)
	defer cancel()
	errs = c.cfg.Handler(ctx, records)
	if len(errs) != len(batch) {
		n := len(errs)
		all(fmt.Errorf("the handler returned %d outcomes for %d records", n, len(batch)))
	}
	return errs
}

// judge turns an outcome into what happens next.
func (c *Consumer) judge(ctx context.Context, e *entry, err error, alone bool) resolution {
	if err == nil {
		return resolution{done: true}
	}
	var later *retryAfterError
	if errors.As(err, &later) {
		c.metrics.retries.WithLabelValues(e.rec.Topic, "asked").Inc()
		return resolution{after: later.after, alone: e.alone}
	}
	if ctx.Err() != nil {
		// The Consumer is stopping and gave up on the batch: nobody's fault.
		return resolution{alone: e.alone}
	}
	attempts := e.attempts
	if alone {
		attempts++
	}
	var permanent *permanentError
	if errors.As(err, &permanent) || attempts >= c.cfg.MaxAttempts {
		e.attempts = attempts
		return c.bury(ctx, e, err)
	}
	c.metrics.retries.WithLabelValues(e.rec.Topic, "error").Inc()
	c.logger.Warn("a record failed and will be tried again", append(recordAttrs(e.rec), "attempt", attempts, "of", c.cfg.MaxAttempts, "err", err)...)
	return resolution{after: c.backOff(attempts), alone: true, counted: alone}
}

// backOff is the delay after that many attempts: doubling, bounded, and spread
// so that records which failed together do not come back together.
func (c *Consumer) backOff(attempts int) time.Duration {
	d := c.cfg.BackOffMin
	for range attempts - 1 {
		if d >= c.cfg.BackOffMax {
			break
		}
		d *= 2
	}
	d = min(d, c.cfg.BackOffMax)
	return d/2 + rand.N(d/2+1)
}

// bury appends a dead letter. The record is done only once that is durable.
func (c *Consumer) bury(ctx context.Context, e *entry, cause error) resolution {
	letter := newLetter(e.rec, c.cfg.Group, cause, max(e.attempts, 1), time.Now())
	err := c.cfg.Producer.Append(ctx, letter)
	if errors.Is(err, ErrTooLarge) {
		err = c.cfg.Producer.Append(ctx, byReference(letter))
	}
	if err != nil {
		c.logger.Error("a record could not be moved to the dead letters; trying again", append(recordAttrs(e.rec), "err", err)...)
		return resolution{after: c.backOff(4), alone: true, verdict: cause}
	}
	c.metrics.dead.WithLabelValues(e.rec.Topic).Inc()
	c.logger.Error("a record was moved to the dead letters; see `dispatchai dead list`", append(recordAttrs(e.rec), "attempts", max(e.attempts, 1), "err", cause)...)
	return resolution{done: true}
}

func recordAttrs(r *Record) []any {
	return []any{"topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "key", r.Key, "delivery", r.Header(HeaderDelivery)}
}
