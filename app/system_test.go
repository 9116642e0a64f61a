package app_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/app/simulate"
	"github.com/dispatchai/dispatchai/core/confine"
	"github.com/dispatchai/dispatchai/core/github/githubtest"
)

// deadline bounds whatever a test waits for; it is generous because the
// machines that run the tests are small and busy.
const deadline = 150 * time.Second

// binaries are built once per test run.
var binaries = struct {
	plain, failpoints func() (string, error)
}{
	plain:      sync.OnceValues(func() (string, error) { return build("plain") }),
	failpoints: sync.OnceValues(func() (string, error) { return build("failpoints", "-tags", "failpoints") }),
}

var buildDir string

func TestMain(m *testing.M) {
	confine.Enter()
	dir, err := os.MkdirTemp("", "dispatchai-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	buildDir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	if code == 0 && everythingRan() {
		if err := requestsAreDocumented(); err != nil {
			fmt.Fprintln(os.Stderr, "FAIL:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// everythingRan tells whether no test was left out.
func everythingRan() bool {
	for _, name := range []string{"test.run", "test.skip", "test.list", "test.fuzz"} {
		if flag.Lookup(name).Value.String() != "" {
			return false
		}
	}
	return !testing.Short()
}

// requestsAreDocumented compares the requests that GitHub had from the service
// in all tests with those that docs/permissions.md names.
func requestsAreDocumented() error {
	made := githubtest.Requests()
	if len(made) == 0 && os.Getenv("CI") != "true" {
		return nil // nothing was watched, as every test said
	}
	const page = "../docs/permissions.md"
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	var faults []string
	named := make(map[string]bool)
	for _, found := range regexp.MustCompile("`((?:GET|POST|PATCH|PUT|DELETE) /[^`]*)`").FindAllStringSubmatch(string(text), -1) {
		named[found[1]] = true
		if !slices.Contains(made, found[1]) {
			faults = append(faults, found[1]+" is named, but no test has seen it")
		}
	}
	for _, request := range made {
		if !named[request] {
			faults = append(faults, request+" is made, but not named")
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("%s: requests of the service:\n\t%s", page, strings.Join(faults, "\n\t"))
}

func build(name string, flags ...string) (string, error) {
	path := filepath.Join(buildDir, "dispatchai-"+name)
	args := append([]string{"build", "-o", path}, flags...)
	if raceEnabled {
		args = append(args, "-race", "-gcflags=modernc.org/...=-d=checkptr=0") // as the Makefile says
	}
	out, err := exec.Command("go", append(args, "./dispatchai")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the binary: %w\n%s", err, out)
	}
	return path, nil
}

func binary(t testing.TB) string {
	t.Helper()
	path, err := binaries.plain()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// system is the real binary with a simulated GitHub.
type system struct {
	t       testing.TB
	github  *simulate.GitHub
	binary  string
	dataDir string
	env     []string
	args    []string
	token   string
	// registered leaves the App to what setup has put into the data directory.
	registered bool

	process *process
	addr    string
}

// process is one run of the binary.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
	err    error

	mu  sync.Mutex
	log bytes.Buffer
}

// Write takes what the process prints; only its log is expected, on stderr.
func (p *process) Write(printed []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(printed)
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

const (
	testOwner = "acme"
	testRepo  = "acme/widgets"
)

func testLabels() []simulate.Label {
	var labels []simulate.Label
	for _, name := range []string{"kind/bug", "kind/feature", "kind/question", "kind/documentation", "priority/high", "priority/low", "area/parser", "area/cli", "regression", "wontfix"} {
		labels = append(labels, simulate.Label{Name: name, Color: "ededed", Description: "about " + name})
	}
	return labels
}

// newSystem makes a simulated GitHub with one repository on which the App is
// installed; start starts the service. The test fails for every request of the
// service that is not as GitHub describes its API.
func newSystem(t testing.TB, o simulate.Options) *system {
	t.Helper()
	s := &system{t: t, binary: binary(t), dataDir: t.TempDir(), token: "test-token"}
	if o.WebhookSecret == "" {
		o.WebhookSecret = "it's a secret to everybody"
	}
	if _, measured := t.(*testing.B); !measured {
		watch, also := githubtest.Watch(t, githubtest.Everything), o.OnRequest
		o.OnRequest = func(e simulate.Exchange) {
			watch(githubtest.Exchange(e))
			if also != nil {
				also(e)
			}
		}
	}
	github, err := simulate.New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.github = github
	// It lives as long as the test, however long parallel subtests wait their turn.
	if err := github.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.kill()
		if err := github.Close(); err != nil {
			t.Errorf("close the simulated GitHub: %v", err)
		}
	})
	return s
}

// installTestRepository adds the repository of most tests.
func (s *system) installTestRepository() {
	s.t.Helper()
	ctx := testContext(s.t)
	if err := s.github.CreateRepository(ctx, simulate.NewRepository{Owner: testOwner, Name: "widgets", Labels: testLabels(), Roles: map[string]simulate.Role{"maia": simulate.RoleMaintain}}); err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.github.Install(ctx, testOwner, simulate.InstallOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	t.Cleanup(cancel)
	return ctx
}

// start runs the service and waits until it says that it is ready.
func (s *system) start() {
	s.t.Helper()
	listen := s.addr
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	cmd := exec.Command(s.binary, append([]string{"serve", "--listen", listen, "--data-dir", s.dataDir}, s.args...)...)
	cmd.Env = append(s.environment(), s.env...)
	p := &process{cmd: cmd, exited: make(chan struct{})}
	cmd.Stdout = p
	stderr, err := cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ready := make(chan string, 1)
	go func() {
		scanner := bufio.NewScanner(stderr)
		scanner.Buffer(make([]byte, 64<<10), 4<<20)
		for scanner.Scan() {
			line := scanner.Bytes()
			p.mu.Lock()
			p.log.Write(line)
			p.log.WriteByte('\n')
			p.mu.Unlock()
			var entry struct{ Msg, Addr string }
			if json.Unmarshal(line, &entry) == nil && entry.Msg == "ready" {
				ready <- entry.Addr
			}
		}
		p.err = cmd.Wait()
		close(p.exited)
	}()
	s.process = p
	select {
	case s.addr = <-ready:
	case <-p.exited:
		s.t.Fatalf("the service ended while starting: %v\n%s", p.err, p.output())
	case <-time.After(deadline):
		s.t.Fatalf("the service did not become ready\n%s", p.output())
	}
	if err := s.github.SetWebhookURL("http://" + s.addr + "/webhook/github"); err != nil {
		s.t.Fatal(err)
	}
}

// environment is the configuration of a service for the simulated GitHub.
func (s *system) environment() []string {
	env := append(bareEnvironment(), "DISPATCHAI_API_TOKEN="+s.token, "DISPATCHAI_DATA_DIR="+s.dataDir)
	if s.registered {
		return env
	}
	return append(env,
		"GITHUB_WEBHOOK_SECRET="+s.github.WebhookSecret(),
		fmt.Sprintf("GITHUB_APP_ID=%d", s.github.AppID()),
		"GITHUB_PRIVATE_KEY="+string(s.github.PrivateKeyPEM()),
		"GITHUB_API_URL="+s.github.URL(),
	)
}

// bareEnvironment is that of a machine on which nothing is configured.
func bareEnvironment() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.TempDir(), "GOCOVERDIR=" + os.Getenv("GOCOVERDIR"),
	}
}

// outcome is what a command that has ended left behind.
type outcome struct {
	stdout, stderr string
	code           int
}

// execute runs a command of the binary to its end. Of variables that stand
// twice in the environment the last one counts.
func execute(t testing.TB, env []string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(t), args...)
	cmd.Env, cmd.Dir = env, t.TempDir()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || ctx.Err() != nil) {
		t.Fatalf("dispatchai %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// kill ends the service as kill -9 does and waits until it is gone.
func (s *system) kill() {
	if s.process == nil {
		return
	}
	_ = s.process.cmd.Process.Kill()
	<-s.process.exited
	s.process = nil
}

// stop ends the service in order and fails the test when it does not end well.
func (s *system) stop() {
	s.t.Helper()
	p := s.process
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(deadline):
		s.t.Fatalf("the service did not stop\n%s", p.output())
	}
	if p.err != nil {
		s.t.Errorf("the service did not stop well: %v\n%s", p.err, p.output())
	}
	s.process = nil
}

// run runs another command of the binary on the same data directory.
func (s *system) run(args ...string) (string, error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.binary, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "DISPATCHAI_DATA_DIR=" + s.dataDir}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, stderr.String())
	}
	return string(out), err
}

// dump shows the service's log when a test fails.
func (s *system) dump() {
	if s.t.Failed() && s.process != nil {
		s.t.Logf("log of the service:\n%s", s.process.output())
	}
}

// call asks the API and decodes the answer into "into" unless that is nil.
func (s *system) call(method, path string, body, into any) int {
	s.t.Helper()
	var reader io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			s.t.Fatal(err)
		}
		reader = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(testContext(s.t), method, "http://"+s.addr+path, reader)
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(content, into); err != nil {
			s.t.Fatalf("%s %s: %v in %s", method, path, err, content)
		}
	}
	return response.StatusCode
}

