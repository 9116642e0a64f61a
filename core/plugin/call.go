package plugin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/dispatchai/dispatchai/proto/dispatchai/classifier/v1"
)

// isolationPatience is how far away a restart may be for the host to wait for
// it when it looks for the item that a batch failed over.
const isolationPatience = 2 * time.Second

// call asks the running process, within a bound on calls in progress and on
// time. Where alone is set no other call is in progress meanwhile, so that a
// crash is this call's doing. Errors are an UnavailableError, a CallError, one
// that matches ErrUnsupported, or the context's.
func (p *Plugin) call(ctx context.Context, method string, timeout time.Duration, alone bool, do func(context.Context, *process) error) error {
	weight := int64(1)
	if alone {
		weight = int64(p.options.MaxConcurrent)
	}
	if err := p.acquire(ctx, weight, timeout); err != nil {
		return err
	}
	defer p.slots.Release(weight)
	process, err := p.enlist()
	if err != nil {
		p.metrics.calls.WithLabelValues(method, "unavailable").Inc()
		return err
	}
	defer process.calls.Done()
	done, err := p.allow()
	if err != nil {
		p.metrics.calls.WithLabelValues(method, "unavailable").Inc()
		return err
	}
	p.calls.Add(1)
	p.metrics.inFlight.Inc()
	begin := time.Now()
	limited, cancel := context.WithTimeout(ctx, timeout)
	err = do(limited, process)
	// gRPC reads the clock itself, and may give up a moment before the context's
	// timer has fired: without the second look a hung process would live on.
	expired := limited.Err() != nil || time.Since(begin) >= timeout
	cancel()
	p.metrics.duration.WithLabelValues(method).Observe(time.Since(begin).Seconds())
	p.metrics.inFlight.Dec()
	p.calls.Add(-1)

	outcome, err := p.judge(ctx, process, method, expired, err)
	if failure, failed := errors.AsType[*CallError](err); failed {
		p.fault(failure.Err) // not the CallError, which blames the work at hand
	}
	if alone && err != nil {
		done(errUncounted) // the batch's failure counts already; this one is its item's
	} else {
		done(p.counted(process, err))
	}
	p.metrics.calls.WithLabelValues(method, outcome).Inc()
	return err
}

// acquire waits for a slot, no longer than a call may take. So that one slow
// plugin does not gather all that its callers have, few may wait; one that looks
// for the item that a batch failed over always may.
func (p *Plugin) acquire(ctx context.Context, weight int64, timeout time.Duration) error {
	if p.slots.TryAcquire(weight) {
		return nil
	}
	busy := &UnavailableError{Plugin: p.name, State: Busy, RetryAfter: time.Second}
	defer p.waiting.Add(-1)
	if p.waiting.Add(1) > int64(p.options.MaxWaiting) && weight == 1 {
		return busy
	}
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	stop := context.AfterFunc(p.ctx, cancel)
	defer stop()
	if p.slots.Acquire(waiting, weight) == nil {
		return nil
	}
	if ctx.Err() != nil {
		return p.ended(ctx)
	}
	if _, err := p.running(); err != nil {
		return err
	}
	return busy
}

func (p *Plugin) ended(ctx context.Context) error {
	return fmt.Errorf("plugin %s: %w", p.name, context.Cause(ctx))
}

