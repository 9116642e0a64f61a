package classify_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dispatchai/dispatchai/app/simulate"
	"github.com/dispatchai/dispatchai/core/classify"
	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/github/githubtest"
	"github.com/dispatchai/dispatchai/core/plugin"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/store/sqlite"
	"github.com/dispatchai/dispatchai/core/triage"
	"github.com/dispatchai/dispatchai/plugins/rules"
	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// The test binary is also the plugin process that the tests ask.
const asPlugin = "run-as-rules-plugin"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == asPlugin {
		if err := sdk.Serve(rules.New()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if launched.Load() {
		if p, err := rulesProcess(); err == nil {
			_ = p.Close()
		}
	}
	os.Exit(code)
}

// privateKey spares each test the making of an RSA key.
var privateKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// launched tells that rulesProcess was called: what needs no plugin, such as
// a fuzz test's workers, starts none.
var launched atomic.Bool

// rulesProcess is the one rules plugin that all tests share.
var rulesProcess = sync.OnceValues(func() (*plugin.Plugin, error) {
	launched.Store(true)
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return plugin.Launch(ctx, plugin.Spec{Name: "rules", Path: self, Args: []string{asPlugin}}, plugin.Options{})
})

// watched is a running plugin whose calls are counted, and which can be made
// to answer otherwise.
type watched struct {
	*plugin.Plugin
	mu       sync.Mutex
	items    []plugin.Item
	examples []plugin.Example
	learns   bool
	texts    []sdk.Text
	// embedding with vector, refuse and failEmbed, where they are set, take the plugin's place.
	embedding *sdk.EmbeddingModel
	vector    func(sdk.Text) []float32
	refuse    func(triage.Issue) error
	failEmbed func([]sdk.Text) error
	starting  bool // it has not described itself yet
}

func (w *watched) Describe() plugin.Description {
	if w.starting {
		return plugin.Description{}
	}
	d := w.Plugin.Describe()
	d.Learns = w.learns
	if w.embedding != nil {
		d.Embedding = w.embedding
	}
	return d
}

func (w *watched) Classify(ctx context.Context, items []plugin.Item) ([]plugin.Outcome, error) {
	w.mu.Lock()
	w.items = append(w.items, items...)
	w.mu.Unlock()
	outcomes, err := w.Plugin.Classify(ctx, items)
	for i := range outcomes {
		if w.refuse != nil {
			if refusal := w.refuse(items[i].Issue); refusal != nil {
				outcomes[i] = plugin.Outcome{Err: refusal}
			}
		}
	}
	return outcomes, err
}

func (w *watched) Embed(ctx context.Context, texts []sdk.Text) (plugin.Embeddings, error) {
	w.mu.Lock()
	w.texts = append(w.texts, texts...)
	w.mu.Unlock()
	if w.failEmbed != nil {
		if err := w.failEmbed(texts); err != nil {
			return plugin.Embeddings{}, err
		}
	}
	if w.embedding == nil {
		return w.Plugin.Embed(ctx, texts)
	}
	made := plugin.Embeddings{Model: w.embedding.Name, Vectors: make([][]float32, len(texts))}
	for i := range texts {
		made.Vectors[i] = w.vector(texts[i])
	}
	return made, nil
}

func (w *watched) Learn(_ context.Context, examples []plugin.Example) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.examples = append(w.examples, examples...)
	return nil
}

// asked is how many issues the plugin was asked about so far.
func (w *watched) asked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.items)
}

// tape is a log that can fail; what was appended to it is kept.
type tape struct {
	mu      sync.Mutex
	records []eventlog.Record
	fail    []error // of the next appends
}

func (p *tape) Append(_ context.Context, records ...eventlog.Record) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.fail) > 0 {
		err := p.fail[0]
		if p.fail = p.fail[1:]; err != nil {
			return err
		}
	}
	p.records = append(p.records, records...)
	return nil
}

// fixture is a classify worker between a simulated GitHub, a real store and a
// real plugin.
type fixture struct {
	*testing.T
	ctx      context.Context
	github   *simulate.GitHub
	clock    *simulate.Virtual
	client   *github.Client
	store    *sqlite.Store
	log      *tape
	rules    *watched
	worker   *classify.Worker
	registry *prometheus.Registry

	mu       sync.Mutex
	arrived  []*eventlog.Record
	sequence int64
}

