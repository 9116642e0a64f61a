package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/dispatchai/dispatchai/app"
	"github.com/dispatchai/dispatchai/core/control"
	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

type backfillFlags struct {
	options        optionFlags
	state, since   string
	cancel, asJSON bool
}

func backfillCommand() *cobra.Command {
	f := &backfillFlags{}
	c := &cobra.Command{
		Use: "backfill OWNER/REPO", Short: "Classify and label the issues that were there before", Args: cobra.ExactArgs(1),
		Long: "Asks the running service to read a repository's issues and to classify and label those that it has not seen as they are.\n" +
			"Live events always come first, and a part of GitHub's rate limit is left to them. The work goes on in the service: Ctrl-C\n" +
			"ends only the watching, and the same command shows it again. It survives restarts, and --cancel stops it.\n" +
			"Issues that are classified already are left alone, and nothing but labels is ever written.",
		RunE: func(c *cobra.Command, args []string) error {
			return withStore(c, &f.options, func(s store.Store) error {
				return withLog(c, &f.options, func(l openedLog) error { return f.run(c, s, l, args[0]) })
			})
		},
	}
	f.options.add(c)
	c.Flags().StringVar(&f.state, "state", "open", "which issues: open or all")
	c.Flags().StringVar(&f.since, "since", "", "only issues changed since: a span such as 30d, or a date such as 2026-05-01")
	c.Flags().BoolVar(&f.cancel, "cancel", false, "stop the backfill that is under way")
	c.Flags().BoolVar(&f.asJSON, "json", false, "print the progress as JSON lines")
	return c
}

func (f *backfillFlags) run(c *cobra.Command, s store.Store, l openedLog, name string) error {
	ctx := c.Context()
	repository, err := findRepository(ctx, s, name)
	if err != nil {
		return err
	}
	key := control.BackfillKey(repository.ID)
	wish, err := f.wish()
	if err != nil {
		return err
	}
	underWay, ok, err := backfillUnderWay(ctx, s, l, repository.ID)
	switch {
	case err != nil:
		return err
	case f.cancel && !ok:
		return fmt.Errorf("no backfill of %s is under way", repository.FullName)
	case f.cancel:
		wish = underWay
		wish.Cancel, wish.By, wish.At = true, operator(), time.Now().UTC()
	case ok && !sameWish(underWay, wish, c.Flags().Changed("state"), c.Flags().Changed("since")):
		return fmt.Errorf("another backfill of %s is under way, of issues in the state %s, asked for by %s; watch it without --state and --since, or stop it with --cancel",
			repository.FullName, underWay.State, clean(underWay.By, 60))
	case ok:
		f.note(c, "The backfill of %s is under way already, asked for by %s.", repository.FullName, clean(underWay.By, 60))
		wish = underWay
	}
	if !ok || f.cancel {
		value, err := wish.Encode()
		if err != nil {
			return err
		}
		if err := l.producer.Append(ctx, eventlog.Record{Topic: eventlog.TopicControl, Key: key, Value: value}); err != nil {
			return err
		}
	}
	runs, err := app.RoleRuns(ctx, l.cluster, app.RoleClassify)
	if err != nil {
		return err
	}
	if !runs {
		f.note(c, "No service runs at present. What you asked for is kept, and begins when one starts.")
		return nil
	}
	return f.watch(c, l, key, wish.ID)
}

func (f *backfillFlags) note(c *cobra.Command, format string, args ...any) {
	fmt.Fprintf(c.ErrOrStderr(), format+"\n", args...)
}

// wish is what the flags ask for.
func (f *backfillFlags) wish() (control.BackfillRequest, error) {
	r := control.BackfillRequest{ID: uuid.NewString(), State: f.state, By: operator(), At: time.Now().UTC().Truncate(time.Millisecond)}
	if f.state != "open" && f.state != "all" {
		return r, fmt.Errorf("--state: %q is neither open nor all", clean(f.state, 40))
	}
	if f.since != "" {
		since, err := parseSince(f.since, time.Now())
		if err != nil {
			return r, err
		}
		since = since.UTC()
		r.Since = &since
	}
	return r, nil
}

func sameWish(underWay, wish control.BackfillRequest, state, since bool) bool {
	if state && underWay.State != wish.State {
		return false
	}
	return !since || underWay.Since != nil && wish.Since != nil && underWay.Since.Equal(*wish.Since)
}

