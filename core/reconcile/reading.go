package reconcile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/repoconfig"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// inheritedFrom is the name of the repository whose file all others of the same
// owner inherit.
const inheritedFrom = ".github"

// maxWorkflows bounds the workflow files that are looked through.
const maxWorkflows = 100

// reading is what was found in a repository.
type reading struct {
	at        time.Time
	access    store.Access
	inherited store.ConfigurationFile // without a name where there is nothing to inherit from
	own       store.ConfigurationFile
	workflows store.WorkflowFiles
	notes     []string
	types     []string

	config triage.RepositoryConfig
	faults []triage.ConfigFault
}

// read fetches the files, as far as they changed, and parses them. An error
// means that GitHub did not tell; whatever it refuses for good is taken for
// what is not there.
func (r *Refresher) read(ctx context.Context, job store.ConfigurationJob) (reading, error) {
	found := reading{at: r.Now(), access: store.AccessContents}
	repository := job.Repository
	var err error
	name := fileName(repository)
	found.own, err = r.fetch(ctx, repository, fileBefore(job.Report, name))
	switch {
	case errors.Is(err, github.ErrForbidden):
		found.access = store.AccessNone
		found.own = store.ConfigurationFile{ConfigurationSource: store.ConfigurationSource{Name: name}}
	case err != nil:
		return found, err
	}
	if !strings.EqualFold(repository.Name(), inheritedFrom) {
		if found.inherited, err = r.inherit(ctx, job); err != nil {
			return found, err
		}
	}
	if found.access != store.AccessNone {
		if err = r.readWorkflows(ctx, job, &found); err != nil {
			return found, err
		}
	}
	found.parse(r.Classifiers)
	config := found.config
	if len(found.faults) > 0 && job.Configuration != nil {
		config = job.Configuration.Config
	}
	if config.IssueTypes.Set {
		if found.types, err = r.issueTypes(ctx, job, &found); err != nil {
			return found, err
		}
	}
	return found, nil
}

// outOfReach tells that GitHub will not give what was asked for, now and when it
// is asked again.
func outOfReach(err error) bool {
	return errors.Is(err, github.ErrForbidden) || errors.Is(err, github.ErrInvalid) || errors.Is(err, github.ErrGone)
}

// fileName is what faults call a repository's configuration file.
func fileName(r triage.Repository) string { return r.FullName + "/" + triage.ConfigFileName }

func fileBefore(report store.ConfigurationReport, name string) store.ConfigurationFile {
	for _, f := range report.Files {
		if f.Name == name {
			return f
		}
	}
	return store.ConfigurationFile{ConfigurationSource: store.ConfigurationSource{Name: name}}
}

// fetch reads a repository's configuration file anew if it has changed. The
// error is an out-of-reach one where the App may not read it.
func (r *Refresher) fetch(ctx context.Context, repository triage.Repository, before store.ConfigurationFile) (store.ConfigurationFile, error) {
	file, err := r.GitHub.Contents(ctx, repository.InstallationID, repository, triage.ConfigFileName, before.ETag, repoconfig.MaxBytes)
	now := store.ConfigurationFile{ConfigurationSource: store.ConfigurationSource{Name: before.Name}}
	switch {
	case errors.Is(err, github.ErrNotModified):
		return before, nil
	case errors.Is(err, github.ErrNotFound):
		return now, nil
	case err != nil:
		return now, err
	}
	now.Present, now.Blob, now.ETag, now.Content = true, file.SHA, file.ETag, file.Content
	switch {
	case file.Directory:
		now.Fault = "this is a directory; make it a file"
	case file.Size > repoconfig.MaxBytes:
		now.Fault = fmt.Sprintf("the file is %d bytes long; make it %d at most", file.Size, repoconfig.MaxBytes)
	}
	if before.Present && before.Blob == now.Blob && before.Commit != "" {
		now.Commit = before.Commit
		return now, nil
	}
	now.Commit, err = r.GitHub.LastCommit(ctx, repository.InstallationID, repository, triage.ConfigFileName)
	if err != nil && !outOfReach(err) && !errors.Is(err, github.ErrNotFound) {
		return now, err
	}
	return now, nil
}

