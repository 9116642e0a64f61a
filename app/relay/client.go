// Package relay brings webhooks to a machine without a public address, for
// development: GitHub posts to a channel of a relay, and the machine listens to
// the channel with server-sent events and posts what comes to its own ingress.
//
// Client listens to channels of this package's Server, of smee.io and of others
// that speak the same: GET with Accept: text/event-stream; every event is a
// JSON object with the webhook's headers as members beside its body; events
// called ready and ping are for the connection's sake. Server keeps the bytes
// that GitHub signed, and tells GitHub when nobody listens.
//
// A relay is for development. Whoever knows a channel's URL reads the webhooks
// that pass through it, private repositories' issues included, and GitHub may
// have been told that a delivery arrived when it did not.
package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/tmaxmax/go-sse"
)

// ClientConfig says which channel to listen to and where to post. Zero values of
// the durations stand for the defaults named with each.
type ClientConfig struct {
	// Channel is the channel's URL, Target that of the ingress.
	Channel, Target string
	// Verify checks a body against its signature. It chooses among the ways in
	// which a body may have been written where the channel did not keep its
	// bytes; without it the likeliest is taken.
	Verify func(body []byte, signature string) error
	// OnConnect, when not nil, is called each time the channel is open.
	OnConnect func()
	// Silence is how long a channel may send nothing, not even a ping, before
	// the connection counts as dead; default 90 s, three pings of smee.io.
	Silence time.Duration
	// LongestWait bounds the wait before the next attempt to connect; default 30 s.
	LongestWait time.Duration
	// Patience is how long a delivery is tried again that the ingress has no
	// room for; default 30 s.
	Patience time.Duration
	// UserAgent is sent to the relay; default "DispatchAI".
	UserAgent string
	Logger    *slog.Logger
}

// Client forwards the deliveries of one channel, one at a time and in order.
type Client struct {
	cfg    ClientConfig
	stream *http.Client
	post   *http.Client
	lastID string
}

// NewClient checks the configuration and makes no connection.
func NewClient(cfg ClientConfig) (*Client, error) {
	if err := CheckChannel(cfg.Channel); err != nil {
		return nil, err
	}
	if u, err := url.Parse(cfg.Target); err != nil || u.Host == "" {
		return nil, fmt.Errorf("relay: %q is no URL to forward to", cfg.Target)
	}
	if cfg.Silence <= 0 {
		cfg.Silence = 90 * time.Second
	}
	if cfg.LongestWait <= 0 {
		cfg.LongestWait = 30 * time.Second
	}
	if cfg.Patience <= 0 {
		cfg.Patience = 30 * time.Second
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "DispatchAI"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	stream := http.DefaultTransport.(*http.Transport).Clone()
	stream.ResponseHeaderTimeout = 20 * time.Second
	stream.DisableCompression = true // an event would wait in the compressor
	direct := http.DefaultTransport.(*http.Transport).Clone()
	direct.Proxy = nil // the ingress is on this machine
	return &Client{cfg: cfg, stream: &http.Client{Transport: stream}, post: &http.Client{Transport: direct, Timeout: 15 * time.Second}}, nil
}

// CheckChannel says what is wrong with a channel's URL.
func CheckChannel(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("the relay's channel is not an http(s) URL (for example https://smee.io/aBcDeF123456, or one that `dispatchai relay` printed)")
	case u.User != nil || u.Fragment != "":
		return errors.New("the relay's channel has a user name or a fragment: give only scheme, host and path")
	case strings.Trim(u.Path, "/") == "" || strings.Trim(u.Path, "/") == "new":
		return fmt.Errorf("the URL names no channel of the relay: open %s://%s/new, and take the URL that it leads to", u.Scheme, u.Host)
	}
	return nil
}

