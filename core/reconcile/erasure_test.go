package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/eventlog/embedded"
	"github.com/dispatchai/dispatchai/core/plugin"
	"github.com/dispatchai/dispatchai/core/reconcile"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/store/sqlite"
	"github.com/dispatchai/dispatchai/core/triage"
	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// The test binary is also the plugin process that is told to forget.
const asPlugin = "run-as-learner"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == asPlugin {
		if err := sdk.Serve(learner{}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// learner notes in its working directory what it was told to forget.
type learner struct{}

const forgottenFile = "forgotten"

func (learner) Describe() sdk.Description {
	return sdk.Description{Name: "learner", Version: "1.0.0", Fields: []sdk.Field{sdk.Category}}
}
func (learner) Classify(context.Context, sdk.Request) (sdk.Result, error) { return sdk.Result{}, nil }
func (learner) Fit(context.Context, sdk.Repository, func(func(sdk.Example) bool)) (sdk.Model, error) {
	return sdk.Model{}, errors.New("there is nothing to learn in a test")
}
func (learner) Load(context.Context, sdk.Model) error    { return nil }
func (learner) Learn(context.Context, sdk.Example) error { return nil }
func (learner) Forget(_ context.Context, repositoryID int64) (err error) {
	f, err := os.OpenFile(forgottenFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = fmt.Fprintln(f, repositoryID)
	return err
}

// graveyard is a worker between a real store, a real log and a real plugin, with a
// clock of its own.
type graveyard struct {
	testing.TB
	ctx     context.Context
	store   *sqlite.Store
	letters *eventlog.DeadLetters
	log     *eventlog.Producer
	workDir string
	now     atomic.Int64
}

const (
	month = 30 * 24 * time.Hour
	first = int64(1)
	other = int64(2)
)

func newGraveyard(t *testing.T) *graveyard {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	f := &graveyard{TB: t, ctx: ctx, workDir: t.TempDir()}
	f.now.Store(time.Now().UnixNano())
	var err error
	f.store, err = sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(t.TempDir(), "store.db")})
	f.check(err)
	t.Cleanup(func() { f.check(f.store.Close()) })
	broker, err := embedded.Open(ctx, embedded.Options{Dir: filepath.Join(t.TempDir(), "log"), Groups: map[string][]string{"classify": {eventlog.TopicIssuesRaw}}})
	f.check(err)
	t.Cleanup(func() { f.check(broker.Close()) })
	cluster, err := eventlog.NewCluster(broker.Config(), slog.New(slog.DiscardHandler))
	f.check(err)
	t.Cleanup(cluster.Close)
	f.check(cluster.EnsureTopics(ctx))
	// A client that asked for the topics before they were there remembers that for a while.
	fresh, err := eventlog.NewCluster(broker.Config(), slog.New(slog.DiscardHandler))
	f.check(err)
	t.Cleanup(fresh.Close)
	f.log, err = eventlog.NewProducer(broker.Config(), eventlog.ProducerConfig{})
	f.check(err)
	t.Cleanup(func() { f.check(f.log.Close(context.WithoutCancel(ctx))) })
	f.letters = eventlog.NewDeadLetters(fresh, f.log, nil)
	return f
}

func (f *graveyard) check(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *graveyard) time() time.Time { return time.Unix(0, f.now.Load()).UTC() }

func (f *graveyard) pass(d time.Duration) { f.now.Add(int64(d)) }

// learner starts the plugin process.
func (f *graveyard) learner() *plugin.Plugin {
	f.Helper()
	self, err := os.Executable()
	f.check(err)
	p, err := plugin.Launch(f.ctx, plugin.Spec{Name: "learner", Path: self, Args: []string{asPlugin}, WorkDir: f.workDir}, plugin.Options{MinBackoff: time.Hour, MaxBackoff: time.Hour})
	f.check(err)
	f.Cleanup(func() { _ = p.Close() })
	return p
}

func (f *graveyard) worker(after time.Duration, p *plugin.Plugin) (*reconcile.Eraser, *strings.Builder) {
	var lines strings.Builder
	return reconcile.NewEraser(reconcile.EraserConfig{
		Store: f.store, DeadLetters: f.letters, Plugins: map[string]reconcile.Plugin{"learner": p}, EraseAfter: after,
		Logger: slog.New(slog.NewTextHandler(&lines, nil)), Registerer: prometheus.NewRegistry(), Now: f.time,
	}), &lines
}

// known stores a repository with many issues, and dead letters of it.
func (f *graveyard) known(id int64, issues int) {
	f.Helper()
	at := f.time()
	name := fmt.Sprintf("secret/repository-%d", id)
	f.check(f.store.ApplyInstallation(f.ctx, store.InstallationChange{
		EventID: fmt.Sprintf("installed-%d", id), At: at, Installation: &triage.Installation{ID: id * 10, Account: "secret", UpdatedAt: at},
		Upserted: []triage.Repository{{ID: id, FullName: name}},
	}))
	var changes []store.IssueChange
	for n := 1; n <= issues; n++ {
		changes = append(changes, store.IssueChange{
			EventID: fmt.Sprintf("opened-%d-%d", id, n), ReceivedAt: at,
			Issue: triage.Issue{ID: id*1000 + int64(n), Number: n, Title: "secret", UpdatedAt: at, Repository: triage.Repository{ID: id, FullName: name}},
		})
	}
	_, err := f.store.ApplyIssues(f.ctx, changes)
	f.check(err)
	for n := 1; n <= 2; n++ {
		letter := eventlog.Record{Topic: eventlog.TopicIssuesDead, Key: triage.IssueKey{RepositoryID: id, Number: n}.String(), Value: []byte("{}")}
		letter.SetHeader("dead-topic", eventlog.TopicIssuesRaw)
		f.check(f.log.Append(f.ctx, letter))
	}
}

func (f *graveyard) change(event string, c store.InstallationChange) {
	f.Helper()
	c.EventID, c.At = event, f.time()
	if c.Installation != nil {
		c.Installation.UpdatedAt = c.At
	}
	f.check(f.store.ApplyInstallation(f.ctx, c))
}

// issues counts the stored issues of a repository.
func (f *graveyard) issues(id int64, upTo int) int {
	f.Helper()
	var keys []triage.IssueKey
	for n := 1; n <= upTo; n++ {
		keys = append(keys, triage.IssueKey{RepositoryID: id, Number: n})
	}
	states, err := f.store.LoadIssues(f.ctx, keys)
	f.check(err)
	return len(states)
}

func (f *graveyard) openLetters() (keys []string) {
	f.Helper()
	letters, err := f.letters.List(f.ctx, eventlog.ListOptions{})
	f.check(err)
	for _, l := range letters {
		keys = append(keys, l.Key)
	}
	return keys
}

func (f *graveyard) forgotten() string {
	f.Helper()
	content, err := os.ReadFile(filepath.Join(f.workDir, forgottenFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		f.Fatal(err)
	}
	return strings.Join(strings.Fields(string(content)), " ")
}

func (f *graveyard) latest() store.Erasure {
	f.Helper()
	log, err := f.store.Erasures(f.ctx, 10)
	f.check(err)
	if len(log) == 0 {
		f.Fatal("the erasure log is empty")
	}
	return log[0]
}

// TestErasedWhenTheGracePeriodIsOver and not before: its issues, its dead
// letters, what the plugin knows of it, and nobody else's.
func TestErasedWhenTheGracePeriodIsOver(t *testing.T) {
	f := newGraveyard(t)
	f.known(first, 130)
	f.known(other, 2)
	w, lines := f.worker(month, f.learner())
	f.change("removed", store.InstallationChange{Removed: []int64{first}})
	f.pass(month - time.Minute)
	f.check(w.Erase(f.ctx))
	if n := f.issues(first, 130); n != 130 || f.forgotten() != "" {
		t.Fatalf("%d issues are left within the grace period, and the plugin forgot %q", n, f.forgotten())
	}
	f.pass(2 * time.Minute)
	f.check(w.Erase(f.ctx))
	if n := f.issues(first, 130); n != 0 {
		t.Errorf("%d issues are left", n)
	}
	if n := f.issues(other, 2); n != 2 {
		t.Errorf("another repository has %d issues left, want 2", n)
	}
	if got := fmt.Sprint(f.openLetters()); got != "[2#1 2#2]" {
		t.Errorf("open dead letters: %s, want the other repository's", got)
	}
	if got := f.forgotten(); got != "1" {
		t.Errorf("the plugin was told to forget %q, want repository 1 once", got)
	}
	e := f.latest()
	if e.Subject != store.SubjectRepository || e.RepositoryID != first || e.Because != store.RepositoryRemoved || e.Outcome != store.Erased ||
		e.Rows["issues"] != 130 || e.Rows["applied_events"] != 130 || e.EndedAt.IsZero() || e.EndedAt.Sub(e.RemovedAt) < month {
		t.Errorf("the log says %+v", e)
	}
	if out := lines.String(); !strings.Contains(out, "erasure ended") || !strings.Contains(out, "repository_id=1") || strings.Contains(out, "secret") {
		t.Errorf("the log lines: %s", out)
	}
	f.check(w.Erase(f.ctx))
	if log, err := f.store.Erasures(f.ctx, 10); err != nil || len(log) != 1 || f.forgotten() != "1" {
		t.Errorf("erased again: %+v (%v), forgotten %q", log, err, f.forgotten())
	}
}

// TestReinstalledWithinTheGracePeriod keeps the data, and the old installation's
// own row is erased all the same.
func TestReinstalledWithinTheGracePeriod(t *testing.T) {
	f := newGraveyard(t)
	f.known(first, 3)
	w, _ := f.worker(month, f.learner())
	f.change("uninstalled", store.InstallationChange{Installation: &triage.Installation{ID: 10, Removed: true}, Removed: []int64{first}})
	f.pass(month / 2)
	f.check(w.Erase(f.ctx))
	f.change("installed again", store.InstallationChange{Installation: &triage.Installation{ID: 77, Account: "secret"}, Upserted: []triage.Repository{{ID: first, FullName: "secret/again"}}})
	f.pass(month)
	f.check(w.Erase(f.ctx))
	if n := f.issues(first, 3); n != 3 {
		t.Errorf("%d issues are left, want 3", n)
	}
	if e := f.latest(); e.Subject != store.SubjectInstallation || e.InstallationID != 10 {
		t.Errorf("the log says %+v", e)
	}
	if n, err := f.store.LoadInstallation(f.ctx, 10); err != nil || n.Account != "" || !n.Removed {
		t.Errorf("the old installation: %+v, %v", n, err)
	}
	// A late event of the erased installation does not write its name again.
	f.change("late", store.InstallationChange{Installation: &triage.Installation{ID: 10, Account: "secret"}})
	if n, err := f.store.LoadInstallation(f.ctx, 10); err != nil || n.Account != "" || !n.Removed {
		t.Errorf("after a late event: %+v, %v", n, err)
	}
}

// TestADeletedIssue is erased alone, with its dead letters.
func TestADeletedIssue(t *testing.T) {
	f := newGraveyard(t)
	f.known(first, 2)
	w, _ := f.worker(0, f.learner())
	_, err := f.store.ApplyIssues(f.ctx, []store.IssueChange{{
		EventID: "deleted", ReceivedAt: f.time(), Deleted: true,
		Issue: triage.Issue{ID: 1001, Number: 1, Title: "secret", UpdatedAt: f.time(), Repository: triage.Repository{ID: first, FullName: "secret/repository-1"}},
	}})
	f.check(err)
	f.check(w.Erase(f.ctx))
	states, err := f.store.LoadIssues(f.ctx, []triage.IssueKey{{RepositoryID: first, Number: 1}, {RepositoryID: first, Number: 2}})
	f.check(err)
	for key, s := range states {
		if want := map[int]string{1: "", 2: "secret"}[key.Number]; s.Issue.Title != want {
			t.Errorf("issue %s is titled %q, want %q", key, s.Issue.Title, want)
		}
	}
	if got := fmt.Sprint(f.openLetters()); got != "[1#2]" {
		t.Errorf("open dead letters: %s", got)
	}
	if e := f.latest(); e.Subject != store.SubjectIssue || e.Number != 1 || e.Because != store.IssueDeleted || f.forgotten() != "" {
		t.Errorf("the log says %+v, forgotten %q", e, f.forgotten())
	}
}

// TestAPluginThatIsDownIsToldLater, by the next process too, and keeps nothing back.
func TestAPluginThatIsDownIsToldLater(t *testing.T) {
	f := newGraveyard(t)
	f.known(first, 1)
	p := f.learner()
	w, _ := f.worker(0, p)
	f.check(syscall.Kill(p.Health().PID, syscall.SIGKILL))
	f.change("removed", store.InstallationChange{Removed: []int64{first}})
	for { // the first call may be the one that notices
		err := w.Erase(f.ctx)
		if err != nil && errors.Is(err, plugin.ErrUnavailable) {
			break
		}
		if f.ctx.Err() != nil || f.forgotten() != "" {
			t.Fatalf("%v, forgotten %q", err, f.forgotten())
		}
	}
	if e := f.latest(); e.Outcome != store.Erased || f.issues(first, 1) != 0 {
		t.Errorf("the repository is not erased: %+v", e)
	}
	if waiting, err := f.store.Forgets(f.ctx); err != nil || len(waiting) != 1 || waiting[0].Plugin != "learner" {
		t.Fatalf("waiting: %+v, %v", waiting, err)
	}
	w, _ = f.worker(0, f.learner()) // after a restart
	f.check(w.Erase(f.ctx))
	if waiting, err := f.store.Forgets(f.ctx); err != nil || len(waiting) != 0 || f.forgotten() != "1" {
		t.Errorf("waiting: %+v, %v, forgotten %q", waiting, err, f.forgotten())
	}
}

// failing is a log of dead letters that is down.
type failing struct{ *eventlog.DeadLetters }

var errDown = errors.New("the log is down")

func (failing) List(context.Context, eventlog.ListOptions) ([]eventlog.DeadLetter, error) {
	return nil, errDown
}

// TestAnErasureIsOpenUntilAllIsDone: while the dead letters cannot be read, the
// erasure does not count as ended, and it ends when they can.
func TestAnErasureIsOpenUntilAllIsDone(t *testing.T) {
	f := newGraveyard(t)
	f.known(first, 1)
	p := f.learner()
	broken := reconcile.NewEraser(reconcile.EraserConfig{
		Store: f.store, DeadLetters: failing{f.letters}, Plugins: map[string]reconcile.Plugin{"learner": p},
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(), Now: f.time,
	})
	f.change("removed", store.InstallationChange{Removed: []int64{first}})
	for range 2 {
		if err := broken.Erase(f.ctx); !errors.Is(err, errDown) {
			t.Fatalf("error %v", err)
		}
		if e := f.latest(); !e.EndedAt.IsZero() || e.Outcome != "" {
			t.Fatalf("the log says %+v", e)
		}
	}
	w, _ := f.worker(0, p)
	f.check(w.Erase(f.ctx))
	if e := f.latest(); e.Outcome != store.Erased || len(f.openLetters()) != 0 {
		t.Errorf("the log says %+v; open letters %v", e, f.openLetters())
	}
}
