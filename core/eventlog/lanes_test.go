package eventlog

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestLanesProperty drives the lanes with random records, outcomes and times,
// from a printed seed, and checks after every step what must always hold.
func TestLanesProperty(t *testing.T) {
	for range 200 {
		seed := rand.Uint64()
		if !t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { lanesRun(t, seed) }) {
			return
		}
	}
}

func lanesRun(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0))
	maxRecords, maxBytes := 1+rng.IntN(8), 200+rng.IntN(2000)
	l := newLanes(maxRecords, maxBytes, func(r *Record) bool { return len(r.Value) > 0 && r.Value[0] == 'x' })
	const partitions = 3
	for p := range partitions {
		l.assign(partitionID{"t", int32(p)}, 0)
	}
	var (
		now      = time.Unix(0, 0)
		next     [partitions]int64
		inFlight [][]*entry
		busy     = make(map[string]bool)        // partition and key
		order    = make(map[string][]int64)     // added, not yet done, by partition and key
		done     [partitions]map[int64]struct{} // by partition
		total    int
	)
	for p := range done {
		done[p] = make(map[int64]struct{})
	}
	lane := func(r *Record) string {
		if r.Key == "" {
			return fmt.Sprintf("%d/@%d", r.Partition, r.Offset)
		}
		return fmt.Sprintf("%d/%s", r.Partition, r.Key)
	}
	check := func() {
		t.Helper()
		for p := range partitions {
			part := l.parts[partitionID{"t", int32(p)}]
			mark := int64(0)
			for {
				if _, ok := done[p][mark]; !ok {
					break
				}
				mark++
			}
			if part.mark != mark {
				t.Fatalf("partition %d: mark %d, lowest unfinished %d", p, part.mark, mark)
			}
			for e := range part.log.all() {
				if e.done && e.rec != nil {
					t.Fatalf("partition %d keeps record %d, which is finished, in memory", p, e.offset)
				}
			}
		}
		unfinished := 0
		for _, offsets := range order {
			unfinished += len(offsets)
		}
		if l.records != unfinished {
			t.Fatalf("%d records buffered, %d unfinished", l.records, unfinished)
		}
	}
	start := func(c class) {
		batch := l.next(c)
		if batch == nil {
			return
		}
		bytes := 0
		for _, e := range batch {
			k := lane(e.rec)
			if busy[k] {
				t.Fatalf("two records of %s in flight", k)
			}
			busy[k] = true
			if order[k][0] != e.rec.Offset {
				t.Fatalf("%s: offset %d before %d", k, e.rec.Offset, order[k][0])
			}
			if e.class != c {
				t.Fatalf("a record of class %d in a batch of class %d", e.class, c)
			}
			if e.alone && len(batch) > 1 {
				t.Fatal("a record that failed travels in company")
			}
			bytes += e.bytes
		}
		if len(batch) > maxRecords || len(batch) > 1 && bytes > maxBytes {
			t.Fatalf("a batch of %d records, %d bytes", len(batch), bytes)
		}
		inFlight = append(inFlight, batch)
	}
	settle := func(mayFail bool) {
		if len(inFlight) == 0 {
			return
		}
		i := rng.IntN(len(inFlight))
		batch := inFlight[i]
		inFlight = append(inFlight[:i], inFlight[i+1:]...)
		rs := make([]resolution, len(batch))
		for j, e := range batch {
			k := lane(e.rec)
			busy[k] = false
			switch f := rng.Float64(); {
			case mayFail && f < 0.2:
				rs[j] = resolution{after: time.Duration(rng.IntN(20)) * time.Millisecond, alone: true, counted: len(batch) == 1}
			case mayFail && f < 0.3:
				rs[j] = resolution{after: time.Duration(1+rng.IntN(20)) * time.Millisecond}
			default:
				rs[j] = resolution{done: true}
				done[e.rec.Partition][e.rec.Offset] = struct{}{}
				if order[k] = order[k][1:]; len(order[k]) == 0 {
					delete(order, k)
				}
			}
		}
		l.finish(batch, rs, now)
	}
	for step := range 600 {
		switch rng.IntN(4) {
		case 0:
			if total > 300 {
				break
			}
			p := rng.IntN(partitions)
			r := &Record{Topic: "t", Partition: int32(p), Offset: next[p], Value: make([]byte, rng.IntN(400))}
			if k := rng.IntN(8); k > 0 {
				r.Key = fmt.Sprint(k)
			}
			if len(r.Value) > 0 && rng.IntN(5) == 0 {
				r.Value[0] = 'x'
			}
			next[p]++
			total++
			order[lane(r)] = append(order[lane(r)], r.Offset)
			if !l.add(r) {
				t.Fatal("a record of an assigned partition was refused")
			}
		case 1:
			start(class(rng.IntN(2)))
		case 2:
			settle(step < 500)
		case 3:
			now = now.Add(time.Duration(rng.IntN(5)) * time.Millisecond)
			l.wake(now)
		}
		check()
	}
	// Everything comes to an end.
	for range 10_000 {
		if l.records == 0 && len(inFlight) == 0 {
			break
		}
		now = now.Add(time.Second)
		l.wake(now)
		start(ordinary)
		start(express)
		settle(false)
		check()
	}
	if l.records != 0 || l.bytes != 0 {
		t.Fatalf("%d records, %d bytes are left", l.records, l.bytes)
	}
	for _, p := range l.parts {
		if len(p.lanes) != 0 || p.log.len() != 0 {
			t.Fatalf("partition %d keeps %d lanes and %d records", p.id, len(p.lanes), p.log.len())
		}
	}
}

