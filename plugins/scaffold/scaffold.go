// Package scaffold writes the project that a classifier plugin begins as: one that
// works, with its test, its manifest, and what to do next.
package scaffold

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/template"

	"github.com/dispatchai/dispatchai/plugins/python"
)

//go:embed go python
var templates embed.FS

// Language is what a plugin is written in.
type Language string

// The languages in which a project can be written.
const (
	Go     Language = "go"
	Python Language = "python"
)

// Languages lists them.
func Languages() []Language { return []Language{Go, Python} }

// Project is what to write.
type Project struct {
	// Name is the plugin's: lower-case letters, digits and dashes, which the caller
	// has checked.
	Name string
	// Language is Go unless set.
	Language Language
	// Dir is where it goes: a directory that does not exist, or is empty.
	Dir string
	// Version is that of this module which the project builds on, and SDKDir, where
	// it is set, a checkout that stands in for it. A project in Python brings all of its own.
	Version string
	SDKDir  string
	// Platform is the one that the manifest names, and Go the version of Go that is
	// asked for; both are this program's unless set.
	Platform  string
	GoVersion string
}

// Class is the name of the classifier in Python's code.
func (p Project) Class() string {
	name := p.Type()
	return strings.ToUpper(name[:1]) + name[1:]
}

// Type is the name of the classifier in Go's code.
func (p Project) Type() string {
	words := strings.Split(p.Name, "-")
	for i, w := range words {
		if i > 0 && w != "" {
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	name := strings.Join(words, "")
	if name == "" || name[0] <= '9' || slices.Contains(taken, name) {
		name = "plugin" + name
	}
	return name
}

// taken are names that mean something else in the code.
var taken = []string{
	"break", "case", "chan", "const", "continue", "default", "defer", "else", "fallthrough", "for", "func", "go", "goto", "if", "import",
	"interface", "map", "package", "range", "return", "select", "struct", "switch", "type", "var",
	"context", "log", "strings", "sdk", "main", "string", "error", "nil", "testing", "sdktest", "true", "false",
}

// Write writes the project, all of it or nothing, and gives the names of its files.
func Write(p Project) (files []string, err error) {
	if p.Platform == "" {
		p.Platform = runtime.GOOS + "/" + runtime.GOARCH
	}
	if p.GoVersion == "" {
		p.GoVersion = strings.TrimPrefix(strings.Fields(runtime.Version())[0], "go")
	}
	if p.Language == "" {
		p.Language = Go
	}
	content, err := render(p)
	if err != nil {
		return nil, err
	}
	switch entries, err := os.ReadDir(p.Dir); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("write the project: %w", err)
	case len(entries) > 0:
		return nil, fmt.Errorf("there is something in %s already; name another directory with --dir", p.Dir)
	}
	parent := filepath.Dir(filepath.Clean(p.Dir))
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, fmt.Errorf("write the project: %w", err)
	}
	aside, err := os.MkdirTemp(parent, ".plugin-new-")
	if err != nil {
		return nil, fmt.Errorf("write the project: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(aside)) }()
	if err := os.Chmod(aside, 0o755); err != nil {
		return nil, err
	}
	for name, text := range content {
		mode := fs.FileMode(0o644)
		if bytes.HasPrefix(text, []byte("#!")) {
			mode = 0o755
		}
		if err := os.WriteFile(filepath.Join(aside, name), text, mode); err != nil {
			return nil, fmt.Errorf("write the project: %w", err)
		}
		files = append(files, name)
	}
	// An empty directory gives way.
	if err := os.Remove(p.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("write the project: %w", err)
	}
	if err := os.Rename(aside, p.Dir); err != nil {
		return nil, fmt.Errorf("write the project: %w", err)
	}
	slices.Sort(files)
	return files, nil
}

func render(p Project) (map[string][]byte, error) {
	parsed, err := template.ParseFS(templates, string(p.Language)+"/*.tmpl")
	if err != nil {
		return nil, err
	}
	content := make(map[string][]byte)
	if p.Language == Python {
		for _, name := range []string{"dispatchai.py", "classifier.binpb"} {
			if content[name], err = python.Files.ReadFile(name); err != nil {
				return nil, err
			}
		}
	}
	for _, t := range parsed.Templates() {
		name := strings.TrimSuffix(t.Name(), ".tmpl")
		switch name {
		case "gitignore":
			name = ".gitignore"
		case "launcher":
			name = p.Name
		}
		var b bytes.Buffer
		if err := t.Execute(&b, p); err != nil {
			return nil, err
		}
		content[name] = append(bytes.TrimSpace(b.Bytes()), '\n')
	}
	return content, nil
}
