package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/dispatchai/dispatchai/core/eventlog"
)

func deadCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "dead",
		Short: "List, show and replay dead letters",
		Long:  "Dead letters are events that failed for good. They wait here, with the error and the original record, until they are replayed or discarded.\nThe commands work beside a running service and without one.",
	}
	c.AddCommand(deadListCommand(), deadShowCommand(), deadReplayCommand(), deadDiscardCommand())
	return c
}

// withDeadLetters opens the log that the flags and the environment name.
func withDeadLetters(c *cobra.Command, flags *optionFlags, use func(*eventlog.DeadLetters) error) error {
	return withLog(c, flags, func(l openedLog) error {
		return use(eventlog.NewDeadLetters(l.cluster, l.producer, newLogger(c.ErrOrStderr(), slogWarn)))
	})
}

func deadListCommand() *cobra.Command {
	flags := &optionFlags{}
	var asJSON bool
	var options eventlog.ListOptions
	c := &cobra.Command{
		Use: "list", Short: "List the dead letters, the oldest first", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return withDeadLetters(c, flags, func(letters *eventlog.DeadLetters) error {
				list, err := letters.List(c.Context(), options)
				if err != nil {
					return err
				}
				if asJSON {
					if list == nil {
						list = []eventlog.DeadLetter{}
					}
					return json.NewEncoder(c.OutOrStdout()).Encode(list)
				}
				if len(list) == 0 {
					fmt.Fprintln(c.OutOrStdout(), "There are no dead letters.")
					return nil
				}
				w := tabwriter.NewWriter(c.OutOrStdout(), 0, 4, 2, ' ', 0)
				fmt.Fprintln(w, "ID\tDIED\tTOPIC\tKEY\tEVENT\tATTEMPTS\tERROR")
				for _, d := range list {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", d.ID, d.Time.Local().Format(time.RFC3339), d.Topic, clean(d.Key, 60), clean(d.Event, 40), d.Attempts, clean(d.Error, 200))
				}
				return w.Flush()
			})
		},
	}
	flags.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().IntVar(&options.Limit, "limit", 100, "how many at most")
	c.Flags().StringVar(&options.After, "after", "", "go on after this ID")
	c.Flags().BoolVar(&options.Resolved, "resolved", false, "also those that were replayed or discarded")
	return c
}

func deadShowCommand() *cobra.Command {
	flags := &optionFlags{}
	var raw bool
	c := &cobra.Command{
		Use: "show ID", Short: "Show one dead letter with its original record, as JSON", Args: cobra.ExactArgs(1),
		Long: "Shows one dead letter as JSON: the error, the headers, and the original record, which stands in value where it is JSON\n" +
			"and in value_base64 where it is not. With --raw nothing but the record's bytes is written, exactly as they came.",
		RunE: func(c *cobra.Command, args []string) error {
			return withDeadLetters(c, flags, func(letters *eventlog.DeadLetters) error {
				d, err := letters.Show(c.Context(), args[0])
				if err != nil {
					return err
				}
				if raw {
					_, err := c.OutOrStdout().Write(d.Value)
					return err
				}
				view := struct {
					eventlog.DeadLetter
					JSON   json.RawMessage `json:"value,omitempty"`
					Binary []byte          `json:"value_base64,omitempty"`
				}{DeadLetter: d}
				if json.Valid(d.Value) && utf8.Valid(d.Value) {
					view.JSON = d.Value
				} else {
					view.Binary = d.Value
				}
				e := json.NewEncoder(c.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(view)
			})
		},
	}
	flags.add(c)
	c.Flags().BoolVar(&raw, "raw", false, "write the original record's bytes and nothing else")
	return c
}

func deadReplayCommand() *cobra.Command {
	flags := &optionFlags{}
	var all, asJSON bool
	c := &cobra.Command{
		Use: "replay [ID ...]", Short: "Put dead letters back on the topic they came from",
		Args: func(_ *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return errors.New("name the dead letters to replay (see 'dispatchai dead list'), or say --all")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			return withDeadLetters(c, flags, func(letters *eventlog.DeadLetters) error {
				replay := func() ([]string, error) { return letters.Replay(c.Context(), args...) }
				if all {
					replay = func() ([]string, error) { return letters.ReplayAll(c.Context()) }
				}
				replayed, err := replay()
				if asJSON {
					if replayed == nil {
						replayed = []string{}
					}
					return errors.Join(err, json.NewEncoder(c.OutOrStdout()).Encode(map[string]any{"replayed": replayed}))
				}
				fmt.Fprintf(c.OutOrStdout(), "Replayed %s.\n", plural(len(replayed), "dead letter", "dead letters"))
				return err
			})
		},
	}
	flags.add(c)
	c.Flags().BoolVar(&all, "all", false, "replay every dead letter")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func deadDiscardCommand() *cobra.Command {
	flags := &optionFlags{}
	c := &cobra.Command{
		Use: "discard ID ...", Short: "Settle dead letters that nobody needs any more", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return withDeadLetters(c, flags, func(letters *eventlog.DeadLetters) error {
				return letters.Discard(c.Context(), args...)
			})
		},
	}
	flags.add(c)
	return c
}
