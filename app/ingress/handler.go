// Package ingress takes GitHub's webhook deliveries and puts them, bytes
// unchanged, into the durable log. Nothing else: what a delivery means is for
// the workers behind the log to find out.
//
// # The contract
//
// POST with Content-Type application/json. Answers are JSON:
//
//	200 {"status":"accepted","delivery_id":"...","event":"issues"}  the delivery is durable
//	200 {"status":"ignored","event":"push"}                         signed, but of an event DispatchAI has no use for
//	4xx, 503 {"status":"rejected","error":"...","message":"..."}    nothing was kept
//
// The errors are, in the order in which they are looked for: method (405, with
// Allow), content_type (415), too_large (413, over 25 MiB), rate_limited (429,
// with Retry-After and X-RateLimit-Limit, -Remaining and -Reset, the last in
// seconds since 1970), missing_signature (401), overloaded (503), body_timeout
// (408), body_incomplete (400), bad_signature (401), rate_limited for verified
// deliveries (429), bad_headers (400: X-GitHub-Event or X-GitHub-Delivery is
// missing or malformed), not_json (400), incomplete (400: JSON without the
// repository, issue or installation it is about), and log_full, log_unavailable
// (503, with Retry-After).
//
// GitHub's ping is accepted like any other event, with a record on
// installations.raw: so a ping that is answered with 200 proves the whole way
// into the log.
//
// # The record
//
// issues and issue_comment go to issues.raw with the key repositoryID#number;
// installation, installation_repositories, label, repository and ping to
// installations.raw with the installation's ID ("0" for a ping that names none).
// The value is the body as it came. The headers are the delivery's GUID, the
// event, the time it was received and a traceparent, which continues the
// sender's trace if it sent a valid one.
package ingress

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/failpoint"
	"github.com/dispatchai/dispatchai/core/github"
)

// MaxBodyBytes is the largest delivery that GitHub sends.
const MaxBodyBytes = 25 << 20

// appender is the log, as eventlog.Producer offers it: Append returns nil once
// the records are durable, and then reads their values no more, so that their
// memory can serve the next delivery. After an error it may still read them.
type appender interface {
	Append(ctx context.Context, records ...eventlog.Record) error
}

// Config sets up a Handler. Producer and one of Verifier and Secrets are
// needed; zero values of the rest stand for the defaults named with each field.
type Config struct {
	Producer appender
	// Secrets are the webhook secrets (GITHUB_WEBHOOK_SECRET); Verifier, if it
	// is set, is used instead.
	Secrets  []string
	Verifier *github.Verifier
	// TrustedProxies are the networks whose X-Forwarded-For and X-Real-IP are
	// believed. Without any, the address of the connection is the client's.
	TrustedProxies []netip.Prefix

	// MaxWebhookRequests is how many requests whose signature does not verify
	// one client address (of IPv6, one /64) may make within Window; default 100
	// (MAX_WEBHOOK_REQUESTS).
	MaxWebhookRequests int
	// MaxVerifiedRequests is the same for verified deliveries. GitHub sends all
	// of its deliveries from few addresses, so it only has to keep a runaway
	// sender with a valid secret in check; default 6,000,000.
	MaxVerifiedRequests int
	// Window is the length of the sliding window; default 60 s (RATE_LIMIT_WINDOW_SECONDS).
	Window time.Duration
	// MaxAddresses bounds the addresses that are remembered; default 65,536.
	MaxAddresses int
	// OverLimitBytesPerSecond is how much body, of all addresses that used up
	// MaxWebhookRequests together, is still read and verified. It is what keeps
	// GitHub from being locked out when it shares an address with an attacker
	// behind a proxy that is not declared in TrustedProxies. Default 32 MiB.
	OverLimitBytesPerSecond int

	// MaxInFlightBytes bounds the bodies in memory; default 64 MiB, at least
	// MaxBodyBytes. A request waits up to BudgetWait (default 1 s) for room.
	MaxInFlightBytes int64
	BudgetWait       time.Duration
	// BodyTimeout bounds the reading of a body (default 10 s, as long as GitHub
	// waits for the answer) and AppendTimeout the wait for the log (default 8 s).
	BodyTimeout   time.Duration
	AppendTimeout time.Duration

	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Clock is the time of records and limits; default time.Now.
	Clock func() time.Time
}

