package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/eventlog/embedded"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/store/sqlite"
	"github.com/dispatchai/dispatchai/core/triage"
)

const (
	// patience is how long a test waits for what must happen.
	patience  = 30 * time.Second
	testToken = "a token — with ümlauts"
	repoID    = 77
)

func repository() triage.Repository {
	return triage.Repository{ID: repoID, InstallationID: 5, FullName: "harbour-lights/tidewatch"}
}

// system is a gateway served over HTTP, on a log and a store of its own.
type system struct {
	t        testing.TB
	log      eventlog.Config
	producer *eventlog.Producer
	store    *sqlite.Store
	registry *prometheus.Registry
	logged   *logBuffer
	server   *httptest.Server
	current  atomic.Pointer[Gateway]
	stop     func() // of the current gateway's Run
	// narrow leaves new pages little room on the way, so that one that does not
	// read is noticed early.
	narrow bool
}

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

type setting func(*Config)

func demo(c *Config)   { c.Open, c.Token = true, "" }
func closed(c *Config) { c.Token = "" }

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// open starts the system with three partitions per topic, so that records of
// different issues interleave.
func open(t testing.TB, settings ...setting) *system {
	t.Helper()
	s := &system{t: t, logged: &logBuffer{}}
	logger := s.logger()
	broker, err := embedded.Open(testContext(t), embedded.Options{
		Dir: t.TempDir(), Partitions: 3, Logger: logger, Groups: map[string][]string{"classify": {eventlog.TopicIssuesRaw}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Close() })
	s.log = broker.Config()
	cluster, err := eventlog.NewCluster(s.log, logger)
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	if err := cluster.EnsureTopics(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if s.producer, err = eventlog.NewProducer(s.log, eventlog.ProducerConfig{Logger: logger}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.closeProducer)
	if s.store, err = sqlite.Open(testContext(t), sqlite.Options{Path: filepath.Join(t.TempDir(), "store.db"), Logger: logger}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.store.Close() })
	s.seed()
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.current.Load().ServeHTTP(w, r)
	}))
	s.start(settings...)
	t.Cleanup(func() {
		s.shutDown()
		s.server.Close()
		if t.Failed() {
			t.Logf("log:\n%s", s.logged.String())
		}
	})
	return s
}

func (s *system) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(s.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (s *system) closeProducer() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = s.producer.Close(ctx)
}

// start puts a new gateway behind the server's address.
func (s *system) start(settings ...setting) {
	s.t.Helper()
	s.registry = prometheus.NewRegistry()
	cfg := Config{
		Store: s.store, Publisher: s.producer, Log: s.log, Token: testToken, Version: "1.2.3",
		ReadBack: 2000, Logger: s.logger(), Registerer: s.registry,
	}
	for _, set := range settings {
		set(&cfg)
	}
	g, err := New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.current.Store(g)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	s.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("Run: %v", err)
		}
	}
	if err := g.hub.awaitLive(testContext(s.t)); err != nil {
		s.t.Fatal(err)
	}
}

// shutDown is what the service does when it stops.
func (s *system) shutDown() {
	s.current.Load().Disconnect()
	s.stop()
}

