package app_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/gofrs/flock"

	"github.com/dispatchai/dispatchai/app/simulate"
)

// finding is one entry of "doctor --json".
type finding struct {
	Name, Detail string
	OK           bool
}

// doctor runs "dispatchai doctor" both ways and returns what it found.
func (s *system) doctor(env ...string) (findings map[string]finding, healthy bool) {
	s.t.Helper()
	all := append(s.environment(), env...)
	got := execute(s.t, all, "doctor", "--json")
	var report struct {
		Healthy bool
		Checks  []finding
	}
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil {
		s.t.Fatalf("doctor --json: %v in %q, %q", err, got.stdout, got.stderr)
	}
	if (got.code == 0) != report.Healthy || got.code > 1 {
		s.t.Errorf("doctor says healthy: %v and ends with status %d", report.Healthy, got.code)
	}
	findings = make(map[string]finding)
	for _, f := range report.Checks {
		findings[f.Name] = f
	}
	return findings, report.Healthy
}

// TestDoctor: all is green beside a running service and without one, and each
// fault is told with what to do about it, and makes nothing else red.
func TestDoctor(t *testing.T) {
	t.Parallel()
	s := newSystem(t, simulate.Options{Seed: 61})
	s.installTestRepository()
	if findings, healthy := s.doctor(); healthy || !strings.Contains(findings["GitHub"].Detail, "no usable webhook URL") {
		t.Errorf("without an address for deliveries, doctor finds %+v", findings)
	}
	s.addr = freeAddress(t)
	if err := s.github.SetWebhookURL("http://" + s.addr + "/webhook/github"); err != nil {
		t.Fatal(err)
	}
	green := func(when string) {
		t.Helper()
		findings, healthy := s.doctor()
		if !healthy {
			t.Errorf("%s, doctor finds %+v", when, findings)
		}
		for _, name := range []string{"configuration", "data directory", "event log", "store", "GitHub", "plugin rules"} {
			if f, ok := findings[name]; !ok || !f.OK || f.Detail == "" {
				t.Errorf("%s, the check %q says %+v", when, name, f)
			}
		}
	}
	green("before the first start")
	s.start()
	number, err := s.github.OpenIssue(testContext(t), testRepo, bugReport(1))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(number, "kind/bug")
	green("beside the service")
	findings, _ := s.doctor()
	for check, want := range map[string]string{"store": "1 issues in 1 repositories", "GitHub": "delivers to " + s.addr} {
		if !strings.Contains(findings[check].Detail, want) {
			t.Errorf("the check %q says %q, which lacks %q", check, findings[check].Detail, want)
		}
	}
	plain := execute(t, s.environment(), "doctor")
	if plain.code != 0 || strings.Contains(plain.stdout, "FAIL") || strings.Count(plain.stdout, "ok  ") != 6 {
		t.Errorf("doctor ends with %d and prints\n%s%s", plain.code, plain.stdout, plain.stderr)
	}
	s.stop()
	green("after the service has stopped")

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	crasher := filepath.Join(t.TempDir(), "crasher")
	if err := os.WriteFile(crasher, []byte("#!/bin/sh\nprintf 'no model: \\033[31mfetch it first\\n' >&2\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		env   []string
		check string
		says  []string
	}{
		{"the key of another App", []string{"GITHUB_PRIVATE_KEY=" + privateKeyPEM(t)}, "GitHub", []string{"does not accept the private key", "generate a new key"}},
		{"the number of another App", []string{"GITHUB_APP_ID=999999"}, "GitHub", []string{"GITHUB_APP_ID"}},
		{"no GitHub", []string{"GITHUB_API_URL=http://127.0.0.1:1"}, "GitHub", []string{"no GitHub API answers at http://127.0.0.1:1", "check GITHUB_API_URL"}},
		{"no key", []string{"GITHUB_PRIVATE_KEY="}, "configuration", []string{"GITHUB_PRIVATE_KEY_FILE: not set", "App settings > Private keys"}},
		{"a value that is none", []string{"MAX_WEBHOOK_REQUESTS=many"}, "configuration", []string{`MAX_WEBHOOK_REQUESTS: "many" is not a whole number`}},
		{"no directory", []string{"DISPATCHAI_DATA_DIR=" + filepath.Join(file, "data")}, "data directory", []string{"DISPATCHAI_DATA_DIR", "not a directory"}},
		{"plugin missing", []string{"DISPATCHAI_PLUGINS=rules,mine=/nowhere/mine"}, "plugin mine", []string{"DISPATCHAI_PLUGINS", "no executable at /nowhere/mine"}},
		{"plugin unknown", []string{"DISPATCHAI_PLUGINS=rules,roles"}, "plugin roles", []string{"DISPATCHAI_PLUGINS", "no built-in plugin \"roles\"", "roles=/path/to/executable"}},
		{"plugin crashes", []string{"DISPATCHAI_PLUGINS=rules,mine=" + crasher}, "plugin mine", []string{"DISPATCHAI_PLUGINS", "did not start", "exit status 3", "fetch it first"}},
	} {
		// One after the other: doctor opens the log, which one process can at a time.
		t.Run(c.name, func(t *testing.T) {
			findings, healthy := s.doctor(c.env...)
			if healthy || findings[c.check].OK {
				t.Errorf("doctor finds nothing wrong: %+v", findings)
			}
			for _, part := range c.says {
				if !strings.Contains(findings[c.check].Detail, part) {
					t.Errorf("the check %q says %q, which lacks %q", c.check, findings[c.check].Detail, part)
				}
			}
			for name, f := range findings {
				if name != c.check && !f.OK {
					t.Errorf("%q is red as well: %s", name, f.Detail)
				}
			}
			plain := execute(t, append(s.environment(), c.env...), "doctor")
			if plain.code != 1 || strings.Count(plain.stdout, "FAIL") != 1 || strings.ContainsRune(plain.stdout, '\x1b') {
				t.Errorf("doctor ends with %d and prints\n%s%s", plain.code, plain.stdout, plain.stderr)
			}
		})
	}
}

// TestDirectoryInUse: a second process on the same data directory, and a tool
// that cannot reach the first, are told who has it.
func TestDirectoryInUse(t *testing.T) {
	t.Parallel()
	s := newSystem(t, simulate.Options{Seed: 62})
	s.start()
	t.Cleanup(s.dump)
	second := execute(t, s.environment(), "serve", "--listen", "127.0.0.1:0")
	want := fmt.Sprintf("(pid %d) is using %s", s.process.cmd.Process.Pid, filepath.Join(s.dataDir, "log"))
	if second.code != 1 || !strings.Contains(second.stderr, want) || !strings.Contains(second.stderr, "--data-dir") {
		t.Errorf("a second process ended with %d and said %q, want 1 and %q", second.code, second.stderr, want)
	}
	// The first is unharmed.
	if code := s.call("GET", "/readyz", nil, nil); code != http.StatusOK {
		t.Errorf("the first process answers %d", code)
	}
	s.stop()

	held := flock.New(filepath.Join(s.dataDir, "log", "lock"))
	if ok, err := held.TryLock(); !ok || err != nil {
		t.Fatalf("hold the lock: %v %v", ok, err)
	}
	defer held.Close()
	findings, _ := s.doctor()
	if f := findings["event log"]; f.OK || !strings.Contains(f.Detail, "is using") || !strings.Contains(f.Detail, "stop it or choose another --data-dir") {
		t.Errorf("the event log's check says %+v", f)
	}
	if _, err := s.run("dead", "list"); err == nil || !strings.Contains(err.Error(), "is using") {
		t.Errorf("dead list beside a locked log: %v", err)
	}
}

// TestPortInUse: the fault of every other first start.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := newSystem(t, simulate.Options{Seed: 63})
	for _, command := range []string{"serve", "demo"} {
		got := execute(t, s.environment(), command, "--listen", taken.Addr().String(), "--data-dir", filepath.Join(t.TempDir(), command))
		if got.code != 1 || !strings.Contains(got.stderr, taken.Addr().String()) || !strings.Contains(got.stderr, "address already in use") || !strings.Contains(got.stderr, "--listen") {
			t.Errorf("%s ended with %d and said %q", command, got.code, got.stderr)
		}
	}
}

