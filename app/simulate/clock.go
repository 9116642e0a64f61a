package simulate

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Clock tells the simulated GitHub the time and wakes it. Real is the machine's; Virtual moves only when a test says so.
type Clock interface {
	// Now is the present instant.
	Now() time.Time
	// NewTimer returns a timer that sends once on its channel after d; d <= 0 fires at once.
	NewTimer(d time.Duration) Timer
}

// Timer is one pending wake-up of a Clock.
type Timer interface {
	// C receives the instant at which the timer fired. It is buffered, so an abandoned timer holds up nobody.
	C() <-chan time.Time
	// Stop cancels the timer and reports whether it had not fired yet.
	Stop() bool
}

// Real is the machine's clock.
type Real struct{}

// Now implements Clock.
func (Real) Now() time.Time { return time.Now() }

// NewTimer implements Clock.
func (Real) NewTimer(d time.Duration) Timer { return realTimer{time.NewTimer(d)} }

type realTimer struct{ t *time.Timer }

func (t realTimer) C() <-chan time.Time { return t.t.C }
func (t realTimer) Stop() bool          { return t.t.Stop() }

// Virtual is a clock that stands still until Advance moves it, so that a test lives through days in milliseconds.
// It is safe for concurrent use.
type Virtual struct {
	mu      sync.Mutex
	now     time.Time
	timers  []*virtualTimer // by due time, earliest first
	changed chan struct{}   // closed and replaced whenever the set of timers changes
}

// NewVirtual returns a Virtual clock that shows start.
func NewVirtual(start time.Time) *Virtual {
	return &Virtual{now: start, changed: make(chan struct{})}
}

type virtualTimer struct {
	clock *Virtual
	due   time.Time
	c     chan time.Time
}

// Now implements Clock.
func (v *Virtual) Now() time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.now
}

// NewTimer implements Clock.
func (v *Virtual) NewTimer(d time.Duration) Timer {
	v.mu.Lock()
	defer v.mu.Unlock()
	t := &virtualTimer{clock: v, due: v.now.Add(d), c: make(chan time.Time, 1)}
	if d <= 0 {
		t.c <- v.now
		return t
	}
	at, _ := slices.BinarySearchFunc(v.timers, t.due, func(t *virtualTimer, due time.Time) int {
		if t.due.After(due) {
			return 1
		}
		return -1 // after its equals, so that timers due together fire in the order of their making
	})
	v.timers = slices.Insert(v.timers, at, t)
	v.broadcast()
	return t
}

// Advance moves the clock forward by d and fires, in order, every timer that falls due on the way; each receives the
// instant it was due. It does not wait for what the timers wake.
func (v *Virtual) Advance(d time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	end := v.now.Add(d)
	for len(v.timers) > 0 && !v.timers[0].due.After(end) {
		t := v.timers[0]
		v.timers = v.timers[1:]
		v.now = t.due
		t.c <- t.due
	}
	v.now = end
	v.broadcast()
}

// WaitForTimers blocks until at least n timers are pending, so that a test can advance knowing that somebody waits.
// It returns ctx's error when ctx ends first.
func (v *Virtual) WaitForTimers(ctx context.Context, n int) error {
	for {
		v.mu.Lock()
		pending, changed := len(v.timers), v.changed
		v.mu.Unlock()
		if pending >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (v *Virtual) broadcast() {
	close(v.changed)
	v.changed = make(chan struct{})
}

func (t *virtualTimer) C() <-chan time.Time { return t.c }

func (t *virtualTimer) Stop() bool {
	v := t.clock
	v.mu.Lock()
	defer v.mu.Unlock()
	at := slices.Index(v.timers, t)
	if at < 0 {
		return false
	}
	v.timers = slices.Delete(v.timers, at, at+1)
	v.broadcast()
	return true
}
