package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/dispatchai/dispatchai/core/store"
)

func gapsCommand() *cobra.Command {
	flags := &optionFlags{}
	var asJSON bool
	var since string
	c := &cobra.Command{
		Use: "gaps", Short: "Show whether anything that GitHub told was missed", Args: cobra.NoArgs,
		Long: "Compares the deliveries that GitHub made with those that are held, and shows what was missing, had again and given up, and what\n" +
			"comparing each repository with GitHub has found. The service looks for gaps and closes them by itself; this only shows\n" +
			"it, beside a running service and without one. It ends with status 1 when there is a gap.",
		RunE: func(c *cobra.Command, _ []string) error {
			now := time.Now()
			from, err := parseSince(since, now)
			if err != nil {
				return err
			}
			return withStore(c, flags, func(s store.Store) error {
				report, err := s.Gaps(c.Context(), from, nil)
				if err != nil {
					return err
				}
				if asJSON {
					err = json.NewEncoder(c.OutOrStdout()).Encode(struct {
						Gapless bool   `json:"gapless"`
						Summary string `json:"summary"`
						store.GapReport
					}{report.Gapless(), report.Summary(now), report})
				} else {
					err = printGaps(c.OutOrStdout(), report, now)
				}
				if err == nil && !report.Gapless() {
					return errReported
				}
				return err
			})
		},
	}
	flags.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().StringVar(&since, "since", "72h", "deliveries made since: a span such as 24h or 3d, or a date such as 2026-05-01")
	return c
}

func printGaps(w io.Writer, report store.GapReport, now time.Time) error {
	fmt.Fprintf(w, "%s\n\n", report.Summary(now))
	d := report.Deliveries
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, row := range []struct {
		what  string
		count int64
		note  string
	}{
		{"deliveries GitHub made", d.Made, countNote(d.Ignored, "of events that are not for us")},
		{"deliveries held", d.Held, countNote(d.Waiting, "more in the event log, waiting")},
		{"failed at first", d.Failed, countNote(d.Healed, "of them held now")},
		{"asked for again", d.Redelivered, ""},
		{"missing", d.Missing, ""},
		{"given up", d.GivenUp, countNote(d.Covered, "of them made good from GitHub's lists")},
	} {
		fmt.Fprintf(t, "%s\t%d\t%s\n", row.what, row.count, row.note)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if report.SweptAt != nil {
		fmt.Fprintf(w, "\nGitHub's log was last read %s ago.\n", age(now, *report.SweptAt))
	}
	if len(report.Open) > 0 {
		fmt.Fprintln(w)
		fmt.Fprintln(t, "DELIVERY\tEVENT\tMADE\tSTATE\tASKED\tSTATUS")
		for _, m := range report.Open {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\n", clean(m.GUID, 40), clean(strings.TrimSuffix(m.Event+"."+m.Action, "."), 50),
				m.DeliveredAt.Local().Format(time.RFC3339), m.State, m.Asked, clean(m.Status, 100))
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if len(report.Repositories) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	fmt.Fprintln(t, "REPOSITORY\tCOMPARED\tISSUES\tMISSING\tCHANGED\tBACKFILL\tERROR")
	for _, r := range report.Repositories {
		compared := "not yet"
		if r.ReconciledAt != nil {
			compared = age(now, *r.ReconciledAt) + " ago"
		}
		backfill := ""
		if b := r.Backfill; b != nil {
			backfill = fmt.Sprintf("%s, %d of %d", b.Status, b.Listed, max(b.Total, b.Listed))
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%s\t%s\n", clean(r.FullName, 100), compared, r.Listed, r.Missing, r.Changed, backfill, clean(r.Error, 100))
	}
	return t.Flush()
}

func countNote(n int64, note string) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d %s", n, note)
}

func age(now, at time.Time) string { return max(0, now.Sub(at)).Round(time.Second).String() }