// TestToolsOnTheWrongDirectory: a tool that is pointed at nothing says so and leaves nothing there.
func TestToolsOnTheWrongDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "elsewhere")
	got := execute(t, bareEnvironment(), "dead", "list", "--data-dir", dir)
	if got.code != 1 || !strings.Contains(got.stderr, "no event log in "+dir) || !strings.Contains(got.stderr, "--data-dir") {
		t.Errorf("dead list ended with %d and said %q", got.code, got.stderr)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("it made the directory: %v", err)
	}
}

// demo is a running "dispatchai demo".
type demoRun struct {
	cmd     *exec.Cmd
	temp    string // its TMPDIR
	lines   chan string
	started time.Time

	mu     sync.Mutex
	errOut bytes.Buffer
}

func (d *demoRun) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.errOut.Write(p)
}

func runDemo(t *testing.T, flags ...string) *demoRun {
	t.Helper()
	d := &demoRun{temp: t.TempDir(), lines: make(chan string, 100_000), started: time.Now()}
	d.cmd = exec.Command(binary(t), append([]string{"demo", "--listen", "127.0.0.1:0"}, flags...)...)
	d.cmd.Env = append(bareEnvironment(), "TMPDIR="+d.temp)
	d.cmd.Stderr = d
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(d.lines)
		reader := bufio.NewReader(stdout)
		for {
			line, err := reader.ReadString('\n')
			if line != "" {
				d.lines <- strings.TrimSuffix(line, "\n")
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { _ = d.cmd.Process.Kill(); <-done })
	return d
}

// next returns the next line that fits.
func (d *demoRun) next(t *testing.T, what string, fits func(string) bool) string {
	t.Helper()
	timeout := time.After(deadline)
	for {
		select {
		case line, ok := <-d.lines:
			if !ok {
				t.Fatalf("the demo ended before %s", what)
			}
			if fits(line) {
				return line
			}
		case <-timeout:
			t.Fatalf("the demo did not come to %s", what)
		}
	}
}

// interrupt ends the demo as Ctrl-C does; it must end well and leave nothing.
func (d *demoRun) interrupt(t *testing.T) {
	t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	timeout := time.AfterFunc(deadline, func() { _ = d.cmd.Process.Kill() })
	defer timeout.Stop()
	for range d.lines {
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("the demo did not end well: %v\n%s", err, d.errOut.String())
	}
	left, err := os.ReadDir(d.temp)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		t.Errorf("the demo left %s behind", entry.Name())
	}
}

