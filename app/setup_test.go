package app_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/dispatchai/dispatchai/app/setup"
	"github.com/dispatchai/dispatchai/app/simulate"
)

// setupRun is a run of "dispatchai setup".
type setupRun struct {
	t      *testing.T
	cmd    *exec.Cmd
	news   chan setup.Progress // closed at the end
	stderr bytes.Buffer
}

// startSetup runs setup for the simulated GitHub; the webhook goes to the
// address at which the service is going to listen.
func (s *system) startSetup(t *testing.T, flags ...string) *setupRun {
	t.Helper()
	r := &setupRun{t: t, news: make(chan setup.Progress, 100)}
	r.cmd = exec.Command(s.binary, append([]string{"setup", "--json", "--github-url", s.github.URL(), "--data-dir", s.dataDir}, flags...)...)
	r.cmd.Env = append(bareEnvironment(), "DISPATCHAI_LISTEN="+s.addr)
	r.cmd.Stderr = &r.stderr
	stdout, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.news)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			var p setup.Progress
			if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
				p = setup.Progress{Event: "unreadable", Text: lines.Text()}
			}
			r.news <- p
		}
	}()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait() // it has ended, or is killed
	})
	return r
}

// await waits for a piece of news.
func (r *setupRun) await(event string) setup.Progress {
	r.t.Helper()
	timeout := time.After(deadline)
	for {
		select {
		case p, more := <-r.news:
			if !more {
				r.t.Fatalf("setup ended without %q: %s", event, r.stderr.String())
			}
			if p.Event == event {
				return p
			}
		case <-timeout:
			r.t.Fatalf("setup did not come to %q", event)
		}
	}
}

// end waits for the process and returns its exit code.
func (r *setupRun) end() int {
	r.t.Helper()
	timeout := time.After(deadline)
	for {
		select {
		case _, more := <-r.news:
			if more {
				continue
			}
			_ = r.cmd.Wait() // the exit code says it
			return r.cmd.ProcessState.ExitCode()
		case <-timeout:
			r.t.Fatal("setup did not end")
		}
	}
}

