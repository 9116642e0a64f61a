package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/dispatchai/dispatchai/app/simulate"
)

// TestWebhookToLabelAndBack drives the real binary through the whole way: a
// signed webhook becomes a label on GitHub and a frame on the WebSocket; a
// correction by REST changes the label; the audit and the ledger tell it all.
func TestWebhookToLabelAndBack(t *testing.T) {
	t.Parallel()
	s := newSystem(t, simulate.Options{Seed: 1})
	s.installTestRepository()
	s.start()
	t.Cleanup(s.dump)

	live := s.connect("")
	number, err := s.github.OpenIssue(testContext(t), testRepo, bugReport(1))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(number, "kind/bug")

	received := live.next(t, func(f liveFrame) bool { return f.Event == "received" })
	if received.Issue.Number != number || received.Issue.Classification != nil {
		t.Errorf("the issue was not shown as received before it was classified: %+v", received.Issue)
	}
	classified := live.next(t, func(f liveFrame) bool { return f.Event == "classified" })
	if got := classified.Issue.value("category"); got != "bug" {
		t.Errorf("the frame says the category is %q, want bug", got)
	}

	issue, ok := s.issue(number)
	if !ok {
		t.Fatal("the API does not list the issue")
	}
	answer := issue.Classification.Fields["category"]
	if answer.Plugin != "rules" || answer.Version == "" || answer.Confidence < 0.6 || answer.Reason == "" {
		t.Errorf("the category's provenance is incomplete: %+v", answer)
	}

	var corrected apiIssue
	status := s.call("POST", fmt.Sprintf("/api/issues/%d/correct", issue.ID), map[string]any{
		"field": "category", "values": []string{"feature"}, "reason": "It never could do that.", "actor": "maia",
	}, &corrected)
	if status != http.StatusOK || corrected.value("category") != "feature" || corrected.Status != "corrected" {
		t.Fatalf("the correction was answered with %d and category %q, status %q", status, corrected.value("category"), corrected.Status)
	}
	frame := live.next(t, func(f liveFrame) bool { return f.Event == "corrected" })
	if frame.Issue.value("category") != "feature" || frame.Correction == nil {
		t.Errorf("the correction's frame is %+v", frame)
	}
	after := s.waitLabel(number, "kind/feature")
	eventually(t, "the label that was wrong is taken off", func() bool {
		after, err = s.github.Issue(testRepo, number)
		return err == nil && !hasLabel(after, "kind/bug")
	})

	eventually(t, "the ledger shows both labels settled", func() bool {
		issue, _ = s.issue(number)
		states := map[string]string{}
		for _, l := range issue.Ledger {
			states[l.Name] = l.State
		}
		return states["kind/bug"] == "removed" && states["kind/feature"] == "confirmed"
	})
	if len(issue.Corrections) != 1 {
		t.Fatalf("the audit has %d corrections, want 1", len(issue.Corrections))
	}
	c := issue.Corrections[0]
	if c.Field != "category" || !slices.Equal(c.Old, []string{"bug"}) || !slices.Equal(c.New, []string{"feature"}) || c.Actor != "maia" || c.Source != "dashboard" || c.Reason == "" {
		t.Errorf("the audit row is %+v", c)
	}
	writes, err := s.github.BotLabelWrites(testRepo, number)
	if err != nil {
		t.Fatal(err)
	}
	for label, n := range writes {
		if n != 1 {
			t.Errorf("the app wrote %s %d times", label, n)
		}
	}
	s.stop()
}

