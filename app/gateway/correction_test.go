package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

const correct = "/api/issues/1101/correct"

func TestCorrection(t *testing.T) {
	s := open(t)
	s.work()
	page := s.connect("")
	a := s.expect(200, "POST", correct, `{"field":"category","values":["feature","feature"],"reason":" it asks ","actor":"mairi\n campbell"}`)
	var detail issueDetail
	a.decode(&detail)
	category := detail.Classification.Fields[triage.FieldCategory]
	if category.Value() != "feature" || category.Source != triage.SourceHuman || category.Actor != "mairi campbell" || detail.Status != store.StatusCorrected {
		t.Errorf("answered %+v", detail)
	}
	if len(detail.Corrections) != 1 || detail.Corrections[0].Old[0] != "bug" || detail.Corrections[0].Reason != "it asks" || detail.Corrections[0].Source != triage.FromDashboard {
		t.Errorf("audit %+v", detail.Corrections)
	}
	if len(detail.Ledger) != 1 || detail.Ledger[0].Name != "bug" || len(detail.Options[triage.FieldCategory]) == 0 {
		t.Errorf("ledger %+v, options %+v", detail.Ledger, detail.Options)
	}
	f := page.next()
	if f.Event != "corrected" || f.Issue.ID != 1101 || f.Correction == nil || f.Correction.New[0] != "feature" || f.Issue.Status != store.StatusCorrected {
		t.Errorf("frame %+v", f)
	}

	// A field that does not apply is said so by an empty list.
	s.expect(200, "POST", correct, `{"field":"category","values":[]}`).decode(&detail)
	if got := detail.Classification.Fields[triage.FieldCategory]; len(got.Values) != 0 || got.Actor != "dashboard" {
		t.Errorf("emptied: %+v", got)
	}
	s.expect(200, "POST", "/api/issues/1101/classify", "").decode(&detail)
	if detail.Revision != 4 || len(detail.Corrections) != 2 {
		t.Errorf("reclassified: revision %d, %+v", detail.Revision, detail.Corrections)
	}
}

func TestCorrectionRefused(t *testing.T) {
	s := open(t)
	faults := []struct{ body, field string }{
		{`{}`, "field"},
		{`null`, "field"},
		{`{"field":"colour","values":["red"]}`, "field"},
		{`{"field":"category"}`, "values"},
		{`{"field":"category","values":null}`, "values"},
		{`{"field":"category","values":["nonsense"]}`, "values"},
		{`{"field":"category","values":["bug","feature"]}`, "values"},
		{`{"field":"component","values":["` + strings.Repeat(`x","`, 20) + `y"]}`, "values"},
		{`{"field":"category","values":["bug"],"reason":"` + strings.Repeat("ü", 501) + `"}`, "reason"},
		{`{"field":"category","values":["bug"],"actor":"` + strings.Repeat("ü", 101) + `"}`, "actor"},
	}
	for _, c := range faults {
		p := s.expect(422, "POST", correct, c.body).problem()
		if len(p.Errors) != 1 || p.Errors[0].Field != c.field || p.Errors[0].Detail == "" {
			t.Errorf("%.60s: %+v", c.body, p.Errors)
		}
	}
	all := s.expect(422, "POST", correct, `{"field":"x","values":[],"reason":"`+strings.Repeat("r", 501)+`","actor":"`+strings.Repeat("a", 101)+`"}`).problem()
	if len(all.Errors) != 3 {
		t.Errorf("not every fault is told at once: %+v", all.Errors)
	}
	for _, body := range []string{"", "{", `[]`, `"x"`, `{"field":1}`, `{"field":"category","values":"bug"}`, `{"field":"category","values":["bug"],"label":"x"}`,
		`{"field":"category","values":["bug"]}{"field":"priority","values":["high"]}`, `{"field":"category","values":["bug"]} x`, strings.Repeat("[", 20_000)} {
		p := s.expect(400, "POST", correct, body, with("Content-Type", "application/json; charset=utf-8")).problem()
		if strings.Contains(p.Detail, "Go ") || strings.Contains(p.Detail, "triage.") {
			t.Errorf("%.40q tells of our insides: %s", body, p.Detail)
		}
	}
	s.expect(413, "POST", correct, `{"field":"category","values":["bug"]}`+strings.Repeat(" ", maxRequestBody))
	for _, media := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", ";"} {
		s.expect(415, "POST", correct, `{"field":"category","values":["bug"]}`, with("Content-Type", media))
	}
	if p := s.expect(409, "POST", "/api/issues/1102/correct", `{"field":"category","values":["bug"]}`).problem(); !strings.Contains(p.Detail, "not classified yet") {
		t.Errorf("%+v", p)
	}
	s.expect(404, "POST", "/api/issues/x/correct", `{"field":"category","values":["bug"]}`)
}

