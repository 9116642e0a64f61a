package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/github"
)

// deadline bounds what a test waits for.
const deadline = 60 * time.Second

const secret = "it's a secret to everybody"

// payload is JSON that no encoder would write the same way again.
const payload = "{\"zen\" : \"<caf\\u00e9> \\/ \u2028 é\",\n \"id\": 12345678901234567890, \"n\": 1.0}"

// ingress verifies what it gets, as the service's does.
type ingress struct {
	*httptest.Server
	verifier *github.Verifier
	got      chan received
	answers  chan int // the next answers' statuses; 200 when there is none
}

type received struct {
	header http.Header
	body   []byte
	err    error
}

func newIngress(t *testing.T) *ingress {
	t.Helper()
	verifier, err := github.NewVerifier(secret)
	if err != nil {
		t.Fatal(err)
	}
	i := &ingress{verifier: verifier, got: make(chan received, 100), answers: make(chan int, 100)}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = verifier.Verify(body, r.Header.Get("X-Hub-Signature-256"))
		}
		select {
		case status := <-i.answers:
			w.WriteHeader(status)
			if status != http.StatusOK {
				return
			}
		default:
			if err != nil {
				w.WriteHeader(http.StatusUnauthorized)
			}
		}
		i.got <- received{r.Header, body, err}
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *ingress) next(t *testing.T) received {
	t.Helper()
	select {
	case r := <-i.got:
		return r
	case <-time.After(deadline):
		t.Fatal("nothing was forwarded")
	}
	return received{}
}

// newRelay serves a relay over HTTP.
func newRelay(t *testing.T, cfg ServerConfig) (*Server, *httptest.Server) {
	t.Helper()
	s := NewServer(cfg)
	h := httptest.NewServer(s)
	t.Cleanup(func() { s.Close(); h.CloseClientConnections(); h.Close() })
	return s, h
}

// forward runs a client until the test ends, and returns when it is connected.
func forward(t *testing.T, cfg ClientConfig) (reconnected <-chan struct{}) {
	t.Helper()
	connected := make(chan struct{}, 100)
	cfg.OnConnect = func() { connected <- struct{}{} }
	if cfg.LongestWait == 0 {
		cfg.LongestWait = 20 * time.Millisecond
	}
	client, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- client.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the client ended with %v", err)
		}
	})
	await(t, connected)
	return connected
}

func await(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(deadline):
		t.Fatal("the client did not connect")
	}
}

// post sends a webhook as GitHub does and returns the answer's status.
func post(t *testing.T, address string, body []byte) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-GitHub-Event", "ping")
	request.Header.Set("X-GitHub-Delivery", "6a3fbf2e-0000-4000-8000-000000000001")
	request.Header.Set("X-Hub-Signature-256", github.Sign(secret, body))
	request.Header.Set("Authorization", "Bearer not-for-you")
	request.Header.Set("X-Forwarded-For", "203.0.113.7")
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode
}

func TestRelayKeepsTheBytes(t *testing.T) {
	t.Parallel()
	in := newIngress(t)
	_, server := newRelay(t, ServerConfig{})
	channel, err := NewChannel(t.Context(), server.URL+"/new")
	if err != nil {
		t.Fatal(err)
	}
	if status := post(t, channel, []byte(payload)); status != http.StatusServiceUnavailable {
		t.Errorf("with nobody there it answers %d", status)
	}
	forward(t, ClientConfig{Channel: channel, Target: in.URL + "/webhook/github"})
	bodies := [][]byte{[]byte(payload), {}, []byte("{\"a\":\"\r\n\\u0000\"}"), bytes.Repeat([]byte("x\n"), 3<<20), {0, 0xff, '\n'}}
	for _, body := range bodies {
		if status := post(t, channel, body); status != http.StatusOK {
			t.Fatalf("it answers %d", status)
		}
		got := in.next(t)
		if got.err != nil || !bytes.Equal(got.body, body) {
			t.Errorf("%d bytes came as %d: %v", len(body), len(got.body), got.err)
		}
		if got.header.Get("X-Github-Event") != "ping" || got.header.Get("X-Github-Delivery") == "" || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("headers %v", got.header)
		}
		if got.header.Get("Authorization") != "" || got.header.Get("X-Forwarded-For") != "" {
			t.Errorf("a header came along that says who the sender is: %v", got.header)
		}
	}
}

