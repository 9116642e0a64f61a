package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
	"github.com/dispatchai/dispatchai/migrations"
)

func smallChange(event string, number int) store.IssueChange {
	return store.IssueChange{EventID: event, Issue: triage.Issue{
		ID: int64(number), Repository: triage.Repository{ID: 1, FullName: "acme/one"}, Number: number, Title: "Crash", State: "open",
	}}
}

func applyAll(t testing.TB, s *Store, changes ...store.IssueChange) []store.IssueState {
	t.Helper()
	states, err := s.ApplyIssues(t.Context(), changes)
	if err != nil {
		t.Fatal(err)
	}
	return states
}

// refused opens the store, which must fail with all of the words in its error.
func refused(t *testing.T, path string, words ...string) {
	t.Helper()
	s, err := Open(t.Context(), Options{Path: path})
	if err == nil {
		_ = s.Close()
		t.Fatalf("%s was opened", path)
	}
	for _, w := range append(words, path) {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func TestMigrateFromEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a ?strange#name%20.db")
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	s := openStore(t, Options{Path: path, Logger: logger})
	files, err := migrations.SQLite()
	if err != nil {
		t.Fatal(err)
	}
	names, err := fs.Glob(files, "*.sql")
	if err != nil || len(names) == 0 {
		t.Fatalf("migrations %v, %v", names, err)
	}
	for _, name := range names {
		if !strings.Contains(log.String(), name) {
			t.Errorf("the log does not name %s:\n%s", name, log.String())
		}
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", info.Name(), info.Mode())
		}
	}
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"} {
		var got string
		if err := s.reader.db.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %s on readers, %v", pragma, got, err)
		}
		err := s.writer.do(t.Context(), func(tx *tx) error {
			rows, err := tx.query(t.Context(), "PRAGMA "+pragma)
			if err != nil {
				return err
			}
			return scanOne(rows, &got)
		})
		if err != nil || got != want {
			t.Errorf("%s is %s on the writer, %v", pragma, got, err)
		}
	}
	log.Reset()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	openStore(t, Options{Path: path, Logger: logger})
	if strings.Contains(log.String(), "migration") {
		t.Errorf("migrated again:\n%s", log.String())
	}
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := openStore(t, Options{Path: path})
	want := applyAll(t, s, smallChange("e1", 1))[0]
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, Options{Path: path})
	if got := applyAll(t, s, smallChange("e1", 1))[0]; got.Revision != 1 || got.Issue.Title != want.Issue.Title {
		t.Errorf("%+v, want %+v", got, want)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestOpenTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	stores := make(chan *Store)
	for range 4 {
		go func() {
			s, err := Open(t.Context(), Options{Path: path})
			if err != nil {
				t.Error(err)
			}
			stores <- s
		}()
	}
	for range 4 {
		if s := <-stores; s != nil {
			t.Cleanup(func() { _ = s.Close() })
		}
	}
}

func TestAnotherWriterIsNoticed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	a, b := openStore(t, Options{Path: path}), openStore(t, Options{Path: path})
	embedded := func(event string, number int) store.IssueChange {
		c := smallChange(event, number)
		c.Classification, c.Embedding = &triage.Classification{}, &store.Embedding{Model: "m", Vector: []float32{1}}
		return c
	}
	near := func(s *Store) int {
		found, err := s.Neighbours(t.Context(), []store.NeighbourQuery{{RepositoryID: 1, Limit: 9, Embedding: store.Embedding{Model: "m", Vector: []float32{1}}}})
		if err != nil {
			t.Fatal(err)
		}
		return len(found[0])
	}
	applyAll(t, a, embedded("e1", 1))
	if got := near(a) + near(b); got != 2 {
		t.Fatalf("%d found by both", got)
	}
	applyAll(t, b, embedded("e2", 2))
	applyAll(t, a, smallChange("e3", 3))
	if got := near(a); got != 2 {
		t.Errorf("%d found after another's write, want 2", got)
	}
}

func TestRefusedFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if _, err := Open(t.Context(), Options{}); err == nil || !strings.Contains(err.Error(), "path") {
		t.Errorf("without a path: %v", err)
	}
	refused(t, filepath.Join(dir, "missing", "store.db"), "directory exists")
	refused(t, dir, "not a file")
	refused(t, write("text", bytes.Repeat([]byte("This is a diary. "), 1000)), "no SQLite database", "backup")

	// Another program's database.
	path := filepath.Join(dir, "other.db")
	db, err := openDB(path, 1)
	if err != nil {
		t.Fatal(err)
	}
	execAndClose(t, db, "CREATE TABLE songs (title TEXT)")
	refused(t, path, "another program")

	// A database from the future.
	path = filepath.Join(dir, "future.db")
	s := openStore(t, Options{Path: path})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = openDB(path, 1); err != nil {
		t.Fatal(err)
	}
	execAndClose(t, db, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)")
	refused(t, path, "9999", "newer DispatchAI")

	// A damaged one: its header stands, its pages do not.
	path = filepath.Join(dir, "damaged.db")
	s = openStore(t, Options{Path: path})
	applyAll(t, s, smallChange("e1", 1))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 100; i < len(data); i++ {
		data[i] = 0xa5
	}
	refused(t, write("damaged.db", data), "damaged", "restore a backup")
}

func execAndClose(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), statement)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestUnwritableFile opens as a user without rights, also where the tests run as root.
func TestUnwritableFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store.db")
	s := openStore(t, Options{Path: path})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for d := dir; len(d) > len(os.TempDir()); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o555); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Chmod(d, 0o755) })
	}
	if os.Geteuid() == 0 {
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		runtime.LockOSThread() // and never unlocked: the thread ends with the test
		if err := syscall.Setfsuid(65534); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = syscall.Setfsuid(0) }()
	} else if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	refused(t, filepath.Join(dir, "new.db"), "writable")
	refused(t, path, "permission")
}

func TestFullDisk(t *testing.T) {
	s := openStore(t, Options{})
	applyAll(t, s, smallChange("e1", 1))
	limitPages := func(pages string) {
		t.Helper()
		if err := s.writer.do(t.Context(), func(tx *tx) error {
			rows, err := tx.query(t.Context(), "PRAGMA max_page_count = "+pages)
			if err != nil {
				return err
			}
			return errors.Join(rows.Close(), rows.Err())
		}); err != nil {
			t.Fatal(err)
		}
	}
	limitPages("1") // as many as it has
	big := smallChange("e2", 2)
	big.Issue.Body = strings.Repeat("no room ", 100_000)
	_, err := s.ApplyIssues(t.Context(), []store.IssueChange{smallChange("e3", 3), big})
	if err == nil || !strings.Contains(err.Error(), "disk is full") {
		t.Fatalf("error %v", err)
	}
	if err := s.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "disk is full") {
		t.Errorf("ping: %v", err)
	}
	limitPages("1000000")
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("ping after space was made: %v", err)
	}
	states, err := s.LoadIssues(t.Context(), []triage.IssueKey{{RepositoryID: 1, Number: 1}, {RepositoryID: 1, Number: 2}, {RepositoryID: 1, Number: 3}})
	if err != nil || len(states) != 1 {
		t.Fatalf("%d issues, %v", len(states), err)
	}
	if got := applyAll(t, s, smallChange("e3", 3), big); got[1].Revision != 1 {
		t.Errorf("revision %d", got[1].Revision)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("ping: %v", err)
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	s := openStore(t, Options{Registerer: registry})
	if _, err := Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "b.db"), Registerer: registry}); err == nil {
		t.Error("two stores share a registry")
	}
	applyAll(t, s, smallChange("e1", 1))
	if _, err := s.FindIssue(t.Context(), 99); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.LoadIssues(ctx, []triage.IssueKey{{RepositoryID: 1, Number: 1}}); err == nil {
		t.Error("no error")
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	for name, want := range map[string]float64{
		"dispatchai_store_operation_duration_seconds apply_issues": 1,
		"dispatchai_store_operation_duration_seconds find_issue":   1,
		"dispatchai_store_errors_total load_issues":                1,
		"dispatchai_store_errors_total find_issue":                 0,
		"dispatchai_store_commit_duration_seconds":                 1,
		"dispatchai_store_commit_operations":                       1,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if families, err := registry.Gather(); err != nil || len(families) != 0 {
		t.Errorf("%d families after Close, %v", len(families), err)
	}
}
