package ingress

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/github"
)

const testSecret = "it's a secret to everybody but the tests"

// issueBody is an issues delivery of about that many bytes.
func issueBody(size int) []byte {
	head := `{"action":"opened","issue":{"url":"https://api.github.com/repos/harbour-lights/tidewatch/issues/12","id":1,"number":12,"title":"A title","body":null,"labels":[],"user":null},` +
		`"repository":{"id":77,"full_name":"harbour-lights/tidewatch"`
	tail := `},"sender":{"login":"mairi","type":"User"},"installation":{"id":5}}`
	var b strings.Builder
	b.WriteString(head)
	for i := 0; b.Len()+len(tail) < size; i++ {
		fmt.Fprintf(&b, `,"some_%03d_url":"https://api.github.com/repos/harbour-lights/tidewatch/things{/thing}/%d"`, i, i)
	}
	b.WriteString(tail)
	return []byte(b.String())
}

// memoryLog keeps copies of what is appended and answers with err.
type memoryLog struct {
	mu      sync.Mutex
	err     error
	records []eventlog.Record
}

func (l *memoryLog) Append(_ context.Context, records ...eventlog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	for _, r := range records {
		r.Value = bytes.Clone(r.Value)
		l.records = append(l.records, r)
	}
	return nil
}

func (l *memoryLog) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

func (l *memoryLog) all() []eventlog.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]eventlog.Record(nil), l.records...)
}

// endpoint is a Handler behind a real HTTP server.
type endpoint struct {
	t        *testing.T
	log      *memoryLog
	server   *httptest.Server
	handler  *Handler
	registry *prometheus.Registry
}

func newEndpoint(t *testing.T, change ...func(*Config)) *endpoint {
	t.Helper()
	e := &endpoint{t: t, log: &memoryLog{}, registry: prometheus.NewRegistry()}
	cfg := Config{Producer: e.log, Secrets: []string{"retired", testSecret}, Registerer: e.registry}
	for _, c := range change {
		c(&cfg)
	}
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	e.handler = h
	mux := http.NewServeMux()
	mux.Handle("/webhook/github", h)
	e.server = httptest.NewServer(mux)
	t.Cleanup(e.server.Close)
	return e
}

