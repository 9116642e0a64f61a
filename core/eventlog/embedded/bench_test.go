package embedded_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/eventlog/embedded"
)

// payload is a webhook's body of 15 KB, a third of which does not compress.
func payload() []byte { return append(make([]byte, 10_000), noise(5_000)...) }

func benchBroker(b *testing.B, partitions int32) (*embedded.Broker, *eventlog.Producer) {
	b.Helper()
	br := open(b, embedded.Options{Partitions: partitions, MaxBytes: 16 << 30})
	return br, producer(b, br.Config())
}

// BenchmarkAppend measures durable appends by that many callers at once, one
// record each.
func BenchmarkAppend(b *testing.B) {
	for _, partitions := range []int32{1, 4, 8} {
		for _, callers := range []int{1, 32, 256} {
			b.Run(fmt.Sprintf("partitions=%d/in-flight=%d", partitions, callers), func(b *testing.B) {
				_, p := benchBroker(b, partitions)
				value := payload()
				var next, failed atomic.Int64
				b.SetBytes(int64(len(value)))
				b.ResetTimer()
				var wg sync.WaitGroup
				for range callers {
					wg.Go(func() {
						for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
							if err := p.Append(context.Background(), record(fmt.Sprintf("1#%d", i), value)); err != nil {
								failed.Add(1)
								return
							}
						}
					})
				}
				wg.Wait()
				b.StopTimer()
				if failed.Load() > 0 {
					b.Fatal("appends failed")
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			})
		}
	}
}

// BenchmarkConsume measures a consumer with a handler that does nothing, commits
// included.
func BenchmarkConsume(b *testing.B) {
	br, p := benchBroker(b, 1)
	value := payload()
	for left := b.N; left > 0; {
		n := min(left, 256)
		batch := make([]eventlog.Record, n)
		for i := range batch {
			batch[i] = record(fmt.Sprintf("1#%d", left-i), value)
		}
		if err := p.Append(context.Background(), batch...); err != nil {
			b.Fatal(err)
		}
		left -= n
	}
	b.SetBytes(int64(len(value)))
	b.ResetTimer()
	done := make(chan struct{})
	var read atomic.Int64
	stop := consume(b, br.Config(), p, "classify", func(*eventlog.Record) {
		if read.Add(1) == int64(b.N) {
			close(done)
		}
	})
	<-done
	b.StopTimer()
	stop()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkLatency measures from the start of an append to the handler, one
// record at a time.
func BenchmarkLatency(b *testing.B) {
	br, p := benchBroker(b, 1)
	value := payload()
	arrived := make(chan struct{}, 1)
	stop := consume(b, br.Config(), p, "classify", func(*eventlog.Record) { arrived <- struct{}{} })
	defer stop()
	if err := p.Append(context.Background(), record("1#0", value)); err != nil {
		b.Fatal(err)
	}
	<-arrived
	b.ResetTimer()
	for range b.N {
		if err := p.Append(context.Background(), record("1#1", value)); err != nil {
			b.Fatal(err)
		}
		<-arrived
	}
}

// TestMemory appends and consumes many times what the log keeps, and checks
// that memory and disk stay flat.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 300 MB")
	}
	dir := t.TempDir()
	b := open(t, embedded.Options{Dir: dir, ReadBackBytes: 4 << 20, SegmentBytes: 2 << 20, TrimInterval: 50 * time.Millisecond,
		Groups: map[string][]string{"classify": {eventlog.TopicIssuesRaw}}})
	p := producer(t, b.Config())
	var read atomic.Int64
	stop := consume(t, b.Config(), p, "classify", func(*eventlog.Record) { read.Add(1) })
	defer stop()
	value := noise(15_000)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var early uint64
	const rounds, perRound = 20, 1000
	for round := range rounds {
		var wg sync.WaitGroup
		for w := range 16 {
			wg.Go(func() {
				for i := w; i < perRound; i += 16 {
					if err := p.Append(context.Background(), record(fmt.Sprintf("1#%d", i), value)); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		eventually(t, "the round to be read", func() bool { return read.Load() == int64((round+1)*perRound) })
		if round == 4 {
			early = heap()
		}
	}
	late := heap()
	t.Logf("heap %d KiB after a quarter, %d KiB at the end, %d KiB on disk", early>>10, late>>10, diskUsage(t, dir)>>10)
	if late > early+16<<20 {
		t.Errorf("the heap grew from %d to %d bytes", early, late)
	}
	eventually(t, "the disk to be freed", func() bool { return diskUsage(t, dir) < 16<<20 })
}