// TestHumanLabelChangeIsACorrection: what people do with labels on GitHub is
// heard, kept, and never fought.
func TestHumanLabelChangeIsACorrection(t *testing.T) {
	t.Parallel()
	s := newSystem(t, simulate.Options{Seed: 2})
	s.installTestRepository()
	s.start()
	t.Cleanup(s.dump)
	ctx := testContext(t)

	number, err := s.github.OpenIssue(ctx, testRepo, bugReport(2))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(number, "kind/bug")
	eventually(t, "the app's own write is confirmed by its webhook", func() bool {
		issue, ok := s.issue(number)
		return ok && slices.ContainsFunc(issue.Ledger, func(l apiLedgerEntry) bool {
			return l.Name == "kind/bug" && l.State == "confirmed" && l.Plugin == "rules" && l.EventID != ""
		})
	})
	// A form's labels come within seconds of the opening and teach nothing;
	// a person comes later.
	issue, err := s.github.Issue(testRepo, number)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the moment of opening has passed", func() bool { return time.Since(issue.CreatedAt) > 6*time.Second })

	if err := s.github.RemoveLabel(ctx, testRepo, number, "maia", "kind/bug"); err != nil {
		t.Fatal(err)
	}
	// GitHub does not order deliveries: the second change comes when the first was heard.
	eventually(t, "the removal comes back as a correction", func() bool {
		i, ok := s.issue(number)
		return ok && len(i.Corrections) == 1
	})
	if err := s.github.AddLabel(ctx, testRepo, number, "maia", "kind/question"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the label changes come back as corrections", func() bool {
		i, ok := s.issue(number)
		return ok && i.value("category") == "question" && len(i.Corrections) == 2
	})
	got, _ := s.issue(number)
	for _, c := range got.Corrections {
		if c.Source != "github" || c.Actor != "maia" || c.Field != "category" {
			t.Errorf("the audit row is %+v", c)
		}
	}
	// Classifying again must not bring back what a human took off.
	if status := s.call("POST", fmt.Sprintf("/api/issues/%d/classify", got.ID), nil, nil); status != http.StatusOK {
		t.Fatalf("classify again: %d", status)
	}
	body := bugReport(2).Body + "\n\nAnother stack trace:\n\n```\npanic: again\n```\n"
	if err := s.github.EditIssue(ctx, testRepo, number, "reporter-2", nil, &body); err != nil {
		t.Fatal(err)
	}
	// A later issue's label shows that everything before it was settled.
	next, err := s.github.OpenIssue(ctx, testRepo, bugReport(3))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(next, "kind/bug")
	eventually(t, "nothing waits to be labelled", func() bool { return s.metric("dispatchai_label_pending") == 0 })
	final, err := s.github.Issue(testRepo, number)
	if err != nil {
		t.Fatal(err)
	}
	if hasLabel(final, "kind/bug") || !hasLabel(final, "kind/question") {
		t.Errorf("the issue ends with %v; a human took off kind/bug and put on kind/question", final.Labels)
	}
}

// TestSameDeliveryFiveTimes: GitHub and its people redeliver; nothing may happen twice.
func TestSameDeliveryFiveTimes(t *testing.T) {
	t.Parallel()
	s := newSystem(t, simulate.Options{Seed: 3})
	s.installTestRepository()
	s.start()
	t.Cleanup(s.dump)
	ctx := testContext(t)
	number, err := s.github.OpenIssue(ctx, testRepo, bugReport(4))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(number, "kind/bug")
	if err := s.github.WaitIdle(ctx); err != nil {
		t.Fatal(err)
	}
	before, _ := s.issue(number)
	guid := ""
	for _, a := range s.github.Attempts() {
		if a.Event == "issues" && a.Action == "opened" {
			guid = a.GUID
		}
	}
	for range 4 {
		if err := s.github.Redeliver(ctx, guid); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.github.WaitIdle(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the redeliveries were handled", func() bool {
		return s.metric(`dispatchai_classify_events_total{kind="issue",outcome="replayed"}`) == 4
	})
	after, _ := s.issue(number)
	if fmt.Sprint(before.Classification) != fmt.Sprint(after.Classification) || len(after.Corrections) != 0 {
		t.Errorf("five deliveries changed the issue:\n%+v\n%+v", before, after)
	}
	writes, err := s.github.BotLabelWrites(testRepo, number)
	if err != nil {
		t.Fatal(err)
	}
	for label, n := range writes {
		if n != 1 {
			t.Errorf("the app wrote %s %d times", label, n)
		}
	}
}

