package gateway

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// TestStream follows one issue: received before it is classified, classified,
// labelled; what has nothing to show is not shown.
func TestStream(t *testing.T) {
	s := open(t)
	page := s.connect("")
	s.append(webhook("opened", 7, nil))
	if f := page.next(); f.Event != "received" || f.Issue.ID != issueID(7) || f.Issue.Revision != 0 || f.Issue.Status != store.StatusReceived || f.Issue.Classification != nil || f.Issue.Title != "Buoy 7 drifts" {
		t.Errorf("received: %+v", f)
	}
	s.append(result(7, 1))
	if f := page.next(); f.Event != "classified" || f.Issue.Status != store.StatusClassified || f.Issue.Classification.Value(triage.FieldCategory) != "bug" || len(f.Issue.SimilarIssues) != 1 {
		t.Errorf("classified: %+v", f)
	}
	comment := webhook("created", 7, map[string]any{"comment": map[string]any{"id": 1, "body": "me too", "user": nil}})
	comment.SetHeader(eventlog.HeaderEvent, "issue_comment")
	broken := webhook("opened", 8, nil)
	broken.Value = []byte(`{"action":"opened","issue":`)
	s.append(comment)
	s.append(broken)
	s.append(webhook("edited", 7, nil))
	s.append(webhook("labeled", 7, map[string]any{"label": map[string]any{"name": "bug"}, "sender": map[string]any{"login": "app[bot]", "type": "Bot"}}))
	if f := page.next(); f.Event != "label" || f.Label == nil || f.Label.Name != "bug" || f.Label.Action != "labeled" || f.Label.Sender.Login != "app[bot]" {
		t.Errorf("labelled: %+v", f)
	}
	s.append(webhook("unlabeled", 7, map[string]any{"label": map[string]any{"name": "bug"}}))
	if f := page.next(); f.Label == nil || f.Label.Action != "unlabeled" {
		t.Errorf("unlabelled: %+v", f)
	}
	s.append(result(7, 2, func(e *triage.Enriched) {
		e.EventType, e.EventID = triage.Corrected, "c1"
		e.Corrections = []triage.Correction{{EventID: "c1", Field: triage.FieldCategory, Old: []string{"bug"}, New: []string{"feature"}, Actor: "mairi", Source: triage.FromGitHub}}
	}))
	if f := page.next(); f.Event != "corrected" || f.Correction == nil || f.Correction.Actor != "mairi" {
		t.Errorf("corrected: %+v", f)
	}
	s.append(result(7, 3, func(e *triage.Enriched) { e.EventType, e.Classification = triage.Updated, nil }))
	if f := page.next(); f.Event != "updated" || f.Issue.Status != store.StatusReceived {
		t.Errorf("updated: %+v", f)
	}
	if delays, err := s.registry.Gather(); err != nil || len(delays) == 0 {
		t.Errorf("metrics: %v", err)
	}
}

// TestSnapshotThenStream: what happens between the listing and the connection
// is not missed.
func TestSnapshotThenStream(t *testing.T) {
	s := open(t)
	s.append(webhook("opened", 1, nil))
	until(t, "the gateway has read it", func() bool { return s.current.Load().hub.position().String() != s.emptyCursor() })
	var list struct {
		LiveCursor string `json:"live_cursor"`
	}
	s.expect(200, "GET", "/api/issues", "").decode(&list)
	s.append(webhook("opened", 2, nil), webhook("opened", 3, nil))
	page := s.connect(list.LiveCursor)
	seen := map[int]bool{page.next().Issue.Number: true, page.next().Issue.Number: true}
	if !seen[2] || !seen[3] {
		t.Errorf("after the snapshot: %v", seen)
	}
}

// emptyCursor is the cursor of a log without records.
func (s *system) emptyCursor() string {
	var c eventlog.Cursor
	for _, topic := range liveTopics() {
		for id := range int32(3) {
			c = c.Advance(&eventlog.Record{Topic: topic, Partition: id, Offset: -1})
		}
	}
	return c.String()
}

