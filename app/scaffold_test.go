package app_test

import (
	"bufio"
	"cmp"
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
	t.Run("go", func(t *testing.T) {
		project := newPlugin(t, "--sdk-dir", checkout)
		follow(t, project, nil, "go mod tidy", "go test ./...", "go build")
		asItsReadmeSays(t, project)
	})
	t.Run("python", func(t *testing.T) {
		python := systemPython(t)
		project := newPlugin(t, "--lang", "python")
		follow(t, project, map[string]string{"python3": python}, "python3 -m venv .venv", ".venv/bin/pip install -r requirements.txt", ".venv/bin/python -m unittest")
		asItsReadmeSays(t, project)
	})
}

// systemPython is a Python that every user may run, as plugins are run.
func systemPython(t *testing.T) string {
	t.Helper()
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import venv, ensurepip").Run(); err == nil {
		return python
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("no Python with venv is installed; .ci/setup installs it on Debian and Ubuntu")
	}
	t.Skip("SKIPPED: no Python with venv is installed; .ci/setup installs it on Debian and Ubuntu")
	return ""
}

// newPlugin writes the plugin crashes where its user can enter.
func newPlugin(t *testing.T, flags ...string) (project string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "dispatchai-plugin-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	project = filepath.Join(dir, "crashes")
	got := execute(t, bareEnvironment(), append([]string{"plugin", "new", "crashes", "--dir", project}, flags...)...)
	if got.code != 0 || !strings.Contains(got.stdout, "dispatchai demo --plugin crashes=./crashes") {
		t.Fatalf("%+v", got)
	}
	return project
}

// follow runs the commands in the project, which its README must have. A command's
// first word may stand for another.
func follow(t *testing.T, project string, instead map[string]string, commands ...string) {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(project, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range commands {
		if !strings.Contains(string(readme), "    "+command+"\n") {
			t.Fatalf("the README does not say %q", command)
		}
		words := strings.Fields(command)
		cmd := exec.CommandContext(testContext(t), cmp.Or(instead[words[0]], words[0]), words[1:]...)
		cmd.Dir, cmd.Env = project, append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
}

// asItsReadmeSays tests and seals the plugin, and has it label an issue.
func asItsReadmeSays(t *testing.T, project string) {
	t.Helper()
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
