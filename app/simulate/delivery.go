package simulate

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // GitHub still sends the SHA-1 signature beside the SHA-256 one
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// delivery is one webhook to send.
type delivery struct {
	guid         string
	event        string
	action       string
	installation int64
	repository   int64
	payload      []byte
	again        int64 // ID of the attempt that this one repeats, 0 for the first
	room         chan struct{}
	copies       atomic.Int32 // yet to be sent
}

type deliveryCounts struct {
	made, ok, failed, dropped, vanished, doubled, delayed, reordered, redelivered, overflowed atomic.Int64
}

// Deliveries counts webhooks since the start.
type Deliveries struct {
	Made        int64 // events that the App was to hear of
	OK          int64 // attempts answered with 2xx
	Failed      int64 // attempts answered otherwise, or not at all; dropped ones too
	Dropped     int64 // failed on purpose, see DeliveryFaults
	Vanished    int64
	Doubled     int64
	Delayed     int64
	Reordered   int64
	Redelivered int64 // further attempts that were asked for
	Overflowed  int64 // failed because the queue was full
}

// Deliveries returns the counts of webhooks so far.
func (g *GitHub) Deliveries() Deliveries {
	c := &g.outbox.count
	return Deliveries{Made: c.made.Load(), OK: c.ok.Load(), Failed: c.failed.Load(), Dropped: c.dropped.Load(), Vanished: c.vanished.Load(),
		Doubled: c.doubled.Load(), Delayed: c.delayed.Load(), Reordered: c.reordered.Load(), Redelivered: c.redelivered.Load(), Overflowed: c.overflowed.Load()}
}

// outcome is what became of one attempt.
type outcome struct {
	at       time.Time
	duration time.Duration
	code     int
	status   string
	header   http.Header
	body     []byte
	url      string
}

const (
	statusUnreachable = "failed to connect to host"
	statusTimedOut    = "timed out"
	maxAnswer         = 4 << 10 // of an answer's body that the log keeps
)

func (o *outbox) attempt(ctx context.Context, d *delivery) {
	defer o.finish(d)
	began := time.Now()
	out := outcome{at: o.g.clock.Now(), url: o.target()}
	err := o.post(ctx, d, &out)
	out.duration = time.Since(began)
	if ctx.Err() != nil {
		o.abandoned.Store(true)
		return // closing: the attempt was cut off by us, not by the receiver
	}
	var timeout interface{ Timeout() bool }
	switch {
	case err == nil && out.code >= 200 && out.code < 300:
		out.status = "OK"
	case err == nil:
		out.status = "Invalid HTTP Response: " + strconv.Itoa(out.code)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		out.status = statusTimedOut
	default:
		out.status = statusUnreachable
	}
	if out.status != "OK" {
		o.g.log.Warn("a webhook was not accepted", "event", d.event, "action", d.action, "delivery", d.guid, "status", out.status, "error", err)
	}
	o.record(d, out)
}

func (o *outbox) post(ctx context.Context, d *delivery, out *outcome) error {
	ctx, cancel := context.WithTimeout(ctx, o.g.opts.AnswerDeadline)
	defer cancel()
	if o.unreachable.Load() {
		return errors.New("the receiver is unreachable, see SetUnreachable")
	}
	if out.url == "" {
		return errors.New("the App has no webhook URL any more")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, out.url, bytes.NewReader(d.payload))
	if err != nil {
		return err
	}
	o.header(d, req.Header.Set)
	res, err := o.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	out.code, out.header = res.StatusCode, res.Header
	out.body, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20)) // lets the connection be used again
	return err
}

// header sets the headers of a delivery as https://docs.github.com/webhooks/webhook-events-and-payloads#delivery-headers lists them.
func (o *outbox) header(d *delivery, set func(name, value string)) {
	set("Accept", "*/*")
	set("Content-Type", "application/json")
	set("User-Agent", o.agent)
	set("X-GitHub-Delivery", d.guid)
	set("X-GitHub-Event", d.event)
	set("X-GitHub-Hook-ID", strconv.FormatInt(o.hookID, 10))
	set("X-GitHub-Hook-Installation-Target-ID", strconv.FormatInt(o.g.opts.AppID, 10))
	set("X-GitHub-Hook-Installation-Target-Type", "integration")
	if secret := []byte(o.g.asked().secret); len(secret) > 0 {
		legacy := hmac.New(sha1.New, secret)
		legacy.Write(d.payload)
		set("X-Hub-Signature", "sha1="+hex.EncodeToString(legacy.Sum(nil)))
		current := hmac.New(sha256.New, secret)
		current.Write(d.payload)
		set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(current.Sum(nil)))
	}
}

// guidScope is what a delivery's GUID is made from: a stable place and the count of events there, so that GUIDs do not
// depend on what happens at the same time elsewhere.
type guidScope struct {
	kind     byte
	id       int64
	number   int
	sequence uint64
}

func (g *GitHub) guid(s guidScope) string {
	b := make([]byte, 0, 33)
	b = append(b, s.kind)
	for _, part := range []uint64{g.opts.Seed, uint64(s.id), uint64(s.number), s.sequence} { //nolint:gosec // hashed, not computed with
		b = binary.BigEndian.AppendUint64(b, part)
	}
	sum := sha256.Sum256(b)
	sum[6] = sum[6]&0x0f | 0x40
	sum[8] = sum[8]&0x3f | 0x80
	h := hex.EncodeToString(sum[:16])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