func TestRelayReconnects(t *testing.T) {
	t.Parallel()
	in := newIngress(t)
	_, server := newRelay(t, ServerConfig{})
	channel := server.URL + "/" + NewChannelName()
	reconnected := forward(t, ClientConfig{Channel: channel, Target: in.URL})
	for i := range 5 {
		body := fmt.Appendf(nil, `{"n":%d}`, i)
		if status := post(t, channel, body); status != http.StatusOK {
			t.Fatalf("delivery %d: %d", i, status)
		}
		if got := in.next(t); !bytes.Equal(got.body, body) {
			t.Fatalf("delivery %d came as %s", i, got.body)
		}
		server.CloseClientConnections()
		// Posted while nobody is connected: it waits for the listener to be back.
		body = fmt.Appendf(nil, `{"away":%d}`, i)
		if status := post(t, channel, body); status != http.StatusOK {
			t.Fatalf("delivery %d while away: %d", i, status)
		}
		if got := in.next(t); !bytes.Equal(got.body, body) {
			t.Fatalf("delivery %d while away came as %s", i, got.body)
		}
		await(t, reconnected)
	}
}

// TestRelaySendsAgain: what a broken connection swallowed comes with the next one.
func TestRelaySendsAgain(t *testing.T) {
	t.Parallel()
	_, server := newRelay(t, ServerConfig{})
	channel := server.URL + "/" + NewChannelName()
	listen := func(lastID string) *stream {
		t.Helper()
		return open(t, channel, lastID)
	}
	first := listen("")
	for i := range 3 {
		if status := post(t, channel, fmt.Appendf(nil, "%d", i)); status != http.StatusOK {
			t.Fatalf("it answers %d", status)
		}
	}
	seen := first.event(t)
	first.close()
	again := listen(seen.id)
	for _, want := range []string{"1", "2"} {
		if got := again.event(t); got.body != want {
			t.Errorf("it sends %q again, want %q", got.body, want)
		}
	}
	fresh := listen("")
	other := listen("ABCDEFGHIJ-0") // of another life of the relay
	if status := post(t, channel, []byte("3")); status != http.StatusOK {
		t.Fatalf("it answers %d", status)
	}
	for _, s := range []*stream{again, fresh, other} {
		if got := s.event(t); got.body != "3" {
			t.Errorf("it sends %q, want the new one alone", got.body)
		}
	}
}

func TestRelayIsBounded(t *testing.T) {
	t.Parallel()
	s, server := newRelay(t, ServerConfig{MaxChannels: 2, MaxBytes: 64 << 10, KeepEvents: 4, Linger: time.Millisecond})
	channel := server.URL + "/" + NewChannelName()
	for _, name := range []string{"guessable", strings.Repeat("a", 129), "new/x", "%2e%2e"} {
		if status := post(t, server.URL+"/"+name, []byte("{}")); status != http.StatusNotFound {
			t.Errorf("a channel called %.20s: %d", name, status)
		}
	}
	listener := open(t, channel, "")
	if status := post(t, channel, make([]byte, MaxBodyBytes+1)); status != http.StatusRequestEntityTooLarge {
		t.Errorf("a body over GitHub's size: %d", status)
	}
	if status := post(t, channel, make([]byte, 40<<10)); status != http.StatusServiceUnavailable {
		t.Errorf("a body over the relay's memory: %d", status)
	}
	for range 20 {
		if status := post(t, channel, make([]byte, 8<<10)); status != http.StatusOK {
			t.Fatalf("it answers %d", status)
		}
	}
	s.channels.mu.Lock()
	for _, c := range s.channels.byID {
		if len(c.events) > 4 || s.channels.bytes > 32<<10 {
			t.Errorf("it keeps %d events, %d bytes", len(c.events), s.channels.bytes)
		}
	}
	s.channels.mu.Unlock()
	more := open(t, server.URL+"/"+NewChannelName(), "")
	if status := get(t, server.URL+"/"+NewChannelName()); status != http.StatusServiceUnavailable {
		t.Errorf("a channel too many: %d", status)
	}
	for range mostListeners - 1 {
		open(t, channel, "")
	}
	if status := get(t, channel); status != http.StatusServiceUnavailable {
		t.Errorf("a listener too many: %d", status)
	}
	// When the listeners have gone, nothing is left of a channel.
	more.close()
	listener.close()
	server.CloseClientConnections()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		heard := s.channels.listened("x")
		s.channels.mu.Lock()
		left, bytes := len(s.channels.byID), s.channels.bytes
		s.channels.mu.Unlock()
		if !heard && left == 0 && bytes == 0 {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%d channels and %d bytes are left", left, bytes)
		case <-ticker.C:
		}
	}
	if status := post(t, channel, []byte("{}")); status != http.StatusServiceUnavailable {
		t.Errorf("nobody listens any more: %d", status)
	}
}