// delivery is a request that is in order, to be spoiled.
func (e *endpoint) delivery(event string, body []byte) *http.Request {
	e.t.Helper()
	r, err := http.NewRequestWithContext(e.t.Context(), http.MethodPost, e.server.URL+"/webhook/github", bytes.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-GitHub-Event", event)
	r.Header.Set("X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958")
	r.Header.Set("X-Hub-Signature-256", github.Sign(testSecret, body))
	return r
}

type reply struct {
	code   int
	header http.Header
	json   map[string]string
}

func (e *endpoint) send(r *http.Request) reply {
	e.t.Helper()
	answer, err := e.server.Client().Do(r)
	if err != nil {
		e.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	got := reply{code: answer.StatusCode, header: answer.Header}
	if answer.Header.Get("Content-Type") != "application/json" {
		e.t.Errorf("the answer's Content-Type is %q", answer.Header.Get("Content-Type"))
	}
	if err := json.Unmarshal(text, &got.json); err != nil {
		e.t.Errorf("the answer is not JSON: %q", text)
	}
	return got
}

func (e *endpoint) metric(name string) float64 {
	e.t.Helper()
	families, err := e.registry.Gather()
	if err != nil {
		e.t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			got := strings.TrimPrefix(family.GetName(), "dispatchai_ingress_")
			for _, l := range m.GetLabel() {
				got += "|" + l.GetValue()
			}
			if got == name {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	e.t.Errorf("there is no metric %s", name)
	return 0
}

func TestAccepted(t *testing.T) {
	at := time.Date(2026, 11, 3, 8, 1, 13, 987654321, time.UTC)
	installation := `{"action":"x","installation":{"id":5},"repository":{"id":77,"full_name":"a/b"},"label":{"name":"l"}}`
	for _, tc := range []struct{ event, body, topic, key string }{
		{"issues", string(issueBody(15_000)), "issues.raw", "77#12"},
		{"issue_comment", string(issueBody(300)), "issues.raw", "77#12"},
		{"installation", installation, "installations.raw", "5"},
		{"installation_repositories", installation, "installations.raw", "5"},
		{"label", installation, "installations.raw", "5"},
		{"repository", installation, "installations.raw", "5"},
		{"push", installation, "installations.raw", "5"},
		{"ping", `{"zen":"Keep it logically awesome.","hook_id":1}`, "installations.raw", "0"},
		{"issues", " \n" + string(issueBody(300)) + "\n", "issues.raw", "77#12"},
	} {
		e := newEndpoint(t, func(cfg *Config) { cfg.Clock = func() time.Time { return at } })
		r := e.delivery(tc.event, []byte(tc.body))
		got := e.send(r)
		want := map[string]string{"status": "accepted", "delivery_id": "72d3162e-cc78-11e3-81ab-4c9367dc0958", "event": tc.event}
		if got.code != 200 || fmt.Sprint(got.json) != fmt.Sprint(want) {
			t.Errorf("%s: %d %v", tc.event, got.code, got.json)
		}
		records := e.log.all()
		if len(records) != 1 {
			t.Fatalf("%s: %d records", tc.event, len(records))
		}
		rec := records[0]
		if rec.Topic != tc.topic || rec.Key != tc.key || string(rec.Value) != tc.body || !rec.Time.Equal(at) {
			t.Errorf("%s: record on %s, key %q, %d bytes at %v", tc.event, rec.Topic, rec.Key, len(rec.Value), rec.Time)
		}
		if rec.Header("delivery") != "72d3162e-cc78-11e3-81ab-4c9367dc0958" || rec.Header("event") != tc.event ||
			rec.Header("received-at") != "2026-11-03T08:01:13.987654321Z" {
			t.Errorf("%s: headers %q", tc.event, rec.Headers)
		}
		if n := e.metric("accepted_total|" + tc.event); n != 1 {
			t.Errorf("%s: accepted_total is %v", tc.event, n)
		}
		if n := e.metric("in_flight_bytes"); n != 0 {
			t.Errorf("%s: %v bytes stay in flight", tc.event, n)
		}
	}
}

func TestContract(t *testing.T) {
	good := issueBody(2_000)
	resign := func(r *http.Request, body string) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		r.GetBody = nil
		r.Header.Set("X-Hub-Signature-256", github.Sign(testSecret, []byte(body)))
	}
	for name, tc := range map[string]struct {
		spoil func(r *http.Request)
		logs  error
		code  int
		says  string // the answer's "error", or its "status" where that is not "rejected"
	}{
		"in order":                 {nil, nil, 200, "accepted"},
		"with charset":             {func(r *http.Request) { r.Header.Set("Content-Type", "application/json; charset=utf-8") }, nil, 200, "accepted"},
		"in chunks":                {func(r *http.Request) { r.ContentLength = -1 }, nil, 200, "accepted"},
		"other event":              {func(r *http.Request) { r.Header.Set("X-GitHub-Event", "star") }, nil, 200, "ignored"},
		"other event, not JSON":    {func(r *http.Request) { r.Header.Set("X-GitHub-Event", "star"); resign(r, "{") }, nil, 200, "ignored"},
		"our own event":            {func(r *http.Request) { r.Header.Set("X-GitHub-Event", github.EventCorrection) }, nil, 200, "ignored"},
		"GET":                      {func(r *http.Request) { r.Method = http.MethodGet }, nil, 405, "method"},
		"PUT":                      {func(r *http.Request) { r.Method = http.MethodPut }, nil, 405, "method"},
		"no content type":          {func(r *http.Request) { r.Header.Del("Content-Type") }, nil, 415, "content_type"},
		"two content types":        {func(r *http.Request) { r.Header.Add("Content-Type", "application/json") }, nil, 415, "content_type"},
		"text":                     {func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, nil, 415, "content_type"},
		"form":                     {func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }, nil, 415, "content_type"},
		"compressed":               {func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, nil, 415, "content_type"},
		"too large":                {func(r *http.Request) { resign(r, strings.Repeat(" ", MaxBodyBytes+1)) }, nil, 413, "too_large"},
		"too large, in chunks":     {func(r *http.Request) { resign(r, strings.Repeat(" ", MaxBodyBytes+1)); r.ContentLength = -1 }, nil, 413, "too_large"},
		"no signature":             {func(r *http.Request) { r.Header.Del("X-Hub-Signature-256") }, nil, 401, "missing_signature"},
		"two signatures":           {func(r *http.Request) { r.Header.Add("X-Hub-Signature-256", "sha256=00") }, nil, 401, "missing_signature"},
		"sha1 alone":               {func(r *http.Request) { r.Header.Del("X-Hub-Signature-256"); r.Header.Set("X-Hub-Signature", "sha1=00") }, nil, 401, "missing_signature"},
		"foreign secret":           {func(r *http.Request) { r.Header.Set("X-Hub-Signature-256", github.Sign("guess", good)) }, nil, 401, "bad_signature"},
		"retiring secret":          {func(r *http.Request) { r.Header.Set("X-Hub-Signature-256", github.Sign("retired", good)) }, nil, 200, "accepted"},
		"garbled signature":        {func(r *http.Request) { r.Header.Set("X-Hub-Signature-256", "sha256=zz") }, nil, 401, "bad_signature"},
		"no event":                 {func(r *http.Request) { r.Header.Del("X-GitHub-Event") }, nil, 400, "bad_headers"},
		"strange event":            {func(r *http.Request) { r.Header.Set("X-GitHub-Event", `is"sues`) }, nil, 400, "bad_headers"},
		"no delivery":              {func(r *http.Request) { r.Header.Del("X-GitHub-Delivery") }, nil, 400, "bad_headers"},
		"long delivery":            {func(r *http.Request) { r.Header.Set("X-GitHub-Delivery", strings.Repeat("x", 201)) }, nil, 400, "bad_headers"},
		"unsigned without event":   {func(r *http.Request) { r.Header.Del("X-GitHub-Event"); r.Header.Del("X-Hub-Signature-256") }, nil, 401, "missing_signature"},
		"empty":                    {func(r *http.Request) { resign(r, "") }, nil, 400, "not_json"},
		"not JSON":                 {func(r *http.Request) { resign(r, `{"action":}`) }, nil, 400, "not_json"},
		"an array":                 {func(r *http.Request) { resign(r, `[]`) }, nil, 400, "not_json"},
		"nested without end":       {func(r *http.Request) { resign(r, strings.Repeat("[", 1<<20)) }, nil, 400, "not_json"},
		"about nothing":            {func(r *http.Request) { resign(r, `{"action":"opened"}`) }, nil, 400, "incomplete"},
		"installation, about none": {func(r *http.Request) { r.Header.Set("X-GitHub-Event", "installation"); resign(r, `{}`) }, nil, 400, "incomplete"},
		"log full":                 {nil, fmt.Errorf("append: %w", eventlog.ErrFull), 503, "log_full"},
		"log down":                 {nil, errors.New("no broker"), 503, "log_unavailable"},
		"log too small":            {nil, eventlog.ErrTooLarge, 413, "too_large"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEndpoint(t)
			e.log.fail(tc.logs)
			r := e.delivery("issues", good)
			if tc.spoil != nil {
				tc.spoil(r)
			}
			got := e.send(r)
			said := got.json["status"]
			if said == "rejected" {
				said = got.json["error"]
			}
			if got.code != tc.code || said != tc.says {
				t.Fatalf("%d %v, want %d %q", got.code, got.json, tc.code, tc.says)
			}
			if kept := len(e.log.all()); (kept == 1) != (tc.says == "accepted") {
				t.Errorf("%d records were kept", kept)
			}
			if tc.code >= 400 {
				if got.json["message"] == "" {
					t.Error("it does not say why")
				}
				if n := e.metric("rejected_total|" + tc.says); n != 1 {
					t.Errorf("rejected_total is %v", n)
				}
			}
			if tc.says == "ignored" && e.metric("ignored_total") != 1 {
				t.Error("ignored_total is not 1")
			}
			if allow := got.header.Get("Allow"); (allow == "POST") != (tc.code == 405) {
				t.Errorf("Allow is %q", allow)
			}
			if after := got.header.Get("Retry-After"); (after != "") != (tc.code == 503) {
				t.Errorf("Retry-After is %q", after)
			}
			if n := e.metric("in_flight_bytes"); n != 0 {
				t.Errorf("%v bytes stay in flight", n)
			}
		})
	}
}

func TestLargestDelivery(t *testing.T) {
	e := newEndpoint(t)
	body := bytes.Repeat([]byte(" "), MaxBodyBytes)
	copy(body, issueBody(4_000))
	if got := e.send(e.delivery("issues", body)); got.code != 200 {
		t.Fatalf("%d %v", got.code, got.json)
	}
	if records := e.log.all(); !bytes.Equal(records[0].Value, body) {
		t.Error("the record is not the body")
	}
}

func TestFormEncodedSaysWhatToChange(t *testing.T) {
	e := newEndpoint(t)
	r := e.delivery("issues", []byte("payload=%7B%7D"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if got := e.send(r); !strings.Contains(got.json["message"], "application/json") {
		t.Errorf("%v", got.json)
	}
}

func TestTraceparent(t *testing.T) {
	const incoming = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	shape := regexp.MustCompile(`^00-([0-9a-f]{32})-([0-9a-f]{16})-0[01]$`)
	e := newEndpoint(t)
	seen := map[string]bool{}
	for _, tc := range []struct {
		sent      []string
		continues bool
		flags     string
	}{
		{nil, false, "01"}, {nil, false, "01"},
		{[]string{incoming}, true, "01"},
		{[]string{strings.TrimSuffix(incoming, "1") + "0"}, true, "00"},
		{[]string{incoming, incoming}, false, "01"},
		{[]string{"00-00000000000000000000000000000000-00f067aa0ba902b7-01"}, false, "01"},
		{[]string{"nonsense"}, false, "01"},
	} {
		r := e.delivery("issues", issueBody(500))
		r.Header["Traceparent"] = tc.sent
		if got := e.send(r); got.code != 200 {
			t.Fatalf("%d", got.code)
		}
		records := e.log.all()
		parent := records[len(records)-1].Header(eventlog.HeaderTraceparent)
		parts := shape.FindStringSubmatch(parent)
		if parts == nil {
			t.Fatalf("%q: traceparent %q", tc.sent, parent)
		}
		if continues := parts[1] == "4bf92f3577b34da6a3ce929d0e0e4736"; continues != tc.continues || parts[2] == "00f067aa0ba902b7" {
			t.Errorf("%q became %q", tc.sent, parent)
		}
		if !strings.HasSuffix(parent, tc.flags) {
			t.Errorf("%q became %q, want the flags %s", tc.sent, parent, tc.flags)
		}
		if seen[parent] {
			t.Errorf("%q came twice", parent)
		}
		seen[parent] = true
	}
}

func TestUnverifiedRequestsAreLimited(t *testing.T) {
	now := time.Date(2026, 11, 3, 8, 0, 20, 0, time.UTC)
	e := newEndpoint(t, func(cfg *Config) {
		cfg.MaxWebhookRequests = 5
		cfg.OverLimitBytesPerSecond = 1 // a burst of MaxBodyBytes, hardly refilled
		cfg.Clock = func() time.Time { return now }
	})
	body := issueBody(15_000)
	bad := func() *http.Request {
		r := e.delivery("issues", body)
		r.Header.Set("X-Hub-Signature-256", github.Sign("guess", body))
		return r
	}
	unsigned := func() *http.Request {
		r := e.delivery("issues", body)
		r.Header.Del("X-Hub-Signature-256")
		return r
	}
	for i, r := range []*http.Request{bad(), unsigned(), bad(), unsigned(), bad()} {
		if got := e.send(r); got.code != 401 {
			t.Fatalf("request %d: %d", i, got.code)
		}
	}
	for _, r := range []*http.Request{bad(), unsigned()} {
		got := e.send(r)
		// All five were in this minute: in the next they weigh less from moment
		// to moment, and after 12 s of it less than five.
		want := map[string]string{
			"Retry-After": "52", "X-Ratelimit-Limit": "5", "X-Ratelimit-Remaining": "0",
			"X-Ratelimit-Reset": strconv.FormatInt(now.Add(52*time.Second).Unix(), 10),
		}
		for name, value := range want {
			if got.header.Get(name) != value {
				t.Errorf("%s is %q, want %q", name, got.header.Get(name), value)
			}
		}
		if got.code != 429 || got.json["error"] != "rate_limited" {
			t.Errorf("%d %v", got.code, got.json)
		}
	}
	if got := e.send(e.delivery("issues", body)); got.code != 200 {
		t.Errorf("a good delivery from that address: %d %v", got.code, got.json)
	}
	// Who asks for more than the shared budget is refused unread, good or not.
	for range 2 * MaxBodyBytes / len(body) {
		e.handler.overLimit.AllowN(now, len(body))
	}
	if got := e.send(e.delivery("issues", body)); got.code != 429 {
		t.Errorf("beyond the shared budget: %d %v", got.code, got.json)
	}
	now = now.Add(52 * time.Second)
	if got := e.send(bad()); got.code != 401 {
		t.Errorf("after the wait: %d %v", got.code, got.json)
	}
	if n := e.metric("limited_total|unverified"); n != 3 {
		t.Errorf("limited_total is %v, want 3", n)
	}
}

func TestLimitHoldsForRequestsAtOnce(t *testing.T) {
	e := newEndpoint(t, func(cfg *Config) { cfg.MaxWebhookRequests = 20 })
	body := issueBody(15_000)
	var mu sync.Mutex
	codes := map[int]int{}
	var group sync.WaitGroup
	for range 60 {
		group.Go(func() {
			r := e.delivery("issues", body)
			r.Header.Set("X-Hub-Signature-256", github.Sign("guess", body))
			got := e.send(r)
			mu.Lock()
			defer mu.Unlock()
			codes[got.code]++
		})
	}
	group.Wait()
	if codes[401] != 20 || codes[429] != 40 {
		t.Errorf("answers %v, want 20 times 401 and 40 times 429", codes)
	}
}

func TestVerifiedDeliveriesHaveTheirOwnLimit(t *testing.T) {
	now := time.Date(2026, 11, 3, 8, 0, 0, 0, time.UTC)
	e := newEndpoint(t, func(cfg *Config) {
		cfg.MaxWebhookRequests, cfg.MaxVerifiedRequests = 1, 150
		cfg.Clock = func() time.Time { return now }
	})
	for i := range 150 {
		if got := e.send(e.delivery("issues", issueBody(500))); got.code != 200 {
			t.Fatalf("delivery %d: %d", i, got.code)
		}
	}
	got := e.send(e.delivery("issues", issueBody(500)))
	if got.code != 429 || got.header.Get("X-Ratelimit-Limit") != "150" {
		t.Errorf("%d, headers %v", got.code, got.header)
	}
	if n := e.metric("limited_total|verified"); n != 1 {
		t.Errorf("limited_total is %v", n)
	}
}

func TestClientsBehindTrustedProxy(t *testing.T) {
	e := newEndpoint(t, func(cfg *Config) {
		cfg.MaxWebhookRequests = 1
		cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	})
	from := func(client string) int {
		r := e.delivery("issues", issueBody(500))
		r.Header.Del("X-Hub-Signature-256")
		r.Header.Set("X-Forwarded-For", "10.9.9.9, "+client)
		return e.send(r).code
	}
	for _, step := range []struct {
		client string
		code   int
	}{
		{"203.0.113.7", 401}, {"203.0.113.7", 429}, {"203.0.113.8", 401},
		{"2001:db8:1:2::1", 401}, {"2001:db8:1:2:ffff::9", 429}, {"2001:db8:1:3::1", 401},
	} {
		if got := from(step.client); got != step.code {
			t.Errorf("%s: %d, want %d", step.client, got, step.code)
		}
	}
}

func TestBodyThatStalls(t *testing.T) {
	for name, tc := range map[string]struct {
		header string
		length int
		want   string
	}{
		"short":                {"X-Hub-Signature-256: sha256=00\r\n", 100, "HTTP/1.1 408 "},
		"large":                {"X-Hub-Signature-256: sha256=00\r\n", MaxBodyBytes, "HTTP/1.1 408 "},
		"short, not wanted":    {"", 100, "HTTP/1.1 401 "},
		"large, not wanted":    {"", MaxBodyBytes, "HTTP/1.1 401 "},
		"too large to look at": {"", MaxBodyBytes + 1, "HTTP/1.1 413 "},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEndpoint(t, func(cfg *Config) { cfg.BodyTimeout = 100 * time.Millisecond })
			conn, err := net.Dial("tcp", e.server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "POST /webhook/github HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n{", tc.header, tc.length)
			text, err := io.ReadAll(conn)
			if err != nil || !strings.HasPrefix(string(text), tc.want) {
				t.Errorf("%.100q, %v; want %s", text, err, tc.want)
			}
		})
	}
}

func TestBodyThatBreaksOff(t *testing.T) {
	e := newEndpoint(t)
	conn, err := net.Dial("tcp", e.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "POST /webhook/github HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+
		"X-Hub-Signature-256: sha256=00\r\nContent-Length: 100\r\n\r\n{")
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 400 ") || !strings.Contains(string(text), "body_incomplete") {
		t.Errorf("%.100q, %v", text, err)
	}
}

