package simulate

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-github/v62/github"
)

// receiver is a webhook endpoint that verifies and keeps what it gets.
type receiver struct {
	*httptest.Server
	t    testing.TB
	mu   sync.Mutex
	got  []received
	deny bool
}

type received struct {
	event, guid string
	payload     []byte
	header      http.Header
}

func (r received) action() string {
	var p struct {
		Action string `json:"action"`
		Label  struct {
			Name string `json:"name"`
		} `json:"label"`
	}
	_ = json.Unmarshal(r.payload, &p)
	return strings.TrimSpace(r.event + "." + p.Action + " " + p.Label.Name)
}

func newReceiver(t testing.TB) *receiver {
	r := &receiver{t: t}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		payload, err := github.ValidatePayload(req, []byte(testSecret))
		if err != nil {
			t.Errorf("a webhook that does not verify: %v", err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.deny {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		r.got = append(r.got, received{req.Header.Get("X-GitHub-Event"), req.Header.Get("X-GitHub-Delivery"), payload, req.Header.Clone()})
		_, _ = io.WriteString(w, `{"status":"accepted"}`)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) actions() (out []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.got {
		out = append(out, one.action())
	}
	return out
}

func (r *receiver) take() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = nil
	return got
}

func TestWebhooksTellWhatHappened(t *testing.T) {
	hook := newReceiver(t)
	g := start(t, Options{WebhookURL: hook.URL, Senders: 1, Permissions: map[string]string{"issues": "write", "pull_requests": "write"},
		Events: []string{"issues", "issue_comment", "label", "repository", "pull_request"}})
	ctx := testContext(t)
	id := install(t, g, InstallOptions{})
	n, err := g.OpenIssue(ctx, "acme/widget", NewIssue{Author: "reporter", Title: "Broken", Body: "x", Labels: []string{"P1"}})
	must(t, err)
	gh := client(t, g, id)
	_, _, err = gh.Issues.AddLabelsToIssue(ctx, "acme", "widget", n, []string{"bug", "P1", "invented"})
	must(t, err)
	must(t, g.RemoveLabel(ctx, "acme/widget", n, "tri", "bug"))
	title := "Still broken"
	must(t, g.EditIssue(ctx, "acme/widget", n, "reporter", &title, nil))
	_, err = g.Comment(ctx, "acme/widget", n, "reporter", "me too")
	must(t, err)
	must(t, g.CloseIssue(ctx, "acme/widget", n, "tri", ""))
	must(t, g.ReopenIssue(ctx, "acme/widget", n, "tri"))
	must(t, g.EditLabel(ctx, "acme/widget", "max", "bug", Label{Name: "defect", Color: "ff0000"}))
	must(t, g.DeleteLabel(ctx, "acme/widget", "max", "defect"))
	pull, err := g.OpenPullRequest(ctx, "acme/widget", NewIssue{Author: "reporter", Title: "A fix"})
	must(t, err)
	_, err = g.Comment(ctx, "acme/widget", pull, "reporter", "please review")
	must(t, err)
	must(t, g.RenameRepository(ctx, "acme/widget", "ada", "sprocket"))
	must(t, g.RemoveRepositories(ctx, id, "sprocket"))
	must(t, g.Suspend(ctx, id))
	must(t, g.Unsuspend(ctx, id))
	must(t, g.Uninstall(ctx, id))
	must(t, g.Ping(ctx))
	must(t, g.WaitIdle(ctx))

	want := []string{"installation.created", "issues.opened", "issues.labeled P1", "label.created invented", "issues.labeled bug", "issues.labeled invented",
		"issues.unlabeled bug", "issues.edited", "issue_comment.created", "issues.closed", "issues.reopened", "label.edited defect", "label.deleted defect",
		"pull_request.opened", "issue_comment.created", "repository.renamed", "installation_repositories.removed", "installation.suspend",
		"installation.unsuspend", "installation.deleted", "ping."}
	if got := hook.actions(); !slices.Equal(got, want) {
		t.Errorf("webhooks:\n got %q\nwant %q", got, want)
	}
	guids := map[string]bool{}
	for _, one := range hook.take() {
		if guids[one.guid] || len(one.guid) != 36 {
			t.Errorf("delivery GUID %q of %s is not new, or not a GUID", one.guid, one.action())
		}
		guids[one.guid] = true
		if _, err := github.ParseWebHook(one.event, one.payload); err != nil {
			t.Errorf("%s: %v", one.action(), err)
		}
		for name, value := range map[string]string{"Content-Type": "application/json", "X-GitHub-Hook-Installation-Target-ID": "31415",
			"X-GitHub-Hook-Installation-Target-Type": "integration", "X-GitHub-Hook-ID": "480031415", "Accept": "*/*"} {
			if got := one.header.Get(name); got != value {
				t.Errorf("%s: header %s is %q, want %q", one.action(), name, got, value)
			}
		}
		if !strings.HasPrefix(one.header.Get("User-Agent"), "GitHub-Hookshot/") || !strings.HasPrefix(one.header.Get("X-Hub-Signature"), "sha1=") {
			t.Errorf("%s: headers %v", one.action(), one.header)
		}
	}
}

func TestBotEventsAreToldApartFromPeoples(t *testing.T) {
	hook := newReceiver(t)
	g := start(t, Options{WebhookURL: hook.URL, Senders: 1})
	ctx := testContext(t)
	id := install(t, g, InstallOptions{})
	n := open(t, g, "acme/widget", "Broken")
	must(t, g.WaitIdle(ctx))
	hook.take()
	_, _, err := client(t, g, id).Issues.AddLabelsToIssue(ctx, "acme", "widget", n, []string{"bug"})
	must(t, err)
	must(t, g.AddLabel(ctx, "acme/widget", n, "tri", "P1"))
	must(t, g.AddLabel(ctx, "acme/widget", n, "other-app[bot]", "kind/feature request"))
	must(t, g.WaitIdle(ctx))
	var senders []string
	for _, one := range hook.take() {
		parsed, err := github.ParseWebHook(one.event, one.payload)
		must(t, err)
		e := parsed.(*github.IssuesEvent)
		senders = append(senders, e.GetSender().GetType()+" "+e.GetSender().GetLogin())
		if e.GetInstallation().GetID() != id || e.GetRepo().GetFullName() != "acme/widget" || e.GetIssue().GetNumber() != n || e.GetLabel().GetName() == "" {
			t.Errorf("payload %s", one.payload)
		}
		if e.GetRepo().GetOwner().GetType() != "Organization" || len(one.payload) < 9_000 || len(one.payload) > 16_000 {
			t.Errorf("a payload of %d bytes, want GitHub's 10-15 KB", len(one.payload))
		}
	}
	if want := []string{"Bot dispatchai[bot]", "User tri", "Bot other-app[bot]"}; !slices.Equal(senders, want) {
		t.Errorf("senders %q, want %q", senders, want)
	}
}

func TestDeliveryFaults(t *testing.T) {
	const issues = 200
	run := func(f DeliveryFaults) (*GitHub, []received) {
		hook := newReceiver(t)
		g := start(t, Options{Seed: 42, WebhookURL: hook.URL, Senders: 1, DeliveryFaults: f})
		ctx := testContext(t)
		install(t, g, InstallOptions{})
		for i := range issues {
			open(t, g, "acme/widget", "issue "+itoa(i))
		}
		must(t, g.Flush(ctx))
		return g, hook.take()
	}
	guids := func(got []received) (out []string) {
		for _, one := range got {
			out = append(out, one.guid)
		}
		return out
	}
	g, plain := run(DeliveryFaults{})
	if len(plain) != issues+1 || g.Deliveries() != (Deliveries{Made: issues + 1, OK: issues + 1}) {
		t.Fatalf("%d webhooks without faults, %+v", len(plain), g.Deliveries())
	}

	g, doubled := run(DeliveryFaults{Double: 0.3})
	unique := slices.Compact(slices.Sorted(slices.Values(guids(doubled))))
	if extra := len(doubled) - len(plain); extra < issues/5 || int64(extra) != g.Deliveries().Doubled || !slices.Equal(unique, slices.Sorted(slices.Values(guids(plain)))) {
		t.Errorf("doubling: %d webhooks of %d GUIDs, %+v; want doubles with the same GUID and the GUIDs of the same seed", len(doubled), len(unique), g.Deliveries())
	}

	g, dropped := run(DeliveryFaults{Drop: 0.3, Vanish: 0.1})
	d := g.Deliveries()
	if lost := int64(len(plain) - len(dropped)); lost != d.Dropped+d.Vanished || d.Dropped < issues/5 || d.Vanished < issues/20 || d.Failed != d.Dropped {
		t.Errorf("dropping: %d of %d arrived, %+v", len(dropped), len(plain), d)
	}
	var healed int
	must(t, g.SetDeliveryFaults(DeliveryFaults{}))
	for _, a := range g.Attempts() {
		if a.Failed() {
			must(t, g.Redeliver(testContext(t), a.GUID))
			healed++
		}
	}
	must(t, g.WaitIdle(testContext(t)))
	if after := g.Deliveries(); int64(healed) != d.Dropped || after.OK != d.OK+d.Dropped || after.Redelivered != d.Dropped {
		t.Errorf("redelivering %d: %+v", healed, after)
	}

	g, mixed := run(DeliveryFaults{Reorder: 0.2, Delay: 0.2, MaxDelay: time.Hour})
	if slices.Equal(guids(mixed), guids(plain)) || !slices.Equal(slices.Sorted(slices.Values(guids(mixed))), slices.Sorted(slices.Values(guids(plain)))) {
		t.Errorf("reordering: %d webhooks, want the same ones in another order; %+v", len(mixed), g.Deliveries())
	}
	_, again := run(DeliveryFaults{Reorder: 0.2, Delay: 0.2, MaxDelay: time.Hour})
	if len(again) != len(mixed) || g.Deliveries().Reordered == 0 || g.Deliveries().Delayed == 0 {
		t.Errorf("the same seed gave %d and %d webhooks, %+v", len(mixed), len(again), g.Deliveries())
	}
}

func TestDelaysFollowTheClock(t *testing.T) {
	hook := newReceiver(t)
	clock := NewVirtual(time.Now())
	g := start(t, Options{Clock: clock, WebhookURL: hook.URL, DeliveryFaults: DeliveryFaults{Delay: 1, MaxDelay: time.Minute}})
	ctx := testContext(t)
	install(t, g, InstallOptions{})
	must(t, clock.WaitForTimers(ctx, 1))
	if got := hook.take(); len(got) != 0 {
		t.Fatalf("%d webhooks before their time", len(got))
	}
	clock.Advance(time.Minute)
	must(t, g.WaitIdle(ctx))
	if got := hook.take(); len(got) != 1 {
		t.Errorf("%d webhooks after the delay, want 1", len(got))
	}
}

func TestDeliveryLogAsTheAppSeesIt(t *testing.T) {
	hook := newReceiver(t)
	clock := NewVirtual(time.Now())
	g := start(t, Options{Clock: clock, AuthClock: Real{}, WebhookURL: hook.URL, Senders: 1})
	ctx, app := testContext(t), appClient(t, g)
	install(t, g, InstallOptions{})
	must(t, g.WaitIdle(ctx))
	hook.mu.Lock()
	hook.deny = true
	hook.mu.Unlock()
	for i := range 5 {
		open(t, g, "acme/widget", "denied "+itoa(i))
	}
	must(t, g.WaitIdle(ctx))
	must(t, g.SetWebhookURL("http://127.0.0.1:1/nobody")) // a reserved port: nobody listens
	open(t, g, "acme/widget", "unreachable")
	must(t, g.WaitIdle(ctx))
	must(t, g.SetWebhookURL(hook.URL))
	hook.mu.Lock()
	hook.deny = false
	hook.mu.Unlock()

	var all []*github.HookDelivery
	o := &github.ListCursorOptions{PerPage: 2}
	for {
		page, res, err := app.Apps.ListHookDeliveries(ctx, o)
		must(t, err)
		all = append(all, page...)
		if res.Cursor == "" {
			break
		}
		o.Cursor = res.Cursor
	}
	if len(all) != 7 || all[0].GetStatus() != "failed to connect to host" || all[0].GetStatusCode() != 0 || all[1].GetStatus() != "Invalid HTTP Response: 503" ||
		all[6].GetStatus() != "OK" || all[6].GetEvent() != "installation" {
		t.Fatalf("deliveries, newest first: %v", all)
	}
	one, _, err := app.Apps.GetHookDelivery(ctx, all[1].GetID())
	must(t, err)
	if one.Request.Headers["X-GitHub-Delivery"] != all[1].GetGUID() || one.Request.RawPayload == nil || !strings.Contains(string(*one.Request.RawPayload), "denied 4") {
		t.Errorf("a delivery = %v", one)
	}
	hook.take()
	for _, d := range all[:6] {
		_, _, err = app.Apps.RedeliverHookDelivery(ctx, d.GetID())
		var accepted *github.AcceptedError
		if err != nil && !errors.As(err, &accepted) {
			t.Fatal(err)
		}
	}
	must(t, g.WaitIdle(ctx))
	var want, got []string
	for _, d := range all[:6] {
		want = append(want, d.GetGUID())
	}
	for _, r := range hook.take() {
		got = append(got, r.guid)
	}
	if !slices.Equal(got, want) {
		t.Errorf("redelivered %q, want the same GUIDs %q", got, want)
	}
	if last := g.Attempts()[12]; !last.Redelivery || last.Failed() {
		t.Errorf("the last attempt = %+v", last)
	}
	clock.Advance(73 * time.Hour)
	if left := g.Attempts(); len(left) != 0 {
		t.Errorf("%d deliveries after three days", len(left))
	}
}

func TestASlowReceiverIsGivenUp(t *testing.T) {
	release := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-release:
		}
	}))
	defer slow.Close()
	defer close(release)
	g := start(t, Options{WebhookURL: slow.URL, AnswerDeadline: 50 * time.Millisecond})
	install(t, g, InstallOptions{})
	must(t, g.WaitIdle(testContext(t)))
	if a := g.Attempts(); len(a) != 1 || a[0].Status != "timed out" {
		t.Errorf("attempts = %+v", a)
	}
}

func TestAFullQueueHoldsPeopleUpButNotTheApp(t *testing.T) {
	g := start(t, Options{QueuedWebhooks: 2})
	ctx := testContext(t)
	id := install(t, g, InstallOptions{})
	n := open(t, g, "acme/widget", "before")
	release := make(chan struct{})
	blocked := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer blocked.Close()
	defer close(release)
	must(t, g.SetWebhookURL(blocked.URL))
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	var err error
	var opened int
	for err == nil && opened < 10 {
		_, err = g.OpenIssue(short, "acme/widget", NewIssue{Author: "reporter", Title: "x"})
		opened++
	}
	if !errors.Is(err, ErrQueueFull) || !errors.Is(err, context.DeadlineExceeded) || opened != 3 {
		t.Errorf("opening with a full queue: %v after %d", err, opened)
	}
	gh := client(t, g, id)
	for i := range 12 {
		_, _, err = gh.Issues.AddLabelsToIssue(ctx, "acme", "widget", n, []string{"new-" + itoa(i)})
		must(t, err)
	}
	if d := g.Deliveries(); d.Overflowed < 2 || d.Failed != d.Overflowed {
		t.Errorf("deliveries = %+v, want those beyond the bound logged as failed", d)
	}
}
