package gateway

import "sync"

// results lets a request wait for the result of the event it caused.
type results struct {
	mu      sync.Mutex
	waiting map[string][]chan struct{}
}

func newResults() *results { return &results{waiting: make(map[string][]chan struct{})} }

// expect returns a channel that is closed when the event's result is seen on
// the log; forget must be called.
func (r *results) expect(eventID string) (arrived <-chan struct{}, forget func()) {
	c := make(chan struct{})
	r.mu.Lock()
	r.waiting[eventID] = append(r.waiting[eventID], c)
	r.mu.Unlock()
	return c, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		kept := r.waiting[eventID][:0]
		for _, w := range r.waiting[eventID] {
			if w != c {
				kept = append(kept, w)
			}
		}
		if len(kept) == 0 {
			delete(r.waiting, eventID)
		} else {
			r.waiting[eventID] = kept
		}
	}
}

func (r *results) arrived(eventID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.waiting[eventID] {
		close(c)
	}
	delete(r.waiting, eventID)
}