// TestDemo: one command, and labels follow within seconds.
func TestDemo(t *testing.T) {
	t.Parallel()
	binary(t) // the clock starts when it is built
	d := runDemo(t, "--speed", "50", "--json", "--seed", "5")
	type event struct {
		Event, Dashboard, GitHub, Title string
		Bot                             bool
		Seed                            uint64
		DataDir                         string `json:"data_dir"`
	}
	var e event
	is := func(name string) func(string) bool {
		return func(line string) bool {
			e = event{}
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Errorf("not a line of JSON: %q", line)
			}
			return e.Event == name
		}
	}
	d.next(t, "its start", is("started"))
	if e.Seed != 5 || !strings.HasPrefix(e.Dashboard, "http://localhost:") || !strings.HasPrefix(e.GitHub, "http://127.0.0.1:") || !strings.HasPrefix(e.DataDir, d.temp) {
		t.Errorf("the demo says it started as %+v", e)
	}
	dashboard := e.Dashboard
	d.next(t, "the first issue", is("issues.opened"))
	d.next(t, "the first label", func(line string) bool { return is("issues.labeled")(line) && e.Bot })
	took := time.Since(d.started)
	t.Logf("the first label came after %s", took.Round(time.Millisecond))
	limit := 10 * time.Second
	if raceEnabled { // which makes everything several times slower
		limit *= 2
	}
	if took > limit {
		t.Errorf("the first label came after %s, want less than %s", took, limit)
	}
	response, err := http.Get(dashboard)
	if err != nil {
		t.Fatal(err)
	}
	page, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || response.StatusCode != http.StatusOK || !bytes.Contains(page, []byte("<html")) {
		t.Errorf("the dashboard answers %d: %.200s", response.StatusCode, page)
	}
	d.interrupt(t)
}

// TestDemoWithFaults: webhooks are delayed, dropped, doubled and reordered, and
// in the end every issue is classified all the same.
func TestDemoWithFaults(t *testing.T) {
	t.Parallel()
	d := runDemo(t, "--speed", "200", "--faults", "--seed", "11")
	dashboard, again, opened := "", "", 0
	d.next(t, "the end of the play", func(line string) bool {
		for _, r := range line {
			if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
				t.Errorf("%U is in the line %q", r, line)
			}
		}
		if _, address, ok := strings.Cut(line, "Dashboard "); ok {
			dashboard = strings.TrimSpace(address)
		}
		if strings.Contains(line, "could not deliver") {
			again = line
		}
		if strings.Contains(line, " opened “") {
			opened++
		}
		return strings.Contains(line, "Every issue of the demo has been opened")
	})
	if opened < 150 {
		t.Errorf("%d issues were opened, want 150 at least", opened)
	}
	var stats struct{ Issues, Classified int }
	eventually(t, "every issue that was opened is classified", func() bool {
		response, err := http.Get(dashboard + "/api/stats")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return json.NewDecoder(response.Body).Decode(&stats) == nil && stats.Classified == opened
	})
	t.Logf("%d issues; %s", opened, strings.TrimSpace(again))
	d.interrupt(t)
}
