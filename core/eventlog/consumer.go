package eventlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	// MaxDetached bounds the parts of batches that go on without a slot (see
	// Detach). Default 64.
	MaxDetached int

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
	orInt(&c.MaxDetached, 64)
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
	log     Config
	logger  *slog.Logger
	metrics consumerMetrics

	// client and admin are set once connected is closed. The client calls back
	// before the call that makes it has returned.
	client    *kgo.Client
	admin     *kadm.Client
	connected chan struct{}

	wake     chan struct{} // there may be something to start; holds at most one
	assigned chan struct{}
	once     sync.Once
	batches  sync.WaitGroup

	commitMu sync.Mutex // one commit at a time

	mu       sync.Mutex
	lanes    *lanes
	busy     [2]int // batches in flight by the class of slot they hold
	detached int    // parts of batches that go on without one
	room     chan struct{}
	paused   map[partitionID]bool      // too far ahead of their lowest unfinished record
	resting  map[partitionID]time.Time // not fetched until then, because fetching failed
	ends     map[partitionID]int64     // high watermark of the last fetch
	progress map[partitionID]int64     // committed
	stopping bool
	fault    error
	faultAt  time.Time
	loggedAt time.Time
}

// NewConsumer checks the configuration. It neither connects nor joins the group;
// Run does.
func NewConsumer(cfg Config, cc ConsumerConfig) (*Consumer, error) {
	if err := cc.validate(); err != nil {
		return nil, err
	}
	metrics, err := newConsumerMetrics(cc.Registerer, cc.Group)
	if err != nil {
		return nil, err
	}
	c := &Consumer{
		cfg:     cc,
		log:     cfg,
		logger:  orDiscard(cc.Logger).With("group", cc.Group),
		metrics: metrics,
		wake:    make(chan struct{}, 1),

		connected: make(chan struct{}),
		assigned:  make(chan struct{}),
		lanes:     newLanes(cc.MaxBatchRecords, cc.MaxBatchBytes, cc.Express),
		room:      make(chan struct{}),
		paused:    make(map[partitionID]bool),
		resting:   make(map[partitionID]time.Time),
		ends:      make(map[partitionID]int64),
		progress:  make(map[partitionID]int64),
	}
	if err := kgo.ValidateOpts(append(c.options(), cfg.Options...)...); err != nil {
		return nil, fmt.Errorf("event log: consumer %s: %w", cc.Group, err)
	}
	return c, nil
}

// options are those of the group's member.
func (c *Consumer) options() []kgo.Opt {
	cc := c.cfg
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
	return opts
}

func (c *Consumer) connect() error {
	client, err := c.log.client(c.logger, c.options()...)
	if err != nil {
		return err
	}
	c.client, c.admin = client, kadm.NewClient(client)
	close(c.connected)
	return nil
}

// Assigned is closed when the Consumer first has its share of the partitions,
// which may be none.
func (c *Consumer) Assigned() <-chan struct{} { return c.assigned }

// Health returns the last fault in reading the log, if it is of the last
// minute; a fault that lasts repeats itself more often.
func (c *Consumer) Health() error {
	if err := c.log.failure(); err != nil {
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
	if err := c.connect(); err != nil {
		return err
	}
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
	case <-c.log.Failed:
		stop(c.log.failure())
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
	if c.log.failure() != nil {
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