// TestClientOfARelayThatRewrites: smee.io parses a webhook and writes it anew.
func TestClientOfARelayThatRewrites(t *testing.T) {
	t.Parallel()
	verifier, err := github.NewVerifier(secret)
	if err != nil {
		t.Fatal(err)
	}
	in := newIngress(t)
	events := make(chan string)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != "text/event-stream" {
			t.Errorf("Accept: %q", r.Header.Get("Accept"))
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "id: 0\nevent: ready\ndata: {}\n\n: a comment\n\nid: 1\nevent: ping\ndata: {}\n\n")
		w.(http.Flusher).Flush()
		for {
			select {
			case e := <-events:
				fmt.Fprintf(w, "id: 2\ndata: %s\n\n", e)
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}))
	t.Cleanup(server.Close)
	forward(t, ClientConfig{Channel: server.URL + "/aBcDeF123456", Target: in.URL, Verify: verifier.Verify})
	send := func(signed string, member string) {
		t.Helper()
		signature, err := json.Marshal(github.Sign(secret, []byte(signed)))
		if err != nil {
			t.Fatal(err)
		}
		select {
		case events <- fmt.Sprintf(`{"host":"smee.io","x-github-event":"ping","x-github-delivery":"g","x-hub-signature-256":%s,"content-type":"application/json",%s,"query":{},"timestamp":1}`, signature, member):
		case <-time.After(deadline):
			t.Fatal("the client went away")
		}
	}
	for name, c := range map[string]struct {
		signed, member string
		lost           bool
	}{
		"the same JSON":     {`{"a":"é <b>","n":7}`, `"body":{"a":"é <b>","n":7}`, false},
		"escaped HTML":      {`{"a":"\u003cb\u003e \u0026"}`, `"body":{"a":"<b> &"}`, false},
		"escaped letters":   {`{"a":"\u00e9 \ud83d\ude00"}`, `"body":{"a":"é 😀"}`, false},
		"text in rawdata":   {payload, `"rawdata":` + quoted(payload), false},
		"text in body":      {payload, `"body":` + quoted(payload), false},
		"bytes in bodyB":    {payload, `"bodyB":` + quoted64(payload), false},
		"a number's form":   {`{"n":1.0}`, `"body":{"n":1}`, true},
		"a forged document": {`{"a":1}`, `"body":{"a":2}`, true},
	} {
		send(c.signed, c.member)
		got := in.next(t)
		if c.lost != (got.err != nil) || !c.lost && string(got.body) != c.signed {
			t.Errorf("%s: came as %s, %v", name, got.body, got.err)
		}
	}
	// What is no webhook is passed over.
	for _, e := range []string{`not JSON`, `[]`, `{}`, `{"body":7}`, `{"bodyB":"?"}`, `{"body":null}`} {
		select {
		case events <- e:
		case <-time.After(deadline):
			t.Fatal("the client went away")
		}
	}
	send(`{"last":1}`, `"body":{"last":1}`)
	if got := in.next(t); string(got.body) != `{"last":1}` {
		t.Errorf("%s was forwarded", got.body)
	}
}

