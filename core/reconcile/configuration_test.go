package reconcile_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dispatchai/dispatchai/app/simulate"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/github/githubtest"
	"github.com/dispatchai/dispatchai/core/reconcile"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/store/sqlite"
	"github.com/dispatchai/dispatchai/core/triage"
)

var privateKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// fixture is a simulated GitHub and a store, between which refreshers run. No
// webhooks are delivered: tests mark what is due themselves.
type fixture struct {
	testing.TB
	ctx    context.Context
	github *simulate.GitHub
	client *github.Client
	store  *sqlite.Store
	shift  atomic.Int64 // of the refreshers' clock
	marks  int

	mu       sync.Mutex
	requests map[string]int // "path status"
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	f := &fixture{TB: t, ctx: ctx, requests: map[string]int{}}
	key, err := privateKey()
	f.check(err)
	watch := githubtest.Watch(t, githubtest.Everything)
	f.github, err = simulate.New(simulate.Options{Seed: 3, PrivateKey: key, RateLimits: simulate.RateLimits{Off: true},
		Permissions: map[string]string{"issues": "write", "contents": "read", "checks": "write"},
		OnRequest: func(e simulate.Exchange) {
			watch(githubtest.Exchange(e))
			f.mu.Lock()
			defer f.mu.Unlock()
			f.requests[fmt.Sprintf("%s %d", e.Path, e.Status)]++
		}})
	f.check(err)
	f.check(f.github.Start(ctx))
	t.Cleanup(func() { _ = f.github.Close() })
	f.client, err = github.NewClient(github.ClientConfig{AppID: f.github.AppID(), PrivateKey: f.github.PrivateKeyPEM(), APIURL: f.github.URL()})
	f.check(err)
	f.store, err = sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(t.TempDir(), "store.db")})
	f.check(err)
	t.Cleanup(func() { f.check(f.store.Close()) })
	return f
}

func (f *fixture) check(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) now() time.Time { return time.Now().Add(time.Duration(f.shift.Load())) }

// repository creates a repository, installs the App on its owner and makes it known.
func (f *fixture) repository(full string) int64 {
	f.Helper()
	owner, name, _ := strings.Cut(full, "/")
	f.check(f.github.CreateRepository(f.ctx, simulate.NewRepository{Owner: owner, Name: name, Roles: map[string]simulate.Role{"maia": simulate.RoleAdmin}}))
	if _, err := f.github.InstallationOf(full); err != nil {
		_, err := f.github.Install(f.ctx, owner, simulate.InstallOptions{})
		f.check(err)
	}
	id, err := f.github.RepositoryID(full)
	f.check(err)
	installation, err := f.github.InstallationOf(full)
	f.check(err)
	f.check(f.store.ApplyInstallation(f.ctx, store.InstallationChange{
		EventID: "installed/" + full, At: f.now(), Upserted: []triage.Repository{{ID: id, InstallationID: installation, FullName: full}},
		Installation: &triage.Installation{ID: installation, Account: owner, UpdatedAt: f.now()},
	}))
	return id
}

func (f *fixture) commit(full string, files map[string]string) {
	f.Helper()
	_, err := f.github.Commit(f.ctx, full, "maia", simulate.NewCommit{Files: files})
	f.check(err)
}

// mark makes everything of the repository's installation due.
func (f *fixture) mark(full, because string) {
	f.Helper()
	installation, err := f.github.InstallationOf(full)
	f.check(err)
	f.marks++
	f.check(f.store.ApplyInstallation(f.ctx, store.InstallationChange{
		EventID: fmt.Sprint("mark/", f.marks), At: f.now(), Configuration: store.ConfigurationMark{Because: because, InstallationID: installation, All: true},
	}))
}

