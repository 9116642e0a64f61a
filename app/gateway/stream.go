package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/gorilla/websocket"

	"github.com/dispatchai/dispatchai/core/eventlog"
)

const (
	subprotocol = "dispatchai.v1"
	// writeWait bounds one write to a client; one that takes longer is dropped
	// and resumes by its cursor.
	writeWait = 10 * time.Second
	pingEvery = 25 * time.Second
	pongWait  = 60 * time.Second
	// liveWait is how long a client waits for a gateway that has just started.
	liveWait = 5 * time.Second
	// maxClientMessage bounds what a client may send, which has nothing to say.
	maxClientMessage = 1 << 10
)

// stream is GET /ws: live frames from a cursor on.
func (g *Gateway) stream(w http.ResponseWriter, r *http.Request) {
	if !g.auth.admit(w, r) {
		return
	}
	if !g.auth.allowsOrigin(r) {
		writeProblem(w, problem{Status: http.StatusForbidden, Detail: refusedOrigin})
		return
	}
	if !websocket.IsWebSocketUpgrade(r) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		writeProblem(w, problem{Status: http.StatusUpgradeRequired, Detail: "This is a WebSocket; connect with a WebSocket client."})
		return
	}
	from, err := eventlog.ParseCursor(r.URL.Query().Get("cursor"))
	if err != nil {
		writeProblem(w, problem{Status: http.StatusBadRequest, Detail: "That cursor was not given out by this service; connect without one."})
		return
	}
	wait, cancel := context.WithTimeout(r.Context(), liveWait)
	err = g.hub.awaitLive(wait)
	cancel()
	if err != nil {
		w.Header().Set("Retry-After", "2")
		writeProblem(w, problem{Status: http.StatusServiceUnavailable, Detail: "Live results are not there yet: " + err.Error() + ". Try again shortly."})
		return
	}
	upgrader := websocket.Upgrader{
		HandshakeTimeout: writeWait,
		ReadBufferSize:   1 << 10,
		WriteBufferSize:  4 << 10,
		WriteBufferPool:  &g.hub.buffers,
		Subprotocols:     []string{subprotocol},
		CheckOrigin:      g.auth.allowsOrigin,
		Error: func(w http.ResponseWriter, _ *http.Request, status int, reason error) {
			writeProblem(w, problem{Status: status, Detail: reason.Error()})
		},
	}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	defer conn.Close()
	s, err := g.hub.subscribe(from, func() { _ = conn.Close() })
	if err != nil {
		sendClose(conn, err.Error())
		return
	}
	defer g.hub.unsubscribe(s.client)

	closed := make(chan struct{})
	go func() {
		defer close(closed)
		readUntilClosed(conn)
	}()
	writer := streamWriter{gateway: g, conn: conn, client: s.client}
	if writer.begin(from, s) {
		writer.run(closed)
	}
	conn.Close()
	<-closed
}

// sendClose tells a client to come back later.
func sendClose(conn *websocket.Conn, reason string) {
	_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseServiceRestart, reason), time.Now().Add(closeWait/2))
}

// readUntilClosed answers pings and notices the end; clients have nothing to say.
func readUntilClosed(conn *websocket.Conn) {
	conn.SetReadLimit(maxClientMessage)
	_ = conn.SetReadDeadline(time.Now().Add(pongWait))
	conn.SetPongHandler(func(string) error { return conn.SetReadDeadline(time.Now().Add(pongWait)) })
	for {
		// Unread messages are discarded, within the limit.
		if _, _, err := conn.NextReader(); err != nil {
			return
		}
	}
}

// streamWriter is what sends to one client.
type streamWriter struct {
	gateway *Gateway
	conn    *websocket.Conn
	client  *client
}

// begin says hello and what the client has missed; false ends the connection.
func (s *streamWriter) begin(from eventlog.Cursor, sub subscription) bool {
	start := sub.now
	if len(sub.missed) > 0 {
		start = from
	}
	hello := struct {
		Type       string    `json:"type"`
		Cursor     string    `json:"cursor"`
		ServerTime time.Time `json:"server_time"`
	}{"hello", start.String(), s.gateway.config.Now().UTC()}
	if !s.sendJSON(hello) || (sub.resync && !s.resync(sub.now)) {
		return false
	}
	at := from
	for _, f := range sub.missed {
		select {
		case <-s.client.gone:
			sendClose(s.conn, errStopping.Error())
			return false
		default:
		}
		at = at.Advance(&f.place)
		if text := f.at(at, s.gateway.config.Logger); text != nil && !s.sendText(text) {
			return false
		}
	}
	return true
}

// run sends what comes live until the client goes or stalls, or the server stops.
func (s *streamWriter) run(closed <-chan struct{}) {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		select {
		case <-closed:
			return
		case <-s.client.gone:
			sendClose(s.conn, errStopping.Error())
			// Closing at once could take the frame away before it is read.
			grace := time.NewTimer(closeWait / 2)
			defer grace.Stop()
			select {
			case <-closed:
			case <-grace.C:
			}
			return
		case f := <-s.client.frames:
			if !s.show(f) || !s.catchUp() {
				return
			}
		case <-s.client.wake:
			if !s.catchUp() {
				return
			}
		case <-ping.C:
			if s.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(s.gateway.writeWait)) != nil {
				return
			}
		}
	}
}

// show sends a frame that all clients share.
func (s *streamWriter) show(f *frame) bool {
	m := f.message(s.gateway.config.Logger)
	if m == nil {
		return true
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(s.gateway.writeWait))
	if s.conn.WritePreparedMessage(m) != nil {
		return false
	}
	s.gateway.metrics.frames.Inc()
	return true
}

// catchUp lets a client that has missed frames start anew.
func (s *streamWriter) catchUp() bool {
	cursor, again := s.gateway.hub.caughtUp(s.client)
	return !again || s.resync(cursor)
}

func (s *streamWriter) resync(cursor eventlog.Cursor) bool {
	return s.sendJSON(struct {
		Type   string `json:"type"`
		Cursor string `json:"cursor"`
	}{"resync", cursor.String()})
}

func (s *streamWriter) sendJSON(v any) bool {
	text, err := json.Marshal(v)
	return err == nil && s.sendText(text)
}

func (s *streamWriter) sendText(text []byte) bool {
	_ = s.conn.SetWriteDeadline(time.Now().Add(s.gateway.writeWait))
	if s.conn.WriteMessage(websocket.TextMessage, text) != nil {
		return false
	}
	s.gateway.metrics.frames.Inc()
	return true
}
