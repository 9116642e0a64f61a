package plugin

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/dispatchai/dispatchai/core/triage"
	"github.com/dispatchai/dispatchai/manifests"
)

// ManifestFile is the name of a plugin's manifest in its directory.
const ManifestFile = "plugin.json"

// Manifest is what the author of a plugin says of it before it runs; the host
// holds the plugin to it. manifests/plugin.schema.json describes the file.
type Manifest struct {
	Name         string                `json:"name"`
	Version      string                `json:"version"`
	Description  string                `json:"description,omitempty"`
	Fields       []triage.Field        `json:"fields"`
	Capabilities []string              `json:"capabilities,omitempty"`
	Executables  map[string]Executable `json:"executables"`
	// Settings is a JSON Schema; nil for a plugin that takes none.
	Settings json.RawMessage `json:"settings,omitempty"`
	Hosts    []string        `json:"hosts,omitempty"`
	Latency  string          `json:"latency,omitempty"`
	// Sees is what the plugin is told of an issue besides title and body: author,
	// labels, times, similar.
	Sees []string `json:"sees,omitempty"`

	dir      string
	settings *jsonschema.Schema
}

// Executable is a plugin's program on one platform.
type Executable struct {
	Path   string   `json:"path"` // below the manifest's directory
	Args   []string `json:"args,omitempty"`
	SHA256 string   `json:"sha256"`
}

// maxManifest bounds a manifest's file.
const maxManifest = 1 << 20

// ReadManifest reads a plugin's manifest: a file, or the directory that it is in.
// An error names every fault, each by the field that it is in.
func ReadManifest(path string) (*Manifest, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, ManifestFile)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the plugin's manifest: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the plugin's manifest: %w", err)
	case len(text) > maxManifest:
		return nil, fmt.Errorf("%s is larger than 1 MiB, which no manifest is", path)
	}
	m, err := ParseManifest(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	m.dir, err = filepath.Abs(filepath.Dir(path))
	return m, err
}

// ParseManifest reads the text of a manifest.
func ParseManifest(text []byte) (*Manifest, error) {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	schema, err := compile("plugin.schema.json", manifests.PluginSchema())
	if err != nil {
		return nil, err
	}
	if err := faultsOf(schema.Validate(document)); err != nil {
		return nil, err
	}
	m := &Manifest{}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, err
	}
	var faults []error
	for platform, x := range m.Executables {
		if !filepath.IsLocal(x.Path) {
			faults = append(faults, fmt.Errorf("executables.%s.path: %q is not below the manifest's directory", platform, x.Path))
		}
	}
	if m.Settings != nil {
		if m.settings, err = compile("settings", m.Settings); err != nil {
			faults = append(faults, fmt.Errorf("settings: not a JSON Schema: %w", err))
		}
	}
	for _, host := range m.Hosts {
		if key, ok := settingOf(host); ok && m.Settings == nil {
			faults = append(faults, fmt.Errorf("hosts: %s needs a setting %s, but the plugin takes no settings", host, key))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return m, nil
}

// compile compiles a schema that refers to nothing outside of itself.
func compile(name string, text []byte) (*jsonschema.Schema, error) {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(jsonschema.SchemeURLLoader{})
	if err := c.AddResource("manifest:"+name, document); err != nil {
		return nil, err
	}
	return c.Compile("manifest:" + name)
}

// faultsOf gives the faults that a validation found, each by the field it is in.
func faultsOf(err error) error {
	if err == nil {
		return nil
	}
	invalid, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return err
	}
	printer := message.NewPrinter(language.English)
	var faults []error
	var visit func(*jsonschema.ValidationError)
	visit = func(e *jsonschema.ValidationError) {
		if len(e.Causes) == 0 {
			where := strings.Join(e.InstanceLocation, ".")
			if where == "" {
				where = "the whole"
			}
			faults = append(faults, fmt.Errorf("%s: %s", cutText(where, 200), cutText(e.ErrorKind.LocalizedString(printer), 300)))
		}
		for _, cause := range e.Causes {
			visit(cause)
		}
	}
	visit(invalid)
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(faults...)
}

// Spec is how to run the plugin under an operator's name for it, with settings
// that the manifest allows. An error names every setting that is at fault.
func (m *Manifest) Spec(name string, settings json.RawMessage) (Spec, error) {
	spec, err := m.Unconfigured(name)
	if err != nil {
		return spec, err
	}
	if err := m.checkSettings(settings); err != nil {
		return spec, err
	}
	spec.Settings = settings
	spec.Hosts, err = m.hosts(settings)
	return spec, err
}

// Unconfigured is how to run the plugin to see what it says of itself: with
// neither settings nor the hosts that they name.
func (m *Manifest) Unconfigured(name string) (Spec, error) {
	x, err := m.executable()
	if err != nil {
		return Spec{}, err
	}
	spec := Spec{Name: name, Manifest: m, Path: filepath.Join(m.dir, filepath.FromSlash(x.Path)), Args: x.Args}
	spec.Hosts, err = m.hosts(nil)
	return spec, err
}

func (m *Manifest) executable() (Executable, error) {
	platform := runtime.GOOS + "/" + runtime.GOARCH
	if x, ok := m.Executables[platform]; ok {
		return x, nil
	}
	if x, ok := m.Executables["any"]; ok {
		return x, nil
	}
	return Executable{}, fmt.Errorf("plugin %s %s does not run on %s; its manifest has executables for %s", m.Name, m.Version, platform,
		strings.Join(slices.Sorted(maps.Keys(m.Executables)), ", "))
}

