package github

import (
	"log/slog"
	"net/http"
	"sync"
	"time"
)

const (
	// outageFailures in a row, without any good answer between, mean that it is
	// GitHub's API that fails and not a single request.
	outageFailures = 5
	// firstProbe and longestProbe bound the time between two requests that are
	// let through meanwhile; everything goes on that long after the recovery at the latest.
	firstProbe   = time.Second
	longestProbe = 30 * time.Second
)

// outage notices that GitHub's API as a whole is down, for all installations,
// and then lets a single request through from time to time.
type outage struct {
	now    func() time.Time
	logger *slog.Logger

	mu       sync.Mutex
	failures int
	since    time.Time // zero while GitHub answers
	probeAt  time.Time
	pause    time.Duration
}

// admit lets a request go out, as the probe of an outage or because there is none.
func (o *outage) admit() (probe bool, _ *heldBack) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if held := o.check(); held != nil {
		return false, held
	}
	if o.since.IsZero() {
		return false, nil
	}
	o.probeAt = o.now().Add(o.pause)
	return true, nil
}

// held tells why a request would not go out now.
func (o *outage) held() *heldBack {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.check()
}

func (o *outage) check() *heldBack {
	if o.since.IsZero() {
		return nil
	}
	if wait := o.probeAt.Sub(o.now()); wait > 0 {
		return &heldBack{reason: heldOutage, wait: wait, outage: true, says: "GitHub's API does not answer"}
	}
	return nil
}

func (o *outage) down() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.since.IsZero()
}

// answered takes note of how a request ended.
func (o *outage) answered(probe bool, r *http.Response, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	if err == nil && r.StatusCode < http.StatusInternalServerError {
		if o.failures = 0; !o.since.IsZero() {
			o.logger.Info("GitHub's API answers again; what waited goes on", "down_for", now.Sub(o.since).Round(time.Second))
			o.since = time.Time{}
		}
		return
	}
	switch o.failures++; {
	case o.since.IsZero() && o.failures >= outageFailures:
		o.since, o.pause = now, firstProbe
		o.probeAt = now.Add(o.pause)
		attributes := []any{"failures", o.failures}
		if err != nil {
			attributes = append(attributes, "error", err)
		} else {
			attributes = append(attributes, "status", r.StatusCode)
		}
		o.logger.Error("GitHub's API does not answer; what is to be written waits in the store and catches up by itself; "+
			"see https://www.githubstatus.com, and if all is well there, GITHUB_API_URL, the network and HTTPS_PROXY", attributes...)
	case probe:
		o.pause = min(2*o.pause, longestProbe)
		o.probeAt = now.Add(o.pause)
	}
}

// Outage tells whether GitHub's API as a whole is down, and how long it is until
// a call is let through to see whether it answers again; 0 when the next call is that one.
func (c *Client) Outage() (probeIn time.Duration, down bool) {
	if held := c.outage.held(); held != nil {
		return held.wait, true
	}
	return 0, c.outage.down()
}
