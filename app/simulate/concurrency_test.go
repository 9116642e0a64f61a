package simulate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestEverybodyActsAtOnce drives one issue's labels from the API, people and label administration together, and checks
// that history, state and webhooks agree afterwards.
func TestEverybodyActsAtOnce(t *testing.T) {
	hook := newReceiver(t)
	var mu sync.Mutex
	var seen []Event
	g := start(t, Options{WebhookURL: hook.URL, RateLimits: RateLimits{Off: true}, DeliveryFaults: DeliveryFaults{Double: 0.2, Reorder: 0.2},
		OnEvent: func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, e)
		}})
	ctx := testContext(t)
	gh := client(t, g, install(t, g, InstallOptions{}))
	n := open(t, g, "acme/widget", "contended")
	var wg sync.WaitGroup
	report := func(err error) {
		if err != nil && !errors.Is(err, ErrNotFound) && status(err) != 404 {
			t.Error(err)
		}
	}
	for range 4 {
		wg.Go(func() {
			for range 20 {
				_, _, err := gh.Issues.AddLabelsToIssue(ctx, "acme", "widget", n, []string{"bug", "P1"})
				report(err)
				report(g.RemoveLabel(ctx, "acme/widget", n, "tri", "bug"))
				_, err = gh.Issues.RemoveLabelForIssue(ctx, "acme", "widget", n, "P1")
				report(err)
			}
		})
	}
	wg.Go(func() {
		for i := range 20 {
			report(g.EditLabel(ctx, "acme/widget", "max", "kind/feature request", Label{Name: "kind/feature request", Color: fmt.Sprintf("%06x", i+1)}))
			report(g.SetDeliveryFaults(DeliveryFaults{Double: 0.1}))
			_, err := g.OpenIssue(ctx, "acme/widget", NewIssue{Author: "somebody-" + itoa(i), Title: "another"})
			report(err)
			for range g.AllIssues() {
			}
		}
	})
	wg.Wait()
	must(t, g.Flush(ctx))

	on := map[string]bool{}
	events, err := g.LabelEvents("acme/widget", n)
	must(t, err)
	botWrites := map[string]int{}
	for i, e := range events {
		if on[e.Label] == (e.Action == "labeled") {
			t.Fatalf("event %d %+v repeats what was so already", i, e)
		}
		on[e.Label] = e.Action == "labeled"
		if e.Bot && e.Action == "labeled" {
			botWrites[e.Label]++
		}
	}
	is, err := g.Issue("acme/widget", n)
	must(t, err)
	for _, l := range []string{"bug", "P1"} {
		if on[l] != slices.Contains(is.Labels, l) {
			t.Errorf("the history and the issue disagree about %s", l)
		}
	}
	writes, err := g.BotLabelWrites("acme/widget", n)
	must(t, err)
	if writes["bug"] != botWrites["bug"] || writes["P1"] != botWrites["P1"] || writes["bug"] == 0 {
		t.Errorf("counted %v, in the history %v", writes, botWrites)
	}
	unique := map[string]bool{}
	for _, one := range hook.take() {
		unique[one.guid] = true
	}
	mu.Lock()
	defer mu.Unlock()
	if len(unique) != len(seen) || int64(len(unique)) != g.Deliveries().Made {
		t.Errorf("%d events, %d webhooks, %+v", len(seen), len(unique), g.Deliveries())
	}
}

func TestWaitFor(t *testing.T) {
	g := start(t, Options{})
	ctx := testContext(t)
	n := open(t, g, "acme/widget", "x")
	hasBug := func(is Issue) bool { return slices.Contains(is.Labels, "bug") }
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := g.WaitFor(short, "acme/widget", n, hasBug); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "acme/widget#1 is open") {
		t.Errorf("waiting in vain: %v", err)
	}
	result := make(chan error, 1)
	go func() {
		_, err := g.WaitFor(ctx, "acme/widget", n, hasBug)
		result <- err
	}()
	must(t, g.AddLabel(ctx, "acme/widget", n, "tri", "P1"))
	must(t, g.AddLabel(ctx, "acme/widget", n, "tri", "bug"))
	must(t, <-result)
}

