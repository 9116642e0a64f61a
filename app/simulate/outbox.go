package simulate

import (
	"container/heap"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// outbox sends webhooks: a bounded queue, a pool of senders, the faults of the way, and the log of deliveries. As GitHub
// does, it makes one attempt; another is made only when somebody asks for it.
type outbox struct {
	g      *GitHub
	client *http.Client
	hookID int64
	agent  string
	url    atomic.Pointer[string]
	faults atomic.Pointer[DeliveryFaults]
	count  deliveryCounts

	queue   chan *delivery
	people  chan struct{} // room for webhooks of people's acts
	app     chan struct{} // room for webhooks of the App's own writes, and for redeliveries
	wake    chan struct{} // for the holder of delayed deliveries
	ending  chan struct{} // closed by close
	cancel  context.CancelFunc
	workers sync.WaitGroup

	abandoned   atomic.Bool // an attempt was cut off by close
	unreachable atomic.Bool // see SetUnreachable

	mu      sync.Mutex
	closed  bool
	pending int
	idle    chan struct{} // closed when pending falls to zero; nil while nobody waits
	held    heldQueue
	late    []*heldDelivery // those of held that also wait for later deliveries to overtake them
	log     deliveryLog
}

func newOutbox(g *GitHub) *outbox {
	o := &outbox{g: g, hookID: 480_000_000 + g.opts.AppID, wake: make(chan struct{}, 1), ending: make(chan struct{}),
		people: make(chan struct{}, g.opts.QueuedWebhooks), app: make(chan struct{}, 4*g.opts.QueuedWebhooks),
		log: deliveryLog{bound: g.opts.DeliveryLog}}
	o.queue = make(chan *delivery, 2*(cap(o.people)+cap(o.app))) // each may be doubled, so sending to it never blocks
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("hookshot"), g.opts.Seed))
	o.agent = "GitHub-Hookshot/" + hex.EncodeToString(sum[:])[:7]
	address, faults := g.opts.WebhookURL, g.opts.DeliveryFaults
	o.url.Store(&address)
	o.faults.Store(&faults)
	senders := max(1, g.opts.Senders)
	o.client = &http.Client{
		Transport: &http.Transport{DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, MaxIdleConns: senders,
			MaxIdleConnsPerHost: senders, IdleConnTimeout: 30 * time.Second, TLSHandshakeTimeout: 5 * time.Second, WriteBufferSize: 32 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // GitHub follows none
	}
	return o
}

// SetWebhookURL changes where webhooks go; the empty string stops making them. Those queued go to the new address.
func (g *GitHub) SetWebhookURL(address string) error {
	if address != "" {
		if err := validHook(address); err != nil {
			return err
		}
	}
	g.outbox.url.Store(&address)
	return nil
}

// SetUnreachable makes every attempt from now on fail as if the webhook's receiver were down ("failed to connect to
// host"), redeliveries too, until it is switched off. Nothing is tried on the way, so that an outage of many hours and
// deliveries is quick.
func (g *GitHub) SetUnreachable(on bool) { g.outbox.unreachable.Store(on) }

func (o *outbox) target() string { return *o.url.Load() }

func (o *outbox) start() {
	ctx, cancel := context.WithCancel(context.Background())
	o.cancel = cancel
	for range max(1, o.g.opts.Senders) {
		o.workers.Go(func() {
			for {
				select {
				case d := <-o.queue:
					o.attempt(ctx, d)
				case <-o.ending:
					return
				}
			}
		})
	}
	o.workers.Go(o.releaseDue)
}

func (o *outbox) close() {
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return
	}
	o.closed = true
	close(o.ending)
	o.mu.Unlock()
	if o.cancel != nil {
		o.cancel()
	}
	o.workers.Wait()
	o.client.CloseIdleConnections()
}

// enqueue hands webhooks over for sending, in order. For a person's act it waits for room until ctx ends; what then
// finds no room is logged as failed, so that it can be redelivered, and told as ErrQueueFull.
func (o *outbox) enqueue(ctx context.Context, deliveries []*delivery, byApp bool) error {
	var failure error
	for _, d := range deliveries {
		o.count.made.Add(1)
		if err := o.accept(ctx, d, byApp); err != nil && failure == nil {
			failure = fmt.Errorf("done, but the %s.%s webhook was not sent: %w", d.event, d.action, err)
		}
	}
	return failure
}

