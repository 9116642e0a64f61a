package ingress

import (
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// limiter counts requests per client address in a sliding window: the count of
// the present window and the share of the one before that still lies within a
// window's length. So an address costs a few words however many requests it
// sends, and the number of addresses is bounded, the longest unseen forgotten first.
type limiter struct {
	window        time.Duration
	maxUnverified int
	maxVerified   int

	mu        sync.Mutex
	addresses *simplelru.LRU[netip.Addr, *counts]
}

// counts is what is remembered of one address.
type counts struct {
	unverified, verified slidingCount
}

// slidingCount counts events in the window with the given index since 1970 and in the one before.
type slidingCount struct {
	index         int64
	current, last uint32
}

// limitState is what an answer tells of a limit.
type limitState struct {
	limit     int
	remaining int
	// wait is how long until one more request would be within the limit, and
	// resetAt that moment; both are zero while there are requests left.
	wait    time.Duration
	resetAt time.Time
}

func newLimiter(addresses int, window time.Duration, maxUnverified, maxVerified int) *limiter {
	// NewLRU fails only on a size below one, and New has seen to that.
	lru, _ := simplelru.NewLRU[netip.Addr, *counts](max(addresses, 1), nil)
	return &limiter{window: window, maxUnverified: maxUnverified, maxVerified: maxVerified, addresses: lru}
}

// exhausted tells whether the address used up its unverified requests; it counts nothing.
func (l *limiter) exhausted(address netip.Addr, now time.Time) (limitState, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.addresses.Get(address)
	if !ok {
		return limitState{}, false
	}
	return l.check(&c.unverified, l.maxUnverified, now, false)
}

// failed counts a request that did not verify, unless the address is over its
// limit already; then it tells so.
func (l *limiter) failed(address netip.Addr, now time.Time) (limitState, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.check(&l.of(address).unverified, l.maxUnverified, now, true)
}

// verified counts a verified delivery likewise.
func (l *limiter) verified(address netip.Addr, now time.Time) (limitState, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.check(&l.of(address).verified, l.maxVerified, now, true)
}

func (l *limiter) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addresses.Len()
}

func (l *limiter) of(address netip.Addr) *counts {
	c, ok := l.addresses.Get(address)
	if !ok {
		c = &counts{}
		l.addresses.Add(address, c)
	}
	return c
}

func (l *limiter) check(c *slidingCount, limit int, now time.Time, count bool) (limitState, bool) {
	window := int64(l.window)
	index, elapsed := now.UnixNano()/window, now.UnixNano()%window
	switch {
	case index == c.index+1:
		*c = slidingCount{index: index, last: c.current}
	case index > c.index:
		*c = slidingCount{index: index}
	case index < c.index: // the clock was set back: count on in the window that was
		elapsed = 0
	}
	used := float64(c.last)*(1-float64(elapsed)/float64(window)) + float64(c.current)
	// The weight of the last window falls from moment to moment; it may pass
	// the limit by less than one request.
	if used+1 <= float64(limit)+1e-9 {
		if count {
			c.current++
			used++
		}
		return limitState{limit: limit, remaining: limit - int(used)}, false
	}
	wait := l.untilFree(c, limit, elapsed)
	return limitState{limit: limit, wait: wait, resetAt: now.Add(wait)}, true
}

// untilFree is how long until the count has fallen far enough for one more request.
func (l *limiter) untilFree(c *slidingCount, limit int, elapsed int64) time.Duration {
	window := float64(l.window)
	free := float64(limit - 1)
	if float64(c.current) <= free { // within this window, as the last one's weight falls
		share := 1 - (free-float64(c.current))/float64(c.last)
		return time.Duration(share*window) - time.Duration(elapsed)
	}
	share := 1 - free/float64(c.current)
	return time.Duration(window-float64(elapsed)) + time.Duration(share*window)
}