// A body that needs the log's whole patience must survive the deadline of its reading.
func TestSlowLogOutlastsBodyTimeout(t *testing.T) {
	slow := &slowLog{release: make(chan struct{}), entered: make(chan struct{}, 1)}
	e := newEndpoint(t, func(cfg *Config) {
		cfg.Producer = slow
		cfg.BodyTimeout = 50 * time.Millisecond
	})
	timer := time.AfterFunc(300*time.Millisecond, func() { close(slow.release) })
	defer timer.Stop()
	if got := e.send(e.delivery("issues", issueBody(500))); got.code != 200 {
		t.Errorf("%d %v", got.code, got.json)
	}
}

type slowLog struct {
	entered, release chan struct{}
}

func (l *slowLog) Append(ctx context.Context, _ ...eventlog.Record) error {
	l.entered <- struct{}{}
	select {
	case <-l.release:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestLogThatHangs(t *testing.T) {
	slow := &slowLog{release: make(chan struct{}), entered: make(chan struct{}, 1)}
	e := newEndpoint(t, func(cfg *Config) {
		cfg.Producer = slow
		cfg.AppendTimeout = 50 * time.Millisecond
	})
	if got := e.send(e.delivery("issues", issueBody(500))); got.code != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("%d %v", got.code, got.json)
	}
}

func TestSenderWhoHangsUpDoesNotCancelTheAppend(t *testing.T) {
	slow := &slowLog{release: make(chan struct{}), entered: make(chan struct{}, 1)}
	e := newEndpoint(t, func(cfg *Config) { cfg.Producer = slow })
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := e.server.Client().Do(e.delivery("issues", issueBody(500)).WithContext(ctx))
		failed <- err
	}()
	<-slow.entered
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	close(slow.release)
	e.server.Close() // waits for the handler
	if n := e.metric("accepted_total|issues"); n != 1 {
		t.Errorf("accepted_total is %v: the append was given up", n)
	}
}