// inherit gives the file of the owner's repository .github. What was read since
// the repository was marked serves all of the owner's repositories.
func (r *Refresher) inherit(ctx context.Context, job store.ConfigurationJob) (store.ConfigurationFile, error) {
	owner, installation := job.Repository.Owner(), job.Repository.InstallationID
	held, checkedAt, err := r.Store.LoadOwnerFile(ctx, installation, owner)
	known := err == nil
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return held, fmt.Errorf("store: %w", err)
	}
	fresh := checkedAt.After(job.Since)
	if job.Because == store.DuePeriodic {
		fresh = fresh || r.Now().Sub(checkedAt) < r.FilePoll/2
	}
	if known && fresh {
		return held, nil
	}
	found, err, _ := r.owners.Do(fmt.Sprintf("%d/%s", installation, strings.ToLower(owner)), func() (any, error) {
		at := r.Now()
		from := triage.Repository{InstallationID: installation, FullName: owner + "/" + inheritedFrom}
		if held.Name == "" {
			held.Name = fileName(from)
		}
		file, err := r.fetch(ctx, from, held)
		if outOfReach(err) {
			err = nil // the App is not installed there, or may not read there
		}
		if err != nil {
			return file, err
		}
		if err := r.Store.SaveOwnerFile(ctx, installation, owner, file, at); err != nil {
			return file, fmt.Errorf("store: %w", err)
		}
		return file, nil
	})
	file, _ := found.(store.ConfigurationFile)
	return file, err
}

// readWorkflows finds out which labels the workflows react to, and whether the
// App may read more than its own file.
func (r *Refresher) readWorkflows(ctx context.Context, job store.ConfigurationJob, found *reading) error {
	repository, before := job.Repository, job.Report.Workflows
	directory, err := r.GitHub.Contents(ctx, repository.InstallationID, repository, github.WorkflowDirectory, before.ETag, 0)
	switch {
	case errors.Is(err, github.ErrNotModified):
		found.workflows = before
	case errors.Is(err, github.ErrNotFound):
	case outOfReach(err):
		found.access = store.AccessFile
	case err != nil:
		return err
	default:
		found.workflows.ETag = directory.ETag
		for _, e := range directory.Entries {
			if !repoconfig.WorkflowFile(e.Path) {
				continue
			}
			if len(found.workflows.Files) == maxWorkflows {
				found.notes = append(found.notes, fmt.Sprintf("There are more than %d workflows; the labels that the others react to are not known.", maxWorkflows))
				break
			}
			w, err := r.workflow(ctx, repository, e, before)
			if err != nil {
				return err
			}
			found.workflows.Files = append(found.workflows.Files, w)
		}
	}
	for _, w := range found.workflows.Files {
		found.notes = append(found.notes, w.Unclear...)
	}
	return nil
}

// workflow reads one workflow unless it was read before.
func (r *Refresher) workflow(ctx context.Context, repository triage.Repository, e github.Entry, before store.WorkflowFiles) (store.WorkflowFile, error) {
	for _, w := range before.Files {
		if w.Path == e.Path && w.Blob == e.SHA {
			return w, nil
		}
	}
	w := store.WorkflowFile{Path: e.Path, Blob: e.SHA}
	file, err := r.GitHub.Contents(ctx, repository.InstallationID, repository, e.Path, "", repoconfig.MaxBytes)
	switch {
	case errors.Is(err, github.ErrNotFound), outOfReach(err):
		return w, nil // gone since it was listed
	case err != nil:
		return w, err
	case file.Content == nil && file.Size > 0:
		w.Unclear = []string{fmt.Sprintf("%s is too large to be read; the labels that it reacts to are not known.", e.Path)}
		return w, nil
	}
	reactions := repoconfig.ReadWorkflows(repoconfig.File{Name: e.Path, Content: file.Content})
	w.Labels, w.Unclear = reactions.Labels, reactions.Unclear
	return w, nil
}

