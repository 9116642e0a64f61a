package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"unicode/utf8"

	"github.com/dispatchai/dispatchai/core/failpoint"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// checkName is what the check run on a commit is called.
const checkName = "DispatchAI configuration"

// wantedCheck is the newest check run that there should be after a reading:
// one with the faults of the repository's own file on the commit that brought
// them, and one more when they are mended. Faults of the organisation's file are
// shown where that file is.
func wantedCheck(before *store.ConfigurationCheck, found reading) *store.ConfigurationCheck {
	if found.access != store.AccessContents || !found.config.Checks || !found.own.Present || found.own.Commit == "" {
		return nil
	}
	wanted := &store.ConfigurationCheck{Commit: found.own.Commit, Failed: len(ownFaults(found.own, found.faults)) > 0}
	switch {
	case before != nil && before.Commit == wanted.Commit && before.Failed == wanted.Failed:
		return before
	case !wanted.Failed && (before == nil || !before.Failed || before.Refused != ""):
		return nil // nothing to mend, or nobody was told
	}
	return wanted
}

func ownFaults(own store.ConfigurationFile, faults []triage.ConfigFault) []triage.ConfigFault {
	var mine []triage.ConfigFault
	for _, f := range faults {
		if f.File == own.Name || f.File == "" {
			mine = append(mine, f)
		}
	}
	return mine
}

// check makes the check run unless it is there: a crash may have come between
// the making and its record. An error means that it is to be tried again.
func (r *Refresher) check(ctx context.Context, log *slog.Logger, job store.ConfigurationJob, c *store.ConfigurationCheck, faults []triage.ConfigFault) error {
	run := checkRun(*c, faults)
	installation := job.Repository.InstallationID
	there, err := r.GitHub.CheckConclusion(ctx, installation, job.Repository, c.Commit, checkName)
	if err == nil && there != run.Conclusion {
		failpoint.Hit("reconcile/before-check")
		err = r.GitHub.CreateCheckRun(ctx, installation, job.Repository, run)
		failpoint.Hit("reconcile/after-check")
	}
	switch {
	case err == nil:
		log.InfoContext(ctx, "the commit has a check run about the configuration", "commit", c.Commit, "conclusion", run.Conclusion)
	case outOfReach(err), errors.Is(err, github.ErrNotFound):
		// The App may not write checks here; the dashboard shows the faults.
		c.Refused = err.Error()
		log.DebugContext(ctx, "no check run about the configuration", "error", err)
	default:
		return err
	}
	c.Done = true
	return nil
}

// The bounds of GitHub on what a check run says.
const (
	maxSummary         = 60_000 // characters of 65,535
	maxAnnotationTitle = 255
)

// checkRun words it. Faults quote the file, a stranger's text: in an indented
// block nothing of it is markup.
func checkRun(c store.ConfigurationCheck, faults []triage.ConfigFault) github.CheckRun {
	run := github.CheckRun{Name: checkName, SHA: c.Commit, Conclusion: "success",
		Title: "The configuration is in force", Summary: "`" + triage.ConfigFileName + "` has no faults any more, and is in force."}
	if !c.Failed {
		return run
	}
	run.Conclusion = "failure"
	run.Title = fmt.Sprintf("%d faults in %s", len(faults), triage.ConfigFileName)
	if len(faults) == 1 {
		run.Title = "1 fault in " + triage.ConfigFileName
	}
	var summary strings.Builder
	summary.WriteString("What was in force before stays so until the file is mended; where nothing was, nothing is written on issues.\n\n")
	for _, f := range faults {
		if len(run.Annotations) < github.MaxAnnotations {
			run.Annotations = append(run.Annotations, github.Annotation{
				Path: triage.ConfigFileName, Line: max(f.Line, 1), Column: f.Column, Title: cut(f.Path, maxAnnotationTitle), Message: f.Message,
			})
		}
		f.File = ""
		line := "    " + f.Error() + "\n"
		if summary.Len()+len(line) > maxSummary {
			summary.WriteString("    ...\n")
			break
		}
		summary.WriteString(line)
	}
	run.Summary = summary.String()
	return run
}

func cut(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most])
}
