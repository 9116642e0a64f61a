package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dispatchai/dispatchai/core/eventlog"
)

// TestOrderPerKey sends interleaved keys through a handler that fails, defers,
// panics and dawdles at random, and checks that each key's records were done
// exactly once and in order, never two of a key at the same time.
func TestOrderPerKey(t *testing.T) {
	for _, backend := range []string{"embedded", "cluster"} {
		t.Run(backend, func(t *testing.T) {
			var cfg eventlog.Config
			if backend == "embedded" {
				cfg = openEmbedded(t, 1)
			} else {
				cfg, _ = openCluster(t, 4)
			}
			const keys, perKey = 40, 25
			var (
				mu      sync.Mutex
				done    = make(map[string][]int)
				working = make(map[string]bool)
				doubled []string
				seed    = rand.Uint64()
				rng     = rand.New(rand.NewPCG(seed, 0))
			)
			t.Logf("seed %d", seed)
			all := make(chan struct{})
			finished := 0
			handler := func(_ context.Context, batch []*eventlog.Record) []error {
				mu.Lock()
				fates := make([]float64, len(batch))
				for i, r := range batch {
					fates[i] = rng.Float64()
					if working[r.Key] {
						doubled = append(doubled, r.Key)
					}
					working[r.Key] = true
				}
				panics := rng.Float64() < 0.02
				mu.Unlock()
				defer func() {
					mu.Lock()
					defer mu.Unlock()
					for _, r := range batch {
						working[r.Key] = false
					}
				}()
				if panics {
					panic("at random")
				}
				errs := make([]error, len(batch))
				for i, r := range batch {
					switch {
					case fates[i] < 0.10:
						errs[i] = errors.New("at random")
					case fates[i] < 0.15:
						errs[i] = eventlog.RetryAfter(time.Millisecond, errors.New("at random"))
					default:
						n, _ := strconv.Atoi(string(r.Value))
						mu.Lock()
						done[r.Key] = append(done[r.Key], n)
						finished++
						if finished == keys*perKey {
							close(all)
						}
						mu.Unlock()
					}
				}
				return errs
			}
			p := newProducer(t, cfg)
			var records []eventlog.Record
			for n := range perKey {
				for k := range keys {
					records = append(records, raw(fmt.Sprintf("1#%d", k), strconv.Itoa(n)))
				}
			}
			if err := p.Append(testContext(t), records...); err != nil {
				t.Fatal(err)
			}
			_, stop := startConsumer(t, cfg, eventlog.ConsumerConfig{Handler: handler, MaxBatchRecords: 16, MaxAttempts: 100})
			select {
			case <-all:
			case <-time.After(patience):
				mu.Lock()
				t.Fatalf("only %d of %d records were done", finished, keys*perKey)
			}
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if len(doubled) > 0 {
				t.Errorf("keys with two records in flight at once: %v", doubled)
			}
			for key, got := range done {
				for i, n := range got {
					if n != i {
						t.Fatalf("key %s was done in the order %v", key, got)
					}
				}
			}
			if l := lag(t, newCluster(t, cfg), "classify"); l != 0 {
				t.Errorf("after the stop %d records are uncommitted", l)
			}
		})
	}
}

