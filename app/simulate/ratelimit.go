package simulate

import (
	"sync"
	"time"
)

// RateLimits are the limits of https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api. A zero field means GitHub's own figure.
type RateLimits struct {
	// Off switches all limits off, as an Enterprise Server has them by default: no X-RateLimit headers, 404 at /rate_limit.
	Off bool
	// Primary is the number of requests an hour and installation: 5,000, and with more than 20 repositories 50 more for each, at most 12,500.
	Primary int
	// Content is the number of requests a minute that create content (80), ContentHour that an hour (500).
	Content, ContentHour int
	// Points a minute (900): a read costs one, a write five.
	Points int
	// Concurrent requests at a time (100).
	Concurrent int
	// SecondaryOff leaves only the primary limit.
	SecondaryOff bool
	// SecondaryStatus is the answer beyond a secondary limit: 403 or 429. GitHub gives both; 403 when zero.
	SecondaryStatus int
}

func (l RateLimits) withDefaults() RateLimits {
	for value, fallback := range map[*int]int{&l.Content: 80, &l.ContentHour: 500, &l.Points: 900, &l.Concurrent: 100, &l.SecondaryStatus: 403} {
		if *value == 0 {
			*value = fallback
		}
	}
	return l
}

// SetRateLimits changes the limits from the next request on.
func (g *GitHub) SetRateLimits(l RateLimits) {
	l = l.withDefaults()
	g.limits.Store(&l)
}

// limiter counts the requests of one installation, or of the App itself, in windows that begin with their first request.
type limiter struct {
	mu         sync.Mutex
	hour       time.Time // the end of the primary window
	used       int
	minute     time.Time // the end of the minute for points and content
	points     int
	content    int
	longHour   time.Time // the end of the hour for content
	longWrites int
	concurrent int
}

// budget is the state of the primary limit as the X-RateLimit headers show it.
type budget struct {
	limit, used int
	reset       time.Time
}

func (b budget) remaining() int { return max(0, b.limit-b.used) }

func (l *limiter) primary(limit int, now time.Time, take int) (budget, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !now.Before(l.hour) {
		l.hour, l.used = now.Add(time.Hour), 0
	}
	if take > 0 && l.used >= limit {
		return budget{limit, l.used, l.hour}, false
	}
	l.used = max(0, l.used+take)
	return budget{limit, l.used, l.hour}, true
}

// secondary admits a request or says how long to wait. An admitted one must call done.
func (l *limiter) secondary(rules *RateLimits, now time.Time, write, content bool) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !now.Before(l.minute) {
		l.minute, l.points, l.content = now.Add(time.Minute), 0, 0
	}
	if !now.Before(l.longHour) {
		l.longHour, l.longWrites = now.Add(time.Hour), 0
	}
	cost := 1
	if write {
		cost = 5
	}
	switch {
	case l.concurrent >= rules.Concurrent:
		return time.Second, false
	case content && l.longWrites >= rules.ContentHour:
		return l.longHour.Sub(now), false
	case l.points+cost > rules.Points, content && l.content >= rules.Content:
		return l.minute.Sub(now), false
	}
	l.concurrent++
	l.points += cost
	if content {
		l.content++
		l.longWrites++
	}
	return 0, true
}

func (l *limiter) done() {
	l.mu.Lock()
	l.concurrent--
	l.mu.Unlock()
}

func (inst *installation) primaryLimit(rules *RateLimits) int {
	if rules.Primary > 0 {
		return rules.Primary
	}
	inst.mu.Lock()
	defer inst.mu.Unlock()
	return min(12_500, 5000+50*max(0, len(inst.repos)-20))
}
