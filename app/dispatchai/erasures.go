package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/dispatchai/dispatchai/core/store"
)

// erasureReport is what "dispatchai erasures --json" prints.
type erasureReport struct {
	Pending []pendingErasure `json:"pending"`
	Log     []store.Erasure  `json:"log"`
	Forgets []store.Forget   `json:"plugins_to_tell"`
}

type pendingErasure struct {
	store.Removal
	DueAt time.Time `json:"due_at"`
}

func erasuresCommand() *cobra.Command {
	flags := &optionFlags{}
	var asJSON bool
	var limit int
	c := &cobra.Command{
		Use:   "erasures",
		Short: "Show what will be erased and when, and the log of what was",
		Long: "Shows the data of what was removed on GitHub with the date on which it will be erased (DISPATCHAI_ERASE_AFTER after its removal),\n" +
			"the log of what was erased, and which plugins are still to be told to forget a repository. It works beside a running service.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			options, s, err := openStore(c, flags)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.Close()) }()
			// Whatever is removed by now, however its time compares with this clock.
			removals, err := s.Removals(c.Context(), time.Now().AddDate(1, 0, 0), limit)
			if err != nil {
				return err
			}
			report := erasureReport{Pending: make([]pendingErasure, len(removals))}
			for i, r := range removals {
				report.Pending[i] = pendingErasure{r, r.RemovedAt.Add(options.EraseAfter)}
			}
			if report.Log, err = s.Erasures(c.Context(), limit); err != nil {
				return err
			}
			if report.Forgets, err = s.Forgets(c.Context()); err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(report)
			}
			return report.print(c)
		},
	}
	flags.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().IntVar(&limit, "limit", 100, "how many of each at most")
	return c
}

func (r erasureReport) print(c *cobra.Command) error {
	out := c.OutOrStdout()
	when := func(t time.Time) string { return t.Local().Format(time.RFC3339) }
	if len(r.Pending) == 0 {
		fmt.Fprintln(out, "Nothing waits to be erased.")
	} else {
		w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "TO BE ERASED\tNAME\tREMOVED\tBECAUSE\tDUE")
		for _, p := range r.Pending {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", subjectName(p.Subject, p.InstallationID, p.RepositoryID, p.Number),
				clean(p.Name, 80), when(p.RemovedAt), words(p.Because), when(p.DueAt))
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if len(r.Log) > 0 {
		w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "\nERASED\tREMOVED\tBECAUSE\tBEGUN\tENDED\tROWS")
		for _, e := range r.Log {
			ended := "under way"
			if !e.EndedAt.IsZero() {
				ended = when(e.EndedAt)
			}
			if e.Outcome == store.Returned {
				ended += " (it came back)"
			}
			var rows int64
			for _, n := range e.Rows {
				rows += n
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\n", subjectName(e.Subject, e.InstallationID, e.RepositoryID, e.Number), when(e.RemovedAt), words(e.Because), when(e.BegunAt), ended, rows)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	for _, f := range r.Forgets {
		fmt.Fprintf(out, "Plugin %s is still to forget repository %d (since %s).\n", clean(f.Plugin, 40), f.RepositoryID, when(f.Since))
	}
	return nil
}

func subjectName(s store.Subject, installationID, repositoryID int64, number int) string {
	switch s {
	case store.SubjectIssue:
		return fmt.Sprintf("issue %d#%d", repositoryID, number)
	case store.SubjectInstallation:
		return fmt.Sprintf("installation %d", installationID)
	}
	return fmt.Sprintf("repository %d", repositoryID)
}

func words(c store.Cause) string { return strings.ReplaceAll(string(c), "_", " ") }
