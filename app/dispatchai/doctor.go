package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dispatchai/dispatchai/app"
)

func doctorCommand() *cobra.Command {
	flags := &optionFlags{}
	var asJSON bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Check the configuration, GitHub's answer, the event log, the store and the plugins",
		Long:  "Checks everything the configuration names and says what to do about each fault. It works beside a running service and without one, and ends with status 1 when something is wrong.",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			options, faults := flags.read(c)
			checks := app.Diagnose(c.Context(), options, backends(), faults)
			healthy := true
			for _, check := range checks {
				healthy = healthy && check.OK
			}
			if asJSON {
				if err := json.NewEncoder(c.OutOrStdout()).Encode(map[string]any{"healthy": healthy, "checks": checks}); err != nil {
					return err
				}
			} else {
				for _, check := range checks {
					mark := "ok  "
					if !check.OK {
						mark = "FAIL"
					}
					// What GitHub or a plugin said may be of several lines, or worse.
					fmt.Fprintf(c.OutOrStdout(), "%s  %-15s %s\n", mark, check.Name, clean(check.Detail, 4000))
				}
			}
			if !healthy {
				return errReported
			}
			return nil
		},
	}
	flags.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
