package eventlog

import (
	"container/heap"
	"time"
)

// lanes decides which records may be worked on now. A lane holds the records of
// one key of one partition in order; only its first may be in flight. lanes
// knows no clock, no locks and no brokers: its owner passes the time in and
// serialises the calls.
type lanes struct {
	maxRecords int // in a batch
	maxBytes   int
	express    func(*Record) bool

	parts   map[partitionID]*partition
	ready   [2]readyLanes // by class
	parked  parkedLanes
	records int   // buffered: added and neither finished nor dropped
	bytes   int64 // of those
}

type partitionID struct {
	topic string
	id    int32
}

// class separates express lanes from ordinary ones, so that each can have
// slots of its own.
type class int

const (
	ordinary class = iota
	express
)

// readyLanes are lanes whose first record may start: in company, or alone.
type readyLanes struct {
	company   fifo[*lane]
	alone     fifo[*lane]
	lastAlone bool
}

// partition keeps a partition's records from the lowest unfinished one on.
type partition struct {
	partitionID
	log      fifo[*entry] // in offset order; finished ones are dropped from the front
	lanes    map[string]*lane
	next     int64 // offset expected next, -1 if unknown
	mark     int64 // everything below is finished, -1 if unknown
	epoch    int32 // leader epoch of the last record below mark
	inFlight int
	halted   bool          // nothing more of it is started
	dropped  bool          // halted, and what is in flight has no effect
	idle     chan struct{} // if not nil, closed when nothing is in flight any more
}

type lane struct {
	part    *partition
	key     string
	entries fifo[*entry]
	due     time.Time // while parked
}

type entry struct {
	rec      *Record // nil once done: the partition's mark may stay behind it for long
	offset   int64
	epoch    int32
	part     *partition
	lane     *lane
	class    class
	bytes    int
	attempts int
	alone    bool  // has failed: travels alone from now on
	verdict  error // to be moved to the dead letters, for this reason
	done     bool
}

// resolution says what became of an entry in a batch.
type resolution struct {
	done    bool
	after   time.Duration // if not done
	alone   bool          // it failed by itself or in company
	counted bool          // the attempt counts
	verdict error
}

func newLanes(maxRecords, maxBytes int, isExpress func(*Record) bool) *lanes {
	return &lanes{
		maxRecords: maxRecords,
		maxBytes:   maxBytes,
		express:    isExpress,
		parts:      make(map[partitionID]*partition),
	}
}

// assign begins a partition at the committed offset, or -1 if there is none.
func (l *lanes) assign(id partitionID, committed int64) {
	if p, ok := l.parts[id]; ok && !p.dropped {
		if p.next < 0 && committed >= 0 {
			p.next, p.mark = committed, committed
		}
		return
	}
	l.parts[id] = &partition{
		partitionID: id, lanes: make(map[string]*lane), next: committed, mark: committed, epoch: -1,
	}
}

// add buffers a record. It returns false if the partition is not assigned.
// Records of a partition come in offset order; one that goes back makes the
// partition start over from there.
func (l *lanes) add(rec *Record) bool {
	id := partitionID{rec.Topic, rec.Partition}
	p, ok := l.parts[id]
	if !ok {
		return false
	}
	if p.next >= 0 && rec.Offset < p.next {
		l.drop(id)
		l.assign(id, rec.Offset)
		p = l.parts[id]
	}
	if p.mark < 0 {
		p.mark = rec.Offset
	}
	p.next = rec.Offset + 1
	e := &entry{rec: rec, offset: rec.Offset, epoch: rec.leaderEpoch, part: p, bytes: rec.size()}
	if l.express != nil && l.express(rec) {
		e.class = express
	}
	p.log.push(e)
	l.records++
	l.bytes += int64(e.bytes)

	ln := p.lanes[rec.Key]
	if ln == nil || rec.Key == "" {
		ln = &lane{part: p, key: rec.Key}
		if rec.Key != "" {
			p.lanes[rec.Key] = ln
		}
	}
	e.lane = ln
	ln.entries.push(e)
	if ln.entries.len() == 1 {
		l.enqueue(ln)
	}
	return true
}

func (l *lanes) enqueue(ln *lane) {
	if ln.part.halted {
		return
	}
	e := ln.entries.front()
	if e.alone {
		l.ready[e.class].alone.push(ln)
	} else {
		l.ready[e.class].company.push(ln)
	}
}

// wake makes the lanes ready whose waiting is over, and returns when the next
// will be, or the zero time.
func (l *lanes) wake(now time.Time) time.Time {
	for len(l.parked) > 0 {
		ln := l.parked[0]
		if ln.due.After(now) {
			return ln.due
		}
		heap.Pop(&l.parked)
		l.enqueue(ln)
	}
	return time.Time{}
}

// next forms a batch of that class, or returns nil if nothing is ready. Lanes
// that travel alone take turns with those that do not.
func (l *lanes) next(c class) []*entry {
	r := &l.ready[c]
	if r.alone.len() > 0 && (!r.lastAlone || r.company.len() == 0) {
		r.lastAlone = true
		return l.take(nil, r.alone.pop())
	}
	r.lastAlone = false
	var batch []*entry
	bytes := 0
	for len(batch) < l.maxRecords && r.company.len() > 0 {
		e := r.company.front().entries.front()
		if len(batch) > 0 && bytes+e.bytes > l.maxBytes {
			break
		}
		bytes += e.bytes
		batch = l.take(batch, r.company.pop())
	}
	return batch
}

