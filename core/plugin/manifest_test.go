package plugin

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/confine"
	"github.com/dispatchai/dispatchai/core/triage"
)

// manifestOf writes a manifest for a copy of the test binary, changed by edits
// (old, new, old, new ...), and gives its directory.
func manifestOf(t *testing.T, edits ...string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self(t))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "subject"), b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	text := `{
		"name": "subject", "version": "1.2.3", "fields": ["category", "tags", "summary"], "capabilities": ["embed", "learn"],
		"executables": {"any": {"path": "subject", "args": ["` + asPlugin + `", "sdk"], "sha256": "` + strings.Repeat("0", 64) + `"}},
		"settings": {"type": "object", "additionalProperties": false, "properties": {
			"greeting": {"type": "string"}, "api_key": {"type": "string", "minLength": 8}, "url": {"type": "string"}}},
		"hosts": ["api.example.com", "*.example.org:8443", "${url}"],
		"latency": "5ms"
	}`
	if err := os.WriteFile(filepath.Join(dir, ManifestFile), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Seal(dir); err != nil {
		t.Fatal(err)
	}
	sealed, err := os.ReadFile(filepath.Join(dir, ManifestFile))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, ManifestFile), []byte(strings.NewReplacer(edits...).Replace(string(sealed))), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func manifestSpec(t *testing.T, dir, settings string) Spec {
	t.Helper()
	m, err := ReadManifest(dir)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := m.Spec("mine", json.RawMessage(settings))
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// A plugin with a manifest is held to it.
func TestManifest(t *testing.T) {
	dir := manifestOf(t)
	spec := manifestSpec(t, dir, `{"greeting":"hello","url":"http://localhost:11434/v1"}`)
	if len(spec.Hosts) != 3 || spec.Hosts[0] != (Host{Name: "api.example.com"}) || spec.Hosts[1] != (Host{Name: "*.example.org", Port: "8443"}) ||
		spec.Hosts[2] != (Host{Name: "localhost", Port: "11434", Private: true}) || spec.Manifest.Expected() != 5*time.Millisecond {
		t.Errorf("%+v", spec)
	}
	p, err := Launch(limited(t), spec, Options{Confinement: confine.Probe(), MinBackoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	if got := classify(t, p, "greeting")[0].Reasoning; got != "hello" {
		t.Errorf("it says %q", got)
	}
	// What is not needed is not seen.
	item := items("seen")[0]
	item.Issue.Author.Login, item.Issue.AuthorAssociation, item.Issue.Labels, item.Issue.CreatedAt = "octocat", "OWNER", []string{"bug"}, time.Now()
	item.Similar = []Similar{{Neighbour: triage.Neighbour{Number: 3, Title: "other"}}}
	out, err := p.Classify(limited(t), []Item{item})
	if err != nil || out[0].Reasoning != `"" "" [] true 0` {
		t.Errorf("it sees %q, %v", out[0].Reasoning, err)
	}
	// An executable that is changed does not start again.
	f, err := os.OpenFile(filepath.Join(dir, "new"), os.O_CREATE|os.O_WRONLY, 0o755)
	if err == nil {
		_, err = f.WriteString("#!/bin/sh\n")
	}
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "subject"))
	}
	if err != nil {
		t.Fatal(err)
	}
	_, _ = p.Classify(limited(t), items("crash"))
	eventually(t, "the checksum is told", func() bool { return strings.Contains(p.Health().LastError, "SHA-256") })
}

