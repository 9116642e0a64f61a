package app_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dispatchai/dispatchai/app"
	"github.com/dispatchai/dispatchai/app/ingress"
	"github.com/dispatchai/dispatchai/app/simulate"
	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/eventlog/embedded"
	"github.com/dispatchai/dispatchai/core/github"
)

// webhookBytes is the size of a webhook in the benchmarks of ingress.
const webhookBytes = 15 << 10

// delivery is one signed webhook, ready to send.
type delivery struct {
	body      []byte
	signature string
}

// deliveries captures n different webhooks as the simulated GitHub sends them,
// the issues' bodies made of the demo's texts until a webhook has about
// webhookBytes.
func deliveries(b *testing.B, n int, secret string) []delivery {
	b.Helper()
	var mu sync.Mutex
	var captured []delivery
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil && r.Header.Get("X-GitHub-Event") == "issues" {
			mu.Lock()
			captured = append(captured, delivery{body, r.Header.Get("X-Hub-Signature-256")})
			mu.Unlock()
		}
	}))
	defer receiver.Close()
	github, err := simulate.New(simulate.Options{WebhookSecret: secret, WebhookURL: receiver.URL})
	if err != nil {
		b.Fatal(err)
	}
	ctx := testContext(b)
	if err := github.Start(context.Background()); err != nil {
		b.Fatal(err)
	}
	defer github.Close()
	if err := github.CreateRepository(ctx, simulate.NewRepository{Owner: testOwner, Name: "widgets", Labels: testLabels()}); err != nil {
		b.Fatal(err)
	}
	if _, err := github.Install(ctx, testOwner, simulate.InstallOptions{}); err != nil {
		b.Fatal(err)
	}
	corpus, err := simulate.Corpus()
	if err != nil {
		b.Fatal(err)
	}
	var texts []string
	for _, r := range corpus {
		for _, i := range r.Issues {
			texts = append(texts, i.Title+"\n\n"+i.Body)
		}
	}
	const envelope = 10 << 10 // what GitHub says beside the body
	for i := range n {
		var body strings.Builder
		for t := i; body.Len() < webhookBytes-envelope; t += 7 {
			text := texts[t%len(texts)]
			body.WriteString(text[:min(len(text), webhookBytes-envelope-body.Len())])
		}
		if _, err := github.OpenIssue(ctx, testRepo, simulate.NewIssue{Author: fmt.Sprintf("reporter-%d", i), Title: fmt.Sprintf("Issue %d", i), Body: strings.ToValidUTF8(body.String(), "")}); err != nil {
			b.Fatal(err)
		}
	}
	if err := github.WaitIdle(ctx); err != nil {
		b.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	size := 0
	for _, d := range captured {
		size += len(d.body)
	}
	b.Logf("%d webhooks of %d bytes on average", len(captured), size/len(captured))
	return captured
}

var guids atomic.Int64

// client keeps as many connections open as it makes requests at once.
func client(connections int) *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		MaxIdleConns: connections, MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections, DisableCompression: true,
	}}
}

func (d delivery) send(c *http.Client, url string) error {
	request, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(d.body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-GitHub-Event", "issues")
	request.Header.Set("X-GitHub-Delivery", fmt.Sprintf("00000000-0000-0000-0000-%012d", guids.Add(1)))
	request.Header.Set("X-Hub-Signature-256", d.signature)
	response, err := c.Do(request)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, response.Body)
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %d", response.StatusCode)
	}
	return nil
}

// closedLoop sends as fast as the connections allow and returns requests per second.
func closedLoop(b *testing.B, url string, connections int, all []delivery, duration time.Duration) float64 {
	b.Helper()
	c := client(connections)
	defer c.CloseIdleConnections()
	var sent atomic.Int64
	var next atomic.Int64
	stop := time.Now().Add(duration)
	var wait sync.WaitGroup
	began := time.Now()
	for range connections {
		wait.Go(func() {
			for time.Now().Before(stop) {
				d := all[int(next.Add(1))%len(all)]
				if err := d.send(c, url); err != nil {
					b.Error(err)
					return
				}
				sent.Add(1)
			}
		})
	}
	wait.Wait()
	return float64(sent.Load()) / time.Since(began).Seconds()
}