// Handler is the webhook endpoint. Mount it at /webhook/github for all methods.
// It is safe for concurrent use and owns no goroutine.
type Handler struct {
	producer      appender
	verifier      *github.Verifier
	clients       clientAddresses
	limits        *limiter
	overLimit     *rate.Limiter
	budget        *byteBudget
	buffers       buffers
	budgetWait    time.Duration
	bodyTimeout   time.Duration
	appendTimeout time.Duration
	metrics       *metrics
	logger        *slog.Logger
	complaints    *rate.Sometimes // about senders
	troubles      *rate.Sometimes // about the log
	now           func() time.Time
}

// New checks the configuration. Without a webhook secret it returns an error
// that wraps github.ErrNoSecret and says what to set.
func New(cfg Config) (*Handler, error) {
	var faults []error
	if cfg.Producer == nil {
		faults = append(faults, errors.New("ingress: no producer"))
	}
	if cfg.Verifier == nil {
		v, err := github.NewVerifier(cfg.Secrets...)
		if err != nil {
			faults = append(faults, err)
		}
		cfg.Verifier = v
	}
	if cfg.MaxWebhookRequests < 0 {
		faults = append(faults, fmt.Errorf("MAX_WEBHOOK_REQUESTS is %d: it must be positive", cfg.MaxWebhookRequests))
	}
	if cfg.Window < 0 || cfg.Window > 0 && cfg.Window < time.Second {
		faults = append(faults, fmt.Errorf("RATE_LIMIT_WINDOW_SECONDS is %g: it must be at least 1", cfg.Window.Seconds()))
	}
	if cfg.MaxInFlightBytes != 0 && cfg.MaxInFlightBytes < MaxBodyBytes {
		faults = append(faults, fmt.Errorf("ingress: %d bytes in flight do not hold one delivery of %d", cfg.MaxInFlightBytes, MaxBodyBytes))
	}
	for _, p := range cfg.TrustedProxies {
		if !p.IsValid() {
			faults = append(faults, errors.New("ingress: a trusted proxy is not a network such as 10.0.0.0/8"))
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	orDefault(&cfg.MaxWebhookRequests, 100)
	orDefault(&cfg.MaxVerifiedRequests, 6_000_000)
	orDefault(&cfg.Window, time.Minute)
	orDefault(&cfg.MaxAddresses, 65_536)
	orDefault(&cfg.OverLimitBytesPerSecond, 32<<20)
	orDefault(&cfg.MaxInFlightBytes, 64<<20)
	orDefault(&cfg.BudgetWait, time.Second)
	orDefault(&cfg.BodyTimeout, 10*time.Second)
	orDefault(&cfg.AppendTimeout, 8*time.Second)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	h := &Handler{
		producer:      cfg.Producer,
		verifier:      cfg.Verifier,
		clients:       clientAddresses{trusted: cfg.TrustedProxies},
		limits:        newLimiter(cfg.MaxAddresses, cfg.Window, cfg.MaxWebhookRequests, cfg.MaxVerifiedRequests),
		overLimit:     rate.NewLimiter(rate.Limit(cfg.OverLimitBytesPerSecond), max(cfg.OverLimitBytesPerSecond, MaxBodyBytes)),
		budget:        newByteBudget(cfg.MaxInFlightBytes),
		budgetWait:    cfg.BudgetWait,
		bodyTimeout:   cfg.BodyTimeout,
		appendTimeout: cfg.AppendTimeout,
		logger:        cfg.Logger,
		complaints:    &rate.Sometimes{First: 3, Interval: 10 * time.Second},
		troubles:      &rate.Sometimes{First: 3, Interval: time.Second},
		now:           cfg.Clock,
	}
	var err error
	if h.metrics, err = newMetrics(cfg.Registerer, h); err != nil {
		return nil, err
	}
	return h, nil
}

func orDefault[T int | int64 | time.Duration](value *T, otherwise T) {
	if *value <= 0 {
		*value = otherwise
	}
}

// ServeHTTP answers one delivery; see the package's contract.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := h.now()
	if err := h.serve(w, r, start); err != nil {
		h.reject(w, r, err)
	}
	h.metrics.duration.Observe(h.now().Sub(start).Seconds())
}

// serve answers a request that is in order; for any other it returns why not.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, start time.Time) *rejection {
	if err := checkRequest(r); err != nil {
		return err
	}
	client := h.clients.of(r)
	var body body
	defer h.free(&body)
	if err := h.verifiedBody(w, r, &body, client, start); err != nil {
		return err
	}
	if state, over := h.limits.verified(client, start); over {
		h.metrics.limitedVerified.Inc()
		return limited(state, "this address sends more verified deliveries than are accepted")
	}
	h.metrics.bodyBytes.Observe(float64(len(body.bytes)))

	event, ok := singleHeader(r, "X-Github-Event")
	if !ok || !wellFormed(event) {
		return errBadHeaders
	}
	delivery, ok := singleHeader(r, "X-Github-Delivery")
	if !ok || !wellFormed(delivery) {
		return errBadHeaders
	}
	if _, ok := github.RouteOf(event); !ok {
		h.metrics.ignored.Inc()
		answerIgnored(w, event)
		return nil
	}
	if err := h.keep(r, event, delivery, &body, start); err != nil {
		return err
	}
	h.metrics.accepted[event].Inc()
	answerAccepted(w, event, delivery)
	return nil
}