// TestPending: without a worker the answer comes after the bounded wait, and
// the correction is on the log all the same.
func TestPending(t *testing.T) {
	s := open(t, func(c *Config) { c.CorrectionWait = 50 * time.Millisecond })
	sent := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	a := s.expect(202, "POST", correct, `{"field":"category","values":["feature"]}`, with("traceparent", sent))
	var pending struct{ Location, Status, EventID string }
	a.decode(&pending)
	if a.header.Get("Location") != "/api/issues/1101" || pending.Status != "pending" {
		t.Errorf("%v %s", a.header, a.body)
	}
	var record *eventlog.Record
	s.tail(func(r *eventlog.Record) { record = r })
	if got := record.Header(eventlog.HeaderTraceparent); !strings.HasPrefix(got, sent[:36]) || got == sent || len(got) != len(sent) {
		t.Errorf("traceparent %q does not continue %q", got, sent)
	}
	if record.Key != "77#101" || record.Header(eventlog.HeaderDelivery) == "" || record.Header(eventlog.HeaderEvent) != "dispatchai.correction" {
		t.Errorf("record %+v", record)
	}
	if g := s.current.Load(); len(g.results.waiting) != 0 {
		t.Errorf("waits that nobody waits for: %v", g.results.waiting)
	}
	s.work()
	until(t, "the correction is applied", func() bool {
		var detail issueDetail
		s.expect(200, "GET", "/api/issues/1101", "").decode(&detail)
		return len(detail.Corrections) == 1
	})
}

// tail gives the first record of issues.raw.
func (s *system) tail(take func(*eventlog.Record)) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(testContext(s.t))
	defer cancel()
	found := false
	err := eventlog.Tail(ctx, s.log, eventlog.TailConfig{Topics: []string{eventlog.TopicIssuesRaw}, From: eventlog.Start{LastRecords: 100},
		Handler: func(records []*eventlog.Record, _ eventlog.Cursor) {
			if !found {
				found = true
				take(records[0])
			}
			cancel()
		}})
	if err != nil || !found {
		s.t.Fatalf("no record on issues.raw: %v", err)
	}
}

func TestIdempotencyKey(t *testing.T) {
	s := open(t)
	s.work()
	key := with("Idempotency-Key", "k1")
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() { s.call("POST", correct, `{"field":"category","values":["feature"]}`, key) })
	}
	wg.Wait()
	var detail issueDetail
	s.expect(200, "POST", correct, `{"field":"category","values":["feature"]}`, key).decode(&detail)
	if len(detail.Corrections) != 1 {
		t.Errorf("the same request made %d corrections", len(detail.Corrections))
	}
	p := s.expect(422, "POST", correct, `{"field":"category","values":["question"]}`, key).problem()
	if len(p.Errors) != 1 || p.Errors[0].Field != "Idempotency-Key" {
		t.Errorf("the key of another correction: %+v", p)
	}
	s.expect(200, "POST", correct, `{"field":"category","values":["question"]}`, with("Idempotency-Key", "k2")).decode(&detail)
	if len(detail.Corrections) != 2 {
		t.Errorf("%d corrections", len(detail.Corrections))
	}
	// The same key on another kind of request is another event.
	s.expect(200, "POST", "/api/issues/1101/classify", "", key)
	// What is known to be done needs no log.
	s.closeProducer()
	s.expect(200, "POST", correct, `{"field":"category","values":["feature"]}`, key)
}

