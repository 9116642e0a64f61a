package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/dispatchai/dispatchai/core/confine"
	"github.com/dispatchai/dispatchai/core/triage"
	"github.com/dispatchai/dispatchai/plugins/sdk"
)

func self(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func launch(t testing.TB, mode string, options Options) *Plugin {
	t.Helper()
	p, err := Launch(limited(t), Spec{Name: "test", Path: self(t), Args: []string{asPlugin, mode}}, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

var repository = &sdk.Repository{
	ID: 7, FullName: "octo/cat",
	Options: map[sdk.Field][]sdk.Option{
		sdk.Category: {{Value: "bug", Label: "type: bug"}, {Value: "feature"}},
		sdk.Tags:     {{Value: "help wanted"}, {Value: "good first issue"}},
	},
}

func items(titles ...string) []Item {
	out := make([]Item, len(titles))
	for i, title := range titles {
		out[i] = Item{Repository: repository, Issue: triage.Issue{Number: i + 1, Title: title}}
	}
	return out
}

func classify(t testing.TB, p *Plugin, titles ...string) []Outcome {
	t.Helper()
	out, err := p.Classify(limited(t), items(titles...))
	if err != nil {
		t.Fatalf("Classify(%q): %v", titles, err)
	}
	if len(out) != len(titles) {
		t.Fatalf("%d outcomes for %d items", len(out), len(titles))
	}
	return out
}

// eventually asks until the answer is yes.
func eventually(t testing.TB, what string, yes func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !yes() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never came true: %s", what)
		}
	}
}

type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logs) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func TestClassify(t *testing.T) {
	p := launch(t, "sdk", Options{})
	d := p.Describe()
	if d.Name != "subject" || d.Version != "1.2.3" || !d.Learns || !d.Configurable || *d.Embedding != (sdk.EmbeddingModel{Name: "letters", Dimensions: 4}) {
		t.Errorf("description: %+v", d)
	}
	batch := items("first", "second")
	batch[1].Similar = []Similar{{Neighbour: triage.Neighbour{Number: 3, Title: "x", Similarity: 0.5}}}
	out, err := p.Classify(limited(t), batch)
	if err != nil {
		t.Fatal(err)
	}
	for i, title := range []string{"first", "second"} {
		o := out[i]
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		category := o.Fields[triage.FieldCategory]
		if category.Value() != "bug" || category.Confidence != 0.75 || category.Reason != "It says so." ||
			category.Source != triage.SourcePlugin || category.Plugin != "test" || category.Version != "1.2.3" {
			t.Errorf("category: %+v", category)
		}
		if got := o.Fields[triage.FieldSummary].Value(); got != title {
			t.Errorf("summary %q, want %q", got, title)
		}
		if want := fmt.Sprintf("octo/cat: %d similar", i); o.Reasoning != want {
			t.Errorf("reasoning %q, want %q", o.Reasoning, want)
		}
		if o.Usage != (triage.Usage{InputTokens: 3, CostUSD: 0.25}) {
			t.Errorf("usage: %+v", o.Usage)
		}
	}
	if h := p.Health(); h.State != Running || h.PID == 0 || h.Restarts != 0 {
		t.Errorf("health: %+v", h)
	}
}

func TestItemErrors(t *testing.T) {
	p := launch(t, "sdk", Options{})
	out := classify(t, p, "fine", "panic", "error not today", "permanent never", "later")
	if out[0].Err != nil {
		t.Error(out[0].Err)
	}
	for i, want := range map[int]ItemError{
		1: {Plugin: "test", Message: "the classifier panicked: out of cheese"},
		2: {Plugin: "test", Message: "not today"},
		3: {Plugin: "test", Message: "never", Permanent: true},
	} {
		if e, ok := errors.AsType[*ItemError](out[i].Err); !ok || *e != want {
			t.Errorf("item %d: %v", i, out[i].Err)
		}
	}
	if after, ok := RetryAfter(out[4].Err); !ok || after != 7*time.Second || !errors.Is(out[4].Err, ErrUnavailable) {
		t.Errorf("later: %v", out[4].Err)
	}
}

// A crash must hurt the issue that causes it and no other, though they share a batch.
func TestCrashIsIsolated(t *testing.T) {
	r := prometheus.NewRegistry()
	p := launch(t, "sdk", Options{MinBackoff: time.Millisecond, Registerer: r})
	out := classify(t, p, "one", "crash", "two", "three")
	for i, o := range out {
		e, crashed := errors.AsType[*CallError](o.Err)
		if i == 1 {
			if !crashed || e.How != Crashed {
				t.Errorf("the culprit: %v", o.Err)
			}
		} else if o.Err != nil || o.Fields[triage.FieldCategory].Value() != "bug" {
			t.Errorf("item %d: %+v", i, o)
		}
	}
	if h := p.Health(); h.Restarts != 2 || !strings.Contains(h.LastError, "exit status 7") {
		t.Errorf("health: %+v", h)
	}
	if got := counted(p.metrics.restarts.WithLabelValues("exited")); got != 2 {
		t.Errorf("restarts metric: %v", got)
	}
	if out := classify(t, p, "after"); out[0].Err != nil {
		t.Error(out[0].Err)
	}
}