// TestOtherKeysProceed shows that a record which waits holds up its own key
// alone, and that nothing above it is committed meanwhile.
func TestOtherKeysProceed(t *testing.T) {
	cfg := openEmbedded(t, 1)
	p := newProducer(t, cfg)
	if err := p.Append(testContext(t), raw("1#1", "stuck"), raw("1#1", "behind"), raw("1#2", "a"), raw("1#3", "b"), raw("1#2", "c")); err != nil {
		t.Fatal(err)
	}
	var free atomic.Bool
	seen := make(chan string, 100)
	_, stop := startConsumer(t, cfg, eventlog.ConsumerConfig{
		CommitInterval: 5 * time.Millisecond,
		Handler: func(_ context.Context, batch []*eventlog.Record) []error {
			errs := make([]error, len(batch))
			for i, r := range batch {
				if string(r.Value) == "stuck" && !free.Load() {
					errs[i] = eventlog.RetryAfter(10*time.Millisecond, errors.New("not yet"))
					continue
				}
				seen <- string(r.Value)
			}
			return errs
		},
	})
	var got []string
	for range 3 {
		select {
		case v := <-seen:
			got = append(got, v)
		case <-time.After(patience):
			t.Fatalf("only %v came", got)
		}
	}
	for _, want := range []string{"a", "b", "c"} {
		if !strings.Contains(strings.Join(got, " "), want) {
			t.Errorf("%q is missing in %v", want, got)
		}
	}
	cl := newCluster(t, cfg)
	if l := lag(t, cl, "classify"); l != 5 {
		t.Errorf("lag is %d while the first of five records is unfinished", l)
	}
	free.Store(true)
	for _, want := range []string{"stuck", "behind"} {
		select {
		case v := <-seen:
			if v != want {
				t.Errorf("got %q, want %q", v, want)
			}
		case <-time.After(patience):
			t.Fatalf("%q did not come", want)
		}
	}
	eventually(t, "everything committed", func() bool { return lag(t, cl, "classify") == 0 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// TestExpress fills every ordinary slot with calls that do not return and
// checks that an express record of another key passes them.
func TestExpress(t *testing.T) {
	cfg := openEmbedded(t, 1)
	p := newProducer(t, cfg)
	release := make(chan struct{})
	blocked := make(chan struct{}, 10)
	corrected := make(chan string, 10)
	startConsumer(t, cfg, eventlog.ConsumerConfig{
		MaxInFlightBatches: 2, MaxBatchRecords: 1,
		Express: func(r *eventlog.Record) bool { return r.Header(eventlog.HeaderEvent) == "correction" },
		Handler: func(ctx context.Context, batch []*eventlog.Record) []error {
			if batch[0].Header(eventlog.HeaderEvent) == "correction" {
				corrected <- batch[0].Key
			} else {
				blocked <- struct{}{}
				select {
				case <-release:
				case <-ctx.Done():
				}
			}
			return make([]error, len(batch))
		},
	})
	if err := p.Append(testContext(t), raw("1#1", "slow"), raw("1#2", "slow"), raw("1#3", "slow"), raw("1#4", "slow")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		select {
		case <-blocked:
		case <-time.After(patience):
			t.Fatal("the ordinary slots are not taken")
		}
	}
	correction := raw("1#5", "fast")
	correction.SetHeader(eventlog.HeaderEvent, "correction")
	sameKey := raw("1#1", "must wait")
	sameKey.SetHeader(eventlog.HeaderEvent, "correction")
	if err := p.Append(testContext(t), sameKey, correction); err != nil {
		t.Fatal(err)
	}
	select {
	case key := <-corrected:
		if key != "1#5" {
			t.Fatalf("the correction of %s passed an earlier record of its own key", key)
		}
	case <-time.After(patience):
		t.Fatal("the correction waits behind slow batches")
	}
	close(release)
	select {
	case key := <-corrected:
		if key != "1#1" {
			t.Fatalf("got %s", key)
		}
	case <-time.After(patience):
		t.Fatal("the second correction did not come")
	}
}

// TestPoison checks that a record which always fails takes no others with it,
// is tried MaxAttempts times alone, and moves to the dead letters.
func TestPoison(t *testing.T) {
	cfg := openEmbedded(t, 1)
	p := newProducer(t, cfg)
	reg := prometheus.NewRegistry()
	var mu sync.Mutex
	alone, done := 0, make(map[string]int)
	c, stop := startConsumer(t, cfg, eventlog.ConsumerConfig{
		MaxAttempts: 3, Registerer: reg, Producer: p,
		Handler: func(_ context.Context, batch []*eventlog.Record) []error {
			errs := make([]error, len(batch))
			mu.Lock()
			defer mu.Unlock()
			for i, r := range batch {
				switch string(r.Value) {
				case "poison":
					// What one record does to the whole batch.
					for j := range errs {
						errs[j] = errors.New("poisoned")
					}
					if len(batch) == 1 {
						alone++
						if r.Attempt != alone {
							panic(fmt.Sprintf("attempt %d, counted %d", r.Attempt, alone))
						}
					}
					return errs
				case "hopeless":
					errs[i] = eventlog.Permanent(errors.New("not JSON"))
				}
			}
			for i, r := range batch {
				if errs[i] == nil {
					done[r.Key]++
				}
			}
			return errs
		},
	})
	<-c.Assigned()
	poison := raw("1#1", "poison")
	poison.SetHeader(eventlog.HeaderDelivery, "guid-1")
	if err := p.Append(testContext(t), raw("1#0", "x"), poison, raw("1#1", "after"), raw("1#2", "hopeless"), raw("1#3", "y")); err != nil {
		t.Fatal(err)
	}
	cl := newCluster(t, cfg)
	eventually(t, "everything committed", func() bool { return lag(t, cl, "classify") == 0 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if alone != 3 {
		t.Errorf("the poison was tried %d times alone, want 3", alone)
	}
	for _, key := range []string{"1#0", "1#1", "1#3"} {
		if done[key] != 1 {
			t.Errorf("key %s was done %d times", key, done[key])
		}
	}
	letters, err := eventlog.NewDeadLetters(cl, p, nil).List(testContext(t), eventlog.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(letters) != 2 {
		t.Fatalf("got %d dead letters: %+v", len(letters), letters)
	}
	byKey := map[string]eventlog.DeadLetter{letters[0].Key: letters[0], letters[1].Key: letters[1]}
	if l := byKey["1#1"]; l.Attempts != 3 || l.Error != "poisoned" || l.Topic != eventlog.TopicIssuesRaw || l.Offset != 1 || l.Delivery != "guid-1" || l.Group != "classify" {
		t.Errorf("poison's letter: %+v", l)
	}
	if l := byKey["1#2"]; l.Error != "not JSON" {
		t.Errorf("the permanent failure's letter: %+v", l)
	}
	if n := metric(t, reg, "dispatchai_eventlog_dead_records_total"); n != 2 {
		t.Errorf("%v dead records are counted", n)
	}
}

// TestStopFinishesBatches checks that a stop waits for what is in flight and
// commits it, and starts nothing more.
func TestStopFinishesBatches(t *testing.T) {
	cfg := openEmbedded(t, 1)
	p := newProducer(t, cfg)
	if err := p.Append(testContext(t), raw("1#1", "a"), raw("1#1", "b")); err != nil {
		t.Fatal(err)
	}
	started, release := make(chan struct{}), make(chan struct{})
	var calls atomic.Int32
	_, stop := startConsumer(t, cfg, eventlog.ConsumerConfig{
		Handler: func(context.Context, []*eventlog.Record) []error {
			if calls.Add(1) == 1 {
				close(started)
			}
			<-release
			return []error{nil}
		},
	})
	<-started
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	select {
	case <-stopped:
		t.Fatal("the consumer stopped while a batch was in flight")
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("%d batches, want 1", n)
	}
	if l := lag(t, newCluster(t, cfg), "classify"); l != 1 {
		t.Errorf("lag %d, want 1", l)
	}
}

// TestDetached checks that what a handler detaches holds no slot, keeps later
// records of its keys waiting, and ends as its outcomes say.
func TestDetached(t *testing.T) {
	cfg := openEmbedded(t, 1)
	p := newProducer(t, cfg)
	if err := p.Append(testContext(t), raw("1#1", "slow"), raw("1#2", "slow"), raw("1#3", "slow"), raw("1#1", "after"), raw("1#4", "fast")); err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	var mu sync.Mutex
	handled := make(map[string]int)
	seen := func(r *eventlog.Record) {
		mu.Lock()
		defer mu.Unlock()
		handled[r.Key+" "+string(r.Value)]++
	}
	times := func(what string) int {
		mu.Lock()
		defer mu.Unlock()
		return handled[what]
	}
	var inSlot atomic.Int32
	_, stop := startConsumer(t, cfg, eventlog.ConsumerConfig{
		MaxInFlightBatches: 1, MaxBatchRecords: 2, MaxAttempts: 2, BackOffMin: time.Millisecond, MaxDetached: 3,
		Handler: func(_ context.Context, batch []*eventlog.Record) []error {
			outcomes := make([]error, len(batch))
			var slow []*eventlog.Record
			var places []int
			for i, r := range batch {
				if string(r.Value) == "slow" && times(r.Key+" slow") == 0 {
					slow, places = append(slow, r), append(places, i)
				} else {
					seen(r)
				}
			}
			if len(slow) == 0 {
				return outcomes
			}
			later := eventlog.Detach(len(slow), func(context.Context) []error {
				inSlot.Add(1)
				<-release
				errs := make([]error, len(slow))
				for i, r := range slow {
					seen(r)
					switch r.Key {
					case "1#2":
						errs[i] = eventlog.Permanent(errors.New("useless"))
					case "1#3":
						panic("it breaks")
					}
				}
				return errs
			})
			// In another order than they came: each outcome finds its record.
			slices.Reverse(later)
			slices.Reverse(slow)
			for i, place := range places {
				outcomes[place] = later[i]
			}
			return outcomes
		},
	})
	eventually(t, "the fast record to be done while slow ones are detached", func() bool { return times("1#4 fast") == 1 && inSlot.Load() >= 2 })
	if times("1#1 after") != 0 {
		t.Error("a record passed an earlier one of its key that is detached")
	}
	close(release)
	eventually(t, "everything to be handled", func() bool { return times("1#1 after") == 1 && times("1#3 slow") == 2 })
	cluster := newCluster(t, cfg)
	eventually(t, "progress to be committed", func() bool { return lag(t, cluster, "classify") == 0 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]int{"1#1 slow": 1, "1#2 slow": 1, "1#3 slow": 2} {
		if n := times(what); n != want {
			t.Errorf("%s was handled %d times, want %d", what, n, want)
		}
	}
}

// TestDetachedWithoutRoom checks that beyond the bound a part is carried on in
// its slot, and that the records it holds are not lost.
func TestDetachedWithoutRoom(t *testing.T) {
	cfg := openEmbedded(t, 1)
	p := newProducer(t, cfg)
	var records []eventlog.Record
	for i := range 20 {
		records = append(records, raw(fmt.Sprintf("1#%d", i+1), "slow"))
	}
	if err := p.Append(testContext(t), records...); err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	var waiting, most, done atomic.Int32
	startConsumer(t, cfg, eventlog.ConsumerConfig{
		MaxInFlightBatches: 1, MaxBatchRecords: 1, MaxDetached: 2,
		Handler: func(_ context.Context, batch []*eventlog.Record) []error {
			return eventlog.Detach(len(batch), func(context.Context) []error {
				n := waiting.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				<-release
				waiting.Add(-1)
				done.Add(1)
				return make([]error, len(batch))
			})
		},
	})
	eventually(t, "all room to be taken", func() bool { return waiting.Load() == 3 })
	close(release)
	eventually(t, "every record to be done", func() bool { return done.Load() == 20 })
	if m := most.Load(); m > 3 {
		t.Errorf("%d parts went on at once, where 2 may be detached and one holds the slot", m)
	}
}

// TestOutcomesMissing checks that a handler which forgets outcomes loses nothing.
func TestOutcomesMissing(t *testing.T) {
	cfg := openEmbedded(t, 1)
	p := newProducer(t, cfg)
	if err := p.Append(testContext(t), raw("1#1", "a"), raw("1#2", "b")); err != nil {
		t.Fatal(err)
	}
	var calls, done atomic.Int32
	startConsumer(t, cfg, eventlog.ConsumerConfig{
		Handler: func(_ context.Context, batch []*eventlog.Record) []error {
			if calls.Add(1) == 1 {
				return nil
			}
			done.Add(int32(len(batch)))
			return make([]error, len(batch))
		},
	})
	eventually(t, "both records to be done", func() bool { return done.Load() == 2 })
}

// TestHandlerDeadline checks that a handler which does not return of itself has
// its context ended, and that the record is tried again.
func TestHandlerDeadline(t *testing.T) {
	cfg := openEmbedded(t, 1)
	p := newProducer(t, cfg)
	if err := p.Append(testContext(t), raw("1#1", "a")); err != nil {
		t.Fatal(err)
	}
	again := make(chan struct{})
	var calls atomic.Int32
	startConsumer(t, cfg, eventlog.ConsumerConfig{
		HandlerTimeout: 20 * time.Millisecond,
		Handler: func(ctx context.Context, _ []*eventlog.Record) []error {
			if calls.Add(1) == 2 {
				close(again)
				return []error{nil}
			}
			<-ctx.Done()
			return []error{ctx.Err()}
		},
	})
	select {
	case <-again:
	case <-time.After(patience):
		t.Fatal("the record was not tried again")
	}
}

// TestRebalance lets a second consumer take over part of the partitions and
// leave again, and checks that every record was done, and per key in order.
func TestRebalance(t *testing.T) {
	cfg, _ := openCluster(t, 6)
	p := newProducer(t, cfg)
	const keys = 60
	var mu sync.Mutex
	last := make(map[string]int)
	count := make(map[string]int)
	var faults []string
	byConsumer := [2]atomic.Int64{}
	handler := func(who int) eventlog.Handler {
		return func(_ context.Context, batch []*eventlog.Record) []error {
			mu.Lock()
			defer mu.Unlock()
			for _, r := range batch {
				n, _ := strconv.Atoi(string(r.Value))
				// At least once: a record may come again, none may be skipped.
				if n > last[r.Key]+1 {
					faults = append(faults, fmt.Sprintf("%s: %d after %d", r.Key, n, last[r.Key]))
				}
				last[r.Key] = max(last[r.Key], n)
				count[r.Key]++
				byConsumer[who].Add(1)
			}
			return make([]error, len(batch))
		}
	}
	next := 0
	produce := func(rounds int) {
		for range rounds {
			next++
			var records []eventlog.Record
			for k := range keys {
				records = append(records, raw(fmt.Sprintf("7#%d", k), strconv.Itoa(next)))
			}
			if err := p.Append(testContext(t), records...); err != nil {
				t.Fatal(err)
			}
		}
	}
	allDone := func() bool {
		mu.Lock()
		defer mu.Unlock()
		for k := range keys {
			if last[fmt.Sprintf("7#%d", k)] != next {
				return false
			}
		}
		return true
	}
	a, _ := startConsumer(t, cfg, eventlog.ConsumerConfig{Handler: handler(0), CommitInterval: 20 * time.Millisecond})
	<-a.Assigned()
	produce(10)
	eventually(t, "the first consumer to do all", allDone)
	_, stopB := startConsumer(t, cfg, eventlog.ConsumerConfig{Handler: handler(1), CommitInterval: 20 * time.Millisecond})
	eventually(t, "the second consumer to get a share", func() bool {
		produce(1)
		return byConsumer[1].Load() > 0
	})
	produce(10)
	eventually(t, "both to do all", allDone)
	if err := stopB(); err != nil {
		t.Fatal(err)
	}
	produce(10)
	eventually(t, "the first consumer to do all again", allDone)
	mu.Lock()
	defer mu.Unlock()
	if len(faults) > 0 {
		t.Errorf("skipped records: %v", faults)
	}
	total := 0
	for _, n := range count {
		total += n
	}
	if want := keys * next; total > want+want/2 {
		t.Errorf("%d records were handled for %d appended", total, want)
	}
	eventually(t, "everything committed", func() bool { return lag(t, newCluster(t, cfg), "classify") == 0 })
}

// TestBounds checks that a handler which does not return keeps the consumer
// from fetching more than its bounds.
func TestBounds(t *testing.T) {
	cfg := openEmbedded(t, 1)
	p := newProducer(t, cfg)
	reg := prometheus.NewRegistry()
	var records []eventlog.Record
	for i := range 5000 {
		records = append(records, raw("1#"+strconv.Itoa(i), "x"))
	}
	for batch := range 5 {
		if err := p.Append(testContext(t), records[batch*1000:(batch+1)*1000]...); err != nil {
			t.Fatal(err)
		}
	}
	release := make(chan struct{})
	var handled atomic.Int64
	startConsumer(t, cfg, eventlog.ConsumerConfig{
		MaxBufferedRecords: 1500, MaxDistance: 1200, MaxBatchRecords: 100, Registerer: reg,
		Handler: func(ctx context.Context, batch []*eventlog.Record) []error {
			select {
			case <-release:
			case <-ctx.Done():
			}
			handled.Add(int64(len(batch)))
			return make([]error, len(batch))
		},
	})
	buffered := func() float64 { return metric(t, reg, "dispatchai_eventlog_buffered_records") }
	eventually(t, "the buffer to fill", func() bool { return buffered() >= 1200 })
	for range 20 {
		if b := buffered(); b > 2500 {
			t.Fatalf("%v records are buffered", b)
		}
	}
	close(release)
	eventually(t, "all to be handled", func() bool { return handled.Load() == 5000 })
}
