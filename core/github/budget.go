package github

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The secondary limits that GitHub documents at
// https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api:
// "no more than 80 content-generating requests per minute and no more than 500
// content-generating requests per hour", and "no more than 900 points per
// minute", where GET, HEAD and OPTIONS cost one point and all others five.
const (
	contentPerMinute = 80
	contentPerHour   = 500
	pointsPerMinute  = 900 - pointsSpare
	// pointsSpare is left to processes that read as the same installation without
	// its lease, and to endpoints whose cost GitHub does not tell.
	pointsSpare = 100

	readPoints  = 1
	writePoints = 5
)

// Background calls leave at least half of every secondary limit, and a fifth of
// the hour's requests, to live ones. So that live ones never starve them for
// ever either, a twentieth of every secondary limit is theirs while they wait.
const (
	backgroundPart  = 2
	backgroundShare = 20
	primaryReserve  = 5
)

type classKey struct{}

// Background marks calls made under the returned context as such: backfill,
// sweeps, reconciliation. They see a smaller budget than live calls and wait
// while those wait.
func Background(ctx context.Context) context.Context {
	return context.WithValue(ctx, classKey{}, true)
}

func isBackground(ctx context.Context) bool { return ctx.Value(classKey{}) != nil }

// heldBack is the error of a call that did not go out.
type heldBack struct {
	reason string
	wait   time.Duration
	// background: live calls are not, or not as long, held back.
	background bool
	outage     bool
	says       string
}

func (h *heldBack) Error() string { return "held back: " + h.says }

// The reasons for holding a call back, as metrics name them.
const (
	heldContentMinute = "content_minute"
	heldContentHour   = "content_hour"
	heldPoints        = "points_minute"
	heldPrimary       = "primary"
	heldRetryAfter    = "retry_after"
	heldOutage        = "outage"
)

// cost is what one request counts for.
type cost struct{ points, content int }

// costOf follows GitHub's points. GitHub lists nowhere which requests generate
// content; here every write to a repository does, so that what it counts is never more.
func costOf(method, path string) cost {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return cost{points: readPoints}
	}
	if strings.Contains(path, "/repos/") || strings.Contains(path, "/repositories/") {
		return cost{points: writePoints, content: 1}
	}
	return cost{points: writePoints}
}

// limit is one secondary limit with what is spent of it.
type limit struct {
	window
	name string
	most int
	says string
	// Until when calls of each class that this limit held back are waiting for it.
	liveWaits, backgroundWaits time.Time
}

// ceiling is how much may be spent in all after a live call.
func (l *limit) ceiling(now time.Time) int {
	if !now.Before(l.backgroundWaits) {
		return l.most
	}
	return l.most - max(0, l.most/backgroundShare-l.spent().background)
}

// hold is how long a request of that cost has to wait, and remembers that it does.
func (l *limit) hold(now time.Time, background bool, cost int) time.Duration {
	l.forget(now)
	if cost == 0 {
		return 0
	}
	if !background {
		wait := l.wait(now, cost, l.ceiling(now), countAll)
		if wait > 0 {
			l.liveWaits = latest(l.liveWaits, now.Add(wait))
		}
		return wait
	}
	half := max(l.wait(now, cost, l.most/backgroundPart, countAll), l.liveWaits.Sub(now))
	share := max(l.wait(now, cost, l.most/backgroundShare, countBackground), l.wait(now, cost, l.most, countAll))
	wait := min(half, share)
	if wait > 0 {
		// A little longer than the wait itself: they must be back to use their share.
		l.backgroundWaits = latest(l.backgroundWaits, now.Add(wait+time.Minute))
	}
	return wait
}

// budget is what one installation, or the App itself, may still ask of GitHub.
// Every request passes admit before it goes out.
//
// An Enterprise Server has its limits off by default, and then answers without
// X-RateLimit headers: from such an answer on nothing is counted, until one has
// them. github.com always has limits, whatever an answer lacks.
type budget struct {
	id      int64 // of the installation; 0 is the App
	now     func() time.Time
	always  bool // limits are on even where an answer lacks the headers
	metrics *metrics
	logger  *slog.Logger

	mu     sync.Mutex
	off    bool
	limits [3]limit

	rate    Rate      // as GitHub last told it
	resetAt time.Time // the rate's reset by this machine's clock
	flying  int       // requests whose answer will tell a new rate

	blockedUntil time.Time // what GitHub's own refusal asked for
	toldUntil    time.Time // what was logged holds until then
}

func newBudget(id int64, now func() time.Time, always bool, m *metrics, logger *slog.Logger) *budget {
	b := &budget{id: id, now: now, always: always, metrics: m, logger: logger}
	b.limits = [3]limit{
		{window: window{span: time.Minute}, name: heldContentMinute, most: contentPerMinute, says: fmt.Sprintf("%d writes a minute are spent", contentPerMinute)},
		{window: window{span: time.Hour}, name: heldContentHour, most: contentPerHour, says: fmt.Sprintf("%d writes an hour are spent", contentPerHour)},
		{window: window{span: time.Minute}, name: heldPoints, most: pointsPerMinute, says: "the minute's points are spent"},
	}
	return b
}

func (c cost) of(l *limit) int {
	if l.name == heldPoints {
		return c.points
	}
	return c.content
}