func TestCloseEndsEverything(t *testing.T) {
	release := make(chan struct{})
	stuck := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer stuck.Close()
	defer close(release)
	g := start(t, Options{WebhookURL: stuck.URL})
	install(t, g, InstallOptions{})
	must(t, g.Close())
	if err := g.WaitIdle(testContext(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("waiting after Close: %v", err)
	}
	if _, err := g.OpenIssue(testContext(t), "acme/widget", NewIssue{Author: "reporter", Title: "late"}); !errors.Is(err, ErrClosed) {
		t.Errorf("an act after Close: %v", err)
	}
	if err := g.Start(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("starting after Close: %v", err)
	}
}

func TestTokensAreBoundedAndRevocable(t *testing.T) {
	g := start(t, Options{})
	id := install(t, g, InstallOptions{})
	inst, err := g.installation(id)
	must(t, err)
	var first *token
	for range maxTokens + 5 {
		made, err := g.issueToken(inst, inst.grant.Load().permissions, nil)
		must(t, err)
		if first == nil {
			first = made
		}
	}
	if _, ok := g.tokens.Load(first.secret); ok || len(inst.tokens) != maxTokens {
		t.Errorf("%d tokens live, the oldest: %v", len(inst.tokens), ok)
	}
	last := inst.tokens[maxTokens-1].secret
	must(t, g.RevokeTokens(id))
	if res, _ := get(t, g.URL()+"/repos/acme/widget", "token "+last); res.StatusCode != 401 {
		t.Errorf("a revoked token: %d", res.StatusCode)
	}
}

func TestOptionsAreValidated(t *testing.T) {
	for name, o := range map[string]Options{
		"webhook URL": {WebhookURL: "not a url"}, "probability": {DeliveryFaults: DeliveryFaults{Drop: 1.5}}, "slug": {AppSlug: "no spaces"},
		"address": {Listen: "256.0.0.1:0"}, "senders": {Senders: -1},
	} {
		if g, err := New(o); err == nil {
			t.Errorf("a bad %s is accepted", name)
			must(t, g.Close())
		}
	}
}

// FuzzServe sends requests that no client would make: each gets an answer of the API's form, and none a server error.
func FuzzServe(f *testing.F) {
	f.Add("GET", "/api/v3/repos/acme/widget/issues?state=all&page=-1&per_page=x&since=y&labels=,", "")
	f.Add("POST", "/repos/acme/widget/issues/1/labels", `{"labels":[{"name":"x"},"y",{"name":null}]}`)
	f.Add("PUT", "/repos/acme/widget/issues/1/labels", `["\u0000",""]`)
	f.Add("DELETE", "/repos/acme/widget/issues/1/labels/%2e%2e%2f%ff", "")
	f.Add("PATCH", "/repos/acme/widget/issues/1", `{"state":"closed","title":null,"labels":null,"body":5}`)
	f.Add("POST", "/repos/acme/widget/issues", `{"title":"x","labels":[1]}`)
	f.Add("GET", "/repositories/900000001/labels/kind/feature%20request", "")
	f.Add("POST", "/repos/acme/widget/labels", `{"name":"n","color":"zzzzzz","description":null}`)
	f.Add("POST", "/repos/acme/widget/issues/1/labels", `{"labels":[{"name":"bug","suggest":true,"rationale":"r","confidence":"low"},{"name":"bug","suggest":"yes"}]}`)
	f.Add("PATCH", "/repos/acme/widget/issues/1", `{"type":{"value":"Bug","suggest":true,"confidence":7}}`)
	f.Add("POST", "/repos/acme/widget/issues/1/suggestions/1/approve", "")
	f.Add("GET", "/repos/acme/widget/contents/a/../b%2f?ref=%00", "")
	f.Add("GET", "/repos/acme/widget/commits/0000000/check-runs?filter=x&page=9", "")
	f.Add("GET", "/repos/acme/widget/commits?path=/a/&sha=main", "")
	f.Add("POST", "/repos/acme/widget/check-runs", `{"name":"n","head_sha":"x","output":{"title":"t","summary":"s","annotations":[{"path":"a","start_line":-1},7]}}`)
	f.Add("PATCH", "/repos/acme/widget/check-runs/1", `{"status":"completed","completed_at":"never"}`)
	f.Add("POST", "/repos/acme/widget/issues/comments/1/reactions", `{"content":null}`)
	key, err := testKey()
	must(f, err)
	f.Fuzz(func(t *testing.T, method, target, body string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || u.Host != "" || method == http.MethodHead {
			return
		}
		g, err := New(Options{PrivateKey: key, RateLimits: RateLimits{Off: true}, Suggestions: true, SingleFiles: []string{"a"},
			Permissions: map[string]string{"issues": "write", "contents": "read", "checks": "write"}})
		must(t, err)
		defer g.Close()
		ctx := t.Context()
		must(t, g.CreateRepository(ctx, NewRepository{Owner: "acme", Name: "widget", Labels: []Label{{"bug", "d73a4a", ""}}, Files: map[string]string{"a/b": "x"}}))
		must(t, g.SetIssueTypes("acme", IssueType{Name: "Bug"}))
		id, err := g.Install(ctx, "acme", InstallOptions{})
		must(t, err)
		_, err = g.OpenIssue(ctx, "acme/widget", NewIssue{Author: "reporter", Title: "x"})
		must(t, err)
		inst, err := g.installation(id)
		must(t, err)
		tok, err := g.issueToken(inst, inst.grant.Load().permissions, nil)
		must(t, err)
		r := &http.Request{Method: method, URL: u, RequestURI: target, Host: "x", Header: http.Header{"Authorization": {"token " + tok.secret}, "User-Agent": {"fuzz"}},
			Body: http.NoBody}
		if body != "" {
			r.Body = readCloser{strings.NewReader(body)}
		}
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r.WithContext(ctx))
		if w.Code >= 500 {
			t.Fatalf("%s %s %q: %d %s", method, target, body, w.Code, w.Body)
		}
		if strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") && !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%s %s %q: not JSON: %s", method, target, body, w.Body)
		}
	})
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }
