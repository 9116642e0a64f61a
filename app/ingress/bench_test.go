package ingress

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/github"
)

// BenchmarkHandler compares the endpoint with the least that a webhook endpoint
// can do (bare: net/http, read, HMAC): with a log that takes everything at once
// (ingress), and with the embedded log, every record synced (durable).
func BenchmarkHandler(b *testing.B) {
	body := issueBody(15_000)
	for _, connections := range []int{32, 256} {
		b.Run(fmt.Sprintf("bare-%d", connections), func(b *testing.B) {
			bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				mac := hmac.New(sha256.New, []byte(testSecret))
				mac.Write(body)
				want := "sha256=" + hex.EncodeToString(mac.Sum(nil))
				if err != nil || !hmac.Equal([]byte(want), []byte(r.Header.Get(github.SignatureHeader))) {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				_, _ = w.Write([]byte(`{"status":"accepted"}`))
			})
			load(b, bare, body, connections)
		})
		b.Run(fmt.Sprintf("durable-%d", connections), func(b *testing.B) {
			h, err := New(Config{Producer: openProducerOn(b, openLog(b)), Secrets: []string{testSecret}, Registerer: prometheus.NewRegistry()})
			if err != nil {
				b.Fatal(err)
			}
			load(b, h, body, connections)
		})
		b.Run(fmt.Sprintf("ingress-%d", connections), func(b *testing.B) {
			h, err := New(Config{Producer: discard{}, Secrets: []string{testSecret}, Registerer: prometheus.NewRegistry()})
			if err != nil {
				b.Fatal(err)
			}
			load(b, h, body, connections)
		})
	}
}

type discard struct{}

func (discard) Append(context.Context, ...eventlog.Record) error { return nil }

// load sends b.N deliveries over that many keep-alive connections.
func load(b *testing.B, h http.Handler, body []byte, connections int) {
	server := httptest.NewServer(h)
	defer server.Close()
	var request bytes.Buffer
	fmt.Fprintf(&request, "POST /webhook/github HTTP/1.1\r\nHost: localhost\r\nUser-Agent: GitHub-Hookshot/0c1d2e3\r\nAccept: */*\r\nContent-Type: application/json\r\n"+
		"X-GitHub-Delivery: 72d3162e-cc78-11e3-81ab-4c9367dc0958\r\nX-GitHub-Event: issues\r\nX-GitHub-Hook-ID: 292430182\r\n"+
		"X-GitHub-Hook-Installation-Target-ID: 79929171\r\nX-GitHub-Hook-Installation-Target-Type: integration\r\n"+
		"%s: %s\r\nContent-Length: %d\r\n\r\n", github.SignatureHeader, github.Sign(testSecret, body), len(body))
	request.Write(body)
	var left atomic.Int64
	left.Store(int64(b.N))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	before := processorTime(b)
	b.ResetTimer()
	var group sync.WaitGroup
	for range connections {
		group.Go(func() {
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			in := bufio.NewReader(conn)
			for left.Add(-1) >= 0 {
				if _, err := conn.Write(request.Bytes()); err != nil {
					b.Error(err)
					return
				}
				if err := readAnswer(in); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
	b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N), "cpu-us/op")
}

// processorTime is what the process has used so far, load generator included;
// unlike the time on the clock it does not depend on what else the machine does.
func processorTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// readAnswer reads one answer that tells its length, as cheaply as can be.
func readAnswer(in *bufio.Reader) error {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
		return fmt.Errorf("answered %q", line)
	}
	length := 0
	for len(bytes.TrimSpace(line)) > 0 {
		if line, err = in.ReadSlice('\n'); err != nil {
			return err
		}
		if digits, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			for _, c := range bytes.TrimSpace(digits) {
				length = length*10 + int(c-'0')
			}
		}
	}
	_, err = in.Discard(length)
	return err
}