// freeAddress is an address on which nothing listens at the moment.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// picture keeps what the browser shows, where TEST_PICTURES names a directory.
func picture(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	dir := os.Getenv("TEST_PICTURES")
	if dir == "" {
		return
	}
	for _, width := range []int64{1600, 400} {
		if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 900)); err != nil {
			t.Fatal(err)
		}
		image, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name+map[int64]string{1600: "-wide", 400: "-narrow"}[width]+".png")
		if err := os.WriteFile(path, image, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSetup is the whole way of a maintainer: create the App in a browser, see a
// delivery arrive, install it, start the service, and have an issue labelled.
func TestSetup(t *testing.T) {
	t.Parallel()
	browser := openBrowser(t)
	s := newSystem(t, simulate.Options{Seed: 51})
	if err := s.github.CreateRepository(testContext(t), simulate.NewRepository{Owner: testOwner, Name: "widgets", Labels: testLabels()}); err != nil {
		t.Fatal(err)
	}
	s.addr, s.dataDir, s.registered = freeAddress(t), filepath.Join(t.TempDir(), "new", "data"), true
	run := s.startSetup(t, "--org", testOwner, "--webhook-url", "http://"+s.addr, "--strict")
	page := run.await("page")

	ctx, cancel := context.WithTimeout(browser, deadline)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(page.URL), chromedp.WaitVisible(`#create`)); err != nil {
		t.Fatalf("open the page: %v", err)
	}
	text, err := chromedp.Run(ctx, chromedp.Text(`main`))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"issues write", "metadata read", "organisation acme", "http://" + s.addr + "/webhook/github"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "contents read") || strings.Contains(text, "push") {
		t.Errorf("strict, the page still asks for contents:\n%s", text)
	}
	picture(ctx, t, "create")
	overflow, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > document.documentElement.clientWidth`))
	if err != nil || overflow {
		t.Errorf("the page is wider than its window: %v, %v", overflow, err)
	}
	if err := chromedp.Do(ctx, chromedp.Click(`#create`), chromedp.WaitVisible(`button[name="create"]`)); err != nil {
		t.Fatalf("GitHub's page did not open: %v", err)
	}
	if err := chromedp.Do(ctx, chromedp.Click(`button[name="create"]`), chromedp.WaitVisible(`main[data-step="done"] #install`)); err != nil {
		t.Fatalf("the App was not created: %v\n%s", err, run.stderr.String())
	}
	picture(ctx, t, "done")
	if text, err = chromedp.Run(ctx, chromedp.Text(`main`)); err != nil || !strings.Contains(text, "Single file") {
		t.Errorf("the page does not say how the single file is named: %v\n%s", err, text)
	}
	done := run.await("done")
	if code := run.end(); code != 0 {
		t.Fatalf("setup ended with %d: %s", code, run.stderr.String())
	}
	if want := s.github.URL() + "/apps/dispatchai/installations/new"; done.URL != want {
		t.Errorf("the App is installed at %s, want %s", done.URL, want)
	}
	if err := chromedp.Do(ctx, chromedp.Click(`#install`), chromedp.WaitVisible(`input[value="acme"] + button`), chromedp.Click(`input[value="acme"] + button`),
		chromedp.WaitNotPresent(`input[value="acme"]`)); err != nil {
		t.Fatalf("install the App: %v", err)
	}

	// What is kept is readable by its owner alone, and shows nowhere.
	for path, want := range map[string]os.FileMode{s.dataDir: 0o700 | os.ModeDir, filepath.Join(s.dataDir, setup.FileName): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, want %v (%v)", path, info.Mode(), want, err)
		}
	}
	app, err := setup.Load(s.dataDir)
	if err != nil {
		t.Fatal(err)
	}
	if app.AppID != s.github.AppID() || app.WebhookSecret != s.github.WebhookSecret() || app.Owner != testOwner || !app.StrictContents || app.VerifiedAt.IsZero() {
		t.Errorf("kept: %v of %s, strict %v, verified %v", app, app.Owner, app.StrictContents, app.VerifiedAt)
	}
	attempts := s.github.Attempts()
	if len(attempts) < 2 || attempts[0].Event != "ping" || !attempts[0].Failed() || attempts[1].GUID != attempts[0].GUID || attempts[1].Failed() {
		t.Errorf("the first ping did not arrive the second time: %+v", attempts)
	}

	// The service runs on it, with nothing in its environment but the token.
	if got := execute(t, append(bareEnvironment(), "DISPATCHAI_DATA_DIR="+s.dataDir), "doctor"); got.code != 0 {
		t.Errorf("doctor: %s%s", got.stdout, got.stderr)
	}
	s.start()
	number, err := s.github.OpenIssue(testContext(t), testRepo, bugReport(1))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(number, "kind/bug")

	// It moves to another address, at which the service answers already.
	moved := "http://" + strings.Replace(s.addr, "127.0.0.1", "localhost", 1) + "/webhook/github"
	move := s.startSetup(t, "--move", "--webhook-url", moved)
	move.await("done")
	if code := move.end(); code != 0 {
		t.Fatalf("setup --move ended with %d: %s", code, move.stderr.String())
	}
	if app, err = setup.Load(s.dataDir); err != nil || app.WebhookURL != moved {
		t.Errorf("kept after the move: %s, %v", app.WebhookURL, err)
	}
	if got := execute(t, append(bareEnvironment(), "DISPATCHAI_DATA_DIR="+s.dataDir), "doctor"); !strings.Contains(got.stdout, "delivers to localhost:") {
		t.Errorf("doctor: %s%s", got.stdout, got.stderr)
	}
	s.stop()

	// It is not done twice.
	again := s.startSetup(t, "--webhook-url", "http://"+s.addr)
	if code := again.end(); code != 1 || !strings.Contains(again.stderr.String(), "--force") || !strings.Contains(again.stderr.String(), "dispatchai") {
		t.Errorf("a second setup ended with %d: %s", code, again.stderr.String())
	}
	if after, err := setup.Load(s.dataDir); err != nil || after != app {
		t.Errorf("a second setup changed what is kept: %v, %v", after, err)
	}
}

