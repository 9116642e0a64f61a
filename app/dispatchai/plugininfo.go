package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/dispatchai/dispatchai/app"
	"github.com/dispatchai/dispatchai/core/confine"
	"github.com/dispatchai/dispatchai/core/plugin"
	"github.com/dispatchai/dispatchai/core/triage"
)

// pluginInfo is what a plugin says of itself, as "plugin info" shows it.
type pluginInfo struct {
	Name         string         `json:"name"`
	Version      string         `json:"version"`
	Protocol     int            `json:"protocol"`
	Fields       []triage.Field `json:"fields"`
	Capabilities []string       `json:"capabilities"`
	Embedding    *embeddingInfo `json:"embedding,omitempty"`
	// MaxBatch is 0 when the plugin leaves it to the host.
	MaxBatch int `json:"max_batch"`
	// Manifest is what its author says of it, where there is one.
	Manifest *manifestInfo `json:"manifest,omitempty"`
}

type manifestInfo struct {
	Description string          `json:"description"`
	Hosts       []string        `json:"hosts"`
	Sees        []string        `json:"sees"`
	Latency     string          `json:"latency"`
	Settings    json.RawMessage `json:"settings,omitempty"`
}

type embeddingInfo struct {
	Name       string `json:"name"`
	Dimensions int    `json:"dimensions"`
	Terms      bool   `json:"terms"`
}

func pluginInfoCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "info PATH|NAME [-- ARGS...]",
		Short: "Show what a classifier plugin says of itself",
		Long: "Starts the plugin as the service does, prints what it says of itself, and ends it. PATH is an executable, a\n" +
			"directory with a plugin.json, the name of a built-in plugin, or reattach:FILE for a plugin that waits under a debugger.",
		Args: pluginArgs,
		RunE: func(c *cobra.Command, args []string) (err error) {
			spec, err := trialSpec(args[0], args[1:], nil)
			if err != nil {
				return err
			}
			t, err := plugin.Try(c.Context(), spec, plugin.Options{Logger: newLogger(c.ErrOrStderr(), slogWarn), Confinement: confine.Probe()})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, t.Close()) }()
			d, err := t.Describe(c.Context())
			if err != nil {
				return err
			}
			info := newPluginInfo(d)
			if m := spec.Manifest; m != nil {
				info.Manifest = &manifestInfo{
					Description: m.Description, Hosts: append([]string{}, m.Hosts...), Sees: append([]string{}, m.Sees...),
					Latency: m.Latency, Settings: m.Settings,
				}
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(info)
			}
			return info.print(c.OutOrStdout())
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func newPluginInfo(d plugin.Description) pluginInfo {
	info := pluginInfo{
		Name: d.Name, Version: d.Version, Protocol: d.Protocol, MaxBatch: d.MaxBatch,
		Fields: append([]triage.Field{}, d.Fields...), Capabilities: []string{},
	}
	for _, c := range []struct {
		name string
		has  bool
	}{{"configure", d.Configurable}, {"embed", d.Embedding != nil}, {"learn", d.Learns}} {
		if c.has {
			info.Capabilities = append(info.Capabilities, c.name)
		}
	}
	if e := d.Embedding; e != nil {
		info.Embedding = &embeddingInfo{e.Name, e.Dimensions, e.Terms}
	}
	return info
}

func (i pluginInfo) print(out io.Writer) error {
	fields := make([]string, len(i.Fields))
	for n, f := range i.Fields {
		fields[n] = string(f)
	}
	listed := func(words []string) string {
		if len(words) == 0 {
			return "none"
		}
		return strings.Join(words, ", ")
	}
	embedding, batch := "none", "as large as the host likes"
	if e := i.Embedding; e != nil {
		embedding = fmt.Sprintf("%s, %d dimensions", clean(e.Name, 128), e.Dimensions)
		if e.Terms {
			embedding = clean(e.Name, 128) + ", of terms"
		}
	}
	if i.MaxBatch > 0 {
		batch = fmt.Sprintf("at most %d issues", i.MaxBatch)
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	rows := [][2]string{
		{"name", i.Name}, {"version", i.Version}, {"protocol", fmt.Sprint("version ", i.Protocol)}, {"fields", listed(fields)},
		{"capabilities", listed(i.Capabilities)}, {"embedding", embedding}, {"batch", batch},
	}
	if m := i.Manifest; m != nil {
		rows = append(rows, [][2]string{
			{"about", clean(m.Description, 500)}, {"speaks to", listed(m.Hosts)}, {"sees", listed(append([]string{"title", "body"}, m.Sees...))},
			{"takes", cmp.Or(m.Latency, "not said")},
		}...)
	}
	for _, row := range rows {
		fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
	}
	return w.Flush()
}

// pluginArgs are a plugin and, after --, the arguments that it is started with.
func pluginArgs(c *cobra.Command, args []string) error {
	if dash := c.ArgsLenAtDash(); len(args) == 0 || dash == 0 || dash > 1 || dash < 0 && len(args) > 1 {
		return fmt.Errorf("name one plugin, and its own arguments after --: %s PATH -- ARGS", c.CommandPath())
	}
	return nil
}

// trialSpec says how to run a plugin that is named on the command line. Of one with
// a manifest it checks the settings, where there are any.
func trialSpec(name string, args []string, settings []byte) (plugin.Spec, error) {
	if info, err := os.Stat(name); err == nil && (info.IsDir() || filepath.Base(name) == plugin.ManifestFile) {
		m, err := plugin.ReadManifest(name)
		if err != nil {
			return plugin.Spec{}, err
		}
		check := m.Spec
		if len(settings) == 0 {
			check = func(name string, _ json.RawMessage) (plugin.Spec, error) { return m.Unconfigured(name) }
		}
		spec, err := check(m.Name, settings)
		spec.Args = append(slices.Clone(spec.Args), args...)
		return spec, err
	}
	if spec, ok := bareBuiltIn(name); ok {
		if len(settings) > 0 {
			var err error
			if spec, err = builtIn(name, settings); err != nil {
				return spec, err
			}
		}
		spec.Args = append(spec.Args, args...)
		return spec, nil
	}
	return bareSpec(name, args), nil
}

// bareSpec says how to run an executable without a manifest.
func bareSpec(name string, args []string) plugin.Spec {
	if file, ok := strings.CutPrefix(name, app.ReattachPrefix); ok {
		return plugin.Spec{Name: specName(strings.TrimSuffix(file, ".json")), Reattach: file, Args: args}
	}
	path := name
	if info, err := os.Stat(name); err == nil && !strings.ContainsRune(name, filepath.Separator) && info.Mode().IsRegular() {
		path = "." + string(filepath.Separator) + name // a file beside us goes before one in PATH
	}
	return plugin.Spec{Name: specName(name), Path: path, Args: args}
}

// specName makes a plugin's name of a file's.
func specName(path string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r == '-':
			return r
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, filepath.Base(path))
	if name = strings.TrimLeft(name, "0123456789-"); name == "" {
		return "plugin"
	}
	return name[:min(len(name), 40)]
}
