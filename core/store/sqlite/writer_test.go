package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// hold keeps the writer busy until release is called.
func hold(t *testing.T, s *Store) (release func()) {
	t.Helper()
	busy, done := make(chan struct{}), make(chan struct{})
	finished := make(chan error, 1)
	go func() {
		finished <- s.writer.do(context.Background(), func(*tx) error {
			close(busy)
			<-done
			return nil
		})
	}()
	<-busy
	return sync.OnceFunc(func() {
		close(done)
		if err := <-finished; err != nil {
			t.Error(err)
		}
	})
}

// queuedWrites waits until n writes wait behind the one under way.
func queuedWrites(t *testing.T, s *Store, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for len(s.writer.queue) < n {
		select {
		case <-look.C:
		case <-ctx.Done():
			t.Fatalf("%d writes wait, want %d", len(s.writer.queue), n)
		}
	}
}

func TestWritesShareACommit(t *testing.T) {
	registry := prometheus.NewRegistry()
	s := openStore(t, Options{Registerer: registry})
	release := hold(t, s)
	const writers = 100
	errs := make(chan error, writers)
	for i := range writers {
		go func() {
			if i%10 == 0 { // fails inside the shared transaction
				err := s.writer.do(context.Background(), func(tx *tx) error {
					if _, err := tx.exec(`INSERT INTO applied_events (event_id, repository_id, number, event_type, applied_at) VALUES (?, 0, 0, '', 0)`, fmt.Sprint("lost ", i)); err != nil {
						return err
					}
					return store.ErrConflict
				})
				if !errors.Is(err, store.ErrConflict) {
					errs <- fmt.Errorf("want a conflict, not %w", err)
					return
				}
				errs <- nil
				return
			}
			_, err := s.ApplyIssues(context.Background(), []store.IssueChange{smallChange(fmt.Sprint("e", i), i)})
			errs <- err
		}()
	}
	queuedWrites(t, s, writers)
	release()
	for range writers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "dispatchai_store_commit_operations" {
			h := f.GetMetric()[0].GetHistogram()
			if h.GetSampleCount() > writers/4 || h.GetSampleSum() < writers*9/10 {
				t.Errorf("%d commits for %v writes", h.GetSampleCount(), h.GetSampleSum())
			}
		}
	}
	events, err := s.AppliedEvents(t.Context(), []string{"lost 0", "lost 50", "e1", "e99"})
	if err != nil || len(events) != 2 {
		t.Errorf("events %v, %v", events, err)
	}
}

func TestCancelledWhileQueued(t *testing.T) {
	s := openStore(t, Options{})
	release := hold(t, s)
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := s.ApplyIssues(ctx, []store.IssueChange{smallChange("e1", 1)})
		failed <- err
	}()
	queuedWrites(t, s, 1)
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) { // while the writer is still busy
		t.Errorf("error %v", err)
	}
	release()
	if got := applyAll(t, s, smallChange("e2", 1))[0]; got.Revision != 1 {
		t.Errorf("revision %d: the cancelled write happened", got.Revision)
	}
}

func TestQueueIsBounded(t *testing.T) {
	s := openStore(t, Options{})
	release := hold(t, s)
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range queueLength {
		wg.Go(func() { _ = s.writer.do(ctx, func(*tx) error { return nil }) })
	}
	queuedWrites(t, s, queueLength)
	short, cancelShort := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancelShort()
	if err := s.writer.do(short, func(*tx) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	cancel()
	wg.Wait()
}

func TestCloseRefusesWhatWaits(t *testing.T) {
	s := openStore(t, Options{})
	release := hold(t, s)
	defer release()
	failed := make(chan error, 1)
	go func() {
		_, err := s.ApplyIssues(context.Background(), []store.IssueChange{smallChange("e1", 1)})
		failed <- err
	}()
	queuedWrites(t, s, 1)
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	<-s.writer.closing
	release()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	// Either the write still shared the last transaction, or it was refused.
	if err := <-failed; err != nil && !errors.Is(err, store.ErrClosed) {
		t.Errorf("error %v", err)
	}
}

const childVariable = "DISPATCHAI_STORE_TEST_CHILD"

// TestChild is the process that TestKill kills: it writes from several goroutines
// and prints each event once its write was acknowledged.
func TestChild(t *testing.T) {
	path := os.Getenv(childVariable)
	if path == "" {
		t.Skip("only as a child of TestKill")
	}
	s := openStore(t, Options{Path: path})
	var out sync.Mutex
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				event := fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i)
				c := smallChange(event, w*1_000_000+i+1)
				c.Issue.Repository.ID = int64(os.Getpid())
				c.Issue.Body = strings.Repeat("some text ", 100)
				if _, err := s.ApplyIssues(context.Background(), []store.IssueChange{c}); err != nil {
					t.Error(err)
					return
				}
				out.Lock()
				fmt.Printf("ack %s %d\n", event, c.Issue.Number)
				out.Unlock()
			}
		})
	}
	wg.Wait()
}

func TestKill(t *testing.T) {
	if os.Getenv(childVariable) != "" {
		t.Skip("this is the child")
	}
	path := filepath.Join(t.TempDir(), "store.db")
	acknowledged := map[string]triage.IssueKey{}
	for round := range 4 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		child := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestChild$")
		child.Env = append(os.Environ(), childVariable+"="+path)
		stdout, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stdout)
		for n := 0; lines.Scan(); {
			var event string
			var number int
			if _, err := fmt.Sscanf(lines.Text(), "ack %s %d", &event, &number); err != nil {
				continue
			}
			acknowledged[event] = triage.IssueKey{RepositoryID: int64(child.Process.Pid), Number: number}
			if n++; n == 200+100*round {
				if err := child.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = child.Wait()
		cancel()

		s := openStore(t, Options{Path: path})
		var events []string
		var keys []triage.IssueKey
		for event, key := range acknowledged {
			events, keys = append(events, event), append(keys, key)
		}
		found, err := s.AppliedEvents(t.Context(), events)
		if err != nil {
			t.Fatal(err)
		}
		states, err := s.LoadIssues(t.Context(), keys)
		if err != nil {
			t.Fatal(err)
		}
		if len(events) < 200 || len(found) != len(events) || len(states) != len(keys) {
			t.Fatalf("round %d: of %d acknowledged writes %d events and %d issues are there", round, len(events), len(found), len(states))
		}
		rows, err := s.reader.query(t.Context(), "PRAGMA integrity_check")
		if err != nil {
			t.Fatal(err)
		}
		var verdict string
		if err := scanOne(rows, &verdict); err != nil || verdict != "ok" {
			t.Fatalf("integrity: %s, %v", verdict, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
