//go:build unix

package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/eventlog/embedded"
)

// status is a report of so many bytes, which compression does not make fewer.
func status(key string, n, size int) eventlog.Record {
	r := eventlog.Record{Topic: eventlog.TopicStatus, Key: key, Value: append(fmt.Appendf(nil, "%d ", n), noise(size)...)}
	r.SetHeader("n", fmt.Sprint(n))
	return r
}

// newest returns the number in the newest value of each key of a topic, and how
// many records the log has of it.
func newest(tb testing.TB, cfg eventlog.Config, topic string) (numbers map[string]int, records int) {
	tb.Helper()
	cl, err := eventlog.NewCluster(cfg, nil)
	if err != nil {
		tb.Fatal(err)
	}
	defer cl.Close()
	s, err := cl.Snapshot(testContext(tb), topic)
	if err != nil {
		tb.Fatal(err)
	}
	numbers = make(map[string]int)
	for _, r := range s.Live {
		var n int
		if _, err := fmt.Sscan(string(r.Value), &n); err != nil {
			tb.Errorf("%s has %.20q: %v", r.Key, r.Value, err)
		}
		if r.Header("n") != fmt.Sprint(n) {
			tb.Errorf("%s %d has the header %q", r.Key, n, r.Header("n"))
		}
		numbers[r.Key] = n
	}
	return numbers, s.Records
}

func compactions(tb testing.TB, reg *prometheus.Registry) (n float64) {
	tb.Helper()
	families, err := reg.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "dispatchai_eventlog_embedded_compactions_total" {
			for _, m := range f.GetMetric() {
				for _, l := range m.GetLabel() {
					if l.GetValue() == "done" {
						n += m.GetCounter().GetValue()
					}
				}
			}
		}
	}
	return n
}