const (
	org   = "octo"
	repo  = "octo/parser"
	admin = "maria"
)

func newFixture(t *testing.T, adapt ...func(*classify.Config)) *fixture {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	f := &fixture{T: t, ctx: ctx, log: &tape{}, registry: prometheus.NewRegistry()}
	receiver := httptest.NewServer(http.HandlerFunc(f.receive))
	t.Cleanup(receiver.Close)
	f.clock = simulate.NewVirtual(time.Now().Add(-time.Hour))
	key, err := privateKey()
	f.check(err)
	watch := githubtest.Watch(t, githubtest.Everything)
	f.github, err = simulate.New(simulate.Options{
		Seed: 7, Clock: f.clock, AuthClock: simulate.Real{}, PrivateKey: key, WebhookURL: receiver.URL, Senders: 1,
		OnRequest:  func(e simulate.Exchange) { watch(githubtest.Exchange(e)) },
		RateLimits: simulate.RateLimits{Off: true},
	})
	f.check(err)
	f.check(f.github.Start(ctx))
	t.Cleanup(func() { _ = f.github.Close() })
	f.check(f.github.CreateRepository(ctx, simulate.NewRepository{
		Owner: org, Name: "parser", Roles: map[string]simulate.Role{admin: simulate.RoleAdmin, "tom": simulate.RoleTriage},
		Labels: []simulate.Label{{Name: "bug"}, {Name: "feature"}, {Name: "question"}, {Name: "priority: high"}, {Name: "area/lexer"}, {Name: "area/docs"}},
	}))
	_, err = f.github.Install(ctx, org, simulate.InstallOptions{})
	f.check(err)

	f.client, err = github.NewClient(github.ClientConfig{AppID: f.github.AppID(), PrivateKey: f.github.PrivateKeyPEM(), APIURL: f.github.URL()})
	f.check(err)
	f.store, err = sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(t.TempDir(), "store.db")})
	f.check(err)
	t.Cleanup(func() { f.check(f.store.Close()) })
	process, err := rulesProcess()
	f.check(err)
	f.rules = &watched{Plugin: process}
	cfg := classify.Config{
		Store: f.store, Publisher: f.log, GitHub: f.client, Classifiers: []classify.Classifier{f.rules},
		Logger: slog.New(slog.DiscardHandler), Registerer: f.registry,
	}
	for _, a := range adapt {
		a(&cfg)
	}
	f.worker, err = classify.New(cfg)
	f.check(err)
	t.Cleanup(f.worker.Close)
	return f
}