// TestResume: a page that is cut off at random moments, and meets a gateway
// that was restarted meanwhile, gets every frame exactly once.
func TestResume(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	s := open(t)
	const issues = 300
	go func() {
		// The order over partitions is different in each gateway's reading.
		appended := rand.New(rand.NewPCG(seed, 2))
		for n := 1; n <= issues; {
			var batch []eventlog.Record
			for range 1 + appended.IntN(8) {
				if n <= issues {
					batch = append(batch, webhook("opened", n, nil), result(n, 1))
					n++
				}
			}
			if err := s.producer.Append(testContext(t), batch...); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	first := s.connect("")
	cursor := first.cursor
	_ = first.conn.NetConn().Close()
	seen := make(map[string]int)
	connections, restarts := 0, 0
	for deadline := time.Now().Add(patience); len(seen) < 2*issues && time.Now().Before(deadline); connections++ {
		if connections%25 == 24 {
			s.shutDown()
			s.start()
			restarts++
		}
		page := s.connect(cursor)
		for range random.IntN(12) {
			f := page.next()
			if f.Type != "issue" {
				t.Fatalf("frame %+v", f)
			}
			key := fmt.Sprintf("%s %d", f.Event, f.Issue.Number)
			if seen[key]++; seen[key] > 1 {
				t.Fatalf("%s came twice", key)
			}
			cursor = f.Cursor
			if len(seen) == 2*issues {
				break
			}
		}
		_ = page.conn.NetConn().Close() // without a word
	}
	if len(seen) != 2*issues {
		t.Errorf("%d of %d frames", len(seen), 2*issues)
	}
	t.Logf("%d connections, %d restarts", connections, restarts)
	// And nothing is left over.
	s.append(webhook("opened", issues+1, nil))
	if f := s.connect(cursor).next(); f.Issue.Number != issues+1 {
		t.Errorf("left over: %+v", f)
	}
}

func TestOldCursor(t *testing.T) {
	s := open(t)
	old := s.connect("").cursor
	var records []eventlog.Record
	for n := 1; n <= 100; n++ {
		records = append(records, webhook("opened", n, nil))
	}
	s.append(records...)
	s.shutDown()
	s.start(func(c *Config) { c.ReadBack = 10 })
	position := s.current.Load().hub.position()
	ahead := position.Advance(&eventlog.Record{Topic: eventlog.TopicIssuesRaw, Partition: 1, Offset: 10_000}).String()
	grown := position.Advance(&eventlog.Record{Topic: eventlog.TopicIssuesRaw, Partition: 3, Offset: 0}).String()
	for name, cursor := range map[string]string{"older than what is held": old, "ahead of the log": ahead, "of a log with more partitions": grown} {
		page := s.connect(cursor)
		if f := page.next(); f.Type != "resync" || f.Cursor != position.String() {
			t.Errorf("%s: %+v", name, f)
		}
		s.append(webhook("opened", 200, nil))
		if f := page.next(); f.Issue.Number != 200 {
			t.Errorf("%s: after the resync: %+v", name, f)
		}
		position = s.current.Load().hub.position()
	}
	// A partition that is younger than the cursor has nothing that was seen.
	if f := s.connect(position.String()); f.cursor != position.String() {
		t.Errorf("a cursor at the end starts at %s", f.cursor)
	}
}

func TestBadCursor(t *testing.T) {
	s := open(t)
	for _, cursor := range []string{"x", "%21", strings.Repeat("A", 20_000), "aXNzdWVzLnJhdzowOi0x"} {
		_, response, err := s.dial(cursor, nil)
		if err == nil || response.StatusCode != http.StatusBadRequest {
			t.Errorf("%.20s: %v", cursor, err)
			continue
		}
		if body, _ := io.ReadAll(response.Body); !strings.Contains(string(body), "connect without one") {
			t.Errorf("%.20s: %s", cursor, body)
		}
	}
}

// TestSlowClient: a page that does not read holds up nobody; when it reads
// again it is told to resync and goes on from there.
func TestSlowClient(t *testing.T) {
	s := open(t)
	s.current.Load().writeWait = patience
	fast, slow := s.connect(""), s.connect("")
	fast.hasty, slow.hasty = true, true
	// More than what the system buffers on the way, and the hub for the client.
	const frames, batch = 1500, 50
	long := strings.Repeat("word ", 5000)
	for n := 1; n <= frames; n += batch {
		var records []eventlog.Record
		for i := n; i < n+batch; i++ {
			records = append(records, result(i, 1, func(e *triage.Enriched) { e.Classification.Reasoning = long }))
		}
		s.append(records...)
		for range batch {
			if f := fast.next(); f.Type != "issue" {
				t.Fatalf("the fast client: %+v", f)
			}
		}
	}
	behind := func() bool {
		h := s.current.Load().hub
		h.mu.Lock()
		defer h.mu.Unlock()
		for c := range h.clients {
			if c.behind {
				return true
			}
		}
		return false
	}
	until(t, "the slow client is given up on", behind)
	shown, last := 0, 0
	for {
		f := slow.next()
		if f.Type == "resync" {
			if f.Cursor != s.current.Load().hub.position().String() {
				t.Errorf("resync at %s", f.Cursor)
			}
			break
		}
		if shown++; f.Issue.Number == last {
			t.Errorf("%d twice", last)
		}
		last = f.Issue.Number
	}
	if shown < clientFrames || shown >= frames {
		t.Errorf("%d frames were kept for the slow client", shown)
	}
	s.append(webhook("opened", 5000, nil))
	for _, page := range []*page{fast, slow} {
		if f := page.next(); f.Issue.Number != 5000 {
			t.Errorf("afterwards: %+v", f)
		}
	}
}

// TestStalledClient: a page whose connection takes nothing more is dropped.
func TestStalledClient(t *testing.T) {
	s := open(t)
	s.current.Load().writeWait = 200 * time.Millisecond
	s.narrow = true
	s.connect("") // and never reads again
	long := strings.Repeat("word ", 10_000)
	n := 0
	until(t, "the client is dropped", func() bool {
		var batch []eventlog.Record
		for range 50 {
			n++
			batch = append(batch, result(n, 1, func(e *triage.Enriched) { e.Classification.Reasoning = long }))
		}
		s.append(batch...)
		return s.current.Load().hub.connected() == 0
	})
}

// TestLostTail: when the log was trimmed past the gateway, everybody resyncs.
func TestLostTail(t *testing.T) {
	s := open(t)
	page := s.connect("")
	s.append(webhook("opened", 1, nil))
	page.next()
	g := s.current.Load()
	at := g.hub.position()
	g.hub.reset()
	if g.hub.position().String() != "" {
		t.Error("a position although the log is lost")
	}
	g.hub.goLive(at)
	if f := page.next(); f.Type != "resync" || f.Cursor != at.String() {
		t.Errorf("%+v", f)
	}
	s.append(webhook("opened", 2, nil))
	if f := page.next(); f.Issue.Number != 2 {
		t.Errorf("%+v", f)
	}
}

func TestDisconnect(t *testing.T) {
	s := open(t)
	var pages []*page
	for range 20 {
		pages = append(pages, s.connect(""))
	}
	var closing sync.WaitGroup
	for _, p := range pages {
		p.hasty = true
		closing.Go(func() {
			if code := p.closing(); code != websocket.CloseServiceRestart {
				t.Errorf("closed with %d", code)
			}
		})
	}
	g := s.current.Load()
	began := time.Now()
	g.Disconnect()
	if took := time.Since(began); took > closeWait {
		t.Errorf("clients that answer took %s to disconnect", took)
	}
	closing.Wait()
	g.Disconnect() // again does nothing
	if n := g.hub.connected(); n != 0 {
		t.Errorf("%d are left", n)
	}
	conn, _, err := s.dial("", nil)
	if err != nil {
		t.Fatal(err)
	}
	if code := (&page{t: t, conn: conn}).closing(); code != websocket.CloseServiceRestart {
		t.Errorf("a late client is closed with %d", code)
	}
	conn.Close()
	noGoroutines(t)
}

// TestDisconnectStuck: a client that reads nothing cannot hold up the stop.
func TestDisconnectStuck(t *testing.T) {
	s := open(t)
	s.narrow = true
	s.connect("")
	long := strings.Repeat("word ", 10_000)
	var batch []eventlog.Record
	for n := range 300 {
		batch = append(batch, result(n, 1, func(e *triage.Enriched) { e.Classification.Reasoning = long }))
	}
	s.append(batch...)
	h := s.current.Load().hub
	until(t, "the client is stuck", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		for c := range h.clients {
			return len(c.frames) > 0
		}
		return false
	})
	began := time.Now()
	s.current.Load().Disconnect()
	if took := time.Since(began); took > 2*closeWait {
		t.Errorf("it took %s", took)
	}
	noGoroutines(t)
}

// noGoroutines waits until nothing of the stream runs any more.
func noGoroutines(t *testing.T) {
	t.Helper()
	stacks := make([]byte, 4<<20)
	until(t, "the stream's goroutines have ended", func() bool {
		text := string(stacks[:runtime.Stack(stacks, true)])
		return !strings.Contains(text, "gateway.(*Gateway).stream") && !strings.Contains(text, "gateway.readUntilClosed")
	})
}

func TestClientsHaveNothingToSay(t *testing.T) {
	s := open(t)
	page := s.connect("")
	for range 100 {
		if err := page.conn.WriteMessage(websocket.TextMessage, []byte(`{"hello":"server"}`)); err != nil {
			t.Fatal(err)
		}
	}
	s.append(webhook("opened", 1, nil))
	if f := page.next(); f.Issue.Number != 1 {
		t.Errorf("%+v", f)
	}
	if err := page.conn.WriteMessage(websocket.TextMessage, make([]byte, maxClientMessage+1)); err != nil {
		t.Fatal(err)
	}
	if code := page.closing(); code != websocket.CloseMessageTooBig {
		t.Errorf("closed with %d", code)
	}
	until(t, "it is gone", func() bool { return s.current.Load().hub.connected() == 0 })
	noGoroutines(t)
}

// TestBroadcast: many pages get the same frames, each made once.
func TestBroadcast(t *testing.T) {
	s := open(t)
	const clients, frames = 200, 20
	pages := make([]*page, clients)
	for i := range pages {
		pages[i] = s.connect("")
		pages[i].hasty = true
	}
	var stats store.Stats
	var connected struct {
		Connected int `json:"connected_clients"`
	}
	a := s.expect(200, "GET", "/api/stats", "")
	a.decode(&stats)
	a.decode(&connected)
	if connected.Connected != clients || stats.Issues != 2 {
		t.Errorf("stats %s", a.body)
	}
	var records []eventlog.Record
	for n := 1; n <= frames/2; n++ {
		records = append(records, webhook("opened", n, nil), result(n, 1))
	}
	s.append(records...)
	var reading sync.WaitGroup
	for _, p := range pages {
		reading.Go(func() {
			seen := make(map[string]bool)
			for range frames {
				f, err := p.read()
				if err != nil {
					t.Error(err)
					return
				}
				seen[f.Event+fmt.Sprint(f.Issue.Number)] = true
			}
			if len(seen) != frames {
				t.Errorf("saw %d of %d", len(seen), frames)
			}
		})
	}
	reading.Wait()
	h := s.current.Load().hub
	h.mu.Lock()
	ring := h.ring
	h.mu.Unlock()
	for _, f := range ring {
		if f.record != nil || f.prepared == nil || f.message(nil) != f.prepared {
			t.Errorf("the frame at %d was not made once and kept", f.place.Offset)
		}
	}
	for _, p := range pages {
		p.conn.Close()
	}
	until(t, "all are gone", func() bool { return h.connected() == 0 })
	noGoroutines(t)
}