func (l *lanes) take(batch []*entry, ln *lane) []*entry {
	e := ln.entries.front()
	e.part.inFlight++
	e.rec.Attempt = e.attempts + 1
	return append(batch, e)
}

// finish settles a batch that next has formed.
func (l *lanes) finish(batch []*entry, resolutions []resolution, now time.Time) {
	for i, e := range batch {
		r := resolutions[i]
		p := e.part
		p.inFlight--
		if p.inFlight == 0 && p.idle != nil {
			close(p.idle)
			p.idle = nil
		}
		if p.dropped {
			continue
		}
		ln := e.lane
		if r.done {
			l.settle(e)
			ln.entries.pop()
			switch {
			case ln.entries.len() > 0:
				l.enqueue(ln)
			case ln.key != "":
				delete(p.lanes, ln.key)
			}
			continue
		}
		if r.counted {
			e.attempts++
		}
		e.alone = e.alone || r.alone
		if r.verdict != nil {
			e.verdict = r.verdict
		}
		if r.after <= 0 {
			l.enqueue(ln)
			continue
		}
		e.rec.detach()
		if !p.halted {
			ln.due = now.Add(r.after)
			heap.Push(&l.parked, ln)
		}
	}
}

// settle marks an entry finished and moves the partition's mark.
func (l *lanes) settle(e *entry) {
	e.done, e.rec, e.lane = true, nil, nil
	l.records--
	l.bytes -= int64(e.bytes)
	p := e.part
	for p.log.len() > 0 && p.log.front().done {
		f := p.log.pop()
		p.mark, p.epoch = f.offset+1, f.epoch
	}
}

// halt starts no more records of a partition, while those in flight may still
// finish and move the mark. The channel is closed once none is in flight. A
// halted partition is dropped next.
func (l *lanes) halt(id partitionID) <-chan struct{} {
	idle := make(chan struct{})
	p, ok := l.parts[id]
	switch {
	case !ok || p.inFlight == 0:
		close(idle)
	case p.idle == nil:
		p.idle = idle
	default:
		idle = p.idle
	}
	if ok {
		p.halted = true
		l.unready(p)
	}
	return idle
}

// unready takes the lanes of a partition out of every queue.
func (l *lanes) unready(p *partition) {
	for c := range l.ready {
		l.ready[c].company.filter(func(ln *lane) bool { return ln.part != p })
		l.ready[c].alone.filter(func(ln *lane) bool { return ln.part != p })
	}
	kept := l.parked[:0]
	for _, ln := range l.parked {
		if ln.part != p {
			kept = append(kept, ln)
		}
	}
	clear(l.parked[len(kept):])
	l.parked = kept
	heap.Init(&l.parked)
}

// drop forgets a partition. What is in flight may finish, to no effect.
func (l *lanes) drop(id partitionID) {
	p, ok := l.parts[id]
	if !ok {
		return
	}
	l.unready(p)
	for e := range p.log.all() {
		if !e.done {
			l.records--
			l.bytes -= int64(e.bytes)
		}
	}
	p.halted, p.dropped = true, true
	if p.idle != nil && p.inFlight == 0 {
		close(p.idle)
		p.idle = nil
	}
	delete(l.parts, id)
}

// parkedLanes is a heap by due time.
type parkedLanes []*lane

func (h parkedLanes) Len() int           { return len(h) }
func (h parkedLanes) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h parkedLanes) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *parkedLanes) Push(x any)        { *h = append(*h, x.(*lane)) }
func (h *parkedLanes) Pop() any {
	last := len(*h) - 1
	ln := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return ln
}

// fifo is a queue that gives the memory of what was taken back.
type fifo[T any] struct {
	items []T
	first int
}

func (f *fifo[T]) len() int { return len(f.items) - f.first }
func (f *fifo[T]) push(v T) { f.items = append(f.items, v) }
func (f *fifo[T]) front() T { return f.items[f.first] }

func (f *fifo[T]) pop() T {
	var zero T
	v := f.items[f.first]
	f.items[f.first] = zero
	f.first++
	if f.first == len(f.items) {
		f.items, f.first = f.items[:0], 0
	} else if f.first >= 64 && f.first*2 >= len(f.items) {
		n := copy(f.items, f.items[f.first:])
		clear(f.items[n:])
		f.items, f.first = f.items[:n], 0
	}
	return v
}

func (f *fifo[T]) filter(keep func(T) bool) {
	kept := f.items[:0]
	for _, v := range f.items[f.first:] {
		if keep(v) {
			kept = append(kept, v)
		}
	}
	clear(f.items[len(kept):])
	f.items, f.first = kept, 0
}

func (f *fifo[T]) all() func(func(T) bool) {
	return func(yield func(T) bool) {
		for _, v := range f.items[f.first:] {
			if !yield(v) {
				return
			}
		}
	}
}
