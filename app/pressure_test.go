package app_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/app/simulate"
)

// TestFullLog: a plugin that stands still fills the event log up to its bound.
// Webhooks are then refused with 503 and Retry-After, and once the plugin goes
// on, everything is worked off, the refused ones are taken, and none is lost.
func TestFullLog(t *testing.T) {
	t.Parallel()
	s := newSystem(t, simulate.Options{Seed: 51, RateLimits: simulate.RateLimits{Off: true}})
	s.installTestRepository()
	// The plugin's calls may last, or the service would replace it.
	s.env = []string{"DISPATCHAI_LOG_MAX_BYTES=67108864", "DISPATCHAI_PLUGIN_TIMEOUT=10m"}
	s.start()
	t.Cleanup(s.dump)
	ctx := testContext(t)
	first, err := s.github.OpenIssue(ctx, testRepo, bugReport(0))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(first, "kind/bug")

	// The issues exist on GitHub; their webhooks, far larger than usual, come from here.
	if err := s.github.SetWebhookURL(""); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(51, 1))
	const most = 60
	deliveries := make(map[int][]byte)
	var numbers []int
	for n := range most {
		number, err := s.github.OpenIssue(ctx, testRepo, bugReport(n))
		if err != nil {
			t.Fatal(err)
		}
		issue, err := s.github.Issue(testRepo, number)
		if err != nil {
			t.Fatal(err)
		}
		noise := make([]byte, 1200<<10) // does not compress, so that the log fills
		for i := range noise {
			noise[i] = byte(random.Uint32())
		}
		payload := s.opened(number)
		fields := payload["issue"].(object)
		fields["id"], fields["title"], fields["body"] = issue.ID, issue.Title, issue.Body
		payload["noise"] = base64.StdEncoding.EncodeToString(noise)
		deliveries[number] = encode(t, payload)
		numbers = append(numbers, number)
	}
	if err := s.github.SetWebhookURL("http://" + s.addr + "/webhook/github"); err != nil {
		t.Fatal(err)
	}

	plugin := s.pluginPID()
	if err := syscall.Kill(plugin, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(plugin, syscall.SIGCONT) })
	var refused []int
	for _, number := range numbers {
		answer := s.deliver("issues", fmt.Sprintf("full-%d", number), deliveries[number])
		switch answer.code {
		case http.StatusOK:
		case http.StatusServiceUnavailable:
			refused = append(refused, number)
			if after, err := strconv.Atoi(answer.header.Get("Retry-After")); err != nil || after < 1 || after > 120 {
				t.Errorf("Retry-After is %q", answer.header.Get("Retry-After"))
			}
			if answer.Status != "rejected" || answer.Error != "log_full" {
				t.Errorf("the refusal says %q %q, want rejected log_full", answer.Status, answer.Error)
			}
		default:
			t.Fatalf("delivery %d was answered with %d %s", number, answer.code, answer.Error)
		}
	}
	if len(refused) == 0 || len(refused) > most/2 {
		t.Fatalf("%d of %d deliveries were refused at a bound of 64 MiB", len(refused), most)
	}
	var health struct {
		Status       string
		Dependencies map[string]struct{ Status, Detail string }
	}
	eventually(t, "the health tells of the full log", func() bool {
		code := s.call("GET", "/health", nil, &health)
		return code == http.StatusOK && health.Status == "degraded" && health.Dependencies["event_log"].Status == "degraded" &&
			strings.Contains(health.Dependencies["event_log"].Detail, "DISPATCHAI_LOG_MAX_BYTES")
	})
	if n := s.metric(`dispatchai_ingress_rejected_total{reason="log_full"}`); n != float64(len(refused)) {
		t.Errorf("the metric counts %v refusals, want %d", n, len(refused))
	}
	used := s.metric("dispatchai_eventlog_embedded_used_bytes")
	// Results, offsets and indexes have a quarter above the bound of deliveries.
	if bound := s.metric("dispatchai_eventlog_embedded_max_bytes"); used > bound*5/4 || bound != 64<<20 {
		t.Errorf("the log takes %v bytes of %v", used, bound)
	}

	if err := syscall.Kill(plugin, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for _, number := range refused {
		eventually(t, "a refused delivery is taken", func() bool {
			return s.deliver("issues", fmt.Sprintf("full-%d", number), deliveries[number]).code == http.StatusOK
		})
	}
	for _, number := range numbers {
		s.waitLabel(number, "kind/bug")
	}
	eventually(t, "the log has room again", func() bool {
		s.call("GET", "/health", nil, &health)
		return health.Status == "ok" && s.metric("dispatchai_eventlog_embedded_used_bytes") < used
	})
	s.assertLabelledOnce(append(numbers, first))
}