func checkRequest(r *http.Request) *rejection {
	if r.Method != http.MethodPost {
		return errMethod
	}
	if kind, ok := singleHeader(r, "Content-Type"); !ok || kind != "application/json" {
		kind, _, err := mime.ParseMediaType(kind)
		switch {
		case err == nil && kind == "application/x-www-form-urlencoded":
			return errFormEncoded
		case err != nil || kind != "application/json":
			return errContentType
		}
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return errContentEncoding
	}
	if r.ContentLength > MaxBodyBytes {
		return errTooLarge
	}
	return nil
}

// verifiedBody reads the body and proves that it is GitHub's. Who fails is
// counted against the client's address, and an address that used up its limit
// is read on only out of a budget that all such addresses share.
func (h *Handler) verifiedBody(w http.ResponseWriter, r *http.Request, b *body, client netip.Addr, now time.Time) *rejection {
	signature, _ := singleHeader(r, github.SignatureHeader)
	state, over := h.limits.exhausted(client, now)
	if over {
		cost := max(r.ContentLength, smallestRead)
		if signature == "" || r.ContentLength < 0 || !h.overLimit.AllowN(now, int(cost)) {
			return h.limited(state)
		}
	}
	why := errMissingSignature
	if signature != "" {
		why = h.readBody(w, r, b)
	}
	if why == nil && h.verifier.Verify(b.bytes, signature) != nil {
		why = errBadSignature
	}
	if why == nil || why == errOverloaded {
		return why
	}
	if state, over = h.limits.failed(client, now); over {
		return h.limited(state)
	}
	return why
}

func (h *Handler) limited(state limitState) *rejection {
	h.metrics.limitedUnverified.Inc()
	return limited(state, "this address sent too many requests whose signature does not verify")
}

// keep puts the delivery into the log. The wait does not end with the
// connection, so that a sender who hangs up leaves no record's fate open.
func (h *Handler) keep(r *http.Request, event, delivery string, body *body, receivedAt time.Time) *rejection {
	route, key, err := github.Key(event, body.bytes)
	if err != nil {
		return unusable(err)
	}
	topic := eventlog.TopicIssuesRaw
	if route == github.RouteInstallations {
		topic = eventlog.TopicInstallationsRaw
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), h.appendTimeout)
	defer cancel()
	body.shared = true
	failpoint.Hit("ingress/before-append")
	err = h.producer.Append(ctx, eventlog.Record{
		Topic:   topic,
		Key:     key,
		Value:   body.bytes,
		Headers: recordHeaders(r.Header, event, delivery, receivedAt),
		Time:    receivedAt,
	})
	failpoint.Hit("ingress/after-append")
	if err == nil {
		body.shared = false
		return nil
	}
	h.troubles.Do(func() {
		h.logger.Error("a delivery was not kept: the event log does not take it; GitHub keeps it for redelivery for three days",
			"err", err, "delivery", delivery, "event", event, "bytes", len(body.bytes))
	})
	switch {
	case errors.Is(err, eventlog.ErrTooLarge):
		return errTooLarge
	case errors.Is(err, eventlog.ErrFull):
		return errLogFull
	}
	return errLogUnavailable
}

// singleHeader returns the value of a header, given by its canonical name, that
// stands exactly once: which of several counts would be anybody's guess.
func singleHeader(r *http.Request, name string) (string, bool) {
	if values := r.Header[name]; len(values) == 1 {
		return values[0], values[0] != ""
	}
	return "", false
}

// wellFormed tells whether a header's value is what GitHub might have sent: up
// to 200 visible ASCII characters that need no escape in JSON.
func wellFormed(s string) bool {
	if len(s) > 200 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