// apiIssue is what the tests look at of an issue.
type apiIssue struct {
	ID             int64
	Number         int
	Title          string
	Status         string
	Labels         []string
	Classification *struct {
		Fields map[string]struct {
			Values     []string
			Confidence float64
			Source     string
			Reason     string
			Plugin     string
			Version    string
			Actor      string
		}
	}
	Corrections []struct {
		Field, Actor, Reason, Source string
		Old, New                     []string
	}
	Ledger      []apiLedgerEntry
	Suggestions []struct {
		Name, Field, Value, State, Reason string
		Confidence                        float64
	}
}

type apiLedgerEntry struct {
	Name, State, Plugin, Version string
	EventID                      string `json:"event_id"`
	Confidence                   float64
}

func (i apiIssue) value(field string) string {
	if i.Classification == nil || len(i.Classification.Fields[field].Values) == 0 {
		return ""
	}
	return i.Classification.Fields[field].Values[0]
}

// issue reads an issue by its number through the API, or false.
func (s *system) issue(number int) (apiIssue, bool) {
	s.t.Helper()
	var list struct{ Issues []apiIssue }
	if status := s.call("GET", "/api/issues?limit=200&repository="+testRepo, nil, &list); status != http.StatusOK {
		return apiIssue{}, false
	}
	for _, i := range list.Issues {
		if i.Number == number {
			var detail apiIssue
			s.call("GET", fmt.Sprintf("/api/issues/%d", i.ID), nil, &detail)
			return detail, true
		}
	}
	return apiIssue{}, false
}