// TestLanesHalt checks that a halted partition starts nothing, that what is in
// flight still moves the mark, and that nothing of a dropped one has an effect.
func TestLanesHalt(t *testing.T) {
	l := newLanes(10, 1<<20, nil)
	a, b := partitionID{"t", 0}, partitionID{"t", 1}
	l.assign(a, 0)
	l.assign(b, 0)
	for i := range 3 {
		l.add(&Record{Topic: "t", Partition: 0, Offset: int64(i), Key: "k"})
		l.add(&Record{Topic: "t", Partition: 1, Offset: int64(i), Key: "k"})
	}
	batch := l.next(ordinary)
	if len(batch) != 2 {
		t.Fatalf("a batch of %d, want 2", len(batch))
	}
	idle := l.halt(a)
	select {
	case <-idle:
		t.Fatal("idle while a record is in flight")
	default:
	}
	l.finish(batch, []resolution{{done: true}, {done: true}}, time.Now())
	select {
	case <-idle:
	default:
		t.Fatal("not idle although nothing is in flight")
	}
	if m := l.parts[a].mark; m != 1 {
		t.Errorf("mark %d, want 1", m)
	}
	batch = l.next(ordinary)
	if len(batch) != 1 || batch[0].part.id != 1 {
		t.Fatalf("a halted partition was started: %v", batch)
	}
	l.drop(a)
	l.drop(b)
	l.finish(batch, []resolution{{done: true}}, time.Now())
	if l.records != 0 || l.bytes != 0 || l.next(ordinary) != nil {
		t.Errorf("%d records, %d bytes are left", l.records, l.bytes)
	}
	if l.add(&Record{Topic: "t", Partition: 0, Offset: 3}) {
		t.Error("a record of a dropped partition was taken")
	}
}

// TestLanesTruncatedLog checks that a partition whose log goes back starts over
// from there.
func TestLanesTruncatedLog(t *testing.T) {
	l := newLanes(10, 1<<20, nil)
	id := partitionID{"t", 0}
	l.assign(id, 100)
	l.add(&Record{Topic: "t", Offset: 100, Key: "a"})
	old := l.next(ordinary)
	l.add(&Record{Topic: "t", Offset: 40, Key: "b"})
	if p := l.parts[id]; p.mark != 40 || p.next != 41 {
		t.Fatalf("mark %d, next %d", p.mark, p.next)
	}
	l.finish(old, []resolution{{done: true}}, time.Now())
	if p := l.parts[id]; p.mark != 40 || l.records != 1 {
		t.Fatalf("mark %d with %d records", p.mark, l.records)
	}
}

func TestBackOff(t *testing.T) {
	c := &Consumer{cfg: ConsumerConfig{BackOffMin: 100 * time.Millisecond, BackOffMax: time.Second}}
	for attempts, want := range map[int]time.Duration{0: 100, 1: 100, 2: 200, 3: 400, 4: 800, 5: 1000, 1000: 1000} {
		want *= time.Millisecond
		for range 50 {
			if d := c.backOff(attempts); d < want/2 || d > want {
				t.Fatalf("after %d attempts: %s, want %s to %s", attempts, d, want/2, want)
			}
		}
	}
}

func FuzzParseCursor(f *testing.F) {
	f.Add("")
	f.Add(Cursor{}.Advance(&Record{Topic: TopicIssuesRaw, Partition: 3, Offset: 17}, &Record{Topic: TopicIssuesEnriched, Offset: 1 << 40}).String())
	f.Add("aXNzdWVzLnJhdzowOi0x")
	f.Add("////")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCursor(s)
		if err != nil {
			return
		}
		again, err := ParseCursor(c.String())
		if err != nil {
			t.Fatalf("%q was understood, what it became not: %v", s, err)
		}
		if again.String() != c.String() {
			t.Fatalf("%q became %q, then %q", s, c, again)
		}
		for id, o := range c.offsets {
			if o < 0 || id.id < 0 || id.topic == "" {
				t.Fatalf("%q has %v at %d", s, id, o)
			}
		}
	})
}

func FuzzLetterID(f *testing.F) {
	f.Add("0-42")
	f.Add("-1--1")
	f.Add("2147483648-0")
	f.Fuzz(func(t *testing.T, s string) {
		p, o, err := parseLetterID(s)
		if err == nil && (p < 0 || o < 0) {
			t.Fatalf("%q is %d-%d", s, p, o)
		}
	})
}

// FuzzLetter makes letters of hostile records and reads them back.
func FuzzLetter(f *testing.F) {
	f.Add("1#1", "boom", "dead-topic", []byte("x"))
	f.Add("\xff", "\xff\xfe", "", []byte(nil))
	f.Fuzz(func(t *testing.T, key, cause, header string, value []byte) {
		rec := &Record{Topic: TopicIssuesRaw, Partition: 2, Offset: 7, Key: key, Value: value, Headers: []Header{{header, value}}}
		letter := newLetter(rec, "g", fmt.Errorf("%s", cause), 3, time.Unix(1, 2))
		got := letterOf(&letter)
		if got.Topic != TopicIssuesRaw || got.Partition != 2 || got.Offset != 7 || got.Attempts != 3 || got.Group != "g" || got.Size != len(value) {
			t.Fatalf("%+v", got)
		}
		if len(got.Error) > maxErrorBytes {
			t.Fatalf("an error of %d bytes", len(got.Error))
		}
		if ref := byReference(letter); len(ref.Value) != 0 || !letterOf(&ref).Reference || letterOf(&letter).Reference {
			t.Fatal("a letter by reference keeps its value")
		}
	})
}