// TestCompaction: a topic with many more records than keys shrinks, on disk too,
// and keeps each key's newest record with its time and its headers.
func TestCompaction(t *testing.T) {
	dir, reg, logs := t.TempDir(), prometheus.NewRegistry(), &logBuffer{}
	b := open(t, embedded.Options{Dir: dir, TrimInterval: 10 * time.Millisecond, Registerer: reg, Logger: logs.logger()})
	p := producer(t, b.Config())
	at := time.Now().Add(-2 * time.Second).Truncate(time.Millisecond)
	kept := status("kept", 7, 10)
	kept.Time = at
	for _, r := range []eventlog.Record{kept, status("gone", 1, 10)} {
		if err := p.Append(testContext(t), r); err != nil {
			t.Fatal(err)
		}
	}
	const keys, rounds = 20, 400
	for n := range rounds {
		batch := make([]eventlog.Record, keys)
		for k := range batch {
			batch[k] = status(fmt.Sprint("k", k), n, 1000)
		}
		if n == 10 {
			batch = append(batch, eventlog.Record{Topic: eventlog.TopicStatus, Key: "gone"})
		}
		if err := p.Append(testContext(t), batch...); err != nil {
			t.Fatal(err)
		}
	}
	partition := filepath.Join(dir, "kafka", "partitions", eventlog.TopicStatus+"-0")
	eventually(t, "the topic to be small", func() bool {
		_, records := newest(t, b.Config(), eventlog.TopicStatus)
		return records <= 2000 && diskUsage(t, partition) < 3<<20
	})
	check := func(cfg eventlog.Config) {
		t.Helper()
		got, records := newest(t, cfg, eventlog.TopicStatus)
		t.Logf("%d records, %d keys, %.0f compactions", records, len(got), compactions(t, reg))
		if len(got) != keys+1 || got["kept"] != 7 {
			t.Errorf("the topic has %v", got)
		}
		for k := range keys {
			if got[fmt.Sprint("k", k)] != rounds-1 {
				t.Errorf("k%d is %d", k, got[fmt.Sprint("k", k)])
			}
		}
		cl, err := eventlog.NewCluster(cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		s, err := cl.Snapshot(testContext(t), eventlog.TopicStatus)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range s.Live {
			if r.Key == "kept" && !r.Time.Equal(at) {
				t.Errorf("the time of a kept record became %s", r.Time)
			}
		}
	}
	check(b.Config())
	if compactions(t, reg) == 0 || strings.Contains(logs.String(), "level=ERROR") {
		t.Errorf("%v compactions; the log:\n%s", compactions(t, reg), logs)
	}
	p.Close(testContext(t))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	check(open(t, embedded.Options{Dir: dir}).Config())
}

// TestCompactionOfNothing: a topic all of whose keys are removed shrinks too and
// goes on counting where it was.
func TestCompactionOfNothing(t *testing.T) {
	dir := t.TempDir()
	b := open(t, embedded.Options{Dir: dir, TrimInterval: 10 * time.Millisecond})
	p := producer(t, b.Config())
	for n := range 1500 {
		if n%100 == 0 {
			var batch []eventlog.Record
			for k := range 100 {
				batch = append(batch, status(fmt.Sprint(k), n, 1000), eventlog.Record{Topic: eventlog.TopicStatus, Key: fmt.Sprint(k)})
			}
			if err := p.Append(testContext(t), batch...); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "the topic to be small", func() bool {
		_, records := newest(t, b.Config(), eventlog.TopicStatus)
		return records <= 1000
	})
	p.Close(testContext(t))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = open(t, embedded.Options{Dir: dir, TrimInterval: 10 * time.Millisecond})
	if err := producer(t, b.Config()).Append(testContext(t), status("new", 3, 10)); err != nil {
		t.Fatal(err)
	}
	if got, _ := newest(t, b.Config(), eventlog.TopicStatus); len(got) != 1 || got["new"] != 3 {
		t.Errorf("the topic has %v", got)
	}
}

// statusChild attaches to the log of another process and appends to keys of its
// own, telling what was acknowledged, until the log is gone or it is killed.
func statusChild() error {
	ctx := context.Background()
	cfg, err := embedded.Dial(ctx, os.Getenv(childDir))
	if err != nil {
		return err
	}
	p, err := eventlog.NewProducer(cfg, eventlog.ProducerConfig{})
	if err != nil {
		return err
	}
	return reportForever(ctx, p, os.Getenv(childRound), 3)
}

// reportForever appends to so many keys at once.
func reportForever(ctx context.Context, p *eventlog.Producer, name string, keys int) error {
	var mu sync.Mutex
	failed := make(chan error, keys)
	for k := range keys {
		go func() {
			key := fmt.Sprintf("%s-%d", name, k)
			for n := 1; ; n++ {
				if err := p.Append(ctx, status(key, n, 600)); err != nil {
					failed <- err
					return
				}
				mu.Lock()
				fmt.Printf("A %s %d\n", key, n)
				mu.Unlock()
			}
		}()
	}
	return <-failed
}

// compactChild is the process that has the log, and reports too.
func compactChild() error {
	ctx := context.Background()
	b, err := embedded.Open(ctx, compactOptions(os.Getenv(childDir)))
	if err != nil {
		return err
	}
	cl, err := eventlog.NewCluster(b.Config(), nil)
	if err != nil {
		return err
	}
	if err := cl.EnsureTopics(ctx); err != nil {
		return err
	}
	p, err := eventlog.NewProducer(b.Config(), eventlog.ProducerConfig{})
	if err != nil {
		return err
	}
	fmt.Println("A ready 0")
	return reportForever(ctx, p, "owner"+os.Getenv(childRound), 3)
}

func compactOptions(dir string) embedded.Options {
	return embedded.Options{Dir: dir, TrimInterval: time.Millisecond, Groups: groups()}
}

// follower notes what a child says was acknowledged.
type follower struct {
	mu    sync.Mutex
	acked map[string]int
	total atomic.Int64
}

func (f *follower) follow(out io.Reader) (ready <-chan struct{}, ended <-chan struct{}) {
	first, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			var what, key string
			var number int
			if _, err := fmt.Sscan(lines.Text(), &what, &key, &number); err != nil {
				continue // cut off by the kill
			}
			if n == 0 {
				close(first)
			}
			if key == "ready" {
				continue
			}
			f.mu.Lock()
			f.acked[key] = max(f.acked[key], number)
			f.mu.Unlock()
			f.total.Add(1)
		}
	}()
	return first, done
}