// seed makes the repository with its labels, a classified issue 101, and an
// issue 102 that is only received.
func (s *system) seed() {
	s.t.Helper()
	ctx, now := testContext(s.t), time.Now()
	err := s.store.ApplyInstallation(ctx, store.InstallationChange{
		EventID: "install", At: now, Installation: &triage.Installation{ID: 5, Account: "harbour-lights", UpdatedAt: now},
		Upserted: []triage.Repository{repository()},
	})
	if err == nil {
		err = s.store.SaveRepositoryLabels(ctx, repoID, []triage.RepositoryLabel{
			{Name: "bug", Color: "d73a4a", Description: "Something isn't working"}, {Name: "enhancement"}, {Name: "question"},
			{Name: "priority/high"}, {Name: "priority/low"}, {Name: "area/ui"},
		}, now)
	}
	if err == nil {
		_, err = s.store.ApplyIssues(ctx, []store.IssueChange{
			{EventID: "seed-101", EventType: triage.Classified, ReceivedAt: now, Issue: issue(101), Classification: classification("seed-101"), TextHash: "x"},
			{EventID: "seed-102", EventType: triage.Updated, ReceivedAt: now, Issue: issue(102)},
		})
	}
	if err == nil {
		err = s.store.RecordLedger(ctx, []triage.LedgerEntry{{
			Issue: issue(101).Key(), State: triage.LedgerWritten, CreatedAt: now, UpdatedAt: now,
			DesiredLabel: triage.DesiredLabel{Name: "bug", Field: triage.FieldCategory, Value: "bug", Source: triage.SourcePlugin, Plugin: "rules", Version: "1.0.0", Confidence: 0.9, EventID: "seed-101"},
		}})
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// issue is issue number n, whose ID is 1000+n.
func issue(n int) triage.Issue {
	at := time.Date(2026, 11, 3, 8, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Second)
	return triage.Issue{
		ID: issueID(n), Repository: repository(), Number: n, Title: fmt.Sprintf("Buoy %d drifts", n), Body: "It drifts.",
		State: "open", Author: triage.Actor{Login: "mairi", Type: triage.ActorUser}, Labels: []string{},
		URL: fmt.Sprintf("https://github.com/harbour-lights/tidewatch/issues/%d", n), CreatedAt: at, UpdatedAt: at,
	}
}

func issueID(n int) int64 { return int64(1000 + n) }

func classification(eventID string) *triage.Classification {
	return &triage.Classification{
		DeliveryID: eventID, ClassifiedAt: time.Now().UTC(), Reasoning: "It says so.",
		Fields: map[triage.Field]triage.Answer{
			triage.FieldCategory: {Values: []string{"bug"}, Confidence: 0.9, Reason: "a fault is described", Source: triage.SourcePlugin, Plugin: "rules", Version: "1.0.0"},
		},
	}
}

// webhook is the record of a delivery about issue n, as ingress appends it.
func webhook(action string, n int, more map[string]any) eventlog.Record {
	i := issue(n)
	payload := map[string]any{
		"action": action,
		"issue": map[string]any{
			"id": i.ID, "number": n, "title": i.Title, "body": i.Body, "state": "open", "html_url": i.URL, "labels": []any{},
			"user":       map[string]any{"login": "mairi", "id": 1, "type": "User"},
			"created_at": i.CreatedAt, "updated_at": i.UpdatedAt,
		},
		"repository":   map[string]any{"id": repoID, "name": "tidewatch", "full_name": "harbour-lights/tidewatch", "private": false},
		"sender":       map[string]any{"login": "mairi", "id": 1, "type": "User"},
		"installation": map[string]any{"id": 5},
	}
	for k, v := range more {
		payload[k] = v
	}
	value, err := json.Marshal(payload)
	if err != nil {
		panic(err)
	}
	return eventlog.Record{Topic: eventlog.TopicIssuesRaw, Key: i.Key().String(), Value: value, Headers: headers(fmt.Sprintf("%s-%d", action, n), "issues")}
}

// result is the record of issue n's classification.
func result(n int, revision int64, change ...func(*triage.Enriched)) eventlog.Record {
	e := triage.Enriched{
		EventType: triage.Classified, EventID: fmt.Sprintf("opened-%d", n), Revision: revision, ReceivedAt: time.Now().UTC(),
		Issue: issue(n), Classification: classification(fmt.Sprintf("opened-%d", n)),
		SimilarIssues: []triage.Neighbour{{IssueID: 9, Number: 9, Title: "Alike", State: "open", URL: "https://github.com/x", Similarity: 0.8}},
	}
	for _, c := range change {
		c(&e)
	}
	value, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return eventlog.Record{Topic: eventlog.TopicIssuesEnriched, Key: issue(n).Key().String(), Value: value, Headers: headers(e.EventID, string(e.EventType))}
}

func headers(delivery, event string) []eventlog.Header {
	return []eventlog.Header{
		{Key: eventlog.HeaderDelivery, Value: []byte(delivery)}, {Key: eventlog.HeaderEvent, Value: []byte(event)},
		{Key: eventlog.HeaderReceivedAt, Value: []byte(time.Now().UTC().Format(time.RFC3339Nano))},
	}
}

func (s *system) append(records ...eventlog.Record) {
	s.t.Helper()
	if err := s.producer.Append(testContext(s.t), records...); err != nil {
		s.t.Fatal(err)
	}
}

// work does what the classify worker does, as far as the gateway can see: it
// applies each event to the store and appends the result.
func (s *system) work() {
	s.t.Helper()
	consumer, err := eventlog.NewConsumer(s.log, eventlog.ConsumerConfig{
		Group: "classify", Topics: []string{eventlog.TopicIssuesRaw}, Producer: s.producer, Logger: s.logger(),
		Handler: func(ctx context.Context, batch []*eventlog.Record) []error {
			outcomes := make([]error, len(batch))
			for i, r := range batch {
				outcomes[i] = s.handle(ctx, r)
			}
			return outcomes
		},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- consumer.Run(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		<-ended
	})
}

func (s *system) handle(ctx context.Context, r *eventlog.Record) error {
	e, err := github.ParseWebhook(r.Header(eventlog.HeaderEvent), r.Header(eventlog.HeaderDelivery), r.Value, r.ReceivedAt())
	if err != nil {
		return eventlog.Permanent(err)
	}
	change := store.IssueChange{EventID: e.ID, EventType: triage.Classified, ReceivedAt: e.ReceivedAt, Position: store.Position{Partition: r.Partition, Offset: r.Offset}}
	switch e.Kind {
	case triage.KindCorrection:
		change.Partial, change.EventType = true, triage.Corrected
		change.Issue = triage.Issue{Repository: e.Repository, Number: e.Number}
		change.Corrections = []triage.Correction{{EventID: e.ID, Issue: change.Issue.Key(), At: e.ReceivedAt, Field: e.Correction.Field, New: e.Correction.Values, Actor: e.Correction.Actor, Reason: e.Correction.Reason, Source: triage.FromDashboard}}
	case triage.KindReclassify:
		change.Partial = true
		change.Issue = triage.Issue{Repository: e.Repository, Number: e.Number}
		change.Classification, change.TextHash = classification(e.ID), "x"
	case triage.KindIssue:
		change.Issue, change.Classification, change.TextHash = *e.Issue, classification(e.ID), "x"
	default:
		return nil
	}
	states, err := s.store.ApplyIssues(ctx, []store.IssueChange{change})
	if err != nil {
		return err
	}
	state := states[0]
	value, err := json.Marshal(triage.Enriched{
		EventType: change.EventType, EventID: e.ID, Revision: state.Revision, ReceivedAt: state.ReceivedAt, Issue: state.Issue,
		Classification: state.Effective(), SimilarIssues: state.Similar, Corrections: change.Corrections,
	})
	if err != nil {
		return err
	}
	record := eventlog.Record{Topic: eventlog.TopicIssuesEnriched, Key: r.Key, Value: value, Headers: r.Headers}
	record.SetHeader(eventlog.HeaderEvent, string(change.EventType))
	return s.producer.Append(ctx, record)
}

// answer is what a request got, held against the OpenAPI document.
type answer struct {
	t      testing.TB
	status int
	header http.Header
	body   []byte
}

func (a answer) decode(into any) {
	a.t.Helper()
	if err := json.Unmarshal(a.body, into); err != nil {
		a.t.Fatalf("%v in %s", err, a.body)
	}
}

func (a answer) problem() problem {
	a.t.Helper()
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		a.t.Errorf("Content-Type of status %d is %q", a.status, got)
	}
	var p problem
	a.decode(&p)
	if p.Status != a.status || p.Title == "" || p.Detail == "" {
		a.t.Errorf("a problem of status %d that explains nothing: %s", a.status, a.body)
	}
	return p
}

type requestOption func(*http.Request)

func with(header, value string) requestOption {
	return func(r *http.Request) { r.Header.Set(header, value) }
}

func without(header string) requestOption { return func(r *http.Request) { r.Header.Del(header) } }

func host(name string) requestOption { return func(r *http.Request) { r.Host = name } }

// call sends a request with the token and a JSON body, and validates the answer
// against the OpenAPI document.
func (s *system) call(method, path, body string, options ...requestOption) answer {
	s.t.Helper()
	request, err := http.NewRequestWithContext(testContext(s.t), method, s.server.URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+testToken)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for _, o := range options {
		o(request)
	}
	response, err := s.server.Client().Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	a := answer{s.t, response.StatusCode, response.Header, read}
	if strings.HasPrefix(path, "/api/") && method != http.MethodHead {
		validate(s.t, request, a)
	}
	return a
}

func (s *system) expect(status int, method, path, body string, options ...requestOption) answer {
	s.t.Helper()
	a := s.call(method, path, body, options...)
	if a.status != status {
		s.t.Fatalf("%s %s: status %d instead of %d: %s", method, path, a.status, status, a.body)
	}
	return a
}

// until polls until the condition holds.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	ctx := testContext(t)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("never came true: %s", what)
		case <-tick.C:
		}
	}
}