// issueTypes reads the names of the types; where only the configuration file is
// read, every minute, once an hour.
func (r *Refresher) issueTypes(ctx context.Context, job store.ConfigurationJob, found *reading) ([]string, error) {
	if c := job.Configuration; c != nil && len(c.IssueTypes) > 0 && job.Because == store.DuePeriodic &&
		job.Report.CheckedAt.Truncate(time.Hour).Equal(found.at.UTC().Truncate(time.Hour)) {
		return c.IssueTypes, nil
	}
	types, err := r.GitHub.IssueTypes(ctx, job.Repository.InstallationID, job.Repository)
	if outOfReach(err) {
		found.notes = append(found.notes, "The App may not read the issue types, so that none is set.")
		return nil, nil
	}
	return types, err
}

// parse merges the files that are there.
func (found *reading) parse(classifiers []string) {
	var files []repoconfig.File
	for _, f := range []store.ConfigurationFile{found.inherited, found.own} {
		if f.Present && f.Fault == "" {
			files = append(files, repoconfig.File{Name: f.Name, Content: f.Content})
		}
	}
	found.config, found.faults = repoconfig.Parse(repoconfig.Options{Classifiers: classifiers}, files...)
	for _, f := range []store.ConfigurationFile{found.inherited, found.own} {
		if f.Present && f.Fault != "" {
			found.faults = append(found.faults, triage.ConfigFault{File: f.Name, Message: f.Fault})
		}
	}
}

// judge decides what is in force after a reading, and when the next is due.
func (r *Refresher) judge(job store.ConfigurationJob, found reading) store.ConfigurationResult {
	c := &store.Configuration{Config: found.config, IssueTypes: found.types}
	for _, w := range found.workflows.Files {
		c.Reacting = append(c.Reacting, w.Labels...)
	}
	slices.Sort(c.Reacting)
	c.Reacting = slices.Compact(c.Reacting)
	report := store.ConfigurationReport{
		Access: found.access, Faults: found.faults, Workflows: found.workflows, Notes: found.notes,
		InForceSince: job.Report.InForceSince, Check: wantedCheck(job.Report.Check, found), CheckedAt: found.at,
	}
	for _, f := range []store.ConfigurationFile{found.inherited, found.own} {
		if f.Name == "" {
			continue
		}
		report.Files = append(report.Files, f)
		if f.Present && len(found.faults) == 0 {
			report.InForce = append(report.InForce, f.ConfigurationSource)
		}
	}
	if len(found.faults) > 0 {
		report.InForce, report.Guarded = job.Report.InForce, job.Report.Guarded
		if job.Configuration != nil {
			c.Config = job.Configuration.Config
		} else {
			// Nobody knows what the files want: perhaps to be left alone.
			c.Config, report.Guarded = triage.DefaultRepositoryConfig(), true
			c.Config.Mode = triage.ModeShadow
		}
	}
	if job.Configuration == nil || !sameConfig(c.Config, job.Configuration.Config) || !slices.Equal(report.InForce, job.Report.InForce) || report.Guarded != job.Report.Guarded {
		report.InForceSince = found.at
	}
	return store.ConfigurationResult{
		RepositoryID: job.Repository.ID, Owner: job.Owner, Marks: job.Marks, Configuration: c, Report: report,
		NextDue: found.at.Add(r.period(job.Repository.ID, found.access)), Because: store.DuePeriodic,
	}
}

// sameConfig compares what is stored: an empty list is none.
func sameConfig(a, b triage.RepositoryConfig) bool {
	one, errA := json.Marshal(a)
	other, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(one, other)
}

// period is how long what was read is good for, spread so that not all
// repositories of a large installation are due at once.
func (r *Refresher) period(repositoryID int64, access store.Access) time.Duration {
	if access == store.AccessFile {
		return r.FilePoll
	}
	return r.Recheck + r.Recheck*time.Duration(repositoryID%64)/512
}