// start runs a refresher until the test ends.
func (f *fixture) start(owner string) {
	f.Helper()
	r := reconcile.NewRefresher(reconcile.RefresherConfig{
		Store: f.store, GitHub: f.client, Owner: owner, Classifiers: []string{"rules"}, Poll: 5 * time.Millisecond, Now: f.now,
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	ctx, cancel := context.WithCancel(f.ctx)
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	f.Cleanup(func() {
		cancel()
		f.check(<-ended)
	})
}

func (f *fixture) configuration(id int64) (store.RepositoryState, store.ConfigurationReport) {
	f.Helper()
	states, err := f.store.LoadRepositories(f.ctx, []int64{id})
	f.check(err)
	report, err := f.store.LoadConfigurationReport(f.ctx, id)
	f.check(err)
	return states[id], report
}

func (f *fixture) until(what string, holds func() bool) {
	f.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-f.ctx.Done():
			f.Fatalf("waited in vain until %s", what)
		}
	}
}

// read waits until the repository's files were read after the given time.
func (f *fixture) read(id int64, after time.Time) {
	f.Helper()
	f.until("the files are read", func() bool {
		_, report := f.configuration(id)
		return report.CheckedAt.After(after)
	})
}

// count sums the requests to paths with that end, by status.
func (f *fixture) count(suffix string, status int) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for request, times := range f.requests {
		if path, said, _ := strings.Cut(request, " "); strings.HasSuffix(path, suffix) && said == fmt.Sprint(status) {
			n += times
		}
	}
	return n
}

// TestRefresherWaitsForGitHub: while it is down nothing is known, and what is in
// force stays so; when it is well again everything is read.
func TestRefresherWaitsForGitHub(t *testing.T) {
	f := newFixture(t)
	id := f.repository("acme/shop")
	f.commit("acme/shop", map[string]string{triage.ConfigFileName: "mode: suggest\n"})
	down := f.github.InjectFault(simulate.Fault{Status: 502})
	f.start("a")
	f.until("a failure is noted", func() bool { _, report := f.configuration(id); return report.Error != "" })
	if state, _ := f.configuration(id); state.Configuration != nil {
		t.Fatalf("though GitHub is down %+v is in force", state.Configuration)
	}
	down.Remove()
	f.shift.Add(int64(time.Hour))
	f.until("the file is in force", func() bool { state, _ := f.configuration(id); return state.InForce().Config.Mode == triage.ModeSuggest })

	before := f.now()
	down = f.github.InjectFault(simulate.Fault{Status: 502})
	f.commit("acme/shop", map[string]string{triage.ConfigFileName: "mode: shadow\n"})
	f.mark("acme/shop", store.DuePush)
	f.until("a failure is noted", func() bool { _, report := f.configuration(id); return report.Error != "" })
	if state, report := f.configuration(id); state.InForce().Config.Mode != triage.ModeSuggest || !report.CheckedAt.Before(before) {
		t.Errorf("during the outage %+v is in force", state.Configuration)
	}
	down.Remove()
	f.shift.Add(int64(time.Hour))
	f.until("the new file is in force", func() bool { state, _ := f.configuration(id); return state.InForce().Config.Mode == triage.ModeShadow })
	if _, report := f.configuration(id); report.Error != "" {
		t.Errorf("the failure is still shown: %s", report.Error)
	}
}

// TestRefresherAsksOnlyForWhatChanged: a look at unchanged files costs nothing of
// the hourly budget, and of the workflows only the changed one is fetched.
func TestRefresherAsksOnlyForWhatChanged(t *testing.T) {
	f := newFixture(t)
	workflow := func(name string) string {
		return "on: {issues: {types: [labeled]}}\njobs: {a: {if: github.event.label.name == '" + name + "', runs-on: x, steps: [{run: make}]}}\n"
	}
	id := f.repository("acme/shop")
	f.commit("acme/shop", map[string]string{triage.ConfigFileName: "commands: false\n", ".github/workflows/a.yml": workflow("one"), ".github/workflows/b.yml": workflow("two"), ".github/workflows/notes.md": "none"})
	f.start("a")
	f.until("both workflows are known", func() bool { state, _ := f.configuration(id); return len(state.InForce().Reacting) == 2 })
	state, first := f.configuration(id)

	f.shift.Add(int64(8 * time.Hour))
	f.read(id, first.CheckedAt)
	if n, m := f.count(triage.ConfigFileName, 304), f.count("/workflows", 304); n != 1 || m != 1 {
		t.Errorf("%d looks at the file and %d at the workflows found them unchanged, want one each", n, m)
	}
	if again, report := f.configuration(id); again.InForce().Version != state.InForce().Version || !report.InForceSince.Equal(first.InForceSince) {
		t.Errorf("what is unchanged got another version or time: %+v, %+v", again.Configuration, report)
	}
	f.commit("acme/shop", map[string]string{".github/workflows/b.yml": workflow("three")})
	f.mark("acme/shop", store.DuePush)
	f.until("the changed workflow is known", func() bool {
		state, _ := f.configuration(id)
		return strings.Join(state.InForce().Reacting, " ") == "one three"
	})
	if a, b, n := f.count("a.yml", 200), f.count("b.yml", 200), f.count("notes.md", 200); a != 1 || b != 2 || n != 0 {
		t.Errorf("the workflows were fetched %d and %d times, another file %d times", a, b, n)
	}
}

