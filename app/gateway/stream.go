package gateway

import (
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
)

// stream is GET /ws: live frames from a cursor on.
func (g *Gateway) stream(w http.ResponseWriter, r *http.Request) {
	if !g.auth.authenticated(r) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="dispatchai"`)
		writeProblem(w, problem{Status: http.StatusUnauthorized, Detail: "Offer the subprotocols dispatchai.v1 and bearer.<base64url of the API token>."})
		return
	}
	from, err := eventlog.ParseCursor(r.URL.Query().Get("cursor"))
	if err != nil {
		writeProblem(w, problem{Status: http.StatusBadRequest, Detail: "That cursor was not given out by this service; connect without one."})
		return
	}
	upgrader := websocket.Upgrader{
		HandshakeTimeout: writeWait,
		ReadBufferSize:   1 << 10,
		WriteBufferSize:  4 << 10,
		WriteBufferPool:  &g.hub.buffers,
		Subprotocols:     []string{subprotocol},
		CheckOrigin:      g.auth.allowsOrigin,
	}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	defer conn.Close()
	c, missed, now, resync, ok := g.hub.subscribe(from)
	if !ok {
		_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseServiceRestart, ""), time.Now().Add(time.Second))
		return
	}
	defer g.hub.unsubscribe(c)

	closed := make(chan struct{})
	go func() {
		defer close(closed)
		readUntilClosed(conn)
	}()
	g.write(conn, c, missed, from, now, resync, closed)
	conn.Close()
	<-closed
}

// readUntilClosed answers pings and notices the end; clients have nothing to say.
func readUntilClosed(conn *websocket.Conn) {
	conn.SetReadLimit(1 << 10)
	_ = conn.SetReadDeadline(time.Now().Add(pongWait))
	conn.SetPongHandler(func(string) error { return conn.SetReadDeadline(time.Now().Add(pongWait)) })
	for {
		if _, _, err := conn.NextReader(); err != nil {
			return
		}
	}
}

// write sends until the client goes or stalls.
func (g *Gateway) write(conn *websocket.Conn, c *client, missed []*frame, from, now eventlog.Cursor, resync bool, closed <-chan struct{}) {
	send := func(v any) bool {
		_ = conn.SetWriteDeadline(time.Now().Add(writeWait))
		return conn.WriteJSON(v) == nil
	}
	start := now
	if len(missed) > 0 {
		start = from
	}
	hello := struct {
		Type       string    `json:"type"`
		Cursor     string    `json:"cursor"`
		ServerTime time.Time `json:"server_time"`
	}{"hello", start.String(), g.Now().UTC()}
	if !send(hello) {
		return
	}
	if resync && !send(resyncFrame(now)) {
		return
	}
	show := func(f *frame) bool {
		m := f.message(g.Logger)
		if m == nil {
			return true
		}
		_ = conn.SetWriteDeadline(time.Now().Add(writeWait))
		if conn.WritePreparedMessage(m) != nil {
			return false
		}
		g.metrics.frames.Inc()
		return true
	}
	for _, f := range missed {
		if !show(f) {
			return
		}
	}
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		select {
		case <-closed:
			return
		case <-c.gone:
			_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseServiceRestart, ""), time.Now().Add(time.Second))
			return
		case f := <-c.frames:
			if !show(f) {
				return
			}
			if cursor, again := g.hub.caughtUp(c); again && !send(resyncFrame(cursor)) {
				return
			}
		case <-ping.C:
			if conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeWait)) != nil {
				return
			}
		}
	}
}

func resyncFrame(cursor eventlog.Cursor) any {
	return struct {
		Type   string `json:"type"`
		Cursor string `json:"cursor"`
	}{"resync", cursor.String()}
}