// eventually polls until the condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	ctx := testContext(t)
	ticker := time.NewTicker(25 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("it did not come to this within %s: %s", deadline, what)
		case <-ticker.C:
		}
	}
}

// waitLabel waits until the issue on the simulated GitHub carries the label.
func (s *system) waitLabel(number int, label string) simulate.Issue {
	s.t.Helper()
	issue, err := s.github.WaitFor(testContext(s.t), testRepo, number, func(i simulate.Issue) bool { return hasLabel(i, label) })
	if err != nil {
		s.dump()
		s.t.Fatalf("issue %d never got the label %s (it has %v): %v", number, label, issue.Labels, err)
	}
	return issue
}

func hasLabel(i simulate.Issue, label string) bool {
	for _, l := range i.Labels {
		if strings.EqualFold(l, label) {
			return true
		}
	}
	return false
}

// bugReport is an issue that any classifier takes for a bug.
func bugReport(n int) simulate.NewIssue {
	return simulate.NewIssue{
		Author: fmt.Sprintf("reporter-%d", n%7),
		Title:  fmt.Sprintf("[BUG] parser crashes on input %d", n),
		Body: fmt.Sprintf("### Steps to reproduce\n\n1. run `widgets parse file-%d.txt`\n\n### Expected behavior\n\nIt parses.\n\n### Actual behavior\n\nIt crashes:\n\n```\n"+
			"panic: runtime error: index out of range [%d] with length 3\n\ngoroutine 1 [running]:\nmain.parse(...)\n\t/src/widgets/parser.go:%d\n```\n\nVersion: 1.2.%d\n", n, n+3, n, n),
	}
}

// featureRequest is an issue that any classifier takes for a feature request.
func featureRequest(n int) simulate.NewIssue {
	return simulate.NewIssue{
		Author: fmt.Sprintf("dreamer-%d", n%5),
		Title:  fmt.Sprintf("Feature request: support format %d", n),
		Body:   "### Is your feature request related to a problem?\n\nI have to convert my files by hand.\n\n### Describe the solution you'd like\n\nIt would be great if the tool could read that format directly. I would like to see an option for it.\n\n### Describe alternatives you've considered\n\nNone.",
	}
}

// post sends a request and forgets the answer.
func post(ctx context.Context, url, token, body string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}
