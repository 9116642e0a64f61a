package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// usageReport is what "dispatchai usage --json" prints.
type usageReport struct {
	From time.Time    `json:"from"`
	To   time.Time    `json:"to"`
	Rows []usageRow   `json:"rows"`
	Sum  triage.Usage `json:"sum"`
	// Budget is what the options at hand allow for a day, in US dollars; 0 is no bound.
	Budget           float64 `json:"daily_budget_usd"`
	RepositoryBudget float64 `json:"repository_daily_budget_usd"`
	// Today is what answers cost since midnight UTC, in all.
	Today float64 `json:"today_usd"`
}

type usageRow struct {
	store.UsageEntry
	// Repository is owner/name, empty when the repository is not known any more.
	Repository string `json:"repository"`
	// Per1000 is what a thousand answers cost at this rate, in US dollars.
	Per1000 float64 `json:"usd_per_1000_answers"`
}

func usageCommand() *cobra.Command {
	flags := &optionFlags{}
	var asJSON, byDay bool
	var days int
	var repository string
	c := &cobra.Command{
		Use:   "usage",
		Short: "Show what classifiers' answers cost",
		Long: "Shows the tokens and the cost of classifiers' answers, as the classifiers state them, by repository and classifier, dearest\n" +
			"first. Days are those of UTC, as for the daily budgets. It works beside a running service.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if days < 1 || days > 3660 {
				return fmt.Errorf("--days: %d is not possible; give 1 (today) to 3660", days)
			}
			options, s, err := openStore(c, flags)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.Close()) }()
			names, id, err := repositoryNames(c, s, repository)
			if err != nil {
				return err
			}
			today := store.Day(time.Now())
			report := usageReport{
				From: today.AddDate(0, 0, 1-days), To: today, Rows: []usageRow{},
				Budget: options.DailyBudgetUSD, RepositoryBudget: options.RepositoryDailyBudgetUSD,
			}
			entries, err := s.UsageBetween(c.Context(), report.From, report.To, id)
			if err != nil {
				return err
			}
			report.add(entries, names, byDay)
			spent, err := s.Spent(c.Context(), today, nil)
			if err != nil {
				return err
			}
			report.Today = spent.Total
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(report)
			}
			return report.print(c.OutOrStdout())
		},
	}
	flags.add(c)
	c.Flags().IntVar(&days, "days", 30, "how many days, today included")
	c.Flags().StringVar(&repository, "repo", "", "only this repository, as owner/name")
	c.Flags().BoolVar(&byDay, "by-day", false, "one row per day, oldest first, instead of their sums")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// add sums the entries: by day, or over all days with the dearest first.
func (r *usageReport) add(entries []store.UsageEntry, names map[int64]string, byDay bool) {
	type key struct {
		day        time.Time
		repository int64
		plugin     string
	}
	places := make(map[key]int)
	for _, e := range entries {
		k := key{e.Day, e.RepositoryID, e.Plugin}
		if !byDay {
			k.day, e.Day = time.Time{}, r.From
		}
		i, ok := places[k]
		if !ok {
			i = len(r.Rows)
			places[k] = i
			r.Rows = append(r.Rows, usageRow{UsageEntry: store.UsageEntry{Day: e.Day, RepositoryID: e.RepositoryID, Plugin: e.Plugin}, Repository: names[e.RepositoryID]})
		}
		row := &r.Rows[i]
		row.Answers, row.Cached, row.Usage = row.Answers+e.Answers, row.Cached+e.Cached, row.Plus(e.Usage)
		row.Per1000 = 1000 * row.CostUSD / float64(row.Answers)
		r.Sum = r.Sum.Plus(e.Usage)
	}
	if !byDay {
		slices.SortStableFunc(r.Rows, func(a, b usageRow) int { return cmp.Compare(b.CostUSD, a.CostUSD) })
	}
}

func (r usageReport) print(out io.Writer) error {
	fmt.Fprintf(out, "From %s to %s (UTC), $%.4f in all; today $%.4f", r.From.Format(time.DateOnly), r.To.Format(time.DateOnly), r.Sum.CostUSD, r.Today)
	if r.Budget > 0 {
		fmt.Fprintf(out, " of $%.2f", r.Budget)
	}
	fmt.Fprintln(out, ".")
	if len(r.Rows) == 0 {
		fmt.Fprintln(out, "No classifier has stated any cost.")
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "SINCE\tREPOSITORY\tCLASSIFIER\tANSWERS\tKNOWN ALREADY\tTOKENS IN\tTOKENS OUT\tCOST\tPER 1,000")
	for _, row := range r.Rows {
		name := clean(row.Repository, 80)
		if name == "" {
			name = fmt.Sprint(row.RepositoryID)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t$%.4f\t$%.2f\n", row.Day.Format(time.DateOnly), name, clean(row.Plugin, 40),
			row.Answers, row.Cached, row.InputTokens, row.OutputTokens, row.CostUSD, row.Per1000)
	}
	return w.Flush()
}
