package classify

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dispatchai/dispatchai/core/plugin"
)

// maxCalls bounds the calls to one plugin in progress: a bulkhead, so that what
// waits for a slow plugin takes no more than that.
const maxCalls = 8

// desk is where one plugin is asked. A call is made in a goroutine of its own
// and goes on when nobody waits for it any more, until the plugin's own deadline:
// only so does a plugin that hangs get noticed, and ended.
type desk struct {
	mu    sync.Mutex
	next  int
	began map[int]time.Time // of the calls in progress
}

// call is a question to a plugin. answer and err are set before done is closed.
type call[T any] struct {
	began  time.Time
	done   chan struct{}
	answer T
	err    error
}

// errBusy says that the bulkhead is full.
var errBusy = errors.New("as many questions as it may be asked at once are open")

// ask starts a call at a desk, or refuses when too many are in progress there.
func ask[T any](w *Worker, desk string, question func(context.Context) (T, error)) (*call[T], error) {
	d := w.desk(desk)
	a := &call[T]{began: w.Now(), done: make(chan struct{})}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.began) >= maxCalls {
		return nil, errBusy
	}
	id := d.next
	d.next++
	d.began[id] = a.began
	w.calls.Go(func() {
		a.answer, a.err = question(w.base)
		d.mu.Lock()
		delete(d.began, id)
		d.mu.Unlock()
		close(a.done)
	})
	return a, nil
}

// askAbout asks a plugin about issues, and keeps the account of it.
func (w *Worker) askAbout(c Classifier, items []plugin.Item) (*call[[]plugin.Outcome], error) {
	reserved := w.spending.reserve(c.Name(), items)
	a, err := ask(w, c.Name(), func(ctx context.Context) ([]plugin.Outcome, error) {
		outcomes, err := c.Classify(ctx, items)
		w.spending.settle(ctx, c.Name(), items, outcomes, reserved)
		return outcomes, err
	})
	if err != nil {
		w.spending.release(reserved)
	}
	return a, err
}

func (w *Worker) desk(name string) *desk {
	w.desksMu.Lock()
	defer w.desksMu.Unlock()
	d := w.desks[name]
	if d == nil {
		d = &desk{began: make(map[int]time.Time)}
		w.desks[name] = d
	}
	return d
}

// stalled tells whether a call at the desk has been in progress for longer
// than an issue waits: others need not wait as long to find that out.
func (w *Worker) stalled(desk string) bool {
	d := w.desk(desk)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, began := range d.began {
		if w.Now().Sub(began) > w.Patience {
			return true
		}
	}
	return false
}

// Close ends the calls that are still in progress, and waits for them. Handlers
// must have returned.
func (w *Worker) Close() {
	w.stop()
	w.calls.Wait()
}

// await waits for the call, but no longer than patience from its beginning; it
// tells whether the call is done.
func (a *call[T]) await(ctx context.Context, now time.Time, patience time.Duration) bool {
	timer := time.NewTimer(patience - now.Sub(a.began))
	defer timer.Stop()
	select {
	case <-a.done:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}