// TestKeyReusedMeanwhile: two different corrections race under one key; one is
// applied, the other is told so.
func TestKeyReusedMeanwhile(t *testing.T) {
	s := open(t)
	statuses := make(chan int, 2)
	for _, value := range []string{"feature", "question"} {
		go func() {
			statuses <- s.call("POST", correct, `{"field":"category","values":["`+value+`"]}`, with("Idempotency-Key", "k")).status
		}()
	}
	until(t, "both wait", func() bool {
		r := s.current.Load().results
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, w := range r.waiting {
			return len(w) == 2
		}
		return false
	})
	s.work()
	if a, b := <-statuses, <-statuses; a+b != 200+422 {
		t.Errorf("answered %d and %d", a, b)
	}
}

// refusing is a log that takes nothing.
type refusing struct{ err error }

func (r refusing) Append(context.Context, ...eventlog.Record) error { return r.err }

func TestLogRefuses(t *testing.T) {
	s := open(t)
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("disk: %w", eventlog.ErrFull), "nothing was changed"},
		{eventlog.ErrClosed, "nothing was changed"},
		{fmt.Errorf("broker: %w", eventlog.ErrUnavailable), "cannot say"},
		{context.DeadlineExceeded, "cannot say"},
		{errors.New("odd"), "cannot say"},
	} {
		g, err := New(Config{Store: s.store, Publisher: refusing{c.err}, Token: testToken})
		if err != nil {
			t.Fatal(err)
		}
		was := s.current.Swap(g)
		a := s.expect(503, "POST", correct, `{"field":"category","values":["feature"]}`)
		if !strings.Contains(a.problem().Detail, c.want) || a.header.Get("Retry-After") == "" {
			t.Errorf("%v: %v %s", c.err, a.header, a.body)
		}
		s.current.Store(was)
	}
}

func TestResults(t *testing.T) {
	r := newResults()
	first, forgetFirst := r.expect("a")
	second, forgetSecond := r.expect("a")
	other, forgetOther := r.expect("b")
	forgetFirst()
	r.arrived("a")
	r.arrived("a")
	<-second
	select {
	case <-first:
		t.Error("who has gone is told")
	case <-other:
		t.Error("another's result is told")
	default:
	}
	forgetSecond()
	forgetOther()
	if len(r.waiting) != 0 {
		t.Errorf("left over: %v", r.waiting)
	}
}

func FuzzReadCorrection(f *testing.F) {
	for _, seed := range []string{`{"field":"category","values":["bug"],"reason":"r","actor":"a"}`, `null`, `{}x`, `{"values":[[]]}`, "{\"actor\":\"\\u0000\xff\"}", strings.Repeat(`{"a":`, 100)} {
		f.Add([]byte(seed))
	}
	taxonomy := triage.NewTaxonomy([]triage.RepositoryLabel{{Name: "bug"}, {Name: "area/ui"}})
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequest("POST", correct, strings.NewReader(string(body)))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		var in correctionRequest
		if !readJSON(w, r, &in) {
			var p problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Status != w.Code || p.Detail == "" || w.Code < 400 || w.Code >= 500 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			return
		}
		if w.Code != http.StatusOK || w.Body.Len() > 0 {
			t.Errorf("read, and yet answered %d %s", w.Code, w.Body)
		}
		if !json.Valid(body) {
			t.Errorf("%q is not JSON", body)
		}
		if len(in.faults(taxonomy)) == 0 {
			c := in.input()
			if c.Validate(taxonomy) != nil || c.Actor == "" || strings.ContainsAny(c.Actor, "\n\r") || len([]rune(c.Actor)) > maxActor || len(c.Values) > 20 {
				t.Errorf("accepted %+v", c)
			}
		}
	})
}
