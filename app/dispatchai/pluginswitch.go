package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/dispatchai/dispatchai/app"
	"github.com/dispatchai/dispatchai/core/control"
	"github.com/dispatchai/dispatchai/core/eventlog"
)

func pluginListCommand() *cobra.Command {
	flags := &optionFlags{}
	var asJSON bool
	c := &cobra.Command{
		Use: "list", Short: "List the plugins, whether they are enabled, and how they fare in each process", Args: cobra.NoArgs,
		Long: "Lists the built-in plugins, those that the configuration names and those that running processes report. It works\nbeside a running service and without one.",
		RunE: func(c *cobra.Command, _ []string) error {
			return withLog(c, flags, func(l openedLog) error {
				plugins, err := app.ListPlugins(c.Context(), l.options, l.cluster, builtInNames())
				if err != nil {
					return err
				}
				if asJSON {
					return json.NewEncoder(c.OutOrStdout()).Encode(plugins)
				}
				w := tabwriter.NewWriter(c.OutOrStdout(), 0, 4, 2, ' ', 0)
				fmt.Fprintln(w, "NAME\tKIND\tENABLED\tSTATE\tVERSION\tRESTARTS\tPROCESS\tLAST ERROR")
				for _, p := range plugins {
					enabled := "yes"
					if !p.Enabled {
						enabled = "no, by " + clean(p.By, 60)
					}
					if len(p.Processes) == 0 {
						fmt.Fprintf(w, "%s\t%s\t%s\tnot running\t\t\t\t\n", clean(p.Name, 40), p.Kind, enabled)
					}
					for _, r := range p.Processes {
						fault := r.LastError
						if r.RevisionError != "" {
							fault = "revision not in force: " + r.RevisionError
						}
						fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", clean(p.Name, 40), p.Kind, enabled, clean(string(r.State), 20),
							clean(r.Version, 30), r.Restarts, clean(r.Process, 60), clean(fault, 100))
					}
				}
				return w.Flush()
			})
		},
	}
	flags.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func pluginSwitchCommand(enable bool) *cobra.Command {
	flags := &optionFlags{}
	var asJSON bool
	use, short, long := "disable NAME", "Stop asking a plugin, in every process, without a restart",
		"Has every running process, and those that start later, classify without the plugin. An issue that is being classified\nis finished. Where no plugin is left, new issues wait in the event log until one is enabled: nothing is lost."
	if enable {
		use, short, long = "enable NAME", "Ask a plugin again that was disabled", "Has every process ask the plugin again. Issues that waited for a plugin are classified within seconds."
	}
	c := &cobra.Command{
		Use: use, Short: short, Long: long, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return withLog(c, flags, func(l openedLog) error {
				plugins, err := app.ListPlugins(c.Context(), l.options, l.cluster, builtInNames())
				if err != nil {
					return err
				}
				name := args[0]
				at := slices.IndexFunc(plugins, func(p app.PluginListing) bool { return p.Name == name })
				if at < 0 {
					return unknownPlugin(name, plugins)
				}
				s := control.PluginSwitch{Enabled: enable, By: operator(), At: time.Now().UTC().Truncate(time.Millisecond)}
				value, err := s.Encode()
				if err != nil {
					return err
				}
				if err := l.producer.Append(c.Context(), eventlog.Record{Topic: eventlog.TopicControl, Key: control.PluginKey(name), Value: value}); err != nil {
					return err
				}
				if asJSON {
					return json.NewEncoder(c.OutOrStdout()).Encode(struct {
						Name string `json:"name"`
						control.PluginSwitch
					}{name, s})
				}
				fmt.Fprintln(c.OutOrStdout(), switched(plugins, at, enable))
				return nil
			})
		},
	}
	flags.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func unknownPlugin(name string, plugins []app.PluginListing) error {
	names := make([]string, len(plugins))
	for i, p := range plugins {
		names[i] = p.Name
	}
	return fmt.Errorf("there is no plugin %q; there are %s (one of your own is known while the service runs, or when DISPATCHAI_PLUGINS names it here too)",
		clean(name, 60), strings.Join(names, ", "))
}

// switched says what the switch of a plugin brings about.
func switched(plugins []app.PluginListing, at int, enable bool) string {
	name := plugins[at].Name
	if enable {
		return fmt.Sprintf("Enabled %s.", name)
	}
	runs := func(p app.PluginListing) bool { return p.Configured || len(p.Processes) > 0 }
	for i, p := range plugins {
		if i != at && p.Enabled && runs(p) {
			return fmt.Sprintf("Disabled %s; issues are classified without it.", name)
		}
	}
	if !runs(plugins[at]) {
		return fmt.Sprintf("Disabled %s, which nothing runs at present.", name)
	}
	return fmt.Sprintf("Disabled %s. No enabled plugin is left: new issues wait in the event log until one is enabled again.", name)
}

// operator is who runs this command, for the record.
func operator() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}