// TestRulesOfOnesOwn: settings in a file reach the plugin and decide.
func TestRulesOfOnesOwn(t *testing.T) {
	t.Parallel()
	s := newSystem(t, simulate.Options{Seed: 4})
	s.installTestRepository()
	settings := t.TempDir()
	rule := `{"rules":[{"name":"widgets are documentation","repositories":["acme/*"],"when":{"title":"(?i)widgetry"},"set":{"category":"documentation","component":"cli"}}]}`
	if err := os.WriteFile(filepath.Join(settings, "rules.json"), []byte(rule), 0o600); err != nil {
		t.Fatal(err)
	}
	s.env = []string{"DISPATCHAI_PLUGIN_SETTINGS_DIR=" + settings}
	s.start()
	t.Cleanup(s.dump)
	issue := bugReport(1)
	issue.Title = "Widgetry " + issue.Title
	number, err := s.github.OpenIssue(testContext(t), testRepo, issue)
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(number, "kind/documentation")
	if got := s.waitLabel(number, "area/cli"); hasLabel(got, "kind/bug") {
		t.Errorf("the issue has %v", got.Labels)
	}
	detail, _ := s.issue(number)
	if reason := detail.Classification.Fields["category"].Reason; !strings.Contains(reason, "widgets are documentation") {
		t.Errorf("the reason %q does not name the rule", reason)
	}
}

// metrics is the part of /metrics whose names begin so.
func (s *system) metrics(prefixes ...string) string {
	s.t.Helper()
	response, err := http.Get("http://" + s.addr + "/metrics")
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return ""
	}
	var kept strings.Builder
	for line := range strings.SplitSeq(string(content), "\n") {
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(line, p) }) {
			kept.WriteString(line + "\n")
		}
	}
	return kept.String()
}

// metric reads one series of /metrics, or -1.
func (s *system) metric(name string) float64 {
	s.t.Helper()
	for line := range strings.SplitSeq(s.metrics(name), "\n") {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			var v float64
			if _, err := fmt.Sscan(rest, &v); err == nil {
				return v
			}
		}
	}
	return -1
}

// total is the sum of a metric over all of its labels.
func (s *system) total(name string) (sum float64) {
	s.t.Helper()
	for line := range strings.SplitSeq(s.metrics(name), "\n") {
		if _, value, ok := strings.Cut(line, "} "); ok && strings.HasPrefix(line, name+"{") {
			var v float64
			if _, err := fmt.Sscan(value, &v); err == nil {
				sum += v
			}
		}
	}
	return sum
}

type liveFrame struct {
	Type, Event, Cursor string
	Issue               apiIssue
	Correction          *struct{ Field string }
	Label               *struct{ Name, Action string }
}

// liveClient is a WebSocket client that keeps what it received.
type liveClient struct {
	conn   *websocket.Conn
	frames chan liveFrame
}

func (s *system) connect(cursor string) *liveClient {
	s.t.Helper()
	header := http.Header{"Authorization": {"Bearer " + s.token}}
	conn, response, err := websocket.DefaultDialer.DialContext(testContext(s.t), "ws://"+s.addr+"/ws?cursor="+cursor, header)
	if err != nil {
		s.t.Fatalf("connect: %v (%v)", err, response)
	}
	c := &liveClient{conn: conn, frames: make(chan liveFrame, 10_000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(c.frames)
		for {
			_, message, err := conn.ReadMessage()
			if err != nil {
				return
			}
			var f liveFrame
			if json.Unmarshal(message, &f) == nil {
				c.frames <- f
			}
		}
	}()
	s.t.Cleanup(func() { conn.Close(); <-done })
	if hello := c.next(s.t, func(f liveFrame) bool { return f.Type == "hello" }); hello.Cursor == "" && cursor != "" {
		s.t.Error("hello has no cursor")
	}
	return c
}

// next returns the next frame that fits; others are passed over.
func (c *liveClient) next(t testing.TB, fits func(liveFrame) bool) liveFrame {
	t.Helper()
	timeout := time.After(deadline)
	for {
		select {
		case f, ok := <-c.frames:
			if !ok {
				t.Fatal("the connection ended")
			}
			if fits(f) {
				return f
			}
		case <-timeout:
			t.Fatal("no such frame came")
		}
	}
}