// admit lets a request of that cost go out, and then landed must be called with
// its answer, nil for none; or it says why the request has to wait.
func (b *budget) admit(background bool, c cost) (landed func(*http.Response), _ *heldBack) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if held := b.check(background, c); held != nil {
		return nil, held
	}
	if b.off {
		return func(r *http.Response) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.note(b.now(), r)
		}, nil
	}
	n := amount{all: 1}
	if background {
		n.background = 1
	}
	b.flying++
	for i := range b.limits {
		b.limits[i].depart(n.times(c.of(&b.limits[i])))
	}
	return func(r *http.Response) {
		b.mu.Lock()
		defer b.mu.Unlock()
		now := b.now()
		b.flying--
		for i := range b.limits {
			b.limits[i].land(now, n.times(c.of(&b.limits[i])))
		}
		b.note(now, r)
	}, nil
}

func (n amount) times(factor int) amount { return amount{n.all * factor, n.background * factor} }

// held tells why a call of that cost would have to wait now; nil when it need not.
func (b *budget) held(background bool, c cost) *heldBack {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.check(background, c)
}

func (b *budget) check(background bool, c cost) *heldBack {
	now := b.now()
	var held *heldBack
	hold := func(reason string, wait time.Duration, says string) {
		if wait > 0 && (held == nil || wait > held.wait) {
			held = &heldBack{reason: reason, wait: wait, says: says}
		}
	}
	if now.Before(b.blockedUntil) {
		hold(heldRetryAfter, b.blockedUntil.Sub(now), "GitHub asked to wait")
		b.metrics.heldBack(held.reason, background)
		return held
	}
	if b.off {
		return nil
	}
	if b.rate.Limit > 0 && now.Before(b.resetAt) {
		least := 0
		if background {
			least = b.rate.Limit / primaryReserve
		}
		if b.rate.Remaining-b.flying <= least {
			hold(heldPrimary, b.resetAt.Sub(now), "the hour's requests are spent")
		}
	}
	for i := range b.limits {
		l := &b.limits[i]
		hold(l.name, l.hold(now, background, c.of(l)), l.says)
	}
	if held == nil {
		return nil
	}
	if background {
		held.background = true
		held.says += " as far as they are not kept for live events"
	} else {
		b.tell(now, held)
	}
	b.metrics.heldBack(held.reason, background)
	return held
}

// tell logs the beginning of a wait, once for as long as it lasts.
func (b *budget) tell(now time.Time, held *heldBack) {
	if now.Before(b.toldUntil) {
		return
	}
	b.toldUntil = now.Add(held.wait)
	level, advice := slog.LevelInfo, "its issues wait and are labelled by themselves"
	if held.reason == heldPrimary {
		level, advice = slog.LevelWarn, "its issues wait and are labelled by themselves; if this comes often, see what else calls GitHub as this installation"
	}
	b.logger.Log(context.Background(), level, "an installation's request budget is spent; "+advice,
		"installation", b.id, "reason", held.reason, "wait", held.wait.Round(time.Second))
}

// block holds every call back for as long as GitHub asked for.
func (b *budget) block(e *Error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.blockedUntil = latest(b.blockedUntil, b.now().Add(e.RetryAfter))
	if e.Secondary {
		b.logger.Warn("GitHub refused a call for its secondary limits though the budget had room: "+
			"something else may write as this App at the same time, or GitHub is stricter than it documents; waiting as long as it asks",
			"installation", b.id, "wait", e.RetryAfter, "operation", e.Operation, "request", e.RequestID)
	}
}

// note learns from an answer whether there are limits, and how much of the
// hour's is left. Answers may come out of order: within one hour the least
// counts. The reset is a time on GitHub's clock, and read against the answer's date.
func (b *budget) note(now time.Time, r *http.Response) {
	if r == nil {
		return
	}
	rate, ok := rateOf(r.Header)
	if !ok {
		worked := r.StatusCode/100 == 2 || r.StatusCode == http.StatusNotModified
		if worked && !b.always && !b.off && r.Header.Get("X-RateLimit-Limit") == "" {
			b.off = true
			b.logger.Debug("GitHub answers without rate limits; nothing is counted", "installation", b.id)
		}
		return
	}
	b.off = false
	resetAt := rate.Reset
	if date, err := http.ParseTime(r.Header.Get("Date")); err == nil {
		resetAt = now.Add(bounded(rate.Reset.Sub(date) + time.Second))
	}
	b.learn(rate, resetAt)
}

// sameHour is how far apart GitHub's servers name one and the same reset.
const sameHour = 5 * time.Second

func (b *budget) learn(rate Rate, resetAt time.Time) {
	switch apart := rate.Reset.Sub(b.rate.Reset); {
	case apart < -sameHour:
		return // of an hour that is over
	case apart <= sameHour && rate.Remaining > b.rate.Remaining:
		return
	}
	b.rate, b.resetAt = rate, resetAt
}

// rateOf reads the X-RateLimit headers of the REST API's own limit; search and others have theirs.
func rateOf(h http.Header) (Rate, bool) {
	if resource := h.Get("X-RateLimit-Resource"); resource != "" && resource != "core" {
		return Rate{}, false
	}
	limit, err := strconv.Atoi(h.Get("X-RateLimit-Limit"))
	remaining, err2 := strconv.Atoi(h.Get("X-RateLimit-Remaining"))
	reset := unixTime(h.Get("X-RateLimit-Reset"))
	if err != nil || err2 != nil || limit <= 0 || reset.IsZero() {
		return Rate{}, false
	}
	return Rate{Limit: limit, Remaining: max(0, remaining), Reset: reset}, true
}

func (b *budget) known() (Rate, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rate, b.rate.Limit > 0
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
