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
)

//go:embed golang
var golang embed.FS

// Project is what to write.
type Project struct {
	// Name is the plugin's: lower-case letters, digits and dashes, which the caller
	// has checked.
	Name string
	// Dir is where it goes: a directory that does not exist, or is empty.
	Dir string
	// Version is that of this module which the project builds on, and SDKDir, where
	// it is set, a checkout that stands in for it.
	Version string
	SDKDir  string
	// Platform is the one that the manifest names, and Go the version of Go that is
	// asked for; both are this program's unless set.
	Platform string
	Go       string
}

// Type is the name of the classifier in the code.
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
	if p.Go == "" {
		p.Go = strings.TrimPrefix(strings.Fields(runtime.Version())[0], "go")
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
		if err := os.WriteFile(filepath.Join(aside, name), text, 0o644); err != nil {
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
	templates, err := template.ParseFS(golang, "golang/*.tmpl")
	if err != nil {
		return nil, err
	}
	content := make(map[string][]byte)
	for _, t := range templates.Templates() {
		name := strings.TrimSuffix(t.Name(), ".tmpl")
		if name == "gitignore" {
			name = ".gitignore"
		}
		var b bytes.Buffer
		if err := t.Execute(&b, p); err != nil {
			return nil, err
		}
		content[name] = append(bytes.TrimSpace(b.Bytes()), '\n')
	}
	return content, nil
}