// TestRefresherSharesTheOwnersFile: a change of it reaches every repository, and
// is fetched once.
func TestRefresherSharesTheOwnersFile(t *testing.T) {
	f := newFixture(t)
	var ids []int64
	for i := range 20 {
		ids = append(ids, f.repository(fmt.Sprintf("acme/shop-%d", i)))
	}
	f.repository("acme/.github")
	f.commit("acme/.github", map[string]string{triage.ConfigFileName: "mode: suggest\n"})
	f.commit("acme/shop-7", map[string]string{triage.ConfigFileName: "labels: {limit: 2}\n"})
	for _, owner := range []string{"a", "b"} { // two processes
		f.start(owner)
	}
	inForce := func(m triage.Mode) func() bool {
		return func() bool {
			for _, id := range ids {
				if state, _ := f.configuration(id); state.Configuration == nil || state.Configuration.Config.Mode != m {
					return false
				}
			}
			return true
		}
	}
	f.until("the organisation's file is in force everywhere", inForce(triage.ModeSuggest))
	f.commit("acme/.github", map[string]string{triage.ConfigFileName: "mode: shadow\n"})
	f.mark("acme/.github", store.DueOwner)
	f.until("its change is, too", inForce(triage.ModeShadow))
	if state, report := f.configuration(ids[7]); state.InForce().Config.Labels.Limit != 2 || len(report.InForce) != 2 {
		t.Errorf("a repository with a file of its own has %+v from %+v", state.InForce().Config, report.InForce)
	}
	// As inherited and as that repository's own, each content in two processes at most.
	if n := f.count("acme/.github/contents/"+triage.ConfigFileName, 200); n > 8 {
		t.Errorf("the organisation's two contents were fetched %d times for 20 repositories", n)
	}
}

// TestRefresherTakesNoNonsense: what is no file, or too long a one, is a fault of
// its own, and a plugin that does not run here is one as well.
func TestRefresherTakesNoNonsense(t *testing.T) {
	f := newFixture(t)
	for name, test := range map[string]struct {
		files map[string]string
		want  string
	}{
		"directory": {map[string]string{triage.ConfigFileName + "/x": "mode: apply\n"}, "directory"},
		"long":      {map[string]string{triage.ConfigFileName: strings.Repeat("# long\n", 20_000)}, "140000 bytes"},
		"plugin":    {map[string]string{triage.ConfigFileName: "classifiers: [oracle]\n"}, "oracle"},
	} {
		id := f.repository("acme/" + name)
		f.commit("acme/"+name, test.files)
		f.start(name)
		f.until("the fault is found", func() bool { _, report := f.configuration(id); return len(report.Faults) > 0 })
		state, report := f.configuration(id)
		if !strings.Contains(report.Faults[0].Message, test.want) || !report.Guarded || state.InForce().Config.Mode != triage.ModeShadow || state.ConfigurationFaults != 1 {
			t.Errorf("%s: %+v, in force %s", name, report.Faults, state.InForce().Config.Mode)
		}
	}
}
