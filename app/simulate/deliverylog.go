package simulate

import (
	"context"
	"fmt"
	"time"
)

// deliveryLog keeps attempts for three days, as GitHub does, and at most bound of them. The outbox's lock guards it.
type deliveryLog struct {
	bound    int
	next     int64
	attempts []*Attempt
}

// Attempt is one attempt to deliver a webhook, as GitHub's delivery log lists it.
type Attempt struct {
	ID           int64
	GUID         string // the same for every attempt of one delivery
	Event        string
	Action       string
	Installation int64
	Repository   int64
	Redelivery   bool
	At           time.Time
	Duration     time.Duration
	Status       string // "OK", "Invalid HTTP Response: 503", "failed to connect to host", "timed out"
	StatusCode   int    // 0 when there was no answer
	URL          string
	Payload      []byte // must not be changed
	answerHeader map[string][]string
	answer       []byte
}

// Failed tells whether the receiver did not accept the attempt.
func (a *Attempt) Failed() bool { return a.Status != "OK" }

const (
	firstAttemptID = 190_000_000_000
	deliveryKept   = 72 * time.Hour
)

func (o *outbox) record(d *delivery, out outcome) {
	if out.status == "OK" {
		o.count.ok.Add(1)
	} else {
		o.count.failed.Add(1)
	}
	if o.log.bound <= 0 {
		return
	}
	a := &Attempt{GUID: d.guid, Event: d.event, Action: d.action, Installation: d.installation, Repository: d.repository, Redelivery: d.again != 0,
		At: out.at.UTC(), Duration: out.duration, Status: out.status, StatusCode: out.code, URL: out.url, Payload: d.payload,
		answerHeader: out.header, answer: out.body}
	o.mu.Lock()
	defer o.mu.Unlock()
	l := &o.log
	if l.next == 0 {
		l.next = firstAttemptID
	}
	a.ID = l.next
	l.next++
	l.attempts = append(l.attempts, a)
	l.trim(out.at)
}

func (l *deliveryLog) trim(now time.Time) {
	gone := max(0, len(l.attempts)-l.bound)
	for gone < len(l.attempts) && now.Sub(l.attempts[gone].At) > deliveryKept {
		gone++
	}
	clear(l.attempts[:gone]) // so that the payloads can be collected before the array is
	l.attempts = l.attempts[gone:]
}

// Attempts returns the log of deliveries, oldest first.
func (g *GitHub) Attempts() []*Attempt {
	o := g.outbox
	o.mu.Lock()
	defer o.mu.Unlock()
	o.log.trim(g.clock.Now())
	return append([]*Attempt(nil), o.log.attempts...)
}

// Redeliver makes another attempt of the delivery with that GUID, as its "Redeliver" button does. It does not wait for
// the attempt. ErrNotFound means that the log does not hold the delivery any more.
func (g *GitHub) Redeliver(ctx context.Context, guid string) error {
	attempts := g.Attempts()
	for i := len(attempts) - 1; i >= 0; i-- {
		if attempts[i].GUID == guid {
			return g.redeliver(ctx, attempts[i])
		}
	}
	return fmt.Errorf("%w: no delivery %s in the log", ErrNotFound, guid)
}

func (g *GitHub) redeliver(ctx context.Context, a *Attempt) error {
	g.outbox.count.redelivered.Add(1)
	return g.outbox.accept(ctx, &delivery{guid: a.GUID, event: a.Event, action: a.Action, installation: a.Installation, repository: a.Repository,
		payload: a.Payload, again: a.ID}, true)
}
