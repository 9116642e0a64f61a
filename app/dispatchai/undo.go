package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/dispatchai/dispatchai/app"
	"github.com/dispatchai/dispatchai/core/store"
)

func undoCommand() *cobra.Command {
	flags := &optionFlags{}
	var plugin, since string
	var repositories []string
	var dryRun, asJSON bool
	c := &cobra.Command{
		Use:   "undo --plugin NAME[@VERSION] --since TIME",
		Short: "Take back what a plugin applied, and spare what people touched",
		Long: "Withdraws a plugin's answers and takes off the labels that it put on issues since a time. Labels that a person put on,\n" +
			"took off or confirmed stay as they are. Undone answers come back only when another plugin or version gives them, or when a\n" +
			"person asks for the issue to be classified anew.\n\n" +
			"See what would happen with --dry-run first. The command may be interrupted and run again; it works beside a running service,\n" +
			"which takes the labels off, and without one, which does so at its next start.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			undo := app.Undo{Repositories: repositories, Actor: operator(), Now: time.Now}
			var faults []error
			undo.Plugin, undo.Version, _ = strings.Cut(plugin, "@")
			if undo.Plugin == "" || strings.HasSuffix(plugin, "@") {
				faults = append(faults, errors.New("--plugin: name the plugin as NAME or NAME@VERSION; the dashboard shows both with each answer"))
			}
			var err error
			if undo.Since, err = parseSince(since, time.Now()); err != nil {
				faults = append(faults, err)
			}
			if err := errors.Join(faults...); err != nil {
				return err
			}
			if dryRun {
				return withStore(c, flags, func(s store.Store) error {
					report, err := undo.Plan(c.Context(), s)
					if err != nil {
						return err
					}
					return printUndo(c.OutOrStdout(), report, true, asJSON)
				})
			}
			return withLog(c, flags, func(log openedLog) error {
				return withStore(c, flags, func(s store.Store) error {
					plan, err := undo.Plan(c.Context(), s)
					if err != nil {
						return err
					}
					bar := newProgress(c.ErrOrStderr(), plan.Issues, "issues")
					report, err := undo.Run(c.Context(), s, log.producer, func(issues int) { _ = bar.Add(issues) })
					_ = bar.Exit()
					if err != nil {
						return err
					}
					return printUndo(c.OutOrStdout(), report, false, asJSON)
				})
			})
		},
	}
	flags.add(c)
	c.Flags().StringVar(&plugin, "plugin", "", "the plugin, and its version where only that is meant")
	c.Flags().StringVar(&since, "since", "", "what was applied from then on: 2006-01-02T15:04:05Z, 2006-01-02, 24h or 7d")
	c.Flags().StringSliceVar(&repositories, "repo", nil, "only in this repository, as owner/name; may be given several times")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "tell what would be taken off and what spared, and change nothing")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// withStore opens the store that the flags and the environment name, beside a
// running service or without one.
func withStore(c *cobra.Command, flags *optionFlags, use func(store.Store) error) (err error) {
	options, err := flags.read(c)
	if err != nil {
		return err
	}
	if err := logExists(options); err != nil {
		return err
	}
	s, err := backends().OpenStore(c.Context(), options, newLogger(c.ErrOrStderr(), slogWarn), prometheus.NewRegistry())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return use(s)
}

// parseSince reads a point in time: RFC 3339, a date (its beginning here), or
// how long ago it was.
func parseSince(text string, now time.Time) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		at, err = time.ParseInLocation(time.DateOnly, text, now.Location())
	}
	if err != nil {
		var ago time.Duration
		if days, found := strings.CutSuffix(text, "d"); found {
			var n int
			if n, err = strconv.Atoi(days); err == nil && n > 36_500 {
				err = strconv.ErrRange
			}
			ago = time.Duration(n) * 24 * time.Hour
		} else {
			ago, err = time.ParseDuration(text)
		}
		at = now.Add(-ago)
	}
	switch {
	case err != nil:
		return time.Time{}, fmt.Errorf("--since: %q is no time; write it as 2006-01-02T15:04:05Z, 2006-01-02, 24h or 7d", text)
	case at.After(now):
		return time.Time{}, fmt.Errorf("--since: %q is still to come", text)
	}
	return at.UTC(), nil
}

// newProgress shows how far a command has come, where somebody looks.
func newProgress(w io.Writer, most int, unit string) *progressbar.ProgressBar {
	visible := false
	if f, ok := w.(*os.File); ok {
		visible = term.IsTerminal(int(f.Fd()))
	}
	return progressbar.NewOptions(most,
		progressbar.OptionSetWriter(w), progressbar.OptionSetVisibility(visible), progressbar.OptionShowCount(), progressbar.OptionShowIts(),
		progressbar.OptionSetItsString(unit), progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond))
}

func printUndo(out io.Writer, r app.UndoReport, dryRun, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(struct {
			DryRun bool `json:"dry_run"`
			app.UndoReport
		}{dryRun, r})
	}
	name := r.Plugin
	if r.Version != "" {
		name += "@" + r.Version
	}
	if r.Labels+r.Spared == 0 {
		fmt.Fprintf(out, "%s has put no label on any issue since %s.\n", clean(name, 100), r.Since.Local().Format(time.RFC3339))
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "REPOSITORY\tLABEL\tISSUES\t\tFOR EXAMPLE")
	for _, one := range r.Repositories {
		for _, l := range append(one.Remove, one.Spare...) {
			numbers := make([]string, len(l.Examples))
			for i, n := range l.Examples {
				numbers[i] = "#" + strconv.Itoa(n)
			}
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", clean(one.Repository, 100), clean(l.Label, 60), l.Count, inWords(l.Reason), strings.Join(numbers, " "))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	labels, issues := plural(r.Labels, "label", "labels"), plural(r.Issues, "issue", "issues")
	if dryRun {
		fmt.Fprintf(out, "\nThis would take %s off %s and spare %d. Nothing was changed.\n", labels, issues, r.Spared)
		return nil
	}
	fmt.Fprintf(out, "\nThe undo of %s on %s is handed to the service, which takes them off within GitHub's limits; %d spared.\n", labels, issues, r.Spared)
	return nil
}

func inWords(reason app.SpareReason) string {
	switch reason {
	case "":
		return "taken off"
	case app.SpareVetoed:
		return "spared: somebody has taken it off already"
	case app.SpareOthers:
		return "spared: somebody else put it there"
	case app.SpareCorrected:
		return "spared: a person says that it is right"
	case app.SpareAnother:
		return "spared: another plugin or version says so too"
	case app.SpareIgnored:
		return "spared: the issue is to be left alone"
	case app.SpareHeld:
		return "spared: the repository's configuration leaves such labels as they are"
	case app.SpareGone:
		return "spared: the issue or its repository is gone"
	}
	return "spared: " + string(reason)
}
