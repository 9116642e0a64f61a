package ingress

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// body is a request's body with its share of the byte budget.
type body struct {
	bytes    []byte
	reserved int64
	// shared tells that the log may still read bytes, so they are nobody's to reuse.
	shared bool
}

// free gives back what the body holds. Nobody may use its bytes afterwards.
func (h *Handler) free(b *body) {
	h.budget.release(b.reserved)
	if !b.shared && b.bytes != nil {
		h.buffers.put(b.bytes)
	}
}

const (
	// smallestRead is what even an empty body is charged, for what a request
	// costs beside its body.
	smallestRead = 4 << 10
	// firstRead bounds what is allocated on a sender's word alone; a larger
	// body's buffer grows as its bytes arrive.
	firstRead = 64 << 10
	// unknownLength is the first buffer for a body that does not tell its length.
	unknownLength = 16 << 10
)

// readBody reads the body. What b holds is the caller's to free, whether or not
// there is an error.
func (h *Handler) readBody(w http.ResponseWriter, r *http.Request, b *body) *rejection {
	length := r.ContentLength
	most := int64(MaxBodyBytes) + 1 // one more, to see that there is more
	size := int64(unknownLength)
	if length >= 0 {
		most = length
		size = min(length, firstRead)
	}
	if !h.reserve(r.Context(), b, size) {
		return errOverloaded
	}
	// A connection that knows no deadlines has those of its server. The deadline
	// must not outlive the body: the server goes on reading, to notice a sender
	// who hangs up.
	connection := http.NewResponseController(w)
	_ = connection.SetReadDeadline(time.Now().Add(h.bodyTimeout))
	defer func() { _ = connection.SetReadDeadline(time.Time{}) }()

	b.bytes = h.buffers.get(int(size))
	for n := int64(0); ; {
		if n == int64(len(b.bytes)) {
			if n == most {
				break
			}
			larger := min(2*n, most)
			if !h.reserve(r.Context(), b, larger) {
				return errOverloaded
			}
			grown := h.buffers.get(int(larger))
			copy(grown, b.bytes)
			h.buffers.put(b.bytes)
			b.bytes = grown
		}
		read, err := r.Body.Read(b.bytes[n:])
		n += int64(read)
		if err == nil {
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return errBodyTimeout
		}
		if !errors.Is(err, io.EOF) || length >= 0 && n != length {
			return errBodyIncomplete
		}
		b.bytes = b.bytes[:n]
		break
	}
	if len(b.bytes) > MaxBodyBytes {
		return errTooLarge
	}
	return nil
}

// reserve raises the body's share of the budget to size bytes.
func (h *Handler) reserve(ctx context.Context, b *body, size int64) bool {
	more := max(size, smallestRead) - b.reserved
	if more <= 0 {
		return true
	}
	if !h.budget.acquire(ctx, more, h.budgetWait) {
		return false
	}
	b.reserved += more
	return true
}

// byteBudget bounds the bytes in flight.
type byteBudget struct {
	limit   int64
	used    atomic.Int64
	waiting atomic.Int64

	mu    sync.Mutex
	freed chan struct{} // closed and replaced when bytes are released and somebody waits
}

func newByteBudget(limit int64) *byteBudget {
	return &byteBudget{limit: limit, freed: make(chan struct{})}
}

func (b *byteBudget) tryAcquire(n int64) bool {
	for {
		used := b.used.Load()
		if used+n > b.limit {
			return false
		}
		if b.used.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

// acquire takes n bytes out of the budget, waiting at most wait for them.
func (b *byteBudget) acquire(ctx context.Context, n int64, wait time.Duration) bool {
	if b.tryAcquire(n) {
		return true
	}
	b.waiting.Add(1)
	defer b.waiting.Add(-1)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		b.mu.Lock()
		freed := b.freed
		b.mu.Unlock()
		if b.tryAcquire(n) {
			return true
		}
		select {
		case <-freed:
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

func (b *byteBudget) release(n int64) {
	b.used.Add(-n)
	if b.waiting.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.freed)
	b.freed = make(chan struct{})
}
