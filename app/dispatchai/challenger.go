package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// challengerReport is what "dispatchai challenger --json" prints.
type challengerReport struct {
	Scores        []store.ChallengeScore `json:"scores"`
	Disagreements []store.Disagreement   `json:"disagreements"`
}

func challengerCommand() *cobra.Command {
	flags := &optionFlags{}
	var asJSON bool
	var limit int
	var repository string
	c := &cobra.Command{
		Use:   "challenger",
		Short: "Show what a challenger would have said, and who was right",
		Long: "A challenger is a classifier that is asked beside those that decide, without any effect (DISPATCHAI_CHALLENGER, or\n" +
			"challenger in a repository's file). Shows how often it agrees with what was decided, who was right of the two where a\n" +
			"person has said what is true, and the disagreements that nobody has settled, the most instructive first. It works beside\n" +
			"a running service.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if limit < 1 || limit > 10_000 {
				return fmt.Errorf("--limit: %d is not possible; give 1 to 10000", limit)
			}
			_, s, err := openStore(c, flags)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.Close()) }()
			_, id, err := repositoryNames(c, s, repository)
			if err != nil {
				return err
			}
			var repositories []int64
			if id != 0 {
				repositories = []int64{id}
			}
			var report challengerReport
			if report.Scores, err = s.ChallengeScores(c.Context(), repositories); err != nil {
				return err
			}
			if report.Disagreements, err = s.Disagreements(c.Context(), repositories, limit); err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(report)
			}
			return report.print(c.OutOrStdout())
		},
	}
	flags.add(c)
	c.Flags().IntVar(&limit, "limit", 20, "how many disagreements")
	c.Flags().StringVar(&repository, "repo", "", "only this repository, as owner/name")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (r challengerReport) print(out io.Writer) error {
	if len(r.Scores) == 0 {
		fmt.Fprintln(out, "No challenger has been asked. Name one with DISPATCHAI_CHALLENGER, or in a repository's .github/dispatchai.yml.")
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "REPOSITORY\tCHALLENGER\tFIELD\tCOMPARED\tAGREED\tJUDGED\tCHAIN RIGHT\tCHALLENGER RIGHT")
	for _, s := range r.Scores {
		fmt.Fprintf(w, "%s\t%s %s\t%s\t%d\t%d%%\t%d\t%s\t%s\n", clean(s.Repository, 80), clean(s.Challenger, 40), clean(s.Version, 40), s.Field,
			s.Compared, 100*s.Agreed/s.Compared, s.Judged, rate(s.ChampionRight, s.Judged), rate(s.ChallengerRight, s.Judged))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(r.Disagreements) == 0 {
		fmt.Fprintln(out, "\nNo disagreement waits for a person's word.")
		return nil
	}
	fmt.Fprintln(out, "\nWaiting for a person's word, the most instructive first (settle one by correcting the field):")
	fmt.Fprintln(w, "ISSUE\tFIELD\tDECIDED\tCHALLENGER\tTITLE")
	for _, d := range r.Disagreements {
		fmt.Fprintf(w, "%s#%d\t%s\t%s\t%s\t%s\n", clean(d.Repository, 80), d.Number, d.Field, told(d.Says.Champion), told(d.Says.Challenger), clean(d.Title, 60))
	}
	return w.Flush()
}

// rate is a share with its 95 % interval.
func rate(right, of int) string {
	if of == 0 {
		return "-"
	}
	low, high := triage.WilsonInterval(right, of)
	return fmt.Sprintf("%d%% (%d-%d%%)", (100*right+of/2)/of, int(100*low+0.5), int(100*high+0.5))
}

// told is an opinion in a few words; one that is not sure stands in brackets.
func told(o triage.Opinion) string {
	if len(o.Values) == 0 {
		return "nothing"
	}
	text := fmt.Sprintf("%s %d%%", clean(strings.Join(o.Values, ", "), 60), int(100*o.Confidence+0.5))
	if !o.Sure {
		return "(" + text + ")"
	}
	return text
}
