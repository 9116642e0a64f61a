package relay

import (
	"context"
	"crypto/rand"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// channels are the channels that somebody listens to, or has until just now.
// Nothing is kept of any other.
type channels struct {
	most      int   // channels
	mostBytes int64 // of events, in all channels together
	keep      int   // events of each channel
	linger    time.Duration
	now       func() time.Time

	mu    sync.Mutex
	byID  map[string]*channel
	bytes int64
}

// channel holds the last events for listeners that come back.
type channel struct {
	epoch     string // begins the IDs, so that those of an earlier life mean nothing
	listeners int
	left      time.Time // when the last listener left
	next      uint64    // the number of the next event
	events    []*event  // with consecutive numbers, the newest last
	changed   chan struct{}
}

// event is one webhook in a channel.
type event struct {
	number  uint64
	data    []byte
	arrived chan struct{} // closed when a listener has it
}

const mostListeners = 8

// join makes a listener of the channel, which comes to be with its first one.
// after is the ID of the last event that the listener has, "" for a new one. It
// returns nil when there is no room.
func (s *channels) join(name, after string) (c *channel, next uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	c = s.byID[name]
	if c == nil {
		if len(s.byID) >= s.most {
			return nil, 0
		}
		c = &channel{epoch: rand.Text()[:10], changed: make(chan struct{})}
		s.byID[name] = c
	}
	if c.listeners >= mostListeners {
		return nil, 0
	}
	c.listeners++
	c.wake()
	next = c.next
	if epoch, number, ok := strings.Cut(after, "-"); ok && epoch == c.epoch {
		if n, err := strconv.ParseUint(number, 10, 64); err == nil && n < next {
			next = n + 1
		}
	}
	return c, next
}

func (s *channels) leave(c *channel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.listeners--; c.listeners == 0 {
		c.left = s.now()
	}
}

// wake tells all who wait for a change of the channel.
func (c *channel) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// sweep forgets channels whose listeners have been gone for a while.
func (s *channels) sweep() {
	for name, c := range s.byID {
		if c.listeners == 0 && s.now().Sub(c.left) > s.linger {
			for _, e := range c.events {
				s.bytes -= int64(len(e.data))
			}
			delete(s.byID, name)
		}
	}
}

// listened tells whether somebody listens to the channel, or did until just now
// and may be back any moment.
func (s *channels) listened(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	return s.byID[name] != nil
}

// publish puts an event into the channel; nil when there is no such channel any
// more or no room. Older events, which have had their chance, make room.
func (s *channels) publish(name string, data []byte) *event {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.byID[name]
	if c == nil {
		return nil
	}
	for len(c.events) > 0 && (len(c.events) >= s.keep || s.bytes+int64(len(data)) > s.mostBytes) {
		s.bytes -= int64(len(c.events[0].data))
		c.events = slices.Delete(c.events, 0, 1)
	}
	if s.bytes+int64(len(data)) > s.mostBytes {
		return nil
	}
	e := &event{number: c.next, data: data, arrived: make(chan struct{})}
	c.next++
	c.events = append(c.events, e)
	s.bytes += int64(len(data))
	c.wake()
	return e
}

// wait returns the channel's first event from the number next on, as soon as
// there is one, and its ID. It returns nil when ctx ends or the time is up.
func (s *channels) wait(ctx context.Context, c *channel, next uint64, atMost time.Duration) (e *event, id string) {
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	for {
		s.mu.Lock()
		for _, e := range c.events {
			if e.number >= next {
				s.mu.Unlock()
				return e, c.epoch + "-" + strconv.FormatUint(e.number, 10)
			}
		}
		changed := c.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-timer.C:
			return nil, ""
		case <-ctx.Done():
			return nil, ""
		}
	}
}

// received notes that a listener has the event.
func (s *channels) received(e *event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-e.arrived:
	default:
		close(e.arrived)
	}
}