func findRepository(ctx context.Context, s store.Store, name string) (triage.Repository, error) {
	states, err := s.ListRepositories(ctx)
	if err != nil {
		return triage.Repository{}, err
	}
	var names []string
	for _, state := range states {
		if strings.EqualFold(state.Repository.FullName, name) {
			return state.Repository, nil
		}
		names = append(names, clean(state.Repository.FullName, 100))
	}
	const most = 10
	known := "none is known yet"
	if len(names) > 0 {
		known = "known are " + strings.Join(names[:min(len(names), most)], ", ")
		if len(names) > most {
			known += fmt.Sprintf(" and %d more", len(names)-most)
		}
	}
	return triage.Repository{}, fmt.Errorf("the App is not installed on a repository %q (owner/name), so far as the service has heard; %s", clean(name, 100), known)
}

// backfillUnderWay is what was asked for last and is not ended, whether the
// service has taken it up or not.
func backfillUnderWay(ctx context.Context, s store.Store, l openedLog, repositoryID int64) (request control.BackfillRequest, ok bool, err error) {
	all, err := s.Backfills(ctx)
	if err != nil {
		return request, false, err
	}
	at := slices.IndexFunc(all, func(b store.Backfill) bool { return b.Repository.ID == repositoryID })
	if at >= 0 {
		b := all[at]
		request, ok = control.BackfillRequest{ID: b.RequestID, State: b.State, Since: store.OptionalTime(b.Since), By: b.AskedBy, At: b.AskedAt}, b.Status == store.BackfillRunning
	}
	key := control.BackfillKey(repositoryID)
	snapshot, err := l.cluster.Snapshot(ctx, eventlog.TopicControl)
	if err != nil {
		return request, false, err
	}
	for _, r := range snapshot.Live {
		if r.Key != key {
			continue
		}
		if asked, err := control.ParseBackfillRequest(r.Value); err == nil && !asked.Cancel && asked.ID != request.ID && (at < 0 || asked.At.After(all[at].AskedAt)) {
			request, ok = asked, true
		}
	}
	return request, ok, nil
}

// watch shows the progress of a request until it has ended.
func (f *backfillFlags) watch(c *cobra.Command, l openedLog, key, id string) error {
	table, err := eventlog.NewTable(l.config, eventlog.TableConfig{Topics: []string{eventlog.TopicStatus}, Logger: newLogger(c.ErrOrStderr(), slogWarn)})
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(c.Context())
	following, stop := context.WithCancel(ctx)
	group.Go(func() error { return table.Run(following) })
	group.Go(func() error {
		defer stop()
		return f.follow(following, c, table, key, id)
	})
	return group.Wait()
}

func (f *backfillFlags) follow(ctx context.Context, c *cobra.Command, table *eventlog.Table, key, id string) error {
	show := f.display(c.OutOrStdout(), c.ErrOrStderr())
	var last time.Time
	for {
		changed := table.Changed()
		if e, ok := table.Get(eventlog.TopicStatus, key); ok {
			p, err := control.ParseBackfillProgress(e.Value)
			if err == nil && p.RequestID == id && !p.At.Equal(last) {
				last = p.At
				show(p)
				switch store.BackfillStatus(p.Status) {
				case store.BackfillDone, store.BackfillCancelled:
					return nil
				case store.BackfillFailed:
					return fmt.Errorf("the backfill of %s failed: %s", clean(p.Repository, 100), clean(p.Error, 500))
				}
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			f.note(c, "\nThe backfill goes on in the service. The same command shows it again; --cancel stops it.")
			return nil
		}
	}
}

// display shows progress as JSON lines, as a bar on a terminal, and as a line at
// the end everywhere else.
func (f *backfillFlags) display(out, errOut io.Writer) func(control.BackfillProgress) {
	if f.asJSON {
		encoder := json.NewEncoder(out)
		return func(p control.BackfillProgress) { _ = encoder.Encode(p) }
	}
	var bar *progressbar.ProgressBar
	return func(p control.BackfillProgress) {
		if bar == nil && terminal(errOut) {
			most := p.Total
			if most == 0 {
				most = -1
			}
			bar = progressbar.NewOptions64(most, progressbar.OptionSetWriter(errOut), progressbar.OptionSetDescription(clean(p.Repository, 60)),
				progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("issues"), progressbar.OptionSetPredictTime(true), progressbar.OptionFullWidth())
		}
		ended := p.Status != string(store.BackfillRunning)
		if bar != nil {
			_ = bar.Set64(min(p.Listed, max(p.Total, p.Listed)))
			if p.Error != "" && !ended {
				bar.Describe(clean(p.Repository, 60) + " waits: " + clean(p.Error, 80))
			}
		}
		if ended {
			if bar != nil {
				_ = bar.Exit()
				fmt.Fprintln(errOut)
			}
			fmt.Fprintf(out, "%s: %s. %s looked at, %d new or changed, %d classified before.\n", clean(p.Repository, 100), p.Status,
				plural(int(p.Listed), "issue", "issues"), p.Enqueued, p.Unchanged)
		}
	}
}

// terminal tells whether somebody looks at what is written there.
func terminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
