package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dispatchai/dispatchai/core/plugin"
	"github.com/dispatchai/dispatchai/plugins/openai"
	"github.com/dispatchai/dispatchai/plugins/rules"
	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// builtInPlugin is a classifier that this binary can be started as.
type builtInPlugin struct {
	new     func() sdk.Classifier
	options []sdk.ServeOption
	// hosts are what it speaks to; nil for one that speaks to nobody.
	hosts func(settings json.RawMessage) ([]plugin.Host, error)
}

func builtIns() map[string]builtInPlugin {
	return map[string]builtInPlugin{
		"rules":  {new: func() sdk.Classifier { return rules.New() }},
		"openai": {new: func() sdk.Classifier { return openai.New() }, options: []sdk.ServeOption{sdk.Parallel(openai.Parallel)}, hosts: modelServer},
	}
}

// modelServer is the host of the model that the settings name, wherever it is: the
// operator chose it.
func modelServer(settings json.RawMessage) ([]plugin.Host, error) {
	s, err := openai.ParseSettings(settings)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(s.BaseURL)
	if err != nil {
		return nil, err
	}
	port := u.Port()
	if port == "" && u.Scheme == "http" {
		port = "80"
	}
	return []plugin.Host{{Name: u.Hostname(), Port: port, Private: true}}, nil
}

func builtInNames() []string { return slices.Sorted(maps.Keys(builtIns())) }

// builtIn says how to run a built-in plugin: this very binary, started like
// anyone's executable.
func builtIn(name string, settings json.RawMessage) (plugin.Spec, error) {
	spec, ok := bareBuiltIn(name)
	if !ok {
		return spec, fmt.Errorf("there is no built-in plugin %q; there are %s; write %s=/path/to/executable for your own", name, strings.Join(builtInNames(), ", "), name)
	}
	spec.Settings = settings
	if hosts := builtIns()[name].hosts; hosts != nil {
		var err error
		if spec.Hosts, err = hosts(settings); err != nil {
			return spec, fmt.Errorf("%s: %w", name, err)
		}
	}
	return spec, nil
}

// bareBuiltIn is a built-in plugin without settings and without a network.
func bareBuiltIn(name string) (plugin.Spec, bool) {
	if _, ok := builtIns()[name]; !ok {
		return plugin.Spec{}, false
	}
	path, err := os.Executable()
	if err != nil {
		return plugin.Spec{}, false
	}
	return plugin.Spec{Name: name, Path: path, Args: []string{"plugin", "serve", name}}, true
}

func pluginSealCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "seal DIR",
		Short: "Write the checksums of a plugin's executables into its plugin.json",
		Long:  "Writes the SHA-256 of every executable that is there into DIR/plugin.json, after a build. Everything else in it stays as it is.",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			platforms, err := plugin.Seal(args[0])
			if err == nil {
				fmt.Fprintf(c.OutOrStdout(), "Sealed %s for %s.\n", filepath.Join(args[0], plugin.ManifestFile), strings.Join(platforms, ", "))
			}
			return err
		},
	}
}

func pluginCommand() *cobra.Command {
	c := &cobra.Command{Use: "plugin", Short: "Write classifier plugins, test them, list them, upgrade them, enable and disable them"}
	c.AddCommand(pluginNewCommand(), pluginListCommand(), pluginInfoCommand(), pluginTestCommand(), pluginSealCommand(), pluginUpgradeCommand(), pluginRollbackCommand(), pluginReloadCommand(), pluginSwitchCommand(true), pluginSwitchCommand(false), &cobra.Command{
		Use:    "serve NAME",
		Short:  "Be a built-in plugin (started by the host, not by people)",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			p, ok := builtIns()[args[0]]
			if !ok {
				return fmt.Errorf("there is no built-in plugin %q; there are %v", args[0], builtInNames())
			}
			return sdk.Serve(p.new(), p.options...)
		},
	})
	return c
}