// Nor must it hurt those whose calls are in progress beside it.
func TestCrashBesideOtherCalls(t *testing.T) {
	p := launch(t, "sdk", Options{MinBackoff: time.Millisecond, MaxConcurrent: 4})
	ctx := limited(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				out, err := p.Classify(ctx, items("a"))
				if err == nil {
					err = out[0].Err
				}
				if err != nil && !errors.Is(err, ErrUnavailable) {
					t.Errorf("an innocent issue: %v", err)
				}
			}
		})
	}
	for range 3 {
		out, err := p.Classify(ctx, items("crash"))
		for errors.Is(err, ErrUnavailable) {
			if err := p.awaitRunning(ctx, time.Minute); err != nil {
				t.Fatal(err)
			}
			out, err = p.Classify(ctx, items("crash"))
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := errors.AsType[*CallError](out[0].Err); !ok || e.How != Crashed {
			t.Errorf("the culprit: %v", out[0].Err)
		}
	}
	close(stop)
	wg.Wait()
}

func TestHangIsIsolatedAndKilled(t *testing.T) {
	p := launch(t, "sdk", Options{MinBackoff: time.Millisecond, CallTimeout: 2 * time.Second})
	before := p.Health().PID
	out := classify(t, p, "one", "hang", "two")
	if e, ok := errors.AsType[*CallError](out[1].Err); !ok || e.How != TimedOut {
		t.Errorf("the culprit: %v", out[1].Err)
	}
	if out[0].Err != nil || out[2].Err != nil {
		t.Errorf("the others: %v, %v", out[0].Err, out[2].Err)
	}
	if now := p.Health(); now.PID == before || now.Restarts == 0 {
		t.Errorf("the hung process %d was not replaced: %+v", before, now)
	}
}

// A classifier that heeds its deadline is not killed, and the others' answers arrive.
func TestSlowItemIsNotAHang(t *testing.T) {
	p := launch(t, "sdk", Options{CallTimeout: 2 * time.Second})
	out := classify(t, p, "one", "sleep", "two")
	if _, ok := errors.AsType[*ItemError](out[1].Err); !ok {
		t.Errorf("the slow one: %v", out[1].Err)
	}
	if out[0].Err != nil || p.Health().Restarts != 0 {
		t.Errorf("%v, %+v", out[0].Err, p.Health())
	}
}

// Killed while calls are in flight, a plugin delays and loses nothing.
func TestKillUnderLoad(t *testing.T) {
	p := launch(t, "sdk", Options{MinBackoff: time.Millisecond})
	ctx := limited(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	answered := 0
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				out, err := p.Classify(ctx, items("a", "b", "c", "d"))
				if err != nil && !errors.Is(err, ErrUnavailable) {
					t.Errorf("an error that is neither: %v", err)
				}
				if after, waits := RetryAfter(err); waits {
					if after <= 0 {
						t.Errorf("no time to wait for in %v", err)
					}
					if err := p.awaitRunning(ctx, time.Minute); err != nil {
						t.Error(err)
					}
				}
				for _, o := range out {
					_, counted := errors.AsType[*CallError](o.Err)
					if o.Err != nil && !counted && !errors.Is(o.Err, ErrUnavailable) {
						t.Errorf("an error that is neither: %v", o.Err)
					}
					if o.Err == nil && o.Fields[triage.FieldCategory].Value() != "bug" {
						t.Errorf("a wrong answer: %+v", o)
					}
				}
				mu.Lock()
				answered += len(out)
				mu.Unlock()
			}
		})
	}
	for range 5 {
		mu.Lock()
		seen := answered
		mu.Unlock()
		pid := 0
		eventually(t, "it answers", func() bool {
			mu.Lock()
			defer mu.Unlock()
			pid = p.Health().PID
			return answered > seen+100 && pid != 0
		})
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is restarted", func() bool { h := p.Health(); return h.State == Running && h.PID != pid })
	}
	close(stop)
	wg.Wait()
	if out := classify(t, p, "after"); out[0].Err != nil {
		t.Error(out[0].Err)
	}
}

// A frozen process is found without any call.
func TestIdleHang(t *testing.T) {
	p := launch(t, "sdk", Options{MinBackoff: time.Millisecond, PingInterval: 200 * time.Millisecond})
	pid := p.Health().PID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is replaced", func() bool { h := p.Health(); return h.State == Running && h.PID != pid })
	if out := classify(t, p, "after"); out[0].Err != nil {
		t.Error(out[0].Err)
	}
	if got := counted(p.metrics.restarts.WithLabelValues("hung")); got != 1 {
		t.Errorf("hung: %v", got)
	}
}

