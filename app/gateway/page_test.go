package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/dispatchai/dispatchai/core/triage"
)

// page is a client of the WebSocket.
type page struct {
	t      testing.TB
	conn   *websocket.Conn
	cursor string // of the last frame
	// hasty pages do not hold their frames against the document.
	hasty bool
}

type shownFrame struct {
	Type       string             `json:"type"`
	Event      string             `json:"event"`
	Cursor     string             `json:"cursor"`
	Issue      issueView          `json:"issue"`
	Correction *triage.Correction `json:"correction"`
	Label      *liveLabel         `json:"label"`
}

func (s *system) dial(cursor string, header http.Header) (*websocket.Conn, *http.Response, error) {
	if header == nil {
		header = http.Header{"Authorization": {"Bearer " + testToken}}
	}
	dialer := websocket.Dialer{
		Subprotocols: []string{subprotocol}, HandshakeTimeout: patience,
		NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			if err == nil && s.narrow {
				_ = conn.(*net.TCPConn).SetReadBuffer(16 << 10)
			}
			return conn, err
		},
	}
	if header.Get("Sec-WebSocket-Protocol") != "" {
		dialer.Subprotocols = nil
	}
	address := "ws" + strings.TrimPrefix(s.server.URL, "http") + "/ws"
	if cursor != "" {
		address += "?cursor=" + cursor
	}
	return dialer.DialContext(testContext(s.t), address, header)
}

// connect opens the stream and takes the hello.
func (s *system) connect(cursor string) *page {
	s.t.Helper()
	conn, _, err := s.dial(cursor, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	p := &page{t: s.t, conn: conn}
	s.t.Cleanup(func() { _ = conn.Close() })
	if hello := p.next(); hello.Type != "hello" {
		s.t.Fatalf("the first frame is %+v", hello)
	}
	return p
}

func (p *page) read() (shownFrame, error) {
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	_, text, err := p.conn.ReadMessage()
	if err != nil {
		return shownFrame{}, err
	}
	if !p.hasty {
		validateFrame(p.t, text)
	}
	var f shownFrame
	if err := json.Unmarshal(text, &f); err != nil {
		return f, err
	}
	p.cursor = f.Cursor
	return f, nil
}

func (p *page) next() shownFrame {
	p.t.Helper()
	f, err := p.read()
	if err != nil {
		p.t.Fatal(err)
	}
	return f
}

// closing reads on until the server closes, and returns the code.
func (p *page) closing() int {
	p.t.Helper()
	for {
		if _, err := p.read(); err != nil {
			var closing *websocket.CloseError
			if !errors.As(err, &closing) {
				p.t.Fatalf("the connection ended without a close frame: %v", err)
			}
			return closing.Code
		}
	}
}