// judge says what a call's error means, and has the process killed when it
// hangs or cannot be reached any more.
func (p *Plugin) judge(ctx context.Context, process *process, method string, expired bool, err error) (outcome string, _ error) {
	if err == nil {
		process.answered.Store(true)
		process.heard.Store(time.Now().UnixNano())
		return "ok", nil
	}
	failed := func(how Failure, err error) (string, error) {
		return string(how), &CallError{Plugin: p.name, Method: method, How: how, Err: err}
	}
	if m, ok := errors.AsType[*malformedError](err); ok {
		return failed(Malformed, m)
	}
	code := status.Code(err)
	switch {
	case ctx.Err() != nil:
		return "canceled", p.ended(ctx)
	case p.ctx.Err() != nil:
		_, err := p.running()
		if err == nil {
			err = &UnavailableError{Plugin: p.name, State: Closed, RetryAfter: time.Minute}
		}
		return "unavailable", err
	case expired:
		cause := fmt.Errorf("%w: no answer to %s in time", errHung, method)
		p.condemn(process, cause)
		return failed(TimedOut, cause)
	case code == codes.Unavailable, process.gone():
		cause := fmt.Errorf("the connection broke during %s: %w", method, p.said(err))
		p.condemn(process, cause)
		return failed(Crashed, cause)
	case code == codes.Unimplemented:
		return "unsupported", fmt.Errorf("plugin %s: %s: %w", p.name, method, ErrUnsupported)
	case code == codes.DeadlineExceeded:
		return failed(TimedOut, p.said(err))
	case code == codes.ResourceExhausted:
		return failed(Malformed, p.said(err))
	case code == codes.Aborted:
		for _, detail := range status.Convert(err).Details() {
			if d, ok := detail.(*pb.ItemError); ok && d.GetRetryAfter() != nil {
				return "delayed", p.delayed(d)
			}
		}
	}
	return failed(Failed, p.said(err))
}

// delayed is an error for a plugin that asked to be left alone for a while.
func (p *Plugin) delayed(e *pb.ItemError) error {
	return &UnavailableError{
		Plugin:     p.name,
		State:      Busy,
		RetryAfter: min(max(e.GetRetryAfter().AsDuration(), time.Second), time.Hour),
		Err:        errors.New(p.redact.text(e.GetMessage(), maxError)),
	}
}

// malformedError says that an answer arrived that is none.
type malformedError struct{ fault string }

func (e *malformedError) Error() string { return e.fault }

// gone tells whether the process has ended.
func (pr *process) gone() bool {
	select {
	case <-pr.over():
		return true
	default:
		return false
	}
}

// batch is work on n items that goes to the plugin in as few calls as the
// protocol's bounds allow.
type batch struct {
	method string
	// sizes holds the encoded size of each item.
	sizes []int
	// overhead is the size of what an item needs that items share.
	overhead func(i int) int
	// limit bounds the items of one call.
	limit int
	// send asks for items from to to, and settles them when it returns nil.
	send func(ctx context.Context, process *process, from, to int) error
	// fail settles one item with an error.
	fail func(i int, err error)
}

// maxCall is the size at which a batch is split, with room below the
// protocol's bound for the frame.
const maxCall = 7 << 20

// run settles every item, and returns an error only when it settled none.
//
// A call that fails takes its whole batch, and whatever else was in progress,
// with it. So each item of a failed call is asked again, with no other call in
// progress: what fails alone is to blame, and the rest is answered.
func (p *Plugin) run(ctx context.Context, b *batch) error {
	for from := 0; from < len(b.sizes); {
		to := b.end(from)
		settled := from
		err := p.call(ctx, b.method, p.options.CallTimeout, false, func(ctx context.Context, process *process) error {
			return b.send(ctx, process, from, to)
		})
		if _, blames := errors.AsType[*CallError](err); blames {
			settled, err = p.isolate(ctx, b, from, to)
		}
		if err != nil {
			if settled == 0 {
				return err
			}
			for i := settled; i < len(b.sizes); i++ {
				b.fail(i, err)
			}
			return nil
		}
		from = to
	}
	return nil
}

// end is where the call that begins with item from ends.
func (b *batch) end(from int) int {
	size, to := 0, from
	for to < len(b.sizes) && to-from < b.limit {
		size += b.sizes[to] + b.overhead(to)
		if size > maxCall && to > from {
			break
		}
		to++
	}
	return to
}

// isolate asks for the items one by one and says how far it came.
func (p *Plugin) isolate(ctx context.Context, b *batch, from, to int) (settled int, err error) {
	for i := from; i < to; i++ {
		if err := p.awaitRunning(ctx, isolationPatience); err != nil {
			if ctx.Err() != nil {
				err = p.ended(ctx)
			}
			return i, err
		}
		err := p.call(ctx, b.method, p.options.CallTimeout, true, func(ctx context.Context, process *process) error {
			return b.send(ctx, process, i, i+1)
		})
		if _, blames := errors.AsType[*CallError](err); blames {
			b.fail(i, err)
		} else if err != nil {
			return i, err
		}
	}
	return to, nil
}
