package label_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dispatchai/dispatchai/app/simulate"
	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/github/githubtest"
	"github.com/dispatchai/dispatchai/core/label"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/store/sqlite"
	"github.com/dispatchai/dispatchai/core/triage"
)

// privateKey spares each test the making of an RSA key.
var privateKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

const (
	addRoute     = "POST /repos/{owner}/{repo}/issues/{number}/labels"
	readRoute    = "GET /repos/{owner}/{repo}/issues/{number}/labels"
	labelsRoute  = "GET /repos/{owner}/{repo}/labels"
	historyRoute = "GET /repos/{owner}/{repo}/issues/{number}/events"
)

// labelled is one label that the App put on an issue, and when it was seen.
type labelled struct {
	simulate.Event
	seen time.Time
}

// fixture is a simulated GitHub and a store, between which label workers run.
// No webhooks are delivered: the workers must do without them.
type fixture struct {
	testing.TB
	ctx    context.Context
	github *simulate.GitHub
	client *github.Client
	store  *sqlite.Store
	// clients are those of all processes, client is the first.
	clients []*github.Client
	clock   simulate.Clock
	shift   atomic.Int64 // of the workers' clock
	calls   *prometheus.Registry

	mu       sync.Mutex
	written  []labelled
	revision map[triage.IssueKey]int64
}

func newFixture(t testing.TB, limits simulate.RateLimits) *fixture {
	t.Helper()
	return newFixtureAt(t, limits, simulate.Real{})
}

func newFixtureAt(t testing.TB, limits simulate.RateLimits, clock simulate.Clock) *fixture {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	f := &fixture{TB: t, ctx: ctx, clock: clock, revision: map[triage.IssueKey]int64{}, calls: prometheus.NewRegistry()}
	key, err := privateKey()
	f.check(err)
	watch := githubtest.Watch(t, githubtest.Everything)
	f.github, err = simulate.New(simulate.Options{
		Seed: 11, PrivateKey: key, RateLimits: limits, Clock: clock, AuthClock: simulate.Real{},
		OnRequest: func(e simulate.Exchange) { watch(githubtest.Exchange(e)) },
		OnEvent: func(e simulate.Event) {
			if e.Action == "labeled" && e.Bot {
				f.mu.Lock()
				f.written = append(f.written, labelled{e, clock.Now()})
				f.mu.Unlock()
			}
		},
	})
	f.check(err)
	f.check(f.github.Start(ctx))
	t.Cleanup(func() { _ = f.github.Close() })
	f.client = f.newClient(f.calls)
	f.store, err = sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(t.TempDir(), "store.db")})
	f.check(err)
	t.Cleanup(func() { f.check(f.store.Close()) })
	return f
}

// newClient is what a process of its own would call GitHub with.
func (f *fixture) newClient(r prometheus.Registerer) *github.Client {
	f.Helper()
	client, err := github.NewClient(github.ClientConfig{
		AppID: f.github.AppID(), PrivateKey: f.github.PrivateKeyPEM(), APIURL: f.github.URL(), Registerer: r, Now: f.now,
	})
	f.check(err)
	f.clients = append(f.clients, client)
	return client
}

// unlimited is a GitHub without rate limits.
func unlimited(t testing.TB) *fixture { return newFixture(t, simulate.RateLimits{Off: true}) }

func (f *fixture) check(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) now() time.Time { return f.clock.Now().Add(time.Duration(f.shift.Load())) }

var standardLabels = []simulate.Label{{Name: "bug"}, {Name: "feature"}, {Name: "question"}, {Name: "area/lexer"}, {Name: "area/docs"}}

