package simulate

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// listDeliveries pages with a cursor, newest first. Its status filter goes by the status code, as GitHub's does: a
// failed connection has none and is found by neither value.
func listDeliveries(c *call) reply {
	q := c.r.URL.Query()
	size, err := strconv.Atoi(q.Get("per_page"))
	if err != nil || size < 1 {
		size = 30
	}
	size = min(size, 100)
	below := int64(1) << 62
	if cursor := q.Get("cursor"); cursor != "" {
		raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(cursor, "v1_"))
		if err == nil {
			below, err = strconv.ParseInt(string(raw), 10, 64)
		}
		if err != nil {
			return fail(http.StatusUnprocessableEntity, "Invalid cursor", c.route.docs)
		}
	}
	status := q.Get("status")
	if status != "" && status != "success" && status != "failure" {
		return fail(http.StatusUnprocessableEntity, "Invalid status", c.route.docs)
	}
	attempts := c.g.Attempts()
	slices.Reverse(attempts)
	var d document
	var last int64
	more, n := false, 0
	d.begin('[')
	for _, a := range attempts {
		success := a.StatusCode >= 200 && a.StatusCode < 400
		failure := a.StatusCode >= 400
		if a.ID >= below || status == "success" && !success || status == "failure" && !failure {
			continue
		}
		if n == size {
			more = true
			break
		}
		n++
		last = a.ID
		d.begin('{')
		a.summary(&d)
		d.end('}')
	}
	d.end(']')
	out := ok(d)
	if more {
		q.Set("cursor", "v1_"+base64.RawURLEncoding.EncodeToString(strconv.AppendInt(nil, last, 10)))
		out.header = http.Header{"Link": {fmt.Sprintf(`<%s/app/hook/deliveries?%s>; rel="next"`, c.g.apiURL, q.Encode())}}
	}
	return out
}

func (a *Attempt) summary(d *document) {
	d.num("id", a.ID)
	d.str("guid", a.GUID)
	d.instant("delivered_at", a.At)
	d.flag("redelivery", a.Redelivery)
	d.key("duration")
	*d = strconv.AppendFloat(*d, a.Duration.Seconds(), 'f', 2, 64)
	d.str("status", a.Status)
	d.num("status_code", int64(a.StatusCode))
	d.str("event", a.Event)
	d.text("action", a.Action)
	for _, about := range []struct {
		name string
		id   int64
	}{{"installation_id", a.Installation}, {"repository_id", a.Repository}} {
		if about.id == 0 {
			d.null(about.name)
		} else {
			d.num(about.name, about.id)
		}
	}
	d.null("throttled_at")
}

func (c *call) attempt() *Attempt {
	o := c.g.outbox
	o.mu.Lock()
	defer o.mu.Unlock()
	o.log.trim(c.g.clock.Now())
	at, found := slices.BinarySearchFunc(o.log.attempts, c.id("id"), func(a *Attempt, id int64) int { return cmp.Compare(a.ID, id) })
	if !found {
		return nil
	}
	return o.log.attempts[at]
}

func getDelivery(c *call) reply {
	a := c.attempt()
	if a == nil {
		return notFound()
	}
	var d document
	d.begin('{')
	a.summary(&d)
	d.str("url", a.URL)
	d.object("request")
	d.object("headers")
	c.g.outbox.header(&delivery{guid: a.GUID, event: a.Event, payload: a.Payload}, func(name, value string) { d.str(name, value) })
	d.end('}')
	d.raw("payload", a.Payload)
	d.end('}')
	d.object("response")
	d.object("headers")
	for _, name := range slices.Sorted(maps.Keys(a.answerHeader)) {
		d.comma()
		d = appendString(d, name)
		d = append(d, ':')
		d = appendString(d, strings.Join(a.answerHeader[name], ", "))
	}
	d.end('}')
	d.text("payload", string(a.answer))
	d.end('}')
	d.end('}')
	return ok(d)
}

func redeliver(c *call) reply {
	a := c.attempt()
	if a == nil {
		return notFound()
	}
	if err := c.g.redeliver(c.r.Context(), a); err != nil {
		return c.failed(err, "Delivery", "id")
	}
	return reply{status: http.StatusAccepted, body: []byte("{}")}
}
