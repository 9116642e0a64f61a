package eventlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/semaphore"
)

// ProducerConfig tunes a Producer. The zero value is good.
type ProducerConfig struct {
	// MaxBufferedBytes bounds the records waiting to become durable; when it is
	// reached, Append waits for room. Default 64 MiB.
	MaxBufferedBytes int64
	// DeliveryTimeout bounds one Append. Default 8 s, which leaves a webhook
	// time to be answered within GitHub's 10 s.
	DeliveryTimeout time.Duration
	Logger          *slog.Logger
	Registerer      prometheus.Registerer
}

const (
	// roundBytes and roundRecords bound what one round sends.
	roundBytes   = 8 << 20
	roundRecords = 4096
	// stuckRound is after how long a round no longer keeps the next from
	// starting, so that one broker's outage does not stop appends to others.
	stuckRound = time.Second
)

// Producer appends records to the log, from any number of goroutines.
//
// Appends are grouped in rounds: while one round is on its way to the disk of
// the brokers, the records that arrive meanwhile wait for the next. This costs
// a lone record no delay and lets many share one sync.
type Producer struct {
	cfg     Config
	timeout time.Duration
	logger  *slog.Logger
	metrics producerMetrics
	client  *kgo.Client

	room     *semaphore.Weighted
	capacity int64
	queue    chan *appending
	rounds   chan struct{}
	done     chan struct{} // closed when the collector and all rounds have ended

	mu     sync.RWMutex
	closed bool
}

// appending is one call of Append on its way.
type appending struct {
	records []*kgo.Record
	bytes   int64
	left    atomic.Int32
	err     atomic.Pointer[error]
	result  chan error
}

// NewProducer starts a producer: idempotent, waiting for all replicas,
// compressing with snappy. Close it.
func NewProducer(cfg Config, pc ProducerConfig) (*Producer, error) {
	if pc.MaxBufferedBytes <= 0 {
		pc.MaxBufferedBytes = 64 << 20
	}
	if pc.DeliveryTimeout <= 0 {
		pc.DeliveryTimeout = 8 * time.Second
	}
	logger := orDiscard(pc.Logger)
	metrics, err := newProducerMetrics(pc.Registerer)
	if err != nil {
		return nil, err
	}
	client, err := cfg.client(logger,
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(kgo.SnappyCompression(), kgo.NoCompression()),
		kgo.ProducerBatchMaxBytesFn(maxMessageBytes),
		kgo.MaxBufferedRecords(1<<20),
		kgo.ManualFlushing(),
		kgo.RecordDeliveryTimeout(max(pc.DeliveryTimeout, time.Second)), // its least
		kgo.ProduceRequestTimeout(max(pc.DeliveryTimeout, time.Second)),
	)
	if err != nil {
		return nil, err
	}
	p := &Producer{
		cfg:      cfg,
		timeout:  pc.DeliveryTimeout,
		logger:   logger,
		metrics:  metrics,
		client:   client,
		room:     semaphore.NewWeighted(pc.MaxBufferedBytes),
		capacity: pc.MaxBufferedBytes,
		queue:    make(chan *appending, 1024),
		rounds:   make(chan struct{}, max(cfg.Rounds, 1)),
		done:     make(chan struct{}),
	}
	go p.collect()
	return p, nil
}

// Append returns nil once every record is durable. Its values, those of headers
// too, must not be changed while it runs, nor ever after an error, because they
// may still be on their way then; after nil they are the caller's again.
//
// Records are not appended atomically: after an error some of them may be
// durable, and with ErrUnavailable or a cancelled context any of them may still
// become so. A cancelled context ends the wait, not the delivery, so it
// disturbs no other caller's records. Other errors are ErrFull, ErrTooLarge and
// ErrClosed.
func (p *Producer) Append(ctx context.Context, records ...Record) error {
	if len(records) == 0 {
		return nil
	}
	start := time.Now()
	err := p.append(ctx, records)
	if err != nil {
		p.metrics.failures.WithLabelValues(failureReason(err)).Inc()
		return err
	}
	took := time.Since(start).Seconds()
	for i := range records {
		r := &records[i]
		p.metrics.records.WithLabelValues(r.Topic).Inc()
		p.metrics.bytes.WithLabelValues(r.Topic).Add(float64(len(r.Key) + len(r.Value)))
		if i == 0 || records[i-1].Topic != r.Topic {
			p.metrics.duration.WithLabelValues(r.Topic).Observe(took)
		}
	}
	return nil
}

