package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dispatchai/dispatchai/core/confine"
	"github.com/dispatchai/dispatchai/core/plugin"
	"github.com/dispatchai/dispatchai/plugins/sdk/sdktest"
)

// conformance is the report of "plugin test".
type conformance struct {
	Plugin   string           `json:"plugin"`
	Conforms bool             `json:"conforms"`
	Checks   []conformanceRow `json:"checks"`
}

type conformanceRow struct {
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	// Faults say what is wrong and what to do about it.
	Faults []string `json:"faults,omitempty"`
	TookMS int64    `json:"took_ms"`
}

func pluginTestCommand() *cobra.Command {
	var settings string
	var asJSON bool
	var options sdktest.Options
	c := &cobra.Command{
		Use:   "test PATH|NAME [-- ARGS...]",
		Short: "Check that a classifier plugin conforms to the protocol",
		Long: "Starts the plugin as the service does and holds it to the protocol: what it says of itself, settings, answers outside a\n" +
			"repository's options, empty, huge and hostile issues, batches, many calls at once, cancellation, embedding, learning,\n" +
			"and its end. PATH is an executable in any language, a directory with a plugin.json, the name of a built-in plugin, or reattach:FILE for a plugin\n" +
			"that waits under a debugger (see the document of plugins/sdk). It ends with status 1 when there is a fault.",
		Args: pluginArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if settings != "" {
				data, err := os.ReadFile(settings)
				if err != nil {
					return fmt.Errorf("--settings: %w", err)
				}
				options.Settings = data
			}
			if options.Timeout < time.Second {
				return fmt.Errorf("--timeout: %s is shorter than a second", options.Timeout)
			}
			spec, err := trialSpec(args[0], args[1:], options.Settings)
			if err != nil {
				return err
			}
			// The plugin is handed them by the checks; here they say what is a secret.
			spec.Settings = options.Settings
			progress := c.OutOrStdout()
			if asJSON {
				progress = c.ErrOrStderr()
			}
			report := testPlugin(c.Context(), args[0], spec, options, progress, newLogger(c.ErrOrStderr(), slogWarn))
			if asJSON {
				err = json.NewEncoder(c.OutOrStdout()).Encode(report)
			} else {
				fmt.Fprintln(progress, verdict(report))
			}
			if err == nil && !report.Conforms {
				return errReported
			}
			return err
		},
	}
	c.Flags().StringVar(&settings, "settings", "", "`FILE` with the settings to hand to the plugin, a JSON object")
	c.Flags().BoolVar(&options.Varies, "varies", false, "the same issue may be answered differently, as a language model does")
	c.Flags().DurationVar(&options.Timeout, "timeout", 10*time.Second, "how long a call may take")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON (what is checked goes to standard error)")
	return c
}

// testPlugin makes the checks and tells of each as it is made.
func testPlugin(ctx context.Context, name string, spec plugin.Spec, options sdktest.Options, progress io.Writer, logger *slog.Logger) conformance {
	report := conformance{Plugin: name, Conforms: true, Checks: []conformanceRow{}}
	shown := plugin.Redactor(options.Settings)
	options.Progress = func(r sdktest.Result) {
		row := conformanceRow{Check: r.Check, OK: r.Err == nil, TookMS: r.Took.Milliseconds()}
		mark := "ok   "
		if r.Err != nil {
			mark = "FAULT"
			row.Faults = strings.Split(shown(r.Err.Error()), "\n")
			report.Conforms = false
		}
		report.Checks = append(report.Checks, row)
		fmt.Fprintf(progress, "%s  %s\n", mark, r.Check)
		for _, f := range row.Faults {
			fmt.Fprintf(progress, "         - %s\n", clean(f, 1000))
		}
	}
	confinement := confine.Probe()
	sdktest.CheckPlugin(ctx, func(ctx context.Context) (*sdktest.Plugin, error) {
		t, err := plugin.Try(ctx, spec, plugin.Options{Logger: logger, Confinement: confinement})
		if err != nil {
			return nil, err
		}
		p := &sdktest.Plugin{Conn: t.Conn(), Close: t.Close}
		if t.Owned() {
			p.Process = &sdktest.Process{HangUp: t.HangUp, Ended: t.Ended(), Cause: t.Cause}
		}
		return p, nil
	}, options)
	if ctx.Err() != nil {
		report.Conforms = false
	}
	return report
}

func verdict(r conformance) string {
	faulty := 0
	for _, c := range r.Checks {
		if !c.OK {
			faulty++
		}
	}
	switch {
	case faulty > 0:
		return fmt.Sprintf("\n%s does not conform: %d of %d checks found faults.", clean(r.Plugin, 200), faulty, len(r.Checks))
	case !r.Conforms:
		return fmt.Sprintf("\nThe checks were interrupted after %d.", len(r.Checks))
	}
	return fmt.Sprintf("\n%s conforms: %d checks, no fault.", clean(r.Plugin, 200), len(r.Checks))
}