// TestTerminatedUnderLoad: SIGTERM in the middle of everything ends the process
// with status 0 well within the 30 s that orchestrators allow, and what was
// acknowledged before is labelled after the next start.
func TestTerminatedUnderLoad(t *testing.T) {
	t.Parallel()
	s := newSystem(t, simulate.Options{Seed: 52, Senders: 8, RateLimits: simulate.RateLimits{Off: true}})
	s.installTestRepository()
	s.start()
	t.Cleanup(s.dump)
	slow := s.github.InjectFault(simulate.Fault{Latency: 300 * time.Millisecond, Probability: 0.3})
	t.Cleanup(slow.Remove)
	live := s.connect("")

	var mu sync.Mutex
	var numbers []int
	var opened atomic.Int64
	stop := make(chan struct{})
	var wait sync.WaitGroup
	t.Cleanup(wait.Wait)
	halt := sync.OnceFunc(func() { close(stop) })
	t.Cleanup(halt)
	wait.Go(func() {
		ticker := time.NewTicker(40 * time.Millisecond)
		defer ticker.Stop()
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
			number, err := s.github.OpenIssue(testContext(t), testRepo, bugReport(n))
			if err != nil {
				t.Errorf("open an issue: %v", err)
				return
			}
			mu.Lock()
			numbers = append(numbers, number)
			mu.Unlock()
			opened.Add(1)
		}
	})
	for range 3 {
		before := opened.Load()
		eventually(t, "more issues are opened", func() bool { return opened.Load() >= before+25 })
		began := time.Now()
		s.stop()
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("it took %s to stop", took)
		} else {
			t.Logf("stopped in %s", took.Round(time.Millisecond))
		}
		s.start()
	}
	halt()
	wait.Wait()
	slow.Remove()
	for range live.frames { // the connection ended with the first stop
	}
	s.redeliverFailed()
	t.Logf("%d issues", len(numbers))
	for _, number := range numbers {
		s.waitLabel(number, "kind/bug")
	}
	s.assertLabelledOnce(numbers)
}

// TestTerminatedWhileAllHangs: neither a plugin that stands still nor a GitHub
// that does not answer keeps the process from ending in time.
func TestTerminatedWhileAllHangs(t *testing.T) {
	t.Parallel()
	s := newSystem(t, simulate.Options{Seed: 54, RateLimits: simulate.RateLimits{Off: true}})
	s.installTestRepository()
	s.env = []string{"DISPATCHAI_PLUGIN_TIMEOUT=10m"}
	s.start()
	t.Cleanup(s.dump)
	ctx := testContext(t)
	first, err := s.github.OpenIssue(ctx, testRepo, bugReport(0))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(first, "kind/bug")

	const labels = "GET /repos/{owner}/{repo}/issues/{number}/labels"
	asked := s.github.Requests()[labels]
	hang := s.github.InjectFault(simulate.Fault{Latency: deadline})
	second, err := s.github.OpenIssue(ctx, testRepo, bugReport(1))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "GitHub is asked and does not answer", func() bool { return s.github.Requests()[labels] > asked })
	plugin := s.pluginPID()
	if err := syscall.Kill(plugin, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	third, err := s.github.OpenIssue(ctx, testRepo, bugReport(2))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the plugin is asked and does not answer", func() bool {
		return s.metric(`dispatchai_eventlog_in_flight_batches{group="classify"}`) > 0
	})
	began := time.Now()
	s.stop()
	took := time.Since(began)
	t.Logf("stopped in %s", took.Round(time.Millisecond))
	if took > 28*time.Second {
		t.Errorf("it took %s to stop", took)
	}
	if err := syscall.Kill(plugin, 0); err == nil {
		t.Errorf("the plugin, process %d, outlived the service", plugin)
	}
	hang.Remove()
	s.start()
	s.waitLabel(second, "kind/bug")
	s.waitLabel(third, "kind/bug")
	s.assertLabelledOnce([]int{first, second, third})
}