func (p *Producer) append(ctx context.Context, records []Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	a := &appending{records: make([]*kgo.Record, len(records)), result: make(chan error, 1)}
	for i := range records {
		r := &records[i]
		if r.Topic == "" {
			return errors.New("event log: a record without a topic")
		}
		size, limit := r.size(), maxRecordBytes(r.Topic)
		if size > limit {
			return fmt.Errorf("%w: %d bytes for %s, at most %d", ErrTooLarge, size, r.Topic, limit)
		}
		a.records[i] = r.toKafka()
		a.bytes += int64(size)
	}
	a.left.Store(int32(len(records)))
	if p.cfg.Admit != nil {
		for i, run := 0, 0; i < len(records); i++ {
			run += records[i].size()
			if i+1 < len(records) && records[i+1].Topic == records[i].Topic {
				continue
			}
			if err := p.cfg.Admit(records[i].Topic, run); err != nil {
				return err
			}
			run = 0
		}
	}
	if err := p.cfg.failure(); err != nil {
		return err
	}

	wait, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	hold := min(a.bytes, p.capacity)
	if err := p.room.Acquire(wait, hold); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%w: %d MiB are already waiting to become durable", ErrFull, p.capacity>>20)
	}
	a.bytes = hold
	if err := p.enqueue(wait, a); err != nil {
		p.room.Release(hold)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	select {
	case err := <-a.result:
		return err
	case <-p.cfg.Failed:
		return p.cfg.failure()
	case <-wait.Done():
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%w: no acknowledgement within %s", ErrUnavailable, p.timeout)
	}
}

func (p *Producer) enqueue(ctx context.Context, a *appending) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return ErrClosed
	}
	select {
	case p.queue <- a:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: too many appends are waiting", ErrFull)
	}
}

// collect forms rounds until the queue is closed.
func (p *Producer) collect() {
	var rounds sync.WaitGroup
	defer close(p.done)
	defer rounds.Wait()
	for {
		// The place is taken before the round is filled: what arrives while
		// waiting for it travels together.
		p.rounds <- struct{}{}
		first, ok := <-p.queue
		if !ok {
			return
		}
		round := &round{}
		round.add(first)
	fill:
		for round.bytes < roundBytes && round.records < roundRecords {
			select {
			case a, ok := <-p.queue:
				if !ok {
					break fill
				}
				round.add(a)
			default:
				break fill
			}
		}
		p.start(round)
		rounds.Go(func() { p.finish(round) })
	}
}

// round is a group of appends sent together.
type round struct {
	appends []*appending
	bytes   int64
	records int
	pending sync.WaitGroup
}

func (r *round) add(a *appending) {
	r.appends = append(r.appends, a)
	r.bytes += a.bytes
	r.records += len(a.records)
	r.pending.Add(1)
}

// start hands the round's records to the client in the order of the queue.
func (p *Producer) start(r *round) {
	for _, a := range r.appends {
		for _, rec := range a.records {
			// The records' context is the producer's own life: a caller's
			// would fail whatever shares the batch with it.
			p.client.Produce(context.Background(), rec, func(_ *kgo.Record, err error) {
				if err != nil {
					a.err.CompareAndSwap(nil, &err)
				}
				if a.left.Add(-1) > 0 {
					return
				}
				p.room.Release(a.bytes)
				if failed := a.err.Load(); failed != nil {
					a.result <- deliveryError(*failed)
				} else {
					a.result <- nil
				}
				r.pending.Done()
			})
		}
	}
}

// finish lets the client send the round and frees its place once it is
// durable, or after stuckRound.
func (p *Producer) finish(r *round) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		// An error is told by the records' promises.
		_ = p.client.Flush(ctx)
	}()
	durable := make(chan struct{})
	go func() {
		defer close(durable)
		r.pending.Wait()
	}()
	timer := time.NewTimer(stuckRound)
	defer timer.Stop()
	select {
	case <-durable:
		<-p.rounds
	case <-timer.C:
		<-p.rounds
		<-durable
	}
	cancel()
	<-sent
}

// Close waits until what was appended is durable, at most until ctx is done,
// and releases the connection. Later Appends return ErrClosed. The error of a
// log that has failed is ErrUnavailable.
func (p *Producer) Close(ctx context.Context) error {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.queue)
	}
	p.mu.Unlock()
	var err error
	select {
	case <-p.done:
	case <-p.cfg.Failed:
	case <-ctx.Done():
		err = fmt.Errorf("event log: records were still being appended when the producer was closed: %w", ctx.Err())
	}
	p.client.Close()
	<-p.done
	return cmp.Or(p.cfg.failure(), err)
}

// deliveryError puts a failure of the client into the terms of this package.
func deliveryError(err error) error {
	switch {
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge):
		return fmt.Errorf("%w: the brokers' limit is lower than ours: %w", ErrTooLarge, err)
	case errors.Is(err, kgo.ErrClientClosed):
		return ErrClosed
	case errors.Is(err, kgo.ErrMaxBuffered):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.UnknownTopicID):
		return fmt.Errorf("%w: the topic does not exist: %w", ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

func failureReason(err error) string {
	switch {
	case errors.Is(err, ErrFull):
		return "full"
	case errors.Is(err, ErrTooLarge):
		return "too_large"
	case errors.Is(err, ErrUnavailable):
		return "unavailable"
	case errors.Is(err, ErrClosed):
		return "closed"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "canceled"
	}
	return "other"
}