func (f *fixture) check(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// receive turns webhooks into records, as ingress does.
func (f *fixture) receive(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	record, err := f.record(r.Header.Get("X-GitHub-Event"), r.Header.Get("X-GitHub-Delivery"), body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.arrived = append(f.arrived, record)
}

func (f *fixture) record(event, delivery string, body []byte) (*eventlog.Record, error) {
	route, key, err := github.Key(event, body)
	if err != nil {
		return nil, err
	}
	r := &eventlog.Record{Topic: eventlog.TopicIssuesRaw, Key: key, Value: body, Offset: f.sequence, Time: time.Now(), Attempt: 1}
	if route == github.RouteInstallations {
		r.Topic = eventlog.TopicInstallationsRaw
	}
	f.sequence++
	r.SetHeader(eventlog.HeaderEvent, event)
	r.SetHeader(eventlog.HeaderDelivery, delivery)
	r.SetHeader(eventlog.HeaderReceivedAt, time.Now().UTC().Format(time.RFC3339Nano))
	r.SetHeader(eventlog.HeaderTraceparent, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	return r, nil
}

// own makes a record of an event of DispatchAI's own.
func (f *fixture) own(e triage.Event) *eventlog.Record {
	f.Helper()
	e.ReceivedAt = time.Now()
	event, key, value, err := github.EncodeEvent(e)
	f.check(err)
	f.mu.Lock()
	defer f.mu.Unlock()
	r := &eventlog.Record{Topic: eventlog.TopicIssuesRaw, Key: key, Value: value, Offset: f.sequence, Time: time.Now(), Attempt: 1}
	f.sequence++
	r.SetHeader(eventlog.HeaderEvent, event)
	r.SetHeader(eventlog.HeaderDelivery, e.ID)
	return r
}

// take returns the webhooks that GitHub sent since the last call.
func (f *fixture) take() []*eventlog.Record {
	f.Helper()
	f.check(f.github.WaitIdle(f.ctx))
	f.mu.Lock()
	defer f.mu.Unlock()
	taken := f.arrived
	f.arrived = nil
	return taken
}

// handle gives records to their handlers one by one and returns the outcomes.
func (f *fixture) handle(records ...*eventlog.Record) []error {
	f.Helper()
	var outcomes []error
	for _, r := range records {
		handler := f.worker.HandleIssues
		if r.Topic == eventlog.TopicInstallationsRaw {
			handler = f.worker.HandleInstallations
		}
		outcomes = append(outcomes, handler(f.ctx, []*eventlog.Record{r})...)
	}
	return outcomes
}

// pass handles everything that GitHub sent and wants it to succeed.
func (f *fixture) pass() {
	f.Helper()
	f.ok(f.handle(f.take()...))
}

func (f *fixture) ok(outcomes []error) {
	f.Helper()
	for i, err := range outcomes {
		if err != nil {
			f.Fatalf("record %d of %d: %v", i+1, len(outcomes), err)
		}
	}
}

func (f *fixture) open(title, body string, labels ...string) int {
	f.Helper()
	return f.openIn(repo, title, body, labels...)
}

func (f *fixture) openIn(repository, title, body string, labels ...string) int {
	f.Helper()
	n, err := f.github.OpenIssue(f.ctx, repository, simulate.NewIssue{Author: "reporter", Title: title, Body: body, Labels: labels})
	f.check(err)
	return n
}

func (f *fixture) key(number int) triage.IssueKey {
	f.Helper()
	id, err := f.github.RepositoryID(repo)
	f.check(err)
	return triage.IssueKey{RepositoryID: id, Number: number}
}

func (f *fixture) state(number int) store.IssueState {
	f.Helper()
	states, err := f.store.LoadIssues(f.ctx, []triage.IssueKey{f.key(number)})
	f.check(err)
	s, ok := states[f.key(number)]
	if !ok {
		f.Fatalf("issue %d is not stored", number)
	}
	return s
}

func (f *fixture) ledger(number int) map[string]triage.LedgerEntry {
	f.Helper()
	all, err := f.store.Ledger(f.ctx, []triage.IssueKey{f.key(number)})
	f.check(err)
	byName := map[string]triage.LedgerEntry{}
	for _, e := range all[f.key(number)] {
		byName[e.Name] = e
	}
	return byName
}

// published returns the results published since the last call.
func (f *fixture) published() []triage.Enriched {
	f.Helper()
	f.log.mu.Lock()
	defer f.log.mu.Unlock()
	results := make([]triage.Enriched, len(f.log.records))
	for i, r := range f.log.records {
		f.check(json.Unmarshal(r.Value, &results[i]))
		if r.Topic != eventlog.TopicIssuesEnriched || r.Key != results[i].Issue.Key().String() || r.Header(eventlog.HeaderEvent) != string(results[i].EventType) {
			f.Errorf("a result on %s under the key %q with the event %q", r.Topic, r.Key, r.Header(eventlog.HeaderEvent))
		}
	}
	f.log.records = nil
	return results
}

func (f *fixture) counter(name string, labels ...string) float64 {
	f.Helper()
	families, err := f.registry.Gather()
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
			if joined := strings.Join(values, ","); len(labels) == 0 || joined == strings.Join(labels, ",") {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

func (f *fixture) gauge(name string) float64 {
	f.Helper()
	families, err := f.registry.Gather()
	f.check(err)
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	f.Fatalf("there is no metric %s", name)
	return 0
}

// waits tells whether an outcome asks for another attempt that is not counted.
func waits(err error) bool {
	return err != nil && !eventlog.IsPermanent(err) && strings.Contains(err.Error(), "(retry after ")
}
