package relay

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/tmaxmax/go-sse"
	"golang.org/x/sync/semaphore"
)

// ServerConfig bounds a Server. Zero values stand for the defaults named with
// each field.
type ServerConfig struct {
	// MaxChannels bounds the channels with listeners; default 1,000.
	MaxChannels int
	// MaxBytes bounds the webhooks in memory, those on their way and those kept
	// for listeners that come back; default 256 MiB.
	MaxBytes int64
	// KeepEvents is how many events of a channel are kept for listeners that
	// come back; default 64.
	KeepEvents int
	// Linger is for how long a channel whose last listener has gone is held
	// open for its return; default 30 s.
	Linger time.Duration
	// Patience is how long a webhook waits for a listener to take it; default
	// 8 s, because GitHub waits for 10.
	Patience time.Duration
	// Ping is how often a listener without news hears that the connection
	// lives; default 25 s.
	Ping   time.Duration
	Logger *slog.Logger
}

// Server is a relay: POST /CHANNEL from GitHub, GET /CHANNEL from a Client. Its
// answer to GitHub is 200 only when the webhook was written to a listener's
// connection, and 503 when nobody listens, so that GitHub's log of deliveries
// tells what did not arrive and can be asked to send it again.
//
// A channel comes to be when somebody listens to it; its name is the only key
// to it, and has to be as long as those that GET /new hands out.
type Server struct {
	cfg      ServerConfig
	channels *channels
	room     *semaphore.Weighted // for bodies on their way in
	mux      *http.ServeMux
	life     context.Context // ends with Close
	end      context.CancelFunc
}

// NewServer makes a relay. Close ends what its listeners wait for.
func NewServer(cfg ServerConfig) *Server {
	if cfg.MaxChannels <= 0 {
		cfg.MaxChannels = 1000
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = 256 << 20
	}
	if cfg.KeepEvents <= 0 {
		cfg.KeepEvents = 64
	}
	if cfg.Linger <= 0 {
		cfg.Linger = 30 * time.Second
	}
	if cfg.Patience <= 0 {
		cfg.Patience = 8 * time.Second
	}
	if cfg.Ping <= 0 {
		cfg.Ping = 25 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, mux: http.NewServeMux()}
	s.life, s.end = context.WithCancel(context.Background())
	// Half is for events that are kept, half for bodies that become events.
	s.channels = &channels{most: cfg.MaxChannels, mostBytes: cfg.MaxBytes / 2, keep: cfg.KeepEvents, linger: cfg.Linger, now: time.Now, byID: make(map[string]*channel)}
	s.room = semaphore.NewWeighted(max(cfg.MaxBytes/2, MaxBodyBytes+1))
	s.mux.HandleFunc("GET /{$}", s.about)
	s.mux.HandleFunc("GET /new", s.newChannel)
	s.mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	s.mux.HandleFunc("GET /{channel}", s.listen)
	s.mux.HandleFunc("POST /{channel}", s.accept)
	return s
}

// ServeHTTP answers GitHub and listeners.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	s.mux.ServeHTTP(w, r)
}

// Close ends all streams, so that the HTTP server can be shut down.
func (s *Server) Close() { s.end() }

// NewChannelName is a name that nobody guesses: 128 bits and more.
func NewChannelName() string { return rand.Text() }

// channelName has room for at least 130 bits in base 32, as NewChannelName makes them.
var channelName = regexp.MustCompile(`^[A-Za-z0-9_-]{26,128}$`)

func (s *Server) about(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprint(w, "This is a relay of DispatchAI for webhooks in development.\nGET /new leads to a channel of your own; its name is its only key.\n")
}

func (s *Server) newChannel(w http.ResponseWriter, _ *http.Request) {
	// Relative, so that it is right behind any proxy.
	w.Header().Set("Location", "/"+NewChannelName())
	w.WriteHeader(http.StatusTemporaryRedirect)
}

// named returns the request's channel, or answers the request.
func named(w http.ResponseWriter, r *http.Request) (string, bool) {
	name := r.PathValue("channel")
	if !channelName.MatchString(name) {
		http.Error(w, "There is no such channel, and its name could be guessed: GET /new leads to one of your own.", http.StatusNotFound)
		return "", false
	}
	return name, true
}

const (
	bodyTimeout  = 10 * time.Second
	writeTimeout = 30 * time.Second
)

// accept takes a webhook from GitHub.
func (s *Server) accept(w http.ResponseWriter, r *http.Request) {
	name, ok := named(w, r)
	if !ok {
		return
	}
	if !s.channels.listened(name) {
		unavailable(w, "Nobody listens to this channel. Start the service there, then have GitHub deliver this again.")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Patience)
	defer cancel()
	size := r.ContentLength
	if size < 0 || size > MaxBodyBytes {
		size = MaxBodyBytes
	}
	if s.room.Acquire(ctx, size) != nil {
		unavailable(w, "The relay has no room at the moment.")
		return
	}
	defer s.room.Release(size)
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)) // a connection without deadlines has the server's
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBodyBytes))
	if err != nil {
		http.Error(w, "The body is too large, or did not arrive in full.", http.StatusRequestEntityTooLarge)
		return
	}
	data, err := encodeEnvelope(r.Header, body)
	if err != nil {
		http.Error(w, "The webhook cannot be encoded.", http.StatusBadRequest)
		return
	}
	e := s.channels.publish(name, data)
	if e == nil {
		unavailable(w, "The relay has no room at the moment.")
		return
	}
	select {
	case <-e.arrived:
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"status":"relayed"}`)
	case <-ctx.Done():
		unavailable(w, "Nobody took this webhook from the channel.")
	case <-s.life.Done():
		unavailable(w, "The relay is closing.")
	}
}

func unavailable(w http.ResponseWriter, why string) {
	w.Header().Set("Retry-After", "10")
	http.Error(w, why, http.StatusServiceUnavailable)
}

// listen streams a channel to a client.
func (s *Server) listen(w http.ResponseWriter, r *http.Request) {
	name, ok := named(w, r)
	if !ok {
		return
	}
	if !strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(w, "This is a channel for webhooks: give its URL to dispatchai setup --relay and dispatchai serve --relay. Keep it to yourself.\n")
		return
	}
	c, next := s.channels.join(name, r.Header.Get("Last-Event-ID"))
	if c == nil {
		unavailable(w, "The relay has no room for another listener.")
		return
	}
	defer s.channels.leave(c)
	session, err := sse.Upgrade(w, r)
	if err != nil {
		http.Error(w, "This connection cannot stream.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("X-Accel-Buffering", "no")
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	writes := http.NewResponseController(w)
	send := func(kind, id, data string) bool {
		m := &sse.Message{}
		m.AppendData(data)
		if kind != "" {
			m.Type = sse.Type(kind)
		}
		if id != "" {
			m.ID = sse.ID(id)
		}
		_ = writes.SetWriteDeadline(time.Now().Add(writeTimeout)) // a connection without deadlines has the server's
		return session.Send(m) == nil && session.Flush() == nil
	}
	for open := send("ready", "", "{}"); open; {
		e, id := s.channels.wait(ctx, c, next, s.cfg.Ping)
		switch {
		case ctx.Err() != nil:
			return
		case e == nil:
			open = send("ping", "", "{}")
		default:
			if open = send("", id, string(e.data)); open {
				s.channels.received(e)
				next = e.number + 1
			}
		}
	}
}
