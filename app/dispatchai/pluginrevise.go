package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/dispatchai/dispatchai/app"
	"github.com/dispatchai/dispatchai/core/control"
)

func pluginUpgradeCommand() *cobra.Command {
	return pluginReviseCommand(app.Upgrade, "upgrade NAME PATH", "Run a plugin by another executable or manifest, without a restart",
		"Has every process start the plugin from PATH - an executable, or a directory with a plugin.json - beside the one that\n"+
			"runs, and put it in its place when it is ready. Issues that are being classified are finished where they began. What\n"+
			"does not start changes nothing. It stays so after a restart, until DISPATCHAI_PLUGINS names something else.", cobra.ExactArgs(2))
}

func pluginRollbackCommand() *cobra.Command {
	return pluginReviseCommand(app.Rollback, "rollback NAME", "Run a plugin again by what it was run by before its upgrade",
		"Has every process go back to what the plugin was run by before, the way of an upgrade.", cobra.ExactArgs(1))
}

func pluginReloadCommand() *cobra.Command {
	return pluginReviseCommand(app.Reload, "reload NAME", "Have a plugin's settings and manifest read again, without a restart",
		"Has every process read the plugin's settings (DISPATCHAI_PLUGIN_SETTINGS_DIR) and manifest again and put a process with\n"+
			"them in the place of the one that runs, the way of an upgrade. Settings that are refused change nothing.", cobra.ExactArgs(1))
}

func pluginReviseCommand(how app.Revise, use, short, long string, arguments cobra.PositionalArgs) *cobra.Command {
	flags := &optionFlags{}
	var asJSON bool
	var wait time.Duration
	c := &cobra.Command{
		Use: use, Short: short, Long: long, Args: arguments,
		RunE: func(c *cobra.Command, args []string) error {
			source := ""
			if how == app.Upgrade {
				var err error
				if source, err = app.PluginSource(args[1]); err != nil {
					return err
				}
			}
			return withLog(c, flags, func(l openedLog) error {
				r, err := app.RevisePlugin(c.Context(), l.cluster, l.producer, args[0], how, source, operator())
				if err != nil {
					return err
				}
				ctx, cancel := context.WithTimeout(c.Context(), wait)
				defer cancel()
				processes, err := app.AwaitRevision(ctx, l.cluster, args[0], r.Number)
				if asJSON {
					out := struct {
						Name string `json:"name"`
						control.PluginRevision
						Processes []app.PluginProcess `json:"processes"`
					}{args[0], r, append([]app.PluginProcess{}, processes...)}
					if encodeErr := json.NewEncoder(c.OutOrStdout()).Encode(out); encodeErr != nil {
						return encodeErr
					}
					return err
				}
				for _, p := range processes {
					if p.RevisionError == "" {
						fmt.Fprintf(c.OutOrStdout(), "%s %s runs in %s.\n", clean(args[0], 40), clean(p.Version, 40), clean(p.Process, 60))
					}
				}
				return err
			})
		},
	}
	flags.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().DurationVar(&wait, "wait", time.Minute, "how long to wait for the processes to say what became of it")
	return c
}
