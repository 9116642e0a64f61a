package gateway

import (
	"encoding/json"
	"log/slog"
	"sync"

	"github.com/gorilla/websocket"

	"github.com/dispatchai/dispatchai/core/eventlog"
)

const (
	// ringFrames is how many records a reconnecting page can be behind.
	ringFrames = 2048
	// ringBytes bounds the memory that these records hold.
	ringBytes = 32 << 20
	// clientFrames is how many frames may wait for one client; one that is
	// further behind is told to read the snapshot.
	clientFrames = 256
)

// hub fans live records out to the connected clients. A frame is made once,
// when the first client needs it, and shared by all.
type hub struct {
	logger  *slog.Logger
	metrics metrics

	mu      sync.Mutex
	ring    []*frame
	bytes   int
	cursor  eventlog.Cursor     // of everything published
	floor   map[partition]int64 // the oldest offset still held, by partition
	clients map[*client]struct{}
	closed  bool
	buffers sync.Pool // of write buffers, shared so that idle clients hold none
}

type partition struct {
	topic string
	id    int32
}

// frame is one record of the log on its way to the clients.
type frame struct {
	record *eventlog.Record
	cursor eventlog.Cursor // after this record

	once     sync.Once
	prepared *websocket.PreparedMessage // nil when there is nothing to show
}

// message is the frame's WebSocket message, or nil.
func (f *frame) message(logger *slog.Logger) *websocket.PreparedMessage {
	f.once.Do(func() {
		body, ok, err := frameOf(f.record, f.cursor.String())
		if err != nil {
			logger.Debug("a record that cannot be shown live", "topic", f.record.Topic, "offset", f.record.Offset, "error", err)
		}
		if !ok {
			return
		}
		encoded, err := json.Marshal(body)
		if err != nil {
			logger.Error("encode a live frame", "error", err)
			return
		}
		f.prepared, _ = websocket.NewPreparedMessage(websocket.TextMessage, encoded)
	})
	return f.prepared
}

// client is one connected page.
type client struct {
	frames chan *frame
	// behind is set, under the hub's lock, when frames overflowed: nothing is
	// queued until the client was told to resync.
	behind bool
	gone   chan struct{}
}

func newHub(logger *slog.Logger, m metrics) *hub {
	return &hub{logger: logger, metrics: m, clients: make(map[*client]struct{}), floor: make(map[partition]int64)}
}

func (h *hub) publish(records []*eventlog.Record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range records {
		p := partition{r.Topic, r.Partition}
		if _, known := h.floor[p]; !known {
			h.floor[p] = r.Offset
		}
		h.cursor = h.cursor.Advance(r)
		f := &frame{record: r, cursor: h.cursor}
		h.ring = append(h.ring, f)
		h.bytes += len(r.Value)
		for len(h.ring) > ringFrames || (h.bytes > ringBytes && len(h.ring) > 1) {
			old := h.ring[0].record
			h.floor[partition{old.Topic, old.Partition}] = old.Offset + 1
			h.bytes -= len(old.Value)
			h.ring[0] = nil
			h.ring = h.ring[1:]
		}
		for c := range h.clients {
			h.offer(c, f)
		}
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

// subscribe registers a client. Frames after the given cursor that are still
// held come first; resync tells that some are not. An empty cursor asks for
// what comes from now on.
func (h *hub) subscribe(from eventlog.Cursor) (c *client, missed []*frame, now eventlog.Cursor, resync, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, nil, h.cursor, false, false
	}
	c = &client{frames: make(chan *frame, clientFrames), gone: make(chan struct{})}
	h.clients[c] = struct{}{}
	h.metrics.clients.Inc()
	if from.IsZero() {
		return c, nil, h.cursor, false, true
	}
	for p, oldest := range h.floor {
		// A partition that the cursor does not know is one that was empty then.
		if next, _ := from.Offset(p.topic, p.id); next < oldest {
			return c, nil, h.cursor, true, true
		}
	}
	for _, f := range h.ring {
		if !from.Covers(f.record) {
			missed = append(missed, f)
		}
	}
	return c, missed, h.cursor, false, true
}

// caughtUp is called when a client's queue is empty: if it had overflowed, the
// client starts anew from the returned cursor.
func (h *hub) caughtUp(c *client) (eventlog.Cursor, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !c.behind || len(c.frames) > 0 {
		return h.cursor, false
	}
	c.behind = false
	return h.cursor, true
}

func (h *hub) unsubscribe(c *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.clients[c]; ok {
		delete(h.clients, c)
		h.metrics.clients.Dec()
	}
}

// position is the cursor of everything published so far.
func (h *hub) position() eventlog.Cursor {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cursor
}

func (h *hub) connected() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.clients)
}

// close ends every connection and takes no more.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for c := range h.clients {
		close(c.gone)
		delete(h.clients, c)
		h.metrics.clients.Dec()
	}
}
