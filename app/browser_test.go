package app_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// chromium finds a browser, or skips the test where that is allowed.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("no Chromium is installed; .ci/setup installs it on Debian and Ubuntu")
	}
	t.Skip("SKIPPED: no Chromium is installed; .ci/setup installs it on Debian and Ubuntu")
	return ""
}

// openBrowser starts a headless browser with a profile of its own.
func openBrowser(t *testing.T) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium(t)),
		chromedp.NoSandbox, // tests may run as root, where Chromium's sandbox refuses to start
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-background-networking", true),
		chromedp.WindowSize(1600, 1000),
	)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	allocator, cancelAllocator := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancelAllocator)
	browser, cancelBrowser := chromedp.NewContext(allocator)
	t.Cleanup(cancelBrowser)
	if err := chromedp.Do(browser, chromedp.EmulateViewport(1600, 1000)); err != nil {
		t.Fatalf("start the browser: %v", err)
	}
	return browser
}

// startDemo runs "dispatchai demo" and returns the dashboard's address.
func startDemo(t *testing.T, flags ...string) string {
	t.Helper()
	cmd := exec.Command(binary(t), append([]string{"demo", "--listen", "127.0.0.1:0", "--json", "--data-dir", filepath.Join(t.TempDir(), "demo")}, flags...)...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	address := make(chan string, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines.Scan() {
			var started struct{ Event, Dashboard string }
			if json.Unmarshal(lines.Bytes(), &started) == nil && started.Event == "started" {
				address <- started.Dashboard
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		<-done
		if err := cmd.Wait(); err != nil {
			t.Errorf("the demo did not stop well: %v", err)
		}
	})
	select {
	case a := <-address:
		return a
	case <-done:
		t.Fatal("the demo ended at once")
	case <-time.After(deadline):
		t.Fatal("the demo did not start")
	}
	return ""
}

// TestDashboard opens the demo's dashboard in a real browser, sees an issue
// arrive live, corrects it, and sees the correction in another window.
func TestDashboard(t *testing.T) {
	t.Parallel()
	browser := openBrowser(t)
	address := startDemo(t, "--speed", "2", "--seed", "7")

	first, cancelFirst := context.WithTimeout(browser, deadline)
	defer cancelFirst()
	const rows = `document.querySelectorAll('[data-testid="issue-row"]').length`
	const live = `[data-testid="connection"][data-state="live"]`
	err := chromedp.Do(first,
		chromedp.Navigate(address),
		chromedp.WaitVisible(live),
		chromedp.WaitVisible(`[data-testid="issue-row"]:not([data-status="received"])`),
	)
	if err != nil {
		t.Fatalf("open the dashboard: %v", err)
	}
	before, err := chromedp.Run(first, chromedp.Evaluate[int](rows))
	if err != nil {
		t.Fatal(err)
	}
	// An issue arrives while the page is open.
	if _, err := chromedp.Run(first, chromedp.Poll[bool](fmt.Sprintf("%s > %d", rows, before), chromedp.WithPollingTimeout(deadline))); err != nil {
		t.Fatalf("no issue arrived live: %v", err)
	}
	issueID, err := chromedp.Run(first, chromedp.Poll[string](`document.querySelector('[data-testid="issue-row"][data-status="classified"]')?.dataset.issueId`, chromedp.WithPollingTimeout(deadline)))
	if err != nil {
		t.Fatalf("no classified issue to correct: %v", err)
	}

	page := address + "/issues/" + issueID
	field := `[data-testid="field-category"]`
	if err := chromedp.Do(first, chromedp.Navigate(page), chromedp.WaitVisible(`[data-testid="correct-category"]`)); err != nil {
		t.Fatalf("open the issue: %v", err)
	}
	category, err := chromedp.Run(first, chromedp.Evaluate[string](`document.querySelector('[data-testid="field-category"]').dataset.value`))
	if err != nil {
		t.Fatal(err)
	}
	tab, cancelTab := chromedp.NewContext(browser)
	defer cancelTab()
	if err := chromedp.Do(tab, chromedp.Navigate(page), chromedp.WaitVisible(field), chromedp.WaitVisible(live)); err != nil {
		t.Fatalf("open the issue in another window: %v", err)
	}
	second, cancelSecond := context.WithTimeout(tab, deadline)
	defer cancelSecond()
	want := "question"
	if category == want {
		want = "documentation"
	}
	err = chromedp.Do(first,
		chromedp.Click(`[data-testid="correct-category"]`),
		chromedp.WaitVisible(`[role="option"]`),
		chromedp.Evaluate[chromedp.Void](`[...document.querySelectorAll('[role="option"]')].find(o => o.textContent.trim().startsWith(`+quote(want)+`)).click()`),
		chromedp.Click(`[data-testid="correction-save"]`),
		chromedp.WaitVisible(field+`[data-value="`+want+`"]`),
	)
	if err != nil {
		t.Fatalf("correct the category from %q to %q: %v", category, want, err)
	}
	if err := chromedp.Do(second, chromedp.WaitVisible(field+`[data-value="`+want+`"]`)); err != nil {
		t.Fatalf("the other window did not show the correction: %v", err)
	}
}

func quote(s string) string {
	encoded, _ := json.Marshal(s)
	return string(encoded)
}
