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
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/eventlog/embedded"
)

// The test binary runs itself as the process that crashes.
const (
	childMode  = "EVENTLOG_TEST_CHILD"
	childDir   = "EVENTLOG_TEST_DIR"
	childRound = "EVENTLOG_TEST_ROUND"
	childTrim  = "EVENTLOG_TEST_READ_BACK"
)

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(childMode) {
	case "":
		os.Exit(m.Run())
	case "load":
		err = loadChild()
	case "status":
		err = statusChild()
	case "compact":
		err = compactChild()
	case "filesize":
		err = fileSizeChild()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func child(ctx context.Context, tb testing.TB, mode, dir string, round int) *exec.Cmd {
	tb.Helper()
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), childMode+"="+mode, childDir+"="+dir, fmt.Sprintf("%s=%d", childRound, round))
	cmd.Stderr = os.Stderr
	return cmd
}

const (
	crashKeys  = 48
	roundShift = 1_000_000
)

func crashOptions(dir string, readBack int64) embedded.Options {
	return embedded.Options{
		Dir: dir, SegmentBytes: 256 << 10, ReadBackBytes: readBack, TrimInterval: 10 * time.Millisecond,
		Groups: map[string][]string{"classify": {eventlog.TopicIssuesRaw}},
	}
}

// loadChild appends to many keys and consumes them, telling what was
// acknowledged ("A key n") and what was consumed ("C key n"), until it is
// killed.
func loadChild() error {
	ctx := context.Background()
	var round int
	if _, err := fmt.Sscan(os.Getenv(childRound), &round); err != nil {
		return err
	}
	var readBack int64
	if _, err := fmt.Sscan(os.Getenv(childTrim), &readBack); err != nil {
		return err
	}
	b, err := embedded.Open(ctx, crashOptions(os.Getenv(childDir), readBack))
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
	var mu sync.Mutex
	say := func(what, key, n string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf("%s %s %s\n", what, key, n)
	}
	c, err := eventlog.NewConsumer(b.Config(), eventlog.ConsumerConfig{
		Group: "classify", Topics: []string{eventlog.TopicIssuesRaw}, Producer: p, CommitInterval: 10 * time.Millisecond,
		Handler: func(_ context.Context, batch []*eventlog.Record) []error {
			for _, r := range batch {
				n, _, _ := strings.Cut(string(r.Value), " ")
				say("C", r.Key, n)
			}
			return make([]error, len(batch))
		},
	})
	if err != nil {
		return err
	}
	failed := make(chan error, crashKeys+1)
	go func() { failed <- c.Run(ctx) }()
	padding := string(noise(4 << 10))
	for k := range crashKeys {
		go func() {
			key := fmt.Sprintf("1#%d", k)
			for n := round * roundShift; ; n++ {
				number := fmt.Sprint(n)
				if err := p.Append(ctx, record(key, []byte(number+" "+padding))); err != nil {
					failed <- err
					return
				}
				say("A", key, number)
			}
		}()
	}
	return <-failed
}

// TestCrash kills the process with SIGKILL again and again while it appends,
// consumes and commits, and checks that nothing acknowledged is lost, nothing
// doubled, and the order per key held throughout; once with a log that keeps
// everything, once with one that is trimmed all the time.
func TestCrash(t *testing.T) {
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	t.Run("kept", func(t *testing.T) { crash(t, rounds, 1<<40) })
	t.Run("trimmed", func(t *testing.T) { crash(t, rounds, 1) })
}