func TestOverloaded(t *testing.T) {
	slow := &slowLog{release: make(chan struct{}), entered: make(chan struct{}, 1)}
	e := newEndpoint(t, func(cfg *Config) {
		cfg.Producer = slow
		cfg.MaxInFlightBytes = MaxBodyBytes
		cfg.BudgetWait = 30 * time.Millisecond
	})
	large := bytes.Repeat([]byte(" "), MaxBodyBytes-smallestRead/2)
	copy(large, issueBody(500))
	code := make(chan int, 1)
	go func() { code <- e.send(e.delivery("issues", large)).code }()
	<-slow.entered
	got := e.send(e.delivery("issues", issueBody(500)))
	if got.code != 503 || got.json["error"] != "overloaded" || got.header.Get("Retry-After") == "" {
		t.Errorf("%d %v", got.code, got.json)
	}
	close(slow.release)
	if c := <-code; c != 200 {
		t.Errorf("the large delivery: %d", c)
	}
	if got := e.send(e.delivery("issues", issueBody(500))); got.code != 200 {
		t.Errorf("after that: %d %v", got.code, got.json)
	}
}

func TestNewExplainsItsFaults(t *testing.T) {
	_, err := New(Config{Window: time.Millisecond, MaxWebhookRequests: -1, MaxInFlightBytes: 1, TrustedProxies: []netip.Prefix{{}}})
	if !errors.Is(err, github.ErrNoSecret) {
		t.Errorf("%v, want ErrNoSecret", err)
	}
	for _, want := range []string{"GITHUB_WEBHOOK_SECRET", "no producer", "RATE_LIMIT_WINDOW_SECONDS", "MAX_WEBHOOK_REQUESTS", "in flight", "trusted proxy"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q in it", err, want)
		}
	}
	registry := prometheus.NewRegistry()
	cfg := Config{Producer: &memoryLog{}, Secrets: []string{"x"}, Registerer: registry}
	if _, err := New(cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := New(cfg); err == nil {
		t.Error("two handlers registered the same metrics")
	}
}

func TestSecretsAndSignaturesAreNotLogged(t *testing.T) {
	var out lockedBuffer
	e := newEndpoint(t, func(cfg *Config) {
		cfg.Logger = slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	body := issueBody(500)
	r := e.delivery("issues", body)
	forged := github.Sign("guess", body)
	r.Header.Set("X-Hub-Signature-256", forged)
	e.send(r)
	e.log.fail(errors.New("no broker"))
	e.send(e.delivery("issues", body))
	text := out.String()
	for _, secret := range []string{testSecret, "retired", forged, github.Sign(testSecret, body)} {
		if strings.Contains(text, strings.TrimPrefix(secret, "sha256=")) {
			t.Errorf("the log shows %q:\n%s", secret, text)
		}
	}
	if !strings.Contains(text, "bad_signature") || !strings.Contains(text, "no broker") {
		t.Errorf("the log says too little:\n%s", text)
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out.String()
}