// openLoop sends at a fixed rate and returns the latencies from the moment each
// request was due, so that a stall counts against every request it delayed.
func openLoop(b *testing.B, url string, perSecond int, all []delivery, duration time.Duration) []time.Duration {
	b.Helper()
	c := client(512)
	defer c.CloseIdleConnections()
	total := int(float64(perSecond) * duration.Seconds())
	latencies := make([]time.Duration, total)
	var wait sync.WaitGroup
	began := time.Now()
	interval := time.Second / time.Duration(perSecond)
	for i := range total {
		due := began.Add(time.Duration(i) * interval)
		if d := time.Until(due); d > 0 {
			time.Sleep(d)
		}
		wait.Go(func() {
			if err := all[i%len(all)].send(c, url); err != nil {
				b.Error(err)
			}
			latencies[i] = time.Since(due)
		})
	}
	wait.Wait()
	return latencies
}

func percentile(latencies []time.Duration, p float64) time.Duration {
	slices.Sort(latencies)
	return latencies[min(len(latencies)-1, int(p*float64(len(latencies))))]
}

// bareHandler checks the signature and stores nothing: what the language and
// its HTTP server cost.
func bareHandler(b *testing.B, secret string) string {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 25<<20))
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(body)
		if err != nil || !hmac.Equal([]byte("sha256="+hex.EncodeToString(mac.Sum(nil))), []byte(r.Header.Get("X-Hub-Signature-256"))) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write([]byte(`{"status":"accepted"}`))
	})}
	go func() { _ = server.Serve(listener) }()
	b.Cleanup(func() { server.Close() })
	return "http://" + listener.Addr().String()
}

// benchmarkDuration is how long each figure is measured.
const benchmarkDuration = 5 * time.Second