// TestSetupTellsWhatIsWrong: the page and the terminal say why nothing arrives,
// and setup ends with status 1 when that lasts.
func TestSetupTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	browser := openBrowser(t)
	s := newSystem(t, simulate.Options{Seed: 53})
	s.addr = freeAddress(t)
	nobody := freeAddress(t)
	run := s.startSetup(t, "--webhook-url", "http://"+nobody, "--check-timeout", "20s", "--checks")
	page := run.await("page")
	ctx, cancel := context.WithTimeout(browser, deadline)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(page.URL), chromedp.Click(`#create`), chromedp.WaitVisible(`button[name="create"]`), chromedp.Click(`button[name="create"]`),
		chromedp.WaitVisible(`main[data-step="check"] [role="alert"]`)); err != nil {
		t.Fatalf("the page does not come to say what is wrong: %v\n%s", err, run.stderr.String())
	}
	picture(ctx, t, "trouble")
	text, err := chromedp.Run(ctx, chromedp.Text(`main [role="alert"]`))
	if want := "GitHub cannot reach " + nobody; err != nil || !strings.Contains(text, want) || !strings.Contains(run.await("trouble").Text, want) {
		t.Errorf("the page says %q, %v", text, err)
	}
	if code := run.end(); code != 1 || !strings.Contains(run.stderr.String(), "no delivery from GitHub arrived within 20s") {
		t.Errorf("setup ended with %d: %s", code, run.stderr.String())
	}
	if err := chromedp.Do(ctx, chromedp.WaitVisible(`#ended`)); err != nil {
		t.Errorf("the page does not say that setup has ended: %v", err)
	}
}

// TestServeThroughARelay: a machine without a public address gets its deliveries
// from a channel of the relay command, the bytes as GitHub signed them.
func TestServeThroughARelay(t *testing.T) {
	t.Parallel()
	s := newSystem(t, simulate.Options{Seed: 52})
	s.installTestRepository()
	cmd := exec.Command(s.binary, "relay", "--json", "--listen", "127.0.0.1:0")
	cmd.Env, cmd.Stderr = bareEnvironment(), os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.kill()
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the relay did not stop well: %v", err)
		}
	})
	var listening struct{ Event, Addr, Channel string }
	if err := json.NewDecoder(stdout).Decode(&listening); err != nil || listening.Event != "listening" {
		t.Fatalf("the relay says %+v, %v", listening, err)
	}
	s.args = []string{"--relay", listening.Channel}
	s.start()
	if err := s.github.SetWebhookURL(listening.Channel); err != nil {
		t.Fatal(err)
	}
	// Whether the service has reached the relay already shows in the log alone.
	eventually(t, "the service listens to the relay", func() bool { return strings.Contains(s.process.output(), "listening to the webhook relay") })
	if strings.Contains(s.process.output(), listening.Channel) {
		t.Error("the channel, which is a secret, is in the log")
	}
	number, err := s.github.OpenIssue(testContext(t), testRepo, bugReport(1))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(number, "kind/bug")
	s.stop()
	before := s.github.Deliveries()
	if _, err := s.github.OpenIssue(testContext(t), testRepo, bugReport(2)); err != nil {
		t.Fatal(err)
	}
	if err := s.github.WaitIdle(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if after := s.github.Deliveries(); after.Failed == before.Failed {
		t.Error("GitHub was told that a delivery arrived which nobody took")
	}
}