// NewChannel asks a relay for a channel of one's own: address ends in /new, as
// at smee.io and at this package's Server. Any other address is returned as it is.
func NewChannel(ctx context.Context, address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || strings.Trim(u.Path, "/") != "new" {
		return address, CheckChannel(address)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	client := http.Client{Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return "", fmt.Errorf("ask the relay for a channel: %w", err)
	}
	defer response.Body.Close()
	to, err := response.Location()
	if err != nil {
		return "", fmt.Errorf("the relay at %s answers %d to /new and leads to no channel", u.Host, response.StatusCode)
	}
	if to.Host != u.Host {
		return "", fmt.Errorf("the relay at %s leads to a channel of another host, %s; give its URL yourself if you trust it", u.Host, to.Host)
	}
	to.Scheme = u.Scheme // a relay behind a proxy may not know that it is reached by https
	return to.String(), CheckChannel(to.String())
}

// Run listens until ctx ends and then returns nil. A connection that breaks is
// made again, each time a little later, with the ID of the last event that
// came, so that a relay which kept what came meanwhile sends it.
func (c *Client) Run(ctx context.Context) error {
	defer c.stream.CloseIdleConnections()
	defer c.post.CloseIdleConnections()
	host := c.cfg.Channel
	if u, err := url.Parse(host); err == nil {
		host = u.Host // the path is what makes the channel secret
	}
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = min(250*time.Millisecond, c.cfg.LongestWait), c.cfg.LongestWait
	for {
		err := c.listen(ctx, wait.Reset)
		if ctx.Err() != nil {
			return nil
		}
		pause := wait.NextBackOff()
		c.cfg.Logger.Warn("the webhook relay's channel is closed; connecting again", "relay", host, "error", err, "in", pause.Round(time.Millisecond))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

var errSilent = errors.New("it sent nothing, not even a ping")

// listen is one connection's life; it always ends with an error.
func (c *Client) listen(ctx context.Context, connected func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.cfg.Channel, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "text/event-stream")
	request.Header.Set("Cache-Control", "no-cache")
	request.Header.Set("User-Agent", c.cfg.UserAgent)
	if c.lastID != "" {
		request.Header.Set("Last-Event-ID", c.lastID)
	}
	response, err := c.stream.Do(request)
	if err != nil {
		var quoting *url.Error
		if errors.As(err, &quoting) {
			err = quoting.Err // which does not name the channel
		}
		return err
	}
	defer response.Body.Close()
	if kind := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || !strings.HasPrefix(kind, "text/event-stream") {
		return fmt.Errorf("it answers %d with %.60q, not with a stream of events: check the channel's URL", response.StatusCode, kind)
	}
	connected()
	if c.cfg.OnConnect != nil {
		c.cfg.OnConnect()
	}
	c.cfg.Logger.Info("listening to the webhook relay", "relay", request.URL.Host)
	alarm := time.AfterFunc(c.cfg.Silence, func() { cancel(errSilent) })
	defer alarm.Stop()
	body := &heard{Reader: response.Body, hear: func() { alarm.Reset(c.cfg.Silence) }}
	for event, err := range sse.Read(body, &sse.ReadConfig{MaxEventSize: maxEventBytes}) {
		if err != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		// The channel's silence while a delivery is forwarded is ours.
		alarm.Stop()
		if event.Type == "" || event.Type == "message" {
			c.forward(ctx, event.Data)
		}
		if event.LastEventID != "" {
			c.lastID = event.LastEventID
		}
		alarm.Reset(c.cfg.Silence)
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return io.ErrUnexpectedEOF
}

// heard tells when something arrives.
type heard struct {
	io.Reader
	hear func()
}

func (h *heard) Read(p []byte) (int, error) {
	n, err := h.Reader.Read(p)
	if n > 0 {
		h.hear()
	}
	return n, err
}

// forward posts one delivery. What the ingress has no room for is tried again
// for a while: to GitHub it counts as arrived already.
func (c *Client) forward(ctx context.Context, data string) {
	d, err := decodeEnvelope([]byte(data))
	if err != nil {
		c.cfg.Logger.Warn("the webhook relay sent something that is no webhook", "error", err)
		return
	}
	log := c.cfg.Logger.With("event", d.header.Get("X-Github-Event"), "delivery", d.header.Get("X-Github-Delivery"))
	body := d.body(c.cfg.Verify)
	var status atomic.Int64
	_, err = backoff.Retry(ctx, func() (struct{}, error) {
		code, err := c.deliver(ctx, d.header, body)
		status.Store(int64(code))
		switch {
		case err != nil:
			return struct{}{}, err
		case code == http.StatusServiceUnavailable, code == http.StatusTooManyRequests, code == http.StatusBadGateway:
			return struct{}{}, fmt.Errorf("the ingress answers %d", code)
		}
		return struct{}{}, nil
	}, backoff.WithBackOff(&backoff.ExponentialBackOff{InitialInterval: 100 * time.Millisecond, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: 5 * time.Second}),
		backoff.WithMaxElapsedTime(c.cfg.Patience))
	switch {
	case ctx.Err() != nil:
	case err != nil:
		log.Error("a webhook from the relay is given up; GitHub takes it for delivered, so have it sent again in the App's settings under Advanced", "error", err)
	case status.Load() == http.StatusUnauthorized && len(d.bodies) > 1:
		log.Error("the signature of a webhook from the relay does not match: the relay has written its JSON anew and the bytes that GitHub signed are lost; " +
			"use a relay that keeps them, such as `dispatchai relay`")
	case status.Load() >= 300:
		log.Warn("a webhook from the relay was refused", "status", status.Load())
	default:
		log.Debug("forwarded a webhook from the relay", "status", status.Load())
	}
}

func (c *Client) deliver(ctx context.Context, header http.Header, body []byte) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.cfg.Target, bytes.NewReader(body))
	if err != nil {
		return 0, backoff.Permanent(err)
	}
	request.Header = header.Clone()
	response, err := c.post.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	// So that the connection can be used again; the answer itself is for GitHub.
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
	return response.StatusCode, nil
}