func (o *outbox) accept(ctx context.Context, d *delivery, byApp bool) error {
	fate := o.faults.Load().decide(o.g.opts.Seed, d)
	if fate.vanish {
		o.count.vanished.Add(1)
		return nil
	}
	if fate.drop || o.unreachable.Load() {
		if fate.drop {
			o.count.dropped.Add(1)
		}
		o.record(d, outcome{status: statusUnreachable, at: o.g.clock.Now()})
		return nil
	}
	d.room = o.people
	if byApp {
		d.room = o.app
	}
	if err := o.reserve(ctx, d.room, byApp); err != nil {
		if errors.Is(err, ErrQueueFull) {
			o.count.overflowed.Add(1)
			o.record(d, outcome{status: "queue full", at: o.g.clock.Now()})
		}
		if byApp {
			return nil // the App's request succeeded whatever becomes of its webhook
		}
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pending++
	d.copies.Store(1)
	if fate.double {
		o.count.doubled.Add(1)
		d.copies.Store(2)
		o.queue <- d
	}
	switch {
	case fate.overtaken > 0:
		o.count.reordered.Add(1)
		h := &heldDelivery{d: d, due: o.g.clock.Now().Add(o.faults.Load().MaxDelay), behind: fate.overtaken}
		o.late = append(o.late, h)
		o.hold(h)
		return nil
	case fate.delay > 0:
		o.count.delayed.Add(1)
		o.hold(&heldDelivery{d: d, due: o.g.clock.Now().Add(fate.delay)})
		return nil
	}
	o.queue <- d
	o.late = slices.DeleteFunc(o.late, func(h *heldDelivery) bool {
		h.behind--
		if h.behind <= 0 {
			o.release(h)
		}
		return h.released
	})
	return nil
}

func (o *outbox) reserve(ctx context.Context, room chan struct{}, byApp bool) error {
	select {
	case <-o.ending:
		return ErrClosed
	default:
	}
	select {
	case room <- struct{}{}:
		return nil
	default:
	}
	if byApp {
		return ErrQueueFull
	}
	select {
	case room <- struct{}{}:
		return nil
	case <-o.ending:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrQueueFull, context.Cause(ctx))
	}
}

// heldDelivery is on its way late.
type heldDelivery struct {
	d        *delivery
	due      time.Time
	behind   int // how many deliveries shall overtake it
	released bool
}

type heldQueue []*heldDelivery

func (q heldQueue) Len() int { return len(q) }

func (q heldQueue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }

func (q heldQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

func (q *heldQueue) Push(x any) { *q = append(*q, x.(*heldDelivery)) }

func (q *heldQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

func (o *outbox) hold(h *heldDelivery) {
	heap.Push(&o.held, h)
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *outbox) release(h *heldDelivery) {
	if !h.released {
		h.released = true
		o.queue <- h.d
	}
}

// releaseDue sends held deliveries when their time has come.
func (o *outbox) releaseDue() {
	for {
		var due <-chan time.Time
		var timer Timer
		o.mu.Lock()
		now := o.g.clock.Now()
		for len(o.held) > 0 && (o.held[0].released || !o.held[0].due.After(now)) {
			o.release(heap.Pop(&o.held).(*heldDelivery))
		}
		o.late = slices.DeleteFunc(o.late, func(h *heldDelivery) bool { return h.released })
		if len(o.held) > 0 {
			timer = o.g.clock.NewTimer(o.held[0].due.Sub(now))
			due = timer.C()
		}
		o.mu.Unlock()
		select {
		case <-due:
		case <-o.wake:
		case <-o.ending:
		}
		if timer != nil {
			timer.Stop()
		}
		select {
		case <-o.ending:
			return
		default:
		}
	}
}

// Flush sends at once what delivery faults hold back and waits, as WaitIdle does, until everything was delivered.
func (g *GitHub) Flush(ctx context.Context) error {
	o := g.outbox
	o.mu.Lock()
	for len(o.held) > 0 {
		o.release(heap.Pop(&o.held).(*heldDelivery))
	}
	o.late = nil
	o.mu.Unlock()
	return g.WaitIdle(ctx)
}

// WaitIdle waits until every webhook made so far had its attempt. Those held back by a delivery fault count: with a
// Virtual clock somebody must advance it, or call Flush.
func (g *GitHub) WaitIdle(ctx context.Context) error {
	o := g.outbox
	o.mu.Lock()
	if o.pending == 0 {
		o.mu.Unlock()
		return o.settled()
	}
	if o.idle == nil {
		o.idle = make(chan struct{})
	}
	idle := o.idle
	o.mu.Unlock()
	select {
	case <-idle:
		return o.settled()
	case <-o.ending:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("waiting for the simulated GitHub's webhooks: %w", context.Cause(ctx))
	}
}

func (o *outbox) settled() error {
	if o.abandoned.Load() {
		return ErrClosed
	}
	return nil
}

func (o *outbox) finish(d *delivery) {
	if d.copies.Add(-1) > 0 {
		return
	}
	<-d.room
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.pending--; o.pending == 0 && o.idle != nil {
		close(o.idle)
		o.idle = nil
	}
}