func TestManifestSees(t *testing.T) {
	dir := manifestOf(t, `"latency": "5ms"`, `"sees": ["author", "labels", "times", "similar"]`)
	p, err := Launch(limited(t), manifestSpec(t, dir, ""), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	item := items("seen")[0]
	item.Issue.Author.Login, item.Issue.AuthorAssociation, item.Issue.Labels, item.Issue.CreatedAt = "octocat", "OWNER", []string{"bug"}, time.Now()
	item.Similar = []Similar{{Neighbour: triage.Neighbour{Number: 3, Title: "other"}}}
	out, err := p.Classify(limited(t), []Item{item})
	if err != nil || out[0].Reasoning != `"octocat" "OWNER" ["bug"] false 1` {
		t.Errorf("it sees %q, %v", out[0].Reasoning, err)
	}
}

// What a process says of itself must be what its manifest says.
func TestManifestDisagrees(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"version":    {`"version": "1.2.3"`, `"version": "1.3.0"`, "it is subject 1.2.3, but its manifest is of subject 1.3.0"},
		"field":      {`"category", "tags", "summary"`, `"category", "tags"`, "it sets summary, which its manifest does not name"},
		"capability": {`"embed", "learn"`, `"learn"`, "it can embed, which its manifest does not name"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Launch(limited(t), manifestSpec(t, manifestOf(t, c.old, c.new), ""), Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
		})
	}
	dir := manifestOf(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Launch(limited(t), manifestSpec(t, dir, ""), Options{}); err == nil || !strings.Contains(err.Error(), "chmod o-w") {
		t.Errorf("%v", err)
	}
}

// Faults are named by their field, all at once.
func TestManifestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		edits []string
		want  []string
	}{
		"several": {[]string{`"name": "subject"`, `"name": "Subject"`, `"version": "1.2.3"`, `"version": "new"`, `"summary"`, `"mood"`, `"latency": "5ms"`, `"latency": "soon", "host": []`},
			[]string{"name: ", "version: ", "fields.2: ", "latency: ", "'host' not allowed"}},
		"path":    {[]string{`"path": "subject"`, `"path": "../subject"`}, []string{"executables.any.path", "below"}},
		"schema":  {[]string{`"type": "object", "additionalProperties": false`, `"type": 7`}, []string{"settings: not a JSON Schema"}},
		"remote":  {[]string{`"greeting": {"type": "string"}`, `"greeting": {"$ref": "https://example.com/s.json"}`}, []string{"settings: not a JSON Schema"}},
		"file":    {[]string{`"greeting": {"type": "string"}`, `"greeting": {"$ref": "file:///etc/passwd"}`}, []string{"settings: not a JSON Schema"}},
		"hosts":   {[]string{`"api.example.com"`, `"https://api.example.com/"`}, []string{"hosts.0: "}},
		"no json": {[]string{`{`, `[`}, []string{"not JSON"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadManifest(manifestOf(t, c.edits...))
			for _, w := range c.want {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Errorf("%v\nlacks %q", err, w)
				}
			}
		})
	}
	m, err := ReadManifest(manifestOf(t))
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Spec("mine", json.RawMessage(`{"greeting":7,"api_key":"secret","more":true}`))
	for _, w := range []string{"greeting: ", "api_key: ", "'more' not allowed"} {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("%v\nlacks %q", err, w)
		}
	}
	if _, err = m.Spec("mine", json.RawMessage(`{"url":"localhost:11434"}`)); err == nil || !strings.Contains(err.Error(), "setting url: it must be a URL") {
		t.Errorf("%v", err)
	}
	elsewhere, err := ReadManifest(manifestOf(t, `"any"`, `"plan9/arm"`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = elsewhere.Spec("mine", nil); err == nil || !strings.Contains(err.Error(), "does not run on "+runtime.GOOS) {
		t.Errorf("%v", err)
	}
	if _, err := ReadManifest(t.TempDir()); err == nil || !strings.Contains(err.Error(), "plugin.json") {
		t.Errorf("%v", err)
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(fmt.Sprintf(`{"name":"a","version":"1.0.0","fields":["tags"],"executables":{"any":{"path":"a","sha256":"%064d"}},"hosts":["${u}"],"settings":{}}`, 0)), []byte(`{"u":"http://x"}`))
	f.Add([]byte(`{"settings":{"$ref":"#"}}`), []byte(`[]`))
	f.Fuzz(func(t *testing.T, text, settings []byte) {
		m, err := ParseManifest(text)
		if err != nil {
			return
		}
		if m.Name == "" || len(m.Fields) == 0 {
			t.Fatalf("a manifest without a name or fields passed: %s", text)
		}
		m.dir = "/opt/plugin"
		spec, err := m.Spec("mine", settings)
		if err == nil && !strings.HasPrefix(spec.Path, m.dir+"/") {
			t.Fatalf("the executable is %s", spec.Path)
		}
	})
}