func crash(t *testing.T, rounds int, readBack int64) {
	dir := t.TempDir()
	acked := make(map[string]map[string]bool)
	consumed := make(map[string]map[string]bool)
	note := func(m map[string]map[string]bool, key, n string) {
		if m[key] == nil {
			m[key] = make(map[string]bool)
		}
		m[key][n] = true
	}
	total := 0
	for round := range rounds {
		ctx, cancel := context.WithTimeout(testContext(t), patience)
		cmd := child(ctx, t, "load", dir, round)
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", childTrim, readBack))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lifetime := 200 + rand.IntN(2000)
		last := make(map[string]int)
		lines := bufio.NewReader(out)
		for n := 0; ; n++ {
			line, err := lines.ReadString('\n')
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			var what, key, number string
			if _, err := fmt.Sscan(line, &what, &key, &number); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			switch what {
			case "A":
				note(acked, key, number)
				total++
			case "C":
				note(consumed, key, number)
				var n int
				fmt.Sscan(number, &n)
				if before, ok := last[key]; ok && n <= before {
					t.Errorf("round %d: key %s was consumed in the order %d, %d", round, key, before, n)
				}
				last[key] = n
			}
			if n == lifetime {
				if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
		}
		err = cmd.Wait()
		cancel()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != -1 {
			t.Fatalf("round %d: the process was not killed: %v", round, err)
		}
	}
	t.Logf("%d records were acknowledged in %d lives", total, rounds)

	b := open(t, crashOptions(dir, readBack))
	inLog := make(map[string]map[string]bool)
	last := make(map[string]int)
	records := readAll(t, b.Config())
	trimmed := records[0].Offset > 0
	if trimmed && readBack > 1 {
		t.Errorf("the log starts at %d", records[0].Offset)
	}
	for _, r := range records {
		number, _, _ := strings.Cut(string(r.Value), " ")
		var n int
		fmt.Sscan(number, &n)
		if before, ok := last[r.Key]; ok && n <= before {
			t.Fatalf("key %s is in the log in the order %d, %d", r.Key, before, n)
		}
		last[r.Key] = n
		note(inLog, r.Key, number)
	}
	p := producer(t, b.Config())
	var mu sync.Mutex
	stop := consume(t, b.Config(), p, "classify", func(r *eventlog.Record) {
		mu.Lock()
		defer mu.Unlock()
		number, _, _ := strings.Cut(string(r.Value), " ")
		note(consumed, r.Key, number)
	})
	cl, err := eventlog.NewCluster(b.Config(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	eventually(t, "the rest to be consumed", func() bool {
		lags, err := cl.Lag(testContext(t), "classify", eventlog.TopicIssuesRaw)
		return err == nil && len(lags) == 1 && lags[0].Lag == 0
	})
	if readBack == 1 {
		eventually(t, "the log to be trimmed", func() bool { return diskUsage(t, dir) < 2<<20 })
	}
	stop()
	mu.Lock()
	defer mu.Unlock()
	for key, numbers := range acked {
		for n := range numbers {
			if !trimmed && !inLog[key][n] {
				t.Errorf("%s %s was acknowledged and is lost", key, n)
			}
			if !consumed[key][n] {
				t.Errorf("%s %s was acknowledged and never consumed", key, n)
			}
		}
	}
	if total < rounds*50 {
		t.Errorf("only %d records were acknowledged: the test proves little", total)
	}
}

// fileSizeChild appends until the system refuses to let files grow, and tells
// what was acknowledged and how the log answered.
func fileSizeChild() error {
	ctx := context.Background()
	b, err := embedded.Open(ctx, embedded.Options{Dir: os.Getenv(childDir), Groups: groups()})
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
	signal.Ignore(syscall.SIGXFSZ)
	const limit = 1<<20 + 4321
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
		return err
	}
	value := noise(10 << 10)
	for n := range 1000 {
		if err := p.Append(ctx, record("1#1", append([]byte(fmt.Sprintf("%d ", n)), value...))); err != nil {
			if !errors.Is(err, eventlog.ErrUnavailable) {
				return fmt.Errorf("the failed append returned %w", err)
			}
			break
		}
		fmt.Println(n)
	}
	// No second attempt may be acknowledged, as a duplicate or otherwise.
	for range 3 {
		if err := p.Append(ctx, record("1#1", []byte("after "))); !errors.Is(err, eventlog.ErrUnavailable) {
			return fmt.Errorf("after the failure: %w", err)
		}
	}
	if b.Err() == nil {
		return errors.New("the broker has not noticed")
	}
	return nil
}

// TestWriteError lets a write of the broker fail half way, and checks that
// nothing is acknowledged from then on and that what was is there after a
// restart.
func TestWriteError(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(testContext(t), patience)
	defer cancel()
	out, err := child(ctx, t, "filesize", dir, 0).Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	acked := strings.Fields(string(out))
	if len(acked) < 50 || len(acked) > 150 {
		t.Fatalf("%d records were acknowledged", len(acked))
	}
	b := open(t, embedded.Options{Dir: dir})
	records := readAll(t, b.Config())
	if len(records) < len(acked) || len(records) > len(acked)+1 {
		t.Fatalf("%d records were acknowledged, %d are there", len(acked), len(records))
	}
	for i, want := range acked {
		if got, _, _ := strings.Cut(string(records[i].Value), " "); got != want {
			t.Fatalf("record %d is %s, want %s", i, got, want)
		}
	}
	if err := producer(t, b.Config()).Append(testContext(t), record("1#1", []byte("on "))); err != nil {
		t.Fatal(err)
	}
	if again := readAll(t, b.Config()); len(again) != len(records)+1 {
		t.Errorf("%d records, then one more is %d", len(records), len(again))
	}
}