// TestSecretsAreNeverLogged: with everything logged that can be, no secret, no
// token and no signature is among it, nor in what the tools print.
func TestSecretsAreNeverLogged(t *testing.T) {
	t.Parallel()
	const webhookSecret, apiToken = "s3cr3t-of-the-webhook", "t0k3n-of-the-api"
	s := newSystem(t, simulate.Options{Seed: 53, WebhookSecret: webhookSecret})
	s.token = apiToken
	s.env = []string{"LOG_LEVEL=debug"}
	s.installTestRepository()
	s.start()
	t.Cleanup(s.dump)
	ctx := testContext(t)
	number, err := s.github.OpenIssue(ctx, testRepo, bugReport(1))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(number, "kind/bug")
	// Errors are where secrets slip out: calls refused and cut off, tokens that
	// ended, requests with wrong signatures and tokens, poison.
	installation, err := s.github.InstallationOf(testRepo)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.github.RevokeTokens(installation); err != nil {
		t.Fatal(err)
	}
	s.github.InjectFault(simulate.Fault{Times: 1, Disconnect: true})
	s.github.InjectFault(simulate.Fault{Times: 2, Status: 502})
	body := encode(t, s.opened(900))
	wrong := s.sign(append(bytes.Clone(body), ' '))
	if answer := s.deliver("issues", "wrong-signature", body, "X-Hub-Signature-256", wrong); answer.code != http.StatusUnauthorized {
		t.Errorf("a wrong signature was answered with %d", answer.code)
	}
	poison := s.opened(901)
	delete(poison["issue"].(object), "id")
	s.deliver("issues", "poison", encode(t, poison))
	if number, err = s.github.OpenIssue(ctx, testRepo, bugReport(2)); err != nil {
		t.Fatal(err)
	}
	s.waitLabel(number, "kind/bug")
	s.token = "wr0ng-token"
	if code := s.call("GET", "/api/issues", nil, nil); code != http.StatusUnauthorized {
		t.Errorf("a wrong token was answered with %d", code)
	}
	s.token = apiToken
	issue, _ := s.issue(number)
	s.call("POST", fmt.Sprintf("/api/issues/%d/correct", issue.ID), object{"field": "category", "values": []string{"feature"}}, nil)
	s.connect("")

	printed := map[string]string{}
	env := append(s.environment(), s.env...)
	for _, args := range [][]string{{"doctor"}, {"doctor", "--json"}, {"dead", "list"}, {"dead", "list", "--json"}} {
		got := execute(t, env, args...)
		printed[strings.Join(args, " ")] = got.stdout + got.stderr
	}
	p := s.process
	s.stop()
	printed["serve"] = p.output()
	if !strings.Contains(printed["serve"], `"level":"DEBUG"`) {
		t.Error("nothing was logged at the level debug, so this test shows nothing")
	}

	secrets := map[string]string{
		"the webhook secret": webhookSecret, "the API token": apiToken, "a wrong API token": "wr0ng-token",
		"an installation token": "ghs_", "an App's JWT": "eyJ", "a signature": "sha256=", "a bearer token": "Bearer ",
		"a wrong signature": strings.TrimPrefix(wrong, "sha256="), "the right signature": strings.TrimPrefix(s.sign(body), "sha256="),
		"the private key's first line": "BEGIN RSA PRIVATE KEY",
	}
	for i, line := range strings.Split(strings.TrimSpace(string(s.github.PrivateKeyPEM())), "\n") {
		if !strings.HasPrefix(line, "-----") {
			secrets[fmt.Sprintf("line %d of the private key", i+1)] = line
		}
	}
	for command, output := range printed {
		for what, secret := range secrets {
			if i := strings.Index(output, secret); i >= 0 {
				t.Errorf("%s prints %s: ...%s...", command, what, output[max(0, i-80):min(len(output), i+80)])
			}
		}
	}
}
