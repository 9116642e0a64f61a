package eventlog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"
)

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
	first := batch[0]
	var settled []*entry
	var resolutions []resolution
	if first.verdict != nil {
		// Only the dead letter was missing.
		settled, resolutions = batch, []resolution{c.bury(ctx, first, first.verdict)}
	} else {
		settled, resolutions = c.resolve(ctx, batch, c.handle(ctx, batch))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy[slot]--
	c.metrics.inFlight.Dec()
	c.settle(settled, resolutions)
}

// resolve judges the outcomes that are known, and lets the rest of the batch go on.
func (c *Consumer) resolve(ctx context.Context, batch []*entry, errs []error) (settled []*entry, resolutions []resolution) {
	resolutions = make([]resolution, 0, len(batch))
	settled = make([]*entry, 0, len(batch))
	parts := make(map[*detached]*part)
	for i, e := range batch {
		if later, ok := errors.AsType[*detachedError](errs[i]); ok {
			p := parts[later.of]
			if p == nil {
				p = &part{alone: len(batch) == 1}
				parts[later.of] = p
			}
			p.entries, p.indices = append(p.entries, e), append(p.indices, later.index)
			continue
		}
		settled = append(settled, e)
		resolutions = append(resolutions, c.judge(ctx, e, errs[i], len(batch) == 1))
	}
	for d, p := range parts {
		for _, e := range p.entries {
			e.rec.detach()
		}
		if !c.detach(ctx, d, p) {
			settled = append(settled, p.entries...)
			resolutions = append(resolutions, c.carryOn(ctx, d, p)...)
		}
	}
	return settled, resolutions
}

// part is what is detached of a batch: its entries, and where each one's outcome
// will stand among those of the rest of the work.
type part struct {
	entries []*entry
	indices []int
	alone   bool // it was the whole of a batch of one
}

// detach carries the part on without a slot, and settles it, unless too many
// are detached already.
func (c *Consumer) detach(ctx context.Context, d *detached, p *part) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.detached >= c.cfg.MaxDetached {
		return false
	}
	c.detached++
	c.metrics.detached.Inc()
	c.batches.Go(func() {
		resolutions := c.carryOn(ctx, d, p)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.detached--
		c.metrics.detached.Dec()
		c.settle(p.entries, resolutions)
	})
	return true
}

// carryOn does the rest of the work on a part and judges its outcomes.
func (c *Consumer) carryOn(ctx context.Context, d *detached, p *part) []resolution {
	errs := c.guard(ctx, d.n, d.rest)
	resolutions := make([]resolution, len(p.entries))
	for i, e := range p.entries {
		resolutions[i] = c.judge(ctx, e, errs[p.indices[i]], p.alone)
	}
	return resolutions
}

// settle puts resolutions in force, c.mu being held.
func (c *Consumer) settle(batch []*entry, resolutions []resolution) {
	c.lanes.finish(batch, resolutions, time.Now())
	for i, e := range batch {
		if resolutions[i].done {
			c.metrics.consumed.WithLabelValues(e.part.topic).Inc()
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

// handle gives a batch to the handler.
func (c *Consumer) handle(ctx context.Context, batch []*entry) []error {
	records := make([]*Record, len(batch))
	for i, e := range batch {
		records[i] = e.rec
	}
	start := time.Now()
	c.metrics.batch.Observe(float64(len(batch)))
	defer func() { c.metrics.duration.Observe(time.Since(start).Seconds()) }()
	return c.guard(ctx, len(batch), func(ctx context.Context) []error { return c.cfg.Handler(ctx, records) })
}

// guard runs the handler, or what is left of its work, on n records within its
// deadline; a panic or a wrong number of outcomes is everybody's error.
func (c *Consumer) guard(ctx context.Context, n int, work func(context.Context) []error) (errs []error) {
	all := func(err error) {
		errs = make([]error, n)
		for i := range errs {
			errs[i] = err
		}
	}
	defer func() {
		if p := recover(); p != nil {
			c.metrics.panics.Inc()
			c.logger.Error("the handler panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			all(fmt.Errorf("the handler panicked: %v", p))
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, c.cfg.HandlerTimeout)
	defer cancel()
	errs = work(ctx)
	if len(errs) != n {
		got := len(errs)
		all(fmt.Errorf("the handler returned %d outcomes for %d records", got, n))
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