// TestClientIsPatient: what the ingress has no room for is tried again.
func TestClientIsPatient(t *testing.T) {
	t.Parallel()
	in := newIngress(t)
	_, server := newRelay(t, ServerConfig{})
	channel := server.URL + "/" + NewChannelName()
	forward(t, ClientConfig{Channel: channel, Target: in.URL})
	in.answers <- http.StatusServiceUnavailable
	in.answers <- http.StatusTooManyRequests
	if status := post(t, channel, []byte(payload)); status != http.StatusOK {
		t.Fatalf("it answers %d", status)
	}
	if got := in.next(t); string(got.body) != payload || got.err != nil {
		t.Errorf("came as %q, %v", got.body, got.err)
	}
}

// TestClientLeavesADeadConnection: one on which not even a ping comes is given up.
func TestClientLeavesADeadConnection(t *testing.T) {
	t.Parallel()
	in := newIngress(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	await(t, forward(t, ClientConfig{Channel: server.URL + "/channel", Target: in.URL, Silence: 30 * time.Millisecond}))
}

func TestCheckChannel(t *testing.T) {
	t.Parallel()
	for address, good := range map[string]bool{
		"https://smee.io/aBcDeF123456": true, "http://127.0.0.1:9/" + NewChannelName(): true,
		"": false, "smee.io/x": false, "ftp://smee.io/x": false, "https://smee.io/": false, "https://smee.io/new": false, "https://me:x@smee.io/x": false,
	} {
		if err := CheckChannel(address); (err == nil) != good {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func FuzzEnvelope(f *testing.F) {
	f.Add([]byte(`{"x-github-event":"ping","body":{"a":"é"}}`))
	f.Add([]byte(`{"bodyB":"e30="}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := decodeEnvelope(data)
		if err == nil {
			if len(d.bodies) == 0 || len(d.bodies) > 5 {
				t.Errorf("%d bodies", len(d.bodies))
			}
			d.body(nil)
			for name := range d.header {
				if !passed(strings.ToLower(name)) {
					t.Errorf("the header %s came along", name)
				}
			}
		}
		again, err := encodeEnvelope(http.Header{"X-Github-Event": {"ping"}}, data)
		if err != nil {
			t.Fatal(err)
		}
		back, err := decodeEnvelope(again)
		if err != nil || !bytes.Equal(back.body(nil), data) {
			t.Errorf("%q came back as %q, %v", data, back.bodies, err)
		}
	})
}

func quoted(text string) string {
	encoded, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(encoded)
}

func quoted64(text string) string {
	encoded, err := json.Marshal([]byte(text))
	if err != nil {
		panic(err)
	}
	return string(encoded)
}

// stream is a listener that reads when the test says so.
type stream struct {
	response *http.Response
	once     sync.Once
}

type streamEvent struct{ id, body string }

// open listens to a channel; it returns when the relay is ready.
func open(t *testing.T, channel, lastID string) *stream {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, channel, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "text/event-stream")
	request.Header.Set("Last-Event-ID", lastID)
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	s := &stream{response: response}
	t.Cleanup(s.close)
	if response.StatusCode != http.StatusOK {
		t.Fatalf("listening: %d", response.StatusCode)
	}
	if e := s.event(t); e.body != "" {
		t.Fatalf("it begins with %+v", e)
	}
	return s
}

func (s *stream) close() { s.once.Do(func() { s.response.Body.Close() }) }

// event reads the next event, which the server writes as lines.
func (s *stream) event(t *testing.T) streamEvent {
	t.Helper()
	var e streamEvent
	var line []byte
	one := make([]byte, 1)
	for {
		if _, err := s.response.Body.Read(one); err != nil {
			t.Fatalf("reading an event: %v", err)
		}
		if one[0] != '\n' {
			line = append(line, one[0])
			continue
		}
		name, value, _ := strings.Cut(string(line), ": ")
		switch {
		case len(line) == 0:
			return e
		case name == "id":
			e.id = value
		case name == "data" && value != "{}":
			d, err := decodeEnvelope([]byte(value))
			if err != nil {
				t.Fatal(err)
			}
			e.body = string(d.body(nil))
		}
		line = line[:0]
	}
}

// get listens to a channel that refuses.
func get(t *testing.T, channel string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, channel, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "text/event-stream")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}
