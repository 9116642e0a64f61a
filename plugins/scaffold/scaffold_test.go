package scaffold

import (
	"go/format"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "my-plugin")
	files, err := Write(Project{Name: "my-plugin", Dir: dir, Version: "v1.2.3", SDKDir: "/src/dispatchai"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(files, []string{".gitignore", "README.md", "go.mod", "main.go", "main_test.go", "plugin.json"}) {
		t.Errorf("it wrote %q", files)
	}
	for _, name := range files {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || strings.Contains(string(text), "{{.") || strings.Contains(string(text), "<no value>") {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
		if filepath.Ext(name) == ".go" {
			if formatted, err := format.Source(text); err != nil || string(formatted) != string(text) {
				t.Errorf("%s is not formatted: %v\n%s", name, err, text)
			}
		}
	}
	mod, _ := os.ReadFile(filepath.Join(dir, "go.mod"))
	if !strings.Contains(string(mod), "dispatchai v1.2.3\n\nreplace github.com/dispatchai/dispatchai => /src/dispatchai") {
		t.Errorf("%s", mod)
	}
	if _, err := Write(Project{Name: "my-plugin", Dir: dir, Version: "v1.2.3"}); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("written over: %v", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(dir)); len(left) != 1 {
		t.Errorf("it left %v behind", left)
	}
	empty := t.TempDir()
	if _, err := Write(Project{Name: "x", Dir: empty, Version: "v1.2.3"}); err != nil {
		t.Errorf("into an empty directory: %v", err)
	}
}

func TestWritePython(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "my-plugin")
	files, err := Write(Project{Name: "my-plugin", Language: Python, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(files, []string{".gitignore", "README.md", "classifier.binpb", "dispatchai.py", "main.py", "my-plugin", "plugin.json", "requirements.txt", "test_main.py"}) {
		t.Errorf("it wrote %q", files)
	}
	if info, err := os.Stat(filepath.Join(dir, "my-plugin")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the launcher: %v, %v", info.Mode(), err)
	}
	main, _ := os.ReadFile(filepath.Join(dir, "main.py"))
	if !strings.Contains(string(main), "class MyPlugin:") {
		t.Errorf("%s", main)
	}
	// The SDK's own words show the same plugin.
	sdk, _ := os.ReadFile(filepath.Join(dir, "dispatchai.py"))
	_, example, _ := strings.Cut(string(main), "    def classify")
	for line := range strings.Lines(example) {
		if line = strings.TrimSpace(strings.ReplaceAll(line, "MyPlugin", "Crashes")); !strings.Contains(string(sdk), line) {
			t.Errorf("the tutorial lacks %s", line)
		}
	}
}

func TestType(t *testing.T) {
	for name, want := range map[string]string{"crashes": "crashes", "my-own-plugin": "myOwnPlugin", "9lives": "plugin9lives", "range": "pluginrange", "a-": "a", "sdk": "pluginsdk"} {
		if got := (Project{Name: name}).Type(); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// What is written is what the tutorial of the SDK says.
func TestTutorial(t *testing.T) {
	doc, err := os.ReadFile("../sdk/doc.go")
	if err != nil {
		t.Fatal(err)
	}
	content, err := render(Project{Name: "crashes", Language: Go, Version: "v0.0.0", GoVersion: "1.26"})
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(content["main.go"]), "package main")
	code = "package main" + code
	var indented strings.Builder
	lines := 0
	for line := range strings.Lines(code) {
		if strings.TrimSpace(line) == "" {
			indented.WriteString("//\n")
			continue
		}
		indented.WriteString("//\t" + line)
		lines++
	}
	if !strings.Contains(string(doc), indented.String()) {
		t.Errorf("the tutorial lacks\n%s", indented.String())
	}
	_, body, _ := strings.Cut(code, "\ntype ")
	if n := strings.Count(strings.ReplaceAll(body, "\n\n", "\n"), "\n"); n > 20 {
		t.Errorf("the twenty lines are %d", n)
	}
}
