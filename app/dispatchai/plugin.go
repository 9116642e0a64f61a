package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dispatchai/dispatchai/core/plugin"
	"github.com/dispatchai/dispatchai/plugins/rules"
	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// builtIns are the classifiers that this binary can be started as.
func builtIns() map[string]func() sdk.Classifier {
	return map[string]func() sdk.Classifier{
		"rules": func() sdk.Classifier { return rules.New() },
	}
}

func builtInNames() []string { return slices.Sorted(maps.Keys(builtIns())) }

// builtIn gives the command line that runs a built-in plugin: this very binary,
// started like anyone's executable.
func builtIn(name string) (path string, args []string, ok bool) {
	if _, ok := builtIns()[name]; !ok {
		return "", nil, false
	}
	path, err := os.Executable()
	if err != nil {
		return "", nil, false
	}
	return path, []string{"plugin", "serve", name}, true
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
	c := &cobra.Command{Use: "plugin", Short: "Test classifier plugins, list them, enable and disable them"}
	c.AddCommand(pluginListCommand(), pluginInfoCommand(), pluginTestCommand(), pluginSealCommand(), pluginSwitchCommand(true), pluginSwitchCommand(false), &cobra.Command{
		Use:    "serve NAME",
		Short:  "Be a built-in plugin (started by the host, not by people)",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			make, ok := builtIns()[args[0]]
			if !ok {
				return fmt.Errorf("there is no built-in plugin %q; there are %v", args[0], builtInNames())
			}
			return sdk.Serve(make())
		},
	})
	return c
}
