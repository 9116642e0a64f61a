package app_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestPluginOfOnesOwn does what the README tells an author: write a plugin with
// `plugin new`, test and build it as its own README says, and watch it label an issue
// in the demo by one command.
func TestPluginOfOnesOwn(t *testing.T) {
	t.Parallel()
	checkout, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	// The plugin's user must be able to enter it.
	dir, err := os.MkdirTemp("", "dispatchai-plugin-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	project := filepath.Join(dir, "crashes")
	if got := execute(t, bareEnvironment(), "plugin", "new", "crashes", "--dir", project, "--sdk-dir", checkout); got.code != 0 || !strings.Contains(got.stdout, "dispatchai demo --plugin crashes=./crashes") {
		t.Fatalf("%+v", got)
	}
	readme, err := os.ReadFile(filepath.Join(project, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"go mod tidy", "go test ./...", "go build"} {
		if !strings.Contains(string(readme), "    "+command+"\n") {
			t.Fatalf("the README does not say %q", command)
		}
		words := strings.Fields(command)
		cmd := exec.CommandContext(testContext(t), words[0], words[1:]...)
		cmd.Dir, cmd.Env = project, append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	if got := execute(t, bareEnvironment(), "plugin", "test", filepath.Join(project, "crashes")); got.code != 0 {
		t.Errorf("plugin test: %+v", got)
	}
	if got := execute(t, bareEnvironment(), "plugin", "seal", project); got.code != 0 {
		t.Errorf("plugin seal: %+v", got)
	}
	if got := execute(t, bareEnvironment(), "plugin", "info", project); got.code != 0 || !strings.Contains(got.stdout, "Takes an issue that quotes a panic") {
		t.Errorf("plugin info: %+v", got)
	}
	labelsInTheDemo(t, "crashes", project)
}

// labelsInTheDemo runs the demo with a plugin and waits for an issue whose category
// the plugin gave, and for its label on GitHub.
func labelsInTheDemo(t *testing.T, name, path string) {
	t.Helper()
	ctx, stop := context.WithCancel(testContext(t))
	defer stop()
	cmd := exec.CommandContext(ctx, binary(t), "demo", "--plugin", name+"="+path, "--listen", "127.0.0.1:0", "--json", "--speed", "50", "--seed", "7")
	cmd.Env, cmd.Dir, cmd.Stderr = bareEnvironment(), t.TempDir(), os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		stop()
		if err := cmd.Wait(); err != nil && ctx.Err() == nil {
			t.Errorf("the demo ended with %v", err)
		}
	}()
	lines := make(chan map[string]any, 1000)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(stdout)
		for scanner.Scan() {
			var line map[string]any
			if json.Unmarshal(scanner.Bytes(), &line) == nil {
				lines <- line
			}
		}
	}()
	started := <-lines
	dashboard, _ := started["dashboard"].(string)
	labelled := make(map[float64]bool) // by number, those that the bot labelled
	go func() {
		for range lines { // the demo must not wait for us
		}
	}()
	eventually(t, "an issue has its category from the plugin, and its label", func() bool {
		var list struct {
			Issues []struct {
				Number         float64  `json:"number"`
				Labels         []string `json:"labels"`
				Classification struct {
					Fields map[string]struct {
						Plugin string   `json:"plugin"`
						Values []string `json:"values"`
					} `json:"fields"`
				} `json:"classification"`
			} `json:"issues"`
		}
		response, err := http.Get(dashboard + "/api/issues?limit=100")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		if json.NewDecoder(response.Body).Decode(&list) != nil {
			return false
		}
		for _, i := range list.Issues {
			if i.Classification.Fields["category"].Plugin == name && len(i.Labels) > 0 {
				labelled[i.Number] = true
			}
		}
		return len(labelled) > 0
	})
}