// repository creates a repository, installs the App on its owner, and makes it
// known to the store as the installation's webhooks would.
func (f *fixture) repository(owner, name string) string {
	f.Helper()
	full := owner + "/" + name
	f.check(f.github.CreateRepository(f.ctx, simulate.NewRepository{
		Owner: owner, Name: name, Labels: standardLabels, Roles: map[string]simulate.Role{"maria": simulate.RoleAdmin},
	}))
	if _, err := f.github.InstallationOf(full); err != nil {
		_, err := f.github.Install(f.ctx, owner, simulate.InstallOptions{})
		f.check(err)
	}
	r := f.known(full)
	f.check(f.store.ApplyInstallation(f.ctx, store.InstallationChange{
		EventID: "installed/" + full, At: f.now().Add(-time.Hour), Upserted: []triage.Repository{r},
		Installation: &triage.Installation{ID: r.InstallationID, Account: owner, UpdatedAt: f.now().Add(-time.Hour)},
	}))
	labels, err := f.client.RepositoryLabels(f.ctx, r.InstallationID, r)
	f.check(err)
	f.check(f.store.SaveRepositoryLabels(f.ctx, r.ID, labels, f.now()))
	f.configure(full, triage.DefaultRepositoryConfig())
	return full
}

// configure has the repository's files read, with this in them.
func (f *fixture) configure(full string, c triage.RepositoryConfig, reacting ...string) {
	f.Helper()
	r := f.known(full)
	f.check(f.store.ApplyInstallation(f.ctx, store.InstallationChange{
		EventID: fmt.Sprintf("push/%s/%d", full, time.Now().UnixNano()), At: f.now().Add(-time.Hour),
		Configuration: store.ConfigurationMark{Because: store.DuePush, InstallationID: r.InstallationID, RepositoryIDs: []int64{r.ID}},
	}))
	jobs, err := f.store.ClaimConfigurations(f.ctx, store.ConfigurationClaim{Owner: "configure", Now: f.now(), LeaseFor: time.Minute, Limit: 1})
	f.check(err)
	if len(jobs) != 1 || jobs[0].Repository.ID != r.ID {
		f.Fatalf("due for a new configuration are %+v, want %s", jobs, full)
	}
	f.check(f.store.SaveConfiguration(f.ctx, store.ConfigurationResult{
		RepositoryID: r.ID, Owner: jobs[0].Owner, Marks: jobs[0].Marks,
		Configuration: &store.Configuration{Config: c, Reacting: reacting}, NextDue: f.now().Add(1000 * time.Hour), Because: store.DuePeriodic,
	}))
}

func (f *fixture) known(full string) triage.Repository {
	f.Helper()
	id, err := f.github.RepositoryID(full)
	f.check(err)
	installation, err := f.github.InstallationOf(full)
	f.check(err)
	return triage.Repository{ID: id, InstallationID: installation, FullName: full}
}

func (f *fixture) open(full string) triage.IssueKey {
	f.Helper()
	n, err := f.github.OpenIssue(f.ctx, full, simulate.NewIssue{Author: "reporter", Title: "It crashes", Body: "Every time."})
	f.check(err)
	return triage.IssueKey{RepositoryID: f.known(full).ID, Number: n}
}

// says is what is held to be true of an issue: values by field.
type says map[triage.Field]string

// result makes the record of issues.enriched that says so. Values beginning
// with "!" are a person's word, of this very moment.
func (f *fixture) result(full string, key triage.IssueKey, values says) *eventlog.Record {
	f.Helper()
	f.mu.Lock()
	f.revision[key]++
	revision := f.revision[key]
	f.mu.Unlock()
	id := fmt.Sprintf("delivery-%s-%d", key, revision)
	c := triage.Classification{DeliveryID: id, Fields: map[triage.Field]triage.Answer{}, ClassifiedAt: f.now()}
	event := triage.Classified
	for field, value := range values {
		a := triage.Answer{Values: []string{value}, Confidence: 0.99, Source: triage.SourcePlugin, Plugin: "rules", Version: "1.0.0"}
		if said, human := strings.CutPrefix(value, "!"); human {
			a = triage.Answer{Values: []string{said}, Confidence: 1, Source: triage.SourceHuman, Actor: "maria", EventID: id, AskedAt: f.now()}
			event = triage.Corrected
		}
		c.Fields[field] = a
	}
	value, err := json.Marshal(triage.Enriched{
		EventType: event, EventID: id, Revision: revision, ReceivedAt: f.now(), Classification: &c,
		Issue: triage.Issue{ID: 1, Repository: f.known(full), Number: key.Number},
	})
	f.check(err)
	r := &eventlog.Record{Topic: eventlog.TopicIssuesEnriched, Key: key.String(), Value: value, Time: f.now(), Attempt: 1}
	r.SetHeader(eventlog.HeaderDelivery, id)
	r.SetHeader(eventlog.HeaderReceivedAt, f.clock.Now().UTC().Format(time.RFC3339Nano))
	return r
}

