package ingress

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

func TestLimiterSlides(t *testing.T) {
	const limit = 100
	l := newLimiter(10, time.Minute, limit, 1000)
	address := netip.MustParseAddr("203.0.113.7")
	start := time.Date(2026, 11, 3, 8, 0, 30, 0, time.UTC)
	for i := range limit {
		if state, over := l.failed(address, start); over || state.remaining != limit-1-i || state.limit != limit {
			t.Fatalf("request %d: %+v, %t", i, state, over)
		}
	}
	state, over := l.failed(address, start)
	if !over {
		t.Fatal("one more was allowed")
	}
	// Half a minute is left of this window, and in the next one the hundred
	// weigh a hundredth less every 0.6 s.
	if want := 30*time.Second + 600*time.Millisecond; state.wait != want || !state.resetAt.Equal(start.Add(want)) {
		t.Errorf("wait %v until %v, want %v", state.wait, state.resetAt, want)
	}
	if _, over := l.exhausted(address, start.Add(state.wait-time.Millisecond)); !over {
		t.Error("it was free before the wait was over")
	}
	if _, over := l.failed(address, start.Add(state.wait)); over {
		t.Error("it was not free after the wait")
	}
	if _, over := l.failed(address, start.Add(state.wait)); !over {
		t.Error("two were free after the wait")
	}
	if state, over := l.failed(address, start.Add(3*time.Minute)); over || state.remaining != limit-1 {
		t.Errorf("long after: %+v, %t", state, over)
	}
	if _, over := l.verified(address, start); over {
		t.Error("verified deliveries are counted with the others")
	}
	if _, over := l.exhausted(netip.MustParseAddr("203.0.113.8"), start); over {
		t.Error("another address is limited too")
	}
}

func TestLimiterSurvivesClockSetBack(t *testing.T) {
	l := newLimiter(10, time.Minute, 2, 10)
	address := netip.MustParseAddr("203.0.113.7")
	now := time.Date(2026, 11, 3, 8, 0, 0, 0, time.UTC)
	l.failed(address, now)
	l.failed(address, now.Add(-time.Hour))
	if _, over := l.failed(address, now.Add(-time.Hour)); !over {
		t.Error("setting the clock back freed the address")
	}
	if _, over := l.failed(address, now.Add(2*time.Minute)); over {
		t.Error("the address stays limited")
	}
}

func TestLimiterForgetsAddresses(t *testing.T) {
	l := newLimiter(100, time.Minute, 1, 10)
	now := time.Date(2026, 11, 3, 8, 0, 0, 0, time.UTC)
	address := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }
	for i := range 1000 {
		l.failed(address(i), now)
	}
	if l.len() != 100 {
		t.Errorf("%d addresses are remembered, want 100", l.len())
	}
	if _, over := l.failed(address(999), now); !over {
		t.Error("the newest address was forgotten")
	}
}

// Whatever comes when: no window's length sees more than twice the limit (the
// estimate's worst case), an announced wait is enough, and never too long.
func TestLimiterAnnouncesHonestWaits(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		limit := 1 + random.IntN(20)
		l := newLimiter(4, time.Minute, limit, 10)
		address := netip.MustParseAddr("203.0.113.7")
		now := time.Date(2026, 11, 3, 8, 0, 0, random.IntN(1e9), time.UTC)
		var allowed []time.Time
		for range 300 {
			now = now.Add(time.Duration(random.ExpFloat64() * float64(time.Minute) / float64(limit) / 2))
			state, over := l.failed(address, now)
			if !over {
				allowed = append(allowed, now)
				continue
			}
			if state.wait <= 0 || state.wait > 2*time.Minute {
				t.Fatalf("round %d: a wait of %v", round, state.wait)
			}
			if _, over := l.exhausted(address, now.Add(state.wait+time.Microsecond)); over {
				t.Fatalf("round %d: limited after the wait of %v", round, state.wait)
			}
			// Looking ahead moved the window on; the address is looked at afresh.
			l = newLimiter(4, time.Minute, limit, 10)
			allowed = nil
		}
		for i := range allowed {
			n := 0
			for _, at := range allowed[i:] {
				if at.Sub(allowed[i]) < time.Minute {
					n++
				}
			}
			if n > 2*limit {
				t.Fatalf("round %d: %d requests within a minute, the limit is %d", round, n, limit)
			}
		}
	}
}
