package gateway

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/dispatchai/dispatchai/core/eventlog"
)

const (
	// ringFrames is how many records a reconnecting page can be behind.
	ringFrames = 1024
	// ringBytes bounds the memory that these records hold, but for the largest
	// single batch.
	ringBytes = 4 << 20
	// clientFrames is how many frames may wait for one client; one that is
	// further behind is told to read the snapshot.
	clientFrames = 256
	// maxClients bounds the connections of one gateway.
	maxClients = 10_000
	// closeWait is how long clients have to take note that the server stops.
	closeWait = 2 * time.Second
)

// Reasons not to take a client.
var (
	errStopping = errors.New("the server is stopping")
	errCrowded  = errors.New("too many clients are connected")
	errNotLive  = errors.New("the log is still being read back")
)

// liveTopics are those that clients see.
func liveTopics() []string {
	return []string{eventlog.TopicIssuesRaw, eventlog.TopicIssuesEnriched}
}

// hub fans live records out to the connected clients.
//
// A client's cursor is correct at every frame, whichever gateway gave it out:
// who has seen everything gets the hub's own, shared with the frame; who is
// catching up gets one of its own, because gateways interleave partitions each
// in their own order.
type hub struct {
	logger  *slog.Logger
	metrics metrics
	now     func() time.Time

	mu      sync.Mutex
	ring    []*frame
	bytes   int
	cursor  eventlog.Cursor     // of everything published; complete once live
	floor   map[partition]int64 // the oldest offset still held, by partition
	clients map[*client]struct{}
	live    chan struct{} // closed while the log was read back to its end
	isLive  bool
	closed  bool

	connections sync.WaitGroup
	buffers     sync.Pool // of write buffers, shared so that idle clients hold none
}

type partition struct {
	topic string
	id    int32
}

// client is one connected page.
type client struct {
	frames chan *frame
	// behind is set, under the hub's lock, when the client missed frames:
	// nothing is queued until it was told to resync.
	behind bool
	// wake tells a client that is behind and has nothing queued to look again.
	wake chan struct{}
	// gone is closed when the server stops.
	gone chan struct{}
	// abort ends the connection without ceremony.
	abort func()
}

func newHub(logger *slog.Logger, m metrics, now func() time.Time) *hub {
	return &hub{
		logger: logger, metrics: m, now: now,
		clients: make(map[*client]struct{}), floor: make(map[partition]int64), live: make(chan struct{}),
	}
}

// publish takes what the tail has read; at is the position behind it.
func (h *hub) publish(records []*eventlog.Record, at eventlog.Cursor) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	cursor := h.cursor
	for _, r := range records {
		f := newFrame(r)
		if h.isLive && f.record != nil {
			h.metrics.delay.WithLabelValues(r.Topic).Observe(now.Sub(r.ReceivedAt()).Seconds())
		}
		h.hold(f)
		if len(h.clients) == 0 {
			continue
		}
		cursor = cursor.Advance(r)
		if f.record == nil {
			continue
		}
		f.cursor = cursor
		for c := range h.clients {
			h.offer(c, f)
		}
	}
	h.cursor = at
}

// hold keeps a frame for those who reconnect, within the ring's bounds.
func (h *hub) hold(f *frame) {
	p := partition{f.place.Topic, f.place.Partition}
	if _, known := h.floor[p]; !known {
		h.floor[p] = f.place.Offset
	}
	h.ring = append(h.ring, f)
	h.bytes += f.bytes
	for len(h.ring) > ringFrames || (h.bytes > ringBytes && len(h.ring) > 1) {
		old := h.ring[0]
		h.floor[partition{old.place.Topic, old.place.Partition}] = old.place.Offset + 1
		h.bytes -= old.bytes
		h.ring[0] = nil
		h.ring = h.ring[1:]
	}
}

func (h *hub) offer(c *client, f *frame) {
	if c.behind {
		return
	}
	select {
	case c.frames <- f:
	default:
		c.behind = true
		h.metrics.resyncs.Inc()
	}
}