// worker is a running label worker.
type worker struct {
	*label.Worker
	registry *prometheus.Registry
	stop     func()
}

// start runs a worker until stop, or the test's end.
func (f *fixture) start(owner string, adapt ...func(*label.Config)) *worker {
	f.Helper()
	w := f.make(owner, adapt...)
	ctx, cancel := context.WithCancel(f.ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			f.Errorf("worker %s: %v", owner, err)
		}
	})
	f.Cleanup(w.stop)
	return w
}

func (f *fixture) make(owner string, adapt ...func(*label.Config)) *worker {
	w := &worker{registry: prometheus.NewRegistry()}
	cfg := label.Config{
		Store: f.store, GitHub: f.client, Owner: owner, Now: f.now,
		Logger: slog.New(slog.DiscardHandler), Registerer: w.registry,
	}
	for _, a := range adapt {
		a(&cfg)
	}
	w.Worker = label.New(cfg)
	return w
}

func (f *fixture) give(w *worker, records ...*eventlog.Record) {
	f.Helper()
	for i, err := range w.HandleEnriched(f.ctx, records) {
		if err != nil {
			f.Fatalf("record %d: %v", i, err)
		}
	}
}

// want waits until the issue carries these labels.
func (f *fixture) want(full string, number int, labels ...string) {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.ctx, 30*time.Second)
	defer cancel()
	slices.Sort(labels)
	_, err := f.github.WaitFor(ctx, full, number, func(i simulate.Issue) bool {
		return slices.Equal(slices.Sorted(slices.Values(i.Labels)), labels)
	})
	f.check(err)
}

// settled waits until no row is left to do.
func (f *fixture) settled() {
	f.Helper()
	f.until("every row is settled", func() bool {
		n, err := f.store.DesiredPending(f.ctx)
		f.check(err)
		return n == 0
	})
}

// until polls for what no event tells of.
func (f *fixture) until(what string, holds func() bool) {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.ctx, 45*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			f.Fatalf("waited in vain until %s", what)
		}
	}
}

func (f *fixture) ledger(key triage.IssueKey) map[string]triage.LedgerEntry {
	f.Helper()
	all, err := f.store.Ledger(f.ctx, []triage.IssueKey{key})
	f.check(err)
	byName := map[string]triage.LedgerEntry{}
	for _, e := range all[key] {
		byName[e.Name] = e
	}
	return byName
}

// once checks that the App put exactly these labels on the issue, each once.
func (f *fixture) once(full string, number int, labels ...string) {
	f.Helper()
	writes, err := f.github.BotLabelWrites(full, number)
	f.check(err)
	if len(writes) != len(labels) {
		f.Errorf("%s#%d: the App wrote %v, want %v once each", full, number, writes, labels)
	}
	for _, l := range labels {
		if writes[l] != 1 {
			f.Errorf("%s#%d: the App wrote %q %d times, want once", full, number, l, writes[l])
		}
	}
}

func (f *fixture) writes() []labelled {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.written)
}

func (w *worker) counter(f *fixture, name string, labels ...string) float64 {
	f.Helper()
	return f.count(w.registry, name, labels...)
}

// count sums the counters of that name, or those with these label values.
func (f *fixture) count(registry *prometheus.Registry, name string, labels ...string) float64 {
	f.Helper()
	families, err := registry.Gather()
	f.check(err)
	var sum float64
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if len(labels) == 0 || slices.Equal(values, labels) {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}