// TestCompactionKilled: while two processes append without pause and the topic
// is compacted all the time, the one with the log is killed again and again. No
// acknowledged newest value is lost, nor one put behind an older one.
func TestCompactionKilled(t *testing.T) {
	dir := t.TempDir()
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	f := &follower{acked: make(map[string]int)}
	for round := range rounds {
		ctx, cancel := context.WithTimeout(testContext(t), patience)
		start := func(mode string) (*exec.Cmd, <-chan struct{}, <-chan struct{}) {
			cmd := child(ctx, t, mode, dir, round)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd.Stderr = nil // the attached one fails when the other is killed
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ready, ended := f.follow(out)
			return cmd, ready, ended
		}
		owner, ready, ownerEnded := start("compact")
		await(t, ready)
		attached, ready, attachedEnded := start("status")
		await(t, ready)
		// Long enough for the topic to be compacted several times.
		target := f.total.Load() + 3000 + rand.Int64N(2000)
		eventually(t, "enough appends", func() bool { return f.total.Load() >= target })
		if err := owner.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_ = attached.Process.Kill()
		await(t, ownerEnded)
		await(t, attachedEnded)
		var exit *exec.ExitError
		if err := owner.Wait(); !errors.As(err, &exit) || exit.ExitCode() != -1 {
			t.Fatalf("round %d: the process was not killed: %v", round, err)
		}
		_ = attached.Wait()
		cancel()

		b := open(t, embedded.Options{Dir: dir, TrimInterval: time.Hour})
		got, records := newest(t, b.Config(), eventlog.TopicStatus)
		for key, n := range f.acked {
			// One more may be durable without having been acknowledged.
			if got[key] != n && got[key] != n+1 {
				t.Errorf("round %d: %s is %d, and %d was acknowledged", round, key, got[key], n)
			}
		}
		if start := firstOffset(t, b.Config()); start == 0 {
			t.Errorf("round %d: the topic begins at 0: it was never compacted", round)
		}
		t.Logf("round %d: %d appends acknowledged, %d records left", round, f.total.Load(), records)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func await(tb testing.TB, done <-chan struct{}) {
	tb.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		tb.Fatal("it did not happen in time")
	}
}

func firstOffset(tb testing.TB, cfg eventlog.Config) int64 {
	tb.Helper()
	cl, err := eventlog.NewCluster(cfg, nil)
	if err != nil {
		tb.Fatal(err)
	}
	defer cl.Close()
	lags, err := cl.Lag(testContext(tb), "nobody", eventlog.TopicStatus)
	if err != nil || len(lags) != 1 {
		tb.Fatal(lags, err)
	}
	return lags[0].Start
}

// TestCompactionUnderWriters: many writers of the same keys; what each was told
// last is what the topic has, and the log's order of a key's values is kept for
// whoever follows it live.
func TestCompactionUnderWriters(t *testing.T) {
	reg := prometheus.NewRegistry()
	b := open(t, embedded.Options{TrimInterval: time.Millisecond, Registerer: reg})
	table, err := eventlog.NewTable(b.Config(), eventlog.TableConfig{Topics: []string{eventlog.TopicStatus}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(testContext(t))
	ended := make(chan error, 1)
	go func() { ended <- table.Run(ctx) }()
	const writers, appends = 8, 1500
	var wg sync.WaitGroup
	for w := range writers {
		p := producer(t, b.Config())
		wg.Go(func() {
			for n := 1; n <= appends; n++ {
				if err := p.Append(ctx, status(fmt.Sprint("w", w), n, 500)); err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
			}
		})
	}
	seen := make(map[string]int)
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for running := true; running; {
		changed := table.Changed()
		for _, e := range table.List(eventlog.TopicStatus) {
			var n int
			fmt.Sscan(string(e.Value), &n)
			if n < seen[e.Key] {
				t.Fatalf("%s went from %d back to %d", e.Key, seen[e.Key], n)
			}
			seen[e.Key] = n
		}
		select {
		case <-changed:
		case <-done:
			running = false
		}
	}
	eventually(t, "the table to follow", func() bool {
		for w := range writers {
			e, _ := table.Get(eventlog.TopicStatus, fmt.Sprint("w", w))
			if !strings.HasPrefix(string(e.Value), fmt.Sprint(appends, " ")) {
				return false
			}
		}
		return true
	})
	got, records := newest(t, b.Config(), eventlog.TopicStatus)
	for w := range writers {
		if got[fmt.Sprint("w", w)] != appends {
			t.Errorf("w%d is %d", w, got[fmt.Sprint("w", w)])
		}
	}
	if n := compactions(t, reg); n < 3 {
		t.Errorf("only %v compactions: the test proves little", n)
	} else {
		t.Logf("%d appends, %v compactions, %d records left", writers*appends, n, records)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestCompactedRoom: reports are heard when the log is full of what nobody has
// worked off, and cannot fill it themselves.
func TestCompactedRoom(t *testing.T) {
	b := open(t, embedded.Options{MaxBytes: 4 << 20, SegmentBytes: 256 << 10, TrimInterval: time.Hour})
	p := producer(t, b.Config())
	fill := func(topic string) {
		t.Helper()
		for range 1000 {
			err := p.Append(testContext(t), eventlog.Record{Topic: topic, Key: "1#1", Value: noise(60 << 10)})
			if errors.Is(err, eventlog.ErrFull) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		t.Fatalf("%s was never full", topic)
	}
	fill(eventlog.TopicIssuesEnriched)
	if err := p.Append(testContext(t), eventlog.Record{Topic: eventlog.TopicControl, Key: "a", Value: []byte("{}")}); err != nil {
		t.Errorf("an operator is not heard: %v", err)
	}
	fill(eventlog.TopicStatus)
	if err := p.Append(testContext(t), eventlog.Record{Topic: eventlog.TopicControl, Key: "a", Value: []byte("{}")}); err != nil {
		t.Errorf("an operator is not heard when reports have taken their room: %v", err)
	}
}