// goLive is called when the log was read back to its end: only then is the
// position complete, and only then are clients taken.
func (h *hub) goLive(at eventlog.Cursor) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cursor = at
	// Of a partition that has nothing to read back, everything before is gone.
	for _, topic := range liveTopics() {
		for id := int32(0); ; id++ {
			next, ok := at.Offset(topic, id)
			if !ok {
				break
			}
			if _, held := h.floor[partition{topic, id}]; !held {
				h.floor[partition{topic, id}] = next
			}
		}
	}
	if h.isLive {
		return
	}
	h.isLive = true
	close(h.live)
	for c := range h.clients {
		if c.behind {
			c.wakeUp()
		}
	}
}

// reset forgets everything because the log was lost sight of; clients are told
// to resync once it was found again.
func (h *hub) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ring, h.bytes, h.cursor = nil, 0, eventlog.Cursor{}
	h.floor = make(map[partition]int64)
	if h.isLive {
		h.isLive, h.live = false, make(chan struct{})
	}
	for c := range h.clients {
		if !c.behind {
			c.behind = true
			h.metrics.resyncs.Inc()
		}
	}
}

func (c *client) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// awaitLive waits until clients can be taken.
func (h *hub) awaitLive(ctx context.Context) error {
	h.mu.Lock()
	live := h.live
	h.mu.Unlock()
	select {
	case <-live:
		return nil
	case <-ctx.Done():
		return errNotLive
	}
}

// subscription is how a client begins.
type subscription struct {
	client *client
	// missed are the frames after the client's cursor that are still held.
	missed []*frame
	// now is the position of what comes live.
	now eventlog.Cursor
	// resync tells that the client's cursor cannot be continued.
	resync bool
}

// subscribe registers a client that stands at the given cursor; an empty one
// asks for what comes from now on. unsubscribe must be called.
func (h *hub) subscribe(from eventlog.Cursor, abort func()) (subscription, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return subscription{}, errStopping
	case !h.isLive:
		return subscription{}, errNotLive
	case len(h.clients) >= maxClients:
		return subscription{}, errCrowded
	}
	s := subscription{now: h.cursor, client: &client{
		frames: make(chan *frame, clientFrames), wake: make(chan struct{}, 1), gone: make(chan struct{}), abort: abort,
	}}
	h.clients[s.client] = struct{}{}
	h.connections.Add(1)
	h.metrics.clients.Inc()
	if from.IsZero() {
		return s, nil
	}
	if !h.continues(from) {
		s.resync = true
		h.metrics.resyncs.Inc()
		return s, nil
	}
	for _, f := range h.ring {
		if !from.Covers(&f.place) {
			s.missed = append(s.missed, f)
		}
	}
	return s, nil
}

// continues tells whether everything after the cursor is held. A cursor that is
// ahead of the log is none of it: the log was begun anew.
func (h *hub) continues(from eventlog.Cursor) bool {
	for p, oldest := range h.floor {
		// A partition that the cursor does not know is younger than it.
		if next, _ := from.Offset(p.topic, p.id); next < oldest {
			return false
		}
	}
	for _, topic := range liveTopics() {
		for id := int32(0); ; id++ {
			end, known := h.cursor.Offset(topic, id)
			next, asked := from.Offset(topic, id)
			if asked && next > end {
				return false
			}
			if !known {
				break
			}
		}
	}
	return true
}

// caughtUp is called when a client's queue may be empty: if it has missed
// frames, it starts anew from the returned cursor.
func (h *hub) caughtUp(c *client) (eventlog.Cursor, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !c.behind || !h.isLive || len(c.frames) > 0 {
		return eventlog.Cursor{}, false
	}
	c.behind = false
	return h.cursor, true
}

func (h *hub) unsubscribe(c *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.clients, c)
	h.metrics.clients.Dec()
	h.connections.Done()
}

// position is the cursor of everything published so far; empty until the hub is live.
func (h *hub) position() eventlog.Cursor {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.isLive {
		return eventlog.Cursor{}
	}
	return h.cursor
}

func (h *hub) connected() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.clients)
}

// close ends every connection, waits until they have ended, and takes no more.
func (h *hub) close() {
	h.mu.Lock()
	if !h.closed {
		h.closed = true
		for c := range h.clients {
			close(c.gone)
		}
	}
	h.mu.Unlock()

	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.connections.Wait()
	}()
	grace := time.NewTimer(closeWait)
	defer grace.Stop()
	select {
	case <-ended:
		return
	case <-grace.C:
	}
	h.mu.Lock()
	for c := range h.clients {
		c.abort()
	}
	h.mu.Unlock()
	<-ended
}
