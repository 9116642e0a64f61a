package embedded_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/eventlog/embedded"
)

const patience = 30 * time.Second

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(io.Writer(b), nil)) }

func testContext(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	tb.Cleanup(cancel)
	return ctx
}

func groups() map[string][]string {
	return map[string][]string{"classify": {eventlog.TopicIssuesRaw}, "audit": {eventlog.TopicIssuesRaw}}
}

// open starts a broker with its topics. The caller closes it; closing twice does
// no harm.
func open(tb testing.TB, opts embedded.Options) *embedded.Broker {
	tb.Helper()
	if opts.Dir == "" {
		opts.Dir = tb.TempDir()
	}
	if opts.Groups == nil {
		opts.Groups = groups()
	}
	b, err := embedded.Open(testContext(tb), opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := b.Close(); err != nil {
			tb.Error(err)
		}
	})
	cl, err := eventlog.NewCluster(b.Config(), nil)
	if err != nil {
		tb.Fatal(err)
	}
	defer cl.Close()
	if err := cl.EnsureTopics(testContext(tb)); err != nil {
		tb.Fatal(err)
	}
	return b
}

func producer(tb testing.TB, cfg eventlog.Config) *eventlog.Producer {
	tb.Helper()
	p, err := eventlog.NewProducer(cfg, eventlog.ProducerConfig{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { p.Close(testContext(tb)) })
	return p
}

// consume runs a group over issues.raw until the context ends.
func consume(tb testing.TB, cfg eventlog.Config, p *eventlog.Producer, group string, fn func(*eventlog.Record)) (stop func()) {
	tb.Helper()
	c, err := eventlog.NewConsumer(cfg, eventlog.ConsumerConfig{
		Group: group, Topics: []string{eventlog.TopicIssuesRaw}, Producer: p, CommitInterval: 20 * time.Millisecond,
		Handler: func(_ context.Context, batch []*eventlog.Record) []error {
			for _, r := range batch {
				fn(r)
			}
			return make([]error, len(batch))
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	return func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				tb.Error(err)
			}
		case <-time.After(patience):
			tb.Error("the consumer does not stop")
		}
	}
}

// readAll returns what issues.raw holds from start to end.
func readAll(tb testing.TB, cfg eventlog.Config) (records []*eventlog.Record) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(testContext(tb), patience)
	defer cancel()
	done := false
	err := eventlog.ErrCursorExpired
	for errors.Is(err, eventlog.ErrCursorExpired) { // trimmed while it was read
		records = nil
		err = eventlog.Tail(ctx, cfg, eventlog.TailConfig{
			Topics: []string{eventlog.TopicIssuesRaw}, From: eventlog.Start{LastRecords: 1 << 40},
			Handler:  func(batch []*eventlog.Record, _ eventlog.Cursor) { records = append(records, batch...) },
			CaughtUp: func(eventlog.Cursor) { done = true; cancel() },
		})
	}
	if err != nil || !done {
		tb.Fatalf("reading all: done %v, %v", done, err)
	}
	return records
}

func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			tb.Fatalf("waited %s for: %s", patience, what)
		case <-ticker.C:
		}
	}
}

func noise(n int) []byte {
	v := make([]byte, n)
	rand.Read(v)
	return v
}

func record(key string, value []byte) eventlog.Record {
	return eventlog.Record{Topic: eventlog.TopicIssuesRaw, Key: key, Value: value}
}

func diskUsage(tb testing.TB, dir string) (bytes int64) {
	tb.Helper()
	err := filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return bytes
}

// TestReopen checks that records, offsets and the commits of a group survive an
// orderly restart.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	for round := range 3 {
		b := open(t, embedded.Options{Dir: dir})
		p := producer(t, b.Config())
		got := make(chan string, 10)
		stop := consume(t, b.Config(), p, "classify", func(r *eventlog.Record) { got <- string(r.Value) })
		want := fmt.Sprintf("round %d", round)
		if err := p.Append(testContext(t), record("1#1", []byte(want))); err != nil {
			t.Fatal(err)
		}
		select {
		case v := <-got:
			if v != want {
				t.Fatalf("round %d: got %q", round, v)
			}
		case <-time.After(patience):
			t.Fatalf("round %d: nothing came", round)
		}
		stop()
		if err := p.Close(testContext(t)); err != nil {
			t.Fatal(err)
		}
		if n := len(readAll(t, b.Config())); n != round+1 {
			t.Fatalf("round %d: %d records", round, n)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLockedDirectory(t *testing.T) {
	dir := t.TempDir()
	b := open(t, embedded.Options{Dir: dir})
	_, err := embedded.Open(testContext(t), embedded.Options{Dir: dir, Groups: groups()})
	var inUse *embedded.InUseError
	if !errors.As(err, &inUse) {
		t.Fatalf("opened twice: %v", err)
	}
	if inUse.PID != os.Getpid() || !strings.Contains(err.Error(), "stop it or choose another --data-dir") || !strings.Contains(err.Error(), dir) {
		t.Errorf("the error does not help: %v", err)
	}
	// The second attempt has done the first no harm.
	if err := producer(t, b.Config()).Append(testContext(t), record("1#1", nil)); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, embedded.Options{Dir: dir})
}

