package github

import "time"

// window counts what was spent within its span, however GitHub lays its own
// windows: no span of that length, wherever it begins, ever holds more than was
// admitted. What is spent counts from before its request goes out until a span
// after the answer came, so the time on the way shifts nothing.
type window struct {
	span time.Duration
	// slots hold what has landed, by the end of the grain it landed in, oldest
	// first: at most grains+1 of them.
	slots []slot
	// flying is what is on its way.
	flying amount
}

// grains is how finely a window is divided; a slot is free again when the whole
// of it is a span old, which costs up to a sixtieth of the speed.
const grains = 60

type amount struct{ all, background int }

type slot struct {
	end int64 // Unix seconds
	amount
}

func (w *window) grain() time.Duration { return w.span / grains }

// slotEnd is the end of the slot that now lies in.
func (w *window) slotEnd(now time.Time) int64 {
	grain := int64(w.grain() / time.Second)
	return (now.Unix()/grain + 1) * grain
}

func (w *window) freed(s slot) time.Time { return time.Unix(s.end, 0).Add(w.span) }

// forget drops what is older than the span. A slot from the future, written by
// a clock that ran ahead of this one, is moved to the present, lest it count for ever.
func (w *window) forget(now time.Time) {
	last := w.slotEnd(now)
	old := 0
	for old < len(w.slots) && !now.Before(w.freed(w.slots[old])) {
		old++
	}
	w.slots = w.slots[old:]
	for len(w.slots) > 0 && w.slots[len(w.slots)-1].end > last {
		ahead := w.slots[len(w.slots)-1]
		w.slots = w.slots[:len(w.slots)-1]
		w.put(last, ahead.amount)
	}
	if len(w.slots) == 0 {
		w.slots = nil // the memory of a busy hour is given back
	}
}

// put adds to the slot that ends at end.
func (w *window) put(end int64, n amount) {
	at := len(w.slots)
	for at > 0 && w.slots[at-1].end > end {
		at--
	}
	if at > 0 && w.slots[at-1].end == end {
		w.slots[at-1].all += n.all
		w.slots[at-1].background += n.background
		return
	}
	w.slots = append(w.slots, slot{})
	copy(w.slots[at+1:], w.slots[at:])
	w.slots[at] = slot{end, n}
}

// merge takes over slots that another process, or this one earlier, has saved.
// They hold what this one has spent as well, so the larger count is the true one.
func (w *window) merge(saved []slot) {
	for _, s := range saved {
		at := -1
		for i := range w.slots {
			if w.slots[i].end == s.end {
				at = i
			}
		}
		if at < 0 {
			w.put(s.end, s.amount)
			continue
		}
		w.slots[at].all = max(w.slots[at].all, s.all)
		w.slots[at].background = max(w.slots[at].background, s.background)
	}
}

func (w *window) depart(n amount) {
	w.flying.all += n.all
	w.flying.background += n.background
}

func (w *window) land(now time.Time, n amount) {
	w.flying.all -= n.all
	w.flying.background -= n.background
	w.put(w.slotEnd(now), n)
}

// spent is what counts now; call forget first.
func (w *window) spent() amount {
	sum := w.flying
	for _, s := range w.slots {
		sum.all += s.all
		sum.background += s.background
	}
	return sum
}

func countAll(n amount) int        { return n.all }
func countBackground(n amount) int { return n.background }

// wait is how long until cost more keeps what count counts at or below ceiling; 0 when it does now.
func (w *window) wait(now time.Time, cost, ceiling int, count func(amount) int) time.Duration {
	over := count(w.spent()) + cost - ceiling
	if over <= 0 {
		return 0
	}
	for _, s := range w.slots {
		if over -= count(s.amount); over <= 0 {
			return w.freed(s).Sub(now)
		}
	}
	return w.span + w.grain() // as long as what is on its way will count at least
}