// So is one whose callers never wait until the host's own deadline.
func TestHangBehindImpatientCallers(t *testing.T) {
	p := launch(t, "sdk", Options{MinBackoff: time.Millisecond, PingInterval: 100 * time.Millisecond, CallTimeout: time.Second})
	pid := p.Health().PID
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
				_, _ = p.Classify(ctx, items("a"))
				cancel()
			}
		})
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is replaced", func() bool { h := p.Health(); return h.State == Running && h.PID != pid })
	close(stop)
	wg.Wait()
}

func TestCallerCancels(t *testing.T) {
	p := launch(t, "sdk", Options{})
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error)
	go func() {
		_, err := p.Classify(ctx, items("sleep"))
		result <- err
	}()
	eventually(t, "the call is in progress", func() bool { return p.calls.Load() == 1 })
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if h := p.Health(); h.Restarts != 0 {
		t.Errorf("a cancelled call cost the process: %+v", h)
	}
}

func TestConcurrencyIsBounded(t *testing.T) {
	p := launch(t, "sdk", Options{MaxConcurrent: 1, CallTimeout: 30 * time.Second})
	slow, stopSlow := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = p.Classify(slow, items("sleep"))
	}()
	eventually(t, "the call is in progress", func() bool { return p.calls.Load() == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.Classify(ctx, items("second")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second call did not wait: %v", err)
	}
	stopSlow()
	<-done
	if out := classify(t, p, "third"); out[0].Err != nil {
		t.Error(out[0].Err)
	}
}

// Those who would wait beyond the bound are told at once.
func TestWaitingIsBounded(t *testing.T) {
	p := launch(t, "sdk", Options{MaxConcurrent: 1, MaxWaiting: 1, CallTimeout: 30 * time.Second})
	ctx, stop := context.WithCancel(context.Background())
	var calls sync.WaitGroup
	for range 2 {
		calls.Go(func() { _, _ = p.Classify(ctx, items("sleep")) })
	}
	eventually(t, "one call is in progress and one waits", func() bool { return p.calls.Load() == 1 && p.waiting.Load() == 1 })
	_, err := p.Classify(limited(t), items("third"))
	if e, ok := errors.AsType[*UnavailableError](err); !ok || e.State != Busy {
		t.Errorf("%v", err)
	}
	stop()
	calls.Wait()
	if out := classify(t, p, "fourth"); out[0].Err != nil {
		t.Error(out[0].Err)
	}
}

// A plugin that fails call after call is left alone, and asked again after a while.
func TestBreaker(t *testing.T) {
	p := launch(t, "raw", Options{Cooldown: time.Second})
	trips := func() {
		t.Helper()
		for range failuresInRow {
			if p.Health().State == Tripped {
				return
			}
			_, _ = p.Classify(limited(t), items("status"))
		}
		if p.Health().State != Tripped {
			t.Fatalf("the circuit is closed after %d failures: %+v", failuresInRow, p.Health())
		}
	}
	trips()
	pid := p.Health().PID
	_, err := p.Classify(limited(t), items("fine"))
	if e, ok := errors.AsType[*UnavailableError](err); !ok || e.State != Tripped || e.RetryAfter <= 0 || !strings.Contains(err.Error(), "I am confused") {
		t.Errorf("%v", err)
	}
	if got := counted(p.metrics.open); got != 1 {
		t.Errorf("circuit_open is %v", got)
	}
	eventually(t, "it answers again", func() bool {
		out, err := p.Classify(limited(t), items("fine"))
		return err == nil && out[0].Err == nil
	})
	if h := p.Health(); h.State != Running || h.PID != pid || counted(p.metrics.opened) != 1 || counted(p.metrics.open) != 0 {
		t.Errorf("%+v", h)
	}
	// One success does not make it forget how to trip.
	trips()
}

// What takes a process with it counts once, however many calls were in progress.
func TestBreakerCountsACrashOnce(t *testing.T) {
	p := launch(t, "sdk", Options{MaxConcurrent: 2 * failuresInRow, MinBackoff: time.Millisecond})
	var calls sync.WaitGroup
	ctx, stop := context.WithCancel(limited(t))
	for range 2*failuresInRow - 1 {
		calls.Go(func() { _, _ = p.Classify(ctx, items("sleep")) })
	}
	eventually(t, "the calls are in progress", func() bool { return p.calls.Load() == 2*failuresInRow-1 })
	before := p.Health()
	if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another process runs", func() bool { h := p.Health(); return h.PID != 0 && h.PID != before.PID })
	stop()
	calls.Wait()
	if got := counted(p.metrics.opened); got != 0 {
		t.Errorf("the circuit opened after one crash")
	}
}

func TestAnswersAreChecked(t *testing.T) {
	p := launch(t, "raw", Options{})
	out := classify(t, p, "values")[0]
	if out.Err != nil {
		t.Fatal(out.Err)
	}
	var fields []triage.Field
	for f := range out.Fields {
		fields = append(fields, f)
	}
	slices.Sort(fields)
	if !slices.Equal(fields, []triage.Field{triage.FieldAssignees, triage.FieldTags}) {
		t.Errorf("fields: %v", fields)
	}
	tags := out.Fields[triage.FieldTags]
	if !slices.Equal(tags.Values, []string{"help wanted"}) || tags.Reason != "abc d" {
		t.Errorf("tags: %+v", tags)
	}
	if got := out.Fields[triage.FieldAssignees].Values; !slices.Equal(got, []string{"octocat"}) {
		t.Errorf("assignees: %v", got)
	}
	for _, want := range []struct{ field, reason string }{
		{"category", "not_an_option"}, {"summary", "confidence"}, {"priority", "undeclared_field"},
		{"unknown", "unknown_field"}, {"assignees", "not_a_login"},
	} {
		if counted(p.metrics.dropped.WithLabelValues(want.field, want.reason)) != 1 {
			t.Errorf("%v was not counted", want)
		}
	}
}

func TestMalformedAnswers(t *testing.T) {
	p := launch(t, "raw", Options{})
	out := classify(t, p, "fine", "missing", "twice", "other", "empty", "fine")
	for _, i := range []int{0, 2, 5} {
		if out[i].Err != nil || out[i].Fields[triage.FieldCategory].Value() != "bug" {
			t.Errorf("item %d: %+v", i, out[i])
		}
	}
	for _, i := range []int{1, 3, 4} {
		if e, ok := errors.AsType[*CallError](out[i].Err); !ok || e.How != Malformed {
			t.Errorf("item %d: %v", i, out[i].Err)
		}
	}
	for _, title := range []string{"huge", "status"} {
		out := classify(t, p, "fine", title)
		if out[0].Err != nil {
			t.Errorf("beside %q: %v", title, out[0].Err)
		}
		if _, ok := errors.AsType[*CallError](out[1].Err); !ok || strings.Contains(out[1].Err.Error(), "\x1b") {
			t.Errorf("%q: %v", title, out[1].Err)
		}
	}
	if h := p.Health(); h.Restarts != 0 {
		t.Errorf("a bad answer is no reason to restart: %+v", h)
	}
}

func TestUnsupported(t *testing.T) {
	p := launch(t, "raw", Options{})
	if _, err := p.Embed(limited(t), []sdk.Text{{Title: "x"}}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("Embed: %v", err)
	}
	if err := p.Forget(limited(t), 1); !errors.Is(err, ErrUnsupported) {
		t.Errorf("Forget: %v", err)
	}
	spec := p.Spec()
	spec.Settings = json.RawMessage(`{"a":1}`)
	if err := p.Replace(limited(t), spec); err == nil || !strings.Contains(err.Error(), "takes no settings") {
		t.Errorf("Configure: %v", err)
	}
}

// Bodies of any size arrive, cut where they must be, in as many calls as it takes.
func TestSizes(t *testing.T) {
	p := launch(t, "sdk", Options{})
	batch := items(slices.Repeat([]string{"size"}, 24)...)
	for i := range batch {
		batch[i].Issue.Body = strings.Repeat("é", 500<<10) // 1,000 KiB each: 23 MiB in all
	}
	batch[3].Issue.Body = strings.Repeat("x", 25<<20)
	batch[4].Issue.Body = "\xff\xfe bad \xc3"
	batch[5].Issue.Labels = []string{"ok", "bad\xff"}
	out, err := p.Classify(limited(t), batch)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range out {
		want := fmt.Sprintf("4 %d false", 1000<<10)
		switch i {
		case 3:
			want = fmt.Sprintf("4 %d true", sdk.MaxBodyBytes)
		case 4:
			want = fmt.Sprintf("4 %d false", len("\uFFFD bad \uFFFD"))
		case 5:
		}
		if o.Err != nil || o.Reasoning != want || o.Truncated != (i == 3) {
			t.Errorf("item %d: %q %v, want %q", i, o.Reasoning, o.Err, want)
		}
	}
	if calls := counted(p.metrics.calls.WithLabelValues("Classify", "ok")); calls < 3 {
		t.Errorf("23 MiB went in %v calls of at most 8 MiB", calls)
	}
}

func TestEmbed(t *testing.T) {
	p := launch(t, "sdk", Options{MinBackoff: time.Millisecond})
	made, err := p.Embed(limited(t), []sdk.Text{{Title: "ab"}, {Title: "nan"}, {Title: "short"}, {Title: "crash"}, {Title: "abc"}})
	if err != nil || made.Model != "letters" || made.Terms != nil {
		t.Fatal(made, err)
	}
	vectors := made.Vectors
	if !slices.Equal(vectors[0], []float32{2, 1, 2, 3}) || !slices.Equal(vectors[4], []float32{3, 1, 2, 3}) {
		t.Errorf("vectors: %v", vectors)
	}
	if vectors[1] != nil || vectors[2] != nil || vectors[3] != nil {
		t.Errorf("bad vectors came through: %v", vectors)
	}
	if _, err := p.Embed(limited(t), []sdk.Text{{Title: "error"}}); err == nil || errors.Is(err, ErrUnavailable) {
		t.Errorf("error: %v", err)
	}
	many := make([]sdk.Text, 1000)
	made, err = p.Embed(limited(t), many)
	if err != nil || len(made.Vectors) != 1000 || made.Vectors[999] == nil {
		t.Errorf("%d vectors, %v", len(made.Vectors), err)
	}
}

func TestEmbedTerms(t *testing.T) {
	p := launch(t, "terms", Options{MinBackoff: time.Millisecond})
	if d := p.Describe(); d.Embedding == nil || *d.Embedding != (sdk.EmbeddingModel{Name: "words", Terms: true}) {
		t.Fatalf("described as %+v", d.Embedding)
	}
	titles := []string{"ab", "", "twice", "weightless", "endless", "common", "many", "crash", "abc"}
	texts := make([]sdk.Text, len(titles))
	for i, title := range titles {
		texts[i].Title = title
	}
	made, err := p.Embed(limited(t), texts)
	if err != nil || made.Model != "words" || made.Vectors != nil || len(made.Terms) != len(texts) {
		t.Fatal(made, err)
	}
	if !slices.Equal(made.Terms[0], []sdk.Term{{ID: 2, Weight: 1.5, Share: 6}}) || !slices.Equal(made.Terms[8], []sdk.Term{{ID: 3, Weight: 1.5, Share: 6}}) {
		t.Errorf("terms: %v", made.Terms)
	}
	if made.Terms[1] == nil || len(made.Terms[1]) != 0 {
		t.Errorf("a text of no terms has %v", made.Terms[1])
	}
	for i := 2; i < 8; i++ {
		if made.Terms[i] != nil {
			t.Errorf("bad terms came through for %q: %d", titles[i], len(made.Terms[i]))
		}
	}
	full := make([]sdk.Text, 1000) // more than fit into one answer
	for i := range full {
		full[i].Title = "full"
	}
	made, err = p.Embed(limited(t), full)
	if err != nil || len(made.Terms[999]) != sdk.MaxTerms {
		t.Errorf("the terms of %d texts, %v", len(made.Terms), err)
	}
}

func TestLearning(t *testing.T) {
	var models []sdk.Model
	options := Options{MinBackoff: time.Millisecond, Models: func(context.Context) iter.Seq2[sdk.Model, error] {
		return func(yield func(sdk.Model, error) bool) {
			for _, m := range models {
				if !yield(m, nil) {
					return
				}
			}
		}
	}}
	p := launch(t, "sdk", options)
	ctx := limited(t)
	examples := func(yield func(Example) bool) {
		for i := range 300 {
			if !yield(Example{Issue: triage.Issue{Number: i + 1, Body: strings.Repeat("b", 10<<10)}, Fields: map[triage.Field][]string{triage.FieldCategory: {"bug"}}}) {
				return
			}
		}
	}
	model, err := p.Fit(ctx, repository, examples)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("octo/cat:300:%d", 300*10<<10)
	if model.RepositoryID != 7 || model.Version != "v1" || strings.TrimLeft(string(model.Data), "m") != want || len(model.Data) != 3<<20+len(want) {
		t.Errorf("model: %d %q, %d bytes", model.RepositoryID, model.Version, len(model.Data))
	}
	if err := p.Load(ctx, model); err != nil {
		t.Fatal(err)
	}
	if got := classify(t, p, "model")[0].Reasoning; got != "v1:"+want {
		t.Errorf("loaded: %q", got)
	}
	if err := p.Load(ctx, sdk.Model{RepositoryID: 8}); err == nil || !strings.Contains(err.Error(), "the model is empty") {
		t.Errorf("an empty model: %v", err)
	}
	if err := p.Learn(ctx, []Example{{EventID: "e1", Repository: repository, Fields: map[triage.Field][]string{triage.FieldCategory: {"feature"}}}}); err != nil {
		t.Fatal(err)
	}
	if got := classify(t, p, "learned")[0].Reasoning; got != "e1/octo/cat/feature" {
		t.Errorf("learned: %q", got)
	}

	// A restart loads what the store has; a model that is refused stops nothing.
	models = []sdk.Model{{RepositoryID: 9}, {RepositoryID: 7, Version: "v2", Data: []byte("kept")}}
	pid := p.Health().PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is restarted", func() bool { h := p.Health(); return h.State == Running && h.PID != pid })
	if got := classify(t, p, "model")[0].Reasoning; got != "v2:kept" {
		t.Errorf("after a restart: %q", got)
	}
	if got := counted(p.metrics.modelFailures); got != 1 {
		t.Errorf("refused models: %v", got)
	}
	if err := p.Forget(ctx, 7); err != nil {
		t.Fatal(err)
	}
	if got := classify(t, p, "model")[0].Reasoning; got != "" {
		t.Errorf("after Forget: %q", got)
	}
}

func TestSettingsSurviveRestartAndSecretsAreHidden(t *testing.T) {
	var log logs
	const key = "sk-very-secret-0123456789"
	p, err := Launch(limited(t), Spec{
		Name: "test", Path: self(t), Args: []string{asPlugin, "sdk"},
		Settings: json.RawMessage(`{"greeting":"hello","api_key":"` + key + `"}`),
	}, Options{Logger: log.logger(), MinBackoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	pid := p.Health().PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is restarted", func() bool { h := p.Health(); return h.State == Running && h.PID != pid })
	if got := classify(t, p, "greeting")[0].Reasoning; got != "hello" {
		t.Errorf("greeting %q", got)
	}
	spec := p.Spec()
	spec.Settings = json.RawMessage(`{"greeting":"changed"}`)
	if err := p.Replace(limited(t), spec); err != nil {
		t.Fatal(err)
	}
	spec.Settings = json.RawMessage(`{"refuse":true,"api_key":"another-secret"}`)
	err = p.Replace(limited(t), spec)
	if err == nil || !strings.Contains(err.Error(), "refuse must not be set") || strings.Contains(err.Error(), "another-secret") {
		t.Errorf("refused settings: %v", err)
	}
	if got := classify(t, p, "greeting")[0].Reasoning; got != "changed" {
		t.Errorf("greeting %q", got)
	}
	eventually(t, "the plugin's line is logged", func() bool { return strings.Contains(log.String(), "configured with [redacted]") })
	if strings.Contains(log.String(), key) {
		t.Error("the log holds the key")
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("GITHUB_PRIVATE_KEY", "not for plugins")
	dir := filepath.Join(t.TempDir(), "work")
	p, err := Launch(limited(t), Spec{Name: "test", Path: self(t), Args: []string{asPlugin, "sdk"}, WorkDir: dir}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	allowed := []string{"PATH", "HOME", "TMPDIR", "WD", sdk.CookieKey, "PLUGIN_MIN_PORT", "PLUGIN_MAX_PORT", "PLUGIN_PROTOCOL_VERSIONS", "PLUGIN_UNIX_SOCKET_DIR", sdk.ProxyKey}
	got := map[string]string{}
	for line := range strings.Lines(classify(t, p, "environment")[0].Reasoning) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		got[k] = v
		if !slices.Contains(allowed, k) {
			t.Errorf("the plugin sees %s", k)
		}
	}
	if got["HOME"] != dir || got["WD"] != dir || got["TMPDIR"] != filepath.Join(dir, "tmp") {
		t.Errorf("directories: %v", got)
	}
	for _, d := range []string{dir, got["TMPDIR"], got["PLUGIN_UNIX_SOCKET_DIR"], p.runDir} {
		if info, err := os.Stat(d); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v %v", d, info.Mode(), err)
		}
	}
}

func TestFloodedLog(t *testing.T) {
	var log logs
	p := launch(t, "sdk", Options{Logger: log.logger()})
	if out := classify(t, p, "flood"); out[0].Err != nil {
		t.Error(out[0].Err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "yyyy"); n == 0 || strings.Count(log.String(), "plugin output\"") > 4000 {
		t.Errorf("%d lines of 20,000 were logged", strings.Count(log.String(), "plugin output\""))
	}
	if counted(p.metrics.linesDropped) == 0 || !strings.Contains(log.String(), "it writes too much") {
		t.Error("nothing says that lines were dropped")
	}
}

func TestStartFaults(t *testing.T) {
	for mode, want := range map[string]string{
		"hello":             `it printed "hello, world"`,
		"other-cookie":      "exit status 1",
		"exit":              "cannot open the model file",
		"mute":              "not ready within",
		"tcp":               "must listen on a Unix socket",
		"elsewhere":         "not in the directory",
		"endless-handshake": "it printed",
	} {
		t.Run(mode, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "t")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = os.RemoveAll(dir) }()
			t.Setenv("TMPDIR", dir)
			options := Options{}
			if mode == "mute" {
				options.StartTimeout = time.Second
			}
			_, err = Launch(limited(t), Spec{Name: "test", Path: self(t), Args: []string{asPlugin, mode}}, options)
			if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 4000 {
				t.Errorf("%v", err)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
	for want, spec := range map[string]Spec{
		"no executable":         {Name: "test", Path: filepath.Join(t.TempDir(), "none")},
		"must be lower-case":    {Name: "No Name", Path: self(t)},
		"must be a JSON object": {Name: "test", Path: self(t), Settings: json.RawMessage(`[1]`)},
	} {
		if _, err := Start(spec, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", spec, err)
		}
	}
}

// Without its working directory a plugin is not started, and the operator is told which one.
func TestWorkDirFaults(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	taken := t.TempDir()
	for _, path := range []string{file, filepath.Join(taken, "tmp")} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for dir, names := range map[string]string{file: file, filepath.Join(file, "work"): file, taken: filepath.Join(taken, "tmp")} {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			parent, err := os.MkdirTemp("", "t")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = os.RemoveAll(parent) }()
			t.Setenv("TMPDIR", parent)
			p, err := Start(Spec{Name: "test", Path: self(t), Args: []string{asPlugin, "sdk"}, WorkDir: dir}, Options{})
			if err == nil {
				_ = p.Close()
			}
			if err == nil || !strings.Contains(err.Error(), "make its working directory") || !strings.Contains(err.Error(), names) {
				t.Errorf("%v", err)
			}
			if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
}

// A plugin that cannot start keeps being tried, ever more slowly, and says so.
func TestBackOff(t *testing.T) {
	p, err := Start(Spec{Name: "test", Path: self(t), Args: []string{asPlugin, "exit"}}, Options{MinBackoff: time.Millisecond, MaxBackoff: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	eventually(t, "it was tried thrice", func() bool { return p.Health().Restarts >= 3 })
	_, err = p.Classify(limited(t), items("x"))
	e, ok := errors.AsType[*UnavailableError](err)
	if !ok || e.RetryAfter <= 0 || !strings.Contains(err.Error(), "cannot open the model file") {
		t.Errorf("%v", err)
	}
}

func TestClose(t *testing.T) {
	p := launch(t, "child", Options{})
	h := p.Health()
	child := 0
	if _, err := fmt.Sscan(classify(t, p, "child")[0].Reasoning, &child); err != nil {
		t.Fatal(err)
	}
	result := make(chan error)
	go func() {
		_, err := p.Classify(context.Background(), items("sleep"))
		result <- err
	}()
	eventually(t, "the call is in progress", func() bool { return p.calls.Load() == 1 })
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-result; !errors.Is(err, ErrUnavailable) {
		t.Errorf("the call in progress: %v", err)
	}
	if _, err := p.Classify(context.Background(), items("x")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a call afterwards: %v", err)
	}
	if p.Health().State != Closed || !ended(h.PID) {
		t.Errorf("process %d still runs: %+v", h.PID, p.Health())
	}
	eventually(t, "the plugin's own child is gone", func() bool { return ended(child) })
	if _, err := os.Stat(p.runDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", p.runDir, err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}

// ended tells whether a process is gone; one that nobody reaped yet is.
func ended(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	return len(rest) > 0 && rest[0] == 'Z'
}

// A plugin does not outlive a host that was killed.
func TestHostKilled(t *testing.T) {
	cmd := exec.CommandContext(limited(t), self(t), asPlugin, "host")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdin.Close() }()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	var dir string
	if _, err := fmt.Fscan(stdout, &pid, &dir); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if ended(pid) {
		t.Fatal("the plugin does not run")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, stdout)
	_ = cmd.Wait()
	eventually(t, "the plugin is gone", func() bool { return ended(pid) })
}

// counted reads a counter or a gauge.
func counted(m prometheus.Metric) float64 {
	var d dto.Metric
	if m.Write(&d) != nil {
		return -1
	}
	return d.GetCounter().GetValue() + d.GetGauge().GetValue()
}

// A plugin that takes more memory than it may is ended, and the next one is well.
func TestMemoryIsBounded(t *testing.T) {
	if memoryOf(os.Getpid()) == 0 {
		t.Skip("the memory of processes is not known here")
	}
	p := launch(t, "sdk", Options{MemoryBytes: 400 << 20, MinBackoff: time.Millisecond})
	out := classify(t, p, "gorge", "fine")
	if e, ok := errors.AsType[*CallError](out[0].Err); !ok || e.How != Crashed {
		t.Errorf("it got what it wanted: %+v", out[0])
	}
	if out[1].Err != nil {
		t.Error(out[1].Err)
	}
	if h := p.Health(); !strings.Contains(h.LastError, "too much memory") || h.Restarts == 0 {
		t.Errorf("%+v", h)
	}
}

// A confined plugin works like any other: through restarts, with its home kept.
func TestConfined(t *testing.T) {
	strength := confine.Probe()
	if strength == (confine.Strength{}) {
		t.Skip("nothing can be enforced here")
	}
	data := t.TempDir()
	p, err := Launch(limited(t), Spec{Name: "confined", Path: self(t), Args: []string{asPlugin, "child"}, WorkDir: filepath.Join(data, "plugins", "confined")},
		Options{Confinement: strength, Hidden: []string{data}, MemoryBytes: 1 << 30, MinBackoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	for range 2 {
		pid := p.Health().PID
		out := classify(t, p, "environment", "child", "fine")
		for _, o := range out {
			if o.Err != nil {
				t.Fatal(o.Err)
			}
		}
		if strings.Contains(out[0].Reasoning, "DISPATCHAI_CONFINE") || strength.Namespaces && strings.Contains(out[0].Reasoning, "WD="+data) {
			t.Errorf("its environment is\n%s", out[0].Reasoning)
		}
		_, _ = p.Classify(limited(t), items("crash"))
		eventually(t, "it is restarted", func() bool { h := p.Health(); return h.State == Running && h.PID != pid })
	}
}

// Another process takes a plugin's place while it is asked, and nobody notices but by
// the answers.
func TestReplaceUnderLoad(t *testing.T) {
	p := launch(t, "sdk", Options{})
	first := p.Health().PID
	var callers sync.WaitGroup
	stop := make(chan struct{})
	var answered atomic.Int64
	for range 6 {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				out, err := p.Classify(limited(t), items("greeting", "two", "three"))
				if err != nil || out[0].Err != nil || out[1].Err != nil || out[2].Err != nil {
					t.Errorf("%v, %+v", err, out)
					return
				}
				answered.Add(1)
			}
		})
	}
	spec := p.Spec()
	for n := range 5 {
		before := answered.Load()
		spec.Settings = json.RawMessage(fmt.Sprintf(`{"greeting":"hello %d"}`, n))
		if err := p.Replace(limited(t), spec); err != nil {
			t.Fatal(err)
		}
		if got := classify(t, p, "greeting")[0].Reasoning; got != fmt.Sprintf("hello %d", n) {
			t.Errorf("it says %q after replacement %d", got, n)
		}
		eventually(t, "calls go on", func() bool { return answered.Load() > before+5 })
	}
	close(stop)
	callers.Wait()
	h := p.Health()
	if h.Restarts != 0 || h.State != Running || h.PID == first || h.LastError != "" {
		t.Errorf("%+v", h)
	}
	eventually(t, "the first process is gone", func() bool { return ended(first) })
}

// A call in progress ends where it began; what cannot start takes nobody's place; and
// a plugin that does not start at all is replaced as well.
func TestReplace(t *testing.T) {
	p := launch(t, "sdk", Options{})
	ctx, cancel := context.WithCancel(limited(t))
	result := make(chan error)
	go func() {
		_, err := p.Classify(ctx, items("sleep"))
		result <- err
	}()
	eventually(t, "the call is in progress", func() bool { return p.calls.Load() == 1 })
	first := p.Health().PID
	if err := p.Replace(limited(t), p.Spec()); err != nil {
		t.Fatal(err)
	}
	if p.Health().PID == first || ended(first) {
		t.Error("the process with a call in progress was not kept beside the new one")
	}
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("the call in progress: %v", err)
	}
	eventually(t, "the first process is gone", func() bool { return ended(first) })

	second := p.Health().PID
	for _, change := range []func(*Spec){
		func(s *Spec) { s.Args = []string{asPlugin, "exit"} },
		func(s *Spec) { s.Path = "/nowhere" },
		func(s *Spec) { s.Settings = json.RawMessage(`{"refuse":true}`) },
		func(s *Spec) { s.Name = "another" },
	} {
		spec := p.Spec()
		change(&spec)
		if err := p.Replace(limited(t), spec); err == nil {
			t.Error("it was replaced by what does not start")
		}
	}
	if h := p.Health(); h.PID != second || classify(t, p, "fine")[0].Err != nil {
		t.Errorf("%+v", h)
	}

	broken, err := Start(Spec{Name: "broken", Path: self(t), Args: []string{asPlugin, "exit"}}, Options{MinBackoff: time.Hour, MaxBackoff: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = broken.Close() }()
	eventually(t, "it waits out a back-off", func() bool { return broken.Health().State == BackingOff })
	spec := broken.Spec()
	spec.Args = []string{asPlugin, "sdk"}
	if err := broken.Replace(limited(t), spec); err != nil {
		t.Fatal(err)
	}
	if out := classify(t, broken, "fine"); out[0].Err != nil {
		t.Error(out[0].Err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Replace(limited(t), p.Spec()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("closed: %v", err)
	}
}