func (m *Manifest) checkSettings(settings json.RawMessage) error {
	if m.settings == nil {
		if hasSettings(settings) {
			return fmt.Errorf("plugin %s takes no settings, but there are some; remove them", m.Name)
		}
		return nil
	}
	if len(settings) == 0 {
		settings = json.RawMessage("{}")
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(settings))
	if err != nil {
		return fmt.Errorf("the settings are not JSON: %w", err)
	}
	if err := faultsOf(m.settings.Validate(document)); err != nil {
		return fmt.Errorf("the settings of plugin %s are not as its manifest wants them:\n%s", m.Name, newRedactor(settings).text(err.Error(), 4<<10))
	}
	return nil
}

func settingOf(host string) (key string, ok bool) {
	key, ok = strings.CutPrefix(host, "${")
	return strings.TrimSuffix(key, "}"), ok
}

// hosts are what the plugin may speak to. Those that a setting names are the
// operator's choice; where it is not set, the plugin has its own default.
func (m *Manifest) hosts(settings json.RawMessage) ([]Host, error) {
	var values map[string]any
	_ = json.Unmarshal(settings, &values)
	var hosts []Host
	for _, h := range m.Hosts {
		key, ok := settingOf(h)
		if !ok {
			name, port, _ := strings.Cut(h, ":")
			hosts = append(hosts, Host{Name: name, Port: port})
			continue
		}
		value, _ := values[key].(string)
		if value == "" {
			continue
		}
		u, err := url.Parse(value)
		if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, fmt.Errorf("setting %s: it must be a URL, https://host/path, as its host is one that the plugin may speak to", key)
		}
		port := u.Port()
		if port == "" && u.Scheme == "http" {
			port = "80"
		}
		hosts = append(hosts, Host{Name: u.Hostname(), Port: port, Private: true})
	}
	return hosts, nil
}

// verify compares the executable with the manifest's checksum, and refuses one
// that others could change in between.
func (m *Manifest) verify() error {
	x, err := m.executable()
	if err != nil {
		return err
	}
	path := filepath.Join(m.dir, filepath.FromSlash(x.Path))
	for _, p := range []string{path, filepath.Dir(path), m.dir} {
		if info, err := os.Stat(p); err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o002 != 0 {
			return fmt.Errorf("anybody may write to %s, so its checksum says nothing; take that away with chmod o-w", p)
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("verify the executable: %w", err)
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("verify the executable: %w", err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != x.SHA256 {
		return fmt.Errorf("%s is not what its manifest names: its SHA-256 is %s, not %s; get it anew from where it comes from, or, where you built it yourself, "+
			"write its checksum with `dispatchai plugin seal %s`", path, got, x.SHA256, m.dir)
	}
	return nil
}

// Seal writes the checksums of the executables that are there into the manifest
// in a directory, and tells for which platforms. Everything else stays as it is.
func Seal(dir string) ([]string, error) {
	path := filepath.Join(dir, ManifestFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the plugin's manifest: %w", err)
	}
	var m struct {
		Executables map[string]Executable `json:"executables"`
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var sealed []string
	for _, platform := range slices.Sorted(maps.Keys(m.Executables)) {
		x := m.Executables[platform]
		if !filepath.IsLocal(x.Path) {
			return nil, fmt.Errorf("%s: executables.%s.path: %q is not below the manifest's directory", path, platform, x.Path)
		}
		content, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(x.Path)))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(content)
		if x.SHA256 == "" {
			return nil, fmt.Errorf("%s: executables.%s has no sha256 to write; put any 64 digits there", path, platform)
		}
		text = bytes.ReplaceAll(text, []byte(`"`+x.SHA256+`"`), []byte(`"`+hex.EncodeToString(sum[:])+`"`))
		sealed = append(sealed, platform)
	}
	if len(sealed) == 0 {
		return nil, fmt.Errorf("%s names no executable that is there; build it first", path)
	}
	if _, err := ParseManifest(text); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return sealed, os.WriteFile(path, text, 0o644)
}

// agrees compares what a process says of itself with the manifest.
func (m *Manifest) agrees(d Description) error {
	var faults []string
	if d.Name != m.Name || d.Version != m.Version {
		faults = append(faults, fmt.Sprintf("it is %s %s, but its manifest is of %s %s", d.Name, d.Version, m.Name, m.Version))
	}
	for _, f := range d.Fields {
		if !slices.Contains(m.Fields, f) {
			faults = append(faults, fmt.Sprintf("it sets %s, which its manifest does not name", f))
		}
	}
	for _, c := range []struct {
		name string
		has  bool
	}{{"embed", d.Embedding != nil}, {"learn", d.Learns}} {
		if c.has && !slices.Contains(m.Capabilities, c.name) {
			faults = append(faults, fmt.Sprintf("it can %s, which its manifest does not name", c.name))
		}
	}
	if len(faults) > 0 {
		return fmt.Errorf("%w: %s", errRefused, strings.Join(faults, "; "))
	}
	return nil
}

// Expected is how long the plugin usually takes for an issue; 0 when it is not said.
func (m *Manifest) Expected() time.Duration {
	d, _ := time.ParseDuration(m.Latency)
	return d
}

// withheld is what a plugin is not told.
type withheld struct{ author, labels, times, similar bool }

func (m *Manifest) withheld() withheld {
	if m == nil {
		return withheld{}
	}
	sees := func(what string) bool { return slices.Contains(m.Sees, what) }
	return withheld{!sees("author"), !sees("labels"), !sees("times"), !sees("similar")}
}