// TestDial reaches a running log as another process would, and tells a log that
// is not running, whatever is left of its socket.
func TestDial(t *testing.T) {
	dir := t.TempDir()
	if _, err := embedded.Dial(testContext(t), dir); !errors.Is(err, embedded.ErrNotRunning) {
		t.Fatalf("nothing there: %v", err)
	}
	b := open(t, embedded.Options{Dir: dir})
	cfg, err := embedded.Dial(testContext(t), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := producer(t, cfg).Append(testContext(t), record("1#1", []byte("hello"))); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, cfg); len(got) != 1 || string(got[0].Value) != "hello" {
		t.Errorf("got %v", got)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "broker.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	if _, err := embedded.Dial(testContext(t), dir); !errors.Is(err, embedded.ErrNotRunning) {
		t.Fatalf("a stale socket: %v", err)
	}
	open(t, embedded.Options{Dir: dir})
}

func TestPrivate(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	open(t, embedded.Options{Dir: dir})
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if perm := info.Mode().Perm(); perm != 0o700 {
		t.Errorf("the directory has mode %o", perm)
	}
}

// TestLongPath opens a log in a directory whose path no socket address takes.
func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30), strings.Repeat("er", 40))
	b := open(t, embedded.Options{Dir: dir})
	if err := producer(t, b.Config()).Append(testContext(t), record("1#1", nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Dial(testContext(t), dir); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "broker.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

// TestBadRequests sends what would make the broker panic or allocate without
// bound, and checks that it goes on.
func TestBadRequests(t *testing.T) {
	dir := t.TempDir()
	b := open(t, embedded.Options{Dir: dir})
	unknownKey := binary.BigEndian.AppendUint32(nil, 20)
	unknownKey = append(unknownKey, 0x7f, 0xff)
	unknownKey = append(unknownKey, make([]byte, 18)...)
	for name, request := range map[string][]byte{
		"huge":        {0xff, 0xff, 0xff, 0xff, 0, 0},
		"empty":       {0, 0, 0, 0, 0, 0, 0, 0},
		"unknown key": unknownKey,
	} {
		conn, err := net.Dial("unix", filepath.Join(dir, "broker.sock"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(request); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 1)); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
		conn.Close()
	}
	if err := producer(t, b.Config()).Append(testContext(t), record("1#1", nil)); err != nil {
		t.Fatal(err)
	}
}

// TestTrim reads with two groups of different speed and checks that disk is
// freed behind the slower, and that it misses nothing.
func TestTrim(t *testing.T) {
	dir := t.TempDir()
	opts := embedded.Options{Dir: dir, SegmentBytes: 256 << 10, ReadBackBytes: 512 << 10, TrimInterval: 20 * time.Millisecond}
	b := open(t, opts)
	p := producer(t, b.Config())
	const records, size = 200, 50 << 10
	var fast atomic.Int64
	stopFast := consume(t, b.Config(), p, "classify", func(*eventlog.Record) { fast.Add(1) })
	value := noise(size)
	for i := range records {
		if err := p.Append(testContext(t), record(fmt.Sprintf("1#%d", i), value)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the fast group to read all", func() bool { return fast.Load() == records })
	stopFast()
	b.TrimNow()
	// The slow group has never committed: all must be there.
	all := readAll(t, b.Config())
	if len(all) != records || all[0].Offset != 0 {
		t.Fatalf("%d records from offset %d are left before the slow group has read any", len(all), all[0].Offset)
	}
	var slow []int64
	var mu sync.Mutex
	stopSlow := consume(t, b.Config(), p, "audit", func(r *eventlog.Record) {
		mu.Lock()
		defer mu.Unlock()
		slow = append(slow, r.Offset)
	})
	eventually(t, "the slow group to read all", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(slow) == records
	})
	eventually(t, "the disk to be freed", func() bool { return diskUsage(t, filepath.Join(dir, "kafka", "partitions", "issues.raw-0")) < 1<<20 })
	stopSlow()
	seen := make(map[int64]bool)
	for _, o := range slow {
		seen[o] = true
	}
	if len(seen) != records {
		t.Errorf("the slow group saw %d of %d records", len(seen), records)
	}
	left := readAll(t, b.Config())
	if kept := len(left) * size; kept < int(opts.ReadBackBytes) {
		t.Errorf("only %d bytes are left to read back", kept)
	}
	if left[len(left)-1].Offset != records-1 {
		t.Errorf("the log ends at %d", left[len(left)-1].Offset)
	}
	// Offsets go on after a restart, although the first files are gone.
	p.Close(testContext(t))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = open(t, opts)
	p = producer(t, b.Config())
	if err := p.Append(testContext(t), record("1#1", []byte("next"))); err != nil {
		t.Fatal(err)
	}
	left = readAll(t, b.Config())
	if last := left[len(left)-1]; last.Offset != records || string(last.Value) != "next" {
		t.Errorf("after a restart: offset %d", last.Offset)
	}
}

// TestFull fills the log to its bound, and checks that it refuses more, loses
// nothing, says who holds it up, and recovers once that group has read.
func TestFull(t *testing.T) {
	dir := t.TempDir()
	opts := embedded.Options{Dir: dir, MaxBytes: 3 << 20, SegmentBytes: 256 << 10, ReadBackBytes: 8 << 20, TrimInterval: 20 * time.Millisecond,
		Groups: map[string][]string{"classify": {eventlog.TopicIssuesRaw}}}
	b := open(t, opts)
	p := producer(t, b.Config())
	value := noise(50 << 10)
	acked := 0
	var full error
	for i := range 1000 {
		if err := p.Append(testContext(t), record(fmt.Sprintf("1#%d", i), value)); err != nil {
			full = err
			break
		}
		acked++
	}
	if !errors.Is(full, eventlog.ErrFull) {
		t.Fatalf("after %d records: %v", acked, full)
	}
	if used := diskUsage(t, dir); used > opts.MaxBytes+1<<20 {
		t.Errorf("the directory has %d bytes, its bound is %d", used, opts.MaxBytes)
	}
	if err := b.Health(); err != nil && !errors.Is(err, eventlog.ErrFull) {
		t.Error(err)
	}
	eventually(t, "the error to name the group", func() bool {
		err := p.Append(testContext(t), record("1#x", value))
		return errors.Is(err, eventlog.ErrFull) && strings.Contains(err.Error(), "classify")
	})
	var read atomic.Int64
	stop := consume(t, b.Config(), p, "classify", func(*eventlog.Record) { read.Add(1) })
	defer stop()
	// Reading back gives way, or the log would stay full for ever.
	eventually(t, "an append to succeed again", func() bool { return p.Append(testContext(t), record("1#y", value)) == nil })
	eventually(t, "all to be read", func() bool { return read.Load() >= int64(acked)+1 })
}

// TestDiskNearlyFull refuses appends while the file system has too little room.
func TestDiskNearlyFull(t *testing.T) {
	b := open(t, embedded.Options{MinFreeBytes: 1 << 60})
	err := producer(t, b.Config()).Append(testContext(t), record("1#1", nil))
	if !errors.Is(err, eventlog.ErrFull) {
		t.Fatalf("Append: %v", err)
	}
	if err := b.Health(); !errors.Is(err, eventlog.ErrFull) {
		t.Errorf("Health: %v", err)
	}
}

// TestSyncError makes the system report that data was not written back, and
// checks that no append is acknowledged from then on, and what was before is
// there after a restart.
func TestSyncError(t *testing.T) {
	dir := t.TempDir()
	var broken atomic.Bool
	logs := &logBuffer{}
	b := open(t, embedded.Options{Dir: dir, Groups: groups(), Logger: logs.logger()}.WithSyncError(func(*os.File) error {
		if broken.Load() {
			return syscall.EIO
		}
		return nil
	}))
	p := producer(t, b.Config())
	if err := p.Append(testContext(t), record("1#1", []byte("safe"))); err != nil {
		t.Fatal(err)
	}
	c, err := eventlog.NewConsumer(b.Config(), eventlog.ConsumerConfig{
		Group: "classify", Topics: []string{eventlog.TopicIssuesRaw}, Producer: p,
		Handler: func(_ context.Context, batch []*eventlog.Record) []error { return make([]error, len(batch)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- c.Run(context.Background()) }()
	<-c.Assigned()
	broken.Store(true)
	for range 3 {
		start := time.Now()
		if err := p.Append(testContext(t), record("1#1", []byte("lost"))); !errors.Is(err, eventlog.ErrUnavailable) {
			t.Fatalf("after a failed sync: %v", err)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("it took %s to say so", took)
		}
	}
	select {
	case <-b.Failed():
	default:
		t.Error("Failed is open")
	}
	select {
	case err := <-stopped:
		if !errors.Is(err, eventlog.ErrUnavailable) {
			t.Errorf("the consumer: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the consumer does not stop")
	}
	if err := b.Health(); err == nil || !strings.Contains(err.Error(), "input/output error") || !strings.Contains(err.Error(), "restart") {
		t.Errorf("Health: %v", err)
	}
	if !strings.Contains(logs.String(), "stops acknowledging") {
		t.Error("nothing was said about it")
	}
	p.Close(testContext(t))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = open(t, embedded.Options{Dir: dir})
	if got := readAll(t, b.Config()); len(got) == 0 || string(got[0].Value) != "safe" {
		t.Errorf("after a restart: %v", got)
	}
	if err := producer(t, b.Config()).Append(testContext(t), record("1#1", nil)); err != nil {
		t.Error(err)
	}
}

// TestTornFiles cuts files off in the middle of what a crash may have been
// writing, and checks that what was acknowledged and committed is still there.
func TestTornFiles(t *testing.T) {
	dir := t.TempDir()
	b := open(t, embedded.Options{Dir: dir})
	p := producer(t, b.Config())
	var read atomic.Int64
	stop := consume(t, b.Config(), p, "classify", func(*eventlog.Record) { read.Add(1) })
	for i := range 3 {
		if err := p.Append(testContext(t), record("1#1", []byte{byte(i)})); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "three records", func() bool { return read.Load() == 3 })
	stop()
	p.Close(testContext(t))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"groups.log", "partitions/issues.raw-0/0.dat"} {
		f, err := os.OpenFile(filepath.Join(dir, "kafka", name), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte{0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 200, 1, 2, 3}); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	// Twice: a commit made after the first start must be found by the second.
	for round := range 2 {
		b = open(t, embedded.Options{Dir: dir})
		cl, err := eventlog.NewCluster(b.Config(), nil)
		if err != nil {
			t.Fatal(err)
		}
		lags, err := cl.Lag(testContext(t), "classify", eventlog.TopicIssuesRaw)
		cl.Close()
		if err != nil || len(lags) != 1 || lags[0].Committed != int64(3+round) || lags[0].End != int64(3+round) {
			t.Fatalf("round %d: %+v, %v", round, lags, err)
		}
		p = producer(t, b.Config())
		if err := p.Append(testContext(t), record("1#1", nil)); err != nil {
			t.Fatal(err)
		}
		var again atomic.Int64
		stop = consume(t, b.Config(), p, "classify", func(*eventlog.Record) { again.Add(1) })
		eventually(t, "the new record", func() bool { return again.Load() == 1 })
		stop()
		p.Close(testContext(t))
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDeadLettersKept checks that unsettled dead letters are never trimmed, and
// settled ones are.
func TestDeadLettersKept(t *testing.T) {
	dir := t.TempDir()
	b := open(t, embedded.Options{Dir: dir, SegmentBytes: 64 << 10, ReadBackBytes: 1, TrimInterval: 20 * time.Millisecond,
		Groups: map[string][]string{"classify": {eventlog.TopicIssuesRaw}}})
	p := producer(t, b.Config())
	c, err := eventlog.NewConsumer(b.Config(), eventlog.ConsumerConfig{
		Group: "classify", Topics: []string{eventlog.TopicIssuesRaw}, Producer: p,
		Handler: func(_ context.Context, batch []*eventlog.Record) []error {
			errs := make([]error, len(batch))
			for i, r := range batch {
				if r.Header(eventlog.HeaderReplayedFrom) == "" {
					errs[i] = eventlog.Permanent(errors.New("no"))
				}
			}
			return errs
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	const letters = 40
	value := noise(20 << 10)
	for i := range letters {
		if err := p.Append(testContext(t), record(fmt.Sprintf("1#%d", i), value)); err != nil {
			t.Fatal(err)
		}
	}
	cl, err := eventlog.NewCluster(b.Config(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	dead := eventlog.NewDeadLetters(cl, p, nil)
	count := func() int {
		list, err := dead.List(testContext(t), eventlog.ListOptions{Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	eventually(t, "all letters", func() bool { return count() == letters })
	raw := filepath.Join(dir, "kafka", "partitions", "issues.raw-0")
	eventually(t, "the originals to be trimmed", func() bool { return diskUsage(t, raw) < 200<<10 })
	if n := count(); n != letters {
		t.Fatalf("%d letters are left", n)
	}
	if _, err := dead.ReplayAll(testContext(t)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the settled letters to be trimmed", func() bool {
		return diskUsage(t, filepath.Join(dir, "kafka", "partitions", "issues.dead-0")) < 200<<10
	})
	if n := count(); n != 0 {
		t.Errorf("%d letters are open", n)
	}
}