// durableHandler is the service's way from a webhook to the synced log: the
// ingress, the producer and the embedded broker, without the workers.
func durableHandler(b *testing.B, secret string) string {
	b.Helper()
	ctx := context.Background()
	logger := slog.New(slog.DiscardHandler)
	registry := prometheus.NewRegistry()
	broker, err := embedded.Open(ctx, embedded.Options{Dir: b.TempDir(), Groups: app.Groups(), MaxBytes: 32 << 30, Logger: logger, Registerer: registry})
	if err != nil {
		b.Fatal(err)
	}
	cluster, err := eventlog.NewCluster(broker.Config(), logger)
	if err != nil {
		b.Fatal(err)
	}
	if err := cluster.EnsureTopics(ctx); err != nil {
		b.Fatal(err)
	}
	producer, err := eventlog.NewProducer(broker.Config(), eventlog.ProducerConfig{Logger: logger, Registerer: registry})
	if err != nil {
		b.Fatal(err)
	}
	verifier, err := github.NewVerifier(secret)
	if err != nil {
		b.Fatal(err)
	}
	handler, err := ingress.New(ingress.Config{Producer: producer, Verifier: verifier, Logger: logger, Registerer: registry})
	if err != nil {
		b.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	go func() { _ = server.Serve(listener) }()
	b.Cleanup(func() {
		server.Close()
		_ = producer.Close(ctx)
		cluster.Close()
		_ = broker.Close()
	})
	return "http://" + listener.Addr().String() + "/webhook/github"
}

// BenchmarkIngress compares accepting webhooks durably with a bare handler, in
// one run and one process, at 32 and 256 connections, the load generator
// included on both sides.
func BenchmarkIngress(b *testing.B) {
	secret := "benchmark"
	all := deliveries(b, 1024, secret)
	url := durableHandler(b, secret)
	bare := bareHandler(b, secret)
	for _, connections := range []int{32, 256} {
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) {
			for range b.N {
				closedLoop(b, bare, connections, all, time.Second)
				closedLoop(b, url, connections, all, time.Second)
				reference := closedLoop(b, bare, connections, all, benchmarkDuration)
				durable := closedLoop(b, url, connections, all, benchmarkDuration)
				b.ReportMetric(reference, "bare/s")
				b.ReportMetric(durable, "durable/s")
				b.ReportMetric(durable/reference, "ratio")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
	b.Run("latency-at-1000-per-second", func(b *testing.B) {
		for range b.N {
			latencies := openLoop(b, url, 1000, all, benchmarkDuration)
			b.ReportMetric(ms(percentile(latencies, 0.50)), "p50-ms")
			b.ReportMetric(ms(percentile(latencies, 0.99)), "p99-ms")
		}
		b.ReportMetric(0, "ns/op")
	})
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// BenchmarkPipeline measures from a webhook to the label on the simulated
// GitHub: 1,000 installations with one repository each, issues of about 1 KB in
// payloads of about 12 KB, one or two labels an issue (each of which comes back
// as a webhook), the load generator and the simulated GitHub on the same two
// cores. Memory is that of the service's process, files it maps included.
func BenchmarkPipeline(b *testing.B) {
	b.Run("labels=1", func(b *testing.B) { benchmarkPipeline(b, testLabels()[:4]) })
	b.Run("labels=2", func(b *testing.B) { benchmarkPipeline(b, testLabels()) })
}

func benchmarkPipeline(b *testing.B, labels []simulate.Label) {
	const installations, issues = 1000, 12_000
	for range b.N {
		s := newSystem(b, simulate.Options{
			RateLimits: simulate.RateLimits{Off: true}, DeliveryLog: -1, EventsPerIssue: -1, QueuedWebhooks: 1 << 16, Senders: 128,
		})
		for _, name := range []string{"DISPATCHAI_DEBUG_LISTEN", "GOMEMLIMIT", "GOGC"} {
			if value := os.Getenv(name); value != "" {
				s.env = append(s.env, name+"="+value)
			}
		}
		s.start()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		for n := range installations {
			owner := fmt.Sprintf("org%d", n)
			if err := s.github.CreateRepository(ctx, simulate.NewRepository{Owner: owner, Name: "repo", Labels: labels}); err != nil {
				b.Fatal(err)
			}
			if _, err := s.github.Install(ctx, owner, simulate.InstallOptions{}); err != nil {
				b.Fatal(err)
			}
		}
		if err := s.github.WaitIdle(ctx); err != nil {
			b.Fatal(err)
		}
		eventually(b, "every installation is known, its repository's configuration read and its issues compared with GitHub's list", func() bool {
			// There are more events where GitHub's own list was looked at meanwhile.
			return s.metric(`dispatchai_classify_events_total{kind="installation",outcome="done"}`) >= installations &&
				s.total("dispatchai_configuration_readings_total") >= installations &&
				s.total("dispatchai_reconcile_repositories_total") >= installations
		})
		began := time.Now()
		var wait sync.WaitGroup
		var next atomic.Int64
		for range 32 {
			wait.Go(func() {
				for {
					n := int(next.Add(1)) - 1
					if n >= issues {
						return
					}
					issue := bugReport(n)
					issue.Body += strings.Repeat("\nIt happens each time on my machine, with every input that I tried.", 10)
					if _, err := s.github.OpenIssue(ctx, fmt.Sprintf("org%d/repo", n%installations), issue); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		peak := s.watchMemory()
		// The metrics are asked for seldom, because they are made on the same two cores.
		done := func() bool {
			return s.metric("dispatchai_label_desired_total") >= issues && s.metric("dispatchai_label_pending") == 0 &&
				s.metric("dispatchai_classify_latency_seconds_count") >= issues
		}
		for deadline := time.Now().Add(5 * time.Minute); !done(); {
			if time.Now().After(deadline) {
				b.Fatalf("the pipeline did not finish\n%s\n%s", s.metrics("dispatchai_classify", "dispatchai_label", "dispatchai_eventlog"), s.process.output())
			}
			time.Sleep(200 * time.Millisecond)
		}
		elapsed := time.Since(began)
		wait.Wait()
		b.ReportMetric(issues/elapsed.Seconds(), "issues/s")
		b.ReportMetric(float64(peak())/(1<<20), "peak-MB")
		b.ReportMetric(0, "ns/op")
		s.kill()
		cancel()
	}
}

// watchMemory samples the resident memory of the service and its plugin until
// the returned function is called, which gives the highest sum in bytes.
func (s *system) watchMemory() func() int64 {
	stop, done := make(chan struct{}), make(chan struct{})
	var highest int64
	pids := []int{s.process.cmd.Process.Pid}
	go func() {
		defer close(done)
		ticker := time.NewTicker(50 * time.Millisecond)
		defer ticker.Stop()
		for {
			var sum int64
			for _, pid := range pids {
				sum += residentBytes(pid)
			}
			highest = max(highest, sum)
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
		}
	}()
	return func() int64 { close(stop); <-done; return highest }
}

func residentBytes(pid int) int64 {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(content), &size, &resident); err != nil {
		return 0
	}
	return resident * int64(os.Getpagesize())
}

// BenchmarkLive measures from sending a webhook to its classified frame on a
// WebSocket, at 50 issues a second.
func BenchmarkLive(b *testing.B) {
	for range b.N {
		s := newSystem(b, simulate.Options{RateLimits: simulate.RateLimits{Off: true}})
		s.start()
		s.installTestRepository()
		eventually(b, "the repository's configuration is read", func() bool { return s.total("dispatchai_configuration_readings_total") >= 1 })
		header := http.Header{"Authorization": {"Bearer " + s.token}}
		conn, _, err := websocket.DefaultDialer.Dial("ws://"+s.addr+"/ws", header)
		if err != nil {
			b.Fatal(err)
		}
		const issues = 500
		arrived := make(chan int, issues)
		var sentAt [issues + 1]atomic.Int64
		latencies := make([]time.Duration, 0, issues)
		go func() {
			defer close(arrived)
			for {
				_, message, err := conn.ReadMessage()
				if err != nil {
					return
				}
				var f liveFrame
				if json.Unmarshal(message, &f) == nil && f.Event == "classified" {
					at := time.Now()
					latencies = append(latencies, at.Sub(time.Unix(0, sentAt[f.Issue.Number].Load())))
					arrived <- f.Issue.Number
				}
			}
		}()
		ticker := time.NewTicker(time.Second / 50)
		for n := 1; n <= issues; n++ {
			<-ticker.C
			sentAt[n].Store(time.Now().UnixNano())
			if _, err := s.github.OpenIssue(testContext(b), testRepo, bugReport(n)); err != nil {
				b.Fatal(err)
			}
		}
		ticker.Stop()
		for range issues {
			<-arrived
		}
		conn.Close()
		for range arrived {
		}
		b.ReportMetric(ms(percentile(latencies, 0.50)), "p50-ms")
		b.ReportMetric(ms(percentile(latencies, 0.99)), "p99-ms")
		b.ReportMetric(0, "ns/op")
		s.kill()
	}
}

// BenchmarkStart measures from the start of the process to its ready line.
func BenchmarkStart(b *testing.B) {
	s := newSystem(b, simulate.Options{})
	s.start()
	s.kill()
	var all []time.Duration
	for range 5 {
		began := time.Now()
		s.start()
		all = append(all, time.Since(began))
		s.kill()
	}
	b.ReportMetric(ms(percentile(all, 0.5)), "median-ms")
	b.ReportMetric(ms(slices.Max(all)), "max-ms")
	b.ReportMetric(0, "ns/op")
	runtime.KeepAlive(s)
}
